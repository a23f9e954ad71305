//! The append-only hash table from label tuples to entries.
//!
//! Reads are wait-free and write nothing shared. Inserts take a mutex. An outgrown
//! generation is kept until the table is dropped, so a reader never waits for it to go.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;
use parking_lot::Mutex;

/// Generations of a table; each is twice as large as the one before.
const GENERATIONS: usize = 24;
const FIRST: usize = 16;

/// A label tuple: closed labels packed eight bits each, open labels as text, both in order of
/// declaration.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a, const N: usize> {
    /// Positions of the closed labels' values.
    pub closed: u64,
    /// Values of the open labels; empty: absent.
    pub open: [&'a str; N],
}

pub(super) struct Entry<const N: usize, B> {
    pub(super) closed: u64,
    pub(super) open: [Arc<str>; N],
    pub(super) bundle: B,
}

impl<const N: usize, B> Entry<N, B> {
    #[inline]
    fn matches(&self, key: &Key<'_, N>) -> bool {
        if self.closed != key.closed {
            return false;
        }
        let mut i = 0;
        while i < N {
            if !same(self.open[i].as_bytes(), key.open[i].as_bytes()) {
                return false;
            }
            i += 1;
        }
        true
    }
}

/// Equality by words: labels are short, and a call of `memcmp` costs more than they do.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    let len = a.len();
    if len != b.len() {
        return false;
    }
    if let (Some(x), Some(y)) = (a.last_chunk::<8>(), b.last_chunk::<8>()) {
        if x != y {
            return false;
        }
        let (mut a, mut b) = (a, b);
        while a.len() > 8 {
            let (Some((x, rest_a)), Some((y, rest_b))) =
                (a.split_first_chunk::<8>(), b.split_first_chunk::<8>())
            else {
                return false;
            };
            if x != y {
                return false;
            }
            (a, b) = (rest_a, rest_b);
        }
        return true;
    }
    if let (Some(x), Some(y)) = (a.first_chunk::<4>(), b.first_chunk::<4>()) {
        return x == y && a.last_chunk::<4>() == b.last_chunk::<4>();
    }
    let mut i = 0;
    while i < len {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

struct Slot<const N: usize, B>(OnceLock<(u64, Arc<Entry<N, B>>)>);

pub(super) struct Table<const N: usize, B> {
    generations: [OnceLock<Box<[Slot<N, B>]>>; GENERATIONS],
    current: AtomicUsize,
    len: Mutex<usize>,
    state: RandomState,
}

impl<const N: usize, B> Table<N, B> {
    pub(super) fn new() -> Self {
        let table = Self {
            generations: [const { OnceLock::new() }; GENERATIONS],
            current: AtomicUsize::new(0),
            len: Mutex::new(0),
            state: RandomState::default(),
        };
        let _ = table.generations[0].set(slots(FIRST));
        table
    }

    #[inline]
    fn hash(&self, key: &Key<'_, N>) -> u64 {
        let mut hasher = self.state.build_hasher();
        hasher.write_u64(key.closed);
        let mut i = 0;
        while i < N {
            hasher.write(key.open[i].as_bytes());
            i += 1;
        }
        hasher.finish()
    }

    #[inline(always)]
    pub(super) fn get(&self, key: Key<'_, N>) -> Option<&Entry<N, B>> {
        let slots = self.generations[self.current.load(Ordering::Acquire)].get()?;
        let hash = self.hash(&key);
        let mask = slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let (found, entry) = slots[at].0.get()?;
            if *found == hash && entry.matches(&key) {
                return Some(entry);
            }
            at = (at + 1) & mask;
        }
    }

    /// Number of entries.
    #[cfg(test)]
    fn len(&self) -> usize {
        *self.len.lock()
    }

    /// Returns the entry of a key; makes it with `make` if there is none. `admit` sees how
    /// many entries there are and may refuse one more.
    #[cold]
    pub(super) fn insert(
        &self,
        key: Key<'_, N>,
        admit: impl FnOnce(usize) -> bool,
        make: impl FnOnce(&[Arc<str>; N]) -> B,
        intern: impl FnOnce() -> [Arc<str>; N],
    ) -> Option<&Entry<N, B>> {
        let mut len = self.len.lock();
        if let Some(entry) = self.get(key) {
            return Some(entry);
        }
        if !admit(*len) {
            return None;
        }
        let open = intern();
        let bundle = make(&open);
        let entry = Arc::new(Entry {
            closed: key.closed,
            open,
            bundle,
        });
        let hash = self.hash(&key);
        let current = self.current.load(Ordering::Acquire);
        let slots_now = self.generations[current].get()?;
        if (*len + 1) * 2 > slots_now.len() && current + 1 < GENERATIONS {
            let larger = slots(slots_now.len() * 2);
            for slot in slots_now {
                if let Some((hash, entry)) = slot.0.get() {
                    place(&larger, *hash, Arc::clone(entry));
                }
            }
            place(&larger, hash, entry);
            let _ = self.generations[current + 1].set(larger);
            self.current.store(current + 1, Ordering::Release);
        } else {
            place(slots_now, hash, entry);
        }
        *len += 1;
        self.get(key)
    }
}

fn slots<const N: usize, B>(count: usize) -> Box<[Slot<N, B>]> {
    (0..count).map(|_| Slot(OnceLock::new())).collect()
}

fn place<const N: usize, B>(slots: &[Slot<N, B>], hash: u64, entry: Arc<Entry<N, B>>) {
    let mask = slots.len() - 1;
    let mut at = hash as usize & mask;
    let mut item = (hash, entry);
    while let Err(back) = slots[at].0.set(item) {
        item = back;
        at = (at + 1) & mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(closed: u64, open: &str) -> Key<'_, 1> {
        Key {
            closed,
            open: [open],
        }
    }

    fn insert(table: &Table<1, u32>, closed: u64, open: &str, limit: usize) -> bool {
        table
            .insert(
                key(closed, open),
                |len| len < limit,
                |_| 7,
                || [Arc::from(open)],
            )
            .is_some()
    }

    #[test]
    fn finds_what_was_inserted_across_generations() {
        let table = Table::<1, u32>::new();
        for i in 0..5_000_u64 {
            assert!(insert(&table, i % 7, &format!("value-{i}"), usize::MAX));
        }
        assert_eq!(table.len(), 5_000);
        for i in 0..5_000_u64 {
            let text = format!("value-{i}");
            assert!(table.get(key(i % 7, &text)).is_some());
            assert!(table.get(key(i % 7 + 1, &text)).is_none());
        }
    }

    #[test]
    fn equality_by_words_is_equality() {
        let text = "the quick brown fox jumps over the lazy dog".as_bytes();
        for len in 0..text.len() {
            let a = &text[..len];
            let copy = a.to_vec();
            assert!(same(a, &copy));
            assert!(!same(a, &text[..len + 1]));
            for i in 0..len {
                let mut b = a.to_vec();
                b[i] ^= 1;
                assert!(!same(a, &b), "{len} {i}");
            }
        }
    }

    #[test]
    fn limit_is_exact_under_concurrent_inserts() {
        let table = Table::<1, u32>::new();
        std::thread::scope(|scope| {
            for t in 0..4 {
                let table = &table;
                scope.spawn(move || {
                    for i in 0..1_000 {
                        insert(table, 0, &format!("{}", (i * 4 + t) % 1_500), 300);
                    }
                });
            }
        });
        assert_eq!(table.len(), 300);
    }
}
