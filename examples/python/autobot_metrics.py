"""AutoBot's metrics manager, reporting to Tachograph: change the import and the calls go on.

    from autobot_metrics import get_metrics_manager

What a call told of a part of a fact that another call tells as a whole does nothing here, and says
so once on standard error; docs/migrate/autobot.md lists them with what to call instead.
"""

import sys
import threading
from contextlib import contextmanager

from tachograph_report import operation, report

# The number that Redis knows a database by: AutoBot names its databases.
REDIS_DATABASES = {"main": "0"}
# Words of AutoBot's for how something ended, where ours differ.
ENDS = {"completed": "success", "error": "failed", "failure": "failed"}
# Names of GitHub's operations, where ours differ.
GITHUB_OPERATIONS = {
    "create_commit": "git.create_commit",
    "create_pull_request": "pulls.create",
    "create_issue": "issues.create",
}


def ended(status):
    return ENDS.get(status, status)


class Metrics:
    # Workflows and tasks. `operation` counts them in flight too, which nobody needs to set then:
    #
    #     with metrics.workflow("code_review"): ...

    def workflow(self, workflow_type):
        return operation("workflow.run", {"workflow_type": workflow_type})

    def task(self, task_type, agent_type):
        return operation("task.run", {"task_type": task_type, "agent_type": agent_type})

    def record_workflow_execution(self, workflow_type, status, duration):
        fields = {"workflow_type": workflow_type, "status": ended(status)}
        report("workflow.run", fields, duration=duration)

    def record_workflow_step(self, workflow_type, step_type, status):
        status = "completed" if status == "success" else status
        self._one("workflow.step", {"workflow_type": workflow_type, "step_type": step_type, "status": status})

    def record_workflow_approval(self, workflow_type, decision, waited=None):
        """`waited`: seconds from asking to the decision, which AutoBot's call did not tell."""
        if waited is None:
            return self._nothing("record_workflow_approval without waited")
        report("workflow.approval", {"workflow_type": workflow_type, "decision": decision}, duration=waited)

    def record_task_execution(self, task_type, agent_type, status, duration):
        fields = {"task_type": task_type, "agent_type": agent_type, "status": ended(status)}
        report("task.run", fields, duration=duration)

    def record_task_retry(self, task_type, reason):
        self._one("task.retry", {"task_type": task_type, "reason": reason})

    def update_task_queue_size(self, priority, size):
        report("task.queue", {"priority": priority, "value": size})

    # GitHub

    def record_github_operation(self, operation, status, duration, error_type=None):
        fields = {
            "github.operation.name": GITHUB_OPERATIONS.get(operation, operation),
            "status": ended(status),
            "error.type": error_type,
        }
        report("github.operation", fields, duration=duration)

    def record_github_commit(self, repository, status):
        status = "success" if status == "created" else ended(status)
        self._one("github.commit", {"github.repository": repository, "status": status})

    def record_github_pull_request(self, repository, action, status):
        """`action`: create, update, merge, close, reopen, review or comment."""
        fields = {"github.repository": repository, "github.pull_request.action": action, "status": ended(status)}
        self._one("github.pull_request", fields)

    def record_github_issue(self, repository, action, status):
        """`action`: create, update, close, reopen or comment."""
        fields = {"github.repository": repository, "github.issue.action": action, "status": ended(status)}
        self._one("github.issue", fields)

    def update_github_rate_limit(self, resource_type, remaining, limit=None):
        """`limit`: of the header `x-ratelimit-limit`; the alert compares with it."""
        fields = {"github.client.name": "autobot", "github.rate_limit.resource": resource_type}
        report("github.rate_limit_remaining", {**fields, "value": remaining})
        if limit:
            report("github.rate_limit", {**fields, "value": limit})
            report("github.rate_limit_available", {**fields, "value": remaining / limit})

    # Knowledge base

    def record_search(self, search_type, collection, latency_seconds, results_count, status="success"):
        fields = {"search_type": search_type, "collection": collection, "status": ended(status), "results": results_count}
        report("knowledge.search", fields, duration=latency_seconds)

    def record_embedding(self, model, latency_seconds, texts=None, status="success"):
        fields = {"gen_ai.request.model": model, "status": ended(status), "texts": texts}
        report("knowledge.embedding", fields, duration=latency_seconds)

    def record_cache_hit(self, cache_type):
        report("knowledge.cache.lookup", {"cache_type": cache_type, "result": "hit"})

    def record_cache_miss(self, cache_type):
        report("knowledge.cache.lookup", {"cache_type": cache_type, "result": "miss"})

    def set_document_count(self, count, collection, document_type=None):
        fields = {"collection": collection, "document_type": document_type, "value": count}
        report("knowledge.documents", fields)

    def set_vector_count(self, count, collection):
        report("knowledge.vectors", {"collection": collection, "value": count})

    # Models: one record has the request, its tokens, its error; the cost follows from the prices.

    def record_llm_request(self, provider, model, request_type, status, latency, usage=None, error_type=None):
        """`usage`: the usage object of the provider's answer, as it is."""
        operation_name = {"completion": "text_completion", "embedding": "embeddings"}.get(request_type, request_type)
        fields = {
            "gen_ai.operation.name": operation_name,
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
            "status": "rate_limited" if error_type == "rate_limit" else ended(status),
            "error.type": error_type,
        }
        report("llm.request", fields, duration=latency, usage=usage)

    def set_llm_rate_limit(self, provider, remaining, limit=None):
        fields = {"gen_ai.provider.name": provider, "llm.rate_limit.kind": "requests"}
        report("llm.rate_limit.remaining", {**fields, "value": remaining})
        if limit:
            report("llm.rate_limit.limit", {**fields, "value": limit})
            report("llm.rate_limit.saturation", {**fields, "value": 1 - remaining / limit})

    def set_llm_provider_availability(self, provider, available):
        report("llm.provider.up", {"gen_ai.provider.name": provider, "value": int(available)})

    # WebSockets: `websocket` counts a connection while it is open, which nobody needs to set then.

    @contextmanager
    def websocket(self, namespace):
        name = {"websocket.namespace": namespace}
        self.record_websocket_connection(namespace, "connected")
        with operation("websocket.connection", name, ends="websocket.disconnect.reason") as end:
            end["websocket.close"] = "normal"
            try:
                yield end
                end.setdefault("websocket.disconnect.reason", "client")
            except BaseException:
                end.update({"websocket.disconnect.reason": "failed", "websocket.close": "server_error"})
                raise

    def record_websocket_connection(self, namespace, status):
        """`status`: connected, or refused; the end is that of `websocket`."""
        if status in ("connected", "refused"):
            self._one("websocket.handshake", {"websocket.namespace": namespace, "websocket.handshake.result": status})

    def record_websocket_message(self, namespace, event_type, direction, latency_seconds):
        fields = {"websocket.namespace": namespace, "websocket.event.type": event_type}
        fields.update({"websocket.message.kind": "text", "status": "success"})
        signal = "websocket.send" if direction == "sent" else "websocket.receive"
        report(signal, fields, duration=latency_seconds)

    def record_websocket_error(self, namespace, error_type):
        """`error_type`: of AutoBot `disconnect`, or one of ours."""
        error_type = "connection_lost" if error_type == "disconnect" else error_type
        self._one("websocket.error", {"websocket.namespace": namespace, "error.type": error_type})

    def set_websocket_rooms(self, namespace, count):
        report("websocket.rooms", {"websocket.namespace": namespace, "value": count})

    # Redis

    def record_redis_operation(self, database, operation, status, latency, error_type=None):
        fields = {
            "db.client.connection.pool.name": database,
            "db.namespace": REDIS_DATABASES.get(database, database),
            "db.operation.name": operation.upper(),
            "status": ended(status),
            "error.type": error_type,
        }
        report("redis.operation", fields, duration=latency)

    def set_redis_pool_stats(self, database, active, available, pool_size):
        self.update_connection_pool(database, active, available, pool_size)

    def update_connection_pool(self, database, active, idle, max_connections):
        pool = {"db.client.connection.pool.name": database}
        for state, value in (("used", active), ("idle", idle)):
            report("redis.pool.connections", {**pool, "db.client.connection.state": state, "value": value})
        report("redis.pool.max", {**pool, "value": max_connections})
        report("redis.pool.saturation", {**pool, "value": active / max_connections})

    def record_redis_pubsub(self, database, direction):
        fields = {"db.client.connection.pool.name": database, "redis.message.direction": direction}
        self._one("redis.message", fields)

    def record_circuit_breaker_event(self, database, event, reason):
        fields = {"circuit_breaker.name": database, "circuit_breaker.event": event, "circuit_breaker.reason": reason}
        self._one("circuit_breaker.event", fields)

    def update_circuit_breaker_state(self, database, state, failure_count):
        """`state`: closed, open or half_open."""
        name = {"circuit_breaker.name": database}
        report("circuit_breaker.state", {**name, "value": ["closed", "open", "half_open"].index(state)})
        report("circuit_breaker.failures", {**name, "value": failure_count})

    def _one(self, signal, fields):
        report(signal, {**fields, "value": 1})

    # All others

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *positional, **named: self._nothing(name)

    _told = set()

    def _nothing(self, what):
        if what not in self._told:
            self._told.add(what)
            print(f"tachograph: {what} reports nothing: see docs/migrate/autobot.md", file=sys.stderr)


_manager, _lock = None, threading.Lock()


def get_metrics_manager():
    global _manager
    with _lock:
        _manager = _manager or Metrics()
    return _manager
