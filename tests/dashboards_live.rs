//! Every query of every dashboard, asked of a real Prometheus that has scraped a real service
//! while `tachograph demo` reported to it.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Executor as _};
use support::backend::backend;
use support::dashboards::{all, panels};
use support::otlp::{Answer, OtlpReceiver};
use support::prometheus::{Process, Prometheus, until};
use support::web::reset;

const BINARY: &str = env!("CARGO_BIN_EXE_tachograph");
/// What Grafana would choose for a scrape each second, with room for a slow machine.
const RATE_INTERVAL: &str = "8s";

/// Words of queries that a demo of healthy services leaves empty, and why. A query with all words of
/// a row must return nothing, or the row has no place here.
const EMPTY: &[(&[&str], &str)] = &[
    (
        &["tachograph_field_refusals"],
        "only an application's own spans can lack a field",
    ),
    (
        &["tachograph_collector_turn"],
        "nobody shares what the demo's service reads; tests/collectors.rs has those who do",
    ),
    (
        &["redis_server_"],
        "the demo has no Redis; tests/redis_server.rs has one",
    ),
    (
        &["health_target_certificate"],
        "the demo checks no target of HTTPS; tests/health_checks.rs does",
    ),
    (
        &["redis_client_connection_"],
        "the demo asks no pool for a connection to Redis; tests/redis.rs does",
    ),
    (
        &["celery_task_"],
        "the demo has no Celery; tests/celery.rs has one",
    ),
    (
        &["celery_worker"],
        "the demo has no Celery; tests/celery.rs has one",
    ),
    (
        &["celery_queue_"],
        "the demo has no Celery; tests/celery.rs has one",
    ),
    (
        &["celery_unacknowledged"],
        "the demo has no Celery; tests/celery.rs has one",
    ),
    (
        &["celery_events_enabled"],
        "the demo has no Celery; tests/celery.rs has one",
    ),
    (
        &["celery_events_connected"],
        "the demo has no Celery; tests/celery.rs has one",
    ),
    (
        &["http_client_active_requests"],
        "the demo reports requests that have ended; tests/http_client.rs has some under way",
    ),
    (
        &["websocket_connections_active"],
        "the demo reports connections that have ended; tests/websocket.rs has open ones",
    ),
    (
        &["accelerator_inferences_active"],
        "the demo reports inferences that have ended",
    ),
    (
        &["event_outbox_rows"],
        "the demo's service publishes nothing; tests/kafka_outbox.rs has one that does",
    ),
    (
        &["event_outbox_oldest"],
        "the demo's service publishes nothing; tests/kafka_outbox.rs has one that does",
    ),
    (
        &["event_outbox_saturation"],
        "the demo's service publishes nothing; tests/kafka_outbox.rs has one that does",
    ),
    (
        &["cache_tier_requests"],
        "the demo has no cache of its own; tests/cache.rs has one",
    ),
    (
        &["llm_active", "\"anthropic\""],
        "the model of the example backend is its own",
    ),
];

/// Words of queries that return something on some machines: with swap, with GPUs, or with limits on
/// the control group that the test runs in.
const OF_THE_MACHINE: &[&str] = &["container_", "hw_", "system_paging_"];

/// Whether a row of the list speaks of a variable's query.
fn excused_by(query: &str) -> bool {
    let speaks = |words: &[&str]| words.iter().all(|word| query.contains(word));
    EMPTY.iter().any(|(words, _)| speaks(words)) || of_the_machine(query)
}

fn of_the_machine(query: &str) -> bool {
    OF_THE_MACHINE.iter().any(|word| query.contains(word))
}

/// Of the backend, whose figures the service reads; one of them cannot be read.
const BUSINESS_DB: &str = "business.db";
const FIGURES: &str = "
CREATE TABLE users(id INTEGER);
CREATE TABLE api_keys(is_active BOOLEAN, expires_at TEXT);
CREATE TABLE sessions(expires_at TEXT);
INSERT INTO users VALUES (1), (2);
INSERT INTO api_keys VALUES (true, NULL);
INSERT INTO sessions VALUES (NULL);
";
const FIGURES_READ: &str = "
[collectors.business]
database = \"sqlite://business.db\"
interval = \"1s\"
[[collectors.business.figures]]
name = \"orders\"
sql = \"SELECT 'open', 3\"
[[collectors.business.figures]]
name = \"refunds\"
sql = \"SELECT count(*) FROM refunds\"
[[collectors.health.targets]]
name = \"business\"
url = \"sqlite://business.db\"
interval = \"1s\"
group = \"shop\"
machine = \"here\"
[[collectors.health.targets]]
name = \"gone\"
url = \"tcp://127.0.0.1:1\"
interval = \"1s\"
";

/// Of the agents' own database, which the service reads too.
const WORKFLOW_DB: &str = "agent_workflow.db";
const TABLES: &str = "
CREATE TABLE sessions(session_id TEXT PRIMARY KEY, start_time TEXT, end_time TEXT, status TEXT);
CREATE TABLE agent_invocations(id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TEXT,
  session_id TEXT, event_type TEXT, phase TEXT, agent_name TEXT, agent_type TEXT, model TEXT,
  prompt TEXT, parent_agent TEXT, ticket_id TEXT, start_time TEXT, end_time TEXT,
  duration_seconds REAL, status TEXT, error TEXT, result_summary TEXT, raw_input JSON,
  raw_output JSON);
CREATE TABLE tool_uses(id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TEXT, session_id TEXT,
  tool_name TEXT, tool_input JSON, tool_output JSON, duration_seconds REAL);
";
/// A row that counts, one that does not, one that does not know how long it took, one that has
/// not ended.
const ROWS: &str = "
INSERT INTO agent_invocations(timestamp, session_id, phase, agent_name, model, start_time,
  end_time, duration_seconds, status)
SELECT strftime('%Y-%m-%dT%H:%M:%S', 'now'), 's1', 'plan', agent, 'm',
  strftime('%Y-%m-%dT%H:%M:%S', 'now'), ended, seconds, status
FROM (SELECT 'reviewer' AS agent, 'completed' AS status, 2.5 AS seconds,
             strftime('%Y-%m-%dT%H:%M:%S', 'now') AS ended
  UNION ALL SELECT 'unknown', 'completed', 1, strftime('%Y-%m-%dT%H:%M:%S', 'now')
  UNION ALL SELECT 'reviewer', 'completed', NULL, NULL
  UNION ALL SELECT 'reviewer', 'started', NULL, NULL)";

/// Runs statements on a SQLite file, new or not.
fn fill(file: &Path, sql: &'static str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(file);
        let options = options.create_if_missing(true);
        let mut writer = SqliteConnection::connect_with(&options).await.unwrap();
        writer.execute(sql).await.unwrap();
        writer.close().await.unwrap();
    });
}

/// The service, and where it listens.
fn service(directory: &Path, receiver: &OtlpReceiver) -> (Process, String) {
    let settings = directory.join("tachograph.toml");
    let budget = "[[budgets]]\nname = \"everything\"\nusd = 500\nperiod = \"month\"\n";
    std::fs::write(&settings, format!("{budget}{FIGURES_READ}")).unwrap();
    fill(&directory.join(BUSINESS_DB), FIGURES);
    let mut child = Command::new(BINARY)
        .current_dir(directory)
        .env_clear()
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(&settings)
        .args(["--workflow-db", WORKFLOW_DB])
        .env("TACHOGRAPH_WORKFLOW_DB__INTERVAL", "500ms")
        .env("OTEL_SERVICE_NAME", "demo")
        .env(
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=test",
        )
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.http_endpoint())
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        .env("OTEL_TRACES_SAMPLER", "parentbased_always_on")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "1000")
        .env("OTEL_BSP_SCHEDULE_DELAY", "200")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let process = Process(child);
    let line = lines
        .by_ref()
        .map_while(Result::ok)
        .find(|line| line.contains("listening"))
        .unwrap();
    // It goes on to write.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    let line: Value = serde_json::from_str(&line).unwrap();
    let address = line["fields"]["listen"].as_str().unwrap().to_owned();
    (process, address)
}

fn demo(address: &str) {
    let url = format!("http://{address}");
    let demo = Command::new(BINARY)
        .env_clear()
        .args([
            "demo",
            "--duration",
            "20s",
            "--rate",
            "1000",
            "--seed",
            "7",
            "--url",
            &url,
        ])
        .output()
        .unwrap();
    assert!(
        demo.status.success(),
        "{}",
        String::from_utf8_lossy(&demo.stderr)
    );
}

/// What only faults bring about: records that are refused, sent twice or meet a locked ledger,
/// more values than a label's budget, exports that fail, a client that goes away.
fn provoke(address: &str, directory: &Path, receiver: &OtlpReceiver) {
    let client = reqwest::blocking::Client::new();
    let send = |records: &Value| {
        let url = format!("http://{address}/api/v1/records");
        let answer = client.post(url).json(records).send().unwrap();
        answer.status().as_u16()
    };
    let step = |kind: &str| {
        json!({
            "signal": "workflow.step",
            "id": uuid::Uuid::now_v7(),
            "fields": { "workflow_type": "code_review", "step_type": kind, "status": "completed" },
        })
    };
    let known = step("plan");
    for _ in 0..3 {
        send(&json!([known, { "signal": "workflow.rum" }]));
        let unmatched = format!("http://{address}/nothing");
        assert_eq!(client.get(unmatched).send().unwrap().status(), 404);
        let mut leaving = TcpStream::connect(address).unwrap();
        let head = "POST /api/v1/records HTTP/1.1\r\nhost: demo\r\ncontent-length: 1000\r\n\r\n[";
        leaving.write_all(head.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        reset(leaving);
        receiver.script([
            Answer::Unavailable { retry_after: None },
            Answer::BadRequest,
            Answer::Http(503),
        ]);
        std::thread::sleep(Duration::from_secs(1));
    }
    for _ in 0..2 {
        let many: Vec<Value> = (0..100).map(|i| step(&format!("step-{i}"))).collect();
        assert_eq!(send(&Value::from(many)), 200);
        std::thread::sleep(Duration::from_secs(1));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new()
            .filename(directory.join(WORKFLOW_DB))
            .create_if_missing(true);
        let mut writer = SqliteConnection::connect_with(&options).await.unwrap();
        writer.execute(TABLES).await.unwrap();
        for _ in 0..4 {
            writer.execute(ROWS).await.unwrap();
            std::thread::sleep(Duration::from_secs(1));
        }
        // Nobody can read now.
        writer.execute("BEGIN EXCLUSIVE").await.unwrap();
        std::thread::sleep(Duration::from_secs(4));
        writer.close().await.unwrap();
    });
    let file = directory.join("tachograph.db");
    let lock = runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(file);
        let mut lock = SqliteConnection::connect_with(&options).await.unwrap();
        lock.execute("BEGIN IMMEDIATE").await.unwrap();
        lock
    });
    assert_eq!(send(&json!([step("plan")])), 503);
    runtime.block_on(lock.close()).unwrap();
    until("the ledger takes records again", || {
        send(&json!([step("plan")])) == 200
    });
}

/// Tells the service of operations that have begun, as an agent does.
fn begin(address: &str) {
    let begun = [
        ("session.run", json!({ "session.client": "claude-code" })),
        (
            "db.client.connection.acquire",
            json!({ "db.client.connection.pool.name": "main" }),
        ),
        (
            "workflow.approval",
            json!({ "workflow_type": "code_review" }),
        ),
        ("knowledge.indexing", json!({ "collection": "handbook" })),
        (
            "mcp.client.operation",
            json!({ "mcp.method.name": "tools/call", "mcp.server.name": "files" }),
        ),
        (
            "mcp.server.operation",
            json!({ "mcp.method.name": "tools/call" }),
        ),
        (
            "mcp.client.session",
            json!({ "mcp.server.name": "files", "network.transport": "pipe" }),
        ),
        ("mcp.server.session", json!({ "network.transport": "pipe" })),
    ];
    let records: Vec<Value> = begun
        .into_iter()
        .map(|(signal, fields)| {
            json!({
                "signal": signal,
                "id": uuid::Uuid::now_v7(),
                "event": "start",
                "fields": fields,
            })
        })
        .collect();
    let client = reqwest::blocking::Client::new();
    let url = format!("http://{address}/api/v1/records");
    let answer = client.post(url).json(&records).send().unwrap();
    let answer: Value = answer.json().unwrap();
    assert_eq!(answer["accepted"], records.len(), "{answer}");
}

/// One of each operation in the backend.
fn work(address: &str) {
    let client = reqwest::blocking::Client::new();
    for path in ["workflows/code_review", "agents/writer"] {
        let url = format!("http://{address}/{path}");
        let answer = client.post(url).body("What is new?").send().unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }
}

/// What Grafana puts in the place of variables.
struct Variables {
    values: Vec<(String, String)>,
}

impl Variables {
    fn put(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.values {
            text = text
                .replace(&format!("${{{name}}}"), value)
                .replace(&format!("${name}"), value);
        }
        text
    }
}

/// All values of every variable, as Grafana would have them with "All" chosen everywhere;
/// names the variables without any.
fn variables(prometheus: &Prometheus, dashboard: &Value, range: &str) -> (Variables, Vec<String>) {
    let mut variables = Variables {
        // Longer names first: `$__range` begins like `$__range_s`.
        values: vec![
            ("__rate_interval".to_owned(), RATE_INTERVAL.to_owned()),
            ("__range".to_owned(), range.to_owned()),
        ],
    };
    let mut empty = Vec::new();
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if variable["type"] != "query" {
            continue;
        }
        let name = variable["name"].as_str().unwrap();
        let query = variables.put(variable["query"]["query"].as_str().unwrap());
        let inside = query.strip_prefix("label_values(").unwrap();
        let (series, label) = inside.strip_suffix(')').unwrap().rsplit_once(", ").unwrap();
        let values = prometheus.ask(&format!("label/{label}/values"), &[("match[]", series)]);
        let values: Vec<&str> = values
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        if values.is_empty() {
            empty.push(format!("{name}: {query}"));
        }
        let all = match variable["allValue"].as_str() {
            Some(all) => all.to_owned(),
            None => format!("({})", values.join("|").replace('.', "\\\\.")),
        };
        variables.values.push((name.to_owned(), all));
    }
    (variables, empty)
}

/// Whether a query returns at least one number.
fn returns(prometheus: &Prometheus, query: &str, instant: bool, start: f64, end: f64) -> bool {
    let (start, end) = (start.to_string(), end.to_string());
    let data = if instant {
        prometheus.ask("query", &[("query", query), ("time", &end)])
    } else {
        let range = [
            ("query", query),
            ("start", &start),
            ("end", &end),
            ("step", "1"),
        ];
        prometheus.ask("query_range", &range)
    };
    let number = |sample: &Value| {
        let text = sample[1].as_str().unwrap_or_default();
        text.parse::<f64>().is_ok_and(f64::is_finite)
    };
    data["result"].as_array().unwrap().iter().any(|series| {
        number(&series["value"])
            || series["values"]
                .as_array()
                .into_iter()
                .flatten()
                .any(number)
    })
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs_f64()
}

#[test]
fn every_query_of_every_dashboard_returns_data() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = tempfile::tempdir().unwrap();
    let receiver = OtlpReceiver::start_blocking();
    let (_service, address) = service(directory.path(), &receiver);
    // What is under way: the backend knows of itself, agents tell that something has begun.
    let (_backend, backend) = backend(&[]);
    let second = format!(
        "- job_name: backend\n  metrics_path: /api/monitoring/metrics\n\
         \x20 static_configs: [{{targets: ['{backend}']}}]\n"
    );
    work(&backend);
    begin(&address);
    let Some(prometheus) = Prometheus::start_with(directory.path(), "demo", &address, &second)
    else {
        return;
    };
    until("both are scraped", || {
        prometheus.value("sum(up)") == Some(2.0)
    });
    let start = now();
    std::thread::scope(|scope| {
        scope.spawn(|| demo(&address));
        scope.spawn(|| provoke(&address, directory.path(), &receiver));
    });
    prometheus.two_scrapes();
    let end = now();
    let range = format!("{}s", (end - start).ceil());

    let mut failed = Vec::new();
    let mut filled = Vec::new();
    let mut excused = BTreeSet::new();
    let mut queries = 0;
    for (file, dashboard) in all() {
        let (variables, without) = variables(&prometheus, &dashboard, &range);
        failed.extend(
            without
                .into_iter()
                .filter(|which| !excused_by(which))
                .map(|which| format!("{file}: variable {which}")),
        );
        for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
            let Some(expr) = annotation["target"]["expr"].as_str() else {
                continue;
            };
            // No rules are loaded here, so no alert fires.
            let expr = variables.put(expr);
            if !expr.starts_with("ALERTS{") && !returns(&prometheus, &expr, false, start, end) {
                failed.push(format!("{file}: annotation {expr}"));
            }
        }
        for panel in panels(&dashboard) {
            let title = panel["title"].as_str().unwrap();
            for target in panel["targets"].as_array().unwrap() {
                let expr = variables.put(target["expr"].as_str().unwrap());
                assert!(!expr.contains('$'), "{file}: {title}: {expr}");
                queries += 1;
                let listed = EMPTY
                    .iter()
                    .find(|(words, _)| words.iter().all(|word| expr.contains(word)));
                let found = returns(&prometheus, &expr, target["instant"] == true, start, end);
                if of_the_machine(&expr) {
                    continue;
                }
                match listed {
                    None if !found => failed.push(format!("{file}: {title}: {expr}")),
                    Some((words, why)) if found => {
                        filled.push(format!("{file}: {title}: {words:?}: {why}: {expr}"));
                    }
                    Some((words, _)) => drop(excused.insert(*words)),
                    None => {}
                }
            }
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {queries} queries return nothing:\n{}",
        failed.len(),
        failed.join("\n")
    );
    assert!(
        filled.is_empty(),
        "listed as empty, and are not:\n{}",
        filled.join("\n")
    );
    assert_eq!(excused.len(), EMPTY.len(), "only {excused:?} are asked for");
    assert!(queries > 300, "{queries}");
}
