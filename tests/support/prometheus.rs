//! A real Prometheus that scrapes a process of the test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use serde_json::Value;

use super::oracle::missing;

pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A process that is ended with the test.
pub struct Process(pub Child);

impl Process {
    /// Asks it to stop, and waits.
    pub fn stop(&mut self) -> ExitStatus {
        let id = self.0.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().unwrap();
        until("the process ends", || self.0.try_wait().unwrap().is_some());
        self.0.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The folder of a current Prometheus and its promtool, built from the Go module.
pub fn current() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/build-prometheus");
    // target/tmp
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let built = Command::new(script)
        .env("CARGO_TARGET_DIR", target)
        .output()
        .unwrap();
    if built.status.success() {
        let folder = String::from_utf8(built.stdout).unwrap();
        return Some(PathBuf::from(folder.trim()));
    }
    missing("a current Prometheus", "Go 1.26, and its module proxy");
    eprintln!("{}", String::from_utf8_lossy(&built.stderr));
    None
}

pub struct Prometheus {
    _process: Process,
    url: String,
    client: Client,
}

impl Prometheus {
    /// Scrapes `target` once a second; `None` if Prometheus is not installed.
    pub fn start(directory: &Path, job: &str, target: &str) -> Option<Self> {
        Self::start_with(directory, job, target, "")
    }

    /// The same with more settings, such as rules, which it evaluates once a second.
    pub fn start_with(directory: &Path, job: &str, target: &str, more: &str) -> Option<Self> {
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
             scrape_configs:\n\
             - job_name: {job}\n  metrics_path: /api/monitoring/metrics\n\
             \x20 static_configs: [{{targets: ['{target}']}}]\n{more}"
        );
        Self::run(Path::new("prometheus"), directory, &config, &[])
    }

    /// Starts a Prometheus on this configuration, with further flags.
    pub fn run(program: &Path, directory: &Path, config: &str, flags: &[&str]) -> Option<Self> {
        let file = directory.join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = port.local_addr().unwrap();
        drop(port);
        let spawned = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .args(["--enable-feature=exemplar-storage", "--log.level=error"])
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                missing("Prometheus", "apt-get install prometheus");
                return None;
            }
            Err(error) => panic!("prometheus: {error}"),
        };
        let prometheus = Self {
            _process: Process(child),
            url: format!("http://{address}/api/v1"),
            client: Client::new(),
        };
        until("Prometheus answers", || {
            let ready = prometheus
                .client
                .get(format!("http://{address}/-/ready"))
                .send();
            ready.is_ok_and(|answer| answer.status().is_success())
        });
        Some(prometheus)
    }

    pub fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let mut url = reqwest::Url::parse(&format!("{}/{path}", self.url)).unwrap();
        url.query_pairs_mut().extend_pairs(parameters);
        let text = self.client.get(url).send().unwrap().text().unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["status"], "success", "{answer}");
        answer["data"].clone()
    }

    /// The one value of a query; `None` when nothing matches.
    pub fn value(&self, query: &str) -> Option<f64> {
        let data = self.ask("query", &[("query", query)]);
        let result = data["result"].as_array().unwrap();
        assert!(result.len() <= 1, "{query}: {data}");
        let value = result.first()?["value"][1].as_str()?;
        value.parse().ok()
    }

    /// Waits for two scrapes that begin from now on.
    pub fn two_scrapes(&self) {
        let last = || self.value("min(timestamp(up))").unwrap_or(0.0);
        let now = last();
        until("two more scrapes", || last() >= now + 2.0);
    }
}
