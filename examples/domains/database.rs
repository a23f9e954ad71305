//! A SQL database as its clients see it, where no adapter records it: `cargo run --example sqlx`
//! shows the adapter.

use std::time::Duration;

use tachograph::signals::database::{
    AcquireStatus, DbAcquire, DbAcquireEnd, DbOperation, DbOperationEnd, DbStatus, DbSystem,
};

/// Plain `tracing`: a statement of a driver of its own.
fn plain() {
    let span = tracing::info_span!(
        "db.client.operation",
        db.system.name = "mysql",
        db.operation.name = "SELECT",
        db.collection.name = "orders",
        status = "success",
        db.response.returned_rows = 3,
    );
    span.in_scope(|| tracing::info!("asking"));
}

/// The typed recorders: a statement that is refused, and a wait for a connection.
fn typed() {
    let insert = DbOperation {
        system: DbSystem::Mysql,
        operation: "INSERT",
        collection: "orders",
    };
    let end = DbOperationEnd {
        status: DbStatus::Failed,
        error: "integrity_constraint_violation",
        rows: None,
        affected: None,
    };
    insert.record(end, Duration::from_millis(4));
    let status = AcquireStatus::Success;
    DbAcquire { pool: "main" }.record(DbAcquireEnd { status }, Duration::from_micros(300));
}

pub fn run() {
    plain();
    typed();
}
