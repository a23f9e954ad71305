//! The way in for browsers, on a real server, and the script that uses it.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use actix_web::{App, HttpServer};
use opentelemetry_sdk::Resource;
use proptest::prelude::*;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use support::metrics::points_of;
use tachograph::ingest::frontend::{FrontendApi, FrontendConfig, configure};
use tachograph::pipeline::config::load::Configuration as _;
use tachograph::pipeline::metrics::install;
use tachograph::service::config::ServiceConfig;
use tachograph::signals::CATALOG;

const ORIGIN: &str = "https://app.example.com";

fn config() -> FrontendConfig {
    FrontendConfig {
        origins: vec![ORIGIN.to_owned(), "http://localhost:3000".to_owned()],
        ..FrontendConfig::default()
    }
}

fn installed() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        install(Resource::builder_empty().build(), CATALOG, false).unwrap();
    });
}

struct Page {
    url: String,
    client: reqwest::Client,
}

impl Page {
    async fn of(config: FrontendConfig) -> Self {
        installed();
        let api = FrontendApi::new(config);
        let server = HttpServer::new(move || {
            let api = api.clone();
            App::new().configure(move |service| configure(service, api))
        })
        .workers(1)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .unwrap();
        let url = format!("http://{}/api/v1/frontend", server.addrs()[0]);
        actix_web::rt::spawn(server.run());
        let client = reqwest::Client::new();
        Self { url, client }
    }

    async fn send(&self, origin: Option<&str>, kind: &str, body: String) -> Response {
        let mut request = self.client.post(&self.url).body(body);
        request = request.header("Content-Type", kind);
        if let Some(origin) = origin {
            request = request.header("Origin", origin);
        }
        request.send().await.unwrap()
    }

    async fn events(&self, events: Value) -> Value {
        let body = json!({ "events": events }).to_string();
        let kind = "text/plain;charset=UTF-8";
        let response = self.send(Some(ORIGIN), kind, body).await;
        assert_eq!(response.status(), StatusCode::OK);
        response.json().await.unwrap()
    }

    async fn preflight(&self, origin: &str) -> Response {
        let request = self.client.request(Method::OPTIONS, &self.url);
        let request = request
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "content-type");
        request.send().await.unwrap()
    }
}

fn header<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    response.headers().get(name).map(|v| v.to_str().unwrap())
}

#[actix_web::test]
async fn each_event_is_counted_as_its_signal() {
    let page = Page::of(config()).await;
    let route = "/counted/{id}";
    let answer = page
        .events(json!([
            {"type": "page_load", "route": "/counted/12345", "navigation": "reload", "seconds": 1.5},
            {"type": "web_vital", "route": route, "name": "inp", "seconds": 0.25},
            {"type": "layout_shift", "route": route, "score": 0.125},
            {"type": "api_call", "route": route, "method": "GET", "status": 200, "seconds": 0.5},
            {"type": "api_call", "route": route, "method": "get", "status": 503, "seconds": 0.5},
            {"type": "api_call", "route": route, "method": "PUT", "error": "network", "seconds": 2},
            {"type": "error", "route": route, "kind": "exception", "name": "TypeError"},
            {"type": "error", "route": route, "kind": "exception", "name": "x is not a function"},
        ]))
        .await;
    assert_eq!(answer, json!({"accepted": 8, "rejected": []}));
    let sum = |metric, labels: &[(&str, &str)]| points_of(CATALOG, metric).sum(labels);
    let count = |metric, labels: &[(&str, &str)]| points_of(CATALOG, metric).value(labels);
    let at = ("url.template", route);
    let loads = [at, ("navigation.type", "reload")];
    assert_eq!(sum("frontend.page_load.duration", &loads), 1.5);
    let inp = [at, ("web_vital.name", "inp")];
    assert_eq!(sum("frontend.web_vital.duration", &inp), 0.25);
    assert_eq!(sum("frontend.layout_shift", &[at]), 0.125);
    let calls = "frontend.api_call.duration";
    for labels in [
        [
            ("http.request.method", "GET"),
            ("http.response.status_code", "200"),
        ],
        [("http.request.method", "_OTHER"), ("error.type", "503")],
        [("http.request.method", "PUT"), ("error.type", "network")],
    ] {
        let labels = [at, labels[0], labels[1]];
        assert_eq!(count(calls, &labels), Some(1.0), "{labels:?}");
    }
    for name in ["TypeError", "other"] {
        let labels = [at, ("error.type", name)];
        assert_eq!(count("frontend.errors", &labels), Some(1.0), "{name}");
    }
}

#[actix_web::test]
async fn only_pages_of_the_configured_origins_may_send() {
    let page = Page::of(config()).await;
    let body = || json!({"events": []}).to_string();
    for origin in [
        None,
        Some("null"),
        Some("https://evil.example"),
        Some("https://app.example.com.evil.example"),
        Some("http://app.example.com"),
        Some("https://app.example.com:444"),
    ] {
        let response = page.send(origin, "text/plain", body()).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{origin:?}");
        assert_eq!(header(&response, "access-control-allow-origin"), None);
        if let Some(origin) = origin {
            let response = page.preflight(origin).await;
            assert_eq!(response.status(), StatusCode::FORBIDDEN, "{origin}");
        }
    }
    for origin in [ORIGIN, "http://localhost:3000"] {
        let response = page.send(Some(origin), "text/plain", body()).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(
            header(&response, "access-control-allow-origin"),
            Some(origin)
        );
        assert_eq!(header(&response, "vary"), Some("Origin"));
        let response = page.preflight(origin).await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_eq!(
            header(&response, "access-control-allow-origin"),
            Some(origin)
        );
        assert_eq!(
            header(&response, "access-control-allow-methods"),
            Some("POST")
        );
    }
    let response = page.client.get(&page.url).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    let refused = points_of(CATALOG, "frontend.refusals");
    assert!(refused.value(&[("reason", "origin")]) >= Some(11.0));
}

#[actix_web::test]
async fn bodies_are_bounded_and_of_a_type_that_is_accepted() {
    let page = Page::of(FrontendConfig {
        body_bytes: 1000,
        events: 3,
        ..config()
    })
    .await;
    let status = |kind: &'static str, body: String| {
        let page = &page;
        async move { page.send(Some(ORIGIN), kind, body).await.status().as_u16() }
    };
    let body = || json!({"events": []}).to_string();
    assert_eq!(status("application/json", body()).await, 200);
    assert_eq!(status("TEXT/PLAIN; charset=utf-8", body()).await, 200);
    for kind in [
        "application/x-www-form-urlencoded",
        "text/html",
        "image/png",
    ] {
        assert_eq!(status(kind, body()).await, 415, "{kind}");
    }
    let long = format!("{{\"events\": []}}{}", " ".repeat(1000));
    assert_eq!(status("text/plain", long).await, 413);
    let many = json!({"events": [1, 2, 3, 4]}).to_string();
    assert_eq!(status("text/plain", many).await, 400);
    for body in [
        "",
        "[]",
        "{\"events\": {}}",
        "{\"events\": [], \"more\": 1}",
        "{\"events\": [}",
    ] {
        assert_eq!(status("text/plain", body.to_owned()).await, 400, "{body}");
    }
}

#[actix_web::test]
async fn what_one_address_may_send_is_limited() {
    let page = Page::of(FrontendConfig {
        requests_per_minute: 5,
        ..config()
    })
    .await;
    let body = || json!({"events": []}).to_string();
    for _ in 0..5 {
        let response = page.send(Some(ORIGIN), "text/plain", body()).await;
        assert_eq!(response.status(), StatusCode::OK);
    }
    let response = page.send(Some(ORIGIN), "text/plain", body()).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(header(&response, "retry-after"), Some("60"));
    // The page may read why.
    assert_eq!(
        header(&response, "access-control-allow-origin"),
        Some(ORIGIN)
    );
}

#[actix_web::test]
async fn each_refusal_names_the_field_and_holds_the_others_not_up() {
    let page = Page::of(config()).await;
    let load = |field: &str, value: Value| {
        let mut event = json!({"type": "page_load", "route": "/refused", "navigation": "navigate", "seconds": 1});
        event[field] = value;
        event
    };
    let call = |field: &str, value: Value| {
        let mut event = json!({"type": "api_call", "route": "/refused", "method": "GET", "status": 200, "seconds": 1});
        event[field] = value;
        event
    };
    for (event, field, part) in [
        (json!(7), "", "accepted is an object"),
        (json!({}), "type", "missing"),
        (json!({"type": "paint"}), "type", "accepted are page_load"),
        (load("seconds", json!("1")), "seconds", "from 0 to 3600"),
        (load("seconds", json!(-1)), "seconds", "from 0 to 3600"),
        (load("seconds", json!(1e300)), "seconds", "from 0 to 3600"),
        (load("seconds", json!(null)), "seconds", "from 0 to 3600"),
        (
            load("route", json!("https://a.example/x")),
            "route",
            "the template of a path",
        ),
        (load("route", json!("/x?token=1")), "route", "has a query"),
        (load("route", json!(1)), "route", "accepted is text"),
        (
            load("navigation", json!("teleport")),
            "navigation",
            "accepted are navigate, reload",
        ),
        (
            load("user", json!("jane")),
            "",
            "`user` is not a field of it",
        ),
        (call("status", json!(99)), "status", "from 100 to 599"),
        (
            call("status", json!(null)),
            "status",
            "one of `status` and `error`",
        ),
        (
            json!({"type": "web_vital", "route": "/refused", "name": "cls", "seconds": 1}),
            "name",
            "accepted are lcp",
        ),
        (
            json!({"type": "layout_shift", "route": "/refused", "score": -0.1}),
            "score",
            "from 0 to",
        ),
        (
            json!({"type": "error", "route": "/refused", "kind": "fatal"}),
            "kind",
            "accepted are exception",
        ),
    ] {
        let answer = page
            .events(json!([event, load("route", json!("/fine"))]))
            .await;
        assert_eq!(answer["accepted"], 1, "{event}");
        let rejected = &answer["rejected"][0];
        assert_eq!(rejected["index"], 0, "{event}");
        assert_eq!(rejected["field"], field, "{event}: {rejected}");
        let reason = rejected["reason"].as_str().unwrap();
        assert!(reason.contains(part), "{event}: {reason}");
    }
    let shown = points_of(CATALOG, "frontend.page_load.duration");
    assert_eq!(shown.value(&[("url.template", "/refused")]), None);
    assert_eq!(shown.value(&[("url.template", "/fine")]), Some(17.0));
}

#[actix_web::test]
async fn the_script_reports_a_page_view_and_nothing_private() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ran = Command::new("node")
        .arg(root.join("tests/support/frontend_page.mjs"))
        .arg(root.join("examples/frontend.js"))
        .output();
    let output = match ran {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            support::oracle::missing("Node.js", "apt-get install nodejs");
            return;
        }
        Err(error) => panic!("node: {error}"),
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8(output.stdout).unwrap();
    let beacons: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(beacons.len(), 1, "{text}");
    assert_eq!(
        beacons[0]["url"],
        "https://tachograph.example.com/api/v1/frontend"
    );
    let body = beacons[0]["body"].as_str().unwrap();
    for private in [
        "secret",
        "private",
        "stays",
        "12345",
        "77",
        "elsewhere",
        "cdn",
    ] {
        assert!(!body.contains(private), "{private} is in {body}");
    }
    let events: Value = serde_json::from_str(body).unwrap();
    let route = "/orders/{id}";
    let mut api: Vec<Value> = events["events"].as_array().unwrap().clone();
    api.retain(|event| event["type"] == "api_call");
    let calls: Vec<_> = api
        .iter()
        .map(|e| (&e["route"], &e["method"], &e["status"], &e["error"]))
        .collect();
    let expected = [
        (
            json!("/api/items/{id}"),
            json!("POST"),
            json!(200),
            Value::Null,
        ),
        (json!("/api/missing"), json!("GET"), json!(404), Value::Null),
        (
            json!("/api/broken"),
            json!("GET"),
            Value::Null,
            json!("network"),
        ),
    ];
    assert_eq!(
        calls,
        expected
            .iter()
            .map(|(a, b, c, d)| (a, b, c, d))
            .collect::<Vec<_>>()
    );
    let all = events["events"].as_array().unwrap();
    for event in [
        json!({"type": "page_load", "route": route, "navigation": "reload", "seconds": 2}),
        json!({"type": "web_vital", "name": "ttfb", "route": route, "seconds": 0.3}),
        json!({"type": "web_vital", "name": "fcp", "route": route, "seconds": 0.9}),
        json!({"type": "web_vital", "name": "lcp", "route": route, "seconds": 2.4}),
        json!({"type": "web_vital", "name": "inp", "route": route, "seconds": 0.24}),
        json!({"type": "error", "route": route, "kind": "exception", "name": "RangeError"}),
        json!({"type": "error", "route": route, "kind": "resource"}),
        json!({"type": "error", "route": route, "kind": "unhandled_rejection"}),
    ] {
        assert!(all.contains(&event), "{event} is not in {events}");
    }
    let shift = all
        .iter()
        .find(|event| event["type"] == "layout_shift")
        .unwrap();
    assert!(
        (shift["score"].as_f64().unwrap() - 0.15).abs() < 1e-9,
        "{shift}"
    );
    // The service takes every one of them.
    let page = Page::of(config()).await;
    let response = page
        .send(Some(ORIGIN), "text/plain;charset=UTF-8", body.to_owned())
        .await;
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer, json!({"accepted": all.len(), "rejected": []}));
}

#[test]
fn it_is_off_unless_origins_are_configured_and_those_are_checked() {
    assert!(ServiceConfig::default().frontend.origins.is_empty());
    let problems = |origin: &str| {
        let mut config = ServiceConfig::default();
        config.frontend.origins = vec![origin.to_owned()];
        config.check()
    };
    for origin in [ORIGIN, "http://localhost:3000", "https://[::1]:8443"] {
        assert!(problems(origin).is_empty(), "{origin}");
    }
    for origin in [
        "*",
        "null",
        "app.example.com",
        "https://app.example.com/",
        "https://app.example.com/x",
        "https://APP.example.com",
        "https://app.example.com:443",
        "https://u@app.example.com",
        "file:///x",
    ] {
        let problems = problems(origin);
        assert_eq!(problems.len(), 1, "{origin}");
        assert_eq!(problems[0].0, ["frontend", "origins"]);
        assert!(
            problems[0].1.contains("is not an origin"),
            "{}",
            problems[0].1
        );
    }
    let mut config = ServiceConfig::default();
    config.frontend.events = 0;
    assert_eq!(config.check()[0].0, ["frontend", "events"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn arbitrary_events_never_panic(
        kind in "(page_load|web_vital|layout_shift|api_call|error|x)",
        route in any::<String>(),
        field in "[a-z]{0,8}",
        number in any::<f64>(),
    ) {
        installed();
        let api = FrontendApi::new(config());
        let body = json!({"events": [
            {"type": kind, "route": route, "seconds": number, "score": number, "name": field,
             "kind": field, "navigation": field, "method": field, "status": number},
            {"type": kind, "route": "/p", "seconds": number, field: number},
        ]});
        let taken = api.take(body.to_string().as_bytes()).unwrap();
        prop_assert_eq!(taken.accepted + taken.rejected.len(), 2);
    }

    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = FrontendApi::new(config()).take(&body);
    }
}
