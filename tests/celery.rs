//! The collector of Celery against a real Celery on a real Redis: what becomes of tasks, queues
//! with priorities, workers that die, events that are turned off, a Redis that goes away. Tasks of
//! Celery have no spans here: they run in processes of their own.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use support::celery::Client;
use support::postgres::Server as Postgres;
use support::prometheus::{Process, until};
use support::redis::Server;
use support::tls::Authority;
use tachograph::collectors::celery::{Celery, CeleryConfig};
use tachograph::collectors::{Collector as _, Progress, Supervised};
use tachograph::recording::{self, Reading, observe};
use tachograph::testing::{self, Capture};
use tokio::time::{Instant, sleep};

const BINARY: &str = env!("CARGO_BIN_EXE_tachograph");
const PATIENCE: Duration = Duration::from_secs(60);

fn config(server: &Server) -> CeleryConfig {
    CeleryConfig {
        url: Some(server.url()),
        interval: Duration::from_secs(1),
        inspect_interval: Duration::from_secs(1),
        ..CeleryConfig::default()
    }
}

/// Rounds, until something holds.
async fn rounds(collector: &mut Celery, what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    loop {
        let round = collector.collect(Instant::now() + PATIENCE).await;
        assert_eq!(round, Ok(Progress::Done), "{what}");
        if holds() {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        sleep(Duration::from_millis(100)).await;
    }
}

fn of(recorded: &Capture, signal: &str, labels: &[(&str, &str)]) -> u64 {
    let found = labels
        .iter()
        .fold(recorded.signal(signal), |found, (key, value)| {
            found.label(key, value)
        });
    found.count()
}

fn value(recorded: &Capture, metric: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let found = labels
        .iter()
        .fold(recorded.metric(metric), |found, (key, value)| {
            found.label(key, value)
        });
    found.value()
}

const TASK: &str = "celery.task.name";
const STATE: &str = "celery.task.state";
const WORKER: &str = "celery.worker.name";

/// A user who may do what docs/celery.md says, and no more.
#[rustfmt::skip]
const USER: &[&str] = &[
    "--user", "reader", "on", ">hunter2", "resetchannels", "&shop:/0.celeryev/*", "~*", "+ping",
    "+select", "+psubscribe", "+scan", "+smembers", "+llen", "+hlen", "+zrange",
    // With `inspect_interval`.
    "+sadd", "+srem", "+del", "+lrange", "+publish", "&shop:/0.celery.pidbox",
];

#[tokio::test]
async fn what_becomes_of_tasks_is_what_celery_says_became_of_them() {
    let Some(server) = Server::start(USER) else {
        return;
    };
    let prefix = json!({"global_keyprefix": "shop:", "queue_order_strategy": "priority"});
    let Some(mut client) = Client::start(&server.url(), prefix) else {
        return;
    };
    let recorded = testing::capture();
    let config = CeleryConfig {
        url: Some(format!(
            "redis://reader:hunter2@127.0.0.1:{}/0",
            server.port()
        )),
        key_prefix: "shop:".to_owned(),
        queues: vec!["celery".to_owned()],
        ..config(&server)
    };
    let mut collector = Celery::new(&config).unwrap().unwrap();
    let of = |signal: &str, labels: &[(&str, &str)]| of(&recorded, signal, labels);
    let value = |metric: &str, labels: &[(&str, &str)]| value(&recorded, metric, labels);
    rounds(&mut collector, "it listens", || {
        value("celery.events.connected", &[]) == Some(1.0)
    })
    .await;
    let queue = [("celery.queue.name", "celery")];
    assert_eq!(value("celery.queue.size", &queue), Some(0.0));

    // Nobody works yet: tasks wait, by priority.
    let mut ids = Vec::new();
    for (priority, count) in [(0, 2), (3, 1), (9, 3)] {
        for n in 0..count {
            ids.push(client.send("app.add", json!([n, 1]), json!({"priority": priority})));
        }
    }
    rounds(&mut collector, "six tasks wait", || {
        value("celery.queue.size", &queue) == Some(6.0)
    })
    .await;
    for (step, waiting) in [("0", 2.0), ("3", 1.0), ("6", 0.0), ("9", 3.0)] {
        let queue = [queue[0], ("celery.queue.priority", step)];
        assert_eq!(
            value("celery.queue.priority.size", &queue),
            Some(waiting),
            "{step}"
        );
    }
    assert_eq!(of("celery.task", &[(TASK, "app.add"), (STATE, "sent")]), 6);
    assert_eq!(of("celery.task.end", &[]), 0);

    let mut worker = client.worker("w1@test", &["-E"]);
    rounds(&mut collector, "they are done", || {
        of(
            "celery.task.end",
            &[(TASK, "app.add"), (STATE, "succeeded")],
        ) == 6
    })
    .await;
    for _ in 0..2 {
        ids.push(client.send("app.fail", json!([]), json!({})));
    }
    ids.push(client.send("app.flaky", json!([2]), json!({})));
    let revoked = client.send("app.add", json!([0, 0]), json!({"countdown": 2}));
    client.revoke(&revoked);
    ids.push(revoked);
    rounds(&mut collector, "the others end", || {
        of(
            "celery.task.end",
            &[(TASK, "app.flaky"), (STATE, "succeeded")],
        ) == 1
            && of("celery.task.end", &[(STATE, "failed")]) == 2
            && of("celery.task.end", &[(STATE, "revoked")]) == 1
    })
    .await;

    // As Celery keeps it.
    let states = client.states(&ids);
    let count = |state: &str| states.iter().filter(|one| *one == state).count() as u64;
    for (state, status) in [
        ("SUCCESS", "succeeded"),
        ("FAILURE", "failed"),
        ("REVOKED", "revoked"),
    ] {
        assert_eq!(
            of("celery.task.end", &[(STATE, status)]),
            count(state),
            "{states:?}"
        );
    }
    let stats = client.stats();
    for (task, ran) in [("app.add", 6), ("app.fail", 2), ("app.flaky", 3)] {
        assert_eq!(of("celery.task", &[(TASK, task), (STATE, "started")]), ran);
        assert_eq!(stats["w1@test"]["total"][task], ran, "{stats}");
    }
    let flaky = [(TASK, "app.flaky"), ("error.type", "ConnectionError")];
    assert_eq!(of("celery.task.retry", &flaky), 2);
    let failed = [(TASK, "app.fail"), ("error.type", "ValueError")];
    assert_eq!(of("celery.task.failure", &failed), 2);
    assert_eq!(of("celery.task.run.duration", &[(TASK, "app.add")]), 6);
    assert_eq!(of("celery.task.run.duration", &[(TASK, "app.flaky")]), 3);
    let waited = [(TASK, "app.add"), queue[0], ("celery.wait.since", "sent")];
    assert_eq!(of("celery.task.wait", &waited), 6);
    assert_eq!(of("celery.event.unused", &[]), 0);
    let worker_name = [(WORKER, "w1@test")];
    rounds(&mut collector, "the worker tells of itself", || {
        value("celery.worker.up", &worker_name) == Some(1.0)
            && value("celery.worker.concurrency", &worker_name) == Some(2.0)
            // All but those of its first two seconds, and those may be all.
            && of("celery.worker.processed", &worker_name) <= 11
    })
    .await;
    assert_eq!(
        value("celery.workers", &[("celery.worker.state", "up")]),
        Some(1.0)
    );
    for group in ["worker", "task", "sent"] {
        let enabled = value("celery.events.enabled", &[("celery.event.group", group)]);
        assert_eq!(enabled, Some(1.0), "{group}");
    }

    // It is killed while it runs a task that it acknowledges at its end.
    client.send("app.nap", json!([60]), json!({}));
    let napping = [(TASK, "app.nap")];
    rounds(&mut collector, "the task runs", || {
        value("celery.task.active", &napping) == Some(1.0)
            && value("celery.worker.active", &worker_name) == Some(1.0)
    })
    .await;
    worker.kill();
    rounds(&mut collector, "the worker is lost", || {
        value("celery.worker.up", &worker_name) == Some(0.0)
    })
    .await;
    assert_eq!(value("celery.task.active", &napping), Some(0.0));
    assert_eq!(value("celery.worker.active", &worker_name), None);
    assert_eq!(
        of(
            "celery.task.forgotten",
            &[("celery.forgotten.reason", "worker_gone")]
        ),
        1
    );
    assert_eq!(value("celery.unacknowledged", &[]), Some(1.0));
    assert!(value("celery.unacknowledged.oldest.timestamp", &[]).unwrap() > 1.6e9);
    let lost = "a worker of Celery is lost: its heartbeats stay away";
    recorded
        .log(lost)
        .field("worker", "w1@test")
        .assert_count(1);

    // Another process's turn: nothing is heard any more, and nothing is shown.
    collector.unknown();
    client.send("app.add", json!([1, 1]), json!({}));
    sleep(Duration::from_millis(300)).await;
    assert_eq!(of("celery.task", &[(TASK, "app.add"), (STATE, "sent")]), 7);
    for gone in [
        "celery.events.connected",
        "celery.queue.size",
        "celery.worker.up",
    ] {
        assert_eq!(value(gone, &[]), None, "{gone}");
    }
    assert_eq!(of("celery.gap", &[]), 0);
}

#[tokio::test]
async fn workers_that_send_no_events_of_tasks_are_told_of_with_what_to_do() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let Some(mut client) = Client::start(&server.url(), json!({})) else {
        return;
    };
    let recorded = testing::capture();
    let mut collector = Celery::new(&config(&server)).unwrap().unwrap();
    let mut worker = client.worker("quiet@test", &[]);
    let up = || value(&recorded, "celery.worker.up", &[(WORKER, "quiet@test")]);
    rounds(&mut collector, "the worker is up", || up() == Some(1.0)).await;
    client.send("app.add", json!([1, 1]), json!({}));
    let enabled = || {
        value(
            &recorded,
            "celery.events.enabled",
            &[("celery.event.group", "task")],
        )
    };
    rounds(&mut collector, "it is found out", || enabled() == Some(0.0)).await;
    let told = recorded.log("a part of it cannot be read");
    told.field("part", "task events").assert_count(1);
    let reports = tachograph::pipeline::collectors::reports();
    let reason = &reports["celery"].missing["task events"];
    for word in ["quiet@test", "control enable_events", "-E"] {
        assert!(reason.contains(word), "{reason}");
    }
    client.control("enable_events");
    client.send("app.add", json!([1, 1]), json!({}));
    rounds(&mut collector, "they are turned on", || {
        enabled() == Some(1.0)
    })
    .await;
    recorded
        .log("it can be read again")
        .field("part", "task events")
        .assert_count(1);
    // It stops and says so: it is not lost.
    worker.stop();
    rounds(&mut collector, "it is gone", || up().is_none()).await;
    let lost = [("celery.worker.state", "lost")];
    assert_ne!(value(&recorded, "celery.workers", &lost), Some(1.0));
}

#[tokio::test]
async fn a_broker_is_read_over_tls_whose_authority_is_given() {
    let authority = Authority::new();
    let Some((server, port)) = Server::secure(&authority) else {
        return;
    };
    let Some(mut client) = Client::start(&server.url(), json!({})) else {
        return;
    };
    let recorded = testing::capture();
    let secure = |ca_file| CeleryConfig {
        url: Some(format!("rediss://localhost:{port}/0")),
        ca_file,
        ..config(&server)
    };
    let mut stranger = Celery::new(&secure(None)).unwrap().unwrap();
    let round = stranger.collect(Instant::now() + PATIENCE).await;
    let refused = round.unwrap_err().to_string();
    assert!(refused.contains("certificate"), "{refused}");

    let trusted = authority.file("trusted.pem", &authority.pem);
    let mut collector = Celery::new(&secure(Some(trusted))).unwrap().unwrap();
    let mut worker = client.worker("secure@test", &["-E"]);
    let up = || value(&recorded, "celery.worker.up", &[(WORKER, "secure@test")]);
    rounds(&mut collector, "the worker is up", || up() == Some(1.0)).await;
    let sizes = || {
        let of = [(WORKER, "secure@test")];
        value(&recorded, "celery.worker.concurrency", &of)
    };
    // What is asked goes the same way as what is heard.
    rounds(&mut collector, "its size is known", || sizes() == Some(2.0)).await;
    client.send("app.add", json!([1, 1]), json!({}));
    let ended = [(TASK, "app.add"), (STATE, "succeeded")];
    rounds(&mut collector, "the task has ended", || {
        of(&recorded, "celery.task.end", &ended) == 1
    })
    .await;
    worker.stop();
}

/// What a counter reads outside of any test's capture.
fn counted(signal: &str, labels: &[(&str, &str)]) -> u64 {
    let metrics = recording::find(signal).unwrap().observed(observe::NONE);
    let all = metrics.iter().flat_map(|metric| metric.series().to_vec());
    let fits = all.filter(|series| {
        let has = |(key, value): &(&str, &str)| series.label(key) == Some(*value);
        labels.iter().all(has)
    });
    let counts = fits.map(|series| match series.read() {
        Reading::Unsigned(count) => count,
        _ => 0,
    });
    counts.sum()
}

#[tokio::test]
async fn of_several_that_share_a_broker_one_counts() {
    let (Some(server), Some(postgres)) = (Server::start(&[]), Postgres::shared()) else {
        return;
    };
    let database = postgres.database().await;
    // Starts the pipeline; what threads of their own record is outside of it.
    drop(testing::capture());
    let start = || {
        let collector = Celery::new(&config(&server)).unwrap().unwrap();
        let turns = collector.turns(&database).unwrap().unwrap();
        let turns = turns.lease(Duration::from_millis(600));
        Supervised::start_in_turn(collector, turns).unwrap()
    };
    let both = [start(), start()];
    let mut task = 0;
    let mut publish = || {
        task += 1;
        let event = json!({
            "type": "task-sent", "hostname": "client", "timestamp": 1.0, "clock": task,
            "uuid": format!("shared {task}"), "name": "shared.task", "retries": 0,
        });
        let message = json!({"body": event.to_string()}).to_string();
        let quoted = message.replace('\\', "\\\\").replace('"', "\\\"");
        server.ask(&format!("PUBLISH /0.celeryev/task.sent \"{quoted}\""))
    };
    let sent = || counted("celery.task", &[(TASK, "shared.task"), (STATE, "sent")]);
    let mut connection = PgConnection::connect(&database).await.unwrap();
    for round in 0..2 {
        let start = Instant::now();
        let before = sent();
        while sent() == before {
            publish();
            assert!(start.elapsed() < PATIENCE, "somebody listens");
            sleep(Duration::from_millis(50)).await;
        }
        sleep(Duration::from_millis(200)).await;
        let before = sent();
        for _ in 0..20 {
            assert_eq!(publish(), ":1\r\n", "one listens, and not both");
        }
        let start = Instant::now();
        while sent() < before + 20 {
            assert!(start.elapsed() < PATIENCE, "they are heard");
            sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(sent(), before + 20, "each once");
        if round == 0 {
            let ended: i64 = sqlx::query_scalar(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_locks \
                 WHERE locktype = 'advisory' AND granted",
            )
            .fetch_one(&mut connection)
            .await
            .unwrap();
            assert_eq!(ended, 1, "one holds the lock");
            let start = Instant::now();
            while publish() != ":0\r\n" {
                assert!(start.elapsed() < PATIENCE, "it stops listening");
                sleep(Duration::from_millis(10)).await;
            }
        }
    }
    for one in &both {
        assert!(one.shutdown(PATIENCE).await);
    }
    assert_eq!(publish(), ":0\r\n", "nobody listens any more");
}

#[test]
fn the_service_listens_again_after_redis_was_away_and_shows_the_gap() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let Some(mut client) = Client::start(&server.url(), json!({})) else {
        return;
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(BINARY)
        .current_dir(folder.path())
        .env_clear()
        .env("TACHOGRAPH_COLLECTORS__CELERY__URL", server.url())
        .env("TACHOGRAPH_COLLECTORS__CELERY__INTERVAL", "1s")
        .args(["serve", "--listen", "127.0.0.1:0", "--vocabulary", "data20"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let _process = Process(child);
    let mut lines = lines.map_while(Result::ok);
    let line = lines.find(|line| line.contains("listening")).unwrap();
    let (told, log) = std::sync::mpsc::channel();
    std::thread::spawn(move || lines.for_each(|line| drop(told.send(line))));
    let line: Value = serde_json::from_str(&line).unwrap();
    let address = line["fields"]["listen"].as_str().unwrap().to_owned();
    let get = |path: &str| {
        let url = format!("http://{address}{path}");
        reqwest::blocking::get(url).unwrap().text().unwrap()
    };
    let shows = |line: &str| get("/metrics").lines().any(|one| one == line);
    until("it listens", || shows("celery_events_connected 1"));
    let worker = client.worker("w1@test", &["-E"]);
    let ended = |count: u32| {
        format!(
            "celery_task_ends_total{{celery_task_name=\"app.add\",celery_task_state=\"succeeded\"}} \
             {count}"
        )
    };
    client.send("app.add", json!([1, 1]), json!({}));
    until("a task is done", || shows(&ended(1)));
    for line in [
        "celery_tasks_total{status=\"success\",task_name=\"app.add\"} 1",
        "celery_queue_length{queue=\"celery\"} 0",
    ] {
        // The queue is read a moment after its task is heard of.
        until(line, || {
            let page = get("/api/monitoring/metrics?vocabulary=data20");
            page.lines().any(|one| one == line)
        });
    }

    server.kill();
    until("it does not", || shows("celery_events_connected 0"));
    until("the collector says so", || {
        shows("tachograph_collector_up{collector=\"celery\"} 0")
    });
    for gone in [
        "celery_queue_size{",
        "celery_worker_up",
        "celery_task_active",
    ] {
        until(gone, || {
            !get("/metrics").lines().any(|line| line.starts_with(gone))
        });
    }
    server.run();
    until("it listens again", || shows("celery_events_connected 1"));
    assert!(shows("celery_events_gaps_total 1"), "{}", get("/metrics"));
    // The worker finds its way back by itself, in its own time.
    let mut count = 0;
    until("a task is done again", || {
        if count < 20 && shows("celery_worker_up{celery_worker_name=\"w1@test\"} 1") && count == 0 {
            client.send("app.add", json!([1, 1]), json!({}));
            count += 1;
        }
        shows(&ended(2))
    });
    drop(worker);
    let health: Value = serde_json::from_str(&get("/api/monitoring/health/metrics")).unwrap();
    assert_eq!(
        health["collectors"]["celery"]["state"], "reading",
        "{health}"
    );
    let told: Vec<String> = log.try_iter().collect();
    let lines_with = |text: &str| told.iter().filter(|line| line.contains(text)).count();
    assert_eq!(lines_with("what is sent meanwhile is lost"), 1, "{told:#?}");
    assert_eq!(
        lines_with("events of Celery are heard again"),
        1,
        "{told:#?}"
    );
}
