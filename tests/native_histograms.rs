//! Protobuf pages, scraped by a real Prometheus: counters, gauges, native histograms.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use support::oracle::missing;
use tachograph::exposition::{Format, Page, Request};
use tachograph::pipeline::metrics::install;
use tachograph::recording::exemplar::{SampledSpan, set_current};
use tachograph::signals::CATALOG;
use tachograph::signals::workflow::{RunStatus, WorkflowRun, WorkflowRunEnd};

const SECOND: Duration = Duration::from_secs(1);

/// Answers every request on a connection of its own with the page.
fn serve(listener: TcpListener, page: Page, formats: std::sync::mpsc::Sender<Format>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { return };
        if answer(stream, &page, &formats).is_err() {
            return;
        }
    }
}

fn answer(
    stream: TcpStream,
    page: &Page,
    formats: &std::sync::mpsc::Sender<Format>,
) -> std::io::Result<()> {
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for line in BufReader::new(&stream).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some((key, value)) = line.split_once(':') {
            headers.insert(key.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let header = |name: &str| headers.get(name).map(String::as_str);
    let request = Request::negotiate(header("accept"), header("accept-encoding"), "").unwrap();
    let _ = formats.send(request.format);
    let rendered = tokio::runtime::Builder::new_current_thread()
        .build()?
        .block_on(page.render(request, 10 * SECOND))
        .unwrap();
    let mut stream = &stream;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {}\r\nContent-Length: {}\r\n",
        rendered.format.content_type(),
        rendered.len
    )?;
    if let Some(encoding) = rendered.encoding.as_header() {
        write!(stream, "Content-Encoding: {encoding}\r\n")?;
    }
    write!(stream, "\r\n")?;
    for chunk in &rendered.chunks {
        stream.write_all(chunk)?;
    }
    Ok(())
}

struct Prometheus {
    child: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    fn start(target: u16) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let config = directory.path().join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\nscrape_configs: [{{job_name: page, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}]\n"
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.path().join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--enable-feature=native-histograms,exemplar-storage")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match child {
            Ok(child) => Some(Self {
                child,
                port,
                _directory: directory,
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                missing("prometheus", "apt-get install prometheus");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn get(&self, path: &str) -> Option<serde_json::Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    /// The value of a query that yields one series.
    fn value(&self, query: &str) -> Option<f64> {
        let query: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let answer = self.get(&format!("/api/v1/query?query={query}"))?;
        answer["data"]["result"][0]["value"][1]
            .as_str()?
            .parse()
            .ok()
    }

    fn wait(&self, query: &str, wanted: impl Fn(f64) -> bool) -> f64 {
        let start = Instant::now();
        loop {
            let value = self.value(query);
            if let Some(value) = value.filter(|value| wanted(*value)) {
                return value;
            }
            assert!(
                start.elapsed() < 60 * SECOND,
                "{query}: {value:?}; {:?}",
                self.get("/api/v1/targets")
            );
            std::thread::sleep(SECOND / 10);
        }
    }
}

#[test]
fn prometheus_reads_native_histograms_beside_everything_else() {
    let resource = Resource::builder_empty()
        .with_attribute(KeyValue::new("service.name", "native"))
        .build();
    let collector = install(resource, CATALOG, true).unwrap();
    let page = Page::builder(collector).start().unwrap();
    // Registered by the host, in another type than any of ours.
    let untimed = prometheus::Histogram::with_opts(
        prometheus::HistogramOpts::new("host_histogram", "h").buckets(vec![1.0, 2.0]),
    )
    .unwrap();
    untimed.observe(1.5);
    page.registry().register(Box::new(untimed)).unwrap();
    set_current(Some(SampledSpan {
        trace_id: 0x42,
        span_id: 0x43,
    }));
    let mut sum = 0.0;
    for i in 1..=1_000 {
        // Gaps between buckets of every size.
        let seconds = f64::from(i * i) / 500.0;
        sum += seconds;
        WorkflowRun {
            workflow_type: "native",
        }
        .record(
            WorkflowRunEnd {
                status: RunStatus::Success,
            },
            Duration::from_secs_f64(seconds),
        );
    }
    set_current(None);
    let active = WorkflowRun {
        workflow_type: "native",
    }
    .start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, formats) = std::sync::mpsc::channel();
    std::thread::spawn(move || serve(listener, page, told));
    let Some(prometheus) = Prometheus::start(port) else {
        return;
    };
    let series = "workflow_duration_seconds{workflow_type=\"native\"}";
    prometheus.wait("up{job=\"page\"}", |up| up == 1.0);
    let count = prometheus.wait(&format!("histogram_count({series})"), |_| true);
    assert_eq!(count, 1_000.0);
    let read = prometheus.wait(&format!("histogram_sum({series})"), |_| true);
    assert!((read - sum).abs() < 1e-6 * sum, "{read} {sum}");
    for (quantile, exact) in [(0.1, 20.0), (0.5, 500.0), (0.9, 1_620.0), (0.99, 1_960.2)] {
        let read = prometheus.wait(&format!("histogram_quantile({quantile}, {series})"), |_| {
            true
        });
        // 160 buckets over these values have a relative width below 13 %.
        assert!(
            (read / exact - 1.0).abs() < 0.13,
            "{quantile}: {read} {exact}"
        );
    }
    let runs = "workflow_executions_total{workflow_type=\"native\",status=\"success\"}";
    assert_eq!(prometheus.wait(runs, |_| true), 1_000.0);
    assert_eq!(
        prometheus.wait("workflow_active{workflow_type=\"native\"}", |_| true),
        1.0
    );
    assert_eq!(prometheus.wait("target_info", |_| true), 1.0);
    assert_eq!(
        prometheus.wait(
            "host_histogram_bucket{le=\"2\"} or host_histogram_bucket{le=\"2.0\"}",
            |_| true
        ),
        1.0
    );
    drop(active);
    prometheus.wait("workflow_active{workflow_type=\"native\"}", |active| {
        active == 0.0
    });
    assert!(formats.try_iter().all(|format| format == Format::Protobuf));
}
