//! Connections that are sent to together.

use std::collections::HashMap;
use std::sync::Arc;

use actix_ws::Message;
use parking_lot::Mutex;

use super::Session;
use crate::signals::websocket::{
    RoomChange, WebsocketBroadcast, WebsocketMembers, WebsocketRoomChange, WebsocketRooms,
};

/// There are as many rooms as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {0} rooms, and no more may be made")]
pub struct RoomsFull(pub usize);

/// Rooms of a namespace and who is in them; cheap to clone. A room exists while it has members.
/// Names of rooms are not recorded. One for each namespace, shared by all workers.
///
/// ```
/// use tachograph::instrumentation::websocket::{Message, Rooms};
///
/// let rooms = Rooms::new("/chat", 10_000);
/// // In the task of a connection: `let _member = rooms.join("general", &session)?;`
/// assert_eq!(rooms.broadcast("general", "chat_message", Message::Text("hello".into())), 0);
/// ```
#[derive(Clone)]
pub struct Rooms(Arc<Shared>);

struct Shared {
    namespace: String,
    max_rooms: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rooms: HashMap<String, HashMap<u64, Session>>,
    members: usize,
    last: u64,
}

impl std::fmt::Debug for Rooms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.0.state.lock();
        f.debug_struct("Rooms")
            .field("namespace", &self.0.namespace)
            .field("rooms", &state.rooms.len())
            .field("members", &state.members)
            .finish()
    }
}

impl Rooms {
    /// None yet, and so many at most.
    #[must_use]
    pub fn new(namespace: &str, max_rooms: usize) -> Self {
        let shared = Shared {
            namespace: namespace.to_owned(),
            max_rooms,
            state: Mutex::default(),
        };
        shared.show(&shared.state.lock());
        Self(Arc::new(shared))
    }

    /// Puts a connection into a room, until what is returned is dropped. Keep that in the task
    /// that serves the connection: it holds a [`Session`].
    ///
    /// # Errors
    /// The room does not exist yet, and no more may be made.
    pub fn join(&self, room: &str, session: &Session) -> Result<Member, RoomsFull> {
        let shared = &self.0;
        let mut state = shared.state.lock();
        if !state.rooms.contains_key(room) && state.rooms.len() >= shared.max_rooms {
            drop(state);
            shared.changed(RoomChange::Refused);
            return Err(RoomsFull(shared.max_rooms));
        }
        state.last += 1;
        state.members += 1;
        let id = state.last;
        let members = state.rooms.entry(room.to_owned()).or_default();
        members.insert(id, session.clone());
        shared.show(&state);
        drop(state);
        shared.changed(RoomChange::Joined);
        Ok(Member {
            rooms: Arc::clone(shared),
            room: room.to_owned(),
            id,
        })
    }

    /// Sends text or bytes to all members of a room, without waiting for any: a member whose
    /// queue is full does not get it, which is counted as a message that was not sent. Returns
    /// how many got it. Pieces of messages, which others could come between, are not sent.
    pub fn broadcast(&self, room: &str, event: &str, message: Message) -> usize {
        let copy = || match &message {
            Message::Text(text) => Some(Message::Text(text.clone())),
            Message::Binary(bytes) => Some(Message::Binary(bytes.clone())),
            _ => None,
        };
        let namespace = &*self.0.namespace;
        WebsocketBroadcast { namespace, event }.add(1);
        let members: Vec<Session> = {
            let state = self.0.state.lock();
            let members = state.rooms.get(room);
            members.map_or_else(Vec::new, |members| members.values().cloned().collect())
        };
        let sent = |member: &&Session| {
            copy().is_some_and(|message| member.try_send(event, message).is_ok())
        };
        members.iter().filter(sent).count()
    }

    /// Members of a room.
    #[must_use]
    pub fn members(&self, room: &str) -> usize {
        let state = self.0.state.lock();
        state.rooms.get(room).map_or(0, HashMap::len)
    }
}

impl Shared {
    /// Puts on the page what there is. Called with the lock held, so that the latest stays.
    fn show(&self, state: &State) {
        let namespace = &*self.namespace;
        WebsocketRooms { namespace }.set(state.rooms.len() as f64);
        WebsocketMembers { namespace }.set(state.members as f64);
    }

    fn changed(&self, change: RoomChange) {
        let namespace = &*self.namespace;
        WebsocketRoomChange { namespace, change }.add(1);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let namespace = &*self.namespace;
        WebsocketRooms { namespace }.remove();
        WebsocketMembers { namespace }.remove();
    }
}

/// A connection in a room; it leaves when this is dropped.
#[must_use = "a member leaves when this is dropped"]
pub struct Member {
    rooms: Arc<Shared>,
    room: String,
    id: u64,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").finish_non_exhaustive()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = self.rooms.state.lock();
        let Some(members) = state.rooms.get_mut(&self.room) else {
            return;
        };
        let left = members.remove(&self.id);
        if members.is_empty() {
            state.rooms.remove(&self.room);
        }
        state.members = state.members.saturating_sub(usize::from(left.is_some()));
        self.rooms.show(&state);
        drop(state);
        self.rooms.changed(RoomChange::Left);
        // Dropping a connection records, which is not done under the lock.
        drop(left);
    }
}
