//! The tests' OTLP receiver itself, by clients that are not ours.
#![cfg(feature = "otlp")]

mod support;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use support::otlp::{Answer, OtlpReceiver};

#[tokio::test]
async fn the_receiver_takes_both_transports() {
    let receiver = OtlpReceiver::start().await;
    let message = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans {
                spans: vec![Span {
                    name: "one".to_owned(),
                    ..Span::default()
                }],
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    };
    let mut grpc = TraceServiceClient::connect(receiver.grpc_endpoint())
        .await
        .unwrap();
    grpc.export(message.clone()).await.unwrap();
    receiver.script([Answer::Unavailable { retry_after: None }]);
    let refused = grpc.export(message.clone()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable);

    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::new();
    let reply = http
        .post(format!("{}/v1/traces", receiver.http_endpoint()))
        .header("content-type", "application/x-protobuf")
        .body(message.encode_to_vec())
        .send()
        .await
        .unwrap();
    assert_eq!(reply.status(), 200);
    assert_eq!(receiver.spans().len(), 2);
    assert_eq!(receiver.requests().len(), 3);

    receiver.refuse();
    assert!(grpc.export(message.clone()).await.is_err());
    receiver.resume();
    let mut grpc = TraceServiceClient::connect(receiver.grpc_endpoint())
        .await
        .unwrap();
    grpc.export(message).await.unwrap();
    assert_eq!(receiver.spans().len(), 3);
}
