//! The cell of a signal: its tables, budgets and metrics once a pipeline is installed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use super::budget::Budget;
use super::bundle::{Begun, Bundle, Feeding, Handle};
use super::exemplar::SampledSpan;
use super::given::Complete;
use super::metric::{MetricSeries, bind, bind_closed, labels, sorted};
use super::observe;
use super::recorder::{FieldError, Recorder, check_numbers, check_values, missing, unknown_value};
use super::series::{Text, nanos, nanos_of};
use super::table::{Entry, Key, Table};
use crate::catalog::{Feed, LabelKind, Signal, SignalKind, check};

pub(super) type SignalEntry<const N: usize> = Entry<N, Bundle>;

struct Inner<const N: usize> {
    started: Table<N, Bundle>,
    ended: Table<N, Bundle>,
    budgets: [Budget; N],
    metrics: Box<[MetricSeries]>,
    /// In a test program that observes: what each scope recorded. Kept for ever, as those of
    /// the process are.
    observed: Mutex<BTreeMap<u64, &'static Inner<N>>>,
}

impl<const N: usize> Inner<N> {
    fn new(signal: &'static Signal, native: bool) -> Self {
        let mut budgets = signal.labels.iter().filter_map(|label| match label.kind {
            LabelKind::Open { budget, .. } => Some(Budget::new(budget)),
            LabelKind::Closed { .. } => None,
        });
        let metrics = signal.metrics.iter();
        let bits = check::shift(signal.labels, signal.labels.len());
        Self {
            started: Table::new(bits),
            ended: Table::new(bits),
            budgets: std::array::from_fn(|_| budgets.next().unwrap_or_else(|| Budget::new(1))),
            metrics: metrics
                .map(|metric| MetricSeries::new(signal, metric, native))
                .collect(),
            observed: Mutex::default(),
        }
    }

    fn table(&self, phase: Phase) -> &Table<N, Bundle> {
        match phase {
            Phase::Started => &self.started,
            Phase::Ended => &self.ended,
        }
    }

    fn observed(&self, signal: &'static Signal, scope: u64) -> &'static Self {
        let mut observed = self.observed.lock();
        observed
            .entry(scope)
            .or_insert_with(|| Box::leak(Box::new(Self::new(signal, false))))
    }
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

    /// Records an end of an operation that took this long.
    #[inline]
    pub fn end(&'static self, key: Key<'_, N>, duration: Duration, values: &[Option<f64>]) {
        if let Some(entry) = self.ended(key) {
            entry.bundle.end(nanos(duration), values);
        }
    }

    /// Adds to a counting measure.
    #[inline]
    pub fn count(&'static self, key: Key<'_, N>, amount: u64) {
        if let Some(entry) = self.ended(key) {
            entry.bundle.count(amount);
        }
    }

    /// Records a value of a gauge, a distribution or a sum.
    #[inline]
    pub fn measure(&'static self, key: Key<'_, N>, value: f64) {
        if let Some(entry) = self.ended(key) {
            entry.bundle.measure(value);
        }
    }

    /// Takes a gauge's series off the page.
    pub fn remove(&'static self, key: Key<'_, N>) {
        if let Some(entry) = self.ended(key) {
            entry.bundle.remove();
        }
    }

    /// Sets a gauge's series that carries free attributes beside the declared labels, at most
    /// 64; for information gauges set once.
    pub fn set_with(&'static self, key: Key<'_, N>, extra: &[(String, String)], value: f64) {
        let Some(inner) = self.inner.get() else {
            return;
        };
        let open = key.open.map(Arc::from);
        for (at, series) in inner.metrics.iter().enumerate() {
            let mut all = labels(self.signal, series.metric(), key.closed, &open);
            all.extend(
                extra
                    .iter()
                    .filter(|(key, value)| {
                        !value.is_empty() && !self.signal.labels.iter().any(|l| l.key == key)
                    })
                    .map(|(key, value)| {
                        let text = |text: &str| Text::Shared(Arc::from(text));
                        (text(key), text(value))
                    })
                    .take(64),
            );
            match bind(&inner.metrics, at, sorted(all)) {
                Some(series) => series.put(value, || None),
                None => inner.budgets.iter().take(1).for_each(Budget::count_fold),
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
            None => self.admit(inner, Phase::Started, key, None),
        }
    }

    #[inline]
    pub(super) fn ended(&'static self, key: Key<'_, N>) -> Option<&'static SignalEntry<N>> {
        let inner = self.inner.get()?;
        match inner.ended.get(key) {
            Some(entry) => Some(entry),
            None => self.admit(inner, Phase::Ended, key, None),
        }
    }

    /// The entry of a key that is not in the table as it is: new, or to be folded.
    #[cold]
    fn admit(
        &'static self,
        inner: &'static Inner<N>,
        phase: Phase,
        key: Key<'_, N>,
        span: Option<SampledSpan>,
    ) -> Option<&'static SignalEntry<N>> {
        let Some(scope) = observe::scope(span) else {
            return self.admit_in(inner, phase, key);
        };
        let inner = inner.observed(self.signal, scope);
        match inner.table(phase).get(key) {
            Some(entry) => Some(entry),
            None => self.admit_in(inner, phase, key),
        }
    }

    fn admit_in(
        &'static self,
        inner: &'static Inner<N>,
        phase: Phase,
        key: Key<'_, N>,
    ) -> Option<&'static SignalEntry<N>> {
        let table = inner.table(phase);
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
                let metrics = inner.metrics.iter().enumerate().filter(|(_, series)| {
                    (series.metric().feed == Feed::Active) == matches!(phase, Phase::Started)
                });
                Bundle::new(metrics.filter_map(|(at, series)| {
                    let metric = series.metric();
                    let labels = sorted(labels(self.signal, metric, closed, open));
                    Some(Feeding {
                        feed: metric.feed,
                        series: bind(&inner.metrics, at, labels)?,
                    })
                }))
            },
            || open.clone(),
        )
    }

    /// The entry of labels that were read one by one.
    #[inline]
    fn read(
        &'static self,
        labels: Complete<'_>,
        phase: Phase,
        span: Option<SampledSpan>,
    ) -> Option<&'static SignalEntry<N>> {
        let inner = self.inner.get()?;
        let table = inner.table(phase);
        match table.find(labels.closed, |i| labels.words(i), |i| labels.long(i)) {
            Some(entry) => Some(entry),
            None => self.admit_read(inner, phase, labels, span),
        }
    }

    #[cold]
    fn admit_read(
        &'static self,
        inner: &'static Inner<N>,
        phase: Phase,
        labels: Complete<'_>,
        span: Option<SampledSpan>,
    ) -> Option<&'static SignalEntry<N>> {
        let open: [Cow<'_, str>; N] = std::array::from_fn(|i| {
            let words = labels.words(i);
            if words.are_whole() {
                words.text().into()
            } else {
                labels.long(i).into()
            }
        });
        let key = Key {
            closed: labels.closed,
            open: std::array::from_fn(|i| &*open[i]),
        };
        self.admit(inner, phase, key, span)
    }

    /// Records in the series of an entry.
    fn put(
        &self,
        entry: &SignalEntry<N>,
        values: &[Option<f64>],
        seconds: Option<f64>,
        span: Option<SampledSpan>,
    ) {
        match self.signal.kind {
            SignalKind::Operation => {
                let nanos = nanos_of(seconds.unwrap_or_default());
                entry.bundle.end_in(nanos, values, span);
            }
            SignalKind::Measure if entry.bundle.counts() => {
                let amount = values.first().copied().flatten();
                entry.bundle.count(amount.map_or(1, |v| v as u64));
            }
            SignalKind::Measure => entry.bundle.end_in(0, values, span),
        }
    }

    /// The key of labels given as text, in order of declaration.
    fn key<'k>(&self, labels: &[&'k str]) -> Result<Key<'k, N>, FieldError> {
        let mut key = Key {
            closed: 0,
            open: [""; N],
        };
        let (mut shift, mut open_at) = (0, 0);
        for (i, label) in self.signal.labels.iter().enumerate() {
            let given = labels.get(i).copied().unwrap_or_default();
            match label.kind {
                LabelKind::Closed { values, .. } => {
                    let position = values
                        .iter()
                        .position(|value| *value == given)
                        .ok_or_else(|| unknown_value(label.key, given, values))?;
                    key.closed |= (position as u64) << shift;
                    shift += check::bits(values.len());
                }
                LabelKind::Open { optional, .. } => {
                    if given.is_empty() && !optional {
                        return Err(missing(label.key));
                    }
                    key.open[open_at] = given;
                    open_at += 1;
                }
            }
        }
        Ok(key)
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
        self.key(labels)?;
        check_numbers(self.signal, values, seconds)
    }

    fn record(
        &'static self,
        labels: &[&str],
        values: &[Option<f64>],
        seconds: Option<f64>,
        span: Option<SampledSpan>,
    ) -> Result<(), FieldError> {
        let key = self.key(labels)?;
        check_numbers(self.signal, values, seconds)?;
        if let Some(entry) = self.ended(key) {
            self.put(entry, values, seconds, span);
        }
        Ok(())
    }

    fn record_past(
        &'static self,
        labels: &[&str],
        values: &[Option<f64>],
        seconds: Option<f64>,
        ended: Option<f64>,
    ) -> Result<(), FieldError> {
        let key = self.key(labels)?;
        check_numbers(self.signal, values, Some(seconds.unwrap_or_default()))?;
        if let Some(entry) = self.ended(key) {
            entry.bundle.end_past(seconds.map(nanos_of), values, ended);
        }
        Ok(())
    }

    fn record_read(
        &'static self,
        labels: Complete<'_>,
        values: &[Option<f64>],
        seconds: Option<f64>,
        span: Option<SampledSpan>,
    ) -> Result<(), FieldError> {
        check_numbers(self.signal, values, seconds)?;
        if let Some(entry) = self.read(labels, Phase::Ended, span) {
            self.put(entry, values, seconds, span);
        }
        Ok(())
    }

    fn end_read(
        &'static self,
        labels: Complete<'_>,
        values: &[Option<f64>],
        duration: Duration,
        span: Option<SampledSpan>,
    ) -> Result<(), FieldError> {
        if self.signal.kind != SignalKind::Operation {
            return Ok(());
        }
        if !values.is_empty() {
            check_values(self.signal, values)?;
        }
        if let Some(entry) = self.read(labels, Phase::Ended, span) {
            entry.bundle.end_in(nanos(duration), values, span);
        }
        Ok(())
    }

    fn begin_read(&'static self, labels: Complete<'_>) -> Begun {
        Begun::new(
            self.read(labels, Phase::Started, None)
                .map(|entry| &entry.bundle),
        )
    }

    fn install(&'static self, native: bool) -> bool {
        let mut installed = false;
        self.inner.get_or_init(|| {
            installed = true;
            let inner = Inner::new(self.signal, native);
            bind_closed(self.signal, &inner.metrics);
            inner
        });
        installed
    }

    fn metrics(&self) -> &[MetricSeries] {
        self.inner.get().map_or(&[], |inner| &inner.metrics)
    }

    fn observed(&self, scope: u64) -> &[MetricSeries] {
        let observed = self
            .inner
            .get()
            .and_then(|inner| inner.observed.lock().get(&scope).copied());
        observed.map_or(&[], |inner| &inner.metrics)
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
