//! The names of a vocabulary.

use std::collections::BTreeSet;

use super::names::{Family, FamilyLabel, Kind, Names};
use crate::catalog::{Instrument, LabelKind, Metric, Signal};
use crate::vocabulary::{self, Filter, LabelFrom, Mapping, Origin, ValueRule, Vocabulary};

impl Names {
    /// Adds the families of a vocabulary. Those that wait for signals are known too; of their
    /// labels only the names are.
    pub fn add_vocabulary(&mut self, vocabulary: &Vocabulary, signals: &[&'static Signal]) {
        for family in &vocabulary.families {
            let labels: Vec<&str> = family.labels.iter().map(String::as_str).collect();
            let kind = match family.kind {
                vocabulary::Kind::Counter => Kind::Counter,
                vocabulary::Kind::Histogram => Kind::Histogram,
                vocabulary::Kind::Gauge | vocabulary::Kind::Info => Kind::Sum,
            };
            let mut known = Family::new(&family.name, kind, &labels).bounds(&family.bounds);
            match &family.origin {
                Origin::Waits(what) => known.waits = Some(what.clone()),
                Origin::Mapped(mapping) => describe(&mut known, mapping, signals),
            }
            self.add(known);
        }
    }
}

/// The metrics that feed a family, each with its signal.
fn sources(
    mapping: &Mapping,
    signals: &[&'static Signal],
) -> Vec<(&'static Signal, &'static Metric)> {
    signals
        .iter()
        .flat_map(|signal| signal.metrics.iter().map(move |metric| (*signal, metric)))
        .filter(|(_, metric)| mapping.sources.iter().any(|source| source == metric.name))
        .collect()
}

fn describe(family: &mut Family, mapping: &Mapping, signals: &[&'static Signal]) {
    let sources = sources(mapping, signals);
    let additive = mapping.value == ValueRule::Sum
        && sources
            .iter()
            .all(|(_, metric)| metric.instrument == Instrument::InFlight);
    if family.kind == Kind::Sum && !additive {
        family.kind = Kind::Gauge;
    }
    if let ValueRule::Share { scale, .. } = &mapping.value {
        family.share = Some(*scale);
    }
    for rule in &mapping.labels {
        let label = match &rule.from {
            LabelFrom::Constant(value) => FamilyLabel {
                values: Some(vec![value.clone()]),
                optional: false,
            },
            LabelFrom::Reading(_) => FamilyLabel {
                values: None,
                optional: true,
            },
            LabelFrom::Window => match &mapping.value {
                ValueRule::Share { windows, .. } => FamilyLabel {
                    values: Some(windows.iter().map(|(text, _)| text.clone()).collect()),
                    optional: false,
                },
                _ => continue,
            },
            LabelFrom::Keys { keys, words } => from_keys(&sources, keys, words, &mapping.filters),
        };
        family.labels.insert(rule.name.clone(), label);
    }
}

/// A label that takes its values from labels of the sources: closed where all of those are.
fn from_keys(
    sources: &[(&'static Signal, &'static Metric)],
    keys: &[String],
    words: &[(String, String)],
    filters: &[Filter],
) -> FamilyLabel {
    let mut values = BTreeSet::new();
    let (mut closed, mut optional) = (true, true);
    let word = |value: &str| {
        words
            .iter()
            .find(|(ours, _)| ours == value)
            .map_or(value, |(_, theirs)| theirs)
            .to_owned()
    };
    for (signal, metric) in sources {
        for key in keys {
            if let Some((_, value)) = metric.constant.filter(|(constant, _)| constant == key) {
                values.insert(word(value));
                optional = false;
            }
            for label in signal.labels_of(metric).filter(|label| label.key == key) {
                match label.kind {
                    LabelKind::Closed { values: all, .. } => {
                        let kept = all.iter().filter(|value| {
                            filters
                                .iter()
                                .filter(|filter| filter.key == *key)
                                .all(|filter| filter.passes(value))
                        });
                        values.extend(kept.map(|value| word(value)));
                        optional = false;
                    }
                    LabelKind::Open {
                        optional: may_lack, ..
                    } => {
                        closed = false;
                        optional &= may_lack;
                    }
                }
            }
        }
    }
    // A word for the absent label makes it present.
    optional &= !words.iter().any(|(ours, _)| ours.is_empty());
    FamilyLabel {
        values: (closed && !values.is_empty()).then(|| values.into_iter().collect()),
        optional,
    }
}
