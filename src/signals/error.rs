//! Errors that no other signal counts: by the component that met them, and their kind.

use crate::catalog::{Alert, Condition, Panel, Runbook, Severity, View};
use crate::signal;

signal! {
    /// Errors that a component met.
    pub counter ErrorReport = "error.report" => "error.reports" "{error}" {
        labels {
            /// Component that met the error, such as `scheduler`.
            component: open(50),
            /// Kind of error: one of few words, such as `timeout`, never its text.
            error as "error.type": open(50),
        }
        context {
            /// Id shared by everything that belongs to one request or task.
            CORRELATION_ID = "correlation_id",
            /// Id of the session.
            SESSION_ID = "session.id",
            /// Text of the error.
            MESSAGE = "exception.message",
        }
        panels [
            Panel::new("Errors reported", View::Rate("error.reports"), "Errors that components report, a second, by component and kind.")
                .by(&["component", "error.type"])
                .section("Reported errors")
                .headline(),
            Panel::new("Errors by component", View::Total("error.reports"), "Errors that were reported over the range shown, by component.")
                .by(&["component"])
                .section("Reported errors")
                .headline(),
            Panel::new("Errors by type", View::Total("error.reports"), "Errors that were reported over the range shown, by kind of error.")
                .by(&["error.type"])
                .section("Reported errors"),
        ]
        alerts [
            Alert::new(
                "ComponentErrorsHigh",
                Severity::Warning,
                Condition::IncreaseAbove { metric: "error.reports", amount: 20.0 },
                "A component reports more than 20 errors of one kind in 10 minutes",
                Runbook {
                    meaning: "The same kind of error happens to this component again and again.",
                    causes: &["What the component depends on is away or slow", "A new version of it has a defect", "Input of a kind that it does not expect"],
                    actions: &["Read the latest of these errors in the log, by component and kind", "Follow the correlation id of one of them to the request or task it belongs to", "Compare the start with the last deployment, and roll back if they coincide"],
                },
            )
            .over_minutes(10)
            .by(&["component", "error.type"]),
        ]
    }
}
