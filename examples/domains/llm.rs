//! Requests to language models: tokens in disjoint kinds, cost, limits.

use serde_json::json;
use tachograph::prices::Prices;
use tachograph::signals::llm::{
    LimitKind, LlmOperation, LlmRateLimitRemaining, LlmRequest, LlmRetried,
};

/// Plain `tracing`: tokens as the conventions have them, cached ones within the input.
fn plain() {
    let span = tracing::info_span!(
        "llm.request",
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = "openai",
        gen_ai.request.model = "gpt-4o",
        gen_ai.usage.input_tokens = 1200,
        gen_ai.usage.cache_read.input_tokens = 1000,
        gen_ai.usage.output_tokens = 80,
        status = "success",
    );
    span.in_scope(|| tracing::info!("asked"));
}

/// The typed recorder, with what the provider says it used, and what that costs.
fn typed() {
    let request = LlmRequest {
        operation: LlmOperation::Chat,
        provider: "anthropic",
        model: "claude-sonnet-4-5",
        agent: "coder",
    };
    let active = request.start();
    let answer = json!({"id": "msg_1", "model": "claude-sonnet-4-5-20250929", "usage": {
        "input_tokens": 500, "cache_read_input_tokens": 4000,
        "cache_creation_input_tokens": 0, "output_tokens": 300,
    }});
    // What the answer does not say, or has no price, is unknown; never zero.
    match Prices::shipped().answered(&request, &answer, jiff::Timestamp::now()) {
        Ok(answered) => answered.finish(active),
        Err(error) => tracing::warn!(%error, "an answer that says nothing of its usage"),
    }
    let retried = LlmRetried {
        provider: "anthropic",
        model: "claude-sonnet-4-5",
        reason: "overloaded",
    };
    retried.add(1);
    let left = LlmRateLimitRemaining {
        provider: "anthropic",
        kind: LimitKind::Requests,
    };
    left.set(3999.0);
}

pub fn run() {
    plain();
    typed();
}
