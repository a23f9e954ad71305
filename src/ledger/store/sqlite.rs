//! SQLite.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqlStr, Sqlite};
use uuid::Uuid;

use super::super::OutboxConfig;
use super::group::Group;
use super::{
    COLUMNS, CommitError, Committed, ConnectError, LedgerConfig, OpenError, Record, Retention,
    StoreError,
};

/// `PRAGMA application_id` of a ledger: "TACH".
pub(in super::super) const APPLICATION_ID: i32 = 0x5441_4348;

/// Rows per INSERT, largest first; each size is one prepared statement. SQLite takes 32,766
/// values in one statement.
const CHUNKS: [usize; 4] = [256, 32, 4, 1];

/// How to reach the database.
#[derive(Debug)]
pub(in super::super) struct Database {
    path: PathBuf,
    options: SqliteConnectOptions,
    inserts: Vec<(usize, SqlStr)>,
    /// What is copied into the outbox, and how.
    outbox: Option<(OutboxConfig, SqlStr)>,
    /// Whether this process has taken over what is open.
    adopted: AtomicBool,
    /// New with each process: a file is one service's, which takes over what is open in it.
    pub(super) owner: String,
}

impl Database {
    /// Reads the configuration and creates the file unless it exists.
    pub(super) fn prepare(config: &LedgerConfig, path: PathBuf) -> Result<Self, OpenError> {
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
            // For the figures of statements alone, whatever their text and however slow.
            .log_statements(log::LevelFilter::Trace)
            .log_slow_statements(log::LevelFilter::Trace, Duration::MAX);
        if let Some(pages) = config.max_pages {
            options = options.pragma("max_page_count", pages.to_string());
        }
        Ok(Self {
            path,
            options,
            inserts: CHUNKS.iter().map(|&rows| (rows, insert(rows))).collect(),
            outbox: config.outbox.clone().map(|outbox| {
                let sql = copy(outbox.signals.len());
                (outbox, sql)
            }),
            adopted: AtomicBool::new(false),
            owner: Uuid::new_v4().to_string(),
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
                    ledger: self.path.display().to_string(),
                    reason: other.to_string(),
                }),
            })?;
        if !self.adopted.load(Ordering::Relaxed) {
            sqlx::query("UPDATE open_operations SET owner = $1")
                .bind(self.owner.as_str())
                .execute(connection)
                .await
                .map_err(classify)?;
            self.adopted.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Connections for queries.
    pub(super) fn pool(&self, patience: Duration) -> SqlitePool {
        SqlitePoolOptions::new()
            .max_connections(2)
            .acquire_timeout(patience)
            .idle_timeout(Duration::from_secs(30))
            // A file that is replaced is not read for ever.
            .max_lifetime(Duration::from_secs(300))
            .connect_lazy_with(self.options.clone().read_only(true))
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
pub(in super::super) struct Store {
    connection: SqliteConnection,
    identity: Identity,
}

impl Store {
    /// See [`Store::commit`](super::Store::commit).
    pub(super) async fn commit(
        &mut self,
        database: &Database,
        records: &mut [Record],
        received_us: i64,
    ) -> Result<Committed, CommitError> {
        self.same_file(database)?;
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        let (horizon_us, any_open, last): (i64, bool, Option<i64>) = sqlx::query_as(
            "SELECT horizon_us, EXISTS (SELECT 1 FROM open_operations), \
             (SELECT MAX(seq) FROM records) FROM retention",
        )
        .fetch_one(&mut *transaction)
        .await?;
        let mut group = Group::new(records, horizon_us);
        for &index in &group.starts.clone() {
            let record = &records[index];
            if shared::insert_start(&mut transaction, record, &database.owner).await? {
                group.start_accepted(&record.id);
            }
        }
        let sizes: Vec<i64> = group
            .ends
            .iter()
            .map(|&index| records[index].stored_bytes())
            .collect();
        let ends = std::mem::take(&mut group.ends);
        let mut rest = ends.as_slice();
        for (rows, sql) in &database.inserts {
            while rest.len() >= *rows {
                let (chunk, tail) = rest.split_at(*rows);
                rest = tail;
                let mut query = sqlx::query(sql.clone());
                for &index in chunk {
                    query = bind(query, &mut records[index], received_us);
                }
                for row in query.fetch_all(&mut *transaction).await? {
                    let id: Uuid = row.try_get(0)?;
                    group.end_accepted(&id);
                }
            }
        }
        group.ends = ends;
        if any_open || !group.starts.is_empty() {
            // What was inserted here ends what is open.
            sqlx::query(
                "DELETE FROM open_operations WHERE id IN (SELECT id FROM records WHERE seq > $1)",
            )
            .bind(last.unwrap_or(0))
            .execute(&mut *transaction)
            .await?;
        }
        let tally = group.tally(records, &sizes);
        shared::add_up(&mut transaction, &tally, 0, received_us).await?;
        let mut dropped = 0;
        if let Some((outbox, copy)) = &database.outbox
            && !group.accepted_of(records, &outbox.signals).is_empty()
        {
            let mut copying = sqlx::query_scalar(copy.clone()).bind(last.unwrap_or(0));
            for signal in &outbox.signals {
                copying = copying.bind(signal.as_str());
            }
            let copied: Vec<i64> = copying.fetch_all(&mut *transaction).await?;
            dropped = shared::keep_outbox(&mut transaction, outbox, 0, &copied).await?;
        }
        transaction.commit().await?;
        // What went into a file that has been removed meanwhile must not be acknowledged.
        self.same_file(database)?;
        Ok(Committed {
            dispositions: group.dispositions,
            dropped,
        })
    }

    /// Whether a transaction can begin now.
    pub(super) async fn probe(&mut self, database: &Database) -> Result<(), StoreError> {
        self.same_file(database)?;
        Ok(probe(&mut self.connection).await?)
    }

    /// See [`Store::upkeep`](super::Store::upkeep).
    pub(super) async fn upkeep(
        &mut self,
        retention: Retention,
        now_us: i64,
    ) -> Result<bool, StoreError> {
        if retention == Retention::default() {
            return Ok(false);
        }
        // Its commits read the horizon under the lock that moving it takes.
        Ok(shared::remove(&mut self.connection, retention, now_us, 0, 0).await?)
    }

    /// See [`Store::dismiss`](super::Store::dismiss).
    pub(super) async fn dismiss(&mut self, ids: &[Uuid]) -> Result<u64, StoreError> {
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        let mut dismissed = 0;
        for id in ids {
            let removed = sqlx::query("DELETE FROM open_operations WHERE id = $1")
                .bind(id)
                .execute(&mut *transaction);
            dismissed += removed.await?.rows_affected();
        }
        transaction.commit().await?;
        Ok(dismissed)
    }

    /// See [`Store::published`](super::Store::published).
    pub(super) async fn published(&mut self, seqs: &[i64]) -> Result<u64, StoreError> {
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        let removed = shared::remove_outbox(&mut transaction, seqs, 0).await?;
        transaction.commit().await?;
        Ok(removed)
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

mod shared {
    use sqlx::sqlite::SqliteConnection as Connected;

    super::super::outbox::outbox!();
    super::super::shared::statements!();
    super::super::upkeep::removal!();

    /// Removes rows of the outbox; their sizes.
    async fn delete_outbox(
        connection: &mut Connected,
        seqs: &[i64],
    ) -> Result<Vec<i64>, sqlx::Error> {
        let mut removed = Vec::with_capacity(seqs.len());
        for seq in seqs {
            let bytes: Option<i64> =
                sqlx::query_scalar("DELETE FROM outbox WHERE seq = $1 RETURNING bytes")
                    .bind(seq)
                    .fetch_optional(&mut *connection)
                    .await?;
            removed.extend(bytes);
        }
        Ok(removed)
    }
}

/// Copies records after `$1` of so many signals into the outbox.
fn copy(signals: usize) -> SqlStr {
    let places: Vec<String> = (0..signals).map(|at| format!("${}", at + 2)).collect();
    let sql = format!(
        "INSERT INTO outbox (id, signal, time_us, duration, parent, fields, context, \
         received_us, bytes) SELECT id, signal, time_us, duration, parent, fields, context, \
         received_us, octet_length(fields) + octet_length(context) + 256 FROM records \
         WHERE seq > $1 AND signal IN ({}) ORDER BY seq RETURNING bytes",
        places.join(",")
    );
    sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(Arc::<str>::from(sql)))
}

type Bound<'q> = Query<'q, Sqlite, SqliteArguments>;

fn bind<'q>(query: Bound<'q>, record: &mut Record, received_us: i64) -> Bound<'q> {
    let columns = &record.columns;
    query
        .bind(record.id)
        .bind(record.signal)
        .bind(record.time_us)
        .bind(record.duration)
        .bind(std::mem::take(&mut record.fields))
        .bind(std::mem::take(&mut record.context))
        .bind(received_us)
        .bind(record.parent)
        .bind(columns.session.clone())
        .bind(columns.correlation.clone())
        .bind(columns.agent.clone())
        .bind(columns.name.clone())
        .bind(columns.provider.clone())
        .bind(columns.model.clone())
        .bind(columns.status.clone())
        .bind(columns.failed)
        .bind(columns.error.clone())
        .bind(columns.billable.then_some(true))
        .bind(columns.input_tokens)
        .bind(columns.output_tokens)
        .bind(columns.cache_read_tokens)
        .bind(columns.cache_write_tokens)
        .bind(columns.reasoning_tokens)
        .bind(columns.cost_micros)
        .bind(columns.price_version.clone())
}

fn insert(rows: usize) -> SqlStr {
    let row = format!("({})", vec!["?"; COLUMNS.len()].join(","));
    let sql = format!(
        "INSERT INTO records ({}) VALUES {} ON CONFLICT (id) DO NOTHING RETURNING id",
        COLUMNS.join(","),
        vec![row; rows].join(",")
    );
    sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(Arc::<str>::from(sql)))
}

pub(in super::super) fn migrator() -> Migrator {
    let migration = |version, name, sql| {
        let sql = SqlStr::from_static(sql);
        Migration::new(
            version,
            Cow::Borrowed(name),
            MigrationType::Simple,
            sql,
            false,
        )
    };
    Migrator::with_migrations(vec![
        migration(
            1,
            "records",
            include_str!("../../../migrations/sqlite/0001_records.sql"),
        ),
        migration(
            2,
            "questions",
            include_str!("../../../migrations/sqlite/0002_questions.sql"),
        ),
        migration(
            3,
            "outbox",
            include_str!("../../../migrations/sqlite/0003_outbox.sql"),
        ),
    ])
}

async fn probe(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    connection
        .begin_with("BEGIN IMMEDIATE")
        .await?
        .rollback()
        .await
}

/// Closing can fail after a commit that was acknowledged; there is nothing left to undo.
pub(in super::super) async fn close(connection: SqliteConnection) {
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
