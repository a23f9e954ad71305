//! The file of others: opened to be read, page by page.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

use super::row::{Row, RowKey};
use crate::collectors::CollectError;
use crate::signals::workflow_db::Table;

/// Rows that are read at once.
pub(super) const PAGE: usize = 1000;

/// A table that spans more positions than this is not read for the tools that a run called.
const COUNTED: i64 = 200_000;

/// The tables, in the order in which they are read: a session's agents before the session.
pub(super) const TABLES: [Table; 4] = [
    Table::AgentInvocations,
    Table::AgentToolUses,
    Table::ToolUses,
    Table::Sessions,
];

/// Which file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
    /// Counts changes of the schema, and times it was rebuilt by VACUUM.
    pub(super) schema: i64,
}

/// The open file.
pub(super) struct File {
    connection: SqliteConnection,
    pub(super) identity: Identity,
    pub(super) size: u64,
    tables: Vec<(Table, String)>,
}

impl File {
    /// Opens it for one round. It is never written to; beside a file with a write-ahead log
    /// SQLite keeps its index of that log.
    pub(super) async fn open(path: &Path, busy: Duration) -> Result<Self, CollectError> {
        let before = stat(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .create_if_missing(false)
            .busy_timeout(busy)
            .pragma("query_only", "ON")
            .pragma("trusted_schema", "OFF")
            .thread_name(|_| "tachograph-workflow-db".to_owned())
            .disable_statement_logging();
        let connection = options.connect().await.map_err(failed)?;
        let mut file = Self {
            connection,
            identity: Identity {
                device: before.dev(),
                inode: before.ino(),
                schema: 0,
            },
            size: before.len(),
            tables: Vec::new(),
        };
        // The first reading opens the file itself.
        file.identity.schema = sqlx::query_scalar("PRAGMA schema_version")
            .fetch_one(&mut file.connection)
            .await
            .map_err(failed)?;
        let after = stat(path)?;
        if (after.dev(), after.ino()) != (before.dev(), before.ino()) {
            return Err(CollectError(
                "the file was replaced while it was opened".to_owned(),
            ));
        }
        for table in TABLES {
            if let Some(columns) = file.columns(table).await? {
                file.tables.push((table, columns));
            }
        }
        Ok(file)
    }

    /// What to select of a table; none: there is no such table.
    async fn columns(&mut self, table: Table) -> Result<Option<String>, CollectError> {
        let there: Vec<String> = sqlx::query_scalar("SELECT lower(name) FROM pragma_table_info(?)")
            .bind(name(table))
            .fetch_all(&mut self.connection)
            .await
            .map_err(failed)?;
        if there.is_empty() {
            return Ok(None);
        }
        let has = |column: &str| there.iter().any(|c| c == column);
        let mut sql = "rowid".to_owned();
        let names = match table {
            Table::Sessions => ["", "", ""],
            Table::AgentInvocations => ["agent_name", "", "error"],
            Table::AgentToolUses => ["tool_name", "agent_name", "error"],
            Table::ToolUses => ["tool_name", "", ""],
        };
        // Nothing but the first of a text is read, whatever it holds.
        for column in [
            "session_id",
            "timestamp",
            "start_time",
            "end_time",
            "status",
            names[0],
            names[1],
            "phase",
            "model",
        ] {
            // Writing to a `String` cannot fail.
            let _ = match has(column) {
                true => write!(
                    sql,
                    ", CAST(substr(CAST({column} AS TEXT), 1, 256) AS BLOB)"
                ),
                false => write!(sql, ", NULL"),
            };
        }
        let (duration, output) = ("duration_seconds", "tool_output");
        let _ = match has(duration) {
            true => write!(
                sql,
                ", CASE WHEN typeof({duration}) IN ('real', 'integer') \
                 THEN CAST({duration} AS REAL) END, typeof({duration}) IN ('text', 'blob')"
            ),
            false => write!(sql, ", NULL, 0"),
        };
        for column in [output, names[2]] {
            let _ = match has(column) {
                true => write!(sql, ", {column} IS NOT NULL AND {column} <> ''"),
                false => write!(sql, ", 0"),
            };
        }
        Ok(Some(sql))
    }

    /// The tables that it has.
    pub(super) fn tables(&self) -> Vec<Table> {
        self.tables.iter().map(|(table, _)| *table).collect()
    }

    fn select(&self, table: Table) -> Option<&str> {
        let found = self.tables.iter().find(|(known, _)| *known == table);
        found.map(|(_, columns)| columns.as_str())
    }

    /// Rows after a position, in order.
    pub(super) async fn page(
        &mut self,
        table: Table,
        after: i64,
    ) -> Result<Vec<Row>, CollectError> {
        let Some(columns) = self.select(table) else {
            return Ok(Vec::new());
        };
        let name = name(table);
        let sql =
            format!("SELECT {columns} FROM {name} WHERE rowid > ? ORDER BY rowid LIMIT {PAGE}");
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(after)
            .fetch_all(&mut self.connection)
            .await
            .map_err(failed)?;
        rows.iter().map(read).collect()
    }

    /// The row at a position.
    pub(super) async fn rows_at(
        &mut self,
        table: Table,
        place: i64,
    ) -> Result<Vec<Row>, CollectError> {
        let Some(columns) = self.select(table) else {
            return Ok(Vec::new());
        };
        let name = name(table);
        let sql = format!("SELECT {columns} FROM {name} WHERE rowid = ?");
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(place)
            .fetch_all(&mut self.connection)
            .await
            .map_err(failed)?;
        rows.iter().map(read).collect()
    }

    /// Rows at these positions; of sessions, which VACUUM may move, those with these ids.
    pub(super) async fn rows(
        &mut self,
        table: Table,
        which: &serde_json::Value,
    ) -> Result<Vec<Row>, CollectError> {
        let Some(columns) = self.select(table) else {
            return Ok(Vec::new());
        };
        let (name, key) = (name(table), key_column(table));
        let sql =
            format!("SELECT {columns} FROM {name} WHERE {key} IN (SELECT value FROM json_each(?))");
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(which.to_string())
            .fetch_all(&mut self.connection)
            .await
            .map_err(failed)?;
        rows.iter().map(read).collect()
    }

    /// First and last position; none: there are no rows.
    pub(super) async fn span(&mut self, table: Table) -> Result<Option<(i64, i64)>, CollectError> {
        if self.select(table).is_none() {
            return Ok(None);
        }
        // Two queries within one: either alone is answered without reading the table.
        let name = name(table);
        let sql =
            format!("SELECT (SELECT MIN(rowid) FROM {name}), (SELECT MAX(rowid) FROM {name})");
        let (first, last): (Option<i64>, Option<i64>) = sqlx::query_as(AssertSqlSafe(sql))
            .fetch_one(&mut self.connection)
            .await
            .map_err(failed)?;
        Ok(first.zip(last))
    }

    /// Distinct agents and phases of these sessions.
    pub(super) async fn sessions(
        &mut self,
        ids: &serde_json::Value,
    ) -> Result<HashMap<String, (f64, f64)>, CollectError> {
        if self.select(Table::AgentInvocations).is_none() {
            return Ok(HashMap::new());
        }
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(
            "SELECT CAST(session_id AS TEXT), COUNT(DISTINCT agent_name), COUNT(DISTINCT phase) \
             FROM agent_invocations \
             WHERE session_id IN (SELECT value FROM json_each(?)) AND agent_name <> 'unknown' \
             GROUP BY session_id",
        )
        .bind(ids.to_string())
        .fetch_all(&mut self.connection)
        .await
        .map_err(failed)?;
        let counts = rows
            .into_iter()
            .map(|(id, agents, phases)| (id, (agents as f64, phases as f64)));
        Ok(counts.collect())
    }

    /// Which of these sessions have tool uses in `agent_tool_uses`.
    pub(super) async fn with_agent_tool_uses(
        &mut self,
        ids: &serde_json::Value,
    ) -> Result<Vec<String>, CollectError> {
        if self.select(Table::AgentToolUses).is_none() {
            return Ok(Vec::new());
        }
        sqlx::query_scalar(
            "SELECT DISTINCT CAST(session_id AS TEXT) FROM agent_tool_uses \
             WHERE session_id IN (SELECT value FROM json_each(?))",
        )
        .bind(ids.to_string())
        .fetch_all(&mut self.connection)
        .await
        .map_err(failed)
    }

    /// How many tools these invocations called, of those that called any; none: it does not
    /// tell, or all of a large table would have to be read for it.
    pub(super) async fn tool_calls(
        &mut self,
        invocations: &serde_json::Value,
    ) -> Result<Option<HashMap<i64, f64>>, CollectError> {
        let told: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM pragma_table_info('agent_tool_uses') \
             WHERE lower(name) = 'agent_invocation_id')",
        )
        .fetch_one(&mut self.connection)
        .await
        .map_err(failed)?;
        let span = self.span(Table::AgentToolUses).await?.unwrap_or_default();
        if !told || span.1.saturating_sub(span.0) > COUNTED {
            return Ok(None);
        }
        let rows: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT CAST(agent_invocation_id AS INTEGER), COUNT(*) FROM agent_tool_uses \
             WHERE agent_invocation_id IN (SELECT value FROM json_each(?)) GROUP BY 1",
        )
        .bind(invocations.to_string())
        .fetch_all(&mut self.connection)
        .await
        .map_err(failed)?;
        let calls = rows.into_iter().map(|(id, calls)| (id, calls as f64));
        Ok(Some(calls.collect()))
    }

    /// How many invocations it holds, of how many agents; none: it has no such table.
    pub(super) async fn totals(&mut self) -> Result<Option<(i64, i64)>, CollectError> {
        if self.select(Table::AgentInvocations).is_none() {
            return Ok(None);
        }
        sqlx::query_as(
            "SELECT COUNT(*), COUNT(DISTINCT CASE WHEN agent_name <> 'unknown' \
             THEN agent_name END) FROM agent_invocations",
        )
        .fetch_one(&mut self.connection)
        .await
        .map(Some)
        .map_err(failed)
    }

    /// Closes it, and with it its locks.
    pub(super) async fn close(self) {
        // It was only read: there is nothing to be lost.
        let _ = self.connection.close().await;
    }
}

fn stat(path: &Path) -> Result<std::fs::Metadata, CollectError> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(found),
        Ok(_) => Err(CollectError(format!("{}: is no file", path.display()))),
        Err(error) => Err(CollectError(format!("{}: {error}", path.display()))),
    }
}

fn failed(error: sqlx::Error) -> CollectError {
    CollectError(error.to_string())
}

/// Its name in the file.
pub(super) fn name(table: Table) -> &'static str {
    use crate::catalog::ClosedLabel as _;
    table.as_str()
}

fn key_column(table: Table) -> &'static str {
    match table {
        Table::Sessions => "session_id",
        _ => "rowid",
    }
}

fn read(row: &SqliteRow) -> Result<Row, CollectError> {
    let text = |at: usize| -> Result<Option<String>, CollectError> {
        let bytes: Option<&[u8]> = row.try_get_unchecked(at).map_err(failed)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
    };
    let flag = |at: usize| -> Result<bool, CollectError> {
        let flag: Option<i64> = row.try_get_unchecked(at).map_err(failed)?;
        Ok(flag.is_some_and(|flag| flag != 0))
    };
    Ok(Row {
        rowid: row.try_get_unchecked(0).map_err(failed)?,
        session: text(1)?,
        timestamp: text(2)?,
        start: text(3)?,
        end: text(4)?,
        status: text(5)?,
        name: text(6)?,
        agent: text(7)?,
        phase: text(8)?,
        model: text(9)?,
        duration: row.try_get_unchecked(10).map_err(failed)?,
        duration_malformed: flag(11)?,
        has_output: flag(12)?,
        has_error: flag(13)?,
    })
}

/// Which row it is.
pub(super) fn key(table: Table, row: &Row) -> RowKey {
    match (table, &row.session) {
        (Table::Sessions, Some(session)) => RowKey {
            id: hash(&[Some(session)]),
            print: hash(&[row.start.as_deref()]),
        },
        _ => RowKey {
            id: row.rowid,
            print: hash(&[row.timestamp.as_deref(), row.session.as_deref()]),
        },
    }
}

fn hash(parts: &[Option<&str>]) -> i64 {
    let mut hasher = Sha256::new();
    for part in parts {
        let length = part.map_or(u64::MAX, |part| part.len() as u64);
        hasher.update(length.to_le_bytes());
        hasher.update(part.unwrap_or_default());
    }
    let digest = hasher.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_le_bytes(first)
}
