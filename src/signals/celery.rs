//! Celery on Redis, as its events and its broker tell: tasks, workers, queues, and whether the
//! events are heard. Celery 5 documentation, "Monitoring and Management Guide", "Event Reference";
//! kombu's Redis transport.
//!
//! Tasks of Celery run in other processes and have no spans here.

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

closed_label! {
    /// A type of event, as Celery names it.
    pub enum CeleryEventType {
        /// `task-sent`
        TaskSent = "task-sent",
        /// `task-received`
        TaskReceived = "task-received",
        /// `task-started`
        TaskStarted = "task-started",
        /// `task-succeeded`
        TaskSucceeded = "task-succeeded",
        /// `task-failed`
        TaskFailed = "task-failed",
        /// `task-rejected`
        TaskRejected = "task-rejected",
        /// `task-revoked`
        TaskRevoked = "task-revoked",
        /// `task-retried`
        TaskRetried = "task-retried",
        /// `task-cancelled`
        TaskCancelled = "task-cancelled",
        /// `worker-online`
        WorkerOnline = "worker-online",
        /// `worker-heartbeat`
        WorkerHeartbeat = "worker-heartbeat",
        /// `worker-offline`
        WorkerOffline = "worker-offline",
        /// An application's own.
        Custom = "_OTHER",
    }
}

closed_label! {
    /// Why an event, or a part of one, was not used.
    pub enum CeleryEventProblem {
        /// It is not what kombu and Celery write.
        Malformed = "malformed",
        /// Its body is not JSON, or is compressed.
        Serializer = "serializer",
        /// It is longer than is read.
        TooLarge = "too_large",
        /// It was heard before, or tells of the end of an attempt that had ended.
        Duplicate = "duplicate",
        /// It is of one worker more than are followed.
        TooManyWorkers = "too_many_workers",
        /// By its clocks the task began to run before it was sent; its wait is not observed.
        ClockSkew = "clock_skew",
    }
}

closed_label! {
    /// Kinds of events, which are turned on apart.
    pub enum CeleryEventGroup {
        /// Heartbeats of workers.
        Worker = "worker",
        /// What workers do with tasks: `-E`, or `worker_send_task_events`.
        Task = "task",
        /// That tasks are sent: `task_send_sent_event`.
        Sent = "sent",
    }
}

closed_label! {
    /// Whether a worker is there.
    pub enum CeleryWorkerState {
        /// Its heartbeats come.
        Up = "up",
        /// Its heartbeats stay away, and it did not say that it stops.
        Lost = "lost",
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

signal! {
    /// Workers of Celery that tell of themselves; absent while nothing can be known of them.
    pub gauge CeleryWorkers = "celery.workers" => "celery.workers" "{worker}" reportable false {
        labels {
            /// Whether they are there.
            state as "celery.worker.state": closed(CeleryWorkerState),
        }
        panels [
            Panel::new("Celery workers", View::Value("celery.workers"), "Workers whose heartbeats come, and those that were lost.")
                .by(&["celery.worker.state"])
                .section("Celery workers")
                .headline(),
        ]
        alerts [
            Alert::new(
                "CeleryNoWorkers",
                Severity::Critical,
                Condition::ValueBelow { metric: "celery.workers", threshold: 1.0 },
                "No worker of Celery is there",
                Runbook {
                    meaning: "Events are heard, and no worker sends a heartbeat. Tasks stay in their queues.",
                    causes: &["The workers were stopped, or crash when they start", "They listen to another broker or database than the one that is read here", "They run with `--without-heartbeat`, and are there"],
                    actions: &["Ask them: `celery -A <app> inspect ping`", "Read the log of a worker", "Compare the broker's URL, its database and `global_keyprefix` with `[collectors.celery]`"],
                },
            )
            .only(&[("celery.worker.state", "up")])
            .for_minutes(2),
        ]
    }
}

signal! {
    /// Whether a worker of Celery is there: 1 while its heartbeats come, 0 when they stay away; absent once it said that it stops, and some time after it was lost.
    pub gauge CeleryWorkerUp = "celery.worker.up" => "celery.worker.up" "{state}" reportable false {
        labels {
            /// Name of the worker, such as `celery@host`.
            worker as "celery.worker.name": open(200),
        }
        panels [
            Panel::new("Celery workers by name", View::Value("celery.worker.up"), "1 where a worker's heartbeats come, 0 where they stay away although it did not stop.")
                .by(&["celery.worker.name"])
                .section("Celery workers"),
        ]
        alerts [
            Alert::new(
                "CeleryWorkerLost",
                Severity::Warning,
                Condition::ValueBelow { metric: "celery.worker.up", threshold: 1.0 },
                "A worker of Celery is gone without having stopped",
                Runbook {
                    meaning: "Its heartbeats stay away, and it did not say that it stops. What it ran is lost, or comes again after the visibility timeout if it is acknowledged late.",
                    causes: &["It was killed, such as for want of memory", "Its machine is gone", "It hangs, or the network between it and Redis is broken"],
                    actions: &["Look for it on its machine, and for `Killed process` in the kernel's log", "See how many messages are not acknowledged", "Start it anew; it leaves the page by itself after some minutes"],
                },
            )
            .for_minutes(1)
            .by(&["celery.worker.name"]),
        ]
    }
}

signal! {
    /// Tasks that a worker of Celery runs now, as its heartbeat says.
    pub gauge CeleryWorkerActive = "celery.worker.active" => "celery.worker.active" "{task}" reportable false {
        labels {
            /// Name of the worker, such as `celery@host`.
            worker as "celery.worker.name": open(200),
        }
        panels [
            Panel::new("Tasks of Celery workers", View::Value("celery.worker.active"), "Tasks that each worker runs, as it says itself.")
                .by(&["celery.worker.name"])
                .section("Celery workers"),
        ]
        no_alert "a worker that is busy does what it should; waits are watched"
    }
}

signal! {
    /// Tasks that a worker of Celery began to run since it was first heard, as its heartbeats say.
    pub counter CeleryWorkerProcessed = "celery.worker.processed" => "celery.worker.processed" "{task}" reportable false {
        labels {
            /// Name of the worker, such as `celery@host`.
            worker as "celery.worker.name": open(200),
        }
        panels [
            Panel::new("Work of Celery workers", View::Rate("celery.worker.processed"), "Tasks that each worker began to run, a second, as it says itself.")
                .by(&["celery.worker.name"])
                .section("Celery workers"),
        ]
        no_alert "queues that grow are watched"
    }
}

signal! {
    /// Processes, threads or greenlets in which a worker of Celery runs tasks, as it answers; absent unless workers are asked.
    pub gauge CeleryWorkerConcurrency = "celery.worker.concurrency" => "celery.worker.concurrency" "{slot}" reportable false {
        labels {
            /// Name of the worker, such as `celery@host`.
            worker as "celery.worker.name": open(200),
        }
        panels [
            Panel::new("Size of Celery workers", View::Value("celery.worker.concurrency"), "How many tasks each worker can run at once, where workers are asked.")
                .by(&["celery.worker.name"])
                .section("Celery workers"),
        ]
        no_alert "it is a setting of the worker"
    }
}

signal! {
    /// Tasks that wait in a queue of Celery, of all priorities.
    pub gauge CeleryQueueLength = "celery.queue.size" => "celery.queue.size" "{task}" reportable false {
        labels {
            /// Name of the queue.
            queue as "celery.queue.name": open(200),
        }
        panels [
            Panel::new("Celery queues", View::Value("celery.queue.size"), "Tasks that wait in each queue and that no worker has taken.")
                .by(&["celery.queue.name"])
                .section("Celery queues")
                .headline(),
        ]
        alerts [
            Alert::new(
                "CeleryQueueBacklog",
                Severity::Warning,
                Condition::ValueAbove { metric: "celery.queue.size", threshold: 100.0 },
                "More than 100 tasks wait in a queue of Celery",
                Runbook {
                    meaning: "Tasks come in faster than workers take them, or no worker takes them.",
                    causes: &["Workers are gone or stuck", "No worker consumes this queue: it is not in its `-Q`", "A burst of tasks, or tasks that have become slower"],
                    actions: &["Ask who consumes it: `celery -A <app> inspect active_queues`", "Compare task durations with before", "Start more workers"],
                },
            )
            .for_minutes(10)
            .by(&["celery.queue.name"]),
            Alert::new(
                "CeleryQueueGrows",
                Severity::Warning,
                Condition::Growing { metric: "celery.queue.size", threshold: 1000.0, ahead_seconds: 3600 },
                "A queue of Celery grows, and will hold more than 1000 tasks within the hour",
                Runbook {
                    meaning: "As the queue has grown lately, it passes 1000 waiting tasks within an hour. There is time to act before users notice.",
                    causes: &["More comes in than workers take", "Workers have become slower, or fewer", "A task that fails is sent again and again"],
                    actions: &["Compare the rate of tasks that end with an hour ago", "Look for workers that are lost, and for retries", "Start more workers, or hold back what sends the tasks"],
                },
            )
            .for_minutes(15)
            .over_minutes(30)
            .by(&["celery.queue.name"]),
        ]
    }
}

signal! {
    /// Tasks that wait in a queue of Celery, by priority step.
    pub gauge CeleryQueuePriorityLength = "celery.queue.priority" => "celery.queue.priority.size" "{task}" reportable false {
        labels {
            /// Name of the queue.
            queue as "celery.queue.name": open(200),
            /// The step: 0 is taken first.
            priority as "celery.queue.priority": open(10),
        }
        panels [
            Panel::new("Celery queues by priority", View::Value("celery.queue.priority.size"), "Tasks that wait, by queue and priority step; 0 is taken first.")
                .by(&["celery.queue.name", "celery.queue.priority"])
                .section("Celery queues"),
        ]
        no_alert "the length of the whole queue is watched"
    }
}

signal! {
    /// Tasks that workers of Celery took out of their queues and did not acknowledge yet: those that run late-acknowledged, are kept in advance, or wait for their time.
    pub gauge CeleryUnacknowledged = "celery.unacknowledged" => "celery.unacknowledged" "{task}" reportable false {
        labels {}
        panels [
            Panel::new("Not acknowledged", View::Value("celery.unacknowledged"), "Tasks that workers took and did not acknowledge. Those of a worker that died come back to their queue after the visibility timeout.")
                .section("Celery queues"),
        ]
        no_alert "tasks that wait for their time and those kept in advance are in it"
    }
}

signal! {
    /// When the task was taken that has been unacknowledged the longest, seconds since the Unix epoch; absent if there is none.
    pub gauge CeleryUnacknowledgedOldest = "celery.unacknowledged.oldest" => "celery.unacknowledged.oldest.timestamp" "s" reportable false {
        labels {}
        panels [
            Panel::new("Longest not acknowledged", View::Age("celery.unacknowledged.oldest.timestamp"), "How long ago the task was taken that waits longest for its acknowledgement. Above the visibility timeout nobody gives such tasks back, as no worker is there.")
                .section("Celery queues"),
        ]
        no_alert "tasks that wait for their time are in it"
    }
}

signal! {
    /// Events of Celery that were heard.
    pub counter CeleryEvent = "celery.event" => "celery.events" "{event}" reportable false {
        labels {
            /// Type of the event.
            event_type as "celery.event.type": closed(CeleryEventType),
        }
        panels [
            Panel::new("Celery events", View::Rate("celery.events"), "Events that were heard, a second, by type.")
                .by(&["celery.event.type"])
                .section("Listening to Celery"),
        ]
        no_alert "whether events come is watched"
    }
}

signal! {
    /// Events of Celery, or parts of them, that could not be used.
    pub counter CeleryEventUnused = "celery.event.unused" => "celery.events.unused" "{event}" reportable false {
        labels {
            /// Why.
            problem as "celery.event.problem": closed(CeleryEventProblem),
        }
        panels [
            Panel::new("Celery events not used", View::Rate("celery.events.unused"), "Events that could not be used, a second, by reason.")
                .by(&["celery.event.problem"])
                .section("Listening to Celery"),
        ]
        no_alert "clocks differ, and applications send events of their own; whether events come is watched"
    }
}

signal! {
    /// Whether a kind of events comes: 1 if some were heard, 0 if work goes on and none are; absent while it is not known.
    pub gauge CeleryEventsEnabled = "celery.events.enabled" => "celery.events.enabled" "{state}" reportable false {
        labels {
            /// The kind.
            group as "celery.event.group": closed(CeleryEventGroup),
        }
        panels [
            Panel::new("Celery events turned on", View::Value("celery.events.enabled"), "1 where a kind of events comes, 0 where work goes on without them.")
                .by(&["celery.event.group"])
                .section("Listening to Celery")
                .headline(),
        ]
        alerts [
            Alert::new(
                "CeleryEventsDisabled",
                Severity::Warning,
                Condition::ValueBelow { metric: "celery.events.enabled", threshold: 1.0 },
                "Workers of Celery run tasks and send no events of them",
                Runbook {
                    meaning: "Workers say that they run tasks, and tell of none: what is shown of tasks is too little, or nothing.",
                    causes: &["A worker was started without `-E`", "`worker_send_task_events` is off", "Somebody turned them off with `control disable_events`", "The tasks have `send_events = False`"],
                    actions: &["Now, until they start anew: `celery -A <app> control enable_events`", "For good: start workers with `-E`, or set `worker_send_task_events = True`", "Set `task_send_sent_event = True` where tasks are sent, so that waits and queues are known"],
                },
            )
            .only(&[("celery.event.group", "task")]),
        ]
    }
}

signal! {
    /// Whether events of Celery can be heard: 1 while the reader is subscribed, 0 while it is not.
    pub gauge CeleryListening = "celery.listening" => "celery.events.connected" "{state}" reportable false {
        labels {}
        panels [
            Panel::new("Listening", View::Value("celery.events.connected"), "1 while events can be heard. What is sent while they cannot is lost.")
                .section("Listening to Celery")
                .headline(),
        ]
        alerts [
            Alert::new(
                "CeleryEventsNotHeard",
                Severity::Warning,
                Condition::ValueBelow { metric: "celery.events.connected", threshold: 1.0 },
                "Events of Celery cannot be heard",
                Runbook {
                    meaning: "The reader is not subscribed to events. Redis keeps none: tasks that are sent, run and fail meanwhile are not counted.",
                    causes: &["Redis is away, or refuses the connection", "The user may not subscribe: the ACL lacks the channel", "The network between is broken"],
                    actions: &["Read the log for the collector `celery`", "Compare the ACL of the user with docs/celery.md", "Nothing needs to be done afterwards: it listens again by itself, and the gap is counted"],
                },
            )
            .for_minutes(1),
        ]
    }
}

signal! {
    /// Times that listening to events of Celery broke off.
    pub counter CeleryGap = "celery.gap" => "celery.events.gaps" "{gap}" reportable false {
        labels {}
        panels [
            Panel::new("Gaps", View::Total("celery.events.gaps"), "How often listening broke off over the range shown. What was sent meanwhile is lost.")
                .section("Listening to Celery"),
        ]
        no_alert "one that lasts is watched"
    }
}

signal! {
    /// Time during which events of Celery could not be heard, after they had been.
    pub sum CeleryGapTime = "celery.gap.time" => "celery.events.gap.time" "s" reportable false {
        labels {}
        panels [
            Panel::new("Time in gaps", View::Total("celery.events.gap.time"), "How long events could not be heard over the range shown; a gap is added when it ends.")
                .section("Listening to Celery"),
        ]
        no_alert "one that lasts is watched"
    }
}
