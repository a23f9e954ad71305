//! The vocabulary of declaring: descriptors of signals, metrics, labels, panels and alerts,
//! and the rules they obey.
//!
//! Everything here is `const` data. [`check`] holds the rules; a declaration that breaks one
//! does not compile.

mod alert;
mod buckets;
pub mod check;
mod label;
mod names;
mod panel;
mod signal;

pub use alert::{Alert, Condition, Runbook, Severity};
pub use buckets::{
    API, BATCH, BYTES, COMMIT, CONFIDENCE, COST, DB, EXPORT, FIRST_CHUNK, HTTP, JOB, KEY_VALUE,
    LAYOUT_SHIFT, LLM, MCP, PAGE_LOAD, RESULTS, ROWS, SCRAPE, SESSION, SPEED, STEPS, TOKENS, TOOL,
    WAIT,
};
pub use label::{CLIENT_DISCONNECT, ClosedLabel, Label, LabelKind, OTHER};
pub use names::{prometheus_label, prometheus_metric, prometheus_unit};
pub use panel::{Panel, View};
pub use signal::{
    ContextField, Feed, Instrument, Metric, Signal, SignalKind, SpanKind, Stability, ValueField,
};
