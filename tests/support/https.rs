//! A local server that speaks HTTP/1.1 over TLS, answers as the test says, and keeps what it was
//! asked; and clients that trust it.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::tls::Authority;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// Path and query.
    pub path: String,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub type Body = UnsyncBoxBody<Bytes, io::Error>;
pub type Answer = http::Response<Body>;

/// An answer with its whole body.
pub fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    let body = Full::new(body.into()).map_err(|never: Infallible| match never {});
    with_body(status, headers, body.boxed_unsync())
}

/// An answer whose body is what the test sends; an error breaks the connection off.
pub fn streamed(
    status: u16,
    headers: &[(&str, &str)],
) -> (mpsc::UnboundedSender<io::Result<&'static str>>, Answer) {
    let (send, receive) = mpsc::unbounded_channel::<io::Result<&'static str>>();
    let parts = futures_util::stream::unfold(receive, |mut receive| async {
        Some((receive.recv().await?, receive))
    });
    let frames =
        parts.map(|part| part.map(|text| Frame::data(Bytes::from_static(text.as_bytes()))));
    (
        send,
        with_body(status, headers, StreamBody::new(frames).boxed_unsync()),
    )
}

fn with_body(status: u16, headers: &[(&str, &str)], body: Body) -> Answer {
    let mut answer = http::Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(*name, *value);
    }
    answer.body(body).unwrap()
}

/// A server of these names; it ends when this is dropped.
pub struct HttpsServer {
    pub address: SocketAddr,
    names: Vec<String>,
    authority: Authority,
    asked: Arc<Mutex<Vec<Asked>>>,
    tasks: JoinSet<()>,
}

impl HttpsServer {
    /// Answers requests with what `answer` makes of them; `None`: never.
    pub async fn start(
        names: &[&str],
        answer: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        let authority = Authority::new();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let (certificate, key) = authority.sign_names(names.clone());
        let tls = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let mut tasks = JoinSet::new();
        let (kept, answer) = (Arc::clone(&asked), Arc::new(answer));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, kept) = (acceptor.clone(), Arc::clone(&kept));
                let answer = Arc::clone(&answer);
                connections.spawn(async move {
                    // A client that does not trust the authority goes away.
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(|request| serve(request, &kept, &*answer));
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            address,
            names,
            authority,
            asked,
            tasks,
        }
    }

    /// A client that finds the server under all of its names and trusts it.
    pub fn client(&self) -> reqwest::ClientBuilder {
        self.client_of(Some(&self.authority.pem))
    }

    /// A client that finds it and does not trust it.
    pub fn distrustful(&self) -> reqwest::ClientBuilder {
        self.client_of(None)
    }

    fn client_of(&self, trusted: Option<&str>) -> reqwest::ClientBuilder {
        let mut roots = rustls::RootCertStore::empty();
        let other = Authority::new();
        let pem = trusted.unwrap_or(&other.pem);
        roots
            .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
            .unwrap();
        let tls = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy();
        self.names
            .iter()
            .fold(client, |client, name| client.resolve(name, self.address))
    }

    /// A URL of the server under one of its names.
    pub fn url(&self, name: &str, path: &str) -> String {
        format!("https://{name}:{}{path}", self.address.port())
    }

    /// What it was asked, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }

    /// The last that it was asked.
    pub fn last(&self) -> Asked {
        self.asked.lock().last().unwrap().clone()
    }
}

impl Drop for HttpsServer {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

async fn serve(
    request: http::Request<Incoming>,
    kept: &Mutex<Vec<Asked>>,
    answer: &impl Fn(&Asked) -> Option<Answer>,
) -> Result<Answer, io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let asked = Asked {
        method: head.method.to_string(),
        path: head.uri.to_string(),
        headers: head.headers,
        body,
    };
    kept.lock().push(asked.clone());
    match answer(&asked) {
        Some(answer) => Ok(answer),
        None => pending().await,
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
