//! What has been read of a span or event so far.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::Id;

use super::plan::{Plan, Target};
use super::refused::{Reason, Refusals};
use crate::catalog::check::MAX_VALUES;
use crate::recording::exemplar::SampledSpan;
use crate::recording::{Begun, FieldError, Given};

/// The bits of a span's id that tell its thread and place in the registry of
/// `tracing-subscriber`. Where they do not, more spans share a bucket.
const ID_PLACE: u64 = (1 << 51) - 1;
/// Spans kept without a map.
const BUCKETS: usize = 512;

/// Labels and values read from fields.
pub(super) struct Reading {
    labels: Given,
    values: [Option<f64>; MAX_VALUES],
    /// Whether any value was read.
    valued: bool,
    duration: Option<f64>,
    mistyped: Option<u8>,
    mistyped_value: Option<u8>,
}

impl Reading {
    pub(super) const fn new() -> Self {
        Self {
            labels: Given::new(),
            values: [None; MAX_VALUES],
            valued: false,
            duration: None,
            mistyped: None,
            mistyped_value: None,
        }
    }

    #[inline]
    pub(super) fn clear(&mut self) {
        self.labels.clear();
        if self.valued {
            self.values = [None; MAX_VALUES];
            self.valued = false;
        }
        self.duration = None;
        self.mistyped = None;
        self.mistyped_value = None;
    }

    #[inline]
    pub(super) fn read(&mut self, plan: &'static Plan, record: impl FnOnce(&mut dyn Visit)) {
        record(&mut Visitor {
            reading: self,
            plan,
        });
    }

    fn set(&mut self, position: u8, value: f64) {
        self.values[position as usize] = Some(value);
        self.valued = true;
    }

    /// The values; none where none was read.
    #[inline]
    fn values(&self) -> &[Option<f64>] {
        if self.valued { &self.values } else { &[] }
    }

    /// Counts the operation in flight; nothing while a start label is missing.
    pub(super) fn begin(&self, plan: &'static Plan) -> Option<Begun> {
        let labels = self.labels.started(&plan.shape).ok()?;
        Some(plan.recorder.begin_read(labels))
    }

    /// Records an event, or counts what is missing or mistyped.
    pub(super) fn record(
        &self,
        plan: &'static Plan,
        span: Option<SampledSpan>,
        refusals: &Refusals,
    ) {
        self.or_refuse(plan, refusals, || {
            let labels = self.labels.ended(&plan.shape)?;
            (plan.recorder).record_read(labels, self.values(), self.duration, span)
        });
    }

    /// Records the end of a span, or counts what is missing or mistyped.
    #[inline]
    pub(super) fn end(
        &self,
        plan: &'static Plan,
        duration: Duration,
        span: Option<SampledSpan>,
        refusals: &Refusals,
    ) {
        self.or_refuse(plan, refusals, || {
            let labels = self.labels.ended(&plan.shape)?;
            (plan.recorder).end_read(labels, self.values(), duration, span)
        });
    }

    #[inline]
    fn or_refuse(
        &self,
        plan: &'static Plan,
        refusals: &Refusals,
        record: impl FnOnce() -> Result<(), FieldError>,
    ) {
        if self.mistyped.is_some() || self.mistyped_value.is_some() {
            return self.refuse_type(plan, refusals);
        }
        if let Err(error) = record() {
            refuse(plan, &error, refusals);
        }
    }

    #[cold]
    fn refuse_type(&self, plan: &'static Plan, refusals: &Refusals) {
        let signal = plan.recorder.signal();
        let (field, accepted) = match (self.mistyped, self.mistyped_value) {
            (Some(label), _) => (
                signal.labels[label as usize].key,
                "text, a whole number or a boolean",
            ),
            (None, value) => {
                let value = value.and_then(|value| signal.values.get(value as usize));
                (value.map_or("duration", |v| v.key), "a number")
            }
        };
        refusals.count(plan, field, Reason::Mistyped, accepted);
    }
}

#[cold]
fn refuse(plan: &'static Plan, error: &FieldError, refusals: &Refusals) {
    let reason = if error.reason == "missing" {
        Reason::Missing
    } else {
        Reason::UnknownValue
    };
    refusals.count(plan, error.field, reason, &error.reason);
}

struct Visitor<'r> {
    reading: &'r mut Reading,
    plan: &'static Plan,
}

impl Visitor<'_> {
    #[inline]
    fn target(&self, field: &Field) -> &'static Target {
        let targets = &self.plan.targets;
        targets.get(field.index()).unwrap_or(&Target::None)
    }

    fn number(&mut self, field: &Field, value: f64, text: impl fmt::Display) {
        match self.target(field) {
            Target::None => {}
            Target::Label(_, place) => {
                self.reading
                    .labels
                    .set_display(place, format_args!("{text}"));
            }
            Target::Value(position) => self.reading.set(*position, value),
            Target::Duration => self.reading.duration = Some(value),
        }
    }
}

impl Visit for Visitor<'_> {
    #[inline]
    fn record_str(&mut self, field: &Field, value: &str) {
        match self.target(field) {
            Target::None => {}
            Target::Label(_, place) => self.reading.labels.set(place, value),
            Target::Value(position) => self.reading.mistyped_value = Some(*position),
            Target::Duration => self.reading.mistyped_value = Some(u8::MAX),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field, value as f64, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field, value as f64, value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.number(field, value as f64, value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.number(field, value as f64, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record_str(field, if value { "true" } else { "false" });
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        match self.target(field) {
            Target::None => {}
            Target::Label(label, _) => self.reading.mistyped = Some(*label),
            Target::Value(position) => self.reading.set(*position, value),
            Target::Duration => self.reading.duration = Some(value),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match self.target(field) {
            Target::None => {}
            Target::Label(_, place) => {
                let text = format_args!("{value:?}");
                self.reading.labels.set_display(place, text);
            }
            Target::Value(position) => self.reading.mistyped_value = Some(*position),
            Target::Duration => self.reading.mistyped_value = Some(u8::MAX),
        }
    }
}

/// The state of a span of a declared operation.
pub(super) struct SpanState {
    pub(super) plan: Option<&'static Plan>,
    pub(super) reading: Reading,
    pub(super) start: Option<Instant>,
    pub(super) begun: Option<Begun>,
    pub(super) span: Option<SampledSpan>,
}

impl SpanState {
    const fn new() -> Self {
        Self {
            plan: None,
            reading: Reading::new(),
            start: None,
            begun: None,
            span: None,
        }
    }

    /// Counts the span in flight once every start label is known.
    pub(super) fn begin(&mut self, plan: &'static Plan) {
        self.begun = self.reading.begin(plan);
    }
}

struct Bucket {
    id: u64,
    state: SpanState,
}

/// The state of open spans by id: a bucket each, and a map for those whose bucket is taken.
pub(super) struct SpanTable {
    buckets: Box<[Mutex<Bucket>]>,
    more: Mutex<HashMap<u64, Box<SpanState>>>,
    more_len: AtomicUsize,
}

impl SpanTable {
    pub(super) fn new() -> Self {
        Self {
            buckets: (0..BUCKETS)
                .map(|_| {
                    Mutex::new(Bucket {
                        id: 0,
                        state: SpanState::new(),
                    })
                })
                .collect(),
            more: Mutex::default(),
            more_len: AtomicUsize::new(0),
        }
    }

    #[inline]
    fn bucket(&self, id: u64) -> &Mutex<Bucket> {
        // Ids of different threads differ in their high bits alone. The highest ones tell how
        // often the registry has used a place; without them successive spans at one place share
        // a bucket.
        let mixed = (id & ID_PLACE).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &self.buckets[(mixed >> 55) as usize % BUCKETS]
    }

    #[inline]
    pub(super) fn insert(&self, id: &Id, fill: impl FnOnce(&mut SpanState)) {
        let id = id.into_u64();
        let mut bucket = self.bucket(id).lock();
        if bucket.id == 0 {
            // Taken only once filled: a field's `Debug` may panic.
            fill(&mut bucket.state);
            bucket.id = id;
            return;
        }
        drop(bucket);
        let mut state = Box::new(SpanState::new());
        fill(&mut state);
        self.more_len.fetch_add(1, Ordering::Release);
        self.more.lock().insert(id, state);
    }

    #[inline]
    pub(super) fn with(&self, id: &Id, use_it: impl FnOnce(&mut SpanState)) {
        let id = id.into_u64();
        let mut bucket = self.bucket(id).lock();
        if bucket.id == id {
            use_it(&mut bucket.state);
            return;
        }
        drop(bucket);
        if self.more_len.load(Ordering::Acquire) > 0
            && let Some(state) = self.more.lock().get_mut(&id)
        {
            use_it(state);
        }
    }

    #[inline]
    pub(super) fn remove(&self, id: &Id, use_it: impl FnOnce(&mut SpanState)) {
        let id = id.into_u64();
        let mut bucket = self.bucket(id).lock();
        if bucket.id == id {
            use_it(&mut bucket.state);
            bucket.id = 0;
            return;
        }
        drop(bucket);
        if self.more_len.load(Ordering::Acquire) > 0 {
            let removed = self.more.lock().remove(&id);
            if let Some(mut state) = removed {
                self.more_len.fetch_sub(1, Ordering::Release);
                use_it(&mut state);
            }
        }
    }
}
