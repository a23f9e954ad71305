//! A metric and its series, shared by all tuples that agree on the metric's own labels.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;

use super::bounds::{Bounds, nanos_of_bound};
use super::series::{ByLabels, Histogram, Labels, Series, Text, Value};
use super::stripes::Words;
use crate::catalog::{Feed, Instrument, LabelKind, Metric, Signal, SignalKind, check};

/// Series beyond what the declared labels allow, for those with free attributes.
const FREE_SERIES: usize = 64;

struct List {
    set: HashSet<ByLabels, foldhash::fast::RandomState>,
    /// All of them in order; shorter when some were added since.
    sorted: Arc<[Arc<Series>]>,
}

/// A metric with the series made so far.
pub struct MetricSeries {
    metric: &'static Metric,
    bounds: Arc<Bounds>,
    native: bool,
    limit: usize,
    /// Position of the histogram of the same signal whose observations it counts.
    pub(super) counts: Option<usize>,
    list: Mutex<List>,
}

impl MetricSeries {
    pub(super) fn new(signal: &'static Signal, metric: &'static Metric, native: bool) -> Self {
        let bounds = metric.bounds.iter().copied();
        Self {
            metric,
            bounds: Arc::new(if metric.feed == Feed::Duration {
                Bounds::new(bounds.map(nanos_of_bound))
            } else {
                Bounds::new(bounds)
            }),
            native,
            limit: metric.series_limit(signal) + FREE_SERIES,
            counts: counted(signal, metric),
            list: Mutex::new(List {
                set: HashSet::default(),
                sorted: Arc::default(),
            }),
        }
    }

    /// The metric.
    #[must_use]
    pub fn metric(&self) -> &'static Metric {
        self.metric
    }

    /// Its series so far, in order of their labels. The same slice until one is added.
    #[must_use]
    pub fn series(&self) -> Arc<[Arc<Series>]> {
        let mut list = self.list.lock();
        if list.sorted.len() != list.set.len() {
            let mut all: Vec<&Arc<Series>> = list.set.iter().map(|one| &one.0).collect();
            all.sort_unstable_by(|a, b| a.key().cmp(b.key()));
            list.sorted = all.into_iter().cloned().collect();
        }
        Arc::clone(&list.sorted)
    }

    /// The series with these labels, in any order.
    #[must_use]
    pub fn find(&self, labels: &[(&str, &str)]) -> Option<Arc<Series>> {
        let mut wanted = labels.to_vec();
        wanted.sort_unstable();
        let series = self.series();
        let found = series
            .iter()
            .find(|series| series.labels().eq(wanted.iter().copied()));
        found.cloned()
    }

    /// The series with these labels, made if there is none; `None`: there are too many.
    pub(super) fn bind(&self, labels: Labels, counted: Option<&Series>) -> Option<Arc<Series>> {
        let mut list = self.list.lock();
        if let Some(known) = list.set.get(&*labels) {
            return Some(Arc::clone(&known.0));
        }
        if list.set.len() >= self.limit {
            return None;
        }
        let value = match (self.metric.instrument, counted.map(|series| &series.value)) {
            (Instrument::Counter, Some(Value::Histogram(histogram))) => {
                Value::CountOf(Arc::clone(histogram), AtomicU64::new(0))
            }
            (Instrument::Counter, _) => Value::Counter(Words::new(1)),
            (Instrument::FloatCounter, _) => Value::FloatCounter(Words::new(1)),
            (Instrument::Histogram, _) => Value::Histogram(Arc::new(Histogram::new(
                &self.bounds,
                self.metric.feed == Feed::Duration,
                self.native,
            ))),
            (Instrument::InFlight, _) => Value::InFlight(AtomicU64::new(0)),
            (Instrument::Gauge, _) => Series::gauge(),
        };
        let series = Arc::new(Series::new(labels, value));
        list.set.insert(ByLabels(Arc::clone(&series)));
        Some(series)
    }
}

/// The histogram that a counter can be read from: of the durations of the same ends, under the
/// same labels, since every end records both.
fn counted(signal: &'static Signal, metric: &'static Metric) -> Option<usize> {
    if signal.kind != SignalKind::Operation
        || metric.instrument != Instrument::Counter
        || metric.feed != Feed::Count
    {
        return None;
    }
    signal.metrics.iter().position(|other| {
        let same = |a: &Metric, b: &Metric| a.labels.iter().all(|label| b.labels.contains(label));
        other.instrument == Instrument::Histogram
            && other.feed == Feed::Duration
            && other.constant == metric.constant
            && same(other, metric)
            && same(metric, other)
    })
}

/// The series of one of a signal's metrics, and of the histogram that it counts.
pub(super) fn bind(metrics: &[MetricSeries], at: usize, labels: Labels) -> Option<Arc<Series>> {
    let metric = metrics.get(at)?;
    match metric.counts.and_then(|position| metrics.get(position)) {
        Some(histogram) => {
            let counted = histogram.bind(labels.clone(), None)?;
            metric.bind(labels, Some(&counted))
        }
        None => metric.bind(labels, None),
    }
}

/// Makes every series of the metrics whose labels are all closed, at zero.
pub(super) fn bind_closed(signal: &'static Signal, metrics: &[MetricSeries]) {
    for (at, series) in metrics.iter().enumerate() {
        let metric = series.metric;
        // A gauge nobody has set is unknown, not zero.
        if metric.instrument == Instrument::Gauge {
            continue;
        }
        let closed = signal.labels_of(metric).map(|label| match label.kind {
            LabelKind::Closed { values, .. } => Some((label.key, values)),
            LabelKind::Open { .. } => None,
        });
        let Some(closed) = closed.collect::<Option<Vec<_>>>() else {
            continue;
        };
        let mut sets = vec![constant(metric)];
        for (key, values) in closed {
            sets = sets
                .into_iter()
                .flat_map(|set| {
                    values.iter().map(move |value| {
                        let mut set = set.clone();
                        if !value.is_empty() {
                            set.push((Text::Fixed(key), Text::Fixed(value)));
                        }
                        set
                    })
                })
                .collect();
        }
        for set in sets {
            bind(metrics, at, sorted(set));
        }
    }
}

fn constant(metric: &Metric) -> Vec<(Text, Text)> {
    let constant = metric.constant.iter();
    constant
        .map(|(key, value)| (Text::Fixed(key), Text::Fixed(value)))
        .collect()
}

/// The labels of a metric's series under a label tuple, in any order.
pub(super) fn labels<const N: usize>(
    signal: &'static Signal,
    metric: &'static Metric,
    closed: u64,
    open: &[Arc<str>; N],
) -> Vec<(Text, Text)> {
    let mut out = constant(metric);
    for position in metric.labels {
        let position = *position as usize;
        let label = &signal.labels[position];
        let value = match label.kind {
            LabelKind::Closed { values, .. } => {
                let at = closed >> check::shift(signal.labels, position);
                let value = values.get((at & check::mask(values.len())) as usize);
                Text::Fixed(value.copied().unwrap_or_default())
            }
            LabelKind::Open { .. } => Text::Shared(Arc::clone(
                &open[check::rank(signal.labels, position, false)],
            )),
        };
        if !value.is_empty() {
            out.push((Text::Fixed(label.key), value));
        }
    }
    out
}

/// Labels by key; of equal keys the first stays.
pub(super) fn sorted(mut labels: Vec<(Text, Text)>) -> Labels {
    labels.sort_by(|a, b| a.0.cmp(&b.0));
    labels.dedup_by(|b, a| a.0 == b.0);
    labels.into()
}
