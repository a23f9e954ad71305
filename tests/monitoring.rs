//! The routes by which metrics are read, over real connections.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read as _, Write as _};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use actix_web::web::ServiceConfig;
use serde_json::Value;
use support::web::Server;
use tachograph::instrumentation::actix::auth::Access;
use tachograph::pipeline::config::LogFormat;
use tachograph::signals::pipeline::{
    CollectorLastSuccess, CollectorUp, DropReason, Dropped, ItemKind,
};
use tachograph::signals::workflow::{RunStatus, WorkflowRun, WorkflowRunEnd};
use tachograph::{Telemetry, TelemetryConfig};

fn telemetry() -> &'static Telemetry {
    static TELEMETRY: OnceLock<Telemetry> = OnceLock::new();
    TELEMETRY.get_or_init(|| {
        let mut config = TelemetryConfig::default();
        config.logs.format = LogFormat::Off;
        let telemetry = Telemetry::init(config).unwrap();
        // As a library does that knows nothing of Tachograph, before any route is made.
        let meter = opentelemetry::global::meter("library");
        meter.u64_counter("library.calls").build().add(3, &[]);
        telemetry
    })
}

fn serve(access: Access) -> Server {
    let telemetry = telemetry();
    Server::start(telemetry.middleware(), move |config: &mut ServiceConfig| {
        config.service(telemetry.routes().access(access.clone()));
    })
}

/// The whole answer, head and body.
fn raw(server: &Server, head: &str) -> (String, Vec<u8>) {
    let mut stream = server.send(&format!("{head}\r\nhost: x\r\nconnection: close\r\n\r\n"));
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let body = answer.split_off(end + 4);
    (String::from_utf8(answer).unwrap().to_lowercase(), body)
}

#[test]
fn the_page_is_negotiated_and_is_the_same_under_both_paths() {
    let server = serve(Access::default());
    let status = RunStatus::Success;
    WorkflowRun {
        workflow_type: "page",
    }
    .record(WorkflowRunEnd { status }, Duration::from_secs(1));
    let line = "workflow_executions_total{status=\"success\",workflow_type=\"page\"} 1";
    for path in ["/metrics", "/api/monitoring/metrics"] {
        let (head, body) = raw(&server, &format!("GET {path} HTTP/1.1"));
        let body = String::from_utf8(body).unwrap();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(
            head.contains("content-type: text/plain; version=0.0.4"),
            "{head}"
        );
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{head}"
        );
        assert!(body.lines().any(|one| one == line), "{body}");
        assert!(body.contains("\nlibrary_calls_total"), "{body}");
        let (head, body) = raw(&server, &format!("HEAD {path} HTTP/1.1"));
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(head.contains("content-length: "), "{head}");
        assert!(body.is_empty(), "HEAD has no body");
        let (head, _) = raw(&server, &format!("POST {path} HTTP/1.1"));
        assert!(head.starts_with("http/1.1 405"), "{head}");
        assert!(head.contains("allow: get, head"), "{head}");
    }
    let accept = "GET /metrics?name[]=workflow_executions_total HTTP/1.1\r\n\
                  accept: application/openmetrics-text; version=1.0.0\r\naccept-encoding: gzip";
    let (head, body) = raw(&server, accept);
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    assert!(head.contains("content-encoding: gzip"), "{head}");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&body[..])
        .read_to_string(&mut text)
        .unwrap();
    assert!(
        text.ends_with("# EOF\n") && text.contains("workflow_type=\"page\""),
        "{text}"
    );
    assert!(
        !text.contains("http_server"),
        "only what was asked for: {text}"
    );
    let (head, _) = raw(&server, "GET /metrics HTTP/1.1\r\naccept: */*;q=0");
    assert!(head.starts_with("http/1.1 406"), "{head}");
}

#[test]
fn credentials_are_asked_for_where_some_are_set() {
    let server = serve(Access::default().token("abc").user("me", "pass"));
    for path in [
        "/metrics",
        "/api/monitoring/metrics",
        "/api/monitoring/health/metrics",
    ] {
        assert_eq!(server.get(path).0, 401, "{path}");
        let with = |value: &str| {
            let line = format!("GET {path}");
            server.request(&line, &[("authorization", value)], "").0
        };
        assert_eq!(with("Bearer abc"), 200, "{path}");
        assert_eq!(with("Basic bWU6cGFzcw=="), 200, "{path}");
        assert_eq!(with("Bearer wrong"), 401, "{path}");
    }
}

#[test]
fn the_health_route_tells_categories_collectors_and_losses() {
    let server = serve(Access::default());
    CollectorUp { collector: "host" }.set(1.0);
    CollectorLastSuccess { collector: "host" }.set(1_700_000_000.0);
    let (signal, reason) = (ItemKind::Foreign, DropReason::Clash);
    Dropped { signal, reason }.add(3);
    let (status, body) = server.get("/api/monitoring/health/metrics");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200, "{body:#}");
    assert_eq!(body["collection"]["working"], true);
    assert!(body["collection"]["last_success"].is_string(), "{body:#}");
    for domain in tachograph::recording::all()
        .iter()
        .map(|r| r.signal().domain)
    {
        let category = &body["categories"][domain];
        assert!(category["declared"].as_u64() > Some(0), "{domain} {body:#}");
        assert!(category["series"].is_u64(), "{domain} {body:#}");
    }
    let names = body["categories"]["http"]["names"].as_array().unwrap();
    assert!(
        names.contains(&"http_server_request_duration_seconds".into()),
        "{names:?}"
    );
    let host = &body["collectors"]["host"];
    assert_eq!(host["up"], true);
    assert_eq!(host["last_success"], "2023-11-14T22:13:20Z");
    let lost = body["dropped"].as_array().unwrap();
    let clash = lost.iter().find(|one| one["reason"] == "clash").unwrap();
    assert!(clash["items"].as_u64() >= Some(3), "{clash}");
    assert_eq!(
        body["exporters"],
        serde_json::json!([]),
        "none is configured"
    );
    assert_eq!(body["status"], "ok");

    CollectorUp { collector: "host" }.set(0.0);
    let (_, body) = server.get("/api/monitoring/health/metrics");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["status"], "degraded");
}

#[test]
fn slow_clients_hold_nothing_up() {
    let server = serve(Access::default());
    // They ask and do not read.
    let lazy: Vec<_> = (0..50)
        .map(|_| {
            let mut stream = server.connect();
            stream
                .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
                .unwrap();
            stream
        })
        .collect();
    let start = Instant::now();
    for _ in 0..5 {
        assert_eq!(server.get("/metrics").0, 200);
    }
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    drop(lazy);
}
