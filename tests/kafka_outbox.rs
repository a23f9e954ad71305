//! Records that are accepted while Kafka is away, while the service is killed, and by two services
//! at once: each is in the topic in the end, and nothing is held up by Kafka.
#![cfg(all(unix, feature = "service", feature = "kafka"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use support::kafka::{Event, Server};
use support::postgres;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(120);
const TOPIC: &str = "agent-actions";

/// `tachograph serve` that publishes; killed when dropped.
struct Service {
    process: Child,
    base: String,
    http: reqwest::Client,
}

impl Service {
    fn start(folder: &Path, database: &str, brokers: &str, kafka: &str) -> Self {
        // Fails when another test was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let file = folder.join("tachograph.toml");
        let text = format!(
            "database = \"{database}\"\n[kafka]\nbrokers = [\"{brokers}\"]\n\
             delivery_timeout = \"2s\"\n{kafka}\n[kafka.options]\n\
             \"statistics.interval.ms\" = \"200\"\n\
             \"topic.metadata.propagation.max.ms\" = \"500\"\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_tachograph"))
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(&file)
            .current_dir(folder)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = Vec::new();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let listening = lines.by_ref().map_while(Result::ok).find(|line| {
            said.push(line.clone());
            line.contains("listening")
        });
        let line = listening.unwrap_or_else(|| panic!("it did not start: {said:#?}"));
        // Read to the end, so that the service is never held up by its log.
        std::thread::spawn(move || lines.count());
        let rest = line.split("127.0.0.1:").nth(1).unwrap();
        let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Self {
            process,
            base: format!("http://127.0.0.1:{port}"),
            http: reqwest::Client::new(),
        }
    }

    /// SIGKILL: no handler runs, nothing is flushed.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Sends actions with these ids; how many were accepted and how many known, or nothing if no
    /// answer came.
    async fn send(&self, numbers: impl Iterator<Item = usize>) -> Option<(u64, u64)> {
        let records: Vec<Value> = numbers.map(action).collect();
        let url = format!("{}/api/v1/records", self.base);
        let sending = self.http.post(url).body(Value::from(records).to_string());
        let response = sending.send().await.ok()?;
        assert_eq!(response.status().as_u16(), 200);
        let answer: Value = response.json().await.ok()?;
        assert_eq!(answer["rejected"], json!([]));
        let count = |field: &str| answer[field].as_u64().unwrap();
        Some((count("accepted"), count("duplicates")))
    }

    /// A series of the page, by its name and labels as they stand there.
    async fn value(&self, series: &str) -> Option<f64> {
        let url = format!("{}/api/monitoring/metrics", self.base);
        let page = self.http.get(url).send().await.unwrap();
        let page = page.text().await.unwrap();
        let mut lines = page.lines();
        let line = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(line.parse().unwrap())
    }

    async fn until(&self, series: &str, expected: f64) {
        let start = Instant::now();
        loop {
            let value = self.value(series).await;
            if value == Some(expected) {
                return;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{series} is {value:?} and not {expected}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn outcome(&self, outcome: &str) -> f64 {
        let series = format!("event_outbox_events_total{{event_outbox_outcome=\"{outcome}\"}}");
        self.value(&series).await.unwrap_or(0.0)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const ROWS: &str = "event_outbox_rows";

fn id(number: usize) -> String {
    format!("7ac00000-0000-4000-8000-{number:012x}")
}

fn action(number: usize) -> Value {
    json!({
        "signal": "action.log",
        "id": id(number),
        "time": "2026-06-01T08:00:00.5Z",
        "duration": 0.25,
        "fields": {"gen_ai.agent.name": "planner", "action.type": "decision", "status": "success"},
        "context": {"action.name": format!("décision {number}"), "session.id": "s-1"},
    })
}

fn ids(numbers: impl Iterator<Item = usize>) -> BTreeSet<String> {
    numbers.map(id).collect()
}

fn keys(events: &[Event]) -> BTreeSet<String> {
    events.iter().map(|event| event.key.clone()).collect()
}

fn sqlite(folder: &TempDir) -> String {
    format!("sqlite://{}", folder.path().join("records.db").display())
}

#[tokio::test]
async fn what_is_accepted_while_kafka_is_away_is_published_when_it_comes() {
    let Some(kafka) = Server::prepare() else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let service = Service::start(folder.path(), &sqlite(&folder), &kafka.brokers(), "");
    for batch in 0..30 {
        let numbers = batch * 10..batch * 10 + 10;
        assert_eq!(service.send(numbers).await, Some((10, 0)));
    }
    // Another signal is not published, and what is known already not twice.
    let url = format!("{}/api/v1/records", service.base);
    let other = json!({"signal": "tool.call", "duration": 1,
        "fields": {"gen_ai.tool.name": "Bash", "status": "success"}});
    let other = service.http.post(url).body(other.to_string()).send().await;
    assert_eq!(other.unwrap().status().as_u16(), 200);
    assert_eq!(service.send(0..10).await, Some((0, 10)));

    service.until(ROWS, 300.0).await;
    service
        .until(
            "messaging_kafka_client_brokers{messaging_client_id=\"kafka_outbox\"}",
            0.0,
        )
        .await;
    let start = Instant::now();
    while service.outcome("retried").await < 300.0 {
        assert!(start.elapsed() < PATIENCE, "nothing was tried");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(
        service
            .value("event_outbox_oldest_age_seconds")
            .await
            .unwrap()
            > 0.0
    );
    assert!(
        service
            .value("event_outbox_saturation_ratio")
            .await
            .unwrap()
            > 0.0
    );
    assert_eq!(service.outcome("published").await, 0.0);

    kafka.run();
    kafka.topic(TOPIC, 3).await;
    service.until(ROWS, 0.0).await;
    service.until("event_outbox_oldest_age_seconds", 0.0).await;
    let published = kafka.read(TOPIC);
    assert_eq!(keys(&published), ids(0..300));
    assert_eq!(service.outcome("published").await, published.len() as f64);
    assert_eq!(service.outcome("dropped").await, 0.0);
    let event = published.iter().find(|event| event.key == id(7)).unwrap();
    for (name, value) in [
        ("id", &*id(7)),
        ("signal", "action.log"),
        ("schema", "tachograph.record/1"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(event.header(name), Some(value));
    }
    assert!(event.header("traceparent").is_some());
    let mut read: Value = serde_json::from_str(&event.value).unwrap();
    let received = read["received"].take();
    assert!(received.as_str().unwrap().ends_with('Z'), "{received}");
    let mut expected = action(7);
    expected["schema"] = "tachograph.record/1".into();
    expected["received"] = Value::Null;
    expected["parent"] = Value::Null;
    // Entries of the action log say how long writing them took; the row's is the action's own.
    expected["duration"] = read["duration"].clone();
    assert_eq!(read, expected);
}

#[tokio::test]
async fn a_full_outbox_drops_its_oldest_counts_them_and_never_holds_records_up() {
    let Some(kafka) = Server::prepare() else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let most = "outbox_max_rows = 50";
    let service = Service::start(folder.path(), &sqlite(&folder), &kafka.brokers(), most);
    for batch in 0..8 {
        let numbers = batch * 10..batch * 10 + 10;
        assert_eq!(service.send(numbers).await, Some((10, 0)));
    }
    service.until(ROWS, 50.0).await;
    service.until("event_outbox_saturation_ratio", 1.0).await;
    assert_eq!(service.outcome("dropped").await, 30.0);
    kafka.run();
    kafka.topic(TOPIC, 1).await;
    service.until(ROWS, 0.0).await;
    // The client may have sent one more that was dropped meanwhile, and none is missing.
    let published = keys(&kafka.read(TOPIC));
    assert!(published.is_superset(&ids(30..80)), "{published:?}");
}

#[tokio::test]
async fn a_topic_that_nobody_made_holds_no_other_up_and_what_is_too_large_is_given_up() {
    let Some(kafka) = Server::start() else {
        return;
    };
    kafka.topic("tools", 1).await;
    let folder = TempDir::new().unwrap();
    let topics = "[kafka.topics]\n\"action.log\" = \"agent-actions\"\n\"tool.call\" = \"tools\"\n";
    let service = Service::start(folder.path(), &sqlite(&folder), &kafka.brokers(), topics);
    // More than one round takes.
    for batch in 0..11 {
        let numbers = batch * 100..batch * 100 + 100;
        assert_eq!(service.send(numbers).await, Some((100, 0)));
    }
    let url = format!("{}/api/v1/records", service.base);
    let other = json!({"signal": "tool.call", "id": id(5_000), "duration": 1,
        "fields": {"gen_ai.tool.name": "Bash", "status": "success"}});
    let other = service.http.post(url).body(other.to_string()).send().await;
    assert_eq!(other.unwrap().status().as_u16(), 200);
    let start = Instant::now();
    while kafka.count("tools") < 1 {
        assert!(start.elapsed() < PATIENCE, "it is held up");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(keys(&kafka.read("tools")), BTreeSet::from([id(5_000)]));
    service.until(ROWS, 1_100.0).await;
    kafka
        .topic_with(TOPIC, 1, &[("max.message.bytes", "700")])
        .await;
    // One of them is larger than the topic takes.
    let mut large = action(6_000);
    large["context"]["action.parameters"] = "x".repeat(2_000).into();
    let url = format!("{}/api/v1/records", service.base);
    let large = service.http.post(url).body(large.to_string()).send().await;
    assert_eq!(large.unwrap().status().as_u16(), 200);
    service.until(ROWS, 0.0).await;
    assert_eq!(service.outcome("refused").await, 1.0);
    assert_eq!(keys(&kafka.read(TOPIC)), ids(0..1_100));
}

#[tokio::test]
async fn killed_in_the_middle_of_publishing_it_leaves_nothing_out() {
    const TOTAL: usize = 6_000;
    let Some(kafka) = Server::start() else {
        return;
    };
    kafka.topic(TOPIC, 3).await;
    let folder = TempDir::new().unwrap();
    let database = sqlite(&folder);
    let mut service = Service::start(folder.path(), &database, &kafka.brokers(), "");
    // Everything waits; then it is killed as soon as some of it has arrived.
    kafka.freeze();
    for batch in 0..TOTAL / 100 {
        let numbers = batch * 100..batch * 100 + 100;
        assert_eq!(service.send(numbers).await, Some((100, 0)));
    }
    kafka.thaw();
    let start = Instant::now();
    while kafka.count(TOPIC) < 500 {
        assert!(start.elapsed() < PATIENCE, "nothing is published");
    }
    service.kill();
    let waiting = waiting(&folder).await;
    assert!(waiting > 0, "it was killed too late to tell anything");

    let service = Service::start(folder.path(), &database, &kafka.brokers(), "");
    service.until(ROWS, 0.0).await;
    let published = kafka.read(TOPIC);
    assert_eq!(keys(&published), ids(0..TOTAL));
    // Those that were under way stand there twice, with the same id.
    println!("{waiting} waited, {} arrived for {TOTAL}", published.len());
    assert!(published.len() <= TOTAL + usize::try_from(waiting).unwrap());
}

/// Rows of the outbox of a service that does not run.
async fn waiting(folder: &TempDir) -> i64 {
    let options = SqliteConnectOptions::new().filename(folder.path().join("records.db"));
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let rows = sqlx::query_scalar("SELECT COUNT(*) FROM outbox")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    rows
}

#[tokio::test]
async fn of_two_services_on_one_database_one_publishes_and_the_other_takes_over() {
    let Some(database) = postgres::Server::shared() else {
        return;
    };
    let Some(kafka) = Server::start() else {
        return;
    };
    kafka.topic(TOPIC, 2).await;
    let url = database.database().await;
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let mut services: Vec<Service> = folders
        .iter()
        .map(|folder| Service::start(folder.path(), &url, &kafka.brokers(), ""))
        .collect();
    for batch in 0..20 {
        let numbers = batch * 10..batch * 10 + 10;
        assert_eq!(services[batch % 2].send(numbers).await, Some((10, 0)));
    }
    arrived(&kafka, 200).await;
    let events = kafka.read(TOPIC);
    assert_eq!(keys(&events), ids(0..200));
    assert_eq!(times(&events), 1, "one alone publishes");
    let mut published = Vec::new();
    for service in &services {
        published.push(service.outcome("published").await);
    }
    let holder = published.iter().position(|count| *count > 0.0).unwrap();
    assert_eq!(published[1 - holder], 0.0, "{published:?}");
    // Only who publishes knows what waits.
    services[holder].until(ROWS, 0.0).await;
    assert_eq!(services[1 - holder].value(ROWS).await, None);

    services[holder].kill();
    let other = &services[1 - holder];
    assert_eq!(other.send(200..300).await, Some((100, 0)));
    other.until(ROWS, 0.0).await;
    arrived(&kafka, 300).await;
    assert_eq!(keys(&kafka.read(TOPIC)), ids(0..300));
    assert!(other.outcome("published").await >= 100.0);
}

async fn arrived(kafka: &Server, expected: i64) {
    let start = Instant::now();
    while kafka.count(TOPIC) < expected {
        assert!(start.elapsed() < PATIENCE, "{}", kafka.count(TOPIC));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// How often the event is there that is there most often.
fn times(events: &[Event]) -> usize {
    let mut times = HashMap::new();
    for event in events {
        *times.entry(&event.key).or_insert(0) += 1;
    }
    times.into_values().max().unwrap_or(0)
}
