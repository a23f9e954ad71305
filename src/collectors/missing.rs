//! Parts of what a collector reads that it cannot read.

use std::collections::BTreeMap;

use crate::pipeline::collectors::report;
use crate::signals::pipeline::CollectorMissing;

/// What a collector cannot read while it reads the rest: said once in the log, counted, and
/// shown on the health endpoint until it can be read again.
#[derive(Debug)]
pub struct Missing {
    collector: &'static str,
    parts: BTreeMap<String, String>,
}

impl Missing {
    /// Of a collector, which misses nothing yet.
    #[must_use]
    pub const fn of(collector: &'static str) -> Self {
        Self {
            collector,
            parts: BTreeMap::new(),
        }
    }

    /// Notes that a part could not be read, and why. False if that was known.
    pub fn add(&mut self, part: &str, reason: String) -> bool {
        if self.parts.get(part) == Some(&reason) {
            return false;
        }
        let collector = self.collector;
        tracing::warn!(collector, part, reason, "a part of it cannot be read");
        self.parts.insert(part.to_owned(), reason);
        self.tell();
        true
    }

    /// Notes that a part was read. False if it was not missing.
    pub fn remove(&mut self, part: &str) -> bool {
        if self.parts.remove(part).is_none() {
            return false;
        }
        let collector = self.collector;
        tracing::info!(collector, part, "it can be read again");
        self.tell();
        true
    }

    /// What is missing, and why.
    #[must_use]
    pub const fn parts(&self) -> &BTreeMap<String, String> {
        &self.parts
    }

    fn tell(&self) {
        let collector = self.collector;
        CollectorMissing { collector }.set(self.parts.len() as f64);
        report(collector, |report| report.missing.clone_from(&self.parts));
    }
}
