//! Where and how the three signals are sent over OTLP.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;

/// OTLP transport (`OTEL_EXPORTER_OTLP_PROTOCOL`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
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
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
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
    #[cfg_attr(feature = "service", schemars(with = "String", extend("format" = "duration")))]
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
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct OtlpSignalConfig {
    /// Whether the signal is exported at all (`OTEL_*_EXPORTER=otlp|none`).
    pub enabled: bool,
    /// The whole address of this signal, used as it is.
    pub endpoint: Option<String>,
    /// Transport, where it differs.
    pub protocol: Option<OtlpProtocol>,
    /// Headers in place of the common ones. Secret.
    pub headers: Option<BTreeMap<String, String>>,
    /// Compression, where it differs.
    pub compression: Option<OtlpCompression>,
    /// Deadline of one export, where it differs.
    #[serde(with = "duration::optional")]
    #[cfg_attr(feature = "service", schemars(with = "Option<String>", extend("format" = "duration")))]
    pub timeout: Option<Duration>,
    /// PEM file of trusted certificates, where it differs.
    pub certificate: Option<String>,
    /// PEM file of the client's certificate, where it differs.
    pub client_certificate: Option<String>,
    /// PEM file of the client's key, where it differs.
    pub client_key: Option<String>,
}

impl Default for OtlpSignalConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            endpoint: None,
            protocol: None,
            headers: None,
            compression: None,
            timeout: None,
            certificate: None,
            client_certificate: None,
            client_key: None,
        }
    }
}

impl fmt::Debug for OtlpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::show::to_inline(self))
    }
}

impl fmt::Debug for OtlpSignalConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::show::to_inline(self))
    }
}

/// One of the three signals of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OtlpSignal {
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
    /// Log records.
    Logs,
}

impl OtlpSignal {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// `traces`, `metrics` or `logs`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }
}

impl OtlpConfig {
    /// What is set for one signal alone.
    #[must_use]
    pub const fn signal(&self, signal: OtlpSignal) -> &OtlpSignalConfig {
        match signal {
            OtlpSignal::Traces => &self.traces,
            OtlpSignal::Metrics => &self.metrics,
            OtlpSignal::Logs => &self.logs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_keeps_headers_to_itself() {
        let otlp = OtlpConfig {
            endpoint: Some("http://user:hush@collector:4318".to_owned()),
            headers: BTreeMap::from([("authorization".to_owned(), "hush".to_owned())]),
            ..OtlpConfig::default()
        };
        let shown = format!("{otlp:?}");
        assert!(!shown.contains("hush"), "{shown}");
    }
}
