//! What Celery does with tasks.

use crate::catalog::{Alert, Condition, Panel, Runbook, Severity, TOOL, View, WAIT};
use crate::{closed_label, signal};

closed_label! {
    /// What became of a task before its end.
    pub enum CeleryTaskState {
        /// It was sent to its queue: `task-sent`, where `task_send_sent_event` is on.
        Sent = "sent",
        /// A worker took it out of its queue: `task-received`.
        Received = "received",
        /// It began to run: `task-started`.
        Started = "started",
    }
}

closed_label! {
    /// How an attempt at a task ended.
    pub enum CeleryTaskStatus {
        /// It did what it should: `task-succeeded`.
        Succeeded = "succeeded",
        /// It raised an exception, ran out of time, or its process died: `task-failed`.
        Failed = "failed" error,
        /// It is to be tried again: `task-retried`.
        Retried = "retried",
        /// It was called off, or had expired: `task-revoked`.
        Revoked = "revoked",
        /// The worker gave it back, or threw it away: `task-rejected`.
        Rejected = "rejected",
        /// The worker stopped it when it lost its broker: `task-cancelled`.
        Cancelled = "cancelled",
    }
}

closed_label! {
    /// Since when a task waited.
    pub enum CeleryWaitSince {
        /// Since it was sent, or since the time it was asked for if that is later.
        Sent = "sent",
        /// Since a worker took it out of its queue, as nobody said when it was sent: the wait in
        /// the queue is not in it.
        Received = "received",
    }
}

closed_label! {
    /// Why the reader let go of a task whose end it had not heard.
    pub enum CeleryForgotten {
        /// As many were followed as may be.
        Full = "full",
        /// Nothing was heard of it for as long as is waited.
        Expired = "expired",
        /// It ran on a worker that is gone.
        WorkerGone = "worker_gone",
        /// Its end was missed while events could not be heard: its worker says that it runs less.
        Missed = "missed",
    }
}

signal! {
    /// Tasks of Celery that were sent, received or started.
    pub counter CeleryTask = "celery.task" => "celery.task.steps" "{task}" reportable false {
        labels {
            /// Name of the task; absent where no event said it.
            name as "celery.task.name": optional(200),
            /// What became of it.
            state as "celery.task.state": closed(CeleryTaskState),
        }
        panels [
            Panel::new("Celery tasks", View::Rate("celery.task.steps"), "Tasks that were sent, received and started, a second. Sent ones are only told where `task_send_sent_event` is on.")
                .by(&["celery.task.state"])
                .section("Celery tasks")
                .headline(),
        ]
        no_alert "what waits and what fails is watched"
    }
}

signal! {
    /// Attempts at tasks of Celery that ended; a task that is tried again ends several times.
    pub counter CeleryTaskEnd = "celery.task.end" => "celery.task.ends" "{attempt}" reportable false {
        labels {
            /// Name of the task; absent where no event said it.
            name as "celery.task.name": optional(200),
            /// How it ended.
            status as "celery.task.state": closed(CeleryTaskStatus),
        }
        panels [
            Panel::new("Failing Celery tasks", View::ErrorRatio("celery.task.ends"), "Share of attempts that failed, by task.")
                .by(&["celery.task.name"])
                .section("Celery tasks")
                .headline(),
            Panel::new("Celery tasks by end", View::Rate("celery.task.ends"), "Attempts that ended, a second, by how.")
                .by(&["celery.task.state"])
                .section("Celery tasks"),
            Panel::new("Busiest Celery tasks", View::Total("celery.task.ends"), "Attempts that ended over the range shown, by task.")
                .by(&["celery.task.name"])
                .section("Celery tasks"),
        ]
        alerts [
            Alert::new(
                "CeleryTaskFailureRateHigh",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "celery.task.ends", ratio: 0.1, floor: 10 },
                "More than 10 % of a Celery task's attempts fail",
                Runbook {
                    meaning: "Of the attempts at this task that ended lately, more than one in ten raised an exception that is not retried, ran out of time, or lost its process.",
                    causes: &["Something the task needs is away", "A new version of the task has a defect", "Processes are killed for want of memory: `WorkerLostError`"],
                    actions: &["See which exceptions it raises in the panel of failures", "Read the worker's log for the traceback", "Where it can pass, retry with a growing pause; where it cannot, take the input out"],
                },
            )
            .over_minutes(10)
            .by(&["celery.task.name"]),
        ]
    }
}

signal! {
    /// How long attempts at tasks of Celery ran, as the worker says, or from the start to the end that it tells.
    pub distribution CeleryTaskDuration = "celery.task.run.duration" => "celery.task.run.duration" "s" reportable false {
        labels {
            /// Name of the task; absent where no event said it.
            name as "celery.task.name": optional(200),
        }
        buckets (TOOL)
        panels [
            Panel::new("Celery task duration", View::Quantiles("celery.task.run.duration"), "The 95th percentile of how long attempts ran, by task.")
                .by(&["celery.task.name"])
                .section("Celery tasks")
                .headline(),
            Panel::new("Celery durations", View::Heatmap("celery.task.run.duration"), "Distribution of how long attempts ran.")
                .section("Celery tasks"),
        ]
        no_alert "how long a task may take is the application's choice; waits and failures are watched"
    }
}

signal! {
    /// How long tasks of Celery waited before they began to run; a time that a task was asked to wait for is not in it.
    pub distribution CeleryTaskWait = "celery.task.wait" => "celery.task.wait" "s" reportable false {
        labels {
            /// Name of the task; absent where no event said it.
            name as "celery.task.name": optional(200),
            /// Name of the queue; absent where no event said it: only `task-sent` does.
            queue as "celery.queue.name": optional(100),
            /// Since when.
            since as "celery.wait.since": closed(CeleryWaitSince),
        }
        buckets (WAIT)
        panels [
            Panel::new("Celery wait", View::Quantiles("celery.task.wait"), "The 95th percentile of the wait before tasks ran, by queue and by whether it is known when they were sent. Where it is not, only the wait inside the worker is in it.")
                .by(&["celery.queue.name", "celery.wait.since"])
                .section("Celery queues")
                .headline(),
        ]
        alerts [
            Alert::new(
                "CeleryWaitLong",
                Severity::Warning,
                Condition::QuantileAbove { metric: "celery.task.wait", quantile: 0.95, threshold: 300.0, floor: 10 },
                "The 95th percentile of the wait of Celery tasks is above 5 minutes",
                Runbook {
                    meaning: "Of the tasks that began to run lately, one in twenty had waited longer than five minutes. Tasks that still wait are not in it: see the length of the queue.",
                    causes: &["Too few workers, or some are gone", "A burst of tasks", "Long tasks hold up short ones; `worker_prefetch_multiplier` makes a busy worker keep others"],
                    actions: &["Compare the length of the queue and the number of workers with before", "Start more workers", "Give long tasks a queue of their own, and set `worker_prefetch_multiplier = 1` for it"],
                },
            )
            .for_minutes(10)
            .over_minutes(30)
            .by(&["celery.queue.name"]),
        ]
    }
}

signal! {
    /// Failures of tasks of Celery, by exception.
    pub counter CeleryTaskFailure = "celery.task.failure" => "celery.task.failures" "{failure}" reportable false {
        labels {
            /// Name of the task; absent where no event said it.
            name as "celery.task.name": optional(200),
            /// Class of the exception; `_OTHER` where the event does not show one.
            error as "error.type": open(50),
        }
        panels [
            Panel::new("Celery failures", View::Rate("celery.task.failures"), "Attempts that failed, a second, by task and exception.")
                .by(&["celery.task.name", "error.type"])
                .section("Celery tasks"),
        ]
        no_alert "their share of all attempts is watched"
    }
}

signal! {
    /// Attempts at tasks of Celery that are to be tried again.
    pub counter CeleryTaskRetry = "celery.task.retry" => "celery.task.retried" "{retry}" reportable false {
        labels {
            /// Name of the task; absent where no event said it.
            name as "celery.task.name": optional(200),
            /// Class of the exception; `_OTHER` where the event does not show one.
            error as "error.type": open(50),
        }
        panels [
            Panel::new("Celery retries", View::Rate("celery.task.retried"), "Attempts that are to be tried again, a second, by task and exception.")
                .by(&["celery.task.name", "error.type"])
                .section("Celery tasks"),
        ]
        alerts [
            Alert::new(
                "CeleryRetriesHigh",
                Severity::Warning,
                Condition::RateAbove { metric: "celery.task.retried", per_second: 1.0 },
                "A Celery task is tried again more than once a second",
                Runbook {
                    meaning: "Work is done again and again. Even if it succeeds in the end, it takes capacity from other work.",
                    causes: &["What the task needs is away or throttles", "Retries without a growing pause", "A task that can never succeed"],
                    actions: &["See for which exception it is retried", "Set `retry_backoff`, `retry_jitter` and `max_retries`", "Do not retry what cannot pass"],
                },
            )
            .for_minutes(10)
            .by(&["celery.task.name"]),
        ]
    }
}

signal! {
    /// Tasks of Celery that run now, of those whose start was heard.
    pub gauge CeleryTasksActive = "celery.task.active" => "celery.task.active" "{task}" reportable false {
        labels {
            /// Name of the task; absent where no event said it.
            name as "celery.task.name": optional(200),
        }
        panels [
            Panel::new("Celery tasks under way", View::Value("celery.task.active"), "Tasks whose start was heard and whose end was not, by task.")
                .by(&["celery.task.name"])
                .section("Celery tasks"),
        ]
        no_alert "waits grow when too many run, and are watched"
    }
}

signal! {
    /// Tasks of Celery that the reader let go of without having heard their end.
    pub counter CeleryTaskForgotten = "celery.task.forgotten" => "celery.task.forgotten" "{task}" reportable false {
        labels {
            /// Why.
            reason as "celery.forgotten.reason": closed(CeleryForgotten),
        }
        panels [
            Panel::new("Celery tasks forgotten", View::Total("celery.task.forgotten"), "Tasks that were let go of over the range shown without their end having been heard, by reason. An end that comes later is counted, perhaps without a name.")
                .by(&["celery.forgotten.reason"])
                .section("Listening to Celery"),
        ]
        no_alert "workers that are lost and gaps in listening are watched"
    }
}
