//! Events of Claude Code's hooks, sent to the real service: the page, the ledger, and what is in
//! flight.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::hooks::{Row_, Service, Session, parallel};
use tempfile::TempDir;

const S: Session = Session("6f1c3d52-0d7e-4a7e-9f0e-aaaaaaaaaaaa");
const NOTHING: [f64; 5] = [0.0; 5];

fn service() -> (TempDir, Service) {
    let dir = TempDir::new().unwrap();
    let service = Service::start(&dir.path().join("ledger.db"));
    (dir, service)
}

fn bash(command: &str) -> Value {
    json!({"command": command, "description": "Run it"})
}

fn task(kind: &str, what: &str) -> Value {
    json!({"subagent_type": kind, "description": what, "prompt": what})
}

/// The only record of a signal with this field.
fn one<'r>(records: &'r [Row_], signal: &str, key: &str, value: &str) -> &'r Row_ {
    let wanted = |row: &&Row_| row.signal == signal && row.said(key) == Some(value);
    let found: Vec<&Row_> = records.iter().filter(wanted).collect();
    assert_eq!(found.len(), 1, "{signal} {key}={value}: {records:#?}");
    found[0]
}

fn check_parallel(records: &[Row_]) {
    let session = one(records, "session.run", "session.client", "claude-code");
    let turn = one(records, "agent.run", "gen_ai.agent.name", "claude-code");
    assert_eq!(turn.parent, Some(session.id));
    for (kind, call, agent) in [("Explore", "toolu_A", "a1"), ("Plan", "toolu_B", "b2")] {
        let call = one(records, "tool.call", "gen_ai.tool.call.id", call);
        assert_eq!(call.parent, Some(turn.id), "{kind}");
        let run = one(records, "agent.run", "gen_ai.agent.name", kind);
        assert_eq!(run.parent, Some(call.id), "{kind}");
        assert_eq!(run.said("gen_ai.agent.id"), Some(agent));
        assert_eq!(run.said("status"), Some("success"));
        let tools: &[&str] = if kind == "Explore" {
            &["toolu_1"]
        } else {
            &["toolu_2", "toolu_3"]
        };
        for tool in tools {
            let tool = one(records, "tool.call", "gen_ai.tool.call.id", tool);
            assert_eq!(tool.parent, Some(run.id), "{kind}");
            assert_eq!(tool.said("gen_ai.agent.name"), Some(kind));
            assert_eq!(tool.said("status"), Some("success"));
        }
    }
    let mcp = one(records, "mcp.client.operation", "mcp.server.name", "github");
    let call = one(records, "tool.call", "gen_ai.tool.call.id", "toolu_3");
    assert_eq!(mcp.parent, Some(call.id));
    assert_eq!(mcp.said("gen_ai.tool.name"), Some("search"));
    assert_eq!(records.len(), 10);
    let run = |name| one(records, "agent.run", "gen_ai.agent.name", name);
    for (row, key, value) in [
        (session, "agents", 3),
        (session, "parallel_agents", 3),
        (turn, "parallel_runs", 1),
        (turn, "tool_calls", 2),
        (run("Plan"), "parallel_runs", 2),
        (run("Plan"), "tool_calls", 2),
        (run("Explore"), "parallel_runs", 3),
        (run("Explore"), "tool_calls", 1),
    ] {
        assert_eq!(row.fields[key], value, "{key}: {row:?}");
    }
    assert_eq!(session.fields.get("phases"), None);
    for row in records {
        assert_eq!(row.session.as_deref(), Some(S.0), "{row:?}");
        if row.signal != "session.run" {
            assert_eq!(
                row.said("correlation_id"),
                turn.said("correlation_id"),
                "{row:?}"
            );
        }
    }
}

#[test]
fn parallel_sub_agents_nest_and_nothing_stays_in_flight() {
    let (_dir, service) = service();
    let events = parallel(&S);
    let (first, last) = events.split_at(9);
    for event in first {
        assert_eq!(service.send(event), "recorded", "{event}");
    }
    // The session; the turn and both sub-agents; five calls; one request.
    assert_eq!(service.page().in_flight(), [1.0, 3.0, 5.0, 1.0, 0.0]);
    for event in last {
        assert_eq!(service.send(event), "recorded", "{event}");
    }
    let page = service.page();
    assert_eq!(page.in_flight(), NOTHING);
    check_parallel(&service.records());
    let calls = |tool| page.sum("tool_calls_total", &[("gen_ai_tool_name", tool)]);
    assert_eq!(["Task", "Read", "Bash"].map(calls), [2.0, 1.0, 1.0]);
    assert_eq!(page.sum("agent_runs_total", &[("status", "success")]), 3.0);
    assert_eq!(
        page.sum("session_runs_total", &[("status", "success")]),
        1.0
    );
    let events = page.sum("tachograph_hook_events_total", &[("outcome", "recorded")]);
    assert_eq!(events, 18.0);
}

#[test]
fn what_is_not_told_is_not_known() {
    let (_dir, service) = service();
    // Nothing ran, as far as is known.
    service.send(&S.start("startup"));
    service.send(&S.end());
    // No tool was called, or tools are not reported.
    const T: Session = Session("6f1c3d52-0d7e-4a7e-9f0e-dddddddddddd");
    service.send(&T.prompt("what is it?"));
    service.send(&T.stop());
    let page = service.page();
    assert_eq!(page.sum("session_agents_count", &[]), 0.0);
    assert_eq!(page.sum("session_parallel_agents_count", &[]), 0.0);
    assert_eq!(page.sum("agent_run_tool_calls_count", &[]), 0.0);
    assert_eq!(page.get("agent_run_parallel_runs_sum", &[]), Some(1.0));
    // Once it tells of tools, a run without any has none.
    service.send(&T.prompt("list it"));
    service.send(&T.pre(None, "Bash", "toolu_1", bash("ls")));
    service.send(&T.post(None, "Bash", "toolu_1", bash("ls")));
    service.send(&T.stop());
    service.send(&T.prompt("thanks"));
    service.send(&T.stop());
    let page = service.page();
    assert_eq!(page.get("agent_run_tool_calls_sum", &[]), Some(1.0));
    assert_eq!(page.get("agent_run_tool_calls_count", &[]), Some(2.0));
    service.send(&T.end());
    let page = service.page();
    assert_eq!(page.get("session_agents_sum", &[]), Some(1.0));
    assert_eq!(page.get("session_parallel_agents_sum", &[]), Some(1.0));
    assert_eq!(page.sum("session_phases_count", &[]), 0.0);
}

#[test]
fn what_comes_twice_counts_once() {
    let (_dir, service) = service();
    for event in parallel(&S) {
        service.send(&event);
        let again = service.send(&event);
        assert_ne!(again, "recorded", "{event}");
    }
    for event in parallel(&S) {
        assert_ne!(service.send(&event), "recorded", "{event}");
    }
    let page = service.page();
    assert_eq!(page.in_flight(), NOTHING);
    check_parallel(&service.records());
    assert_eq!(page.sum("tool_calls_total", &[]), 5.0);
    assert_eq!(page.sum("agent_runs_total", &[]), 3.0);
}

#[test]
fn killed_between_two_halves_it_pairs_them_afterwards() {
    let dir = TempDir::new().unwrap();
    let database = dir.path().join("ledger.db");
    let events = parallel(&S);
    let mut counts: HashMap<&str, f64> = HashMap::new();
    for (number, event) in events.chunks(5).enumerate() {
        let mut service = Service::start(&database);
        for event in event {
            assert_eq!(service.send(event), "recorded", "{event}");
        }
        let page = service.page();
        for name in ["tool_calls_total", "agent_runs_total", "session_runs_total"] {
            *counts.entry(name).or_default() += page.sum(name, &[]);
        }
        if number == 3 {
            assert_eq!(page.in_flight(), NOTHING);
            check_parallel(&service.records());
        }
        service.kill();
    }
    assert_eq!(counts["tool_calls_total"], 5.0);
    assert_eq!(counts["agent_runs_total"], 3.0);
    assert_eq!(counts["session_runs_total"], 1.0);
}

#[test]
fn an_end_without_a_beginning_counts_if_it_says_how_long_it_took() {
    let (_dir, service) = service();
    service.send(&S.start("startup"));
    let mut known = S.post(None, "Bash", "toolu_1", bash("make"));
    known["duration_ms"] = 1500.into();
    assert_eq!(service.send(&known), "recorded");
    assert_eq!(service.send(&known), "duplicate");
    // Its beginning, late.
    assert_eq!(
        service.send(&S.pre(None, "Bash", "toolu_1", bash("make"))),
        "duplicate"
    );
    let unknown = S.post(None, "Grep", "toolu_2", json!({"pattern": "x"}));
    assert_eq!(service.send(&unknown), "unpaired");
    assert_eq!(service.send(&S.stop()), "unpaired");
    let stray = S.subagent("SubagentStop", ("a9", "Plan"));
    assert_eq!(service.send(&stray), "unpaired");
    let page = service.page();
    assert_eq!(page.sum("tool_call_duration_seconds_sum", &[]), 1.5);
    // What is not paired has no row.
    assert_eq!(service.records().len(), 1);
    assert_eq!(page.sum("tool_calls_total", &[]), 1.0);
    assert_eq!(page.in_flight(), [1.0, 0.0, 0.0, 0.0, 0.0]);
    // The beginning of what ended before it.
    let late = S.pre(None, "Grep", "toolu_2", json!({"pattern": "x"}));
    assert_eq!(service.send(&late), "recorded");
    let grep = [("gen_ai_tool_name", "Grep"), ("status", "success")];
    let page = service.page();
    assert_eq!(page.sum("tool_calls_total", &grep), 1.0);
    assert_eq!(page.in_flight(), [1.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn a_beginning_without_an_end_is_given_up() {
    let dir = TempDir::new().unwrap();
    let variables = [("TACHOGRAPH_LEDGER__EXPIRES_IN", "1s")];
    let service = Service::with(&dir.path().join("ledger.db"), &variables);
    service.send(&S.prompt("wait"));
    service.send(&S.pre(None, "Bash", "toolu_1", bash("sleep")));
    let start = Instant::now();
    while service.page().in_flight() != [1.0, 0.0, 0.0, 0.0, 0.0] {
        assert!(start.elapsed() < Duration::from_secs(20), "never given up");
        std::thread::sleep(Duration::from_millis(50));
    }
    let page = service.page();
    assert_eq!(
        page.sum("tool_calls_total", &[("status", "abandoned")]),
        1.0
    );
    assert_eq!(
        page.sum("agent_runs_total", &[("status", "abandoned")]),
        1.0
    );
}

#[test]
fn the_end_of_a_session_ends_what_was_left_open() {
    let (_dir, service) = service();
    // The session's start was lost.
    service.send(&S.prompt("go"));
    service.send(&S.pre(None, "Bash", "toolu_1", bash("a")));
    service.send(&S.pre(Some(("a1", "Explore")), "mcp__x__y", "toolu_2", json!({})));
    assert_eq!(service.page().in_flight(), [1.0, 2.0, 2.0, 1.0, 0.0]);
    service.send(&S.end());
    let page = service.page();
    assert_eq!(page.in_flight(), NOTHING);
    assert_eq!(
        page.sum("tool_calls_total", &[("status", "abandoned")]),
        2.0
    );
    let ended = page.sum(
        "mcp_client_operation_duration_seconds_count",
        &[("error_type", "abandoned")],
    );
    assert_eq!(ended, 1.0);
    // What arrives late opens nothing.
    service.send(&S.pre(None, "Bash", "toolu_3", bash("b")));
    service.send(&S.prompt("late"));
    assert_eq!(service.page().in_flight(), NOTHING);
    // Resumed, the same session runs again.
    assert_eq!(service.send(&S.start("resume")), "recorded");
    assert_eq!(service.page().in_flight(), [1.0, 0.0, 0.0, 0.0, 0.0]);
    service.send(&S.end());
    assert_eq!(service.page().sum("session_runs_total", &[]), 2.0);
}

#[test]
fn a_new_prompt_ends_what_was_interrupted_and_leaves_the_background_alone() {
    let (_dir, service) = service();
    let background = {
        let mut input = task("Plan", "b");
        input["run_in_background"] = true.into();
        input
    };
    service.send(&S.prompt("one"));
    service.send(&S.pre(None, "Task", "toolu_B", background.clone()));
    service.send(&S.subagent("SubagentStart", ("b2", "Plan")));
    let mut launched = S.post(None, "Task", "toolu_B", background);
    launched["tool_response"] = json!({"status": "async_launched", "agentId": "b2"});
    service.send(&launched);
    service.send(&S.pre(None, "Task", "toolu_A", task("Explore", "a")));
    service.send(&S.subagent("SubagentStart", ("a1", "Explore")));
    service.send(&S.pre(Some(("a1", "Explore")), "Read", "toolu_1", json!({})));
    assert_eq!(service.page().in_flight(), [1.0, 3.0, 2.0, 0.0, 0.0]);
    service.send(&S.prompt("two"));
    let page = service.page();
    assert_eq!(page.in_flight(), [1.0, 2.0, 0.0, 0.0, 0.0]);
    assert_eq!(
        page.sum("tool_calls_total", &[("status", "cancelled")]),
        2.0
    );
    assert_eq!(
        page.sum("agent_runs_total", &[("status", "cancelled")]),
        2.0
    );
    service.send(&S.subagent("SubagentStop", ("b2", "Plan")));
    service.send(&S.stop());
    let page = service.page();
    assert_eq!(page.in_flight(), [1.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(page.sum("agent_runs_total", &[("status", "success")]), 2.0);
}

#[test]
fn permissions_that_are_asked_for_are_approvals() {
    let (_dir, service) = service();
    let ask = |command: &str| {
        let more = json!({"tool_name": "Bash", "tool_input": bash(command)});
        S.event("PermissionRequest", more)
    };
    service.send(&S.prompt("clean up"));
    service.send(&S.pre(None, "Bash", "toolu_1", bash("rm a")));
    assert_eq!(service.send(&ask("rm a")), "recorded");
    assert_eq!(service.send(&ask("rm a")), "duplicate");
    assert_eq!(service.page().in_flight(), [1.0, 1.0, 1.0, 0.0, 1.0]);
    service.send(&S.post(None, "Bash", "toolu_1", bash("rm a")));
    service.send(&S.pre(None, "Bash", "toolu_2", bash("rm b")));
    service.send(&ask("rm b"));
    // Refused, which no event tells of; the person goes on with another prompt.
    service.send(&S.prompt("leave b alone"));
    service.send(&S.stop());
    service.send(&S.end());
    let page = service.page();
    assert_eq!(page.in_flight(), NOTHING);
    let decided = |decision| page.sum("workflow_approvals_total", &[("decision", decision)]);
    assert_eq!(
        ["approved", "rejected", "abandoned"].map(decided),
        [1.0, 1.0, 0.0]
    );
    assert_eq!(page.sum("tool_calls_total", &[("status", "denied")]), 1.0);
    let records = service.records();
    let approval = one(&records, "workflow.approval", "decision", "approved");
    let call = one(&records, "tool.call", "gen_ai.tool.call.id", "toolu_1");
    assert_eq!(approval.parent, Some(call.id));
}

#[test]
fn failures_say_how_they_ended() {
    let (_dir, service) = service();
    service.send(&S.prompt("go"));
    for (id, error, interrupt) in [
        ("toolu_1", "exit code 1", false),
        ("toolu_2", "Command timed out after 120s", false),
        ("toolu_3", "stopped", true),
    ] {
        service.send(&S.pre(None, "mcp__db__query", id, json!({})));
        let more = json!({
            "tool_name": "mcp__db__query", "tool_use_id": id, "tool_input": {},
            "error": error, "is_interrupt": interrupt,
        });
        assert_eq!(
            service.send(&S.event("PostToolUseFailure", more)),
            "recorded"
        );
    }
    service.send(&S.event("StopFailure", json!({"error": "rate_limit"})));
    let page = service.page();
    for status in ["failed", "timeout", "cancelled"] {
        assert_eq!(
            page.sum("tool_calls_total", &[("status", status)]),
            1.0,
            "{status}"
        );
    }
    for error in ["tool_error", "timeout", "cancelled"] {
        let name = "mcp_client_operation_duration_seconds_count";
        assert_eq!(page.sum(name, &[("error_type", error)]), 1.0, "{error}");
    }
    let failed = [("status", "failed"), ("error_type", "rate_limit")];
    assert_eq!(page.sum("agent_runs_total", &failed), 1.0);
}

#[test]
fn clients_that_give_calls_no_id_are_paired_by_their_input_in_order() {
    let (_dir, service) = service();
    let without = |mut event: Value| {
        event.as_object_mut().unwrap().remove("tool_use_id");
        event
    };
    let pre = |command| without(S.pre(None, "Bash", "", bash(command)));
    let post = |command| without(S.post(None, "Bash", "", bash(command)));
    service.send(&S.prompt("go"));
    for event in [pre("a"), pre("b"), pre("a"), post("b"), post("a")] {
        assert_eq!(service.send(&event), "recorded", "{event}");
    }
    assert_eq!(service.page().in_flight()[2], 1.0);
    assert_eq!(service.send(&post("a")), "recorded");
    assert_eq!(service.send(&post("a")), "unpaired");
    // Nor do they tell of the beginning of sub-agents.
    service.send(&without(S.pre(None, "Task", "", task("Explore", "x"))));
    assert_eq!(service.page().in_flight(), [1.0, 2.0, 1.0, 0.0, 0.0]);
    service.send(&S.event("SubagentStop", json!({"stop_hook_active": false})));
    service.send(&without(S.post(None, "Task", "", task("Explore", "x"))));
    let page = service.page();
    assert_eq!(page.in_flight(), [1.0, 1.0, 0.0, 0.0, 0.0]);
    assert_eq!(page.sum("tool_calls_total", &[("status", "success")]), 4.0);
    let explored = [("gen_ai_agent_name", "Explore"), ("status", "success")];
    assert_eq!(page.sum("agent_runs_total", &explored), 1.0);
}

#[test]
fn unknown_events_are_counted_and_open_nothing() {
    let (_dir, service) = service();
    assert_eq!(
        service.send(&S.event("TeammateIdle", json!({"x": [1, 2]}))),
        "ignored"
    );
    assert_eq!(service.page().in_flight(), NOTHING);
    assert_eq!(
        service.send(&S.event("Notification", json!({"message": "hi"}))),
        "recorded"
    );
    let page = service.page();
    let other = [("hook_event", "other"), ("outcome", "ignored")];
    assert_eq!(page.sum("tachograph_hook_events_total", &other), 1.0);
}

#[test]
fn garbage_is_refused_by_the_name_of_its_field_and_leaves_nothing_behind() {
    let (_dir, service) = service();
    let long = "x".repeat(10_000);
    for (body, status, field) in [
        (Vec::new(), 400, "body"),
        (b"null".to_vec(), 400, "body"),
        (b"[1]".to_vec(), 400, "body"),
        (
            br#"{"session_id":"s","hook_event_name":"Stop""#.to_vec(),
            400,
            "body",
        ),
        (b"{\"session_id\":\"\xff\xfe\"}".to_vec(), 400, "body"),
        (br#"{"hook_event_name":"Stop"}"#.to_vec(), 400, "session_id"),
        (
            format!(r#"{{"session_id":"{long}"}}"#).into_bytes(),
            400,
            "session_id",
        ),
        (
            br#"{"session_id":{},"hook_event_name":"Stop"}"#.to_vec(),
            400,
            "session_id",
        ),
        (
            br#"{"session_id":"s","hook_event_name":1}"#.to_vec(),
            400,
            "hook_event_name",
        ),
        (
            br#"{"session_id":"s","hook_event_name":"PreToolUse"}"#.to_vec(),
            400,
            "tool_name",
        ),
        (vec![b' '; 9 * 1024 * 1024], 413, "body"),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        let (answered, message) = service.post(body);
        assert_eq!(answered, status, "{shown}: {message}");
        assert!(message.contains(field), "{shown}: {message}");
    }
    assert_eq!(service.records().len(), 0);
    let page = service.page();
    assert_eq!(page.in_flight(), NOTHING);
    let malformed = page.sum("tachograph_hook_events_total", &[("outcome", "malformed")]);
    assert_eq!(malformed, 11.0);
}

#[test]
fn fields_of_other_types_and_odd_texts_do_no_harm() {
    let (_dir, service) = service();
    let long = "n".repeat(5_000);
    for (number, name) in ["B\u{0}ash", "naïve 🚗", "mcp__", "mcp__a__", &long]
        .iter()
        .enumerate()
    {
        let id = format!("toolu_{number}");
        let mut event = S.pre(None, name, &id, json!(null));
        event["agent_id"] = json!(["x"]);
        event["cwd"] = json!({"deep": [[[]]]});
        event["prompt_id"] = json!(3);
        assert_eq!(service.send(&event), "recorded", "{name}");
        let mut event = S.post(None, name, &id, json!(null));
        event["tool_response"] = json!([1, {"is_error": "perhaps"}]);
        event["duration_ms"] = json!(-5);
        assert_eq!(service.send(&event), "recorded", "{name}");
    }
    let deep = format!(
        r#"{{"session_id":"s","hook_event_name":"PostCompact","tool_input":{}1{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(service.post(deep).0, 204);
    let twice = br#"{"session_id":"x","session_id":"s2","hook_event_name":"Stop"}"#;
    assert_eq!(service.post(&twice[..]).0, 204);
    let page = service.page();
    assert_eq!(page.sum("tool_calls_total", &[("status", "success")]), 5.0);
    assert_eq!(page.in_flight()[2], 0.0);
}

#[test]
fn contents_are_not_kept() {
    let (_dir, service) = service();
    for event in parallel(&S) {
        service.send(&event);
    }
    let kept = format!("{:?}", service.records());
    for secret in ["both sides", "file_path", "left", "/home/", "transcript"] {
        assert!(!kept.contains(secret), "{secret}: {kept}");
    }
}
