//! The layer that turns spans and events of declared names into their signals.
//!
//! A callsite is compiled into a plan once, when it is registered; one that is not declared
//! costs a look-up that ends at an empty slot. The state of a span lives in a table beside
//! the registry, because span extensions cost more than the recording.

mod plan;
mod refused;
mod state;

use std::cell::RefCell;
use std::time::Instant;

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Metadata, Subscriber};
use tracing_core::Interest;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;

use crate::recording::{Recorder, exemplar};
use plan::Plans;
use refused::Refusals;
use state::{Reading, SpanTable};

/// Target of the spans and events that typed recorders make: they have been recorded.
pub const TYPED_TARGET: &str = "tachograph::signal";

thread_local! {
    /// What is read of an event; kept for its room.
    static READING: RefCell<Reading> = const { RefCell::new(Reading::new()) };
}

/// Turns spans and events of declared names into their signals.
///
/// Used as a plain layer it sees every span and event that any layer of the stack lets
/// through up to its [level hint](Self::with_max_level); with [`SignalFilter`] it sees
/// declared ones alone, whatever the others do.
pub struct SignalLayer {
    plans: Plans,
    spans: SpanTable,
    refusals: Refusals,
    max_level: Option<LevelFilter>,
}

impl SignalLayer {
    /// A layer for these signals.
    #[must_use]
    pub fn new(signals: &[&'static dyn Recorder]) -> Self {
        Self {
            plans: Plans::new(signals),
            spans: SpanTable::new(),
            refusals: Refusals::default(),
            max_level: None,
        }
    }

    /// Names the most verbose level that any layer of the stack wants. Without it, a plain
    /// layer makes the process build every span and event down to TRACE.
    #[must_use]
    pub fn with_max_level(mut self, level: LevelFilter) -> Self {
        self.max_level = Some(level);
        self
    }

    /// The filter that lets declared callsites of these signals through and no others.
    #[must_use]
    pub fn filter(signals: &[&'static dyn Recorder]) -> SignalFilter {
        SignalFilter {
            plans: Plans::new(signals),
        }
    }
}

/// Lets declared callsites through and no others.
pub struct SignalFilter {
    plans: Plans,
}

impl<S> Filter<S> for SignalFilter {
    fn enabled(&self, meta: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.plans.is_declared(meta)
    }

    fn callsite_enabled(&self, meta: &'static Metadata<'static>) -> Interest {
        if self.plans.is_declared(meta) {
            Interest::always()
        } else {
            Interest::never()
        }
    }
}

impl<S> Layer<S> for SignalLayer
where
    S: Subscriber + for<'l> LookupSpan<'l>,
{
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        self.refusals.log_to(dispatch);
    }

    fn register_callsite(&self, meta: &'static Metadata<'static>) -> Interest {
        self.plans.register(meta);
        Interest::always()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.max_level
    }

    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        let Some(plan) = self.plans.get(attrs.metadata()) else {
            return;
        };
        if !plan.operation {
            return;
        }
        self.spans.insert(id, |state| {
            state.reading.clear();
            state.reading.read(plan, |visitor| attrs.record(visitor));
            state.plan = Some(plan);
            state.begun = None;
            state.span = None;
            if plan.counts_in_flight {
                state.begin(plan);
            }
            state.start = Some(Instant::now());
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        self.spans.with(id, |state| {
            if let Some(plan) = state.plan {
                state.reading.read(plan, |visitor| values.record(visitor));
                if plan.counts_in_flight && state.begun.is_none() {
                    state.begin(plan);
                }
            }
        });
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        // The sampling layer below has set it to this very span.
        if let Some(span) = exemplar::current() {
            self.spans.with(id, |state| {
                state.span.get_or_insert(span);
            });
        }
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(plan) = self.plans.get(event.metadata()) else {
            return;
        };
        let record = |reading: &mut Reading| {
            reading.clear();
            reading.read(plan, |visitor| event.record(visitor));
            reading.record(plan, exemplar::current(), &self.refusals);
        };
        // Taken already if a field's `Debug` makes an event, or at the thread's end.
        let taken =
            READING.try_with(|kept| kept.try_borrow_mut().map(|mut kept| record(&mut kept)));
        if !matches!(taken, Ok(Ok(()))) {
            record(&mut Reading::new());
        }
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.spans.remove(&id, |state| {
            let elapsed = state.start.map(|start| start.elapsed());
            if let Some(plan) = state.plan.take() {
                let elapsed = elapsed.unwrap_or_default();
                state.reading.end(plan, elapsed, state.span, &self.refusals);
            }
            state.begun = None;
        });
    }
}
