//! Workflows: runs from start to final status, their steps and their approvals.

use crate::catalog::{Alert, Condition, JOB, Panel, Runbook, SESSION, Severity, View};
use crate::{closed_label, signal};

closed_label! {
    /// How a run of a workflow, a task or an agent ended.
    pub enum RunStatus {
        /// It did what it was meant to do.
        Success = "success",
        /// It failed.
        Failed = "failed" error,
        /// It took longer than it may.
        Timeout = "timeout" error,
        /// Somebody stopped it.
        Cancelled = "cancelled",
        /// Nobody reported its end.
        Abandoned = "abandoned" abandoned,
    }
}

closed_label! {
    /// How a step of a workflow ended.
    pub enum StepStatus {
        /// It did what it was meant to do.
        Completed = "completed",
        /// It failed.
        Failed = "failed" error,
        /// It took longer than it may.
        Timeout = "timeout" error,
        /// It was not needed.
        Skipped = "skipped",
        /// Somebody stopped it.
        Cancelled = "cancelled",
    }
}

closed_label! {
    /// What was decided about a request for approval.
    pub enum Decision {
        /// The workflow may go on.
        Approved = "approved",
        /// The workflow may not go on.
        Rejected = "rejected",
        /// Nobody decided in time.
        Expired = "expired",
        /// Nobody reported what was decided.
        Abandoned = "abandoned" abandoned,
    }
}

signal! {
    /// One run of a workflow, from its start to its final status.
    pub operation WorkflowRun => WorkflowRunEnd = "workflow.run" {
        labels {
            /// Kind of workflow.
            workflow_type: open(64),
        }
        outcome {
            /// How the run ended.
            status: closed(RunStatus),
        }
        context {
            /// Id shared by everything that belongs to one request or task.
            CORRELATION_ID = "correlation_id",
            /// Id of the run.
            WORKFLOW_ID = "workflow_id",
        }
        metrics {
            /// Workflow runs that ended.
            "workflow.executions" = counter "{run}" count by [workflow_type, status];
            /// Wall time of a workflow run.
            "workflow.duration" = histogram "s" duration by [workflow_type] buckets (JOB);
            /// Workflow runs under way now.
            "workflow.active" = in_flight "{run}" active by [workflow_type];
        }
        panels [
            Panel::new("Workflow runs", View::Rate("workflow.executions"), "Runs that ended, a second, by type.")
                .by(&["workflow_type"])
                .headline(),
            Panel::new("Failing workflows", View::ErrorRatio("workflow.executions"), "Share of a type's runs that failed or took longer than they may.")
                .by(&["workflow_type"])
                .headline(),
            Panel::new("Workflow duration", View::Quantiles("workflow.duration"), "The 95th percentile of the wall time of runs, by type.")
                .by(&["workflow_type"])
                .headline(),
            Panel::new("Workflows under way", View::Value("workflow.active"), "Runs that have started and not ended.")
                .by(&["workflow_type"])
                .headline(),
            Panel::new("Workflow error budget left", View::Budget("workflow.executions"), "What is left of the share of runs that may fail, over the range shown: 100 % if none failed, below 0 if too many did.")
                .headline(),
            Panel::new("Runs by status", View::Rate("workflow.executions"), "Runs that ended, a second, by status.")
                .by(&["status"]),
            Panel::new("Runs over the range", View::Total("workflow.executions"), "Runs that ended over the range shown, by type and status.")
                .by(&["workflow_type", "status"]),
            Panel::new("Duration of all", View::Quantiles("workflow.duration"), "Percentiles of the wall time of runs of every type."),
            Panel::new("Duration by bucket", View::Heatmap("workflow.duration"), "Distribution of the wall time of runs; exemplars link to traces."),
        ]
        alerts [
            Alert::new(
                "WorkflowFailureRateHigh",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "workflow.executions", ratio: 0.1, floor: 10 },
                "More than 10 % of the workflow runs fail",
                Runbook {
                    meaning: "Of the runs of this type that ended lately, more than one in ten failed or ran out of time. Cancelled runs do not count as failures.",
                    causes: &[
                        "A step fails: a tool, a model or a service it calls is away",
                        "A new version of the workflow has a defect",
                        "Input of a new kind that the workflow does not expect",
                    ],
                    actions: &[
                        "See in the steps panel which step type fails",
                        "Open the trace of a failed run through its correlation id",
                        "Compare the start with the last deployment, and roll back if they coincide",
                    ],
                },
            )
            .by(&["workflow_type"])
            .over_minutes(30),
            Alert::new(
                "WorkflowErrorBudgetBurns",
                Severity::Critical,
                Condition::BurnRate { metric: "workflow.executions", objective: 0.95 },
                "Failing workflow runs use the error budget up too fast",
                Runbook {
                    meaning: "At this rate, more than the 5 % of failing runs that the objective allows is used up well before the month ends.",
                    causes: &["A tool, a model or a service that most workflows need is away", "A new version of a workflow has a defect"],
                    actions: &["Find the workflow types with most failures", "If it goes on, treat it as WorkflowFailureRateHigh", "If it has ended, slow risky changes down until the budget recovers"],
                },
            )
            .for_minutes(2),
            Alert::new(
                "WorkflowErrorBudgetUnknown",
                Severity::Info,
                Condition::Absent { metric: "workflow.executions" },
                "No workflow runs are counted any more, so their objective cannot be judged",
                Runbook {
                    meaning: "The service published this metric within the last day and no longer does. As long as nothing is known, the alerts of the error budget stay silent.",
                    causes: &["Nothing has run since the process was started anew, for instance at night", "The code that records workflow runs was changed, or is no longer reached"],
                    actions: &["See when the process started and whether workflow runs should have come since", "If some did, look for the signal with `tachograph catalog` and compare it with what the code records"],
                },
            )
            .for_minutes(15),
            Alert::new(
                "WorkflowSlow",
                Severity::Warning,
                Condition::QuantileAbove { metric: "workflow.duration", quantile: 0.95, threshold: 600.0, floor: 5 },
                "The 95th percentile of workflow runs is above 10 minutes",
                Runbook {
                    meaning: "One run of this type in twenty takes longer than ten minutes.",
                    causes: &[
                        "Model or tool calls have become slow, or are retried",
                        "Runs wait: for approval, for a queue, for a lock",
                        "The work itself has grown",
                    ],
                    actions: &[
                        "Open an exemplar's trace from the slow buckets and see which span takes the time",
                        "Compare with the latency of models and tools, and with the task queue",
                        "If the work takes that long by nature, give the type an alert of its own",
                    ],
                },
            )
            .for_minutes(15)
            .by(&["workflow_type"])
            .over_minutes(60),
            Alert::new(
                "WorkflowsStuck",
                Severity::Warning,
                Condition::Stuck { in_flight: "workflow.active", ended: "workflow.executions" },
                "Workflow runs are under way and none ends",
                Runbook {
                    meaning: "Runs of this type have started, and none has ended for a long time.",
                    causes: &[
                        "They wait for an approval that nobody gives",
                        "They wait for a service that does not answer and has no timeout",
                        "The workers that should carry them on are down",
                    ],
                    actions: &[
                        "Look for open approvals",
                        "Look at the last log lines of a run by its correlation id",
                        "Cancel runs that nobody needs; restart workers that do nothing",
                    ],
                },
            )
            .for_minutes(30)
            .by(&["workflow_type"]),
        ]
    }
}

signal! {
    /// Steps of workflows that ended.
    pub counter WorkflowStep = "workflow.step" => "workflow.steps" "{step}" {
        labels {
            /// Kind of workflow.
            workflow_type: open(64),
            /// Kind of step.
            step_type: open(64),
            /// How the step ended.
            status: closed(StepStatus),
        }
        panels [
            Panel::new("Workflow steps", View::Rate("workflow.steps"), "Steps that ended, a second, by type and status.")
                .by(&["step_type", "status"])
                .section("Steps and approvals"),
            Panel::new("Failing steps", View::ErrorRatio("workflow.steps"), "Share of a step type's steps that failed or took longer than they may.")
                .by(&["workflow_type", "step_type"])
                .section("Steps and approvals")
                .headline(),
        ]
        alerts [
            Alert::new(
                "WorkflowStepsFailing",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "workflow.steps", ratio: 0.2, floor: 10 },
                "More than 20 % of a step type's steps fail",
                Runbook {
                    meaning: "Steps of this type fail often, even where the runs they belong to recover by trying again.",
                    causes: &["The tool or service behind the step is away or slow", "The step gets input it does not expect"],
                    actions: &["Find the step's errors in the log", "Check what it calls", "Compare with the last change of the step"],
                },
            )
            .by(&["workflow_type", "step_type"])
            .over_minutes(30),
        ]
    }
}

signal! {
    /// One request for approval, from when a workflow asks to when somebody decides.
    pub operation WorkflowApproval => WorkflowApprovalEnd = "workflow.approval" {
        labels {
            /// Kind of workflow.
            workflow_type: open(64),
        }
        outcome {
            /// What was decided.
            decision: closed(Decision),
        }
        context {
            /// Id shared by everything that belongs to one request or task.
            CORRELATION_ID = "correlation_id",
            /// Conversation, session or thread it belongs to.
            CONVERSATION_ID = "gen_ai.conversation.id",
            /// Id of the run that waits.
            WORKFLOW_ID = "workflow_id",
        }
        metrics {
            /// Requests for approval that were decided.
            "workflow.approvals" = counter "{decision}" count by [workflow_type, decision];
            /// How long a workflow waited for a decision.
            "workflow.approval.wait" = histogram "s" duration by [workflow_type, decision] buckets (SESSION);
            /// Requests for approval that wait now.
            "workflow.approval.pending" = in_flight "{request}" active by [workflow_type];
        }
        panels [
            Panel::new("Approvals", View::Rate("workflow.approvals"), "Requests for approval that were decided, a second, by decision.")
                .by(&["decision"])
                .section("Steps and approvals"),
            Panel::new("Decisions over the range", View::Total("workflow.approvals"), "Requests for approval that were decided over the range shown, by type of workflow and decision.")
                .by(&["workflow_type", "decision"])
                .section("Steps and approvals"),
            Panel::new("Wait for approval", View::Quantiles("workflow.approval.wait"), "The 95th percentile of the time from asking to the decision, by type of workflow.")
                .by(&["workflow_type"])
                .section("Steps and approvals"),
            Panel::new("Approvals waiting", View::Value("workflow.approval.pending"), "Requests for approval that nobody has decided, by type of workflow.")
                .by(&["workflow_type"])
                .section("Steps and approvals")
                .headline(),
        ]
        alerts [
            Alert::new(
                "WorkflowApprovalSlow",
                Severity::Info,
                Condition::QuantileAbove { metric: "workflow.approval.wait", quantile: 0.95, threshold: 3600.0, floor: 3 },
                "The 95th percentile of the wait for approval is above 1 hour",
                Runbook {
                    meaning: "Of the requests for approval of this type that were decided lately, one in twenty waited longer than an hour. The workflow stands still meanwhile.",
                    causes: &["Those who may approve do not hear of requests", "Too few people may approve", "Requests come outside working hours", "A request does not say enough to decide on"],
                    actions: &["Look at how requests reach those who decide", "Let more people approve, or approve what carries little risk by rule", "Give requests a deadline after which they count as expired"],
                },
            )
            .over_minutes(360)
            .by(&["workflow_type"]),
            Alert::new(
                "WorkflowApprovalsStuck",
                Severity::Warning,
                Condition::Stuck { in_flight: "workflow.approval.pending", ended: "workflow.approvals" },
                "Workflows wait for approval, and nobody decides",
                Runbook {
                    meaning: "Workflows of this type have asked for approval, and none has got an answer for an hour.",
                    causes: &["The message that asks for approval does not arrive", "Nobody who may approve is at work", "The process that waits for the answer no longer hears of it"],
                    actions: &["Find the open requests by the correlation id of their workflows", "Ask those who may approve, or decide in their place", "See whether a decision reaches the workflow at all: make one and watch the run", "Cancel runs that nobody needs"],
                },
            )
            .for_minutes(60)
            .over_minutes(60)
            .by(&["workflow_type"]),
        ]
    }
}
