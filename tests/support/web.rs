//! Real actix-web servers on free ports, raw TCP clients, and readings of the metrics.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::OnceLock;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use actix_web::web::ServiceConfig;
use actix_web::{App, HttpServer};
use opentelemetry_sdk::Resource;
use tachograph::catalog::Instrument;
use tachograph::instrumentation::actix::Middleware;
use tachograph::pipeline::metrics::{Collector, install};

/// How long a condition may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until the condition holds; fails the test after [`PATIENCE`].
pub fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// An application behind the middleware, on threads of its own.
pub struct Server {
    pub address: SocketAddr,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(
        middleware: Middleware,
        routes: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (send, receive) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let server = HttpServer::new(move || {
                    App::new()
                        .configure(routes.clone())
                        .wrap(middleware.clone())
                })
                .workers(1)
                .disable_signals()
                .listen(listener)
                .unwrap()
                .run();
                send.send(server.handle()).unwrap();
                server.await.unwrap();
            });
        });
        Self {
            address,
            handle: receive.recv().unwrap(),
            thread: Some(thread),
        }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Sends the text on a connection of its own.
    pub fn send(&self, text: &str) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    }

    /// One request on a connection of its own: status and everything after the head.
    pub fn request(&self, line: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let headers: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let mut stream = self.send(&format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n{body}"
        ));
        let mut answer = Vec::new();
        // A panicking handler closes the connection without an answer.
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.get(9..12).and_then(|digits| digits.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status.unwrap_or(0), body.to_owned())
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        self.request(&format!("GET {path}"), &[], "")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(self.handle.stop(false));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Closes a connection with a reset instead of an orderly end.
pub fn reset(stream: TcpStream) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        stream.set_nonblocking(true).unwrap();
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        stream.set_zero_linger().unwrap();
    });
}

/// The metrics of this process.
pub fn collector() -> &'static Collector {
    static PIPELINE: OnceLock<Collector> = OnceLock::new();
    PIPELINE.get_or_init(|| {
        install(
            Resource::builder_empty().build(),
            tachograph::signals::CATALOG,
            false,
        )
        .unwrap()
    })
}

/// A series: labels, sum, and count of a histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub labels: Vec<(String, String)>,
    pub sum: f64,
    pub count: u64,
}

impl Series {
    pub fn label(&self, key: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }
}

/// The series of a metric that carry all these labels.
pub fn series(metric: &str, labels: &[(&str, &str)]) -> Vec<Series> {
    let points = super::metrics::points_of(collector().collect(), metric);
    let (_, declared) = tachograph::recording::find_metric(metric).unwrap();
    let histogram = declared.metric().instrument == Instrument::Histogram;
    let found = points.all().iter().map(|(labels, value, sum)| Series {
        labels: labels.clone(),
        sum: if histogram { *sum } else { *value },
        count: if histogram { *value as u64 } else { 0 },
    });
    found
        .filter(|series| labels.iter().all(|(k, v)| series.label(k) == Some(*v)))
        .collect()
}

/// Sum of all series of a counter or gauge with these labels.
pub fn total(metric: &str, labels: &[(&str, &str)]) -> f64 {
    series(metric, labels).iter().map(|s| s.sum).sum()
}

/// Observations in all series of a histogram with these labels.
pub fn count(metric: &str, labels: &[(&str, &str)]) -> u64 {
    series(metric, labels).iter().map(|s| s.count).sum()
}

/// Requests under way.
pub fn under_way() -> f64 {
    total("http.server.active_requests", &[])
}
