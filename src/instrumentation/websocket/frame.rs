//! What comes, told apart: messages of the application and frames about the connection.

use actix_web::error::PayloadError;
use actix_web::web::Bytes;
use actix_ws::{AggregatedMessage, CloseCode, CloseReason, Item, Message, ProtocolError};

use crate::signals::websocket::{CloseClass, Disconnect, ErrorKind, MessageKind};

/// What came.
pub enum Incoming<M> {
    /// A message of the application, and its bytes.
    Message(MessageKind, usize, M),
    /// The other side asks whether this one is there.
    Ping(Bytes),
    /// The answer to a ping.
    Pong(Bytes),
    /// The other side closes the connection.
    Close(Option<CloseReason>),
    /// Nothing.
    Nothing,
}

/// A message of actix-ws.
pub trait Frame: Sized {
    /// What it is.
    fn told_apart(self) -> Incoming<Self>;
}

impl Frame for Message {
    fn told_apart(self) -> Incoming<Self> {
        if let Some((kind, size)) = measured(&self) {
            return Incoming::Message(kind, size, self);
        }
        match self {
            Self::Ping(bytes) => Incoming::Ping(bytes),
            Self::Pong(bytes) => Incoming::Pong(bytes),
            Self::Close(reason) => Incoming::Close(reason),
            _ => Incoming::Nothing,
        }
    }
}

impl Frame for AggregatedMessage {
    fn told_apart(self) -> Incoming<Self> {
        match self {
            Self::Text(ref text) => Incoming::Message(MessageKind::Text, text.len(), self),
            Self::Binary(ref bytes) => Incoming::Message(MessageKind::Binary, bytes.len(), self),
            Self::Ping(bytes) => Incoming::Ping(bytes),
            Self::Pong(bytes) => Incoming::Pong(bytes),
            Self::Close(reason) => Incoming::Close(reason),
        }
    }
}

/// Kind and bytes of a message; `None` of a frame that is about the connection.
pub(super) fn measured(message: &Message) -> Option<(MessageKind, usize)> {
    Some(match message {
        Message::Text(text) => (MessageKind::Text, text.len()),
        Message::Binary(bytes) => (MessageKind::Binary, bytes.len()),
        Message::Continuation(
            Item::FirstText(bytes)
            | Item::FirstBinary(bytes)
            | Item::Continue(bytes)
            | Item::Last(bytes),
        ) => (MessageKind::Continuation, bytes.len()),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Nop => return None,
    })
}

/// The class of a close code.
pub(super) fn class(code: CloseCode) -> CloseClass {
    match u16::from(code) {
        1000 => CloseClass::Normal,
        1001 => CloseClass::Away,
        1002 | 1003 | 1007 | 1010 => CloseClass::Protocol,
        1008 => CloseClass::Policy,
        1009 => CloseClass::TooBig,
        1011 => CloseClass::Error,
        1012 | 1013 => CloseClass::Restart,
        _ => CloseClass::Application,
    }
}

/// How a connection ends whose stream says this, and the code to close it with.
pub(super) fn fault(error: &ProtocolError) -> (Disconnect, ErrorKind, Option<CloseCode>) {
    match error {
        ProtocolError::Overflow => too_large(),
        ProtocolError::Io(error) => match error.get_ref() {
            Some(inner) if inner.is::<PayloadError>() => {
                (Disconnect::Lost, ErrorKind::ConnectionLost, None)
            }
            // Text that is none.
            _ if error.kind() == std::io::ErrorKind::InvalidData => (
                Disconnect::Protocol,
                ErrorKind::Protocol,
                Some(CloseCode::Invalid),
            ),
            // Pieces that are too large together.
            _ => too_large(),
        },
        _ => (
            Disconnect::Protocol,
            ErrorKind::Protocol,
            Some(CloseCode::Protocol),
        ),
    }
}

fn too_large() -> (Disconnect, ErrorKind, Option<CloseCode>) {
    let code = Some(CloseCode::Size);
    (Disconnect::Protocol, ErrorKind::TooLarge, code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_class() {
        for (code, expected) in [
            (1000, CloseClass::Normal),
            (1001, CloseClass::Away),
            (1002, CloseClass::Protocol),
            (1003, CloseClass::Protocol),
            (1007, CloseClass::Protocol),
            (1008, CloseClass::Policy),
            (1009, CloseClass::TooBig),
            (1010, CloseClass::Protocol),
            (1011, CloseClass::Error),
            (1012, CloseClass::Restart),
            (1013, CloseClass::Restart),
            (3000, CloseClass::Application),
            (4999, CloseClass::Application),
            (0, CloseClass::Application),
        ] {
            assert_eq!(class(CloseCode::from(code)), expected, "{code}");
        }
    }

    #[test]
    fn a_lost_connection_is_told_from_bad_text_and_from_too_much() {
        let io = |error: std::io::Error| fault(&ProtocolError::Io(error));
        let lost = io(std::io::Error::other(PayloadError::Incomplete(None)));
        assert_eq!(
            (lost.0, lost.1),
            (Disconnect::Lost, ErrorKind::ConnectionLost)
        );
        let text = io(std::io::ErrorKind::InvalidData.into());
        assert_eq!(
            (text.0, text.2),
            (Disconnect::Protocol, Some(CloseCode::Invalid))
        );
        let pieces = io(std::io::Error::other("too many"));
        assert_eq!(
            (pieces.1, pieces.2),
            (ErrorKind::TooLarge, Some(CloseCode::Size))
        );
        assert_eq!(fault(&ProtocolError::Overflow), pieces);
        let frame = fault(&ProtocolError::UnmaskedFrame);
        assert_eq!(
            (frame.1, frame.2),
            (ErrorKind::Protocol, Some(CloseCode::Protocol))
        );
    }
}
