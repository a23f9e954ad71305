//! A real OTLP receiver: gRPC (tonic) and HTTP/protobuf (hyper) on free ports of the
//! loopback, answering as it is told to.
//!
//! ```ignore
//! let receiver = OtlpReceiver::start().await;
//! // … export to receiver.grpc_endpoint() or receiver.http_endpoint() …
//! receiver.wait_for(|r| r.spans().len() == 3).await;
//! receiver.script([Answer::Unavailable { retry_after: None }, Answer::Ok]);
//! ```
//!
//! Both servers run on threads of their own, so a test may block its runtime while it
//! exports, and [`OtlpReceiver::refuse`] closes every connection and both ports.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io::Read as _;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::logs::v1 as logs;
use opentelemetry_proto::tonic::collector::metrics::v1 as metrics;
use opentelemetry_proto::tonic::collector::trace::v1 as traces;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use prost::Message as _;
use tonic::codec::CompressionEncoding;
use tonic_types::{ErrorDetails, StatusExt as _};

/// How long the `wait_*` methods wait before they fail the test.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One of the three signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Traces,
    Metrics,
    Logs,
}

/// How a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Grpc,
    Http,
}

/// What the receiver does with a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Takes it.
    Ok,
    /// Never answers.
    Hang,
    /// Takes it after a while.
    Slow(Duration),
    /// HTTP 400, gRPC INVALID_ARGUMENT.
    BadRequest,
    /// HTTP 413, gRPC RESOURCE_EXHAUSTED without RetryInfo.
    TooLarge,
    /// HTTP 503 with `Retry-After`, gRPC UNAVAILABLE with RetryInfo.
    Unavailable { retry_after: Option<Duration> },
    /// HTTP 429 with `Retry-After`, gRPC RESOURCE_EXHAUSTED with RetryInfo.
    TooMany { retry_after: Option<Duration> },
    /// This HTTP status; over gRPC UNKNOWN.
    Http(u16),
    /// This gRPC code; over HTTP 500.
    Grpc(tonic::Code),
    /// Takes it, but says that so many items were turned down.
    Partial { rejected: i64, message: String },
    /// Answers success with a body that is no protobuf (HTTP only).
    Garbage,
}

impl Answer {
    fn takes(&self) -> bool {
        matches!(
            self,
            Self::Ok | Self::Slow(_) | Self::Partial { .. } | Self::Garbage
        )
    }
}

/// A request as it came, whatever was answered.
#[derive(Clone, Debug)]
pub struct Request {
    pub kind: Kind,
    pub transport: Transport,
    /// Header or metadata names in lower case.
    pub headers: BTreeMap<String, String>,
    /// `gzip`, `zstd` or nothing.
    pub encoding: Option<String>,
    /// Path of the request.
    pub path: String,
    /// Bytes of the decoded message.
    pub message_len: usize,
    /// When it came.
    pub at: Instant,
    pub answer: Answer,
}

/// An item with what surrounds it in the message.
#[derive(Clone, Debug)]
pub struct Received<T> {
    /// Resource attributes, rendered as text.
    pub resource: BTreeMap<String, String>,
    /// Name of the instrumentation scope.
    pub scope: String,
    pub item: T,
}

impl<T> Deref for Received<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.item
    }
}

/// Renders attributes as text, keyed by name.
pub fn attributes(list: &[KeyValue]) -> BTreeMap<String, String> {
    list.iter()
        .map(|kv| {
            let value = kv.value.as_ref().and_then(|v| v.value.as_ref());
            let text = match value {
                Some(any_value::Value::StringValue(s)) => s.clone(),
                Some(any_value::Value::BoolValue(b)) => b.to_string(),
                Some(any_value::Value::IntValue(i)) => i.to_string(),
                Some(any_value::Value::DoubleValue(d)) => d.to_string(),
                other => format!("{other:?}"),
            };
            (kv.key.clone(), text)
        })
        .collect()
}

fn resource(of: Option<&Resource>) -> BTreeMap<String, String> {
    of.map(|r| attributes(&r.attributes)).unwrap_or_default()
}

#[derive(Default)]
struct State {
    spans: Vec<Received<Span>>,
    metrics: Vec<Received<Metric>>,
    logs: Vec<Received<LogRecord>>,
    requests: Vec<Request>,
    script: BTreeMap<Option<Kind>, VecDeque<Answer>>,
    otherwise: Option<Answer>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    required: BTreeMap<String, String>,
}

impl Shared {
    /// Notes the request and says how to answer it; `None` when a required header is missing.
    fn begin(&self, mut request: Request) -> Option<Answer> {
        let mut state = self.state.lock();
        let allowed = self
            .required
            .iter()
            .all(|(name, value)| request.headers.get(name) == Some(value));
        if allowed {
            let kind = request.kind;
            let scripted = state
                .script
                .get_mut(&Some(kind))
                .and_then(VecDeque::pop_front);
            request.answer = scripted
                .or_else(|| state.script.get_mut(&None).and_then(VecDeque::pop_front))
                .or_else(|| state.otherwise.clone())
                .unwrap_or(Answer::Ok);
        }
        let answer = allowed.then(|| request.answer.clone());
        state.requests.push(request);
        answer
    }

    fn take_traces(&self, message: traces::ExportTraceServiceRequest) {
        let mut state = self.state.lock();
        for of_resource in message.resource_spans {
            for of_scope in of_resource.scope_spans {
                let scope = of_scope.scope.map(|s| s.name).unwrap_or_default();
                state
                    .spans
                    .extend(of_scope.spans.into_iter().map(|item| Received {
                        resource: resource(of_resource.resource.as_ref()),
                        scope: scope.clone(),
                        item,
                    }));
            }
        }
    }

    fn take_metrics(&self, message: metrics::ExportMetricsServiceRequest) {
        let mut state = self.state.lock();
        for of_resource in message.resource_metrics {
            for of_scope in of_resource.scope_metrics {
                let scope = of_scope.scope.map(|s| s.name).unwrap_or_default();
                state
                    .metrics
                    .extend(of_scope.metrics.into_iter().map(|item| Received {
                        resource: resource(of_resource.resource.as_ref()),
                        scope: scope.clone(),
                        item,
                    }));
            }
        }
    }

    fn take_logs(&self, message: logs::ExportLogsServiceRequest) {
        let mut state = self.state.lock();
        for of_resource in message.resource_logs {
            for of_scope in of_resource.scope_logs {
                let scope = of_scope.scope.map(|s| s.name).unwrap_or_default();
                state
                    .logs
                    .extend(of_scope.log_records.into_iter().map(|item| Received {
                        resource: resource(of_resource.resource.as_ref()),
                        scope: scope.clone(),
                        item,
                    }));
            }
        }
    }
}

/// What the receiver needs to speak TLS; all PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    pub certificate: String,
    pub key: String,
    /// Demands a client certificate signed by this authority.
    pub client_ca: Option<String>,
}

/// One listening server; its runtime is its lifetime.
struct Server {
    address: SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Server {
    /// Binds `address` and serves on threads of its own.
    fn start<F, S>(address: SocketAddr, serve: F) -> Self
    where
        F: FnOnce(tokio::net::TcpListener) -> S,
        S: Future<Output = ()> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let socket = std::net::TcpListener::bind(address).unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let _context = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(socket).unwrap();
        runtime.spawn(serve(listener));
        Self {
            address,
            runtime: Some(runtime),
        }
    }

    /// Closes the port and every connection before it returns.
    fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime must not be dropped from within another one.
            let thread =
                std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(2)));
            let _ = thread.join();
        }
    }
}

/// Prepares an [`OtlpReceiver`].
#[derive(Default)]
pub struct Builder {
    tls: Option<Tls>,
    required: BTreeMap<String, String>,
}

impl Builder {
    /// Serves both transports over TLS.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Turns requests down (401, UNAUTHENTICATED) that lack this header.
    pub fn require_header(mut self, name: &str, value: &str) -> Self {
        self.required.insert(name.to_lowercase(), value.to_owned());
        self
    }

    /// Turns requests down without these credentials.
    pub fn require_basic_auth(self, user: &str, password: &str) -> Self {
        use base64::Engine as _;
        let token = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        self.require_header("authorization", &format!("Basic {token}"))
    }

    /// Listens on two free ports.
    pub fn start(self) -> OtlpReceiver {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let shared = Arc::new(Shared {
            required: self.required,
            ..Shared::default()
        });
        let servers = [
            serve_grpc(any, Arc::clone(&shared), self.tls.clone()),
            serve_http(any, Arc::clone(&shared), self.tls.clone()),
        ];
        OtlpReceiver {
            shared,
            tls: self.tls,
            addresses: [servers[0].address, servers[1].address],
            servers: Mutex::new(servers),
        }
    }
}

/// The receiver; see the module's documentation.
pub struct OtlpReceiver {
    shared: Arc<Shared>,
    tls: Option<Tls>,
    addresses: [SocketAddr; 2],
    servers: Mutex<[Server; 2]>,
}

impl OtlpReceiver {
    /// Listens on two free ports without TLS and takes everything.
    #[allow(clippy::unused_async)]
    pub async fn start() -> Self {
        Builder::default().start()
    }

    /// The same from a test that is not async.
    pub fn start_blocking() -> Self {
        Builder::default().start()
    }

    pub fn builder() -> Builder {
        Builder::default()
    }

    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// `http://127.0.0.1:<port>` of the gRPC server (`https://localhost:<port>` with TLS).
    pub fn grpc_endpoint(&self) -> String {
        self.endpoint(Transport::Grpc)
    }

    /// The HTTP server's base address; `/v1/traces` and so on are added by the exporter.
    pub fn http_endpoint(&self) -> String {
        self.endpoint(Transport::Http)
    }

    /// The base address of one of the two servers.
    pub fn endpoint(&self, transport: Transport) -> String {
        let port = match transport {
            Transport::Grpc => self.addresses[0].port(),
            Transport::Http => self.addresses[1].port(),
        };
        let host = if self.tls.is_some() {
            "localhost"
        } else {
            "127.0.0.1"
        };
        format!("{}://{host}:{port}", self.scheme())
    }

    /// Spans taken so far.
    pub fn spans(&self) -> Vec<Received<Span>> {
        self.shared.state.lock().spans.clone()
    }

    /// Metrics taken so far, one entry for each time a metric was pushed.
    pub fn metrics(&self) -> Vec<Received<Metric>> {
        self.shared.state.lock().metrics.clone()
    }

    /// Log records taken so far.
    pub fn logs(&self) -> Vec<Received<LogRecord>> {
        self.shared.state.lock().logs.clone()
    }

    /// Every request so far, also those that were turned down.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state.lock().requests.clone()
    }

    /// Requests so far for one signal.
    pub fn requests_for(&self, kind: Kind) -> Vec<Request> {
        let mut all = self.requests();
        all.retain(|r| r.kind == kind);
        all
    }

    /// Forgets what was received; scripts stay.
    pub fn clear(&self) {
        let mut state = self.shared.state.lock();
        state.spans.clear();
        state.metrics.clear();
        state.logs.clear();
        state.requests.clear();
    }

    /// Answers to the next requests, whatever their signal, in turn; then as before.
    pub fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared
            .state
            .lock()
            .script
            .entry(None)
            .or_default()
            .extend(answers);
    }

    /// Answers to the next requests for one signal.
    pub fn script_for(&self, kind: Kind, answers: impl IntoIterator<Item = Answer>) {
        self.shared
            .state
            .lock()
            .script
            .entry(Some(kind))
            .or_default()
            .extend(answers);
    }

    /// The answer once the scripts are used up; [`Answer::Ok`] at the start.
    pub fn otherwise(&self, answer: Answer) {
        self.shared.state.lock().otherwise = Some(answer);
    }

    /// Closes both ports and every connection: new connections are refused.
    pub fn refuse(&self) {
        self.servers.lock().iter_mut().for_each(Server::stop);
    }

    /// Listens again on the same ports.
    pub fn resume(&self) {
        let mut servers = self.servers.lock();
        servers.iter_mut().for_each(Server::stop);
        *servers = [
            serve_grpc(
                self.addresses[0],
                Arc::clone(&self.shared),
                self.tls.clone(),
            ),
            serve_http(
                self.addresses[1],
                Arc::clone(&self.shared),
                self.tls.clone(),
            ),
        ];
    }

    /// Waits until the condition holds; fails the test after [`PATIENCE`].
    pub async fn wait_for(&self, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < deadline, "{}", self.too_late());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The same, blocking the thread.
    pub fn wait_for_blocking(&self, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < deadline, "{}", self.too_late());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn too_late(&self) -> String {
        let state = self.shared.state.lock();
        format!(
            "the condition does not hold after {PATIENCE:?}: {} spans, {} metrics, {} logs, requests {:#?}",
            state.spans.len(),
            state.metrics.len(),
            state.logs.len(),
            state.requests
        )
    }
}

impl Drop for OtlpReceiver {
    fn drop(&mut self) {
        self.refuse();
    }
}

// gRPC

#[derive(Clone)]
struct Grpc(Arc<Shared>);

impl Grpc {
    /// Answers one call; `take` stores the message, `reply` makes the response.
    async fn answer<M: prost::Message, R>(
        &self,
        kind: Kind,
        request: tonic::Request<M>,
        take: impl FnOnce(&Shared, M),
        reply: impl FnOnce(Option<(i64, String)>) -> R,
    ) -> Result<tonic::Response<R>, tonic::Status> {
        let headers: BTreeMap<String, String> = request
            .metadata()
            .as_ref()
            .iter()
            .map(|(k, v)| {
                (
                    k.as_str().to_owned(),
                    String::from_utf8_lossy(v.as_bytes()).into_owned(),
                )
            })
            .collect();
        let message = request.into_inner();
        let seen = Request {
            kind,
            transport: Transport::Grpc,
            encoding: headers.get("grpc-encoding").cloned(),
            headers,
            path: String::new(),
            message_len: message.encoded_len(),
            at: Instant::now(),
            answer: Answer::Ok,
        };
        let Some(answer) = self.0.begin(seen) else {
            return Err(tonic::Status::unauthenticated(
                "a required header is missing",
            ));
        };
        if answer.takes() {
            if let Answer::Slow(delay) = answer {
                tokio::time::sleep(delay).await;
            }
            take(&self.0, message);
        }
        let status = |code, retry_after: Option<Duration>| match retry_after {
            Some(delay) => tonic::Status::with_error_details(
                code,
                "scripted",
                ErrorDetails::with_retry_info(Some(delay)),
            ),
            None => tonic::Status::new(code, "scripted"),
        };
        match answer {
            Answer::Ok | Answer::Slow(_) | Answer::Garbage => Ok(tonic::Response::new(reply(None))),
            Answer::Partial { rejected, message } => {
                Ok(tonic::Response::new(reply(Some((rejected, message)))))
            }
            Answer::Hang => std::future::pending().await,
            Answer::BadRequest => Err(status(tonic::Code::InvalidArgument, None)),
            Answer::TooLarge => Err(status(tonic::Code::ResourceExhausted, None)),
            Answer::Unavailable { retry_after } => {
                Err(status(tonic::Code::Unavailable, retry_after))
            }
            Answer::TooMany { retry_after } => {
                Err(status(tonic::Code::ResourceExhausted, retry_after))
            }
            Answer::Http(_) => Err(status(tonic::Code::Unknown, None)),
            Answer::Grpc(code) => Err(status(code, None)),
        }
    }
}

fn traces_reply(partial: Option<(i64, String)>) -> traces::ExportTraceServiceResponse {
    traces::ExportTraceServiceResponse {
        partial_success: partial.map(|(rejected_spans, error_message)| {
            traces::ExportTracePartialSuccess {
                rejected_spans,
                error_message,
            }
        }),
    }
}

fn metrics_reply(partial: Option<(i64, String)>) -> metrics::ExportMetricsServiceResponse {
    metrics::ExportMetricsServiceResponse {
        partial_success: partial.map(|(rejected_data_points, error_message)| {
            metrics::ExportMetricsPartialSuccess {
                rejected_data_points,
                error_message,
            }
        }),
    }
}

fn logs_reply(partial: Option<(i64, String)>) -> logs::ExportLogsServiceResponse {
    logs::ExportLogsServiceResponse {
        partial_success: partial.map(|(rejected_log_records, error_message)| {
            logs::ExportLogsPartialSuccess {
                rejected_log_records,
                error_message,
            }
        }),
    }
}

#[tonic::async_trait]
impl traces::trace_service_server::TraceService for Grpc {
    async fn export(
        &self,
        request: tonic::Request<traces::ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<traces::ExportTraceServiceResponse>, tonic::Status> {
        self.answer(Kind::Traces, request, Shared::take_traces, traces_reply)
            .await
    }
}

#[tonic::async_trait]
impl metrics::metrics_service_server::MetricsService for Grpc {
    async fn export(
        &self,
        request: tonic::Request<metrics::ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<metrics::ExportMetricsServiceResponse>, tonic::Status> {
        self.answer(Kind::Metrics, request, Shared::take_metrics, metrics_reply)
            .await
    }
}

#[tonic::async_trait]
impl logs::logs_service_server::LogsService for Grpc {
    async fn export(
        &self,
        request: tonic::Request<logs::ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<logs::ExportLogsServiceResponse>, tonic::Status> {
        self.answer(Kind::Logs, request, Shared::take_logs, logs_reply)
            .await
    }
}

fn serve_grpc(address: SocketAddr, shared: Arc<Shared>, tls: Option<Tls>) -> Server {
    Server::start(address, |listener| async move {
        let service = Grpc(shared);
        let mut builder = tonic::transport::Server::builder();
        if let Some(tls) = tls {
            let mut config = tonic::transport::ServerTlsConfig::new().identity(
                tonic::transport::Identity::from_pem(&tls.certificate, &tls.key),
            );
            if let Some(ca) = &tls.client_ca {
                config = config.client_ca_root(tonic::transport::Certificate::from_pem(ca));
            }
            builder = builder.tls_config(config).unwrap();
        }
        macro_rules! accept {
            ($server:expr) => {
                $server
                    .accept_compressed(CompressionEncoding::Gzip)
                    .accept_compressed(CompressionEncoding::Zstd)
            };
        }
        builder
            .add_service(accept!(
                traces::trace_service_server::TraceServiceServer::new(service.clone())
            ))
            .add_service(accept!(
                metrics::metrics_service_server::MetricsServiceServer::new(service.clone())
            ))
            .add_service(accept!(logs::logs_service_server::LogsServiceServer::new(
                service
            )))
            .serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener))
            .await
            .unwrap();
    })
}

// HTTP

type HttpResponse = hyper::Response<Full<Bytes>>;

fn http_reply(status: u16, retry_after: Option<Duration>, body: Vec<u8>) -> HttpResponse {
    let mut reply = hyper::Response::builder()
        .status(status)
        .header("content-type", "application/x-protobuf");
    if let Some(delay) = retry_after {
        reply = reply.header("retry-after", delay.as_secs().to_string());
    }
    reply.body(Full::new(Bytes::from(body))).unwrap()
}

fn unpack(encoding: Option<&str>, body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    match encoding {
        Some("gzip") => flate2::read::GzDecoder::new(body).read_to_end(&mut plain)?,
        Some("zstd") => zstd::stream::read::Decoder::new(body)?.read_to_end(&mut plain)?,
        _ => std::io::Cursor::new(body).read_to_end(&mut plain)?,
    };
    Ok(plain)
}

async fn answer_http(
    shared: Arc<Shared>,
    request: hyper::Request<hyper::body::Incoming>,
) -> Result<HttpResponse, hyper::Error> {
    let path = request.uri().path().to_owned();
    let kind = match path.as_str() {
        "/v1/traces" => Kind::Traces,
        "/v1/metrics" => Kind::Metrics,
        "/v1/logs" => Kind::Logs,
        // A signal's own endpoint is used as it is, so tests may add a prefix.
        other if other.ends_with("/traces") => Kind::Traces,
        other if other.ends_with("/metrics") => Kind::Metrics,
        other if other.ends_with("/logs") => Kind::Logs,
        _ => return Ok(http_reply(404, None, Vec::new())),
    };
    let headers: BTreeMap<String, String> = request
        .headers()
        .iter()
        .map(|(k, v)| {
            (
                k.as_str().to_owned(),
                String::from_utf8_lossy(v.as_bytes()).into_owned(),
            )
        })
        .collect();
    if headers.get("content-type").map(String::as_str) != Some("application/x-protobuf") {
        return Ok(http_reply(415, None, Vec::new()));
    }
    let encoding = headers.get("content-encoding").cloned();
    let body = request.into_body().collect().await?.to_bytes();
    let Ok(plain) = unpack(encoding.as_deref(), &body) else {
        return Ok(http_reply(400, None, Vec::new()));
    };
    let seen = Request {
        kind,
        transport: Transport::Http,
        headers,
        encoding,
        path,
        message_len: plain.len(),
        at: Instant::now(),
        answer: Answer::Ok,
    };
    let Some(answer) = shared.begin(seen) else {
        return Ok(http_reply(401, None, Vec::new()));
    };
    if answer.takes() {
        if let Answer::Slow(delay) = answer {
            tokio::time::sleep(delay).await;
        }
        let plain = plain.as_slice();
        let decoded = match kind {
            Kind::Traces => traces::ExportTraceServiceRequest::decode(plain)
                .map(|message| shared.take_traces(message)),
            Kind::Metrics => metrics::ExportMetricsServiceRequest::decode(plain)
                .map(|message| shared.take_metrics(message)),
            Kind::Logs => logs::ExportLogsServiceRequest::decode(plain)
                .map(|message| shared.take_logs(message)),
        };
        if decoded.is_err() {
            return Ok(http_reply(400, None, Vec::new()));
        }
    }
    let success = |partial| {
        let body = match kind {
            Kind::Traces => traces_reply(partial).encode_to_vec(),
            Kind::Metrics => metrics_reply(partial).encode_to_vec(),
            Kind::Logs => logs_reply(partial).encode_to_vec(),
        };
        http_reply(200, None, body)
    };
    Ok(match answer {
        Answer::Ok | Answer::Slow(_) => success(None),
        Answer::Partial { rejected, message } => success(Some((rejected, message))),
        Answer::Garbage => http_reply(200, None, vec![0xff; 32]),
        Answer::Hang => std::future::pending().await,
        Answer::BadRequest => http_reply(400, None, Vec::new()),
        Answer::TooLarge => http_reply(413, None, Vec::new()),
        Answer::Unavailable { retry_after } => http_reply(503, retry_after, Vec::new()),
        Answer::TooMany { retry_after } => http_reply(429, retry_after, Vec::new()),
        Answer::Http(status) => http_reply(status, None, Vec::new()),
        Answer::Grpc(_) => http_reply(500, None, Vec::new()),
    })
}

fn tls_acceptor(tls: &Tls) -> tokio_rustls::TlsAcceptor {
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto, server::WebPkiClientVerifier};

    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
                .unwrap();
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .unwrap(),
            )
        }
    };
    let chain = CertificateDer::pem_slice_iter(tls.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(tls.key.as_bytes()).unwrap();
    Arc::new(builder.with_single_cert(chain, key).unwrap()).into()
}

fn serve_http(address: SocketAddr, shared: Arc<Shared>, tls: Option<Tls>) -> Server {
    Server::start(address, |listener| async move {
        let acceptor = tls.as_ref().map(tls_acceptor);
        while let Ok((stream, _)) = listener.accept().await {
            let (shared, acceptor) = (Arc::clone(&shared), acceptor.clone());
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |request| {
                    answer_http(Arc::clone(&shared), request)
                });
                let connection = hyper::server::conn::http1::Builder::new();
                // A client that goes away in the middle is part of some tests.
                let _ = match acceptor {
                    None => {
                        connection
                            .serve_connection(TokioIo::new(stream), service)
                            .await
                    }
                    Some(acceptor) => match acceptor.accept(stream).await {
                        Ok(stream) => {
                            connection
                                .serve_connection(TokioIo::new(stream), service)
                                .await
                        }
                        Err(_) => return,
                    },
                };
            });
        }
    })
}
