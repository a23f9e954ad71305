//! Sends encoded requests over gRPC (tonic) or HTTP (reqwest), once.
//!
//! The SDK's own OTLP exporters are not used: they report a failure as text and a partial
//! success only as a log line, so losses could not be counted by reason; they encode anew
//! for every retry, and a shutdown cannot interrupt their waiting.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use parking_lot::Mutex;
use prost::Message as _;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::settings::{ExportConfigError, Target, Tls};
use crate::catalog::ClosedLabel as _;
use crate::pipeline::config::{OtlpCompression, OtlpProtocol};
use crate::signals::pipeline::{DropReason, ExportSignal};

/// Bytes of a reply that are read; an OTLP reply is a few dozen.
const MAX_REPLY_BYTES: usize = 64 * 1024;
/// Characters kept of what a backend says.
const MAX_ERROR_CHARS: usize = 300;

const USER_AGENT: &str = concat!("tachograph/", env!("CARGO_PKG_VERSION"));

/// A request that did not succeed.
#[derive(Debug)]
pub(crate) struct SendError {
    pub(crate) reason: DropReason,
    pub(crate) retry: Retry,
    pub(crate) text: String,
    pub(crate) fault: Fault,
}

/// Where a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The settings of the exporter cannot be used.
    Settings,
    /// No connection: what the operating system said, where it said something.
    Connect(std::io::ErrorKind),
    /// The host's name was not found.
    Name,
    /// The other side does not speak TLS.
    NoTls,
    /// TLS: no trust, or a handshake that failed.
    Tls,
    /// The connection was made, and what came back was not understood.
    Protocol,
    /// The backend's HTTP status.
    Http(u16),
    /// The backend's gRPC code.
    Grpc(Code),
    /// No answer in time.
    Timeout,
    /// Success was answered, but not by OTLP.
    NotOtlp,
    /// Something else.
    Other,
}

impl Fault {
    /// Finds the cause in an error and what caused it; `connecting` says that no connection
    /// was made.
    fn of(error: &(dyn std::error::Error + 'static), connecting: bool) -> Self {
        let mut next = Some(error);
        let mut connect = None;
        while let Some(cause) = next {
            match cause.downcast_ref::<rustls::Error>() {
                Some(rustls::Error::InvalidMessage(_)) => return Self::NoTls,
                Some(_) => return Self::Tls,
                None => {}
            }
            if cause.to_string().contains("dns error") {
                return Self::Name;
            }
            let io = cause.downcast_ref::<std::io::Error>();
            connect = connect.or(io.map(std::io::Error::kind));
            // An I/O error does not count what it carries among its sources.
            next = match io.and_then(std::io::Error::get_ref) {
                Some(carried) => Some(carried),
                None => cause.source(),
            };
        }
        match (connecting, connect) {
            (true, kind) => Self::Connect(kind.unwrap_or(std::io::ErrorKind::Other)),
            (false, Some(std::io::ErrorKind::ConnectionRefused)) => {
                Self::Connect(std::io::ErrorKind::ConnectionRefused)
            }
            (false, _) => Self::Protocol,
        }
    }
}

/// Whether it is worth trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    No,
    Yes,
    /// Not before the backend's own delay is over.
    After(Duration),
}

impl SendError {
    pub(crate) fn new(reason: DropReason, retry: Retry, text: impl Into<String>) -> Self {
        let mut text: String = text.into();
        if let Some((end, _)) = text.char_indices().nth(MAX_ERROR_CHARS) {
            text.truncate(end);
        }
        Self {
            reason,
            retry,
            text,
            fault: Fault::Other,
        }
    }

    fn at(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }
}

/// A connection to one signal's backend.
pub(crate) enum Transport {
    Grpc(Box<GrpcTransport>),
    Http(HttpTransport),
}

impl Transport {
    /// Prepares the connection without making it. Call within the runtime that will send.
    ///
    /// # Errors
    /// Certificates that do not fit each other, or no trusted roots on the system.
    pub(crate) fn new(target: &Target) -> Result<Self, ExportConfigError> {
        Ok(match target.protocol {
            OtlpProtocol::Grpc => Self::Grpc(Box::new(GrpcTransport::new(target)?)),
            OtlpProtocol::HttpProtobuf => Self::Http(HttpTransport::new(target)?),
        })
    }

    /// Sends an encoded request and gives back the encoded reply. Has no timeout of its own:
    /// drop the future to give up.
    pub(crate) async fn send(&self, body: Bytes) -> Result<Bytes, SendError> {
        match self {
            Self::Grpc(grpc) => grpc.send(body).await,
            Self::Http(http) => http.send(body).await,
        }
    }

    /// Forgets connections that may be dead, after a timeout.
    pub(crate) fn reconnect(&self) {
        if let Self::Grpc(grpc) = self {
            *grpc.channel.lock() = grpc.endpoint.connect_lazy();
        }
    }
}

// gRPC

pub(crate) struct GrpcTransport {
    endpoint: Endpoint,
    channel: Mutex<Channel>,
    path: PathAndQuery,
    metadata: MetadataMap,
    compression: Option<CompressionEncoding>,
}

impl GrpcTransport {
    fn new(target: &Target) -> Result<Self, ExportConfigError> {
        let name = target.signal.as_str();
        let field = format!("otlp.{name}.endpoint");
        let bad = |error: tonic::transport::Error| {
            ExportConfigError::new(
                &field,
                format!("cannot be used for gRPC: {}", chain(&error)),
            )
        };
        let mut endpoint = Endpoint::from_shared(target.url.as_str().to_owned())
            .and_then(|endpoint| endpoint.user_agent(USER_AGENT))
            .map_err(bad)?
            .tcp_keepalive(Some(Duration::from_secs(30)));
        if target.url.scheme() == "https" {
            // Uses the provider that the host installed, or ring.
            let mut tls = ClientTlsConfig::new();
            tls = match &target.tls.authority {
                Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
                None => tls.with_native_roots(),
            };
            if let Some((certificate, key)) = &target.tls.identity {
                tls = tls.identity(Identity::from_pem(certificate, key));
            }
            endpoint = endpoint.tls_config(tls).map_err(bad)?;
        }
        let path = PathAndQuery::from_static(match target.signal {
            ExportSignal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            ExportSignal::Metrics => {
                "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
            }
            ExportSignal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        });
        Ok(Self {
            channel: Mutex::new(endpoint.connect_lazy()),
            endpoint,
            path,
            metadata: MetadataMap::from_headers(target.headers.clone()),
            compression: match target.compression {
                OtlpCompression::None => None,
                OtlpCompression::Gzip => Some(CompressionEncoding::Gzip),
                OtlpCompression::Zstd => Some(CompressionEncoding::Zstd),
            },
        })
    }

    async fn send(&self, body: Bytes) -> Result<Bytes, SendError> {
        let channel = self.channel.lock().clone();
        let mut client = Grpc::new(channel).max_decoding_message_size(MAX_REPLY_BYTES);
        if let Some(encoding) = self.compression {
            client = client.send_compressed(encoding).accept_compressed(encoding);
        }
        client.ready().await.map_err(|error| {
            let fault = Fault::of(&error, true);
            SendError::new(DropReason::Refused, Retry::Yes, chain(&error)).at(fault)
        })?;
        let request =
            tonic::Request::from_parts(self.metadata.clone(), tonic::Extensions::default(), body);
        let reply = client.unary(request, self.path.clone(), Encoded).await;
        match reply {
            Ok(reply) => Ok(reply.into_inner()),
            Err(status) => Err(classify_grpc(&status)),
        }
    }
}

/// The OTLP specification, "OTLP/gRPC response", with its table of retryable codes.
fn classify_grpc(status: &Status) -> SendError {
    // A status made by the client stands for a connection that failed.
    if let Some(source) = std::error::Error::source(status) {
        let text = format!("{}: {}", status.message(), chain(source));
        let fault = Fault::of(source, status.message().contains("connect"));
        return SendError::new(DropReason::Refused, Retry::Yes, text).at(fault);
    }
    let delay = status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay);
    let text = format!("gRPC {:?}: {}", status.code(), status.message());
    let (reason, retry) = match (status.code(), delay) {
        (Code::ResourceExhausted, Some(delay)) => (DropReason::Unavailable, Retry::After(delay)),
        (Code::Unavailable, Some(delay)) if !delay.is_zero() => {
            (DropReason::Unavailable, Retry::After(delay))
        }
        (
            Code::Unavailable
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::DataLoss,
            _,
        ) => (DropReason::Unavailable, Retry::Yes),
        _ => (DropReason::Rejected, Retry::No),
    };
    SendError::new(reason, retry, text).at(Fault::Grpc(status.code()))
}

/// Messages that are encoded already, so that a retry does not encode them again.
#[derive(Clone, Copy)]
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

// HTTP

pub(crate) struct HttpTransport {
    client: reqwest::Client,
    url: reqwest::Url,
    headers: HeaderMap,
    compression: OtlpCompression,
}

impl HttpTransport {
    fn new(target: &Target) -> Result<Self, ExportConfigError> {
        // With a configuration of its own reqwest asks for no process-wide provider, which
        // is the host's to choose and may be absent.
        let tls = client_tls(&target.tls, target.url.scheme() == "https")?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(USER_AGENT)
            .tcp_keepalive(Duration::from_secs(30))
            .build()
            .map_err(|error| ExportConfigError::new("otlp.endpoint", chain(&error)))?;
        let mut headers = target.headers.clone();
        let value = reqwest::header::HeaderValue::from_static;
        headers.insert("content-type", value("application/x-protobuf"));
        match target.compression {
            OtlpCompression::None => None,
            OtlpCompression::Gzip => headers.insert("content-encoding", value("gzip")),
            OtlpCompression::Zstd => headers.insert("content-encoding", value("zstd")),
        };
        Ok(Self {
            client,
            url: target.url.clone(),
            headers,
            compression: target.compression,
        })
    }

    async fn send(&self, body: Bytes) -> Result<Bytes, SendError> {
        read(self.post(body).await?).await
    }

    /// Sends a request up to the head of its answer.
    pub(crate) async fn post(&self, body: Bytes) -> Result<reqwest::Response, SendError> {
        let body = compress(self.compression, body)
            .map_err(|error| SendError::new(DropReason::Encoding, Retry::No, error.to_string()))?;
        self.client
            .post(self.url.clone())
            .headers(self.headers.clone())
            .body(body)
            .send()
            .await
            .map_err(|error| {
                // The address may hold credentials.
                let error = error.without_url();
                let fault = Fault::of(&error, error.is_connect());
                SendError::new(DropReason::Refused, Retry::Yes, chain(&error)).at(fault)
            })
    }
}

/// The body of an answer, or why it is a failure.
pub(crate) async fn read(mut reply: reqwest::Response) -> Result<Bytes, SendError> {
    let status = reply.status();
    let retry_after = reply
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| retry_after(text, jiff::Timestamp::now()));
    let mut body = Vec::new();
    // A reply that breaks off or is too long leaves the status, which is what counts.
    while let Ok(Some(chunk)) = reply.chunk().await {
        if body.len() + chunk.len() > MAX_REPLY_BYTES {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    if status.is_success() {
        Ok(body.into())
    } else {
        Err(classify_http(status.as_u16(), retry_after, &body))
    }
}

/// The OTLP specification, "OTLP/HTTP response", with its table of retryable codes.
fn classify_http(status: u16, retry_after: Option<Duration>, body: &[u8]) -> SendError {
    // The body of a failure is a google.rpc.Status.
    let said = tonic_types::Status::decode(body)
        .map(|status| status.message)
        .unwrap_or_default();
    let text = format!("HTTP {status}: {said}");
    let text = text.trim_end_matches([':', ' ']);
    let (reason, retry) = match status {
        429 | 503 => (
            DropReason::Unavailable,
            retry_after.map_or(Retry::Yes, Retry::After),
        ),
        502 | 504 => (DropReason::Unavailable, Retry::Yes),
        413 => (DropReason::TooLarge, Retry::No),
        _ => (DropReason::Rejected, Retry::No),
    };
    SendError::new(reason, retry, text).at(Fault::Http(status))
}

/// Reads `Retry-After`: seconds or an HTTP date (RFC 9110, section 10.2.3).
fn retry_after(text: &str, now: jiff::Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(u64::from(seconds)));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO))
}

fn compress(with: OtlpCompression, body: Bytes) -> std::io::Result<Bytes> {
    match with {
        OtlpCompression::None => Ok(body),
        OtlpCompression::Gzip => {
            let level = flate2::Compression::fast();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(&body)?;
            encoder.finish().map(Bytes::from)
        }
        OtlpCompression::Zstd => zstd::bulk::compress(&body, 1).map(Bytes::from),
    }
}

/// The client's side of TLS, by ring; `wanted` says whether it will be used at all.
fn client_tls(tls: &Tls, wanted: bool) -> Result<rustls::ClientConfig, ExportConfigError> {
    let roots_field = "otlp.certificate";
    let mut roots = RootCertStore::empty();
    match &tls.authority {
        _ if !wanted => {}
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem).flatten() {
                roots.add(certificate).map_err(|error| {
                    ExportConfigError::new(roots_field, format!("cannot be trusted: {error}"))
                })?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            let (usable, _) = roots.add_parsable_certificates(found.certs);
            if usable == 0 {
                return Err(ExportConfigError::new(
                    roots_field,
                    "the system has no trusted certificates; name a PEM file of them",
                ));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ExportConfigError::new(roots_field, error.to_string()))?
        .with_root_certificates(roots);
    let Some((certificate, key)) = tls.identity.as_ref().filter(|_| wanted) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = CertificateDer::pem_slice_iter(certificate)
        .flatten()
        .collect();
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| ExportConfigError::new("otlp.client_key", error.to_string()))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| {
        ExportConfigError::new(
            "otlp.client_certificate",
            format!("cannot be used: {error}"),
        )
    })
}

/// An error with what caused it, each said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_answers_follow_the_otlp_specification() {
        let delay = Some(Duration::from_secs(7));
        for (status, reason, retry) in [
            (
                429,
                DropReason::Unavailable,
                Retry::After(Duration::from_secs(7)),
            ),
            (
                503,
                DropReason::Unavailable,
                Retry::After(Duration::from_secs(7)),
            ),
            (502, DropReason::Unavailable, Retry::Yes),
            (504, DropReason::Unavailable, Retry::Yes),
            (400, DropReason::Rejected, Retry::No),
            (401, DropReason::Rejected, Retry::No),
            (404, DropReason::Rejected, Retry::No),
            (500, DropReason::Rejected, Retry::No),
            (302, DropReason::Rejected, Retry::No),
            (413, DropReason::TooLarge, Retry::No),
        ] {
            let error = classify_http(status, delay, b"");
            assert_eq!((error.reason, error.retry), (reason, retry), "{status}");
            assert_eq!(error.text, format!("HTTP {status}"));
        }
        assert_eq!(classify_http(503, None, b"").retry, Retry::Yes);
    }

    #[test]
    fn grpc_answers_follow_the_otlp_specification() {
        use tonic_types::ErrorDetails;
        let with_delay = |code, delay: u64| {
            let info = ErrorDetails::with_retry_info(Some(Duration::from_secs(delay)));
            classify_grpc(&Status::with_error_details(code, "said", info))
        };
        let plain = |code| classify_grpc(&Status::new(code, "said"));
        let after = |s| Retry::After(Duration::from_secs(s));
        assert_eq!(with_delay(Code::ResourceExhausted, 3).retry, after(3));
        assert_eq!(with_delay(Code::Unavailable, 3).retry, after(3));
        assert_eq!(with_delay(Code::InvalidArgument, 3).retry, Retry::No);
        assert_eq!(plain(Code::ResourceExhausted).retry, Retry::No);
        for code in [
            Code::Cancelled,
            Code::DeadlineExceeded,
            Code::Aborted,
            Code::OutOfRange,
            Code::Unavailable,
            Code::DataLoss,
        ] {
            assert_eq!(plain(code).retry, Retry::Yes, "{code:?}");
            assert_eq!(plain(code).reason, DropReason::Unavailable, "{code:?}");
        }
        for code in [
            Code::Unknown,
            Code::InvalidArgument,
            Code::NotFound,
            Code::PermissionDenied,
            Code::Unauthenticated,
            Code::Unimplemented,
            Code::Internal,
        ] {
            assert_eq!(plain(code).retry, Retry::No, "{code:?}");
            assert_eq!(plain(code).reason, DropReason::Rejected, "{code:?}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let read = |text| retry_after(text, now);
        assert_eq!(read(" 120 "), Some(Duration::from_secs(120)));
        assert_eq!(
            read("Thu, 01 Jan 2026 00:00:30 GMT"),
            Some(Duration::from_secs(30))
        );
        assert_eq!(
            read("Wed, 31 Dec 2025 23:59:59 GMT"),
            Some(Duration::ZERO),
            "a date that has passed"
        );
        assert_eq!(read("-1"), None);
        assert_eq!(read("soon"), None);
    }

    #[test]
    fn long_errors_are_cut_between_characters() {
        let error = SendError::new(DropReason::Rejected, Retry::No, "ä".repeat(1000));
        assert_eq!(error.text.chars().count(), MAX_ERROR_CHARS);
    }
}
