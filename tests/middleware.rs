//! The actix-web middleware, against real servers and raw TCP clients.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use actix_web::body::{BodyStream, SizedStream};
use actix_web::http::StatusCode;
use actix_web::web::{self, Bytes, ServiceConfig};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse};
use futures_util::{StreamExt as _, stream};
use opentelemetry::baggage::BaggageExt as _;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt as _, TracerProvider as _};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use support::web::{Server, collector, count, reset, series, total, under_way, until};
use tachograph::instrumentation::actix::{AuthInfo, Middleware, Tracing, UserKey};
use tachograph::pipeline::config::{SamplerKind, TracesConfig};
use tachograph::pipeline::sampling::{SamplingLayer, TraceSampler, provider_builder};
use tracing_subscriber::layer::SubscriberExt as _;

const DURATION: &str = "http.server.request.duration";
const REQUEST_SIZE: &str = "http.server.request.body.size";
const RESPONSE_SIZE: &str = "http.server.response.body.size";
const REQUESTS: &str = "http.server.requests";

/// One test at a time: the gauge of requests under way is the process's.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let guard = ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    collector();
    until("earlier requests end", || under_way() == 0.0);
    guard
}

#[derive(Clone, Debug, Default)]
struct Spans(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Spans {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

/// The log lines of the process, as `(target, fields)`.
#[derive(Clone, Debug, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Traces {
    tracing: Tracing,
    spans: Spans,
    lines: Lines,
    _provider: SdkTracerProvider,
}

/// Spans of the middleware and of `tracing`, in one provider, parent-based and on.
fn traces() -> &'static Traces {
    static TRACES: OnceLock<Traces> = OnceLock::new();
    TRACES.get_or_init(|| {
        let config = TracesConfig {
            sampler: SamplerKind::ParentBasedAlwaysOn,
            ..TracesConfig::default()
        };
        let sampler = TraceSampler::new(&config).unwrap();
        let (spans, lines) = (Spans::default(), Lines::default());
        let provider = provider_builder(sampler)
            .with_simple_exporter(spans.clone())
            .build();
        let layer = SamplingLayer::new(provider.tracer("test"), sampler, "info".parse().unwrap());
        let writer = lines.clone();
        let log = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .with_ansi(false);
        tracing::subscriber::set_global_default(
            tracing_subscriber::registry().with(layer).with(log),
        )
        .unwrap();
        Traces {
            tracing: Tracing {
                tracer: provider.tracer("test"),
                sampler,
                exported: true,
            },
            spans,
            lines,
            _provider: provider,
        }
    })
}

impl Traces {
    fn middleware(&self) -> Middleware {
        Middleware::new(Some(self.tracing.clone()))
    }

    /// The spans of a trace, once there are so many.
    fn of(&self, trace_id: &str, number: usize) -> Vec<SpanData> {
        let found = || -> Vec<SpanData> {
            let spans = self.spans.0.lock().unwrap();
            let of_trace = |span: &&SpanData| span.span_context.trace_id().to_string() == trace_id;
            spans.iter().filter(of_trace).cloned().collect()
        };
        until("the trace's spans", || found().len() >= number);
        found()
    }
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|kv| kv.key.as_str() == key);
    found.map(|kv| kv.value.to_string())
}

async fn text() -> &'static str {
    "hello"
}

#[test]
fn routes_methods_and_statuses() {
    let _alone = alone();
    let server = Server::start(Middleware::new(None), |config: &mut ServiceConfig| {
        config
            .route("/rs/fixed", web::get().to(text))
            .service(web::resource("/rs/users/{id}").route(web::get().to(text)))
            .service(
                web::scope("/rs/scope/{tenant}")
                    .service(web::resource("/items/{item}").route(web::put().to(text))),
            )
            .service(web::resource("/rs/any").to(text))
            .route(
                "/rs/teapot",
                web::get().to(|| async { HttpResponse::build(StatusCode::IM_A_TEAPOT).finish() }),
            );
    });
    for (line, status) in [
        ("GET /rs/fixed", 200),
        ("GET /rs/fixed?secret=1", 200),
        ("GET /rs/users/1", 200),
        ("GET /rs/users/2", 200),
        ("POST /rs/users/2", 405),
        ("PUT /rs/scope/acme/items/7", 200),
        ("FROB /rs/any", 200),
        ("get /rs/any", 200),
        ("GET /rs/teapot", 418),
        ("GET /rs/none", 404),
        ("GET /rs/scope/acme/none", 404),
    ] {
        assert_eq!(server.request(line, &[], "").0, status, "{line}");
    }
    until("the requests end", || under_way() == 0.0);
    let requests = |method: &str, route: &str, status: &str| {
        let labels = [
            ("http.request.method", method),
            ("http.route", route),
            ("http.response.status_code", status),
            ("url.scheme", "http"),
            ("network.protocol.version", "1.1"),
        ];
        count(DURATION, &labels)
    };
    assert_eq!(requests("GET", "/rs/fixed", "200"), 2);
    assert_eq!(requests("GET", "/rs/users/{id}", "200"), 2);
    assert_eq!(requests("POST", "/rs/users/{id}", "405"), 1);
    assert_eq!(requests("PUT", "/rs/scope/{tenant}/items/{item}", "200"), 1);
    assert_eq!(requests("_OTHER", "/rs/any", "200"), 2);
    assert_eq!(requests("GET", "/rs/teapot", "418"), 1);
    assert_eq!(requests("GET", "unmatched", "404"), 2);
    for one in series(DURATION, &[("http.route", "/rs/teapot")]) {
        assert_eq!(
            one.label("error.type"),
            None,
            "a 4xx is no error of the server"
        );
    }
}

#[test]
fn a_hundred_thousand_unmatched_paths_are_one_series() {
    const PATHS: usize = 100_000;
    const BATCH: usize = 100;
    let _alone = alone();
    let server = Server::start(Middleware::new(None), |config: &mut ServiceConfig| {
        config.route("/flood", web::get().to(text));
    });
    let labels = [
        ("http.request.method", "DELETE"),
        ("http.route", "unmatched"),
    ];
    let mut stream = server.connect();
    for batch in 0..PATHS / BATCH {
        let text: String = (0..BATCH)
            .map(|i| {
                format!(
                    "DELETE /wp-{}/admin.php HTTP/1.1\r\nhost: x\r\n\r\n",
                    batch * BATCH + i
                )
            })
            .collect();
        stream.write_all(text.as_bytes()).unwrap();
        let (mut answers, mut buffer) = (Vec::new(), [0; 65_536]);
        let ends = |bytes: &[u8]| bytes.windows(4).filter(|w| *w == b"\r\n\r\n").count();
        while ends(&answers) < BATCH {
            let n = stream.read(&mut buffer).unwrap();
            assert!(n > 0);
            answers.extend_from_slice(&buffer[..n]);
        }
    }
    drop(stream);
    until("all are counted", || {
        count(DURATION, &labels) == PATHS as u64
    });
    assert_eq!(series(DURATION, &labels).len(), 1);
    assert_eq!(total(REQUESTS, &labels), PATHS as f64);
}

#[test]
fn bodies_are_measured_to_their_end() {
    let _alone = alone();
    let server = Server::start(Middleware::new(None), |config: &mut ServiceConfig| {
        let echo = |body: Bytes| async move { body };
        let pieces = || {
            stream::iter((0..10).map(|_| Ok::<_, actix_web::Error>(Bytes::from_static(&[7; 100]))))
        };
        let streamed = move || async move { HttpResponse::Ok().streaming(pieces()) };
        let sized =
            move || async move { HttpResponse::Ok().body(SizedStream::new(1000, pieces())) };
        config
            .route("/bodies/echo", web::post().to(echo))
            .route("/bodies/stream", web::get().to(streamed))
            .route("/bodies/sized", web::get().to(sized))
            .route("/bodies/head", web::head().to(text))
            .route("/bodies/unread", web::post().to(text))
            .route("/bodies/empty", web::get().to(HttpResponse::NoContent));
    });
    server.request(
        "POST /bodies/echo",
        &[("content-length", "11")],
        "hello world",
    );
    let chunked = "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    server.request(
        "POST /bodies/echo",
        &[("transfer-encoding", "chunked")],
        chunked,
    );
    let (_, body) = server.get("/bodies/stream");
    assert!(body.ends_with("0\r\n\r\n"), "the stream is complete");
    assert_eq!(server.get("/bodies/sized").1.len(), 1000);
    assert_eq!(
        server.request("HEAD /bodies/head", &[], ""),
        (200, String::new())
    );
    server.request("POST /bodies/unread", &[("content-length", "4")], "body");
    server.get("/bodies/empty");
    until("the requests end", || under_way() == 0.0);
    let size = |metric: &str, route: &str| {
        let found = series(metric, &[("http.route", route)]);
        let sum: f64 = found.iter().map(|s| s.sum).sum();
        (found.iter().map(|s| s.count).sum::<u64>(), sum)
    };
    assert_eq!(size(REQUEST_SIZE, "/bodies/echo"), (2, 22.0));
    assert_eq!(size(RESPONSE_SIZE, "/bodies/echo"), (2, 22.0));
    assert_eq!(size(REQUEST_SIZE, "/bodies/unread"), (1, 4.0));
    assert_eq!(size(RESPONSE_SIZE, "/bodies/stream"), (1, 1000.0));
    assert_eq!(size(RESPONSE_SIZE, "/bodies/sized"), (1, 1000.0));
    assert_eq!(size(RESPONSE_SIZE, "/bodies/head"), (0, 0.0));
    assert_eq!(size(RESPONSE_SIZE, "/bodies/empty"), (1, 0.0));
    for route in ["/bodies/stream", "/bodies/head", "/bodies/empty"] {
        assert_eq!(size(REQUEST_SIZE, route), (0, 0.0), "{route}");
    }
    for one in series(DURATION, &[]) {
        if one
            .label("http.route")
            .is_some_and(|r| r.starts_with("/bodies"))
        {
            assert_eq!(one.label("error.type"), None, "{one:?}");
        }
    }
}

#[test]
fn clients_that_go_away_are_counted_and_leave_nothing_under_way() {
    let _alone = alone();
    let server = Server::start(Middleware::new(None), |config: &mut ServiceConfig| {
        let never = || async {
            std::future::pending::<()>().await;
            "never"
        };
        let endless = || async {
            let piece = Bytes::from_static(&[7; 1000]);
            let pieces = stream::repeat(piece).then(|piece| async {
                actix_web::rt::time::sleep(Duration::from_millis(1)).await;
                Ok::<_, actix_web::Error>(piece)
            });
            HttpResponse::Ok().body(BodyStream::new(pieces))
        };
        let echo = |body: Bytes| async move { body };
        config
            .route("/gone/handler/{id}", web::get().to(never))
            .route("/gone/body", web::get().to(endless))
            .route("/gone/upload", web::post().to(echo));
    });
    let gone = |route: &str, status: Option<&str>| {
        let labels = [("http.route", route), ("error.type", "client_disconnect")];
        let found = series(DURATION, &labels);
        assert!(
            found
                .iter()
                .all(|one| one.label("http.response.status_code") == status)
        );
        found.iter().map(|one| one.count).sum::<u64>()
    };
    let in_handler = |number: usize| -> Vec<_> {
        let streams = (0..number)
            .map(|i| {
                server.send(&format!(
                    "GET /gone/handler/{i} HTTP/1.1\r\nhost: x\r\n\r\n"
                ))
            })
            .collect();
        until("the handlers run", || under_way() == number as f64);
        streams
    };
    in_handler(5).into_iter().for_each(reset);
    until("resets end the handlers", || under_way() == 0.0);
    assert_eq!(gone("/gone/handler/{id}", None), 5);

    let streams: Vec<_> = (0..4)
        .map(|i| {
            let mut stream = server.send("GET /gone/body HTTP/1.1\r\nhost: x\r\n\r\n");
            let mut some = [0; 500];
            stream.read_exact(&mut some).unwrap();
            (i, stream)
        })
        .collect();
    for (i, stream) in streams {
        if i % 2 == 0 {
            reset(stream);
        } else {
            drop(stream);
        }
    }
    until("the bodies end", || under_way() == 0.0);
    assert_eq!(gone("/gone/body", Some("200")), 4);
    let sizes = series(RESPONSE_SIZE, &[("http.route", "/gone/body")]);
    assert!(sizes.iter().all(|one| one.count == 0), "{sizes:?}");

    let upload = "POST /gone/upload HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\npart";
    let stream = server.send(upload);
    until("the upload has begun", || under_way() == 1.0);
    reset(stream);
    until("the upload ends", || under_way() == 0.0);
    assert_eq!(count(DURATION, &[("http.route", "/gone/upload")]), 1);
    let sizes = count(REQUEST_SIZE, &[("http.route", "/gone/upload")]);
    assert_eq!(
        sizes, 0,
        "nobody knows the size of an upload that broke off"
    );
}

#[test]
fn errors_and_panics_are_counted() {
    let _alone = alone();
    let server = Server::start(Middleware::new(None), |config: &mut ServiceConfig| {
        let error = || async { Err::<&str, _>(actix_web::error::ErrorBadGateway("no")) };
        let panics = || async {
            if true {
                panic!("on purpose");
            }
            "never"
        };
        let body_panics = || async {
            let pieces = stream::iter(0..3).map(|i| {
                assert!(i < 2, "on purpose");
                Ok::<_, actix_web::Error>(Bytes::from_static(b"piece"))
            });
            HttpResponse::Ok().streaming(pieces)
        };
        let body_fails = || async {
            let pieces = stream::iter(0..3).map(|i| match i {
                2 => Err(actix_web::error::ErrorInternalServerError("no")),
                _ => Ok(Bytes::from_static(b"piece")),
            });
            HttpResponse::Ok().streaming(pieces)
        };
        let refused = web::resource("/err/middleware/{id}")
            .wrap_fn(|request, _| {
                drop(request);
                Box::pin(async {
                    Err::<actix_web::dev::ServiceResponse, _>(
                        actix_web::error::ErrorServiceUnavailable("no"),
                    )
                }) as futures_util::future::LocalBoxFuture<'static, _>
            })
            .to(text);
        config
            .route("/err/handler", web::get().to(error))
            .route("/err/panic/{id}", web::get().to(panics))
            .route("/err/body-panic", web::get().to(body_panics))
            .route("/err/body", web::get().to(body_fails))
            .service(refused);
    });
    assert_eq!(server.get("/err/handler").0, 502);
    assert_eq!(server.get("/err/panic/1").0, 0);
    server.get("/err/body-panic");
    server.get("/err/body");
    assert_eq!(server.get("/err/middleware/1").0, 503);
    until("the requests end", || under_way() == 0.0);
    let one = |route: &str| {
        let found = series(DURATION, &[("http.route", route)]);
        assert_eq!(found.len(), 1, "{route} {found:?}");
        assert_eq!(found[0].count, 1, "{route}");
        let label = |key: &str| found[0].label(key).unwrap_or_default().to_owned();
        (label("http.response.status_code"), label("error.type"))
    };
    let owned = |status: &str, error: &str| (status.to_owned(), error.to_owned());
    assert_eq!(one("/err/handler"), owned("502", "502"));
    assert_eq!(one("/err/panic/{id}"), owned("", "panic"));
    assert_eq!(one("/err/body-panic"), owned("200", "panic"));
    assert_eq!(one("/err/body"), owned("200", "response_body"));
    assert_eq!(one("/err/middleware/{id}"), owned("503", "503"));
    assert_eq!(server.get("/err/handler").0, 502, "the worker lives on");
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Answers with the trace id, the flag and the baggage in force, seen from inside a span.
async fn context() -> String {
    let span = tracing::info_span!("inside", answer = 42);
    let _entered = span.enter();
    let context = opentelemetry::Context::current();
    let span = context.span();
    let span = span.span_context();
    format!(
        "{} {} state={} user={}",
        span.trace_id(),
        span.is_sampled(),
        span.trace_state().header(),
        context
            .baggage()
            .get("user")
            .map_or_else(String::new, ToString::to_string),
    )
}

fn traced(config: &mut ServiceConfig) {
    config.route("/traced/{id}", web::get().to(context)).route(
        "/traced/fails/{id}",
        web::get().to(HttpResponse::BadGateway),
    );
}

#[test]
fn a_sampled_request_has_a_server_span_that_parents_the_handlers() {
    let _alone = alone();
    let traces = traces();
    let server = Server::start(traces.middleware(), |config: &mut ServiceConfig| {
        config.route("/sampled/{id}", web::get().to(context));
    });
    let headers = [
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        ("tracestate", "vendor=1"),
        ("baggage", "user=alice"),
        ("user-agent", "a-client"),
    ];
    let (status, body) = server.request("GET /sampled/7?token=secret", &headers, "");
    assert_eq!(status, 200);
    assert_eq!(body, format!("{TRACE} true state=vendor=1 user=alice"));
    let spans = traces.of(TRACE, 2);
    let root = spans
        .iter()
        .find(|s| s.span_kind == SpanKind::Server)
        .unwrap();
    let inside = spans.iter().find(|s| s.name == "inside").unwrap();
    assert_eq!(spans.len(), 2);
    assert_eq!(root.name, "GET /sampled/{id}");
    assert_eq!(root.parent_span_id.to_string(), "00f067aa0ba902b7");
    assert!(root.parent_span_is_remote);
    assert_eq!(inside.parent_span_id, root.span_context.span_id());
    let port = server.address.port().to_string();
    for (key, value) in [
        ("http.request.method", Some("GET")),
        ("http.route", Some("/sampled/{id}")),
        ("http.response.status_code", Some("200")),
        ("url.path", Some("/sampled/7")),
        ("url.scheme", Some("http")),
        ("server.address", Some("127.0.0.1")),
        ("server.port", Some(port.as_str())),
        ("network.protocol.version", Some("1.1")),
        ("url.query", None),
        ("client.address", None),
        ("user_agent.original", None),
        ("error.type", None),
    ] {
        assert_eq!(attribute(root, key).as_deref(), value, "{key}");
    }
    assert_eq!(root.status, Status::Unset);
    assert!(!format!("{spans:?}").contains("secret"));

    // The exemplar of the request's bucket is that span.
    let (_, metric) = tachograph::recording::find_metric(DURATION).unwrap();
    let labels = [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("http.route", "/sampled/{id}"),
        ("network.protocol.version", "1.1"),
        ("url.scheme", "http"),
    ];
    let histogram = metric.find(&labels).unwrap();
    let exemplars = (0..20).filter_map(|bucket| histogram.exemplar(bucket));
    let ids: Vec<u128> = exemplars.map(|exemplar| exemplar.span.trace_id).collect();
    assert!(
        ids.contains(&u128::from_str_radix(TRACE, 16).unwrap()),
        "{ids:x?}"
    );
}

#[test]
fn attributes_that_were_asked_for_and_errors_are_on_the_span() {
    let _alone = alone();
    let traces = traces();
    let middleware = traces.middleware().client_address(true).user_agent(true);
    let server = Server::start(middleware, traced);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4737";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let headers = [("traceparent", parent.as_str()), ("user-agent", "a-client")];
    assert_eq!(server.request("GET /traced/fails/1", &headers, "").0, 502);
    let root = &traces.of(trace, 1)[0];
    assert_eq!(
        attribute(root, "client.address").as_deref(),
        Some("127.0.0.1")
    );
    assert_eq!(
        attribute(root, "user_agent.original").as_deref(),
        Some("a-client")
    );
    assert_eq!(attribute(root, "error.type").as_deref(), Some("502"));
    assert!(matches!(root.status, Status::Error { .. }));
}

#[test]
fn an_unsampled_request_records_no_span_and_neither_does_its_inside() {
    let _alone = alone();
    let traces = traces();
    let server = Server::start(traces.middleware(), traced);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4738";
    let parent = format!("00-{trace}-00f067aa0ba902b7-00");
    let headers = [("traceparent", parent.as_str()), ("baggage", "user=bob")];
    let (_, body) = server.request("GET /traced/7", &headers, "");
    assert_eq!(body, format!("{trace} false state= user=bob"));
    // Another request's spans come later than any of this one's.
    let later = "4bf92f3577b34da6a3ce929d0e0e4739";
    let parent = format!("00-{later}-00f067aa0ba902b7-01");
    server.request("GET /traced/7", &[("traceparent", &parent)], "");
    traces.of(later, 2);
    assert!(traces.of(trace, 0).is_empty());
}

#[test]
fn a_context_that_is_not_well_formed_starts_a_trace_of_its_own() {
    let _alone = alone();
    let traces = traces();
    let server = Server::start(traces.middleware(), traced);
    let valid = "00-4bf92f3577b34da6a3ce929d0e0e4740-00f067aa0ba902b7-01";
    let long = format!("{valid}-{}", "x".repeat(20_000));
    let upper = valid.to_uppercase();
    let many_members = "a=1,".repeat(5_000);
    let huge = format!("user={}", "x".repeat(20_000));
    let cases: [&[(&str, &str)]; 8] = [
        &[("traceparent", "")],
        &[("traceparent", "nonsense")],
        &[("traceparent", &upper)],
        &[("traceparent", &long)],
        &[("traceparent", valid), ("traceparent", valid)],
        &[(
            "traceparent",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        )],
        &[("tracestate", "vendor=1")],
        &[("baggage", &huge)],
    ];
    for headers in cases {
        let (status, body) = server.request("GET /traced/7", headers, "");
        assert_eq!(status, 200, "{headers:.80?}");
        let (id, rest) = body.split_once(' ').unwrap();
        assert_ne!(id, "4bf92f3577b34da6a3ce929d0e0e4740");
        assert_ne!(id, "0".repeat(32));
        assert_eq!(rest, "true state= user=", "{headers:.80?}");
        assert_eq!(traces.of(id, 2).len(), 2);
    }
    // A bad tracestate leaves the traceparent in force.
    let headers = [
        ("traceparent", valid),
        ("tracestate", many_members.as_str()),
    ];
    let (_, body) = server.request("GET /traced/7", &headers, "");
    assert_eq!(body, "4bf92f3577b34da6a3ce929d0e0e4740 true state= user=");
}

#[test]
fn the_user_is_a_keyed_hash_on_span_and_log_and_never_a_label() {
    let _alone = alone();
    let traces = traces();
    let key = UserKey::new(b"a key").unwrap();
    let middleware = traces.middleware().user_key(key.clone()).access_log(true);
    let server = Server::start(middleware, |config: &mut ServiceConfig| {
        let login = |request: HttpRequest, path: web::Path<String>| async move {
            let user = "alice@example.org";
            let auth = match path.as_str() {
                "jwt" => AuthInfo::jwt(Some(user)),
                "api_key" => AuthInfo::api_key(None),
                _ => AuthInfo::anonymous(),
            };
            request.extensions_mut().insert(auth);
            "in"
        };
        config
            .route("/auth/{kind}", web::get().to(login))
            .route("/auth-less", web::get().to(text));
    });
    let trace = "4bf92f3577b34da6a3ce929d0e0e4741";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    server.request(
        "GET /auth/jwt?password=hunter2",
        &[("traceparent", &parent)],
        "",
    );
    server.get("/auth/api_key");
    server.get("/auth/none");
    server.get("/auth-less");
    until("the requests end", || under_way() == 0.0);
    for kind in ["jwt", "api_key", "none"] {
        let labels = [("http.route", "/auth/{kind}"), ("auth.type", kind)];
        assert_eq!(total(REQUESTS, &labels), 1.0, "{kind}");
    }
    let without = series(REQUESTS, &[("http.route", "/auth-less")]);
    assert_eq!(without[0].label("auth.type"), None);

    let hash = key.hash("alice@example.org");
    let root = &traces.of(trace, 1)[0];
    assert_eq!(attribute(root, "user.hash"), Some(hash.clone()));
    let metrics = format!("{:?}", series(REQUESTS, &[]));
    let log = String::from_utf8(traces.lines.0.lock().unwrap().clone()).unwrap();
    let line = log.lines().find(|line| line.contains("/auth/jwt")).unwrap();
    for part in [
        "tachograph::access",
        "http.route=\"/auth/{kind}\"",
        "http.response.status_code=200",
        &hash,
    ] {
        assert!(line.contains(part), "{line}");
    }
    for text in [&metrics, &log, &format!("{root:?}")] {
        assert!(!text.contains("alice") && !text.contains("hunter2"));
    }
    assert!(!metrics.contains(&hash));
}

#[test]
fn concurrent_requests_keep_their_contexts_apart() {
    let _alone = alone();
    let traces = traces();
    let server = Server::start(traces.middleware(), |config: &mut ServiceConfig| {
        let slow = || async {
            let before = context().await;
            actix_web::rt::time::sleep(Duration::from_millis(5)).await;
            let task = actix_web::rt::spawn(async { context().await })
                .await
                .unwrap();
            let after = context().await;
            assert_eq!(before, after);
            format!("{after}|{task}")
        };
        config.route("/apart", web::get().to(slow));
    });
    std::thread::scope(|scope| {
        for i in 0..20 {
            let server = &server;
            scope.spawn(move || {
                let trace = format!("{:032x}", 0xabc0_0000_u64 + i);
                let flag = i % 2;
                let parent = format!("00-{trace}-00f067aa0ba902b7-0{flag}");
                let headers = [("traceparent", parent.as_str())];
                let (_, body) = server.request("GET /apart", &headers, "");
                let (own, spawned) = body.split_once('|').unwrap();
                assert_eq!(own, format!("{trace} {} state= user=", flag == 1));
                // A task that was spawned without a span has no context.
                assert!(!spawned.starts_with(&trace));
            });
        }
    });
}

#[test]
fn disabled_does_nothing() {
    let _alone = alone();
    let server = Server::start(Middleware::disabled(), |config: &mut ServiceConfig| {
        config.route("/disabled", web::get().to(text));
    });
    assert_eq!(server.get("/disabled"), (200, "hello".to_owned()));
    assert_eq!(count(DURATION, &[("http.route", "/disabled")]), 0);
}
