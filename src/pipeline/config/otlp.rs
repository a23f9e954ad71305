//! Where and how the three signals are sent over OTLP.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;

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
#[derive(Clone, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
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

/// Everything that one exporter needs to know, the signal's own values before the common ones.
#[derive(Clone, PartialEq)]
pub struct OtlpExport {
    /// The whole address: over HTTP with its path, over gRPC without.
    pub endpoint: String,
    /// Transport.
    pub protocol: OtlpProtocol,
    /// Headers of every request. Secret.
    pub headers: BTreeMap<String, String>,
    /// Compression.
    pub compression: OtlpCompression,
    /// Deadline of one export with its retries.
    pub timeout: Duration,
    /// Retries of one export at most.
    pub max_retries: u32,
    /// PEM file of trusted certificates.
    pub certificate: Option<String>,
    /// PEM file of the client's certificate.
    pub client_certificate: Option<String>,
    /// PEM file of the client's key.
    pub client_key: Option<String>,
}

impl fmt::Debug for OtlpExport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpExport")
            .field("endpoint", &super::show::masked_url(&self.endpoint))
            .field("protocol", &self.protocol)
            .field("compression", &self.compression)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
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

    /// How one signal is exported; `None` when it is switched off or has no endpoint.
    ///
    /// Over HTTP the common endpoint gets `/v1/<signal>` added and the signal's own is used
    /// as it is (OTLP exporter specification, "Endpoint URLs for OTLP/HTTP"). A client
    /// certificate goes with its own key: a signal that sets one of them takes both.
    #[must_use]
    pub fn resolve(&self, signal: OtlpSignal) -> Option<OtlpExport> {
        let own = self.signal(signal);
        if !own.enabled {
            return None;
        }
        let protocol = own.protocol.unwrap_or(self.protocol);
        let endpoint = match (&own.endpoint, &self.endpoint) {
            (Some(own), _) => own.clone(),
            (None, Some(common)) if protocol == OtlpProtocol::HttpProtobuf => {
                format!("{}/v1/{}", common.trim_end_matches('/'), signal.as_str())
            }
            (None, Some(common)) => common.clone(),
            (None, None) => return None,
        };
        let (client_certificate, client_key) =
            if own.client_certificate.is_some() || own.client_key.is_some() {
                (own.client_certificate.clone(), own.client_key.clone())
            } else {
                (self.client_certificate.clone(), self.client_key.clone())
            };
        Some(OtlpExport {
            endpoint,
            protocol,
            headers: own.headers.clone().unwrap_or_else(|| self.headers.clone()),
            compression: own.compression.unwrap_or(self.compression),
            timeout: own.timeout.unwrap_or(self.timeout),
            max_retries: self.max_retries,
            certificate: own.certificate.clone().or_else(|| self.certificate.clone()),
            client_certificate,
            client_key,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_takes_its_own_before_the_common() {
        let mut otlp = OtlpConfig {
            endpoint: Some("http://collector:4318/".to_owned()),
            headers: BTreeMap::from([("a".to_owned(), "1".to_owned())]),
            ..OtlpConfig::default()
        };
        otlp.logs.endpoint = Some("http://logs:4318/in".to_owned());
        otlp.logs.headers = Some(BTreeMap::new());
        otlp.metrics.enabled = false;
        let traces = otlp.resolve(OtlpSignal::Traces).unwrap();
        assert_eq!(traces.endpoint, "http://collector:4318/v1/traces");
        assert_eq!(traces.headers.len(), 1);
        let logs = otlp.resolve(OtlpSignal::Logs).unwrap();
        assert_eq!(logs.endpoint, "http://logs:4318/in");
        assert!(logs.headers.is_empty());
        assert_eq!(otlp.resolve(OtlpSignal::Metrics), None);

        otlp.protocol = OtlpProtocol::Grpc;
        let traces = otlp.resolve(OtlpSignal::Traces).unwrap();
        assert_eq!(traces.endpoint, "http://collector:4318/");
        assert_eq!(OtlpConfig::default().resolve(OtlpSignal::Traces), None);
    }

    #[test]
    fn debug_output_keeps_headers_to_itself() {
        let otlp = OtlpConfig {
            endpoint: Some("http://user:hush@collector:4318".to_owned()),
            headers: BTreeMap::from([("authorization".to_owned(), "hush".to_owned())]),
            ..OtlpConfig::default()
        };
        for shown in [
            format!("{otlp:?}"),
            format!("{:?}", otlp.resolve(OtlpSignal::Traces)),
        ] {
            assert!(!shown.contains("hush"), "{shown}");
        }
    }
}
