//! The records API over HTTP, on a real ledger and real metrics.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use actix_web::http::StatusCode;
use actix_web::{App, HttpServer};
use opentelemetry_sdk::Resource;
use proptest::prelude::*;
use serde_json::{Value, json};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use support::metrics::points_of;
use tachograph::ingest::records::{
    Clock, RecordsApi, RecordsConfig, Rejected, Rules, configure, read,
};
use tachograph::ledger::{Ledger, LedgerConfig, LedgerState};
use tachograph::pipeline::metrics::{Collector, install};
use tempfile::TempDir;
use uuid::Uuid;

tachograph::signal! {
    /// Retries, for the tests.
    pub counter Retry = "test.retry" => "test.retries" "{retry}" {
        labels {
            /// Who retried; each test is one.
            who: open(50),
            /// Why, if known.
            reason: optional(10),
        }
        no_alert "a test"
    }
}

tachograph::signal! {
    /// What only the service may report.
    pub counter Inner = "test.inner" => "test.inner.events" "{event}" reportable false {
        labels {}
        no_alert "a test"
    }
}

tachograph::catalog! {
    /// The signals of these tests.
    pub SIGNALS = [
        tachograph::signals::workflow::WorkflowRun,
        tachograph::signals::action::ActionLog,
        tachograph::signals::pipeline::Dropped,
        tachograph::signals::pipeline::RecordsReceived,
        tachograph::signals::pipeline::QueueLength,
        tachograph::signals::pipeline::QueueSaturation,
        Retry,
        Inner
    ];
}

fn collector() -> &'static Collector {
    static COLLECTOR: OnceLock<Collector> = OnceLock::new();
    COLLECTOR.get_or_init(|| {
        let resource = Resource::builder_empty().build();
        install(resource, SIGNALS, false).unwrap()
    })
}

/// Sum of a counter over the series in which label `key` is `value`.
fn counted(metric: &str, key: &str, value: &str) -> u64 {
    let points = points_of(collector().collect(), metric);
    points.value(&[(key, value)]).unwrap_or_default() as u64
}

/// The last value of the gauge's series in which label `key` is `value`.
fn gauge(metric: &str, key: &str, value: &str) -> Option<f64> {
    points_of(collector().collect(), metric).value(&[(key, value)])
}

struct Service {
    url: String,
    ledger: Ledger,
    client: reqwest::Client,
    path: std::path::PathBuf,
    _dir: TempDir,
}

impl Service {
    async fn start() -> Self {
        Self::with(RecordsConfig::default(), |_| {}).await
    }

    async fn with(config: RecordsConfig, adapt: impl FnOnce(&mut LedgerConfig)) -> Self {
        collector();
        // The client wants a provider although it speaks plain HTTP; a second one is refused.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("a.db");
        let mut ledger = LedgerConfig::new(format!("sqlite:{}", path.display()));
        ledger.busy_timeout = Duration::from_millis(50);
        ledger.retry_interval = Duration::from_millis(20);
        adapt(&mut ledger);
        let ledger = Ledger::open(ledger).await.unwrap();
        let api = RecordsApi::new(ledger.clone(), config);
        let server = HttpServer::new(move || {
            let api = api.clone();
            App::new().configure(move |service| configure(service, api))
        })
        .workers(1)
        .bind(("127.0.0.1", 0))
        .unwrap();
        let url = format!("http://{}/api/v1/records", server.addrs()[0]);
        actix_web::rt::spawn(server.run());
        Self {
            url,
            ledger,
            client: reqwest::Client::new(),
            path,
            _dir: dir,
        }
    }

    async fn send(&self, body: impl Into<reqwest::Body>) -> (StatusCode, Value) {
        let response = self.client.post(&self.url).body(body).send().await.unwrap();
        let status = StatusCode::from_u16(response.status().as_u16()).unwrap();
        (status, response.json().await.unwrap())
    }

    async fn ok(&self, body: &Value) -> Value {
        let (status, answer) = self.send(body.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    }

    async fn total(&self) -> u64 {
        self.ledger
            .totals()
            .await
            .unwrap()
            .iter()
            .map(|t| t.1)
            .sum()
    }

    /// The one rejection of a single record.
    async fn rejected(&self, record: Value) -> (String, String) {
        let answer = self.ok(&record).await;
        assert_eq!(answer["accepted"], 0, "{record}");
        let rejected = &answer["rejected"][0];
        assert_eq!(rejected["index"], 0);
        (
            rejected["field"].as_str().unwrap().to_owned(),
            rejected["reason"].as_str().unwrap().to_owned(),
        )
    }
}

fn run(workflow_type: &str) -> Value {
    json!({
        "signal": "workflow.run",
        "id": Uuid::new_v4(),
        "time": "2026-01-02T03:04:05.678+02:00",
        "duration": 1.5,
        "fields": {"workflow_type": workflow_type, "status": "success"},
        "context": {"correlation_id": "abc"},
    })
}

fn changed(field: &str, value: Value) -> Value {
    let mut record = run("changed");
    record[field] = value;
    record
}

#[actix_web::test]
async fn one_record_an_array_and_lines_are_accepted_and_counted_once() {
    let service = Service::start().await;
    let all = [run("shapes"), run("shapes"), run("shapes")];
    let none = json!([]);
    let answer = service.ok(&all[0]).await;
    assert_eq!(
        answer,
        json!({"accepted": 1, "duplicates": 0, "rejected": none})
    );
    let answer = service.ok(&json!(all[..2])).await;
    assert_eq!(
        answer,
        json!({"accepted": 1, "duplicates": 1, "rejected": none})
    );
    let lines: String = all.iter().map(|record| format!("{record}\n")).collect();
    let (_, answer) = service.send(lines).await;
    assert_eq!(
        answer,
        json!({"accepted": 1, "duplicates": 2, "rejected": none})
    );
    let answer = service.ok(&json!([])).await;
    assert_eq!(
        answer,
        json!({"accepted": 0, "duplicates": 0, "rejected": none})
    );
    assert_eq!(service.total().await, 3);
    assert_eq!(counted("workflow.executions", "workflow_type", "shapes"), 3);
    // Other tests add to these too.
    assert!(counted("tachograph.records", "outcome", "accepted") >= 3);
    assert!(counted("tachograph.records", "outcome", "duplicate") >= 3);
}

#[actix_web::test]
async fn records_are_judged_one_by_one() {
    let service = Service::start().await;
    let body = json!([
        run("judged"),
        {"signal": "workflow.rum"},
        7,
        run("judged"),
        {"signal": "workflow.run", "duration": 1, "fields": {"workflow_type": "x", "status": "won"}},
    ]);
    let answer = service.ok(&body).await;
    assert_eq!(answer["accepted"], 2);
    let rejected: Vec<(u64, &str)> = answer["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r["index"].as_u64().unwrap(), r["field"].as_str().unwrap()))
        .collect();
    assert_eq!(rejected, [(1, "signal"), (2, ""), (4, "fields.status")]);
    let reason = answer["rejected"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("`workflow.run`"), "{reason}");
    let reason = answer["rejected"][2]["reason"].as_str().unwrap();
    assert!(reason.contains("success, failed"), "{reason}");
    assert_eq!(counted("workflow.executions", "workflow_type", "judged"), 2);

    let torn = format!("{}\n{{\"signal\":\n{}\n", run("judged"), run("judged"));
    let (status, answer) = service.send(torn).await;
    assert_eq!((status, &answer["accepted"]), (StatusCode::OK, &json!(2)));
    assert_eq!(answer["rejected"][0]["index"], 1);
}

#[actix_web::test]
async fn an_end_that_does_not_say_how_is_no_abandoned_one() {
    let service = Service::start().await;
    let mut silent = run("silent");
    silent["fields"] = json!({"workflow_type": "silent", "status": null});
    let mut given_up = run("silent");
    given_up["fields"]["status"] = json!("abandoned");
    let lines = format!("{silent}\n{}\n{given_up}\n", run("silent"));
    let (status, answer) = service.send(lines).await;
    assert_eq!((status, &answer["accepted"]), (StatusCode::OK, &json!(2)));
    let rejected = &answer["rejected"];
    assert_eq!(rejected.as_array().unwrap().len(), 1, "{answer}");
    assert_eq!(rejected[0]["index"], 0, "{answer}");
    assert_eq!(rejected[0]["field"], "fields.status", "{answer}");
    // Its id is free: said in full it is taken.
    silent["fields"]["status"] = json!("cancelled");
    assert_eq!(service.ok(&silent).await["accepted"], 1);
    let points = points_of(collector().collect(), "workflow.executions");
    for status in ["success", "abandoned", "cancelled"] {
        let counted = points.value(&[("workflow_type", "silent"), ("status", status)]);
        assert_eq!(counted, Some(1.0), "{status}");
    }
}

#[actix_web::test]
async fn each_refusal_names_the_field_and_what_is_accepted() {
    let service = Service::start().await;
    let fields = |fields: Value| changed("fields", fields);
    let long = "x".repeat(1 << 20);
    for (record, field, part) in [
        (json!({}), "signal", "missing"),
        (changed("signal", json!(5)), "signal", "a number given"),
        (
            changed("signal", json!("zzz")),
            "signal",
            "tachograph catalog",
        ),
        (
            changed("signal", json!("test.inner")),
            "signal",
            "service itself",
        ),
        (changed("id", json!("no")), "id", "UUID"),
        (changed("id", json!(Uuid::nil())), "id", "nil"),
        (changed("id", json!(12)), "id", "a number given"),
        (changed("time", json!("yesterday")), "time", "RFC 3339"),
        (
            changed("time", json!(1_700_000_000)),
            "time",
            "a number given",
        ),
        (
            changed("time", json!("2999-01-01T00:00:00Z")),
            "time",
            "future",
        ),
        (
            changed("time", json!("1969-01-01T00:00:00Z")),
            "time",
            "early",
        ),
        (changed("duration", json!(-1)), "duration", "from 0"),
        (changed("duration", json!(1e300)), "duration", "366 days"),
        (changed("duration", json!("1.5")), "duration", "from 0"),
        (changed("duration", json!(null)), "duration", "missing"),
        (
            changed("extra", json!(1)),
            "extra",
            "signal, id, event, time",
        ),
        (changed("fields", json!([])), "fields", "an object"),
        (
            fields(json!({"status": "success"})),
            "fields.workflow_type",
            "missing",
        ),
        (
            fields(json!({"workflow_type": "a"})),
            "fields.status",
            "missing; accepted are success, failed",
        ),
        (
            fields(json!({"workflow_type": "a", "status": null})),
            "fields.status",
            "missing; accepted are success, failed",
        ),
        (
            fields(json!({"workflow_type": "a", "status": ""})),
            "fields.status",
            "missing; accepted are success, failed",
        ),
        (
            json!({"signal": "action.log",
                   "fields": {"gen_ai.agent.name": "a", "action.type": "decision"}}),
            "fields.status",
            "missing; accepted are success, failed",
        ),
        (
            fields(json!({"workflow_type": "a", "status": 1})),
            "fields.status",
            "one of success",
        ),
        (
            fields(json!({"workflow_type": ["a"]})),
            "fields.workflow_type",
            "an array given",
        ),
        (
            fields(json!({"typo": "a"})),
            "fields.typo",
            "workflow_type, status",
        ),
        (
            fields(json!({"correlation_id": "a"})),
            "fields.correlation_id",
            "context",
        ),
        (
            fields(json!({"workflow_type": "a\nb"})),
            "fields.workflow_type",
            "U+000A",
        ),
        (
            fields(json!({"workflow_type": "a\u{0}b"})),
            "fields.workflow_type",
            "U+0000",
        ),
        (
            fields(json!({"workflow_type": "x".repeat(300)})),
            "fields.workflow_type",
            "up to 256",
        ),
        (
            fields(json!({"workflow_type": long})),
            "fields",
            "up to 65536",
        ),
        (changed("context", json!("x")), "context", "an object"),
        (
            changed("context", json!({"user": 1})),
            "context.user",
            "correlation_id",
        ),
        (
            changed("context", json!({"correlation_id": {}})),
            "context.correlation_id",
            "an object given",
        ),
        (
            json!({"signal": "test.retry", "duration": 1, "fields": {"who": "x", "value": 1}}),
            "duration",
            "measure",
        ),
        (
            json!({"signal": "test.retry", "fields": {"who": "x", "value": -1}}),
            "fields.value",
            "0 or more",
        ),
        (
            json!({"signal": "test.retry", "fields": {"who": "x", "value": "1"}}),
            "fields.value",
            "a number",
        ),
    ] {
        let shown = record.to_string().chars().take(200).collect::<String>();
        let (found, reason) = service.rejected(record).await;
        assert_eq!(found, field, "{shown}: {reason}");
        assert!(reason.contains(part), "{shown}: {reason}");
        assert!(reason.len() < 400, "{shown}: {} bytes", reason.len());
    }
    assert_eq!(service.total().await, 0);
    assert_eq!(
        counted("workflow.executions", "workflow_type", "changed"),
        0
    );
}

#[actix_web::test]
async fn what_json_cannot_tell_apart_is_refused() {
    let service = Service::start().await;
    for (body, field) in [
        (
            r#"{"signal":"workflow.run","signal":"workflow.run"}"#.to_owned(),
            "signal",
        ),
        (
            r#"{"signal":"test.retry","fields":{"who":"a","value":1,"value":2}}"#.to_owned(),
            "fields.value",
        ),
        (
            r#"{"signal":"test.retry","fields":{"who":"a","value":1e999}}"#.to_owned(),
            "fields",
        ),
        (
            r#"{"signal":"test.retry","fields":{"who":"\ud800"}}"#.to_owned(),
            "fields",
        ),
        (
            format!(
                r#"{{"signal":"test.retry","fields":{{"who":{}{}}}}}"#,
                "[".repeat(10_000),
                "]".repeat(10_000)
            ),
            "fields.who",
        ),
    ] {
        let shown: String = body.chars().take(80).collect();
        let (status, answer) = service.send(body).await;
        assert_eq!(status, StatusCode::OK, "{shown}: {answer}");
        assert_eq!(answer["rejected"][0]["field"], field, "{shown}: {answer}");
    }
    assert_eq!(service.total().await, 0);
}

#[actix_web::test]
async fn a_measure_counts_its_value_and_optional_labels_may_be_absent() {
    let service = Service::start().await;
    let body = json!([
        {"signal": "test.retry", "fields": {"who": "measure", "value": 3}},
        {"signal": "test.retry", "fields": {"who": "measure", "reason": null}},
        {"signal": "test.retry", "fields": {"wh\u{6f}": "measure", "reason": "\u{1F980} \"\\"}},
    ]);
    assert_eq!(service.ok(&body).await["accepted"], 3);
    assert_eq!(counted("test.retries", "who", "measure"), 5);
    assert_eq!(counted("test.retries", "reason", "\u{1F980} \"\\"), 1);
}

#[actix_web::test]
async fn the_row_holds_what_was_sent() {
    let service = Service::start().await;
    let record = run("row");
    service.ok(&record).await;
    let options = SqliteConnectOptions::new().filename(&service.path);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let row: (Uuid, i64, f64, String, String) =
        sqlx::query_as("SELECT id, time_us, duration, fields, context FROM records")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    let time: jiff::Timestamp = "2026-01-02T01:04:05.678Z".parse().unwrap();
    assert_eq!(row.0.to_string(), record["id"]);
    assert_eq!((row.1, row.2), (time.as_microsecond(), 1.5));
    assert_eq!(row.3, record["fields"].to_string());
    assert_eq!(row.4, record["context"].to_string());
}

#[actix_web::test]
async fn an_entry_of_the_action_log_takes_as_long_as_it_takes_to_be_written() {
    let service = Service::start().await;
    let entry = |fields: Value, duration: Value| {
        let mut all =
            json!({"gen_ai.agent.name": "writer", "action.type": "decision", "status": "success"});
        let more = fields.as_object().unwrap().clone();
        all.as_object_mut().unwrap().extend(more);
        json!({"signal": "action.log", "fields": all, "duration": duration})
    };
    let start = Instant::now();
    let body = json!([
        entry(json!({"action.duration": 120.0}), Value::Null),
        entry(json!({}), Value::Null),
    ]);
    let answer = service.ok(&body).await;
    assert_eq!(answer["accepted"], 2, "{answer}");
    let writing = points_of(collector().collect(), "action.log.duration");
    let agent = [("gen_ai.agent.name", "writer")];
    assert_eq!(writing.value(&agent), Some(2.0));
    let sum = writing.sum(&agent);
    // A commit is on the disk.
    assert!(
        sum > 1e-5 && sum <= 2.0 * start.elapsed().as_secs_f64(),
        "{sum}"
    );
    // Who knows better says so.
    service.ok(&entry(json!({}), json!(1000.0))).await;
    let writing = points_of(collector().collect(), "action.log.duration");
    assert!(writing.sum(&agent) >= 1000.0);
    assert_eq!(
        counted("action.log.entries", "gen_ai.agent.name", "writer"),
        3
    );
    let options = SqliteConnectOptions::new().filename(&service.path);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let rows: Vec<Option<f64>> = sqlx::query_scalar("SELECT duration FROM records ORDER BY seq")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(rows, [Some(120.0), None, None]);
    // Others have to say how long they took.
    let mut other = run("timed");
    other.as_object_mut().unwrap().remove("duration");
    assert_eq!(service.rejected(other).await.0, "duration");
}

#[actix_web::test]
async fn malformed_and_oversized_bodies_are_refused_whole() {
    let config = RecordsConfig {
        body_bytes: 2_000,
        records: 3,
        ..RecordsConfig::default()
    };
    let service = Service::with(config, |_| {}).await;
    for body in ["", " \n", "{", "[{}", "null", "hello", "[{}] []"] {
        let (status, answer) = service.send(body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body:?}");
        assert_eq!(answer["error"]["status"], 400, "{body:?}: {answer}");
        assert!(answer["error"]["message"].is_string(), "{body:?}: {answer}");
    }
    let (status, _) = service.send(vec![b'{', b'"', 0xff, b'"']).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);

    let (status, answer) = service.send(json!([{}, {}, {}, {}]).to_string()).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{answer}");
    let (status, answer) = service.send(" ".repeat(2_001)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{answer}");
    // Without a length in the head the limit holds as the body arrives.
    let chunks = (0..30).map(|_| Ok::<_, std::io::Error>(" ".repeat(100)));
    let stream = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    let (status, answer) = service.send(stream).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{answer}");

    let response = service
        .client
        .post(&service.url)
        .header("content-encoding", "gzip");
    let response = response.body("x").send().await.unwrap();
    assert_eq!(response.status().as_u16(), 415);
    let response = service.client.get(&service.url).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 405);
    assert_eq!(response.headers()["allow"], "POST");
    assert_eq!(service.total().await, 0);
    assert_eq!(service.ok(&run("small")).await["accepted"], 1);
}

async fn locked(service: &Service) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(&service.path);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut connection)
        .await
        .unwrap();
    connection
}

#[actix_web::test]
async fn with_the_ledger_away_it_answers_503_counts_nothing_and_recovers() {
    let service = Service::start().await;
    let lock = locked(&service).await;
    let record = run("away");
    for _ in 0..2 {
        let response = service.client.post(&service.url).body(record.to_string());
        let response = response.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 503);
        assert!(response.headers().contains_key("retry-after"));
    }
    assert_eq!(counted("workflow.executions", "workflow_type", "away"), 0);
    assert_eq!(counted("tachograph.dropped", "reason", "ledger_away"), 2);
    lock.close().await.unwrap();
    let start = Instant::now();
    while service.ledger.health().state != LedgerState::Ready {
        assert!(start.elapsed() < Duration::from_secs(20));
        actix_web::rt::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(service.ok(&record).await["accepted"], 1);
    assert_eq!(service.ok(&record).await["duplicates"], 1);
    assert_eq!(counted("workflow.executions", "workflow_type", "away"), 1);
}

#[actix_web::test]
async fn with_the_queue_full_it_answers_429_and_loses_nothing_it_took() {
    let service = Service::with(RecordsConfig::default(), |ledger| {
        ledger.queue_bytes = 1;
        ledger.busy_timeout = Duration::from_secs(20);
    })
    .await;
    let lock = locked(&service).await;
    let service = Arc::new(service);
    let first: Vec<Value> = (0..10).map(|_| run("full")).collect();
    let waiting = actix_web::rt::spawn({
        let (service, body) = (Arc::clone(&service), json!(first));
        async move { service.ok(&body).await }
    });
    let start = Instant::now();
    while service.ledger.health().queued_records < 10 {
        assert!(start.elapsed() < Duration::from_secs(20));
        actix_web::rt::time::sleep(Duration::from_millis(5)).await;
    }
    let second = run("full");
    let response = service.client.post(&service.url).body(second.to_string());
    let response = response.send().await.unwrap();
    assert_eq!(response.status().as_u16(), 429);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(counted("tachograph.dropped", "reason", "queue_full"), 1);
    service.ledger.report();
    assert_eq!(
        gauge("tachograph.queue.length", "queue", "records"),
        Some(10.0)
    );
    assert_eq!(
        gauge("tachograph.queue.saturation", "queue", "records"),
        Some(1.0)
    );
    lock.close().await.unwrap();
    assert_eq!(waiting.await.unwrap()["accepted"], 10);
    assert_eq!(service.ok(&second).await["accepted"], 1);
    assert_eq!(counted("workflow.executions", "workflow_type", "full"), 11);
}

#[actix_web::test]
async fn a_client_that_hangs_up_is_counted_once_when_it_sends_again() {
    let service = Service::with(RecordsConfig::default(), |ledger| {
        ledger.busy_timeout = Duration::from_secs(20);
    })
    .await;
    let lock = locked(&service).await;
    let record = run("hangup");
    let impatient = service.client.post(&service.url).body(record.to_string());
    let impatient = impatient.timeout(Duration::from_millis(200)).send().await;
    assert!(impatient.unwrap_err().is_timeout());
    assert_eq!(service.ledger.health().queued_records, 1);
    lock.close().await.unwrap();
    let answer = service.ok(&record).await;
    assert_eq!(answer["duplicates"], 1, "{answer}");
    assert_eq!(counted("workflow.executions", "workflow_type", "hangup"), 1);
}

fn rules(clock: Clock) -> Rules {
    Rules {
        records: 100,
        starts: 10,
        expires_in: Duration::from_secs(86_400),
        clock,
        prices: std::sync::Arc::new(tachograph::prices::Prices::shipped()),
    }
}

#[test]
fn a_clock_that_is_set_back_turns_nothing_away() {
    collector();
    let started = SystemTime::now();
    let hour = Duration::from_secs(3600);
    let set_back = Clock::at(started - 1_000 * hour, started + hour);
    let now = jiff::Timestamp::try_from(started).unwrap();
    let body = json!({"signal": "test.retry", "time": now.to_string(), "fields": {"who": "clock"}});
    let reading = read(body.to_string().as_bytes(), &rules(set_back), |_| false).unwrap();
    assert_eq!((reading.batch.len(), reading.rejected), (1, vec![]));
    // Set forward, it takes what is later too.
    let forward = Clock::at(started + 1_000 * hour, started);
    let later = jiff::Timestamp::try_from(started + 900 * hour).unwrap();
    let body =
        json!({"signal": "test.retry", "time": later.to_string(), "fields": {"who": "clock"}});
    let take = |clock| {
        read(body.to_string().as_bytes(), &rules(clock), |_| false)
            .unwrap()
            .batch
            .len()
    };
    assert_eq!((take(forward), take(set_back)), (1, 0));
}

fn parse(body: &[u8]) -> Option<(usize, Vec<Rejected>)> {
    collector();
    let now = SystemTime::now();
    let rules = rules(Clock::at(now, now));
    let mut reading = read(body, &rules, |_| false).ok()?;
    reading.resolve(Vec::new(), &[], &rules);
    Some((reading.batch.len(), reading.rejected))
}

/// JSON that resembles records.
fn near_record() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(|n| json!(n)),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!("workflow.run")),
        Just(json!("success")),
        Just(json!("2026-01-01T00:00:00Z")),
        Just(json!("01890a5d-ac96-774b-bcce-b302099a8057")),
    ];
    let key = prop_oneof![
        Just("signal"),
        Just("id"),
        Just("time"),
        Just("duration"),
        Just("fields"),
        Just("context"),
        Just("workflow_type"),
        Just("status"),
        Just("other"),
    ];
    leaf.prop_recursive(4, 40, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..8).prop_map(|pairs| pairs
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect()),
        ]
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..400)) {
        parse(&body);
    }

    #[test]
    fn arbitrary_text_in_brackets_never_panics(body in r#"[\[{][\[\]{}",:a-z0-9\\ \n.eE+-]{0,200}"#) {
        parse(body.as_bytes());
    }

    #[test]
    fn each_record_is_either_taken_or_refused(records in prop::collection::vec(near_record(), 0..6)) {
        let (taken, rejected) = parse(json!(records).to_string().as_bytes()).unwrap();
        prop_assert_eq!(taken + rejected.len(), records.len());
    }

    #[test]
    fn records_that_are_valid_pass(
        workflow_type in "[^\\p{Cc}]{1,60}",
        duration in 0.0..3e7,
        context in "[^\0]{0,500}",
    ) {
        let record = json!({
            "signal": "workflow.run",
            "duration": duration,
            "fields": {"workflow_type": workflow_type, "status": "failed"},
            "context": {"correlation_id": context},
        });
        prop_assert_eq!(parse(record.to_string().as_bytes()), Some((1, vec![])));
    }
}
