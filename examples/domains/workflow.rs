//! Workflows: their runs, their steps, and the people they wait for.

use std::time::Duration;

use tachograph::signals::workflow::{
    Decision, RunStatus, StepStatus, WorkflowApproval, WorkflowApprovalEnd, WorkflowRun,
    WorkflowRunEnd, WorkflowStep,
};

/// Plain `tracing`: the span's name is that of a declared signal, and so are its fields.
#[tracing::instrument(name = "workflow.run", skip_all, fields(workflow_type = kind, status))]
fn plain(kind: &str) {
    tracing::info!(name: "workflow.step", workflow_type = kind, step_type = "lint", status = "completed");
    tracing::Span::current().record("status", "success");
}

/// The typed recorder: what does not fit the declaration does not compile.
fn typed(workflow_type: &str) {
    let run = WorkflowRun { workflow_type }.start();
    // On the span and its log lines, never a label.
    run.context(WorkflowRun::CORRELATION_ID, "c-17");
    let step = WorkflowStep {
        workflow_type,
        step_type: "tests",
        status: StepStatus::Failed,
    };
    step.add(1);
    run.finish(WorkflowRunEnd {
        status: RunStatus::Failed,
    });
    // An operation that is dropped unfinished ends as `abandoned`.
    drop(WorkflowRun { workflow_type }.start());
}

pub fn run() {
    plain("code_review");
    typed("release");
    // After the fact: somebody waited a minute and a half for a person.
    let approved = WorkflowApprovalEnd {
        decision: Decision::Approved,
    };
    WorkflowApproval {
        workflow_type: "release",
    }
    .record(approved, Duration::from_secs(90));
}
