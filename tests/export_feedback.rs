//! Telemetry about export never becomes telemetry to be exported.
#![cfg(feature = "otlp")]
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use support::export::{Rig, config};
use support::otlp::{OtlpReceiver, THREAD_NAME, Transport};
use tracing::Level;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::layer::{Filter, SubscriberExt as _};

const LONG: Duration = Duration::from_secs(20);

fn elsewhere<S: tracing::Subscriber>() -> impl Filter<S> {
    dynamic_filter_fn(|_, _| std::thread::current().name() != Some(THREAD_NAME))
}

/// Everything down to TRACE is exported here, of all crates, so whatever the exporter's own
/// libraries write would come back to it and be exported again, for ever.
#[test]
fn what_the_exporter_writes_is_not_exported() {
    let receiver = OtlpReceiver::start_blocking();
    let rig = Rig::start(&config(&receiver, Transport::Grpc));
    let http = Rig::start(&config(&receiver, Transport::Http));
    let subscriber = tracing_subscriber::registry()
        .with(OpenTelemetryTracingBridge::new(&rig.loggers).with_filter(elsewhere()))
        .with(OpenTelemetryTracingBridge::new(&http.loggers).with_filter(elsewhere()))
        .with(
            tracing_opentelemetry::layer()
                .with_tracer(rig.tracer.clone())
                .with_filter(elsewhere()),
        );
    tracing::subscriber::set_global_default(subscriber).unwrap();
    assert!(tracing::enabled!(target: "h2", Level::TRACE));

    for round in 0..5 {
        if round == 2 {
            receiver.refuse();
        }
        if round == 4 {
            receiver.resume();
        }
        tracing::info_span!("mine").in_scope(|| tracing::info!(target: "mine", round));
        for rig in [&rig, &http] {
            // Losses are written to the log as well while the receiver is away.
            let _ = rig.exporters.force_flush(LONG);
        }
    }
    let logs = receiver.logs();
    // Rounds 2 and 3 are lost; the bridges of two rigs hear the others.
    assert_eq!(logs.len(), 2 * 3, "{logs:#?}");
    for status in [&rig, &http].map(|rig| rig.exporters.status()).concat() {
        let lost: u64 = status.lost.values().sum();
        assert!(lost <= 2, "{status:#?}");
    }
    assert!(receiver.spans().iter().all(|s| s.name == "mine"));
    assert_eq!(receiver.spans().len(), 3);
}
