//! The meter provider of the declared metrics: one reader, from which both the page and the
//! push are fed, because each further reader makes every record dearer.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{
    InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Temporality,
};
use parking_lot::Mutex;

use crate::recording::{self, InstallError, Meters, NATIVE_SCOPE, Recorder, SCOPE, exemplar};
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
    reader: ManualReader,
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

impl MetricReader for Collector {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.reader.register_pipeline(pipeline);
    }

    fn collect(&self, rm: &mut ResourceMetrics) -> OTelSdkResult {
        for hook in self.0.hooks.lock().iter() {
            hook.run();
        }
        self.0.reader.collect(rm)
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.reader.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, _: InstrumentKind) -> Temporality {
        Temporality::Cumulative
    }
}

impl Collector {
    /// Runs `hook` before each collection, for figures that are read rather than recorded. It
    /// must not block, and must not collect.
    pub fn before_collect(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.0.hooks.lock().push(Hook {
            run: Box::new(hook),
            failed: AtomicBool::new(false),
        });
    }

    /// Collects every declared metric.
    ///
    /// # Errors
    /// After shutdown.
    pub fn collect(&self, into: &mut ResourceMetrics) -> OTelSdkResult {
        MetricReader::collect(self, into)
    }

    /// As [`collect`](Self::collect), for a page: afterwards buckets take new exemplars.
    ///
    /// # Errors
    /// After shutdown.
    pub fn collect_page(&self, into: &mut ResourceMetrics) -> OTelSdkResult {
        let result = self.collect(into);
        exemplar::next_round();
        result
    }
}

/// Creates the provider of the declared metrics and installs the signals.
///
/// # Errors
/// When signals clash or were installed before.
pub fn install(
    resource: Resource,
    signals: &[&'static dyn Recorder],
    native_histograms: bool,
) -> Result<(SdkMeterProvider, Collector), InstallError> {
    let collector = Collector(Arc::new(Inner {
        reader: ManualReader::builder().build(),
        hooks: Mutex::default(),
    }));
    let provider = SdkMeterProvider::builder()
        .with_resource(resource)
        .with_reader(collector.clone())
        .with_view(recording::view(signals))
        .build();
    let meters = Meters {
        meter: provider.meter(SCOPE),
        native: native_histograms.then(|| provider.meter(NATIVE_SCOPE)),
    };
    recording::install(signals, &meters)?;
    Ok((provider, collector))
}
