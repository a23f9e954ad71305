//! What sqlx tells is read whatever is logged and traced, and no statement is counted twice.
#![cfg(feature = "sqlx")]
#![allow(clippy::unwrap_used)]

#[path = "support/spans.rs"]
#[allow(dead_code)]
mod spans;

use std::sync::Arc;

use opentelemetry::trace::{SpanKind, TracerProvider as _};
use opentelemetry_sdk::Resource;
use sqlx::SqlitePool;
use tachograph::instrumentation::sqlx::{Statements, instrumented};
use tachograph::pipeline::config::SamplerKind;
use tachograph::pipeline::metrics::install;
use tachograph::pipeline::sampling::provider_builder;
use tachograph::pipeline::subscriber::SubscriberBuilder;
use tachograph::recording::Reading;
use tachograph::signals::CATALOG;

/// Queries so far by status.
fn counted(status: &str) -> u64 {
    let metrics = CATALOG.iter().flat_map(|signal| signal.metrics());
    let mut count = 0;
    for metric in metrics.filter(|m| m.metric().name == "db.client.operations") {
        for series in metric.series().iter() {
            let labels: Vec<_> = series.labels().collect();
            if labels.contains(&("status", status))
                && labels.contains(&("db.operation.name", "SELECT"))
                && let Reading::Unsigned(value) = series.read()
            {
                count += value;
            }
        }
    }
    count
}

#[tokio::test]
async fn no_filter_hides_a_statement_or_counts_it_twice() {
    install(Resource::builder_empty().build(), CATALOG, false).unwrap();
    let sampler = spans::sampler(SamplerKind::AlwaysOn, 1.0);
    let ended = spans::Ended::default();
    let provider = provider_builder(sampler)
        .with_span_processor(ended.clone())
        .build();
    let of = |filter: &str| {
        let builder = SubscriberBuilder::new()
            .with_signals(CATALOG)
            .with_readers(vec![Arc::new(Statements::default())])
            .with_traces(provider.tracer("test"), sampler, filter.parse().unwrap());
        builder.build("off".parse().unwrap()).0
    };
    // The thread of a connection asks the process's subscriber, so each filter needs a process.
    let filter = std::env::var("TRACES_FILTER").unwrap_or_else(|_| {
        for filter in ["off", "info", "trace", "sqlx=off,tachograph=info"] {
            let again = std::process::Command::new(std::env::current_exe().unwrap())
                .env("TRACES_FILTER", filter)
                .output()
                .unwrap();
            assert!(again.status.success(), "{filter}: {again:?}");
        }
        "debug".to_owned()
    });
    tracing::dispatcher::set_global_default(of(&filter)).unwrap();

    let pool = SqlitePool::connect("sqlite::memory:").await.unwrap();
    let table = sqlx::query("CREATE TABLE users (id INTEGER)");
    table.execute(&pool).await.unwrap();
    let read = || sqlx::query("SELECT id FROM users");
    for _ in 0..3 {
        read().fetch_all(instrumented(&pool)).await.unwrap();
        read().fetch_optional(instrumented(&pool)).await.unwrap();
    }
    read().fetch_all(&pool).await.unwrap();
    pool.close().await;
    assert_eq!(counted("success"), 6, "{filter}");
    assert_eq!(counted("unknown"), 1, "{filter}");
    let spans = ended.take();
    let selects: Vec<_> = spans.iter().filter(|s| s.name == "SELECT users").collect();
    if filter == "off" {
        assert!(selects.is_empty());
        return;
    }
    assert_eq!(selects.len(), 6, "{filter}: {spans:?}");
    assert!(selects.iter().all(|s| s.span_kind == SpanKind::Client));
}
