//! The real collector, built of `otel-collector/builder.yaml`, on the committed configurations.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use reqwest::blocking::Client;

use super::oracle::missing;
use super::otlp::OtlpReceiver;
use super::prometheus::Process;

/// How long a condition may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// What Grafana Cloud would know the sender by.
pub const INSTANCE: &str = "123456";
pub const KEY: &str = "glc_this-is-the-key";

/// Waits until the condition holds; fails the test after [`PATIENCE`].
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A receiver that demands Grafana Cloud's basic auth.
pub fn cloud() -> OtlpReceiver {
    OtlpReceiver::builder()
        .require_basic_auth(INSTANCE, KEY)
        .start()
}

/// A file of `otel-collector/`.
pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("otel-collector")
        .join(name)
}

/// The collector's program, built if need be; `None` where Go is missing.
pub fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let built = PROGRAM.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/build-collector");
        let output = Command::new(script).output().unwrap();
        if output.status.success() {
            let path = String::from_utf8(output.stdout).unwrap();
            return Some(PathBuf::from(path.trim()));
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let from = said.len().saturating_sub(2000);
        eprintln!("{}", said.get(from..).unwrap_or(&said));
        let how = "Go 1.25 or newer with its module proxy, then ./scripts/build-collector";
        missing("the OpenTelemetry Collector", how);
        None
    });
    built.as_deref()
}

/// Free ports of the loopback.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub grpc: u16,
    pub http: u16,
    pub health: u16,
    pub metrics: u16,
    pub page: u16,
}

impl Ports {
    pub fn free() -> Self {
        let held: Vec<TcpListener> = (0..5)
            .map(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap())
            .collect();
        let port = |i: usize| held[i].local_addr().unwrap().port();
        Self {
            grpc: port(0),
            http: port(1),
            health: port(2),
            metrics: port(3),
            page: port(4),
        }
    }

    /// Where OTLP over HTTP goes.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }
}

/// The settings of one collector, by the environment as anybody would give them.
pub struct Settings {
    pub ports: Ports,
    config: &'static str,
    folder: tempfile::TempDir,
    environment: BTreeMap<String, String>,
}

impl Settings {
    pub fn new(config: &'static str, ports: Ports) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = folder.path().join("storage");
        let mut settings = Self {
            ports,
            config,
            folder,
            environment: BTreeMap::new(),
        };
        for (name, value) in [
            ("OTLP_GRPC_PORT", ports.grpc.to_string()),
            ("OTLP_HTTP_PORT", ports.http.to_string()),
            ("COLLECTOR_HEALTH_PORT", ports.health.to_string()),
            ("COLLECTOR_METRICS_PORT", ports.metrics.to_string()),
            ("COLLECTOR_PAGE_PORT", ports.page.to_string()),
            ("COLLECTOR_STORAGE", storage.display().to_string()),
            ("TACHOGRAPH_SCRAPE_INTERVAL", "1s".to_owned()),
            ("TACHOGRAPH_SCRAPE_TIMEOUT", "1s".to_owned()),
            // Nobody: tests that have a service say so.
            ("TACHOGRAPH_METRICS_TARGET", "127.0.0.1:1".to_owned()),
            ("SPAN_METRICS_INTERVAL", "1s".to_owned()),
            ("COLLECTOR_MEMORY_MIB", "1024".to_owned()),
        ] {
            settings.environment.insert(name.to_owned(), value);
        }
        settings
    }

    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// Sends to this receiver as if it were Grafana Cloud.
    pub fn to(self, cloud: &OtlpReceiver) -> Self {
        let endpoint = format!("{}/otlp", cloud.http_endpoint());
        self.set("GRAFANA_CLOUD_OTLP_ENDPOINT", endpoint)
            .set("GRAFANA_CLOUD_INSTANCE_ID", INSTANCE)
            .set("GRAFANA_CLOUD_API_KEY", KEY)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .current_dir(self.folder())
            .envs(&self.environment);
        command
    }

    /// What `validate` says against the configuration; nothing if it is well.
    pub fn validate(&self, program: &Path) -> Result<(), String> {
        let mut validate = self.command(program);
        validate.arg("validate").arg("--config");
        let output = validate.arg(file(self.config)).output().unwrap();
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Starts the collector and waits until it is well; `None` where it cannot be built.
    pub fn start(self) -> Option<Collector> {
        let mut collector = Collector {
            process: None,
            client: client(),
            settings: self,
        };
        collector.restart()?;
        Some(collector)
    }
}

/// A client over HTTP.
pub fn client() -> Client {
    // Its TLS, which nothing here uses.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().timeout(Duration::from_secs(20));
    client.build().unwrap()
}

/// A running collector; ended with the test.
pub struct Collector {
    process: Option<Process>,
    client: Client,
    pub settings: Settings,
}

impl Collector {
    /// Starts it again with the same settings, ports and storage.
    pub fn restart(&mut self) -> Option<()> {
        let program = program()?;
        let log = self.settings.folder().join("collector.log");
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut command = self.settings.command(program);
        command.arg("--config").arg(file(self.settings.config));
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut process = Process(child);
        let health = format!("http://127.0.0.1:{}/", self.settings.ports.health);
        until("the collector is well", || {
            let ended = process.0.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", self.log());
            let answer = self.client.get(&health).send();
            answer.is_ok_and(|answer| answer.status().is_success())
        });
        self.process = Some(process);
        Some(())
    }

    /// Ends it by force: nothing is flushed.
    pub fn kill(&mut self) {
        self.process = None;
    }

    pub fn log(&self) -> String {
        let log = self.settings.folder().join("collector.log");
        std::fs::read_to_string(log).unwrap_or_default()
    }

    /// The page of its own metrics.
    pub fn own_metrics(&self) -> String {
        self.page(self.settings.ports.metrics)
    }

    /// A page of metrics on one of its ports.
    pub fn page(&self, port: u16) -> String {
        let page = format!("http://127.0.0.1:{port}/metrics");
        self.client.get(page).send().unwrap().text().unwrap()
    }

    /// The sum of a metric's series on the page of its own metrics; `None` without any.
    pub fn own(&self, metric: &str) -> Option<f64> {
        let page = self.own_metrics();
        let values: Vec<f64> = page
            .lines()
            .filter(|line| {
                let rest = line.strip_prefix(metric);
                rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
            .collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    pub fn sender(&self) -> Sender {
        Sender::new(self.settings.ports)
    }
}

/// A client that speaks OTLP over HTTP and is none of ours.
#[derive(Clone)]
pub struct Sender {
    client: Client,
    endpoint: String,
}

impl Sender {
    pub fn new(ports: Ports) -> Self {
        Self {
            client: client(),
            endpoint: ports.endpoint(),
        }
    }

    /// Posts a message; the status of the answer.
    pub fn post(&self, signal: &str, message: &impl Message) -> Result<u16, reqwest::Error> {
        let request = self
            .client
            .post(format!("{}/v1/{signal}", self.endpoint))
            .header("content-type", "application/x-protobuf")
            .body(message.encode_to_vec());
        Ok(request.send()?.status().as_u16())
    }

    /// Sends spans of a service; the status of the answer, 0 where nobody listens.
    pub fn spans(&self, service: &str, spans: Vec<Span>) -> u16 {
        self.post("traces", &traces(service, spans)).unwrap_or(0)
    }

    /// Sends log records of a service.
    pub fn logs(&self, service: &str, records: Vec<LogRecord>) -> u16 {
        let message = ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource: Some(of(service)),
                scope_logs: vec![ScopeLogs {
                    log_records: records,
                    ..ScopeLogs::default()
                }],
                ..ResourceLogs::default()
            }],
        };
        self.post("logs", &message).unwrap()
    }
}

/// The message that carries these spans.
pub fn traces(service: &str, spans: Vec<Span>) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(of(service)),
            scope_spans: vec![ScopeSpans {
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

fn of(service: &str) -> Resource {
    Resource {
        attributes: vec![text("service.name", service)],
        ..Resource::default()
    }
}

/// An attribute.
pub fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// An attribute of text.
pub fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.to_owned()))
}

/// Nanoseconds since the epoch.
pub fn now() -> u64 {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    u64::try_from(now.as_nanos()).unwrap()
}

/// A span that ended now.
pub fn span(name: &str, trace: u128, id: u64, parent: u64, took: Duration) -> Span {
    let end = now();
    Span {
        name: name.to_owned(),
        trace_id: trace.to_be_bytes().to_vec(),
        span_id: id.to_be_bytes().to_vec(),
        parent_span_id: if parent == 0 {
            Vec::new()
        } else {
            parent.to_be_bytes().to_vec()
        },
        start_time_unix_nano: end - u64::try_from(took.as_nanos()).unwrap(),
        end_time_unix_nano: end,
        kind: 1,
        ..Span::default()
    }
}
