//! sqlx, for SQLite and PostgreSQL.
//!
//! [`Statements`] reads what sqlx itself tells of every statement, and needs no change where they
//! are made: durations, rows and slow statements by operation and table. An [`InstrumentedPool`]
//! in place of a pool, or [`instrumented`] around a connection or a transaction, adds what events
//! do not tell: errors by class, spans with the statement's text without its literals, and how
//! long a connection was waited for. Both may be used at once; nothing is counted twice.
//! [`watch`] shows the connections of any pool.

mod error;
mod events;
mod executor;
mod lexer;
mod pool;
mod statement;
mod watch;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing::Metadata;

pub use events::Statements;
pub use executor::{Backend, Instrumented, instrumented};
pub use pool::{InstrumentedPool, Lease};
pub use watch::{PoolWatch, watch};

use self::statement::Summary;
use crate::pipeline::signal_layer::TYPED_TARGET;
use crate::signals::database::{DbOperation, DbOperationEnd, DbSlowOperation, DbSystem};

/// In nanoseconds; one second at first.
static SLOW: AtomicU64 = AtomicU64::new(1_000_000_000);

/// Sets, for the whole process, how long an operation takes that is counted as slow; one second
/// unless set.
pub fn slow_after(threshold: Duration) {
    let nanoseconds = u64::try_from(threshold.as_nanos()).unwrap_or(u64::MAX);
    SLOW.store(nanoseconds, Ordering::Relaxed);
}

/// Whether a span is one of [`instrumented`]: what happens inside is recorded there.
fn is_ours(meta: &Metadata<'_>) -> bool {
    meta.name() == DbOperation::SIGNAL.name && meta.target() == TYPED_TARGET
}

fn record(system: DbSystem, summary: &Summary<'_>, end: DbOperationEnd<'_>, took: Duration) {
    let (operation, collection) = (summary.operation, &*summary.table);
    DbOperation {
        system,
        operation,
        collection,
    }
    .record(end, took);
    if took.as_nanos() >= u128::from(SLOW.load(Ordering::Relaxed)) {
        DbSlowOperation {
            system,
            operation,
            collection,
        }
        .add(1);
    }
}
