//! What comes from the client.

use std::borrow::Cow;
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::web::Bytes;
use actix_ws::{AggregatedMessageStream, CloseCode, CloseReason, Message, ProtocolError};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, Stream};
use tokio::time::Instant;
use tracing::Span;
use tracing::field::Empty;

use super::connection::Connection;
use super::frame::{Frame, Incoming, fault};
use super::heartbeat::{Beat, Heartbeat, Payload};
use crate::catalog::ClosedLabel as _;
use crate::signals::websocket::{
    ControlKind, Direction, Disconnect, ErrorKind, HandlingStatus, MessageKind, PingResult,
    WebsocketPing, WebsocketPingEnd, WebsocketReceive, WebsocketReceiveEnd,
};

/// Messages of a client as they come, each recorded. Pings and closes are answered, and the
/// client is pinged, while somebody waits for the next message: what takes long belongs into a
/// task of its own.
///
/// It ends with the connection: closed by either side, lost, given up, or stopped by
/// [`WebSocket::shutdown`](super::WebSocket::shutdown). An error is its last item but one; the
/// connection is closed then.
pub struct MessageStream<S = actix_ws::MessageStream> {
    inner: S,
    session: actix_ws::Session,
    connection: Arc<Connection>,
    heartbeat: Heartbeat,
    stop: BoxFuture<'static, ()>,
    /// Answers and questions that wait for room in the queue; the latest of each is enough.
    pong: Option<Bytes>,
    ping: Option<Payload>,
    done: bool,
}

impl<S> std::fmt::Debug for MessageStream<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessageStream")
            .field("namespace", &self.connection.namespace())
            .finish_non_exhaustive()
    }
}

impl MessageStream {
    pub(super) fn new(
        inner: actix_ws::MessageStream,
        session: actix_ws::Session,
        connection: Arc<Connection>,
    ) -> Self {
        let settings = &connection.settings;
        let heartbeat = Heartbeat::new(settings.how.ping_interval, settings.how.missed_pongs);
        let mut stop = settings.stop.subscribe();
        let stop = async move {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        Self {
            inner,
            session,
            connection,
            heartbeat,
            stop: stop.boxed(),
            pong: None,
            ping: None,
            done: false,
        }
    }

    /// With messages that come in pieces put together, up to so many bytes; a connection that
    /// sends more is closed with code 1009.
    #[must_use]
    pub fn aggregate_continuations(
        self,
        max_bytes: usize,
    ) -> MessageStream<AggregatedMessageStream> {
        let inner = self.inner.aggregate_continuations();
        MessageStream {
            inner: inner.max_continuation_size(max_bytes),
            session: self.session,
            connection: self.connection,
            heartbeat: self.heartbeat,
            stop: self.stop,
            pong: self.pong,
            ping: self.ping,
            done: self.done,
        }
    }
}

impl<S, M> MessageStream<S>
where
    S: Stream<Item = Result<M, ProtocolError>> + Unpin,
    M: Frame,
{
    /// The next message; `None` when there are none any more. Nothing is lost when it is
    /// cancelled.
    pub async fn recv(&mut self) -> Option<Result<Received<M>, ProtocolError>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Sends what is due about the connection, as far as there is room.
    fn flush(&mut self, cx: &mut Context<'_>) {
        if let Some(payload) = self.pong.take() {
            let sent = pin!(self.session.pong(&payload)).poll(cx);
            match sent {
                Poll::Ready(Ok(())) => self.connection.control(Direction::Sent, ControlKind::Pong),
                Poll::Ready(Err(_)) => {}
                Poll::Pending => self.pong = Some(payload),
            }
        }
        if let Some(payload) = self.ping.take() {
            let sent = pin!(self.session.ping(&payload)).poll(cx);
            match sent {
                Poll::Ready(Ok(())) => self.connection.control(Direction::Sent, ControlKind::Ping),
                Poll::Ready(Err(_)) => {}
                Poll::Pending => self.ping = Some(payload),
            }
        }
    }

    /// Ends the connection and says so to the client, if there is one and room for it.
    fn end(&mut self, reason: Disconnect, error: Option<ErrorKind>, close: Option<CloseReason>) {
        self.done = true;
        self.connection.end(reason, error, close.as_ref());
        if reason == Disconnect::Lost {
            return;
        }
        let closing = self.session.clone().close(close);
        if let Some(Ok(())) = closing.now_or_never() {
            self.connection.control(Direction::Sent, ControlKind::Close);
        }
    }

    /// Nothing is there to be read. True when the connection has ended.
    fn idle(&mut self, cx: &mut Context<'_>) -> bool {
        if self.stop.poll_unpin(cx).is_ready() {
            let close = CloseReason::from(CloseCode::Away);
            self.end(Disconnect::Shutdown, None, Some(close));
            return true;
        }
        match self.heartbeat.poll(cx) {
            Beat::Quiet => false,
            Beat::Ping(payload, missed) => {
                if let Some(since) = missed {
                    self.pinged(PingResult::Missed, since);
                }
                self.ping = Some(payload);
                self.flush(cx);
                false
            }
            Beat::Dead(since) => {
                self.pinged(PingResult::Missed, since);
                self.end(Disconnect::Timeout, Some(ErrorKind::Timeout), None);
                true
            }
        }
    }

    fn pinged(&self, result: PingResult, took: Duration) {
        let connection = &self.connection;
        let namespace = connection.namespace();
        let end = WebsocketPingEnd { result };
        connection
            .span()
            .in_scope(|| WebsocketPing { namespace }.record(end, took));
    }

    fn failed(&mut self, error: &ProtocolError) {
        let (reason, kind, code) = fault(error);
        self.end(reason, Some(kind), code.map(CloseReason::from));
    }
}

impl<S, M> Stream for MessageStream<S>
where
    S: Stream<Item = Result<M, ProtocolError>> + Unpin,
    M: Frame,
{
    type Item = Result<Received<M>, ProtocolError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.done {
            return Poll::Ready(None);
        }
        this.heartbeat.resume();
        loop {
            this.flush(cx);
            let incoming = match Pin::new(&mut this.inner).poll_next(cx) {
                Poll::Pending if this.idle(cx) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => frame.told_apart(),
                Poll::Ready(Some(Err(error))) => {
                    this.failed(&error);
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => {
                    let lost = Some(ErrorKind::ConnectionLost);
                    this.end(Disconnect::Lost, lost, None);
                    return Poll::Ready(None);
                }
            };
            let control = |kind| this.connection.control(Direction::Received, kind);
            match incoming {
                Incoming::Message(kind, size, message) => {
                    let now = Instant::now();
                    this.heartbeat.leave(now);
                    let handling = Handling::begin(&this.connection, kind, size, now);
                    return Poll::Ready(Some(Ok(Received { message, handling })));
                }
                Incoming::Ping(payload) => {
                    control(ControlKind::Ping);
                    this.pong = Some(payload);
                }
                Incoming::Pong(payload) => {
                    control(ControlKind::Pong);
                    if let Some(took) = this.heartbeat.answered(&payload) {
                        this.pinged(PingResult::Answered, took);
                    }
                }
                Incoming::Close(reason) => {
                    control(ControlKind::Close);
                    this.end(Disconnect::Client, None, reason);
                    return Poll::Ready(None);
                }
                Incoming::Nothing => {}
            }
        }
    }
}

/// A message that came.
#[derive(Debug)]
pub struct Received<M = Message> {
    /// The message.
    pub message: M,
    /// Its handling, which lasts until this is dropped.
    pub handling: Handling,
}

/// A message under way; dropped, it has been handled. While the thread panics, it has failed.
#[must_use = "a message whose handling is dropped has been handled"]
pub struct Handling {
    connection: Arc<Connection>,
    span: Option<Span>,
    start: Instant,
    kind: MessageKind,
    size: usize,
    event: Cow<'static, str>,
    error: Cow<'static, str>,
}

impl std::fmt::Debug for Handling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handling")
            .field("kind", &self.kind)
            .field("event", &self.event)
            .finish_non_exhaustive()
    }
}

impl Handling {
    fn begin(connection: &Arc<Connection>, kind: MessageKind, size: usize, start: Instant) -> Self {
        connection.received();
        let span = connection.settings.how.message_spans.then(|| {
            tracing::info_span!(
                target: "tachograph::signal",
                parent: connection.span(),
                "websocket.receive",
                otel.kind = "consumer",
                otel.status_code = Empty,
                "websocket.namespace" = connection.namespace(),
                "websocket.message.kind" = kind.as_str(),
                "websocket.message.size" = size as u64,
                "websocket.event.type" = Empty,
                "status" = Empty,
                "error.type" = Empty,
            )
        });
        Self {
            connection: Arc::clone(connection),
            span,
            start,
            kind,
            size,
            event: Cow::Borrowed(""),
            error: Cow::Borrowed(""),
        }
    }

    /// Says what the message is to the application, such as `chat_message`; one of few.
    pub fn event_type(&mut self, event: impl Into<Cow<'static, str>>) {
        self.event = event.into();
    }

    /// Says that the message cannot be handled, and why, in a word, such as `unknown_event`.
    pub fn fail(&mut self, why: impl Into<Cow<'static, str>>) {
        self.error = why.into();
    }

    /// The span of this message where they were asked for, else that of the connection.
    #[must_use]
    pub fn span(&self) -> &Span {
        self.span.as_ref().unwrap_or(self.connection.span())
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        if self.error.is_empty() && std::thread::panicking() {
            self.error = Cow::Borrowed("panic");
        }
        let failed = !self.error.is_empty();
        let status = match failed {
            true => HandlingStatus::Failed,
            false => HandlingStatus::Success,
        };
        let namespace = self.connection.namespace();
        let end = WebsocketReceiveEnd {
            kind: self.kind,
            event: &self.event,
            status,
            error: &self.error,
            size: Some(self.size as f64),
        };
        let took = self.start.elapsed();
        // In the span, so that an exemplar points to it.
        self.span()
            .in_scope(|| WebsocketReceive { namespace }.record(end, took));
        if failed {
            self.connection.error(ErrorKind::Handling);
        }
        if let Some(span) = &self.span {
            span.record("status", status.as_str());
            if !self.event.is_empty() {
                span.record("websocket.event.type", &*self.event);
            }
            if failed {
                span.record("error.type", &*self.error);
                span.record("otel.status_code", "ERROR");
            }
        }
    }
}
