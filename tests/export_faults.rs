//! Every fault of an OTLP backend, and full queues: what is lost is counted, exactly.
#![cfg(feature = "otlp")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use support::export::{Rig, TRANSPORTS, config, lines, lost};
use support::otlp::{Answer, OtlpReceiver, Transport};
use tachograph::pipeline::export::FlushError;
use tachograph::signals::pipeline::{DropReason, ExportSignal};

const LONG: Duration = Duration::from_secs(20);
const TRACES: ExportSignal = ExportSignal::Traces;
const LOGS: ExportSignal = ExportSignal::Logs;

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
        for n in 0..5 {
            rig.span("s");
            rig.log(n);
            rig.count(&n.to_string());
        }
        assert_eq!(rig.exporters.force_flush(LONG), Err(FlushError::Lost(6)));
        for status in rig.exporters.status() {
            assert_eq!(
                status.lost,
                lost([(DropReason::Partial, 2)]),
                "{transport:?}"
            );
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
            assert_eq!(
                status.lost,
                lost([(DropReason::QueueFull, 84)]),
                "{transport:?}"
            );
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
        assert!(begun.elapsed() < deadline + Duration::from_secs(3));
        for signal in [TRACES, LOGS] {
            assert_eq!(
                rig.lost(signal),
                lost([(DropReason::QueueFull, 84), (DropReason::Shutdown, 20)]),
                "{transport:?}"
            );
        }
        // What comes later is counted as well.
        rig.span("late");
        assert_eq!(rig.lost(TRACES)["shutdown"], 21);
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
