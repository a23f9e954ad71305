//! What the middleware costs a server, beside its peers: requests a second over a bare
//! actix-web application, and CPU time a request.
//!
//! Each row is a process of its own with one worker, pinned to core 0; `wrk` runs on core 1.
//! Sets are interleaved and their order turns, so that a slow moment meets every row. Needs
//! `wrk` and `taskset` (Debian: `apt install wrk util-linux`).
//!
//! `HTTP_BENCH_SETS` (5), `HTTP_BENCH_SECONDS` (3) for each row of a set, `HTTP_BENCH_PATH`
//! (`/hello`; `/users/42` has a parameter), `HTTP_BENCH_ROWS`: words that a row's name must
//! contain, divided by commas.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::future::{Future, Ready, ready};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::task::{Context, Poll};

use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceFactory, ServiceRequest, ServiceResponse, Transform};
use actix_web::{App, Error, HttpResponse, HttpServer, web};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_instrumentation_actix_web::{RequestMetrics, RequestTracing};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::{ManualReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};
use pin_project_lite::pin_project;
use tachograph::instrumentation::actix::Middleware;
use tachograph::pipeline::config::{LogFormat, SamplerKind};
use tachograph::{Telemetry, TelemetryConfig};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Name, and the bar its ratio is held against.
const ROWS: &[(&str, Option<f64>)] = &[
    ("bare", None),
    ("empty wrap", None),
    ("tachograph, metrics", Some(0.92)),
    (
        "tachograph, metrics + context + logs, 1 % sampled",
        Some(0.88),
    ),
    (
        "tachograph, metrics + context + logs, all sampled and exported",
        Some(0.75),
    ),
    ("actix-web-prom", None),
    ("opentelemetry-instrumentation-actix-web, metrics", None),
    (
        "opentelemetry-instrumentation-actix-web, metrics + tracing, all sampled",
        None,
    ),
    ("tracing-actix-web, 1 % sampled", None),
    ("tracing-actix-web, all sampled", None),
];

async fn hello() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body("{\"message\":\"hello\"}")
}

async fn user(id: web::Path<u64>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body(format!("{{\"user\":{id}}}"))
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/hello", web::get().to(hello))
        .route("/users/{id}", web::get().to(user));
}

/// A middleware that does nothing but wrap the future.
#[derive(Clone)]
struct Empty;

struct EmptyService<S> {
    service: S,
}

pin_project! {
    struct EmptyFuture<F> { #[pin] future: F }
}

impl<S, B> Transform<S, ServiceRequest> for Empty
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
{
    type Response = S::Response;
    type Error = Error;
    type Transform = EmptyService<S>;
    type InitError = ();
    type Future = Ready<Result<EmptyService<S>, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(EmptyService { service }))
    }
}

impl<S: Service<ServiceRequest>> Service<ServiceRequest> for EmptyService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = EmptyFuture<S::Future>;

    actix_web::dev::forward_ready!(service);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        EmptyFuture {
            future: self.service.call(request),
        }
    }
}

impl<F: Future> Future for EmptyFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}

/// Takes spans and forgets them: what a peer's exporter costs at least.
#[derive(Debug)]
struct Forget;

impl SpanExporter for Forget {
    async fn export(&self, _batch: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

fn peer_traces(ratio: f64) -> SdkTracerProvider {
    SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
            ratio,
        ))))
        .with_batch_exporter(Forget)
        .build()
}

fn peer_subscriber(ratio: f64) {
    let provider = peer_traces(ratio);
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("bench"));
    tracing_subscriber::registry()
        .with(tracing_subscriber::EnvFilter::new("info"))
        .with(layer)
        .init();
    std::mem::forget(provider);
}

fn telemetry(ratio: Option<f64>) -> Telemetry {
    let mut config = TelemetryConfig::default();
    config.logs.format = LogFormat::Json;
    config.traces.sampler = SamplerKind::ParentBasedTraceIdRatio;
    if let Some(ratio) = ratio {
        config.traces.ratio = ratio;
        config.otlp.endpoint = std::env::var("HTTP_BENCH_OTLP").ok();
        config.otlp.protocol = tachograph::pipeline::config::OtlpProtocol::HttpProtobuf;
    }
    Telemetry::init(config).unwrap()
}

async fn serve<F, T, B>(app: F)
where
    F: Fn() -> App<T> + Send + Clone + 'static,
    T: ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<B>,
            Error = Error,
            InitError = (),
        > + 'static,
    B: MessageBody + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    println!("{}", listener.local_addr().unwrap());
    HttpServer::new(app)
        .workers(1)
        .listen(listener)
        .unwrap()
        .run()
        .await
        .unwrap();
}

/// The process of one row.
fn child(row: &str) {
    actix_web::rt::System::new().block_on(async {
        macro_rules! wrapped {
            ($middleware:expr) => {{
                let middleware = $middleware;
                serve(move || App::new().configure(routes).wrap(middleware.clone())).await
            }};
        }
        match row {
            "bare" => serve(|| App::new().configure(routes)).await,
            "empty wrap" => wrapped!(Empty),
            "tachograph, metrics" => {
                let _telemetry = telemetry(None);
                wrapped!(Middleware::new(None))
            }
            "tachograph, metrics + context + logs, 1 % sampled" => {
                wrapped!(telemetry_middleware(0.01))
            }
            "tachograph, metrics + context + logs, all sampled and exported" => {
                wrapped!(telemetry_middleware(1.0))
            }
            "actix-web-prom" => {
                wrapped!(
                    actix_web_prom::PrometheusMetricsBuilder::new("api")
                        .endpoint("/metrics")
                        .build()
                        .unwrap()
                )
            }
            "opentelemetry-instrumentation-actix-web, metrics" => {
                peer_metrics();
                wrapped!(RequestMetrics::default())
            }
            "opentelemetry-instrumentation-actix-web, metrics + tracing, all sampled" => {
                peer_metrics();
                opentelemetry::global::set_tracer_provider(peer_traces(1.0));
                let metrics = RequestMetrics::default();
                serve(move || {
                    App::new()
                        .configure(routes)
                        .wrap(RequestTracing::new())
                        .wrap(metrics.clone())
                })
                .await;
            }
            "tracing-actix-web, 1 % sampled" => {
                peer_subscriber(0.01);
                serve(|| {
                    App::new()
                        .configure(routes)
                        .wrap(tracing_actix_web::TracingLogger::default())
                })
                .await;
            }
            "tracing-actix-web, all sampled" => {
                peer_subscriber(1.0);
                serve(|| {
                    App::new()
                        .configure(routes)
                        .wrap(tracing_actix_web::TracingLogger::default())
                })
                .await;
            }
            other => panic!("no such row: {other}"),
        }
    });
}

fn telemetry_middleware(ratio: f64) -> Middleware {
    let telemetry = telemetry(Some(ratio));
    let middleware = telemetry.middleware();
    std::mem::forget(telemetry);
    middleware
}

fn peer_metrics() {
    let provider = SdkMeterProvider::builder()
        .with_reader(ManualReader::builder().build())
        .build();
    opentelemetry::global::set_meter_provider(provider.clone());
    std::mem::forget(provider);
}

/// Takes whatever is posted and says that it is well.
fn sink() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            std::thread::spawn(move || {
                let mut writer = stream.try_clone().unwrap();
                let mut reader = BufReader::with_capacity(1 << 20, stream);
                let mut line = String::new();
                let mut length = 0_u64;
                loop {
                    line.clear();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 {
                        return;
                    }
                    let lower = line.to_ascii_lowercase();
                    if let Some(value) = lower.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap_or(0);
                    }
                    if line == "\r\n" {
                        let mut body = (&mut reader).take(length);
                        let _ = std::io::copy(&mut body, &mut std::io::sink());
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
                        if writer.write_all(answer).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// User and system time of a process, seconds.
fn cpu(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

/// Requests a second, and CPU microseconds a request.
fn measure(row: &str, seconds: u64, path: &str, otlp: SocketAddr) -> (f64, f64) {
    let program = std::env::current_exe().unwrap();
    let mut process = Running(
        Command::new("taskset")
            .args(["-c", "0"])
            .arg(program)
            .env("HTTP_BENCH_CHILD", row)
            .env("HTTP_BENCH_OTLP", format!("http://{otlp}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let mut address = String::new();
    let stdout = process.0.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut address).unwrap();
    let url = format!("http://{}{path}", address.trim());
    let wrk = |seconds: u64| {
        let output = Command::new("taskset")
            .args(["-c", "1", "wrk", "-t1", "-c32"])
            .arg(format!("-d{seconds}s"))
            .arg(&url)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let find = |prefix: &str| {
            let line = text.lines().find(|line| line.trim().starts_with(prefix));
            line.unwrap_or_else(|| panic!("no `{prefix}` in {text}"))
                .to_owned()
        };
        assert!(!text.contains("Non-2xx"), "{text}");
        let rate: f64 = find("Requests/sec:")
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let requests = text.lines().find(|line| line.contains("requests in"));
        let requests: f64 = requests
            .unwrap()
            .split_whitespace()
            .next()
            .unwrap()
            .parse()
            .unwrap();
        (rate, requests)
    };
    wrk(1);
    let before = cpu(process.0.id());
    let (rate, requests) = wrk(seconds);
    (rate, (cpu(process.0.id()) - before) * 1e6 / requests)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

fn main() {
    if let Ok(row) = std::env::var("HTTP_BENCH_CHILD") {
        return child(&row);
    }
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let (sets, seconds) = (
        setting("HTTP_BENCH_SETS", 5),
        setting("HTTP_BENCH_SECONDS", 3),
    );
    let path = std::env::var("HTTP_BENCH_PATH").unwrap_or_else(|_| "/hello".to_owned());
    let wanted = std::env::var("HTTP_BENCH_ROWS").unwrap_or_default();
    let rows: Vec<_> = ROWS
        .iter()
        .filter(|(name, _)| *name == "bare" || wanted.split(',').any(|word| name.contains(word)))
        .collect();
    let otlp = sink();
    let mut rates: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for set in 0..sets as usize {
        for i in 0..rows.len() {
            let (name, _) = rows[(i + set) % rows.len()];
            let measured = measure(name, seconds, &path, otlp);
            eprintln!(
                "set {set}: {:>8.0} requests/s, {:.2} µs: {name}",
                measured.0, measured.1
            );
            rates.entry(name).or_default().push(measured);
        }
    }
    let bare = &rates["bare"];
    println!("{path}: {sets} sets of {seconds} s, one worker on core 0, wrk on core 1");
    println!("requests/s   over bare (each set)             CPU µs   added   bar");
    for (name, bar) in &rows {
        let own = &rates[name];
        let ratios: Vec<f64> = own.iter().zip(bare).map(|(a, b)| a.0 / b.0).collect();
        let each: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        let added = own.iter().zip(bare).map(|(a, b)| a.1 - b.1).collect();
        let verdict = bar.map_or_else(String::new, |bar| {
            let met = if median(ratios.clone()) >= bar {
                "met"
            } else {
                "MISSED"
            };
            format!("≥ {bar:.2} {met}")
        });
        println!(
            "{:>10.0}   {:.2} ({:<26}) {:>8.2} {:>7.2}   {verdict:<14} {name}",
            median(own.iter().map(|one| one.0).collect()),
            median(ratios),
            each.join(" "),
            median(own.iter().map(|one| one.1).collect()),
            median(added),
        );
    }
}
