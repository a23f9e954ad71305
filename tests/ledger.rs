//! The ledger on a real SQLite file: exactly once, and what happens when the file is locked,
//! full, damaged or gone, or the process is killed.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tachograph::ledger::{
    Columns, Disposition, Event, Ledger, LedgerConfig, LedgerState, OpenError, Receipt, Record,
    SubmitError,
};
use tempfile::TempDir;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);

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

fn records(ids: &[Uuid]) -> Vec<Record> {
    ids.iter().copied().map(record).collect()
}

fn ids(n: usize) -> Vec<Uuid> {
    (0..n).map(|_| Uuid::new_v4()).collect()
}

fn config(path: &Path) -> LedgerConfig {
    LedgerConfig {
        busy_timeout: Duration::from_millis(100),
        retry_interval: Duration::from_millis(20),
        ..LedgerConfig::new(format!("sqlite:{}", path.display()))
    }
}

/// A ledger whose accepted records are counted as the metrics would be.
struct Counted {
    ledger: Ledger,
    count: Arc<AtomicUsize>,
}

impl Counted {
    async fn open(config: LedgerConfig) -> Self {
        Self {
            ledger: Ledger::open(config).await.unwrap(),
            count: Arc::default(),
        }
    }

    fn submit(&self, ids: &[Uuid]) -> Result<Receipt, SubmitError> {
        let count = Arc::clone(&self.count);
        self.ledger.submit(records(ids), move |dispositions| {
            count.fetch_add(accepted(dispositions), Ordering::SeqCst);
        })
    }

    async fn commit(&self, ids: &[Uuid]) -> Result<Vec<Disposition>, SubmitError> {
        self.submit(ids)?.committed().await
    }

    fn counted(&self) -> usize {
        self.count.load(Ordering::SeqCst)
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

    async fn until_ready(&self) {
        let start = Instant::now();
        while self.ledger.health().state != LedgerState::Ready {
            assert!(start.elapsed() < PATIENCE, "{:?}", self.ledger.health());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn accepted(dispositions: &[Disposition]) -> usize {
    dispositions
        .iter()
        .filter(|d| **d == Disposition::Accepted)
        .count()
}

/// This test binary again, running the one test `name` as a second process.
fn second_process(name: &str, database: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env("LEDGER_TEST_DATABASE", database)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn child_database() -> Option<String> {
    std::env::var("LEDGER_TEST_DATABASE").ok()
}

/// Locks the database until its standard input closes.
#[tokio::test]
async fn second_process_that_locks() {
    let Some(path) = child_database() else { return };
    let options = SqliteConnectOptions::new().filename(path);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut connection)
        .await
        .unwrap();
    println!("\nlocked");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

struct Lock {
    process: Child,
    stdin: Option<ChildStdin>,
    /// Kept, so that the process can go on printing.
    _stdout: BufReader<ChildStdout>,
}

impl Lock {
    fn take(database: &Path) -> Self {
        let mut process = second_process("second_process_that_locks", database);
        let stdin = process.stdin.take();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let locked = stdout
            .by_ref()
            .lines()
            .any(|line| line.unwrap() == "locked");
        assert!(locked, "the second process ended without the lock");
        Self {
            process,
            stdin,
            _stdout: stdout,
        }
    }

    fn release(mut self) {
        drop(self.stdin.take());
        self.process.wait().unwrap();
    }
}

#[tokio::test]
async fn each_id_is_accepted_once_within_a_batch_and_across() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.db");
    let [a, b, c] = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()];
    let ledger = Counted::open(config(&path)).await;
    use Disposition::{Accepted, Duplicate};
    assert_eq!(
        ledger.commit(&[a, b, a, a]).await.unwrap(),
        [Accepted, Accepted, Duplicate, Duplicate]
    );
    assert_eq!(
        ledger.commit(&[c, b, c]).await.unwrap(),
        [Accepted, Duplicate, Duplicate]
    );
    assert_eq!(ledger.commit(&[]).await.unwrap(), []);
    assert_eq!(ledger.counted(), 3);
    ledger.ledger.shutdown(PATIENCE).await.unwrap();

    let again = Counted::open(config(&path)).await;
    assert_eq!(again.commit(&[a, b, c]).await.unwrap(), [Duplicate; 3]);
    assert_eq!(again.counted(), 0);
    assert_eq!(
        again.ledger.totals().await.unwrap(),
        [("workflow.run".to_owned(), 3)]
    );
}

#[tokio::test]
async fn a_record_is_stored_as_it_was_given() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.db");
    let ledger = Ledger::open(config(&path)).await.unwrap();
    let expected = Record {
        duration: None,
        time_us: -5,
        fields: "{\"a\":\"\u{0}'\\\"\u{1F980}\"}".to_owned(),
        ..record(Uuid::now_v7())
    };
    let receipt = ledger.submit(vec![expected.clone()], |_| {}).unwrap();
    receipt.committed().await.unwrap();
    let options = SqliteConnectOptions::new().filename(&path);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let row: (i64, Uuid, String, i64, Option<f64>, String, String) =
        sqlx::query_as("SELECT seq, id, signal, time_us, duration, fields, context FROM records")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!(
        row,
        (
            1,
            expected.id,
            expected.signal.to_owned(),
            -5,
            None,
            expected.fields,
            "{}".to_owned()
        )
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_ids_from_many_tasks_are_counted_once() {
    let dir = TempDir::new().unwrap();
    let ledger = Arc::new(Counted::open(config(&dir.path().join("a.db"))).await);
    let all = Arc::new(ids(700));
    let mut tasks = Vec::new();
    for task in 0..8 {
        let (ledger, all) = (Arc::clone(&ledger), Arc::clone(&all));
        tasks.push(tokio::spawn(async move {
            let mut accepted_here = 0;
            for offset in 0..7 {
                let start = (offset + task) % 7 * 100;
                let result = ledger.commit(&all[start..start + 100]).await;
                accepted_here += accepted(&result.unwrap());
            }
            accepted_here
        }));
    }
    let mut answered = 0;
    for task in tasks {
        answered += task.await.unwrap();
    }
    assert_eq!(answered, 700);
    assert_eq!(ledger.counted(), 700);
    assert_eq!(ledger.total().await, 700);
}

#[tokio::test]
async fn two_ledgers_on_one_file_accept_each_id_once() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.db");
    let patient = || LedgerConfig {
        busy_timeout: PATIENCE,
        ..config(&path)
    };
    let one = Counted::open(patient()).await;
    let two = Counted::open(patient()).await;
    for _ in 0..50 {
        let some = ids(10);
        let (a, b) = tokio::join!(one.commit(&some), two.commit(&some));
        assert_eq!(accepted(&a.unwrap()) + accepted(&b.unwrap()), 10);
    }
    assert_eq!(one.total().await, 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_may_take_a_new_file_into_use_at_once() {
    for _ in 0..10 {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("a.db");
        let mut tasks = Vec::new();
        for _ in 0..4 {
            let config = config(&path);
            tasks.push(tokio::spawn(async move {
                let ledger = Counted::open(config).await;
                let start = Instant::now();
                loop {
                    ledger.until_ready().await;
                    match ledger.commit(&ids(1)).await {
                        Ok(dispositions) => break assert_eq!(accepted(&dispositions), 1),
                        Err(error) => assert!(start.elapsed() < PATIENCE, "{error}"),
                    }
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let ledger = Counted::open(config(&path)).await;
        assert_eq!(ledger.total().await, 4);
    }
}

#[tokio::test]
async fn a_submitter_that_goes_away_is_counted_all_the_same() {
    let dir = TempDir::new().unwrap();
    let ledger = Counted::open(config(&dir.path().join("a.db"))).await;
    drop(ledger.submit(&ids(5)).unwrap());
    ledger.commit(&ids(1)).await.unwrap();
    assert_eq!(ledger.counted(), 6);
}

#[tokio::test]
async fn counting_that_panics_does_not_stop_the_writer() {
    let dir = TempDir::new().unwrap();
    let ledger = Counted::open(config(&dir.path().join("a.db"))).await;
    let receipt = ledger
        .ledger
        .submit(records(&ids(1)), |_| panic!("counting failed"))
        .unwrap();
    assert_eq!(receipt.committed().await.unwrap(), [Disposition::Accepted]);
    ledger.commit(&ids(1)).await.unwrap();
    assert_eq!(ledger.total().await, 2);
}

#[tokio::test]
async fn a_full_queue_refuses_and_loses_nothing_it_took() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.db");
    let ledger = Counted::open(LedgerConfig {
        queue_bytes: 64 * 1024,
        busy_timeout: PATIENCE,
        ..config(&path)
    })
    .await;
    let lock = Lock::take(&path);
    let mut receipts = Vec::new();
    let refused = loop {
        match ledger.submit(&ids(10)) {
            Ok(receipt) => receipts.push(receipt),
            Err(error) => break error,
        }
        assert!(receipts.len() < 1_000, "the queue has no bound");
    };
    assert_eq!(refused, SubmitError::Full);
    let health = ledger.ledger.health();
    assert_eq!(health.queued_records, receipts.len() * 10);
    assert!(health.queued_bytes <= health.queue_capacity_bytes);
    assert_eq!(ledger.counted(), 0);
    lock.release();
    let expected = receipts.len() * 10;
    for receipt in receipts {
        assert_eq!(accepted(&receipt.committed().await.unwrap()), 10);
    }
    assert_eq!(ledger.counted(), expected);
    // Room again, also for a submission larger than the whole queue.
    let large = ids(2_000);
    let start = Instant::now();
    while let Err(error) = ledger.commit(&large).await {
        assert_eq!(error, SubmitError::Full);
        assert!(start.elapsed() < PATIENCE);
    }
    assert_eq!(ledger.ledger.health().queued_records, 0);
}

#[tokio::test]
async fn locked_by_another_process_it_is_away_and_comes_back() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.db");
    let ledger = Counted::open(config(&path)).await;
    let all = ids(30);
    ledger.commit(&all[..10]).await.unwrap();
    let lock = Lock::take(&path);
    let waiting = ledger.submit(&all[10..20]).unwrap();
    let error = waiting.committed().await.unwrap_err();
    assert!(
        matches!(&error, SubmitError::Away(r) if r.contains("locked")),
        "{error}"
    );
    // Refused at once from here on, without waiting for the lock again.
    assert!(matches!(
        ledger.submit(&all[20..]),
        Err(SubmitError::Away(_))
    ));
    assert_eq!(ledger.counted(), 10);
    lock.release();
    ledger.until_ready().await;
    assert_eq!(accepted(&ledger.commit(&all).await.unwrap()), 20);
    assert_eq!(ledger.counted(), 30);
    assert_eq!(ledger.total().await, 30);
}

#[tokio::test]
async fn locked_at_the_start_it_comes_up_away_and_recovers() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.db");
    let first = Counted::open(config(&path)).await;
    first.ledger.shutdown(PATIENCE).await.unwrap();
    let lock = Lock::take(&path);
    let ledger = Counted::open(config(&path)).await;
    assert!(matches!(
        ledger.ledger.health().state,
        LedgerState::Away { .. }
    ));
    lock.release();
    ledger.until_ready().await;
    assert_eq!(accepted(&ledger.commit(&ids(3)).await.unwrap()), 3);
}

#[tokio::test]
async fn a_full_database_refuses_whole_batches_and_counts_none() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.db");
    let ledger = Counted::open(LedgerConfig {
        max_pages: Some(40),
        ..config(&path)
    })
    .await;
    let mut committed = 0;
    let error = loop {
        match ledger.commit(&ids(100)).await {
            Ok(dispositions) => committed += accepted(&dispositions),
            Err(error) => break error,
        }
        assert!(committed < 10_000, "the database has no bound");
    };
    assert!(
        matches!(&error, SubmitError::Away(r) if r.contains("full")),
        "{error}"
    );
    assert!(committed > 0);
    assert_eq!(ledger.counted(), committed);
    assert_eq!(ledger.total().await, committed as u64);
    ledger.ledger.shutdown(PATIENCE).await.unwrap();

    let roomy = Counted::open(config(&path)).await;
    assert_eq!(accepted(&roomy.commit(&ids(100)).await.unwrap()), 100);
    assert_eq!(roomy.total().await, committed as u64 + 100);
}

/// A small file system in memory.
#[cfg(target_os = "linux")]
struct SmallDisk(TempDir);

#[cfg(target_os = "linux")]
impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", size, "tmpfs"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then(|| Self(dir))
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Needs the right to mount; without it the bounded database above stands in.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_away_until_there_is_room() {
    let Some(disk) = SmallDisk::mount("size=1m") else {
        eprintln!("skipped: a tmpfs cannot be mounted here");
        return;
    };
    let dir = &disk.0;
    let path = dir.path().join("a.db");
    let ballast = dir.path().join("ballast");
    std::fs::write(&ballast, vec![0; 400 * 1024]).unwrap();
    let ledger = Counted::open(config(&path)).await;
    let mut all = Vec::new();
    let mut confirmed = 0;
    let error = loop {
        let batch = ids(100);
        all.extend_from_slice(&batch);
        match ledger.commit(&batch).await {
            Ok(dispositions) => confirmed += accepted(&dispositions),
            Err(error) => break error,
        }
        assert!(confirmed < 20_000, "the disk has no bound");
    };
    assert!(matches!(error, SubmitError::Away(_)), "{error}");
    assert_eq!(ledger.counted(), confirmed);
    std::fs::remove_file(&ballast).unwrap();
    let start = Instant::now();
    loop {
        ledger.until_ready().await;
        match ledger.commit(&all).await {
            Ok(dispositions) => break assert_eq!(accepted(&dispositions), all.len() - confirmed),
            Err(SubmitError::Away(_)) => assert!(start.elapsed() < PATIENCE),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(ledger.counted(), all.len());
    assert_eq!(ledger.total().await, all.len() as u64);
    ledger.ledger.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_removed_file_is_noticed_and_not_replaced_by_an_empty_one() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.db");
    let ledger = Counted::open(config(&path)).await;
    ledger.commit(&ids(5)).await.unwrap();
    let aside = dir.path().join("aside");
    std::fs::create_dir(&aside).unwrap();
    let files = ["a.db", "a.db-wal", "a.db-shm"];
    for file in files {
        std::fs::rename(dir.path().join(file), aside.join(file)).unwrap();
    }
    let lost = ids(5);
    let error = ledger.commit(&lost).await.unwrap_err();
    assert!(
        matches!(&error, SubmitError::Away(r) if r.contains("removed")),
        "{error}"
    );
    assert!(matches!(ledger.submit(&lost), Err(SubmitError::Away(_))));
    assert!(!path.exists());
    for file in files {
        // Closing moved the log into the database, so it may be gone.
        let _ = std::fs::rename(aside.join(file), dir.path().join(file));
    }
    ledger.until_ready().await;
    assert_eq!(accepted(&ledger.commit(&lost).await.unwrap()), 5);
    assert_eq!(ledger.counted(), 10);
    assert_eq!(ledger.total().await, 10);
}

#[tokio::test]
async fn what_is_no_ledger_is_refused_and_left_as_it_was() {
    let dir = TempDir::new().unwrap();
    let garbage = dir.path().join("garbage.db");
    std::fs::write(
        &garbage,
        "not a database, but long enough to be read ".repeat(200),
    )
    .unwrap();
    let before = std::fs::read(&garbage).unwrap();
    let error = Ledger::open(config(&garbage)).await.unwrap_err();
    assert!(matches!(error, OpenError::NotALedger { .. }), "{error}");
    assert!(error.to_string().contains("garbage.db"), "{error}");
    assert_eq!(std::fs::read(&garbage).unwrap(), before);

    let foreign = dir.path().join("foreign.db");
    let options = SqliteConnectOptions::new()
        .filename(&foreign)
        .create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("CREATE TABLE theirs (x)")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let error = Ledger::open(config(&foreign)).await.unwrap_err();
    assert!(error.to_string().contains("another application"), "{error}");

    let missing = dir.path().join("missing").join("a.db");
    let error = Ledger::open(config(&missing)).await.unwrap_err();
    assert!(matches!(error, OpenError::File { .. }), "{error}");
    let error = Ledger::open(config(dir.path())).await.unwrap_err();
    assert!(matches!(error, OpenError::File { .. }), "{error}");
}

#[tokio::test]
async fn a_damaged_ledger_is_refused() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.db");
    let ledger = Counted::open(config(&path)).await;
    ledger.commit(&ids(500)).await.unwrap();
    ledger.ledger.shutdown(PATIENCE).await.unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100..4096].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let error = Ledger::open(config(&path)).await.unwrap_err();
    assert!(matches!(error, OpenError::NotALedger { .. }), "{error}");
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.db");
    let ledger = Ledger::open(config(&path)).await.unwrap();
    ledger.shutdown(PATIENCE).await.unwrap();
    let options = SqliteConnectOptions::new().filename(&path);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'later', TRUE, x'00', 0)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    let error = Ledger::open(config(&path)).await.unwrap_err();
    assert!(matches!(error, OpenError::Schema { .. }), "{error}");
    assert!(error.to_string().contains("9999"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_new_file_and_its_log_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.db");
    let ledger = Counted::open(config(&path)).await;
    ledger.commit(&ids(1)).await.unwrap();
    for file in ["a.db", "a.db-wal", "a.db-shm"] {
        let metadata = std::fs::metadata(dir.path().join(file)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{file}");
    }
}

#[tokio::test]
async fn shutdown_commits_what_waits_and_may_be_called_twice() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.db");
    let ledger = Counted::open(config(&path)).await;
    let receipts: Vec<_> = (0..20).map(|_| ledger.submit(&ids(10)).unwrap()).collect();
    ledger.ledger.shutdown(PATIENCE).await.unwrap();
    ledger.ledger.shutdown(PATIENCE).await.unwrap();
    for receipt in receipts {
        assert_eq!(accepted(&receipt.committed().await.unwrap()), 10);
    }
    assert_eq!(ledger.counted(), 200);
    assert_eq!(ledger.ledger.health().state, LedgerState::Closed);
    assert_eq!(ledger.submit(&ids(1)).unwrap_err(), SubmitError::Closed);
    assert!(!dir.path().join("a.db-wal").exists());
}

#[tokio::test]
async fn shutdown_gives_up_at_its_deadline() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.db");
    let ledger = Counted::open(LedgerConfig {
        busy_timeout: PATIENCE,
        ..config(&path)
    })
    .await;
    let lock = Lock::take(&path);
    let waiting = ledger.submit(&ids(7)).unwrap();
    let deadline = Duration::from_millis(50);
    let error = ledger.ledger.shutdown(deadline).await.unwrap_err();
    assert_eq!((error.deadline, error.waiting), (deadline, 7));
    lock.release();
    assert_eq!(accepted(&waiting.committed().await.unwrap()), 7);
}

const STREAM: usize = 4_000;

/// The ids that the process to be killed writes, and that are sent again afterwards.
fn stream_id(index: usize) -> Uuid {
    Uuid::from_u128(0x7ac0_0000_0000_4000_8000_0000_0000_0000 | (index as u128))
}

/// Writes the stream in batches of seven and prints each id once it is acknowledged.
#[tokio::test]
async fn second_process_that_writes() {
    let Some(path) = child_database() else { return };
    let ledger = Counted::open(config(Path::new(&path))).await;
    println!();
    let all: Vec<usize> = (0..STREAM).collect();
    for batch in all.chunks(7) {
        let some: Vec<Uuid> = batch.iter().copied().map(stream_id).collect();
        ledger.commit(&some).await.unwrap();
        for index in batch {
            println!("acknowledged {index}");
        }
    }
}

#[tokio::test]
async fn killed_in_mid_writing_it_loses_no_acknowledged_record_and_counts_none_twice() {
    for kill_after in [1, 200, 1_000] {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("a.db");
        let mut process = second_process("second_process_that_writes", &path);
        let mut acknowledged = HashSet::new();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        for line in lines {
            if let Some(index) = line.unwrap().strip_prefix("acknowledged ") {
                acknowledged.insert(index.parse::<usize>().unwrap());
            }
            if acknowledged.len() == kill_after {
                process.kill().unwrap();
            }
        }
        assert!(!process.wait().unwrap().success());
        assert!(acknowledged.len() >= kill_after);
        assert!(
            acknowledged.len() < STREAM,
            "it was not killed in mid-writing"
        );

        let ledger = Counted::open(config(&path)).await;
        let survived = usize::try_from(ledger.total().await).unwrap();
        assert!(survived >= acknowledged.len());
        assert_eq!(survived % 7, 0, "a batch is whole or absent");
        let all: Vec<Uuid> = (0..STREAM).map(stream_id).collect();
        for (batch, ids) in all.chunks(100).enumerate() {
            let dispositions = ledger.commit(ids).await.unwrap();
            for (offset, disposition) in dispositions.iter().enumerate() {
                if acknowledged.contains(&(batch * 100 + offset)) {
                    assert_eq!(*disposition, Disposition::Duplicate);
                }
            }
        }
        assert_eq!(ledger.counted() + survived, STREAM);
        assert_eq!(ledger.total().await, STREAM as u64);
    }
}
