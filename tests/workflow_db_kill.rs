//! The exporter of the agent workflow database, killed while it commits what it has counted:
//! nothing is lost, and nothing is counted twice.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use support::workflow_db::{Exporter, OLD, RUNS, create, python, write};

const ROWS: u64 = 40_000;
const STATE: &str = "agent_workflow.db.tachograph";

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Copies a state file as a process that was killed left it, with so much of its log.
fn copy(state: &Path, folder: &Path, log: Option<usize>) -> PathBuf {
    let copied = folder.join(STATE);
    std::fs::copy(state, &copied).unwrap();
    if let Ok(mut bytes) = std::fs::read(with_ending(state, "-wal")) {
        bytes.truncate(log.unwrap_or(bytes.len()));
        std::fs::write(with_ending(&copied, "-wal"), bytes).unwrap();
    }
    copied
}

/// How many rows a state file says are settled; it is left as it is.
fn settled(state: &Path) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let path = copy(state, folder.path(), None);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut connection: SqliteConnection = SqliteConnectOptions::new()
            .filename(&path)
            .connect()
            .await
            .unwrap();
        let sound: String = sqlx::query_scalar("PRAGMA integrity_check")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(sound, "ok");
        let tables: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM sqlite_master WHERE name IN ('settled', 'cursors')",
        )
        .fetch_one(&mut connection)
        .await
        .unwrap();
        if tables == 0 {
            return 0;
        }
        let (count, place): (i64, Option<i64>) =
            sqlx::query_as("SELECT COUNT(*), (SELECT place FROM cursors) FROM settled")
                .fetch_one(&mut connection)
                .await
                .unwrap();
        connection.close().await.unwrap();
        // What is settled and up to where it was read are one.
        assert_eq!(count, place.unwrap_or(0));
        u64::try_from(count).unwrap()
    })
}

/// Where the frames of a log's last writes begin, the first of them first.
fn frames(log: &[u8]) -> Vec<usize> {
    const HEADER: usize = 32;
    let page = u32::from_be_bytes(log[8..12].try_into().unwrap()) as usize;
    let frame = 24 + page;
    (HEADER..)
        .step_by(frame)
        .take_while(|at| at + frame <= log.len() && log[at + 8..at + 16] == log[16..24])
        .collect()
}

/// Reads on until everything is counted, and is killed then.
fn rest(db: &Path, before: u64) {
    let mut exporter = Exporter::start(db, &["--interval", "0.2"]);
    if before < ROWS {
        exporter.wait(RUNS, (ROWS - before) as f64);
    }
    exporter.wait("workflow_db_unread_rows", 0.0);
    std::thread::sleep(Duration::from_millis(500));
    let counted = exporter.value(RUNS).unwrap_or(0.0);
    assert_eq!(counted, (ROWS - before) as f64);
    exporter.child.kill().unwrap();
    exporter.child.wait().unwrap();
    assert_eq!(settled(&with_ending(db, ".tachograph")), ROWS);
}

#[test]
fn killed_in_the_midst_of_commits_it_counts_the_rest_once() {
    if !python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let db = folder.path().join("agent_workflow.db");
    let state = folder.path().join(STATE);
    create(&db, OLD, "wal");
    write(
        &db,
        &format!(
            "
c.execute('BEGIN')
c.executemany('INSERT INTO agent_invocations(timestamp, session_id, phase, agent_name, model, duration_seconds, status) VALUES (?,?,?,?,?,?,?)',
    ((now(), 's1', 'plan', 'reviewer', 'm', 1.5, 'completed') for _ in range({ROWS})))
c.execute('COMMIT')
"
        ),
    );
    let mut before = 0;
    for round in 0..6 {
        let mut exporter = Exporter::start(&db, &["--interval", "0.2"]);
        let start = Instant::now();
        let mut seen = 0.0;
        while round % 2 == 1 && seen == 0.0 && start.elapsed() < Duration::from_secs(20) {
            seen = exporter.value(RUNS).unwrap_or(0.0);
        }
        exporter.child.kill().unwrap();
        exporter.child.wait().unwrap();
        let now = settled(&state);
        assert!(now >= before, "{before} {now}");
        // Nothing is shown that is not settled for good.
        assert!(seen as u64 <= now - before, "{before} {seen} {now}");
        before = now;
    }
    // What is left of a log whose last transactions were being written.
    if let Ok(log) = std::fs::read(with_ending(&state, "-wal")) {
        let frames = frames(&log);
        let mut lost = 0;
        for (at, part) in frames.iter().rev().zip([0, 2_000, 0, 0]) {
            let torn = tempfile::tempdir().unwrap();
            let torn_state = copy(&state, torn.path(), Some(at + part));
            let left = settled(&torn_state);
            assert!(left <= before);
            lost += before - left;
            let torn_db = torn.path().join("agent_workflow.db");
            std::fs::copy(&db, &torn_db).unwrap();
            rest(&torn_db, left);
        }
        assert!(lost > 0 || before == 0, "nothing was torn off");
    }
    rest(&db, before);
}
