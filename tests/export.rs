//! Export over OTLP against a real receiver, with every fault of a backend.
#![cfg(feature = "otlp")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use support::export::{Rig, TRANSPORTS, config, lines};
use support::otlp::{Answer, Kind, OtlpReceiver, Tls, Transport};
use tachograph::pipeline::config::{OtlpCompression, TelemetryConfig};
use tachograph::pipeline::export::{Collect, DropReason, ExportSignal, Exporters, FlushError};

const LONG: Duration = Duration::from_secs(20);
const TRACES: ExportSignal = ExportSignal::Traces;
const METRICS: ExportSignal = ExportSignal::Metrics;
const LOGS: ExportSignal = ExportSignal::Logs;

fn lost<const N: usize>(expected: [(DropReason, u64); N]) -> BTreeMap<DropReason, u64> {
    BTreeMap::from(expected)
}

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
            rig.meter.u64_counter("a.counter").build().add(3, &[]);
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
            assert_eq!(metrics[0].name, "a.counter");
            assert_eq!(metrics[0].resource["service.name"], "rig");
            for request in receiver.requests() {
                assert_eq!(request.transport, transport, "{case}");
                assert_eq!(request.encoding.as_deref(), encoding, "{case}");
            }
            for status in rig.exporters.status() {
                assert_eq!(status.exported, 1, "{case}");
                assert_eq!(status.lost, [], "{case}");
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
    rig.meter.u64_counter("c").build().add(1, &[]);
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
        let error = Rig::try_start(&config, None).err().unwrap();
        assert_eq!(error.field, field);
    }
}

// TLS

/// An authority and what it signed, as files for the client and PEM for the server.
struct Authority {
    dir: tempfile::TempDir,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            dir: tempfile::tempdir().unwrap(),
            issuer: rcgen::Issuer::new(params, key),
            pem,
        }
    }

    fn sign(&self, name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn file(&self, name: &str, pem: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path.to_string_lossy().into_owned()
    }
}

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

// Faults of the backend

#[test]
fn a_backend_away_at_the_start_is_said_once_and_found_again() {
    for transport in TRANSPORTS {
        let receiver = OtlpReceiver::start_blocking();
        let endpoint = receiver.endpoint(transport);
        lines("endpoint", &endpoint);
        receiver.refuse();
        let rig = Rig::start(&config(&receiver, transport));
        rig.exporters.probe();
        rig.exporters.probe();
        rig.spans(5);
        assert_eq!(rig.exporters.force_flush(LONG), Err(FlushError::Lost(5)));
        assert_eq!(rig.lost(TRACES), lost([(DropReason::Refused, 5)]));
        rig.spans(2);
        rig.exporters.force_flush(LONG).unwrap_err();
        assert_eq!(rig.lost(TRACES), lost([(DropReason::Refused, 7)]));
        let status = rig.status(TRACES);
        assert_eq!(status.consecutive_failures, 2);
        assert_eq!(status.last_success, None);
        assert!(
            status
                .last_error
                .unwrap()
                .to_lowercase()
                .contains("refused")
        );

        receiver.resume();
        rig.spans(4);
        rig.exporters.force_flush(LONG).unwrap();
        assert_eq!(receiver.spans().len(), 4, "{transport:?}");
        let status = rig.status(TRACES);
        assert_eq!((status.consecutive_failures, status.exported), (0, 4));

        let port = endpoint.rsplit(':').next().unwrap();
        let away: Vec<_> = lines("port", port);
        assert_eq!(away.len(), 1, "{away:#?}");
        let told = lines("endpoint", &endpoint);
        let told: Vec<_> = told
            .iter()
            .filter(|l| l.get("signal") == "traces")
            .collect();
        assert_eq!(told.len(), 2, "{told:#?}");
        assert_eq!(
            (told[0].level.as_str(), told[0].get("reason")),
            ("WARN", "refused")
        );
        assert_eq!((told[1].level.as_str(), told[1].get("lost")), ("INFO", "7"));
    }
}

#[test]
fn a_connection_that_breaks_is_made_again() {
    for transport in TRANSPORTS {
        let receiver = OtlpReceiver::start_blocking();
        let rig = Rig::start(&config(&receiver, transport));
        rig.span("before");
        rig.exporters.force_flush(LONG).unwrap();
        receiver.refuse();
        receiver.resume();
        rig.span("after");
        rig.exporters.force_flush(LONG).unwrap();
        assert_eq!(receiver.spans().len(), 2, "{transport:?}");
    }
}

#[test]
fn a_hanging_backend_costs_the_timeout_and_what_was_sent() {
    for transport in TRANSPORTS {
        let receiver = OtlpReceiver::start_blocking();
        receiver.script([Answer::Hang]);
        let mut config = config(&receiver, transport);
        config.otlp.timeout = Duration::from_millis(300);
        let rig = Rig::start(&config);
        rig.spans(3);
        let begun = Instant::now();
        assert_eq!(rig.exporters.force_flush(LONG), Err(FlushError::Lost(3)));
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert_eq!(rig.lost(TRACES), lost([(DropReason::Timeout, 3)]));
        assert_eq!(receiver.requests().len(), 1, "a timeout is not retried");
        rig.spans(2);
        rig.exporters.force_flush(LONG).unwrap();
        assert_eq!(receiver.spans().len(), 2, "{transport:?}");
    }
}

#[test]
fn a_busy_backend_is_left_alone_for_as_long_as_it_asks() {
    for transport in TRANSPORTS {
        for busy in [
            |d| Answer::TooMany {
                retry_after: Some(d),
            },
            |d| Answer::Unavailable {
                retry_after: Some(d),
            },
        ] {
            let receiver = OtlpReceiver::start_blocking();
            receiver.script([busy(Duration::from_secs(1))]);
            let rig = Rig::start(&config(&receiver, transport));
            rig.spans(3);
            rig.exporters.force_flush(LONG).unwrap();
            assert_eq!(receiver.spans().len(), 3, "{transport:?}");
            assert_eq!(rig.lost(TRACES), lost([]));
            let requests = receiver.requests();
            assert_eq!(requests.len(), 2);
            let pause = requests[1].at - requests[0].at;
            assert!(pause >= Duration::from_secs(1), "{transport:?}: {pause:?}");
        }
    }
}

#[test]
fn a_backend_busy_for_longer_than_the_timeout_holds_the_next_batch_too() {
    for transport in TRANSPORTS {
        let receiver = OtlpReceiver::start_blocking();
        let retry_after = Some(Duration::from_secs(30));
        receiver.otherwise(Answer::Unavailable { retry_after });
        let rig = Rig::start(&config(&receiver, transport));
        rig.spans(3);
        assert_eq!(rig.exporters.force_flush(LONG), Err(FlushError::Lost(3)));
        assert_eq!(rig.lost(TRACES), lost([(DropReason::Unavailable, 3)]));
        // The next batch waits in the exporter's hand, a flush gives up at its deadline …
        rig.spans(2);
        let short = Duration::from_millis(200);
        assert_eq!(
            rig.exporters.force_flush(short),
            Err(FlushError::Deadline(short))
        );
        assert_eq!(receiver.requests().len(), 1, "{transport:?}");
        // … and shutdown does not wait, but tries once more.
        receiver.otherwise(Answer::Ok);
        rig.exporters.shutdown(LONG).unwrap();
        assert_eq!(receiver.spans().len(), 2);
    }
}

#[test]
fn a_passing_503_loses_nothing_and_a_lasting_one_is_tried_so_often() {
    for transport in TRANSPORTS {
        let receiver = OtlpReceiver::start_blocking();
        let away = Answer::Unavailable { retry_after: None };
        receiver.script([away.clone(), away.clone()]);
        let rig = Rig::start(&config(&receiver, transport));
        rig.spans(3);
        rig.exporters.force_flush(LONG).unwrap();
        assert_eq!(receiver.spans().len(), 3, "{transport:?}");
        assert_eq!(receiver.requests().len(), 3);

        receiver.clear();
        receiver.otherwise(away);
        rig.spans(4);
        assert_eq!(rig.exporters.force_flush(LONG), Err(FlushError::Lost(4)));
        assert_eq!(rig.lost(TRACES), lost([(DropReason::Unavailable, 4)]));
        assert_eq!(receiver.requests().len(), 3, "the first and two retries");
    }
}

#[test]
fn a_request_turned_down_for_good_is_not_repeated() {
    for transport in TRANSPORTS {
        for (answer, reason) in [
            (Answer::BadRequest, DropReason::Rejected),
            (Answer::Http(500), DropReason::Rejected),
            (
                Answer::TooLarge,
                match transport {
                    Transport::Grpc => DropReason::Rejected,
                    Transport::Http => DropReason::TooLarge,
                },
            ),
        ] {
            let receiver = OtlpReceiver::start_blocking();
            receiver.otherwise(answer.clone());
            let rig = Rig::start(&config(&receiver, transport));
            rig.spans(3);
            assert_eq!(rig.exporters.force_flush(LONG), Err(FlushError::Lost(3)));
            assert_eq!(
                rig.lost(TRACES),
                lost([(reason, 3)]),
                "{transport:?} {answer:?}"
            );
            assert_eq!(receiver.requests().len(), 1, "{transport:?} {answer:?}");
        }
    }
}

#[test]
fn partial_success_is_counted_for_every_signal() {
    for transport in TRANSPORTS {
        let receiver = OtlpReceiver::start_blocking();
        receiver.otherwise(Answer::Partial {
            rejected: 2,
            message: "no room".to_owned(),
        });
        let rig = Rig::start(&config(&receiver, transport));
        let counter = rig.meter.u64_counter("c").build();
        for n in 0..5 {
            rig.span("s");
            rig.log(n);
            counter.add(1, &[opentelemetry::KeyValue::new("n", n)]);
        }
        assert_eq!(rig.exporters.force_flush(LONG), Err(FlushError::Lost(6)));
        for status in rig.exporters.status() {
            assert_eq!(status.lost, [(DropReason::Partial, 2)], "{transport:?}");
            assert_eq!(status.exported, 3);
            assert!(status.last_error.unwrap().contains("no room"));
        }
        assert_eq!(
            receiver.requests().len(),
            3,
            "partial success is not retried"
        );
        // A warning without a loss is none.
        receiver.otherwise(Answer::Partial {
            rejected: 0,
            message: "mind the names".to_owned(),
        });
        rig.span("s");
        rig.exporters.force_flush(LONG).unwrap();
        assert_eq!(rig.status(TRACES).exported, 4);
    }
}

#[test]
fn a_reply_that_is_no_protobuf_is_still_success() {
    let receiver = OtlpReceiver::start_blocking();
    receiver.otherwise(Answer::Garbage);
    let rig = Rig::start(&config(&receiver, Transport::Http));
    rig.spans(2);
    rig.exporters.force_flush(LONG).unwrap();
    assert_eq!(rig.status(TRACES).exported, 2);
}

#[test]
fn requests_are_cut_to_size_and_what_cannot_be_cut_is_counted() {
    for transport in TRANSPORTS {
        let receiver = OtlpReceiver::start_blocking();
        let rig = Rig::start(&config(&receiver, transport));
        for _ in 0..150 {
            rig.log("x".repeat(60_000));
        }
        rig.exporters.force_flush(LONG).unwrap();
        assert_eq!(receiver.logs().len(), 150, "{transport:?}");
        for request in receiver.requests() {
            assert!(request.message_len <= 4 * 1024 * 1024);
        }
        rig.log("small");
        rig.log("x".repeat(5_000_000));
        rig.log("small");
        assert_eq!(rig.exporters.force_flush(LONG), Err(FlushError::Lost(1)));
        assert_eq!(rig.lost(LOGS), lost([(DropReason::TooLarge, 1)]));
        assert_eq!(receiver.logs().len(), 152);
    }
}

// Queues

#[test]
fn a_full_queue_never_blocks_and_every_item_is_accounted_for() {
    for transport in TRANSPORTS {
        let receiver = OtlpReceiver::start_blocking();
        let endpoint = receiver.endpoint(transport);
        lines("endpoint", &endpoint);
        receiver.script([Answer::Hang, Answer::Hang]);
        let mut config = config(&receiver, transport);
        for queue in [&mut config.traces.queue, &mut config.logs.queue] {
            queue.max_queue_size = 16;
            queue.max_export_batch_size = 4;
        }
        config.otlp.timeout = LONG;
        let rig = Rig::start(&config);
        rig.spans(4);
        (0..4).for_each(|n| rig.log(n));
        receiver.wait_for_blocking(|r| r.requests().len() == 2);
        // Four of each are with the backend; of a hundred more sixteen find room.
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..25 {
                        rig.span("more");
                        rig.log(n);
                    }
                });
            }
        });
        assert!(begun.elapsed() < Duration::from_secs(2));
        for signal in [TRACES, LOGS] {
            let status = rig.status(signal);
            assert_eq!(status.lost, [(DropReason::QueueFull, 84)], "{transport:?}");
            assert_eq!(
                (status.queue_length, status.queue_capacity),
                (Some(16), Some(16))
            );
        }
        // The loss is said while it lasts, though the exporter is busy.
        rig.wait_for(|_| lines("endpoint", &endpoint).len() == 2);
        let told = lines("endpoint", &endpoint);
        assert!(
            told.iter().all(|l| l.get("reason") == "queue_full"),
            "{told:#?}"
        );

        // At the deadline of shutdown the rest is lost, and counted: 4 + 100 in all.
        let deadline = Duration::from_millis(500);
        let begun = Instant::now();
        rig.exporters.shutdown(deadline).unwrap_err();
        assert!(begun.elapsed() < deadline + Duration::from_millis(200));
        for signal in [TRACES, LOGS] {
            assert_eq!(
                rig.lost(signal),
                lost([(DropReason::QueueFull, 84), (DropReason::Shutdown, 20)]),
                "{transport:?}"
            );
        }
        // What comes later is counted as well.
        rig.span("late");
        assert_eq!(rig.lost(TRACES)[&DropReason::Shutdown], 21);
    }
}

#[test]
fn a_full_batch_goes_out_before_the_delay_is_over() {
    let receiver = OtlpReceiver::start_blocking();
    let mut config = config(&receiver, Transport::Http);
    config.traces.queue.schedule_delay = Duration::from_secs(3600);
    config.traces.queue.max_export_batch_size = 10;
    let rig = Rig::start(&config);
    rig.spans(25);
    receiver.wait_for_blocking(|r| r.spans().len() == 20);
    rig.exporters.force_flush(LONG).unwrap();
    let names: BTreeSet<_> = receiver.spans().iter().map(|s| s.name.clone()).collect();
    assert_eq!(names.len(), 25);
    assert_eq!(receiver.requests().len(), 3);
}

#[test]
fn spans_that_are_not_sampled_are_not_exported() {
    let receiver = OtlpReceiver::start_blocking();
    let rig = Rig::start(&config(&receiver, Transport::Http));
    let processor = rig.exporters.span_processor().unwrap();
    let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder()
        .with_sampler(RecordOnly)
        .with_span_processor(processor)
        .build();
    {
        use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
        provider.tracer("t").start("recorded only").end();
    }
    rig.span("sampled");
    rig.exporters.force_flush(LONG).unwrap();
    assert_eq!(receiver.spans().len(), 1);
}

/// Records every span and samples none.
#[derive(Clone, Debug)]
struct RecordOnly;

impl opentelemetry_sdk::trace::ShouldSample for RecordOnly {
    fn should_sample(
        &self,
        _: Option<&opentelemetry::Context>,
        _: opentelemetry::trace::TraceId,
        _: &str,
        _: &opentelemetry::trace::SpanKind,
        _: &[opentelemetry::KeyValue],
        _: &[opentelemetry::trace::Link],
    ) -> opentelemetry_sdk::trace::SamplingResult {
        opentelemetry_sdk::trace::SamplingResult {
            decision: opentelemetry_sdk::trace::SamplingDecision::RecordOnly,
            attributes: Vec::new(),
            trace_state: opentelemetry::trace::TraceState::default(),
        }
    }
}

// Flush and shutdown

/// Works the same wherever it is called from.
fn flush_and_shut_down_twice(receiver: &OtlpReceiver, rig: &Rig) {
    rig.span("first");
    rig.exporters.force_flush(LONG).unwrap();
    assert_eq!(receiver.spans().len(), 1);
    rig.span("second");
    rig.log("second");
    rig.meter.u64_counter("c").build().add(1, &[]);
    rig.exporters.shutdown(LONG).unwrap();
    assert_eq!(receiver.spans().len(), 2);
    assert_eq!(receiver.logs().len(), 1);
    assert!(receiver.metrics().iter().any(|m| m.name == "c"));
    let begun = Instant::now();
    rig.exporters.shutdown(LONG).unwrap();
    rig.exporters.force_flush(LONG).unwrap();
    rig.tracers.shutdown().unwrap();
    rig.loggers.shutdown().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[test]
fn flush_and_shutdown_work_without_a_runtime() {
    for transport in TRANSPORTS {
        let receiver = OtlpReceiver::start_blocking();
        let rig = Rig::start(&config(&receiver, transport));
        flush_and_shut_down_twice(&receiver, &rig);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn flush_and_shutdown_work_from_a_current_thread_runtime() {
    for transport in TRANSPORTS {
        let receiver = OtlpReceiver::start().await;
        let rig = Rig::start(&config(&receiver, transport));
        flush_and_shut_down_twice(&receiver, &rig);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flush_and_shutdown_work_from_a_multi_thread_runtime() {
    for transport in TRANSPORTS {
        let receiver = OtlpReceiver::start().await;
        let rig = Rig::start(&config(&receiver, transport));
        flush_and_shut_down_twice(&receiver, &rig);
    }
}

#[actix_web::test]
async fn flush_and_shutdown_work_from_within_actix() {
    use actix_web::{App, HttpResponse, test, web};
    for transport in TRANSPORTS {
        let receiver = Arc::new(OtlpReceiver::start().await);
        let rig = Arc::new(Rig::start(&config(&receiver, transport)));
        let state = web::Data::new((receiver, rig));
        type State = web::Data<(Arc<OtlpReceiver>, Arc<Rig>)>;
        let app = App::new().app_data(state).route(
            "/",
            web::get().to(|state: State| async move {
                flush_and_shut_down_twice(&state.0, &state.1);
                HttpResponse::Ok().finish()
            }),
        );
        let app = test::init_service(app).await;
        let reply = test::call_service(&app, test::TestRequest::get().to_request()).await;
        assert!(reply.status().is_success(), "{transport:?}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn shutdown_keeps_its_deadline_while_the_backend_hangs() {
    for transport in TRANSPORTS {
        let receiver = OtlpReceiver::start().await;
        receiver.otherwise(Answer::Hang);
        let mut config = config(&receiver, transport);
        config.otlp.timeout = LONG;
        let rig = Rig::start(&config);
        rig.meter.u64_counter("c").build().add(1, &[]);
        rig.spans(3);
        rig.log("l");
        receiver.wait_for(|r| r.requests().len() == 2).await;
        rig.spans(4);
        let deadline = Duration::from_millis(400);
        let begun = Instant::now();
        let first = rig.exporters.shutdown(deadline);
        let took = begun.elapsed();
        assert!(first.is_err(), "{transport:?}");
        assert!(
            took < deadline + Duration::from_millis(200),
            "{transport:?}: {took:?}"
        );
        assert_eq!(rig.lost(TRACES), lost([(DropReason::Shutdown, 7)]));
        assert_eq!(rig.lost(LOGS), lost([(DropReason::Shutdown, 1)]));
        assert_eq!(rig.lost(METRICS), lost([(DropReason::Shutdown, 1)]));
        assert_eq!(rig.exporters.shutdown(deadline), Ok(()), "a second time");
    }
}

#[test]
fn shutdown_does_not_sit_out_the_retries() {
    let receiver = OtlpReceiver::start_blocking();
    receiver.refuse();
    let mut config = config(&receiver, Transport::Http);
    config.otlp.timeout = Duration::from_secs(600);
    config.otlp.max_retries = 1000;
    let rig = Rig::start(&config);
    rig.spans(3);
    rig.wait_for(|rig| rig.status(TRACES).queue_length == Some(0));
    let begun = Instant::now();
    assert_eq!(rig.exporters.shutdown(LONG), Err(FlushError::Lost(3)));
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(rig.lost(TRACES), lost([(DropReason::Refused, 3)]));
}

#[test]
fn shutdown_without_time_counts_everything() {
    let receiver = OtlpReceiver::start_blocking();
    receiver.otherwise(Answer::Hang);
    let mut config = config(&receiver, Transport::Grpc);
    config.traces.queue.schedule_delay = Duration::from_secs(3600);
    let rig = Rig::start(&config);
    rig.spans(600);
    let _ = rig.exporters.shutdown(Duration::ZERO);
    rig.wait_for(|rig| rig.lost(TRACES) == lost([(DropReason::Shutdown, 600)]));
}

#[test]
fn exporters_that_are_dropped_send_what_they_hold() {
    let receiver = OtlpReceiver::start_blocking();
    let mut config = config(&receiver, Transport::Http);
    config.traces.queue.schedule_delay = Duration::from_secs(3600);
    let rig = Rig::start(&config);
    rig.spans(5);
    let Rig { exporters, .. } = rig;
    drop(exporters);
    receiver.wait_for_blocking(|r| r.spans().len() == 5);
}

// Metrics

#[test]
fn metrics_are_pushed_every_interval_and_stay_cumulative() {
    let receiver = OtlpReceiver::start_blocking();
    let mut config = config(&receiver, Transport::Grpc);
    config.metrics.export_interval = Duration::from_millis(50);
    let rig = Rig::start(&config);
    let counter = rig.meter.u64_counter("c").build();
    let native = rig.meters.meter("tachograph.native");
    native.u64_counter("hidden").build().add(1, &[]);
    counter.add(1, &[]);
    receiver.wait_for_blocking(|r| r.metrics().len() >= 2);
    counter.add(1, &[]);
    rig.exporters.force_flush(LONG).unwrap();
    let pushed = receiver.metrics();
    assert!(
        pushed
            .iter()
            .all(|m| m.name == "c" && m.scope == "rig.meter")
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
fn metrics_that_cannot_be_collected_are_counted() {
    let receiver = OtlpReceiver::start_blocking();
    let config = config(&receiver, Transport::Http);
    let fails: Collect = Arc::new(|_: &mut ResourceMetrics| {
        Err(OTelSdkError::InternalFailure("no reader".to_owned()))
    });
    let panics: Collect = Arc::new(|_: &mut ResourceMetrics| panic!("a callback's own fault"));
    for (collect, said) in [(fails, "no reader"), (panics, "panic")] {
        let rig = Rig::try_start(&config, Some(collect)).unwrap();
        assert_eq!(rig.exporters.force_flush(LONG), Err(FlushError::Lost(1)));
        assert_eq!(rig.lost(METRICS), lost([(DropReason::Collect, 1)]));
        let error = rig.status(METRICS).last_error.unwrap();
        assert!(error.contains(said), "{error}");
        // Other signals go on.
        rig.span("s");
        receiver.clear();
        let _ = rig.exporters.force_flush(LONG);
        assert_eq!(receiver.spans().len(), 1);
    }
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
    let collect: Collect = Arc::new(move |_: &mut ResourceMetrics| {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let _ = held.lock().recv();
        Ok(())
    });
    let rig = Rig::try_start(&config, Some(collect)).unwrap();
    rig.wait_for(|rig| rig.lost(METRICS).get(&DropReason::Collect) >= Some(&2));
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
    assert!(start.elapsed() < deadline + Duration::from_millis(200));
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
