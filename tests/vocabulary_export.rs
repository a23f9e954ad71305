//! Other systems' names over OTLP, to a real receiver.
#![cfg(feature = "otlp")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Duration;

use opentelemetry_proto::tonic::metrics::v1::AggregationTemporality;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use support::export::config;
use support::otlp::{OtlpReceiver, Transport, attributes};
use support::traffic::record;
use tachograph::Telemetry;

#[test]
fn a_vocabulary_goes_out_beside_our_own_names() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let receiver = OtlpReceiver::start_blocking();
    let mut config = config(&receiver, Transport::Http);
    config.vocabulary.export = vec!["data20".to_owned()];
    let telemetry = Telemetry::init(config).unwrap();
    record();
    telemetry.force_flush(Duration::from_secs(20)).unwrap();

    let metrics = receiver.metrics();
    let find = |name: &str| metrics.iter().rev().find(|metric| metric.name == name);
    assert!(find("tool.calls").is_some());
    let calls = find("tool_executions_total").expect("exported");
    let Some(Data::Sum(calls)) = &calls.data else {
        panic!("{calls:?}");
    };
    assert!(calls.is_monotonic);
    let cumulative = AggregationTemporality::Cumulative as i32;
    assert_eq!(calls.aggregation_temporality, cumulative);
    let mut found: Vec<(String, Option<Value>)> = calls
        .data_points
        .iter()
        .map(|point| {
            assert!(point.start_time_unix_nano > 0);
            assert!(point.time_unix_nano >= point.start_time_unix_nano);
            (attributes(&point.attributes)["status"].clone(), point.value)
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [("cancelled", 1), ("completed", 2), ("failed", 2)];
    let expected = expected.map(|(status, n)| (status.to_owned(), Some(Value::AsInt(n))));
    assert_eq!(found, expected);

    let times = find("tool_execution_duration_seconds").expect("exported");
    assert_eq!(times.unit, "s");
    let Some(Data::Histogram(times)) = &times.data else {
        panic!("{times:?}");
    };
    let [point] = &times.data_points[..] else {
        panic!("{times:?}");
    };
    let bounds = [
        1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
    ];
    assert_eq!(point.explicit_bounds, bounds);
    assert_eq!(point.bucket_counts, [2, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(point.count, 5);

    let info = find("app_info").expect("exported");
    assert!(matches!(&info.data, Some(Data::Gauge(_))), "{info:?}");
    assert!(find("autobot_tasks_executed_total").is_none());
}
