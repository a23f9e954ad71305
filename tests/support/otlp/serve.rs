//! The two servers of the receiver.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::logs::v1 as logs;
use opentelemetry_proto::tonic::collector::metrics::v1 as metrics;
use opentelemetry_proto::tonic::collector::trace::v1 as traces;
use prost::Message as _;
use tonic::codec::CompressionEncoding;
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{Answer, Kind, Request, Shared, Tls, Transport};

/// One listening server; its runtime is its lifetime.
pub(super) struct Server {
    pub(super) address: SocketAddr,
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
            .thread_name(super::THREAD_NAME)
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
    pub(super) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime must not be dropped from within another one.
            let thread =
                std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(2)));
            let _ = thread.join();
        }
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
            if let Answer::Late(delay) = answer {
                tokio::time::sleep(delay).await;
            }
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
            Answer::Ok | Answer::Slow(_) | Answer::Late(_) | Answer::Garbage => {
                Ok(tonic::Response::new(reply(None)))
            }
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

pub(super) fn serve_grpc(address: SocketAddr, shared: Arc<Shared>, tls: Option<Tls>) -> Server {
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
        if let Answer::Late(delay) = answer {
            tokio::time::sleep(delay).await;
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
        Answer::Ok | Answer::Slow(_) | Answer::Late(_) => success(None),
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

pub(super) fn serve_http(address: SocketAddr, shared: Arc<Shared>, tls: Option<Tls>) -> Server {
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
