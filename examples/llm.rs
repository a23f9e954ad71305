//! Requests to a language model: the provider's usage object, its price, the typed recorder and
//! the headers of rate limits.
//!
//! ```text
//! cargo run --example llm
//! ```
//!
//! The answers are written down here; in a program they come from the provider.

use std::time::Duration;

use serde_json::json;
use tachograph::prices::Prices;
use tachograph::signals::llm::{
    LlmOperation, LlmPriceUnknown, LlmRequest, LlmRequestEnd, LlmUsageUnknown,
};
use tachograph::usage::{Format, Stream, rate_limits};
use tachograph::{Telemetry, TelemetryConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let telemetry = Telemetry::init(TelemetryConfig::from_env()?)?;
    let prices = Prices::shipped();
    let (provider, model) = ("anthropic", "claude-sonnet-4-5");

    let request = LlmRequest {
        operation: LlmOperation::Chat,
        provider,
        model,
        agent: "writer",
    };
    let active = request.start();

    // Each event of the stream as it comes.
    let mut stream = Stream::new(Format::Anthropic);
    for event in [
        json!({"type": "message_start", "message": {"id": "msg_1", "model": "claude-sonnet-4-5-20250929",
            "usage": {"input_tokens": 25, "cache_read_input_tokens": 18_000, "output_tokens": 1}}}),
        json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "An instrument …"}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 412}}),
    ] {
        stream.event(&event);
    }
    let answer = stream.finish()?;
    let headers = [
        ("anthropic-ratelimit-requests-limit", "4000"),
        ("anthropic-ratelimit-requests-remaining", "3999"),
    ];
    let now = jiff::Timestamp::now();
    rate_limits(headers, now).record(provider);

    let usage = answer.usage.unwrap_or_default();
    let response_model = answer.model.as_deref().unwrap_or_default();
    let price = prices.find(provider, response_model, now);
    let cost = price.and_then(|price| price.cost(&usage).ok());
    match (answer.usage, cost) {
        (None, _) => LlmUsageUnknown { provider, model }.add(1),
        (Some(_), None) => LlmPriceUnknown { provider, model }.add(1),
        (Some(_), Some(cost)) => println!(
            "{} tokens in, {} of them from the cache, {} out: {} micro-dollars (prices {})",
            usage.input_total().unwrap_or_default(),
            usage.cache_read.unwrap_or_default(),
            usage.output_total().unwrap_or_default(),
            cost.total,
            prices.version(),
        ),
    }
    if let Some(id) = &answer.id {
        active.context(LlmRequest::RESPONSE_ID, &**id);
    }
    let end = match cost {
        Some(cost) => cost.onto(usage.end()),
        None => usage.end(),
    };
    active.finish(LlmRequestEnd {
        response_model,
        context_use: price.and_then(|price| price.context_use(&usage)),
        ..end
    });
    telemetry.shutdown(Duration::from_secs(5))?;
    Ok(())
}
