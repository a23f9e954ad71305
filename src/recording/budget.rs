//! The budget of an open label: which values are known, and how many folded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::catalog::OTHER;

/// Values longer than this fold, so that a label never carries a document.
pub(super) const MAX_VALUE_BYTES: usize = 256;

pub(super) struct Budget {
    limit: usize,
    known: RwLock<std::collections::HashSet<Arc<str>, foldhash::fast::RandomState>>,
    other: Arc<str>,
    empty: Arc<str>,
    folded: AtomicU64,
}

impl Budget {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit: limit as usize,
            known: RwLock::default(),
            other: Arc::from(OTHER),
            empty: Arc::from(""),
            folded: AtomicU64::new(0),
        }
    }

    /// The interned text of a value, or `None` if it must fold. Checking a value never makes
    /// memory grow; admitting one does, at most `limit` times.
    pub(super) fn admit(&self, value: &str) -> Option<Arc<str>> {
        if value.is_empty() {
            return Some(Arc::clone(&self.empty));
        }
        if value == OTHER {
            return Some(Arc::clone(&self.other));
        }
        if value.len() > MAX_VALUE_BYTES {
            return None;
        }
        {
            let known = self.known.read();
            if let Some(found) = known.get(value) {
                return Some(Arc::clone(found));
            }
            if known.len() >= self.limit {
                return None;
            }
        }
        let mut known = self.known.write();
        if let Some(found) = known.get(value) {
            return Some(Arc::clone(found));
        }
        if known.len() >= self.limit {
            return None;
        }
        let interned: Arc<str> = Arc::from(value);
        known.insert(Arc::clone(&interned));
        Some(interned)
    }

    pub(super) fn other(&self) -> Arc<str> {
        Arc::clone(&self.other)
    }

    pub(super) fn count_fold(&self) {
        self.folded.fetch_add(1, Ordering::Relaxed);
    }

    /// Folds so far.
    pub(super) fn folded(&self) -> u64 {
        self.folded.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_exact_under_concurrent_first_inserts() {
        let budget = Budget::new(100);
        let admitted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|t| {
                    let budget = &budget;
                    scope.spawn(move || {
                        (0..250)
                            .filter(|i| budget.admit(&format!("{t}-{i}")).is_some())
                            .count()
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap_or(0)).sum()
        });
        assert_eq!(admitted, 100);
    }

    #[test]
    fn refuses_long_values_and_keeps_the_reserved_ones() {
        let budget = Budget::new(1);
        assert!(budget.admit(&"x".repeat(1_000_000)).is_none());
        assert_eq!(budget.admit("a").as_deref(), Some("a"));
        assert!(budget.admit("b").is_none());
        assert_eq!(budget.admit("").as_deref(), Some(""));
        assert_eq!(budget.admit("other").as_deref(), Some("other"));
    }
}
