//! Which labels the series of a result have.

use std::collections::{BTreeMap, BTreeSet};

/// Whether the series of a result have a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Always,
    Maybe,
    Never,
}

/// A label of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Label {
    /// Whether every series has it.
    pub(super) always: bool,
    /// The values it can have; none: any.
    pub(super) values: Option<BTreeSet<String>>,
    /// Whether the scrape sets it.
    pub(super) target: bool,
}

impl Label {
    /// Of any value.
    pub(super) const fn any(always: bool) -> Self {
        Self {
            always,
            values: None,
            target: false,
        }
    }

    /// Whether it has one value only.
    pub(super) fn is_fixed(&self) -> bool {
        self.values.as_ref().is_some_and(|values| values.len() == 1)
    }
}

/// The labels of a result.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Labels {
    pub(super) known: BTreeMap<String, Label>,
    /// Whether there may be others.
    pub(super) open: bool,
}

impl Labels {
    /// Nothing is known about them.
    pub(super) fn unknown() -> Self {
        Self {
            known: BTreeMap::new(),
            open: true,
        }
    }

    pub(super) fn presence(&self, name: &str) -> Presence {
        match self.known.get(name) {
            Some(label) if label.always => Presence::Always,
            Some(_) => Presence::Maybe,
            None if self.open => Presence::Maybe,
            None => Presence::Never,
        }
    }

    pub(super) fn set(&mut self, name: &str, label: Label) {
        self.known.insert(name.to_owned(), label);
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.known.remove(name);
    }

    /// Only these.
    pub(super) fn only(&self, names: &[String]) -> Self {
        let mut kept = Self::default();
        for name in names {
            match (self.known.get(name), self.open) {
                (Some(label), _) => kept.set(name, label.clone()),
                (None, true) => kept.set(name, Label::any(false)),
                (None, false) => {}
            }
        }
        kept
    }

    /// All but these.
    pub(super) fn without(&self, names: &[String]) -> Self {
        let mut kept = self.clone();
        kept.known.retain(|name, _| !names.contains(name));
        kept
    }

    /// Those of series of either kind.
    pub(super) fn either(&self, other: &Self) -> Self {
        let mut all = Self {
            known: BTreeMap::new(),
            open: self.open || other.open,
        };
        for name in self.known.keys().chain(other.known.keys()) {
            let label = match (self.known.get(name), other.known.get(name)) {
                (Some(a), Some(b)) => Label {
                    always: a.always && b.always,
                    values: match (&a.values, &b.values) {
                        (Some(a), Some(b)) => Some(a.union(b).cloned().collect()),
                        _ => None,
                    },
                    target: a.target && b.target,
                },
                (Some(one), None) | (None, Some(one)) => Label {
                    always: false,
                    ..one.clone()
                },
                (None, None) => continue,
            };
            all.known.insert(name.clone(), label);
        }
        all
    }

    /// The names, for a message.
    pub(super) fn listed(&self) -> String {
        if self.known.is_empty() {
            return "no labels".to_owned();
        }
        let names: Vec<&str> = self.known.keys().map(String::as_str).collect();
        names.join(", ")
    }
}
