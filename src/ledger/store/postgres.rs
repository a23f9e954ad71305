//! PostgreSQL, which several services may share.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqlStr};
use tokio::time::timeout;
use uuid::Uuid;

use super::super::OutboxConfig;
use super::super::config::redacted;
use super::group::Group;
use super::{
    COLUMNS, CommitError, Committed, ConnectError, Doubt, LedgerConfig, OpenError, Record,
    Retention, StoreError, now_us, server,
};

/// Types of [`COLUMNS`] without `received_us`, in the order in which they are bound.
const TYPES: [&str; 24] = [
    "uuid", "text", "int8", "float8", "text", "text", "uuid", "text", "text", "text", "text",
    "text", "text", "text", "bool", "text", "bool", "int8", "int8", "int8", "int8", "int8", "int8",
    "text",
];

/// Rows of one INSERT.
const CHUNK: usize = 2_048;

/// How often a transaction is tried that another one's locks stand in the way of.
const TRIES: usize = 5;

/// A server that answers nothing for so long is away.
const PATIENCE: Duration = Duration::from_secs(15);

/// A service that was not seen for so long is gone, and what it counted is another's.
const LEASE_US: i64 = 60 * 1_000_000;

/// Of a process that has written nothing for so long, nothing is in doubt.
const WRITER_US: i64 = 30 * 24 * 3_600 * 1_000_000;

/// How to reach the database.
#[derive(Debug)]
pub(in super::super) struct Database {
    options: PgConnectOptions,
    shown: String,
    insert: SqlStr,
    /// What is copied into the outbox.
    outbox: Option<OutboxConfig>,
    /// Whose the open operations are that this process counts.
    pub(super) owner: String,
    /// Part of `totals` that this process adds to.
    shard: i16,
    /// Whose row of `writers` tells which of its transactions was committed last.
    writer: Uuid,
}

impl Database {
    /// Reads the configuration; reaches for nothing.
    pub(super) fn prepare(config: &LedgerConfig, url: &str) -> Result<Self, OpenError> {
        let refuse = |reason| OpenError::Url {
            url: redacted(url),
            reason,
        };
        let options = server::options(url).map_err(refuse)?;
        let milliseconds = |duration: Duration| duration.as_millis().max(1).to_string();
        let options = options
            .application_name("tachograph")
            .options([
                // Whatever the server's default is: acknowledged is durable.
                ("synchronous_commit", "on".to_owned()),
                ("lock_timeout", milliseconds(config.busy_timeout)),
                ("statement_timeout", milliseconds(PATIENCE)),
                (
                    "idle_in_transaction_session_timeout",
                    milliseconds(PATIENCE),
                ),
            ])
            // For the figures of statements alone, whatever their text and however slow.
            .log_statements(log::LevelFilter::Trace)
            .log_slow_statements(log::LevelFilter::Trace, Duration::MAX);
        Ok(Self {
            options,
            shown: redacted(url),
            insert: insert(),
            outbox: config.outbox.clone(),
            owner: config.owner.clone(),
            shard: fastrand::i16(0..16),
            writer: Uuid::new_v4(),
        })
    }

    /// Connects and brings the schema up to date.
    pub(super) async fn connect(&self) -> Result<Store, ConnectError> {
        let late = || ConnectError::Away(StoreError("the server does not answer".to_owned()));
        let mut connection = timeout(PATIENCE, self.options.connect())
            .await
            .map_err(|_| late())?
            .map_err(|error| self.classify(error))?;
        let migrator = migrator();
        let migrated = timeout(PATIENCE, migrator.run_direct(None, &mut connection, false)).await;
        match migrated.map_err(|_| late())? {
            Ok(()) => {}
            Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
                return Err(self.classify(error));
            }
            Err(other) => {
                return Err(ConnectError::Refused(OpenError::Schema {
                    ledger: self.shown.clone(),
                    reason: other.to_string(),
                }));
            }
        }
        let mut store = Store {
            connection,
            committing: None,
        };
        store.probe(self).await.map_err(ConnectError::Away)?;
        Ok(store)
    }

    /// Connections for queries.
    pub(super) fn pool(&self, patience: Duration) -> PgPool {
        let milliseconds = patience.as_millis().max(1).to_string();
        let options = self.options.clone().options([
            ("default_transaction_read_only", "on".to_owned()),
            ("statement_timeout", milliseconds),
        ]);
        PgPoolOptions::new()
            .max_connections(4)
            .acquire_timeout(patience)
            .idle_timeout(Duration::from_secs(30))
            .connect_lazy_with(options)
    }

    fn classify(&self, error: sqlx::Error) -> ConnectError {
        let code = error.as_database_error().and_then(DatabaseError::code);
        let refused = match code.as_deref() {
            // Class 28: not let in. 3D000: no such database. 42501: not allowed.
            Some(code) => code.starts_with("28") || matches!(code, "3D000" | "42501"),
            None => matches!(error, sqlx::Error::Configuration(_)),
        };
        let untrusted = server::untrusted(&error, &self.options);
        if let Some(reason) = untrusted.or_else(|| refused.then(|| error.to_string())) {
            ConnectError::Refused(OpenError::Server {
                server: self.shown.clone(),
                reason,
            })
        } else {
            ConnectError::Away(error.into())
        }
    }
}

/// An open database.
#[derive(Debug)]
pub(in super::super) struct Store {
    connection: PgConnection,
    /// The transaction that is being committed, while that is not known to have happened.
    committing: Option<Doubt>,
}

impl Store {
    /// See [`Store::commit`](super::Store::commit).
    pub(super) async fn commit(
        &mut self,
        database: &Database,
        records: &mut [Record],
        received_us: i64,
    ) -> Result<Committed, CommitError> {
        for record in records.iter_mut() {
            without_nul(record);
        }
        let mut tries = TRIES;
        loop {
            let result = timeout(PATIENCE, self.transaction(database, records, received_us)).await;
            let error = match result {
                Ok(Ok(committed)) => return Ok(committed),
                Ok(Err(error)) => error,
                Err(_) => sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()),
            };
            let code = error.as_database_error().and_then(DatabaseError::code);
            // Deadlock, serialization failure: rolled back, and worth another try.
            let again = matches!(code.as_deref(), Some("40P01" | "40001"));
            if let Some(doubt) = self.committing.take().filter(|_| !again) {
                return Err(CommitError::Doubt(doubt, error.into()));
            }
            tries -= 1;
            if !again || tries == 0 {
                return Err(error.into());
            }
        }
    }

    async fn transaction(
        &mut self,
        database: &Database,
        records: &[Record],
        received_us: i64,
    ) -> Result<Committed, sqlx::Error> {
        let mut transaction = self.connection.begin().await?;
        let id = Uuid::new_v4();
        let horizon_us: i64 = sqlx::query_scalar(
            "WITH last AS (INSERT INTO writers (writer, committed, seen_us) \
             VALUES ($1, $2, $3) ON CONFLICT (writer) DO UPDATE \
             SET committed = excluded.committed, seen_us = excluded.seen_us) \
             SELECT horizon_us FROM retention",
        )
        .bind(database.writer)
        .bind(id)
        .bind(received_us)
        .fetch_one(&mut *transaction)
        .await?;
        let mut group = Group::new(records, horizon_us);
        // Rows are locked in one order by every service.
        group
            .starts
            .sort_unstable_by_key(|&index| records[index].id);
        group.ends.sort_unstable_by_key(|&index| records[index].id);
        insert_starts(&mut transaction, &mut group, records, &database.owner).await?;
        let ends = std::mem::take(&mut group.ends);
        for chunk in ends.chunks(CHUNK) {
            let rows: Vec<&Record> = chunk.iter().map(|&index| &records[index]).collect();
            for id in insert_rows(&mut transaction, database, &rows, received_us).await? {
                group.end_accepted(&id);
            }
        }
        let ids: Vec<Uuid> = ends.iter().map(|&index| records[index].id).collect();
        sqlx::query("DELETE FROM open_operations WHERE id = ANY($1)")
            .bind(ids)
            .execute(&mut *transaction)
            .await?;
        let sizes: Vec<i64> = ends
            .iter()
            .map(|&index| records[index].stored_bytes())
            .collect();
        group.ends = ends;
        let tally = group.tally(records, &sizes);
        shared::add_up(&mut transaction, &tally, database.shard, received_us).await?;
        let mut dropped = 0;
        if let Some(outbox) = &database.outbox {
            let accepted = group.accepted_of(records, &outbox.signals);
            let copied = copy(&mut transaction, &accepted).await?;
            let shard = database.shard;
            dropped = shared::keep_outbox(&mut transaction, outbox, shard, &copied).await?;
        }
        self.committing = Some(Doubt {
            transaction: id,
            committed: Committed {
                dispositions: group.dispositions,
                dropped,
            },
        });
        transaction.commit().await?;
        Ok(self
            .committing
            .take()
            .map(|done| done.committed)
            .unwrap_or_default())
    }

    /// Whether a transaction can begin and write now.
    pub(super) async fn probe(&mut self, _: &Database) -> Result<(), StoreError> {
        let read_only = sqlx::query_scalar::<_, bool>(
            "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'",
        )
        .fetch_one(&mut self.connection);
        match timeout(PATIENCE, read_only).await {
            Ok(Ok(false)) => Ok(()),
            Ok(Ok(true)) => Err(StoreError("the server is read-only".to_owned())),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(StoreError("the server does not answer".to_owned())),
        }
    }

    /// See [`Store::upkeep`](super::Store::upkeep).
    pub(super) async fn upkeep(
        &mut self,
        database: &Database,
        retention: Retention,
        now_us: i64,
    ) -> Result<bool, StoreError> {
        let upkeep = async {
            seen(&mut self.connection, &database.owner, false).await?;
            // What nobody counts any more is counted here.
            sqlx::query(
                "UPDATE open_operations SET owner = $1 WHERE owner <> $1 AND owner NOT IN \
                 (SELECT owner FROM services WHERE seen_us > \
                 (extract(epoch FROM clock_timestamp()) * 1e6)::int8 - $2)",
            )
            .bind(database.owner.as_str())
            .bind(LEASE_US)
            .execute(&mut self.connection)
            .await?;
            // A start and its end may have been told to two services at the same moment.
            sqlx::query(
                "DELETE FROM open_operations AS o USING records AS r \
                 WHERE o.owner = $1 AND r.id = o.id",
            )
            .bind(database.owner.as_str())
            .execute(&mut self.connection)
            .await?;
            sqlx::query("DELETE FROM writers WHERE seen_us < $1")
                .bind(now_us.saturating_sub(WRITER_US))
                .execute(&mut self.connection)
                .await?;
            if retention == Retention::default() {
                return Ok(false);
            }
            // Another service may be committing by the horizon that it has read.
            let grace_us = i64::try_from(PATIENCE.as_micros()).unwrap_or(0) * 2;
            let shard = database.shard;
            shared::remove(&mut self.connection, retention, now_us, grace_us, shard).await
        };
        let done = timeout(PATIENCE * 4, upkeep).await;
        Ok(done.map_err(|_| StoreError("the server does not answer".to_owned()))??)
    }

    /// See [`Store::dismiss`](super::Store::dismiss).
    pub(super) async fn dismiss(&mut self, ids: &[Uuid]) -> Result<u64, StoreError> {
        let removed = sqlx::query("DELETE FROM open_operations WHERE id = ANY($1)")
            .bind(ids)
            .execute(&mut self.connection);
        match timeout(PATIENCE, removed).await {
            Ok(removed) => Ok(removed?.rows_affected()),
            Err(_) => Err(StoreError("the server does not answer".to_owned())),
        }
    }

    /// See [`Store::published`](super::Store::published).
    pub(super) async fn published(
        &mut self,
        database: &Database,
        seqs: &[i64],
    ) -> Result<u64, StoreError> {
        let removing = async {
            let mut transaction = self.connection.begin().await?;
            let removed = shared::remove_outbox(&mut transaction, seqs, database.shard).await?;
            transaction.commit().await?;
            Ok::<_, sqlx::Error>(removed)
        };
        match timeout(PATIENCE, removing).await {
            Ok(removed) => Ok(removed?),
            Err(_) => Err(StoreError("the server does not answer".to_owned())),
        }
    }

    /// Whether a transaction was committed. Its number at the server would not tell: one that a
    /// crash has cut off is given again, to a transaction of somebody else's.
    pub(super) async fn happened(
        &mut self,
        database: &Database,
        transaction: Uuid,
    ) -> Result<bool, StoreError> {
        // Waits for one that is under way still, up to `lock_timeout`, and fails then.
        let last = sqlx::query_scalar::<_, Uuid>(
            "INSERT INTO writers (writer, committed, seen_us) VALUES ($1, $2, $3) \
             ON CONFLICT (writer) DO UPDATE SET seen_us = excluded.seen_us RETURNING committed",
        )
        .bind(database.writer)
        .bind(Uuid::nil())
        .bind(now_us())
        .fetch_one(&mut self.connection);
        match timeout(PATIENCE, last).await {
            Ok(last) => Ok(last? == transaction),
            Err(_) => Err(StoreError("the server does not answer".to_owned())),
        }
    }

    pub(super) async fn close(self) {
        let closed = timeout(Duration::from_secs(1), self.connection.close()).await;
        if let Ok(Err(error)) = closed {
            tracing::debug!(%error, "ledger connection did not close cleanly");
        }
    }
}

mod shared {
    use sqlx::postgres::PgConnection as Connected;

    super::super::outbox::outbox!();
    super::super::shared::statements!();
    super::super::upkeep::removal!();

    /// Removes rows of the outbox; their sizes.
    async fn delete_outbox(
        connection: &mut Connected,
        seqs: &[i64],
    ) -> Result<Vec<i64>, sqlx::Error> {
        sqlx::query_scalar("DELETE FROM outbox WHERE seq = ANY($1) RETURNING bytes")
            .bind(seqs)
            .fetch_all(connection)
            .await
    }
}

/// Copies records into the outbox; their sizes.
async fn copy(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<i64>, sqlx::Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_scalar(
        "INSERT INTO outbox (id, signal, time_us, duration, parent, fields, context, \
         received_us, bytes) SELECT id, signal, time_us, duration, parent, fields, context, \
         received_us, octet_length(fields)::int8 + octet_length(context) + 256 FROM records \
         WHERE id = ANY($1) ORDER BY seq RETURNING bytes",
    )
    .bind(ids)
    .fetch_all(connection)
    .await
}

/// Says that a service is there, if there is anything open or `always`.
async fn seen(connection: &mut PgConnection, owner: &str, always: bool) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO services (owner, seen_us) \
         SELECT $1, (extract(epoch FROM clock_timestamp()) * 1e6)::int8 \
         WHERE $2 OR EXISTS (SELECT 1 FROM open_operations) \
         ON CONFLICT (owner) DO UPDATE SET seen_us = excluded.seen_us",
    )
    .bind(owner)
    .bind(always)
    .execute(connection)
    .await?;
    Ok(())
}

/// PostgreSQL takes every character but this one.
fn without_nul(record: &mut Record) {
    for text in [&mut record.fields, &mut record.context] {
        if text.contains('\0') {
            *text = text.replace('\0', "\u{fffd}");
        }
    }
    let columns = &mut record.columns;
    for text in [
        &mut columns.session,
        &mut columns.correlation,
        &mut columns.agent,
        &mut columns.name,
        &mut columns.provider,
        &mut columns.model,
        &mut columns.status,
        &mut columns.error,
    ] {
        if let Some(given) = text.as_deref().filter(|text| text.contains('\0')) {
            *text = Some(Arc::from(given.replace('\0', "\u{fffd}")));
        }
    }
}

async fn insert_starts(
    connection: &mut PgConnection,
    group: &mut Group,
    records: &[Record],
    owner: &str,
) -> Result<(), sqlx::Error> {
    for &index in &group.starts.clone() {
        let record = &records[index];
        if shared::insert_start(connection, record, owner).await? {
            group.start_accepted(&record.id);
        }
    }
    if !group.starts.is_empty() {
        seen(connection, owner, true).await?;
    }
    Ok(())
}

async fn insert_rows(
    connection: &mut PgConnection,
    database: &Database,
    rows: &[&Record],
    received_us: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    fn each<'r, T>(rows: &[&'r Record], value: impl Fn(&'r Record) -> T) -> Vec<T> {
        rows.iter().map(|record| value(record)).collect()
    }
    sqlx::query_scalar(database.insert.clone())
        .bind(each(rows, |r| r.id))
        .bind(each(rows, |r| r.signal))
        .bind(each(rows, |r| r.time_us))
        .bind(each(rows, |r| r.duration))
        .bind(each(rows, |r| r.fields.as_str()))
        .bind(each(rows, |r| r.context.as_str()))
        .bind(each(rows, |r| r.parent))
        .bind(each(rows, |r| r.columns.session.as_deref()))
        .bind(each(rows, |r| r.columns.correlation.as_deref()))
        .bind(each(rows, |r| r.columns.agent.as_deref()))
        .bind(each(rows, |r| r.columns.name.as_deref()))
        .bind(each(rows, |r| r.columns.provider.as_deref()))
        .bind(each(rows, |r| r.columns.model.as_deref()))
        .bind(each(rows, |r| r.columns.status.as_deref()))
        .bind(each(rows, |r| r.columns.failed))
        .bind(each(rows, |r| r.columns.error.as_deref()))
        .bind(each(rows, |r| r.columns.billable.then_some(true)))
        .bind(each(rows, |r| r.columns.input_tokens))
        .bind(each(rows, |r| r.columns.output_tokens))
        .bind(each(rows, |r| r.columns.cache_read_tokens))
        .bind(each(rows, |r| r.columns.cache_write_tokens))
        .bind(each(rows, |r| r.columns.reasoning_tokens))
        .bind(each(rows, |r| r.columns.cost_micros))
        .bind(each(rows, |r| r.columns.price_version.as_deref()))
        .bind(received_us)
        .fetch_all(connection)
        .await
}

fn insert() -> SqlStr {
    let given: Vec<&str> = COLUMNS
        .into_iter()
        .filter(|column| *column != "received_us")
        .collect();
    let mut arrays = String::new();
    for (position, kind) in TYPES.iter().enumerate() {
        let comma = if position == 0 { "" } else { "," };
        // Writing to a `String` cannot fail.
        let _ = write!(arrays, "{comma}${}::{kind}[]", position + 1);
    }
    let names = given.join(",");
    let sql = format!(
        "INSERT INTO records ({names},received_us) SELECT u.*, ${} FROM UNNEST({arrays}) AS u \
         ON CONFLICT (id) DO NOTHING RETURNING id",
        TYPES.len() + 1
    );
    sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(Arc::<str>::from(sql)))
}

pub(in super::super) fn migrator() -> Migrator {
    let migration = |version, name, sql| {
        let (name, sql) = (Cow::Borrowed(name), SqlStr::from_static(sql));
        Migration::new(version, name, MigrationType::Simple, sql, false)
    };
    Migrator::with_migrations(vec![
        migration(
            1,
            "records",
            include_str!("../../../migrations/postgres/0001_records.sql"),
        ),
        migration(
            2,
            "outbox",
            include_str!("../../../migrations/postgres/0002_outbox.sql"),
        ),
    ])
}
