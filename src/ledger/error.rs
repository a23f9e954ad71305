//! Why the ledger did not open or did not take a record.

use std::path::PathBuf;
use std::sync::Arc;

/// The ledger cannot be used as configured; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database URL is not understood.
    #[error("database {url:?}: {reason}")]
    Url {
        /// The URL, without credentials.
        url: String,
        /// What is accepted.
        reason: &'static str,
    },
    /// The file cannot be created, opened or written.
    #[error("ledger {}: {reason}", path.display())]
    File {
        /// The database file.
        path: PathBuf,
        /// What the operating system or the database said.
        reason: String,
    },
    /// The file exists but is something else or damaged.
    #[error("{} is not a usable ledger: {reason}; move it away or name another file", path.display())]
    NotALedger {
        /// The database file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The server was reached and does not let the ledger in.
    #[error("ledger {server}: {reason}")]
    Server {
        /// The server's URL, without credentials.
        server: String,
        /// What it said.
        reason: String,
    },
    /// The ledger was written by another version.
    #[error("ledger {ledger} has a schema this version does not know: {reason}")]
    Schema {
        /// The database: its file, or its URL without credentials.
        ledger: String,
        /// What differs.
        reason: String,
    },
    /// The writer's thread could not be started.
    #[error("ledger writer: {0}")]
    Thread(#[source] std::io::Error),
}

/// The records of a submission are not in the ledger, and none was counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// As much is waiting as may wait; try again later.
    #[error("the ledger's queue is full")]
    Full,
    /// The database does not take records now; the writer keeps trying it.
    #[error("the ledger is away: {0}")]
    Away(Arc<str>),
    /// The ledger was shut down.
    #[error("the ledger is closed")]
    Closed,
}

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The database cannot be read now.
    #[error("the ledger is away: {0}")]
    Away(Arc<str>),
    /// It takes longer than a query may.
    #[error("the query takes longer than {0:?}; ask for a shorter time or fewer rows")]
    Deadline(std::time::Duration),
    /// A parameter is not accepted.
    #[error("{parameter}: {reason}")]
    Parameter {
        /// Its name.
        parameter: &'static str,
        /// What is wrong and what is accepted.
        reason: String,
    },
}
