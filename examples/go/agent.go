// An agent that reports what it does, with the standard library alone.
//
//	tachograph serve &
//	go run examples/go/agent.go
package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
)

type record struct {
	Signal   string         `json:"signal"`
	ID       string         `json:"id"`
	Event    string         `json:"event,omitempty"`
	Parent   string         `json:"parent,omitempty"`
	Duration *float64       `json:"duration,omitempty"`
	Fields   map[string]any `json:"fields"`
	Usage    map[string]any `json:"usage,omitempty"`
}

// newID makes a random UUID (version 4).
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

var client = http.Client{Timeout: 5 * time.Second}

// send sends records; again, under the same ids, while the service cannot take them.
func send(records ...record) (string, error) {
	url := os.Getenv("TACHOGRAPH_URL")
	if url == "" {
		url = "http://127.0.0.1:8001"
	}
	body, err := json.Marshal(records)
	if err != nil {
		return "", err
	}
	for attempt := 0; attempt < 5; attempt++ {
		wait := 250 * time.Millisecond << attempt
		request, err := http.NewRequest("POST", url+"/api/v1/records", bytes.NewReader(body))
		if err != nil {
			return "", err
		}
		request.Header.Set("content-type", "application/json")
		if token := os.Getenv("TACHOGRAPH_TOKEN"); token != "" {
			request.Header.Set("authorization", "Bearer "+token)
		}
		if response, err := client.Do(request); err == nil {
			answer, _ := io.ReadAll(io.LimitReader(response.Body, 1<<20))
			_ = response.Body.Close()
			switch response.StatusCode {
			case 200:
				return string(answer), nil
			case 429, 503:
				if seconds, err := strconv.Atoi(response.Header.Get("retry-after")); err == nil {
					wait = time.Duration(seconds) * time.Second
				}
			default:
				return "", fmt.Errorf("%s: %s", response.Status, answer)
			}
		}
		time.Sleep(wait)
	}
	return "", fmt.Errorf("the service is away")
}

func main() {
	agent := "go-reviewer"
	run := record{Signal: "agent.run", ID: newID(), Event: "start",
		Fields: map[string]any{"gen_ai.agent.name": agent, "phase": "review"}}
	if _, err := send(run); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	began := time.Now()
	took := time.Since(began).Seconds()
	call := record{Signal: "tool.call", ID: newID(), Parent: run.ID, Duration: &took,
		Fields: map[string]any{"gen_ai.tool.name": "grep", "gen_ai.agent.name": agent, "status": "success"}}
	seconds := 1.7
	asked := record{Signal: "llm.request", ID: newID(), Parent: run.ID, Duration: &seconds,
		Fields: map[string]any{
			"gen_ai.operation.name": "generate_content", "gen_ai.provider.name": "gcp.gemini",
			"gen_ai.request.model": "gemini-2.5-pro", "gen_ai.agent.name": agent, "status": "success"},
		Usage: map[string]any{
			"promptTokenCount": 500, "candidatesTokenCount": 80, "thoughtsTokenCount": 40, "totalTokenCount": 620}}
	end := record{Signal: "agent.run", ID: run.ID, Event: "end",
		Fields: map[string]any{"status": "success", "tool_calls": 1}}
	// The second time, as after an answer that was lost: recognised, and not counted twice.
	for range 2 {
		answer, err := send(call, asked, end)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(answer)
	}
}
