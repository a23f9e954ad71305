//! Trace Context and Baggage headers: properties over any input.

use std::collections::HashMap;

use opentelemetry::Context;
use opentelemetry::baggage::{Baggage, BaggageExt};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use proptest::prelude::*;
use tachograph::pipeline::propagation::{
    BAGGAGE, RemoteContext, TRACEPARENT, TRACESTATE, TraceParent, W3cPropagator, inject,
};

fn read(headers: &[(&'static str, Vec<u8>)]) -> RemoteContext {
    RemoteContext::from_headers(|name| {
        headers
            .iter()
            .filter(move |(key, _)| *key == name)
            .map(|(_, value)| value.as_slice())
            .collect::<Vec<_>>()
    })
}

fn written(context: &Context) -> HashMap<String, String> {
    let mut headers = HashMap::new();
    inject(context, &mut headers);
    headers
}

/// Bytes that are near a valid header, so that the parser is taken past its first check.
fn nearly_traceparent() -> impl Strategy<Value = Vec<u8>> {
    let valid = *b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    prop::collection::vec((0..valid.len(), any::<u8>()), 0..4).prop_map(move |edits| {
        let mut bytes = valid.to_vec();
        for (at, byte) in edits {
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(
        parent in prop_oneof![prop::collection::vec(any::<u8>(), 0..80), nearly_traceparent()],
        state in prop::collection::vec(any::<u8>(), 0..700),
        baggage in prop::collection::vec(any::<u8>(), 0..700),
    ) {
        let remote = read(&[(TRACEPARENT, parent), (TRACESTATE, state), (BAGGAGE, baggage)]);
        let headers = written(&remote.into_context(&Context::new()));
        for value in headers.values() {
            prop_assert!(value.bytes().all(|byte| matches!(byte, b'\t' | 0x20..=0x7e)));
        }
    }

    #[test]
    fn what_is_accepted_is_written_back(bytes in nearly_traceparent()) {
        if let Ok(parent) = TraceParent::parse(&bytes) {
            prop_assert_eq!(TraceParent::parse(parent.encode().as_bytes()), Ok(parent));
            let text = parent.encode();
            prop_assert_eq!(&text.as_bytes()[2..53], &bytes[2..53]);
        }
    }

    #[test]
    fn what_is_accepted_the_sdk_accepts_alike(bytes in nearly_traceparent()) {
        if let Ok(parent) = TraceParent::parse(&bytes) {
            let text = String::from_utf8(bytes).unwrap();
            let carrier = HashMap::from([(TRACEPARENT.to_owned(), text)]);
            let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
            prop_assert_eq!(TraceParent::of(context.span().span_context()), Some(parent));
        }
    }

    #[test]
    fn ids_round_trip(trace in 1u128.., span in 1u64.., sampled: bool) {
        let context = Context::new().with_remote_span_context(SpanContext::new(
            TraceId::from(trace),
            SpanId::from(span),
            TraceFlags::default().with_sampled(sampled),
            true,
            Default::default(),
        ));
        let read = W3cPropagator.extract_with_context(&Context::new(), &written(&context));
        let (read, wrote) = (read.span().span_context().clone(), context.span().span_context().clone());
        prop_assert_eq!(read, wrote);
    }

    #[test]
    fn baggage_round_trips(
        pairs in prop::collection::btree_map("[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,12}", "\\PC{0,24}", 0..20),
    ) {
        let baggage: Baggage = pairs
            .iter()
            .map(|(key, value)| opentelemetry::KeyValue::new(key.clone(), value.clone()))
            .collect();
        let context = Context::new().with_baggage(baggage);
        let read = W3cPropagator.extract_with_context(&Context::new(), &written(&context));
        let got: std::collections::BTreeMap<String, String> = read
            .baggage()
            .iter()
            .map(|(key, (value, _))| (key.to_string(), value.to_string()))
            .collect();
        prop_assert_eq!(got, pairs);
    }
}

#[test]
fn nothing_sent_is_nothing_read() {
    let remote = read(&[]);
    assert!(remote.is_empty());
    assert_eq!(remote.refused(), None);
    assert!(written(&remote.into_context(&Context::new())).is_empty());
}

#[test]
fn a_refused_traceparent_takes_tracestate_with_it_and_leaves_baggage() {
    let remote = read(&[
        (TRACEPARENT, b"00-zz".to_vec()),
        (TRACESTATE, b"a=1".to_vec()),
        (BAGGAGE, b"k=v".to_vec()),
    ]);
    assert!(remote.refused().is_some());
    let headers = written(&remote.into_context(&Context::new()));
    assert_eq!(
        headers,
        HashMap::from([(BAGGAGE.to_owned(), "k=v".to_owned())])
    );
}

#[test]
fn a_malformed_tracestate_leaves_traceparent() {
    let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let remote = read(&[
        (TRACEPARENT, valid.as_bytes().to_vec()),
        (TRACESTATE, b"a=1".to_vec()),
        (TRACESTATE, b"broken".to_vec()),
    ]);
    let headers = written(&remote.into_context(&Context::new()));
    assert_eq!(
        headers,
        HashMap::from([(TRACEPARENT.to_owned(), valid.to_owned())])
    );
}

#[test]
fn a_megabyte_in_every_header_is_refused_at_once() {
    let big = vec![b'a'; 1 << 20];
    let remote = read(&[
        (TRACEPARENT, big.clone()),
        (TRACESTATE, big.clone()),
        (BAGGAGE, big),
    ]);
    assert!(remote.is_empty());
}
