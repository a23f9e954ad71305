//! Sessions: somebody's work with agents, from its beginning to its end.

use std::time::Duration;

use tachograph::signals::session::{RunStatus, SessionRun, SessionRunEnd};

/// Plain `tracing`.
fn plain() {
    let span = tracing::info_span!(
        "session.run",
        session.client = "claude_code",
        session.id = "s-1",
        status = "success",
        agents = 2,
    );
    span.in_scope(|| tracing::info!("working"));
}

/// The typed recorder: a session that is still open, and one that has ended.
fn typed() -> impl Sized {
    let ended = SessionRunEnd {
        status: RunStatus::Cancelled,
        agents: Some(3.0),
        phases: Some(4.0),
        parallel_agents: Some(2.0),
    };
    SessionRun { client: "codex" }.record(ended, Duration::from_secs(1800));
    let open = SessionRun { client: "codex" }.start();
    open.context(SessionRun::SESSION_ID, "s-2");
    open
}

pub fn run() {
    plain();
    // Open for as long as the program runs.
    std::mem::forget(typed());
}
