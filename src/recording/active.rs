//! Operations under way.

use std::future::Future;
use std::time::{Duration, Instant};

use tracing::Span;
use tracing::instrument::Instrument as _;

use super::cell::{Cell, SignalEntry};
use super::table::Key;
use crate::catalog::{LabelKind, Signal, check};

/// What the `signal!` macro implements for an operation.
pub trait OperationSpec<const N: usize>: 'static {
    /// The descriptor.
    const SIGNAL: &'static Signal;
    /// What is known at the end.
    type End<'e>;
    /// The end's values: an array, one for each value field.
    type Values: AsRef<[Option<f64>]>;

    /// The recorder.
    fn cell() -> &'static Cell<N>;
    /// Adds the end's labels to a key of start labels.
    fn end_key<'k>(started: Key<'k, N>, end: &Self::End<'k>) -> Key<'k, N>;
    /// The end's values.
    fn end_values(end: &Self::End<'_>) -> Self::Values;
    /// Puts the end on the span and writes the log line.
    fn describe(span: &Span, end: &Self::End<'_>, seconds: f64);
    /// Puts on the span that nobody reported the end.
    fn describe_abandoned(span: &Span, seconds: f64);
}

/// An operation under way: counted in flight, with a span.
///
/// Dropped before [`finish`](Self::finish), as when its task is cancelled or panics, it ends
/// as `abandoned`.
#[must_use = "an operation that is dropped ends as abandoned"]
pub struct Active<S: OperationSpec<N>, const N: usize> {
    entry: Option<&'static SignalEntry<N>>,
    span: Span,
    start: Option<Instant>,
    finished: bool,
    spec: std::marker::PhantomData<fn() -> S>,
}

impl<S: OperationSpec<N>, const N: usize> Active<S, N> {
    #[doc(hidden)]
    pub fn begin(key: Key<'_, N>, span: Span) -> Self {
        let entry = S::cell().started(key);
        if let Some(entry) = entry {
            entry.bundle.in_flight(1);
        }
        Self {
            start: (entry.is_some() || !span.is_disabled()).then(Instant::now),
            entry,
            span,
            finished: false,
            spec: std::marker::PhantomData,
        }
    }

    /// The operation's span, for children and fields of its own.
    #[must_use]
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.start.map(|start| start.elapsed()).unwrap_or_default()
    }

    /// Puts a context field on the span, and with it on its log lines; never on a metric.
    pub fn context(&self, field: &'static str, value: impl tracing::Value) -> &Self {
        self.span.record(field, value);
        self
    }

    /// Ends the operation now.
    pub fn finish(self, end: S::End<'_>) {
        let elapsed = self.elapsed();
        self.finish_after(elapsed, end);
    }

    /// Ends the operation, which took this long.
    pub fn finish_after(mut self, duration: Duration, end: S::End<'_>) {
        self.finished = true;
        let _entered = self.span.enter();
        if let Some(entry) = self.entry {
            let started = Key {
                closed: entry.closed,
                open: std::array::from_fn(|i| &*entry.open[i]),
            };
            record_end::<S, N>(started, &end, duration);
        }
        if !self.span.is_disabled() {
            S::describe(&self.span, &end, duration.as_secs_f64());
        }
    }

    /// Runs a future inside the operation's span and ends the operation with what `end` makes
    /// of its output. Dropped before, the operation ends as `abandoned`.
    pub async fn instrument<F: Future>(
        self,
        future: F,
        end: impl for<'o> FnOnce(&'o F::Output) -> S::End<'o>,
    ) -> F::Output {
        let output = future.instrument(self.span.clone()).await;
        self.finish(end(&output));
        output
    }
}

fn record_end<'k, S: OperationSpec<N>, const N: usize>(
    started: Key<'k, N>,
    end: &S::End<'k>,
    duration: Duration,
) {
    S::cell().end(
        S::end_key(started, end),
        duration,
        S::end_values(end).as_ref(),
    );
}

impl<S: OperationSpec<N>, const N: usize> Drop for Active<S, N> {
    fn drop(&mut self) {
        if let Some(entry) = self.entry {
            entry.bundle.in_flight(-1);
        }
        if self.finished {
            return;
        }
        let duration = self.elapsed();
        let _entered = self.span.enter();
        if let Some(entry) = self.entry {
            let mut key = Key {
                closed: entry.closed,
                open: std::array::from_fn(|i| &*entry.open[i]),
            };
            let (mut shift, mut open_at) = (0, 0);
            for label in S::SIGNAL.labels {
                match label.kind {
                    LabelKind::Closed {
                        values, abandoned, ..
                    } => {
                        if label.outcome {
                            let position = u64::from(abandoned.unwrap_or_default());
                            key.closed |= position << shift;
                        }
                        shift += check::bits(values.len());
                    }
                    LabelKind::Open { .. } => {
                        if label.outcome {
                            key.open[open_at] = label.abandoned();
                        }
                        open_at += 1;
                    }
                }
            }
            S::cell().end(key, duration, &[]);
        }
        if !self.span.is_disabled() {
            S::describe_abandoned(&self.span, duration.as_secs_f64());
        }
    }
}
