//! Tasks that agents and workers carry out, their retries and the queues they wait in.

use crate::catalog::{Alert, Condition, JOB, Panel, Runbook, Severity, View, WAIT};
use crate::signal;

pub use super::workflow::RunStatus;

signal! {
    /// One run of a task by a worker or an agent.
    pub operation TaskRun => TaskRunEnd = "task.run" {
        labels {
            /// Kind of task.
            task_type: open(100),
            /// Kind of agent that runs it.
            agent_type: optional(50),
        }
        outcome {
            /// How the run ended.
            status: closed(RunStatus),
        }
        context {
            /// Id shared by everything that belongs to one request or task.
            CORRELATION_ID = "correlation_id",
            /// Id of the task.
            TASK_ID = "task_id",
        }
        metrics {
            /// Task runs that ended.
            "task.executions" = counter "{run}" count by [task_type, agent_type, status];
            /// Wall time of a task run.
            "task.duration" = histogram "s" duration by [task_type, agent_type] buckets (JOB);
            /// Task runs under way now.
            "task.active" = in_flight "{run}" active by [task_type, agent_type];
        }
        panels [
            Panel::new("Task runs", View::Rate("task.executions"), "Runs that ended, a second, by type of task.")
                .by(&["task_type"])
                .section("Tasks")
                .headline(),
            Panel::new("Failing tasks", View::ErrorRatio("task.executions"), "Share of a task type's runs that failed or took longer than they may.")
                .by(&["task_type"])
                .section("Tasks")
                .headline(),
            Panel::new("Task duration", View::Quantiles("task.duration"), "The 95th percentile of the wall time of task runs, by type.")
                .by(&["task_type"])
                .section("Tasks")
                .headline(),
            Panel::new("Task error budget left", View::Budget("task.executions"), "What is left of the share of task runs that may fail, over the range shown: 100 % if none failed, below 0 if too many did.")
                .section("Tasks")
                .headline(),
            Panel::new("Task runs by status", View::Rate("task.executions"), "Runs that ended, a second, by status.")
                .by(&["status"])
                .section("Tasks"),
            Panel::new("Tasks under way", View::Value("task.active"), "Task runs that have started and not ended, by kind of agent.")
                .by(&["agent_type"])
                .section("Tasks"),
            Panel::new("Work of workers", View::Total("task.duration"), "Seconds that workers spent over the range shown, by type of task.")
                .by(&["task_type"])
                .section("Tasks"),
            Panel::new("Duration by bucket", View::Heatmap("task.duration"), "Distribution of the wall time of task runs; exemplars link to traces.")
                .section("Tasks"),
        ]
        alerts [
            Alert::new(
                "TaskFailureRateHigh",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "task.executions", ratio: 0.1, floor: 10 },
                "More than 10 % of a task type's runs fail",
                Runbook {
                    meaning: "Of the runs of this task type that ended lately, more than one in ten failed or ran out of time.",
                    causes: &["Something the task needs is away", "A new version of the task has a defect", "Input that the task cannot handle is tried again and again"],
                    actions: &["Read the log of failed runs by their task id", "See in the retries panel for which reason they are tried again", "Take input that can never succeed out of the queue"],
                },
            )
            .by(&["task_type"])
            .over_minutes(30),
            Alert::new(
                "TaskErrorBudgetBurns",
                Severity::Critical,
                Condition::BurnRate { metric: "task.executions", objective: 0.95 },
                "Failing tasks use the error budget up too fast",
                Runbook {
                    meaning: "At this rate, more than the 5 % of failing runs that the objective allows is used up well before the month ends.",
                    causes: &["Something that most tasks need is away", "A new version of the workers has a defect"],
                    actions: &["Find the task types with most failures", "If it goes on, treat it as TaskFailureRateHigh", "If it has ended, slow risky changes down until the budget recovers"],
                },
            )
            .for_minutes(2),
            Alert::new(
                "TaskErrorBudgetUnknown",
                Severity::Info,
                Condition::Absent { metric: "task.executions" },
                "No task runs are counted any more, so their objective cannot be judged",
                Runbook {
                    meaning: "The service published this metric within the last day and no longer does. As long as nothing is known, the alerts of the error budget stay silent.",
                    causes: &["Nothing has run since the process was started anew, for instance at night", "The code that records task runs was changed, or is no longer reached"],
                    actions: &["See when the process started and whether task runs should have come since", "If some did, look for the signal with `tachograph catalog` and compare it with what the code records"],
                },
            )
            .for_minutes(15),
            Alert::new(
                "TaskSlow",
                Severity::Warning,
                Condition::QuantileAbove { metric: "task.duration", quantile: 0.95, threshold: 600.0, floor: 5 },
                "The 95th percentile of a task type is above 10 minutes",
                Runbook {
                    meaning: "One run of this task type in twenty takes longer than ten minutes.",
                    causes: &["A call without a timeout", "More data per task than before", "Workers that share too little CPU"],
                    actions: &["Open an exemplar's trace from the slow buckets", "Compare the number of tasks under way with the workers' CPU", "Split the task, or give it a timeout"],
                },
            )
            .for_minutes(15)
            .by(&["task_type"])
            .over_minutes(60),
            Alert::new(
                "TasksStuck",
                Severity::Warning,
                Condition::Stuck { in_flight: "task.active", ended: "task.executions" },
                "Tasks are under way and none ends",
                Runbook {
                    meaning: "Tasks of this type have started, and none has ended for a long time.",
                    causes: &["A worker hangs in a call without a timeout", "A lock is held by a worker that is gone"],
                    actions: &["Take a stack dump of a worker", "Look at locks in the database", "Restart the workers; unfinished tasks are counted as abandoned"],
                },
            )
            .for_minutes(30)
            .by(&["task_type"]),
        ]
    }
}

signal! {
    /// Tasks that were tried again.
    pub counter TaskRetried = "task.retry" => "task.retries" "{retry}" {
        labels {
            /// Kind of task.
            task_type: open(100),
            /// Why: one of few words, such as `timeout`, never an error's text.
            reason: open(20),
        }
        panels [
            Panel::new("Task retries", View::Rate("task.retries"), "Tasks that were tried again, a second, by reason.")
                .by(&["task_type", "reason"])
                .section("Queues and retries"),
        ]
        alerts [
            Alert::new(
                "TaskRetriesHigh",
                Severity::Warning,
                Condition::RateAbove { metric: "task.retries", per_second: 1.0 },
                "A task type is tried again more than once a second",
                Runbook {
                    meaning: "Work is done again and again. Even if it succeeds in the end, it takes capacity from other work.",
                    causes: &["What the task needs is away or throttles", "Retries without a growing pause", "A task that can never succeed"],
                    actions: &["Split by `reason`", "Check what the task calls", "Lengthen the pause between tries and bound their number"],
                },
            )
            .for_minutes(10)
            .by(&["task_type", "reason"]),
        ]
    }
}

signal! {
    /// Tasks that wait in a queue.
    pub gauge TaskQueueSize = "task.queue" => "task.queue.size" "{task}" {
        labels {
            /// Name of the queue, where there are several.
            queue: optional(50),
            /// Priority, such as `high`, where the queue has priorities.
            priority: optional(10),
        }
        panels [
            Panel::new("Tasks waiting", View::Value("task.queue.size"), "Tasks that wait, by queue and priority.")
                .by(&["queue", "priority"])
                .section("Queues and retries")
                .headline(),
        ]
        alerts [
            Alert::new(
                "TaskQueueBacklog",
                Severity::Warning,
                Condition::ValueAbove { metric: "task.queue.size", threshold: 50.0 },
                "More than 50 tasks wait in a queue",
                Runbook {
                    meaning: "Tasks come in faster than workers take them, or no worker takes them.",
                    causes: &["Workers are down or stuck", "A burst of tasks", "Tasks have become slower"],
                    actions: &["See whether tasks of the queue end at all", "Compare task duration with before", "Start more workers"],
                },
            )
            .for_minutes(10)
            .by(&["queue", "priority"]),
            Alert::new(
                "TaskQueueBacklogHighPriority",
                Severity::Critical,
                Condition::ValueAbove { metric: "task.queue.size", threshold: 50.0 },
                "More than 50 tasks of high priority wait in a queue",
                Runbook {
                    meaning: "Work that was marked as urgent waits: it comes in faster than workers take it, or no worker takes it.",
                    causes: &["Workers are down or stuck", "A burst of urgent tasks, or tasks that are marked urgent and are not", "Workers are busy with tasks of lower priority"],
                    actions: &["See whether tasks of the queue end at all", "Let workers take tasks of high priority first, or give them workers of their own", "Start more workers"],
                },
            )
            .only(&[("priority", "high")])
            .by(&["queue", "priority"]),
            Alert::new(
                "TaskQueueGrows",
                Severity::Warning,
                Condition::Growing { metric: "task.queue.size", threshold: 500.0, ahead_seconds: 3600 },
                "A queue grows, and will hold more than 500 tasks within the hour",
                Runbook {
                    meaning: "As the queue has grown lately, it passes 500 waiting tasks within an hour. There is time to act before users notice.",
                    causes: &["More comes in than workers take", "Workers have become slower, or fewer", "A task that fails is put back again and again"],
                    actions: &["Compare the rate of tasks that end with an hour ago", "Look for workers that are down, and for retries", "Start more workers, or hold back what puts the tasks in"],
                },
            )
            .for_minutes(15)
            .over_minutes(30)
            .by(&["queue", "priority"]),
        ]
    }
}

signal! {
    /// How long a task waited in its queue before a worker took it.
    pub distribution TaskWait = "task.wait" => "task.queue.wait" "s" {
        labels {
            /// Name of the queue, where there are several.
            queue: optional(50),
            /// Priority, such as `high`, where the queue has priorities.
            priority: optional(10),
        }
        buckets (WAIT)
        panels [
            Panel::new("Wait in the queue", View::Quantiles("task.queue.wait"), "The 95th percentile of the time from putting a task into its queue to a worker taking it, by queue and priority.")
                .by(&["queue", "priority"])
                .section("Queues and retries")
                .headline(),
            Panel::new("Waits by length", View::Heatmap("task.queue.wait"), "Distribution of the time that tasks waited in a queue.")
                .section("Queues and retries"),
        ]
        alerts [
            Alert::new(
                "TaskWaitLong",
                Severity::Warning,
                Condition::QuantileAbove { metric: "task.queue.wait", quantile: 0.95, threshold: 300.0, floor: 10 },
                "The 95th percentile of the wait in a queue is above 5 minutes",
                Runbook {
                    meaning: "Of the tasks that workers took from this queue lately, one in twenty had waited longer than five minutes. Tasks that still wait are not in it: see the size of the queue.",
                    causes: &["Too few workers, or some are down", "A burst of tasks", "Long tasks hold up short ones in the same queue"],
                    actions: &["Compare the size of the queue and the duration of its tasks with before", "Start more workers", "Give long tasks a queue of their own"],
                },
            )
            .for_minutes(10)
            .over_minutes(30)
            .by(&["queue", "priority"]),
        ]
    }
}
