//! Families of vocabularies on the page.

use std::cell::{RefCell, RefMut};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::families::Heads;
use super::names::{Kind, label_text};
use super::number::bound;
use crate::vocabulary::{self, Computed, Family, Library, Rendering, Set};

/// Pages of vocabularies alone that are remembered.
const PAGES: usize = 32;

/// What is written once per family.
pub(super) struct Head {
    pub(super) heads: Heads,
    /// `le="…"} ` of each bucket, in text and in OpenMetrics.
    pub(super) le: [Vec<String>; 2],
}

/// A family, which is computed when it is written: what was added up is in the cache still.
pub(super) struct Member {
    pub(super) head: Head,
    computed: RefCell<Computed>,
    now: SystemTime,
}

impl Member {
    /// The family as it is now.
    pub(super) fn computed(&self) -> RefMut<'_, Computed> {
        let mut computed = self.computed.borrow_mut();
        computed.update(self.now);
        computed
    }
}

/// The families of a set, with what is kept of them between scrapes, sorted by name.
pub(super) struct Derived(Vec<Member>);

impl Derived {
    fn new(set: &Set, recorders: &[&'static dyn crate::recording::Recorder]) -> Self {
        let families = Rendering::new(set, recorders).into_families();
        let members = families.into_iter().map(|computed| Member {
            head: Head::new(computed.family()),
            computed: RefCell::new(computed),
            now: SystemTime::UNIX_EPOCH,
        });
        Self(members.collect())
    }

    pub(super) fn families(&self) -> &[Member] {
        &self.0
    }

    fn at(&mut self, now: SystemTime) {
        self.0.iter_mut().for_each(|member| member.now = now);
    }

    fn interval(&self) -> Option<Duration> {
        let members = self.0.iter();
        members
            .filter_map(|member| member.computed.borrow().interval())
            .min()
    }

    fn sample(&mut self, now: SystemTime) {
        let members = self.0.iter_mut();
        members.for_each(|member| member.computed.get_mut().sample(now));
    }
}

impl Head {
    fn new(family: &Family) -> Self {
        let kind = match family.kind {
            vocabulary::Kind::Counter => Kind::Counter,
            vocabulary::Kind::Gauge => Kind::Gauge,
            vocabulary::Kind::Histogram => Kind::Histogram,
            vocabulary::Kind::Info => Kind::Info,
        };
        let units = ["seconds", "bytes", "ratio"];
        let ends = |unit: &&str| family.base().ends_with(&format!("_{unit}"));
        let unit = units.into_iter().find(ends).unwrap_or_default();
        let base = family.base().to_owned();
        Self {
            heads: Heads::new(base, family.name.clone(), kind, &family.help, unit),
            le: [false, true].map(|open_metrics| {
                let all = family.bounds.iter().copied().chain([f64::INFINITY]);
                all.map(|b| format!("le=\"{}\"}} ", bound(b, open_metrics)))
                    .collect()
            }),
        }
    }
}

/// The labels of a series without braces, rendered once.
pub(super) fn text(target: &vocabulary::Target) -> &str {
    target.rendered(|target| label_text(target.labels()))
}

/// The vocabularies on the page and beside it.
pub(super) struct Vocabularies {
    library: Arc<Library>,
    recorders: Vec<&'static dyn crate::recording::Recorder>,
    beside: Derived,
    alone: HashMap<Vec<String>, Derived>,
    sampled: Instant,
}

impl Vocabularies {
    pub(super) fn new(
        library: Arc<Library>,
        recorders: &[&'static dyn crate::recording::Recorder],
    ) -> Self {
        Self {
            beside: Derived::new(library.served(), recorders),
            alone: HashMap::new(),
            sampled: Instant::now(),
            recorders: recorders.to_vec(),
            library,
        }
    }

    /// What can be asked for.
    pub(super) fn library(&self) -> Arc<Library> {
        Arc::clone(&self.library)
    }

    /// Names that belong to what is served beside our own families.
    pub(super) fn claims(&self) -> impl Iterator<Item = String> {
        self.library.served().claims()
    }

    /// Makes a page of these vocabularies ready to be written as of `now`; none named: what is
    /// served beside our own names.
    ///
    /// # Errors
    /// They cannot be served together.
    pub(super) fn update(&mut self, names: &[String], now: SystemTime) -> Result<(), String> {
        if names.is_empty() {
            self.beside.at(now);
            return Ok(());
        }
        if !self.alone.contains_key(names) {
            let set = self.library.alone(names)?;
            if self.alone.len() >= PAGES {
                self.alone.clear();
            }
            let derived = Derived::new(&set, &self.recorders);
            self.alone.insert(names.to_vec(), derived);
        }
        if let Some(derived) = self.alone.get_mut(names) {
            derived.at(now);
        }
        Ok(())
    }

    /// The families of a page.
    pub(super) fn of(&self, names: &[String]) -> &Derived {
        self.alone.get(names).unwrap_or(&self.beside)
    }

    /// How often windows want to be sampled.
    pub(super) fn interval(&self) -> Option<Duration> {
        let all = self.alone.values().chain([&self.beside]);
        all.filter_map(|derived| derived.interval()).min()
    }

    /// Takes note of what windows need, where they have waited long enough.
    pub(super) fn sample(&mut self) {
        let due = self
            .interval()
            .is_some_and(|interval| self.sampled.elapsed() >= interval);
        if due {
            self.sampled = Instant::now();
            let now = SystemTime::now();
            self.beside.sample(now);
            self.alone
                .values_mut()
                .for_each(|derived| derived.sample(now));
        }
    }
}
