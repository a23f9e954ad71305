//! Asking a database for a figure, without changing anything and within a time.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, Row as _};
use tokio::time::{Instant, timeout};

use crate::collectors::CollectError;
use crate::ledger::is_postgres;

/// Rows that a figure may have.
pub(super) const MAX_ROWS: usize = 500;
/// Labels that a row may have.
const MAX_LABELS: usize = 2;
/// Instructions between two looks at the clock.
const INSTRUCTIONS: i32 = 1000;
/// How much longer than its query may take is waited for an answer.
const GRACE: Duration = Duration::from_secs(1);

/// A row: what tells it apart, and its number; none where that is NULL.
pub(super) type FigureRow = (Vec<String>, Option<f64>);

/// Why there is no answer.
pub(super) enum Failure {
    /// This query fails.
    Query(String),
    /// The connection does.
    Connection(CollectError),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => Self::Query(error.message().to_owned()),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                Self::Query(error.to_string())
            }
            error => Self::Connection(CollectError(error.to_string())),
        }
    }
}

/// A connection for one round.
pub(super) enum Database {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl Database {
    /// Connects.
    pub(super) async fn connect(url: &str, within: Duration) -> Result<Self, CollectError> {
        let connecting = async {
            if is_postgres(url) {
                let options: PgConnectOptions = url.parse()?;
                let options = options
                    .application_name("tachograph-business")
                    .disable_statement_logging();
                return Ok(Self::Postgres(options.connect().await?));
            }
            let options: SqliteConnectOptions = url.parse()?;
            let options = options
                .read_only(true)
                .create_if_missing(false)
                .busy_timeout(within)
                .pragma("query_only", "ON")
                .pragma("trusted_schema", "OFF")
                .thread_name(|_| "tachograph-business".to_owned())
                .disable_statement_logging();
            Ok(Self::Sqlite(options.connect().await?))
        };
        match timeout(within + GRACE, connecting).await {
            Ok(connected) => {
                connected.map_err(|error: sqlx::Error| CollectError(error.to_string()))
            }
            Err(_) => Err(CollectError("the database does not answer".to_owned())),
        }
    }

    /// The rows of a query.
    pub(super) async fn ask(
        &mut self,
        sql: &str,
        within: Duration,
    ) -> Result<Vec<FigureRow>, Failure> {
        // As a part of another query it can be nothing but one that reads, and a comment at its
        // end ends before the bracket.
        let sql = format!("SELECT * FROM ({sql}\n) AS figure LIMIT {}", MAX_ROWS + 1);
        let rows = match self {
            Self::Postgres(connection) => {
                let asking = ask_postgres(connection, sql, within);
                match timeout(within + GRACE, asking).await {
                    Ok(rows) => rows?,
                    Err(_) => {
                        let late = CollectError("the database does not answer".to_owned());
                        return Err(Failure::Connection(late));
                    }
                }
            }
            Self::Sqlite(connection) => ask_sqlite(connection, sql, within).await?,
        };
        match rows.len() {
            0..=MAX_ROWS => rows.into_iter().map(figure).collect(),
            _ => Err(Failure::Query(format!(
                "it returns more than {MAX_ROWS} rows"
            ))),
        }
    }
}

/// The columns of a row as text.
type Texts = Vec<Option<String>>;

async fn ask_postgres(
    connection: &mut PgConnection,
    sql: String,
    within: Duration,
) -> Result<Vec<Texts>, Failure> {
    // Times without a zone are meant in UTC. Settings are those of the transaction, so that
    // they hold through a pooler too.
    let begin = format!(
        "BEGIN READ ONLY; SET LOCAL statement_timeout = {}; SET LOCAL TimeZone = 'UTC'",
        within.as_millis()
    );
    connection
        .execute(sqlx::raw_sql(AssertSqlSafe(begin)))
        .await?;
    // Without being prepared a query is answered in text, numbers of every type alike.
    let asked = sqlx::raw_sql(AssertSqlSafe(sql)).fetch(&mut *connection);
    let rows: Result<Vec<PgRow>, sqlx::Error> = asked.try_collect().await;
    connection.execute(sqlx::raw_sql("ROLLBACK")).await?;
    let text = |row: &PgRow| -> Result<Texts, Failure> {
        let columns = 0..row.len();
        columns
            .map(|column| Ok(row.try_get_unchecked::<Option<String>, _>(column)?))
            .collect()
    };
    rows?.iter().map(text).collect()
}

async fn ask_sqlite(
    connection: &mut SqliteConnection,
    sql: String,
    within: Duration,
) -> Result<Vec<Texts>, Failure> {
    let deadline = Instant::now() + within;
    connection
        .lock_handle()
        .await?
        .set_progress_handler(INSTRUCTIONS, move || Instant::now() < deadline);
    let rows: Result<Vec<SqliteRow>, sqlx::Error> = sqlx::query(AssertSqlSafe(sql))
        .fetch_all(&mut *connection)
        .await;
    connection.lock_handle().await?.remove_progress_handler();
    if rows.is_err() && Instant::now() >= deadline {
        return Err(Failure::Query(format!("it takes longer than {within:?}")));
    }
    let text = |row: &SqliteRow| -> Result<Texts, Failure> {
        let columns = 0..row.len();
        columns
            .map(|column| Ok(row.try_get_unchecked::<Option<String>, _>(column)?))
            .collect()
    };
    rows?.iter().map(text).collect()
}

/// What tells a row apart, and its number.
fn figure(mut columns: Texts) -> Result<FigureRow, Failure> {
    let number = match columns.pop() {
        None => return Err(Failure::Query("it returns no column".to_owned())),
        Some(None) => None,
        Some(Some(text)) => Some(number(&text).map_err(Failure::Query)?),
    };
    if columns.len() > MAX_LABELS {
        return Err(Failure::Query(format!(
            "it returns {} columns; accepted: a number, and up to {MAX_LABELS} before it",
            columns.len() + 1
        )));
    }
    let labels = columns.into_iter().map(Option::unwrap_or_default);
    Ok((labels.collect(), number))
}

/// A number as databases write it.
fn number(text: &str) -> Result<f64, String> {
    match text {
        "t" => return Ok(1.0),
        "f" => return Ok(0.0),
        _ => {}
    }
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        format!("`{shown}` is no number; accepted: a number in the last column")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_read_back(value in any::<f64>()) {
            match value.is_finite() {
                true => prop_assert_eq!(number(&value.to_string()), Ok(value)),
                false => prop_assert!(number(&value.to_string()).is_err()),
            }
        }

        #[test]
        fn no_row_is_too_strange(columns in proptest::collection::vec(
            proptest::option::of("\\PC{0,60}"), 0..6,
        )) {
            let many = columns.len();
            if let Ok((labels, _)) = figure(columns) {
                prop_assert_eq!(labels.len() + 1, many);
                prop_assert!(labels.len() <= MAX_LABELS);
            }
        }
    }
}
