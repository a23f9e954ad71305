//! Statements as sqlx itself tells of them.

use std::fmt;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata};

use super::statement::{self, Summary};
use super::{is_ours, record};
use crate::pipeline::subscriber::EventReader;
use crate::signals::database::{DbOperationEnd, DbStatus, DbSystem};

/// Target of the events that sqlx makes at the end of each statement.
const TARGET: &str = "sqlx::query";

/// Reads the events by which sqlx tells of every statement, and records its duration, its rows,
/// and whether it was slow, by operation and table. It needs no change where statements are made
/// and does not depend on what is logged:
///
/// ```
/// use tachograph::{Telemetry, TelemetryConfig};
/// use tachograph::instrumentation::sqlx::Statements;
///
/// let telemetry = Telemetry::builder(TelemetryConfig::default())
///     .reader(Statements::default())
///     .init();
/// ```
///
/// An event does not say whether its statement failed: its status is `unknown`. A statement that
/// goes through [`instrumented`](super::instrumented) or an
/// [`InstrumentedPool`](super::InstrumentedPool) is recorded there and not here.
///
/// A connection whose options switch its statement log off (`disable_statement_logging`) makes
/// no events.
#[derive(Clone, Copy, Debug)]
pub struct Statements {
    system: DbSystem,
}

impl Default for Statements {
    fn default() -> Self {
        Self {
            system: DbSystem::Postgresql,
        }
    }
}

impl Statements {
    /// For a program whose server is another one than PostgreSQL; an event does not say whose
    /// it is. SQLite is known by the thread that it runs on, whose name contains `sqlite` unless
    /// the connection's options say otherwise.
    #[must_use]
    pub fn of(system: DbSystem) -> Self {
        Self { system }
    }

    fn system(&self) -> DbSystem {
        let thread = std::thread::current();
        if thread.name().is_some_and(|name| name.contains("sqlite")) {
            return DbSystem::Sqlite;
        }
        self.system
    }
}

impl EventReader for Statements {
    fn wants(&self, meta: &Metadata<'_>) -> bool {
        if meta.is_span() {
            return is_ours(meta);
        }
        meta.target() == TARGET
    }

    fn read(&self, event: &Event<'_>, span: Option<&'static Metadata<'static>>) {
        if span.is_some_and(is_ours) {
            return;
        }
        let system = self.system();
        let mut told = Told::of(system);
        event.record(&mut told);
        if let (Some(summary), Some(took)) = (told.summary, told.took) {
            let reads = summary.reads() || told.returned.is_some_and(|rows| rows > 0.0);
            let end = DbOperationEnd {
                status: DbStatus::Unknown,
                error: "",
                rows: told.returned.filter(|_| reads),
                affected: told.affected.filter(|_| summary.writes()),
            };
            record(system, &summary, end, took);
        }
    }
}

/// What an event tells.
struct Told {
    system: DbSystem,
    summary: Option<Summary<'static>>,
    returned: Option<f64>,
    affected: Option<f64>,
    took: Option<Duration>,
}

impl Told {
    fn of(system: DbSystem) -> Self {
        Self {
            system,
            summary: None,
            returned: None,
            affected: None,
            took: None,
        }
    }
}

impl Visit for Told {
    fn record_str(&mut self, field: &Field, value: &str) {
        // The first words; then the whole text, which is empty if they were all.
        if matches!(field.name(), "summary" | "db.statement") && !value.is_empty() {
            self.summary = Some(statement::summary(value, self.system).into_owned());
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "rows_returned" => self.returned = Some(value as f64),
            "rows_affected" => self.affected = Some(value as f64),
            _ => {}
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "elapsed_secs" {
            self.took = Duration::try_from_secs_f64(value).ok();
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}
