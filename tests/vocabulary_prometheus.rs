//! A real Prometheus that reads a process under other systems' names: the queries of their
//! guides return data.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::traffic::record;
use support::web::Server;
use tachograph::vocabulary::builtin;
use tachograph::{Telemetry, TelemetryConfig};

const PATIENCE: Duration = Duration::from_secs(60);

/// Ended with the test.
struct Prometheus {
    process: Child,
    url: String,
    client: reqwest::blocking::Client,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Prometheus {
    /// Reads the page of each vocabulary once a second; `None` if it is not installed.
    fn start(directory: &Path, target: &str) -> Option<Self> {
        let mut config =
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n".to_owned();
        for name in builtin::NAMES {
            config += &format!(
                "- job_name: {name}\n  metrics_path: /api/monitoring/metrics\n  \
                 params: {{vocabulary: [{name}]}}\n  \
                 static_configs: [{{targets: ['{target}']}}]\n"
            );
        }
        let file = directory.join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = port.local_addr().unwrap();
        drop(port);
        let spawned = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=error")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = match spawned {
            Ok(process) => process,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => panic!("prometheus: {error}"),
        };
        let prometheus = Self {
            process,
            url: format!("http://{address}/api/v1/query"),
            client: reqwest::blocking::Client::new(),
        };
        let ready = format!("http://{address}/-/ready");
        until("Prometheus answers", || {
            let answer = prometheus.client.get(&ready).send();
            answer.is_ok_and(|answer| answer.status().is_success())
        });
        Some(prometheus)
    }

    /// The values of a query.
    fn values(&self, query: &str) -> Vec<f64> {
        let mut url = reqwest::Url::parse(&self.url).unwrap();
        url.query_pairs_mut().append_pair("query", query);
        let text = self.client.get(url).send().unwrap().text().unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let result = answer["data"]["result"].as_array().unwrap().iter();
        let value = |one: &Value| one["value"][1].as_str().unwrap().parse().unwrap();
        result.map(value).collect()
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Queries by vocabulary.
fn queries() -> Vec<(&'static str, &'static str)> {
    let mut vocabulary = "";
    let mut found = Vec::new();
    for line in include_str!("vocabularies/queries.txt").lines() {
        match line.strip_prefix("  ") {
            Some(query) => found.push((vocabulary, query)),
            None if line.is_empty() || line.starts_with('#') => {}
            None => vocabulary = line,
        }
    }
    found
}

#[test]
fn the_guides_queries_return_data() {
    #[cfg(feature = "otlp")]
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = TelemetryConfig::default();
    config.logs.filter = "off".to_owned();
    config.resource.service_version = Some("1.2.3".to_owned());
    let attributes = &mut config.resource.attributes;
    attributes.insert("agent_registry_path".to_owned(), "~/agents".to_owned());
    let telemetry = Telemetry::init(config).unwrap();
    let routes = telemetry.routes();
    let server = Server::start(telemetry.middleware(), move |config| {
        config.service(routes.clone());
    });
    record();

    let (status, body) = server.get("/api/monitoring/metrics?vocabulary=autobit");
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("did you mean `autobot`?"), "{body}");

    let directory = tempfile::tempdir().unwrap();
    let Some(prometheus) = Prometheus::start(directory.path(), &server.address.to_string()) else {
        support::oracle::missing("Prometheus", "apt-get install prometheus");
        return;
    };
    let queries = queries();
    for name in builtin::NAMES {
        assert!(queries.iter().any(|(of, _)| *of == name), "{name}");
    }
    let up = || {
        prometheus
            .values("up")
            .iter()
            .filter(|up| **up == 1.0)
            .count()
    };
    until("every vocabulary is scraped", || {
        up() == builtin::NAMES.len()
    });
    // Rates need what happens between two scrapes.
    let mut last = Instant::now();
    let mut silent = queries;
    let start = Instant::now();
    while !silent.is_empty() && start.elapsed() < PATIENCE {
        if last.elapsed() > Duration::from_secs(1) {
            record();
            last = Instant::now();
        }
        silent.retain(|(vocabulary, query)| {
            let values = prometheus.values(query);
            assert!(
                values.iter().all(|value| !value.is_infinite()),
                "{vocabulary}: {query}"
            );
            !values.iter().any(|value| value.is_finite())
        });
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(silent.is_empty(), "no data: {silent:#?}");
}
