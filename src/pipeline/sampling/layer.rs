//! A layer around tracing-opentelemetry that never shows it a span that is not sampled.

use std::cell::RefCell;

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt};
use opentelemetry::{Context as OtelContext, ContextGuard};
use opentelemetry_sdk::trace::SdkTracer;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, Filtered, filter_fn};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::TraceSampler;
use super::table::{SpanState, SpanTable};
use super::tracer::{Decided, DecidedTracer, random_span_id, random_trace_id, with_decided};
use crate::pipeline::filter::Directives;
use crate::recording::exemplar::{self, SampledSpan};

/// Makes `tracing` spans into OpenTelemetry spans where their trace is sampled, and keeps
/// the context of the others.
///
/// The decision is made when a span is created, from the span's explicit parent, or else the
/// context in force ([`opentelemetry::Context::current`]): attach a remote parent before. A
/// span without a parent starts a trace. Every span, sampled or not, has ids and a flag of
/// its own and keeps its parent's baggage; they are in force as
/// `opentelemetry::Context::current()` while the span is entered, on whatever thread.
///
/// Spans that the filter excludes keep their parent's context and are not recorded, nor are
/// events directly inside them.
/// `OpenTelemetrySpanExt` acts on sampled spans alone, and only where [`SpanExtLayer`] is in
/// the subscriber; the same is done without it on `Context::current().span()`.
pub struct SamplingLayer<S> {
    inner: OpenTelemetryLayer<S, DecidedTracer>,
    tracer: DecidedTracer,
    sampler: TraceSampler,
    filter: Directives,
    context_only: bool,
    spans: SpanTable,
}

/// Lets `tracing_opentelemetry::OpenTelemetrySpanExt` find the sampled spans of a
/// [`SamplingLayer`]; put it into the subscriber first. Takes part in nothing else.
pub type SpanExtLayer<S> =
    Filtered<OpenTelemetryLayer<S, DecidedTracer>, FilterFn<fn(&Metadata<'_>) -> bool>, S>;

impl<S> SamplingLayer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    /// A layer whose spans go to `tracer`, of a provider made with
    /// [`provider_builder`](super::provider_builder) and the same sampler.
    pub fn new(tracer: SdkTracer, sampler: TraceSampler, filter: Directives) -> Self {
        let tracer = DecidedTracer(tracer);
        Self {
            inner: lean(&tracer),
            tracer,
            sampler,
            filter,
            context_only: false,
            spans: SpanTable::new(),
        }
    }

    /// Where nothing exports spans: contexts are kept and flags handed on, but a span costs
    /// no more than an unsampled one.
    #[must_use]
    pub fn with_context_only(mut self, on: bool) -> Self {
        self.context_only = on;
        self
    }

    /// The filter of the spans and span events that are recorded.
    pub fn filter(&self) -> &Directives {
        &self.filter
    }

    /// The layer that `OpenTelemetrySpanExt` needs, for the same spans.
    pub fn span_ext<R>(&self) -> SpanExtLayer<R>
    where
        R: Subscriber + for<'span> LookupSpan<'span>,
    {
        let never: fn(&Metadata<'_>) -> bool = |_| false;
        lean(&self.tracer).with_filter(filter_fn(never))
    }

    /// The context in force inside an open span.
    pub fn context_of(&self, id: &Id) -> Option<OtelContext> {
        self.spans.get(id).map(|state| state.context)
    }

    /// The context that a new span starts from.
    fn with_parent<T>(&self, attrs: &Attributes<'_>, f: impl FnOnce(&OtelContext) -> T) -> T {
        match attrs.parent() {
            Some(parent) => f(&self.context_of(parent).unwrap_or_default()),
            None if attrs.is_contextual() => OtelContext::map_current(f),
            None => f(&OtelContext::new()),
        }
    }

    fn decide(&self, parent: &OtelContext) -> (SpanState, SpanId) {
        let span = parent.span();
        let above = span.span_context();
        let (trace_id, parent_id) = if above.is_valid() {
            (above.trace_id(), above.span_id())
        } else {
            (random_trace_id(), SpanId::INVALID)
        };
        let sampled = self.sampler.decide(above, trace_id);
        let context = parent.with_remote_span_context(SpanContext::new(
            trace_id,
            random_span_id(),
            above.trace_flags().with_sampled(sampled),
            false,
            above.trace_state().clone(),
        ));
        let recorded = sampled && !self.context_only;
        (SpanState { context, recorded }, parent_id)
    }
}

/// tracing-opentelemetry without what doubles its cost: source locations, thread names and
/// busy times.
fn lean<S>(tracer: &DecidedTracer) -> OpenTelemetryLayer<S, DecidedTracer>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    tracing_opentelemetry::layer()
        .with_tracer(tracer.clone())
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
}

/// The span in force, as exemplars name it.
fn sampled_here() -> Option<SampledSpan> {
    OtelContext::map_current(|current| {
        let span = current.span();
        let span = span.span_context();
        span.is_sampled().then(|| SampledSpan {
            trace_id: u128::from_be_bytes(span.trace_id().to_bytes()),
            span_id: u64::from_be_bytes(span.span_id().to_bytes()),
        })
    })
}

/// One `enter` that was not exited yet.
struct Entered {
    id: Id,
    recorded: bool,
    guard: Option<ContextGuard>,
    /// The span of exemplars before it.
    before: Option<SampledSpan>,
}

#[derive(Default)]
struct EnteredStack(Vec<Entered>);

impl Drop for EnteredStack {
    fn drop(&mut self) {
        // Spans entered for ever: the thread's contexts are going or gone already, and
        // detaching from them would panic.
        self.0.drain(..).for_each(|entered| {
            std::mem::forget(entered.guard);
        });
    }
}

thread_local! {
    static ENTERED: RefCell<EnteredStack> = {
        // Thread-locals are destroyed last first: while this one exists, so does the
        // current context.
        OtelContext::map_current(|_| ());
        RefCell::default()
    };
}

/// Whether the thread is far from its end, so that its context can be used: a thread-local of
/// the application may make spans and events while it is destroyed.
pub(in crate::pipeline) fn thread_is_live() -> bool {
    ENTERED.try_with(|_| ()).is_ok()
}

impl<S> Layer<S> for SamplingLayer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        if !thread_is_live() {
            return;
        }
        if !self.filter.enabled(attrs.metadata()) {
            let through = self.with_parent(attrs, |parent| {
                (parent.has_active_span() && !parent.is_telemetry_suppressed()).then(|| SpanState {
                    context: parent.clone(),
                    recorded: false,
                })
            });
            if let Some(state) = through {
                self.spans.insert(id, state);
            }
            return;
        }
        let decided = self.with_parent(attrs, |parent| {
            (!parent.is_telemetry_suppressed()).then(|| self.decide(parent))
        });
        let Some((state, parent)) = decided else {
            return;
        };
        if state.recorded {
            let (trace_id, span_id) = {
                let span = state.context.span();
                (
                    span.span_context().trace_id(),
                    span.span_context().span_id(),
                )
            };
            let decided = Decided {
                trace_id,
                span_id,
                parent,
                fields: attrs.fields().len() + 1,
            };
            with_decided(decided, || self.inner.on_new_span(attrs, id, ctx));
        }
        self.spans.insert(id, state);
    }

    fn on_enter(&self, id: &Id, ctx: Context<'_, S>) {
        let Some(state) = self.spans.get(id) else {
            return;
        };
        if !thread_is_live() {
            return;
        }
        let recorded = state.recorded;
        let guard = if recorded {
            self.inner.on_enter(id, ctx);
            self.follow_new_parent(id, &state);
            None
        } else {
            Some(state.context.attach())
        };
        let before = exemplar::set_current(sampled_here());
        ENTERED.with_borrow_mut(|entered| {
            entered.0.push(Entered {
                id: id.clone(),
                recorded,
                guard,
                before,
            });
        });
    }

    fn on_exit(&self, id: &Id, ctx: Context<'_, S>) {
        let entered = ENTERED.try_with(|entered| {
            let mut entered = entered.borrow_mut();
            let at = entered.0.iter().rposition(|one| one.id == *id)?;
            let one = entered.0.remove(at);
            // Left before a span that was entered later: that one comes back to here.
            let last = match entered.0.get_mut(at) {
                Some(later) => {
                    later.before = one.before;
                    false
                }
                None => true,
            };
            Some((one, last))
        });
        // The guard goes after the borrow: what it detaches may be the last of its context.
        if let Ok(Some((entered, last))) = entered {
            drop(entered.guard);
            if entered.recorded {
                self.inner.on_exit(id, ctx);
            }
            if last {
                exemplar::set_current(entered.before);
            }
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: Context<'_, S>) {
        if self.spans.recorded(id) {
            self.inner.on_record(id, values, ctx);
        }
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, ctx: Context<'_, S>) {
        if self.spans.recorded(id) {
            self.inner.on_follows_from(id, follows, ctx);
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let recorded = match event.parent() {
            Some(parent) => self.spans.recorded(parent),
            None if event.is_contextual() => ENTERED
                .try_with(|entered| entered.borrow().0.last().is_some_and(|one| one.recorded))
                .unwrap_or(false),
            None => false,
        };
        if recorded && self.filter.enabled(event.metadata()) {
            self.inner.on_event(event, ctx);
        }
    }

    fn on_close(&self, id: Id, ctx: Context<'_, S>) {
        if let Some(state) = self.spans.remove(&id)
            && state.recorded
        {
            self.inner.on_close(id, ctx);
        }
    }
}

impl<S> SamplingLayer<S> {
    /// `OpenTelemetrySpanExt::set_parent` on a sampled span moves it to another trace after
    /// its ids were given out.
    fn follow_new_parent(&self, id: &Id, state: &SpanState) {
        let moved = OtelContext::map_current(|current| {
            let (now, before) = (current.span(), state.context.span());
            let (now, before) = (now.span_context(), before.span_context());
            (now.trace_id() != before.trace_id() || now.trace_flags() != before.trace_flags())
                .then(|| current.with_remote_span_context(now.clone()))
        });
        if let Some(context) = moved {
            self.spans.insert(
                id,
                SpanState {
                    context,
                    recorded: true,
                },
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::info_span;
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::pipeline::config::{SamplerKind, TracesConfig};
    use crate::pipeline::sampling::provider_builder;

    #[test]
    fn closed_spans_are_forgotten() {
        let sampler = TraceSampler::new(&TracesConfig {
            sampler: SamplerKind::TraceIdRatio,
            ratio: 0.5,
            ..TracesConfig::default()
        })
        .unwrap();
        let provider = provider_builder(sampler).build();
        let layer = SamplingLayer::new(
            opentelemetry::trace::TracerProvider::tracer(&provider, "test"),
            sampler,
            "info,quiet=off".parse().unwrap(),
        );
        let subscriber = Registry::default().with(layer);
        let dispatch = tracing::Dispatch::new(subscriber);
        let open = || {
            let layer: &SamplingLayer<Registry> = dispatch.downcast_ref().unwrap();
            layer.spans.len()
        };
        tracing::dispatcher::with_default(&dispatch, || {
            let spans: Vec<_> = (0..2_000)
                .map(|_| {
                    info_span!("root")
                        .in_scope(|| (info_span!("child"), info_span!(target: "quiet", "quiet")))
                })
                .collect();
            assert_eq!(open(), 6_000);
            drop(spans);
            assert_eq!(open(), 0);
        });
    }
}
