//! Exemplars: which span an observation belongs to.
//!
//! Each histogram series keeps one per bucket: the first observation made inside a sampled span
//! after each scrape. The span in force is told by
//! [`set_current`], which the tracing layer and the middleware call when they enter one.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;

/// Ids of a sampled span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampledSpan {
    /// W3C trace id.
    pub trace_id: u128,
    /// W3C span id.
    pub span_id: u64,
}

/// An observation with the span it was made in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// Value observed, in the metric's unit.
    pub value: f64,
    /// When it was observed.
    pub time: SystemTime,
    /// The span.
    pub span: SampledSpan,
}

thread_local! {
    static CURRENT: Cell<Option<SampledSpan>> = const { Cell::new(None) };
}

/// Rises with each scrape; a bucket takes a new exemplar once per value.
static ROUND: AtomicU64 = AtomicU64::new(1);

/// Sets the sampled span in force on this thread and returns the one before.
#[inline]
pub fn set_current(span: Option<SampledSpan>) -> Option<SampledSpan> {
    CURRENT.try_with(|cell| cell.replace(span)).unwrap_or(None)
}

/// The sampled span in force on this thread.
#[inline]
#[must_use]
pub fn current() -> Option<SampledSpan> {
    CURRENT.try_with(Cell::get).unwrap_or(None)
}

/// Lets every bucket take a new exemplar. Called by each scrape.
pub fn next_round() {
    ROUND.fetch_add(1, Ordering::Relaxed);
}

struct Slot {
    round: AtomicU64,
    exemplar: Mutex<Option<Exemplar>>,
}

/// The exemplars of one histogram series; no memory until the first.
pub(super) struct Slots(OnceLock<Box<[Slot]>>);

impl Slots {
    pub(super) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Keeps an observation in the bucket at this position, after so many bounds at most.
    #[cold]
    pub(super) fn keep(&self, bounds: usize, bucket: usize, value: f64, span: SampledSpan) {
        let slots = self.0.get_or_init(|| {
            (0..=bounds)
                .map(|_| Slot {
                    round: AtomicU64::new(0),
                    exemplar: Mutex::new(None),
                })
                .collect()
        });
        let Some(slot) = slots.get(bucket) else {
            return;
        };
        let round = ROUND.load(Ordering::Relaxed);
        // Most buckets have theirs, which a load tells more cheaply than a swap.
        if slot.round.load(Ordering::Relaxed) != round
            && slot.round.swap(round, Ordering::Relaxed) != round
            && let Some(mut kept) = slot.exemplar.try_lock()
        {
            *kept = Some(Exemplar {
                value,
                time: SystemTime::now(),
                span,
            });
        }
    }

    /// The exemplar of the bucket at this position, the last being `+Inf`.
    pub(super) fn get(&self, bucket: usize) -> Option<Exemplar> {
        self.0
            .get()?
            .get(bucket)
            .and_then(|slot| *slot.exemplar.lock())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.get().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_first_of_each_round_per_bucket() {
        let slots = Slots::new();
        let span = |id| SampledSpan {
            trace_id: id,
            span_id: 1,
        };
        assert!(slots.is_empty());
        slots.keep(2, 0, 0.5, span(1));
        slots.keep(2, 2, 5.0, span(2));
        slots.keep(2, 2, 6.0, span(3));
        slots.keep(2, 3, 7.0, span(4));
        assert_eq!(slots.get(0).map(|e| e.span.trace_id), Some(1));
        assert_eq!(slots.get(1), None);
        assert_eq!(slots.get(2).map(|e| e.value), Some(5.0));
        next_round();
        slots.keep(2, 0, 1.0, span(3));
        assert_eq!(slots.get(0).map(|e| e.span.trace_id), Some(3));
    }
}
