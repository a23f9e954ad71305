//! Queries: on connections of their own, so that they never hold the writer up.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use sqlx::error::DatabaseError;
use sqlx::{AssertSqlSafe, PgPool, Row as _, SqlSafeStr as _, SqlitePool};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::QueryError;
use super::store::Database;

/// SQLite asks whether to go on after so many of its instructions.
const INSTRUCTIONS: i32 = 10_000;

/// Connections for queries.
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// A parameter of a query.
#[derive(Clone, Debug)]
pub(super) enum Param {
    Int(i64),
    Real(f64),
    Text(String),
    Id(Uuid),
}

/// The type of a column of the answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Int,
    Real,
    Text,
    Id,
    Bool,
}

/// A value of the answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Int(i64),
    Real(f64),
    Text(String),
    Id(Uuid),
    Bool(bool),
}

impl Value {
    pub(super) fn int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn real(&self) -> Option<f64> {
        match self {
            Self::Real(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(value) => Some(value),
            _ => None,
        }
    }

    pub(super) fn id(&self) -> Option<Uuid> {
        match self {
            Self::Id(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }
}

/// A query that both databases understand: parameters are `$1`, `$2` …
pub(super) struct Query {
    pub(super) sql: String,
    pub(super) params: Vec<Param>,
    pub(super) kinds: &'static [Kind],
}

type Rows = Vec<Vec<Value>>;
type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs queries on a thread with a runtime of its own: connections must outlive the runtimes
/// of those that ask.
#[derive(Clone)]
pub(super) struct Reader {
    jobs: mpsc::UnboundedSender<Job>,
    pool: Arc<Pool>,
    patience: Duration,
}

impl Reader {
    /// Starts the thread; it ends with the last clone.
    pub(super) fn start(database: &Database, patience: Duration) -> std::io::Result<Self> {
        let (jobs, mut waiting) = mpsc::unbounded_channel::<Job>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let pool = {
            let _inside = runtime.enter();
            Arc::new(database.pool(patience))
        };
        thread::Builder::new()
            .name("tachograph-queries".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    while let Some(job) = waiting.recv().await {
                        drop(tokio::spawn(job));
                    }
                });
            })?;
        Ok(Self {
            jobs,
            pool,
            patience,
        })
    }

    /// The connections.
    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Closes the connections.
    pub(super) async fn close(&self) {
        let (closed, done) = oneshot::channel();
        let pool = Arc::clone(&self.pool);
        let job = Box::pin(async move {
            match &*pool {
                Pool::Sqlite(pool) => pool.close().await,
                Pool::Postgres(pool) => pool.close().await,
            }
            let _ = closed.send(());
        });
        // Fails only if the thread has ended, and with it the connections.
        if self.jobs.send(job).is_ok() {
            let _ = tokio::time::timeout(self.patience, done).await;
        }
    }

    /// All rows of the answer.
    pub(super) async fn fetch(&self, query: Query) -> Result<Rows, QueryError> {
        let (answer, answered) = oneshot::channel();
        let (pool, patience) = (Arc::clone(&self.pool), self.patience);
        let job = Box::pin(async move {
            let rows = match &*pool {
                Pool::Sqlite(pool) => sqlite(pool, query, patience).await,
                Pool::Postgres(pool) => postgres(pool, query).await,
            };
            // Whoever asked may have gone away.
            let _ = answer.send(rows.map_err(|error| refused(&error, patience)));
        });
        let away = || QueryError::Away(Arc::from("it was shut down"));
        self.jobs.send(job).map_err(|_| away())?;
        answered.await.map_err(|_| away())?
    }
}

fn refused(error: &sqlx::Error, patience: Duration) -> QueryError {
    let code = error.as_database_error().and_then(DatabaseError::code);
    match code.as_deref() {
        // SQLITE_INTERRUPT; query_canceled.
        Some("9" | "57014") => QueryError::Deadline(patience),
        _ => QueryError::Away(Arc::from(error.to_string())),
    }
}

macro_rules! bound {
    ($query:ident) => {{
        let mut bound = sqlx::query(AssertSqlSafe($query.sql).into_sql_str());
        for param in $query.params {
            bound = match param {
                Param::Int(value) => bound.bind(value),
                Param::Real(value) => bound.bind(value),
                Param::Text(value) => bound.bind(value),
                Param::Id(value) => bound.bind(value),
            };
        }
        bound
    }};
}

macro_rules! decoded {
    ($row:ident, $kinds:expr) => {
        $kinds
            .iter()
            .enumerate()
            .map(|(at, kind)| {
                Ok(match kind {
                    Kind::Int => $row.try_get::<Option<i64>, _>(at)?.map(Value::Int),
                    Kind::Real => $row.try_get::<Option<f64>, _>(at)?.map(Value::Real),
                    Kind::Text => $row.try_get::<Option<String>, _>(at)?.map(Value::Text),
                    Kind::Id => $row.try_get::<Option<Uuid>, _>(at)?.map(Value::Id),
                    Kind::Bool => $row.try_get::<Option<bool>, _>(at)?.map(Value::Bool),
                }
                .unwrap_or(Value::Null))
            })
            .collect()
    };
}

async fn sqlite(pool: &SqlitePool, query: Query, patience: Duration) -> Result<Rows, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let deadline = Instant::now() + patience;
    connection
        .lock_handle()
        .await?
        .set_progress_handler(INSTRUCTIONS, move || Instant::now() < deadline);
    let kinds = query.kinds;
    let rows = bound!(query).fetch_all(&mut *connection).await;
    connection.lock_handle().await?.remove_progress_handler();
    rows?.iter().map(|row| decoded!(row, kinds)).collect()
}

async fn postgres(pool: &PgPool, query: Query) -> Result<Rows, sqlx::Error> {
    let kinds = query.kinds;
    let rows = bound!(query).fetch_all(pool).await?;
    rows.iter().map(|row| decoded!(row, kinds)).collect()
}
