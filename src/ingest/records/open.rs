//! Operations that were said to have begun: in flight until their end is recorded or they are
//! given up.
//!
//! The ledger keeps the starts; here is only what counts them in flight. After a restart it is
//! made again from the ledger. Where several services share a PostgreSQL, an operation is
//! counted by the service that was told of its start, until the ledger says that it has ended,
//! whoever was told so; what a service counted that is gone is counted by another one.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use uuid::Uuid;

use super::batch::Batch;
use super::handler::dropped;
use super::validate::{abandoned, started};
use crate::ledger::{Disposition, Ledger, OpenOperation, QueryError, SubmitError};
use crate::recording::{self, Begun, Complete, FieldError, Given, Recorder, Shape};
use crate::signals::pipeline::DropReason;

/// Operations given up in one transaction.
const CHUNK: usize = 1_000;

/// The operations that this process counts in flight.
#[derive(Clone, Default)]
pub struct OpenOperations(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    flights: HashMap<Uuid, Begun>,
    /// What ended while the ledger was read.
    ended: Option<HashSet<Uuid>>,
}

impl std::fmt::Debug for OpenOperations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OpenOperations").field(&self.len()).finish()
    }
}

/// Why the ledger could not be looked at or told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SweepError {
    /// It could not be read.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// It does not take records.
    #[error(transparent)]
    Submit(#[from] SubmitError),
}

/// Checks the labels of a start, given in order of declaration.
pub(super) fn check_start(
    recorder: &'static dyn Recorder,
    labels: &[&str],
) -> Result<(), FieldError> {
    started_with(recorder, labels, |_| ())
}

fn started_with<T>(
    recorder: &'static dyn Recorder,
    labels: &[&str],
    with: impl FnOnce(Complete<'_>) -> T,
) -> Result<T, FieldError> {
    let shape = Shape::new(recorder.signal());
    let mut given = Given::new();
    for (position, label) in labels.iter().enumerate() {
        given.set(&shape.place(position), label);
    }
    given.started(&shape).map(with)
}

/// Removes operations that can neither be counted in flight nor end.
async fn dismiss(ledger: &Ledger, strange: &[OpenOperation]) -> Result<(), SweepError> {
    // Where nothing is recorded nothing is declared.
    if strange.is_empty() || recording::all().is_empty() {
        return Ok(());
    }
    let ids = strange.iter().map(|operation| operation.id).collect();
    let dismissed = ledger.dismiss(ids).await?;
    if dismissed > 0 {
        let signals: BTreeSet<&str> = strange.iter().map(|start| &*start.signal).collect();
        tracing::warn!(
            dismissed,
            ?signals,
            "open operations that fit no declaration any more were removed"
        );
        dropped(DropReason::Invalid, dismissed);
    }
    Ok(())
}

impl OpenOperations {
    /// How many are in flight.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().flights.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn contains(&self, id: &Uuid) -> bool {
        self.0.lock().flights.contains_key(id)
    }

    pub(super) fn begin(&self, id: Uuid, recorder: &'static dyn Recorder, labels: &[&str]) {
        let mut open = self.0.lock();
        if open.flights.contains_key(&id) {
            return;
        }
        // Checked before the commit; what the catalog does not know is not counted.
        if let Ok(begun) = started_with(recorder, labels, |labels| recorder.begin_read(labels)) {
            open.flights.insert(id, begun);
        }
    }

    pub(super) fn end(&self, id: &Uuid) {
        let mut open = self.0.lock();
        if let Some(ended) = &mut open.ended {
            ended.insert(*id);
        }
        open.flights.remove(id);
    }

    /// Makes what is in flight what the ledger says, and gives up what has expired by `now`.
    /// To be called at the start and every few seconds.
    ///
    /// # Errors
    /// [`SweepError`] when the ledger is away; the next call makes up for it.
    pub(super) async fn sweep(&self, ledger: &Ledger, now: SystemTime) -> Result<(), SweepError> {
        let before: Vec<Uuid> = {
            let mut open = self.0.lock();
            open.ended = Some(HashSet::new());
            open.flights.keys().copied().collect()
        };
        let swept = self.settle(ledger, now, &before).await;
        self.0.lock().ended = None;
        swept
    }

    async fn settle(
        &self,
        ledger: &Ledger,
        now: SystemTime,
        before: &[Uuid],
    ) -> Result<(), SweepError> {
        let now_us = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_us = i64::try_from(now_us.as_micros()).unwrap_or(i64::MAX);
        let here = ledger.open_here().await?;
        let ids: HashSet<Uuid> = here.iter().map(|(id, _)| *id).collect();
        // Told to another service that they ended, or counted by another one now.
        for id in before.iter().filter(|id| !ids.contains(id)) {
            self.end(id);
        }
        // What no declaration fits: of another version, which had other signals or labels.
        let mut strange: Vec<OpenOperation> = Vec::new();
        let unknown: Vec<Uuid> = ids.into_iter().filter(|id| !self.contains(id)).collect();
        for operation in ledger.open_among(&unknown).await? {
            let begun = started(&operation).and_then(|(recorder, labels)| {
                let labels: Vec<&str> = labels.iter().map(|label| &**label).collect();
                let begin = |labels: Complete<'_>| recorder.begin_read(labels);
                started_with(recorder, &labels, begin).ok()
            });
            let Some(begun) = begun else {
                strange.push(operation);
                continue;
            };
            let mut open = self.0.lock();
            let ended = open.ended.as_ref();
            if ended.is_some_and(|ended| ended.contains(&operation.id)) {
                continue;
            }
            open.flights.entry(operation.id).or_insert(begun);
        }
        dismiss(ledger, &strange).await?;
        let expired: Vec<Uuid> = here
            .into_iter()
            .filter(|(_, expires_us)| *expires_us <= now_us)
            .map(|(id, _)| id)
            .collect();
        for chunk in expired.chunks(CHUNK) {
            let operations = ledger.open_among(chunk).await?;
            let (mut batch, mut strange) = (Batch::default(), Vec::new());
            for (position, operation) in operations.iter().enumerate() {
                match abandoned(operation, now_us) {
                    Some(admitted) => batch.push(position, admitted),
                    None => strange.push(operation.clone()),
                }
            }
            dismiss(ledger, &strange).await?;
            if batch.is_empty() {
                continue;
            }
            let open = self.clone();
            let records = batch.take_records();
            let counted = move |dispositions: &[Disposition]| batch.count(dispositions, &open);
            ledger.submit(records, counted)?.committed().await?;
        }
        Ok(())
    }
}
