//! The ledger's outbox on SQLite and on PostgreSQL: what is copied into it, what it has no room
//! for, and what leaves it.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::postgres::Server;
use tachograph::ledger::{
    Columns, Disposition, Event, Ledger, LedgerConfig, OutboxConfig, OutboxState, Record,
};
use tempfile::TempDir;
use uuid::Uuid;

/// A row's bytes beside its fields and its context.
const ROW: u64 = 256;
const FIELDS: &str = r#"{"status":"success"}"#;

fn record(id: Uuid, signal: &'static str, event: Event) -> Record {
    Record {
        id,
        signal,
        event,
        time_us: 1_700_000_000_000_000,
        first_us: i64::MAX,
        duration: Some(1.5),
        parent: Some(Uuid::from_u128(7)),
        fields: FIELDS.to_owned(),
        context: r#"{"a":"é"}"#.to_owned(),
        columns: Columns::default(),
    }
}

fn entry(number: u128) -> Record {
    record(Uuid::from_u128(number), "action.log", Event::End)
}

/// A URL of each database, and what keeps it there.
async fn databases() -> Vec<(String, Box<dyn std::any::Any>)> {
    let dir = TempDir::new().unwrap();
    let file = format!("sqlite:{}", dir.path().join("a.db").display());
    let mut databases: Vec<(String, Box<dyn std::any::Any>)> = vec![(file, Box::new(dir))];
    if let Some(server) = Server::shared() {
        let server: Arc<Server> = server;
        databases.push((server.database().await, Box::new(server)));
    }
    databases
}

fn config(url: &str, outbox: Option<(u64, u64)>) -> LedgerConfig {
    LedgerConfig {
        outbox: outbox.map(|(max_rows, max_bytes)| OutboxConfig {
            signals: vec!["action.log".to_owned(), "session.run".to_owned()],
            max_rows,
            max_bytes,
        }),
        ..LedgerConfig::new(url)
    }
}

async fn open(url: &str, outbox: Option<(u64, u64)>) -> Ledger {
    Ledger::open(config(url, outbox)).await.unwrap()
}

async fn commit(ledger: &Ledger, records: Vec<Record>) -> Vec<Disposition> {
    let receipt = ledger.submit(records, |_| {}).unwrap();
    receipt.committed().await.unwrap()
}

async fn numbers(ledger: &Ledger) -> Vec<u128> {
    let rows = ledger.outbox(0, 1_000, u64::MAX).await.unwrap();
    rows.iter().map(|row| row.id.as_u128()).collect()
}

async fn close(ledger: Ledger) {
    ledger.shutdown(Duration::from_secs(20)).await.unwrap();
}

#[tokio::test]
async fn each_accepted_record_of_the_signals_is_copied_once_and_stays_until_it_is_published() {
    for (url, _kept) in databases().await {
        let ledger = open(&url, Some((100, 1 << 20))).await;
        let empty = OutboxState {
            rows: 0,
            bytes: 0,
            oldest_us: None,
        };
        assert_eq!(ledger.outbox_state().await.unwrap(), empty, "{url}");
        assert!(ledger.outbox(0, 10, 1 << 20).await.unwrap().is_empty());
        let other = record(Uuid::from_u128(2), "tool.call", Event::End);
        let start = Event::Start {
            expires_us: i64::MAX,
        };
        let start = record(Uuid::from_u128(3), "session.run", start);
        commit(&ledger, vec![entry(1), other, start, entry(1)]).await;
        // Known ones are not copied again, and an end is where its start was not.
        let end = record(Uuid::from_u128(3), "session.run", Event::End);
        let again = commit(&ledger, vec![entry(1), end, entry(4)]).await;
        assert_eq!(again[0], Disposition::Duplicate);
        assert_eq!(numbers(&ledger).await, [1, 3, 4], "{url}");

        let rows = ledger.outbox(0, 1_000, u64::MAX).await.unwrap();
        let first = &rows[0];
        assert_eq!(
            (&*first.signal, &*first.fields, &*first.context),
            ("action.log", FIELDS, r#"{"a":"é"}"#)
        );
        assert_eq!(first.time_us, 1_700_000_000_000_000);
        assert_eq!(first.duration, Some(1.5));
        assert_eq!(first.parent, Some(Uuid::from_u128(7)));
        let size = ROW + FIELDS.len() as u64 + r#"{"a":"é"}"#.len() as u64;
        let state = ledger.outbox_state().await.unwrap();
        assert_eq!((state.rows, state.bytes), (3, 3 * size), "{url}");
        assert_eq!(state.oldest_us, Some(first.received_us));

        // As much as is asked for, and one at least.
        for (rows, bytes, expected) in [(2, u64::MAX, 2), (10, 2 * size, 2), (10, 1, 1)] {
            let found = ledger.outbox(0, rows, bytes).await.unwrap();
            assert_eq!(found.len(), expected, "{url}: {rows} {bytes}");
        }
        let after = ledger.outbox(rows[0].seq, 10, u64::MAX).await.unwrap();
        assert_eq!(after, rows[1..], "{url}");
        // A process that ends leaves it as it is.
        close(ledger).await;
        let ledger = open(&url, Some((100, 1 << 20))).await;
        let published = vec![rows[0].seq, rows[2].seq];
        assert_eq!(ledger.published(published.clone()).await, Ok(2), "{url}");
        assert_eq!(ledger.published(published).await, Ok(0), "{url}");
        assert_eq!(numbers(&ledger).await, [3], "{url}");
        let state = ledger.outbox_state().await.unwrap();
        assert_eq!((state.rows, state.bytes), (1, size), "{url}");
        close(ledger).await;
    }
}

#[tokio::test]
async fn without_an_outbox_nothing_is_copied() {
    for (url, _kept) in databases().await {
        let ledger = open(&url, None).await;
        commit(&ledger, vec![entry(1)]).await;
        assert_eq!(ledger.outbox_state().await.unwrap().rows, 0, "{url}");
        close(ledger).await;
    }
}

#[tokio::test]
async fn what_there_is_no_room_for_drops_the_oldest_and_every_record_is_taken() {
    for (url, _kept) in databases().await {
        let ledger = open(&url, Some((5, 1 << 20))).await;
        for from in [0, 4, 8] {
            let records = (from..from + 4).map(entry).collect();
            let taken = commit(&ledger, records).await;
            assert_eq!(taken, [Disposition::Accepted; 4], "{url}");
        }
        assert_eq!(numbers(&ledger).await, [7, 8, 9, 10, 11], "{url}");
        assert_eq!(ledger.outbox_state().await.unwrap().rows, 5);
        // More at once than there is room for.
        commit(&ledger, (20..40).map(entry).collect()).await;
        assert_eq!(numbers(&ledger).await, [35, 36, 37, 38, 39], "{url}");
        close(ledger).await;

        // By bytes: room for two and a half.
        let size = ROW + FIELDS.len() as u64 + r#"{"a":"é"}"#.len() as u64;
        let ledger = open(&url, Some((100, 5 * size / 2))).await;
        commit(&ledger, vec![entry(50)]).await;
        assert_eq!(numbers(&ledger).await, [39, 50], "{url}");
        let state = ledger.outbox_state().await.unwrap();
        assert_eq!((state.rows, state.bytes), (2, 2 * size), "{url}");
        // One that is larger than all the room there is, is dropped itself.
        let mut large = entry(51);
        large.fields = format!(r#"{{"status":"{}"}}"#, "x".repeat(4_000));
        assert_eq!(commit(&ledger, vec![large]).await, [Disposition::Accepted]);
        assert_eq!(numbers(&ledger).await, [0_u128; 0], "{url}");
        let state = ledger.outbox_state().await.unwrap();
        assert_eq!((state.rows, state.bytes), (0, 0), "{url}");
        close(ledger).await;
    }
}
