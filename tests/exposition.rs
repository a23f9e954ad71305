//! The page: formats, order, sharing, exemplars, foreign metrics and faults.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::Resource;
use support::declared::{Declared, declare};
use tachograph::exposition::{Encoding, Format, Names, Page, PageError, Rendered, Request};
use tachograph::pipeline::metrics::{Collector, install};
use tachograph::recording::exemplar::{SampledSpan, set_current};
use tachograph::signals::CATALOG;
use tachograph::signals::workflow::{RunStatus, WorkflowRun, WorkflowRunEnd};

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(30);

/// The declared metrics of this process.
fn collector() -> &'static Collector {
    static INSTALLED: OnceLock<Collector> = OnceLock::new();
    let resource = Resource::builder_empty()
        .with_attribute(KeyValue::new("service.name", "test"))
        .with_attribute(KeyValue::new("quote", "a\"b\nc"))
        .build();
    INSTALLED.get_or_init(|| install(resource, CATALOG, true).unwrap())
}

fn want(format: Format) -> Request {
    Request {
        format,
        encoding: Encoding::Identity,
        names: Names::default(),
        vocabulary: Vec::new(),
    }
}

fn named(format: Format, names: &[&str]) -> Request {
    Request {
        names: Names::new(names.iter().copied()),
        ..want(format)
    }
}

fn body(rendered: &Rendered) -> Vec<u8> {
    let body = rendered.chunks.concat();
    assert_eq!(body.len(), rendered.len);
    body
}

async fn text(page: &Page, request: Request) -> String {
    String::from_utf8(body(&page.render(request, LONG).await.unwrap())).unwrap()
}

/// A page of metrics made by hand.
fn by_hand(record: impl FnOnce(&mut Declared)) -> Page {
    Page::builder(declare(record)).start().unwrap()
}

#[tokio::test]
async fn text_has_every_kind_in_order() {
    let page = by_hand(|metrics| {
        metrics
            .counter("z.runs")
            .brief("Runs.\nAll \\ of \"them\".")
            .put(2.0, [("b", "2")])
            .put(1.0, [("b", "10"), ("a", "true")]);
        metrics.in_flight("m.active").bare(3.0);
        metrics.float_counter("y").unit("USD").bare(0.5);
        metrics.gauge("g").unit("1").bare(0.25);
        metrics
            .histogram("a.time", &[0.5, 1.0, 1e6])
            .unit("s")
            .put(0.5, [("k", "v")])
            .put(7.5, [("k", "v")]);
    });
    let expected = "\
# TYPE a_time_seconds histogram
a_time_seconds_bucket{k=\"v\",le=\"0.5\"} 1
a_time_seconds_bucket{k=\"v\",le=\"1\"} 1
a_time_seconds_bucket{k=\"v\",le=\"1000000\"} 2
a_time_seconds_bucket{k=\"v\",le=\"+Inf\"} 2
a_time_seconds_sum{k=\"v\"} 8
a_time_seconds_count{k=\"v\"} 2
# TYPE g_ratio gauge
g_ratio 0.25
# TYPE m_active gauge
m_active 3
# TYPE y_USD_total counter
y_USD_total 0.5
# HELP z_runs_total Runs.\\nAll \\\\ of \"them\".
# TYPE z_runs_total counter
z_runs_total{a=\"true\",b=\"10\"} 1
z_runs_total{b=\"2\"} 2
";
    assert_eq!(text(&page, want(Format::Text0)).await, expected);
    assert_eq!(text(&page, want(Format::Text1)).await, expected);
    let open = text(&page, want(Format::OpenMetrics)).await;
    assert_eq!(
        open,
        "\
# TYPE a_time_seconds histogram
# UNIT a_time_seconds seconds
a_time_seconds_bucket{k=\"v\",le=\"0.5\"} 1
a_time_seconds_bucket{k=\"v\",le=\"1.0\"} 1
a_time_seconds_bucket{k=\"v\",le=\"1000000.0\"} 2
a_time_seconds_bucket{k=\"v\",le=\"+Inf\"} 2
a_time_seconds_sum{k=\"v\"} 8
a_time_seconds_count{k=\"v\"} 2
# TYPE g_ratio gauge
# UNIT g_ratio ratio
g_ratio 0.25
# TYPE m_active gauge
m_active 3
# TYPE y_USD counter
# UNIT y_USD USD
y_USD_total 0.5
# TYPE z_runs counter
# HELP z_runs Runs.\\nAll \\\\ of \\\"them\\\".
z_runs_total{a=\"true\",b=\"10\"} 1
z_runs_total{b=\"2\"} 2
# EOF
"
    );
}

#[tokio::test]
async fn an_empty_page_is_whole() {
    let page = by_hand(|_| {});
    assert_eq!(text(&page, want(Format::Text0)).await, "");
    assert_eq!(text(&page, want(Format::OpenMetrics)).await, "# EOF\n");
    let rendered = page.render(want(Format::Protobuf), LONG).await.unwrap();
    assert_eq!(rendered.len, 0);
}

#[tokio::test]
async fn names_and_their_samples_choose_families() {
    let page = by_hand(|metrics| {
        metrics.counter("a").bare(1.0);
        metrics.counter("b").bare(1.0);
        metrics.histogram("c", &[1.0]).bare(1.0);
    });
    let of = |names: &'static [&'static str]| text(&page, named(Format::Text0, names));
    assert_eq!(
        of(&["a_total"]).await,
        "# TYPE a_total counter\na_total 1\n"
    );
    assert_eq!(of(&["a"]).await, "# TYPE a_total counter\na_total 1\n");
    assert!(
        of(&["c_bucket", "nothing"])
            .await
            .starts_with("# TYPE c histogram\n")
    );
    assert_eq!(of(&["nothing"]).await, "");
    assert_eq!(
        text(&page, named(Format::OpenMetrics, &["nothing"])).await,
        "# EOF\n"
    );
}

#[tokio::test]
async fn encodings_hold_the_same_text() {
    use std::io::Read;
    let page = by_hand(|metrics| {
        let counter = metrics.counter("many");
        for i in 0..1_900 {
            counter.put(
                f64::from(i),
                [("series", format!("series number {i} of many"))],
            );
        }
    });
    let plain = text(&page, want(Format::Text0)).await;
    assert!(plain.lines().count() > 1_900);
    for encoding in [Encoding::Gzip, Encoding::Zstd] {
        let request = Request {
            encoding,
            ..want(Format::Text0)
        };
        let rendered = page.render(request, LONG).await.unwrap();
        assert!(rendered.len * 4 < plain.len(), "{}", rendered.len);
        let packed = body(&rendered);
        let mut unpacked = String::new();
        match encoding {
            Encoding::Gzip => flate2::read::GzDecoder::new(&packed[..])
                .read_to_string(&mut unpacked)
                .unwrap(),
            _ => zstd::stream::read::Decoder::new(&packed[..])
                .unwrap()
                .read_to_string(&mut unpacked)
                .unwrap(),
        };
        assert_eq!(unpacked, plain);
    }
}

#[tokio::test]
async fn waiting_requests_share_one_collection() {
    let collections = std::sync::Arc::new(AtomicUsize::new(0));
    let (gate, opened) = std::sync::mpsc::channel::<()>();
    let counted = std::sync::Arc::clone(&collections);
    let opened = parking_lot::Mutex::new(opened);
    let collector = declare(|_| {});
    collector.before_collect(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        // The first collection waits until the others have asked.
        let _ = opened.lock().recv();
    });
    let page = Page::builder(collector).start().unwrap();
    let asked = std::sync::Arc::new(AtomicUsize::new(0));
    let ask = || {
        let (page, asked) = (page.clone(), std::sync::Arc::clone(&asked));
        tokio::spawn(async move {
            // The request is sent in the same poll.
            asked.fetch_add(1, Ordering::SeqCst);
            page.render(want(Format::Text0), LONG).await
        })
    };
    let first = ask();
    while collections.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let others: Vec<_> = (0..50).map(|_| ask()).collect();
    while asked.load(Ordering::SeqCst) < 51 {
        tokio::task::yield_now().await;
    }
    gate.send(()).unwrap();
    first.await.unwrap().unwrap();
    gate.send(()).unwrap();
    for other in others {
        other.await.unwrap().unwrap();
    }
    assert_eq!(collections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn too_many_waiting_requests_are_refused() {
    let (gate, opened) = std::sync::mpsc::channel::<()>();
    let opened = parking_lot::Mutex::new(opened);
    let collector = declare(|_| {});
    collector.before_collect(move || {
        let _ = opened.lock().recv();
    });
    let page = Page::builder(collector).start().unwrap();
    let asked = std::sync::Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..2_000)
        .map(|_| {
            let (page, asked) = (page.clone(), std::sync::Arc::clone(&asked));
            tokio::spawn(async move {
                asked.fetch_add(1, Ordering::SeqCst);
                page.render(want(Format::Text0), LONG).await
            })
        })
        .collect();
    while asked.load(Ordering::SeqCst) < 2_000 {
        tokio::task::yield_now().await;
    }
    drop(gate);
    let (mut served, mut refused) = (0, 0);
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => served += 1,
            Err(PageError::Busy) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(served >= 256 && refused > 1_000, "{served} {refused}");
}

#[tokio::test]
async fn a_request_whose_deadline_passed_is_told() {
    let page = by_hand(|_| {});
    let error = page
        .render(want(Format::Text0), Duration::ZERO)
        .await
        .unwrap_err();
    assert_eq!(error, PageError::Timeout);
}

#[test]
fn works_without_a_runtime() {
    let page = by_hand(|metrics| {
        metrics.counter("a").bare(1.0);
    });
    let waker = std::task::Waker::noop();
    let mut context = std::task::Context::from_waker(waker);
    let mut future = std::pin::pin!(page.render(want(Format::Text0), LONG));
    let rendered = loop {
        if let std::task::Poll::Ready(result) = future.as_mut().poll(&mut context) {
            break result.unwrap();
        }
        std::thread::yield_now();
    };
    assert!(rendered.len > 0);
}

fn run(kind: &'static str, seconds: f64) {
    WorkflowRun {
        workflow_type: kind,
    }
    .record(
        WorkflowRunEnd {
            status: RunStatus::Success,
        },
        Duration::from_secs_f64(seconds),
    );
}

#[tokio::test]
async fn declared_metrics_carry_exemplars_and_the_resource() {
    let page = Page::builder(collector().clone()).start().unwrap();
    let before = set_current(Some(SampledSpan {
        trace_id: 0xabc,
        span_id: 0xdef,
    }));
    run("exemplary", 2.0);
    set_current(before);
    run("plain", 2.0);
    let open = text(&page, want(Format::OpenMetrics)).await;
    let line = open
        .lines()
        .find(|line| {
            line.starts_with("workflow_duration_seconds_bucket{workflow_type=\"exemplary\"")
                && line.contains('#')
        })
        .unwrap();
    assert!(
        line.contains(
            " # {trace_id=\"00000000000000000000000000000abc\",span_id=\"0000000000000def\"} 2 1"
        ),
        "{line}"
    );
    assert!(
        open.contains(
            "workflow_executions_total{status=\"success\",workflow_type=\"exemplary\"} 1\n"
        )
    );
    assert!(open.contains("# TYPE target info\n"));
    assert!(open.contains("target_info{quote=\"a\\\"b\\nc\",service_name=\"test\"} 1\n"));
    assert!(open.ends_with("# EOF\n"));
    let plain = text(&page, want(Format::Text0)).await;
    assert!(!plain.contains("trace_id"));
    assert!(!plain.contains("_created"));
    assert!(!plain.contains("# EOF"));
    let status = page.inspect(SECOND).await.unwrap();
    let workflow = status.domains["workflow"];
    assert!(
        workflow.families.unwrap() >= 2 && workflow.series.unwrap() >= 4,
        "{workflow:?}"
    );
    assert!(status.domains["pipeline"].declared > 10);
    let own = text(&page, named(Format::Text0, &["tachograph_scrapes_total"])).await;
    assert!(
        own.contains("tachograph_scrapes_total{format=\"openmetrics\",outcome=\"success\"}"),
        "{own}"
    );
}

#[tokio::test]
async fn foreign_metrics_share_the_page_and_lose_clashes() {
    let page = Page::builder(collector().clone()).start().unwrap();
    run("foreign", 1.0);
    let foreign = page
        .foreign_provider(Resource::builder_empty().build())
        .unwrap();
    let meter = foreign.meter("host");
    meter
        .u64_counter("host.jobs")
        .build()
        .add(5, &[KeyValue::new("le", "x")]);
    // Declared already.
    meter
        .u64_counter("workflow.executions")
        .build()
        .add(99, &[]);
    // Of one name once sanitised: the first that is created stays.
    meter.u64_counter("twice.made").build().add(1, &[]);
    meter.u64_counter("twice_made").build().add(2, &[]);
    meter.f64_gauge("twice.made_total").build().record(3.0, &[]);
    let gauge = prometheus::IntGauge::new("registered", "By the host.").unwrap();
    page.registry().register(Box::new(gauge.clone())).unwrap();
    gauge.set(7);
    let plain = text(&page, want(Format::Text0)).await;
    assert!(
        plain.contains("host_jobs_total{key_le=\"x\",otel_scope_name=\"host\"} 5\n"),
        "{plain}"
    );
    assert!(
        plain.contains("# HELP registered By the host.\n# TYPE registered gauge\nregistered 7\n")
    );
    assert!(!plain.contains(" 99\n"));
    assert!(
        plain.contains("twice_made_total{otel_scope_name=\"host\"} 1\n"),
        "{plain}"
    );
    assert_eq!(plain.matches("\ntwice_made_total").count(), 1, "{plain}");
    let families: Vec<&str> = plain
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let mut sorted = families.clone();
    sorted.sort_unstable();
    assert_eq!(families, sorted);
    let status = page.status();
    assert_eq!(status.foreign.families, Some(3));
    let clashes = status.foreign.clashes.join("\n");
    for part in [
        "workflow_executions_total: a declared metric",
        "label `le`",
        "twice_made: another",
        "twice.made_total: another",
    ] {
        assert!(clashes.contains(part), "{part}: {clashes}");
    }
    // A second provider on one page would publish everything twice.
    assert!(
        page.foreign_provider(Resource::builder_empty().build())
            .is_err()
    );
}

#[tokio::test]
async fn a_hook_that_panics_costs_nothing_else() {
    let page = Page::builder(collector().clone()).start().unwrap();
    collector().before_collect(|| panic!("a hook, on purpose"));
    let names = ["tachograph_collection_failures_total"];
    for _ in 0..2 {
        let page = text(&page, named(Format::Text0, &names)).await;
        let count = page.lines().last().unwrap().split_once(' ').unwrap().1;
        assert!(count.parse::<u64>().unwrap() > 0, "{page}");
    }
    assert!(page.status().last_success.is_some());
}

struct Panics(prometheus::core::Desc);

impl prometheus::core::Collector for Panics {
    fn desc(&self) -> Vec<&prometheus::core::Desc> {
        vec![&self.0]
    }
    fn collect(&self) -> Vec<prometheus::proto::MetricFamily> {
        panic!("foreign, on purpose")
    }
}

#[tokio::test]
async fn a_foreign_collector_that_panics_costs_only_foreign_metrics() {
    let page = by_hand(|metrics| {
        metrics.counter("ours").bare(1.0);
    });
    let desc = prometheus::core::Desc::new("x".into(), "x".into(), vec![], Default::default());
    page.registry()
        .register(Box::new(Panics(desc.unwrap())))
        .unwrap();
    for _ in 0..2 {
        assert!(
            text(&page, want(Format::Text0))
                .await
                .contains("ours_total 1\n")
        );
    }
    let error = page.status().foreign.last_error.unwrap().reason;
    assert!(error.contains("foreign, on purpose"), "{error}");
}

struct Hangs(
    prometheus::core::Desc,
    parking_lot::Mutex<std::sync::mpsc::Receiver<()>>,
);

impl prometheus::core::Collector for Hangs {
    fn desc(&self) -> Vec<&prometheus::core::Desc> {
        vec![&self.0]
    }
    fn collect(&self) -> Vec<prometheus::proto::MetricFamily> {
        let _ = self.1.lock().recv();
        Vec::new()
    }
}

#[tokio::test]
async fn a_foreign_collector_that_hangs_costs_only_foreign_metrics() {
    let page = by_hand(|metrics| {
        metrics.counter("ours").bare(1.0);
    });
    let desc = prometheus::core::Desc::new("x".into(), "x".into(), vec![], Default::default());
    let (release, held) = std::sync::mpsc::channel();
    page.registry()
        .register(Box::new(Hangs(
            desc.unwrap(),
            parking_lot::Mutex::new(held),
        )))
        .unwrap();
    let other = prometheus::IntGauge::new("other", "o").unwrap();
    page.registry().register(Box::new(other)).unwrap();
    let short = Duration::from_millis(400);
    for _ in 0..2 {
        let rendered = page.render(want(Format::Text0), short).await.unwrap();
        assert_eq!(
            body(&rendered),
            b"# TYPE ours_total counter\nours_total 1\n"
        );
    }
    assert!(page.status().foreign.last_error.is_some());
    drop(release);
    let mut back = String::new();
    for _ in 0..100 {
        back = text(&page, want(Format::Text0)).await;
        if back.contains("other 0\n") {
            return;
        }
    }
    panic!("{back}");
}

#[tokio::test]
async fn values_of_every_sort_are_escaped() {
    let nasty = "q\" b\\ n\n z\0 \u{fffd} é";
    let mut metrics = Declared::default();
    metrics.counter("a").put(1.0, [("v", nasty)]);
    metrics
        .counter("large")
        .put(1.0, [("v", "x".repeat(1 << 20))]);
    let resource = Resource::builder_empty().with_attributes([
        KeyValue::new("v", nasty),
        KeyValue::new("f", 1.5),
        KeyValue::new("list", Value::Array(vec![1_i64, 2].into())),
    ]);
    let collector = metrics.collector(resource.build());
    let page = Page::builder(collector).start().unwrap();
    let plain = text(&page, want(Format::Text0)).await;
    let escaped = "v=\"q\\\" b\\\\ n\\n z\u{fffd} \u{fffd} é\"} 1\n";
    for line in ["a_total{", "target_info{f=\"1.5\",list=\"[1,2]\","] {
        assert!(plain.contains(&format!("{line}{escaped}")), "{line}");
    }
    assert!(plain.len() > 1 << 20);
}
