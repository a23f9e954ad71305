//! What is remembered for a minute, to tell what arrives late from what is new. Nothing is
//! wrong without it: after a restart, ends whose beginnings come after them are not paired.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::ingest::records::Report;

/// How long it is remembered.
const KEPT: SignedDuration = SignedDuration::from_secs(60);
/// How many of a kind at most.
const MOST: usize = 1_024;

/// Sessions that ended and ends without beginnings.
#[derive(Debug, Default)]
pub(super) struct Recent {
    sessions: Mutex<HashMap<String, Timestamp>>,
    ends: Mutex<HashMap<Uuid, (Report, Timestamp)>>,
}

fn fresh(then: Timestamp, now: Timestamp) -> bool {
    now.duration_since(then) < KEPT
}

impl Recent {
    /// A session ended.
    pub(super) fn end(&self, session: &str, now: Timestamp) {
        let mut sessions = self.sessions.lock();
        if sessions.len() >= MOST {
            sessions.retain(|_, then| fresh(*then, now));
        }
        if sessions.len() < MOST {
            sessions.insert(session.to_owned(), now);
        }
    }

    /// Whether a session ended a moment ago.
    pub(super) fn ended(&self, session: &str, now: Timestamp) -> bool {
        let sessions = self.sessions.lock();
        sessions.get(session).is_some_and(|then| fresh(*then, now))
    }

    /// Keeps an end whose beginning may still come.
    pub(super) fn keep_end(&self, id: Uuid, end: Report, now: Timestamp) {
        let mut ends = self.ends.lock();
        if ends.len() >= MOST {
            ends.retain(|_, (_, then)| fresh(*then, now));
        }
        if ends.len() < MOST
            && let Entry::Vacant(free) = ends.entry(id)
        {
            free.insert((end, now));
        }
    }

    /// The end that came before its beginning, which comes now, and when it came.
    pub(super) fn take_end(&self, id: &Uuid, now: Timestamp) -> Option<(Report, Timestamp)> {
        let kept = self.ends.lock().remove(id);
        kept.filter(|(_, then)| fresh(*then, now))
    }
}
