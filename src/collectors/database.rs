//! What a database says of itself: PostgreSQL's statistics, the size of SQLite's file.
//!
//! Of several processes that look at one PostgreSQL, one does at a time ([`PostgresTurns`]), so
//! that what is counted may be added up.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::time::Instant;

use super::{CollectError, Collector, PostgresTurns, Progress, Schedule};
use crate::catalog::ClosedLabel as _;
use crate::pipeline::config::duration;
use crate::pipeline::config::show::masked_url;
use crate::signals::database_server::{
    BlockSource, DbSystem, OldestTransaction, ServerBlocks, ServerConnections, ServerDeadlocks,
    ServerSize, ServerTransactions, SessionState, TransactionEnd,
};

/// Which database is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(schemars::JsonSchema)]
pub struct DatabaseConfig {
    /// Whether one is.
    pub enabled: bool,
    /// `postgres://<user>:<password>@<host>:<port>/<database>` or `sqlite://<file>`; the ledger's
    /// own unless given.
    pub database: Option<String>,
    /// Time between two looks, 1s to 1h.
    #[serde(with = "duration")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub interval: Duration,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            database: None,
            interval: Duration::from_secs(15),
        }
    }
}

impl DatabaseConfig {
    /// What is not accepted: the field, and what would be.
    #[must_use]
    pub fn check(&self) -> Vec<(&'static str, String)> {
        let mut problems: Vec<_> = super::check_interval(self.interval).into_iter().collect();
        if let Some(database) = &self.database
            && let Err(CollectError(accepted)) = DatabaseActivity::of(database, self.interval)
        {
            let shown = masked_url(database);
            problems.push(("database", format!("`{shown}` is not accepted; {accepted}")));
        }
        problems
    }
}

const NAME: &str = "database";

/// Looks at one database.
pub struct DatabaseActivity {
    database: Database,
    interval: Duration,
}

enum Database {
    Sqlite(PathBuf),
    Postgres(Box<Server>),
}

struct Server {
    url: String,
    options: PgConnectOptions,
    namespace: String,
    connection: Option<PgConnection>,
    /// What the server had counted at the last round, since when it is added up.
    before: Option<Counts>,
}

/// What a server has counted since its statistics were reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    commits: i64,
    rollbacks: i64,
    deadlocks: i64,
    hits: i64,
    reads: i64,
}

impl Counts {
    /// What has come since; nothing if the server began anew meanwhile.
    fn since(self, before: Self) -> Option<Self> {
        let more = Self {
            commits: self.commits - before.commits,
            rollbacks: self.rollbacks - before.rollbacks,
            deadlocks: self.deadlocks - before.deadlocks,
            hits: self.hits - before.hits,
            reads: self.reads - before.reads,
        };
        let all = [
            more.commits,
            more.rollbacks,
            more.deadlocks,
            more.hits,
            more.reads,
        ];
        all.iter().all(|count| *count >= 0).then_some(more)
    }
}

impl DatabaseActivity {
    /// Looks at what is configured, else at the ledger's database; `None`: at nothing.
    ///
    /// # Errors
    /// The URL is none of a database, with what is accepted.
    pub fn new(config: &DatabaseConfig, ledger: &str) -> Result<Option<Self>, String> {
        if !config.enabled {
            return Ok(None);
        }
        let url = config.database.as_deref().unwrap_or(ledger);
        match Self::of(url, config.interval) {
            Ok(activity) => Ok(Some(activity)),
            Err(CollectError(accepted)) => Err(format!("database: {accepted}")),
        }
    }

    fn of(url: &str, interval: Duration) -> Result<Self, CollectError> {
        match url.strip_prefix("sqlite:") {
            Some(file) => {
                // As sqlx reads it: what follows a question mark are parameters.
                let file = file.trim_start_matches("//").split('?').next();
                match file.filter(|file| !file.is_empty() && *file != ":memory:") {
                    Some(file) => Ok(Self::sqlite(Path::new(file), interval)),
                    None => Err(CollectError(
                        "accepted are such as sqlite://FILE".to_owned(),
                    )),
                }
            }
            None => Self::postgres(url, interval),
        }
    }

    /// Looks at the file of a SQLite.
    #[must_use]
    pub fn sqlite(file: &Path, interval: Duration) -> Self {
        Self {
            database: Database::Sqlite(file.to_owned()),
            interval,
        }
    }

    /// Looks at the database that a URL names: `postgres://USER@HOST:PORT/DATABASE`.
    ///
    /// # Errors
    /// The URL cannot be read, or names no database.
    pub fn postgres(url: &str, interval: Duration) -> Result<Self, CollectError> {
        let accepted = "accepted are such as postgres://USER@HOST:5432/DATABASE";
        let refuse = || CollectError(accepted.to_owned());
        // The driver takes whatever stands before `://`.
        let schemes = ["postgres://", "postgresql://"];
        if !schemes.iter().any(|scheme| url.starts_with(scheme)) {
            return Err(refuse());
        }
        let options = PgConnectOptions::from_str(url).map_err(|_| refuse())?;
        let namespace = options.get_database().ok_or_else(refuse)?.to_owned();
        let options = options
            .application_name("tachograph-collector")
            .options([("statement_timeout", "5000"), ("lock_timeout", "1000")])
            .disable_statement_logging();
        Ok(Self {
            database: Database::Postgres(Box::new(Server {
                url: url.to_owned(),
                options,
                namespace,
                connection: None,
                before: None,
            })),
            interval,
        })
    }

    /// Turns in looking among the processes that look at the same database; `None`: it is a file,
    /// which is one machine's.
    ///
    /// # Errors
    /// When the URL cannot be read.
    pub fn turns(&self) -> Result<Option<PostgresTurns>, String> {
        match &self.database {
            Database::Sqlite(_) => Ok(None),
            Database::Postgres(server) => PostgresTurns::new(&server.url, NAME).map(Some),
        }
    }
}

impl Collector for DatabaseActivity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn schedule(&self) -> Schedule {
        Schedule {
            interval: self.interval,
            deadline: Duration::from_secs(20),
            longest_pause: Duration::from_secs(300),
        }
    }

    async fn collect(&mut self, _until: Instant) -> Result<Progress, CollectError> {
        match &mut self.database {
            Database::Sqlite(file) => measure(file)?,
            Database::Postgres(server) => {
                // Taken out, so that a round that is cancelled leaves no connection behind whose
                // answers are those of another question.
                let mut connection = match server.connection.take() {
                    Some(connection) => connection,
                    None => server.connect().await?,
                };
                server.read(&mut connection).await.map_err(told)?;
                server.connection = Some(connection);
            }
        }
        Ok(Progress::Done)
    }

    fn unknown(&mut self) {
        match &mut self.database {
            Database::Sqlite(file) => ServerSize {
                system: DbSystem::Sqlite,
                namespace: &file.display().to_string(),
            }
            .remove(),
            Database::Postgres(server) => {
                server.connection = None;
                server.unknown();
            }
        }
    }
}

fn told(error: sqlx::Error) -> CollectError {
    CollectError(error.to_string())
}

/// The file and its write-ahead log.
fn measure(file: &Path) -> Result<(), CollectError> {
    let size = |path: &Path| path.metadata().map(|found| found.len());
    let own = size(file).map_err(|error| CollectError(format!("{}: {error}", file.display())))?;
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    let log = size(Path::new(&log)).unwrap_or_default();
    ServerSize {
        system: DbSystem::Sqlite,
        namespace: &file.display().to_string(),
    }
    .set((own + log) as f64);
    Ok(())
}

impl Server {
    async fn connect(&mut self) -> Result<PgConnection, CollectError> {
        // What was counted while nobody looked is not known to be of one run of the server.
        self.before = None;
        self.options.connect().await.map_err(told)
    }

    async fn read(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let (size, commits, rollbacks, deadlocks, hits, reads) =
            sqlx::query_as::<_, (i64, i64, i64, i64, i64, i64)>(
                "SELECT pg_database_size(datname), xact_commit, xact_rollback, deadlocks, \
                 blks_hit, blks_read FROM pg_stat_database WHERE datname = current_database()",
            )
            .fetch_one(&mut *connection)
            .await?;
        let sessions = sqlx::query_as::<_, (Option<String>, i64)>(
            "SELECT state, count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND backend_type = 'client backend' GROUP BY state",
        )
        .fetch_all(&mut *connection)
        .await?;
        let oldest: Option<f64> = sqlx::query_scalar(
            "SELECT extract(epoch FROM max(clock_timestamp() - xact_start))::float8 \
             FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .fetch_one(&mut *connection)
        .await?;
        let counts = Counts {
            commits,
            rollbacks,
            deadlocks,
            hits,
            reads,
        };
        if let Some(more) = self.before.and_then(|before| counts.since(before)) {
            self.add(more);
        }
        self.before = Some(counts);
        let namespace = &*self.namespace;
        let system = DbSystem::Postgresql;
        ServerSize { system, namespace }.set(size as f64);
        OldestTransaction { namespace }.set(oldest.unwrap_or_default().max(0.0));
        self.sessions(&sessions);
        Ok(())
    }

    fn add(&self, more: Counts) {
        let namespace = &*self.namespace;
        for (end, count) in [
            (TransactionEnd::Commit, more.commits),
            (TransactionEnd::Rollback, more.rollbacks),
        ] {
            ServerTransactions { namespace, end }.add(count.unsigned_abs());
        }
        ServerDeadlocks { namespace }.add(more.deadlocks.unsigned_abs());
        for (source, count) in [
            (BlockSource::Cache, more.hits),
            (BlockSource::Disk, more.reads),
        ] {
            ServerBlocks { namespace, source }.add(count.unsigned_abs());
        }
    }

    fn sessions(&self, found: &[(Option<String>, i64)]) {
        let mut counts = [0_i64; SessionState::VALUES.len()];
        for (state, count) in found {
            let state = match state.as_deref() {
                Some("active") => SessionState::Active,
                Some("idle") => SessionState::Idle,
                Some(state) if state.starts_with("idle in transaction") => {
                    SessionState::IdleInTransaction
                }
                _ => SessionState::Other,
            };
            counts[usize::from(state.index())] += count;
        }
        for (state, count) in STATES.into_iter().zip(counts) {
            let namespace = &*self.namespace;
            ServerConnections { namespace, state }.set(count as f64);
        }
    }

    /// Takes what is not known now off the page.
    fn unknown(&self) {
        let namespace = &*self.namespace;
        let system = DbSystem::Postgresql;
        ServerSize { system, namespace }.remove();
        OldestTransaction { namespace }.remove();
        for state in STATES {
            ServerConnections { namespace, state }.remove();
        }
    }
}

/// In order of their positions.
const STATES: [SessionState; 4] = [
    SessionState::Active,
    SessionState::Idle,
    SessionState::IdleInTransaction,
    SessionState::Other,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledgers_database_is_looked_at_unless_another_is_named() {
        let file = |config: &DatabaseConfig| {
            let activity = DatabaseActivity::new(config, "sqlite://ledger.db").unwrap();
            activity.map(|activity| match activity.database {
                Database::Sqlite(file) => file.display().to_string(),
                Database::Postgres(server) => server.namespace,
            })
        };
        let named = |database: &str| DatabaseConfig {
            database: Some(database.to_owned()),
            ..DatabaseConfig::default()
        };
        assert_eq!(
            file(&DatabaseConfig::default()).as_deref(),
            Some("ledger.db")
        );
        for (url, expected) in [
            ("sqlite:///var/a.db?mode=ro", "/var/a.db"),
            ("sqlite:a.db", "a.db"),
            ("postgres://me:secret@localhost/backend", "backend"),
        ] {
            assert_eq!(named(url).check(), []);
            assert_eq!(file(&named(url)).as_deref(), Some(expected));
        }
        let off = DatabaseConfig {
            enabled: false,
            ..DatabaseConfig::default()
        };
        assert_eq!(file(&off), None);
        for url in [
            "sqlite://",
            "sqlite::memory:",
            "mysql://me:secret@host/a",
            "postgres://host",
        ] {
            let problems = named(url).check();
            assert_eq!(problems.len(), 1, "{url}");
            let (field, problem) = &problems[0];
            assert!(
                *field == "database" && problem.contains("accepted are"),
                "{problem}"
            );
            assert!(!problem.contains("secret"), "{problem}");
        }
    }

    #[test]
    fn statistics_that_were_reset_count_nothing() {
        let counts = |commits, reads| Counts {
            commits,
            reads,
            ..Counts::default()
        };
        assert_eq!(counts(7, 3).since(counts(5, 3)), Some(counts(2, 0)));
        assert_eq!(counts(7, 0).since(counts(5, 3)), None);
    }
}
