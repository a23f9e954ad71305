//! Whether Celery's events are heard.

use crate::catalog::{Alert, Condition, Panel, Runbook, Severity, View};
use crate::{closed_label, signal};

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
