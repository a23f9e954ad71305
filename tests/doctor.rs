//! `tachograph doctor` against real services, receivers and databases on this machine.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use support::otlp::{Answer, OtlpReceiver, Tls};
use support::postgres::Server;
use support::tls::Authority;
use tempfile::TempDir;

/// All checks together take no longer, whatever hangs.
const BOUND: Duration = Duration::from_secs(10);

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tachograph"));
    command.current_dir(dir).env_clear().stdin(Stdio::null());
    command
}

/// What doctor said.
struct Report {
    code: Option<i32>,
    findings: Vec<Value>,
    text: String,
}

impl Report {
    /// Severity, what was found and the advice of a check.
    fn of(&self, check: &str) -> (&str, String) {
        let found = self.findings.iter().find(|one| one["check"] == check);
        let found = found.unwrap_or_else(|| panic!("no {check} in {}", self.text));
        let said = format!(
            "{} -> {}",
            found["found"].as_str().unwrap(),
            found["advice"].as_str().unwrap_or_default()
        );
        (found["severity"].as_str().unwrap(), said)
    }

    #[track_caller]
    fn assert(&self, check: &str, severity: &str, part: &str) {
        let (found, said) = self.of(check);
        assert_eq!(found, severity, "{check}: {said}");
        assert!(said.contains(part), "{check}: {said} lacks {part}");
    }
}

fn doctor(dir: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Report {
    let start = Instant::now();
    let output = command(dir)
        .args(["doctor", "--format", "json"])
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
    let text = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !text.contains("hush") && !said.contains("hush"),
        "{text}{said}"
    );
    let whole: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{said}"));
    let errors = whole["summary"]["error"].as_u64().unwrap();
    let code = output.status.code();
    assert_eq!(code, Some(i32::from(errors > 0)), "{text}{said}");
    Report {
        code,
        findings: whole["findings"].as_array().unwrap().clone(),
        text,
    }
}

/// On a port that is free.
fn quiet(dir: &Path, variables: &[(&str, &str)]) -> Report {
    doctor(dir, &["--listen", "127.0.0.1:0"], variables)
}

/// A running service; killed when dropped.
struct Service {
    process: Child,
    address: String,
}

impl Service {
    fn start(dir: &Path, variables: &[(&str, &str)]) -> Self {
        let mut process = command(dir)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let line = lines
            .by_ref()
            .map_while(Result::ok)
            .find(|line| line.contains("listening"))
            .expect("the service listens");
        std::thread::spawn(move || lines.for_each(drop));
        let line: Value = serde_json::from_str(&line).unwrap();
        Self {
            process,
            address: line["fields"]["listen"].as_str().unwrap().to_owned(),
        }
    }

    fn doctor(&self, dir: &Path, variables: &[(&str, &str)]) -> Report {
        doctor(dir, &["--listen", &self.address], variables)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn nothing_configured_is_nothing_wrong_and_nothing_is_left_behind() {
    let dir = TempDir::new().unwrap();
    let report = quiet(dir.path(), &[]);
    assert_eq!(report.code, Some(0));
    report.assert("configuration", "ok", "--listen");
    report.assert("listen", "ok", "the system chooses a port");
    report.assert("database", "ok", "tachograph.db does not exist");
    report.assert("database.permissions", "ok", "can write");
    report.assert("otlp", "skipped", "OTEL_EXPORTER_OTLP_ENDPOINT");
    report.assert("service", "skipped", "no service of ours");
    report.assert("scrape", "skipped", "tachograph serve");
    report.assert("clock.skew", "skipped", "no OTLP endpoint");
    assert_eq!(names(dir.path()), [""; 0]);
    let output = command(dir.path())
        .args(["doctor", "--listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("ok       listen"), "{text}");
    assert!(text.ends_with(" 0 error\n"), "{text}");
}

#[test]
fn a_refused_configuration_is_an_error_and_a_refused_argument_is_usage() {
    let dir = TempDir::new().unwrap();
    let report = doctor(dir.path(), &["--listen", "0.0.0.0:0"], &[]);
    report.assert("configuration", "error", "beyond loopback");
    report.assert("database", "skipped", "is refused");
    let output = command(dir.path())
        .args(["doctor", "--fast"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn files_with_secrets_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("t.toml");
    std::fs::write(
        &file,
        "listen = \"127.0.0.1:0\"\n[auth]\ntokens = [\"hush-hush-hush-hush\"]\n",
    )
    .unwrap();
    let set = |mode| std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
    set(0o644);
    doctor(dir.path(), &["--config", "t.toml"], &[]).assert("files", "warning", "chmod 600 t.toml");
    set(0o600);
    doctor(dir.path(), &["--config", "t.toml"], &[]).assert("files", "ok", "no secrets to other");
    std::fs::write(&file, "listen = \"127.0.0.1:0\"\n").unwrap();
    set(0o644);
    doctor(dir.path(), &["--config", "t.toml"], &[]).assert("files", "ok", "t.toml");
}

#[test]
fn a_running_service_is_recognised_and_says_who_scrapes() {
    let dir = TempDir::new().unwrap();
    let token = ("TACHOGRAPH_AUTH__TOKENS", "hush-hush-hush-hush");
    let service = Service::start(dir.path(), &[token]);
    let report = service.doctor(dir.path(), &[token]);
    report.assert("listen", "ok", "runs here");
    report.assert("service", "ok", "ready");
    report.assert("scrape", "warning", "nothing has read the metrics");
    let pid = format!("open by process {}", service.process.id());
    report.assert("database", "ok", &pid);
    report.assert("database.integrity", "ok", "passed");

    let read = |agent: &str, scrapes: bool| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = format!("http://{}/metrics", service.address);
        let mut request = reqwest::blocking::Client::new()
            .get(url)
            .bearer_auth(token.1);
        request = request.header("user-agent", agent);
        if scrapes {
            request = request.header("x-prometheus-scrape-timeout-seconds", "5");
        }
        assert_eq!(request.send().unwrap().status(), 200);
    };
    read("curl/8", false);
    service
        .doctor(dir.path(), &[token])
        .assert("scrape", "warning", "curl/8 read the page");
    read("Prometheus/3.1", true);
    read("curl/8", false);
    service
        .doctor(dir.path(), &[token])
        .assert("scrape", "ok", "Prometheus/3.1 scraped");
    let receiver = OtlpReceiver::start_blocking();
    let endpoint = receiver.http_endpoint();
    let push = [token, ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)];
    service
        .doctor(dir.path(), &push)
        .assert("scrape", "warning", "OTEL_METRICS_EXPORTER=none");

    let other = ("TACHOGRAPH_AUTH__TOKENS", "hush-other-hush-other");
    let report = service.doctor(dir.path(), &[other]);
    report.assert("service.credentials", "error", "another configuration");
}

#[test]
fn a_port_taken_by_something_else_is_an_error_even_when_it_hangs() {
    let dir = TempDir::new().unwrap();
    // Takes connections into its backlog and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let report = doctor(dir.path(), &["--listen", &address], &[]);
    report.assert("listen", "error", "does not answer");
    report.assert("listen", "error", "ss -ltnp");
    let receiver = OtlpReceiver::start_blocking();
    let address = receiver.http_endpoint().replace("http://", "");
    let report = doctor(dir.path(), &["--listen", &address], &[]);
    report.assert("listen", "error", "something else answers");
}

/// An OTLP configuration.
fn otlp<'a>(endpoint: &'a str, protocol: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hush-hush"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ]
}

const SIGNALS: [&str; 3] = ["otlp.traces", "otlp.metrics", "otlp.logs"];
const PROTOCOLS: [&str; 2] = ["grpc", "http/protobuf"];

fn endpoint(receiver: &OtlpReceiver, protocol: &str) -> String {
    match protocol {
        "grpc" => receiver.grpc_endpoint(),
        _ => receiver.http_endpoint(),
    }
}

#[test]
fn an_empty_export_of_each_signal_goes_out_as_configured() {
    let dir = TempDir::new().unwrap();
    let receiver = OtlpReceiver::builder()
        .require_header("authorization", "hush-hush")
        .start();
    for protocol in PROTOCOLS {
        receiver.clear();
        let endpoint = endpoint(&receiver, protocol);
        let report = quiet(dir.path(), &otlp(&endpoint, protocol));
        for signal in SIGNALS {
            report.assert(signal, "ok", "took an empty export");
        }
        let requests = receiver.requests();
        assert_eq!(requests.len(), 3, "{requests:?}");
        assert!(
            requests.iter().all(|request| request.message_len == 0
                && request.headers["authorization"] == "hush-hush")
        );
        match protocol {
            "grpc" => report.assert("clock.skew", "skipped", "over gRPC"),
            _ => report.assert("clock.skew", "ok", "within 5 s"),
        }
    }
}

#[test]
fn each_answer_of_a_backend_has_its_advice() {
    let dir = TempDir::new().unwrap();
    let receiver = OtlpReceiver::start_blocking();
    for (answer, protocol, severity, part) in [
        (
            Answer::Http(401),
            "http/protobuf",
            "error",
            "OTEL_EXPORTER_OTLP_HEADERS",
        ),
        (
            Answer::Http(403),
            "http/protobuf",
            "error",
            "OTEL_EXPORTER_OTLP_HEADERS",
        ),
        (
            Answer::Http(404),
            "http/protobuf",
            "error",
            "the path is wrong",
        ),
        (
            Answer::TooMany { retry_after: None },
            "http/protobuf",
            "warning",
            "a limit",
        ),
        (
            Answer::Unavailable { retry_after: None },
            "http/protobuf",
            "warning",
            "tried again",
        ),
        (
            Answer::Garbage,
            "http/protobuf",
            "error",
            "no OTLP receiver",
        ),
        (
            Answer::Hang,
            "http/protobuf",
            "error",
            "no answer within 4s",
        ),
        (
            Answer::Grpc(tonic::Code::Unauthenticated),
            "grpc",
            "error",
            "OTEL_EXPORTER_OTLP_HEADERS",
        ),
        (
            Answer::Grpc(tonic::Code::PermissionDenied),
            "grpc",
            "error",
            "OTEL_EXPORTER_OTLP_HEADERS",
        ),
        (
            Answer::Grpc(tonic::Code::Unimplemented),
            "grpc",
            "error",
            "a pipeline for it",
        ),
        (
            Answer::TooMany { retry_after: None },
            "grpc",
            "warning",
            "a limit",
        ),
        (
            Answer::Unavailable { retry_after: None },
            "grpc",
            "warning",
            "tried again",
        ),
        (Answer::Hang, "grpc", "error", "no answer within 4s"),
    ] {
        receiver.otherwise(answer.clone());
        let endpoint = endpoint(&receiver, protocol);
        let report = quiet(dir.path(), &otlp(&endpoint, protocol));
        for signal in SIGNALS {
            let (found, said) = report.of(signal);
            assert_eq!(found, severity, "{answer:?}: {said}");
            assert!(said.contains(part), "{answer:?}: {said}");
        }
    }
    let wrong = format!("{}/in/v1/traces/x", receiver.http_endpoint());
    receiver.otherwise(Answer::Ok);
    let report = quiet(
        dir.path(),
        &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &wrong)],
    );
    report.assert(
        "otlp.traces",
        "error",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is used as it is",
    );
}

#[test]
fn a_connection_that_cannot_be_has_its_advice() {
    let dir = TempDir::new().unwrap();
    let plain = OtlpReceiver::start_blocking();
    let authority = Authority::new();
    let (certificate, key) = authority.sign("localhost");
    let secure = OtlpReceiver::builder()
        .tls(Tls {
            certificate,
            key,
            client_ca: None,
        })
        .start();
    let ca = authority.file("ca.pem", &authority.pem);
    for protocol in PROTOCOLS {
        let other = PROTOCOLS
            .into_iter()
            .find(|other| *other != protocol)
            .unwrap();
        let (to_plain, to_secure) = (endpoint(&plain, protocol), endpoint(&secure, protocol));
        let crossed = endpoint(&plain, other);
        for (endpoint, part) in [
            (to_plain.replace("http://", "https://"), "write http://"),
            (
                to_secure.replace("https://", "http://"),
                "it may want TLS (https://)",
            ),
            (to_secure.clone(), "OTEL_EXPORTER_OTLP_CERTIFICATE"),
            (crossed, "OTEL_EXPORTER_OTLP_PROTOCOL="),
            ("http://127.0.0.1:1".to_owned(), "nothing listens there"),
            (
                "http://nowhere.invalid:4318".to_owned(),
                "name is not known",
            ),
        ] {
            let mut variables = otlp(&endpoint, protocol);
            // Without it a machine that has no authorities would refuse before it connects.
            let stranger = Authority::new();
            let stranger = stranger.file("other.pem", &stranger.pem);
            variables.push(("OTEL_EXPORTER_OTLP_CERTIFICATE", &stranger));
            quiet(dir.path(), &variables).assert("otlp.traces", "error", part);
        }
        let mut variables = otlp(&to_secure, protocol);
        variables.push(("OTEL_EXPORTER_OTLP_CERTIFICATE", &ca));
        quiet(dir.path(), &variables).assert("otlp.traces", "ok", "took");
        variables.push(("OTEL_EXPORTER_OTLP_CERTIFICATE", "none.pem"));
        quiet(dir.path(), &variables).assert("otlp", "error", "none.pem");
    }
}

async fn open(dir: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(dir.join("tachograph.db"));
    options.create_if_missing(true).connect().await.unwrap()
}

async fn execute(connection: &mut SqliteConnection, sql: &'static str) {
    sqlx::query(sql).execute(connection).await.unwrap();
}

/// A ledger as the service leaves it.
fn ledger(dir: &Path) {
    let mut service = Service::start(dir, &[]);
    let id = service.process.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-s", "TERM", &id])
            .status()
            .unwrap()
            .success()
    );
    assert!(service.process.wait().unwrap().success());
}

#[actix_web::test]
async fn a_ledger_is_read_without_being_touched() {
    let dir = TempDir::new().unwrap();
    ledger(dir.path());
    assert_eq!(names(dir.path()), ["tachograph.db"]);
    let before = std::fs::read(dir.path().join("tachograph.db")).unwrap();
    let report = quiet(dir.path(), &[]);
    report.assert("database", "ok", "schema ");
    report.assert("database.integrity", "ok", "passed");
    assert_eq!(names(dir.path()), ["tachograph.db"]);
    assert_eq!(
        std::fs::read(dir.path().join("tachograph.db")).unwrap(),
        before
    );

    // Another process, which this test is for doctor, keeps the lock of writers.
    let mut connection = open(dir.path()).await;
    execute(&mut connection, "BEGIN IMMEDIATE").await;
    let report = quiet(dir.path(), &[]);
    let me = format!("process {} holds", std::process::id());
    report.assert("database.lock", "error", &me);
    execute(&mut connection, "ROLLBACK").await;
    let report = quiet(dir.path(), &[]);
    assert!(!report.text.contains("database.lock"), "{}", report.text);

    execute(
        &mut connection,
        "UPDATE _sqlx_migrations SET version = 9999 WHERE version = \
         (SELECT max(version) FROM _sqlx_migrations)",
    )
    .await;
    connection.close().await.unwrap();
    quiet(dir.path(), &[]).assert("database", "error", "schema 9999");

    use std::os::unix::fs::PermissionsExt;
    let file = dir.path().join("tachograph.db");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    quiet(dir.path(), &[]).assert("database.permissions", "warning", "mode 644");
}

#[actix_web::test]
async fn what_is_no_sound_ledger_is_said() {
    let dir = TempDir::new().unwrap();
    let mut connection = open(dir.path()).await;
    execute(&mut connection, "CREATE TABLE other (x)").await;
    connection.close().await.unwrap();
    quiet(dir.path(), &[]).assert("database", "error", "another application");

    let file = dir.path().join("tachograph.db");
    std::fs::write(&file, "not a database, by far".repeat(100)).unwrap();
    quiet(dir.path(), &[]).assert("database", "error", "restore a backup");

    std::fs::remove_file(&file).unwrap();
    ledger(dir.path());
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 4096;
    bytes[last..].fill(0xa5);
    std::fs::write(&file, bytes).unwrap();
    quiet(dir.path(), &[]).assert("database.integrity", "error", "damaged");

    let missing = doctor(
        dir.path(),
        &[
            "--listen",
            "127.0.0.1:0",
            "--database",
            "sqlite://none/t.db",
        ],
        &[],
    );
    missing.assert("database.permissions", "error", "create the folder");
}

#[actix_web::test]
async fn a_ledger_on_a_server_is_looked_at_as_its_role() {
    let Some(server) = Server::start(&["fsync=off"]) else {
        return;
    };
    // One by one: a database is not made inside of a transaction.
    for sql in [
        "CREATE ROLE guarded LOGIN PASSWORD 'hush-hush'; CREATE ROLE reader LOGIN",
        "CREATE ROLE late LOGIN; ALTER ROLE late SET default_transaction_read_only = on",
        "CREATE DATABASE ledger OWNER guarded",
        "DO $$ BEGIN EXECUTE format('COPY (VALUES \
         (''host all guarded 127.0.0.1/32 scram-sha-256''), \
         (''host all all 127.0.0.1/32 trust'')) TO %L', current_setting('hba_file')); END $$",
        "SELECT pg_reload_conf()",
    ] {
        server.execute("postgres", sql).await;
    }
    let url = server.url("ledger");
    let as_role = |role: &str| url.replace("tachograph@", &format!("{role}@"));
    let guarded = as_role("guarded:hush-hush");
    let wrong = as_role("guarded:hush-wrong");
    let start = Instant::now();
    while sqlx::postgres::PgConnection::connect(&wrong).await.is_ok() {
        assert!(start.elapsed() < BOUND, "the server still trusts everybody");
    }
    let dir = TempDir::new().unwrap();
    let look = |url: &str| quiet(dir.path(), &[("TACHOGRAPH_DATABASE", url)]);

    for (url, part) in [
        (wrong.clone(), "user and password"),
        (guarded.replace("/ledger", "/none"), "createdb"),
        (guarded.replace("127.0.0.1:", "127.0.0.1:1"), "the address"),
        (format!("{guarded}?sslmode=require"), "sslmode"),
    ] {
        look(&url).assert("database", "error", part);
    }
    // Takes connections into its backlog and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    look(&format!("postgres://a:hush-hush@127.0.0.1:{port}/b")).assert(
        "database",
        "error",
        "did not answer within",
    );

    let report = look(&guarded);
    report.assert("database", "ok", "the service creates its tables");
    report.assert("database.permissions", "ok", "guarded may write");
    let password = format!("{}?password=hush-hush", as_role("guarded"));
    look(&password).assert("database", "ok", "the service creates its tables");
    look(&as_role("reader")).assert("database.permissions", "error", "may not create tables");

    // Nothing was made by looking, and a service makes it.
    let service = Service::start(dir.path(), &[("TACHOGRAPH_DATABASE", &guarded)]);
    let report = service.doctor(dir.path(), &[("TACHOGRAPH_DATABASE", &guarded)]);
    report.assert("service", "ok", "ready");
    report.assert("database", "ok", "schema ");
    report.assert("database.permissions", "ok", "guarded may write");
    drop(service);
    let report = look(&as_role("reader"));
    report.assert("database.permissions", "error", "may not create tables");
    assert!(report.text.contains("INSERT ON records"), "{}", report.text);
    look(&as_role("late")).assert("database.read_only", "error", "transactions are read-only");
    server
        .execute(
            "ledger",
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
        )
        .await;
    look(&as_role("reader")).assert("database", "ok", "schema ");

    // The last one alone says which version it is.
    let earlier = "DELETE FROM _sqlx_migrations WHERE version < \
                   (SELECT max(version) FROM _sqlx_migrations)";
    server.execute("ledger", earlier).await;
    for (version, severity) in [(0, "warning"), (9999, "error")] {
        let sql = format!(
            "UPDATE _sqlx_migrations SET version = {version} WHERE version = \
             (SELECT max(version) FROM _sqlx_migrations)"
        );
        server.execute("ledger", &sql).await;
        look(&guarded).assert("database", severity, &format!("schema {version}"));
    }
}
