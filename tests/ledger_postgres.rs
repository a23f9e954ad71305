//! The ledger on a PostgreSQL that is killed, out of reach at the moment of a commit, read-only, out of connections or not to be had.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use support::postgres::Server;
use tachograph::ledger::{
    Columns, Disposition, Event, Ledger, LedgerConfig, LedgerState, OpenError, Record, SubmitError,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(30);

fn config(url: String) -> LedgerConfig {
    LedgerConfig {
        retry_interval: Duration::from_millis(20),
        ..LedgerConfig::new(url)
    }
}

fn records(ids: &[Uuid]) -> Vec<Record> {
    let record = |id: &Uuid| Record {
        id: *id,
        signal: "workflow.run",
        event: Event::End,
        time_us: 1_700_000_000_000_000,
        first_us: i64::MAX,
        duration: Some(1.5),
        parent: None,
        fields: "{}".to_owned(),
        context: "{}".to_owned(),
        columns: Columns::default(),
    };
    ids.iter().map(record).collect()
}

struct Counted {
    ledger: Ledger,
    count: Arc<AtomicUsize>,
}

impl Counted {
    async fn open(url: String) -> Self {
        Self {
            ledger: Ledger::open(config(url)).await.unwrap(),
            count: Arc::default(),
        }
    }

    async fn commit(&self, ids: &[Uuid]) -> Result<usize, SubmitError> {
        let count = Arc::clone(&self.count);
        let accepted = |dispositions: &[Disposition]| {
            let accepted = |d: &&Disposition| **d == Disposition::Accepted;
            dispositions.iter().filter(accepted).count()
        };
        let receipt = self.ledger.submit(records(ids), move |dispositions| {
            count.fetch_add(accepted(dispositions), Ordering::SeqCst);
        })?;
        Ok(accepted(&receipt.committed().await?))
    }

    async fn until_ready(&self) {
        let start = Instant::now();
        while self.ledger.health().state != LedgerState::Ready {
            assert!(start.elapsed() < PATIENCE, "{:?}", self.ledger.health());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn total(&self) -> usize {
        let totals = self.ledger.totals().await.unwrap();
        usize::try_from(totals.iter().map(|total| total.1).sum::<u64>()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_mid_flight_it_counts_what_is_committed_once() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let url = server.database().await;
    let ledger = Arc::new(Counted::open(url).await);
    let all: Arc<Vec<Uuid>> = Arc::new((0..12_000).map(|_| Uuid::now_v7()).collect());
    for round in 0..4 {
        let mut tasks = Vec::new();
        for task in 0..3 {
            let (ledger, all) = (Arc::clone(&ledger), Arc::clone(&all));
            tasks.push(tokio::spawn(async move {
                for batch in all.chunks(20).skip(task).step_by(3) {
                    if ledger.commit(batch).await.is_err() {
                        return;
                    }
                }
            }));
        }
        tokio::time::sleep(Duration::from_millis(150 + 70 * round)).await;
        server.crash();
        for task in tasks {
            task.await.unwrap();
        }
        let refused = ledger.commit(&all[..1]).await;
        assert!(matches!(refused, Err(SubmitError::Away(_))), "{refused:?}");
        server.run();
        ledger.until_ready().await;
        assert_eq!(
            ledger.total().await,
            ledger.count.load(Ordering::SeqCst),
            "round {round}"
        );
    }
    for batch in all.chunks(500) {
        ledger.commit(batch).await.unwrap();
    }
    assert_eq!(ledger.total().await, all.len());
    assert_eq!(ledger.count.load(Ordering::SeqCst), all.len());
}

/// What becomes of the next COMMIT on its way to the server; its answer is lost in any case.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Passes,
    /// It does not get there.
    Lost,
    /// It gets there when the sender has long been cut off.
    Late,
    /// It gets there at once.
    Unanswered,
}

/// Forwards connections to `server`, and COMMITs by the next fate.
async fn passage(server: String, fate: Arc<Mutex<Fate>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let (far, fate) = (
                TcpStream::connect(&server).await.unwrap(),
                Arc::clone(&fate),
            );
            tokio::spawn(forward(near, far, fate));
        }
    });
    port
}

async fn forward(mut near: TcpStream, mut far: TcpStream, fate: Arc<Mutex<Fate>>) {
    let (mut out, mut back) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            sent = near.read(&mut out) => {
                let sent = &out[..sent.unwrap_or(0)];
                let commit = sent.windows(6).any(|word| word == b"COMMIT");
                let fate = match commit {
                    true => std::mem::replace(&mut *fate.lock().unwrap(), Fate::Passes),
                    false => Fate::Passes,
                };
                if fate != Fate::Passes {
                    drop(near);
                    match fate {
                        Fate::Lost => return,
                        Fate::Late => tokio::time::sleep(Duration::from_millis(300)).await,
                        _ => {}
                    }
                    far.write_all(sent).await.unwrap();
                    let _ = far.read(&mut back).await;
                    return;
                }
                if sent.is_empty() || far.write_all(sent).await.is_err() {
                    return;
                }
            }
            answered = far.read(&mut back) => {
                let answered = answered.unwrap_or(0);
                if answered == 0 || near.write_all(&back[..answered]).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_counts_if_it_happened() {
    let Some(server) = Server::shared() else {
        return;
    };
    let url = server.database().await;
    let address = url["postgres://tachograph@".len()..]
        .split_once('/')
        .unwrap();
    let fate = Arc::new(Mutex::new(Fate::Passes));
    let port = passage(address.0.to_owned(), Arc::clone(&fate)).await;
    let through = format!("postgres://tachograph@127.0.0.1:{port}/{}", address.1);
    // The first commit of a process has no earlier one to be compared with.
    for first in [Fate::Lost, Fate::Late, Fate::Unanswered] {
        let ledger = Counted::open(through.clone()).await;
        let before = ledger.total().await;
        let mut all = Vec::new();
        for (round, next) in [first, Fate::Unanswered, Fate::Lost, Fate::Late, first]
            .into_iter()
            .enumerate()
        {
            let ids: Vec<Uuid> = (0..20).map(|_| Uuid::now_v7()).collect();
            *fate.lock().unwrap() = next;
            let answer = ledger.commit(&ids).await;
            let happened = next != Fate::Lost;
            assert!(happened || answer.is_err(), "{first:?} {round}: {answer:?}");
            assert_eq!(*fate.lock().unwrap(), Fate::Passes);
            ledger.until_ready().await;
            let counted = ledger.count.load(Ordering::SeqCst);
            assert_eq!(
                counted - all.len(),
                if happened { 20 } else { 0 },
                "{first:?} {round}"
            );
            assert_eq!(ledger.total().await - before, counted, "{first:?} {round}");
            ledger.commit(&ids).await.unwrap();
            all.extend(ids);
            assert_eq!(ledger.count.load(Ordering::SeqCst), all.len());
        }
        assert_eq!(ledger.total().await - before, all.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_only_it_is_away_and_comes_back() {
    let Some(server) = Server::start(&["fsync=off"]) else {
        return;
    };
    let ledger = Counted::open(server.database().await).await;
    let ids: Vec<Uuid> = (0..10).map(|_| Uuid::now_v7()).collect();
    ledger.commit(&ids[..5]).await.unwrap();
    let set = async |value: &str| {
        let sql = format!("ALTER SYSTEM SET default_transaction_read_only = {value}");
        server.execute("postgres", &sql).await;
        server.execute("postgres", "SELECT pg_reload_conf()").await;
    };
    set("on").await;
    let start = Instant::now();
    while let Ok(count) = ledger.commit(&ids[..5]).await {
        assert_eq!(count, 0);
        assert!(start.elapsed() < PATIENCE);
    }
    assert!(ledger.commit(&ids[5..]).await.is_err());
    set("off").await;
    ledger.until_ready().await;
    assert_eq!(ledger.commit(&ids).await.unwrap(), 5);
    assert_eq!(ledger.count.load(Ordering::SeqCst), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_connections_it_comes_up_away_and_recovers() {
    let Some(server) = Server::start(&[
        "fsync=off",
        "max_connections=5",
        "superuser_reserved_connections=0",
        "max_wal_senders=0",
    ]) else {
        return;
    };
    let url = server.database().await;
    let mut held = Vec::new();
    while let Ok(connection) = PgConnection::connect(&url).await {
        held.push(connection);
        assert!(held.len() < 20);
    }
    let ledger = Counted::open(url).await;
    let state = ledger.ledger.health().state;
    assert!(matches!(state, LedgerState::Away { .. }), "{state:?}");
    for connection in held {
        connection.close().await.unwrap();
    }
    ledger.until_ready().await;
    assert_eq!(ledger.commit(&[Uuid::now_v7()]).await.unwrap(), 1);
}

#[tokio::test]
async fn what_waiting_does_not_mend_is_refused_and_shows_no_password() {
    let Some(server) = Server::shared() else {
        return;
    };
    let url = server
        .url("nowhere")
        .replace("tachograph@", "tachograph:secret@");
    let error = Ledger::open(config(url)).await.unwrap_err();
    assert!(matches!(error, OpenError::Server { .. }), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
}
