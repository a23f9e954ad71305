//! The SQLite database: opening, migrating, one transaction.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqlStr, Sqlite};
use uuid::Uuid;

use super::{Disposition, LedgerConfig, OpenError, Record};

/// `PRAGMA application_id` of a ledger: "TACH".
pub(super) const APPLICATION_ID: i32 = 0x5441_4348;

/// Rows per INSERT, largest first; each size is one prepared statement. Eight values a row,
/// and SQLite takes 32,766 in one statement.
const CHUNKS: [usize; 4] = [256, 32, 4, 1];

/// Why a transaction did not happen.
#[derive(Debug)]
pub(super) struct StoreError(pub(super) String);

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self(error.to_string())
    }
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
pub(super) struct Database {
    path: PathBuf,
    options: SqliteConnectOptions,
    inserts: Vec<(usize, SqlStr)>,
}

impl Database {
    /// Reads the configuration and creates the file unless it exists.
    pub(super) fn prepare(config: &LedgerConfig) -> Result<Self, OpenError> {
        let path = config.path()?;
        create_private(&path).map_err(|error| OpenError::File {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        let mut options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(false)
            .busy_timeout(config.busy_timeout)
            .journal_mode(SqliteJournalMode::Wal)
            // Syncs the log at every commit. NORMAL would survive kill -9 too, but not a
            // power cut; commits are shared by everything that waits, so FULL is affordable.
            .synchronous(SqliteSynchronous::Full)
            // Ids of version 4 touch the whole index: up to 64 MiB of it stay in memory, and the
            // log grows to as much before it is moved into the database. It keeps 64 MiB.
            .pragma("cache_size", "-65536")
            .pragma("wal_autocheckpoint", "16000")
            .pragma("journal_size_limit", "67108864")
            .pragma("trusted_schema", "OFF")
            .thread_name(|_| "tachograph-sqlite".to_owned())
            .disable_statement_logging();
        if let Some(pages) = config.max_pages {
            options = options.pragma("max_page_count", pages.to_string());
        }
        Ok(Self {
            path,
            options,
            inserts: CHUNKS.iter().map(|&rows| (rows, insert(rows))).collect(),
        })
    }

    /// Connects, refuses what is not a ledger, and brings the schema up to date.
    pub(super) async fn connect(&self) -> Result<Store, ConnectError> {
        let mut connection = self
            .options
            .connect()
            .await
            .map_err(|error| self.classify(error))?;
        match self.adopt(&mut connection).await {
            Ok(()) => {}
            Err(error) => {
                close(connection).await;
                return Err(error);
            }
        }
        // The first transaction opens the log, so its identity can be taken.
        let probed = probe(&mut connection).await;
        match probed.map(|()| Identity::of(&self.path)) {
            Ok(identity) => Ok(Store {
                connection,
                identity,
            }),
            Err(error) => {
                close(connection).await;
                Err(self.classify(error))
            }
        }
    }

    /// Takes an empty database into use, or checks that it is a ledger.
    async fn adopt(&self, connection: &mut SqliteConnection) -> Result<(), ConnectError> {
        let classify = |error| self.classify(error);
        // In one statement: another process may be taking the same empty file into use.
        let (id, tables): (i32, i64) = sqlx::query_as(
            "SELECT application_id, (SELECT COUNT(*) FROM sqlite_master) \
             FROM pragma_application_id",
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(classify)?;
        if id == 0 && tables == 0 {
            sqlx::query(AssertSqlSafe(format!(
                "PRAGMA application_id = {APPLICATION_ID}"
            )))
            .execute(&mut *connection)
            .await
            .map_err(classify)?;
        } else if id != APPLICATION_ID {
            return Err(self.not_a_ledger("a SQLite database of another application"));
        }
        migrator()
            .run_direct(None, connection, false)
            .await
            .map_err(|error| match error {
                MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                    self.classify(error)
                }
                other => ConnectError::Refused(OpenError::Schema {
                    path: self.path.clone(),
                    reason: other.to_string(),
                }),
            })
    }

    /// Records by signal, read on a connection of its own.
    pub(super) async fn totals(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let mut connection = self.options.clone().read_only(true).connect().await?;
        let rows = sqlx::query_as::<_, (String, i64)>(
            "SELECT signal, COUNT(*) FROM records GROUP BY signal ORDER BY signal",
        )
        .fetch_all(&mut connection)
        .await;
        close(connection).await;
        Ok(rows?
            .into_iter()
            .map(|(signal, count)| (signal, u64::try_from(count).unwrap_or(0)))
            .collect())
    }

    fn classify(&self, error: sqlx::Error) -> ConnectError {
        let code = match &error {
            sqlx::Error::Database(database) => database
                .code()
                .and_then(|code| code.parse::<i32>().ok())
                .map(|code| code & 0xff),
            _ => None,
        };
        match code {
            // SQLITE_CORRUPT, SQLITE_NOTADB
            Some(11 | 26) => self.not_a_ledger(&error.to_string()),
            // SQLITE_PERM, SQLITE_READONLY, SQLITE_CANTOPEN, SQLITE_AUTH
            Some(3 | 8 | 14 | 23) => ConnectError::Refused(OpenError::File {
                path: self.path.clone(),
                reason: error.to_string(),
            }),
            _ => ConnectError::Away(error.into()),
        }
    }

    fn not_a_ledger(&self, reason: &str) -> ConnectError {
        ConnectError::Refused(OpenError::NotALedger {
            path: self.path.clone(),
            reason: reason.to_owned(),
        })
    }
}

/// An open database.
#[derive(Debug)]
pub(super) struct Store {
    connection: SqliteConnection,
    identity: Identity,
}

impl Store {
    /// Inserts every record whose id is new, in one transaction, and says which were.
    ///
    /// On an error none of them is in the ledger, and the store is to be closed: what state
    /// the connection is in then depends on what failed.
    pub(super) async fn commit(
        &mut self,
        database: &Database,
        records: Vec<Record>,
        received_us: i64,
    ) -> Result<Vec<Disposition>, StoreError> {
        self.same_file(database)?;
        let mut dispositions = vec![Disposition::Duplicate; records.len()];
        let mut first: HashMap<Uuid, usize, RandomState> =
            HashMap::with_capacity_and_hasher(records.len(), RandomState::default());
        let mut unique = Vec::with_capacity(records.len());
        for (index, record) in records.into_iter().enumerate() {
            if let Entry::Vacant(entry) = first.entry(record.id) {
                entry.insert(index);
                unique.push(record);
            }
        }

        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        let mut rest = unique.into_iter();
        for (rows, sql) in &database.inserts {
            while rest.len() >= *rows {
                let mut query = sqlx::query(sql.clone());
                for record in rest.by_ref().take(*rows) {
                    query = bind(query, record, received_us);
                }
                for row in query.fetch_all(&mut *transaction).await? {
                    let id: Uuid = row.try_get(0)?;
                    if let Some(&index) = first.get(&id) {
                        dispositions[index] = Disposition::Accepted;
                    }
                }
            }
        }
        transaction.commit().await?;
        // What went into a file that has been removed meanwhile must not be acknowledged.
        self.same_file(database)?;
        Ok(dispositions)
    }

    /// Whether a transaction can begin now.
    pub(super) async fn probe(&mut self, database: &Database) -> Result<(), StoreError> {
        self.same_file(database)?;
        Ok(probe(&mut self.connection).await?)
    }

    /// Closes the connection; the last one moves the log into the database.
    pub(super) async fn close(self) {
        close(self.connection).await;
    }

    /// SQLite goes on writing into a file that has been unlinked or replaced.
    fn same_file(&self, database: &Database) -> Result<(), StoreError> {
        if Identity::of(&database.path) == self.identity {
            Ok(())
        } else {
            Err(StoreError(format!(
                "{} or its write-ahead log was removed or replaced",
                database.path.display()
            )))
        }
    }
}

type Bound<'q> = Query<'q, Sqlite, SqliteArguments>;

fn bind<'q>(query: Bound<'q>, record: Record, received_us: i64) -> Bound<'q> {
    query
        .bind(record.id)
        .bind(record.signal)
        .bind(record.time_us)
        .bind(record.duration)
        .bind(record.fields)
        .bind(record.context)
        .bind(received_us)
}

fn insert(rows: usize) -> SqlStr {
    let mut sql = String::from(
        "INSERT INTO records (id, signal, time_us, duration, fields, context, received_us) VALUES ",
    );
    for row in 0..rows {
        sql.push_str(if row == 0 { "" } else { "," });
        sql.push_str("(?,?,?,?,?,?,?)");
    }
    sql.push_str(" ON CONFLICT (id) DO NOTHING RETURNING id");
    sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(Arc::<str>::from(sql)))
}

pub(super) fn migrator() -> Migrator {
    Migrator::with_migrations(vec![Migration::new(
        1,
        Cow::Borrowed("records"),
        MigrationType::Simple,
        SqlStr::from_static(include_str!("../../migrations/sqlite/0001_records.sql")),
        false,
    )])
}

async fn probe(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    connection
        .begin_with("BEGIN IMMEDIATE")
        .await?
        .rollback()
        .await
}

/// Closing can fail after a commit that was acknowledged; there is nothing left to undo.
pub(super) async fn close(connection: SqliteConnection) {
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "ledger connection did not close cleanly");
    }
}

fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Which files the path and its log are.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    database: Option<(u64, u64)>,
    log: Option<(u64, u64)>,
}

impl Identity {
    fn of(path: &Path) -> Self {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        Self {
            database: file_id(path),
            log: file_id(Path::new(&log)),
        }
    }
}

#[cfg(unix)]
fn file_id(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn file_id(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|_| (0, 0))
}

/// Microseconds since 1970 by the system's clock, which may step either way.
pub(super) fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap_or(Duration::ZERO).as_micros()).unwrap_or(i64::MAX)
}
