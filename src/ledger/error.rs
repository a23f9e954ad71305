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
    /// The ledger was written by another version.
    #[error("ledger {} has a schema this version does not know: {reason}", path.display())]
    Schema {
        /// The database file.
        path: PathBuf,
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
