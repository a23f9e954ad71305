//! The committed configurations of the collector, held by the collector itself: each is valid,
//! each redacts before anything leaves, and what the alerts watch exists under that name.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, metric};
use serde_norway::Value;
use support::backend::backend;
use support::collector::{Ports, Settings, client, cloud, file, program, span, text, until};
use support::oracle::missing;
use support::otlp::{Answer, OtlpReceiver};

const CONFIGS: [&str; 6] = [
    "agent.yaml",
    "gateway.yaml",
    "sampler.yaml",
    "local.yaml",
    "datadog.yaml",
    "newrelic.yaml",
];

fn yaml(name: &str) -> Value {
    serde_norway::from_str(&fs::read_to_string(file(name)).unwrap()).unwrap()
}

fn complete(config: &'static str) -> Settings {
    Settings::new(config, Ports::free())
        .set(
            "GRAFANA_CLOUD_OTLP_ENDPOINT",
            "https://otlp-gateway.example.com/otlp",
        )
        .set("GRAFANA_CLOUD_INSTANCE_ID", "123456")
        .set("GRAFANA_CLOUD_API_KEY", "glc_key")
        .set("DD_API_KEY", "key")
        .set("NEW_RELIC_LICENSE_KEY", "key")
}

#[test]
fn each_configuration_is_valid() {
    let Some(program) = program() else { return };
    std::thread::scope(|scope| {
        for config in CONFIGS {
            scope.spawn(move || {
                let said = complete(config).validate(program);
                assert_eq!(said, Ok(()), "{config}");
            });
        }
    });
}

#[test]
fn without_an_endpoint_it_does_not_start() {
    let Some(program) = program() else { return };
    for config in ["agent.yaml", "gateway.yaml", "sampler.yaml"] {
        let settings = complete(config).set("GRAFANA_CLOUD_OTLP_ENDPOINT", "");
        let said = settings.validate(program).unwrap_err();
        assert!(
            said.contains("endpoint must be specified"),
            "{config}: {said}"
        );
    }
}

/// What leaves has been redacted: every pipeline that exports to the outside, or makes metrics of
/// spans, either has the processors itself or is fed by one that has.
#[test]
fn every_way_out_is_redacted_by_the_same_block() {
    let agent = yaml("agent.yaml");
    for config in CONFIGS {
        let parsed = yaml(config);
        for block in ["redaction", "transform/redact"] {
            let here = &parsed["processors"][block];
            // The gateway has no traces to look into: they go no further than the samplers.
            if config == "gateway.yaml" {
                assert_eq!(
                    parsed["service"]["pipelines"]["traces"]["exporters"],
                    Value::Sequence(vec!["load_balancing".into()])
                );
            }
            assert_eq!(here, &agent["processors"][block], "{config}: {block}");
        }
        assert_eq!(
            parsed["processors"]["transform/redact"]["error_mode"],
            "propagate"
        );
        let pipelines = parsed["service"]["pipelines"].as_mapping().unwrap();
        for (name, pipeline) in pipelines {
            let name = name.as_str().unwrap();
            let list = |key: &str| -> Vec<String> {
                let items = pipeline[key].as_sequence().unwrap().iter();
                items
                    .map(|item| item.as_str().unwrap().to_owned())
                    .collect()
            };
            let fed_by_ours = list("receivers").iter().all(|receiver| {
                let made_here = ["span_metrics", "service_graph", "forward/kept"];
                made_here.contains(&receiver.as_str()) || receiver == "prometheus/self"
            });
            let stays = list("exporters") == ["load_balancing"];
            let processors = list("processors");
            if !fed_by_ours && !stays {
                assert!(
                    processors.contains(&"redaction".to_owned()),
                    "{config}: {name}"
                );
                let traces = name.starts_with("traces");
                let texts = processors.contains(&"transform/redact".to_owned());
                assert!(!traces || texts, "{config}: {name}");
            }
            let limited = processors.first().map(String::as_str) == Some("memory_limiter");
            assert!(limited || fed_by_ours, "{config}: {name}");
        }
    }
}

/// The names that the rules for the collector watch.
fn watched() -> BTreeSet<String> {
    let rules = fs::read_to_string(file("alerts.yaml")).unwrap();
    let parsed: Value = serde_norway::from_str(&rules).unwrap();
    let rules = parsed["groups"][0]["rules"].as_sequence().unwrap().clone();
    let mut names = BTreeSet::new();
    for rule in rules {
        let expression = rule["expr"].as_str().unwrap().to_owned();
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        names.extend(
            words
                .filter(|word| word.starts_with("otelcol_"))
                .map(str::to_owned),
        );
    }
    names
}

#[test]
fn what_the_alerts_watch_exists_under_that_name() {
    let away = cloud();
    away.otherwise(Answer::BadRequest);
    let settings = Settings::new("agent.yaml", Ports::free()).to(&away);
    let Some(turned_down) = settings.start() else {
        return;
    };
    let full = cloud();
    full.otherwise(Answer::Hang);
    let settings = Settings::new("agent.yaml", Ports::free())
        .to(&full)
        .set("COLLECTOR_QUEUE_BYTES", "20000");
    let full = settings.start().unwrap();

    let records = |count: u64| -> Vec<LogRecord> {
        let record = |_| LogRecord {
            attributes: vec![text("filler", &"x".repeat(200))],
            ..LogRecord::default()
        };
        (0..count).map(record).collect()
    };
    let spans = |count: u64| -> Vec<_> {
        let took = Duration::from_millis(1);
        let span = |id| span(&"s".repeat(200), 1, id, 0, took);
        (1..=count).map(span).collect()
    };
    // Answered with 400 for good, and by a queue without room.
    let sender = turned_down.sender();
    assert_eq!(sender.spans("s", spans(10)), 200);
    assert_eq!(sender.logs("s", records(10)), 200);
    let sender = full.sender();
    let refused = |send: &dyn Fn() -> u16| {
        until("the queue is full", || send() == 503);
    };
    refused(&|| sender.spans("s", spans(20)));
    refused(&|| sender.logs("s", records(20)));

    // Nothing is scraped where the receiver hangs and the queue is full, so the metrics come from
    // both.
    let mut names = watched();
    assert!(names.len() >= 10, "{names:?}");
    let mut pages = String::new();
    for _ in 0..200 {
        pages = turned_down.own_metrics() + &full.own_metrics();
        names.retain(|name| {
            let value = |line: &str| {
                let rest = line.strip_prefix(name.as_str())?;
                rest.starts_with(['{', ' ']).then_some(())
            };
            !pages.lines().any(|line| value(line).is_some())
        });
        if names.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let own: Vec<&str> = pages
        .lines()
        .filter(|l| l.starts_with("otelcol_"))
        .collect();
    assert!(names.is_empty(), "not there: {names:?} in {own:#?}");

    // And the labels that the rules keep.
    for (metric, label) in [
        ("otelcol_exporter_queue_size", "data_type=\"logs\""),
        (
            "otelcol_exporter_send_failed_spans_total",
            "exporter=\"otlp_http/grafana_cloud\"",
        ),
        ("otelcol_receiver_refused_spans_total", "receiver=\"otlp\""),
    ] {
        let found = pages
            .lines()
            .any(|line| line.starts_with(metric) && line.contains(label));
        assert!(found, "{metric} {label}: {own:#?}");
    }
    assert!(
        turned_down
            .own("otelcol_exporter_send_failed_spans_total")
            .unwrap()
            >= 10.0
    );
    assert!(
        full.own("otelcol_exporter_enqueue_failed_spans_total")
            .unwrap()
            >= 20.0
    );
}

#[test]
fn promtool_takes_the_rules_and_their_tests() {
    for (command, name) in [("check", "alerts.yaml"), ("test", "alerts_test.yaml")] {
        let mut promtool = Command::new("promtool");
        promtool.arg(command).arg("rules").arg(file(name));
        match promtool.output() {
            Ok(output) => assert!(output.status.success(), "{output:?}"),
            Err(_) => missing("promtool", "apt-get install prometheus"),
        }
    }
}

/// The names of the families on a page, of those that have series.
fn families(page: &str) -> BTreeSet<String> {
    let names = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    names.map(str::to_owned).collect()
}

#[test]
fn the_local_page_has_the_names_of_the_service_s_own() {
    let ports = Ports::free();
    let settings = Settings::new("local.yaml", ports);
    let Some(collector) = settings.start() else {
        return;
    };
    let (_backend, address) = backend(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &ports.endpoint()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_on"),
    ]);
    let client = client();
    for path in ["workflows/code_review", "agents/writer", "ask"] {
        let url = format!("http://{address}/{path}");
        let answer = client.post(url).body("Why?").send().unwrap();
        assert!(answer.status().is_success(), "{path}");
    }
    let own = client
        .get(format!("http://{address}/api/monitoring/metrics"))
        .header("accept", "text/plain;version=0.0.4")
        .send()
        .unwrap();
    let mut own = families(&own.text().unwrap());
    // The SDK's own counter of log records is on the page and not pushed.
    own.remove("otel_sdk_log_created_total");
    assert!(own.len() > 20, "{own:?}");
    let lacking = || {
        let there = families(&collector.page(ports.page));
        own.difference(&there).cloned().collect::<Vec<_>>()
    };
    until("every family is there", || lacking().is_empty());
    until("spans are counted", || {
        let page = collector.page(ports.page);
        [
            "workflow_executions_total{",
            "traces_span_metrics_calls_total{",
            "traces_span_metrics_duration_seconds_bucket{",
        ]
        .iter()
        .all(|series| page.contains(series))
    });
    let written = collector.settings.folder().join("telemetry.json");
    until("all three signals are in the file", || {
        let lines = fs::read_to_string(&written).unwrap_or_default();
        [
            "\"resourceSpans\"",
            "\"resourceLogs\"",
            "\"resourceMetrics\"",
        ]
        .iter()
        .all(|kind| lines.contains(kind))
    });
}

#[test]
fn new_relic_and_datadog_get_all_three_signals_with_their_headers() {
    let (_backend, target) = backend(&[]);
    for (config, header, endpoint, key) in [
        (
            "newrelic.yaml",
            "api-key",
            "NEW_RELIC_OTLP_ENDPOINT",
            "NEW_RELIC_LICENSE_KEY",
        ),
        (
            "datadog.yaml",
            "dd-api-key",
            "DD_OTLP_ENDPOINT",
            "DD_API_KEY",
        ),
    ] {
        let receiver = OtlpReceiver::builder()
            .require_header(header, "the key")
            .start();
        let settings = Settings::new(config, Ports::free())
            .set(endpoint, receiver.http_endpoint())
            .set(key, "the key")
            .set("TACHOGRAPH_METRICS_TARGET", &target);
        let Some(collector) = settings.start() else {
            return;
        };
        let sender = collector.sender();
        let took = Duration::from_millis(1);
        assert_eq!(sender.spans("s", vec![span("one", 1, 1, 0, took)]), 200);
        assert_eq!(sender.logs("s", vec![LogRecord::default()]), 200);
        let requests = || {
            let metrics = receiver.metrics();
            let named = metrics
                .iter()
                .filter(|m| m.name == "http_server_requests_total");
            named.cloned().collect::<Vec<_>>()
        };
        until(config, || {
            receiver.spans().len() == 1 && receiver.logs().len() == 1 && requests().len() > 1
        });
        let delta = requests().iter().all(|metric| match &metric.data {
            Some(metric::Data::Sum(sum)) => {
                sum.aggregation_temporality() == AggregationTemporality::Delta
            }
            other => panic!("{other:?}"),
        });
        assert_eq!(delta, config == "datadog.yaml", "{config}");
    }
}
