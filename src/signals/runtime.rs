//! Runtimes of Tokio, which asynchronous code runs on. The semantic conventions (v1.41.0) have
//! none for them.

use crate::catalog::{Alert, Condition, Panel, Runbook, Severity, View};
use crate::signal;

signal! {
    /// Threads that run tasks.
    pub gauge RuntimeWorkers = "tokio.runtime.workers" => "tokio.runtime.workers" "{thread}" reportable false {
        labels {
            /// Name of the runtime, or of several alike.
            runtime as "tokio.runtime.name": open(16),
        }
        panels [
            Panel::new("Workers of runtimes", View::Value("tokio.runtime.workers"), "Threads that run tasks, by runtime.")
                .by(&["tokio.runtime.name"])
                .section("Runtime"),
        ]
        no_alert "it is a setting; how busy they are is watched"
    }
}

signal! {
    /// Tasks that were spawned and have not ended.
    pub gauge RuntimeTasks = "tokio.runtime.tasks" => "tokio.runtime.tasks.alive" "{task}" reportable false {
        labels {
            /// Name of the runtime, or of several alike.
            runtime as "tokio.runtime.name": open(16),
        }
        panels [
            Panel::new("Tasks", View::Value("tokio.runtime.tasks.alive"), "Tasks that were spawned and have not ended, by runtime.")
                .by(&["tokio.runtime.name"])
                .section("Runtime"),
        ]
        no_alert "how many are normal is the application's; each connection may be one"
    }
}

signal! {
    /// Tasks that can run and wait for a worker in the queue that workers share.
    pub gauge RuntimeQueue = "tokio.runtime.queue" => "tokio.runtime.queue.depth" "{task}" reportable false {
        labels {
            /// Name of the runtime, or of several alike.
            runtime as "tokio.runtime.name": open(16),
        }
        panels [
            Panel::new("Tasks that wait", View::Value("tokio.runtime.queue.depth"), "Tasks that can run and wait in the queue that workers share, by runtime.")
                .by(&["tokio.runtime.name"])
                .section("Runtime")
                .headline(),
        ]
        alerts [
            Alert::new(
                "RuntimeQueueLong",
                Severity::Warning,
                Condition::ValueAbove { metric: "tokio.runtime.queue.depth", threshold: 1000.0 },
                "More than 1000 tasks have waited for a worker of a runtime for five minutes",
                Runbook {
                    meaning: "Tasks that could go on do not get to run. Everything on the runtime is late by as much.",
                    causes: &["Code that blocks a worker: files, locks, long computing", "More load than the CPUs can take"],
                    actions: &["Compare with the busy share: low, and something blocks; high, and there is too much to do", "Move what blocks to `spawn_blocking` or a thread of its own", "See the CPU of the process"],
                },
            )
            .for_minutes(5)
            .by(&["tokio.runtime.name"]),
        ]
    }
}

signal! {
    /// Time that workers spent running tasks.
    pub sum RuntimeBusy = "tokio.runtime.busy" => "tokio.runtime.busy.time" "s" reportable false {
        labels {
            /// Name of the runtime, or of several alike.
            runtime as "tokio.runtime.name": open(16),
        }
        panels [
            Panel::new("Busy workers", View::Rate("tokio.runtime.busy.time"), "Seconds that workers spend running tasks, a second: 1 is one worker that is always busy.")
                .by(&["tokio.runtime.name"])
                .section("Runtime"),
        ]
        no_alert "its share is watched"
    }
}

signal! {
    /// Share of the time since the round before in which workers ran tasks.
    pub gauge RuntimeUtilization = "tokio.runtime.share" => "tokio.runtime.utilization" "1" reportable false {
        labels {
            /// Name of the runtime, or of several alike.
            runtime as "tokio.runtime.name": open(16),
        }
        panels [
            Panel::new("Busy share", View::Value("tokio.runtime.utilization"), "Share of the time in which the workers of a runtime run tasks. Waiting for something asynchronous is none of it; blocking is.")
                .by(&["tokio.runtime.name"])
                .section("Runtime")
                .headline(),
        ]
        alerts [
            Alert::new(
                "RuntimeSaturated",
                Severity::Warning,
                Condition::ValueAbove { metric: "tokio.runtime.utilization", threshold: 0.9 },
                "The workers of a runtime have been busy for more than 90 % of ten minutes",
                Runbook {
                    meaning: "Nearly all the time of the workers is used: what becomes ready waits for its turn.",
                    causes: &["More load than the workers can take", "Code that blocks them: files, locks, long computing"],
                    actions: &["Compare with the CPU of the process: low, and something blocks", "Move what blocks to `spawn_blocking` or a thread of its own", "Give the runtime more workers, if there are CPUs"],
                },
            )
            .for_minutes(10)
            .by(&["tokio.runtime.name"]),
        ]
    }
}

signal! {
    /// Share of the time since the round before in which the busiest worker ran tasks.
    pub gauge RuntimeBusiest = "tokio.runtime.busiest" => "tokio.runtime.worker.utilization.max" "1" reportable false {
        labels {
            /// Name of the runtime, or of several alike.
            runtime as "tokio.runtime.name": open(16),
        }
        panels [
            Panel::new("Busiest worker", View::Value("tokio.runtime.worker.utilization.max"), "Share of the time in which the busiest worker of a runtime runs tasks. Where it is far above the others, something holds it.")
                .by(&["tokio.runtime.name"])
                .section("Runtime"),
        ]
        no_alert "one busy worker harms where each has its own tasks only; the latency of requests is watched"
    }
}

signal! {
    /// How often workers had nothing to do and went to sleep.
    pub counter RuntimeParks = "tokio.runtime.parks" => "tokio.runtime.parks" "{park}" reportable false {
        labels {
            /// Name of the runtime, or of several alike.
            runtime as "tokio.runtime.name": open(16),
        }
        panels [
            Panel::new("Workers that went to sleep", View::Rate("tokio.runtime.parks"), "How often the workers of a runtime have nothing to do and go to sleep, a second. None at all: they are always busy, or blocked.")
                .by(&["tokio.runtime.name"])
                .section("Runtime"),
        ]
        no_alert "the busy share is watched"
    }
}
