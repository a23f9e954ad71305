//! Usage that agents send as it is, its cost, and budgets, on a real ledger and real metrics.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use opentelemetry_sdk::Resource;
use serde_json::{Value, json};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use support::metrics::points_of;
use tachograph::ingest::records::{Outcome, RecordsApi, RecordsConfig};
use tachograph::ledger::{Ledger, LedgerConfig};
use tachograph::pipeline::metrics::{Collector, install};
use tachograph::prices::Prices;
use tachograph::service::budgets::{BudgetConfig, Budgets, Period};
use tachograph::signals::CATALOG;

fn collector() -> &'static Collector {
    static COLLECTOR: OnceLock<Collector> = OnceLock::new();
    COLLECTOR.get_or_init(|| {
        let resource = Resource::builder_empty().build();
        install(resource, CATALOG, false).unwrap()
    })
}

fn metric(name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    points_of(collector().collect(), name).value(labels)
}

async fn open(path: &Path) -> (Ledger, RecordsApi) {
    collector();
    let config = LedgerConfig::new(format!("sqlite:{}", path.display()));
    let ledger = Ledger::open(config).await.unwrap();
    let api = RecordsApi::new(ledger.clone(), RecordsConfig::default());
    (ledger, api)
}

async fn take(api: &RecordsApi, record: &Value) -> Outcome {
    let outcome = api.take(record.to_string().into()).await.unwrap();
    assert_eq!(outcome.rejected, [], "{record}");
    outcome
}

/// Why a record is refused: the field.
async fn refused(api: &RecordsApi, record: &Value) -> String {
    let outcome = api.take(record.to_string().into()).await.unwrap();
    assert_eq!(outcome.accepted, 0, "{record}");
    outcome.rejected[0].field.to_string()
}

/// A successful request of an agent in December 2025.
fn request(agent: &str, provider: &str, model: &str) -> Value {
    json!({
        "signal": "llm.request", "time": "2025-12-10T12:00:00Z", "duration": 1.0,
        "fields": {"gen_ai.operation.name": "chat", "gen_ai.provider.name": provider,
            "gen_ai.request.model": model, "gen_ai.agent.name": agent, "status": "success"},
    })
}

fn with_usage(agent: &str, usage: Value) -> Value {
    let mut record = request(agent, "anthropic", "claude-sonnet-4-5");
    record["usage"] = usage;
    record
}

async fn rows(
    path: &Path,
    sql: &'static str,
) -> Vec<(Option<i64>, Option<String>, String, String)> {
    let options = SqliteConnectOptions::new().filename(path);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query_as(sql)
        .fetch_all(&mut connection)
        .await
        .unwrap()
}

#[actix_web::test]
async fn usage_is_taken_as_the_provider_sent_it_and_priced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let (_ledger, api) = open(&path).await;
    let agent = "as-sent";
    // 1000 at $3, 100,000 at $0.30, 2000 at $3.75, 1000 at $6, 500 at $15, each per million.
    let answer = json!({"format": "anthropic", "body": {
        "id": "msg_7", "type": "message", "model": "claude-sonnet-4-5-20250929",
        "stop_reason": "end_turn", "content": [{"type": "text", "text": "secret"}],
        "usage": {"input_tokens": 1000, "cache_read_input_tokens": 100_000,
            "cache_creation_input_tokens": 3000, "output_tokens": 500,
            "cache_creation": {"ephemeral_5m_input_tokens": 2000, "ephemeral_1h_input_tokens": 1000}},
    }});
    take(&api, &with_usage(agent, answer)).await;
    let of = |name, key, value| metric(name, &[("gen_ai.agent.name", agent), (key, value)]);
    for (kind, tokens, cost) in [
        ("input", 1000.0, 0.003),
        ("cache_read", 100_000.0, 0.03),
        ("cache_write", 3000.0, 0.0135),
        ("output", 500.0, 0.0075),
    ] {
        assert_eq!(
            of("llm.tokens", "llm.token.kind", kind),
            Some(tokens),
            "{kind}"
        );
        assert_eq!(
            of("llm.token.cost", "llm.token.kind", kind),
            Some(cost),
            "{kind}"
        );
    }
    assert_eq!(
        of("llm.cost", "gen_ai.provider.name", "anthropic"),
        Some(0.054)
    );
    let inclusive = points_of(collector().collect(), "gen_ai.client.token.usage");
    let labels = [
        ("gen_ai.response.model", "claude-sonnet-4-5-20250929"),
        ("gen_ai.token.type", "input"),
    ];
    assert_eq!(inclusive.sum(&labels), 104_000.0);
    let rows = rows(
        &path,
        "SELECT cost_micros, price_version, fields, context FROM records",
    )
    .await;
    let (micros, version, fields, context) = &rows[0];
    assert_eq!(*micros, Some(54_000));
    assert_eq!(version.as_deref(), Some(Prices::shipped().version()));
    let fields: Value = serde_json::from_str(fields).unwrap();
    assert_eq!(fields["gen_ai.usage.input_tokens"], 104_000.0);
    assert_eq!(fields["gen_ai.agent.name"], agent);
    let context: Value = serde_json::from_str(context).unwrap();
    let expected =
        json!({"gen_ai.response.id": "msg_7", "gen_ai.response.finish_reasons": "end_turn"});
    assert_eq!(context, expected);
    assert!(!rows[0].2.contains("secret"));
}

#[actix_web::test]
async fn what_is_not_known_counts_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let (_ledger, api) = open(&path).await;
    let unknown = |name, model| metric(name, &[("gen_ai.request.model", model)]);
    // No usage; no price; failed and nothing used; a cost that was reported.
    take(&api, &request("u", "openai", "gpt-4o")).await;
    let mut record = request("u", "openai", "gpt-unheard-of");
    record["usage"] = json!({"prompt_tokens": 5, "completion_tokens": 5});
    take(&api, &record).await;
    let mut record = request("u", "openai", "o3");
    record["fields"]["status"] = "rate_limited".into();
    take(&api, &record).await;
    let mut record = request("u", "openai", "reported-cost");
    record["fields"]["llm.cost_usd"] = 0.25.into();
    take(&api, &record).await;
    assert_eq!(unknown("llm.usage.unknown", "gpt-4o"), Some(1.0));
    assert_eq!(unknown("llm.price.unknown", "gpt-4o"), None);
    assert_eq!(unknown("llm.price.unknown", "gpt-unheard-of"), Some(1.0));
    assert_eq!(unknown("llm.usage.unknown", "gpt-unheard-of"), None);
    for model in ["o3", "reported-cost"] {
        assert_eq!(unknown("llm.usage.unknown", model), None);
        assert_eq!(unknown("llm.price.unknown", model), None);
    }
    let found = rows(
        &path,
        "SELECT cost_micros, price_version, fields, context FROM records ORDER BY seq",
    )
    .await;
    let costs: Vec<_> = found.iter().map(|row| (row.0, row.1.is_some())).collect();
    assert_eq!(
        costs,
        [
            (None, false),
            (None, false),
            (None, false),
            (Some(250_000), false)
        ]
    );
}

#[actix_web::test]
async fn usage_that_is_wrong_is_named_and_nothing_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, api) = open(&dir.path().join("a.db")).await;
    for (usage, field) in [
        (json!({"message": "Overloaded"}), "usage"),
        (json!({"format": "nobody", "body": {}}), "usage.format"),
        (
            json!({"format": "google", "body": {}, "more": 1}),
            "usage.more",
        ),
        (json!({"prompt_tokens": -1}), "usage.prompt_tokens"),
        (
            json!({"format": "openai.chat", "body": {"usage": {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 6}}}}),
            "usage.body.usage.prompt_tokens_details.cached_tokens",
        ),
        (json!("x".repeat(70_000)), "usage"),
        (json!(5), "usage"),
    ] {
        assert_eq!(refused(&api, &with_usage("wrong", usage)).await, field);
    }
    let mut nobodys = request("wrong", "acme", "m");
    nobodys["usage"] = json!({"input_tokens": 1, "output_tokens": 2});
    assert_eq!(refused(&api, &nobodys).await, "usage");
    let mut twice = with_usage("wrong", json!({"prompt_tokens": 1, "completion_tokens": 1}));
    twice["fields"]["gen_ai.usage.input_tokens"] = 1.into();
    assert_eq!(refused(&api, &twice).await, "usage");
    let other = json!({"signal": "llm.retry", "usage": {"prompt_tokens": 1},
        "fields": {"gen_ai.provider.name": "p", "gen_ai.request.model": "m", "error.type": "e"}});
    assert_eq!(refused(&api, &other).await, "usage");
    let mut parts = request("wrong", "openai", "gpt-4o");
    parts["fields"]["gen_ai.usage.input_tokens"] = 5.into();
    parts["fields"]["gen_ai.usage.cache_read.input_tokens"] = 6.into();
    let field = "fields.gen_ai.usage.cache_read.input_tokens";
    assert_eq!(refused(&api, &parts).await, field);
    assert!(ledger.totals().await.unwrap().is_empty());
}

fn budget(name: &str, period: Period) -> BudgetConfig {
    BudgetConfig {
        name: name.to_owned(),
        usd: 0.5,
        period,
        ..BudgetConfig::default()
    }
}

/// Spent, left, share, unpriced.
fn state(budget: &str) -> [Option<f64>; 4] {
    ["spent", "remaining", "utilization", "unpriced"].map(|what| {
        let name = format!("llm.budget.{what}");
        metric(&name, &[("llm.budget.name", budget)])
    })
}

#[actix_web::test]
async fn budgets_follow_the_ledger_and_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let (ledger, api) = open(&path).await;
    let configs = [
        budget("all", Period::Month),
        budget("today", Period::Day),
        BudgetConfig {
            agent: Some("planner".to_owned()),
            ..budget("planner", Period::Total)
        },
        BudgetConfig {
            provider: Some("openai".to_owned()),
            ..budget("openai", Period::Week)
        },
    ];
    let cost = |agent: &str, provider: &str, day: &str, usd: f64| {
        let mut record = request(agent, provider, "m");
        record["time"] = format!("{day}T12:00:00Z").into();
        record["fields"]["llm.cost_usd"] = usd.into();
        record
    };
    let now: Timestamp = "2025-12-10T18:00:00Z".parse().unwrap();
    let mut budgets = Budgets::new(&configs);
    budgets.refresh(&ledger, now).await.unwrap();
    assert_eq!(state("all"), [Some(0.0), Some(0.5), Some(0.0), Some(0.0)]);
    for record in [
        cost("planner", "openai", "2025-12-10", 0.1),
        cost("planner", "anthropic", "2025-12-08", 0.05),
        cost("planner", "anthropic", "2025-11-30", 0.3),
        cost("coder", "openai", "2025-12-07", 0.2),
    ] {
        take(&api, &record).await;
    }
    // What is new is added to what was known.
    budgets.refresh(&ledger, now).await.unwrap();
    assert_eq!(state("all")[..2], [Some(0.35), Some(0.15)]);
    assert_eq!(state("today")[0], Some(0.1));
    assert_eq!(state("planner")[2], Some(0.9));
    assert_eq!(state("openai")[0], Some(0.1));
    take(&api, &request("coder", "openai", "no-such-model")).await;
    let late = cost("coder", "openai", "2025-12-10", 0.25);
    take(&api, &late).await;
    let mut again = late.clone();
    again["id"] = uuid::Uuid::now_v7().to_string().into();
    take(&api, &again).await;
    // The same once more costs nothing.
    assert_eq!(take(&api, &again).await.duplicates, 1);
    budgets.refresh(&ledger, now).await.unwrap();
    assert_eq!(
        state("all"),
        [Some(0.85), Some(-0.35), Some(1.7), Some(1.0)]
    );
    assert_eq!(state("planner")[3], Some(0.0));
    let before = configs.each_ref().map(|config| state(&config.name));
    ledger
        .shutdown(std::time::Duration::from_secs(5))
        .await
        .unwrap();
    // A new process, which knows nothing but the ledger.
    let (ledger, _api) = open(&path).await;
    let mut restarted = Budgets::new(&configs);
    restarted.refresh(&ledger, now).await.unwrap();
    assert_eq!(configs.each_ref().map(|config| state(&config.name)), before);
    // A new day, of the same month.
    let tomorrow = "2025-12-11T00:00:00Z".parse().unwrap();
    restarted.refresh(&ledger, tomorrow).await.unwrap();
    assert_eq!(state("today"), [Some(0.0), Some(0.5), Some(0.0), Some(0.0)]);
    assert_eq!(state("all")[0], Some(0.85));
    // A ledger that cannot be asked: of a new period nothing is known, and nothing is shown.
    ledger
        .shutdown(std::time::Duration::from_secs(5))
        .await
        .unwrap();
    let later = "2025-12-12T00:00:00Z".parse().unwrap();
    assert!(restarted.refresh(&ledger, later).await.is_err());
    assert_eq!(state("today")[0], None);
    assert_eq!(state("all")[0], Some(0.85));
}

#[actix_web::test]
async fn prices_of_ones_own_hold() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let (_ledger, api) = open(&path).await;
    let text = "as_of = 2026-01-01\nsource = \"own\"\n[[price]]\nprovider = \"local\"\nmodel = \"parrot-#\"\nfrom = 2025-01-01\ninput = 1_000_000\noutput = 2_000_000\n";
    let prices = Arc::new(Prices::with_file("own.toml", text).unwrap());
    let api = api.prices(Arc::clone(&prices));
    let mut record = request("own", "local", "parrot-1");
    record["usage"] = json!({"prompt_tokens": 1000, "completion_tokens": 1000});
    take(&api, &record).await;
    record["time"] = "2024-12-31T00:00:00Z".into();
    take(&api, &record).await;
    let found = rows(
        &path,
        "SELECT cost_micros, price_version, fields, context FROM records ORDER BY seq",
    )
    .await;
    assert_eq!(
        (found[0].0, found[0].1.as_deref()),
        (Some(3_000), Some(prices.version()))
    );
    assert_eq!((found[1].0, found[1].1.as_deref()), (None, None));
}

/// The column has whole micro-dollars, halves up; the fields and the metric are exact.
#[actix_web::test]
async fn the_ledger_is_half_a_micro_dollar_off_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let (_ledger, api) = open(&path).await;
    let mut exact = 0.0;
    for tokens in [3_u64, 24, 25, 26, 74, 75, 1_000_000] {
        let mut record = request("small", "openai", "text-embedding-3-small");
        record["fields"]["gen_ai.operation.name"] = "embeddings".into();
        record["usage"] = json!({"prompt_tokens": tokens, "total_tokens": tokens});
        take(&api, &record).await;
        exact += tokens as f64 * 0.02e-6;
    }
    let found = rows(
        &path,
        "SELECT cost_micros, price_version, fields, context FROM records ORDER BY seq",
    )
    .await;
    let micros: Vec<_> = found.iter().map(|row| row.0.unwrap()).collect();
    assert_eq!(micros, [0, 0, 1, 1, 1, 2, 20_000]);
    for row in &found {
        let fields: Value = serde_json::from_str(&row.2).unwrap();
        let dollars = fields["llm.cost_usd"].as_f64().unwrap();
        assert!((dollars - row.0.unwrap() as f64 / 1e6).abs() <= 0.5e-6 * (1.0 + 1e-9));
    }
    let counted = metric("llm.cost", &[("gen_ai.agent.name", "small")]).unwrap();
    assert!((counted - exact).abs() < 1e-12, "{counted} {exact}");
}
