//! Celery's queues, as its broker holds them.

use crate::catalog::{Alert, Condition, Panel, Runbook, Severity, View};
use crate::signal;

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
