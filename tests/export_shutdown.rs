//! Flush and shutdown of export: from any thread, any runtime, twice, and in time.
#![cfg(feature = "otlp")]
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use support::export::{Rig, TRANSPORTS, config, lost};
use support::otlp::{Answer, OtlpReceiver, Transport};
use tachograph::pipeline::export::FlushError;
use tachograph::signals::pipeline::{DropReason, ExportSignal};

const LONG: Duration = Duration::from_secs(20);
const TRACES: ExportSignal = ExportSignal::Traces;
const METRICS: ExportSignal = ExportSignal::Metrics;
const LOGS: ExportSignal = ExportSignal::Logs;

/// Works the same wherever it is called from.
fn flush_and_shut_down_twice(receiver: &OtlpReceiver, rig: &Rig) {
    rig.span("first");
    rig.exporters.force_flush(LONG).unwrap();
    assert_eq!(receiver.spans().len(), 1);
    rig.span("second");
    rig.log("second");
    rig.count("x");
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
        rig.count("x");
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
            took < deadline + Duration::from_secs(3),
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
