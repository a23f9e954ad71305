//! What has been counted, kept in a file of ours: the rows that are settled, those that have
//! begun and not ended, and up to where each table was read.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _};

use super::file::Identity;
use super::row::RowKey;
use crate::catalog::ClosedLabel as _;
use crate::collectors::CollectError;
use crate::signals::workflow_db::Table;

/// `PRAGMA application_id` of such a file: "TAWF".
const APPLICATION_ID: i64 = 0x5441_5746;
/// `PRAGMA user_version`.
const VERSION: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE settled (source TEXT, id INTEGER, print INTEGER,
    PRIMARY KEY (source, id, print)) WITHOUT ROWID;
CREATE TABLE pending (source TEXT, id INTEGER, print INTEGER,
    place TEXT NOT NULL, name TEXT NOT NULL, since INTEGER NOT NULL,
    PRIMARY KEY (source, id, print)) WITHOUT ROWID;
CREATE TABLE cursors (source TEXT PRIMARY KEY, place INTEGER NOT NULL,
    id INTEGER NOT NULL, print INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE last (one INTEGER PRIMARY KEY CHECK (one = 1),
    batch INTEGER NOT NULL, device INTEGER, inode INTEGER, schema INTEGER);
INSERT INTO last VALUES (1, 0, NULL, NULL, NULL);
";

/// Settled rows that the file does not hold any more; and, for as long as this is open, those
/// that it was found to hold.
const GONE: &str = "
CREATE TABLE IF NOT EXISTS gone (source TEXT, id INTEGER, print INTEGER, since INTEGER NOT NULL,
    PRIMARY KEY (source, id, print)) WITHOUT ROWID;
CREATE TEMP TABLE there (source TEXT, id INTEGER, print INTEGER,
    PRIMARY KEY (source, id, print)) WITHOUT ROWID;
";

/// The open file.
pub(super) struct State {
    connection: SqliteConnection,
    /// Tables whose rows are being noted as they are met.
    noted: Vec<Table>,
}

/// Up to where a table was read, and the row there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) place: i64,
    pub(super) key: RowKey,
}

/// A row that has begun and not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) key: RowKey,
    /// Where it stands: its position, of a session its id.
    pub(super) place: String,
    /// Agent or tool, as it is shown while under way.
    pub(super) name: String,
    /// When it was first seen, seconds since the Unix epoch.
    pub(super) since: i64,
}

/// What one transaction changes.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// Rows that are settled now.
    pub(super) settled: Vec<RowKey>,
    /// Rows that have begun.
    pub(super) begun: Vec<Pending>,
    /// Rows that have begun and are gone.
    pub(super) gone: Vec<RowKey>,
    pub(super) cursor: Option<Cursor>,
}

impl Change {
    pub(super) fn is_empty(&self) -> bool {
        self.settled.is_empty()
            && self.begun.is_empty()
            && self.gone.is_empty()
            && self.cursor.is_none()
    }
}

impl State {
    /// Opens it, or creates it with mode 0600, and keeps every other process out of it.
    pub(super) async fn open(path: &Path) -> Result<Self, CollectError> {
        let named = |reason: String| CollectError(format!("state {}: {reason}", path.display()));
        let created = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        match created {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(named(format!("cannot be created: {error}"))),
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .busy_timeout(Duration::from_secs(2))
            .locking_mode(SqliteLockingMode::Exclusive)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("trusted_schema", "OFF")
            .thread_name(|_| "tachograph-workflow-state".to_owned())
            .disable_statement_logging();
        let connection = options.connect().await.map_err(|error| {
            let error = error.to_string();
            named(match error.contains("locked") {
                true => "another process uses it".to_owned(),
                false => error,
            })
        })?;
        let noted = Vec::new();
        let mut state = Self { connection, noted };
        state.adopt().await.map_err(|error| named(error.0))?;
        let made = sqlx::raw_sql(GONE).execute(&mut state.connection).await;
        made.map_err(|error| named(error.to_string()))?;
        Ok(state)
    }

    async fn adopt(&mut self) -> Result<(), CollectError> {
        let (id, version, tables): (i64, i64, i64) = sqlx::query_as(
            "SELECT application_id, user_version, (SELECT COUNT(*) FROM sqlite_master) \
             FROM pragma_application_id, pragma_user_version",
        )
        .fetch_one(&mut self.connection)
        .await
        .map_err(failed)?;
        match (id, version, tables) {
            (APPLICATION_ID, VERSION, _) => Ok(()),
            (0, 0, 0) => {
                let mut transaction = self
                    .connection
                    .begin_with("BEGIN IMMEDIATE")
                    .await
                    .map_err(failed)?;
                sqlx::raw_sql(SCHEMA)
                    .execute(&mut *transaction)
                    .await
                    .map_err(failed)?;
                let mark = format!(
                    "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}"
                );
                sqlx::raw_sql(sqlx::AssertSqlSafe(mark))
                    .execute(&mut *transaction)
                    .await
                    .map_err(failed)?;
                transaction.commit().await.map_err(failed)
            }
            (APPLICATION_ID, version, _) => Err(CollectError(format!(
                "was written by another version ({version}); move it away or name another file"
            ))),
            _ => Err(CollectError(
                "is a database of another application; name another file".to_owned(),
            )),
        }
    }

    /// Number of the last transaction, and the file that was read last.
    pub(super) async fn last(&mut self) -> Result<(i64, Option<Identity>), CollectError> {
        let (batch, device, inode, schema): (i64, Option<i64>, Option<i64>, Option<i64>) =
            sqlx::query_as("SELECT batch, device, inode, schema FROM last")
                .fetch_one(&mut self.connection)
                .await
                .map_err(failed)?;
        let identity = device.zip(inode).zip(schema);
        let identity = identity.map(|((device, inode), schema)| Identity {
            device: device.cast_unsigned(),
            inode: inode.cast_unsigned(),
            schema,
        });
        Ok((batch, identity))
    }

    /// Keeps which file is read.
    pub(super) async fn identify(&mut self, identity: Identity) -> Result<(), CollectError> {
        sqlx::query("UPDATE last SET device = ?, inode = ?, schema = ?")
            .bind(identity.device.cast_signed())
            .bind(identity.inode.cast_signed())
            .bind(identity.schema)
            .execute(&mut self.connection)
            .await
            .map(drop)
            .map_err(failed)
    }

    pub(super) async fn cursor(&mut self, table: Table) -> Result<Option<Cursor>, CollectError> {
        let found: Option<(i64, i64, i64)> =
            sqlx::query_as("SELECT place, id, print FROM cursors WHERE source = ?")
                .bind(table.as_str())
                .fetch_optional(&mut self.connection)
                .await
                .map_err(failed)?;
        Ok(found.map(|(place, id, print)| Cursor {
            place,
            key: RowKey { id, print },
        }))
    }

    /// Which of these rows are settled.
    pub(super) async fn settled(
        &mut self,
        table: Table,
        keys: &[RowKey],
    ) -> Result<Vec<RowKey>, CollectError> {
        let ids: Vec<i64> = keys.iter().map(|key| key.id).collect();
        let found: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT id, print FROM settled \
             WHERE source = ? AND id IN (SELECT value FROM json_each(?))",
        )
        .bind(table.as_str())
        .bind(json!(ids).to_string())
        .fetch_all(&mut self.connection)
        .await
        .map_err(failed)?;
        let keys = found.into_iter().map(|(id, print)| RowKey { id, print });
        Ok(keys.collect())
    }

    /// Which of these rows are pending.
    pub(super) async fn pending(
        &mut self,
        table: Table,
        keys: &[RowKey],
    ) -> Result<Vec<Pending>, CollectError> {
        let ids: Vec<i64> = keys.iter().map(|key| key.id).collect();
        let found: Vec<PendingRow> = sqlx::query_as(
            "SELECT id, print, place, name, since FROM pending \
             WHERE source = ? AND id IN (SELECT value FROM json_each(?))",
        )
        .bind(table.as_str())
        .bind(json!(ids).to_string())
        .fetch_all(&mut self.connection)
        .await
        .map_err(failed)?;
        Ok(found.into_iter().map(pending).collect())
    }

    /// Pending rows after a key, in order.
    pub(super) async fn pending_after(
        &mut self,
        table: Table,
        after: RowKey,
        limit: usize,
    ) -> Result<Vec<Pending>, CollectError> {
        let found: Vec<PendingRow> = sqlx::query_as(
            "SELECT id, print, place, name, since FROM pending \
             WHERE source = ? AND (id, print) > (?, ?) ORDER BY id, print LIMIT ?",
        )
        .bind(table.as_str())
        .bind(after.id)
        .bind(after.print)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut self.connection)
        .await
        .map_err(failed)?;
        Ok(found.into_iter().map(pending).collect())
    }

    /// How many rows are under way, by table and name.
    pub(super) async fn under_way(&mut self) -> Result<Vec<(Table, String, usize)>, CollectError> {
        let found: Vec<(String, String, i64)> =
            sqlx::query_as("SELECT source, name, COUNT(*) FROM pending GROUP BY source, name")
                .fetch_all(&mut self.connection)
                .await
                .map_err(failed)?;
        let known = found.into_iter().filter_map(|(source, name, count)| {
            let table = super::file::TABLES
                .into_iter()
                .find(|t| t.as_str() == source)?;
            Some((table, name, usize::try_from(count).unwrap_or(0)))
        });
        Ok(known.collect())
    }

    /// Changes all of it or nothing, and remembers the number of the change.
    pub(super) async fn apply(
        &mut self,
        table: Table,
        change: &Change,
        batch: i64,
    ) -> Result<(), CollectError> {
        let source = table.as_str();
        let mut transaction = self
            .connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed)?;
        if !change.settled.is_empty() {
            sqlx::query(
                "INSERT OR IGNORE INTO settled SELECT ?, value ->> 0, value ->> 1 FROM json_each(?)",
            )
            .bind(source)
            .bind(pairs(&change.settled))
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        }
        for over in [&change.settled, &change.gone] {
            if over.is_empty() {
                continue;
            }
            sqlx::query(
                "DELETE FROM pending WHERE source = ? AND (id, print) IN \
                 (SELECT value ->> 0, value ->> 1 FROM json_each(?))",
            )
            .bind(source)
            .bind(pairs(over))
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        }
        if !change.begun.is_empty() {
            let rows: Vec<Value> = change
                .begun
                .iter()
                .map(|p| json!([p.key.id, p.key.print, p.place, p.name, p.since]))
                .collect();
            sqlx::query(
                "INSERT OR IGNORE INTO pending SELECT ?, value ->> 0, value ->> 1, value ->> 2, \
                 value ->> 3, value ->> 4 FROM json_each(?)",
            )
            .bind(source)
            .bind(json!(rows).to_string())
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        }
        if let Some(cursor) = change.cursor {
            sqlx::query("INSERT OR REPLACE INTO cursors VALUES (?, ?, ?, ?)")
                .bind(source)
                .bind(cursor.place)
                .bind(cursor.key.id)
                .bind(cursor.key.print)
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
        }
        sqlx::query("UPDATE last SET batch = ?")
            .bind(batch)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    /// From here on it notes which rows of a table are met.
    pub(super) async fn note(&mut self, table: Table) -> Result<(), CollectError> {
        sqlx::query("DELETE FROM there WHERE source = ?")
            .bind(table.as_str())
            .execute(&mut self.connection)
            .await
            .map_err(failed)?;
        if !self.notes(table) {
            self.noted.push(table);
        }
        Ok(())
    }

    fn notes(&self, table: Table) -> bool {
        self.noted.contains(&table)
    }

    /// Rows were met in the file.
    pub(super) async fn met(
        &mut self,
        table: Table,
        keys: impl Iterator<Item = RowKey>,
    ) -> Result<(), CollectError> {
        if !self.notes(table) {
            return Ok(());
        }
        sqlx::query(
            "INSERT OR IGNORE INTO there SELECT ?, value ->> 0, value ->> 1 FROM json_each(?)",
        )
        .bind(table.as_str())
        .bind(pairs(&keys.collect::<Vec<_>>()))
        .execute(&mut self.connection)
        .await
        .map(drop)
        .map_err(failed)
    }

    /// The whole table was met: settled rows that it does not hold are gone since now, and
    /// those that were gone before `long_ago` are forgotten. False if its rows were not noted.
    pub(super) async fn forget(
        &mut self,
        table: Table,
        now: i64,
        long_ago: i64,
    ) -> Result<bool, CollectError> {
        if !self.notes(table) {
            return Ok(false);
        }
        self.noted.retain(|noted| *noted != table);
        let mut transaction = self
            .connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed)?;
        for sql in [
            "DELETE FROM gone WHERE source = ?1 AND EXISTS (SELECT 1 FROM there AS t \
             WHERE t.source = ?1 AND t.id = gone.id AND t.print = gone.print)",
            "INSERT OR IGNORE INTO gone SELECT source, id, print, ?2 FROM settled AS s \
             WHERE source = ?1 AND NOT EXISTS (SELECT 1 FROM there AS t \
             WHERE t.source = ?1 AND t.id = s.id AND t.print = s.print)",
            "DELETE FROM settled WHERE source = ?1 AND (id, print) IN \
             (SELECT id, print FROM gone WHERE source = ?1 AND since < ?3)",
            "DELETE FROM gone WHERE source = ?1 AND since < ?3",
            "DELETE FROM there WHERE source = ?1",
        ] {
            sqlx::query(sql)
                .bind(table.as_str())
                .bind(now)
                .bind(long_ago)
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)?;
        Ok(true)
    }

    /// Closes it, so that another process may use it.
    pub(super) async fn close(self) {
        // Every change was synced when it was made.
        let _ = self.connection.close().await;
    }
}

type PendingRow = (i64, i64, String, String, i64);

fn pending((id, print, place, name, since): PendingRow) -> Pending {
    Pending {
        key: RowKey { id, print },
        place,
        name,
        since,
    }
}

fn pairs(keys: &[RowKey]) -> String {
    let pairs: Vec<[i64; 2]> = keys.iter().map(|key| [key.id, key.print]).collect();
    json!(pairs).to_string()
}

fn failed(error: sqlx::Error) -> CollectError {
    CollectError(error.to_string())
}
