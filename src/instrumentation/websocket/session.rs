//! The way to the client.

use std::sync::Arc;
use std::time::Instant;

use actix_web::web::Bytes;
use actix_ws::{CloseReason, Closed, Item, Message};
use bytestring::ByteString;
use futures_util::FutureExt as _;
use tracing::Span;

use super::connection::Connection;
use super::frame::measured;
use crate::signals::websocket::{
    ControlKind, Direction, ErrorKind, MessageKind, SendStatus, WebsocketSend, WebsocketSendEnd,
};

/// Why a message was not sent at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
    /// The client reads more slowly than is sent to it.
    #[error("the connection's queue is full")]
    Full,
}

/// Sends to one client; cheap to clone. The connection stays open while there is one.
///
/// Messages wait in a queue of 32; who sends more waits until the client has read.
#[derive(Clone)]
pub struct Session {
    inner: actix_ws::Session,
    connection: Arc<Connection>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("namespace", &self.connection.namespace())
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(inner: actix_ws::Session, connection: Arc<Connection>) -> Self {
        Self { inner, connection }
    }

    /// The span of the connection, to be in force where it is served.
    #[must_use]
    pub fn span(&self) -> &Span {
        self.connection.span()
    }

    /// Sends text.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn text(&mut self, text: impl Into<ByteString>) -> Result<(), Closed> {
        self.text_as("", text).await
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn binary(&mut self, bytes: impl Into<Bytes>) -> Result<(), Closed> {
        self.binary_as("", bytes).await
    }

    /// Sends text that is this to the application, such as `chat_message`; one of few.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn text_as(
        &mut self,
        event: &str,
        text: impl Into<ByteString>,
    ) -> Result<(), Closed> {
        self.send(event, Message::Text(text.into())).await
    }

    /// Sends bytes that are this to the application; one of few.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn binary_as(&mut self, event: &str, bytes: impl Into<Bytes>) -> Result<(), Closed> {
        self.send(event, Message::Binary(bytes.into())).await
    }

    /// Sends a piece of a message.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn continuation(&mut self, piece: Item) -> Result<(), Closed> {
        self.send("", Message::Continuation(piece)).await
    }

    async fn send(&mut self, event: &str, message: Message) -> Result<(), Closed> {
        let sending = Sending::begin(&self.connection, event, &message);
        let result = put(&mut self.inner, message).await;
        let status = match result {
            Ok(()) => SendStatus::Success,
            Err(Closed) => SendStatus::Closed,
        };
        sending.end(status);
        result
    }

    /// Sends a message without waiting: text, bytes or a piece. Other frames are not sent, as
    /// they are sent when they are due.
    ///
    /// # Errors
    /// The connection is closed, or its queue is full.
    pub fn try_send(&self, event: &str, message: Message) -> Result<(), NotSent> {
        if measured(&message).is_none() {
            return Ok(());
        }
        let sending = Sending::begin(&self.connection, event, &message);
        // A clone: what waits in vain must not keep its place in the queue.
        let mut inner = self.inner.clone();
        let (status, result) = match put(&mut inner, message).now_or_never() {
            Some(Ok(())) => (SendStatus::Success, Ok(())),
            Some(Err(Closed)) => (SendStatus::Closed, Err(NotSent::Closed)),
            None => (SendStatus::Full, Err(NotSent::Full)),
        };
        sending.end(status);
        result
    }

    /// Closes the connection, if it is not closed already. The code tells the records why:
    /// [`CloseCode::Error`](super::CloseCode::Error) that the application could not go on,
    /// [`CloseCode::Away`](super::CloseCode::Away) that it stops.
    pub async fn close(self, reason: Option<CloseReason>) {
        let Self { inner, connection } = self;
        connection.end_by_server(reason.as_ref());
        if inner.close(reason).await.is_ok() {
            connection.control(Direction::Sent, ControlKind::Close);
        }
    }
}

/// Puts a message into a connection's queue.
async fn put(inner: &mut actix_ws::Session, message: Message) -> Result<(), Closed> {
    match message {
        Message::Text(text) => inner.text(text).await,
        Message::Binary(bytes) => inner.binary(bytes).await,
        Message::Continuation(piece) => inner.continuation(piece).await,
        _ => Ok(()),
    }
}

/// A message that is being sent; ends as abandoned unless somebody says how it ended.
struct Sending<'a> {
    connection: &'a Connection,
    event: &'a str,
    kind: MessageKind,
    size: usize,
    start: Instant,
    status: SendStatus,
}

impl<'a> Sending<'a> {
    fn begin(connection: &'a Connection, event: &'a str, message: &Message) -> Self {
        let (kind, size) = measured(message).unwrap_or((MessageKind::Unknown, 0));
        Self {
            connection,
            event,
            kind,
            size,
            start: Instant::now(),
            status: SendStatus::Abandoned,
        }
    }

    fn end(mut self, status: SendStatus) {
        self.status = status;
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        let Self {
            connection,
            event,
            kind,
            status,
            ..
        } = *self;
        let namespace = connection.namespace();
        let sent = status == SendStatus::Success;
        let size = sent.then_some(self.size as f64);
        let end = WebsocketSendEnd { kind, status, size };
        let took = self.start.elapsed();
        connection
            .span()
            .in_scope(|| WebsocketSend { namespace, event }.record(end, took));
        if sent {
            connection.sent();
        } else if status != SendStatus::Abandoned {
            connection.error(ErrorKind::Send);
        }
    }
}
