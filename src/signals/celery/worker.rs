//! Celery's workers. Those that are gone leave the page, so that gauges may see more of them in time
//! than there are at once; their names stay known.

use crate::catalog::{Alert, Condition, Panel, Runbook, Severity, View};
use crate::{closed_label, signal};

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
            worker as "celery.worker.name": open(2000),
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
            worker as "celery.worker.name": open(2000),
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
            worker as "celery.worker.name": open(2000),
        }
        panels [
            Panel::new("Size of Celery workers", View::Value("celery.worker.concurrency"), "How many tasks each worker can run at once, where workers are asked.")
                .by(&["celery.worker.name"])
                .section("Celery workers"),
        ]
        no_alert "it is a setting of the worker"
    }
}
