//! The SDK's tracer, with ids that were given out before the SDK starts the span.
//!
//! tracing-opentelemetry starts the SDK's span when it is first entered, long after the
//! layer has decided by its trace id. The decided ids travel in the span's builder, as
//! attributes that are taken out again before the SDK sees them.

use std::borrow::Cow;
use std::cell::Cell;

use opentelemetry::trace::{
    SpanBuilder, SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
};
use opentelemetry::{Context, Key, KeyValue, Value};
use opentelemetry_sdk::trace::{
    IdGenerator, RandomIdGenerator, SdkTracer, SdkTracerProvider, Span, TracerProviderBuilder,
};

use super::TraceSampler;

/// A provider's builder whose SDK keeps the ids that [`SamplingLayer`](super::SamplingLayer)
/// gave out and decides as the layer does. Add resource, limits and processors.
#[must_use]
pub fn provider_builder(sampler: TraceSampler) -> TracerProviderBuilder {
    SdkTracerProvider::builder()
        .with_sampler(sampler)
        .with_id_generator(DecidedIds)
}

/// Ids of a span that is not started yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decided {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    /// The parent, for a span whose parent is not known to tracing-opentelemetry.
    pub parent: SpanId,
    /// Fields of the span, so that its attributes are allocated once.
    pub fields: usize,
}

thread_local! {
    /// For the builder that is made next on this thread.
    static NEXT_BUILDER: Cell<Option<Decided>> = const { Cell::new(None) };
    /// For the span that the SDK starts next on this thread.
    static NEXT_IDS: Cell<(TraceId, SpanId)> =
        const { Cell::new((TraceId::INVALID, SpanId::INVALID)) };
}

/// Runs `f`; the first builder it makes carries the decided ids.
pub(super) fn with_decided(decided: Decided, f: impl FnOnce()) {
    NEXT_BUILDER.set(Some(decided));
    f();
    NEXT_BUILDER.set(None);
}

const CARRIER: &str = "\0decided";
const CARRIED: usize = 4;

/// The tracer of [`SamplingLayer`](super::SamplingLayer): the SDK's own, with decided ids.
#[derive(Clone, Debug)]
pub struct DecidedTracer(pub(super) SdkTracer);

impl Tracer for DecidedTracer {
    type Span = Span;

    fn span_builder<T: Into<Cow<'static, str>>>(&self, name: T) -> SpanBuilder {
        let mut builder = SpanBuilder::from_name(name);
        if let Some(decided) = NEXT_BUILDER.take() {
            let trace_id = u128::from_be_bytes(decided.trace_id.to_bytes());
            let mut attributes = Vec::with_capacity(CARRIED + decided.fields);
            for half in [
                (trace_id >> 64) as u64,
                trace_id as u64,
                u64::from_be_bytes(decided.span_id.to_bytes()),
                u64::from_be_bytes(decided.parent.to_bytes()),
            ] {
                attributes.push(KeyValue::new(
                    Key::from_static_str(CARRIER),
                    half.cast_signed(),
                ));
            }
            builder.attributes = Some(attributes);
        }
        builder
    }

    fn build_with_context(&self, mut builder: SpanBuilder, parent: &Context) -> Span {
        let Some(decided) = take_decided(&mut builder) else {
            return self.0.build_with_context(builder, parent);
        };
        NEXT_IDS.set((decided.trace_id, decided.span_id));
        let known = parent.span().span_context().is_valid();
        let span = if known || decided.parent == SpanId::INVALID {
            self.0.build_with_context(builder, parent)
        } else {
            let parent = parent.with_remote_span_context(SpanContext::new(
                decided.trace_id,
                decided.parent,
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            ));
            self.0.build_with_context(builder, &parent)
        };
        NEXT_IDS.set((TraceId::INVALID, SpanId::INVALID));
        span
    }
}

/// Starts a span of a trace that [`TraceSampler`] has decided for: with that trace's id if it
/// is the first, and with this id of its own unless it is invalid.
pub(crate) fn start_decided(
    tracer: &SdkTracer,
    builder: SpanBuilder,
    ids: (TraceId, SpanId),
    parent: &Context,
) -> Span {
    NEXT_IDS.set(ids);
    let span = tracer.build_with_context(builder, parent);
    NEXT_IDS.set((TraceId::INVALID, SpanId::INVALID));
    span
}

fn take_decided(builder: &mut SpanBuilder) -> Option<Decided> {
    let attributes = builder.attributes.as_mut()?;
    let carried = attributes.get(..CARRIED)?;
    let mut halves = [0; CARRIED];
    for (half, attribute) in halves.iter_mut().zip(carried) {
        match &attribute.value {
            Value::I64(value) if attribute.key.as_str() == CARRIER => {
                *half = value.cast_unsigned();
            }
            _ => return None,
        }
    }
    attributes.drain(..CARRIED);
    Some(Decided {
        trace_id: TraceId::from((u128::from(halves[0]) << 64) | u128::from(halves[1])),
        span_id: SpanId::from(halves[2]),
        parent: SpanId::from(halves[3]),
        fields: 0,
    })
}

/// Yields the decided ids once, random ones otherwise.
#[derive(Debug)]
struct DecidedIds;

impl IdGenerator for DecidedIds {
    fn new_trace_id(&self) -> TraceId {
        let (trace_id, span_id) = NEXT_IDS.get();
        NEXT_IDS.set((TraceId::INVALID, span_id));
        if trace_id == TraceId::INVALID {
            random_trace_id()
        } else {
            trace_id
        }
    }

    fn new_span_id(&self) -> SpanId {
        let (trace_id, span_id) = NEXT_IDS.get();
        NEXT_IDS.set((trace_id, SpanId::INVALID));
        if span_id == SpanId::INVALID {
            random_span_id()
        } else {
            span_id
        }
    }
}

pub(crate) fn random_trace_id() -> TraceId {
    loop {
        let id = RandomIdGenerator::default().new_trace_id();
        if id != TraceId::INVALID {
            return id;
        }
    }
}

pub(crate) fn random_span_id() -> SpanId {
    loop {
        let id = RandomIdGenerator::default().new_span_id();
        if id != SpanId::INVALID {
            return id;
        }
    }
}
