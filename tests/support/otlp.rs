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
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1 as logs;
use opentelemetry_proto::tonic::collector::metrics::v1 as metrics;
use opentelemetry_proto::tonic::collector::trace::v1 as traces;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;

use serve::{Server, serve_grpc, serve_http};

#[path = "otlp/serve.rs"]
mod serve;

/// How long the `wait_*` methods wait before they fail the test.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Name of the receiver's threads, for subscribers that must not see what happens there.
pub const THREAD_NAME: &str = "otlp-receiver";

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
    /// Takes it at once, and says so after a while: whoever ends in between does not know.
    Late(Duration),
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
            Self::Ok | Self::Slow(_) | Self::Late(_) | Self::Partial { .. } | Self::Garbage
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
