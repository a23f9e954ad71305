//! What the telemetry pipeline can be told.
//!
//! Names and defaults follow the OpenTelemetry environment variable specification and the
//! OTLP exporter specification, v1.41; the variable that sets a field stands in its
//! documentation. Durations are written `500ms`, `10s`, `1m`. Every field can also be set
//! in a TOML file and as `TACHOGRAPH_TELEMETRY__<FIELD>`, `__` for each step down.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

mod check;
pub mod duration;
pub mod list;
pub mod load;
pub(crate) mod otel_env;
mod otlp;
pub mod show;

pub use load::{ConfigError, Loaded};
pub use otlp::{OtlpCompression, OtlpConfig, OtlpProtocol, OtlpSignal, OtlpSignalConfig};

/// Configuration of [`Telemetry`](crate::pipeline).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
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
    /// Other systems' names for what is recorded.
    pub vocabulary: VocabularyConfig,
}

/// Other systems' names for what is recorded, beside our own; `docs/vocabularies.md` has the
/// format of the files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct VocabularyConfig {
    /// Vocabularies on the metrics page beside our own names.
    #[serde(deserialize_with = "list::deserialize")]
    pub serve: Vec<String>,
    /// Files with further vocabularies.
    #[serde(deserialize_with = "list::deserialize")]
    pub files: Vec<String>,
    /// Vocabularies that are exported over OTLP beside our own names.
    #[serde(deserialize_with = "list::deserialize")]
    pub export: Vec<String>,
}

impl VocabularyConfig {
    /// What it asks for.
    #[must_use]
    pub fn wanted(&self) -> crate::vocabulary::Wanted {
        crate::vocabulary::Wanted {
            serve: self.serve.clone(),
            files: self.files.iter().map(Into::into).collect(),
            export: self.export.clone(),
        }
    }
}

/// The OpenTelemetry resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
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

/// A way to carry context between processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub enum Propagator {
    /// W3C Trace Context: `traceparent` and `tracestate`.
    #[serde(rename = "tracecontext")]
    TraceContext,
    /// W3C Baggage: `baggage`.
    #[serde(rename = "baggage")]
    Baggage,
}

/// Trace sampling and the span queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct TracesConfig {
    /// `OTEL_TRACES_SAMPLER`.
    pub sampler: SamplerKind,
    /// Ratio of the `traceidratio` samplers, 0 to 1 (`OTEL_TRACES_SAMPLER_ARG`).
    pub ratio: f64,
    /// How context travels between processes (`OTEL_PROPAGATORS`); empty for not at all.
    #[serde(deserialize_with = "list::deserialize")]
    pub propagators: Vec<Propagator>,
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
            propagators: vec![Propagator::TraceContext, Propagator::Baggage],
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
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct QueueConfig {
    /// Items held at most; further ones are dropped and counted (`*_MAX_QUEUE_SIZE`).
    pub max_queue_size: usize,
    /// Items per export at most (`*_MAX_EXPORT_BATCH_SIZE`).
    pub max_export_batch_size: usize,
    /// Longest wait before a batch that is not full goes out (`*_SCHEDULE_DELAY`, ms).
    #[serde(with = "duration")]
    #[cfg_attr(feature = "service", schemars(with = "String", extend("format" = "duration")))]
    pub schedule_delay: Duration,
    /// Deadline of one export with its retries (`*_EXPORT_TIMEOUT`, ms); unless set, that
    /// of the exporter.
    #[serde(with = "duration::optional")]
    #[cfg_attr(feature = "service", schemars(with = "Option<String>", extend("format" = "duration")))]
    pub export_timeout: Option<Duration>,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            max_queue_size: 2048,
            max_export_batch_size: 512,
            schedule_delay: Duration::from_secs(1),
            export_timeout: None,
        }
    }
}

/// Aggregation and push of metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct MetricsConfig {
    /// Time between two pushes over OTLP (`OTEL_METRIC_EXPORT_INTERVAL`, ms).
    #[serde(with = "duration")]
    #[cfg_attr(feature = "service", schemars(with = "String", extend("format" = "duration")))]
    pub export_interval: Duration,
    /// Deadline of one push with its retries (`OTEL_METRIC_EXPORT_TIMEOUT`, ms).
    #[serde(with = "duration")]
    #[cfg_attr(feature = "service", schemars(with = "String", extend("format" = "duration")))]
    pub export_timeout: Duration,
    /// Keeps exponential histograms beside the classic ones and publishes them as native
    /// histograms over protobuf.
    pub native_histograms: bool,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            export_interval: Duration::from_secs(60),
            export_timeout: Duration::from_secs(30),
            native_histograms: false,
        }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
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
            // The SDK announces each of its global settings.
            filter: "info,opentelemetry=warn".to_owned(),
            format: LogFormat::default(),
            queue: QueueConfig::default(),
        }
    }
}
