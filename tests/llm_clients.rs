//! The middleware of clients of models against a real server over TLS under the providers' names:
//! answers whole and streamed in the three languages, errors, streams that break off, retries.
#![cfg(feature = "http-client")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "llm_clients/streams.rs"]
mod streams;
mod support;

use std::collections::VecDeque;
use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use http::Extensions;
use reqwest::{Request, Response};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, Next};
use serde_json::{Value, json};
use streams::events;
use support::https::{Answer, HttpsServer, answer, streamed};
use tachograph::instrumentation::reqwest::ClientTelemetry;
use tachograph::instrumentation::reqwest::llm::{Llm, LlmBuilder, LlmCall, Retries};
use tachograph::prices::Prices;
use tachograph::testing::{self, Capture};

const PATIENCE: Duration = Duration::from_secs(20);
const ANTHROPIC: &str = "api.anthropic.com";
const OPENAI: &str = "api.openai.com";
const GEMINI: &str = "generativelanguage.googleapis.com";
const NAMES: [&str; 5] = [ANTHROPIC, OPENAI, GEMINI, "api.mistral.ai", "gateway.test"];
/// What must be on no span, metric or log line.
const SECRETS: [&str; 3] = [
    "sk-secret",
    "a question of somebody",
    "an answer for somebody",
];

const JSON: (&str, &str) = ("content-type", "application/json");
const EVENTS: (&str, &str) = ("content-type", "text/event-stream; charset=utf-8");

const PRICES: &str = r#"
as_of = 2025-01-01
source = "made up"

[[price]]
provider = ["anthropic", "openai", "gcp.gemini", "azure.ai.openai"]
model = ["dear-1", "dear-1-*"]
from = 2025-01-01
input = 1_000_000
cache_read = 100_000
cache_write_5m = 2_000_000
cache_write_1h = 4_000_000
output = 10_000_000
context_window = 10_000
"#;

/// A server that gives these answers, one after the other, and then none.
async fn server(answers: impl IntoIterator<Item = Answer>) -> HttpsServer {
    let answers: Mutex<VecDeque<Answer>> = Mutex::new(answers.into_iter().collect());
    HttpsServer::start(&NAMES, move |_| answers.lock().unwrap().pop_front()).await
}

fn options() -> LlmBuilder {
    Llm::builder()
        .prices(Prices::with_file("prices.toml", PRICES).unwrap())
        .host("gateway.test", "azure.ai.openai")
}

fn client(server: &HttpsServer, options: LlmBuilder) -> ClientWithMiddleware {
    let bare = server.client().build().unwrap();
    ClientBuilder::new(bare)
        .with(options.build().unwrap())
        .build()
}

fn body(provider: &str, stream: bool) -> Value {
    let mut body = json!({"model": "dear-1", "stream": stream,
        "messages": [{"role": "user", "content": SECRETS[1]}]});
    if provider == GEMINI {
        body = json!({"contents": [{"parts": [{"text": SECRETS[1]}]}]});
    }
    body
}

/// Where each of the three is asked.
fn path(host: &str, stream: bool) -> &'static str {
    match (host, stream) {
        (ANTHROPIC, _) => "/v1/messages",
        (GEMINI, false) => "/v1beta/models/dear-1:generateContent?key=sk-secret",
        (GEMINI, true) => "/v1beta/models/dear-1:streamGenerateContent?alt=sse&key=sk-secret",
        _ => "/v1/chat/completions",
    }
}

fn ask(
    client: &ClientWithMiddleware,
    server: &HttpsServer,
    host: &str,
    stream: bool,
) -> reqwest_middleware::RequestBuilder {
    let request = client.post(server.url(host, path(host, stream)));
    let request = request
        .bearer_auth(SECRETS[0])
        .header("x-api-key", SECRETS[0]);
    request.body(body(host, stream).to_string())
}

#[track_caller]
fn assert_ended(recorded: &Capture, provider: &str, status: &str, error: &str, expected: u64) {
    let ended = recorded.signal("llm.request").label("status", status);
    let ended = ended.label("gen_ai.provider.name", provider);
    match error {
        "" => ended.assert_count(expected),
        error => ended.label("error.type", error).assert_count(expected),
    }
    recorded.metric("llm.active").assert_value(0.0);
}

fn tokens(recorded: &Capture, provider: &str, kind: &str) -> Option<f64> {
    let tokens = recorded.metric("llm.tokens").label("llm.token.kind", kind);
    tokens.label("gen_ai.provider.name", provider).value()
}

fn unknown(recorded: &Capture, gap: &str) -> Option<f64> {
    let unknown = recorded.metric("llm.usage.unknown");
    unknown.label("llm.usage.gap", gap).value()
}

#[track_caller]
fn assert_nothing_secret(recorded: &Capture) {
    let all = recorded.to_string();
    for secret in SECRETS {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
}

/// Waits until something is so; the server runs meanwhile.
async fn until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain");
        tokio::task::yield_now().await;
    }
}

fn anthropic_answer() -> Value {
    json!({"id": "msg_01", "type": "message", "role": "assistant", "model": "dear-1-20250929",
        "content": [{"type": "text", "text": SECRETS[2]}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 100, "cache_creation_input_tokens": 200,
            "cache_read_input_tokens": 1_000, "output_tokens": 50}})
}

fn openai_answer() -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion", "model": "dear-1-2025",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": SECRETS[2], "refusal": null},
            "logprobs": null, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1_000, "completion_tokens": 100, "total_tokens": 1_100,
            "prompt_tokens_details": {"cached_tokens": 600},
            "completion_tokens_details": {"reasoning_tokens": 40}}})
}

fn google_answer() -> Value {
    json!({"candidates": [{"content": {"parts": [{"text": SECRETS[2]}], "role": "model"},
            "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 30, "candidatesTokenCount": 20,
            "thoughtsTokenCount": 10, "totalTokenCount": 60},
        "modelVersion": "dear-1-001", "responseId": "r1"})
}

#[tokio::test]
async fn whole_answers_tell_tokens_cost_limits_and_what_was_asked() {
    let anthropic = [
        JSON,
        ("request-id", "req_1"),
        ("anthropic-ratelimit-requests-limit", "4000"),
        ("anthropic-ratelimit-requests-remaining", "3000"),
        ("anthropic-ratelimit-requests-reset", "2030-01-01T00:00:00Z"),
        ("anthropic-ratelimit-input-tokens-limit", "400000"),
        ("anthropic-ratelimit-input-tokens-remaining", "100000"),
    ];
    let openai = [
        JSON,
        ("x-request-id", "req_2"),
        ("x-ratelimit-limit-requests", "10000"),
        ("x-ratelimit-remaining-requests", "9999"),
        ("x-ratelimit-reset-requests", "6ms"),
        ("x-ratelimit-limit-tokens", "2000000"),
        ("x-ratelimit-remaining-tokens", "500000"),
        ("x-ratelimit-reset-tokens", "1m0s"),
    ];
    let server = server([
        answer(200, &anthropic, anthropic_answer().to_string()),
        answer(200, &openai, openai_answer().to_string()),
        answer(200, &[JSON], google_answer().to_string()),
    ])
    .await;
    let recorded = testing::capture();
    let client = client(&server, options());
    let call = LlmCall::new()
        .agent("planner")
        .conversation("c-1")
        .correlation_id("t-1");
    for host in [ANTHROPIC, OPENAI, GEMINI] {
        let request = ask(&client, &server, host, false).with_extension(call.clone());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.url().host_str(), Some(host));
        // The caller has all of it.
        assert!(answer.text().await.unwrap().contains(SECRETS[2]));
    }
    for (provider, kinds, cost) in [
        // 100 + 0.1 · 1000 + 2 · 200 + 10 · 50 micro-dollars.
        ("anthropic", [100.0, 1_000.0, 200.0, 50.0, 0.0], 0.0011),
        // 400 + 0.1 · 600 + 10 · 100.
        ("openai", [400.0, 600.0, 0.0, 60.0, 40.0], 0.00146),
        // 30 + 10 · 30.
        ("gcp.gemini", [30.0, 0.0, 0.0, 20.0, 10.0], 0.00033),
    ] {
        assert_ended(&recorded, provider, "success", "", 1);
        let names = ["input", "cache_read", "cache_write", "output", "reasoning"];
        for (name, expected) in names.into_iter().zip(kinds) {
            let found = tokens(&recorded, provider, name).unwrap_or(0.0);
            assert_eq!(found, expected, "{provider} {name}");
        }
        let spent = recorded
            .metric("llm.cost")
            .label("gen_ai.provider.name", provider);
        spent
            .label("gen_ai.agent.name", "planner")
            .assert_value(cost);
        let up = recorded.metric("llm.provider.up");
        up.label("gen_ai.provider.name", provider).assert_value(1.0);
    }
    for (metric, provider, kind, expected) in [
        ("limit", "anthropic", "requests", 4_000.0),
        ("saturation", "anthropic", "requests", 0.25),
        ("saturation", "anthropic", "input_tokens", 0.75),
        ("remaining", "openai", "requests", 9_999.0),
        ("saturation", "openai", "tokens", 0.75),
        ("reset.timestamp", "anthropic", "requests", 1_893_456_000.0),
    ] {
        let gauge = recorded.metric(&format!("llm.rate_limit.{metric}"));
        let gauge = gauge.label("gen_ai.provider.name", provider);
        gauge
            .label("llm.rate_limit.kind", kind)
            .assert_value(expected);
    }
    let first = recorded.metric("gen_ai.client.operation.time_to_first_chunk");
    assert_eq!(first.observations(), 0);
    let whole = recorded
        .metric("gen_ai.client.token.usage")
        .label("gen_ai.token.type", "input");
    assert_eq!(
        whole.label("gen_ai.provider.name", "anthropic").value(),
        Some(1_300.0)
    );
    assert_eq!(unknown(&recorded, "not_reported"), None);

    let port = server.address.port().to_string();
    let span = recorded
        .span("chat dear-1")
        .field("gen_ai.provider.name", "anthropic");
    let span = span.field("gen_ai.operation.name", "chat");
    let span = span.field("gen_ai.request.model", "dear-1");
    let span = span.field("gen_ai.response.model", "dear-1-20250929");
    let span = span.field("gen_ai.response.id", "msg_01");
    let span = span.field("gen_ai.response.finish_reasons", "end_turn");
    let span = span.field("gen_ai.agent.name", "planner");
    let span = span.field("gen_ai.conversation.id", "c-1");
    let span = span.field("correlation_id", "t-1");
    let span = span.field("gen_ai.usage.input_tokens", "1300");
    let span = span.field("gen_ai.usage.cache_read.input_tokens", "1000");
    let span = span.field("gen_ai.usage.output_tokens", "50");
    let span = span.field("llm.cost_usd", "0.0011");
    let span = span.field("llm.context_window.utilization", "0.135");
    let span = span
        .field("server.address", ANTHROPIC)
        .field("server.port", &port);
    let span = span.field("http.response.status_code", "200");
    span.failed(false).assert_count(1);
    let span = recorded.span("generate_content dear-1");
    let span = span.field("gen_ai.provider.name", "gcp.gemini");
    span.field("gen_ai.response.finish_reasons", "STOP")
        .assert_count(1);
    let log = recorded.log("llm.request ended").in_span("chat dear-1");
    log.field("gen_ai.usage.output_tokens", "50")
        .assert_count(1);
    assert_nothing_secret(&recorded);
}

#[tokio::test]
async fn responses_embeddings_gateways_and_what_asks_no_model() {
    let responses = json!({"id": "resp_1", "object": "response", "status": "completed",
        "model": "dear-1-2025", "error": null, "instructions": SECRETS[1],
        "output": [{"type": "message", "content": [{"type": "output_text", "text": SECRETS[2]}]}],
        "usage": {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 20, "output_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 30}});
    let vector: Vec<f64> = (0..200_000).map(|n| f64::from(n) / 7.0).collect();
    let embeddings = json!({"object": "list", "model": "dear-1-small",
        "data": [{"object": "embedding", "index": 0, "embedding": vector}],
        "usage": {"prompt_tokens": 8, "total_tokens": 8}});
    let server = server([
        answer(200, &[JSON], responses.to_string()),
        answer(200, &[JSON], embeddings.to_string()),
        answer(200, &[JSON], openai_answer().to_string()),
        answer(200, &[JSON], json!({"data": []}).to_string()),
        answer(200, &[JSON], json!({"input_tokens": 5}).to_string()),
    ])
    .await;
    let recorded = testing::capture();
    let client = client(&server, options());
    let deployment = "/openai/deployments/prod-chat/chat/completions?api-version=2024-10-21";
    for (host, path) in [
        (OPENAI, "/v1/responses"),
        (OPENAI, "/v1/embeddings"),
        ("gateway.test", deployment),
        ("gateway.test", "/v1/files"),
        (ANTHROPIC, "/v1/messages/count_tokens"),
    ] {
        let request = client
            .post(server.url(host, path))
            .body(body(host, false).to_string());
        request.send().await.unwrap().bytes().await.unwrap();
    }
    let ended = recorded.signal("llm.request");
    ended
        .label("gen_ai.operation.name", "embeddings")
        .assert_count(1);
    recorded.signal("llm.request").assert_count(3);
    assert_eq!(tokens(&recorded, "openai", "input"), Some(18.0));
    assert_eq!(tokens(&recorded, "openai", "reasoning"), Some(5.0));
    // The deployment has no price of its own, the model that answered has.
    let spent = recorded
        .metric("llm.cost")
        .label("gen_ai.request.model", "prod-chat");
    spent.assert_value(0.00146);
    let span = recorded.span("chat prod-chat");
    let span = span.field("gen_ai.provider.name", "azure.ai.openai");
    span.field("gen_ai.response.model", "dear-1-2025")
        .assert_count(1);
    let span = recorded.span("embeddings dear-1");
    span.field("gen_ai.usage.input_tokens", "8")
        .failed(false)
        .assert_count(1);
    for gap in ["not_reported", "unreadable", "too_large", "cut_off"] {
        assert_eq!(unknown(&recorded, gap), None, "{gap}");
    }
    assert_nothing_secret(&recorded);
}

#[tokio::test]
async fn why_usage_is_unknown_is_said() {
    let compressed = [JSON, ("content-encoding", "br")];
    let server = server([
        answer(200, &[EVENTS], events(OPENAI)[1..4].concat()),
        answer(200, &[EVENTS], events(OPENAI)[1..4].concat()),
        answer(200, &[JSON], json!({"id": "x", "choices": []}).to_string()),
        answer(200, &[("content-type", "text/html")], "<html>"),
        answer(200, &compressed, "…"),
        answer(
            200,
            &[JSON],
            json!({"id": "x", "usage": {"prompt_tokens": -1}}).to_string(),
        ),
    ])
    .await;
    let recorded = testing::capture();
    let client = client(&server, options());
    for (host, stream) in [
        (OPENAI, true),
        // Which tells without being asked, and did not.
        ("api.mistral.ai", true),
        (OPENAI, false),
        (OPENAI, false),
        (OPENAI, false),
        (OPENAI, false),
    ] {
        let answer = ask(&client, &server, host, stream).send().await.unwrap();
        answer.bytes().await.unwrap();
    }
    assert_eq!(unknown(&recorded, "not_requested"), Some(1.0));
    assert_eq!(unknown(&recorded, "not_reported"), Some(2.0));
    assert_eq!(unknown(&recorded, "unreadable"), Some(3.0));
    assert_ended(&recorded, "openai", "success", "", 5);
    assert_eq!(
        recorded.metric("gen_ai.client.token.usage").observations(),
        0
    );
    assert_eq!(tokens(&recorded, "openai", "input"), None);
}

#[tokio::test]
async fn refusals_and_failures_are_told_apart() {
    let error =
        |kind: &str| json!({"type": "error", "error": {"type": kind, "message": SECRETS[1]}});
    let openai = |kind: &str, code: Value| json!({"error": {"type": kind, "code": code, "message": SECRETS[1]}});
    let exhausted =
        json!([{"error": {"code": 429, "message": "…", "status": "RESOURCE_EXHAUSTED"}}]);
    let limited = [
        JSON,
        ("retry-after", "7"),
        ("anthropic-ratelimit-requests-limit", "50"),
        ("anthropic-ratelimit-requests-remaining", "0"),
    ];
    let refusal = json!({"id": "msg_3", "type": "message", "model": "dear-1-2", "stop_reason": "refusal",
        "content": [], "usage": {"input_tokens": 1, "output_tokens": 1}});
    let cases: Vec<(&str, Answer, &str, &str)> = vec![
        (ANTHROPIC, answer(429, &limited, error("rate_limit_error").to_string()), "rate_limited", "rate_limited"),
        (ANTHROPIC, answer(529, &[JSON], error("overloaded_error").to_string()), "failed", "overloaded"),
        (ANTHROPIC, answer(400, &[JSON], error("invalid_request_error").to_string()), "failed", "invalid_request"),
        (ANTHROPIC, answer(200, &[JSON], refusal.to_string()), "filtered", ""),
        (OPENAI, answer(401, &[JSON], openai("invalid_request_error", json!("invalid_api_key")).to_string()), "failed", "authentication"),
        (OPENAI, answer(429, &[JSON], openai("insufficient_quota", json!("insufficient_quota")).to_string()), "failed", "billing"),
        (OPENAI, answer(400, &[JSON], openai("invalid_request_error", json!("content_filter")).to_string()), "filtered", "content_filter"),
        (OPENAI, answer(502, &[("content-type", "text/html")], "<html>"), "failed", "server_error"),
        (OPENAI, answer(504, &[], ""), "timeout", "timeout"),
        (OPENAI, answer(418, &[JSON], openai("brewing", json!(null)).to_string()), "failed", "418"),
        (GEMINI, answer(429, &[JSON], exhausted.to_string()), "rate_limited", "rate_limited"),
        (GEMINI, answer(200, &[JSON], json!({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4}}).to_string()), "filtered", ""),
    ];
    for (host, answer, status, kind) in cases {
        let recorded = testing::capture();
        let server = server([answer]).await;
        let client = client(&server, options());
        let answer = ask(&client, &server, host, false).send().await.unwrap();
        let code = answer.status().as_u16();
        answer.bytes().await.unwrap();
        let ended = recorded.signal("llm.request").label("status", status);
        match kind {
            "" => ended.assert_count(1),
            kind => ended.label("error.type", kind).assert_count(1),
        }
        assert_eq!(recorded.metric("llm.usage.unknown").value(), None, "{code}");
        assert_eq!(
            recorded.metric("gen_ai.client.token.usage").observations() > 0,
            code == 200
        );
        let name = match host {
            GEMINI => "generate_content dear-1",
            _ => "chat dear-1",
        };
        let span = recorded
            .span(name)
            .field("http.response.status_code", &code.to_string());
        let span = span.field("status", status);
        span.failed(code != 200).assert_count(1);
        if kind == "rate_limited" && host == ANTHROPIC {
            recorded
                .metric("llm.rate_limit.saturation")
                .assert_value(1.0);
            recorded
                .span(name)
                .field("llm.retry_after", "7")
                .assert_count(1);
        }
        assert_nothing_secret(&recorded);
    }

    // Its body is not read: the code tells.
    let recorded = testing::capture();
    let server = server([answer(529, &[JSON], error("overloaded_error").to_string())]).await;
    let client = client(&server, options());
    drop(
        ask(&client, &server, ANTHROPIC, false)
            .send()
            .await
            .unwrap(),
    );
    assert_ended(&recorded, "anthropic", "failed", "overloaded", 1);
}

#[tokio::test]
async fn no_answer_is_a_failure_and_what_was_waited_for_no_more_was_abandoned() {
    let recorded = testing::capture();
    let server = server([]).await;
    let hasty = server
        .client()
        .timeout(Duration::from_millis(200))
        .build()
        .unwrap();
    let hasty = ClientBuilder::new(hasty)
        .with(options().build().unwrap())
        .build();
    ask(&hasty, &server, ANTHROPIC, false)
        .send()
        .await
        .unwrap_err();
    assert_ended(&recorded, "anthropic", "timeout", "timeout", 1);

    let asking = client(&server, options());
    let mut waiting = Box::pin(ask(&asking, &server, ANTHROPIC, false).send());
    let start = Instant::now();
    while server.asked().len() < 2 {
        assert!(futures_util::poll!(&mut waiting).is_pending() && start.elapsed() < PATIENCE);
        tokio::task::yield_now().await;
    }
    recorded.metric("llm.active").assert_value(1.0);
    drop(waiting);
    assert_ended(&recorded, "anthropic", "abandoned", "abandoned", 1);
    let up = |expected| recorded.metric("llm.provider.up").assert_value(expected);

    let closed = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let local = client(&server, options().host("127.0.0.1", "anthropic"));
    let request = local.post(format!("https://127.0.0.1:{port}/v1/messages"));
    request
        .body(body(ANTHROPIC, false).to_string())
        .send()
        .await
        .unwrap_err();
    assert_ended(&recorded, "anthropic", "failed", "connection_refused", 1);
    up(0.0);
    assert_eq!(recorded.metric("llm.usage.unknown").value(), None);
    let span = recorded
        .span("chat dear-1")
        .field("error.type", "connection_refused");
    span.failed(true).assert_count(1);
}

/// Sends a request again for as long as the server fails.
struct Again;

#[async_trait::async_trait]
impl Middleware for Again {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        loop {
            let attempt = request.try_clone().unwrap();
            let answer = next.clone().run(attempt, extensions).await?;
            if answer.status().is_success() {
                return Ok(answer);
            }
        }
    }
}

#[tokio::test]
async fn attempts_are_requests_of_their_own_and_those_after_a_failure_are_retries() {
    let overloaded = || answer(529, &[JSON], "{}");
    let fine = || answer(200, &[JSON], anthropic_answer().to_string());
    let limited = answer(429, &[JSON], "{}");
    let server = server([
        limited,
        overloaded(),
        fine(),
        overloaded(),
        fine(),
        fine(),
        overloaded(),
        fine(),
    ])
    .await;
    let recorded = testing::capture();
    let client = ClientBuilder::new(server.client().build().unwrap())
        .with(Again)
        .with(options().build().unwrap())
        .with(ClientTelemetry::default())
        .build();
    let answered = ask(&client, &server, ANTHROPIC, false)
        .send()
        .await
        .unwrap();
    answered.bytes().await.unwrap();
    let retries = |reason: &str| {
        let retries = recorded.signal("llm.retry").label("error.type", reason);
        retries.label("gen_ai.request.model", "dear-1").count()
    };
    assert_eq!((retries("rate_limited"), retries("overloaded")), (1, 1));
    assert_ended(&recorded, "anthropic", "success", "", 1);
    assert_ended(&recorded, "anthropic", "failed", "overloaded", 1);

    // A loop of the caller's own, with one mark for what it asks.
    let client = ClientBuilder::new(server.client().build().unwrap())
        .with(options().build().unwrap())
        .with(ClientTelemetry::default())
        .build();
    let retry = Retries::new();
    for expected in [529, 200, 200] {
        let request = ask(&client, &server, ANTHROPIC, false).with_extension(retry.clone());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), expected);
        answer.bytes().await.unwrap();
    }
    assert_eq!(retries("overloaded"), 2);
    // Without it they are told apart by nobody.
    for _ in 0..2 {
        let request = ask(&client, &server, ANTHROPIC, false);
        request.send().await.unwrap().bytes().await.unwrap();
    }
    assert_eq!(retries("overloaded"), 2);
    // The requests of HTTP are below.
    recorded
        .span("POST")
        .child_of("chat dear-1")
        .assert_count(8);
}

#[tokio::test]
async fn who_asks_is_known_from_the_future_and_what_nobody_names_is_unknown() {
    let server = server([
        answer(200, &[JSON], anthropic_answer().to_string()),
        answer(200, &[JSON], anthropic_answer().to_string()),
        answer(200, &[JSON], anthropic_answer().to_string()),
    ])
    .await;
    let recorded = testing::capture();
    let client = client(&server, options());
    let scope = LlmCall::new().agent("writer").conversation("c-7");
    scope
        .scope(async {
            let request = ask(&client, &server, ANTHROPIC, false);
            request.send().await.unwrap().bytes().await.unwrap();
            // Its body is streamed, and not looked at.
            for call in [
                LlmCall::new(),
                LlmCall::new().model("dear-1-x").agent("reader"),
            ] {
                let parts = [Ok::<_, io::Error>(body(ANTHROPIC, false).to_string())];
                let body = reqwest::Body::wrap_stream(futures_util::stream::iter(parts));
                let request = client.post(server.url(ANTHROPIC, "/v1/messages"));
                let request = request.with_extension(call).body(body);
                request.send().await.unwrap().bytes().await.unwrap();
            }
        })
        .await;
    let tokens = |agent: &str, model: &str| {
        let tokens = recorded
            .metric("llm.tokens")
            .label("llm.token.kind", "output");
        let tokens = tokens.label("gen_ai.request.model", model);
        match agent {
            "" => tokens.value(),
            agent => tokens.label("gen_ai.agent.name", agent).value(),
        }
    };
    assert_eq!(tokens("writer", "dear-1"), Some(50.0));
    assert_eq!(tokens("reader", "dear-1-x"), Some(50.0));
    assert_eq!(tokens("", "unknown"), Some(50.0));
    let span = recorded
        .span("chat dear-1")
        .field("gen_ai.agent.name", "writer");
    span.field("gen_ai.conversation.id", "c-7").assert_count(1);
    // The model that answered has a price.
    assert_eq!(recorded.metric("llm.price.unknown").value(), None);
    until(|| server.asked().len() == 3).await;
}
