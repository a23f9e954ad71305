//! A pool whose waits and statements are recorded.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Instant;

use futures_util::TryStreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use sqlx::pool::PoolConnection;
use sqlx::{Database, Either, Error, Execute, Executor, Pool, SqlStr, Transaction};

use super::executor::{Backend, instrumented};
use super::watch::{PoolWatch, watch};
use crate::pipeline::Telemetry;
use crate::signals::database::{
    AcquireStatus, DbAcquire, DbAcquireEnd, DbConnectionTimeout, DbConnectionUse,
};

/// A pool whose connections, waits and statements are recorded. A reference to it is an
/// executor, as one to a pool is; clones are of the same pool.
///
/// ```no_run
/// use tachograph::instrumentation::sqlx::InstrumentedPool;
///
/// # async fn start(telemetry: tachograph::Telemetry) -> sqlx::Result<()> {
/// let pool = sqlx::PgPool::connect("postgres://localhost/shop").await?;
/// let pool = InstrumentedPool::new(&telemetry, "main", pool).namespace("shop");
/// let (orders,): (i64,) = sqlx::query_as("SELECT count(*) FROM orders")
///     .fetch_one(&pool)
///     .await?;
/// # let _ = orders;
/// # Ok(())
/// # }
/// ```
pub struct InstrumentedPool<DB: Database> {
    pool: Pool<DB>,
    name: Arc<str>,
    namespace: Arc<str>,
    watch: Arc<PoolWatch>,
}

impl<DB: Database> Clone for InstrumentedPool<DB> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            name: Arc::clone(&self.name),
            namespace: Arc::clone(&self.namespace),
            watch: Arc::clone(&self.watch),
        }
    }
}

impl<DB: Database> fmt::Debug for InstrumentedPool<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstrumentedPool")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<DB: Backend> InstrumentedPool<DB> {
    /// Records a pool under a name, which no other pool of the process has.
    pub fn new(telemetry: &Telemetry, name: &str, pool: Pool<DB>) -> Self {
        Self {
            watch: Arc::new(watch(telemetry, name, &pool)),
            pool,
            name: name.into(),
            namespace: "".into(),
        }
    }

    /// Names the database on spans.
    #[must_use]
    pub fn namespace(mut self, name: &str) -> Self {
        self.namespace = name.into();
        self
    }

    /// The pool itself, of which nothing but its connections is recorded.
    #[must_use]
    pub fn pool(&self) -> &Pool<DB> {
        &self.pool
    }

    /// A connection. Statements on it are recorded through
    /// [`instrumented`](super::instrumented)`(&mut *connection)`.
    ///
    /// # Errors
    /// As [`Pool::acquire`].
    pub async fn acquire(&self) -> Result<Lease<PoolConnection<DB>>, Error> {
        let connection = self.wait().await?;
        Ok(Lease::new(connection, Arc::clone(&self.name)))
    }

    /// A transaction. Statements in it are recorded through
    /// [`instrumented`](super::instrumented)`(&mut *transaction)`.
    ///
    /// # Errors
    /// As [`Pool::begin`].
    pub async fn begin(&self) -> Result<Lease<Transaction<'static, DB>>, Error> {
        let connection = self.wait().await?;
        let transaction = Transaction::begin(connection, None).await?;
        Ok(Lease::new(transaction, Arc::clone(&self.name)))
    }

    async fn wait(&self) -> Result<PoolConnection<DB>, Error> {
        let waiting = DbAcquire { pool: &self.name }.start_handle();
        let _in_flight = waiting.as_ref().map(|waiting| waiting.begin());
        let mut wait = Wait {
            pool: &self.name,
            start: Instant::now(),
            status: AcquireStatus::Abandoned,
        };
        let found = self.pool.acquire().await;
        wait.status = match &found {
            Ok(_) => AcquireStatus::Success,
            Err(Error::PoolTimedOut) => AcquireStatus::Timeout,
            Err(_) => AcquireStatus::Failed,
        };
        found
    }
}

/// Waiting for a connection; dropped, it has ended.
struct Wait<'a> {
    pool: &'a str,
    start: Instant,
    status: AcquireStatus,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let (pool, status) = (self.pool, self.status);
        DbAcquire { pool }.record(DbAcquireEnd { status }, self.start.elapsed());
        if status == AcquireStatus::Timeout {
            DbConnectionTimeout { pool }.add(1);
        }
    }
}

/// A connection or a transaction that is borrowed from a pool; dropped, it is given back, and how
/// long it was away is recorded.
#[derive(Debug)]
pub struct Lease<T> {
    inner: T,
    _away: Away,
}

#[derive(Debug)]
struct Away {
    pool: Arc<str>,
    since: Instant,
}

impl Drop for Away {
    fn drop(&mut self) {
        let used = DbConnectionUse { pool: &self.pool };
        used.record(self.since.elapsed().as_secs_f64());
    }
}

impl<T> Lease<T> {
    fn new(inner: T, pool: Arc<str>) -> Self {
        let since = Instant::now();
        Self {
            inner,
            _away: Away { pool, since },
        }
    }
}

impl<T: Deref> Deref for Lease<T> {
    type Target = T::Target;

    fn deref(&self) -> &T::Target {
        &self.inner
    }
}

impl<T: DerefMut> DerefMut for Lease<T> {
    fn deref_mut(&mut self) -> &mut T::Target {
        &mut self.inner
    }
}

impl<DB: Database> Lease<Transaction<'static, DB>> {
    /// Commits the transaction.
    ///
    /// # Errors
    /// As [`Transaction::commit`].
    pub async fn commit(self) -> Result<(), Error> {
        self.inner.commit().await
    }

    /// Undoes the transaction, as dropping it does.
    ///
    /// # Errors
    /// As [`Transaction::rollback`].
    pub async fn rollback(self) -> Result<(), Error> {
        self.inner.rollback().await
    }
}

impl<'p, DB: Backend> Executor<'p> for &'_ InstrumentedPool<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    type Database = DB;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<DB::QueryResult, DB::Row>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let pool = self.clone();
        Box::pin(sqlx_core::try_stream! {
            let mut connection = pool.acquire().await?;
            let on = instrumented(&mut *connection).of(&pool.namespace);
            let mut answers = on.fetch_many(query);
            while let Some(answer) = answers.try_next().await? {
                r#yield!(answer);
            }
            Ok(())
        })
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<DB::Row>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let pool = self.clone();
        Box::pin(async move {
            let mut connection = pool.acquire().await?;
            let on = instrumented(&mut *connection).of(&pool.namespace);
            on.fetch_optional(query).await
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [DB::TypeInfo],
    ) -> BoxFuture<'e, Result<DB::Statement, Error>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move {
            let mut connection = pool.acquire().await?;
            (&mut *connection).prepare_with(sql, parameters).await
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<sqlx::Describe<DB>, Error>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move {
            let mut connection = pool.acquire().await?;
            (&mut *connection).describe(sql).await
        })
    }
}
