//! Renderings of the catalog.

pub mod alerts;
pub mod catalog;
#[cfg(feature = "service")]
pub mod configuration;
pub mod dashboards;
mod output;
pub mod promql;
pub mod reference;
pub mod registry;
mod runbooks;
mod yaml;

pub use alerts::Links;
pub use output::{Drift, File, OutputError, drift, files, write};

use crate::catalog::{Instrument, Severity, Signal};
use crate::recording::Recorder;

/// The signals of a catalog.
#[must_use]
pub fn signals(catalog: &[&'static dyn Recorder]) -> Vec<&'static Signal> {
    catalog.iter().map(|recorder| recorder.signal()).collect()
}

/// The domains of signals, in order of declaration, each with its signals.
fn domains(signals: &[&'static Signal]) -> Vec<(&'static str, Vec<&'static Signal>)> {
    let mut domains: Vec<(&'static str, Vec<&'static Signal>)> = Vec::new();
    for signal in signals {
        match domains.iter_mut().find(|(name, _)| *name == signal.domain) {
            Some((_, list)) => list.push(signal),
            None => domains.push((signal.domain, vec![signal])),
        }
    }
    domains
}

/// The name of an instrument in the semantic-convention syntax.
const fn instrument(instrument: Instrument) -> &'static str {
    match instrument {
        Instrument::Counter | Instrument::FloatCounter => "counter",
        Instrument::Histogram => "histogram",
        Instrument::InFlight => "updowncounter",
        Instrument::Gauge => "gauge",
    }
}

/// Who is woken, as a label's value.
pub(crate) const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "critical",
        Severity::Warning => "warning",
        Severity::Info => "info",
    }
}
