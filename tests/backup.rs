//! The commands of docs/operations.md: backups of the ledger under a service that takes records
//! meanwhile, their restoration, and what is sent again after retention removed it.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::oracle::missing;
use tempfile::TempDir;

const BATCH: u64 = 50;

/// A running service; killed when dropped.
struct Service {
    process: Child,
    url: String,
}

impl Service {
    fn start(dir: &Path) -> Self {
        Self::with(dir, &[])
    }

    fn with(dir: &Path, variables: &[(&str, &str)]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_tachograph"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .current_dir(dir)
            .env_clear()
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let listening = lines
            .by_ref()
            .map_while(Result::ok)
            .find(|l| l.contains("listening"));
        let line: Value = serde_json::from_str(&listening.expect("it listens")).unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        let address = line["fields"]["listen"].as_str().unwrap();
        Self {
            process,
            url: format!("http://{address}/api/v1/records"),
        }
    }

    /// Sends the batch of this number: how many were accepted, and how many known.
    fn send(&self, client: &reqwest::blocking::Client, batch: u64) -> (u64, u64) {
        let answer = self.answer(client, batch, None);
        assert_eq!(answer["rejected"], json!([]));
        let count = |name: &str| answer[name].as_u64().unwrap();
        (count("accepted"), count("duplicates"))
    }

    /// The answer to the batch of this number, whose records give this time.
    fn answer(&self, client: &reqwest::blocking::Client, batch: u64, time: Option<&str>) -> Value {
        let records: Vec<Value> = (batch * BATCH..(batch + 1) * BATCH)
            .map(|n| {
                json!({
                    "id": format!("00000000-0000-4000-8000-{n:012x}"),
                    "signal": "tool.call",
                    "time": time,
                    "duration": 0.25,
                    "fields": {"gen_ai.tool.name": "search", "status": "success"},
                })
            })
            .collect();
        let answer = client.post(&self.url).json(&records).send().unwrap();
        assert_eq!(answer.status(), 200);
        answer.json().unwrap()
    }

    fn stop(mut self) {
        let id = self.process.id().to_string();
        let kill = Command::new("kill").args(["-s", "TERM", &id]).status();
        assert!(kill.unwrap().success());
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn client() -> reqwest::blocking::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::blocking::Client::new()
}

/// Whether SQLite's shell is there; under `CI=true` it must be.
fn shell() -> bool {
    let there = Command::new("sqlite3").arg("-version").output().is_ok();
    if !there {
        missing("sqlite3", "`apt-get install sqlite3`");
    }
    there
}

fn sqlite(dir: &Path, file: &str, sql: &str) -> String {
    let output = Command::new("sqlite3")
        .current_dir(dir)
        .args([file, sql])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.is_empty(), "{sql}: {said}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The command as it stands on the page.
fn documented(part: &str) -> String {
    let page = include_str!("../docs/operations.md");
    let line = page
        .lines()
        .find(|line| line.starts_with("sqlite3") && line.contains(part));
    let command = line.unwrap_or_else(|| panic!("no command with {part}"));
    command.split('"').nth(1).unwrap().to_owned()
}

#[test]
fn a_backup_under_load_has_all_that_was_acknowledged_before_it() {
    if !shell() {
        return;
    }
    let client = client();
    for command in [documented("VACUUM INTO"), documented(".backup")] {
        let dir = TempDir::new().unwrap();
        let service = Service::start(dir.path());
        let (sent, done) = (AtomicU64::new(0), AtomicBool::new(false));
        let mut before = 0;
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let (accepted, known) = service.send(&client, sent.load(Ordering::SeqCst));
                    assert_eq!((accepted, known), (BATCH, 0));
                    sent.fetch_add(1, Ordering::SeqCst);
                    // So that the backup, which starts over when written to, comes to an end.
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            let deadline = Instant::now() + Duration::from_secs(20);
            while sent.load(Ordering::SeqCst) < 20 {
                assert!(Instant::now() < deadline && !sender.is_finished());
                std::thread::sleep(Duration::from_millis(5));
            }
            before = sent.load(Ordering::SeqCst);
            sqlite(dir.path(), "tachograph.db", &command);
            done.store(true, Ordering::Relaxed);
        });
        service.stop();
        let sent = sent.load(Ordering::SeqCst);
        assert_eq!(sqlite(dir.path(), "backup.db", "PRAGMA quick_check"), "ok");
        let kept: u64 = sqlite(dir.path(), "backup.db", "SELECT COUNT(*) FROM records")
            .parse()
            .unwrap();
        assert!(
            (before * BATCH..=sent * BATCH).contains(&kept),
            "{before} {kept} {sent}"
        );

        // Restored elsewhere: what it has is known, what came later is taken again.
        let other = TempDir::new().unwrap();
        std::fs::copy(
            dir.path().join("backup.db"),
            other.path().join("tachograph.db"),
        )
        .unwrap();
        let service = Service::start(other.path());
        let mut total = (0, 0);
        for batch in 0..sent {
            let (accepted, known) = service.send(&client, batch);
            total = (total.0 + accepted, total.1 + known);
        }
        assert_eq!(total, (sent * BATCH - kept, kept), "{command}");
        service.stop();
    }
}

#[test]
fn what_retention_removed_is_refused_by_its_time_and_new_without_one() {
    if !shell() {
        return;
    }
    let (dir, client) = (TempDir::new().unwrap(), client());
    let service = Service::start(dir.path());
    assert_eq!(service.send(&client, 0), (BATCH, 0));
    assert_eq!(service.send(&client, 1), (BATCH, 0));
    service.stop();
    let ago = "- 91 * 86400000000";
    let age = format!(
        "UPDATE records SET time_us = time_us {ago}, received_us = received_us {ago} \
         WHERE seq <= {BATCH}"
    );
    sqlite(dir.path(), "tachograph.db", &age);
    let service = Service::with(dir.path(), &[("TACHOGRAPH_LEDGER__MAX_AGE", "2160h")]);
    let rows = || sqlite(dir.path(), "tachograph.db", "SELECT COUNT(*) FROM records");
    let start = Instant::now();
    while rows() != BATCH.to_string() {
        assert!(start.elapsed() < Duration::from_secs(60), "{}", rows());
        std::thread::sleep(Duration::from_millis(100));
    }
    let then = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(91 * 24);
    let dated = service.answer(&client, 0, Some(&then.to_string()));
    let rejected = dated["rejected"].as_array().unwrap();
    assert_eq!(rejected.len() as u64, BATCH, "{dated}");
    assert!(rejected.iter().all(|one| one["field"] == "time"), "{dated}");
    assert_eq!(service.send(&client, 1), (0, BATCH));
    // Ids that tell no time: what is gone cannot be recognised.
    assert_eq!(service.send(&client, 0), (BATCH, 0));
    assert_eq!(service.send(&client, 0), (0, BATCH));
    service.stop();
    let totals = "SELECT SUM(records), SUM(kept) FROM totals";
    let totals = sqlite(dir.path(), "tachograph.db", totals);
    assert_eq!(totals, format!("{}|{}", 3 * BATCH, 2 * BATCH));
    assert_eq!(rows(), (2 * BATCH).to_string());
}
