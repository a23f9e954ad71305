//! The cell of a signal: its tables, budgets and metrics once a pipeline is installed.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::budget::Budget;
use super::exemplar::SampledSpan;
use super::registry::Meters;
use super::series::{Bound, Bundle, Feeding, MetricSeries, attributes, free};
use super::table::{Entry, Key, Table};
use crate::catalog::{Feed, LabelKind, Signal, SignalKind, check};

pub(super) type SignalEntry<const N: usize> = Entry<N, Bundle>;

/// Why a dynamic recording was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct FieldError {
    /// The field.
    pub field: &'static str,
    /// What is wrong and what is accepted.
    pub reason: Cow<'static, str>,
}

/// A signal's recorder by name, for edges that learn at run time what is recorded.
///
/// Labels are given in the order of [`Signal::labels`], values in that of
/// [`Signal::values`]; an empty label is absent.
pub trait Recorder: Sync {
    /// The signal.
    fn signal(&self) -> &'static Signal;

    /// Checks what [`record`](Self::record) would refuse.
    ///
    /// # Errors
    /// Names the field and says what is accepted.
    fn check(
        &self,
        labels: &[&str],
        values: &[Option<f64>],
        seconds: Option<f64>,
    ) -> Result<(), FieldError>;

    /// Records an end of an operation that took `seconds`, or a measure.
    ///
    /// # Errors
    /// As [`check`](Self::check); then nothing was recorded.
    fn record(
        &'static self,
        labels: &[&str],
        values: &[Option<f64>],
        seconds: Option<f64>,
        span: Option<SampledSpan>,
    ) -> Result<(), FieldError>;

    /// Counts an operation in flight until the returned guard is dropped. Outcome labels are
    /// not read.
    ///
    /// # Errors
    /// Names the start label that is missing or unknown.
    fn begin(&'static self, labels: &[&str]) -> Result<Begun, FieldError>;

    /// Creates the instruments; false if that was done before.
    #[doc(hidden)]
    fn install(&'static self, meters: &Meters) -> bool;

    /// The metrics with their series; empty until installed.
    fn metrics(&self) -> &[MetricSeries];

    /// Folds so far by label.
    fn folds(&self) -> Vec<(&'static str, u64)>;
}

/// An operation in flight; dropping it ends the flight.
#[must_use = "dropping it ends the operation's flight"]
pub struct Begun(Option<&'static Bundle>);

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(bundle) = self.0 {
            in_flight(bundle, -1);
        }
    }
}

#[inline]
pub(super) fn in_flight(bundle: &Bundle, change: i64) {
    for feeding in &bundle.rest {
        if let Bound::InFlight(bound) = &feeding.bound {
            bound.add(change);
        }
    }
}

/// A resolved label tuple, kept by a caller that records it often.
#[derive(Clone, Copy)]
pub struct Handle(&'static Bundle);

impl Handle {
    /// Records an end of the operation.
    #[inline]
    pub fn record(&self, duration: Duration) {
        end(self.0, duration.as_secs_f64(), &[]);
    }

    /// Records an end with its values, seconds, and the span it happened in.
    #[inline]
    pub fn record_in(&self, seconds: f64, values: &[Option<f64>], span: Option<SampledSpan>) {
        end_in(self.0, seconds, values, span);
    }

    /// Adds to a counting measure.
    #[inline]
    pub fn add(&self, amount: u64) {
        count(self.0, amount);
    }

    /// Records a value of a gauge, a distribution or a sum.
    #[inline]
    pub fn value(&self, value: f64) {
        measure(self.0, value);
    }

    /// Counts an operation in flight until the returned guard is dropped.
    #[inline]
    pub fn begin(&self) -> Begun {
        in_flight(self.0, 1);
        Begun(Some(self.0))
    }
}

#[inline(always)]
fn end(bundle: &Bundle, seconds: f64, values: &[Option<f64>]) {
    if let Some(counter) = &bundle.count {
        counter.add(1);
    }
    if let Some(duration) = &bundle.duration {
        duration.record(seconds);
    }
    for Feeding { feed, bound } in &bundle.rest {
        match (bound, feed) {
            (Bound::Counter(counter), Feed::Count) => counter.add(1),
            (Bound::Histogram(histogram), Feed::Duration) => histogram.record(seconds),
            (Bound::Gauge(gauge), Feed::Ended) => gauge.set(unix_seconds()),
            (bound, Feed::Value(position)) => {
                if let Some(value) = values.get(*position as usize).copied().flatten() {
                    put(bound, value);
                }
            }
            _ => {}
        }
    }
}

#[inline]
fn end_in(bundle: &Bundle, seconds: f64, values: &[Option<f64>], span: Option<SampledSpan>) {
    if let Some(counter) = &bundle.count {
        counter.add(1);
    }
    if let Some(duration) = &bundle.duration {
        duration.record_in(seconds, span);
    }
    for Feeding { feed, bound } in &bundle.rest {
        match (bound, feed) {
            (Bound::Counter(counter), Feed::Count) => counter.add(1),
            (Bound::Histogram(histogram), Feed::Duration) => histogram.record_in(seconds, span),
            (Bound::Gauge(gauge), Feed::Ended) => gauge.set(unix_seconds()),
            (bound, Feed::Value(position)) => {
                let value = values.get(*position as usize).copied().flatten();
                match (bound, value) {
                    (_, None) => {}
                    (Bound::Histogram(histogram), Some(value)) => histogram.record_in(value, span),
                    (bound, Some(value)) => put(bound, value),
                }
            }
            _ => {}
        }
    }
}

/// The time now, seconds since the Unix epoch.
fn unix_seconds() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

#[inline]
fn put(bound: &Bound, value: f64) {
    match bound {
        Bound::Histogram(histogram) => histogram.record(value),
        Bound::Gauge(gauge) => gauge.set(value),
        Bound::FloatCounter(counter) if value >= 0.0 && value.is_finite() => counter.add(value),
        Bound::Counter(counter) if value >= 0.0 && value.is_finite() => counter.add(value as u64),
        Bound::Counter(_) | Bound::FloatCounter(_) | Bound::InFlight(_) => {}
    }
}

#[inline]
fn count(bundle: &Bundle, amount: u64) {
    if let Some(counter) = &bundle.count {
        counter.add(amount);
    }
}

#[inline]
fn measure(bundle: &Bundle, value: f64) {
    for feeding in &bundle.rest {
        put(&feeding.bound, value);
    }
}

struct Inner<const N: usize> {
    started: Table<N, Bundle>,
    ended: Table<N, Bundle>,
    budgets: [Budget; N],
    metrics: Box<[MetricSeries]>,
}

/// The recorder of a signal with `N` open labels; one static for each signal.
pub struct Cell<const N: usize> {
    signal: &'static Signal,
    inner: OnceLock<Inner<N>>,
}

#[derive(Clone, Copy)]
enum Phase {
    Started,
    Ended,
}

impl<const N: usize> Cell<N> {
    /// A cell that records nothing until a pipeline is installed.
    #[must_use]
    pub const fn new(signal: &'static Signal) -> Self {
        Self {
            signal,
            inner: OnceLock::new(),
        }
    }

    /// Records an end of the operation.
    #[inline]
    pub fn end(&'static self, key: Key<'_, N>, seconds: f64, values: &[Option<f64>]) {
        if let Some(entry) = self.ended(key) {
            end(&entry.bundle, seconds, values);
        }
    }

    /// Adds to a counting measure.
    #[inline]
    pub fn count(&'static self, key: Key<'_, N>, amount: u64) {
        if let Some(entry) = self.ended(key) {
            count(&entry.bundle, amount);
        }
    }

    /// Records a value of a gauge, a distribution or a sum.
    #[inline]
    pub fn measure(&'static self, key: Key<'_, N>, value: f64) {
        if let Some(entry) = self.ended(key) {
            measure(&entry.bundle, value);
        }
    }

    /// Takes a gauge's series off the page.
    pub fn remove(&'static self, key: Key<'_, N>) {
        if let Some(entry) = self.ended(key) {
            for feeding in &entry.bundle.rest {
                if let Bound::Gauge(gauge) = &feeding.bound {
                    gauge.remove();
                }
            }
        }
    }

    /// Sets a gauge's series that carries free attributes beside the declared labels, at most
    /// 64; for information gauges set once.
    pub fn set_with(&'static self, key: Key<'_, N>, extra: &[(String, String)], value: f64) {
        let Some(inner) = self.inner.get() else {
            return;
        };
        let open = key.open.map(Arc::from);
        for series in &inner.metrics {
            let mut all = attributes(self.signal, series.metric(), key.closed, &open);
            let declared = all.len();
            all.extend(
                free(extra)
                    .into_iter()
                    .filter(|kv| !self.signal.labels.iter().any(|l| l.key == kv.key.as_str()))
                    .take(64),
            );
            all.dedup_by(|a, b| a.key == b.key);
            debug_assert!(all.len() >= declared);
            if let Bound::Gauge(gauge) = series.bind(all) {
                gauge.set(value);
            }
        }
    }

    /// The handle of a label tuple; `None` until a pipeline is installed.
    #[inline]
    #[must_use]
    pub fn handle(&'static self, key: Key<'_, N>) -> Option<Handle> {
        self.ended(key).map(|entry| Handle(&entry.bundle))
    }

    /// The handle with which operations of these start labels are counted in flight.
    #[inline]
    #[must_use]
    pub fn start_handle(&'static self, key: Key<'_, N>) -> Option<Handle> {
        self.started(key).map(|entry| Handle(&entry.bundle))
    }

    #[inline]
    pub(super) fn started(&'static self, key: Key<'_, N>) -> Option<&'static SignalEntry<N>> {
        let inner = self.inner.get()?;
        match inner.started.get(key) {
            Some(entry) => Some(entry),
            None => self.admit(inner, Phase::Started, key),
        }
    }

    #[inline]
    pub(super) fn ended(&'static self, key: Key<'_, N>) -> Option<&'static SignalEntry<N>> {
        let inner = self.inner.get()?;
        match inner.ended.get(key) {
            Some(entry) => Some(entry),
            None => self.admit(inner, Phase::Ended, key),
        }
    }

    /// The entry of a key that is not in the table as it is: new, or to be folded.
    #[cold]
    fn admit(
        &'static self,
        inner: &'static Inner<N>,
        phase: Phase,
        key: Key<'_, N>,
    ) -> Option<&'static SignalEntry<N>> {
        let table = match phase {
            Phase::Started => &inner.started,
            Phase::Ended => &inner.ended,
        };
        let open: [Arc<str>; N] = std::array::from_fn(|i| {
            inner.budgets[i].admit(key.open[i]).unwrap_or_else(|| {
                inner.budgets[i].count_fold();
                inner.budgets[i].other()
            })
        });
        let limit = self.signal.series as usize;
        let found = self.entry(inner, table, phase, key.closed, open, limit);
        if found.is_some() {
            return found;
        }
        // The tuples are used up: fold every open label that has a value.
        let open: [Arc<str>; N] = std::array::from_fn(|i| {
            if key.open[i].is_empty() {
                Arc::from("")
            } else {
                inner.budgets[i].count_fold();
                inner.budgets[i].other()
            }
        });
        self.entry(inner, table, phase, key.closed, open, usize::MAX)
    }

    fn entry(
        &'static self,
        inner: &'static Inner<N>,
        table: &'static Table<N, Bundle>,
        phase: Phase,
        closed: u64,
        open: [Arc<str>; N],
        limit: usize,
    ) -> Option<&'static SignalEntry<N>> {
        let key = Key {
            closed,
            open: std::array::from_fn(|i| &*open[i]),
        };
        if let Some(entry) = table.get(key) {
            return Some(entry);
        }
        table.insert(
            key,
            |len| len < limit,
            |open| {
                let metrics = inner.metrics.iter().filter(|series| {
                    (series.metric().feed == Feed::Active) == matches!(phase, Phase::Started)
                });
                Bundle::new(metrics.map(|series| Feeding {
                    feed: series.metric().feed,
                    bound: series.bind(attributes(self.signal, series.metric(), closed, open)),
                }))
            },
            || open.clone(),
        )
    }

    /// The key of labels given as text, in order of declaration.
    fn key<'k>(&self, labels: &[&'k str], phase: Phase) -> Result<Key<'k, N>, FieldError> {
        let mut key = Key {
            closed: 0,
            open: [""; N],
        };
        let (mut closed_at, mut open_at) = (0, 0);
        for (i, label) in self.signal.labels.iter().enumerate() {
            let given = labels.get(i).copied().unwrap_or_default();
            let skipped = label.outcome && matches!(phase, Phase::Started);
            match label.kind {
                LabelKind::Closed {
                    values, abandoned, ..
                } => {
                    if !skipped {
                        let position = match (given, abandoned) {
                            ("", Some(position)) if label.outcome => position as usize,
                            _ => values
                                .iter()
                                .position(|value| *value == given)
                                .ok_or_else(|| unknown_value(label.key, given, values))?,
                        };
                        key.closed |= (position as u64) << (8 * closed_at);
                    }
                    closed_at += 1;
                }
                LabelKind::Open { optional, .. } => {
                    if !skipped {
                        if given.is_empty() && !optional {
                            return Err(missing(label.key));
                        }
                        key.open[open_at] = given;
                    }
                    open_at += 1;
                }
            }
        }
        Ok(key)
    }

    fn check_numbers(
        &self,
        values: &[Option<f64>],
        seconds: Option<f64>,
    ) -> Result<(), FieldError> {
        if self.signal.kind == SignalKind::Operation {
            match seconds {
                Some(s) if s.is_finite() && s >= 0.0 => {}
                Some(_) => {
                    return Err(FieldError {
                        field: "duration",
                        reason: "accepted are finite seconds, 0 or more".into(),
                    });
                }
                None if self.signal.metrics.iter().any(|m| m.feed == Feed::Duration) => {
                    return Err(missing("duration"));
                }
                None => {}
            }
        }
        for metric in self.signal.metrics {
            let Feed::Value(position) = metric.feed else {
                continue;
            };
            let position = position as usize;
            let field = self.signal.values.get(position).map_or("value", |v| v.key);
            match values.get(position).copied().flatten() {
                None if self.signal.kind == SignalKind::Measure => return Err(missing(field)),
                None => {}
                Some(value) => {
                    let monotonic = metric.instrument != crate::catalog::Instrument::Gauge;
                    if !value.is_finite() || monotonic && value < 0.0 {
                        return Err(FieldError {
                            field,
                            reason: if monotonic {
                                "accepted are finite numbers, 0 or more".into()
                            } else {
                                "accepted are finite numbers".into()
                            },
                        });
                    }
                }
            }
        }
        if self.signal.kind == SignalKind::Measure
            && let Some(amount) = values.first().copied().flatten()
            && self.signal.metrics.iter().any(|m| m.feed == Feed::Count)
            && (amount < 0.0 || amount.fract() != 0.0 || amount > 9e15)
        {
            return Err(FieldError {
                field: "value",
                reason: "accepted are whole numbers, 0 or more".into(),
            });
        }
        Ok(())
    }
}

fn missing(field: &'static str) -> FieldError {
    FieldError {
        field,
        reason: "missing".into(),
    }
}

fn unknown_value(field: &'static str, given: &str, values: &[&str]) -> FieldError {
    if given.is_empty() {
        return missing(field);
    }
    let given: String = given.chars().take(64).collect();
    FieldError {
        field,
        reason: format!(
            "`{given}` is not a value; accepted are {}",
            values.join(", ")
        )
        .into(),
    }
}

impl<const N: usize> Recorder for Cell<N> {
    fn signal(&self) -> &'static Signal {
        self.signal
    }

    fn check(
        &self,
        labels: &[&str],
        values: &[Option<f64>],
        seconds: Option<f64>,
    ) -> Result<(), FieldError> {
        self.key(labels, Phase::Ended)?;
        self.check_numbers(values, seconds)
    }

    fn record(
        &'static self,
        labels: &[&str],
        values: &[Option<f64>],
        seconds: Option<f64>,
        span: Option<SampledSpan>,
    ) -> Result<(), FieldError> {
        let key = self.key(labels, Phase::Ended)?;
        self.check_numbers(values, seconds)?;
        let Some(entry) = self.ended(key) else {
            return Ok(());
        };
        match self.signal.kind {
            SignalKind::Operation => {
                end_in(&entry.bundle, seconds.unwrap_or_default(), values, span);
            }
            SignalKind::Measure if entry.bundle.count.is_some() => {
                let amount = values.first().copied().flatten();
                count(&entry.bundle, amount.map_or(1, |v| v as u64));
            }
            SignalKind::Measure => end_in(&entry.bundle, 0.0, values, span),
        }
        Ok(())
    }

    fn begin(&'static self, labels: &[&str]) -> Result<Begun, FieldError> {
        let key = self.key(labels, Phase::Started)?;
        let bundle = self.started(key).map(|entry| &entry.bundle);
        if let Some(bundle) = bundle {
            in_flight(bundle, 1);
        }
        Ok(Begun(bundle))
    }

    fn install(&'static self, meters: &Meters) -> bool {
        let mut installed = false;
        self.inner.get_or_init(|| {
            installed = true;
            let mut budgets = self
                .signal
                .labels
                .iter()
                .filter_map(|label| match label.kind {
                    LabelKind::Open { budget, .. } => Some(Budget::new(budget)),
                    LabelKind::Closed { .. } => None,
                });
            let metrics: Box<[MetricSeries]> = self
                .signal
                .metrics
                .iter()
                .map(|metric| MetricSeries::new(metric, meters))
                .collect();
            for series in &metrics {
                series.bind_closed(self.signal);
            }
            Inner {
                started: Table::new(),
                ended: Table::new(),
                budgets: std::array::from_fn(|_| budgets.next().unwrap_or_else(|| Budget::new(1))),
                metrics,
            }
        });
        installed
    }

    fn metrics(&self) -> &[MetricSeries] {
        self.inner.get().map_or(&[], |inner| &inner.metrics)
    }

    fn folds(&self) -> Vec<(&'static str, u64)> {
        let Some(inner) = self.inner.get() else {
            return Vec::new();
        };
        self.signal
            .labels
            .iter()
            .enumerate()
            .filter(|(_, label)| !label.is_closed())
            .map(|(i, label)| {
                let rank = check::rank(self.signal.labels, i, false);
                (label.key, inner.budgets[rank].folded())
            })
            .collect()
    }
}
