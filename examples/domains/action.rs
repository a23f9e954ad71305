//! The action log: what agents write down of what they do.

use std::time::Duration;

use tachograph::signals::action::{ActionLog, ActionLogEnd, ActionType, EntryStatus};

/// Plain `tracing`: the span is as long as the writing takes.
fn plain() {
    let span = tracing::info_span!(
        "action.log",
        gen_ai.agent.name = "coder",
        action.type = "tool_call",
        action.name = "grep",
        action.duration = 0.25,
        correlation_id = "c-17",
        status = "success",
    );
    span.in_scope(|| tracing::debug!("written"));
}

/// The typed recorder: an entry that could not be written.
fn typed() {
    let entry = ActionLog {
        agent: "coder",
        action_type: ActionType::Decision,
    };
    let end = ActionLogEnd {
        status: EntryStatus::Failed,
        error: "database_locked",
        action_duration: None,
    };
    entry.record(end, Duration::from_millis(40));
}

pub fn run() {
    plain();
    typed();
}
