//! A series: one metric under one set of labels.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use super::bounds::{self, Bounds};
use super::exemplar::{self, Exemplar, SampledSpan, Slots};
use super::exponential::{self, Exponential};
use super::stripes::Words;

/// A gauge that is not set: a NaN that no arithmetic yields.
const GONE: u64 = u64::MAX;

/// A label's key or value.
#[derive(Clone, Debug)]
pub(super) enum Text {
    Fixed(&'static str),
    Shared(Arc<str>),
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Fixed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

/// Keys and values, sorted by key.
pub(super) type Labels = Box<[(Text, Text)]>;

/// What a series holds now.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// A counter's total.
    Unsigned(u64),
    /// Operations under way.
    Signed(i64),
    /// A counter of fractions, or a gauge.
    Float(f64),
    /// A distribution.
    Histogram {
        /// Values in each bucket, not cumulative; the last is that without an upper bound.
        counts: Vec<u64>,
        /// Sum of the values, in the metric's unit.
        sum: f64,
        /// Number of values: the sum of `counts`.
        count: u64,
    },
    /// Not known: a gauge that was never set, or was removed.
    Absent,
}

pub(super) enum Value {
    Counter(Words),
    FloatCounter(Words),
    /// One word that all threads share: copies could be read as below zero.
    InFlight(AtomicU64),
    Gauge(AtomicU64),
    Histogram(Arc<Histogram>),
    /// A counter of what a histogram observes, and of ends that took unknown time.
    CountOf(Arc<Histogram>, AtomicU64),
}

/// One series of a metric.
pub struct Series {
    labels: Labels,
    start: SystemTime,
    pub(super) value: Value,
    rendered: OnceLock<Box<str>>,
}

impl Series {
    pub(super) fn new(labels: Labels, value: Value) -> Self {
        Self {
            labels,
            start: SystemTime::now(),
            value,
            rendered: OnceLock::new(),
        }
    }

    pub(super) fn key(&self) -> &[(Text, Text)] {
        &self.labels
    }

    /// Keys and values of its labels, sorted by key; none is empty.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.labels.iter().map(|(key, value)| (&**key, &**value))
    }

    /// The value of a label; none: the series does not have it.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels().find(|(k, _)| *k == key).map(|(_, v)| v)
    }

    /// Its labels as a page shows them: what `render` made of them the first time.
    pub fn rendered(&self, render: impl FnOnce(&Self) -> String) -> &str {
        self.rendered.get_or_init(|| render(self).into())
    }

    /// Since when it exists and counts.
    #[must_use]
    pub fn start(&self) -> SystemTime {
        self.start
    }

    /// What it holds now. Counts never fall from one reading to the next. A histogram's sum may
    /// be ahead of its counts by what is being recorded at this moment.
    #[must_use]
    pub fn read(&self) -> Reading {
        match &self.value {
            Value::Counter(words) => Reading::Unsigned(words.sum(0)),
            Value::FloatCounter(words) => Reading::Float(words.sum_f64(0)),
            Value::InFlight(word) => Reading::Signed(word.load(Ordering::Relaxed) as i64),
            Value::Gauge(word) => match word.load(Ordering::Relaxed) {
                GONE => Reading::Absent,
                bits => Reading::Float(f64::from_bits(bits)),
            },
            Value::CountOf(histogram, untimed) => {
                let untimed = untimed.load(Ordering::Relaxed);
                Reading::Unsigned(histogram.count().wrapping_add(untimed))
            }
            Value::Histogram(histogram) => {
                let mut counts = Vec::new();
                let sum = histogram.read(&mut counts);
                Reading::Histogram {
                    count: counts.iter().sum(),
                    counts,
                    sum,
                }
            }
        }
    }

    /// Whether it has a value.
    #[must_use]
    pub fn is_present(&self) -> bool {
        !matches!(&self.value, Value::Gauge(word) if word.load(Ordering::Relaxed) == GONE)
    }

    /// A histogram's counts, not cumulative, in place of what was in `counts`, and its sum;
    /// none: it is no histogram.
    pub fn read_histogram(&self, counts: &mut Vec<u64>) -> Option<f64> {
        match &self.value {
            Value::Histogram(histogram) => Some(histogram.read(counts)),
            _ => None,
        }
    }

    /// The exponential histogram beside a histogram's buckets, where one is kept.
    #[must_use]
    pub fn exponential(&self) -> Option<Exponential> {
        match &self.value {
            Value::Histogram(histogram) => histogram.native.as_ref().map(|native| native.read()),
            _ => None,
        }
    }

    /// Whether a histogram ever had an exemplar.
    #[must_use]
    pub fn has_exemplars(&self) -> bool {
        matches!(&self.value, Value::Histogram(histogram) if !histogram.exemplars.is_empty())
    }

    /// The exemplar of a histogram's bucket at this position.
    #[must_use]
    pub fn exemplar(&self, bucket: usize) -> Option<Exemplar> {
        match &self.value {
            Value::Histogram(histogram) => histogram.exemplars.get(bucket),
            _ => None,
        }
    }

    pub(super) fn gauge() -> Value {
        Value::Gauge(AtomicU64::new(GONE))
    }

    /// Takes a gauge off the page.
    pub(super) fn remove(&self) {
        if let Value::Gauge(word) = &self.value {
            word.store(GONE, Ordering::Relaxed);
        }
    }

    /// Sets a gauge unless it holds a larger value.
    pub(super) fn put_latest(&self, value: f64) {
        let Value::Gauge(word) = &self.value else {
            return;
        };
        if !value.is_finite() {
            return;
        }
        // Fails where a larger value is there, and then nothing is to be done.
        let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| {
            (bits == GONE || f64::from_bits(bits) < value).then(|| value.to_bits())
        });
    }

    /// Adds to a counter, observes in a histogram or sets a gauge. What cannot be is ignored.
    #[inline]
    pub(super) fn put(&self, value: f64, span: impl FnOnce() -> Option<SampledSpan>) {
        match &self.value {
            _ if !value.is_finite() => {}
            Value::Histogram(histogram) => histogram.record(value, span()),
            Value::Gauge(word) => word.store(value.to_bits(), Ordering::Relaxed),
            Value::FloatCounter(words) if value >= 0.0 => words.mine().add_f64(0, value),
            Value::Counter(words) if value >= 0.0 => {
                words.mine().add(0, value as u64);
            }
            _ => {}
        }
    }

    /// Counts an end that its histogram does not observe.
    pub(super) fn count_untimed(&self) {
        if let Value::CountOf(_, untimed) = &self.value {
            untimed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts operations under way.
    #[inline]
    pub(super) fn in_flight(&self, change: i64) {
        if let Value::InFlight(word) = &self.value {
            word.fetch_add(change as u64, Ordering::Relaxed);
        }
    }
}

/// A series in a set, found by its labels.
pub(super) struct ByLabels(pub(super) Arc<Series>);

impl Borrow<[(Text, Text)]> for ByLabels {
    fn borrow(&self) -> &[(Text, Text)] {
        self.0.key()
    }
}

impl Hash for ByLabels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key().hash(state);
    }
}

impl PartialEq for ByLabels {
    fn eq(&self, other: &Self) -> bool {
        self.0.key() == other.0.key()
    }
}

impl Eq for ByLabels {}

/// Positions in a histogram's words: the sum, the buckets, and how often the sum of
/// nanoseconds has overflowed.
const SUM: usize = 0;
const BUCKETS: usize = 1;

/// One series of a histogram.
pub(super) struct Histogram {
    words: Words,
    bounds: Arc<Bounds>,
    /// Whether values are durations: the sum is of whole nanoseconds, and exact.
    timed: bool,
    exemplars: Slots,
    native: Option<Box<exponential::Shared>>,
}

impl Histogram {
    pub(super) fn new(bounds: &Arc<Bounds>, timed: bool, native: bool) -> Self {
        Self {
            words: Words::new(BUCKETS + bounds.len() + 1 + usize::from(timed)),
            bounds: Arc::clone(bounds),
            timed,
            exemplars: Slots::new(),
            native: native.then(|| Box::new(exponential::Shared::new())),
        }
    }

    fn overflows(&self) -> usize {
        BUCKETS + self.bounds.len() + 1
    }

    fn count(&self) -> u64 {
        (0..=self.bounds.len()).fold(0, |sum: u64, bucket| {
            sum.wrapping_add(self.words.sum(BUCKETS + bucket))
        })
    }

    fn read(&self, counts: &mut Vec<u64>) -> f64 {
        counts.clear();
        counts.resize(self.bounds.len() + 1, 0);
        self.words.add_to(BUCKETS, counts);
        if !self.timed {
            return self.words.sum_f64(SUM);
        }
        // Copies are added as wider numbers: together they may exceed one word.
        let (mut low, mut high) = (0_u128, 0);
        self.words.each(|copy| {
            high += u128::from(copy.load(self.overflows()));
            low += u128::from(copy.load(SUM));
        });
        ((high << 64) + low) as f64 / 1e9
    }

    /// Observes a value of any unit; of durations: seconds.
    fn record(&self, value: f64, span: Option<SampledSpan>) {
        if self.timed {
            return self.record_nanos(nanos_of(value), span);
        }
        let bucket = self.bounds.bucket(value);
        let mine = self.words.mine();
        mine.add_f64(SUM, value);
        mine.add(BUCKETS + bucket, 1);
        if span.is_some() || self.native.is_some() {
            self.more(bucket, value, span);
        }
    }

    fn record_nanos(&self, nanos: u64, span: Option<SampledSpan>) {
        let bucket = observe_nanos(&self.words, &self.bounds, nanos);
        if span.is_some() || self.native.is_some() {
            self.more(bucket, nanos as f64 / 1e9, span);
        }
    }

    #[cold]
    fn more(&self, bucket: usize, value: f64, span: Option<SampledSpan>) {
        if let Some(native) = &self.native {
            native.record(value);
        }
        if let Some(span) = span {
            self.exemplars.keep(self.bounds.len(), bucket, value, span);
        }
    }
}

/// Counts a duration, and returns its bucket. The sum goes first: what a reader counts is in the
/// sum that it reads after.
#[inline(always)]
fn observe_nanos(words: &Words, bounds: &Bounds, nanos: u64) -> usize {
    let bucket = bounds.bucket(bounds::of_nanos(nanos));
    let mine = words.mine();
    let before = mine.add(SUM, nanos);
    if before.checked_add(nanos).is_none() {
        overflow(words, bounds);
    }
    mine.add(BUCKETS + bucket, 1);
    bucket
}

#[cold]
fn overflow(words: &Words, bounds: &Bounds) {
    words.mine().add(BUCKETS + bounds.len() + 1, 1);
}

/// Seconds as whole nanoseconds; at least none, at most 584 years.
#[inline]
pub(super) fn nanos_of(seconds: f64) -> u64 {
    (seconds * 1e9 + 0.5) as u64
}

/// A duration as whole nanoseconds, at most 584 years.
#[inline(always)]
pub(super) fn nanos(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::from(duration.subsec_nanos()))
}

/// A histogram of durations, with all that a record touches at hand.
pub(super) struct Timed {
    words: Words,
    bounds: Arc<Bounds>,
    native: bool,
    histogram: Arc<Histogram>,
}

impl Timed {
    /// None: it is not a histogram of durations.
    pub(super) fn new(series: &Series) -> Option<Self> {
        match &series.value {
            Value::Histogram(histogram) if histogram.timed => Some(Self {
                words: histogram.words.clone(),
                bounds: Arc::clone(&histogram.bounds),
                native: histogram.native.is_some(),
                histogram: Arc::clone(histogram),
            }),
            _ => None,
        }
    }

    /// Observes a duration in the span in force.
    #[inline(always)]
    pub(super) fn record(&self, nanos: u64) {
        let span = exemplar::current();
        if span.is_some() || self.native {
            self.record_in(nanos, span);
        } else {
            observe_nanos(&self.words, &self.bounds, nanos);
        }
    }

    /// Observes a duration in a span that need not be the one in force.
    #[inline]
    pub(super) fn record_in(&self, nanos: u64, span: Option<SampledSpan>) {
        if span.is_some() || self.native {
            self.histogram.record_nanos(nanos, span);
        } else {
            observe_nanos(&self.words, &self.bounds, nanos);
        }
    }
}
