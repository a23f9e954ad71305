//! The spans of requests as they are exported: those written without the SDK say what those of
//! the SDK say.
#![cfg(feature = "otlp")]
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, SystemTime};

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse};
use opentelemetry::trace::{SpanContext, Status, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use support::export::config;
use support::otlp::{OtlpReceiver, Transport};
use support::web::{Server, until};
use tachograph::Telemetry;
use tachograph::instrumentation::actix::{AuthInfo, Middleware, Tracing, UserKey};
use tachograph::pipeline::config::LogFormat;

const LONG: Duration = Duration::from_secs(20);

/// What an application does to the span of its request.
fn touch(how: &str) {
    let context = Context::current();
    let span = context.span();
    match how {
        "attribute" => span.set_attribute(KeyValue::new("order", 7)),
        "event" => span.add_event("packed", vec![KeyValue::new("boxes", 2)]),
        "link" => span.add_link(SpanContext::NONE, vec![KeyValue::new("why", "batch")]),
        "status" => span.set_status(Status::error("out of stock")),
        "ok" => span.set_status(Status::Ok),
        "name" => span.update_name("renamed"),
        "end" => span.end(),
        "many" => span.set_attributes((0..200).map(|i| KeyValue::new("many", i))),
        _ => {}
    }
    assert_eq!(span.is_recording(), how != "end");
}

fn routes(config: &mut ServiceConfig) {
    let touched = |request: HttpRequest, path: web::Path<(String, u16)>| async move {
        let (how, status) = path.into_inner();
        touch(&how);
        if how == "panic" {
            panic!("as asked for");
        }
        if how == "user" {
            let user = AuthInfo::jwt(Some("alice"));
            request.extensions_mut().insert(user);
        }
        HttpResponse::Ok()
            .status(actix_web::http::StatusCode::from_u16(status).unwrap())
            .body(how)
    };
    config.route("/touched/{how}/{status}", web::to(touched));
}

/// Without what differs between two requests.
fn normal(mut span: Span) -> Span {
    assert!(span.start_time_unix_nano > 0);
    assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    assert_eq!(span.span_id.len(), 8);
    (span.start_time_unix_nano, span.end_time_unix_nano) = (0, 0);
    span.span_id.clear();
    span.trace_id.clear();
    for event in &mut span.events {
        event.time_unix_nano = 0;
    }
    span.attributes.retain(|one| one.key != "server.port");
    span.attributes.sort_by(|a, b| a.key.cmp(&b.key));
    span
}

#[test]
fn spans_written_at_once_say_what_the_sdks_say() {
    let receiver = OtlpReceiver::start_blocking();
    let mut config = config(&receiver, Transport::Http);
    config.logs.format = LogFormat::Off;
    let telemetry = Telemetry::init(config).unwrap();
    let sdk = Middleware::new(Some(Tracing {
        tracer: telemetry.tracer().unwrap().clone(),
        sampler: telemetry.sampler().unwrap(),
        exported: true,
    }));
    let start = |middleware: Middleware| {
        let key = UserKey::new(b"a key").unwrap();
        let middleware = middleware.client_address(true).user_agent(true);
        Server::start(middleware.user_key(key), routes)
    };
    let servers = [start(telemetry.middleware()), start(sdk)];

    let agent = ("user-agent", "a client");
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("GET /touched/not/200", &[]),
        ("GET /touched/not/200", &[agent]),
        ("BREW /touched/not/200", &[agent]),
        ("POST /touched/not/404", &[("tracestate", "vendor=1")]),
        ("GET /touched/not/503", &[]),
        ("GET /touched/panic/200", &[]),
        ("GET /nothing/here?secret=1", &[]),
        ("GET /touched/user/200", &[]),
        ("GET /touched/attribute/200", &[agent]),
        ("GET /touched/event/200", &[("tracestate", "vendor=1")]),
        ("GET /touched/link/500", &[]),
        ("GET /touched/status/200", &[]),
        ("GET /touched/status/500", &[]),
        ("GET /touched/ok/500", &[]),
        ("GET /touched/name/200", &[]),
        ("GET /touched/end/200", &[]),
        ("GET /touched/many/200", &[]),
    ];
    for (at, (line, headers)) in cases.iter().enumerate() {
        let spans = [0, 1].map(|server: usize| {
            let trace = 0x4bf9_2f35_77b3_4da6_u128 << 64 | (at * 2 + server) as u128;
            let parent = format!("00-{trace:032x}-00f067aa0ba902b7-01");
            let mut headers = headers.to_vec();
            headers.push(("traceparent", &parent));
            servers[server].request(line, &headers, "");
            let found = || -> Vec<Span> {
                telemetry.force_flush(LONG).unwrap();
                let all = receiver.spans();
                let of_trace = all
                    .iter()
                    .filter(|s| s.trace_id == trace.to_be_bytes() && s.scope == "tachograph");
                of_trace.map(|span| span.item.clone()).collect()
            };
            until("the request's span", || !found().is_empty());
            let mut found = found();
            assert_eq!(found.len(), 1, "{line}: {found:#?}");
            normal(found.remove(0))
        });
        assert_eq!(spans[0], spans[1], "{line}");
    }

    // Nobody asked for these, so that a trace starts; times are those of the request.
    let before = SystemTime::now();
    servers[0].get("/touched/root/200");
    let roots = || -> Vec<Span> {
        telemetry.force_flush(LONG).unwrap();
        let all = receiver.spans();
        let roots = all.iter().filter(|span| span.parent_span_id.is_empty());
        roots.map(|span| span.item.clone()).collect()
    };
    until("the root", || roots().len() == 1);
    let root = roots().remove(0);
    let since = |nanos: u64| SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos);
    assert!(since(root.start_time_unix_nano) >= before);
    assert!(since(root.end_time_unix_nano) <= SystemTime::now());

    // After the shutdown there is nothing to lose.
    telemetry.shutdown(LONG).unwrap();
    servers[0].get("/touched/late/200");
    let lost: Vec<_> = telemetry.exporters().into_iter().map(|e| e.lost).collect();
    assert!(lost.iter().all(|lost| lost.is_empty()), "{lost:?}");
}
