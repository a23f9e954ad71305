//! What has been read of a span or event so far.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::Id;

use super::plan::{Plan, Target};
use super::refused::{Reason, Refusals};
use crate::catalog::check::MAX_LABELS;
use crate::recording::Begun;
use crate::recording::exemplar::SampledSpan;

/// Text of all labels of one span at most; what finds no room is missing.
const MAX_TEXTS: usize = 8 * 1024;
/// Room that a span's state keeps for its texts.
const KEPT: usize = 256;
/// Text of one label at most; a longer one folds anyway.
const MAX_TEXT: usize = 512;
const MAX_VALUES: usize = 8;
/// The bits of a span's id that tell its thread and place in the registry of
/// `tracing-subscriber`. Where they do not, more spans share a bucket.
const ID_PLACE: u64 = (1 << 51) - 1;
/// Spans kept without a map.
const BUCKETS: usize = 512;

#[derive(Clone, Copy, Default)]
struct Text {
    at: u16,
    len: u16,
}

/// Labels and values read from fields.
pub(super) struct Reading {
    labels: [Text; MAX_LABELS],
    values: [Option<f64>; MAX_VALUES],
    /// Whether any value was read.
    valued: bool,
    duration: Option<f64>,
    mistyped: Option<u8>,
    mistyped_value: Option<u8>,
    texts: String,
}

impl Reading {
    pub(super) const fn new() -> Self {
        Self {
            labels: [Text { at: 0, len: 0 }; MAX_LABELS],
            values: [None; MAX_VALUES],
            valued: false,
            duration: None,
            mistyped: None,
            mistyped_value: None,
            texts: String::new(),
        }
    }

    #[inline]
    pub(super) fn clear(&mut self) {
        self.labels = [Text::default(); MAX_LABELS];
        if self.valued {
            self.values = [None; MAX_VALUES];
            self.valued = false;
        }
        self.duration = None;
        self.mistyped = None;
        self.mistyped_value = None;
        if self.texts.capacity() > KEPT {
            self.texts = String::with_capacity(KEPT);
        }
        self.texts.clear();
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

    pub(super) fn seconds(&self) -> Option<f64> {
        self.duration
    }

    #[inline]
    fn put(&mut self, label: usize, text: &str) {
        let text = if text.len() > MAX_TEXT {
            &text[..text.floor_char_boundary(MAX_TEXT)]
        } else {
            text
        };
        if self.texts.len() + text.len() <= MAX_TEXTS {
            self.labels[label] = Text {
                at: self.texts.len() as u16,
                len: text.len() as u16,
            };
            self.texts.push_str(text);
        }
    }

    #[inline]
    fn text(&self, label: usize) -> &str {
        let Text { at, len } = self.labels[label];
        let at = at as usize;
        self.texts.get(at..at + len as usize).unwrap_or_default()
    }

    /// The texts of the first `count` labels; of the others nothing.
    #[inline]
    fn texts(&self, count: usize) -> [&str; MAX_LABELS] {
        let mut texts = [""; MAX_LABELS];
        for (i, text) in texts.iter_mut().enumerate().take(count) {
            *text = self.text(i);
        }
        texts
    }

    /// Records what was read, or counts what is missing or mistyped.
    #[inline]
    pub(super) fn record(
        &self,
        plan: &'static Plan,
        seconds: Option<f64>,
        span: Option<SampledSpan>,
        refusals: &Refusals,
    ) {
        let signal = plan.recorder.signal();
        if let Some(label) = self.mistyped {
            let field = signal.labels[label as usize].key;
            refusals.count(
                plan,
                field,
                Reason::Mistyped,
                "text, a whole number or a boolean",
            );
            return;
        }
        if let Some(value) = self.mistyped_value {
            let field = signal
                .values
                .get(value as usize)
                .map_or("duration", |v| v.key);
            refusals.count(plan, field, Reason::Mistyped, "a number");
            return;
        }
        let texts = self.texts(signal.labels.len());
        if let Err(error) =
            plan.recorder
                .record(&texts[..signal.labels.len()], &self.values, seconds, span)
        {
            let reason = if error.reason == "missing" {
                Reason::Missing
            } else {
                Reason::UnknownValue
            };
            refusals.count(plan, error.field, reason, &error.reason);
        }
    }
}

struct Visitor<'r> {
    reading: &'r mut Reading,
    plan: &'static Plan,
}

impl Visitor<'_> {
    #[inline]
    fn target(&self, field: &Field) -> Target {
        self.plan
            .targets
            .get(field.index())
            .copied()
            .unwrap_or(Target::None)
    }

    fn number(&mut self, field: &Field, value: f64, text: impl fmt::Display) {
        match self.target(field) {
            Target::None => {}
            Target::Label(label) => self.display(label, format_args!("{text}")),
            Target::Value(position) => self.reading.set(position, value),
            Target::Duration => self.reading.duration = Some(value),
        }
    }

    fn display(&mut self, label: u8, text: fmt::Arguments<'_>) {
        let mut buffer = Buffer {
            bytes: [0; MAX_TEXT],
            len: 0,
        };
        // Truncated text still folds like the whole.
        let _ = buffer.write_fmt(text);
        let text = std::str::from_utf8(&buffer.bytes[..buffer.len]).unwrap_or_default();
        self.reading.put(label as usize, text);
    }
}

impl Visit for Visitor<'_> {
    #[inline]
    fn record_str(&mut self, field: &Field, value: &str) {
        match self.target(field) {
            Target::None => {}
            Target::Label(label) => self.reading.put(label as usize, value),
            Target::Value(position) => self.reading.mistyped_value = Some(position),
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
            Target::Label(label) => self.reading.mistyped = Some(label),
            Target::Value(position) => self.reading.set(position, value),
            Target::Duration => self.reading.duration = Some(value),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match self.target(field) {
            Target::None => {}
            Target::Label(label) => self.display(label, format_args!("{value:?}")),
            Target::Value(position) => self.reading.mistyped_value = Some(position),
            Target::Duration => self.reading.mistyped_value = Some(u8::MAX),
        }
    }
}

struct Buffer {
    bytes: [u8; MAX_TEXT],
    len: usize,
}

impl fmt::Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_TEXT - self.len;
        let mut end = text.len().min(room);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.bytes[self.len..self.len + end].copy_from_slice(&text.as_bytes()[..end]);
        self.len += end;
        if end < text.len() {
            Err(fmt::Error)
        } else {
            Ok(())
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
        let count = plan.recorder.signal().labels.len();
        let texts = self.reading.texts(count);
        self.begun = plan.recorder.begin(&texts[..count]).ok();
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
