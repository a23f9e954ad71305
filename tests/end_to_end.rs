//! The example backend under real traffic, scraped by a real Prometheus and exporting to a
//! real OTLP receiver: what is driven is what is read.
#![cfg(feature = "otlp")]
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use support::backend::backend;
use support::otlp::{OtlpReceiver, attributes};
use support::prometheus::{PATIENCE, Prometheus, until};
use support::web::reset;

const CLIENTS: u64 = 4;
const USERS: u64 = 25;
const ECHOES: u64 = 10;
const BROKEN: u64 = 5;
const STREAMS: u64 = 3;
const WORKFLOWS: u64 = 10;
const DOOMED: u64 = 2;
const TASKS: u64 = 6;
const QUESTIONS: u64 = 4;
const UNMATCHED: u64 = 30;
const ABORTED: u64 = 7;
const CUT: u64 = 5;

/// One client's share of the traffic.
fn drive(base: &str, number: u64) {
    let client = Client::new();
    let get = |path: &str, status: u16| {
        let answer = client.get(format!("{base}{path}")).send().unwrap();
        assert_eq!(answer.status(), status, "{path}");
        answer.bytes().unwrap().len()
    };
    let post = |path: &str, body: String, status: u16| {
        let answer = client
            .post(format!("{base}{path}"))
            .body(body)
            .send()
            .unwrap();
        assert_eq!(answer.status(), status, "{path}");
        answer.bytes().unwrap().len()
    };
    for i in 0..USERS {
        get(&format!("/users/{}", number * USERS + i), 200);
    }
    for i in 0..ECHOES {
        let body = "x".repeat(echoed(number, i));
        assert_eq!(post("/echo", body.clone(), 200), body.len());
    }
    (0..BROKEN).for_each(|_| drain(get("/broken", 500)));
    (0..STREAMS).for_each(|_| assert_eq!(get("/stream", 200), 10_000));
    (0..WORKFLOWS).for_each(|_| drain(post("/workflows/code_review", String::new(), 200)));
    (0..DOOMED).for_each(|_| drain(post("/workflows/doomed", String::new(), 422)));
    (0..TASKS).for_each(|_| drain(post("/tasks/index?seconds=0.25", String::new(), 202)));
    (0..QUESTIONS).for_each(|_| drain(post("/ask", "Why?".to_owned(), 200)));
    for i in 0..UNMATCHED {
        get(&format!("/nothing/{number}/{i}"), 404);
    }
}

/// The size does not matter.
fn drain(_: usize) {}

fn echoed(client: u64, i: u64) -> usize {
    (1 + client * 100 + i * 37) as usize
}

/// Sends the head of a request and leaves.
fn send(address: &str, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: backend\r\n\r\n").unwrap();
    stream
}

#[test]
fn what_is_driven_is_what_prometheus_reads() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = tempfile::tempdir().unwrap();
    let receiver = OtlpReceiver::start_blocking();
    let (mut backend, address) = backend(&[
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            receiver.http_endpoint().as_str(),
        ),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_on"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "20000"),
    ]);
    let Some(prometheus) = Prometheus::start(directory.path(), "backend", &address) else {
        return;
    };
    until("the backend is scraped", || {
        prometheus.value("up") == Some(1.0)
    });

    // Requests under way are seen as such. The scrape itself is always one of them.
    let under_way = "sum(http_server_active_requests{http_request_method=\"GET\"})";
    let waiting: Vec<_> = (0..ABORTED)
        .map(|_| send(&address, "/slow?milliseconds=600000"))
        .collect();
    until("the slow requests are under way", || {
        prometheus.value(under_way) == Some(ABORTED as f64 + 1.0)
    });

    let base = format!("http://{address}");
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let base = &base;
                scope.spawn(move || drive(base, number))
            })
            .collect();
        waiting.into_iter().for_each(reset);
        for _ in 0..CUT {
            let mut stream = send(&address, "/stream");
            stream.read_exact(&mut [0; 200]).unwrap();
            reset(stream);
        }
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
    });

    let bodies: usize = (0..CLIENTS)
        .flat_map(|client| (0..ECHOES).map(move |i| echoed(client, i)))
        .sum();
    let requests =
        |labels: &str| format!("sum(http_server_request_duration_seconds_count{{{labels}}})");
    let done = CLIENTS as f64;
    let (ended, bytes) = (|n: u64| n as f64 * done, bodies as f64);
    let expected: Vec<(String, f64)> = [
        (requests("http_route=\"/users/{id}\",http_response_status_code=\"200\",error_type=\"\""), ended(USERS)),
        (requests("http_route=\"/users/{id}\""), ended(USERS)),
        (requests("http_route=\"/broken\",http_response_status_code=\"500\",error_type=\"500\""), ended(BROKEN)),
        (requests("http_route=\"/stream\",error_type=\"\""), ended(STREAMS)),
        (requests("http_route=\"/stream\",http_response_status_code=\"200\",error_type=\"client_disconnect\""), CUT as f64),
        (requests("http_route=\"/slow\",http_response_status_code=\"\",error_type=\"client_disconnect\""), ABORTED as f64),
        (requests("http_route=\"/slow\""), ABORTED as f64),
        (requests("http_route=\"unmatched\",http_response_status_code=\"404\""), ended(UNMATCHED)),
        ("count(http_server_request_duration_seconds_count{http_route=\"unmatched\"})".to_owned(), 1.0),
        ("sum(http_server_request_duration_seconds_bucket{http_route=\"/users/{id}\",le=\"+Inf\"})".to_owned(), ended(USERS)),
        ("sum(http_server_requests_total{http_route=\"/echo\"})".to_owned(), ended(ECHOES)),
        ("sum(http_server_request_body_size_bytes_sum{http_route=\"/echo\"})".to_owned(), bytes),
        ("sum(http_server_response_body_size_bytes_sum{http_route=\"/echo\"})".to_owned(), bytes),
        ("sum(http_server_response_body_size_bytes_sum{http_route=\"/stream\"})".to_owned(), ended(STREAMS) * 10_000.0),
        ("sum(http_server_response_body_size_bytes_count{http_route=\"/stream\"})".to_owned(), ended(STREAMS)),
        ("sum(workflow_executions_total{workflow_type=\"code_review\",status=\"success\"})".to_owned(), ended(WORKFLOWS)),
        ("sum(workflow_executions_total{workflow_type=\"doomed\",status=\"failed\"})".to_owned(), ended(DOOMED)),
        ("sum(workflow_executions_total)".to_owned(), ended(WORKFLOWS + DOOMED)),
        ("sum(workflow_duration_seconds_count)".to_owned(), ended(WORKFLOWS + DOOMED)),
        ("sum(workflow_active)".to_owned(), 0.0),
        ("sum(task_executions_total{task_type=\"index\",status=\"success\"})".to_owned(), ended(TASKS)),
        ("sum(task_duration_seconds_sum{task_type=\"index\"})".to_owned(), ended(TASKS) * 0.25),
        ("sum(llm_requests_total{status=\"success\"})".to_owned(), ended(QUESTIONS)),
        ("sum(llm_requests_total)".to_owned(), ended(QUESTIONS)),
        ("sum(gen_ai_client_token_usage_sum{gen_ai_token_type=\"input\"})".to_owned(), ended(QUESTIONS) * 12.0),
        ("sum(gen_ai_client_token_usage_sum{gen_ai_token_type=\"output\"})".to_owned(), ended(QUESTIONS) * 34.0),
        ("sum(llm_active)".to_owned(), 0.0),
        (under_way.to_owned(), 1.0),
        ("sum(http_server_active_requests{http_request_method!=\"GET\"})".to_owned(), 0.0),
        ("sum(tachograph_dropped_total)".to_owned(), 0.0),
        ("min_over_time(up[10m])".to_owned(), 1.0),
        ("up".to_owned(), 1.0),
    ]
    .into();
    let differing = || -> Vec<String> {
        let read = expected
            .iter()
            .map(|(query, value)| (query, *value, prometheus.value(query)));
        read.filter(|(_, value, read)| *read != Some(*value))
            .map(|(query, value, read)| format!("{query}: driven {value}, read {read:?}"))
            .collect()
    };
    let start = Instant::now();
    while !differing().is_empty() && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(differing().is_empty(), "{:#?}", differing());
    // Nothing is added afterwards.
    prometheus.two_scrapes();
    assert!(differing().is_empty(), "{:#?}", differing());

    let users = "http_server_request_duration_seconds_bucket{http_route=\"/users/{id}\"}";
    let exemplars = prometheus.ask(
        "query_exemplars",
        &[("query", users), ("start", "0"), ("end", "99999999999")],
    );
    let exemplars: Vec<(String, String)> = exemplars
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|series| series["exemplars"].as_array().unwrap())
        .map(|exemplar| {
            let id = |name: &str| exemplar["labels"][name].as_str().unwrap().to_owned();
            (id("trace_id"), id("span_id"))
        })
        .collect();
    assert!(!exemplars.is_empty(), "exemplars were scraped");

    assert!(
        backend.stop().success(),
        "the backend stops in an orderly way"
    );
    let spans = receiver.spans();
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let of_users: Vec<_> = spans
        .iter()
        .filter(|span| span.name == "GET /users/{id}")
        .collect();
    assert_eq!(
        of_users.len() as u64,
        CLIENTS * USERS,
        "each request has a span"
    );
    for (trace_id, span_id) in &exemplars {
        let found = of_users
            .iter()
            .find(|span| hex(&span.trace_id) == *trace_id && hex(&span.span_id) == *span_id);
        assert!(found.is_some(), "{trace_id} {span_id} was exported");
    }
    // The workflow's span is a child of its request's, though the handler knows only `tracing`.
    let workflow = spans
        .iter()
        .find(|span| span.name == "workflow.run")
        .unwrap();
    let parent = spans
        .iter()
        .find(|span| span.span_id == workflow.parent_span_id)
        .unwrap();
    assert_eq!(parent.name, "POST /workflows/{kind}");
    assert_eq!(parent.trace_id, workflow.trace_id);
    assert!(attributes(&workflow.attributes).contains_key("workflow_type"));
}
