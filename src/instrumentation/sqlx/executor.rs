//! What an executor is asked to do, as operations with spans.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::Stream;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use sqlx::error::BoxDynError;
use sqlx::{Database, Either, Error, Execute, Executor, Postgres, SqlStr, Sqlite};
use tracing::instrument::Instrument as _;
use tracing::{Span, field};

use super::error::class;
use super::record;
use super::statement::{self, Summary};
use crate::recording::exemplar;
use crate::signals::database::{DbOperationEnd, DbStatus, DbSystem};

/// A database whose statements can be told apart.
pub trait Backend: Database {
    /// Its name on metrics and spans.
    const SYSTEM: DbSystem;

    /// Rows that a statement changed.
    fn affected(result: &Self::QueryResult) -> u64;
}

impl Backend for Sqlite {
    const SYSTEM: DbSystem = DbSystem::Sqlite;

    fn affected(result: &Self::QueryResult) -> u64 {
        result.rows_affected()
    }
}

impl Backend for Postgres {
    const SYSTEM: DbSystem = DbSystem::Postgresql;

    fn affected(result: &Self::QueryResult) -> u64 {
        result.rows_affected()
    }
}

/// An executor whose statements are recorded, each with its span.
#[derive(Debug)]
pub struct Instrumented<E> {
    inner: E,
    namespace: String,
}

/// Records what this executor is asked to do: a connection, the connection of a transaction, or
/// a pool whose waits need no figures of their own.
///
/// ```
/// use tachograph::instrumentation::sqlx::instrumented;
///
/// async fn transfer(pool: &sqlx::SqlitePool) -> sqlx::Result<()> {
///     let mut transaction = pool.begin().await?;
///     sqlx::query("UPDATE accounts SET amount = amount - $1 WHERE id = 1")
///         .bind(10)
///         .execute(instrumented(&mut *transaction))
///         .await?;
///     transaction.commit().await
/// }
/// ```
pub fn instrumented<'c, E>(executor: E) -> Instrumented<E>
where
    E: Executor<'c>,
    E::Database: Backend,
{
    Instrumented {
        inner: executor,
        namespace: String::new(),
    }
}

impl<E> Instrumented<E> {
    /// Names the database on spans.
    pub(super) fn of(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }
}

impl<'c, E> Executor<'c> for Instrumented<E>
where
    E: Executor<'c> + fmt::Debug,
    E::Database: Backend,
{
    type Database = E::Database;

    fn fetch_many<'e, 'q: 'e, X>(
        self,
        query: X,
    ) -> BoxStream<'e, Result<Either<Done<E::Database>, Row<E::Database>>, Error>>
    where
        'c: 'e,
        X: 'q + Execute<'q, Self::Database>,
    {
        let query = Parts::of(query);
        let call = Call::<E::Database>::begin(&query.sql, &self.namespace);
        let inner = self.inner;
        // Inside, as sqlx keeps the span that it is called in.
        let stream = call.span.in_scope(|| inner.fetch_many(query));
        Box::pin(Recorded {
            stream: Some(stream),
            call: Some(call),
        })
    }

    fn fetch_optional<'e, 'q: 'e, X>(
        self,
        query: X,
    ) -> BoxFuture<'e, Result<Option<Row<E::Database>>, Error>>
    where
        'c: 'e,
        X: 'q + Execute<'q, Self::Database>,
    {
        let query = Parts::of(query);
        let mut call = Call::<E::Database>::begin(&query.sql, &self.namespace);
        let inner = self.inner;
        let future = call.span.in_scope(|| inner.fetch_optional(query));
        Box::pin(async move {
            let found = future.instrument(call.span.clone()).await;
            match &found {
                Ok(row) => {
                    call.rows = u64::from(row.is_some());
                    call.end(None);
                }
                Err(error) => call.end(Some(error)),
            }
            found
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [<Self::Database as Database>::TypeInfo],
    ) -> BoxFuture<'e, Result<<Self::Database as Database>::Statement, Error>>
    where
        'c: 'e,
    {
        self.inner.prepare_with(sql, parameters)
    }

    fn describe<'e>(
        self,
        sql: SqlStr,
    ) -> BoxFuture<'e, Result<sqlx::Describe<Self::Database>, Error>>
    where
        'c: 'e,
    {
        self.inner.describe(sql)
    }
}

type Row<DB> = <DB as Database>::Row;
type Done<DB> = <DB as Database>::QueryResult;

/// The parts of a query, which gives its text only to whom it is given itself.
pub(super) struct Parts<DB: Database> {
    sql: SqlStr,
    statement: Option<DB::Statement>,
    arguments: Option<Result<Option<DB::Arguments>, BoxDynError>>,
    persistent: bool,
}

impl<DB: Database> Parts<DB> {
    fn of<'q>(mut query: impl Execute<'q, DB>) -> Self {
        Self {
            statement: query.statement().cloned(),
            arguments: Some(query.take_arguments()),
            persistent: query.persistent(),
            sql: query.sql(),
        }
    }
}

impl<DB: Database> Execute<'_, DB> for Parts<DB> {
    fn sql(self) -> SqlStr {
        self.sql
    }

    fn statement(&self) -> Option<&DB::Statement> {
        self.statement.as_ref()
    }

    fn take_arguments(&mut self) -> Result<Option<DB::Arguments>, BoxDynError> {
        self.arguments.take().unwrap_or(Ok(None))
    }

    fn persistent(&self) -> bool {
        self.persistent
    }
}

/// One operation under way; dropped before its end it was abandoned.
struct Call<DB: Backend> {
    span: Span,
    summary: Summary<'static>,
    start: Instant,
    rows: u64,
    affected: u64,
    ended: bool,
    database: std::marker::PhantomData<fn() -> DB>,
}

impl<DB: Backend> Call<DB> {
    fn begin(sql: &SqlStr, namespace: &str) -> Self {
        let summary = statement::summary(sql.as_str(), DB::SYSTEM).into_owned();
        let span = span(DB::SYSTEM, &summary, namespace);
        // Only where somebody will read it.
        if span.in_scope(exemplar::current).is_some() {
            let text = statement::sanitised(sql.as_str(), DB::SYSTEM);
            span.record("db.query.text", text);
        }
        Self {
            span,
            summary,
            start: Instant::now(),
            rows: 0,
            affected: 0,
            ended: false,
            database: std::marker::PhantomData,
        }
    }

    fn end(&mut self, error: Option<&Error>) {
        // That there is no such row is an answer.
        let error = error.filter(|error| !matches!(error, Error::RowNotFound));
        match error.map(|error| class(error, DB::SYSTEM)) {
            None => self.close(DbStatus::Success, "", None),
            Some(class) => self.close(class.status, class.name, class.code.as_deref()),
        }
    }

    fn close(&mut self, status: DbStatus, error: &'static str, code: Option<&str>) {
        self.ended = true;
        let took = self.start.elapsed();
        let well = status == DbStatus::Success;
        let (rows, affected) = (self.rows as f64, self.affected as f64);
        let end = DbOperationEnd {
            status,
            error,
            rows: (well && (self.summary.reads() || self.rows > 0)).then_some(rows),
            affected: (well && self.summary.writes()).then_some(affected),
        };
        let span = self.span.clone();
        let _inside = span.enter();
        record(DB::SYSTEM, &self.summary, end, took);
        if span.is_disabled() {
            return;
        }
        span.record("status", crate::catalog::ClosedLabel::as_str(status));
        span.record("db.response.returned_rows", end.rows);
        span.record("db.response.affected_rows", end.affected);
        span.record("db.response.status_code", code);
        if !error.is_empty() {
            span.record("error.type", error);
        }
        if !well {
            span.record("otel.status_code", "ERROR");
        }
    }
}

impl<DB: Backend> Drop for Call<DB> {
    fn drop(&mut self) {
        if !self.ended {
            self.close(DbStatus::Abandoned, "", None);
        }
    }
}

/// The operation's span. It is made here and not by the typed recorder, which would write a log
/// line for every statement.
fn span(system: DbSystem, summary: &Summary<'_>, namespace: &str) -> Span {
    let table = Some(&*summary.table).filter(|table| !table.is_empty());
    tracing::info_span!(
        target: "tachograph::signal",
        "db.client.operation",
        otel.name = field::display(Name(summary)),
        otel.kind = "client",
        otel.status_code = field::Empty,
        db.system.name = crate::catalog::ClosedLabel::as_str(system),
        db.operation.name = summary.operation,
        db.collection.name = table,
        db.namespace = Some(namespace).filter(|name| !name.is_empty()),
        db.query.text = field::Empty,
        status = field::Empty,
        { "error.type" } = field::Empty,
        db.response.status_code = field::Empty,
        db.response.returned_rows = field::Empty,
        db.response.affected_rows = field::Empty,
    )
}

/// `SELECT users`
struct Name<'a>(&'a Summary<'a>);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.operation)?;
        if !self.0.table.is_empty() {
            write!(f, " {}", self.0.table)?;
        }
        Ok(())
    }
}

/// The answers of one operation, counted as they pass.
struct Recorded<S, DB: Backend> {
    stream: Option<S>,
    call: Option<Call<DB>>,
}

impl<S, DB> Stream for Recorded<S, DB>
where
    S: Stream<Item = Result<Either<DB::QueryResult, DB::Row>, Error>> + Unpin,
    DB: Backend,
{
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = &mut *self;
        let (Some(stream), Some(call)) = (&mut this.stream, &mut this.call) else {
            return Poll::Ready(None);
        };
        let span = call.span.clone();
        let polled = span.in_scope(|| Pin::new(stream).poll_next(context));
        match &polled {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(Either::Left(result)))) => call.affected += DB::affected(result),
            Poll::Ready(Some(Ok(Either::Right(_)))) => call.rows += 1,
            Poll::Ready(Some(Err(error))) => call.end(Some(error)),
            Poll::Ready(None) => call.end(None),
        }
        if call.ended {
            this.finish();
        }
        polled
    }
}

impl<S, DB: Backend> Recorded<S, DB> {
    /// Drops the stream inside the span, as it tells of its statement then.
    fn finish(&mut self) {
        if let Some(call) = self.call.take() {
            let stream = self.stream.take();
            call.span.in_scope(|| drop(stream));
        }
    }
}

impl<S, DB: Backend> Drop for Recorded<S, DB> {
    fn drop(&mut self) {
        self.finish();
    }
}
