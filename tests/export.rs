//! Export over OTLP against a real receiver: both transports, TLS, settings, metrics.
#![cfg(feature = "otlp")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::export::{Rig, TRANSPORTS, config, lost};
use support::otlp::{Kind, OtlpReceiver, Tls, Transport};
use support::tls::Authority;
use tachograph::pipeline::config::{OtlpCompression, TelemetryConfig};
use tachograph::pipeline::export::{Exporters, FlushError};
use tachograph::signals::pipeline::{DropReason, ExportSignal};

const LONG: Duration = Duration::from_secs(20);
const TRACES: ExportSignal = ExportSignal::Traces;
const METRICS: ExportSignal = ExportSignal::Metrics;

#[test]
fn all_three_signals_arrive_over_both_transports_and_compressions() {
    let compressions = [
        (OtlpCompression::None, None),
        (OtlpCompression::Gzip, Some("gzip")),
        (OtlpCompression::Zstd, Some("zstd")),
    ];
    for transport in TRANSPORTS {
        for (compression, encoding) in compressions {
            let receiver = OtlpReceiver::builder()
                .require_basic_auth("1234", "pass word")
                .start();
            let mut config = config(&receiver, transport);
            config.otlp.compression = compression;
            let token = "Basic MTIzNDpwYXNzIHdvcmQ=".to_owned();
            config.otlp.headers = BTreeMap::from([("Authorization".to_owned(), token)]);
            let rig = Rig::start(&config);
            rig.span("a span");
            rig.log("a line");
            rig.count("x");
            rig.exporters.force_flush(LONG).unwrap();

            let case = format!("{transport:?} {encoding:?}");
            let spans = receiver.spans();
            assert_eq!(spans.len(), 1, "{case}");
            assert_eq!(spans[0].name, "a span");
            assert_eq!(spans[0].scope, "rig.tracer");
            assert_eq!(spans[0].resource["service.name"], "rig");
            let logs = receiver.logs();
            assert_eq!(logs.len(), 1, "{case}");
            assert_eq!(logs[0].resource["service.name"], "rig");
            let metrics = receiver.metrics();
            assert_eq!(metrics.len(), 1, "{case}");
            assert_eq!(metrics[0].name, "c");
            assert_eq!(metrics[0].resource["service.name"], "rig");
            for request in receiver.requests() {
                assert_eq!(request.transport, transport, "{case}");
                assert_eq!(request.encoding.as_deref(), encoding, "{case}");
            }
            for status in rig.exporters.status() {
                assert_eq!(status.exported, 1, "{case}");
                assert_eq!(status.lost, lost([]), "{case}");
                assert_eq!(status.consecutive_failures, 0);
                assert!(status.last_success.is_some());
            }
            rig.exporters.shutdown(LONG).unwrap();
        }
    }
}

#[test]
fn a_missing_header_is_a_rejection() {
    for transport in TRANSPORTS {
        let receiver = OtlpReceiver::builder()
            .require_header("x-tenant", "one")
            .start();
        let rig = Rig::start(&config(&receiver, transport));
        rig.spans(3);
        assert_eq!(
            rig.exporters.force_flush(LONG),
            Err(FlushError::Lost(3)),
            "{transport:?}"
        );
        assert_eq!(rig.lost(TRACES), lost([(DropReason::Rejected, 3)]));
    }
}

#[test]
fn what_differs_for_one_signal_is_used() {
    let receiver = OtlpReceiver::start_blocking();
    let mut config = config(&receiver, Transport::Http);
    let base = receiver.http_endpoint();
    config.otlp.endpoint = Some(format!("{base}/otlp/"));
    config.otlp.headers = BTreeMap::from([("x-common".to_owned(), "1".to_owned())]);
    config.otlp.traces.endpoint = Some(format!("{base}/own/traces"));
    config.otlp.traces.headers = Some(BTreeMap::from([("x-own".to_owned(), "2".to_owned())]));
    config.otlp.metrics.enabled = false;
    let rig = Rig::start(&config);
    rig.span("s");
    rig.log("l");
    rig.count("x");
    rig.exporters.force_flush(LONG).unwrap();
    let requests = receiver.requests();
    assert_eq!(requests.len(), 2, "{requests:#?}");
    let traces = &receiver.requests_for(Kind::Traces)[0];
    assert_eq!(traces.path, "/own/traces");
    assert_eq!(traces.headers["x-own"], "2");
    assert!(!traces.headers.contains_key("x-common"));
    let logs = &receiver.requests_for(Kind::Logs)[0];
    assert_eq!(logs.path, "/otlp/v1/logs");
    assert_eq!(logs.headers["x-common"], "1");
    assert_eq!(rig.exporters.status().len(), 2);
}

#[test]
fn without_an_endpoint_nothing_runs() {
    let rig = Rig::start(&TelemetryConfig::default());
    rig.span("s");
    assert!(rig.exporters.span_processor().is_none());
    assert!(rig.exporters.log_processor().is_none());
    assert_eq!(rig.exporters.status(), []);
    rig.exporters.force_flush(Duration::ZERO).unwrap();
    rig.exporters.shutdown(Duration::ZERO).unwrap();
}

#[test]
fn a_bad_configuration_stops_the_start() {
    let receiver = OtlpReceiver::start_blocking();
    type Change = fn(&mut TelemetryConfig);
    let cases: [(&str, Change); 5] = [
        ("otlp.endpoint", |c| {
            c.otlp.endpoint = Some("localhost:4317".to_owned());
        }),
        ("otlp.certificate", |c| {
            c.otlp.certificate = Some("no/such/file.pem".to_owned());
        }),
        ("traces.queue.max_queue_size", |c| {
            c.traces.queue.max_queue_size = 0;
        }),
        ("logs.queue.max_export_batch_size", |c| {
            c.logs.queue.max_export_batch_size = 0;
        }),
        ("metrics.export_interval", |c| {
            c.metrics.export_interval = Duration::ZERO;
        }),
    ];
    for (field, change) in cases {
        let mut config = config(&receiver, Transport::Http);
        change(&mut config);
        let error = Rig::try_start(&config).err().unwrap();
        assert_eq!(error.field, field);
    }
}

// TLS

#[test]
fn tls_trusts_the_configured_authority_and_shows_a_client_certificate() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("localhost");
    let receiver = OtlpReceiver::builder()
        .tls(Tls {
            certificate,
            key,
            client_ca: Some(authority.pem.clone()),
        })
        .start();
    let (client, client_key) = authority.sign("client");
    for transport in TRANSPORTS {
        receiver.clear();
        let mut config = config(&receiver, transport);
        config.otlp.certificate = Some(authority.file("ca.pem", &authority.pem));
        config.otlp.client_certificate = Some(authority.file("client.pem", &client));
        config.otlp.client_key = Some(authority.file("client.key", &client_key));
        let rig = Rig::start(&config);
        rig.spans(2);
        rig.exporters.force_flush(LONG).unwrap();
        assert_eq!(receiver.spans().len(), 2, "{transport:?}");
    }
}

#[test]
fn tls_to_a_stranger_is_refused() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (certificate, key) = theirs.sign("localhost");
    let receiver = OtlpReceiver::builder()
        .tls(Tls {
            certificate,
            key,
            client_ca: None,
        })
        .start();
    for transport in TRANSPORTS {
        let mut config = config(&receiver, transport);
        config.otlp.certificate = Some(ours.file("ca.pem", &ours.pem));
        config.otlp.max_retries = 0;
        let rig = Rig::start(&config);
        rig.spans(2);
        rig.exporters.force_flush(LONG).unwrap_err();
        assert_eq!(rig.lost(TRACES), lost([(DropReason::Refused, 2)]));
        let error = rig.status(TRACES).last_error.unwrap().to_lowercase();
        assert!(error.contains("certificate"), "{transport:?}: {error}");
        assert_eq!(receiver.requests().len(), 0);
    }
}

// Metrics

#[test]
fn metrics_are_pushed_every_interval_and_stay_cumulative() {
    let receiver = OtlpReceiver::start_blocking();
    let mut config = config(&receiver, Transport::Grpc);
    config.metrics.export_interval = Duration::from_millis(50);
    let rig = Rig::start(&config);
    rig.count("x");
    receiver.wait_for_blocking(|r| r.metrics().len() >= 2);
    rig.count("x");
    rig.exporters.force_flush(LONG).unwrap();
    let pushed = receiver.metrics();
    assert!(
        pushed
            .iter()
            .all(|m| m.name == "c" && m.scope == "tachograph")
    );
    use opentelemetry_proto::tonic::metrics::v1::{
        AggregationTemporality, metric, number_data_point,
    };
    let sum = match pushed.last().unwrap().data.clone() {
        Some(metric::Data::Sum(sum)) => sum,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        sum.aggregation_temporality(),
        AggregationTemporality::Cumulative
    );
    assert_eq!(
        sum.data_points[0].value,
        Some(number_data_point::Value::AsInt(2))
    );
}

#[test]
fn a_hook_that_panics_keeps_no_metrics_back() {
    let receiver = OtlpReceiver::start_blocking();
    let rig = Rig::start(&config(&receiver, Transport::Http));
    rig.collector
        .before_collect(|| panic!("a hook's own fault"));
    rig.count("x");
    rig.exporters.force_flush(LONG).unwrap();
    assert_eq!(receiver.metrics().len(), 1);
}

#[test]
fn a_collection_that_hangs_holds_nothing_else_up() {
    let receiver = OtlpReceiver::start_blocking();
    let mut config = config(&receiver, Transport::Http);
    config.metrics.export_interval = Duration::from_millis(10);
    config.otlp.timeout = Duration::from_millis(100);
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = parking_lot::Mutex::new(held);
    let begun = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&begun);
    let rig = Rig::start(&config);
    rig.collector.before_collect(move || {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let _ = held.lock().recv();
    });
    rig.wait_for(|rig| rig.lost(METRICS).get("collect") >= Some(&2));
    assert_eq!(
        begun.load(std::sync::atomic::Ordering::SeqCst),
        1,
        "never a second"
    );
    rig.span("s");
    receiver.wait_for_blocking(|r| r.spans().len() == 1);
    let deadline = Duration::from_millis(500);
    let start = Instant::now();
    let _ = rig.exporters.shutdown(deadline);
    assert!(start.elapsed() < deadline + Duration::from_secs(3));
    drop(release);
}

#[test]
fn exporters_are_shared_between_clones() {
    let receiver = OtlpReceiver::start_blocking();
    let rig = Rig::start(&config(&receiver, Transport::Http));
    let clone: Exporters = rig.exporters.clone();
    rig.span("s");
    clone.shutdown(LONG).unwrap();
    assert_eq!(rig.status(TRACES).exported, 1);
}
