//! A scrape of counters and histograms beside `prometheus-client` and `opentelemetry-prometheus`,
//! on the same data, in turn: medians and ratios.
//!
//! `cargo bench --bench scrape`
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../tests/support/declared.rs"]
#[allow(dead_code)]
mod declared;

use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::{KeyValue, StringValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{Instrument, SdkMeterProvider, Stream};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tachograph::exposition::{Encoding, Format, Names, Page, Request};
use tachograph::vocabulary::{Library, Wanted};

const BOUNDS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Series of each family; three counters' for two histograms' make 6.2 lines a point.
const COUNTERS: usize = 300;
const HISTOGRAMS: usize = 200;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    method: String,
    route: String,
    status: String,
}

fn labels(series: usize) -> Labels {
    Labels {
        method: ["GET", "POST", "PUT"][series % 3].to_owned(),
        route: format!("/api/v1/resource/{series}"),
        status: ["200", "404", "500", "503"][series % 4].to_owned(),
    }
}

/// The same families and series under other names.
fn vocabulary(groups: usize) -> String {
    let mut text = "name = \"bench\"\ntitle = \"The same\"\n".to_owned();
    for group in 0..groups {
        for (name, kind, source) in [
            (format!("others_{group}_total"), "counter", "requests"),
            (format!("lengths_{group}_seconds"), "histogram", "duration"),
        ] {
            text += &format!(
                "[[family]]\nname = \"{name}\"\ntype = \"{kind}\"\nhelp = \"The same.\"\n\
                 source = \"{source}.{group}\"\n\
                 labels = {{ method = \"method\", route = \"route\", status = \"status\" }}\n"
            );
        }
    }
    text
}

/// Ours.
fn ours(groups: usize) -> Page {
    let mut declared = declared::Declared::default();
    for group in 0..groups {
        let counter = declared.counter(&format!("requests.{group}"));
        counter.brief("Requests that ended.");
        for series in 0..COUNTERS {
            counter.put(series as f64 * 997.0, pairs(series));
        }
        let histogram = declared.histogram(&format!("duration.{group}"), &BOUNDS);
        histogram.brief("How long requests took.").unit("s");
        for series in 0..HISTOGRAMS {
            for value in observations(series) {
                histogram.put(value, pairs(series));
            }
        }
    }
    let collector = declared.collector(Resource::builder_empty().build());
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(vocabulary(groups).as_bytes()).unwrap();
    let wanted = Wanted {
        files: vec![file.path().to_owned()],
        ..Wanted::default()
    };
    let signals: Vec<_> = collector.signals().iter().map(|r| r.signal()).collect();
    let library = Arc::new(Library::load(&wanted, &signals).unwrap());
    let page = Page::builder(collector).vocabularies(&library);
    page.start().unwrap()
}

fn pairs(series: usize) -> [(&'static str, String); 3] {
    let labels = labels(series);
    [
        ("method", labels.method),
        ("route", labels.route),
        ("status", labels.status),
    ]
}

fn attributes(series: usize) -> Vec<KeyValue> {
    let labels = labels(series);
    let shared = |text: String| Value::String(StringValue::from(Arc::<str>::from(text)));
    vec![
        KeyValue::new("method", shared(labels.method)),
        KeyValue::new("route", shared(labels.route)),
        KeyValue::new("status", shared(labels.status)),
    ]
}

fn observations(series: usize) -> impl Iterator<Item = f64> {
    (0..20).map(move |i| 0.001 * (1 << (i % 14)) as f64 + series as f64 * 1e-6)
}

fn limit(_: &Instrument) -> Option<Stream> {
    Stream::builder().with_cardinality_limit(500).build().ok()
}

fn provider(reader: impl MetricReader, groups: usize) -> SdkMeterProvider {
    let provider = SdkMeterProvider::builder()
        .with_reader(reader)
        .with_view(limit)
        .build();
    let meter = provider.meter("bench");
    for group in 0..groups {
        let counter = meter
            .u64_counter(format!("requests.{group}"))
            .with_description("Requests that ended.")
            .build();
        for series in 0..COUNTERS {
            counter.bind(&attributes(series)).add(series as u64 * 997);
        }
        let histogram = meter
            .f64_histogram(format!("duration.{group}"))
            .with_description("How long requests took.")
            .with_unit("s")
            .with_boundaries(BOUNDS.to_vec())
            .build();
        for series in 0..HISTOGRAMS {
            let bound = histogram.bind(&attributes(series));
            observations(series).for_each(|value| bound.record(value));
        }
    }
    provider
}

fn peer(groups: usize) -> Registry {
    let mut registry = Registry::default();
    for group in 0..groups {
        let counters = Family::<Labels, Counter>::default();
        for series in 0..COUNTERS {
            counters
                .get_or_create(&labels(series))
                .inc_by(series as u64 * 997);
        }
        registry.register(format!("requests_{group}"), "Requests that ended", counters);
        let histograms =
            Family::<Labels, Histogram>::new_with_constructor(|| Histogram::new(BOUNDS));
        for series in 0..HISTOGRAMS {
            let histogram = histograms.get_or_create(&labels(series));
            observations(series).for_each(|value| histogram.observe(value));
        }
        registry.register(
            format!("duration_{group}_seconds"),
            "How long requests took",
            histograms,
        );
    }
    registry
}

fn time(run: impl FnOnce() -> usize) -> (Duration, usize) {
    let start = Instant::now();
    let size = black_box(run());
    (start.elapsed(), size)
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    println!(
        "points        bytes   tachograph   OpenMetrics   protobuf   vocabulary   prometheus-client   opentelemetry-prometheus   ratios"
    );
    for (points, rounds) in [(500, 301), (10_000, 61), (100_000, 13)] {
        let groups = points / 500;
        let page = ours(groups);
        let registry = prometheus::Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .scope_info_enabled(false)
            .build()
            .unwrap();
        let _theirs = provider(exporter, groups);
        let client = peer(groups);

        let scrape = |format, vocabulary: &[&str]| {
            let request = Request {
                format,
                encoding: Encoding::Identity,
                names: Names::default(),
                vocabulary: vocabulary.iter().map(|name| (*name).to_owned()).collect(),
            };
            let rendered = runtime.block_on(page.render(request, Duration::from_secs(60)));
            rendered.unwrap().len
        };
        let mut times: [Vec<Duration>; 6] = Default::default();
        let mut size = 0;
        for round in 0..rounds {
            // Each begins a round in turn: what ran before leaves caches and the heap in a
            // state that the next one pays for.
            for step in 0..6 {
                let which = (round + step) % 6;
                let (took, len) = time(|| match which {
                    0 => scrape(Format::Text0, &[]),
                    1 => scrape(Format::OpenMetrics, &[]),
                    2 => scrape(Format::Protobuf, &[]),
                    3 => scrape(Format::Text0, &["bench"]),
                    4 => {
                        let mut text = String::new();
                        encode(&mut text, &client).unwrap();
                        text.len()
                    }
                    _ => {
                        let mut text = String::new();
                        prometheus::TextEncoder::new()
                            .encode_utf8(&registry.gather(), &mut text)
                            .unwrap();
                        text.len()
                    }
                });
                if which == 0 {
                    size = len;
                }
                if round > 0 {
                    times[which].push(took);
                }
            }
        }
        let [text, open, protobuf, other, client, exporter] =
            times.each_mut().map(|times| median(times));
        println!(
            "{points:>6}  {size:>11}  {text:>8.3} ms  {open:>9.3} ms  {protobuf:>8.3} ms  {other:>8.3} ms  {client:>15.3} ms  {exporter:>20.3} ms   text {:.2} × prometheus-client, {:.2} × opentelemetry-prometheus, vocabulary {:.2} × text",
            text / client,
            text / exporter,
            other / text,
        );
    }
}
