//! Workflows: runs from start to final status.

use crate::catalog::{Alert, Condition, JOB, Panel, Runbook, Severity, View};
use crate::{closed_label, signal};

closed_label! {
    /// How a workflow run ended.
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
        ]
        alerts [
            Alert::new(
                "WorkflowFailureRateHigh",
                Severity::Critical,
                Condition::ErrorRatioAbove { metric: "workflow.executions", ratio: 0.1, floor: 10 },
                "More than 10 % of the workflow runs fail",
                Runbook { meaning: "x", causes: &[], actions: &[] },
            ),
            Alert::new(
                "WorkflowSlow",
                Severity::Warning,
                Condition::QuantileAbove { metric: "workflow.duration", quantile: 0.95, threshold: 600.0 },
                "The 95th percentile of workflow runs is above 10 minutes",
                Runbook { meaning: "x", causes: &[], actions: &[] },
            ),
            Alert::new(
                "WorkflowsStuck",
                Severity::Warning,
                Condition::Stuck { in_flight: "workflow.active", ended: "workflow.executions" },
                "Workflow runs are under way and none ends",
                Runbook { meaning: "x", causes: &[], actions: &[] },
            ),
        ]
    }
}
