//! Tools that agents call.

use tachograph::signals::tool::{ToolCall, ToolCallEnd, ToolStatus};

/// Plain `tracing`.
#[tracing::instrument(
    name = "tool.call",
    skip_all,
    fields(gen_ai.tool.name = "grep", gen_ai.agent.name = "coder", status, error.type)
)]
fn plain(found: bool) {
    let span = tracing::Span::current();
    if found {
        span.record("status", "success");
    } else {
        span.record("status", "failed");
        span.record("error.type", "not_found");
    }
}

/// The typed recorder.
fn typed() {
    let call = ToolCall {
        tool: "bash",
        agent: "coder",
    };
    let active = call.start();
    active.context(ToolCall::CALL_ID, "toolu_01");
    active.finish(ToolCallEnd {
        status: ToolStatus::Denied,
        error: "",
    });
}

pub fn run() {
    plain(true);
    plain(false);
    typed();
}
