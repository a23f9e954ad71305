//! Atomic words that many threads add to: a few copies of them, on cache lines of their own,
//! of which a thread uses one. Their sum is the value.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

const LINE: usize = 8;
/// Copies at most: each costs memory, and contention halves with each doubling only.
const MAX_STRIPES: usize = 4;

#[repr(align(64))]
struct Line([AtomicU64; LINE]);

/// Words in copies; clones share them.
#[derive(Clone)]
pub(super) struct Words {
    lines: Arc<[Line]>,
    /// Lines of one copy.
    per: u32,
    /// Number of copies less one; a power of two less one.
    mask: u32,
}

/// How many copies are kept: as many as threads can run at once, up to [`MAX_STRIPES`].
fn stripes() -> usize {
    static STRIPES: OnceLock<usize> = OnceLock::new();
    *STRIPES.get_or_init(|| {
        std::thread::available_parallelism().map_or(1, |threads| {
            threads.get().next_power_of_two().min(MAX_STRIPES)
        })
    })
}

thread_local! {
    static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The copy that this thread uses, before it is cut down to how many there are.
#[inline(always)]
fn stripe() -> usize {
    STRIPE
        .try_with(|kept| match kept.get() {
            usize::MAX => assign(kept),
            stripe => stripe,
        })
        .unwrap_or(0)
}

#[cold]
fn assign(kept: &Cell<usize>) -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let stripe = NEXT.fetch_add(1, Ordering::Relaxed) % MAX_STRIPES;
    kept.set(stripe);
    stripe
}

impl Words {
    /// This many words, at zero.
    pub(super) fn new(words: usize) -> Self {
        let per = words.div_ceil(LINE);
        let stripes = stripes();
        Self {
            lines: (0..per * stripes)
                .map(|_| Line([const { AtomicU64::new(0) }; LINE]))
                .collect(),
            per: per as u32,
            mask: stripes as u32 - 1,
        }
    }

    /// This thread's copy.
    #[inline(always)]
    pub(super) fn mine(&self) -> Copied<'_> {
        let from = (stripe() & self.mask as usize) * self.per as usize;
        Copied(self.lines.get(from..).unwrap_or_default())
    }

    /// Shows every copy.
    pub(super) fn each(&self, look: impl FnMut(Copied<'_>)) {
        self.copies().for_each(look);
    }

    fn copies(&self) -> impl Iterator<Item = Copied<'_>> {
        self.lines.chunks(self.per.max(1) as usize).map(Copied)
    }

    /// A word's value: the sum of its copies.
    pub(super) fn sum(&self, word: usize) -> u64 {
        self.copies()
            .fold(0, |sum: u64, copy| sum.wrapping_add(copy.load(word)))
    }

    /// As [`sum`](Self::sum), of words that hold fractions.
    pub(super) fn sum_f64(&self, word: usize) -> f64 {
        self.copies()
            .map(|copy| f64::from_bits(copy.load(word)))
            .sum()
    }

    /// Adds the words from `first` on to `into`.
    pub(super) fn add_to(&self, first: usize, into: &mut [u64]) {
        for copy in self.copies() {
            for (i, sum) in into.iter_mut().enumerate() {
                *sum = sum.wrapping_add(copy.load(first + i));
            }
        }
    }
}

/// One copy of the words.
#[derive(Clone, Copy)]
pub(super) struct Copied<'w>(&'w [Line]);

impl Copied<'_> {
    #[inline(always)]
    fn word(&self, word: usize) -> Option<&AtomicU64> {
        self.0
            .get(word / LINE)
            .and_then(|line| line.0.get(word % LINE))
    }

    /// A word. What a thread added before it added to this word is seen by loads that follow.
    #[inline(always)]
    pub(super) fn load(&self, word: usize) -> u64 {
        self.word(word)
            .map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Adds to a word, and returns what it was.
    #[inline(always)]
    pub(super) fn add(&self, word: usize, amount: u64) -> u64 {
        self.word(word)
            .map_or(0, |word| word.fetch_add(amount, Ordering::Release))
    }

    /// Adds to a word that holds a fraction.
    #[inline]
    pub(super) fn add_f64(&self, word: usize, amount: f64) {
        if let Some(word) = self.word(word) {
            let mut before = word.load(Ordering::Relaxed);
            while let Err(now) = word.compare_exchange_weak(
                before,
                (f64::from_bits(before) + amount).to_bits(),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                before = now;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_addition_of_every_thread_counts() {
        let words = Words::new(10);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for i in 0..10_000_usize {
                        words.mine().add(i % 9, 3);
                        words.mine().add_f64(9, 0.5);
                    }
                });
            }
        });
        let sums: u64 = (0..9).map(|word| words.sum(word)).sum();
        assert_eq!(sums, 8 * 10_000 * 3);
        assert_eq!(words.sum_f64(9), 8.0 * 5_000.0);
        let mut counts = [1; 9];
        words.add_to(0, &mut counts);
        assert_eq!(counts.iter().sum::<u64>(), sums + 9);
    }
}
