//! The records of one transaction: which are looked at, and what they add up to.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use uuid::Uuid;

use super::super::record::Event;
use super::{Disposition, Record};

/// The records of a transaction by position, each id once.
pub(super) struct Group {
    pub(super) dispositions: Vec<Disposition>,
    /// Ends, the first of each id.
    pub(super) ends: Vec<usize>,
    /// Starts, the first of each id, of operations that did not end before in the group.
    pub(super) starts: Vec<usize>,
    ends_by_id: HashMap<Uuid, usize, RandomState>,
    starts_by_id: HashMap<Uuid, usize, RandomState>,
}

impl Group {
    /// Sorts out what is older than the horizon and what comes twice.
    pub(super) fn new(records: &[Record], horizon_us: i64) -> Self {
        let mut group = Self {
            dispositions: vec![Disposition::Duplicate; records.len()],
            ends: Vec::with_capacity(records.len()),
            starts: Vec::new(),
            ends_by_id: HashMap::with_capacity_and_hasher(records.len(), RandomState::default()),
            starts_by_id: HashMap::default(),
        };
        for (index, record) in records.iter().enumerate() {
            if record.time_us.min(record.first_us) < horizon_us {
                group.dispositions[index] = Disposition::TooOld;
                continue;
            }
            match record.event {
                Event::End => {
                    if let Entry::Vacant(entry) = group.ends_by_id.entry(record.id) {
                        entry.insert(index);
                        group.ends.push(index);
                    }
                }
                Event::Start { .. } => {
                    if !group.ends_by_id.contains_key(&record.id)
                        && let Entry::Vacant(entry) = group.starts_by_id.entry(record.id)
                    {
                        entry.insert(index);
                        group.starts.push(index);
                    }
                }
            }
        }
        group
    }

    /// Notes that an end was inserted.
    pub(super) fn end_accepted(&mut self, id: &Uuid) {
        if let Some(&index) = self.ends_by_id.get(id) {
            self.dispositions[index] = Disposition::Accepted;
        }
    }

    /// Notes that a start was inserted.
    pub(super) fn start_accepted(&mut self, id: &Uuid) {
        if let Some(&index) = self.starts_by_id.get(id) {
            self.dispositions[index] = Disposition::Accepted;
        }
    }

    /// Ids of the inserted ends of these signals.
    pub(super) fn accepted_of(&self, records: &[Record], signals: &[String]) -> Vec<Uuid> {
        let accepted = |index: &&usize| self.dispositions[**index] == Disposition::Accepted;
        let ends = self.ends.iter().filter(accepted);
        let ends = ends.map(|&index| &records[index]);
        ends.filter(|record| signals.iter().any(|signal| signal == record.signal))
            .map(|record| record.id)
            .collect()
    }

    /// What the inserted ends add up to; `bytes` are those of [`ends`](Self::ends).
    pub(super) fn tally(&self, records: &[Record], bytes: &[i64]) -> Tally {
        let mut tally = Tally::default();
        for (&index, bytes) in self.ends.iter().zip(bytes) {
            if self.dispositions[index] == Disposition::Accepted {
                tally.add(&records[index], *bytes);
            }
        }
        tally
    }
}

/// What inserted records add up to, in the order in which rows are to be locked.
#[derive(Default)]
pub(super) struct Tally {
    /// Records and bytes by signal.
    pub(super) totals: BTreeMap<&'static str, (i64, i64)>,
    pub(super) sessions: BTreeMap<Arc<str>, Session>,
}

/// What is added to a session.
pub(super) struct Session {
    pub(super) first_us: i64,
    pub(super) last_us: i64,
    pub(super) records: i64,
    pub(super) failed: i64,
    pub(super) input_tokens: i64,
    pub(super) output_tokens: i64,
    pub(super) cost_micros: i64,
    pub(super) unpriced: i64,
}

impl Tally {
    fn add(&mut self, record: &Record, bytes: i64) {
        let total = self.totals.entry(record.signal).or_default();
        total.0 += 1;
        total.1 += bytes;
        let columns = &record.columns;
        let Some(name) = &columns.session else { return };
        let took_us = record.duration.map_or(0, |seconds| (seconds * 1e6) as i64);
        let start_us = record.time_us.saturating_sub(took_us);
        if !self.sessions.contains_key(name) {
            let session = Session {
                first_us: start_us,
                last_us: record.time_us,
                records: 0,
                failed: 0,
                input_tokens: 0,
                output_tokens: 0,
                cost_micros: 0,
                unpriced: 0,
            };
            self.sessions.insert(Arc::clone(name), session);
        }
        if let Some(session) = self.sessions.get_mut(name) {
            session.first_us = session.first_us.min(start_us);
            session.last_us = session.last_us.max(record.time_us);
            session.records += 1;
            session.failed += i64::from(columns.failed == Some(true));
            session.input_tokens += columns.input_tokens.unwrap_or(0);
            session.output_tokens += columns.output_tokens.unwrap_or(0);
            session.cost_micros += columns.cost_micros.unwrap_or(0);
            session.unpriced += i64::from(columns.billable && columns.cost_micros.is_none());
        }
    }
}
