//! Spans that are written for export while they last.
//!
//! What an instrumentation puts on its own spans is known beforehand but for a few texts, so
//! such a span is written at once as the bytes that go out, most of them copied as they are.
//! The SDK's span is made only when somebody else sets something on it, and is the span from
//! then on.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span};
use parking_lot::Mutex;

use super::lane::{QueuedSpan, SpanQueue};
use super::spans;
use crate::pipeline::sampling::start_decided;

/// Texts that differ from span to span, at most.
const MAX_TEXTS: usize = 4;
/// Room for ids, times, texts and the ending.
const ROOM: usize = 320;

/// Where such spans go.
#[derive(Clone, Debug)]
pub(crate) struct DirectSpans {
    queue: SpanQueue,
    tracer: SdkTracer,
}

impl DirectSpans {
    /// Spans of a tracer whose scope is [`SCOPE`](crate::recording::SCOPE) and whose provider's
    /// only processor is the queue.
    pub(crate) fn new(queue: SpanQueue, tracer: SdkTracer) -> Self {
        Self { queue, tracer }
    }

    /// Whether spans are still taken.
    pub(crate) fn is_open(&self) -> bool {
        self.queue.is_open()
    }
}

/// What spans have in common when they start.
#[derive(Debug)]
pub(crate) struct Template {
    spans: DirectSpans,
    name: &'static str,
    kind: SpanKind,
    attributes: Vec<KeyValue>,
    bytes: Vec<u8>,
}

impl Template {
    pub(crate) fn new(
        spans: &DirectSpans,
        name: &'static str,
        kind: SpanKind,
        attributes: Vec<KeyValue>,
    ) -> Self {
        let mut bytes = Vec::new();
        spans::write_kind(&mut bytes, &kind);
        spans::write_attributes(&mut bytes, &attributes);
        Self {
            spans: spans.clone(),
            name,
            kind,
            attributes,
            bytes,
        }
    }
}

/// What spans have in common when they end.
#[derive(Debug)]
pub(crate) struct Ending {
    /// None: that of the start.
    name: Option<String>,
    attributes: Vec<KeyValue>,
    status: Status,
    bytes: Vec<u8>,
}

impl Ending {
    pub(crate) fn new(
        start_name: &str,
        name: Option<String>,
        attributes: Vec<KeyValue>,
        status: Status,
    ) -> Self {
        let mut bytes = Vec::new();
        spans::write_name(&mut bytes, name.as_deref().unwrap_or(start_name));
        spans::write_attributes(&mut bytes, &attributes);
        spans::write_status(&mut bytes, &status);
        Self {
            name,
            attributes,
            status,
            bytes,
        }
    }
}

#[derive(Debug)]
enum Stage {
    /// Nothing was set on it by anyone else.
    Written,
    Sdk(Box<Span>),
    Ended,
}

#[derive(Debug)]
struct State {
    template: Arc<Template>,
    stage: Stage,
    start: SystemTime,
    parent: Context,
    bytes: Vec<u8>,
    /// Keys, and where in `bytes` the texts are.
    texts: [(&'static str, usize, usize); MAX_TEXTS],
}

/// A span under way: what the instrumentation keeps of it.
#[derive(Debug)]
pub(crate) struct DirectSpan(Arc<Mutex<State>>);

/// A span under way: what its context holds.
#[derive(Debug)]
struct ContextSpan {
    context: SpanContext,
    state: Arc<Mutex<State>>,
}

impl DirectSpan {
    /// Starts a span now; returns it with the context inside it. `own` are its ids, its flags
    /// and its parent's trace state.
    pub(crate) fn start(
        template: &Arc<Template>,
        own: SpanContext,
        parent: &Context,
        texts: impl FnOnce(&mut Texts<'_>),
    ) -> (Self, Context) {
        let start = opentelemetry::time::now();
        let mut bytes = Vec::with_capacity(template.bytes.len() + ROOM);
        spans::write_start(&mut bytes, &own, parent.span().span_context(), start);
        bytes.extend_from_slice(&template.bytes);
        let mut written = Texts {
            bytes: &mut bytes,
            texts: [("", 0, 0); MAX_TEXTS],
            len: 0,
        };
        texts(&mut written);
        let texts = written.texts;
        let state = Arc::new(Mutex::new(State {
            template: Arc::clone(template),
            stage: Stage::Written,
            start,
            parent: parent.clone(),
            bytes,
            texts,
        }));
        let context = parent.with_span(ContextSpan {
            context: own,
            state: Arc::clone(&state),
        });
        (Self(state), context)
    }

    /// Ends the span, which took this long.
    pub(crate) fn end(&self, ending: &Ending, more: Option<KeyValue>, duration: Duration) {
        let mut state = self.0.lock();
        let end = state.start.checked_add(duration).unwrap_or(state.start);
        match std::mem::replace(&mut state.stage, Stage::Ended) {
            Stage::Written => {
                let mut bytes = std::mem::take(&mut state.bytes);
                spans::write_end(&mut bytes, end);
                bytes.extend_from_slice(&ending.bytes);
                if let Some(more) = &more {
                    spans::write_attributes(&mut bytes, std::slice::from_ref(more));
                }
                let queue = &state.template.spans.queue;
                queue.push(|| QueuedSpan::Written(bytes));
            }
            Stage::Sdk(mut span) => {
                if let Some(name) = &ending.name {
                    span.update_name(name.clone());
                }
                span.set_attributes(ending.attributes.iter().cloned().chain(more));
                span.set_status(ending.status.clone());
                span.end_with_timestamp(end);
            }
            Stage::Ended => {}
        }
    }
}

/// Takes the texts of a span.
pub(crate) struct Texts<'s> {
    bytes: &'s mut Vec<u8>,
    texts: [(&'static str, usize, usize); MAX_TEXTS],
    len: usize,
}

impl Texts<'_> {
    /// Adds an attribute; one that is too many is left out.
    pub(crate) fn put(&mut self, key: &'static str, text: &str) {
        if let Some(slot) = self.texts.get_mut(self.len) {
            spans::write_text_attribute(self.bytes, key, text);
            // The text comes last in what was written.
            *slot = (key, self.bytes.len() - text.len(), self.bytes.len());
            self.len += 1;
        }
    }
}

impl State {
    /// The span as the SDK's.
    #[cold]
    fn sdk_span(&self, own: &SpanContext) -> Span {
        let template = &self.template;
        let mut attributes = Vec::with_capacity(template.attributes.len() + 8);
        attributes.extend_from_slice(&template.attributes);
        for (key, from, to) in self.texts {
            if let Some(text) = self.bytes.get(from..to).filter(|_| !key.is_empty()) {
                let text = String::from_utf8_lossy(text).into_owned();
                attributes.push(KeyValue::new(key, text));
            }
        }
        let builder = SpanBuilder::from_name(template.name)
            .with_kind(template.kind.clone())
            .with_start_time(self.start)
            .with_attributes(attributes);
        let ids = (own.trace_id(), own.span_id());
        start_decided(&template.spans.tracer, builder, ids, &self.parent)
    }
}

impl ContextSpan {
    fn with_sdk(&self, change: impl FnOnce(&mut Span)) {
        let mut state = self.state.lock();
        if let Stage::Written = state.stage {
            state.stage = Stage::Sdk(Box::new(state.sdk_span(&self.context)));
            state.bytes = Vec::new();
        }
        if let Stage::Sdk(span) = &mut state.stage {
            change(span);
        }
    }
}

impl opentelemetry::trace::Span for ContextSpan {
    fn add_event_with_timestamp<T>(
        &mut self,
        name: T,
        timestamp: SystemTime,
        attributes: Vec<KeyValue>,
    ) where
        T: Into<Cow<'static, str>>,
    {
        self.with_sdk(|span| span.add_event_with_timestamp(name, timestamp, attributes));
    }

    fn span_context(&self) -> &SpanContext {
        &self.context
    }

    fn is_recording(&self) -> bool {
        match &self.state.lock().stage {
            Stage::Written => true,
            Stage::Sdk(span) => span.is_recording(),
            Stage::Ended => false,
        }
    }

    fn set_attribute(&mut self, attribute: KeyValue) {
        self.with_sdk(|span| span.set_attribute(attribute));
    }

    fn set_status(&mut self, status: Status) {
        self.with_sdk(|span| span.set_status(status));
    }

    fn update_name<T>(&mut self, new_name: T)
    where
        T: Into<Cow<'static, str>>,
    {
        self.with_sdk(|span| span.update_name(new_name));
    }

    fn add_link(&mut self, span_context: SpanContext, attributes: Vec<KeyValue>) {
        self.with_sdk(|span| span.add_link(span_context, attributes));
    }

    fn end_with_timestamp(&mut self, timestamp: SystemTime) {
        self.with_sdk(|span| span.end_with_timestamp(timestamp));
    }
}
