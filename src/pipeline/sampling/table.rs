//! What is known of every open span, by its id.
//!
//! A table beside the registry instead of the spans' extensions: no lookup in the registry,
//! no boxed value per span. Its size is the number of open spans.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use opentelemetry::Context;
use parking_lot::Mutex;
use tracing::span::Id;

/// Ids, flags and baggage of an open span.
#[derive(Clone, Debug)]
pub(super) struct SpanState {
    /// The context in force inside the span.
    pub context: Context,
    /// Whether tracing-opentelemetry has the span.
    pub recorded: bool,
}

const SHARDS: usize = 64;
/// Entries whose room an empty shard keeps.
const KEPT: usize = 256;

/// On cache lines of its own, so that threads with spans of their own do not share any.
#[derive(Default)]
#[repr(align(128))]
struct Shard(Mutex<HashMap<u64, SpanState, FixedState>>);

pub(super) struct SpanTable(Box<[Shard]>);

impl SpanTable {
    pub fn new() -> Self {
        Self((0..SHARDS).map(|_| Shard::default()).collect())
    }

    fn shard(&self, id: &Id) -> &Mutex<HashMap<u64, SpanState, FixedState>> {
        let spread = id.into_u64().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &self.0[(spread >> 58) as usize % SHARDS].0
    }

    pub fn insert(&self, id: &Id, state: SpanState) {
        // What was there belongs to a span whose close was never reported; dropped after
        // the lock, because a context's values are the application's.
        let stale = self.shard(id).lock().insert(id.into_u64(), state);
        drop(stale);
    }

    pub fn get(&self, id: &Id) -> Option<SpanState> {
        self.shard(id).lock().get(&id.into_u64()).cloned()
    }

    pub fn recorded(&self, id: &Id) -> bool {
        let shard = self.shard(id).lock();
        shard
            .get(&id.into_u64())
            .is_some_and(|state| state.recorded)
    }

    pub fn remove(&self, id: &Id) -> Option<SpanState> {
        let mut shard = self.shard(id).lock();
        let state = shard.remove(&id.into_u64());
        if shard.is_empty() && shard.capacity() > KEPT {
            shard.shrink_to(KEPT / 2);
        }
        state
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.iter().map(|shard| shard.0.lock().len()).sum()
    }
}
