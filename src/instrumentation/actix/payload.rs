//! The size of a request's body, counted while it is read.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::HttpMessage as _;
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::error::PayloadError;
use actix_web::http::header::CONTENT_LENGTH;
use bytes::Bytes;
use futures_util::Stream;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Ended,
    Failed,
}

struct Count {
    bytes: Cell<u64>,
    state: Cell<State>,
    declared: Option<u64>,
}

/// Counts the bytes of a request's body; without one it costs nothing.
pub(super) struct RequestSize(Option<Rc<Count>>);

/// What was received of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// The request has none.
    NoBody,
    /// It was read to its end.
    All(u64),
    /// It was not, but `Content-Length` says how long it is.
    Declared(u64),
    /// It broke off, or nobody can say.
    Unknown,
}

impl RequestSize {
    /// Puts a counter before the request's body, if it has one.
    #[inline]
    pub(super) fn watch(request: &mut ServiceRequest) -> Self {
        let payload = request.take_payload();
        if matches!(payload, Payload::None) {
            return Self(None);
        }
        let declared = request.headers().get(CONTENT_LENGTH);
        let count = Rc::new(Count {
            bytes: Cell::new(0),
            state: Cell::new(State::Open),
            declared: declared.and_then(|value| value.to_str().ok()?.parse().ok()),
        });
        request.set_payload(Payload::Stream {
            payload: Box::pin(Counted {
                payload,
                count: Rc::clone(&count),
            }),
        });
        Self(Some(count))
    }

    pub(super) fn end(&self) -> Received {
        let Some(count) = &self.0 else {
            return Received::NoBody;
        };
        match (count.state.get(), count.declared) {
            (State::Ended, _) => Received::All(count.bytes.get()),
            (State::Open, Some(bytes)) => Received::Declared(bytes),
            (State::Open, None) | (State::Failed, _) => Received::Unknown,
        }
    }
}

struct Counted {
    payload: Payload,
    count: Rc<Count>,
}

impl Stream for Counted {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = Pin::new(&mut self.payload).poll_next(cx);
        let count = &self.count;
        match &polled {
            Poll::Ready(Some(Ok(bytes))) => {
                count.bytes.set(count.bytes.get() + bytes.len() as u64);
            }
            Poll::Ready(Some(Err(_))) => count.state.set(State::Failed),
            Poll::Ready(None) if count.state.get() == State::Open => {
                count.state.set(State::Ended);
            }
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }
}
