//! The service killed in the middle of taking records: nothing acknowledged is lost, nothing
//! is counted twice, however often it is sent again.
#![cfg(all(unix, feature = "service"))]
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tempfile::TempDir;

const CLIENTS: usize = 4;
const BATCH: usize = 11;
const BATCHES: usize = 150;
const TOTAL: usize = CLIENTS * BATCHES * BATCH;
const PATIENCE: Duration = Duration::from_secs(30);

/// `tachograph serve` on a database; killed when dropped.
struct Service {
    process: Child,
    url: String,
}

impl Service {
    fn start(database: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_tachograph"))
            .args(["serve", "--listen", "127.0.0.1:0", "--database"])
            .arg(format!("sqlite://{}", database.display()))
            .current_dir(database.parent().unwrap())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let line = lines
            .by_ref()
            .map_while(Result::ok)
            .find(|line| line.contains("listening"))
            .unwrap();
        // Read to the end, so that the service is never held up by its log.
        std::thread::spawn(move || lines.count());
        let rest = line.split("127.0.0.1:").nth(1).unwrap();
        let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Self {
            process,
            url: format!("http://127.0.0.1:{port}/api/v1/records"),
        }
    }

    /// SIGKILL: no handler runs, nothing is flushed.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn id(number: usize) -> String {
    format!("7ac00000-0000-4000-8000-{number:012x}")
}

fn batch(client: usize, number: usize) -> Vec<usize> {
    let first = (client * BATCHES + number) * BATCH;
    (first..first + BATCH).collect()
}

fn body(numbers: &[usize]) -> String {
    let record = |number: &usize| {
        json!({
            "signal": "workflow.run",
            "id": id(*number),
            "duration": 0.5,
            "fields": {"workflow_type": "killed", "status": "success"},
        })
    };
    Value::from(numbers.iter().map(record).collect::<Vec<_>>()).to_string()
}

/// Accepted and duplicates, unless the answer did not arrive.
async fn send(client: &reqwest::Client, url: &str, numbers: &[usize]) -> Option<(usize, usize)> {
    let response = client.post(url).body(body(numbers)).send().await.ok()?;
    assert_eq!(response.status().as_u16(), 200);
    let answer: Value = response.json().await.ok()?;
    assert_eq!(answer["rejected"], json!([]));
    let count = |field: &str| usize::try_from(answer[field].as_u64().unwrap()).unwrap();
    Some((count("accepted"), count("duplicates")))
}

async fn stored(database: &Path) -> Vec<String> {
    let options = SqliteConnectOptions::new().filename(database);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let ids = sqlx::query_scalar::<_, uuid::Uuid>("SELECT id FROM records")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    ids.into_iter().map(|id| id.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_twice_it_loses_nothing_acknowledged_and_takes_each_record_once() {
    // Fails when another test was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = TempDir::new().unwrap();
    let database = dir.path().join("records.db");
    let mut acknowledged = HashSet::new();
    let mut accepted = 0;
    for kill_after in [3 * BATCH, TOTAL / 3] {
        let mut service = Service::start(&database);
        let progress = Arc::new(AtomicUsize::new(0));
        let killed = Arc::new(AtomicBool::new(false));
        let mut clients = Vec::new();
        for client in 0..CLIENTS {
            let (url, progress) = (service.url.clone(), Arc::clone(&progress));
            let killed = Arc::clone(&killed);
            clients.push(tokio::spawn(async move {
                let http = reqwest::Client::new();
                let mut taken = Vec::new();
                let mut new = 0;
                for number in 0..BATCHES {
                    let numbers = batch(client, number);
                    match send(&http, &url, &numbers).await {
                        Some((accepted, duplicates)) => {
                            assert_eq!(accepted + duplicates, BATCH);
                            new += accepted;
                            progress.fetch_add(accepted, Ordering::SeqCst);
                            taken.extend(numbers);
                        }
                        None => {
                            assert!(killed.load(Ordering::SeqCst), "the service went by itself");
                            break;
                        }
                    }
                }
                (taken, new)
            }));
        }
        let start = Instant::now();
        while progress.load(Ordering::SeqCst) < kill_after {
            assert!(start.elapsed() < PATIENCE);
            tokio::task::yield_now().await;
        }
        killed.store(true, Ordering::SeqCst);
        service.kill();
        for client in clients {
            let (taken, new) = client.await.unwrap();
            acknowledged.extend(taken);
            accepted += new;
        }
        assert!(
            acknowledged.len() < TOTAL,
            "it was not killed in mid-writing"
        );
        let survived: HashSet<String> = stored(&database).await.into_iter().collect();
        assert!(
            acknowledged
                .iter()
                .all(|number| survived.contains(&id(*number)))
        );
        assert_eq!(survived.len() % BATCH, 0, "a request is whole or absent");
    }

    // What was committed, but not answered before the kill, comes back as a duplicate.
    let unanswered = stored(&database).await.len() - accepted;
    let service = Service::start(&database);
    let http = reqwest::Client::new();
    let (mut new, mut known) = (0, 0);
    for round in 0..2 {
        for client in 0..CLIENTS {
            for number in 0..BATCHES {
                let answer = send(&http, &service.url, &batch(client, number)).await;
                let (accepted, duplicates) = answer.unwrap();
                new += accepted;
                known += duplicates;
            }
        }
        assert_eq!(new, TOTAL - accepted - unanswered, "round {round}");
        assert_eq!(new + known, TOTAL * (round + 1));
    }
    let ids = stored(&database).await;
    assert_eq!(ids.len(), TOTAL);
    assert_eq!(ids.into_iter().collect::<HashSet<_>>().len(), TOTAL);

    // Counted by this process: exactly what this process accepted.
    let page = http
        .get(service.url.replace("/api/v1/records", "/metrics"))
        .send()
        .await
        .unwrap();
    assert_eq!(page.status(), 200);
    let page = page.text().await.unwrap();
    let counted: f64 = page
        .lines()
        .filter(|line| line.starts_with("workflow_executions_total{"))
        .filter(|line| line.contains("workflow_type=\"killed\""))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    assert_eq!(counted, new as f64, "{page}");
}
