//! The real binary: what it prints, what it refuses, and that it ends when told to.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_tachograph");
const PATIENCE: Duration = Duration::from_secs(20);

/// The command, in a directory of its own and without variables that would configure it.
fn command(dir: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.current_dir(dir).env_clear();
    command.stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(dir: &Path, arguments: &[&str]) -> Output {
    command(dir).args(arguments).output().unwrap()
}

/// A running service; killed when dropped.
struct Service {
    process: Child,
    address: String,
    /// Address of the monitoring routes.
    monitoring: String,
    lines: Receiver<String>,
    dir: TempDir,
}

impl Service {
    fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().unwrap();
        let mut process = command(dir.path())
            .arg("serve")
            .args(arguments)
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = process.stderr.take().unwrap();
        let (line, lines) = channel();
        std::thread::spawn(move || {
            for read in BufReader::new(stderr).lines().map_while(Result::ok) {
                if line.send(read).is_err() {
                    return;
                }
            }
        });
        let mut service = Self {
            process,
            address: String::new(),
            monitoring: String::new(),
            lines,
            dir,
        };
        let line: Value = serde_json::from_str(&service.line("listening")).unwrap();
        let address = |field: &str| line["fields"][field].as_str().unwrap().to_owned();
        (service.address, service.monitoring) = (address("listen"), address("monitoring"));
        service
    }

    /// On a port that the system chooses.
    fn plain() -> Self {
        Self::start(&["--listen", "127.0.0.1:0"], &[])
    }

    fn line(&self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("no line with `{part}`"));
            if line.contains(part) {
                return line;
            }
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        let kill = Command::new("kill")
            .args(["-s", name, &id])
            .status()
            .unwrap();
        assert!(kill.success());
    }

    /// The exit status, and how long it took.
    fn ends(&mut self) -> (Option<i32>, Duration) {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.process.try_wait().unwrap() {
                return (status.code(), start.elapsed());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the service does not end");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn client() -> reqwest::blocking::Client {
    // Fails when another test was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::blocking::Client::new()
}

fn get(url: &str) -> (u16, Value) {
    let response = client().get(url).send().unwrap();
    (response.status().as_u16(), response.json().unwrap())
}

#[test]
fn print_config_shows_values_sources_and_no_secrets() {
    let dir = TempDir::new().unwrap();
    std::fs::write(
        dir.path().join("t.toml"),
        "listen = \"127.0.0.1:1\"\n[limits]\nworkers = 3\n",
    )
    .unwrap();
    let output = command(dir.path())
        .args([
            "serve",
            "--config",
            "t.toml",
            "--listen",
            "127.0.0.1:2",
            "--print-config",
        ])
        .env("TACHOGRAPH_AUTH__TOKENS", "hush-hush-hush-hush")
        .env("OTEL_SERVICE_NAME", "shop")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    for line in [
        "listen = \"127.0.0.1:2\"  # --listen",
        "workers = 3  # t.toml:3",
        "tokens = [\"***\"]  # TACHOGRAPH_AUTH__TOKENS",
        "service_name = \"shop\"  # OTEL_SERVICE_NAME",
        "database = \"sqlite://tachograph.db\"  # default",
    ] {
        assert!(
            printed.lines().any(|known| known == line),
            "{line} in\n{printed}"
        );
    }
    assert!(!printed.contains("hush"));
    assert!(!dir.path().join("tachograph.db").exists());
}

#[test]
fn a_refused_configuration_ends_with_2_and_leaves_nothing_behind() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("bad.toml"), "\nlisten_on = 1\n").unwrap();
    for (arguments, parts) in [
        (
            vec!["serve", "--listen", "0.0.0.0:0"],
            vec!["--listen", "beyond loopback", "TACHOGRAPH_AUTH__TOKENS"],
        ),
        (
            vec!["serve", "--config", "bad.toml"],
            vec!["bad.toml:2", "`listen_on`", "did you mean `listen`?"],
        ),
        (
            vec!["serve", "--config", "none.toml"],
            vec!["none.toml", "cannot be read"],
        ),
        (
            vec!["serve", "--database", "mysql://u:hush@h/d"],
            vec!["--database", "sqlite://<file>"],
        ),
        (
            vec!["record", "workflow.run", "workflow_type"],
            vec!["KEY=VALUE"],
        ),
        (
            vec!["record", "workflow.run", "--duration=-1"],
            vec!["--duration"],
        ),
        (vec!["demo", "--duration", "soon"], vec!["ms, s, m, h"]),
        (
            vec!["demo", "--url", "8001"],
            vec!["--url", "http://127.0.0.1:8001"],
        ),
    ] {
        let output = run(dir.path(), &arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        for part in parts {
            assert!(said.contains(part), "{arguments:?}\n{said}\nlacks {part}");
        }
        assert!(!said.contains("hush"), "{said}");
    }
    assert!(!dir.path().join("tachograph.db").exists());
}

#[test]
fn a_port_in_use_and_a_service_that_is_away_are_said_plainly() {
    let dir = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(dir.path(), &["serve", "--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains(&format!("{address} is in use")), "{said}");
    assert!(said.contains("--listen"), "{said}");
    assert!(!dir.path().join("tachograph.db").exists());

    drop(taken);
    let url = format!("http://{address}");
    for arguments in [
        ["record", "workflow.run", "--url", &url],
        ["demo", "--duration=1s", "--url", &url],
    ] {
        let output = run(dir.path(), &arguments);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(said.contains("no service answers there"), "{said}");
        assert!(said.contains("tachograph serve"), "{said}");
    }
}

#[test]
fn routes_answer_json_with_security_headers() {
    let service = Service::plain();
    let client = client();
    for (method, path, status) in [
        ("GET", "/", 200),
        ("GET", "/health/live", 200),
        ("GET", "/health/ready", 200),
        ("GET", "/nothing", 404),
        ("DELETE", "/health/live", 405),
        ("GET", "/api/v1/records", 405),
    ] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let response = client.request(method, service.url(path)).send().unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
        let headers = response.headers();
        assert_eq!(headers["content-type"], "application/json", "{path}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["cache-control"], "no-store", "{path}");
        let body: Value = response.json().unwrap();
        if status >= 400 {
            assert_eq!(body["error"]["status"], status, "{path}: {body}");
            assert!(body["error"]["message"].is_string(), "{path}: {body}");
        }
    }
    let (_, index) = get(&service.url("/"));
    assert!(index["endpoints"]["POST /api/v1/records"].is_string());
    let (_, ready) = get(&service.url("/health/ready"));
    assert_eq!(ready["status"], "ready");
    assert_eq!(ready["components"]["ledger"]["status"], "up");
    assert!(service.dir.path().join("tachograph.db").exists());
}

#[test]
fn vocabularies_are_served_where_asked_for() {
    let service = Service::start(&["--listen", "127.0.0.1:0", "--vocabulary", "autobot"], &[]);
    let page = |query: &str| {
        let url = service.url(&format!("/api/monitoring/metrics{query}"));
        let response = client().get(url).send().unwrap();
        (response.status().as_u16(), response.text().unwrap())
    };
    let record = "{\"signal\":\"task.run\",\"duration\":1,\
                  \"fields\":{\"task_type\":\"x\",\"status\":\"timeout\"}}";
    let sent = client().post(service.url("/api/v1/records")).body(record);
    assert!(sent.send().unwrap().status().is_success());
    let (status, text) = page("");
    assert_eq!(status, 200);
    let theirs = "\nautobot_tasks_executed_total{status=\"failed\",task_type=\"x\"} 1\n";
    let ours = "\ntask_executions_total{status=\"timeout\",task_type=\"x\"} 1\n";
    assert!(text.contains(theirs) && text.contains(ours), "{text}");
    let (status, text) = page("?vocabulary=data20");
    assert_eq!(status, 200);
    assert!(text.starts_with("# HELP app_info "), "{text}");
    assert!(!text.contains("autobot_"), "{text}");
    assert_eq!(page("?vocabulary=nobody").0, 400);

    let dir = TempDir::new().unwrap();
    let both = [
        "serve",
        "--vocabulary",
        "data20",
        "--vocabulary",
        "agent-service",
    ];
    let output = run(dir.path(), &both);
    assert_eq!(output.status.code(), Some(2));
    let said = self::text(&output.stderr);
    assert!(said.contains("cannot be served at once"), "{said}");
}

#[test]
fn either_signal_ends_the_service_cleanly() {
    for name in ["TERM", "INT"] {
        let mut service = Service::plain();
        service.signal(name);
        let (code, took) = service.ends();
        assert_eq!(code, Some(0), "{name}");
        assert!(took < Duration::from_secs(5), "{name}: {took:?}");
    }
}

#[test]
fn a_backend_that_is_away_delays_neither_start_nor_end() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let backend = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*backend)];
    let mut service = Service::start(&["--listen", "127.0.0.1:0"], &variables);
    let (status, ready) = get(&service.url("/health/ready"));
    assert_eq!(status, 200);
    let exporters = &ready["components"]["exporters"];
    assert_eq!(
        exporters["traces"]["endpoint"],
        format!("{backend}/v1/traces")
    );
    service.signal("TERM");
    let (code, took) = service.ends();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[test]
fn switched_off_telemetry_leaves_the_intake_on() {
    let dir = TempDir::new().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let mut process = command(dir.path())
        .args(["serve", "--listen", &address])
        .env("OTEL_SDK_DISABLED", "true")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let url = format!("http://{address}");
    let record = ["record", "tool.call", "--url", &url, "--duration", "1"];
    let fields = ["gen_ai.tool.name=bash", "status=success"];
    let deadline = Instant::now() + PATIENCE;
    let accepted = loop {
        let output = run(dir.path(), &[&record[..], &fields[..]].concat());
        // It does not say when it listens: its log is switched off too.
        if output.status.success() || Instant::now() > deadline {
            break output;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let (_, ready) = get(&format!("{url}/health/ready"));
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(accepted.status.success(), "{}", text(&accepted.stderr));
    assert_eq!(ready["components"]["telemetry"]["status"], "disabled");
}

/// A connection that has sent half of a request.
fn half_a_request(service: &Service) -> std::net::TcpStream {
    use std::io::Write as _;
    let mut stream = std::net::TcpStream::connect(&service.address).unwrap();
    stream
        .write_all(
            b"POST /api/v1/records HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
              content-length: 100\r\n\r\n{\"signal\"",
        )
        .unwrap();
    stream
}

#[test]
fn a_second_signal_ends_at_once() {
    let variables = [("TACHOGRAPH_LIMITS__SHUTDOWN_TIMEOUT", "30s")];
    let mut service = Service::start(&["--listen", "127.0.0.1:0"], &variables);
    let _open = half_a_request(&service);
    let (status, _) = get(&service.url("/health/live"));
    assert_eq!(status, 200);
    service.signal("TERM");
    service.line("stopping");
    service.signal("TERM");
    let (code, took) = service.ends();
    assert_eq!(code, Some(1));
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_request_that_hangs_does_not_hold_the_end_up() {
    let variables = [("TACHOGRAPH_LIMITS__SHUTDOWN_TIMEOUT", "2s")];
    let mut service = Service::start(&["--listen", "127.0.0.1:0"], &variables);
    let _open = half_a_request(&service);
    let (status, _) = get(&service.url("/health/live"));
    assert_eq!(status, 200);
    service.signal("TERM");
    let (_, took) = service.ends();
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[test]
fn a_body_that_trickles_in_is_answered_408() {
    let variables = [("TACHOGRAPH_LIMITS__REQUEST_TIMEOUT", "300ms")];
    let service = Service::start(&["--listen", "127.0.0.1:0"], &variables);
    let mut stream = half_a_request(&service);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = [0; 512];
    let mut read = 0;
    while !answer[..read].windows(4).any(|end| end == b"\r\n\r\n") {
        read += stream.read(&mut answer[read..]).unwrap();
    }
    let answer = String::from_utf8_lossy(&answer[..read]).to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 408"), "{answer}");
    assert!(
        answer.contains("x-content-type-options: nosniff"),
        "{answer}"
    );
}

#[test]
fn a_head_that_trickles_in_is_cut_off() {
    use std::io::Write as _;
    let variables = [("TACHOGRAPH_LIMITS__REQUEST_HEAD_TIMEOUT", "300ms")];
    let service = Service::start(&["--listen", "127.0.0.1:0"], &variables);
    let mut stream = std::net::TcpStream::connect(&service.address).unwrap();
    stream
        .write_all(b"GET /health/live HTTP/1.1\r\nhost:")
        .unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 408"),
        "{answer}"
    );
}

#[test]
fn a_body_beyond_the_limit_is_answered_413() {
    let variables = [("TACHOGRAPH_LIMITS__BODY_BYTES", "1024")];
    let service = Service::start(&["--listen", "127.0.0.1:0"], &variables);
    let request = client().post(service.url("/api/v1/records"));
    let response = request.body(" ".repeat(2_000)).send().unwrap();
    assert_eq!(response.status(), 413);
    let body: Value = response.json().unwrap();
    assert_eq!(body["error"]["status"], 413, "{body}");
}

#[test]
fn the_admin_listener_takes_no_records() {
    let variables = [("TACHOGRAPH_ADMIN_LISTEN", "127.0.0.1:0")];
    let service = Service::start(&["--listen", "127.0.0.1:0"], &variables);
    assert_ne!(service.address, service.monitoring);
    let admin = |path: &str| format!("http://{}{path}", service.monitoring);
    assert_eq!(get(&admin("/health/live")).0, 200);
    let (_, index) = get(&admin("/"));
    assert!(index["endpoints"]["GET /metrics"].is_string(), "{index}");
    assert!(
        index["endpoints"]["POST /api/v1/records"].is_null(),
        "{index}"
    );
    let records = client().post(admin("/api/v1/records")).send().unwrap();
    assert_eq!(records.status(), 404);
    assert_eq!(
        client().get(admin("/metrics")).send().unwrap().status(),
        200
    );
    let (_, index) = get(&service.url("/"));
    assert!(index["endpoints"]["GET /metrics"].is_null(), "{index}");
    assert_eq!(get(&service.url("/metrics")).0, 404);
}

#[test]
fn the_banner_is_for_terminals_only() {
    let mut service = Service::plain();
    service.signal("TERM");
    service.ends();
    let said: Vec<String> = service.lines.try_iter().collect();
    assert!(
        !said.iter().any(|line| line.contains("records   http")),
        "{said:?}"
    );

    // `script` gives the command a terminal.
    let dir = TempDir::new().unwrap();
    let inner = format!("{BINARY} serve --listen 127.0.0.1:0");
    let output = Command::new("timeout")
        .args(["-s", "INT", "3", "script", "-qec"])
        .arg(format!("timeout -s INT 1 {inner}"))
        .arg("/dev/null")
        .current_dir(dir.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = text(&output.stdout);
    for part in [
        "tachograph 0.",
        "records   http://127.0.0.1:",
        "OTLP      off",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn record_sends_one_record_once() {
    let service = Service::plain();
    let dir = TempDir::new().unwrap();
    let url = service.url("");
    let id = "018f3a5e-0000-7000-8000-000000000001";
    let record = |more: &[&str]| {
        let mut arguments = vec!["record", "workflow.run", "--url", &url];
        arguments.extend(more);
        run(dir.path(), &arguments)
    };
    let good = [
        "--id",
        id,
        "--duration",
        "1.5",
        "--time",
        "2026-01-31T12:00:00Z",
        "workflow_type=code_review",
        "status=success",
        "--context",
        "correlation_id=c-1",
    ];
    for outcome in ["accepted", "duplicate, not counted again"] {
        let output = record(&good);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(
            text(&output.stdout),
            format!("workflow.run {id}: {outcome}\n")
        );
    }
    for (bad, parts) in [
        (
            vec!["--duration", "1", "workflow_type=a", "status=fine"],
            vec!["rejected", "status", "success"],
        ),
        (
            vec!["--duration", "1", "workflow_type=a"],
            vec!["rejected", "fields.status", "missing", "success, failed"],
        ),
        (
            vec!["status=success", "workflow_type=a"],
            vec!["rejected", "duration"],
        ),
        (
            vec!["--duration", "1", "workflow=a", "status=success"],
            vec!["rejected", "workflow"],
        ),
    ] {
        let output = record(&bad);
        assert_eq!(output.status.code(), Some(1), "{bad:?}");
        let said = text(&output.stderr);
        for part in parts {
            assert!(said.contains(part), "{bad:?}\n{said}\nlacks {part}");
        }
    }
}

#[test]
fn tokens_are_wanted_where_they_are_set() {
    const TOKEN: &str = "0123456789abcdef";
    let service = Service::start(
        &["--listen", "127.0.0.1:0"],
        &[("TACHOGRAPH_AUTH__RECORDS__TOKENS", TOKEN)],
    );
    let dir = TempDir::new().unwrap();
    let record = |token: &[&str]| {
        let url = service.url("");
        let mut arguments = vec!["record", "workflow.run", "--url", &url, "--duration", "1"];
        arguments.extend(["workflow_type=a", "status=success"]);
        arguments.extend(token);
        run(dir.path(), &arguments)
    };
    for refused in [record(&[]), record(&["--token", "0123456789abcdeF"])] {
        assert_eq!(refused.status.code(), Some(1));
        let said = text(&refused.stderr);
        assert!(said.contains("--token or TACHOGRAPH_TOKEN"), "{said}");
    }
    assert!(record(&["--token", TOKEN]).status.success());
    let (status, _) = get(&service.url("/health/ready"));
    assert_eq!(status, 200);
}

#[test]
fn catalog_prints_every_format() {
    let dir = TempDir::new().unwrap();
    for (format, part) in [
        ("table", "workflow_executions_total"),
        ("json", "\"workflow.run\""),
        ("markdown", "# Signals"),
    ] {
        let output = run(dir.path(), &["catalog", "--format", format]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains(part), "{format}");
    }
    let json = run(dir.path(), &["catalog", "--format=json"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(json["signals"].as_array().unwrap().len() > 10);

    let output = run(dir.path(), &["catalog", "--format", "registry"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--output"));
    let output = run(
        dir.path(),
        &["catalog", "--format", "registry", "--output", "reg"],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(dir.path().join("reg").read_dir().unwrap().next().is_some());
}

/// The value of a series, by its name and parts of its labels.
fn sample(page: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let is_it = |line: &&str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with('{') && labels.iter().all(|l| rest.contains(l)))
    };
    page.lines().find(is_it)?.rsplit_once(' ')?.1.parse().ok()
}

#[test]
fn what_is_recorded_stands_on_the_page_behind_its_own_credentials() {
    const TOKEN: &str = "0123456789abcdef";
    let service = Service::start(
        &["--listen", "127.0.0.1:0"],
        &[("TACHOGRAPH_AUTH__MONITORING__TOKENS", TOKEN)],
    );
    let dir = TempDir::new().unwrap();
    let url = service.url("");
    let record = ["record", "workflow.run", "--url", &url, "--duration", "1.5"];
    let fields = ["workflow_type=code_review", "status=success"];
    for _ in 0..3 {
        let output = run(dir.path(), &[&record[..], &fields[..]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    for path in [
        "/metrics",
        "/api/monitoring/metrics",
        "/api/monitoring/health/metrics",
    ] {
        let (status, body) = get(&service.url(path));
        assert_eq!(status, 401, "{path}");
        assert_eq!(body["error"]["code"], "unauthorized", "{path}");
    }
    let page = client()
        .get(service.url("/api/monitoring/metrics"))
        .bearer_auth(TOKEN)
        .send()
        .unwrap();
    assert_eq!(page.status(), 200);
    let page = page.text().unwrap();
    let of_type = "workflow_type=\"code_review\"";
    let labels = [of_type, "status=\"success\""];
    let runs = sample(&page, "workflow_executions_total", &labels);
    assert_eq!(runs, Some(3.0), "{page}");
    let seconds = sample(&page, "workflow_duration_seconds_sum", &[of_type]);
    assert_eq!(seconds, Some(4.5), "{page}");
}

#[test]
fn demo_drives_the_service_and_sums_up() {
    let mut service = Service::plain();
    let dir = TempDir::new().unwrap();
    let url = service.url("");
    let output = run(
        dir.path(),
        &[
            "demo",
            "--url",
            &url,
            "--duration",
            "2s",
            "--rate",
            "200",
            "--seed",
            "3",
        ],
    );
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    let accepted = said.split("accepted ").nth(1).unwrap();
    let accepted: u64 = accepted.split(',').next().unwrap().parse().unwrap();
    assert!((150..1_500).contains(&accepted), "{said}");
    assert!(said.contains("rejected 0"), "{said}");
    assert!(said.contains("workflow.run"), "{said}");
    service.signal("TERM");
    assert_eq!(service.ends().0, Some(0));
}

#[test]
fn lint_ends_with_what_it_found() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let rule = |expr: &str| {
        format!("groups:\n- name: g\n  rules:\n  - record: job:x:y\n    expr: {expr}\n")
    };
    write(
        "good.yaml",
        &rule("sum by (job) (rate(tool_calls_total[5m]))"),
    );
    write(
        "bad.yaml",
        &rule("sum by (job) (rate(tool_cals_total[5m]))"),
    );
    write("broken.yaml", "groups: [");
    let good = run(dir.path(), &["lint", "--strict", "good.yaml"]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stdout));
    let bad = run(dir.path(), &["lint", "good.yaml", "bad.yaml"]);
    assert_eq!(bad.status.code(), Some(1));
    let said = text(&bad.stdout);
    assert!(said.contains("bad.yaml:5"), "{said}");
    assert!(said.contains("tool_calls_total"), "{said}");
    let ignored = ["lint", "--allow", "tool_cals_*", "bad.yaml"];
    assert_eq!(run(dir.path(), &ignored).status.code(), Some(0));
    let json = run(dir.path(), &["lint", "--format", "json", "bad.yaml"]);
    assert_eq!(json.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(report["findings"][0]["file"], "bad.yaml");
    assert_eq!(report["errors"], 1);
    for unreadable in ["broken.yaml", "absent.yaml"] {
        let output = run(dir.path(), &["lint", "good.yaml", unreadable]);
        assert_eq!(output.status.code(), Some(2), "{unreadable}");
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(said.contains(unreadable), "{said}");
    }
    let unknown = ["lint", "--vocabulary", "autobots", "good.yaml"];
    let output = run(dir.path(), &unknown);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("autobot"), "{said}");
}

#[test]
fn the_ledger_answers_questions_and_names_bad_parameters() {
    let service = Service::plain();
    let id = uuid::Uuid::new_v4();
    let body = serde_json::json!([
        {"signal": "tool.call", "duration": 2.5, "fields": {"gen_ai.tool.name": "Bash", "status": "failed"},
         "context": {"gen_ai.conversation.id": "s/1", "correlation_id": id.to_string()}},
        {"signal": "tool.call", "id": id, "event": "start", "fields": {"gen_ai.tool.name": "Bash"},
         "context": {"gen_ai.conversation.id": "s/1"}},
    ]);
    let sent = client()
        .post(service.url("/api/v1/records"))
        .body(body.to_string())
        .send()
        .unwrap();
    assert_eq!(sent.json::<Value>().unwrap()["accepted"], 2);
    let ask = |path: &str| get(&service.url(&format!("/api/v1/ledger/{path}")));
    let (status, sessions) = ask("sessions?limit=5");
    assert_eq!(
        (status, &sessions["items"][0]["session"]),
        (200, &"s/1".into())
    );
    let (status, timeline) = ask("sessions/s%2F1/timeline");
    assert_eq!(status, 200, "{timeline}");
    assert_eq!(timeline["items"].as_array().unwrap().len(), 2, "{timeline}");
    assert_eq!(
        ask(&format!("correlations/{id}")).1["items"][0]["duration"],
        2.5
    );
    assert_eq!(
        ask("slowest?signal=tool.call").1["items"][0]["name"],
        "Bash"
    );
    assert_eq!(ask("failing").1["items"][0]["status"], "failed");
    assert_eq!(
        ask("costs?by=model&from=2026-01-01").1["items"],
        serde_json::json!([])
    );
    for (path, parameter) in [
        ("costs?by=moon", "by"),
        ("costs?from=yesterday", "from"),
        ("costs?from=2026-02-01&to=2026-01-01", "from"),
        ("slowest", "signal"),
        ("slowest?signal=nothing", "signal"),
        ("failing?limit=0", "limit"),
        ("failing?limit=1&limit=2", "limit"),
        ("failing?colour=red", "colour"),
        ("sessions?cursor=x", "cursor"),
    ] {
        let (status, answer) = ask(path);
        let message = answer["error"]["message"].as_str().unwrap();
        assert_eq!(status, 400, "{path}: {answer}");
        assert!(
            message.starts_with(&format!("{parameter}: ")),
            "{path}: {message}"
        );
    }
    assert_eq!(ask("sessions/none/timeline").0, 404);
    assert_eq!(ask("moons").0, 404);
}
