//! A look at a ledger from outside: nothing is created, migrated or locked.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Flock, FlockType};
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use super::config::{Place, redacted};
use super::store::sqlite::{APPLICATION_ID, close, migrator};
use super::store::{postgres, server};
use super::{LedgerConfig, OpenError};

/// Bytes of the shared memory beside a database that SQLite locks (its file format, "WAL-index
/// locks"): the writer's, and one that everybody holds who has the database open.
const WRITER: u64 = 120;
const OPEN: u64 = 128;

/// What a ledger is found to be.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The database file.
    pub path: PathBuf,
    /// Bytes of the file; `None`: it does not exist.
    pub size: Option<u64>,
    /// Bytes of the write-ahead log beside it.
    pub log_size: Option<u64>,
    /// A process that has it open.
    pub open_by: Option<i32>,
    /// A process that held the lock of writers for as long as a commit would wait for it.
    pub locked_by: Option<i32>,
    /// What is in it, or why that cannot be read; `None` where there is no file.
    pub content: Option<Result<Content, String>>,
}

/// What is in a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Whether it is a ledger; an empty database becomes one.
    pub ledger: bool,
    /// Version of its schema; `None`: none yet.
    pub schema: Option<i64>,
    /// Version of the schema that this program knows.
    pub known_schema: i64,
    /// Whether it is sound.
    pub integrity: Integrity,
}

/// Result of SQLite's quick check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// Nothing was found.
    Sound,
    /// What was found first.
    Damaged(String),
    /// It takes longer than it may.
    Unfinished,
}

/// Looks at the ledger that is configured. `patience` is how long the lock of writers may be
/// held by another process, and how long the check of the content may take.
///
/// # Errors
/// When the URL is not understood.
pub async fn inspect(config: &LedgerConfig, patience: Duration) -> Result<Inspection, OpenError> {
    let path = match config.place()? {
        Place::File(path) => path,
        Place::Server(url) => {
            return Err(OpenError::Url {
                url: redacted(&url),
                reason: "a server is looked at by its own tools",
            });
        }
    };
    let beside = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let size = |path: &Path| std::fs::metadata(path).ok().map(|found| found.len());
    let (log, memory) = (beside("-wal"), beside("-shm"));
    let mut found = Inspection {
        size: size(&path),
        log_size: size(&log),
        open_by: None,
        locked_by: None,
        content: None,
        path: path.clone(),
    };
    if found.size.is_none() {
        return Ok(found);
    }
    // Before SQLite opens the file: to close ours would drop the locks that it holds.
    found.open_by = holder(&memory, OPEN);
    found.locked_by = writer(&memory, patience).await;
    let mut options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(false)
        .read_only(true)
        .busy_timeout(Duration::from_millis(500))
        .pragma("trusted_schema", "OFF")
        .disable_statement_logging();
    if found.log_size.is_none() && found.open_by.is_none() {
        // Nobody writes. To open it otherwise would leave a log and shared memory behind.
        options = options.immutable(true);
    }
    found.content = Some(content(&options, patience).await);
    Ok(found)
}

/// What a ledger on a server is found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Version of its schema; `None`: none yet.
    pub schema: Option<i64>,
    /// Version of the schema that this program knows.
    pub known_schema: i64,
    /// Why nobody, or not this role, can write there.
    pub read_only: Option<&'static str>,
    /// The role that was let in.
    pub role: String,
    /// Whether the role may create tables, without which no service starts.
    pub creates: bool,
    /// What the role may not do, such as `INSERT ON records`.
    pub denied: Vec<String>,
}

/// Why a ledger on a server cannot be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreached {
    /// PostgreSQL's code of the error, if it was the server that refused (its manual, appendix A).
    pub code: Option<String>,
    /// What was said.
    pub said: String,
}

/// What the statements of a service need beyond reading, by table.
const NEEDED: [(&str, &[&str]); 10] = [
    ("_sqlx_migrations", &["SELECT"]),
    ("records", &["SELECT", "INSERT", "DELETE"]),
    ("totals", &["SELECT", "INSERT", "UPDATE"]),
    ("sessions", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("open_operations", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("services", &["SELECT", "INSERT", "UPDATE"]),
    ("writers", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("retention", &["SELECT", "UPDATE"]),
    ("outbox", &["SELECT", "INSERT", "DELETE"]),
    ("outbox_totals", &["SELECT", "INSERT", "UPDATE"]),
];

/// Reaches for the ledger on a server without changing anything there.
///
/// # Errors
/// What the server said, or that it did not answer within `patience`.
pub async fn reach(config: &LedgerConfig, patience: Duration) -> Result<Reached, Unreached> {
    let options = server::options(&config.database).map_err(|reason| Unreached {
        code: None,
        said: reason.to_owned(),
    })?;
    let options = options
        .application_name("tachograph doctor")
        .disable_statement_logging();
    let reaching = async {
        let mut connection = options.connect().await?;
        let found = found(&mut connection).await?;
        sqlx::Connection::close(connection).await?;
        Ok::<_, sqlx::Error>(found)
    };
    match tokio::time::timeout(patience, reaching).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(Unreached {
            said: server::untrusted(&error, &options).unwrap_or_else(|| error.to_string()),
            code: error
                .as_database_error()
                .and_then(|error| error.code())
                .map(Into::into),
        }),
        Err(_) => Err(Unreached {
            code: None,
            said: format!("it did not answer within {patience:?}"),
        }),
    }
}

async fn found(connection: &mut PgConnection) -> Result<Reached, sqlx::Error> {
    let (standby, read_only, role, creates, migrated): (bool, bool, String, bool, bool) =
        sqlx::query_as(
            "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on', \
             current_user::text, \
             COALESCE(has_schema_privilege(current_schema(), 'CREATE'), false), \
             to_regclass('_sqlx_migrations') IS NOT NULL",
        )
        .fetch_one(&mut *connection)
        .await?;
    let mut denied = Vec::new();
    for (table, privileges) in NEEDED {
        for privilege in privileges {
            // NULL: there is no such table.
            let allowed: Option<bool> =
                sqlx::query_scalar("SELECT has_table_privilege(to_regclass($1), $2)")
                    .bind(table)
                    .bind(privilege)
                    .fetch_one(&mut *connection)
                    .await?;
            if allowed == Some(false) {
                denied.push(format!("{privilege} ON {table}"));
            }
        }
    }
    let readable = !denied.iter().any(|what| what.ends_with("_sqlx_migrations"));
    let schema = match migrated && readable {
        true => {
            sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations WHERE success")
                .fetch_one(connection)
                .await?
        }
        false => None,
    };
    let known = postgres::migrator();
    Ok(Reached {
        schema,
        known_schema: known.iter().map(|known| known.version).max().unwrap_or(0),
        read_only: match (standby, read_only) {
            (true, _) => Some("the server is a standby"),
            (false, true) => Some("its transactions are read-only"),
            (false, false) => None,
        },
        role,
        creates,
        denied,
    })
}

/// A process that keeps the lock of writers for as long as `patience`.
async fn writer(memory: &Path, patience: Duration) -> Option<i32> {
    let first = holder(memory, WRITER)?;
    let tries = 20;
    for _ in 0..tries {
        tokio::time::sleep(patience / tries).await;
        holder(memory, WRITER).filter(|now| *now == first)?;
    }
    Some(first)
}

/// The process that holds a lock on a byte of a file.
fn holder(path: &Path, byte: u64) -> Option<i32> {
    let file = File::open(path).ok()?;
    let mut wanted = Flock::from(FlockType::WriteLock);
    (wanted.start, wanted.length) = (byte, 1);
    let held = rustix::process::fcntl_getlk(&file, &wanted).ok()??;
    Some(held.pid?.as_raw_pid())
}

async fn content(options: &SqliteConnectOptions, patience: Duration) -> Result<Content, String> {
    let mut connection = options.connect().await.map_err(|error| error.to_string())?;
    let read = read(&mut connection).await.map_err(|e| e.to_string());
    let Ok((ledger, schema)) = read else {
        close(connection).await;
        return Err(read.err().unwrap_or_default());
    };
    let check = sqlx::query_scalar::<_, String>("PRAGMA quick_check(1)");
    let integrity = match tokio::time::timeout(patience, check.fetch_one(&mut connection)).await {
        Ok(Ok(said)) if said == "ok" => Integrity::Sound,
        Ok(Ok(said)) => Integrity::Damaged(said),
        Ok(Err(error)) => Integrity::Damaged(error.to_string()),
        // Its thread goes on until the process ends.
        Err(_) => Integrity::Unfinished,
    };
    if integrity != Integrity::Unfinished {
        close(connection).await;
    }
    Ok(Content {
        ledger,
        schema,
        known_schema: migrator()
            .iter()
            .map(|known| known.version)
            .max()
            .unwrap_or(0),
        integrity,
    })
}

async fn read(connection: &mut SqliteConnection) -> Result<(bool, Option<i64>), sqlx::Error> {
    let (id, tables, migrated): (i32, i64, bool) = sqlx::query_as(
        "SELECT application_id, (SELECT COUNT(*) FROM sqlite_master), \
         EXISTS (SELECT 1 FROM sqlite_master WHERE name = '_sqlx_migrations') \
         FROM pragma_application_id",
    )
    .fetch_one(&mut *connection)
    .await?;
    let ledger = id == APPLICATION_ID || (id == 0 && tables == 0);
    let schema = match migrated {
        true => {
            sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations WHERE success")
                .fetch_one(connection)
                .await?
        }
        false => None,
    };
    Ok((ledger, schema))
}
