//! What the producer of Kafka costs beside bare rdkafka: a batch of events from being handed over
//! to the last delivery report, and an event that is handed over and waited for alone. Without a
//! subscriber, as where no span is recorded, and a signal layer's installed metrics.
//!
//! `KAFKA=127.0.0.1:9092 cargo bench --features kafka --bench kafka`, with topics `bare` and
//! `ours`.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Contender, measure};
use futures_util::future::join_all;
use opentelemetry_sdk::Resource;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tachograph::instrumentation::kafka::Producer;
use tachograph::pipeline::metrics::install;
use tachograph::signals::CATALOG;
use tokio::runtime::Builder;

/// Events under way at once; the client's queue has room for more.
const BATCH: usize = 1_000;

const PAYLOAD: &str = "an event of an agent, as long as one that says little is";

fn event(topic: &str) -> FutureRecord<'_, str, str> {
    FutureRecord::to(topic).key("key").payload(PAYLOAD)
}

fn main() {
    let Ok(brokers) = std::env::var("KAFKA") else {
        println!("KAFKA names no broker: KAFKA=127.0.0.1:9092");
        return;
    };
    install(Resource::builder_empty().build(), CATALOG, false).unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let settings = [
        ("enable.idempotence", "true"),
        ("statistics.interval.ms", "5000"),
    ];
    let mut bare = ClientConfig::new();
    bare.set("bootstrap.servers", &brokers);
    let mut ours = Producer::builder(&brokers);
    for (setting, value) in settings {
        bare.set(setting, value);
        ours = ours.set(setting, value);
    }
    let (bare, ours): (FutureProducer, Producer) = (bare.create().unwrap(), ours.build().unwrap());
    let wait = Duration::from_secs(10);
    let results = measure(
        &mut [
            Contender::new("bare, a batch", |n| {
                runtime.block_on(async {
                    for from in (0..n).step_by(BATCH) {
                        let many = from..n.min(from + BATCH);
                        let sent = join_all(many.map(|_| bare.send(event("bare"), wait))).await;
                        assert!(sent.iter().all(Result::is_ok));
                    }
                });
            }),
            Contender::new("ours, a batch", |n| {
                runtime.block_on(async {
                    for from in (0..n).step_by(BATCH) {
                        let many = from..n.min(from + BATCH);
                        let sent = join_all(many.map(|_| ours.send(event("ours")))).await;
                        assert!(sent.iter().all(Result::is_ok));
                    }
                });
            }),
        ],
        9,
        20_000,
    );
    results.print("event", "µs", 1_000.0);
    let ratio = results.ratio("ours, a batch", "bare, a batch");
    println!("  ours / bare, a batch: {ratio:.3}");
    let results = measure(
        &mut [
            Contender::new("bare, alone", |n| {
                runtime.block_on(async {
                    for _ in 0..n {
                        bare.send(event("bare"), wait).await.unwrap();
                    }
                });
            }),
            Contender::new("ours, alone", |n| {
                runtime.block_on(async {
                    for _ in 0..n {
                        ours.send(event("ours")).await.unwrap();
                    }
                });
            }),
        ],
        5,
        100,
    );
    results.print("event", "µs", 1_000.0);
    let ratio = results.ratio("ours, alone", "bare, alone");
    println!("  ours / bare, alone: {ratio:.3}");
}
