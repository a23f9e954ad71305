//! The request for a batch of spans, written straight from the SDK's data: turning it into the
//! protocol's messages first would copy every key and value once more.
//!
//! Field numbers are those of `opentelemetry/proto/trace/v1/trace.proto` and
//! `common/v1/common.proto`, OTLP 1.x.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{Event, Link, SpanContext, SpanId, SpanKind, Status};
use opentelemetry::{Array, InstrumentationScope, KeyValue, Value};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::trace::v1::SpanFlags;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use prost::Message as _;

use super::lane::QueuedSpan;
use super::payload::{OtlpRequest, Partial, partial};
use crate::recording::SCOPE;

/// Bytes of a span, about: what a buffer is made for.
const SPAN_BYTES: usize = 640;

/// A batch of spans of one process.
pub(crate) struct SpansRequest {
    spans: Vec<QueuedSpan>,
    resource: ResourceBytes,
}

/// The fields of `ResourceSpans` that say where spans are from, encoded once.
#[derive(Clone)]
pub(crate) struct ResourceBytes(Arc<[u8]>);

impl ResourceBytes {
    pub(crate) fn new(resource: &Resource) -> Self {
        let mut out = Vec::new();
        nested(&mut out, 1, 2, |out| {
            for (key, value) in resource.iter() {
                attribute(out, 1, key.as_str(), value);
            }
        });
        text(&mut out, 3, resource.schema_url().unwrap_or_default());
        Self(out.into())
    }
}

impl SpansRequest {
    pub(crate) fn new(spans: Vec<QueuedSpan>, resource: &ResourceBytes) -> Self {
        Self {
            spans,
            resource: resource.clone(),
        }
    }
}

impl OtlpRequest for SpansRequest {
    fn items(&self) -> usize {
        self.spans.len()
    }

    fn encode(&self) -> Vec<u8> {
        let own = InstrumentationScope::builder(SCOPE).build();
        // Instrumentation scopes are few.
        let mut scopes: Vec<&InstrumentationScope> = Vec::new();
        let mut size = self.resource.0.len() + 1024;
        for span in &self.spans {
            let scope = span.scope().unwrap_or(&own);
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
            size += match span {
                QueuedSpan::Data(_) => SPAN_BYTES,
                QueuedSpan::Written(written) => written.len() + 4,
            };
        }
        let mut out = Vec::with_capacity(size);
        nested(&mut out, 1, 3, |out| {
            out.extend_from_slice(&self.resource.0);
            for scope in scopes {
                nested(out, 2, 3, |out| {
                    nested(out, 1, 1, |out| write_scope(out, scope));
                    for span in &self.spans {
                        if span.scope().unwrap_or(&own) != scope {
                            continue;
                        }
                        match span {
                            QueuedSpan::Data(span) => {
                                nested(out, 2, 2, |out| write_span(out, span));
                            }
                            QueuedSpan::Written(written) => bytes(out, 2, written),
                        }
                    }
                    text(out, 3, scope.schema_url().unwrap_or_default());
                });
            }
        });
        out
    }

    fn split(mut self) -> Result<(Self, Self), Self> {
        if self.spans.len() < 2 {
            return Err(self);
        }
        let rest = self.spans.split_off(self.spans.len() / 2);
        let rest = Self::new(rest, &self.resource);
        Ok((self, rest))
    }

    fn partial(reply: &[u8]) -> Option<Partial> {
        let reply = ExportTraceServiceResponse::decode(reply).ok()?;
        let said = reply.partial_success?;
        partial(said.rejected_spans, said.error_message)
    }
}

fn write_scope(out: &mut Vec<u8>, scope: &InstrumentationScope) {
    text(out, 1, scope.name());
    text(out, 2, scope.version().unwrap_or_default());
    attributes(out, 3, scope.attributes());
}

fn write_span(out: &mut Vec<u8>, span: &SpanData) {
    context(out, 1, &span.span_context);
    if span.parent_span_id != SpanId::INVALID {
        bytes(out, 4, &span.parent_span_id.to_bytes());
    }
    write_name(out, &span.name);
    write_kind(out, &span.span_kind);
    fixed64(out, 7, nanoseconds(span.start_time));
    write_end(out, span.end_time);
    write_attributes(out, &span.attributes);
    number(out, 10, u64::from(span.dropped_attributes_count));
    for event in span.events.iter() {
        nested(out, 11, 2, |out| write_event(out, event));
    }
    number(out, 12, u64::from(span.events.dropped_count));
    for link in span.links.iter() {
        nested(out, 13, 1, |out| write_link(out, link));
    }
    number(out, 14, u64::from(span.links.dropped_count));
    write_status(out, &span.status);
    fixed32(
        out,
        16,
        flags(&span.span_context, span.parent_span_is_remote),
    );
}

// Parts of a span, in any order.

/// Ids, flags and start of a span.
pub(super) fn write_start(
    out: &mut Vec<u8>,
    own: &SpanContext,
    parent: &SpanContext,
    start: SystemTime,
) {
    context(out, 1, own);
    if parent.is_valid() {
        bytes(out, 4, &parent.span_id().to_bytes());
    }
    fixed64(out, 7, nanoseconds(start));
    let remote = parent.is_valid() && parent.is_remote();
    fixed32(out, 16, flags(own, remote));
}

pub(super) fn write_name(out: &mut Vec<u8>, name: &str) {
    text(out, 5, name);
}

pub(super) fn write_kind(out: &mut Vec<u8>, kind: &SpanKind) {
    let kind = match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    };
    number(out, 6, kind);
}

pub(super) fn write_end(out: &mut Vec<u8>, end: SystemTime) {
    fixed64(out, 8, nanoseconds(end));
}

pub(super) fn write_attributes(out: &mut Vec<u8>, all: &[KeyValue]) {
    attributes(out, 9, all.iter());
}

/// An attribute that is a text; the text comes last.
pub(super) fn write_text_attribute(out: &mut Vec<u8>, key: &str, value: &str) {
    nested(out, 9, 1, |out| {
        text(out, 1, key);
        nested(out, 2, 1, |out| bytes(out, 1, value.as_bytes()));
    });
}

pub(super) fn write_status(out: &mut Vec<u8>, status: &Status) {
    nested(out, 15, 1, |out| match status {
        Status::Unset => {}
        Status::Ok => number(out, 3, 1),
        Status::Error { description } => {
            text(out, 2, description);
            number(out, 3, 2);
        }
    });
}

fn write_event(out: &mut Vec<u8>, event: &Event) {
    fixed64(out, 1, nanoseconds(event.timestamp));
    text(out, 2, &event.name);
    attributes(out, 3, event.attributes.iter());
    number(out, 4, u64::from(event.dropped_attributes_count));
}

fn write_link(out: &mut Vec<u8>, link: &Link) {
    context(out, 1, &link.span_context);
    attributes(out, 4, link.attributes.iter());
    number(out, 5, u64::from(link.dropped_attributes_count));
    fixed32(
        out,
        6,
        flags(&link.span_context, link.span_context.is_remote()),
    );
}

/// Trace id, span id and trace state, in three fields from `first` on.
fn context(out: &mut Vec<u8>, first: u32, context: &SpanContext) {
    bytes(out, first, &context.trace_id().to_bytes());
    bytes(out, first + 1, &context.span_id().to_bytes());
    let state = context.trace_state();
    if *state != opentelemetry::trace::TraceState::NONE {
        text(out, first + 2, &state.header());
    }
}

/// The W3C flags, and whether the context is from another process.
fn flags(context: &SpanContext, remote: bool) -> u32 {
    let mut flags = u32::from(context.trace_flags().to_u8());
    flags |= SpanFlags::ContextHasIsRemoteMask as u32;
    if remote {
        flags |= SpanFlags::ContextIsRemoteMask as u32;
    }
    flags
}

/// Nanoseconds since the Unix epoch; 0 before it.
fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn attributes<'a>(out: &mut Vec<u8>, field: u32, all: impl Iterator<Item = &'a KeyValue>) {
    for one in all {
        attribute(out, field, one.key.as_str(), &one.value);
    }
}

fn attribute(out: &mut Vec<u8>, field: u32, key: &str, value: &Value) {
    nested(out, field, 1, |out| {
        text(out, 1, key);
        nested(out, 2, 1, |out| any_value(out, value));
    });
}

/// The one field of an `AnyValue`, which is written also where it is empty or zero.
fn any_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::String(value) => bytes(out, 1, value.as_str().as_bytes()),
        Value::Bool(value) => bool_value(out, *value),
        Value::I64(value) => int_value(out, *value),
        Value::F64(value) => double_value(out, *value),
        Value::Array(array) => nested(out, 5, 1, |out| match array {
            Array::Bool(all) => each(out, all, |out, value| bool_value(out, *value)),
            Array::I64(all) => each(out, all, |out, value| int_value(out, *value)),
            Array::F64(all) => each(out, all, |out, value| double_value(out, *value)),
            Array::String(all) => each(out, all, |out, value| {
                bytes(out, 1, value.as_str().as_bytes());
            }),
            // A kind of array that came after this was written.
            other => nested(out, 1, 1, |out| {
                bytes(out, 1, other.to_string().as_bytes());
            }),
        }),
        other => bytes(out, 1, other.as_str().as_bytes()),
    }
}

fn each<T>(out: &mut Vec<u8>, all: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
    for one in all {
        nested(out, 1, 1, |out| write(out, one));
    }
}

fn bool_value(out: &mut Vec<u8>, value: bool) {
    key(out, 2, VARINT);
    out.push(u8::from(value));
}

fn int_value(out: &mut Vec<u8>, value: i64) {
    key(out, 3, VARINT);
    varint(out, value.cast_unsigned());
}

fn double_value(out: &mut Vec<u8>, value: f64) {
    key(out, 4, FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

// Protocol Buffers, "Encoding".

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;
const FIXED32: u32 = 5;

#[inline]
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

const fn varint_len(value: u64) -> usize {
    (u64::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

#[inline]
fn key(out: &mut Vec<u8>, field: u32, kind: u32) {
    varint(out, u64::from(field << 3 | kind));
}

/// Unsigned number; 0 is not written.
fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        key(out, field, VARINT);
        varint(out, value);
    }
}

fn fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        key(out, field, FIXED64);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

fn fixed32(out: &mut Vec<u8>, field: u32, value: u32) {
    if value != 0 {
        key(out, field, FIXED32);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

#[inline]
fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    key(out, field, LENGTH);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Text; the empty one is not written.
fn text(out: &mut Vec<u8>, field: u32, value: &str) {
    if !value.is_empty() {
        bytes(out, field, value.as_bytes());
    }
}

/// A message in a message. Its length is known once it is written: `expected` is how many bytes
/// that will take; where it takes another number, the message is moved.
#[inline]
fn nested(out: &mut Vec<u8>, field: u32, expected: usize, write: impl FnOnce(&mut Vec<u8>)) {
    key(out, field, LENGTH);
    let at = out.len();
    out.resize(at + expected, 0);
    write(out);
    let body = at + expected;
    let length = out.len() - body;
    let needed = varint_len(length as u64);
    if needed != expected {
        out.resize(body + length + needed, 0);
        out.copy_within(body..body + length, at + needed);
        out.truncate(at + needed + length);
    }
    let mut rest = length;
    for slot in &mut out[at..at + needed - 1] {
        *slot = rest as u8 | 0x80;
        rest >>= 7;
    }
    out[at + needed - 1] = rest as u8;
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::time::Duration;

    use opentelemetry::trace::{TraceFlags, TraceId, TraceState};
    use opentelemetry::{Key, StringValue};
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
    use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
    use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::I64),
            // NaN is not equal to itself.
            (-1e300..1e300).prop_map(Value::F64),
            ".{0,200}".prop_map(Value::from),
            vec(any::<bool>(), 0..4).prop_map(|all| Value::Array(Array::Bool(all))),
            vec(any::<i64>(), 0..40).prop_map(|all| Value::Array(Array::I64(all))),
            vec(-1.0..1.0, 0..4).prop_map(|all| Value::Array(Array::F64(all))),
            vec(".{0,9}", 0..4).prop_map(|all| {
                Value::Array(Array::String(
                    all.into_iter().map(StringValue::from).collect(),
                ))
            }),
        ]
    }

    fn pairs() -> impl Strategy<Value = Vec<KeyValue>> {
        let pair = (".{0,20}", value()).prop_map(|(key, value)| KeyValue::new(key, value));
        vec(pair, 0..6)
    }

    fn span_context() -> impl Strategy<Value = SpanContext> {
        let state = prop_oneof![Just(None), Just(Some(("vendor", "a:1")))];
        (
            any::<u128>(),
            any::<u64>(),
            any::<u8>(),
            any::<bool>(),
            state,
        )
            .prop_map(|(trace, span, flags, remote, state)| {
                SpanContext::new(
                    TraceId::from(trace),
                    SpanId::from(span),
                    TraceFlags::new(flags),
                    remote,
                    TraceState::from_key_value(state).unwrap(),
                )
            })
    }

    fn time() -> impl Strategy<Value = SystemTime> {
        (0..u64::MAX / 2).prop_map(|nanos| UNIX_EPOCH + Duration::from_nanos(nanos))
    }

    fn scope() -> impl Strategy<Value = InstrumentationScope> {
        prop_oneof![
            Just(InstrumentationScope::builder("plain").build()),
            Just(
                InstrumentationScope::builder("full")
                    .with_version("1.2")
                    .with_schema_url("schema")
                    .with_attributes([KeyValue::new("k", 7)])
                    .build()
            ),
        ]
    }

    fn span() -> impl Strategy<Value = SpanData> {
        let kind = prop_oneof![
            Just(SpanKind::Internal),
            Just(SpanKind::Server),
            Just(SpanKind::Client),
            Just(SpanKind::Producer),
            Just(SpanKind::Consumer),
        ];
        let status = prop_oneof![
            Just(Status::Unset),
            Just(Status::Ok),
            ".{0,20}".prop_map(Status::error),
        ];
        let event = (".{0,20}", time(), pairs(), 0..9_u32);
        let link = (span_context(), pairs(), 0..9_u32);
        let head = (
            span_context(),
            any::<u64>(),
            any::<bool>(),
            kind,
            ".{0,300}",
        );
        let body = (time(), time(), pairs(), 0..9_u32, status, scope());
        (head, body, vec(event, 0..3), vec(link, 0..3)).prop_map(
            |(
                (span_context, parent, parent_span_is_remote, span_kind, name),
                (start_time, end_time, attributes, dropped, status, instrumentation_scope),
                events,
                links,
            )| {
                let mut all_events = SpanEvents::default();
                all_events.events = events
                    .into_iter()
                    .map(|(name, time, attributes, dropped)| {
                        Event::new(name, time, attributes, dropped)
                    })
                    .collect();
                all_events.dropped_count = dropped;
                let mut all_links = SpanLinks::default();
                all_links.links = links
                    .into_iter()
                    .map(|(context, attributes, dropped)| Link::new(context, attributes, dropped))
                    .collect();
                SpanData {
                    span_context,
                    // 0 is no parent.
                    parent_span_id: SpanId::from(if parent % 3 == 0 { 0 } else { parent }),
                    parent_span_is_remote,
                    span_kind,
                    name: Cow::Owned(name),
                    start_time,
                    end_time,
                    attributes,
                    dropped_attributes_count: dropped,
                    events: all_events,
                    links: all_links,
                    status,
                    instrumentation_scope,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn says_what_the_protocols_own_messages_say(spans in vec(span(), 0..6)) {
            let resource = Resource::builder_empty()
                .with_schema_url([KeyValue::new(Key::new("service.name"), "x")], "url")
                .build();
            let expected = ExportTraceServiceRequest {
                resource_spans: group_spans_by_resource_and_scope(
                    spans.clone(),
                    &ResourceAttributesWithSchema::from(&resource),
                ),
            };
            let spans = spans.into_iter().map(|span| QueuedSpan::Data(Box::new(span)));
            let request = SpansRequest::new(spans.collect(), &ResourceBytes::new(&resource));
            let encoded = request.encode();
            prop_assert_eq!(encoded.len(), expected.encoded_len());
            let read = ExportTraceServiceRequest::decode(&encoded[..]).unwrap();
            prop_assert_eq!(read, expected);
        }
    }

    fn named(names: std::ops::Range<u32>) -> SpansRequest {
        let spans = names.map(|name| SpanData {
            span_context: SpanContext::empty_context(),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: Cow::Owned(name.to_string()),
            start_time: UNIX_EPOCH,
            end_time: UNIX_EPOCH,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::default(),
        });
        let resource = ResourceBytes::new(&Resource::builder_empty().build());
        let spans = spans.map(|span| QueuedSpan::Data(Box::new(span)));
        SpansRequest::new(spans.collect(), &resource)
    }

    #[test]
    fn a_batch_is_split_in_order_down_to_single_spans() {
        let mut stack = vec![named(0..14)];
        let mut names = Vec::new();
        while let Some(request) = stack.pop() {
            match request.split() {
                Ok((first, second)) => stack.extend([second, first]),
                Err(one) => names.extend(one.spans.into_iter().map(|span| match span {
                    QueuedSpan::Data(span) => span.name,
                    QueuedSpan::Written(_) => "".into(),
                })),
            }
        }
        let expected: Vec<String> = (0..14).map(|name: u32| name.to_string()).collect();
        assert_eq!(names, expected);
        assert!(named(0..0).split().is_err());
    }

    #[test]
    fn replies_say_what_was_rejected() {
        use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;
        let reply = |rejected_spans, message: &str| {
            ExportTraceServiceResponse {
                partial_success: Some(ExportTracePartialSuccess {
                    rejected_spans,
                    error_message: message.to_owned(),
                }),
            }
            .encode_to_vec()
        };
        let read = SpansRequest::partial;
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[0xff; 8]), None);
        assert_eq!(read(&reply(0, "")), None);
        assert_eq!(read(&reply(-4, "")), None);
        let warning = read(&reply(0, "careful")).unwrap();
        assert_eq!((warning.rejected, warning.message.as_str()), (0, "careful"));
        assert_eq!(read(&reply(3, "")).unwrap().rejected, 3);
    }
}
