//! The middleware of HTTP clients against a real server over TLS: answers of every kind, answers
//! that do not come, break off or are dropped, and who gets trace context.
#![cfg(feature = "http-client")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use http::Extensions;
use opentelemetry::baggage::BaggageExt as _;
use opentelemetry::{Context, KeyValue};
use reqwest::{Request, Response};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, Next};
use support::https::{Answer, Asked, HttpsServer, answer, streamed};
use tachograph::instrumentation::reqwest::{ClientTelemetry, UrlTemplate};
use tachograph::pipeline::propagation::RemoteContext;
use tachograph::testing::{self, Capture};

const PATIENCE: Duration = Duration::from_secs(20);
const NAMES: [&str; 4] = ["api.test", "a.svc.test", "svc.test", "elsewhere.test"];

/// Answers with the status that the path names.
fn by_path(asked: &Asked) -> Option<Answer> {
    match asked.path.split(['/', '?']).nth(1)? {
        "never" => None,
        "loop" => Some(answer(302, &[("location", "/loop")], "")),
        "to" => {
            let name = asked.path.split('/').nth(2)?;
            let port = asked.header("host")?.rsplit(':').next()?;
            let there = format!("https://{name}:{port}/200");
            Some(answer(302, &[("location", &there)], ""))
        }
        status => Some(answer(status.parse().ok()?, &[], "content")),
    }
}

async fn server() -> HttpsServer {
    HttpsServer::start(&NAMES, by_path).await
}

fn telemetry() -> ClientTelemetry {
    let telemetry = ClientTelemetry::builder().trace_hosts(["api.test", "*.svc.test"]);
    telemetry.build().unwrap()
}

fn client(bare: reqwest::ClientBuilder) -> ClientWithMiddleware {
    let bare = bare.build().unwrap();
    ClientBuilder::new(bare).with(telemetry()).build()
}

#[track_caller]
fn assert_ended(recorded: &Capture, status: &str, error: &str, expected: u64) {
    let ended = recorded
        .signal("http.client.request")
        .label("status", status);
    match error {
        "" => ended.assert_count(expected),
        error => ended.label("error.type", error).assert_count(expected),
    }
    recorded
        .metric("http.client.active_requests")
        .assert_value(0.0);
}

#[tokio::test]
async fn answers_are_recorded_by_status_with_their_spans_below_the_callers() {
    let server = server().await;
    let recorded = testing::capture();
    let client = client(server.client());
    let users = UrlTemplate::new("/{status}/users/{id}");
    {
        let caller = tracing::info_span!("caller");
        let request = client
            .post(server.url("api.test", "/200/users/17?key=hunter2"))
            .basic_auth("ada", Some("hunter2"))
            .header("x-secret", "hunter2")
            .body("to be kept")
            .with_extension(users.clone());
        let answer = tracing::Instrument::instrument(request.send(), caller).await;
        let answer = answer.unwrap();
        assert_eq!(answer.url().path(), "/200/users/17");
        // Only the body's end is the request's.
        recorded.signal("http.client.request").assert_count(0);
        recorded
            .metric("http.client.active_requests")
            .assert_value(1.0);
        assert_eq!(answer.text().await.unwrap(), "content");
    }
    for status in [404, 429, 500] {
        let url = server.url("api.test", &format!("/{status}/users/17"));
        let answer = client.get(url).with_extension(users.clone()).send().await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), status);
        answer.bytes().await.unwrap();
    }
    let head = client
        .head(server.url("elsewhere.test", "/200"))
        .send()
        .await;
    drop(head.unwrap());
    let brewed = client.request("BREW".parse().unwrap(), server.url("api.test", "/204"));
    drop(brewed.send().await.unwrap());

    assert_ended(&recorded, "success", "", 3);
    assert_ended(&recorded, "refused", "404", 1);
    assert_ended(&recorded, "rate_limited", "429", 1);
    assert_ended(&recorded, "server_error", "500", 1);
    let users = recorded.metric("http.client.request.duration");
    let users = users.label("url.template", "/{status}/users/{id}");
    let users = users.label("server.address", "api.test");
    assert_eq!(users.label("http.request.method", "POST").observations(), 1);
    let first = recorded.metric("http.client.request.time_to_first_byte");
    assert_eq!(first.observations(), 6);
    let sent = recorded.metric("http.client.request.body.size");
    assert_eq!((sent.observations(), sent.value()), (1, Some(10.0)));
    let received = recorded.metric("http.client.response.body.size");
    assert_eq!((received.observations(), received.value()), (4, Some(28.0)));

    let port = server.address.port().to_string();
    let span = recorded
        .span("POST /{status}/users/{id}")
        .child_of("caller");
    let span = span.field("http.request.method", "POST");
    let span = span.field("http.response.status_code", "200");
    let span = span.field("server.address", "api.test");
    let span = span.field("server.port", &port);
    let span = span.field("network.protocol.version", "1.1");
    let span = span.field("http.request.body.size", "10");
    let span = span.field("http.response.body.size", "7");
    let span = span.field("url.full", &server.url("api.test", "/200/users/17"));
    span.failed(false).assert_count(1);
    let span = recorded.span("GET /{status}/users/{id}");
    span.field("error.type", "404").failed(true).assert_count(1);
    let span = recorded.span("HTTP").field("http.request.method", "_OTHER");
    let span = span.field("http.request.method_original", "BREW");
    span.failed(false).assert_count(1);
    recorded.span("HEAD").failed(false).assert_count(1);
    let all = recorded.to_string();
    assert!(!all.contains("hunter2"), "{all}");
    assert!(!all.contains("YWRhOmh1bnRlcjI"), "{all}");
}

#[tokio::test]
async fn requests_without_an_answer_are_told_apart() {
    let server = server().await;
    let recorded = testing::capture();
    let never = server.url("api.test", "/never");

    let impatient = client(server.client().timeout(Duration::from_millis(200)));
    impatient.get(&never).send().await.unwrap_err();
    assert_ended(&recorded, "timeout", "timeout", 1);

    let closed = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let plain = client(server.client());
    let refused = plain.get(format!("https://127.0.0.1:{port}/")).send().await;
    refused.unwrap_err();
    assert_ended(&recorded, "failed", "connection_refused", 1);

    let nowhere = server.client().dns_resolver(Arc::new(Nowhere));
    let nowhere = client(nowhere).get("https://nowhere.test/").send().await;
    nowhere.unwrap_err();
    assert_ended(&recorded, "failed", "dns", 1);

    let distrustful = client(server.distrustful());
    distrustful
        .get(server.url("api.test", "/200"))
        .send()
        .await
        .unwrap_err();
    assert_ended(&recorded, "failed", "tls", 1);

    plain
        .get(server.url("api.test", "/loop"))
        .send()
        .await
        .unwrap_err();
    assert_ended(&recorded, "failed", "redirect", 1);

    let asked = server.asked().len();
    let mut waiting = Box::pin(plain.get(&never).send());
    let start = Instant::now();
    while server.asked().len() == asked {
        assert!(start.elapsed() < PATIENCE, "it never arrives");
        let turn = tokio::time::timeout(Duration::from_millis(5), &mut waiting);
        turn.await.unwrap_err();
    }
    recorded
        .metric("http.client.active_requests")
        .assert_value(1.0);
    drop(waiting);
    assert_ended(&recorded, "abandoned", "abandoned", 1);

    let first = recorded.metric("http.client.request.time_to_first_byte");
    assert_eq!(first.observations(), 0);
    let span = recorded.span("GET").field("error.type", "timeout");
    span.field("status", "timeout").failed(true).assert_count(1);
    let span = recorded
        .span("GET")
        .field("error.type", "connection_refused");
    span.field("server.address", "127.0.0.1").assert_count(1);
    recorded.span("GET").assert_count(6);
}

#[tokio::test]
async fn a_body_is_handed_on_as_it_comes_and_its_end_is_the_requests() {
    let (send, streaming) = streamed(200, &[]);
    let streaming = std::sync::Mutex::new(Some(streaming));
    let server = HttpsServer::start(&NAMES, move |_| streaming.lock().unwrap().take()).await;
    let recorded = testing::capture();
    let client = client(server.client());
    let request = client.get(server.url("api.test", "/stream"));
    let mut answer = request.send().await.unwrap();
    for part in ["one", "three"] {
        send.send(Ok(part)).unwrap();
        assert_eq!(answer.chunk().await.unwrap().unwrap(), part);
    }
    assert_eq!(recorded.signal("http.client.request").count(), 0);
    drop(send);
    assert_eq!(answer.chunk().await.unwrap(), None);
    assert_ended(&recorded, "success", "", 1);
    let received = recorded.metric("http.client.response.body.size");
    assert_eq!(received.value(), Some(8.0));
    drop(answer);
    recorded.span("GET").failed(false).assert_count(1);
}

#[tokio::test]
async fn a_body_that_breaks_off_stalls_or_is_dropped_is_no_success() {
    let (breaking, broken) = streamed(200, &[("content-length", "100")]);
    let (_stalling, stalled) = streamed(200, &[]);
    let (leaving, left) = streamed(200, &[]);
    let (_unread, unread) = streamed(200, &[]);
    let (failing, failed) = streamed(503, &[]);
    let answers = std::sync::Mutex::new(vec![failed, unread, left, stalled, broken]);
    let server = HttpsServer::start(&NAMES, move |_| answers.lock().unwrap().pop()).await;
    let recorded = testing::capture();
    let patient = client(server.client());
    let url = server.url("api.test", "/stream");

    let answer = patient.get(&url).send().await.unwrap();
    breaking.send(Ok("begun")).unwrap();
    breaking.send(Err(io::ErrorKind::Other.into())).unwrap();
    answer.bytes().await.unwrap_err();
    assert_ended(&recorded, "failed", "connection_closed", 1);

    let hasty = client(server.client().read_timeout(Duration::from_millis(200)));
    let answer = hasty.get(&url).send().await.unwrap();
    answer.bytes().await.unwrap_err();
    assert_ended(&recorded, "timeout", "timeout", 1);

    let mut answer = patient.get(&url).send().await.unwrap();
    leaving.send(Ok("begun")).unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "begun");
    recorded
        .metric("http.client.active_requests")
        .assert_value(1.0);
    drop(answer);
    assert_ended(&recorded, "abandoned", "abandoned", 1);

    // Who asks for the status alone has all of the answer that was wanted.
    drop(patient.get(&url).send().await.unwrap());
    assert_ended(&recorded, "success", "", 1);
    let mut answer = patient.get(&url).send().await.unwrap();
    failing.send(Ok("we are")).unwrap();
    answer.chunk().await.unwrap();
    drop(answer);
    assert_ended(&recorded, "server_error", "503", 1);

    let received = recorded.metric("http.client.response.body.size");
    assert_eq!(received.observations(), 0);
    let span = recorded
        .span("GET")
        .field("http.response.status_code", "200");
    span.failed(true).assert_count(3);
}

#[tokio::test]
async fn trace_context_goes_to_the_hosts_that_were_allowed_alone() {
    let server = server().await;
    let recorded = testing::capture();
    let client = client(server.client());
    let context = Context::current().with_baggage([KeyValue::new("tenant", "acme")]);
    for (name, allowed) in [
        ("api.test", true),
        ("a.svc.test", true),
        ("svc.test", false),
        ("elsewhere.test", false),
    ] {
        let request = client.get(server.url(name, "/200"));
        let request =
            opentelemetry::context::FutureExt::with_context(request.send(), context.clone());
        request.await.unwrap().bytes().await.unwrap();
        let asked = server.last();
        for header in ["traceparent", "baggage"] {
            assert_eq!(
                asked.header(header).is_some(),
                allowed,
                "{header} to {name}"
            );
        }
        if allowed {
            // The client's span is the parent, not the caller's.
            let remote = RemoteContext::from_headers(|header| {
                asked.header(header).into_iter().map(str::as_bytes)
            });
            // As the server would, elsewhere.
            let served = format!("served {name}");
            let span = served.clone();
            let server = std::thread::spawn(move || {
                let _context = remote.into_context(&Context::new()).attach();
                drop(tracing::info_span!("served", otel.name = span));
            });
            server.join().unwrap();
            recorded.span(&served).child_of("GET").assert_count(1);
            assert_eq!(asked.header("baggage"), Some("tenant=acme"));
        }
    }
}

#[tokio::test]
async fn attempts_are_requests_of_their_own_and_resends_are_counted() {
    let failing = AtomicU32::new(2);
    let server = HttpsServer::start(&NAMES, move |_| {
        let left = failing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        Some(answer(if left.is_ok() { 503 } else { 200 }, &[], ""))
    })
    .await;
    let recorded = testing::capture();
    let client = ClientBuilder::new(server.client().build().unwrap())
        .with(Again)
        .with(telemetry())
        .build();
    let answer = client
        .get(server.url("api.test", "/"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    drop(answer);
    let other = client
        .get(server.url("api.test", "/"))
        .send()
        .await
        .unwrap();
    drop(other);

    assert_ended(&recorded, "server_error", "503", 2);
    assert_ended(&recorded, "success", "", 2);
    let resent = recorded.signal("http.client.resend");
    resent.label("server.address", "api.test").assert_count(2);
    for (count, spans) in [("1", 1), ("2", 1), ("3", 0)] {
        let span = recorded
            .span("GET")
            .field("http.request.resend_count", count);
        span.assert_count(spans);
    }
    recorded.span("GET").assert_count(4);
}

/// Sends a request again for as long as the server fails.
struct Again;

#[async_trait::async_trait]
impl Middleware for Again {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        loop {
            let attempt = request.try_clone().unwrap();
            let answer = next.clone().run(attempt, extensions).await?;
            if !answer.status().is_server_error() {
                return Ok(answer);
            }
        }
    }
}

/// Knows no name.
struct Nowhere;

impl reqwest::dns::Resolve for Nowhere {
    fn resolve(&self, _: reqwest::dns::Name) -> reqwest::dns::Resolving {
        Box::pin(async { Err(io::Error::from(io::ErrorKind::NotFound).into()) })
    }
}

#[tokio::test]
async fn redirections_take_trace_context_to_no_other_hosts() {
    let server = server().await;
    let _recorded = testing::capture();
    let client = client(server.client().redirect(telemetry().redirects()));
    // Within what is allowed, and from what is not allowed, they are followed.
    for (from, to, status, traced) in [
        ("api.test", "a.svc.test", 200, true),
        ("elsewhere.test", "svc.test", 200, false),
        ("api.test", "elsewhere.test", 302, true),
    ] {
        let url = server.url(from, &format!("/to/{to}"));
        let answer = client.get(url).send().await.unwrap();
        assert_eq!(answer.status(), status, "{from} to {to}");
        answer.bytes().await.unwrap();
        assert_eq!(server.last().header("traceparent").is_some(), traced);
        let port = server.address.port();
        let last = if status == 200 { to } else { from };
        let host = format!("{last}:{port}");
        assert_eq!(server.last().header("host"), Some(host.as_str()));
    }
    let failed = client.get(server.url("api.test", "/loop")).send().await;
    assert!(failed.is_err());
}
