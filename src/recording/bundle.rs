//! What one label tuple feeds.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::exemplar::{self, SampledSpan};
use super::series::{Series, Timed, Value, nanos};
use super::stripes::Words;
use crate::catalog::Feed;

/// What one metric of a bundle is fed with.
pub(super) struct Feeding {
    pub(super) feed: Feed,
    pub(super) series: Arc<Series>,
}

impl Feeding {
    /// Feeds it with an end of an operation.
    #[inline]
    fn end(&self, nanos: u64, values: &[Option<f64>], span: impl Fn() -> Option<SampledSpan>) {
        let Self { feed, series } = self;
        match feed {
            Feed::Count => series.put(1.0, || None),
            Feed::Duration => series.put(nanos as f64 / 1e9, &span),
            Feed::Ended => series.put(unix_seconds(), || None),
            Feed::Value(position) => {
                if let Some(value) = values.get(*position as usize).copied().flatten() {
                    series.put(value, &span);
                }
            }
            Feed::Rest(whole, parts) => {
                let value = |position: &u8| values.get(*position as usize).copied().flatten();
                if let Some(whole) = value(whole) {
                    let parts: f64 = parts.iter().filter_map(value).sum();
                    // Parts above the whole leave less than nothing, which no counter takes.
                    series.put(whole - parts, &span);
                }
            }
            Feed::Active => {}
        }
    }
}

/// What one label tuple feeds. The count and the duration, which nearly every operation has,
/// stand apart from the others, so that they are reached without a search. A counter that is
/// read from the duration's histogram is only told of ends without a duration.
pub(super) struct Bundle {
    count: Option<Words>,
    duration: Option<Timed>,
    counted: Option<Arc<Series>>,
    rest: Box<[Feeding]>,
}

impl Bundle {
    pub(super) fn new(feedings: impl Iterator<Item = Feeding>) -> Self {
        let (mut count, mut duration, mut counted, mut rest) = (None, None, None, Vec::new());
        for Feeding { feed, series } in feedings {
            match (feed, &series.value) {
                (Feed::Count, Value::CountOf(..)) => counted = Some(series),
                (Feed::Count, Value::Counter(words)) if count.is_none() => {
                    count = Some(words.clone());
                }
                (Feed::Duration, Value::Histogram(_)) if duration.is_none() => {
                    duration = Timed::new(&series);
                }
                _ => rest.push(Feeding { feed, series }),
            }
        }
        Self {
            count,
            duration,
            counted,
            rest: rest.into(),
        }
    }

    /// Records an end of an operation.
    #[inline(always)]
    pub(super) fn end(&self, nanos: u64, values: &[Option<f64>]) {
        self.count(1);
        if let Some(duration) = &self.duration {
            duration.record(nanos);
        }
        if !self.rest.is_empty() {
            self.end_rest(nanos, values, exemplar::current);
        }
    }

    /// Records an end in a span that need not be the one in force.
    #[inline]
    pub(super) fn end_in(&self, nanos: u64, values: &[Option<f64>], span: Option<SampledSpan>) {
        self.count(1);
        if let Some(duration) = &self.duration {
            duration.record_in(nanos, span);
        }
        if !self.rest.is_empty() {
            self.end_rest(nanos, values, || span);
        }
    }

    /// Records an end that somebody else kept: when it was, and how long it took if that is known.
    pub(super) fn end_past(&self, nanos: Option<u64>, values: &[Option<f64>], ended: Option<f64>) {
        self.count(1);
        match nanos {
            Some(nanos) => {
                if let Some(duration) = &self.duration {
                    duration.record_in(nanos, None);
                }
            }
            None => {
                if let Some(counted) = &self.counted {
                    counted.count_untimed();
                }
            }
        }
        for feeding in &self.rest {
            match (feeding.feed, nanos) {
                (Feed::Ended, _) => {
                    if let Some(ended) = ended {
                        feeding.series.put_latest(ended);
                    }
                }
                (Feed::Duration, None) => {}
                (_, nanos) => feeding.end(nanos.unwrap_or_default(), values, || None),
            }
        }
    }

    #[inline]
    fn end_rest(&self, nanos: u64, values: &[Option<f64>], span: impl Fn() -> Option<SampledSpan>) {
        for feeding in &self.rest {
            feeding.end(nanos, values, &span);
        }
    }

    /// Adds to the counter.
    #[inline(always)]
    pub(super) fn count(&self, amount: u64) {
        if let Some(count) = &self.count {
            count.mine().add(0, amount);
        }
    }

    /// Whether it has a counter of its own.
    pub(super) fn counts(&self) -> bool {
        self.count.is_some()
    }

    /// Records a value of a gauge, a distribution or a sum.
    #[inline]
    pub(super) fn measure(&self, value: f64) {
        for feeding in &self.rest {
            feeding.series.put(value, exemplar::current);
        }
    }

    /// Counts operations under way.
    #[inline]
    pub(super) fn in_flight(&self, change: i64) {
        for feeding in &self.rest {
            feeding.series.in_flight(change);
        }
    }

    /// Takes gauges off the page.
    pub(super) fn remove(&self) {
        for feeding in &self.rest {
            feeding.series.remove();
        }
    }
}

/// The time now, seconds since the Unix epoch.
fn unix_seconds() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

/// An operation in flight; dropping it ends the flight.
#[must_use = "dropping it ends the operation's flight"]
pub struct Begun(Option<&'static Bundle>);

impl Begun {
    #[inline]
    pub(super) fn new(bundle: Option<&'static Bundle>) -> Self {
        if let Some(bundle) = bundle {
            bundle.in_flight(1);
        }
        Self(bundle)
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(bundle) = self.0 {
            bundle.in_flight(-1);
        }
    }
}

/// A resolved label tuple, kept by a caller that records it often.
#[derive(Clone, Copy)]
pub struct Handle(pub(super) &'static Bundle);

impl Handle {
    /// Records an end of the operation.
    #[inline]
    pub fn record(&self, duration: Duration) {
        self.0.end(nanos(duration), &[]);
    }

    /// Records an end with its values and the span it happened in.
    #[inline]
    pub fn record_in(&self, duration: Duration, values: &[Option<f64>], span: Option<SampledSpan>) {
        self.0.end_in(nanos(duration), values, span);
    }

    /// Adds to a counting measure.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.count(amount);
    }

    /// Records a value of a gauge, a distribution or a sum.
    #[inline]
    pub fn value(&self, value: f64) {
        self.0.measure(value);
    }

    /// Counts an operation in flight until the returned guard is dropped.
    #[inline]
    pub fn begin(&self) -> Begun {
        Begun::new(Some(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::bounds::Bounds;
    use super::super::series::{Histogram, Reading};
    use super::*;

    #[test]
    fn an_end_that_nobody_timed_is_counted_and_not_observed() {
        let bounds = Arc::new(Bounds::new([1.0, 10.0].into_iter()));
        let histogram = Arc::new(Histogram::new(&bounds, true, false));
        let counter = Value::CountOf(Arc::clone(&histogram), 0.into());
        let series = |value| Arc::new(Series::new(Box::default(), value));
        let (counter, duration) = (series(counter), series(Value::Histogram(histogram)));
        let ended = series(Series::gauge());
        let bundle = Bundle::new(
            [
                (Feed::Count, &counter),
                (Feed::Duration, &duration),
                (Feed::Ended, &ended),
            ]
            .into_iter()
            .map(|(feed, series)| Feeding {
                feed,
                series: Arc::clone(series),
            }),
        );
        bundle.end_past(None, &[], None);
        assert_eq!(counter.read(), Reading::Unsigned(1));
        let Reading::Histogram { count, sum, .. } = duration.read() else {
            panic!("no histogram");
        };
        assert_eq!((count, sum), (0, 0.0));
        assert_eq!(ended.read(), Reading::Absent);
        bundle.end(2_000_000_000, &[]);
        assert_eq!(counter.read(), Reading::Unsigned(2));
        assert!(ended.is_present());
    }
}
