//! Pages as Prometheus' own parsers and `opentelemetry-prometheus` understand them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use proptest::prelude::*;
use support::declared::{Declared, declare};
use support::oracle::{Family, Kind, parse, promtool};
use tachograph::catalog::{Instrument, LabelKind, SignalKind};
use tachograph::exposition::{Encoding, Format, Names, Page, Request};
use tachograph::recording::exemplar::SampledSpan;
use tachograph::signals::CATALOG;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

fn render(page: &Page, format: Format) -> String {
    let request = Request {
        format,
        encoding: Encoding::Identity,
        names: Names::default(),
        vocabulary: Vec::new(),
    };
    let rendered = block_on(page.render(request, Duration::from_secs(60))).unwrap();
    String::from_utf8(rendered.chunks.concat()).unwrap()
}

fn by_hand(record: impl FnOnce(&mut Declared)) -> Page {
    Page::builder(declare(record)).start().unwrap()
}

type Samples = BTreeMap<(String, BTreeMap<String, String>), u64>;

/// Samples as a set; values by their bits.
fn samples(families: &[Family]) -> Samples {
    let mut out = Samples::new();
    for sample in families.iter().flat_map(|family| &family.samples) {
        let mut labels = sample.1.clone();
        // `1.0` and `1` are the same bound.
        for key in ["le", "quantile"] {
            if let Some(bound) = labels.get_mut(key)
                && let Ok(value) = bound.parse::<f64>()
            {
                *bound = value.to_string();
            }
        }
        let value = sample.value();
        let bits = if value == 0.0 { 0 } else { value.to_bits() };
        let before = out.insert((sample.0.clone(), labels), bits);
        assert!(before.is_none(), "{} comes twice", sample.0);
    }
    out
}

/// The label that a key becomes, told anew from the specification.
fn expected_label(key: &str) -> String {
    let mut name: String = key
        .chars()
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' => c,
            _ => '_',
        })
        .collect();
    if name.is_empty() {
        name = "_".to_owned();
    }
    let digit = name.chars().next().is_some_and(|c| c.is_ascii_digit());
    if digit || name == "le" || name == "quantile" || name.starts_with("__") {
        name = format!("key_{name}");
    }
    name
}

fn expected_labels(attributes: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut grouped: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    // A declared label that is empty is absent.
    for (key, value) in attributes.iter().filter(|(_, value)| !value.is_empty()) {
        grouped.entry(expected_label(key)).or_default().push(value);
    }
    grouped
        .into_iter()
        .map(|(name, values)| (name, values.join(";").replace('\0', "\u{fffd}")))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

/// Any text, with what formats trip over more often than chance would.
fn nasty(length: usize) -> impl Strategy<Value = String> {
    let character = prop_oneof![
        Just('"'),
        Just('\\'),
        Just('\n'),
        Just('\r'),
        Just('\0'),
        Just(' '),
        Just('#'),
        Just('{'),
        Just('}'),
        Just(','),
        Just('='),
        Just('_'),
        Just('\u{2028}'),
        proptest::char::range('a', 'e'),
        any::<char>(),
    ];
    proptest::collection::vec(character, 0..length).prop_map(String::from_iter)
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("le".to_owned()),
        Just("__name__".to_owned()),
        Just("1st".to_owned()),
        Just("a.b".to_owned()),
        Just("a_b".to_owned()),
        nasty(8),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_recorded_is_what_the_parsers_read(
        attributes in proptest::collection::btree_map(key(), nasty(40), 0..5),
        help in nasty(40),
        gauge in any::<f64>().prop_filter("finite", |v| v.is_finite()),
        count in 0_u64..1 << 53,
        observed in proptest::collection::vec(-1e6..1e9_f64, 1..5),
    ) {
        let page = by_hand(|metrics| {
            metrics.gauge("g").brief(&help).put(gauge, attributes.clone());
            metrics.counter("c").brief(&help).put(count as f64, attributes.clone());
            let histogram = metrics.histogram("h", &[-5.0, 0.001, 1.0, 1e6]).brief(&help);
            for value in &observed {
                histogram.put(*value, attributes.clone());
            }
        });
        let labels = expected_labels(&attributes);
        let mut expected = Samples::new();
        let bits = |value: f64| if value == 0.0 { 0 } else { value.to_bits() };
        expected.insert(("g".into(), labels.clone()), bits(gauge));
        expected.insert(("c_total".into(), labels.clone()), bits(count as f64));
        let below = |bound: f64| observed.iter().filter(|v| **v <= bound).count() as f64;
        for (bound, text) in [(-5.0, "-5"), (0.001, "0.001"), (1.0, "1"), (1e6, "1000000"), (f64::INFINITY, "inf")] {
            let mut labels = labels.clone();
            labels.insert("le".into(), text.into());
            expected.insert(("h_bucket".into(), labels), bits(below(bound)));
        }
        expected.insert(("h_sum".into(), labels.clone()), bits(observed.iter().sum()));
        expected.insert(("h_count".into(), labels.clone()), bits(observed.len() as f64));
        for (kind, format) in [(Kind::Text, Format::Text0), (Kind::OpenMetrics, Format::OpenMetrics)] {
            let page = render(&page, format);
            let Some(parsed) = parse(kind, &page) else { return Ok(()) };
            let families = parsed.map_err(|error| TestCaseError::fail(format!("{error}\n{page}")))?;
            let read = samples(&families);
            let mut expected = expected.clone();
            if kind == Kind::OpenMetrics {
                // It forbids sums, and counts without sums, where bounds are negative.
                expected.retain(|(name, _), _| name != "h_sum" && name != "h_count");
            }
            prop_assert_eq!(&read, &expected, "{:?}\n{}", kind, page);
            for family in families {
                let help = help.replace('\0', "\u{fffd}");
                prop_assert_eq!(family.help.trim(), help.trim());
            }
        }
    }
}

#[test]
fn promtool_reads_pages_with_anything_in_them() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..12 {
        let strategy = proptest::collection::vec((key(), nasty(60)), 60);
        let tree = strategy.new_tree(&mut runner).unwrap();
        let page = by_hand(|metrics| {
            for (i, label) in proptest::strategy::ValueTree::current(&tree)
                .into_iter()
                .enumerate()
            {
                metrics
                    .counter(&format!("c{i}"))
                    .brief("What \\ \"it\"\nis")
                    .put(1.0, [label]);
            }
        });
        let page = render(&page, Format::Text0);
        let Some((read, remarks)) = promtool(&page) else {
            return;
        };
        assert!(read, "{remarks}\n{page}");
    }
}

#[test]
fn a_label_of_a_megabyte_is_read_back() {
    let value = "é\"\\\n".repeat(250_000);
    let page = by_hand(|metrics| {
        metrics.counter("c").put(1.0, [("v", value.clone())]);
    });
    let Some(parsed) = parse(Kind::OpenMetrics, &render(&page, Format::OpenMetrics)) else {
        return;
    };
    assert_eq!(parsed.unwrap()[0].samples[0].1["v"], value);
}

#[test]
fn every_declared_signal_is_read_by_every_parser() {
    let resource = Resource::builder_empty()
        .with_attribute(KeyValue::new("service.name", "test"))
        .build();
    let collector = tachograph::pipeline::metrics::install(resource, CATALOG, true).unwrap();
    let span = Some(SampledSpan {
        trace_id: 7,
        span_id: 9,
    });
    for recorder in tachograph::recording::all() {
        let signal = recorder.signal();
        let labels: Vec<&str> = signal
            .labels
            .iter()
            .map(|label| match label.kind {
                LabelKind::Closed { values, .. } => values[0],
                LabelKind::Open { .. } => "a \"value\"\\\n",
            })
            .collect();
        // The whole is not less than its parts.
        let whole = ["gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"];
        let value = |name: &str| if whole.contains(&name) { 8.0 } else { 1.0 };
        let values: Vec<Option<f64>> = signal
            .values
            .iter()
            .map(|field| Some(value(field.key)))
            .collect();
        let seconds = (signal.kind == SignalKind::Operation).then_some(1.0);
        recorder.record(&labels, &values, seconds, span).unwrap();
    }
    let page = Page::builder(collector).start().unwrap();
    let text = render(&page, Format::Text0);
    let open = render(&page, Format::OpenMetrics);
    if let Some((read, remarks)) = promtool(&text) {
        assert!(read, "{remarks}");
        eprintln!("{remarks}");
    }
    let (Some(from_text), Some(from_open)) =
        (parse(Kind::Text, &text), parse(Kind::OpenMetrics, &open))
    else {
        return;
    };
    let (from_text, from_open) = (from_text.unwrap(), from_open.unwrap());
    let own = |samples: Samples| -> BTreeSet<(String, BTreeMap<String, String>)> {
        samples
            .into_keys()
            .filter(|(name, _)| !name.starts_with("tachograph_scrape"))
            .collect()
    };
    assert_eq!(own(samples(&from_text)), own(samples(&from_open)));
    let exemplars = from_open
        .iter()
        .flat_map(|family| &family.samples)
        .filter_map(|sample| sample.3.as_ref())
        .filter(|exemplar| exemplar.0["trace_id"] == format!("{:032x}", 7))
        .count();
    assert!(exemplars > 5, "{exemplars}");
    let names: BTreeSet<&str> = from_open
        .iter()
        .map(|family| family.name.as_str())
        .collect();
    for recorder in tachograph::recording::all() {
        for metric in recorder.signal().metrics {
            let base = metric.prometheus_base();
            assert!(
                names.contains(base.as_str()) || metric.instrument == Instrument::InFlight,
                "{base}"
            );
        }
    }
}

const TIMES: [f64; 4] = [0.005, 0.5, 5.0, 10.0];

/// What both record: five families of each kind, forty series each.
fn observations() -> impl Iterator<Item = (usize, usize, Vec<(&'static str, String)>)> {
    (0..5).flat_map(|family| {
        (0..40).map(move |series| {
            let labels = vec![
                ("route", format!("/a \"{series}\"\\\n")),
                ("http.method", "GET".to_owned()),
                ("flag", (series % 2 == 0).to_string()),
                ("share", (series as f64 / 7.0).to_string()),
            ];
            (family, series, labels)
        })
    })
}

/// Records through the SDK.
fn load(meter: &Meter) {
    for (family, series, labels) in observations() {
        let set: Vec<KeyValue> = labels
            .into_iter()
            .map(|(key, value)| KeyValue::new(key, value))
            .collect();
        let value = series as f64 / 3.0;
        meter
            .u64_counter(format!("requests.{family}"))
            .with_description("Requests\nthat \\ ended")
            .build()
            .add((series * family) as u64, &set);
        meter
            .f64_counter(format!("cost.{family}"))
            .build()
            .add(value, &set);
        meter
            .i64_up_down_counter(format!("open.{family}"))
            .build()
            .add(series as i64, &set);
        meter
            .f64_gauge(format!("level.{family}"))
            .with_unit("By")
            .build()
            .record(value, &set);
        let time = meter
            .f64_histogram(format!("time.{family}"))
            .with_unit("s")
            .with_boundaries(TIMES.to_vec())
            .build();
        time.record(value, &set);
        time.record(1e-7, &set);
    }
}

/// Records the same through series of ours.
fn declared_load(metrics: &mut Declared) {
    for wanted in 0..5 {
        let of = || observations().filter(|(family, ..)| *family == wanted);
        let requests = metrics.counter(&format!("requests.{wanted}"));
        requests.brief("Requests\nthat \\ ended");
        for (family, series, labels) in of() {
            requests.put((series * family) as f64, labels);
        }
        let cost = metrics.float_counter(&format!("cost.{wanted}"));
        for (_, series, labels) in of() {
            cost.put(series as f64 / 3.0, labels);
        }
        let open = metrics.in_flight(&format!("open.{wanted}"));
        for (_, series, labels) in of() {
            open.put(series as f64, labels);
        }
        let level = metrics.gauge(&format!("level.{wanted}")).unit("By");
        for (_, series, labels) in of() {
            level.put(series as f64 / 3.0, labels);
        }
        let time = metrics.histogram(&format!("time.{wanted}"), &TIMES);
        time.unit("s");
        for (_, series, labels) in of() {
            time.put(series as f64 / 3.0, labels.clone());
            time.put(1e-7, labels);
        }
    }
}

#[test]
fn means_what_opentelemetry_prometheus_means() {
    let registry = prometheus::Registry::new();
    let exporter = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .scope_info_enabled(false)
        .build()
        .unwrap();
    let resource = Resource::builder_empty()
        .with_attribute(KeyValue::new("service.name", "x"))
        .build();
    let provider = SdkMeterProvider::builder()
        .with_resource(resource.clone())
        .with_reader(exporter)
        .build();
    load(&provider.meter("m"));
    let mut declared = Declared::default();
    declared_load(&mut declared);
    let page = Page::builder(declared.collector(resource)).start().unwrap();
    let ours = render(&page, Format::Text0);
    let mut theirs = String::new();
    prometheus::TextEncoder::new()
        .encode_utf8(&registry.gather(), &mut theirs)
        .unwrap();
    let (Some(ours), Some(theirs)) = (parse(Kind::Text, &ours), parse(Kind::Text, &theirs)) else {
        return;
    };
    let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
    assert_eq!(samples(&ours), samples(&theirs));
    let described = |families: &[Family]| -> BTreeMap<String, (String, String)> {
        families
            .iter()
            .map(|f| (f.name.clone(), (f.kind.clone(), f.help.clone())))
            .collect()
    };
    assert_eq!(described(&ours), described(&theirs));
    assert!(samples(&ours).len() > 5 * 40 * 10);
}

/// A page with everything that could come out in another order.
fn unordered() -> String {
    let mut declared = Declared::default();
    declared_load(&mut declared);
    let resource = Resource::builder_empty().with_attributes([
        KeyValue::new("a", 1),
        KeyValue::new("b", 2),
        KeyValue::new("c", 3),
    ]);
    let collector = declared.collector(resource.build());
    let page = Page::builder(collector).start().unwrap();
    let foreign = page
        .foreign_provider(Resource::builder_empty().build())
        .unwrap();
    for scope in ["x", "y", "z"] {
        let meter = foreign.meter(scope);
        for name in ["f.jobs", "f_jobs", "f.jobs_total", "open.1"] {
            let counter = meter.u64_counter(name).build();
            let gauge = meter.f64_gauge(name).build();
            for i in 0..20 {
                counter.add(i, &[KeyValue::new("i", i as i64)]);
                gauge.record(i as f64, &[KeyValue::new("i", i as i64)]);
            }
        }
    }
    let first = render(&page, Format::Text0);
    for _ in 0..3 {
        assert_eq!(render(&page, Format::Text0), first);
    }
    first
}

#[test]
fn pages_are_the_same_in_every_process() {
    let expected = unordered();
    assert!(expected.contains("f_jobs_total{"));
    for round in 0..3 {
        let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("page-{}-{round}", std::process::id()));
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writes_a_page_for_another_process"])
            .env("PAGE_FILE", &path)
            .output()
            .unwrap();
        assert!(status.status.success(), "{status:?}");
        let page = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(page == expected, "another order in another process");
    }
}

/// Started by `pages_are_the_same_in_every_process`; by itself it does nothing.
#[test]
fn writes_a_page_for_another_process() {
    if let Some(path) = std::env::var_os("PAGE_FILE") {
        std::fs::write(path, unordered()).unwrap();
    }
}
