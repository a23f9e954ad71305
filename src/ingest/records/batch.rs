//! The records of one request that passed, ready for the ledger and the metrics.

use std::borrow::Cow;
use std::ops::Range;

use serde::Serialize;

use crate::ledger::{Disposition, Record};
use crate::recording::Recorder;

/// A record that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// Position in the request, from 0; lines without text do not count.
    pub index: usize,
    /// What is wrong: `signal`, `id`, `time`, `duration`, `fields.<key>`, `context.<key>`, or
    /// empty for the record as a whole.
    pub field: Cow<'static, str>,
    /// What is wrong with it and what is accepted.
    pub reason: Cow<'static, str>,
}

/// The answer to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Records that are new; they are durable and counted.
    pub accepted: usize,
    /// Records whose id was there before.
    pub duplicates: usize,
    /// Records that were refused.
    pub rejected: Vec<Rejected>,
}

impl Outcome {
    pub(super) fn count(&mut self, dispositions: &[Disposition]) {
        for disposition in dispositions {
            match disposition {
                Disposition::Accepted => self.accepted += 1,
                Disposition::Duplicate => self.duplicates += 1,
            }
        }
    }
}

struct Entry {
    recorder: &'static dyn Recorder,
    labels: usize,
    values: usize,
    seconds: Option<f64>,
}

/// Records that passed validation, and what is to be recorded for each.
#[derive(Default)]
pub struct Batch {
    pub(super) records: Vec<Record>,
    entries: Vec<Entry>,
    // Labels and values of all records after one another: a few allocations for a request
    // instead of several for each record.
    text: String,
    labels: Vec<Range<usize>>,
    values: Vec<Option<f64>>,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}

impl Batch {
    /// How many records passed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none passed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes out the rows for the ledger; [`count`](Self::count) does not need them.
    pub fn take_records(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.records)
    }

    pub(super) fn push(
        &mut self,
        recorder: &'static dyn Recorder,
        record: Record,
        labels: &[Cow<'_, str>],
        values: &[Option<f64>],
    ) {
        self.entries.push(Entry {
            recorder,
            labels: self.labels.len(),
            values: self.values.len(),
            seconds: record.duration,
        });
        for label in labels {
            let start = self.text.len();
            self.text.push_str(label);
            self.labels.push(start..self.text.len());
        }
        self.values.extend_from_slice(values);
        self.records.push(record);
    }

    /// Records the metrics of the accepted records. To be called once, after the commit.
    pub fn count(&self, dispositions: &[Disposition]) {
        let mut labels = Vec::new();
        for (entry, disposition) in self.entries.iter().zip(dispositions) {
            if *disposition != Disposition::Accepted {
                continue;
            }
            let signal = entry.recorder.signal();
            labels.clear();
            let ranges = &self.labels[entry.labels..][..signal.labels.len()];
            labels.extend(ranges.iter().map(|range| &self.text[range.clone()]));
            let values = &self.values[entry.values..][..signal.values.len()];
            let recorded = entry.recorder.record(&labels, values, entry.seconds, None);
            if let Err(error) = recorded {
                // Validated before the commit, so the two checks have drifted apart.
                tracing::error!(signal = signal.name, %error, "a committed record was not counted");
            }
        }
    }
}
