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
use tachograph::signals::llm::{LlmOperation, LlmRequest};
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

    let answered = prices.answer(&request, answer, now);
    let usage = answered.answer().usage.unwrap_or_default();
    println!(
        "{:?} tokens in, {:?} of them from the cache, {:?} out: {:?} dollars (prices {})",
        usage.input_total(),
        usage.cache_read,
        usage.output_total(),
        answered.end().cost,
        prices.version(),
    );
    answered.finish(active);
    telemetry.shutdown(Duration::from_secs(5))?;
    Ok(())
}
