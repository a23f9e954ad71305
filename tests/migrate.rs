//! The guides of migration, tried: what they say to type is typed, in order, against the real
//! service, and gives what they say it gives.
//!
//! | block | what is done with it |
//! | --- | --- |
//! | `sh serve` | one command that stays: it is started and answers |
//! | `sh`, `python` | run; it ends well |
//! | `text` | each line is a line of what the block before wrote |
//! | `toml` | saved under the name in its first line; accepted as the service's configuration |
//! | `yaml` | saved likewise; accepted by promtool, and rules by `tachograph lint` |
//! | `rust` | compiled with the documentation |
//! | any of these and a domain, such as `python github` | the same, once that domain has signals |
//! | `console` | for other machines: not run |
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::docs::{self, Block};
use support::oracle::missing;
use support::prometheus::Process;
use tachograph::vocabulary::{builtin, declared};

/// What each system's guide has its reader call, import or run.
#[rustfmt::skip]
const CALLS: &[(&str, &[&str])] = &[
    ("agent-service", &[
        "MetricsMiddleware", "metrics_collector_lifespan", "start_metrics_collector", "stop_metrics_collector",
        "collect_database_pool_metrics", "collect_redis_metrics", "collect_business_metrics",
        "AGENT_INVOCATIONS", "AGENT_EXECUTION_DURATION_SECONDS", "GET /metrics",
    ]),
    ("agent-workflow", &[
        "tools/prometheus_exporter.py", "--port", "--interval", "config/prometheus.yml",
        "config/grafana-dashboard.json", "systemd", "launchd",
    ]),
    ("autobot", &[
        "get_metrics_manager", "record_workflow_execution", "record_workflow_step", "update_active_workflows",
        "record_workflow_approval", "record_github_operation", "record_github_commit", "update_github_rate_limit",
        "record_github_pull_request", "record_github_issue", "update_active_tasks", "record_task_execution",
        "record_task_retry", "update_task_queue_size", "record_operation_duration", "record_request",
        "record_timeout", "update_connection_pool", "record_circuit_breaker_event",
        "update_circuit_breaker_state", "record_search", "record_cache_hit", "record_cache_miss",
        "set_document_count", "record_llm_request", "record_llm_tokens", "record_llm_cost", "record_llm_error",
        "set_llm_rate_limit", "set_llm_provider_availability", "record_websocket_connection",
        "set_websocket_active_connections", "record_websocket_message", "record_websocket_error",
        "record_redis_operation", "set_redis_pool_stats", "set_redis_memory", "record_redis_pubsub",
        "/api/monitoring/metrics", "/api/monitoring/health/metrics",
    ]),
    ("data20", &[
        "track_request_metrics", "track_tool_execution", "record_cache_access",
        "http_requests_total.labels(…).inc()", "http_request_duration_seconds", "GET /metrics",
    ]),
    ("omniclaude", &[
        "initialize_metrics", "record_action_log", "record_event_publish", "record_db_operation",
        "record_cache_operation", "action_log_duration", "action_log_counter", "service_health_status",
        "cache_size_bytes", "ActionLogger.log_tool_call", "log_error", "publish_action_event",
        "PROMETHEUS_ENABLED", "GET /metrics",
    ]),
];

/// How long what collectors read may take to be on the page.
const PATIENCE: Duration = Duration::from_secs(30);

fn free_port() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port().to_string()
}

/// Whether a program is there; its absence fails the test in CI.
fn installed(program: &str, version: &str, package: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(version).stdout(Stdio::null());
    let found = command.stderr(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        missing(program, &format!("apt-get install {package}"));
    }
    found
}

/// A folder in which a guide is followed.
struct Reader {
    folder: tempfile::TempDir,
    /// Ports that the guide names, and those that are taken instead.
    ports: Vec<(&'static str, String)>,
    services: Vec<Process>,
    /// What the last block wrote.
    written: String,
    last: Option<usize>,
}

impl Reader {
    fn new() -> Self {
        let ports = ["8001", "9091", "6379"];
        let folder = tempfile::tempdir().unwrap();
        // It stands where the repository is.
        for part in ["alerts", "dashboards", "examples"] {
            std::os::unix::fs::symlink(docs::root().join(part), folder.path().join(part)).unwrap();
        }
        Self {
            folder,
            ports: ports.map(|port| (port, free_port())).to_vec(),
            services: Vec::new(),
            written: String::new(),
            last: None,
        }
    }

    fn port(&self, named: &str) -> &str {
        &self
            .ports
            .iter()
            .find(|(port, _)| *port == named)
            .unwrap()
            .1
    }

    /// The text with the ports of this run.
    fn here(&self, text: &str) -> String {
        let replace = |text: String, (named, taken): &(&str, String)| {
            text.replace(&format!(":{named}"), &format!(":{taken}"))
                .replace(&format!("--port {named}"), &format!("--port {taken}"))
        };
        self.ports.iter().fold(text.to_owned(), replace)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars() {
            if name.starts_with("OTEL_") || name.starts_with("TACHOGRAPH_") {
                command.env_remove(name);
            }
        }
        let mut path = vec![PathBuf::from(env!("CARGO_BIN_EXE_tachograph"))];
        path[0].pop();
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
        let at = format!("127.0.0.1:{}", self.port("8001"));
        command
            .current_dir(self.folder.path())
            .env("PATH", std::env::join_paths(path).unwrap())
            .env("PYTHONPATH", docs::root().join("examples/python"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("TACHOGRAPH_URL", format!("http://{at}"))
            .env("TACHOGRAPH_LISTEN", at);
        command
    }

    fn follow(&mut self, blocks: &[Block]) {
        let domains: Vec<_> = declared().iter().map(|signal| signal.domain).collect();
        for (index, block) in blocks.iter().enumerate() {
            let (kind, of) = block.kind.split_once(' ').unwrap_or((&block.kind, ""));
            if of == "serve" {
                self.serve(block);
                continue;
            }
            if !of.is_empty() && !domains.contains(&of) {
                println!("{}: waits for the signals of {of}", block.place);
                continue;
            }
            match kind {
                "sh" | "python" => {
                    self.written = self.run(block);
                    self.last = Some(index);
                }
                "text" => self.compare(block, &blocks[self.last.unwrap()]),
                "toml" => self.configuration(block),
                "yaml" => self.rules_or_scrape(block),
                "rust" | "console" => {}
                other => panic!("{}: `{other}` is no kind of block", block.place),
            }
        }
    }

    /// Starts a command that stays, and waits until it listens.
    fn serve(&mut self, block: &Block) {
        let text = self.here(&format!("exec {}", block.text));
        let mut child = self
            .command("sh")
            .args(["-eu", "-c", &text])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let listens = lines.by_ref().map_while(Result::ok).any(|line| {
            said += &line;
            line.contains("\"listening\"")
        });
        self.services.push(Process(child));
        assert!(listens, "{}: {said}", block.place);
        std::thread::spawn(move || lines.count());
    }

    fn output(&self, block: &Block) -> Output {
        let text = self.here(&block.text);
        let mut command = if block.kind.starts_with("sh") {
            let mut command = self.command("sh");
            command.args(["-eu", "-c", &text]);
            command
        } else {
            let mut command = self.command("python3");
            command.args(["-c", &text]);
            command
        };
        command.output().unwrap()
    }

    /// What a block writes when it ends well.
    fn run(&self, block: &Block) -> String {
        let output = self.output(block);
        let said = String::from_utf8_lossy(&output.stderr);
        // `grep` may find nothing yet; what it has to find is held against the guide.
        let asks = block.text.starts_with("curl") && said.is_empty();
        assert!(output.status.success() || asks, "{}: {said}", block.place);
        assert!(
            !said.contains("tachograph: "),
            "{}: a record was refused or lost: {said}",
            block.place
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Holds what was written against the guide; what a collector still has to read is asked
    /// for again.
    fn compare(&mut self, expected: &Block, block: &Block) {
        let started = Instant::now();
        loop {
            let lines: Vec<&str> = self.written.lines().map(str::trim_end).collect();
            let wanted = self.here(&expected.text);
            let lacks = wanted
                .lines()
                .find(|line| !line.trim().is_empty() && *line != "…" && !lines.contains(line));
            let Some(lacks) = lacks else { return };
            let again = block.text.starts_with("curl") && started.elapsed() < PATIENCE;
            assert!(
                again,
                "{}: not written: {lacks}\nwritten:\n{}",
                expected.place, self.written
            );
            std::thread::sleep(Duration::from_millis(200));
            self.written = self.run(block);
        }
    }

    /// Saves a file under the name in its first line.
    fn save(&self, block: &Block) -> String {
        let first = block.text.lines().next().unwrap_or_default();
        let name = first.strip_prefix("# ").unwrap_or_else(|| {
            panic!(
                "{}: its first line does not say which file it is",
                block.place
            )
        });
        std::fs::write(self.folder.path().join(name), self.here(&block.text)).unwrap();
        name.to_owned()
    }

    fn accepted(&self, place: &str, command: &mut Command) {
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{place}: {said}{printed}");
    }

    fn configuration(&self, block: &Block) {
        let name = self.save(block);
        let mut command = self.command(env!("CARGO_BIN_EXE_tachograph"));
        self.accepted(
            &block.place,
            command.args(["serve", "--print-config", "--config", &name]),
        );
    }

    /// Rules, or a scrape's configuration.
    fn rules_or_scrape(&self, block: &Block) {
        let name = self.save(block);
        let rules = block.text.contains("\ngroups:");
        if rules {
            let vocabulary = block.place.split(['/', '.']).nth(2).unwrap();
            let mut command = self.command(env!("CARGO_BIN_EXE_tachograph"));
            let arguments = ["lint", "--strict", "--vocabulary", vocabulary, &name];
            self.accepted(&block.place, command.args(arguments));
        }
        if installed("promtool", "--version", "prometheus") {
            let what = if rules { "rules" } else { "config" };
            let mut command = self.command("promtool");
            self.accepted(&block.place, command.args(["check", what, &name]));
        }
    }

    /// The page with our own names says that every record was taken.
    fn nothing_was_refused(&self) {
        let url = format!("http://127.0.0.1:{}/metrics", self.port("8001"));
        let page = reqwest::blocking::get(url).unwrap().text().unwrap();
        for line in page.lines() {
            let refused = line.starts_with("tachograph_records_total") && line.contains("rejected");
            assert!(!refused || line.ends_with(" 0"), "{line}");
        }
    }
}

/// Follows a guide from its first block to its last.
fn follow(guide: &str, prepare: impl FnOnce(&mut Reader)) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    if !installed("python3", "--version", "python3") || !installed("curl", "--version", "curl") {
        return;
    }
    let blocks = docs::blocks(&format!("docs/migrate/{guide}.md"));
    let count = |kind: &str| blocks.iter().filter(|block| block.kind == kind).count();
    assert!(count("sh serve") > 0 && count("text") > 0, "{guide}");
    let mut reader = Reader::new();
    prepare(&mut reader);
    reader.follow(&blocks);
    let records = blocks
        .iter()
        .any(|block| block.text.starts_with("tachograph serve"));
    if records {
        reader.nothing_was_refused();
    }
}

/// The backend's own database, as the collector of the business expects it.
fn backend_database(reader: &mut Reader) {
    let text = "
import sqlite3
c = sqlite3.connect('app.db')
c.executescript('''
CREATE TABLE users(id INTEGER PRIMARY KEY);
CREATE TABLE api_keys(id INTEGER PRIMARY KEY, is_active BOOLEAN, expires_at TEXT);
CREATE TABLE sessions(id INTEGER PRIMARY KEY, expires_at TEXT);
INSERT INTO users VALUES (1), (2), (3);
INSERT INTO api_keys VALUES (1, 1, NULL), (2, 0, NULL);
INSERT INTO sessions VALUES (1, NULL);
''')";
    let mut command = reader.command("python3");
    assert!(command.args(["-c", text]).status().unwrap().success());
}

#[test]
fn the_steps_that_all_have_in_common() {
    follow("README", |_| ());
}

#[test]
fn agent_service() {
    follow("agent-service", backend_database);
}

#[test]
fn agent_workflow() {
    use support::workflow_db::{NEWER, OLD, create, write};
    follow("agent-workflow", |reader| {
        let folder = reader.folder.path().join("logs");
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("agent_workflow.db");
        create(&path, &format!("{OLD}{NEWER}"), "WAL");
        write(
            &path,
            "
c.execute('INSERT INTO sessions(session_id, start_time, status) VALUES (?,?,?)', ('s1', now(-100), 'active'))
run(); run(); run(agent='tester', phase='test', status='failed'); run(status='started')
",
        );
    });
}

#[test]
fn autobot() {
    let Some(redis) = support::redis::Server::start(&[]) else {
        return;
    };
    redis.ask("SET a-key a-value");
    follow("autobot", |reader| {
        let mut ports = reader.ports.iter_mut();
        let port = ports.find(|(named, _)| *named == "6379").unwrap();
        port.1 = redis.port().to_string();
    });
}

#[test]
fn data20() {
    follow("data20", backend_database);
}

#[test]
fn omniclaude() {
    follow("omniclaude", |_| ());
}

/// A program that reports, with the time it took and what it said.
fn reporter(reader: &Reader, text: &str) -> (Output, Duration) {
    let started = Instant::now();
    let mut command = reader.command("python3");
    (
        command.args(["-c", text]).output().unwrap(),
        started.elapsed(),
    )
}

#[test]
fn reporting_neither_waits_nor_raises_and_tells_what_is_lost() {
    if !installed("python3", "--version", "python3") {
        return;
    }
    let reader = Reader::new();
    let (output, took) = reporter(
        &reader,
        r#"
import tachograph_report as tachograph
tachograph.PATIENCE = 0.3
tachograph.report("task.queue", {"priority": "high", "value": float("nan")})
tachograph.report("task.queue", {"priority": object(), "value": 1})
for _ in range(tachograph.ROOM + tachograph.BATCH + 1):
    tachograph.report("task.queue", {"priority": "high", "value": 1})
print(tachograph.lost)
"#,
    );
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(took < PATIENCE, "{took:?}");
    // Two that are no records, and what found no room beside those that were on their way.
    let lost: u32 = String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!((3..=503).contains(&lost), "{lost}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(
        lines[0].starts_with("tachograph: records are lost: task.queue: "),
        "{said}"
    );
}

#[test]
fn what_is_reported_before_the_service_is_there_is_counted_once() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    if !installed("python3", "--version", "python3") {
        return;
    }
    let mut reader = Reader::new();
    let text = r#"
import sys, tachograph_report as tachograph
tachograph.PATIENCE = 30
tachograph.report("task.retry", {"task_type": "index", "reason": "timeout", "value": 1})
print("reported", flush=True)
"#;
    let mut command = reader.command("python3");
    let mut early = command
        .args(["-c", text])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(early.stdout.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    assert_eq!(said, "reported\n");
    reader.serve(&Block {
        place: "here".to_owned(),
        kind: "sh serve".to_owned(),
        text: "tachograph serve".to_owned(),
    });
    assert!(early.wait().unwrap().success());
    let url = format!("http://127.0.0.1:{}/metrics", reader.port("8001"));
    let page = reqwest::blocking::get(url).unwrap().text().unwrap();
    let line = r#"task_retries_total{reason="timeout",task_type="index"} 1"#;
    assert!(page.lines().any(|found| found == line), "{page}");
}

#[test]
fn each_guide_names_every_family_of_its_system() {
    let signals = declared();
    for name in builtin::NAMES {
        let page = docs::page(&format!("docs/migrate/{name}.md"));
        let vocabulary = builtin::load(name, &signals).unwrap().unwrap();
        for family in vocabulary.families {
            let named = format!("`{}`", family.name);
            assert!(page.contains(&named), "{name}: {} is not told", family.name);
        }
    }
}

#[test]
fn each_guide_tells_what_replaces_every_call() {
    for (name, calls) in CALLS {
        let page = docs::page(&format!("docs/migrate/{name}.md"));
        let rows: Vec<&str> = page.lines().filter(|l| l.starts_with("| ")).collect();
        for call in *calls {
            let told = rows.iter().any(|row| row.contains(call));
            let told = told
                || page.contains(&format!("`{call}`"))
                || page.contains(&format!("import {call}`"));
            assert!(told, "{name}: {call} is not told");
        }
    }
}

#[test]
fn links_lead_to_what_is_there() {
    let mut pages = docs::pages("docs");
    pages.push("README.md".to_owned());
    for name in pages {
        for link in docs::links(&name) {
            assert_eq!(docs::broken(&name, &link), None);
        }
    }
}
