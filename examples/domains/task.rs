//! Tasks: their runs, how long they waited in which queue, and how often they were retried.

use std::time::Duration;

use tachograph::signals::task::{
    RunStatus, TaskQueueSize, TaskRetried, TaskRun, TaskRunEnd, TaskWait,
};

/// Plain `tracing`.
fn plain() {
    let span = tracing::info_span!(
        "task.run",
        task_type = "index",
        agent_type = "librarian",
        status = tracing::field::Empty
    );
    span.in_scope(|| {
        // An event counts once; `value` says otherwise.
        tracing::warn!(name: "task.retry", task_type = "index", reason = "timeout");
        span.record("status", "success");
    });
}

/// The typed recorders.
fn typed() {
    let queue = TaskQueueSize {
        queue: "documents",
        priority: "high",
    };
    queue.set(2.0);
    let wait = TaskWait {
        queue: "documents",
        priority: "high",
    };
    wait.record(0.75);
    let task = TaskRun {
        task_type: "summarize",
        agent_type: "",
    };
    let retried = TaskRetried {
        task_type: "summarize",
        reason: "rate_limited",
    };
    retried.add(2);
    let timeout = TaskRunEnd {
        status: RunStatus::Timeout,
    };
    task.record(timeout, Duration::from_secs(30));
}

pub fn run() {
    plain();
    typed();
}
