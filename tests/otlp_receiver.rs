//! The tests' OTLP receiver itself, by clients that are not ours; and our exporters in a
//! process that has chosen its own TLS provider.
#![cfg(feature = "otlp")]

mod support;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use support::export::{Rig, TRANSPORTS, config};
use support::otlp::{Answer, OtlpReceiver, Tls};
use support::tls::Authority;

/// Installs a provider for the whole process that is not the one export would choose.
fn choose_provider() {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites.reverse();
    // The other test may have been first.
    let _ = provider.install_default();
}

#[test]
fn export_works_beside_a_provider_of_the_host() {
    choose_provider();
    let authority = Authority::new();
    let (certificate, key) = authority.sign("localhost");
    let tls = Tls {
        certificate,
        key,
        client_ca: None,
    };
    let receiver = OtlpReceiver::builder().tls(tls).start();
    for transport in TRANSPORTS {
        let mut config = config(&receiver, transport);
        config.otlp.certificate = Some(authority.file("ca.pem", &authority.pem));
        let rig = Rig::start(&config);
        rig.span("s");
        rig.exporters
            .force_flush(std::time::Duration::from_secs(20))
            .unwrap();
    }
    assert_eq!(receiver.spans().len(), 2);
}

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

    choose_provider();
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
