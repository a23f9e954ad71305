"""An application of Celery, and somebody who sends it tasks.

As a module it is the application. As a program it takes one command a line, as JSON, from its
input, and answers with one line of JSON each.
"""

import json
import os
import sys
import time

from celery import Celery

app = Celery("app", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app.conf.update(
    task_send_sent_event=True,
    broker_connection_retry_on_startup=True,
    broker_transport_options=json.loads(os.environ.get("TRANSPORT", "{}")),
    result_backend_transport_options=json.loads(os.environ.get("TRANSPORT", "{}")),
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
)


@app.task(name="app.add")
def add(a, b):
    return a + b


@app.task(name="app.fail")
def fail():
    raise ValueError("no, with secret 4711")


@app.task(name="app.flaky", bind=True, max_retries=3)
def flaky(self, failures):
    if self.request.retries < failures:
        raise self.retry(exc=ConnectionError("away"), countdown=0.1)
    return self.request.retries


@app.task(name="app.nap", acks_late=True)
def nap(seconds):
    time.sleep(seconds)


def answer(command):
    match command["do"]:
        case "send":
            options = command.get("options", {})
            return app.send_task(command["task"], command.get("args", []), **options).id
        case "states":
            return [app.AsyncResult(id).state for id in command["ids"]]
        case "revoke":
            app.control.revoke(command["id"])
        case "control":
            app.control.broadcast(command["command"])
        case "stats":
            return app.control.inspect(timeout=command.get("timeout", 3)).stats()


def main():
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
