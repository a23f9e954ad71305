//! Which signals the process records.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use super::metric::MetricSeries;
use super::recorder::Recorder;
use crate::catalog::{Metric, Signal};

/// Instrumentation scope of the declared metrics.
pub const SCOPE: &str = "tachograph";

/// Why signals could not be installed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstallError {
    /// Two signals, or two metrics, share a name.
    #[error("duplicate name `{name}`: declared at {first} and at {second}; rename one")]
    Duplicate {
        /// The name, as in Prometheus.
        name: String,
        /// File and line.
        first: String,
        /// File and line.
        second: String,
    },
    /// Signals were installed before.
    #[error("signals are installed once per process, and were before")]
    Installed,
}

struct Registry {
    signals: Vec<&'static dyn Recorder>,
    by_name: HashMap<&'static str, &'static dyn Recorder, foldhash::fast::RandomState>,
    by_metric: HashMap<&'static str, (&'static dyn Recorder, usize), foldhash::fast::RandomState>,
}

static REGISTRY: OnceLock<Registry> = OnceLock::new();

fn place(signal: &Signal) -> String {
    format!("{}:{}", signal.source.0, signal.source.1)
}

/// Makes the metrics of the signals, with exponential histograms beside the declared buckets if
/// `native`, and lets recording begin. Once per process.
///
/// # Errors
/// Names two declarations that share a name, with both places; or says that it was done.
pub fn install(signals: &[&'static dyn Recorder], native: bool) -> Result<(), InstallError> {
    check_names(signals)?;
    let registry = Registry {
        signals: signals.to_vec(),
        by_name: signals.iter().map(|r| (r.signal().name, *r)).collect(),
        by_metric: signals
            .iter()
            .flat_map(|r| {
                let metrics = r.signal().metrics.iter().enumerate().rev();
                metrics.map(|(i, m)| (m.name, (*r, i)))
            })
            .collect(),
    };
    REGISTRY
        .set(registry)
        .map_err(|_| InstallError::Installed)?;
    for recorder in signals {
        recorder.install(native);
    }
    Ok(())
}

fn check_names(signals: &[&'static dyn Recorder]) -> Result<(), InstallError> {
    let mut seen: BTreeMap<String, &'static Signal> = BTreeMap::new();
    for recorder in signals {
        let signal = recorder.signal();
        let families = signal.metrics.iter().map(Metric::prometheus_name);
        for name in families.chain([format!("signal {}", signal.name)]) {
            if let Some(first) = seen.insert(name.clone(), signal)
                && !std::ptr::eq(first, signal)
            {
                return Err(InstallError::Duplicate {
                    name,
                    first: place(first),
                    second: place(signal),
                });
            }
        }
    }
    Ok(())
}

/// The recorder of a signal, once installed.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn Recorder> {
    REGISTRY.get()?.by_name.get(name).copied()
}

/// Every installed recorder, in order of declaration.
#[must_use]
pub fn all() -> &'static [&'static dyn Recorder] {
    REGISTRY.get().map_or(&[], |registry| &registry.signals)
}

/// A metric and its series, once installed. Metrics that share a name: the first.
#[must_use]
pub fn find_metric(name: &str) -> Option<(&'static Signal, &'static MetricSeries)> {
    let (recorder, position) = REGISTRY.get()?.by_metric.get(name)?;
    Some((recorder.signal(), recorder.metrics().get(*position)?))
}

/// Folds so far, by signal and label.
pub fn fold_counts() -> impl Iterator<Item = (&'static str, &'static str, u64)> {
    all().iter().flat_map(|recorder| {
        let signal = recorder.signal().name;
        recorder
            .folds()
            .into_iter()
            .map(move |(label, folds)| (signal, label, folds))
    })
}
