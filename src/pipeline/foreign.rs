//! The meter provider of the host and its libraries: what they record through OpenTelemetry's
//! global meter is read through `opentelemetry-prometheus` and stands on our page.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::{
    Aggregation, Instrument as SdkInstrument, InstrumentKind, SdkMeterProvider, Stream,
};
use parking_lot::Mutex;
use prometheus::Registry;

use crate::catalog::{Instrument, prometheus_metric, prometheus_unit};

/// Clashes told at most.
pub const MAX_CLASHES: usize = 100;

/// Undeclared metrics: a registry for them, and what could not be told apart.
#[derive(Clone, Default)]
pub struct Foreign {
    registry: Registry,
    clashes: Arc<Mutex<Vec<String>>>,
}

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Foreign")
    }
}

impl Foreign {
    /// The registry whose metrics are published beside the declared ones; the host may
    /// register its own collectors.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Instruments that are not recorded because another is published under their name.
    #[must_use]
    pub fn clashes(&self) -> Vec<String> {
        self.clashes.lock().clone()
    }

    /// Makes the meter provider for undeclared instruments, to be set as the global one.
    ///
    /// `opentelemetry-prometheus` merges two instruments of one published name in the order of
    /// a hash table, so the second of two that differ in type, or in name within a scope, is
    /// not recorded at all.
    ///
    /// # Errors
    /// When it was made before.
    pub fn provider(&self, resource: Resource) -> Result<SdkMeterProvider, OTelSdkError> {
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(self.registry.clone())
            .without_target_info()
            .build()?;
        let first: Mutex<HashMap<String, Known>> = Mutex::default();
        let clashes = Arc::clone(&self.clashes);
        Ok(SdkMeterProvider::builder()
            .with_resource(resource)
            .with_reader(exporter)
            .with_view(move |instrument: &SdkInstrument| admit(&first, &clashes, instrument))
            .build())
    }
}

/// The first instrument of a published name.
struct Known {
    kind: &'static str,
    names: HashMap<String, String>,
}

fn admit(
    first: &Mutex<HashMap<String, Known>>,
    clashes: &Mutex<Vec<String>>,
    instrument: &SdkInstrument,
) -> Option<Stream> {
    let kind = match instrument.kind() {
        InstrumentKind::Counter | InstrumentKind::ObservableCounter => "counter",
        InstrumentKind::Histogram => "histogram",
        _ => "gauge",
    };
    let mut published = prometheus_metric(instrument.name());
    // This exporter adds the unit whether the name has it or not, and `1` as `ratio` always.
    if let Some(unit) = prometheus_unit(instrument.unit(), Instrument::Gauge) {
        published.push('_');
        published.push_str(unit);
    }
    if kind == "counter" {
        published.push_str("_total");
    }
    let scope = instrument.scope().name().to_owned();
    let mut first = first.lock();
    let known = first.entry(published.clone()).or_insert_with(|| Known {
        kind,
        names: HashMap::new(),
    });
    let same_name = known
        .names
        .entry(scope)
        .or_insert_with(|| instrument.name().to_owned())
        == instrument.name();
    if known.kind == kind && same_name {
        return None;
    }
    let mut clashes = clashes.lock();
    if clashes.len() < MAX_CLASHES {
        clashes.push(format!(
            "{}: another instrument is published as {published}, this {kind} is not recorded",
            instrument.name(),
        ));
    }
    Stream::builder()
        .with_aggregation(Aggregation::Drop)
        .build()
        .ok()
}
