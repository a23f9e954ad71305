//! Families of vocabularies on the page.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

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

/// The families of a set, with what is kept of them between scrapes.
pub(super) struct Derived {
    rendering: Rendering,
    /// In the order of the rendering's families.
    heads: Vec<Head>,
}

impl Derived {
    fn new(set: &Set, recorders: &[&'static dyn crate::recording::Recorder]) -> Self {
        let rendering = Rendering::new(set, recorders);
        let families = rendering.families().iter();
        Self {
            heads: families.map(|family| Head::new(family.family())).collect(),
            rendering,
        }
    }

    /// The families that have series, sorted by name.
    pub(super) fn families(&self) -> impl Iterator<Item = (&Head, &Computed)> {
        let families = self.heads.iter().zip(self.rendering.families());
        families.filter(|(_, family)| family.series().next().is_some())
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
}

impl Vocabularies {
    pub(super) fn new(
        library: Arc<Library>,
        recorders: &[&'static dyn crate::recording::Recorder],
    ) -> Self {
        Self {
            beside: Derived::new(library.served(), recorders),
            alone: HashMap::new(),
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

    /// Reads what a page of these vocabularies needs; none named: that beside our own names.
    ///
    /// # Errors
    /// They cannot be served together.
    pub(super) fn update(&mut self, names: &[String], now: SystemTime) -> Result<(), String> {
        if names.is_empty() {
            self.beside.rendering.update(now);
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
            derived.rendering.update(now);
        }
        Ok(())
    }

    /// The families of a page, as of its last update.
    pub(super) fn of(&self, names: &[String]) -> &Derived {
        self.alone.get(names).unwrap_or(&self.beside)
    }

    /// How often windows want to be sampled.
    pub(super) fn interval(&self) -> Option<Duration> {
        let all = self.alone.values().chain([&self.beside]);
        all.filter_map(|derived| derived.rendering.interval()).min()
    }

    /// Takes note of what windows need.
    pub(super) fn sample(&mut self, now: SystemTime) {
        self.beside.rendering.sample(now);
        for derived in self.alone.values_mut() {
            derived.rendering.sample(now);
        }
    }
}
