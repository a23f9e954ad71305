//! What the middleware of clients of models records, as a real receiver of OTLP gets it.
#![cfg(all(feature = "http-client", feature = "otlp"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_proto::tonic::metrics::v1::{Metric, metric};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use reqwest_middleware::ClientBuilder;
use serde_json::json;
use support::export::config;
use support::https::{HttpsServer, answer};
use support::otlp::{OtlpReceiver, Transport, attributes};
use tachograph::Telemetry;
use tachograph::instrumentation::reqwest::llm::Llm;

const PATIENCE: Duration = Duration::from_secs(20);
const HOST: &str = "api.anthropic.com";

/// Attributes and values of a metric's points: of a histogram, the sum.
fn points(metric: &Metric) -> Vec<(BTreeMap<String, String>, f64)> {
    use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
    match metric.data.as_ref().unwrap() {
        metric::Data::Histogram(histogram) => {
            let of = histogram.data_points.iter();
            of.map(|point| (attributes(&point.attributes), point.sum.unwrap()))
                .collect()
        }
        metric::Data::Sum(sum) => {
            let value = |value| match value {
                Value::AsInt(value) => value as f64,
                Value::AsDouble(value) => value,
            };
            let of = sum.data_points.iter();
            of.map(|point| (attributes(&point.attributes), value(point.value.unwrap())))
                .collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_request_arrives_as_metrics_a_span_and_a_log_record() {
    let receiver = OtlpReceiver::start().await;
    let telemetry = Telemetry::init(config(&receiver, Transport::Grpc)).unwrap();
    let body = json!({"id": "msg_01", "type": "message", "model": "claude-sonnet-4-5-20250929",
        "content": [{"type": "text", "text": "an answer"}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 100, "cache_read_input_tokens": 1_000, "output_tokens": 50}});
    let server = HttpsServer::start(&[HOST], move |_| {
        let headers = [("content-type", "application/json")];
        Some(answer(200, &headers, body.to_string()))
    })
    .await;
    let bare = server.client().build().unwrap();
    let client = ClientBuilder::new(bare).with(Llm::default()).build();
    let asked = json!({"model": "claude-sonnet-4-5", "messages": []});
    let request = client.post(server.url(HOST, "/v1/messages"));
    let answer = request.body(asked.to_string()).send().await.unwrap();
    answer.bytes().await.unwrap();
    telemetry.force_flush(PATIENCE).unwrap();

    let spans = receiver.spans();
    let span = spans
        .iter()
        .find(|span| span.name == "chat claude-sonnet-4-5");
    let span = span.unwrap();
    assert_eq!(span.kind, SpanKind::Client as i32);
    let of = attributes(&span.attributes);
    for (key, expected) in [
        ("gen_ai.provider.name", "anthropic"),
        ("gen_ai.usage.input_tokens", "1100"),
        ("gen_ai.response.model", "claude-sonnet-4-5-20250929"),
        ("gen_ai.response.id", "msg_01"),
        ("status", "success"),
    ] {
        assert_eq!(of[key], expected, "{key}");
    }
    let logs = receiver.logs();
    assert!(logs.iter().any(|log| log.span_id == span.span_id));

    let metrics = receiver.metrics();
    let sum = |name: &str| -> f64 {
        let found = metrics.iter().filter(|metric| metric.name == name);
        let points = found.flat_map(|metric| points(metric));
        let ours = points.filter(|(of, _)| {
            of["gen_ai.request.model"] == "claude-sonnet-4-5"
                && of["gen_ai.provider.name"] == "anthropic"
        });
        ours.map(|(_, value)| value).sum()
    };
    assert!(sum("gen_ai.client.operation.duration") > 0.0);
    assert_eq!(sum("llm.requests"), 1.0);
    assert_eq!(sum("llm.tokens"), 1_150.0);
    assert!(sum("llm.cost") > 0.0);
    telemetry.shutdown(PATIENCE).unwrap();
}
