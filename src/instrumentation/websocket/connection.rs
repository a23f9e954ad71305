//! One connection: its span, and its end, which whoever learns of it first records.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_ws::{CloseCode, CloseReason};
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tracing::Span;

use super::Settings;
use super::frame::class;
use crate::recording::Active;
use crate::signals::websocket::{
    CloseClass, ControlKind, Direction, Disconnect, ErrorKind, WebsocketConnection,
    WebsocketConnectionEnd, WebsocketControl, WebsocketError,
};

/// Open labels of a connection.
const OPEN: usize = 1;

pub(super) struct Connection {
    pub(super) settings: Arc<Settings>,
    span: Span,
    running: Mutex<Option<Running>>,
    received: AtomicU64,
    sent: AtomicU64,
}

/// What a connection holds until it ends.
struct Running {
    active: Active<WebsocketConnection<'static>, OPEN>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    pub(super) fn open(
        settings: &Arc<Settings>,
        permit: OwnedSemaphorePermit,
        protocol: Option<&str>,
    ) -> Arc<Self> {
        let namespace = settings.namespace();
        let active = WebsocketConnection { namespace }.start();
        if let Some(protocol) = protocol {
            active.context(WebsocketConnection::SUBPROTOCOL, protocol);
        }
        Arc::new(Self {
            settings: Arc::clone(settings),
            span: active.span().clone(),
            running: Mutex::new(Some(Running {
                active,
                _permit: permit,
            })),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        })
    }

    pub(super) fn namespace(&self) -> &str {
        self.settings.namespace()
    }

    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    /// A message came.
    pub(super) fn received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    /// A message was sent.
    pub(super) fn sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn control(&self, direction: Direction, kind: ControlKind) {
        let namespace = self.namespace();
        let frame = WebsocketControl {
            namespace,
            direction,
            kind,
        };
        self.span.in_scope(|| frame.add(1));
    }

    pub(super) fn error(&self, kind: ErrorKind) {
        let namespace = self.namespace();
        let error = WebsocketError { namespace, kind };
        self.span.in_scope(|| error.add(1));
    }

    /// It has ended. Only the first end counts: what follows is its consequence.
    pub(super) fn end(
        &self,
        reason: Disconnect,
        error: Option<ErrorKind>,
        close: Option<&CloseReason>,
    ) {
        let running = self.running.lock().take();
        let Some(Running { active, .. }) = running else {
            return;
        };
        if let Some(close) = close {
            let code = i64::from(u16::from(close.code));
            active.context(WebsocketConnection::CLOSE_CODE, code);
        }
        self.counts(&active);
        let close = close.map_or(CloseClass::Absent, |close| class(close.code));
        active.finish(WebsocketConnectionEnd { reason, close });
        if let Some(kind) = error {
            self.error(kind);
        }
    }

    /// The application closes it.
    pub(super) fn end_by_server(&self, close: Option<&CloseReason>) {
        let (reason, error) = match close.map(|close| close.code) {
            Some(CloseCode::Away | CloseCode::Restart) => (Disconnect::Shutdown, None),
            Some(CloseCode::Error) => (Disconnect::Failed, Some(ErrorKind::Server)),
            _ => (Disconnect::Server, None),
        };
        self.end(reason, error, close);
    }

    fn counts(&self, active: &Active<WebsocketConnection<'static>, OPEN>) {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        active.context(WebsocketConnection::RECEIVED, count(&self.received));
        active.context(WebsocketConnection::SENT, count(&self.sent));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Nobody has it any more, and nobody has ended it.
        if let Some(running) = self.running.get_mut().take() {
            self.counts(&running.active);
        }
    }
}
