//! Health checks of real servers: HTTP with and without TLS, TCP, Redis, PostgreSQL, SQLite; in
//! the service by its configuration.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use actix_web::dev::ServerHandle;
use actix_web::http::header::LOCATION;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use support::prometheus::{Process, until};
use support::tls::Authority;
use support::{postgres, redis};
use tachograph::collectors::health::{HealthChecks, HealthConfig, Method, TargetConfig};
use tachograph::collectors::{Collector as _, Progress};
use tachograph::testing::{self, Capture};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

const BINARY: &str = env!("CARGO_BIN_EXE_tachograph");
const SECRET: &str = "hunter2";

fn checks(targets: Vec<TargetConfig>) -> HealthChecks {
    HealthChecks::new(&HealthConfig { targets })
        .unwrap()
        .unwrap()
}

fn target(name: &str, url: &str) -> TargetConfig {
    TargetConfig {
        // Only asked when a test says so.
        interval: Duration::from_secs(3600),
        timeout: Duration::from_secs(10),
        degraded_above: Duration::from_secs(5),
        ..TargetConfig::new(name, url)
    }
}

/// Every target is asked, and its check has ended.
async fn round(checks: &mut HealthChecks) {
    let until = Instant::now() + Duration::from_secs(60);
    assert_eq!(checks.collect(until).await, Ok(Progress::Done));
}

/// Of one target: what its metrics and its spans say.
struct Said<'a>(&'a Capture, &'a str);

impl Said<'_> {
    fn gauge(&self, metric: &str) -> Option<f64> {
        self.0.metric(metric).label("health.target", self.1).value()
    }

    fn up(&self) -> Option<f64> {
        self.gauge("health.target.up")
    }

    fn score(&self) -> Option<f64> {
        self.gauge("health.target.score")
    }

    fn count(&self, result: &str, error: Option<&str>) -> u64 {
        let checks = self.0.signal("health.check").label("health.target", self.1);
        let checks = checks.label("health.check.result", result);
        match error {
            Some(error) => checks.label("error.type", error).count(),
            None => checks.count(),
        }
    }

    fn spans(&self, result: &str, error: Option<&str>) -> usize {
        let spans = self.0.span("health.check").field("health.target", self.1);
        let spans = spans.field("health.check.result", result);
        match error {
            Some(error) => spans.field("error.type", error).failed(true).count(),
            None => spans.failed(false).count(),
        }
    }

    /// So many checks ended in this way, by the counter and by the spans.
    fn ended(&self, times: usize, result: &str, error: Option<&str>) {
        let counted = (self.count(result, error), self.spans(result, error));
        let all = || self.0.to_string();
        assert_eq!(
            counted,
            (times as u64, times),
            "{} {result} {error:?}: {}",
            self.1,
            all()
        );
    }

    /// The only failure so far.
    fn failed_once(&self, error: &str) {
        self.ended(1, "failed", Some(error));
        assert_eq!(self.count("failed", None), 1, "{}", self.1);
        assert_eq!(self.up(), Some(0.0), "{}", self.1);
    }
}

/// What the server does with the next request: an answer, one after a while, another status,
/// another body, no answer.
const WELL: usize = 0;
const SLOW: usize = 1;
const BUSY: usize = 2;
const EMPTY: usize = 3;
const SILENT: usize = 4;

struct Site {
    url: String,
    mode: Arc<AtomicUsize>,
    handle: ServerHandle,
    /// Where it redirects to outside.
    asked_outside: Arc<AtomicUsize>,
}

impl Site {
    fn start() -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mode, outside) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (seen, asked) = (Arc::clone(&mode), Arc::clone(&outside));
        let server = HttpServer::new(move || {
            let (mode, asked) = (Arc::clone(&seen), Arc::clone(&asked));
            let health = move |request: HttpRequest| {
                let mode = mode.load(Ordering::SeqCst);
                async move {
                    match mode {
                        SLOW => tokio::time::sleep(Duration::from_millis(1_200)).await,
                        SILENT => std::future::pending().await,
                        _ => {}
                    }
                    let known = request.headers().contains_key("authorization");
                    let body = format!("all is well: {known}");
                    match mode {
                        BUSY => HttpResponse::ServiceUnavailable().body(body),
                        EMPTY => HttpResponse::Ok().body("all is not"),
                        _ => HttpResponse::Ok().body(body),
                    }
                }
            };
            let to = |place: String| {
                move || {
                    let place = place.clone();
                    async move {
                        HttpResponse::Found()
                            .insert_header((LOCATION, place))
                            .finish()
                    }
                }
            };
            let outside = move || {
                asked.fetch_add(1, Ordering::SeqCst);
                async { HttpResponse::Ok().body("all is well") }
            };
            App::new()
                .route("/health", web::to(health))
                .route("/moved", web::to(to("/health".to_owned())))
                .route("/round", web::to(to("/round".to_owned())))
                .route(
                    "/away",
                    web::to(to(format!("http://localhost:{port}/outside"))),
                )
                .route("/outside", web::to(outside))
        });
        let server = server
            .workers(1)
            .disable_signals()
            .shutdown_timeout(0)
            .listen(listener)
            .unwrap()
            .run();
        let handle = server.handle();
        tokio::spawn(server);
        Self {
            url: format!("http://127.0.0.1:{port}"),
            mode,
            handle,
            asked_outside: outside,
        }
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

#[tokio::test]
async fn a_site_that_is_slow_ill_silent_or_gone_is_told_from_one_that_is_well() {
    let recorded = testing::capture();
    let site = Site::start();
    let secret = site.at("/health").replace("//", &format!("//me:{SECRET}@"));
    let web = TargetConfig {
        body: Some("all is well: true".to_owned()),
        degraded_above: Duration::from_secs(1),
        timeout: Duration::from_secs(3),
        group: Some("shop".to_owned()),
        machine: Some("m1".to_owned()),
        ..target("web", &secret)
    };
    let mut checks = checks(vec![web]);
    let said = Said(&recorded, "web");
    assert_eq!((said.up(), said.score()), (None, None), "before the first");
    assert_eq!(recorded.metric("health.score").value(), None);

    round(&mut checks).await;
    said.ended(1, "ok", None);
    let labelled = recorded.metric("health.target.up").label("group", "shop");
    labelled.label("machine", "m1").assert_value(1.0);
    assert_eq!(said.score(), Some(1.0));
    let span = recorded
        .span("health.check")
        .field("health.target.kind", "http");
    let port = site.url.rsplit(':').next().unwrap();
    let span = span.field("server.address", "127.0.0.1");
    span.field("server.port", port).assert_count(1);
    let last = said.gauge("health.target.last_success.timestamp").unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    assert!((now.unwrap().as_secs_f64() - last).abs() < 60.0, "{last}");
    assert_eq!(said.gauge("health.target.certificate.remaining"), None);

    site.mode.store(SLOW, Ordering::SeqCst);
    round(&mut checks).await;
    said.ended(1, "degraded", None);
    assert_eq!(said.up(), Some(1.0));
    assert_eq!(said.gauge("health.target.degraded"), Some(1.0));
    assert_eq!(said.score(), Some(0.75));

    for (mode, error) in [(BUSY, "status"), (EMPTY, "body"), (SILENT, "timeout")] {
        site.mode.store(mode, Ordering::SeqCst);
        round(&mut checks).await;
        said.ended(1, "failed", Some(error));
        assert_eq!(said.up(), Some(0.0), "{error}");
        assert_eq!(said.gauge("health.target.degraded"), Some(0.0));
    }
    assert_eq!(said.score(), Some(1.5 / 5.0));
    recorded.metric("health.score").assert_value(1.5 / 5.0);
    let kept = said.gauge("health.target.last_success.timestamp").unwrap();
    assert!(
        kept >= last && kept - last < 60.0,
        "failures are no success"
    );
    site.mode.store(WELL, Ordering::SeqCst);
    round(&mut checks).await;
    said.ended(2, "ok", None);
    assert_eq!(said.up(), Some(1.0));
    site.handle.stop(false).await;
    round(&mut checks).await;
    said.ended(1, "failed", Some("refused"));

    let duration = recorded.metric("health.check.duration");
    let duration = duration.label("health.target.kind", "http");
    assert_eq!(duration.label("health.target", "web").observations(), 7);
    // One line for each change.
    recorded.log("a target fails").assert_count(2);
    recorded.log("a target is well").assert_count(2);
    recorded.log("a target is slow").assert_count(1);
    assert!(!recorded.to_string().contains(SECRET), "{recorded}");

    checks.unknown();
    for gone in ["up", "degraded", "score", "last_success.timestamp"] {
        assert_eq!(said.gauge(&format!("health.target.{gone}")), None, "{gone}");
    }
    assert_eq!(recorded.metric("health.score").value(), None);
}

#[tokio::test]
async fn redirections_are_followed_on_the_same_host_only() {
    let recorded = testing::capture();
    let site = Site::start();
    let exact = |name: &str, path: &str| TargetConfig {
        status: vec!["200".to_owned()],
        ..target(name, &site.at(path))
    };
    let mut checks = checks(vec![
        exact("moved", "/moved"),
        exact("away", "/away"),
        target("away, and well", &site.at("/away")),
        exact("round", "/round"),
        TargetConfig {
            method: Method::Head,
            ..exact("head", "/health")
        },
    ]);
    round(&mut checks).await;
    Said(&recorded, "moved").ended(1, "ok", None);
    Said(&recorded, "head").ended(1, "ok", None);
    Said(&recorded, "away").failed_once("status");
    Said(&recorded, "away, and well").ended(1, "ok", None);
    Said(&recorded, "round").failed_once("connection");
    assert_eq!(site.asked_outside.load(Ordering::SeqCst), 0);
    recorded.metric("health.score").assert_value(3.0 / 5.0);
    site.handle.stop(false).await;
}

/// A server that answers everything over TLS.
async fn secure_site((certificate, key): &(String, String)) -> u16 {
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

#[tokio::test]
async fn certificates_are_verified_and_told_when_they_expire() {
    let recorded = testing::capture();
    let (ours, others) = (Authority::new(), Authority::new());
    let days = |days: u64| SystemTime::now() + Duration::from_secs(days * 86_400);
    let port = secure_site(&ours.sign_with(vec!["localhost".to_owned()], |says| {
        says.not_after = days(10).into();
    }))
    .await;
    let late = secure_site(&ours.sign_with(vec!["localhost".to_owned()], |says| {
        says.not_before = (SystemTime::now() - Duration::from_secs(9 * 86_400)).into();
        says.not_after = (SystemTime::now() - Duration::from_secs(86_400)).into();
    }))
    .await;
    let plain = Site::start();
    let trusting = |name: &str, url: &str, authority: &Authority| TargetConfig {
        ca_file: Some(authority.file("ca.pem", &authority.pem)),
        ..target(name, url)
    };
    let url = format!("https://localhost:{port}");
    let mut checks = checks(vec![
        trusting("well", &url, &ours),
        trusting("another's", &url, &others),
        trusting("another", &format!("https://127.0.0.1:{port}"), &ours),
        trusting("expired", &format!("https://localhost:{late}"), &ours),
        trusting("no TLS", &plain.url.replace("http:", "https:"), &ours),
    ]);
    round(&mut checks).await;
    let well = Said(&recorded, "well");
    well.ended(1, "ok", None);
    let left = well.gauge("health.target.certificate.remaining").unwrap();
    assert!((9.9..=10.0).contains(&(left / 86_400.0)), "{left}");
    for name in ["another's", "another", "expired", "no TLS"] {
        let said = Said(&recorded, name);
        said.failed_once("tls");
        assert_eq!(said.gauge("health.target.certificate.remaining"), None);
    }
    plain.handle.stop(false).await;
}

#[tokio::test]
async fn a_port_is_open_or_not_and_a_name_known_or_not() {
    let recorded = testing::capture();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut checks = checks(vec![
        target("port", &format!("tcp://{address}")),
        target("name", "tcp://nobody.invalid:80"),
        target("site", "http://nobody.invalid/"),
    ]);
    let said = Said(&recorded, "port");
    round(&mut checks).await;
    said.ended(1, "ok", None);
    Said(&recorded, "name").failed_once("dns");
    Said(&recorded, "site").failed_once("dns");
    drop(listener);
    round(&mut checks).await;
    said.failed_once("refused");
    let again = TcpListener::bind(address).await.unwrap();
    round(&mut checks).await;
    said.ended(2, "ok", None);
    assert_eq!(said.up(), Some(1.0));
    drop(again);
}

#[tokio::test]
async fn one_that_is_silent_holds_up_no_other_and_ends_as_abandoned_with_the_collector() {
    let recorded = testing::capture();
    let site = Site::start();
    site.mode.store(SILENT, Ordering::SeqCst);
    let quick = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let quick = format!("tcp://{}", quick.local_addr().unwrap());
    let mut checks = checks(vec![
        target("silent", &site.at("/health")),
        target("quick", &quick),
    ]);
    for ended in 1..=3 {
        let until = Instant::now() + Duration::from_millis(300);
        assert_eq!(checks.collect(until).await, Ok(Progress::Done));
        Said(&recorded, "quick").ended(ended, "ok", None);
    }
    let silent = Said(&recorded, "silent");
    assert_eq!(silent.up(), None, "it is not known yet");
    // It was asked once, as one question is enough.
    checks.unknown();
    let until = Instant::now() + Duration::from_secs(10);
    checks.collect(until).await.unwrap();
    assert_eq!(silent.count("abandoned", Some("abandoned")), 1);
    assert_eq!(silent.spans("abandoned", Some("abandoned")), 1);
    site.handle.stop(false).await;
}

#[tokio::test]
async fn redis_is_asked_and_its_password_is_shown_nowhere() {
    let Some(server) = redis::Server::start(&["--requirepass", SECRET]) else {
        return;
    };
    let recorded = testing::capture();
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{}", server.port());
    let short = |name: &str, url: &str| TargetConfig {
        timeout: Duration::from_secs(2),
        ..target(name, url)
    };
    let mut checks = checks(vec![
        short("redis", &url(SECRET)),
        short("stranger", &url("hunter3")),
    ]);
    let said = Said(&recorded, "redis");
    round(&mut checks).await;
    said.ended(1, "ok", None);
    Said(&recorded, "stranger").failed_once("answer");
    server.freeze();
    round(&mut checks).await;
    said.ended(1, "failed", Some("timeout"));
    server.thaw();
    round(&mut checks).await;
    said.ended(2, "ok", None);
    server.kill();
    round(&mut checks).await;
    said.ended(1, "failed", Some("refused"));
    assert_eq!(said.score(), Some(0.5));
    server.run();
    round(&mut checks).await;
    said.ended(3, "ok", None);
    assert!(!recorded.to_string().contains("hunter"), "{recorded}");
}

#[tokio::test]
async fn databases_are_asked() {
    let recorded = testing::capture();
    let folder = tempfile::tempdir().unwrap();
    let (file, none) = (folder.path().join("a.db"), folder.path().join("b.db"));
    let options = SqliteConnectOptions::new().filename(&file);
    let mut connection = options.create_if_missing(true).connect().await.unwrap();
    let table = "CREATE TABLE a(b); PRAGMA locking_mode = exclusive";
    sqlx::raw_sql(table).execute(&mut connection).await.unwrap();
    let sqlite = |file: &Path| format!("sqlite://{}", file.display());
    let mut files = checks(vec![
        TargetConfig {
            timeout: Duration::from_millis(500),
            ..target("file", &sqlite(&file))
        },
        target("no file", &sqlite(&none)),
    ]);
    let said = Said(&recorded, "file");
    round(&mut files).await;
    said.ended(1, "ok", None);
    Said(&recorded, "no file").failed_once("answer");
    assert!(!none.exists(), "nothing is created");
    // Whoever holds it exclusively keeps others out until it is done.
    let write = "INSERT INTO a VALUES (1)";
    sqlx::raw_sql(write).execute(&mut connection).await.unwrap();
    round(&mut files).await;
    said.failed_once("timeout");
    connection.close().await.unwrap();
    round(&mut files).await;
    said.ended(2, "ok", None);

    let Some(server) = postgres::Server::start(&["fsync=off"]) else {
        return;
    };
    let mut checks = checks(vec![
        target("server", &server.url("postgres")),
        target("no database", &server.url("nothing")),
    ]);
    let said = Said(&recorded, "server");
    round(&mut checks).await;
    said.ended(1, "ok", None);
    Said(&recorded, "no database").failed_once("answer");
    server.crash();
    round(&mut checks).await;
    said.failed_once("refused");
    server.run();
    round(&mut checks).await;
    said.ended(2, "ok", None);
    assert_eq!(said.score(), Some(2.0 / 3.0));
}

#[test]
fn the_service_checks_what_it_is_told_and_says_so_on_the_health_endpoint() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let gate = listener.local_addr().unwrap();
    drop(listener);
    let config = format!(
        "[[collectors.health.targets]]\nname = \"gate\"\nurl = \"tcp://{gate}\"\n\
         interval = \"1h\"\ngroup = \"edge\"\nmachine = \"m2\"\n\
         [[collectors.health.targets]]\nname = \"site\"\ninterval = \"1s\"\n\
         url = \"http://me:{SECRET}@{gate}/?token={SECRET}\"\nstatus = [\"200-299\"]\n"
    );
    std::fs::write(folder.path().join("tachograph.toml"), config).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(BINARY);
        command
            .current_dir(folder.path())
            .env_clear()
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(["--config", "tachograph.toml"])
            .args(arguments)
            .stdin(Stdio::null());
        command
    };
    let shown = run(&["--print-config"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("[collectors.health]\ntargets = [") && !shown.contains(SECRET),
        "{shown}"
    );

    let mut child = run(&[])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let id = child.id().to_string();
    let mut process = Process(child);
    let mut lines = lines.map_while(Result::ok);
    let line = lines.find(|line| line.contains("listening")).unwrap();
    let rest = std::thread::spawn(move || lines.collect::<Vec<_>>().join("\n"));
    let line: Value = serde_json::from_str(&line).unwrap();
    let address = line["fields"]["listen"].as_str().unwrap().to_owned();
    let get = |path: &str| {
        let answer = reqwest::blocking::get(format!("http://{address}{path}"));
        answer.unwrap().text().unwrap()
    };
    let page = || get("/metrics");
    let up = "health_target_up{group=\"edge\",health_target=\"gate\",machine=\"m2\"} ";
    let up = |value: &str| page().lines().any(|line| line == format!("{up}{value}"));
    until("it is checked", || up("0"));
    let health =
        || -> Value { serde_json::from_str(&get("/api/monitoring/health/metrics")).unwrap() };
    let report = health();
    let targets = &report["collectors"]["health"]["targets"];
    assert_eq!(targets["gate"]["state"], "failing", "{report:#}");
    assert_eq!(targets["gate"]["error"], "refused");
    assert!(targets["gate"]["reason"].is_string());
    assert_eq!(targets["gate"]["score"], 0.0);
    assert_eq!(targets["gate"]["last_success"], Value::Null);
    // What is checked is not the service itself.
    assert_eq!(report["collectors"]["health"]["up"], true, "{report:#}");
    assert_eq!(report["status"], "ok", "{report:#}");

    let _listener = std::net::TcpListener::bind(gate).unwrap();
    let sent = Command::new("kill").args(["-HUP", &id]).status();
    assert!(sent.unwrap().success());
    until("a hangup asks for a check", || up("1"));
    let report = health();
    let gate = &report["collectors"]["health"]["targets"]["gate"];
    assert_eq!(
        (&gate["state"], &gate["score"]),
        (&"ok".into(), &0.5.into())
    );
    assert!(gate["last_success"].is_string(), "{gate}");
    let (page, health) = (page(), report.to_string());
    assert!(process.stop().success());
    for text in [page, health, rest.join().unwrap()] {
        assert!(!text.contains(SECRET), "{text}");
    }

    let config = "[[collectors.health.targets]]\nname = \"x\"\nurl = \"ftp://me:hunter2@x\"\n";
    std::fs::write(folder.path().join("tachograph.toml"), config).unwrap();
    let refused = run(&[]).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success());
    assert!(said.contains("collectors.health.targets"), "{said}");
    assert!(!said.contains(SECRET), "{said}");
}
