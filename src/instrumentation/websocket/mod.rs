//! WebSockets, over actix-ws.
//!
//! [`handle`] opens a connection as `actix_ws::handle` does, and gives a [`Session`] and a
//! [`MessageStream`] that are recorded as [`signals::websocket`](crate::signals::websocket):
//! connections and how they end, messages with the time to handle them, pings, errors. It
//! answers pings and closes, pings the client itself, and gives up on one that does not answer.
//! [`Rooms`] sends to many at once. Contents of messages are never recorded.
//!
//! ```
//! use actix_web::{HttpRequest, HttpResponse, rt, web};
//! use tachograph::instrumentation::websocket::{self, Message, Received, WebSocket};
//! use tracing::Instrument as _;
//!
//! async fn chat(
//!     request: HttpRequest,
//!     payload: web::Payload,
//!     socket: web::Data<WebSocket>,
//! ) -> actix_web::Result<HttpResponse> {
//!     let (response, mut session, mut messages) = websocket::handle(&request, payload, &socket)?;
//!     let span = session.span().clone();
//!     let serving = async move {
//!         // What is received is handled when its `handling` is dropped: at the end of the turn.
//!         while let Some(Ok(Received { message, mut handling })) = messages.recv().await {
//!             handling.event_type("chat_message");
//!             if let Message::Text(text) = message
//!                 && session.text_as("chat_message", text).await.is_err()
//!             {
//!                 break;
//!             }
//!         }
//!         session.close(None).await;
//!     };
//!     rt::spawn(serving.instrument(span));
//!     Ok(response)
//! }
//! # let _ = chat;
//! ```

mod connection;
mod frame;
mod heartbeat;
mod rooms;
mod session;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use actix_web::error::ErrorServiceUnavailable;
use actix_web::http::header::SEC_WEBSOCKET_PROTOCOL;
use actix_web::{HttpRequest, HttpResponse, web};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use self::connection::Connection;
use crate::signals::websocket::{ErrorKind, Handshake, WebsocketError, WebsocketHandshake};

pub use actix_ws::{
    AggregatedMessage, CloseCode, CloseReason, Closed, Item, Message, ProtocolError,
};
pub use rooms::{Member, Rooms, RoomsFull};
pub use session::{NotSent, Session};
pub use stream::{Handling, MessageStream, Received};

/// How connections are to be.
#[derive(Clone, Debug)]
#[must_use = "`build` makes it"]
pub struct WebSocketBuilder {
    namespace: String,
    ping_interval: Option<Duration>,
    missed_pongs: u32,
    max_connections: usize,
    max_frame_size: Option<usize>,
    protocols: Vec<String>,
    message_spans: bool,
}

impl WebSocketBuilder {
    /// Time between two pings of a client; 30 s unless given, and none with [`Duration::ZERO`].
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.ping_interval = (!interval.is_zero()).then_some(interval);
        self
    }

    /// After how many pings in a row without an answer a client is given up; 2 unless given, at
    /// least 1.
    pub fn missed_pongs(mut self, pings: u32) -> Self {
        self.missed_pongs = pings.max(1);
        self
    }

    /// Connections at most, over all workers; 10,000 unless given. More are answered with 503.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections.min(Semaphore::MAX_PERMITS);
        self
    }

    /// Bytes that a frame may have; 64 KiB unless given. A connection that sends more is closed
    /// with code 1009.
    pub fn max_frame_size(mut self, bytes: usize) -> Self {
        self.max_frame_size = Some(bytes);
        self
    }

    /// Protocols that may be agreed on (`Sec-WebSocket-Protocol`); none unless given.
    pub fn protocols(mut self, protocols: &[&str]) -> Self {
        self.protocols = protocols.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// Whether each message that comes has a span of its own, below that of its connection. Off
    /// unless asked for, as they are many.
    pub fn message_spans(mut self, on: bool) -> Self {
        self.message_spans = on;
        self
    }

    /// What connections are opened with.
    #[must_use]
    pub fn build(self) -> WebSocket {
        WebSocket(Arc::new(Settings {
            permits: Arc::new(Semaphore::new(self.max_connections)),
            stop: watch::Sender::new(false),
            how: self,
        }))
    }
}

struct Settings {
    how: WebSocketBuilder,
    permits: Arc<Semaphore>,
    stop: watch::Sender<bool>,
}

impl Settings {
    fn namespace(&self) -> &str {
        &self.how.namespace
    }

    /// Leave for one more connection.
    fn admit(&self) -> Option<OwnedSemaphorePermit> {
        if *self.stop.borrow() {
            return None;
        }
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }

    fn shaken(&self, result: Handshake, error: Option<ErrorKind>) {
        let namespace = self.namespace();
        WebsocketHandshake { namespace, result }.add(1);
        if let Some(kind) = error {
            WebsocketError { namespace, kind }.add(1);
        }
    }
}

/// What the connections of a namespace share; cheap to clone. One for all workers, made before
/// the server is, or the limit is for each alone.
#[derive(Clone)]
pub struct WebSocket(Arc<Settings>);

impl std::fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.how.fmt(f)
    }
}

impl WebSocket {
    /// Connections of a namespace, which is what they are for, such as `/chat`: the pattern of
    /// their route, never a path with values of it.
    pub fn builder(namespace: &str) -> WebSocketBuilder {
        WebSocketBuilder {
            namespace: namespace.to_owned(),
            ping_interval: Some(Duration::from_secs(30)),
            missed_pongs: 2,
            max_connections: 10_000,
            max_frame_size: None,
            protocols: Vec::new(),
            message_spans: false,
        }
    }

    /// Ends all connections with code 1001, and refuses new ones. To be called when the server
    /// stops, before it waits for its connections.
    pub fn shutdown(&self) {
        self.0.stop.send_replace(true);
    }
}

/// Opens a connection: its answer, the way to the client, and what comes from it. The span of
/// the connection is below that of the request.
///
/// # Errors
/// The request is not one for a WebSocket, or there are as many connections as there may be; the
/// error is the answer to it.
pub fn handle(
    request: &HttpRequest,
    payload: web::Payload,
    socket: &WebSocket,
) -> Result<(HttpResponse, Session, MessageStream), actix_web::Error> {
    let settings = &socket.0;
    let Some(permit) = settings.admit() else {
        settings.shaken(Handshake::Refused, Some(ErrorKind::Refused));
        return Err(ErrorServiceUnavailable("no more connections are accepted"));
    };
    let protocols: Vec<&str> = settings.how.protocols.iter().map(|name| &**name).collect();
    let opened = actix_ws::handle_with_protocols(request, payload, &protocols);
    let (response, session, messages) = opened.inspect_err(|_| {
        settings.shaken(Handshake::Invalid, Some(ErrorKind::Handshake));
    })?;
    settings.shaken(Handshake::Connected, None);
    let protocol = response.headers().get(SEC_WEBSOCKET_PROTOCOL);
    let protocol = protocol.and_then(|name| name.to_str().ok());
    let connection = Connection::open(settings, permit, protocol);
    let messages = match settings.how.max_frame_size {
        Some(bytes) => messages.max_frame_size(bytes),
        None => messages,
    };
    let messages = MessageStream::new(messages, session.clone(), Arc::clone(&connection));
    Ok((response, Session::new(session, connection), messages))
}
