//! What providers answer, through each of the ways in: the typed recorder, a span of plain
//! `tracing`, a record, and a report from within the process say the same of it.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tachograph::ingest::records::{RecordsApi, RecordsConfig, Report};
use tachograph::ledger::{Ledger, LedgerConfig};
use tachograph::prices::{Answered, Prices};
use tachograph::recording::Reading;
use tachograph::signals::llm::{LlmOperation, LlmRequest};
use tachograph::usage::Usage;
use tachograph::{Telemetry, TelemetryConfig};
use tracing::field::Empty;

const TIME: &str = "2025-12-10T12:00:00Z";

fn telemetry() -> &'static Telemetry {
    static TELEMETRY: OnceLock<Telemetry> = OnceLock::new();
    TELEMETRY.get_or_init(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = TelemetryConfig::default();
        config.logs.filter = "off".to_owned();
        Telemetry::init(config).unwrap()
    })
}

/// Everything that is said of a model, but for how long it took.
fn said(model: &str) -> BTreeMap<String, f64> {
    let mut said = BTreeMap::new();
    for signal in telemetry().collector().unwrap().collect() {
        for metric in signal.metrics() {
            let name = metric.metric().name;
            if name.ends_with(".duration") {
                continue;
            }
            for series in metric.series().iter() {
                let labels: Vec<String> =
                    series.labels().map(|(k, v)| format!("{k}={v}")).collect();
                if !labels.contains(&format!("gen_ai.request.model={model}")) {
                    continue;
                }
                let key = format!("{name} {}", labels.join(" "));
                let value = match series.read() {
                    Reading::Unsigned(value) => value as f64,
                    Reading::Signed(value) => value as f64,
                    Reading::Float(value) => value,
                    Reading::Histogram { sum, count, .. } => {
                        said.insert(format!("{key} count"), count as f64);
                        sum
                    }
                    Reading::Absent => continue,
                };
                said.insert(key, value);
            }
        }
    }
    said
}

/// What a way added; sums of fractions are no better than fractions.
fn added(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let change = |(key, value): (&String, &f64)| {
        let change = value - before.get(key).copied().unwrap_or_default();
        (key.clone(), (change * 1e12).round() / 1e12)
    };
    let changes = after.iter().map(change);
    changes.filter(|(_, change)| *change != 0.0).collect()
}

/// How much of the usage an answer tells.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    All,
    Input,
    Nothing,
}

/// An answer of a provider that took 1200 tokens of input, 1000 of them cached, and 80 of output.
fn answer(provider: &str, model: &str, told: Told) -> Value {
    let mut answer = match provider {
        "anthropic" => {
            json!({"type": "message", "id": "a", "model": model, "stop_reason": "end_turn",
            "usage": {"input_tokens": 200, "cache_read_input_tokens": 1000, "output_tokens": 80}})
        }
        "openai" => json!({"object": "response", "id": "a", "model": model, "status": "completed",
            "usage": {"input_tokens": 1200, "input_tokens_details": {"cached_tokens": 1000},
                "output_tokens": 80, "total_tokens": 1280}}),
        "azure.ai.openai" => {
            json!({"id": "a", "model": model, "choices": [{"finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1200, "prompt_tokens_details": {"cached_tokens": 1000},
                "completion_tokens": 80, "total_tokens": 1280}})
        }
        "gcp.gemini" => json!({"responseId": "a", "modelVersion": model,
            "candidates": [{"finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 1200, "cachedContentTokenCount": 1000,
                "candidatesTokenCount": 80, "totalTokenCount": 1280}}),
        _ => json!({"stopReason": "end_turn",
            "usage": {"inputTokens": 200, "cacheReadInputTokens": 1000, "outputTokens": 80}}),
    };
    let name = match provider {
        "gcp.gemini" => "usageMetadata",
        _ => "usage",
    };
    let members = answer.as_object_mut().unwrap();
    if told == Told::Nothing {
        members.remove(name);
    } else if told == Told::Input {
        let usage = members[name].as_object_mut().unwrap();
        usage.retain(|key, _| !key.starts_with("total") && !is_output(key));
    }
    answer
}

fn is_output(key: &str) -> bool {
    [
        "output_tokens",
        "completion_tokens",
        "candidatesTokenCount",
        "outputTokens",
    ]
    .contains(&key)
}

/// By a span of plain `tracing`.
fn trace(request: &LlmRequest<'_>, answered: &Answered<'_>) {
    let span = tracing::info_span!(
        "llm.request",
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = request.provider,
        gen_ai.request.model = request.model,
        gen_ai.agent.name = request.agent,
        gen_ai.response.model = Empty,
        status = Empty,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        gen_ai.usage.cache_read.input_tokens = Empty,
        gen_ai.usage.cache_creation.input_tokens = Empty,
        gen_ai.usage.reasoning.output_tokens = Empty,
        llm.context_window.utilization = Empty,
        llm.cost_usd = Empty,
        llm.input_cost_usd = Empty,
        llm.cache_read_cost_usd = Empty,
        llm.cache_write_cost_usd = Empty,
        llm.output_cost_usd = Empty,
        llm.reasoning_cost_usd = Empty,
    );
    answered.record_on(&span);
}

#[tokio::test]
async fn every_way_says_the_same_of_an_answer() {
    telemetry();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("a.db").display());
    let ledger = Ledger::open(LedgerConfig::new(url)).await.unwrap();
    let own = "as_of = 2025-12-01\nsource = \"test\"\n[[price]]\nprovider = [\"azure.ai.openai\", \"aws.bedrock\"]\nmodel = \"priced\"\nfrom = 2025-12-01\ninput = 1\ncache_read = 1\noutput = 1\n";
    let prices = Prices::with_file("own.toml", own).unwrap();
    let api = RecordsApi::new(ledger, RecordsConfig::default()).prices(Arc::new(prices.clone()));
    let at: Timestamp = TIME.parse().unwrap();
    for (provider, priced) in [
        ("anthropic", "claude-sonnet-4-5"),
        ("openai", "gpt-5"),
        ("azure.ai.openai", "priced"),
        ("gcp.gemini", "gemini-2.5-pro"),
        ("aws.bedrock", "priced"),
    ] {
        for model in [priced, "unheard-of"] {
            for told in [Told::All, Told::Input, Told::Nothing] {
                let body = answer(provider, model, told);
                let request = LlmRequest {
                    operation: LlmOperation::Chat,
                    provider,
                    model,
                    agent: "matrix",
                };
                let mut ways = Vec::new();
                let start = said(model);
                let answered = prices.answered(&request, &body, at).unwrap();
                answered.finish(request.start());
                let after_typed = said(model);
                ways.push(("typed", added(&start, &after_typed)));

                trace(&request, &answered);
                let after_span = said(model);
                ways.push(("span", added(&after_typed, &after_span)));

                let fields = json!({"gen_ai.operation.name": "chat", "gen_ai.provider.name": provider,
                    "gen_ai.request.model": model, "gen_ai.agent.name": "matrix", "status": "success"});
                let record = json!({"signal": "llm.request", "time": TIME, "duration": 1.0,
                    "fields": fields, "usage": body});
                let outcome = api.take(record.to_string().into()).await.unwrap();
                assert_eq!(outcome.accepted, 1, "{outcome:?}");
                let after_record = said(model);
                ways.push(("record", added(&after_span, &after_record)));

                let mut report = Report::new("llm.request")
                    .at(at)
                    .took(Duration::from_secs(1));
                for (key, value) in fields.as_object().unwrap() {
                    report = report.field(key, value.clone());
                }
                let outcome = api.report(&[report.usage(body.clone())]).await.unwrap();
                assert_eq!(outcome.accepted, 1, "{outcome:?}");
                ways.push(("report", added(&after_record, &said(model))));

                let case = format!("{provider} {model} {told:?}");
                let typed = ways[0].1.clone();
                for (way, said) in ways {
                    assert_eq!(said, typed, "{case} by {way}");
                }
                let sum = |name: &str| -> Option<f64> {
                    let named =
                        |key: &str| key.strip_prefix(name).is_some_and(|k| k.starts_with(' '));
                    let mut found = typed.iter().filter(|(key, _)| named(key)).peekable();
                    found.peek()?;
                    Some(found.map(|(_, value)| value).sum())
                };
                let known = told == Told::All && model == priced;
                assert_eq!(sum("llm.cost").is_some(), known, "{case}");
                let gap = |gap| (told != Told::All) == gap;
                let usage_unknown = gap(true).then_some(1.0);
                assert_eq!(sum("llm.usage.unknown"), usage_unknown, "{case}");
                let price_unknown = (gap(false) && !known).then_some(1.0);
                assert_eq!(sum("llm.price.unknown"), price_unknown, "{case}");
                let tokens = match told {
                    Told::All => Some(1280.0),
                    Told::Input => Some(1200.0),
                    Told::Nothing => None,
                };
                assert_eq!(sum("llm.tokens"), tokens, "{case}");
                assert_eq!(sum("llm.requests"), Some(1.0), "{case}");
            }
        }
    }
}

/// Each costs less than a micro-dollar: rounded one by one, they would cost nothing.
#[test]
fn a_million_small_requests_add_up_to_what_they_cost() {
    telemetry();
    let prices = Prices::shipped();
    let usage = Usage {
        input: Some(3),
        ..Usage::default()
    };
    let model = "text-embedding-3-small";
    let price = prices.find("openai", model, TIME.parse().unwrap()).unwrap();
    let cost = price.cost(&usage).unwrap();
    assert_eq!(cost.total, 60_000, "pico-dollars");
    for _ in 0..1_000_000 {
        let request = LlmRequest {
            operation: LlmOperation::Embeddings,
            provider: "openai",
            model,
            agent: "",
        };
        request.record(cost.onto(usage.end()), Duration::from_millis(1));
    }
    let said = said(model);
    let (_, sum) = said
        .iter()
        .find(|(key, _)| key.starts_with("llm.cost "))
        .unwrap();
    assert!((sum - 0.06).abs() < 0.06e-9, "{sum}");
}
