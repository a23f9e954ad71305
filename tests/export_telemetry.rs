//! Export as the assembled pipeline does it: what an application writes arrives, and what is
//! lost shows in the pipeline's own metrics, also while the backend is away.
#![cfg(feature = "otlp")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use support::export::config;
use support::otlp::{OtlpReceiver, Transport, attributes};
use tachograph::pipeline::Telemetry;
use tachograph::pipeline::config::LogFormat;

const LONG: Duration = Duration::from_secs(20);

/// The points of a metric on this process's own page, by the values of their labels.
fn points(telemetry: &Telemetry, name: &str) -> BTreeMap<String, f64> {
    let points = support::metrics::points(telemetry, name);
    let points = points.all().iter().map(|(labels, value, _)| {
        let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        (labels.join(" "), *value)
    });
    points.collect()
}

#[test]
fn losses_show_on_the_page_while_the_backend_is_away() {
    let receiver = OtlpReceiver::start_blocking();
    receiver.refuse();
    let mut config = config(&receiver, Transport::Http);
    config.logs.format = LogFormat::Off;
    config.resource.service_name = "whole".to_owned();
    let telemetry = Telemetry::init(config).unwrap();

    for _ in 0..3 {
        tracing::info_span!("lost").in_scope(|| tracing::info!("lost"));
    }
    telemetry.force_flush(LONG).unwrap_err();
    let dropped = points(&telemetry, "tachograph.dropped");
    assert_eq!(dropped["reason=refused signal=traces"], 3.0, "{dropped:#?}");
    assert_eq!(dropped["reason=refused signal=logs"], 3.0, "{dropped:#?}");
    let exports = points(&telemetry, "tachograph.exports");
    assert!(
        exports["outcome=refused signal=traces"] >= 1.0,
        "{exports:#?}"
    );
    let retries = points(&telemetry, "tachograph.export.retries");
    assert!(retries["signal=traces"] >= 2.0, "{retries:#?}");
    let capacity = points(&telemetry, "tachograph.queue.capacity");
    assert_eq!(capacity["queue=traces"], 2048.0);
    assert_eq!(
        points(&telemetry, "tachograph.queue.length")["queue=logs"],
        0.0
    );

    receiver.resume();
    tracing::info_span!("kept").in_scope(|| tracing::info!("kept"));
    telemetry.force_flush(LONG).unwrap();
    let spans = receiver.spans();
    assert_eq!(spans.len(), 1, "{spans:#?}");
    assert_eq!(spans[0].name, "kept");
    assert_eq!(spans[0].resource["service.name"], "whole");
    let logs = receiver.logs();
    assert_eq!(logs.len(), 1, "{logs:#?}");
    assert_eq!(logs[0].trace_id, spans[0].trace_id);
    // The push says the same as the page.
    use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
    let metrics = receiver.metrics();
    let pushed = metrics.iter().rfind(|m| m.name == "tachograph.dropped");
    let Some(metric::Data::Sum(sum)) = pushed.unwrap().data.clone() else {
        panic!("{pushed:?}");
    };
    let point = sum.data_points.iter().find(|point| {
        let labels = attributes(&point.attributes);
        labels["signal"] == "traces" && labels["reason"] == "refused"
    });
    assert_eq!(
        point.unwrap().value,
        Some(number_data_point::Value::AsInt(3))
    );
    telemetry.shutdown(LONG).unwrap();
    telemetry.shutdown(LONG).unwrap();
}
