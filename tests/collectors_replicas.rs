//! Two services on one PostgreSQL: each of the collectors that they share is one's at a time, and
//! the other's when that one is killed.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use support::postgres::Server;
use support::prometheus::Process;
use support::workflow_db::value;
use tokio::runtime::Runtime;

const BINARY: &str = env!("CARGO_BIN_EXE_tachograph");
/// How long it may take until somebody reads; documented as half a minute.
const TAKE_OVER: Duration = Duration::from_secs(30);
const USERS: &str = "business_users";
const ORDERS: &str = "business_figure{figure=\"orders\"}";
const SIZE: &str = "database_server_size_bytes{";
const COMMITS: &str = "database_server_transactions_total{";

/// A service with the collectors of both.
struct Replica {
    process: Process,
    address: String,
}

impl Replica {
    fn start(folder: &Path, name: &str) -> Self {
        let mut child = Command::new(BINARY)
            .current_dir(folder)
            .env_clear()
            .env("TACHOGRAPH_LEDGER__OWNER", name)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(["--config", "tachograph.toml"])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let process = Process(child);
        let mut lines = lines.map_while(Result::ok);
        let line = lines.find(|line| line.contains("listening"));
        std::thread::spawn(move || lines.for_each(drop));
        let line: Value = serde_json::from_str(&line.expect("it listens")).unwrap();
        let address = line["fields"]["listen"].as_str().unwrap().to_owned();
        Self { process, address }
    }

    fn get(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.address);
        reqwest::blocking::get(url).unwrap().text().unwrap()
    }

    fn page(&self) -> String {
        self.get("/metrics")
    }

    fn report(&self, collector: &str) -> Value {
        let health: Value = serde_json::from_str(&self.get("/api/monitoring/health/metrics"))
            .expect("the health endpoint answers JSON");
        health["collectors"][collector].clone()
    }
}

/// Whether a page has a series that begins like this.
fn has(page: &str, series: &str) -> bool {
    page.lines().any(|line| line.starts_with(series))
}

/// Which of the replicas publishes a series; never two do.
fn publisher(replicas: &[Replica], series: &str) -> Option<usize> {
    let pages: Vec<String> = replicas.iter().map(Replica::page).collect();
    let mut publishing = (0..pages.len()).filter(|at| has(&pages[*at], series));
    let first = publishing.next();
    assert_eq!(publishing.next(), None, "{series} is published twice");
    first
}

/// Waits for what is to hold, and that nothing is published twice meanwhile.
fn wait(what: &str, replicas: &[Replica], mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        for series in [USERS, ORDERS, SIZE] {
            publisher(replicas, series);
        }
        assert!(start.elapsed() < TAKE_OVER, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What a replica has counted of commits.
fn commits(page: &str) -> f64 {
    let lines = page.lines().filter(|line| line.starts_with(COMMITS));
    let commits = lines.filter(|line| line.contains("end=\"commit\""));
    commits
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

struct Database {
    runtime: Runtime,
    server: Server,
}

impl Database {
    fn execute(&self, sql: &str) {
        self.runtime.block_on(self.server.execute("backend", sql));
    }

    fn commits(&self) -> f64 {
        self.runtime.block_on(async {
            let url = self.server.url("backend");
            let mut connection = PgConnection::connect(&url).await.unwrap();
            let commits: i64 = sqlx::query_scalar(
                "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()",
            )
            .fetch_one(&mut connection)
            .await
            .unwrap();
            connection.close().await.unwrap();
            commits as f64
        })
    }
}

fn database() -> Option<Database> {
    let server = Server::start(&["fsync=off"])?;
    let runtime = Runtime::new().unwrap();
    runtime.block_on(server.execute("postgres", "CREATE DATABASE backend"));
    let database = Database { runtime, server };
    database.execute(
        "CREATE ROLE watcher LOGIN;
         CREATE TABLE users(id INTEGER);
         INSERT INTO users VALUES (1), (2), (3);
         CREATE TABLE api_keys(is_active BOOLEAN, expires_at TIMESTAMPTZ);
         CREATE TABLE orders(id INTEGER);
         INSERT INTO orders VALUES (1), (2)",
    );
    Some(database)
}

#[test]
fn one_reads_the_other_stands_by_and_takes_over_when_the_first_is_killed() {
    let Some(database) = database() else {
        return;
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let url = database.server.url("backend");
    let watcher = url.replace("tachograph@", "watcher@");
    let config = format!(
        "database = \"{url}\"\n\
         [collectors.database]\ndatabase = \"{watcher}\"\ninterval = \"1s\"\n\
         [collectors.business]\ndatabase = \"{url}\"\ninterval = \"1s\"\nsessions = \"\"\n\
         [[collectors.business.figures]]\nname = \"orders\"\nsql = \"SELECT count(*) FROM orders\"\n"
    );
    std::fs::write(folder.path().join("tachograph.toml"), config).unwrap();
    let before = database.commits();
    let mut replicas = vec![
        Replica::start(folder.path(), "one"),
        Replica::start(folder.path(), "two"),
    ];

    // Each collector has its turns: they need not be the same one's.
    for (collector, series) in [("business", ORDERS), ("database", SIZE)] {
        wait(collector, &replicas, || {
            publisher(&replicas, series).is_some()
        });
        let reader = publisher(&replicas, series).unwrap();
        let turn = format!("tachograph_collector_turn{{collector=\"{collector}\"}}");
        for (at, replica) in replicas.iter().enumerate() {
            let (ours, state) = match at == reader {
                true => (1.0, "reading"),
                false => (0.0, "standby"),
            };
            assert_eq!(value(&replica.page(), &turn), Some(ours), "{collector}");
            assert_eq!(replica.report(collector)["state"], state);
        }
        let other = replicas[1 - reader].page();
        assert!(!has(&other, series), "{other}");
        // Whether it works is not known of one that does not read.
        let up = format!("tachograph_collector_up{{collector=\"{collector}\"}}");
        assert!(!has(&other, &up), "{other}");
    }

    // A table that is gone takes its own figure along, and no other.
    let reader = publisher(&replicas, ORDERS).unwrap();
    assert_eq!(value(&replicas[reader].page(), USERS), Some(3.0));
    database.execute("DROP TABLE users");
    wait("the users leave the page", &replicas, || {
        !has(&replicas[reader].page(), USERS)
    });
    assert_eq!(value(&replicas[reader].page(), ORDERS), Some(2.0));
    assert!(publisher(&replicas, SIZE).is_some());
    let missing = replicas[reader].report("business")["missing"].clone();
    assert!(missing["users"].is_string(), "{missing}");
    assert_eq!(missing.as_object().unwrap().len(), 1, "{missing}");

    // So does a connection that is closed for good.
    let watching = publisher(&replicas, SIZE).unwrap();
    database.execute(
        "ALTER ROLE watcher NOLOGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE application_name = 'tachograph-collector'",
    );
    let up = "tachograph_collector_up{collector=\"database\"}";
    wait("the database's size leaves the page", &replicas, || {
        let page = replicas[watching].page();
        value(&page, up) == Some(0.0) && !has(&page, SIZE)
    });
    assert_eq!(value(&replicas[reader].page(), ORDERS), Some(2.0));
    database.execute("ALTER ROLE watcher LOGIN; CREATE TABLE users(id INTEGER)");
    wait("both are back", &replicas, || {
        let users = value(&replicas[reader].page(), USERS);
        users == Some(0.0) && publisher(&replicas, SIZE) == Some(watching)
    });

    // Whoever reads the figures is killed: the other reads both soon.
    let reader = publisher(&replicas, ORDERS).unwrap();
    let mut killed = replicas.remove(reader);
    let counted = commits(&killed.page());
    killed.process.0.kill().unwrap();
    killed.process.0.wait().unwrap();
    let start = Instant::now();
    for series in [ORDERS, SIZE] {
        wait("the other takes over", &replicas, || {
            publisher(&replicas, series) == Some(0)
        });
    }
    assert!(start.elapsed() < TAKE_OVER);
    let page = replicas[0].page();
    assert_eq!(value(&page, ORDERS), Some(2.0));
    assert_eq!(replicas[0].report("business")["state"], "reading");
    // What both counted was there: none of it twice.
    let growing = || commits(&replicas[0].page());
    let first = growing();
    wait("it counts", &replicas, || growing() > first);
    let both = counted + growing();
    let all = database.commits() - before;
    assert!(both > 0.0 && both <= all, "{both} of {all}");
}
