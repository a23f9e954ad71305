//! The append-only table from label tuples to entries: by hash, or where all labels are closed
//! and their tuples few, by position.
//!
//! Reads are wait-free and write nothing shared. Inserts take a mutex. An outgrown
//! generation is kept until the table is dropped, so a reader never waits for it to go.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;
use parking_lot::Mutex;

/// Generations of a table; each is twice as large as the one before.
const GENERATIONS: usize = 24;
const FIRST: usize = 16;
/// Bits of the closed labels up to which a table without open ones is indexed by them.
const DENSE_BITS: u32 = 10;

/// A label tuple: closed labels packed into as many bits as each needs, open labels as text, both
/// in order of declaration.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a, const N: usize> {
    /// Positions of the closed labels' values.
    pub closed: u64,
    /// Values of the open labels; empty: absent.
    pub open: [&'a str; N],
}

/// A text as two words and its length: equal ones are equal texts up to 16 bytes, which nearly
/// every label is; of longer ones it is the beginning and the end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Words {
    head: u64,
    tail: u64,
    len: usize,
}

impl Words {
    const WHOLE: usize = 16;
    /// Those of no text.
    pub(super) const EMPTY: Self = Self {
        head: 0,
        tail: 0,
        len: 0,
    };

    /// Whether the text is known from them.
    #[inline(always)]
    pub(super) fn are_whole(&self) -> bool {
        self.len <= Self::WHOLE
    }

    /// The text that they are the whole of.
    pub(super) fn text(&self) -> String {
        let (head, tail) = (self.head.to_le_bytes(), self.tail.to_le_bytes());
        let mut bytes = Vec::with_capacity(Self::WHOLE);
        match self.len {
            0..4 => {
                let head = self.head.to_be_bytes();
                bytes.extend_from_slice(&head[head.len() - self.len..]);
            }
            4..8 => {
                bytes.extend_from_slice(&head[..4]);
                bytes.extend_from_slice(&tail[8 - self.len..4]);
            }
            8..=Self::WHOLE => {
                bytes.extend_from_slice(&head);
                bytes.extend_from_slice(&tail[16 - self.len..]);
            }
            _ => {}
        }
        String::from_utf8(bytes).unwrap_or_default()
    }

    #[inline(always)]
    pub(super) fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        let (head, tail) = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
            (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
            _ => match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
                (Some(head), Some(tail)) => (
                    u64::from(u32::from_le_bytes(*head)),
                    u64::from(u32::from_le_bytes(*tail)),
                ),
                _ => (
                    bytes
                        .iter()
                        .fold(0, |word, byte| word << 8 | u64::from(*byte)),
                    0,
                ),
            },
        };
        Self {
            head,
            tail,
            len: bytes.len(),
        }
    }
}

pub(super) struct Entry<const N: usize, B> {
    pub(super) closed: u64,
    words: [Words; N],
    pub(super) open: [Arc<str>; N],
    pub(super) bundle: B,
}

impl<const N: usize, B> Entry<N, B> {
    #[inline(always)]
    fn matches<'t>(
        &self,
        closed: u64,
        words: impl Fn(usize) -> &'t Words,
        long: impl Fn(usize) -> &'t str,
    ) -> bool {
        if self.closed != closed {
            return false;
        }
        let mut i = 0;
        while i < N {
            let given = words(i);
            if self.words[i] != *given || !given.are_whole() && *self.open[i] != *long(i) {
                return false;
            }
            i += 1;
        }
        true
    }
}

/// The halves of a product, folded together: each bit of the result depends on all of both.
#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

struct Slot<const N: usize, B>(OnceLock<(u64, Arc<Entry<N, B>>)>);

pub(super) struct Table<const N: usize, B> {
    /// Without open labels: the entries by their packed closed ones.
    dense: Box<[OnceLock<Arc<Entry<N, B>>>]>,
    generations: [OnceLock<Box<[Slot<N, B>]>>; GENERATIONS],
    current: AtomicUsize,
    len: Mutex<usize>,
    /// For texts of which the words are not the whole.
    state: RandomState,
    seed: [u64; 2],
    seeds: [[u64; 2]; N],
}

impl<const N: usize, B> Table<N, B> {
    /// A table of tuples whose closed labels take so many bits.
    pub(super) fn new(bits: u32) -> Self {
        let dense = if N == 0 && bits <= DENSE_BITS {
            1 << bits
        } else {
            0
        };
        let state = RandomState::default();
        let table = Self {
            dense: (0..dense).map(|_| OnceLock::new()).collect(),
            seed: [state.hash_one(0_u8), state.hash_one(1_u8)],
            seeds: std::array::from_fn(|i| [state.hash_one((i, 0)), state.hash_one((i, 1))]),
            generations: [const { OnceLock::new() }; GENERATIONS],
            current: AtomicUsize::new(0),
            len: Mutex::new(0),
            state,
        };
        let _ = table.generations[0].set(slots(FIRST));
        table
    }

    /// Every label is folded by itself, so that the multiplications do not wait for one
    /// another.
    #[inline(always)]
    fn hash<'t>(
        &self,
        closed: u64,
        words: impl Fn(usize) -> &'t Words,
        long: impl Fn(usize) -> &'t str,
    ) -> u64 {
        let mut hash = fold(closed ^ self.seed[0], self.seed[1]);
        let mut i = 0;
        while i < N {
            let Words { head, tail, len } = *words(i);
            let [a, b] = self.seeds[i];
            hash = hash.rotate_left(17) ^ fold(head ^ a, tail ^ b ^ len as u64);
            if len > Words::WHOLE {
                hash ^= self.state.hash_one(long(i));
            }
            i += 1;
        }
        hash
    }

    #[inline(always)]
    pub(super) fn get(&self, key: Key<'_, N>) -> Option<&Entry<N, B>> {
        let words = key.open.map(Words::of);
        self.find(key.closed, |i| &words[i], |i| key.open[i])
    }

    /// As [`get`](Self::get), of open labels as words; `long` yields those of which the words
    /// are not the whole.
    #[inline(always)]
    pub(super) fn find<'t>(
        &self,
        closed: u64,
        words: impl Fn(usize) -> &'t Words + Copy,
        long: impl Fn(usize) -> &'t str + Copy,
    ) -> Option<&Entry<N, B>> {
        if N == 0
            && let Some(slot) = self.dense.get(closed as usize)
        {
            return slot.get().map(|entry| &**entry);
        }
        let slots = self.generations[self.current.load(Ordering::Acquire)].get()?;
        let hash = self.hash(closed, words, long);
        let mask = slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let (found, entry) = slots[at & mask].0.get()?;
            if *found == hash && entry.matches(closed, words, long) {
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
        let words = key.open.map(Words::of);
        let hash = self.hash(key.closed, |i| &words[i], |i| key.open[i]);
        let entry = Arc::new(Entry {
            closed: key.closed,
            words,
            open,
            bundle,
        });
        *len += 1;
        if let Some(slot) = self.dense.get(key.closed as usize) {
            return Some(slot.get_or_init(|| entry));
        }
        let current = self.current.load(Ordering::Acquire);
        let slots_now = self.generations[current].get()?;
        if *len * 2 > slots_now.len() && current + 1 < GENERATIONS {
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
        let table = Table::<1, u32>::new(0);
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
    fn words_tell_texts_apart() {
        let text = "the quick brown fox jumps over the lazy dog";
        let table = Table::<1, u32>::new(0);
        for len in 0..text.len() {
            assert!(insert(&table, 0, &text[..len], usize::MAX));
        }
        for len in 0..text.len() {
            let words = Words::of(&text[..len]);
            if words.are_whole() {
                assert_eq!(words.text(), text[..len]);
            }
            let found = table.get(key(0, &text[..len]));
            assert_eq!(found.map(|entry| entry.open[0].len()), Some(len));
            for i in 0..len {
                let mut other = text.as_bytes()[..len].to_vec();
                other[i] ^= 1;
                let other = String::from_utf8(other).unwrap();
                assert!(table.get(key(0, &other)).is_none(), "{len} {i}");
            }
        }
    }

    #[test]
    fn limit_is_exact_under_concurrent_inserts() {
        let table = Table::<1, u32>::new(0);
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
