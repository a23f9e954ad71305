//! What the telemetry pipeline can be told.
//!
//! Names and defaults follow the OpenTelemetry environment variable specification and the
//! OTLP exporter specification, v1.41; the variable that sets a field stands in its
//! documentation. Durations are written `500ms`, `10s`, `1m`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Configuration of [`Telemetry`](crate::pipeline).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// Turns everything off (`OTEL_SDK_DISABLED`).
    pub disabled: bool,
    /// Who is reporting.
    pub resource: ResourceConfig,
    /// Trace sampling.
    pub traces: TracesConfig,
    /// Aggregation and push of metrics.
    pub metrics: MetricsConfig,
    /// Log output.
    pub logs: LogsConfig,
    /// OTLP export; off unless an endpoint is set.
    pub otlp: OtlpConfig,
}

/// The OpenTelemetry resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResourceConfig {
    /// `service.name` (`OTEL_SERVICE_NAME`).
    pub service_name: String,
    /// `service.namespace`.
    pub service_namespace: Option<String>,
    /// `service.version`.
    pub service_version: Option<String>,
    /// `service.instance.id`; a random UUID unless set.
    pub service_instance_id: Option<String>,
    /// `deployment.environment.name`.
    pub environment: Option<String>,
    /// Further attributes (`OTEL_RESOURCE_ATTRIBUTES`).
    pub attributes: BTreeMap<String, String>,
}

impl Default for ResourceConfig {
    fn default() -> Self {
        Self {
            service_name: "tachograph".to_owned(),
            service_namespace: None,
            service_version: None,
            service_instance_id: None,
            environment: None,
            attributes: BTreeMap::new(),
        }
    }
}

/// Root sampling decisions; a parent's decision is kept by the `parentbased_*` samplers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SamplerKind {
    /// `always_on`
    AlwaysOn,
    /// `always_off`
    AlwaysOff,
    /// `traceidratio`
    #[serde(rename = "traceidratio")]
    TraceIdRatio,
    /// `parentbased_always_on`
    #[default]
    #[serde(rename = "parentbased_always_on")]
    ParentBasedAlwaysOn,
    /// `parentbased_always_off`
    #[serde(rename = "parentbased_always_off")]
    ParentBasedAlwaysOff,
    /// `parentbased_traceidratio`
    #[serde(rename = "parentbased_traceidratio")]
    ParentBasedTraceIdRatio,
}

/// Trace sampling and the span queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TracesConfig {
    /// `OTEL_TRACES_SAMPLER`.
    pub sampler: SamplerKind,
    /// Ratio of the `traceidratio` samplers, 0 to 1 (`OTEL_TRACES_SAMPLER_ARG`).
    pub ratio: f64,
    /// Which spans are exported, as `tracing` filter directives.
    pub filter: String,
    /// The queue before the exporter (`OTEL_BSP_*`).
    pub queue: QueueConfig,
}

impl Default for TracesConfig {
    fn default() -> Self {
        Self {
            sampler: SamplerKind::default(),
            ratio: 1.0,
            filter: "info".to_owned(),
            queue: QueueConfig {
                schedule_delay: Duration::from_secs(5),
                ..QueueConfig::default()
            },
        }
    }
}

/// A bounded queue before an exporter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueConfig {
    /// Items held at most; further ones are dropped and counted (`*_MAX_QUEUE_SIZE`).
    pub max_queue_size: usize,
    /// Items per export at most (`*_MAX_EXPORT_BATCH_SIZE`).
    pub max_export_batch_size: usize,
    /// Longest wait before a batch that is not full goes out (`*_SCHEDULE_DELAY`, ms).
    #[serde(with = "duration")]
    pub schedule_delay: Duration,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            max_queue_size: 2048,
            max_export_batch_size: 512,
            schedule_delay: Duration::from_secs(1),
        }
    }
}

/// Aggregation and push of metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Time between two pushes over OTLP (`OTEL_METRIC_EXPORT_INTERVAL`, ms).
    #[serde(with = "duration")]
    pub export_interval: Duration,
    /// Keeps exponential histograms beside the classic ones and publishes them as native
    /// histograms over protobuf.
    pub native_histograms: bool,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            export_interval: Duration::from_secs(60),
            native_histograms: false,
        }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// One line of text.
    Text,
    /// One JSON object a line.
    Json,
    /// Nothing is written locally.
    Off,
}

/// Log output and the log queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogsConfig {
    /// Which events are logged, as `tracing` filter directives; can be changed at run time.
    pub filter: String,
    /// Format of the local output, on standard error.
    pub format: LogFormat,
    /// The queue before the exporter (`OTEL_BLRP_*`).
    pub queue: QueueConfig,
}

impl Default for LogsConfig {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::default(),
            queue: QueueConfig::default(),
        }
    }
}

/// OTLP transport (`OTEL_EXPORTER_OTLP_PROTOCOL`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OtlpProtocol {
    /// Protobuf over gRPC.
    #[serde(rename = "grpc")]
    Grpc,
    /// Protobuf over HTTP.
    #[default]
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
}

/// OTLP compression (`OTEL_EXPORTER_OTLP_COMPRESSION`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtlpCompression {
    /// As it is.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

/// OTLP export of all three signals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpConfig {
    /// Where to send (`OTEL_EXPORTER_OTLP_ENDPOINT`); `/v1/{traces,metrics,logs}` is added
    /// over HTTP.
    pub endpoint: Option<String>,
    /// Transport.
    pub protocol: OtlpProtocol,
    /// Headers of every request, values percent-encoded in the environment
    /// (`OTEL_EXPORTER_OTLP_HEADERS`). Secret.
    pub headers: BTreeMap<String, String>,
    /// Compression.
    pub compression: OtlpCompression,
    /// Deadline of one export with its retries (`OTEL_EXPORTER_OTLP_TIMEOUT`, ms).
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Retries of one export at most.
    pub max_retries: u32,
    /// PEM file of trusted certificates (`OTEL_EXPORTER_OTLP_CERTIFICATE`).
    pub certificate: Option<String>,
    /// PEM file of the client's certificate (`OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE`).
    pub client_certificate: Option<String>,
    /// PEM file of the client's key (`OTEL_EXPORTER_OTLP_CLIENT_KEY`).
    pub client_key: Option<String>,
    /// What differs for traces (`OTEL_EXPORTER_OTLP_TRACES_*`, `OTEL_TRACES_EXPORTER`).
    pub traces: OtlpSignalConfig,
    /// What differs for metrics (`OTEL_EXPORTER_OTLP_METRICS_*`, `OTEL_METRICS_EXPORTER`).
    pub metrics: OtlpSignalConfig,
    /// What differs for logs (`OTEL_EXPORTER_OTLP_LOGS_*`, `OTEL_LOGS_EXPORTER`).
    pub logs: OtlpSignalConfig,
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            protocol: OtlpProtocol::default(),
            headers: BTreeMap::new(),
            compression: OtlpCompression::default(),
            timeout: Duration::from_secs(10),
            max_retries: 3,
            certificate: None,
            client_certificate: None,
            client_key: None,
            traces: OtlpSignalConfig::default(),
            metrics: OtlpSignalConfig::default(),
            logs: OtlpSignalConfig::default(),
        }
    }
}

/// What differs for one signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpSignalConfig {
    /// Whether the signal is exported at all (`OTEL_*_EXPORTER=otlp|none`).
    pub enabled: bool,
    /// The whole address of this signal, used as it is.
    pub endpoint: Option<String>,
    /// Headers in place of the common ones. Secret.
    pub headers: Option<BTreeMap<String, String>>,
}

impl Default for OtlpSignalConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            endpoint: None,
            headers: None,
        }
    }
}

/// Durations as `500ms`, `10s`, `1m`, `2h`; a bare number is milliseconds, as in the
/// OpenTelemetry environment variables.
pub mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Millis(u64),
        Text(String),
    }

    /// Reads a duration from its written form.
    ///
    /// # Errors
    /// Says what is accepted.
    pub fn parse(text: &str) -> Result<Duration, String> {
        let text = text.trim();
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let accepted = "accepted are a whole number and one of ms, s, m, h, such as `10s`";
        let number: u64 = number
            .parse()
            .map_err(|_| format!("`{text}` is not a duration; {accepted}"))?;
        let millis = match unit.trim() {
            "" | "ms" => Some(number),
            "s" => number.checked_mul(1_000),
            "m" => number.checked_mul(60_000),
            "h" => number.checked_mul(3_600_000),
            _ => return Err(format!("`{unit}` is not a unit of time; {accepted}")),
        };
        millis
            .map(Duration::from_millis)
            .ok_or_else(|| format!("`{text}` is too long"))
    }

    /// Writes a duration in the largest unit that is exact.
    #[must_use]
    pub fn format(value: Duration) -> String {
        let millis = value.as_millis();
        match millis {
            0 => "0s".to_owned(),
            m if m % 3_600_000 == 0 => format!("{}h", m / 3_600_000),
            m if m % 60_000 == 0 => format!("{}m", m / 60_000),
            m if m % 1_000 == 0 => format!("{}s", m / 1_000),
            m => format!("{m}ms"),
        }
    }

    pub(crate) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format(*value))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        match Written::deserialize(from).map_err(|_| {
            D::Error::custom("not a duration; accepted are milliseconds or text such as `10s`")
        })? {
            Written::Millis(ms) => Ok(Duration::from_millis(ms)),
            Written::Text(text) => parse(&text).map_err(D::Error::custom),
        }
    }
}
