//! What a root span costs: four fields, entered, exited and closed, by subscriber.
//!
//! Every way runs in processes of its own, in turns, with the global subscriber set;
//! the medians are printed with their ratio to tracing-opentelemetry at the same sampling, for
//! spans of a declared name to the bare registry.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::process::{Command, Stdio};
use std::time::Instant;

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tachograph::pipeline::config::{SamplerKind, TracesConfig};
use tachograph::pipeline::sampling::{SamplingLayer, TraceSampler, provider_builder};
use tachograph::pipeline::signal_layer::SignalLayer;
use tachograph::pipeline::subscriber::SubscriberBuilder;
use tachograph::{catalog, closed_label, pipeline, signal};
use tracing::{Dispatch, info_span};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

struct Nothing;

impl<S: tracing::Subscriber> Layer<S> for Nothing {}

fn sampler(ratio: f64) -> TraceSampler {
    TraceSampler::new(&TracesConfig {
        sampler: SamplerKind::ParentBasedTraceIdRatio,
        ratio,
        ..TracesConfig::default()
    })
    .unwrap()
}

fn peer(ratio: f64) -> Dispatch {
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
            ratio,
        ))))
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("bench"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false);
    Dispatch::new(Registry::default().with(layer))
}

fn ours(ratio: f64) -> Dispatch {
    let sampler = sampler(ratio);
    let provider = provider_builder(sampler).build();
    let layer = SamplingLayer::new(provider.tracer("bench"), sampler, "info".parse().unwrap());
    Dispatch::new(Registry::default().with(layer))
}

fn stack(ratio: f64, ext: bool) -> Dispatch {
    let sampler = sampler(ratio);
    let provider = provider_builder(sampler).build();
    let (dispatch, _) = SubscriberBuilder::new()
        .with_traces(provider.tracer("bench"), sampler, "info".parse().unwrap())
        .with_span_ext(ext)
        .build("info".parse().unwrap());
    dispatch
}

closed_label! {
    /// How a request ended.
    pub enum Status {
        /// Well.
        Success = "success",
        /// Badly.
        Failed = "failed" error,
        /// Nobody knows.
        Abandoned = "abandoned" abandoned,
    }
}

signal! {
    /// A request.
    pub operation Request => RequestEnd = "bench.request" {
        labels {
            /// Method.
            method: open(10),
            /// Route.
            route: open(50),
        }
        outcome {
            /// How it ended.
            status: closed(Status),
        }
        metrics {
            /// Requests that ended.
            "bench.requests" = counter "{request}" count by [method, route, status] no_alert "a benchmark";
            /// How long they took.
            "bench.request.duration" = histogram "s" duration by [method, route]
                buckets (tachograph::catalog::HTTP) no_alert "a benchmark";
        }
    }
}

catalog! {
    /// The benchmark's signals.
    pub SIGNALS = [Request];
}

fn install() {
    pipeline::metrics::install(Resource::builder_empty().build(), SIGNALS, false).unwrap();
}

fn signals() -> Dispatch {
    install();
    Dispatch::new(Registry::default().with(SignalLayer::new(SIGNALS)))
}

fn filtered_signals() -> Dispatch {
    install();
    let layer = SignalLayer::new(SIGNALS).with_filter(SignalLayer::filter(SIGNALS));
    Dispatch::new(Registry::default().with(layer))
}

fn whole() -> Dispatch {
    install();
    let sampler = sampler(0.0);
    let provider = provider_builder(sampler).build();
    let (dispatch, _) = SubscriberBuilder::new()
        .with_signals(SIGNALS)
        .with_traces(provider.tracer("bench"), sampler, "info".parse().unwrap())
        .build("info".parse().unwrap());
    dispatch
}

type Way = (&'static str, fn() -> Dispatch);

const WAYS: [Way; 12] = [
    ("registry", || {
        Dispatch::new(Registry::default().with(Nothing))
    }),
    ("tracing-opentelemetry 0 %", || peer(0.0)),
    ("sampling layer 0 %", || ours(0.0)),
    ("subscriber 0 %", || stack(0.0, false)),
    ("subscriber + span ext 0 %", || stack(0.0, true)),
    ("tracing-opentelemetry 1 %", || peer(0.01)),
    ("sampling layer 1 %", || ours(0.01)),
    ("tracing-opentelemetry 100 %", || peer(1.0)),
    ("sampling layer 100 %", || ours(1.0)),
    ("signal layer", signals),
    ("signal layer, filtered", filtered_signals),
    ("subscriber + signals 0 %", whole),
];
const REGISTRY: usize = 0;
const SIGNAL_LAYER: usize = 9;

/// The span of a declared name, whose fields are the declared ones.
fn declared(at: u32) {
    let span = info_span!(
        "bench.request",
        method = "GET",
        route = black_box("/orders/{id}"),
        status = "success",
        number = black_box(at)
    );
    let _entered = span.enter();
}

fn run(way: usize) -> f64 {
    tracing::dispatcher::set_global_default(WAYS[way].1()).unwrap();
    let mut best = f64::INFINITY;
    const SPANS: u32 = 50_000;
    for _ in 0..20 {
        let start = Instant::now();
        if way >= SIGNAL_LAYER {
            for at in 0..SPANS {
                declared(at);
            }
            best = best.min(start.elapsed().as_nanos() as f64 / f64::from(SPANS));
            continue;
        }
        for at in 0..SPANS {
            let span = info_span!(
                "request",
                method = "GET",
                route = black_box("/orders/{id}"),
                number = black_box(at),
                ok = true
            );
            let _entered = span.enter();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(SPANS));
    }
    if way == SIGNAL_LAYER {
        let allocated = allocation_counter::measure(|| (0..1_000).for_each(declared));
        eprintln!(
            "allocations in 1,000 declared spans: {}",
            allocated.count_total
        );
    }
    best
}

fn main() {
    if let Ok(way) = std::env::var("SPANS_WAY") {
        println!("{}", run(way.parse().unwrap()));
        return;
    }
    let exe = std::env::current_exe().unwrap();
    let mut times = vec![Vec::new(); WAYS.len()];
    for _ in 0..7 {
        for (way, times) in times.iter_mut().enumerate() {
            let output = Command::new(&exe)
                .env("SPANS_WAY", way.to_string())
                .stderr(if times.is_empty() {
                    Stdio::inherit()
                } else {
                    Stdio::null()
                })
                .output()
                .unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            times.push(text.trim().parse::<f64>().unwrap());
        }
    }
    let median = |way: usize| {
        let mut sorted = times[way].clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    };
    println!(
        "signal layer / registry: {:.2} (bar 3)",
        median(SIGNAL_LAYER) / median(REGISTRY)
    );
    let mut peer = REGISTRY;
    for (way, (name, _)) in WAYS.iter().enumerate() {
        if name.starts_with("tracing-opentelemetry") {
            peer = way;
        } else if way == SIGNAL_LAYER {
            peer = REGISTRY;
        }
        println!(
            "{name:<28} {:>7.0} ns  {:.2}",
            median(way),
            median(way) / median(peer)
        );
    }
}
