//! Scopes in which a test program observes what is recorded, told apart by their traces.
//!
//! Off until [`open`] is called for the first time, which is before the signals are installed.
//! From then on the tables of the cells stay empty, so that each recording comes to the cold
//! path, which keeps series for each scope. A program that observes nothing pays one load for
//! each new label tuple.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::exemplar::{self, SampledSpan};

/// The scope of what is recorded in no trace that is observed.
pub const NONE: u64 = 0;

type Traces = RwLock<HashMap<u128, u64>>;

static TRACES: OnceLock<Traces> = OnceLock::new();
static LAST: AtomicU64 = AtomicU64::new(NONE);

/// Turns observing on; before the signals are installed.
pub fn start() {
    TRACES.get_or_init(RwLock::default);
}

/// Opens a scope for what is recorded in this trace.
#[must_use]
pub fn open(trace_id: u128) -> u64 {
    let scope = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    let traces = TRACES.get_or_init(RwLock::default);
    traces.write().insert(trace_id, scope);
    scope
}

/// Takes a trace that begins into the scope that is in force on this thread.
pub fn join(trace_id: u128) {
    let Some(traces) = TRACES.get() else { return };
    let here = exemplar::current().and_then(|span| {
        let traces = traces.read();
        traces.get(&span.trace_id).copied()
    });
    if let Some(scope) = here {
        traces.write().entry(trace_id).or_insert(scope);
    }
}

/// Forgets a scope's traces.
pub fn close(scope: u64) {
    if let Some(traces) = TRACES.get() {
        traces.write().retain(|_, of| *of != scope);
    }
}

/// The scope of a trace; [`NONE`]: it is not observed.
#[must_use]
pub fn of_trace(trace_id: u128) -> u64 {
    let scope = TRACES
        .get()
        .and_then(|traces| traces.read().get(&trace_id).copied());
    scope.unwrap_or(NONE)
}

/// The scope of a recording made in this span, or else in the one in force; `None`: nothing is
/// observed in this process.
#[inline]
pub(super) fn scope(span: Option<SampledSpan>) -> Option<u64> {
    TRACES.get()?;
    let span = span.or_else(exemplar::current);
    Some(span.map_or(NONE, |span| of_trace(span.trace_id)))
}
