//! What an event of Celery costs its reader, from the message of the channel to the metrics: a
//! task's four events as a worker sends them, in one list, by a thousand tasks of twenty names.
//! Beside it what reading the JSON alone costs, as any reader has to: the envelope and the body
//! into `serde_json::Value`. There is no other reader of these events in Rust to compare with, and
//! those in Python are bound by its interpreter.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Contender, measure};
use opentelemetry_sdk::Resource;
use serde_json::Value;
use tachograph::collectors::celery::{CeleryConfig, Heard};
use tachograph::pipeline::metrics::install;
use tachograph::signals::CATALOG;

const TASKS: usize = 1_000;
const EVENTS: usize = 4;

/// The events of one task, in one message; `round` makes them others than before.
fn message(task: usize, round: usize) -> Vec<u8> {
    let (name, second) = (task % 20, round * 10);
    let uuid = format!("{round:08x}-0000-4000-8000-{task:012x}");
    let event = |kind: &str, clock: usize, more: &str| {
        format!(
            "{{\"hostname\": \"celery@worker-1\", \"utcoffset\": 0, \"pid\": 71, \
             \"clock\": {clock}, \"uuid\": \"{uuid}\", {more} \
             \"timestamp\": 17{second:08}.{clock}, \"type\": \"task-{kind}\"}}"
        )
    };
    let named = format!(
        "\"name\": \"app.task_{name}\", \"args\": \"(1, 2)\", \"kwargs\": \"{{}}\", \
         \"root_id\": \"{uuid}\", \"parent_id\": null, \"retries\": 0, \"eta\": null, \
         \"expires\": null,"
    );
    let sent = format!(
        "{named} \"queue\": \"celery\", \"exchange\": \"\", \
                        \"routing_key\": \"celery\","
    );
    let list = [
        event("sent", 1, &sent),
        event("received", 2, &named),
        event("started", 3, ""),
        event("succeeded", 4, "\"result\": \"3\", \"runtime\": 0.25,"),
    ];
    let body = STANDARD.encode(format!("[{}]", list.join(", ")));
    format!(
        "{{\"body\": \"{body}\", \"content-encoding\": \"utf-8\", \"content-type\": \
         \"application/json\", \"headers\": {{\"hostname\": \"celery@worker-1\"}}, \
         \"properties\": {{\"delivery_mode\": 1, \"delivery_info\": {{\"exchange\": \
         \"celeryev\", \"routing_key\": \"task.multi\"}}, \"priority\": 0, \
         \"body_encoding\": \"base64\", \"delivery_tag\": \"{uuid}\"}}}}"
    )
    .into_bytes()
}

fn main() {
    install(Resource::builder_empty().build(), CATALOG, false).unwrap();
    let mut heard = Heard::new(&CeleryConfig::default());
    heard.connected(Instant::now());
    let rounds = 9;
    // Each message is heard once, as it is in life.
    let messages: Vec<Vec<u8>> = (0..=rounds)
        .flat_map(|round| (0..TASKS).map(move |task| message(task, round)))
        .collect();
    let (mut next, mut next_bare) = (messages.iter(), messages.iter());
    let results = measure(
        &mut [
            Contender::new("JSON alone", |n| {
                for _ in 0..n / EVENTS {
                    let message = next_bare.next().unwrap();
                    let envelope: Value = serde_json::from_slice(message).unwrap();
                    let body = STANDARD.decode(envelope["body"].as_str().unwrap()).unwrap();
                    let events: Value = serde_json::from_slice(&body).unwrap();
                    assert_eq!(events.as_array().unwrap().len(), EVENTS);
                }
            }),
            Contender::new("to metrics", |n| {
                let now = Instant::now();
                for _ in 0..n / EVENTS {
                    heard.message(now, next.next().unwrap());
                }
            }),
        ],
        rounds,
        TASKS * EVENTS,
    );
    results.print("event", "µs", 1_000.0);
    println!(
        "  to metrics / JSON alone: {:.3}",
        results.ratio("to metrics", "JSON alone")
    );
}
