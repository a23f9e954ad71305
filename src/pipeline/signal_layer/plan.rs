//! One plan per callsite: which field feeds what.

use std::collections::HashMap;
use std::sync::OnceLock;

use parking_lot::RwLock;
use tracing::Metadata;
use tracing_core::callsite::Identifier;

use super::TYPED_TARGET;
use crate::catalog::{Feed, SignalKind};
use crate::recording::{Place, Recorder, Shape};

/// `tracing` spans and events have at most 32 fields.
pub(super) const MAX_FIELDS: usize = 32;
/// Slots of the callsite table; further callsites go to a map.
const SLOTS: usize = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 10;

/// What a field feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Nothing: the declaration does not name it.
    None,
    /// The label at this position.
    Label(u8, Place),
    /// The value at this position.
    Value(u8),
    /// How long the operation took, seconds, for events.
    Duration,
}

pub(super) struct Plan {
    pub(super) recorder: &'static dyn Recorder,
    pub(super) targets: [Target; MAX_FIELDS],
    pub(super) shape: Shape,
    /// Whether spans are recorded.
    pub(super) operation: bool,
    pub(super) counts_in_flight: bool,
    /// Where the span or event is made.
    pub(super) place: (&'static str, u32),
}

/// Metadata is static, so that its address stands for it.
type Slot = OnceLock<(&'static Metadata<'static>, &'static Plan)>;

pub(super) struct Plans {
    by_name: HashMap<&'static str, &'static dyn Recorder>,
    slots: Box<[Slot]>,
    more: RwLock<HashMap<usize, &'static Plan>>,
}

/// Plans by callsite and recorder live as long as their callsites do, which is for ever; kept
/// here so that several layers share them.
static COMPILED: OnceLock<parking_lot::Mutex<HashMap<(Identifier, usize), &'static Plan>>> =
    OnceLock::new();

impl Plans {
    pub(super) fn new(signals: &[&'static dyn Recorder]) -> Self {
        Self {
            by_name: signals.iter().map(|r| (r.signal().name, *r)).collect(),
            slots: (0..SLOTS).map(|_| Slot::new()).collect(),
            more: RwLock::default(),
        }
    }

    pub(super) fn is_declared(&self, meta: &Metadata<'_>) -> bool {
        meta.target() != TYPED_TARGET && self.by_name.contains_key(meta.name())
    }

    #[inline]
    pub(super) fn get(&self, meta: &'static Metadata<'static>) -> Option<&'static Plan> {
        let mut at = place(meta);
        for _ in 0..SLOTS {
            match self.slots[at].get() {
                None => return None,
                Some((found, plan)) if std::ptr::eq(*found, meta) => return Some(plan),
                Some(_) => at = (at + 1) % SLOTS,
            }
        }
        self.more.read().get(&address(meta)).copied()
    }

    /// Compiles the plan of a declared callsite.
    pub(super) fn register(&self, meta: &'static Metadata<'static>) {
        if !self.is_declared(meta) || self.get(meta).is_some() {
            return;
        }
        let Some(recorder) = self.by_name.get(meta.name()).copied() else {
            return;
        };
        let mut item = (meta, compiled(meta, recorder));
        let mut at = place(meta);
        for _ in 0..SLOTS {
            match self.slots[at].set(item) {
                Ok(()) => return,
                Err(back) => item = back,
            }
            at = (at + 1) % SLOTS;
        }
        self.more.write().insert(address(meta), item.1);
    }
}

#[inline]
fn address(meta: &'static Metadata<'static>) -> usize {
    std::ptr::from_ref(meta) as usize
}

#[inline]
fn place(meta: &'static Metadata<'static>) -> usize {
    let mixed = (address(meta) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (u64::BITS - SLOT_BITS)) as usize
}

fn compiled(meta: &'static Metadata<'static>, recorder: &'static dyn Recorder) -> &'static Plan {
    let key = (
        meta.callsite(),
        std::ptr::from_ref(recorder.signal()) as usize,
    );
    COMPILED
        .get_or_init(parking_lot::Mutex::default)
        .lock()
        .entry(key)
        .or_insert_with(|| Box::leak(Box::new(compile(meta, recorder))))
}

fn compile(meta: &'static Metadata<'static>, recorder: &'static dyn Recorder) -> Plan {
    let signal = recorder.signal();
    let shape = Shape::new(signal);
    let mut targets = [Target::None; MAX_FIELDS];
    for field in meta.fields() {
        let name = field.name();
        let label = signal.labels.iter().position(|l| l.key == name);
        let value = signal.values.iter().position(|v| v.key == name);
        if let Some(target) = targets.get_mut(field.index()) {
            *target = match (label, value) {
                (Some(position), _) => Target::Label(position as u8, shape.place(position)),
                (None, Some(position)) => Target::Value(position as u8),
                (None, None) if name == "duration" && meta.is_event() => Target::Duration,
                (None, None) => Target::None,
            };
        }
    }
    Plan {
        recorder,
        targets,
        shape,
        operation: signal.kind == SignalKind::Operation,
        counts_in_flight: signal.metrics.iter().any(|m| m.feed == Feed::Active),
        place: (
            meta.file().unwrap_or_else(|| meta.target()),
            meta.line().unwrap_or_default(),
        ),
    }
}
