"""An agent that reports what it does, with nothing but the standard library.

    tachograph serve &
    python3 examples/python/agent.py
"""

import json
import os
import time
import urllib.error
import urllib.request
import uuid

URL = os.environ.get("TACHOGRAPH_URL", "http://127.0.0.1:8001") + "/api/v1/records"
TOKEN = os.environ.get("TACHOGRAPH_TOKEN")


def send(*records, attempts=5):
    """Sends records; again, under the same ids, while the service cannot take them."""
    headers = {"content-type": "application/json"}
    if TOKEN:
        headers["authorization"] = f"Bearer {TOKEN}"
    request = urllib.request.Request(URL, json.dumps(records).encode(), headers)
    for attempt in range(attempts):
        wait = 2**attempt / 4
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                answer = json.load(response)
            for refused in answer["rejected"]:
                print(f"{refused.get('field')}: {refused['reason']}")
            return answer
        except urllib.error.HTTPError as error:
            if error.code not in (429, 503):
                raise
            wait = float(error.headers.get("retry-after", wait))
        except OSError:
            pass
        time.sleep(wait)
    return None


def record(signal, fields, **more):
    return {"signal": signal, "id": str(uuid.uuid4()), "fields": fields, **more}


def main():
    agent = "py-reviewer"
    run = record("agent.run", {"gen_ai.agent.name": agent, "phase": "review"}, event="start")
    send(run)
    began = time.monotonic()
    call = record(
        "tool.call",
        {"gen_ai.tool.name": "grep", "gen_ai.agent.name": agent, "status": "success"},
        duration=time.monotonic() - began,
        parent=run["id"],
    )
    asked = record(
        "llm.request",
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "anthropic",
            "gen_ai.request.model": "claude-sonnet-4-5",
            "gen_ai.agent.name": agent,
            "status": "success",
        },
        duration=2.1,
        parent=run["id"],
        usage={"input_tokens": 12, "output_tokens": 300, "cache_read_input_tokens": 9000, "cache_creation_input_tokens": 0},
    )
    end = {"signal": "agent.run", "id": run["id"], "event": "end", "fields": {"status": "success", "tool_calls": 1}}
    print(json.dumps(send(call, asked, end)))
    # Sent again, as after an answer that was lost: recognised, and not counted twice.
    print(json.dumps(send(call, asked, end)))


main()
