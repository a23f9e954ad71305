//! Accepted records that wait to be published.
//!
//! Where [`LedgerConfig::outbox`](super::LedgerConfig::outbox) says so, an accepted record of
//! one of its signals is copied into the outbox in the transaction that inserts it. So each is
//! there once, and stays until [`Ledger::published`] removes it, whatever retention does to the
//! record. Beyond its limits the oldest are dropped from it, which is counted and logged: to take
//! records goes before publishing them.

use uuid::Uuid;

use super::read::{Kind, Param, Query, Value};
use super::writer::Removal;
use super::{Ledger, QueryError, SubmitError};

/// What is copied into the outbox, and how much it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxConfig {
    /// Names of the signals whose records are copied.
    pub signals: Vec<String>,
    /// Rows that it holds at most.
    pub max_rows: u64,
    /// Bytes that it holds at most: of each row its fields, its context and 256 more.
    pub max_bytes: u64,
}

/// A record in the outbox.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxRow {
    /// Its place; unique, and growing with time.
    pub seq: i64,
    /// Id of the record.
    pub id: Uuid,
    /// Name of its signal.
    pub signal: String,
    /// When it ended, in microseconds since 1970-01-01T00:00:00Z.
    pub time_us: i64,
    /// How long it took, in seconds, where that is known.
    pub duration: Option<f64>,
    /// Id of the operation that it belongs to.
    pub parent: Option<Uuid>,
    /// The declared fields, a JSON object.
    pub fields: String,
    /// The context fields, a JSON object.
    pub context: String,
    /// When it was received, in microseconds since 1970-01-01T00:00:00Z.
    pub received_us: i64,
}

/// How much is in the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxState {
    /// Rows in it.
    pub rows: u64,
    /// Bytes in it, as its limit counts them.
    pub bytes: u64,
    /// When the first of them was received, in microseconds since 1970-01-01T00:00:00Z.
    pub oldest_us: Option<i64>,
}

const KINDS: &[Kind] = &[
    Kind::Int,
    Kind::Id,
    Kind::Text,
    Kind::Int,
    Kind::Real,
    Kind::Id,
    Kind::Text,
    Kind::Text,
    Kind::Int,
];

fn outbox_row(row: &[Value]) -> Option<OutboxRow> {
    let text = |at: usize| row.get(at).and_then(Value::text).map(str::to_owned);
    Some(OutboxRow {
        seq: row.first()?.int()?,
        id: row.get(1)?.id()?,
        signal: text(2)?,
        time_us: row.get(3)?.int()?,
        duration: row.get(4)?.real(),
        parent: row.get(5)?.id(),
        fields: text(6)?,
        context: text(7)?,
        received_us: row.get(8)?.int()?,
    })
}

impl Ledger {
    /// The oldest of the outbox whose place is after this one: as many as are within `rows` and
    /// `bytes`, one at least if there is any.
    ///
    /// # Errors
    /// [`QueryError`] when the database cannot be read.
    pub async fn outbox(
        &self,
        after: i64,
        rows: u32,
        bytes: u64,
    ) -> Result<Vec<OutboxRow>, QueryError> {
        // Their sizes first: a few large ones are not to be read with all that follows.
        let sizes = self.reader.fetch(Query {
            sql: "SELECT seq, bytes FROM outbox WHERE seq > $1 ORDER BY seq LIMIT $2".to_owned(),
            params: vec![Param::Int(after), Param::Int(i64::from(rows))],
            kinds: &[Kind::Int, Kind::Int],
        });
        let mut room = i64::try_from(bytes).unwrap_or(i64::MAX);
        let (mut last, mut count) = (None, 0);
        for row in &sizes.await? {
            let (Some(seq), Some(size)) = (
                row.first().and_then(Value::int),
                row.get(1).and_then(Value::int),
            ) else {
                break;
            };
            room = room.saturating_sub(size);
            if room < 0 && last.is_some() {
                break;
            }
            (last, count) = (Some(seq), count + 1);
        }
        let Some(last) = last else {
            return Ok(Vec::new());
        };
        // Of several services, one may have committed a lower place meanwhile.
        let rows = self.reader.fetch(Query {
            sql: "SELECT seq, id, signal, time_us, duration, parent, fields, context, \
                  received_us FROM outbox WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3"
                .to_owned(),
            params: vec![Param::Int(after), Param::Int(last), Param::Int(count)],
            kinds: KINDS,
        });
        Ok(rows
            .await?
            .iter()
            .filter_map(|row| outbox_row(row))
            .collect())
    }

    /// How much is in the outbox.
    ///
    /// # Errors
    /// [`QueryError`] when the database cannot be read.
    pub async fn outbox_state(&self) -> Result<OutboxState, QueryError> {
        let rows = self.reader.fetch(Query {
            sql: "SELECT CAST(COALESCE(SUM(kept), 0) AS BIGINT), \
                  CAST(COALESCE(SUM(kept_bytes), 0) AS BIGINT), \
                  (SELECT received_us FROM outbox ORDER BY seq LIMIT 1) FROM outbox_totals"
                .to_owned(),
            params: Vec::new(),
            kinds: &[Kind::Int, Kind::Int, Kind::Int],
        });
        let rows = rows.await?;
        let at = |at: usize| rows.first().and_then(|row| row.get(at)?.int());
        let whole = |number: Option<i64>| u64::try_from(number.unwrap_or(0)).unwrap_or(0);
        Ok(OutboxState {
            rows: whole(at(0)),
            bytes: whole(at(1)),
            oldest_us: at(2),
        })
    }

    /// Removes what was published from the outbox; how many of these places were still there.
    ///
    /// # Errors
    /// [`SubmitError`]: none was removed, or that is not known.
    pub async fn published(&self, seqs: Vec<i64>) -> Result<u64, SubmitError> {
        self.remove(Removal::Published(seqs)).await
    }
}
