//! The databases: opening, migrating, one transaction.

mod group;
mod outbox;
pub(super) mod postgres;
pub(super) mod server;
mod shared;
pub(super) mod sqlite;
mod upkeep;

use std::time::Duration;

use uuid::Uuid;

use super::config::Place;
use super::read::Pool;
use super::{Disposition, LedgerConfig, OpenError, Record, Retention};

/// Columns of `records`, in the order in which they are bound.
const COLUMNS: [&str; 25] = [
    "id",
    "signal",
    "time_us",
    "duration",
    "fields",
    "context",
    "received_us",
    "parent",
    "session",
    "correlation",
    "agent",
    "name",
    "provider",
    "model",
    "status",
    "failed",
    "error",
    "billable",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_micros",
    "price_version",
];

/// Why a transaction did not happen.
#[derive(Debug)]
pub(super) struct StoreError(pub(super) String);

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self(error.to_string())
    }
}

/// Why a transaction is not known to have happened.
#[derive(Debug)]
pub(super) enum CommitError {
    /// It did not.
    Failed(StoreError),
    /// The connection was lost while it was being committed.
    Doubt(Doubt, StoreError),
}

impl<E: Into<StoreError>> From<E> for CommitError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// A transaction of which it is not known whether it happened.
#[derive(Debug)]
pub(super) struct Doubt {
    /// What its writer's row names once it is committed.
    pub(super) transaction: Uuid,
    /// What it came to, if it happened.
    pub(super) committed: Committed,
}

/// What a transaction came to.
#[derive(Debug, Default)]
pub(super) struct Committed {
    /// What became of each record, in the order given.
    pub(super) dispositions: Vec<Disposition>,
    /// Rows that the outbox had no room for.
    pub(super) dropped: u64,
}

/// Why a connection could not be made.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// May pass: locked, disk full, I/O error.
    Away(StoreError),
    /// Will not pass by waiting.
    Refused(OpenError),
}

/// How to reach the database.
#[derive(Debug)]
pub(super) enum Database {
    Sqlite(sqlite::Database),
    Postgres(postgres::Database),
}

impl Database {
    /// Reads the configuration; creates a file unless it exists.
    pub(super) fn prepare(config: &LedgerConfig) -> Result<Self, OpenError> {
        Ok(match config.place()? {
            Place::File(path) => Self::Sqlite(sqlite::Database::prepare(config, path)?),
            Place::Server(url) => Self::Postgres(postgres::Database::prepare(config, &url)?),
        })
    }

    /// Connects, refuses what is not a ledger, and brings the schema up to date.
    pub(super) async fn connect(&self) -> Result<Store, ConnectError> {
        Ok(match self {
            Self::Sqlite(database) => Store::Sqlite(Box::new(database.connect().await?)),
            Self::Postgres(database) => Store::Postgres(Box::new(database.connect().await?)),
        })
    }

    /// Connections for queries; made when they are needed.
    pub(super) fn pool(&self, patience: Duration) -> Pool {
        match self {
            Self::Sqlite(database) => Pool::Sqlite(database.pool(patience)),
            Self::Postgres(database) => Pool::Postgres(database.pool(patience)),
        }
    }

    /// Whose the open operations are that this process counts.
    pub(super) fn owner(&self) -> &str {
        match self {
            Self::Sqlite(database) => &database.owner,
            Self::Postgres(database) => &database.owner,
        }
    }
}

/// An open database.
#[derive(Debug)]
pub(super) enum Store {
    Sqlite(Box<sqlite::Store>),
    Postgres(Box<postgres::Store>),
}

impl Store {
    /// Inserts every record whose id is new, in one transaction, and says which were.
    ///
    /// On an error the store is to be closed: what state the connection is in then depends on
    /// what failed. None of the records is in the ledger, or the transaction is in doubt.
    pub(super) async fn commit(
        &mut self,
        database: &Database,
        records: &mut [Record],
    ) -> Result<Committed, CommitError> {
        match (self, database) {
            (Self::Sqlite(store), Database::Sqlite(database)) => {
                store.commit(database, records, now_us()).await
            }
            (Self::Postgres(store), Database::Postgres(database)) => {
                store.commit(database, records, now_us()).await
            }
            _ => Err(mixed().into()),
        }
    }

    /// Whether a transaction can begin now.
    pub(super) async fn probe(&mut self, database: &Database) -> Result<(), StoreError> {
        match (self, database) {
            (Self::Sqlite(store), Database::Sqlite(database)) => store.probe(database).await,
            (Self::Postgres(store), Database::Postgres(database)) => store.probe(database).await,
            _ => Err(mixed()),
        }
    }

    /// Removes some of what is too old, and looks after what is open; whether there is more.
    pub(super) async fn upkeep(
        &mut self,
        database: &Database,
        retention: Retention,
        now_us: i64,
    ) -> Result<bool, StoreError> {
        match (self, database) {
            (Self::Sqlite(store), Database::Sqlite(_)) => store.upkeep(retention, now_us).await,
            (Self::Postgres(store), Database::Postgres(database)) => {
                store.upkeep(database, retention, now_us).await
            }
            _ => Err(mixed()),
        }
    }

    /// Removes open operations without a record; how many there were.
    pub(super) async fn dismiss(&mut self, ids: &[Uuid]) -> Result<u64, StoreError> {
        match self {
            Self::Sqlite(store) => store.dismiss(ids).await,
            Self::Postgres(store) => store.dismiss(ids).await,
        }
    }

    /// Removes what was published from the outbox; how many rows there were.
    pub(super) async fn published(
        &mut self,
        database: &Database,
        seqs: &[i64],
    ) -> Result<u64, StoreError> {
        match (self, database) {
            (Self::Sqlite(store), Database::Sqlite(_)) => store.published(seqs).await,
            (Self::Postgres(store), Database::Postgres(database)) => {
                store.published(database, seqs).await
            }
            _ => Err(mixed()),
        }
    }

    /// What became of a transaction in doubt.
    pub(super) async fn happened(
        &mut self,
        database: &Database,
        doubt: &Doubt,
    ) -> Result<bool, StoreError> {
        match (self, database) {
            (Self::Sqlite(_), Database::Sqlite(_)) => Ok(false),
            (Self::Postgres(store), Database::Postgres(database)) => {
                store.happened(database, doubt.transaction).await
            }
            _ => Err(mixed()),
        }
    }

    /// Closes the connection; the last one on a file moves the log into the database.
    pub(super) async fn close(self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}

/// A store is made by its database.
fn mixed() -> StoreError {
    StoreError("the connection is another database's".to_owned())
}

/// Microseconds since 1970 by the system's clock, which may step either way.
pub(super) fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap_or(Duration::ZERO).as_micros()).unwrap_or(i64::MAX)
}
