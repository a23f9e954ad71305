//! The declared metrics as the page and the push read them: both from the same series.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry_sdk::Resource;
use parking_lot::Mutex;

use crate::recording::{self, InstallError, Recorder, exemplar};
use crate::signals::pipeline::CollectionFailed;

struct Hook {
    run: Box<dyn Fn() + Send + Sync>,
    failed: AtomicBool,
}

impl Hook {
    /// A hook that panics costs neither the others nor the collection; the log names it once.
    fn run(&self) {
        if catch_unwind(AssertUnwindSafe(&self.run)).is_err() {
            CollectionFailed {}.add(1);
            if !self.failed.swap(true, Ordering::Relaxed) {
                tracing::error!(
                    name: "tachograph.collection.hook",
                    "a hook before collection panicked; the figures it reads are stale"
                );
            }
        }
    }
}

struct Inner {
    resource: Resource,
    signals: Vec<&'static dyn Recorder>,
    hooks: Mutex<Vec<Hook>>,
}

/// Collects the declared metrics; cheap to clone.
#[derive(Clone)]
pub struct Collector(Arc<Inner>);

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collector")
    }
}

impl Collector {
    /// Collects the metrics of these signals.
    #[must_use]
    pub fn new(resource: Resource, signals: &[&'static dyn Recorder]) -> Self {
        Self(Arc::new(Inner {
            resource,
            signals: signals.to_vec(),
            hooks: Mutex::default(),
        }))
    }

    /// Runs `hook` before each collection, for figures that are read rather than recorded. It
    /// must not block, and must not collect.
    pub fn before_collect(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.0.hooks.lock().push(Hook {
            run: Box::new(hook),
            failed: AtomicBool::new(false),
        });
    }

    /// Brings the figures up to date that are read rather than recorded, and gives the signals,
    /// whose series can be read now.
    pub fn collect(&self) -> &[&'static dyn Recorder] {
        for hook in self.0.hooks.lock().iter() {
            hook.run();
        }
        self.signals()
    }

    /// As [`collect`](Self::collect), for a page: afterwards buckets take new exemplars.
    pub fn collect_page(&self) -> &[&'static dyn Recorder] {
        let signals = self.collect();
        exemplar::next_round();
        signals
    }

    /// The signals, as they were at the last collection.
    #[must_use]
    pub fn signals(&self) -> &[&'static dyn Recorder] {
        &self.0.signals
    }

    /// Whom the metrics are of.
    #[must_use]
    pub fn resource(&self) -> &Resource {
        &self.0.resource
    }
}

/// Installs the signals; histograms get exponential ones beside them if `native_histograms`.
///
/// # Errors
/// When signals clash or were installed before.
pub fn install(
    resource: Resource,
    signals: &[&'static dyn Recorder],
    native_histograms: bool,
) -> Result<Collector, InstallError> {
    recording::install(signals, native_histograms)?;
    Ok(Collector::new(resource, signals))
}
