//! The configuration of OTLP export, checked: whatever is wrong with it stops `init`.

use std::path::Path;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::catalog::ClosedLabel as _;
use crate::pipeline::config::{OtlpCompression, OtlpConfig, OtlpProtocol, OtlpSignalConfig};
use crate::signals::pipeline::ExportSignal;

/// A setting of OTLP export that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ExportConfigError {
    /// The setting, such as `otlp.traces.endpoint`.
    pub field: String,
    /// What is wrong with it and what is accepted.
    pub problem: String,
}

impl ExportConfigError {
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

/// Times are cut to this, so that none lies beyond what a clock can hold.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Where one signal goes, and how.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) signal: ExportSignal,
    pub(crate) protocol: OtlpProtocol,
    /// Over HTTP the whole address of the signal, over gRPC scheme and authority.
    pub(crate) url: Url,
    /// Sent with every request; values are marked as sensitive.
    pub(crate) headers: HeaderMap,
    pub(crate) compression: OtlpCompression,
    pub(crate) timeout: Duration,
    pub(crate) max_retries: u32,
    pub(crate) tls: Tls,
}

impl Target {
    /// The address without what may be secret, for logs and the health page.
    pub(crate) fn shown(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.to_string()
    }
}

/// Certificates, as PEM.
#[derive(Clone, Default)]
pub(crate) struct Tls {
    /// Trusted in place of the system's roots.
    pub(crate) authority: Option<Vec<u8>>,
    /// The client's certificate chain and its key.
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("authority", &self.authority.is_some())
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

/// The signals that are to be exported; none unless an endpoint is set.
///
/// # Errors
/// Names the setting and what it accepts.
pub(crate) fn targets(config: &OtlpConfig) -> Result<Vec<Target>, ExportConfigError> {
    let wanted = [
        (ExportSignal::Traces, &config.traces),
        (ExportSignal::Metrics, &config.metrics),
        (ExportSignal::Logs, &config.logs),
    ];
    let wanted: Vec<_> = wanted
        .into_iter()
        .filter(|(_, own)| own.enabled && (own.endpoint.is_some() || config.endpoint.is_some()))
        .collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    wanted
        .into_iter()
        .map(|(signal, own)| target(config, signal, own))
        .collect()
}

fn target(
    config: &OtlpConfig,
    signal: ExportSignal,
    own: &OtlpSignalConfig,
) -> Result<Target, ExportConfigError> {
    let name = signal.as_str();
    let protocol = own.protocol.unwrap_or(config.protocol);
    let (field, timeout) = match own.timeout {
        Some(own) => (format!("otlp.{name}.timeout"), own),
        None => ("otlp.timeout".to_owned(), config.timeout),
    };
    if timeout.is_zero() {
        let problem = "must be longer than zero, such as `10s`";
        return Err(ExportConfigError::new(field, problem));
    }
    let mut url = match (&own.endpoint, &config.endpoint) {
        // The exporter specification: a signal's own endpoint is used as it is.
        (Some(endpoint), _) => url(&format!("otlp.{name}.endpoint"), endpoint)?,
        (None, Some(endpoint)) => {
            let mut url = url("otlp.endpoint", endpoint)?;
            if protocol == OtlpProtocol::HttpProtobuf {
                let path = format!("{}/v1/{name}", url.path().trim_end_matches('/'));
                url.set_path(&path);
            }
            url
        }
        (None, None) => {
            return Err(ExportConfigError::new("otlp.endpoint", "is not set"));
        }
    };
    url.set_fragment(None);
    let headers = match &own.headers {
        Some(own) => headers(&format!("otlp.{name}.headers"), own)?,
        None => headers("otlp.headers", &config.headers)?,
    };
    Ok(Target {
        signal,
        protocol,
        url,
        headers,
        compression: own.compression.unwrap_or(config.compression),
        timeout: timeout.min(LONGEST),
        max_retries: config.max_retries,
        tls: tls(config, name, own)?,
    })
}

fn url(field: &str, text: &str) -> Result<Url, ExportConfigError> {
    let accepted = "accepted is an address such as `http://localhost:4318`";
    let url = Url::parse(text.trim()).map_err(|error| {
        ExportConfigError::new(field, format!("not a URL ({error}); {accepted}"))
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        let problem = format!("the scheme must be http or https; {accepted}");
        return Err(ExportConfigError::new(field, problem));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(ExportConfigError::new(
            field,
            format!("names no host; {accepted}"),
        ));
    }
    // Addresses are printed and logged.
    if !url.username().is_empty() || url.password().is_some() {
        let problem = "must not hold credentials; they go into `headers`, as `authorization`";
        return Err(ExportConfigError::new(field, problem));
    }
    Ok(url)
}

/// Headers that the transports set themselves.
const RESERVED: [&str; 7] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
];

fn headers(
    field: &str,
    wanted: &std::collections::BTreeMap<String, String>,
) -> Result<HeaderMap, ExportConfigError> {
    let mut headers = HeaderMap::new();
    for (name, value) in wanted {
        let field = format!("{field}.{name}");
        let key = HeaderName::from_bytes(name.trim().as_bytes())
            .map_err(|_| ExportConfigError::new(&field, "is not a valid header name"))?;
        let text = key.as_str();
        // gRPC reserves its prefix, and takes `-bin` values as base64 only.
        if RESERVED.contains(&text) || text.starts_with("grpc-") || text.ends_with("-bin") {
            return Err(ExportConfigError::new(
                &field,
                "is set by the transport and cannot be configured",
            ));
        }
        // The value is a secret: it is not repeated in the message.
        let mut value = HeaderValue::from_str(value.trim())
            .ok()
            .filter(|value| value.to_str().is_ok())
            .ok_or_else(|| {
                ExportConfigError::new(&field, "the value may hold visible ASCII only")
            })?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

fn tls(config: &OtlpConfig, name: &str, own: &OtlpSignalConfig) -> Result<Tls, ExportConfigError> {
    let (within, certificate) = match &own.certificate {
        Some(own) => (format!("otlp.{name}"), Some(own)),
        None => ("otlp".to_owned(), config.certificate.as_ref()),
    };
    let authority = certificate
        .map(|path| certificates(&format!("{within}.certificate"), path))
        .transpose()?;
    // A certificate goes with its own key: a signal that sets one of them takes both.
    let (within, certificate, key) = if own.client_certificate.is_some() || own.client_key.is_some()
    {
        let within = format!("otlp.{name}");
        (within, &own.client_certificate, &own.client_key)
    } else {
        let within = "otlp".to_owned();
        (within, &config.client_certificate, &config.client_key)
    };
    let identity = match (certificate, key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((
            certificates(&format!("{within}.client_certificate"), certificate)?,
            private_key(&format!("{within}.client_key"), key)?,
        )),
        (Some(_), None) => {
            return Err(ExportConfigError::new(
                format!("{within}.client_key"),
                format!("is needed beside {within}.client_certificate"),
            ));
        }
        (None, Some(_)) => {
            return Err(ExportConfigError::new(
                format!("{within}.client_certificate"),
                format!("is needed beside {within}.client_key"),
            ));
        }
    };
    Ok(Tls {
        authority,
        identity,
    })
}

fn read(field: &str, path: &str) -> Result<Vec<u8>, ExportConfigError> {
    std::fs::read(Path::new(path))
        .map_err(|error| ExportConfigError::new(field, format!("`{path}` cannot be read: {error}")))
}

fn certificates(field: &str, path: &str) -> Result<Vec<u8>, ExportConfigError> {
    let pem = read(field, path)?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if !found.is_empty() => Ok(pem),
        _ => Err(ExportConfigError::new(
            field,
            format!("`{path}` holds no certificate; accepted is PEM"),
        )),
    }
}

fn private_key(field: &str, path: &str) -> Result<Vec<u8>, ExportConfigError> {
    let pem = read(field, path)?;
    match PrivateKeyDer::from_pem_slice(&pem) {
        Ok(_) => Ok(pem),
        Err(_) => Err(ExportConfigError::new(
            field,
            format!("`{path}` holds no private key; accepted is PEM (PKCS#8, PKCS#1 or SEC1)"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn config(endpoint: &str) -> OtlpConfig {
        OtlpConfig {
            endpoint: Some(endpoint.to_owned()),
            ..OtlpConfig::default()
        }
    }

    fn problem(config: &OtlpConfig) -> String {
        targets(config).unwrap_err().to_string()
    }

    #[test]
    fn nothing_is_exported_unless_an_endpoint_is_set() {
        assert!(targets(&OtlpConfig::default()).unwrap().is_empty());
        let mut one = OtlpConfig::default();
        one.logs.endpoint = Some("http://localhost:9/in".to_owned());
        let targets = targets(&one).unwrap();
        assert_eq!(targets.len(), 1);
        assert_eq!(targets[0].signal, ExportSignal::Logs);
        assert_eq!(targets[0].url.as_str(), "http://localhost:9/in");
    }

    #[test]
    fn paths_are_added_to_the_common_endpoint_over_http_only() {
        let urls = |config: &OtlpConfig| -> Vec<String> {
            let targets = targets(config).unwrap();
            targets.iter().map(|t| t.url.to_string()).collect()
        };
        assert_eq!(
            urls(&config("https://gateway/otlp/")),
            [
                "https://gateway/otlp/v1/traces",
                "https://gateway/otlp/v1/metrics",
                "https://gateway/otlp/v1/logs"
            ]
        );
        let mut grpc = config("http://localhost:4317");
        grpc.protocol = OtlpProtocol::Grpc;
        grpc.metrics.enabled = false;
        assert_eq!(
            urls(&grpc),
            ["http://localhost:4317/", "http://localhost:4317/"]
        );
    }

    #[test]
    fn a_signal_takes_its_own_settings_before_the_common_ones() {
        let mut config = config("http://localhost:4318");
        config.traces.protocol = Some(OtlpProtocol::Grpc);
        config.traces.compression = Some(OtlpCompression::Gzip);
        config.logs.timeout = Some(Duration::from_secs(3));
        config.logs.endpoint = Some("http://logs:4318/in".to_owned());
        config.headers.insert("x-scope".to_owned(), "1".to_owned());
        config.logs.headers = Some(BTreeMap::new());
        let targets = targets(&config).unwrap();
        let [traces, metrics, logs] = &targets[..] else {
            panic!("{targets:?}");
        };
        assert_eq!(traces.url.as_str(), "http://localhost:4318/");
        assert_eq!(traces.protocol, OtlpProtocol::Grpc);
        assert_eq!(traces.compression, OtlpCompression::Gzip);
        assert_eq!(metrics.protocol, OtlpProtocol::HttpProtobuf);
        assert_eq!(metrics.compression, OtlpCompression::None);
        assert_eq!(metrics.timeout, config.timeout);
        assert_eq!(metrics.url.as_str(), "http://localhost:4318/v1/metrics");
        assert_eq!(metrics.headers.len(), 1);
        assert_eq!(logs.timeout, Duration::from_secs(3));
        assert_eq!(logs.url.as_str(), "http://logs:4318/in");
        assert!(logs.headers.is_empty());
        config.metrics.enabled = false;
        assert_eq!(self::targets(&config).unwrap().len(), 2);
        config.metrics.enabled = true;
        config.logs.timeout = Some(Duration::ZERO);
        assert!(problem(&config).starts_with("otlp.logs.timeout: "));
        config.logs.timeout = None;
        config.metrics.client_key = Some("key.pem".to_owned());
        assert!(problem(&config).starts_with("otlp.metrics.client_certificate: "));
    }

    #[test]
    fn a_bad_endpoint_is_named() {
        assert!(problem(&config("http://user:pass@host/")).contains("credentials"));
        for bad in ["localhost:4318", "", "ftp://host/", "http://", "not a url"] {
            let text = problem(&config(bad));
            assert!(text.starts_with("otlp.endpoint: "), "{bad}: {text}");
            assert!(text.contains("http://localhost:4318"), "{bad}: {text}");
        }
        let mut own = config("http://localhost:4318");
        own.traces.endpoint = Some("4318".to_owned());
        assert!(problem(&own).starts_with("otlp.traces.endpoint: "));
    }

    #[test]
    fn headers_are_checked_and_their_values_never_shown() {
        for (name, value) in [
            ("bad name", "x"),
            ("x", "line\nbreak"),
            ("content-type", "x"),
            ("grpc-timeout", "x"),
            ("trace-bin", "x"),
            ("x", "ä-secret"),
        ] {
            let mut config = config("http://localhost:4318");
            config.headers.insert(name.to_owned(), value.to_owned());
            let text = problem(&config);
            assert!(text.starts_with("otlp.headers."), "{text}");
            assert!(!text.contains("secret"), "{text}");
        }
        let mut config = config("http://localhost:4318?token=secret");
        config
            .headers
            .insert("authorization".to_owned(), "secret".to_owned());
        let targets = targets(&config).unwrap();
        assert!(!format!("{:?}", targets[0].headers).contains("secret"));
        assert_eq!(targets[0].shown(), "http://localhost:4318/v1/traces");
    }

    #[test]
    fn certificates_are_read_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        std::fs::write(path("text.pem"), "no certificate").unwrap();
        let mut missing = config("https://localhost:4318");
        missing.certificate = Some(path("absent.pem"));
        assert!(problem(&missing).starts_with("otlp.certificate: "));
        missing.certificate = Some(path("text.pem"));
        assert!(problem(&missing).contains("holds no certificate"));
        let mut half = config("https://localhost:4318");
        half.client_certificate = Some(path("text.pem"));
        assert!(problem(&half).starts_with("otlp.client_key: "));
        half.client_certificate = None;
        half.client_key = Some(path("text.pem"));
        assert!(problem(&half).starts_with("otlp.client_certificate: "));
    }

    #[test]
    fn a_timeout_of_zero_is_refused() {
        let mut config = config("http://localhost:4318");
        config.timeout = Duration::ZERO;
        assert!(problem(&config).starts_with("otlp.timeout: "));
    }
}
