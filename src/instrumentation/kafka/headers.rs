//! Trace Context and Baggage in the headers of events: W3C Trace Context Level 1 and W3C
//! Baggage, with the names of their HTTP headers, as the semantic conventions for messaging
//! v1.41.0 advise ("Context propagation").

use std::panic::{AssertUnwindSafe, catch_unwind};

use opentelemetry::Context;
use opentelemetry::propagation::Injector;
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, OwnedHeaders};

use crate::pipeline::propagation::{
    BAGGAGE, RemoteContext, TRACEPARENT, TRACESTATE, inject_current,
};

struct Added(OwnedHeaders);

impl Injector for Added {
    fn set(&mut self, key: &str, value: String) {
        let headers = std::mem::take(&mut self.0);
        self.0 = headers.insert(Header {
            key,
            value: Some(&value),
        });
    }
}

/// The headers with the context of the current span, unless the application has set one.
pub(super) fn with_context(headers: Option<OwnedHeaders>) -> OwnedHeaders {
    let headers = headers.unwrap_or_default();
    if headers.iter().any(|header| header.key == TRACEPARENT) {
        return headers;
    }
    let mut added = Added(headers);
    inject_current(&mut added);
    added.0
}

/// The context that an event was published in, on top of the one in force; that one alone where
/// the event has none that can be read.
pub(super) fn context_of(message: &BorrowedMessage<'_>) -> Context {
    let Some(headers) = message.headers() else {
        return Context::current();
    };
    // The names come from whoever published it, and rdkafka panics at one that is no UTF-8.
    let read = catch_unwind(AssertUnwindSafe(|| {
        let wanted = headers.iter().filter_map(|header| {
            let known = [TRACEPARENT, TRACESTATE, BAGGAGE];
            let name = known.into_iter().find(|name| *name == header.key)?;
            Some((name, header.value?.to_vec()))
        });
        wanted.collect::<Vec<_>>()
    }))
    .unwrap_or_default();
    let remote = RemoteContext::from_headers(|name| {
        let values = read.iter().filter(move |(key, _)| *key == name);
        values.map(|(_, value)| value.as_slice())
    });
    Context::map_current(|here| remote.into_context(here))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_application_has_set_stays() {
        let own = OwnedHeaders::new().insert(Header {
            key: TRACEPARENT,
            value: Some("own"),
        });
        let headers = with_context(Some(own));
        assert_eq!(headers.count(), 1);
        assert_eq!(headers.get(0).value, Some(&b"own"[..]));
    }

    #[test]
    fn outside_of_any_span_nothing_is_added() {
        assert_eq!(with_context(None).count(), 0);
    }
}
