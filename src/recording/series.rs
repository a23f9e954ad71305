//! The series of a metric: bound instruments, shared by all tuples that agree on the metric's
//! own labels.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::metrics::{
    BoundCounter, BoundHistogram, BoundUpDownCounter, Counter, Histogram, Meter, UpDownCounter,
};
use opentelemetry::{KeyValue, StringValue, Value};
use parking_lot::Mutex;

use super::exemplar::{Exemplar, SampledSpan, Slots};
use super::registry::Meters;
use crate::catalog::{Feed, Instrument, LabelKind, Metric, Signal};

/// A gauge whose series was removed: a NaN that no arithmetic yields.
const GONE: u64 = u64::MAX;

/// One series of a histogram.
pub struct HistogramSeries {
    classic: BoundHistogram<f64>,
    native: Option<BoundHistogram<f64>>,
    bounds: &'static [f64],
    exemplars: Slots,
}

impl HistogramSeries {
    #[inline]
    pub(super) fn record(&self, value: f64) {
        self.classic.record(value);
        if let Some(native) = &self.native {
            native.record(value);
        }
        self.exemplars.observe(self.bounds, value);
    }

    /// Records with a span that need not be the one in force.
    #[inline]
    pub(super) fn record_in(&self, value: f64, span: Option<SampledSpan>) {
        self.classic.record(value);
        if let Some(native) = &self.native {
            native.record(value);
        }
        if let Some(span) = span {
            self.exemplars.keep(self.bounds, value, span);
        }
    }

    /// The exemplar of the bucket at this position, the last being `+Inf`.
    #[must_use]
    pub fn exemplar(&self, bucket: usize) -> Option<Exemplar> {
        self.exemplars.get(bucket)
    }

    /// Whether it never had an exemplar.
    #[must_use]
    pub fn has_no_exemplars(&self) -> bool {
        self.exemplars.is_empty()
    }
}

/// A gauge's value; `GONE` when removed.
pub(super) struct GaugeSeries(AtomicU64);

impl GaugeSeries {
    #[inline]
    pub(super) fn set(&self, value: f64) {
        if value.is_finite() {
            self.0.store(value.to_bits(), Ordering::Relaxed);
        }
    }

    pub(super) fn remove(&self) {
        self.0.store(GONE, Ordering::Relaxed);
    }

    fn get(&self) -> Option<f64> {
        match self.0.load(Ordering::Relaxed) {
            GONE => None,
            bits => Some(f64::from_bits(bits)),
        }
    }
}

#[derive(Clone)]
pub(super) enum Bound {
    Counter(BoundCounter<u64>),
    FloatCounter(BoundCounter<f64>),
    Histogram(Arc<HistogramSeries>),
    InFlight(BoundUpDownCounter<i64>),
    Gauge(Arc<GaugeSeries>),
}

enum Source {
    Counter(Counter<u64>),
    FloatCounter(Counter<f64>),
    Histogram(Histogram<f64>, Option<Histogram<f64>>),
    InFlight(UpDownCounter<i64>),
    Gauge,
}

type Attributes = Vec<KeyValue>;

/// A metric with its instrument and the series made so far.
pub struct MetricSeries {
    metric: &'static Metric,
    source: Source,
    series: Arc<Mutex<HashMap<Attributes, Bound, foldhash::fast::RandomState>>>,
}

impl MetricSeries {
    pub(super) fn new(metric: &'static Metric, meters: &Meters) -> Self {
        let series: Arc<Mutex<HashMap<Attributes, Bound, foldhash::fast::RandomState>>> =
            Arc::default();
        let source = match metric.instrument {
            Instrument::Counter => Source::Counter(
                meters
                    .meter
                    .u64_counter(metric.name)
                    .with_description(metric.brief)
                    .with_unit(metric.unit)
                    .build(),
            ),
            Instrument::FloatCounter => Source::FloatCounter(
                meters
                    .meter
                    .f64_counter(metric.name)
                    .with_description(metric.brief)
                    .with_unit(metric.unit)
                    .build(),
            ),
            Instrument::Histogram => Source::Histogram(
                histogram(&meters.meter, metric),
                meters.native.as_ref().map(|meter| histogram(meter, metric)),
            ),
            Instrument::InFlight => Source::InFlight(
                meters
                    .meter
                    .i64_up_down_counter(metric.name)
                    .with_description(metric.brief)
                    .with_unit(metric.unit)
                    .build(),
            ),
            Instrument::Gauge => {
                let observed = Arc::clone(&series);
                let _ = meters
                    .meter
                    .f64_observable_gauge(metric.name)
                    .with_description(metric.brief)
                    .with_unit(metric.unit)
                    .with_callback(move |observer| {
                        for (attributes, bound) in observed.lock().iter() {
                            if let Bound::Gauge(gauge) = bound
                                && let Some(value) = gauge.get()
                            {
                                observer.observe(value, attributes);
                            }
                        }
                    })
                    .build();
                Source::Gauge
            }
        };
        Self {
            metric,
            source,
            series,
        }
    }

    /// The metric.
    #[must_use]
    pub fn metric(&self) -> &'static Metric {
        self.metric
    }

    /// Number of series.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.lock().len()
    }

    /// Whether there are no series.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.lock().is_empty()
    }

    /// The histogram series with these attributes, sorted by key.
    #[must_use]
    pub fn histogram(&self, attributes: &[KeyValue]) -> Option<Arc<HistogramSeries>> {
        match self.series.lock().get(attributes) {
            Some(Bound::Histogram(series)) => Some(Arc::clone(series)),
            _ => None,
        }
    }

    pub(super) fn bind(&self, mut attributes: Attributes) -> Bound {
        attributes.sort_by(|a, b| a.key.cmp(&b.key));
        let mut series = self.series.lock();
        if let Some(bound) = series.get(&attributes) {
            return bound.clone();
        }
        let bound = match &self.source {
            Source::Counter(counter) => {
                let bound = counter.bind(&attributes);
                // A series without attributes is exported only once it was updated.
                bound.add(0);
                Bound::Counter(bound)
            }
            Source::FloatCounter(counter) => {
                let bound = counter.bind(&attributes);
                bound.add(0.0);
                Bound::FloatCounter(bound)
            }
            Source::Histogram(classic, native) => Bound::Histogram(Arc::new(HistogramSeries {
                classic: classic.bind(&attributes),
                native: native.as_ref().map(|native| native.bind(&attributes)),
                bounds: self.metric.bounds,
                exemplars: Slots::new(),
            })),
            Source::InFlight(counter) => {
                let bound = counter.bind(&attributes);
                bound.add(0);
                Bound::InFlight(bound)
            }
            Source::Gauge => Bound::Gauge(Arc::new(GaugeSeries(AtomicU64::new(GONE)))),
        };
        series.insert(attributes, bound.clone());
        bound
    }

    /// Makes every series of a metric whose labels are all closed, at zero.
    pub(super) fn bind_closed(&self, signal: &'static Signal) {
        if self.metric.instrument == Instrument::Gauge {
            // A gauge nobody has set is unknown, not zero.
            return;
        }
        let mut sets: Vec<Attributes> = vec![constant(self.metric)];
        for label in signal.labels_of(self.metric) {
            let LabelKind::Closed { values, .. } = label.kind else {
                return;
            };
            sets = sets
                .into_iter()
                .flat_map(|set| {
                    values.iter().map(move |value| {
                        let mut set = set.clone();
                        if !value.is_empty() {
                            set.push(KeyValue::new(label.key, *value));
                        }
                        set
                    })
                })
                .collect();
        }
        for set in sets {
            self.bind(set);
        }
    }
}

fn histogram(meter: &Meter, metric: &'static Metric) -> Histogram<f64> {
    meter
        .f64_histogram(metric.name)
        .with_description(metric.brief)
        .with_unit(metric.unit)
        .build()
}

fn constant(metric: &Metric) -> Attributes {
    metric
        .constant
        .iter()
        .map(|(key, value)| KeyValue::new(*key, *value))
        .collect()
}

/// The attributes of a metric's series under a label tuple.
pub(super) fn attributes<const N: usize>(
    signal: &'static Signal,
    metric: &'static Metric,
    closed: u64,
    open: &[Arc<str>; N],
) -> Attributes {
    let mut out = constant(metric);
    for position in metric.labels {
        let position = *position as usize;
        let label = &signal.labels[position];
        let is_closed = label.is_closed();
        let rank = crate::catalog::check::rank(signal.labels, position, is_closed);
        match label.kind {
            LabelKind::Closed { values, .. } => {
                let value = values
                    .get((closed >> (8 * rank)) as usize & 0xff)
                    .copied()
                    .unwrap_or_default();
                if !value.is_empty() {
                    out.push(KeyValue::new(label.key, value));
                }
            }
            LabelKind::Open { .. } => {
                let value = &open[rank];
                if !value.is_empty() {
                    out.push(KeyValue::new(
                        label.key,
                        Value::String(StringValue::from(Arc::clone(value))),
                    ));
                }
            }
        }
    }
    out
}

/// What one metric of a bundle is fed with.
pub(super) struct Feeding {
    pub(super) feed: Feed,
    pub(super) bound: Bound,
}

/// What one label tuple feeds. The count and the duration, which nearly every operation has,
/// stand apart from the others, so that they are reached without a search.
pub(super) struct Bundle {
    pub(super) count: Option<BoundCounter<u64>>,
    pub(super) duration: Option<Arc<HistogramSeries>>,
    pub(super) rest: Box<[Feeding]>,
}

impl Bundle {
    pub(super) fn new(feedings: impl Iterator<Item = Feeding>) -> Self {
        let (mut count, mut duration, mut rest) = (None, None, Vec::new());
        for feeding in feedings {
            match (feeding.feed, feeding.bound) {
                (Feed::Count, Bound::Counter(counter)) if count.is_none() => count = Some(counter),
                (Feed::Duration, Bound::Histogram(series)) if duration.is_none() => {
                    duration = Some(series);
                }
                (feed, bound) => rest.push(Feeding { feed, bound }),
            }
        }
        Self {
            count,
            duration,
            rest: rest.into(),
        }
    }
}

/// Attributes given freely beside the declared ones, as text.
pub(super) fn free(attributes: &[(String, String)]) -> Attributes {
    attributes
        .iter()
        .map(|(key, value)| KeyValue::new(key.clone(), Value::String(value.clone().into())))
        .collect()
}
