//! The records of one request that passed, ready for the ledger and the metrics.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Instant;

use serde::Serialize;

use super::open::OpenOperations;
use super::spend::count_unknown;
use super::validate::{Admitted, Took};
use crate::ledger::{Disposition, Event, OpenOperation, Record};
use crate::recording::Recorder;
use uuid::Uuid;

/// A record that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// Position in the request, from 0; lines without text do not count.
    pub index: usize,
    /// What is wrong: `signal`, `id`, `event`, `time`, `duration`, `expires_in`, `parent`,
    /// `fields.<key>`, `context.<key>`, or empty for the record as a whole.
    pub field: Cow<'static, str>,
    /// What is wrong with it and what is accepted.
    pub reason: Cow<'static, str>,
}

/// The answer to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Records that are new; they are durable, and counted or in flight.
    pub accepted: usize,
    /// Records whose id was there before, and starts whose operation had ended.
    pub duplicates: usize,
    /// Records that were refused.
    pub rejected: Vec<Rejected>,
}

impl Outcome {
    /// Adds what became of the records that passed, which were at these positions.
    pub(super) fn count(&mut self, dispositions: &[Disposition], positions: &[usize]) {
        for (disposition, &index) in dispositions.iter().zip(positions) {
            match disposition {
                Disposition::Accepted => self.accepted += 1,
                Disposition::Duplicate => self.duplicates += 1,
                Disposition::TooOld => self.rejected.push(Rejected {
                    index,
                    field: "time".into(),
                    reason: "the record, or without a time its id, is from before what the \
                             ledger keeps begins; it is not taken, as it may have been counted \
                             and removed"
                        .into(),
                }),
            }
        }
        self.rejected.sort_by_key(|rejected| rejected.index);
    }
}

struct Entry {
    id: Uuid,
    event: Event,
    recorder: &'static dyn Recorder,
    labels: usize,
    values: usize,
    took: Took,
}

/// Records that passed validation, and what is to be recorded for each.
pub struct Batch {
    pub(super) records: Vec<Record>,
    positions: Vec<usize>,
    entries: Vec<Entry>,
    // Labels and values of all records after one another: a few allocations for a request
    // instead of several for each record.
    text: String,
    labels: Vec<Range<usize>>,
    values: Vec<Option<f64>>,
    /// When it began to be taken; what it takes to write a record is counted from then.
    began: Instant,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            records: Vec::new(),
            positions: Vec::new(),
            entries: Vec::new(),
            text: String::new(),
            labels: Vec::new(),
            values: Vec::new(),
            began: Instant::now(),
        }
    }
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

    /// Where the records that passed were in the request.
    pub(super) fn positions(&self) -> Vec<usize> {
        self.positions.clone()
    }

    /// The starts among the records.
    pub(super) fn starts(&self) -> impl Iterator<Item = OpenOperation> {
        self.records.iter().filter_map(|record| match record.event {
            Event::Start { expires_us } => Some(OpenOperation {
                id: record.id,
                signal: record.signal.to_owned(),
                time_us: record.time_us,
                expires_us,
                parent: record.parent,
                fields: record.fields.clone(),
                context: record.context.clone(),
            }),
            Event::End => None,
        })
    }

    pub(super) fn push(&mut self, position: usize, admitted: Admitted<'_>) {
        let Admitted {
            recorder,
            record,
            labels,
            values,
            took,
        } = admitted;
        self.entries.push(Entry {
            id: record.id,
            event: record.event,
            recorder,
            labels: self.labels.len(),
            values: self.values.len(),
            took,
        });
        for label in labels {
            let start = self.text.len();
            self.text.push_str(&label);
            self.labels.push(start..self.text.len());
        }
        self.values.extend_from_slice(&values);
        self.positions.push(position);
        self.records.push(record);
    }

    /// Records the metrics of the accepted records. To be called once, after the commit.
    pub fn count(&self, dispositions: &[Disposition], open: &OpenOperations) {
        let mut labels = Vec::new();
        for (entry, disposition) in self.entries.iter().zip(dispositions) {
            if *disposition != Disposition::Accepted {
                // Its operation has ended, whoever said so first.
                if *disposition == Disposition::Duplicate && entry.event == Event::End {
                    open.end(&entry.id);
                }
                continue;
            }
            let signal = entry.recorder.signal();
            labels.clear();
            let ranges = &self.labels[entry.labels..][..signal.labels.len()];
            labels.extend(ranges.iter().map(|range| &self.text[range.clone()]));
            if let Event::Start { .. } = entry.event {
                open.begin(entry.id, entry.recorder, &labels);
                continue;
            }
            let values = &self.values[entry.values..][..signal.values.len()];
            let recorded = match entry.took {
                Took::Said(seconds) => entry.recorder.record(&labels, values, seconds, None),
                Took::Writing => {
                    let seconds = self.began.elapsed().as_secs_f64();
                    let seconds = Some(seconds);
                    entry.recorder.record(&labels, values, seconds, None)
                }
                Took::Unknown => entry.recorder.record_past(&labels, values, None, None),
            };
            if let Err(error) = recorded {
                // Validated before the commit, so the two checks have drifted apart.
                tracing::error!(signal = signal.name, %error, "a committed record was not counted");
            }
            count_unknown(signal, &labels, values);
            open.end(&entry.id);
        }
    }
}
