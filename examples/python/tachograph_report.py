"""Reports to Tachograph, from any Python program; nothing but the standard library.

    from tachograph_report import operation, report, timed

    report("task.queue", {"queue": "documents", "priority": "high", "value": 10})

    with timed("tool.call", {"gen_ai.tool.name": "grep"}):      # one record, at its end
        ...
    with operation("workflow.run", {"workflow_type": "review"}):   # in flight until its end
        ...

Reporting neither waits nor raises: a thread sends, and what finds no room in the queue, is no
JSON, or is not taken in time at the end, is counted in `lost` and told once on standard error. Records have
ids, so that one that is sent again is counted once.

TACHOGRAPH_URL (http://127.0.0.1:8001) says where the service is, TACHOGRAPH_TOKEN lets in.
"""

import atexit
import json
import os
import queue
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from contextlib import contextmanager
from datetime import datetime, timezone

URL = os.environ.get("TACHOGRAPH_URL", "http://127.0.0.1:8001").rstrip("/") + "/api/v1/records"
TOKEN = os.environ.get("TACHOGRAPH_TOKEN")
# Records that may wait, and that go in one request.
ROOM, BATCH = 10_000, 500
# Seconds that are waited for the service at the end of the program.
PATIENCE = 5

lost = 0
_waiting = queue.Queue(ROOM)
_ending = threading.Event()
_lock = threading.Lock()
_sender = None


def new_id():
    """A UUID of version 7: ids that grow with time are written fastest."""
    number = int(time.time() * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
    number = number & ~(0xF << 76) | 7 << 76
    return str(uuid.UUID(int=number & ~(3 << 62) | 2 << 62))


def report(signal, fields, *, duration=None, context=None, parent=None, usage=None, event=None, id=None):
    """Reports a record: `fields` are labels and values, `duration` seconds, of an operation."""
    record = {"signal": signal, "id": id or new_id(), "fields": {k: v for k, v in fields.items() if v is not None}}
    record["time"] = datetime.now(timezone.utc).isoformat()
    more = {"duration": duration, "context": context, "parent": parent, "usage": usage, "event": event}
    record.update({key: value for key, value in more.items() if value is not None})
    try:
        _waiting.put_nowait((signal, json.dumps(record, allow_nan=False)))
        _start()
    except queue.Full:
        _lose(1, "there is no room")
    except (TypeError, ValueError, RuntimeError) as error:
        _lose(1, f"{signal}: {error}")
    return record["id"]


@contextmanager
def timed(signal, fields, *, parent=None, context=None):
    """Reports an operation when it ends; the fields that are given out can still be changed."""
    fields = dict(fields)
    began = time.monotonic()
    try:
        with _outcome(fields):
            yield fields
    finally:
        report(signal, fields, duration=time.monotonic() - began, parent=parent, context=context)


@contextmanager
def operation(signal, fields, *, parent=None, context=None, ends="status"):
    """The same with a record of its beginning, so that it is seen in flight.

    `ends` is the label that tells how it ended; it, and others known then, belong into the fields
    that are given out.
    """
    id = report(signal, fields, event="start", parent=parent, context=context)
    end = {}
    try:
        with _outcome(end, ends):
            yield end
    finally:
        report(signal, end, event="end", id=id)


@contextmanager
def _outcome(fields, ends="status"):
    """How a block ended, unless it says so itself."""
    try:
        yield
    except BaseException as error:
        if ends == "status":
            timeout = isinstance(error, TimeoutError)
            fields.setdefault("status", "timeout" if timeout else "failed")
        raise
    else:
        if ends == "status":
            fields.setdefault("status", "success")


def flush(seconds=PATIENCE):
    """Waits until what was reported has been sent; whether it was."""
    until = time.monotonic() + seconds
    while _waiting.unfinished_tasks and time.monotonic() < until:
        time.sleep(0.005)
    return _waiting.unfinished_tasks == 0


def _start():
    global _sender
    # Also after a fork, which threads do not outlive.
    if _sender and _sender.is_alive():
        return
    with _lock:
        if not (_sender and _sender.is_alive()):
            _sender = threading.Thread(target=_send_all, name="tachograph", daemon=True)
            _sender.start()


def _send_all():
    while True:
        records = [_waiting.get()]
        while len(records) < BATCH:
            try:
                records.append(_waiting.get_nowait())
            except queue.Empty:
                break
        _send(records)
        for _ in records:
            _waiting.task_done()


def _send(records):
    headers = {"content-type": "application/json"}
    if TOKEN:
        headers["authorization"] = f"Bearer {TOKEN}"
    body = "[" + ",".join(record for _, record in records) + "]"
    request = urllib.request.Request(URL, body.encode(), headers)
    wait = 0.25
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                for refused in json.load(response)["rejected"]:
                    signal, _ = records[refused["index"]]
                    print(f"tachograph: {signal}: {refused.get('field')}: {refused['reason']}", file=sys.stderr)
            return
        except urllib.error.HTTPError as error:
            if error.code not in (429, 503):
                return _lose(len(records), f"the service answers {error.code}")
            pause = float(error.headers.get("retry-after") or wait)
        except OSError:
            pause = wait
        # The ids stay the same: what was taken before the answer was lost is not counted twice.
        if _ending.wait(pause):
            time.sleep(0.1)
        wait = min(wait * 2, 10)


def _lose(count, why):
    global lost
    if not lost:
        print(f"tachograph: records are lost: {why}", file=sys.stderr)
    lost += count


@atexit.register
def _end():
    _ending.set()
    if not flush():
        _lose(_waiting.unfinished_tasks, f"not taken by {URL} in {PATIENCE} s")
