//! Errors by component and type, wherever they happen.

use tachograph::signals::error::ErrorReport;

/// Plain `tracing`: the message is on the log record, never a label.
fn plain() {
    tracing::error!(
        name: "error.report",
        component = "scheduler",
        error.type = "deadlock",
        exception.message = "row 17 is locked by row 18",
        "a job was given up"
    );
}

/// The typed recorder.
fn typed() {
    let report = ErrorReport {
        component: "ingest",
        error: "parse",
    };
    report.add(1);
}

pub fn run() {
    plain();
    typed();
}
