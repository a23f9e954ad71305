//! From the example backend through the real collector to a receiver that demands Grafana Cloud's
//! basic auth: what arrives, what must not, and what becomes of it when either end goes away.
#![cfg(feature = "otlp")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValueList, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::metric;
use opentelemetry_proto::tonic::trace::v1::{Status, span::Event};
use reqwest::blocking::Client;
use support::backend::backend;
use support::collector::{PATIENCE, Ports, Settings, attribute, client, cloud, span, text, until};
use support::otlp::{Answer, OtlpReceiver, attributes};

/// The backend, which sends traces and logs to these ports.
fn sending_backend(ports: Ports) -> (support::prometheus::Process, String) {
    backend(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &ports.endpoint()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_on"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "100"),
    ])
}

/// What must arrive nowhere, wherever it was.
const SECRETS: [&str; 17] = [
    "alice",
    "bob@example.org",
    "hunter2",
    "glsa_abcdefghijklmnop0123",
    "sk-proj-abcdefghijklmnop",
    "ghp_abcdefghijklmnopqrstuvwxyz",
    "AKIAABCDEFGHIJKLMNOP",
    "eyJhbGciOiJIUzI1NiJ9",
    "c2VjcmV0OnNlY3JldA",
    "MIIEvAIBADANBg",
    "s3cr3t",
    "4711-0815",
    "top-secret-cookie",
    "carol",
    "what the user said",
    "xoxb-123456789012-abcdef",
    "dave",
];

/// Spans with secrets in every place that text can stand.
fn indiscreet_spans() -> Vec<opentelemetry_proto::tonic::trace::v1::Span> {
    let took = Duration::from_millis(20);
    let map = |pairs: &[(&str, &str)]| {
        let values = pairs.iter().map(|(key, value)| text(key, value)).collect();
        any_value::Value::KvlistValue(KeyValueList { values })
    };
    let mut caller = span("GET /reset?token=s3cr3t", 0xabc, 1, 0, took);
    caller.kind = 3;
    caller.attributes = vec![
        text(
            "http.request.header.authorization",
            "Basic c2VjcmV0OnNlY3JldA==",
        ),
        text("http.request.header.cookie", "top-secret-cookie"),
        text("server.url", "postgres://app:hunter2@db.internal/orders"),
        text("note", "mail bob@example.org, key sk-proj-abcdefghijklmnop"),
        text("file", "/home/alice/project/src/main.rs"),
        text("api_key", "4711-0815"),
        text("gen_ai.input.messages", "what the user said"),
        attribute(
            "settings",
            map(&[("password", "hunter2"), ("region", "eu")]),
        ),
        // No secrets.
        text("gen_ai.token.type", "input"),
        attribute("gen_ai.usage.input_tokens", any_value::Value::IntValue(12)),
        text("http.route", "/users/{id}"),
    ];
    caller.events = vec![Event {
        name: "sent to bob@example.org".to_owned(),
        attributes: vec![text(
            "exception.message",
            "401 for Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
        )],
        ..Event::default()
    }];
    caller.status = Some(Status {
        message: "login of bob@example.org with password=hunter2 failed".to_owned(),
        code: 2,
    });
    let mut called = span("POST /reset", 0xabc, 2, 1, took / 2);
    called.kind = 2;
    called.attributes = vec![text("aws.id", "AKIAABCDEFGHIJKLMNOP")];
    vec![caller, called]
}

fn indiscreet_logs() -> Vec<LogRecord> {
    let body = |value| Some(AnyValue { value: Some(value) });
    let said = |words: &str| any_value::Value::StringValue(words.to_owned());
    vec![
        LogRecord {
            body: body(said(
                "pushing with ghp_abcdefghijklmnopqrstuvwxyz from C:\\Users\\carol\\src",
            )),
            ..LogRecord::default()
        },
        LogRecord {
            body: body(said(
                "-----BEGIN RSA PRIVATE KEY-----\nMIIEvAIBADANBg\n-----END RSA PRIVATE KEY-----",
            )),
            ..LogRecord::default()
        },
        LogRecord {
            body: body(any_value::Value::KvlistValue(KeyValueList {
                values: vec![
                    text("client_secret", "4711-0815"),
                    text("path", "/Users/dave/notes"),
                    text("slack", "xoxb-123456789012-abcdef"),
                ],
            })),
            attributes: vec![
                text("user.email", "bob@example.org"),
                text("kept", "as it is"),
            ],
            ..LogRecord::default()
        },
    ]
}

#[test]
fn all_three_signals_arrive_correlated_and_without_secrets() {
    let cloud = cloud();
    let ports = Ports::free();
    let (_backend, target) = sending_backend(ports);
    let settings = Settings::new("agent.yaml", ports)
        .to(&cloud)
        .set("TACHOGRAPH_METRICS_TARGET", &target)
        .set("TACHOGRAPH_JOB", "backend");
    let Some(collector) = settings.start() else {
        return;
    };

    let client = client();
    let url = |path: &str| format!("http://{target}/{path}");
    for _ in 0..3 {
        let answer = client.post(url("workflows/code_review")).send().unwrap();
        assert_eq!(answer.status(), 200);
    }
    // A careless client: what it sends stands in labels and attributes.
    let careless = client.post(url("agents/alice@example.com")).body("Why?");
    assert_eq!(careless.send().unwrap().status(), 200);
    let careless = client
        .get(url("users/7"))
        .header("user-agent", "script (glsa_abcdefghijklmnop0123)");
    assert_eq!(careless.send().unwrap().status(), 200);
    assert_eq!(
        client.get(url("home/alice/.ssh")).send().unwrap().status(),
        404
    );
    let sender = collector.sender();
    assert_eq!(sender.spans("careless", indiscreet_spans()), 200);
    assert_eq!(sender.logs("careless", indiscreet_logs()), 200);
    // One path per metric: what is scraped cannot be pushed as well.
    let pushed = sender.post("metrics", &ExportMetricsServiceRequest::default());
    assert_eq!(pushed.unwrap(), 404);

    let metric = |name: &str| {
        let metrics = cloud.metrics();
        let named = metrics.into_iter().filter(|metric| metric.name == name);
        named.collect::<Vec<_>>()
    };
    let exemplars = || -> BTreeSet<Vec<u8>> {
        let durations = metric("http_server_request_duration_seconds");
        let points = durations.iter().flat_map(|metric| match &metric.data {
            Some(metric::Data::Histogram(histogram)) => histogram.data_points.clone(),
            _ => Vec::new(),
        });
        let exemplars = points.flat_map(|point| point.exemplars);
        exemplars.map(|exemplar| exemplar.trace_id).collect()
    };
    until("everything is there", || {
        cloud
            .spans()
            .iter()
            .filter(|span| span.name == "workflow.run")
            .count()
            == 3
            && cloud.spans().iter().any(|span| span.name == "POST /reset")
            && cloud.logs().len() >= 6
            && !metric("workflow_executions_total").is_empty()
            && !metric("traces.span.metrics.duration").is_empty()
            && !metric("traces_service_graph_request_total").is_empty()
            && !metric("otelcol_exporter_sent_spans_total").is_empty()
            && !exemplars().is_empty()
            // Each example's trace: those of the scrapes themselves come a little later.
            && exemplars()
                .iter()
                .all(|trace| cloud.spans().iter().any(|span| span.trace_id == *trace))
    });

    // Only what was let in counts as received, and it came as Grafana Cloud has it.
    for request in cloud.requests() {
        assert_eq!(
            request.headers["authorization"],
            "Basic MTIzNDU2OmdsY190aGlzLWlzLXRoZS1rZXk="
        );
        assert!(request.path.starts_with("/otlp/v1/"), "{}", request.path);
        assert_eq!(request.encoding.as_deref(), Some("gzip"));
    }
    let (spans, logs) = (cloud.spans(), cloud.logs());
    let working: Vec<_> = logs
        .iter()
        .filter(|log| format!("{:?}", log.body).contains("\"working\""))
        .collect();
    assert_eq!(working.len(), 3, "{logs:#?}");
    for log in working {
        let run = spans
            .iter()
            .find(|span| span.span_id == log.span_id)
            .unwrap();
        assert_eq!(
            (run.name.as_str(), &run.trace_id),
            ("workflow.run", &log.trace_id)
        );
        assert_eq!(log.resource["service.name"], "backend");
        assert!(log.resource.contains_key("host.name"), "{:?}", log.resource);
    }
    let of_spans = metric("traces.span.metrics.duration");
    let of_backend = of_spans
        .iter()
        .find(|m| m.resource["service.name"] == "backend");
    let labels = format!("{:?}", of_backend.unwrap().data);
    assert!(
        labels.contains("workflow.run") && labels.contains("trace_id: ["),
        "{labels}"
    );
    assert!(labels.contains("exemplars: [Exemplar"), "{labels}");
    let scraped = metric("workflow_executions_total");
    assert!(
        scraped
            .iter()
            .all(|m| m.resource["service.name"] == "backend")
    );
    // There is a localhost on every machine.
    let port = target.split(':').next_back().unwrap();
    for metric in &scraped {
        let instance = format!("{}:{port}", metric.resource["host.name"]);
        assert_eq!(metric.resource["service.instance.id"], instance);
    }

    let everything = format!("{spans:?}{logs:?}{:?}", cloud.metrics());
    for secret in SECRETS {
        let at = everything.find(secret).map(|at| {
            let around = at.saturating_sub(200)..(at + 100).min(everything.len());
            everything.get(around).map(str::to_owned)
        });
        assert_eq!(at, None, "{secret} got out");
    }
    // What is no secret stays.
    let caller = spans
        .iter()
        .find(|span| span.name.starts_with("GET /reset"))
        .unwrap();
    assert_eq!(caller.name, "GET /reset****");
    let kept = attributes(&caller.attributes);
    for (key, value) in [
        ("gen_ai.token.type", "input"),
        ("gen_ai.usage.input_tokens", "12"),
        ("http.route", "/users/{id}"),
        ("file", "****/project/src/main.rs"),
        ("server.url", "postgres****db.internal/orders"),
        ("note", "mail ****, key ****"),
    ] {
        assert_eq!(kept[key], value, "{key}");
    }
    assert!(kept["settings"].contains("region"), "{}", kept["settings"]);
    assert!(everything.contains("as it is"));
}

/// Values of a counter on the service's page, by signal.
fn dropped(client: &Client, target: &str) -> BTreeMap<String, f64> {
    let url = format!("http://{target}/api/monitoring/metrics");
    let page = client.get(url).send().unwrap().text().unwrap();
    let mut dropped = BTreeMap::new();
    for line in page
        .lines()
        .filter(|line| line.starts_with("tachograph_dropped_total{"))
    {
        let signal = line
            .split("signal=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        let value: f64 = line
            .split("} ")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        *dropped.entry(signal.to_owned()).or_insert(0.0) += value;
    }
    dropped
}

/// The numbers in the paths of `GET /users/{n}` that arrived, each time one did.
fn arrived(cloud: &OtlpReceiver) -> Vec<u64> {
    let spans = cloud.spans();
    let paths = spans.iter().filter(|span| span.name == "GET /users/{id}");
    let number = |path: &str| path.strip_prefix("/users/")?.parse().ok();
    paths
        .filter_map(|span| number(&attributes(&span.attributes)["url.path"]))
        .collect()
}

#[test]
fn an_outage_of_a_minute_and_two_kills_lose_nothing() {
    let cloud = cloud();
    let ports = Ports::free();
    let (_backend, target) = sending_backend(ports);
    let settings = Settings::new("agent.yaml", ports)
        .to(&cloud)
        .set("TACHOGRAPH_METRICS_TARGET", &target)
        .set("EXPORT_RETRY_INTERVAL", "2s");
    let Some(mut collector) = settings.start() else {
        return;
    };
    let client = client();
    let (sent, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let beginning = support::collector::now();
    std::thread::scope(|scope| {
        // Traffic goes on all the while.
        let traffic = scope.spawn(|| {
            let client = support::collector::client();
            while !done.load(Ordering::Relaxed) {
                let number = sent.fetch_add(1, Ordering::Relaxed);
                let get = client.get(format!("http://{target}/users/{number}"));
                assert_eq!(get.send().unwrap().status(), 200);
                let post = client.post(format!("http://{target}/workflows/code_review"));
                assert_eq!(post.send().unwrap().status(), 200);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        until("the first arrive", || arrived(&cloud).len() > 20);
        let outage = Instant::now();
        cloud.refuse();
        std::thread::sleep(Duration::from_secs(25));
        collector.kill();
        collector.restart().unwrap();
        let size = collector.own("otelcol_exporter_queue_size");
        assert!(size.unwrap() > 0.0, "what waits is still there: {size:?}");
        std::thread::sleep(Duration::from_secs(60).saturating_sub(outage.elapsed()));
        // It comes back, takes what comes, and the collector ends before it is told so.
        cloud.otherwise(Answer::Late(Duration::from_secs(60)));
        let before = arrived(&cloud).len();
        cloud.resume();
        until("some are taken", || arrived(&cloud).len() > before);
        collector.kill();
        cloud.otherwise(Answer::Ok);
        collector.restart().unwrap();
        std::thread::sleep(Duration::from_secs(3));
        done.store(true, Ordering::Relaxed);
        traffic.join().unwrap();
    });
    let sent = sent.into_inner();
    let missing = || {
        let arrived: BTreeSet<u64> = arrived(&cloud).into_iter().collect();
        (0..sent)
            .filter(|number| !arrived.contains(number))
            .collect::<Vec<_>>()
    };
    let logs = || {
        let logs = cloud.logs();
        let working = logs
            .iter()
            .filter(|log| format!("{:?}", log.body).contains("\"working\""));
        working.map(|log| log.span_id.clone()).collect::<Vec<_>>()
    };
    let unique = |ids: &[Vec<u8>]| ids.iter().collect::<BTreeSet<_>>().len() as u64;
    let start = Instant::now();
    while !(missing().is_empty() && unique(&logs()) == sent)
        && start.elapsed() < Duration::from_secs(60)
    {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(
        missing(),
        Vec::<u64>::new(),
        "of {sent}: {}",
        collector.log()
    );
    assert_eq!(unique(&logs()), sent);
    let lost = dropped(&client, &target);
    assert!(
        lost.values().all(|lost| *lost == 0.0),
        "the service lost nothing: {lost:?}"
    );

    // What OTLP sent twice is what was on its way when the collector ended.
    let (spans, logs) = (arrived(&cloud), logs());
    let twice = (spans.len() as u64 - sent, logs.len() as u64 - sent);
    eprintln!(
        "{sent} spans and as many log records; {} and {} came twice",
        twice.0, twice.1
    );
    assert!((1..sent).contains(&twice.0), "{twice:?} of {sent}");
    assert!(twice.1 < sent, "{twice:?} of {sent}");

    // Metrics of the outage arrived as well, with their own times.
    let metrics = cloud.metrics();
    let executions = metrics
        .iter()
        .filter(|metric| metric.name == "workflow_executions_total");
    let seconds: BTreeSet<u64> = executions
        .flat_map(|metric| match &metric.data {
            Some(metric::Data::Sum(sum)) => sum.data_points.clone(),
            _ => Vec::new(),
        })
        .map(|point| (point.time_unix_nano - beginning) / 1_000_000_000)
        .collect();
    let during = seconds
        .iter()
        .filter(|second| (5..55).contains(*second))
        .count();
    assert!(
        during >= 35,
        "one a second but for the restart: {seconds:?}"
    );
}

#[test]
fn without_a_collector_the_service_goes_on_and_counts_what_it_drops() {
    let cloud = cloud();
    let ports = Ports::free();
    let (_backend, target) = sending_backend(ports);
    let client = client();
    // Each request has one span, a reading of the page too.
    let requests = AtomicU64::new(0);
    let get = || {
        let number = requests.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        let url = format!("http://{target}/users/{number}");
        assert_eq!(client.get(url).send().unwrap().status(), 200);
        begun.elapsed()
    };
    let lost = || {
        requests.fetch_add(1, Ordering::Relaxed);
        let lost = dropped(&client, &target);
        lost.get("traces").copied().unwrap_or(0.0)
    };
    let mut took = Vec::new();
    until("drops are on the page", || {
        took.extend((0..20).map(|_| get()));
        lost() > 0.0
    });
    took.sort();
    let slow = took[took.len() * 95 / 100];
    assert!(slow < Duration::from_millis(500), "{slow:?}");

    let settings = Settings::new("agent.yaml", ports).to(&cloud);
    let Some(_collector) = settings.start() else {
        return;
    };
    until("what comes now arrives", || {
        get();
        cloud.spans().len() > 5
    });
    // Every span is either there or counted as lost.
    let mut balance = (0, 0);
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_secs(1));
        let all = requests.load(Ordering::Relaxed);
        let lost = lost();
        std::thread::sleep(Duration::from_secs(2));
        let spans = cloud.spans();
        let there: BTreeSet<_> = spans.iter().map(|span| span.span_id.clone()).collect();
        // The reading that said how many were lost has a span of its own.
        balance = (there.len() as u64 + lost as u64, all + 1);
        if balance.0 == balance.1 {
            return;
        }
    }
    panic!("there or lost, and all: {balance:?}");
}
