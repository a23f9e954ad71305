//! The durable record of what agents did, on sqlx.
//!
//! One writer commits what is waiting in one transaction and answers each submitter after
//! the commit, so an answer of [`Disposition::Accepted`] means: on disk. The first record
//! with an id wins; every later one, in the same batch or years after, is
//! [`Disposition::Duplicate`].
//!
//! # What is counted, and when
//!
//! - A submission carries a function that the writer calls once, after the commit and
//!   before the answer, with the disposition of each record. Metrics are recorded there and
//!   only for accepted records. It runs although the submitter has gone away meanwhile.
//! - So: what was answered has been counted, in the process that answered; nothing is
//!   counted that is not in the ledger; nothing is counted twice, also across restarts,
//!   because an id is accepted by one commit only.
//! - The ledger's own totals ([`Ledger::totals`]) are exact across restarts. Counters start
//!   at zero with the process, as Prometheus expects: a process that dies takes with it what
//!   it counted since the last scrape, and with it the batch it had committed but not yet
//!   counted. Records of that batch come back as duplicates when they are sent again.
//!   Counting them at the next start was refused: whether the old process's count was
//!   scraped before it died cannot be known, so it could count twice.
//!
//! # What survives
//!
//! Write-ahead log with `synchronous=FULL`: the log is synced to the disk before a commit
//! returns, so an acknowledged record survives `kill -9` of the process, a crash of the
//! operating system and a power cut (as far as the disk keeps its word).
//!
//! On PostgreSQL `synchronous_commit` is on for our connections, whatever the server's default
//! is. When the connection is lost during a commit, the transaction's fate is asked for on the
//! next one: if it happened, its records are counted then, although their submitters were told
//! [`SubmitError::Away`] and find duplicates when they send them again.
//!
//! # When the ledger is away
//!
//! Locked by another process beyond the busy timeout, disk full, file removed or replaced,
//! I/O error: everything that waits is answered with [`SubmitError::Away`], nothing is
//! counted, and later submissions are refused at once until a probe succeeds. A ledger file
//! is created only at [`Ledger::open`]: when a volume is unmounted under a running service,
//! an empty second ledger must not take its place. When the disk fails in the very moment of
//! a commit, SQLite itself cannot know what a crash right afterwards would leave behind; such
//! records were not acknowledged, and are taken or known when they are sent again.

mod config;
mod error;
mod handle;
mod inspect;
mod open;
mod outbox;
pub mod query;
mod read;
mod record;
mod session;
mod spending;
mod store;
mod totals;
mod writer;

pub(crate) use config::is_postgres;
pub use config::{LedgerConfig, Retention};
pub use error::{OpenError, QueryError, SubmitError};
pub use handle::{Ledger, LedgerHealth, LedgerState, Receipt, ShutdownTimeout};
pub use inspect::{Content, Inspection, Integrity, Reached, Unreached, inspect, reach};
pub use open::OpenOperation;
pub use outbox::{OutboxConfig, OutboxRow, OutboxState};
pub(crate) use read::Pool;
pub use record::{Columns, Disposition, Event, Record};
pub use spending::{Spending, SpendingFilter};
