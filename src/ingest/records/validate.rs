//! Reads records and holds them against the catalog.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use uuid::Uuid;

use super::batch::{Batch, Rejected};
use super::clock::{Clock, made_us, time};
use super::fields::{
    MAX_DURATION, context_fields, duration, event, expires_in, fields, id, parent, recorder,
    undeclared,
};
use super::frame::{Malformed, split};
use super::open::check_start;
use super::spend::complete;
use super::wire::{Refusal, Wire, merge, object, with};
use crate::catalog::SignalKind;
use crate::ledger::{Columns, Event, OpenOperation, Record};
use crate::prices::Prices;
use crate::recording::{self, Recorder};

/// The value that tells how long an action took that was written down.
const ACTION_DURATION: &str = "action.duration";

/// What records are held against, beside the catalog.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Records of one body at most.
    pub records: usize,
    /// Starts of one body at most.
    pub starts: usize,
    /// After how long an operation is given up whose start does not say.
    pub expires_in: Duration,
    /// What time it is.
    pub clock: Clock,
    /// What tokens cost.
    pub prices: Arc<Prices>,
}

/// A body that was read.
#[derive(Debug, Default)]
pub struct Reading {
    /// What passed.
    pub batch: Batch,
    /// What did not.
    pub rejected: Vec<Rejected>,
    /// Ends that were recorded before.
    pub duplicates: usize,
    pending: Vec<Pending>,
}

/// An end that has to be completed by its start, or that may have one.
#[derive(Debug)]
struct Pending {
    index: usize,
    id: Uuid,
    text: String,
}

/// Reads a body: those records that pass, and why each other one does not. `is_open` tells of
/// an id whether its operation is known to be open.
///
/// # Errors
/// When the body as a whole is malformed or has more records than it may.
pub fn read(
    body: &[u8],
    rules: &Rules,
    is_open: impl Fn(&Uuid) -> bool,
) -> Result<Reading, Malformed> {
    let mut reading = Reading::default();
    let mut starts = HashSet::new();
    for (index, frame) in split(body, rules.records)?.into_iter().enumerate() {
        let text = match frame {
            Ok(text) => text,
            Err(error) => {
                let refusal = Refusal::of("", format!("not JSON: {error}"));
                reading.reject(index, refusal);
                continue;
            }
        };
        let admitted = parse(text).and_then(|wire| match event(wire.event)? {
            Some("start") if starts.len() >= rules.starts => Err(Refusal::of(
                "event",
                "as many operations are open as may be; end some first",
            )),
            Some("start") => begin(&wire, rules).map(Read::Passed),
            event => {
                let id = id(wire.id)?;
                let known = |id: &Uuid| event.is_some() || starts.contains(id) || is_open(id);
                match id {
                    Some(id) if known(&id) => Ok(Read::Pending(id)),
                    _ => match (end(&wire, id, rules, None), id) {
                        // What is missing may have been said at the start.
                        (Err(refusal), Some(id)) if refusal.incomplete => Ok(Read::Pending(id)),
                        (ended, _) => ended.map(Read::Passed),
                    },
                }
            }
        });
        match admitted {
            Ok(Read::Passed(admitted)) => {
                if matches!(admitted.record.event, Event::Start { .. }) {
                    starts.insert(admitted.record.id);
                }
                reading.batch.push(index, admitted);
            }
            Ok(Read::Pending(id)) => reading.pending.push(Pending {
                index,
                id,
                text: text.to_owned(),
            }),
            Err(refusal) => reading.reject(index, refusal),
        }
    }
    Ok(reading)
}

impl Reading {
    /// The ids whose start has to be looked for, unless it is in the body itself.
    #[must_use]
    pub fn pending(&self) -> Vec<Uuid> {
        self.pending.iter().map(|pending| pending.id).collect()
    }

    /// Completes ends by what their starts said; `recorded` are ids of which the ledger has a
    /// record.
    pub fn resolve(&mut self, open: Vec<OpenOperation>, recorded: &[Uuid], rules: &Rules) {
        let known: HashSet<Uuid> = open.iter().map(|start| start.id).collect();
        let mut starts: HashMap<Uuid, OpenOperation> =
            self.batch.starts().map(|start| (start.id, start)).collect();
        starts.extend(open.into_iter().map(|start| (start.id, start)));
        for Pending { index, id, text } in std::mem::take(&mut self.pending) {
            if recorded.contains(&id) {
                self.duplicates += 1;
                continue;
            }
            let start = starts.get(&id);
            match parse(&text).and_then(|wire| end(&wire, Some(id), rules, start)) {
                Ok(mut admitted) => {
                    if known.contains(&id) {
                        // What is open has no record that could have been removed.
                        admitted.record.first_us = admitted.record.time_us;
                    }
                    self.batch.push(index, admitted);
                }
                Err(refusal) => self.reject(index, refusal),
            }
        }
        self.rejected.sort_by_key(|rejected| rejected.index);
    }

    fn reject(&mut self, index: usize, refusal: Refusal) {
        self.rejected.push(Rejected {
            index,
            field: refusal.field,
            reason: refusal.reason,
        });
    }
}

// Nearly all are the larger one, and none is kept.
#[allow(clippy::large_enum_variant)]
enum Read<'a> {
    Passed(Admitted<'a>),
    Pending(Uuid),
}

/// A record that passed, and what is to be recorded for it.
pub(super) struct Admitted<'a> {
    pub(super) recorder: &'static dyn Recorder,
    pub(super) record: Record,
    pub(super) labels: Vec<Cow<'a, str>>,
    pub(super) values: Vec<Option<f64>>,
    pub(super) took: Took,
}

/// How long an operation took, for its metrics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Took {
    /// Seconds, of an operation; none, of a measure.
    Said(Option<f64>),
    /// As long as it takes to write its record.
    Writing,
    /// Nobody knows.
    Unknown,
}

fn parse(text: &str) -> Result<Wire<'_>, Refusal> {
    let wire: Wire<'_> = serde_json::from_str(text).map_err(|error| {
        Refusal::of(
            "",
            format!("accepted is an object that is a record: {error}"),
        )
    })?;
    match wire.refused {
        Some((field, reason)) => Err(Refusal::of(field, reason)),
        None => Ok(wire),
    }
}

/// A record of an end or a measure, completed by its start.
fn end<'a>(
    wire: &Wire<'a>,
    id: Option<Uuid>,
    rules: &Rules,
    start: Option<&'a OpenOperation>,
) -> Result<Admitted<'a>, Refusal> {
    let recorder = recorder(wire.signal)?;
    let signal = recorder.signal();
    if wire.expires_in.is_some() {
        return Err(Refusal::of("expires_in", "accepted with a start only"));
    }
    if let Some(start) = start.filter(|start| start.signal != signal.name) {
        let reason = format!("the operation of this id began as `{}`", start.signal);
        return Err(Refusal::of("signal", reason));
    }
    let said = time(wire.time, rules.clock)?;
    let made = id.and_then(|id| made_us(&id, rules.clock));
    let now_us = rules.clock.now_us();
    let time_us = said.unwrap_or(match (made, start) {
        // Not removed before an id of this time is refused, also when its clock is ahead.
        (Some(made), None) => now_us.max(made),
        _ => now_us,
    });
    let first_us = said.or(made).unwrap_or(now_us);
    let mut duration = duration(wire.duration, signal)?;
    if let (None, Some(start)) = (duration, start) {
        // Clocks that disagree may put the end before the start.
        let took_us = time_us.saturating_sub(start.time_us).max(0);
        duration = Some((took_us as f64 / 1e6).min(MAX_DURATION));
    }
    let mut labels = vec![Cow::Borrowed(""); signal.labels.len()];
    let mut values = vec![None; signal.values.len()];
    let mut context = Vec::new();
    let (mut all_fields, mut all_context) = (wire.fields, wire.context);
    let merged;
    if let Some(start) = start {
        merged = (
            merge(&start.fields, wire.fields),
            merge(&start.context, wire.context),
        );
        all_fields = merged.0.as_deref().or(all_fields);
        all_context = merged.1.as_deref().or(all_context);
        // It was held against the catalog when it came, which may have changed since.
        if let Ok(raw) = serde_json::from_str::<&RawValue>(&start.fields)
            && fields(raw, signal, &mut labels, &mut values).is_err()
        {
            labels.fill(Cow::Borrowed(""));
            values.fill(None);
        }
        if let Ok(raw) = serde_json::from_str::<&RawValue>(&start.context)
            && context_fields(raw, signal, &mut context).is_err()
        {
            context.clear();
        }
    }
    if let Some(raw) = wire.fields {
        fields(raw, signal, &mut labels, &mut values)?;
    }
    if let Some(raw) = wire.context {
        context_fields(raw, signal, &mut context)?;
    }
    let given: Vec<&str> = labels.iter().map(|label| &**label).collect();
    let (took, checked) = match duration {
        // Whatever it will be, it is fit to be recorded.
        None if signal.timed_by_write => (Took::Writing, Some(0.0)),
        said => (Took::Said(said), said),
    };
    recorder
        .check(&given, &values, checked)
        .map_err(undeclared)?;
    if signal.timed_by_write {
        // The row tells of the action, not of its being written down.
        let action = signal.values.iter().zip(&values);
        let mut action = action.filter(|(value, _)| value.key == ACTION_DURATION);
        let taken = action.next().and_then(|(_, given)| *given);
        duration = taken.filter(|seconds| (0.0..=MAX_DURATION).contains(seconds));
    }
    let prices = &rules.prices;
    let spend = complete(
        signal,
        wire.usage,
        &mut labels,
        &mut values,
        time_us,
        prices,
    )?;
    let mut columns = Columns::of(signal, &labels, &values);
    columns.price_version = spend.price_version;
    for (key, text) in context {
        columns.context(key, &text);
    }
    let parent = parent(wire.parent)?.or(start.and_then(|start| start.parent));
    let record = Record {
        id: id.unwrap_or_else(Uuid::now_v7),
        signal: signal.name,
        event: Event::End,
        time_us,
        first_us,
        duration,
        parent,
        fields: with(&spend.fields, all_fields),
        context: with(&spend.context, all_context),
        columns,
    };
    Ok(Admitted {
        recorder,
        record,
        labels,
        values,
        took,
    })
}

/// A record of a start.
fn begin<'a>(wire: &Wire<'a>, rules: &Rules) -> Result<Admitted<'a>, Refusal> {
    let recorder = recorder(wire.signal)?;
    let signal = recorder.signal();
    if signal.kind == SignalKind::Measure {
        let reason = "`start` is accepted of operations; the signal is a measure";
        return Err(Refusal::of("event", reason));
    }
    let Some(id) = id(wire.id)? else {
        let reason = "missing; accepted with a start is the UUID that its end will have";
        return Err(Refusal::of("id", reason));
    };
    let at_the_end = "not accepted with a start; it is known at the end";
    if wire.duration.is_some() {
        return Err(Refusal::of("duration", at_the_end));
    }
    if wire.usage.is_some() {
        return Err(Refusal::of("usage", at_the_end));
    }
    let said = time(wire.time, rules.clock)?;
    let time_us = said.unwrap_or(rules.clock.now_us());
    let first_us = said.or(made_us(&id, rules.clock)).unwrap_or(time_us);
    let expires_in = expires_in(wire.expires_in)?.unwrap_or(rules.expires_in);
    let expires_us = i64::try_from(expires_in.as_micros()).unwrap_or(i64::MAX);
    let mut labels = vec![Cow::Borrowed(""); signal.labels.len()];
    let mut values = vec![None; signal.values.len()];
    if let Some(raw) = wire.fields {
        fields(raw, signal, &mut labels, &mut values)?;
    }
    let mut labelled = signal.labels.iter().zip(&labels);
    if let Some((label, _)) = labelled.find(|(label, given)| label.outcome && !given.is_empty()) {
        return Err(Refusal::of(format!("fields.{}", label.key), at_the_end));
    }
    recording::check_values(signal, &values).map_err(undeclared)?;
    let given: Vec<&str> = labels.iter().map(|label| &**label).collect();
    check_start(recorder, &given).map_err(undeclared)?;
    let mut columns = Columns::default();
    if let Some(raw) = wire.context {
        let mut context = Vec::new();
        context_fields(raw, signal, &mut context)?;
        for (key, text) in context {
            columns.context(key, &text);
        }
    }
    let record = Record {
        id,
        signal: signal.name,
        event: Event::Start {
            expires_us: time_us.saturating_add(expires_us),
        },
        time_us,
        first_us,
        duration: None,
        parent: parent(wire.parent)?,
        fields: object(wire.fields),
        context: object(wire.context),
        columns,
    };
    Ok(Admitted {
        recorder,
        record,
        labels,
        values,
        took: Took::Said(None),
    })
}

/// The end of an operation that is given up now, having taken nobody knows how long; `None` if
/// its start does not fit any declaration any more.
pub(super) fn abandoned(start: &OpenOperation, now_us: i64) -> Option<Admitted<'_>> {
    let recorder = recording::find(&start.signal)?;
    let signal = recorder.signal();
    let mut labels = vec![Cow::Borrowed(""); signal.labels.len()];
    let mut values = vec![None; signal.values.len()];
    let raw: &RawValue = serde_json::from_str(&start.fields).ok()?;
    fields(raw, signal, &mut labels, &mut values).ok()?;
    for (label, given) in signal.labels.iter().zip(&mut labels) {
        if label.outcome {
            *given = Cow::Borrowed(label.abandoned());
        }
    }
    let given: Vec<&str> = labels.iter().map(|label| &**label).collect();
    recorder.check(&given, &values, Some(0.0)).ok()?;
    let mut columns = Columns::of(signal, &labels, &values);
    let mut context = Vec::new();
    if let Ok(raw) = serde_json::from_str::<&RawValue>(&start.context)
        && context_fields(raw, signal, &mut context).is_ok()
    {
        for (key, text) in context {
            columns.context(key, &text);
        }
    }
    let record = Record {
        id: start.id,
        signal: signal.name,
        event: Event::End,
        time_us: now_us,
        first_us: now_us,
        duration: None,
        parent: start.parent,
        fields: start.fields.clone(),
        context: start.context.clone(),
        columns,
    };
    Some(Admitted {
        recorder,
        record,
        labels,
        values,
        took: Took::Unknown,
    })
}

/// The labels of a start as the ledger has it, in order of declaration.
pub(super) fn started(start: &OpenOperation) -> Option<(&'static dyn Recorder, Vec<Cow<'_, str>>)> {
    let recorder = recording::find(&start.signal)?;
    let signal = recorder.signal();
    let mut labels = vec![Cow::Borrowed(""); signal.labels.len()];
    let mut values = vec![None; signal.values.len()];
    let raw: &RawValue = serde_json::from_str(&start.fields).ok()?;
    fields(raw, signal, &mut labels, &mut values).ok()?;
    Some((recorder, labels))
}
