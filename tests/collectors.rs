//! Collectors against what they read: the machine, control groups, and whose turn it is on a
//! real PostgreSQL.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use support::postgres::Server;
use tachograph::collectors::business::{Business, BusinessConfig, FigureConfig};
use tachograph::collectors::host::{Host, HostConfig};
use tachograph::collectors::{
    CollectError, Collector, PostgresTurns, Progress, Schedule, Supervised,
};
use tachograph::pipeline::collectors::reports;
use tachograph::pipeline::metrics::install;
use tachograph::recording::Reading;
use tachograph::signals::CATALOG;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(60);

fn installed() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        install(Resource::builder_empty().build(), CATALOG, false).unwrap();
    });
}

/// What a metric reads where its labels have these values; `None`: there is no such series.
fn reads(metric: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let found = tachograph::recording::find_metric(metric).expect(metric);
    let all = found.1.series();
    let mut series = all.iter().filter(|one| {
        let has = |(key, value): &(&str, &str)| one.label(key) == Some(*value);
        labels.iter().all(has)
    });
    match series.next()?.read() {
        Reading::Float(value) => Some(value),
        Reading::Unsigned(value) => Some(value as f64),
        _ => None,
    }
}

fn write(root: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

fn number(file: &str, key: &str) -> f64 {
    let text = std::fs::read_to_string(file).unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_ascii_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn the_host_is_read_as_the_system_tells_it() {
    installed();
    let folder = tempfile::tempdir().unwrap();
    let group = "sys/fs/cgroup/box";
    let stat = |periods, throttled| {
        format!(
            "usage_usec {periods}000000\nnr_periods {periods}\nnr_throttled {throttled}\n\
             throttled_usec 500000\n"
        )
    };
    write(
        folder.path(),
        &[
            ("proc/self/cgroup", "0::/box\n"),
            ("proc/1/stat", ""),
            ("proc/42/stat", ""),
            ("sys/fs/cgroup/cgroup.controllers", "cpu memory"),
            (&format!("{group}/cpu.stat"), &stat(100, 10)),
            (&format!("{group}/cpu.max"), "150000 100000\n"),
            (&format!("{group}/memory.max"), "1000\n"),
            (&format!("{group}/memory.current"), "950\n"),
            (&format!("{group}/memory.stat"), "inactive_file 50\n"),
            (&format!("{group}/memory.events"), "oom_kill 7\n"),
        ],
    );
    let config = HostConfig::default();
    let mut host = Host::new(&config).unwrap().unwrap().root(folder.path());
    let until = Instant::now() + PATIENCE;
    assert_eq!(host.collect(until).await, Ok(Progress::Done));
    // A share of the time between two readings is not known after the first.
    assert_eq!(reads("system.cpu.utilization", &[]), None);
    assert_eq!(
        reads("container.cpu.periods", &[("throttling", "throttled")]),
        Some(0.0)
    );
    assert_eq!(reads("container.memory.oom_kills", &[]), Some(0.0));

    write(
        folder.path(),
        &[
            (&format!("{group}/cpu.stat"), &stat(140, 30)),
            (&format!("{group}/memory.events"), "oom_kill 9\n"),
        ],
    );
    sleep(Duration::from_millis(250)).await;
    assert_eq!(host.collect(until).await, Ok(Progress::Done));
    for (metric, labels, expected) in [
        (
            "container.cpu.periods",
            &[("throttling", "throttled")][..],
            20.0,
        ),
        (
            "container.cpu.periods",
            &[("throttling", "unthrottled")],
            20.0,
        ),
        ("container.cpu.time", &[], 40.0),
        ("container.cpu.limit", &[], 1.5),
        ("container.memory.usage", &[], 950.0),
        ("container.memory.working_set", &[], 900.0),
        ("container.memory.limit", &[], 1000.0),
        ("container.memory.utilization", &[], 0.9),
        ("container.memory.oom_kills", &[], 2.0),
        ("system.process.count", &[], 2.0),
        (
            "system.memory.limit",
            &[],
            number("/proc/meminfo", "MemTotal") * 1024.0,
        ),
    ] {
        let found = reads(metric, labels);
        let close = found.is_some_and(|found| (found - expected).abs() <= expected * 1e-9);
        assert!(close, "{metric} {labels:?}: {found:?}, not {expected}");
    }
    let state = |metric, state| reads(metric, &[("system.memory.state", state)]).unwrap();
    let shares: f64 = ["used", "cached", "free"]
        .map(|one| state("system.memory.utilization", one))
        .iter()
        .sum();
    assert!((shares - 1.0).abs() < 1e-9, "{shares}");
    let busy = reads("system.cpu.utilization", &[]).unwrap();
    assert!((0.0..=1.0).contains(&busy), "{busy}");
    let resident = number("/proc/self/status", "VmRSS") * 1024.0;
    let memory = reads("process.memory.usage", &[]).unwrap();
    assert!((memory / resident - 1.0).abs() < 0.2, "{memory} {resident}");
    assert!(reads("process.thread.count", &[]).unwrap() >= 1.0);
    let files = reads("process.unix.file_descriptor.count", &[]).unwrap();
    assert!(files >= 3.0, "{files}");
    let share = reads("process.unix.file_descriptor.utilization", &[]).unwrap();
    assert!(share > 0.0 && share < 1.0, "{share}");

    // No limit any more: what was said of it goes.
    write(folder.path(), &[(&format!("{group}/memory.max"), "max\n")]);
    assert_eq!(host.collect(until).await, Ok(Progress::Done));
    for metric in ["container.memory.limit", "container.memory.utilization"] {
        assert_eq!(reads(metric, &[]), None, "{metric}");
    }
    host.unknown();
    for metric in [
        "system.memory.usage",
        "system.filesystem.usage",
        "system.filesystem.utilization",
        "process.memory.usage",
        "system.cpu.load_average",
    ] {
        assert_eq!(reads(metric, &[]), None, "{metric}");
    }
}

/// Who publishes, over all runners of a test.
#[derive(Default)]
struct Publishing {
    now: AtomicUsize,
    at_once: AtomicBool,
}

/// Publishes that it reads.
struct Published {
    who: usize,
    publishes: bool,
    all: Arc<Publishing>,
    last: watch::Sender<Option<usize>>,
}

impl Collector for Published {
    fn name(&self) -> &'static str {
        "shared"
    }

    fn schedule(&self) -> Schedule {
        Schedule::every(Duration::from_millis(5), Duration::from_secs(1))
    }

    async fn collect(&mut self, _: Instant) -> Result<Progress, CollectError> {
        if !self.publishes {
            self.publishes = true;
            if self.all.now.fetch_add(1, Ordering::SeqCst) > 0 {
                self.all.at_once.store(true, Ordering::SeqCst);
            }
            self.last.send_replace(Some(self.who));
        }
        Ok(Progress::Done)
    }

    fn unknown(&mut self) {
        if std::mem::take(&mut self.publishes) {
            self.all.now.fetch_sub(1, Ordering::SeqCst);
            let gone = self.who;
            self.last
                .send_if_modified(|last| last.take_if(|who| *who == gone).is_some());
        }
    }
}

/// A way to a server that can be cut: it stays open, and nothing comes through any more.
async fn way(to: String) -> (u16, Arc<AtomicBool>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let cut = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&cut);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (to, cut) = (to.clone(), Arc::clone(&seen));
            tokio::spawn(async move {
                let Ok(mut server) = TcpStream::connect(&to).await else {
                    return;
                };
                let dead = async {
                    while !cut.load(Ordering::SeqCst) {
                        sleep(Duration::from_millis(5)).await;
                    }
                };
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => return,
                    () = dead => {}
                }
                // Both sides go on thinking that there is another.
                sleep(PATIENCE).await;
            });
        }
    });
    (port, cut)
}

#[tokio::test]
async fn one_of_several_reads_and_another_takes_over_when_it_is_gone() {
    let Some(server) = Server::shared() else {
        return;
    };
    let url = server.database().await;
    let lease = Duration::from_millis(600);
    let (all, (last, mut publisher)) = (Arc::new(Publishing::default()), watch::channel(None));
    let mut ways = Vec::new();
    let mut runners = Vec::new();
    for who in 0..3 {
        let address = url.split('@').nth(1).unwrap().split('/').next().unwrap();
        let (port, cut) = way(address.to_owned()).await;
        let turns = PostgresTurns::new(&url.replace(address, &format!("127.0.0.1:{port}")), "x");
        let collector = Published {
            who,
            publishes: false,
            all: Arc::clone(&all),
            last: last.clone(),
        };
        let turns = turns.unwrap().lease(lease);
        runners.push(Some(Supervised::start_in_turn(collector, turns).unwrap()));
        ways.push(cut);
    }
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let mut previous = None;
    for gone in ["its connection is ended", "its way is cut", "it stops"] {
        let next = timeout(
            PATIENCE,
            publisher.wait_for(|who| who.is_some() && *who != previous),
        );
        let who = next.await.expect(gone).unwrap().unwrap();
        match gone {
            "its connection is ended" => {
                let ended: i64 = sqlx::query_scalar(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_locks \
                     WHERE locktype = 'advisory' AND granted",
                )
                .fetch_one(&mut connection)
                .await
                .unwrap();
                assert_eq!(ended, 1, "one holds the lock");
                // Whoever it is next, the one before is off the page first.
                let off = timeout(PATIENCE, publisher.wait_for(Option::is_none));
                off.await.unwrap().unwrap();
                continue;
            }
            "its way is cut" => ways[who].store(true, Ordering::SeqCst),
            _ => drop(runners[who].take()),
        }
        previous = Some(who);
    }
    let next = timeout(
        PATIENCE,
        publisher.wait_for(|who| who.is_some() && *who != previous),
    );
    next.await.expect("after the second").unwrap();
    assert!(!all.at_once.load(Ordering::SeqCst), "two published at once");
    assert_eq!(all.now.load(Ordering::SeqCst), 1);
    for runner in runners.iter().flatten() {
        assert!(runner.shutdown(PATIENCE).await);
    }
    assert_eq!(all.now.load(Ordering::SeqCst), 0);
}

const TABLES: &str = "
CREATE TABLE users(id INTEGER);
INSERT INTO users VALUES (1), (2), (3);
CREATE TABLE orders(status TEXT, country TEXT, amount NUMERIC);
INSERT INTO orders VALUES ('paid', 'DE', 10.5), ('paid', 'DE', 2), ('open', 'FR', 7);
";
/// What makes a database work for minutes.
const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
                       WHERE i < 1000000000) SELECT count(*) FROM n";

/// Keys of which two are active, and their times as the database writes them.
fn keys(kind: &str, past: &str, future: &str) -> String {
    format!(
        "CREATE TABLE api_keys(is_active BOOLEAN, expires_at {kind});\n\
         INSERT INTO api_keys VALUES (TRUE, NULL), (TRUE, {future}), (TRUE, {past}), \
         (FALSE, {future})"
    )
}

fn business(database: &str) -> Business {
    let figure = |name: &str, sql: &str| FigureConfig {
        name: name.to_owned(),
        sql: sql.to_owned(),
    };
    let config = BusinessConfig {
        database: Some(database.to_owned()),
        timeout: Duration::from_millis(500),
        figures: vec![
            figure(
                "revenue",
                "SELECT status, country, sum(amount) FROM orders GROUP BY 1, 2",
            ),
            figure("orders", "SELECT count(*) FROM orders -- all of them"),
            figure(
                "nothing",
                "SELECT sum(amount) FROM orders WHERE status = 'lost'",
            ),
            figure("endless", ENDLESS),
            figure("text", "SELECT 'many'"),
        ],
        ..BusinessConfig::default()
    };
    Business::new(&config).unwrap().unwrap()
}

/// Reads a database twice, between which `changed` is run in it.
async fn read_business(url: &str, mut changed: impl AsyncFnMut(&'static str)) {
    let mut business = business(url);
    let until = Instant::now() + PATIENCE;
    assert_eq!(business.collect(until).await, Ok(Progress::Done), "{url}");
    let figure = |name| reads("business.figure", &[("figure", name)]);
    let revenue = |group, subgroup| {
        let labels = [
            ("figure", "revenue"),
            ("group", group),
            ("subgroup", subgroup),
        ];
        reads("business.figure", &labels)
    };
    assert_eq!(reads("business.users", &[]), Some(3.0), "{url}");
    assert_eq!(reads("business.api_keys.active", &[]), Some(2.0), "{url}");
    assert_eq!(revenue("paid", "DE"), Some(12.5));
    assert_eq!(revenue("open", "FR"), Some(7.0));
    assert_eq!(figure("orders"), Some(3.0));
    // What is not there is absent, not zero, and said.
    assert_eq!(reads("business.sessions.active", &[]), None);
    assert_eq!(figure("nothing"), None, "a sum of no rows is no number");
    assert_eq!(figure("endless"), None);
    assert_eq!(figure("text"), None);
    let missing = reports().remove("business").unwrap().missing;
    let names: Vec<&str> = missing.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["figures.endless", "figures.text", "sessions"],
        "{missing:?}"
    );
    assert!(missing["sessions"].contains("sessions"), "{missing:?}");
    assert!(
        missing["figures.text"].contains("`many` is no number"),
        "{missing:?}"
    );
    let counted = [("collector", "business")];
    assert_eq!(reads("tachograph.collector.missing", &counted), Some(3.0));

    changed("DELETE FROM orders WHERE country = 'FR'").await;
    changed("CREATE TABLE sessions(expires_at TEXT)").await;
    changed("ALTER TABLE users RENAME TO people").await;
    assert_eq!(business.collect(until).await, Ok(Progress::Done));
    assert_eq!(revenue("open", "FR"), None, "a row that is gone");
    assert_eq!(revenue("paid", "DE"), Some(12.5));
    assert_eq!(reads("business.users", &[]), None, "a table that is gone");
    business.unknown();
    assert_eq!(revenue("paid", "DE"), None);
    assert_eq!(reads("business.api_keys.active", &[]), None);
}

#[tokio::test]
async fn figures_are_read_from_sqlite_and_from_postgresql() {
    installed();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backend.db");
    let options = SqliteConnectOptions::new().filename(&file);
    let mut connection = options.create_if_missing(true).connect().await.unwrap();
    let later = "strftime('%Y-%m-%dT%H:%M:%S', 'now', '+1 hour')";
    let earlier = "strftime('%Y-%m-%dT%H:%M:%S', 'now', '-1 hour')";
    for sql in [TABLES, &keys("TEXT", earlier, later)] {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    }
    let url = format!("sqlite://{}", file.display());
    read_business(&url, async |sql| {
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    })
    .await;
    assert!(business(&url).turns().unwrap().is_none());

    let Some(server) = Server::shared() else {
        return;
    };
    let url = server.database().await;
    let database = url.rsplit('/').next().unwrap();
    server.execute(database, TABLES).await;
    let hour = "now() at time zone 'UTC'";
    let keys = keys(
        "TIMESTAMP",
        &format!("{hour} - interval '1 hour'"),
        &format!("{hour} + interval '1 hour'"),
    );
    server.execute(database, &keys).await;
    // A zone of the database that is not UTC changes nothing.
    let zone = format!("ALTER DATABASE {database} SET timezone = 'Asia/Tokyo'");
    server.execute(database, &zone).await;
    read_business(&url, async |sql| server.execute(database, sql).await).await;
    assert!(business(&url).turns().unwrap().is_some());

    let mut away = business("postgres://nobody@127.0.0.1:1/nothing");
    let error = away.collect(Instant::now() + PATIENCE).await.unwrap_err();
    assert!(error.0.contains("refused"), "{error}");
}

#[test]
fn queries_that_could_change_something_are_refused() {
    for (sql, accepted) in [
        ("SELECT 1", true),
        (" with a AS (SELECT 1) SELECT * FROM a", true),
        ("DELETE FROM users", false),
        ("SELECT 1; DELETE FROM users", false),
        ("", false),
    ] {
        let config = BusinessConfig {
            database: Some("sqlite://x.db".to_owned()),
            figures: vec![FigureConfig {
                name: "x".to_owned(),
                sql: sql.to_owned(),
            }],
            ..BusinessConfig::default()
        };
        let problems = config.check();
        assert_eq!(problems.is_empty(), accepted, "{sql}: {problems:?}");
    }
}
