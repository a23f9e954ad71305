//! Routing: which agent a request is given to, and how sure the router is.

use std::time::Duration;

use tachograph::signals::routing::{RoutingDecision, RoutingDecisionEnd, RoutingStatus};

/// Plain `tracing`.
#[tracing::instrument(
    name = "routing.decision",
    skip_all,
    fields(routing.method = "keywords", gen_ai.agent.name, status, confidence)
)]
fn plain(request: &str) {
    let span = tracing::Span::current();
    span.record(
        "gen_ai.agent.name",
        if request.contains("test") {
            "tester"
        } else {
            "coder"
        },
    );
    span.record("confidence", 0.9);
    span.record("status", "success");
}

/// The typed recorder.
fn typed() {
    let decision = RoutingDecision { method: "model" };
    let unsure = RoutingDecisionEnd {
        agent: "generalist",
        status: RoutingStatus::Fallback,
        error: "",
        confidence: Some(0.35),
    };
    decision.record(unsure, Duration::from_millis(320));
}

pub fn run() {
    plain("write a test");
    typed();
}
