//! The ledger on SQLite and on PostgreSQL: the same promises on both, and records whose
//! beginning is told before their end.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

mod support;

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use actix_web::web::Bytes;
use opentelemetry_sdk::Resource;
use serde_json::{Value, json};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection as _};
use support::metrics::points_of;
use support::postgres::Server;
use tachograph::ingest::action_log::ActionLog;
use tachograph::ingest::records::{Outcome, RecordsApi, RecordsConfig, Report};
use tachograph::ledger::query::{CostsBy, During, Page, Which};
use tachograph::ledger::{
    Columns, Disposition, Event, Ledger, LedgerConfig, QueryError, Record, Retention,
};
use tachograph::pipeline::metrics::{Collector, install};
use tachograph::signals::CATALOG;
use tempfile::TempDir;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);

/// A new database; clones are the same one.
#[derive(Clone)]
enum Database {
    Sqlite(Arc<TempDir>),
    /// The server is kept running.
    Postgres(#[allow(dead_code)] Arc<Server>, String),
}

impl Database {
    fn url(&self) -> String {
        match self {
            Self::Sqlite(dir) => format!("sqlite:{}", dir.path().join("a.db").display()),
            Self::Postgres(_, url) => url.clone(),
        }
    }

    fn config(&self) -> LedgerConfig {
        LedgerConfig {
            retry_interval: Duration::from_millis(20),
            busy_timeout: PATIENCE,
            ..LedgerConfig::new(self.url())
        }
    }

    async fn open(&self) -> Ledger {
        Ledger::open(self.config()).await.unwrap()
    }

    async fn api(&self, owner: &str) -> RecordsApi {
        collector();
        let config = LedgerConfig {
            owner: owner.to_owned(),
            ..self.config()
        };
        let ledger = Ledger::open(config).await.unwrap();
        RecordsApi::new(ledger, RecordsConfig::default())
    }

    /// The condition that a row has this id.
    fn is(&self, id: Uuid) -> String {
        match self {
            Self::Sqlite(_) => format!("id = x'{}'", id.simple()),
            Self::Postgres(..) => format!("id = '{id}'"),
        }
    }

    async fn execute(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(_) => {
                let mut connection = SqliteConnection::connect(&self.url()).await.unwrap();
                sqlx::query(sql).execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
            }
            Self::Postgres(_, url) => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                sqlx::query(sql).execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
            }
        }
    }

    /// The number or NULL that a query yields.
    async fn number(&self, sql: &str) -> Option<i64> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(_) => {
                let mut connection = SqliteConnection::connect(&self.url()).await.unwrap();
                let number = sqlx::query_scalar(sql).fetch_one(&mut connection).await;
                connection.close().await.unwrap();
                number.unwrap()
            }
            Self::Postgres(_, url) => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                let number = sqlx::query_scalar(sql).fetch_one(&mut connection).await;
                connection.close().await.unwrap();
                number.unwrap()
            }
        }
    }
}

fn run<F: Future>(test: impl FnOnce(Database) -> F, postgres: bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let database = if postgres {
            let Some(server) = Server::shared() else {
                return;
            };
            let url = server.database().await;
            Database::Postgres(server, url)
        } else {
            Database::Sqlite(Arc::new(TempDir::new().unwrap()))
        };
        test(database).await;
    });
}

/// Makes two tests of one.
macro_rules! on_both {
    ($(async fn $name:ident($database:ident) $body:block)+) => {
        $(mod $name {
            use super::*;

            async fn test($database: Database) $body

            #[test]
            fn sqlite() {
                run(test, false);
            }

            #[test]
            fn postgres() {
                run(test, true);
            }
        })+
    };
}

fn collector() -> &'static Collector {
    static COLLECTOR: OnceLock<Collector> = OnceLock::new();
    COLLECTOR.get_or_init(|| install(Resource::builder_empty().build(), CATALOG, false).unwrap())
}

fn sample(metric: &str, labels: &[(&str, &str)]) -> f64 {
    points_of(collector().collect(), metric)
        .value(labels)
        .unwrap_or_default()
}

fn record(id: Uuid) -> Record {
    Record {
        id,
        signal: "workflow.run",
        event: Event::End,
        time_us: 1_700_000_000_000_000,
        first_us: i64::MAX,
        duration: Some(1.5),
        parent: None,
        fields: r#"{"workflow_type":"code_review","status":"success"}"#.to_owned(),
        context: "{}".to_owned(),
        columns: Columns::default(),
    }
}

fn ids(n: usize) -> Vec<Uuid> {
    (0..n).map(|_| Uuid::new_v4()).collect()
}

async fn commit(ledger: &Ledger, ids: &[Uuid]) -> Vec<Disposition> {
    let records = ids.iter().copied().map(record).collect();
    let receipt = ledger.submit(records, |_| {}).unwrap();
    receipt.committed().await.unwrap()
}

async fn total(ledger: &Ledger) -> u64 {
    let totals = ledger.totals().await.unwrap();
    totals.iter().map(|total| total.1).sum()
}

fn accepted(dispositions: &[Disposition]) -> usize {
    let accepted = |d: &&Disposition| **d == Disposition::Accepted;
    dispositions.iter().filter(accepted).count()
}

async fn send(api: &RecordsApi, body: Value) -> Outcome {
    api.take(Bytes::from(body.to_string())).await.unwrap()
}

/// A name that no other test uses.
fn unique(what: &str) -> String {
    format!("{what}-{}", Uuid::new_v4().simple())
}

on_both! {
    async fn each_id_is_accepted_once_within_a_batch_and_across_and_after_a_restart(database) {
        use Disposition::{Accepted, Duplicate};
        let [a, b, c] = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()];
        let ledger = database.open().await;
        assert_eq!(commit(&ledger, &[a, b, a, a]).await, [Accepted, Accepted, Duplicate, Duplicate]);
        assert_eq!(commit(&ledger, &[c, b, c]).await, [Accepted, Duplicate, Duplicate]);
        assert_eq!(commit(&ledger, &[]).await, []);
        ledger.shutdown(PATIENCE).await.unwrap();
        let again = database.open().await;
        assert_eq!(commit(&again, &[a, b, c]).await, [Duplicate; 3]);
        assert_eq!(again.totals().await.unwrap(), [("workflow.run".to_owned(), 3)]);
    }

    async fn two_services_take_the_same_ids_in_any_order_once(database) {
        let services = [database.open().await, database.open().await];
        let all = Arc::new(ids(900));
        let mut tasks = Vec::new();
        for task in 0..6_usize {
            let (ledger, all) = (services[task % 2].clone(), Arc::clone(&all));
            tasks.push(tokio::spawn(async move {
                let mut mine = 0;
                for round in 0..9 {
                    let start = (round + task) % 9 * 100;
                    let mut some = all[start..start + 100].to_vec();
                    if task % 3 == 0 {
                        some.reverse();
                    }
                    mine += accepted(&commit(&ledger, &some).await);
                }
                mine
            }));
        }
        let mut answered = 0;
        for task in tasks {
            answered += task.await.unwrap();
        }
        assert_eq!(answered, 900);
        assert_eq!(total(&services[0]).await, 900);
        assert_eq!(database.number("SELECT COUNT(*) FROM records").await, Some(900));
    }

    async fn what_is_asked_of_a_record_has_columns(database) {
        let api = database.api("a").await;
        let parent = Uuid::new_v4();
        let request = |tokens: Value, cost: Value| json!({
            "signal": "llm.request", "duration": 2.0, "parent": parent,
            "fields": {
                "gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic",
                "gen_ai.request.model": "opus", "status": "success",
                "gen_ai.usage.input_tokens": tokens, "llm.cost_usd": cost,
            },
            "context": {"gen_ai.conversation.id": "s-1", "correlation_id": "c-1"},
        });
        let outcome = send(&api, json!([request(json!(12), json!(0.25)), request(Value::Null, Value::Null)])).await;
        assert_eq!((outcome.accepted, outcome.rejected), (2, vec![]));
        let count = async |condition: &str| {
            database.number(&format!("SELECT COUNT(*) FROM records WHERE {condition}")).await.unwrap()
        };
        assert_eq!(count("session = 's-1' AND correlation = 'c-1' AND parent IS NOT NULL").await, 2);
        assert_eq!(count("provider = 'anthropic' AND model = 'opus' AND status = 'success' AND NOT failed AND billable").await, 2);
        assert_eq!(count("input_tokens = 12 AND cost_micros = 250000").await, 1);
        assert_eq!(count("input_tokens IS NULL AND cost_micros IS NULL AND output_tokens IS NULL AND price_version IS NULL").await, 1);
        assert_eq!(database.number("SELECT unpriced FROM sessions WHERE session = 's-1'").await, Some(1));
        assert_eq!(database.number("SELECT cost_micros FROM sessions WHERE session = 's-1'").await, Some(250_000));
    }

    async fn an_end_takes_what_it_does_not_say_from_its_start(database) {
        let api = database.api("a").await;
        let (tool, id) = (unique("tool"), Uuid::now_v7());
        let active = || sample("tool.active", &[("gen_ai.tool.name", &tool)]);
        let start = json!({
            "signal": "tool.call", "id": id, "event": "start", "time": "2026-01-02T03:04:05Z",
            "fields": {"gen_ai.tool.name": tool, "gen_ai.agent.name": "planner"},
            "context": {"gen_ai.conversation.id": "s-2"}, "parent": Uuid::new_v4(),
        });
        let outcome = send(&api, start.clone()).await;
        assert_eq!((outcome.accepted, outcome.rejected), (1, vec![]));
        assert_eq!(active(), 1.0);
        assert_eq!(send(&api, start.clone()).await.duplicates, 1);
        assert_eq!(active(), 1.0);
        // A start says nothing of the end, so an end that says nothing is none.
        for event in [json!("end"), Value::Null] {
            let silent = json!({"signal": "tool.call", "id": id, "event": event, "fields": {"status": null}});
            let outcome = send(&api, silent).await;
            assert_eq!(outcome.rejected[0].field, "fields.status", "{event}");
            assert!(outcome.rejected[0].reason.contains("accepted are success, failed"));
            assert_eq!((outcome.accepted, active()), (0, 1.0), "{event}");
        }
        let end = json!({
            "signal": "tool.call", "id": id, "event": "end", "time": "2026-01-02T03:04:15Z",
            "fields": {"status": "failed", "error.type": "timeout"},
        });
        let outcome = send(&api, end.clone()).await;
        assert_eq!((outcome.accepted, outcome.rejected), (1, vec![]));
        assert_eq!(active(), 0.0);
        let row = "SELECT COUNT(*) FROM records WHERE duration = 10 AND agent = 'planner' \
                   AND failed AND session = 's-2' AND parent IS NOT NULL AND fields LIKE '%timeout%planner%'";
        assert_eq!(database.number(row).await, Some(1));
        // Neither comes again.
        assert_eq!(send(&api, end).await.duplicates, 1);
        assert_eq!(send(&api, start).await.duplicates, 1);
        assert_eq!(active(), 0.0);
        let calls = [("gen_ai.tool.name", tool.as_str()), ("status", "failed")];
        assert_eq!(sample("tool.calls", &calls), 1.0);
        assert_eq!(database.number("SELECT COUNT(*) FROM open_operations").await, Some(0));
    }

    async fn an_end_may_follow_in_the_same_request_and_come_without_a_start(database) {
        let api = database.api("a").await;
        let (tool, id) = (unique("tool"), Uuid::now_v7());
        let outcome = api.report(&[
            Report::start("tool.call", id).field("gen_ai.tool.name", tool.as_str()),
            Report::end("tool.call", id).field("status", "success"),
        ]).await.unwrap();
        assert_eq!((outcome.accepted, outcome.rejected), (2, vec![]));
        assert_eq!(sample("tool.active", &[("gen_ai.tool.name", &tool)]), 0.0);
        let whole = Report::end("tool.call", Uuid::now_v7())
            .field("gen_ai.tool.name", tool.as_str())
            .field("status", "success")
            .took(Duration::from_secs(1));
        assert_eq!(api.report(&[whole]).await.unwrap().accepted, 1);
        let half = Report::end("tool.call", Uuid::now_v7())
            .field("gen_ai.tool.name", tool.as_str())
            .field("status", "success");
        let outcome = api.report(&[half]).await.unwrap();
        assert_eq!(outcome.rejected[0].field, "duration");
        let calls = [("gen_ai.tool.name", tool.as_str()), ("status", "success")];
        assert_eq!(sample("tool.calls", &calls), 2.0);
        assert!(api.open().is_empty());
    }

    async fn starts_that_say_too_much_or_too_little_are_refused(database) {
        let api = database.api("a").await;
        let refused = async |change: Value| {
            let mut record = json!({
                "signal": "tool.call", "id": Uuid::now_v7(), "event": "start",
                "fields": {"gen_ai.tool.name": "t"},
            });
            for (key, value) in change.as_object().unwrap() {
                record[key] = value.clone();
            }
            let outcome = send(&api, record).await;
            assert_eq!(outcome.accepted, 0, "{change}");
            outcome.rejected[0].field.clone().into_owned()
        };
        assert_eq!(refused(json!({"id": null})).await, "id");
        assert_eq!(refused(json!({"duration": 1.0})).await, "duration");
        assert_eq!(refused(json!({"fields": {}})).await, "fields.gen_ai.tool.name");
        assert_eq!(refused(json!({"fields": {"gen_ai.tool.name": "t", "status": "success"}})).await, "fields.status");
        assert_eq!(refused(json!({"expires_in": 0})).await, "expires_in");
        assert_eq!(refused(json!({"event": "begin"})).await, "event");
        assert_eq!(refused(json!({"parent": "x"})).await, "parent");
        assert_eq!(refused(json!({"signal": "gen_ai.nothing"})).await, "signal");
        assert_eq!(database.number("SELECT COUNT(*) FROM open_operations").await, Some(0));
    }

    async fn what_is_open_is_in_flight_again_after_a_restart(database) {
        let (tool, id) = (unique("tool"), Uuid::now_v7());
        let active = || sample("tool.active", &[("gen_ai.tool.name", &tool)]);
        let before = database.api("a").await;
        let start = Report::start("tool.call", id).field("gen_ai.tool.name", tool.as_str());
        before.report(&[start]).await.unwrap();
        assert_eq!(active(), 1.0);
        // Gone with everything that it counted.
        drop(before);
        assert_eq!(active(), 0.0);
        let after = database.api("a").await;
        for _ in 0..2 {
            after.sweep(SystemTime::now()).await.unwrap();
            assert_eq!(active(), 1.0);
        }
        let end = Report::end("tool.call", id).field("status", "success");
        assert_eq!(after.report(&[end]).await.unwrap().accepted, 1);
        assert_eq!(active(), 0.0);
        after.sweep(SystemTime::now()).await.unwrap();
        assert_eq!(active(), 0.0);
    }

    async fn what_nobody_ends_is_given_up(database) {
        let api = database.api("a").await;
        let (tool, id) = (unique("tool"), Uuid::now_v7());
        let active = || sample("tool.active", &[("gen_ai.tool.name", &tool)]);
        let start = Report::start("tool.call", id)
            .field("gen_ai.tool.name", tool.as_str())
            .expires_in(Duration::from_secs(60));
        api.report(&[start]).await.unwrap();
        api.sweep(SystemTime::now() + Duration::from_secs(50)).await.unwrap();
        assert_eq!(active(), 1.0);
        for _ in 0..2 {
            api.sweep(SystemTime::now() + Duration::from_secs(70)).await.unwrap();
            assert_eq!(active(), 0.0);
            let calls = [("gen_ai.tool.name", tool.as_str()), ("status", "abandoned")];
            assert_eq!(sample("tool.calls", &calls), 1.0);
        }
        let end = Report::end("tool.call", id)
            .field("gen_ai.tool.name", tool.as_str())
            .field("status", "success")
            .took(Duration::from_secs(1));
        assert_eq!(api.report(&[end]).await.unwrap().duplicates, 1);
        assert_eq!(active(), 0.0);
    }

    async fn another_service_may_be_told_of_the_end(database) {
        let (one, two) = (database.api("one").await, database.api("two").await);
        let (tool, id) = (unique("tool"), Uuid::now_v7());
        let active = || sample("tool.active", &[("gen_ai.tool.name", &tool)]);
        let start = Report::start("tool.call", id).field("gen_ai.tool.name", tool.as_str());
        one.report(&[start]).await.unwrap();
        let end = Report::end("tool.call", id).field("status", "success");
        assert_eq!(two.report(&[end]).await.unwrap().accepted, 1);
        two.sweep(SystemTime::now()).await.unwrap();
        assert_eq!(active(), 1.0);
        one.sweep(SystemTime::now()).await.unwrap();
        assert_eq!(active(), 0.0);
        let calls = [("gen_ai.tool.name", tool.as_str()), ("status", "success")];
        assert_eq!(sample("tool.calls", &calls), 1.0);
    }
}

#[path = "ledger_databases/open.rs"]
mod open;
#[path = "ledger_databases/pages.rs"]
mod pages;
#[path = "ledger_databases/retention.rs"]
mod retention;

/// A model request of a session, that ended so many seconds after the epoch of the tests.
fn request(session: &str, model: &str, second: i64, cost: Value) -> Value {
    json!({
        "signal": "llm.request", "duration": 1.0, "time": at(second),
        "fields": {
            "gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic",
            "gen_ai.request.model": model, "status": "success",
            "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 5,
            "llm.cost_usd": cost,
        },
        "context": {"gen_ai.conversation.id": session, "correlation_id": "c"},
    })
}

fn at(second: i64) -> String {
    jiff::Timestamp::from_second(1_780_000_000 + second)
        .unwrap()
        .to_string()
}

fn page(limit: usize, cursor: Option<String>) -> Page {
    Page { limit, cursor }
}

fn always() -> During {
    During {
        from_us: 0,
        to_us: i64::MAX,
    }
}

fn json_of(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

on_both! {
    async fn a_timeline_nests_by_parent_and_by_time(database) {
        let api = database.api("a").await;
        let (run, tool, live) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
        let context = json!({"gen_ai.conversation.id": "s"});
        let call = |id: Uuid, parent: Value, second: i64, duration: f64| json!({
            "signal": "tool.call", "id": id, "parent": parent, "time": at(second), "duration": duration,
            "fields": {"gen_ai.tool.name": "Bash", "status": "success"}, "context": context,
        });
        let body = json!([
            {"signal": "agent.run", "id": run, "time": at(100), "duration": 50.0,
             "fields": {"gen_ai.agent.name": "planner", "status": "success"}, "context": context},
            // By time within the run.
            call(tool, Value::Null, 90, 10.0),
            // By time within the call.
            request("s", "opus", 85, json!(0.5)),
            // By its word within the run, although it ended later.
            call(Uuid::now_v7(), json!(run), 200, 1.0),
            // Not there.
            call(Uuid::now_v7(), json!(Uuid::now_v7()), 300, 1.0),
            {"signal": "tool.call", "id": live, "event": "start", "time": at(95), "parent": run,
             "fields": {"gen_ai.tool.name": "Task"}, "context": context},
        ]);
        let outcome = send(&api, body).await;
        assert_eq!((outcome.accepted, outcome.rejected), (6, vec![]));
        let ledger = api.ledger();
        let which = Which::Session("s".to_owned());
        let timeline = json_of(&ledger.timeline(&which, &page(100, None)).await.unwrap());
        let items = timeline["items"].as_array().unwrap();
        assert_eq!(items.len(), 2, "{timeline:#}");
        assert_eq!(items[0]["id"], json!(run));
        let within = items[0]["children"].as_array().unwrap();
        assert_eq!(within.len(), 3, "{timeline:#}");
        assert_eq!((&within[0]["id"], &within[0]["nested_by"]), (&json!(tool), &json!("time")));
        assert_eq!(within[0]["children"][0]["cost_micros"], 500_000);
        assert_eq!((&within[1]["id"], &within[1]["open"]), (&json!(live), &json!(true)));
        assert_eq!(within[2]["nested_by"], "parent");
        assert_eq!(timeline["next"], Value::Null);
        let which = Which::Correlation("c".to_owned());
        let found = ledger.timeline(&which, &page(100, None)).await.unwrap();
        assert_eq!(found.items.len(), 1);
        assert!(found.items[0].entry.duration.is_some());
    }

    async fn pages_neither_shift_nor_repeat_while_records_arrive(database) {
        let api = database.api("a").await;
        let ledger = api.ledger();
        let batch = |from: i64, n: i64| Value::from((from..from + n).map(|i| {
            let mut record = request(&format!("s-{}", i % 7), "opus", i, json!(0.25));
            record["fields"]["status"] = "failed".into();
            record
        }).collect::<Vec<_>>());
        send(&api, batch(0, 40)).await;
        let (mut failing, mut slowest, mut sessions, mut timeline) = (vec![], vec![], vec![], vec![]);
        let (mut a, mut b, mut c, mut d) = (None, None, None, None);
        let which = Which::Correlation("c".to_owned());
        for round in 0..20 {
            if round == 0 || a.is_some() {
                let rows = ledger.failing(None, always(), &page(9, a)).await.unwrap();
                failing.extend(rows.items.iter().map(|entry| entry.id));
                a = rows.next;
            }
            if round == 0 || b.is_some() {
                let rows = ledger.slowest("llm.request", always(), &page(9, b)).await.unwrap();
                slowest.extend(rows.items.iter().map(|entry| entry.id));
                b = rows.next;
            }
            if round == 0 || c.is_some() {
                let rows = ledger.sessions(&page(3, c)).await.unwrap();
                sessions.extend(rows.items.iter().map(|session| session.session.clone()));
                c = rows.next;
            }
            if round == 0 || d.is_some() {
                let rows = ledger.timeline(&which, &page(9, d)).await.unwrap();
                timeline.extend(rows.items.iter().map(|node| node.entry.id));
                d = rows.next;
            }
            // Later ones, some of sessions that are new.
            send(&api, json!([
                request("s-1", "opus", 1_000 + round, json!(0.25)),
                request(&format!("t-{round}"), "opus", 1_000 + round, json!(0.25)),
            ])).await;
        }
        for (name, ids) in [("failing", &failing), ("timeline", &timeline)] {
            let distinct: std::collections::HashSet<_> = ids.iter().collect();
            assert_eq!((ids.len(), distinct.len()), (40, 40), "{name}");
        }
        let distinct: std::collections::HashSet<_> = slowest.iter().collect();
        assert_eq!(distinct.len(), slowest.len());
        assert!(slowest.len() >= 40);
        sessions.sort();
        let expected: Vec<String> = (0..7).map(|i| format!("s-{i}")).collect();
        assert_eq!(sessions, expected);
        let wrong = ledger.sessions(&page(3, Some("nonsense".to_owned()))).await.unwrap_err();
        assert!(matches!(wrong, QueryError::Parameter { parameter: "cursor", .. }), "{wrong}");
    }

    async fn costs_add_up_what_is_known_and_count_what_is_not(database) {
        let api = database.api("a").await;
        let day = 86_400;
        send(&api, json!([
            request("s-1", "opus", 0, json!(0.25)),
            request("s-1", "haiku", day, json!(0.5)),
            request("s-2", "haiku", day, Value::Null),
            request("s-2", "sonnet", day, Value::Null),
        ])).await;
        let ledger = api.ledger();
        let costs = async |by| json_of(&ledger.costs(by, always(), &page(100, None)).await.unwrap());
        let models = costs(CostsBy::Model).await;
        let row = |at: usize| {
            let row = &models["items"][at];
            (row["key"].clone(), row["requests"].clone(), row["unpriced"].clone(), row["cost_micros"].clone())
        };
        assert_eq!(row(0), (json!("haiku"), json!(2), json!(1), json!(500_000)));
        assert_eq!(row(1), (json!("opus"), json!(1), json!(0), json!(250_000)));
        assert_eq!(row(2), (json!("sonnet"), json!(1), json!(1), Value::Null));
        let days = costs(CostsBy::Day).await;
        assert_eq!(days["items"].as_array().unwrap().len(), 2, "{days}");
        assert_eq!(days["items"][0]["key"].as_str().unwrap(), &at(0)[..10]);
        let agents = costs(CostsBy::Agent).await;
        assert_eq!(agents["items"][0]["key"], Value::Null);
        let first = ledger.costs(CostsBy::Session, always(), &page(1, None)).await.unwrap();
        let second = ledger.costs(CostsBy::Session, always(), &page(1, first.next)).await.unwrap();
        assert_eq!(second.items[0].key.as_deref(), Some("s-2"));
        assert_eq!(second.items[0].input_tokens, Some(20));
        assert!(second.next.is_none());
    }

    async fn what_is_too_old_is_removed_and_refused_and_stays_in_the_totals(database) {
        let now_us = i64::try_from(
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros(),
        ).unwrap();
        let day_us = 86_400_000_000;
        let ledger = database.open().await;
        let (old, young) = (ids(3_000), ids(10));
        let records = |ids: &[Uuid], time_us: i64| -> Vec<Record> {
            ids.iter().map(|id| Record { time_us, ..record(*id) }).collect()
        };
        for (ids, time_us) in [(&old, now_us - 3 * day_us), (&young, now_us)] {
            let receipt = ledger.submit(records(ids, time_us), |_| {}).unwrap();
            receipt.committed().await.unwrap();
        }
        ledger.shutdown(PATIENCE).await.unwrap();
        database.execute("UPDATE records SET received_us = time_us").await;
        let retention = Retention { max_age: Some(Duration::from_secs(86_400)), max_bytes: None };
        let start = std::time::Instant::now();
        // Upkeep begins with the service. On PostgreSQL it waits for what others are committing.
        let ledger = loop {
            let ledger = Ledger::open(LedgerConfig { retention, ..database.config() }).await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
            if database.number("SELECT COUNT(*) FROM records").await == Some(10) {
                break ledger;
            }
            assert!(start.elapsed() < PATIENCE);
            ledger.shutdown(PATIENCE).await.unwrap();
            database.execute("UPDATE retention SET set_us = 0").await;
        };
        assert_eq!(total(&ledger).await, 3_010);
        assert_eq!(database.number("SELECT CAST(SUM(kept) AS BIGINT) FROM totals").await, Some(10));
        let receipt = ledger.submit(records(&old[..2], now_us - 3 * day_us), |_| {}).unwrap();
        assert_eq!(receipt.committed().await.unwrap(), [Disposition::TooOld; 2]);
        let receipt = ledger.submit(records(&young[..1], now_us), |_| {}).unwrap();
        assert_eq!(receipt.committed().await.unwrap(), [Disposition::Duplicate]);
        assert_eq!(total(&ledger).await, 3_010);
    }

    async fn actions_are_logged_with_what_they_were_given(database) {
        collector();
        let ledger = database.open().await;
        let agent = unique("agent");
        let log = ActionLog::new(ledger.clone(), agent.as_str()).correlated("c-9").in_session("s-9");
        let took = Some(Duration::from_secs(2));
        log.log_tool_call("Read", json!({"path": "a.rs"}), Some(json!({"lines": 3})), took).await.unwrap();
        log.log_decision("stop", json!({"because": "done"}), None).await.unwrap();
        log.log_error("timeout", json!({"after": 30})).await.unwrap();
        log.log_success("merged", json!("x".repeat(100_000)), took).await.unwrap();
        let found = ledger.timeline(&Which::Correlation("c-9".to_owned()), &page(10, None)).await.unwrap();
        assert_eq!(database.number("SELECT COUNT(*) FROM records WHERE session = 's-9'").await, Some(4));
        let shown = json_of(&found).to_string();
        for part in ["a.rs", "because", "merged", "100002"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(shown.len() < 40_000);
        let entries = |kind| sample("action.log.entries", &[
            ("gen_ai.agent.name", agent.as_str()), ("action.type", kind), ("status", "success"),
        ]);
        for kind in ["tool_call", "decision", "error", "success"] {
            assert_eq!(entries(kind), 1.0, "{kind}");
        }
        ledger.shutdown(PATIENCE).await.unwrap();
        log.log_error("late", json!({})).await.unwrap_err();
        let failed = [("gen_ai.agent.name", agent.as_str()), ("status", "failed"), ("error.type", "shutdown")];
        assert_eq!(sample("action.log.entries", &failed), 1.0);
    }

    async fn ledger_and_metrics_agree_after_retries_and_duplicates(database) {
        let services = [database.api("one").await, database.api("two").await];
        let (tool, agent) = (unique("tool"), unique("agent"));
        let mut sent = Vec::new();
        for i in 0..120_i64 {
            let id = Uuid::now_v7();
            if i % 3 == 0 {
                let mut record = request("s", "opus", i, if i % 2 == 0 { json!(0.125) } else { Value::Null });
                record["id"] = json!(id);
                record["fields"]["gen_ai.agent.name"] = json!(agent);
                sent.push(vec![record]);
            } else {
                sent.push(vec![
                    json!({"signal": "tool.call", "id": id, "event": "start", "fields": {"gen_ai.tool.name": tool}}),
                    json!({"signal": "tool.call", "id": id, "event": "end", "fields": {"status": "success"}}),
                ]);
            }
        }
        // Each several times, to either service, both at once, in requests that overlap.
        let mut tasks = Vec::new();
        for (number, api) in services.iter().chain(&services).enumerate() {
            let (api, mut sent) = (api.clone(), sent.clone());
            if number % 2 == 1 {
                sent.reverse();
            }
            tasks.push(tokio::spawn(async move {
                for window in sent.windows(5).step_by(3) {
                    let body = Value::from(window.concat());
                    let outcome = api.take(Bytes::from(body.to_string())).await.unwrap();
                    assert_eq!(outcome.rejected, vec![]);
                }
                let outcome = api.take(Bytes::from(Value::from(sent.concat()).to_string())).await;
                assert_eq!(outcome.unwrap().rejected, vec![]);
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        for api in &services {
            api.sweep(SystemTime::now()).await.unwrap();
        }
        let ledger = services[0].ledger();
        let totals = ledger.totals().await.unwrap();
        assert_eq!(totals, [("llm.request".to_owned(), 40), ("tool.call".to_owned(), 80)]);
        let calls = [("gen_ai.tool.name", tool.as_str()), ("status", "success")];
        assert_eq!(sample("tool.calls", &calls), 80.0);
        assert_eq!(sample("tool.active", &calls[..1]), 0.0);
        let costs = ledger.costs(CostsBy::Agent, always(), &page(10, None)).await.unwrap();
        let [cost] = &costs.items[..] else { panic!("{costs:?}") };
        assert_eq!((cost.requests, cost.unpriced), (40, 20));
        assert_eq!(cost.cost_micros, Some(20 * 125_000));
        assert_eq!(sample("llm.cost", &[("gen_ai.agent.name", &agent)]), 20.0 * 0.125);
        assert_eq!(database.number("SELECT cost_micros FROM sessions").await, Some(20 * 125_000));
    }
}
