//! Agents: a run from the request to the final answer, and what it did meanwhile.

use tachograph::signals::agent::{AgentRun, AgentRunEnd, RunStatus};

/// Plain `tracing`.
fn plain() {
    let span = tracing::info_span!(
        "agent.run",
        gen_ai.agent.name = "planner",
        phase = "plan",
        gen_ai.request.model = "claude-sonnet-4-5",
        gen_ai.conversation.id = "s-1",
        status = tracing::field::Empty,
        tool_calls = tracing::field::Empty,
    );
    span.in_scope(|| tracing::info!("planning"));
    span.record("status", "success");
    span.record("tool_calls", 3);
}

/// The typed recorder.
fn typed() {
    let run = AgentRun {
        agent: "coder",
        phase: "implement",
        model: "claude-sonnet-4-5",
    };
    let active = run.start();
    active.context(AgentRun::CONVERSATION_ID, "s-1");
    active.finish(AgentRunEnd {
        status: RunStatus::Failed,
        error: "context_overflow",
        tool_calls: Some(41.0),
        // Not known is not zero.
        parallel_runs: None,
    });
}

pub fn run() {
    plain();
    typed();
}
