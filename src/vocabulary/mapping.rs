//! Reading how a family is computed, and holding it against the signals.

mod value;

use std::collections::BTreeMap;

use toml_edit::TableLike;

use super::family::{Words, pairs};
use super::model::{Filter, Kind, LabelFrom, LabelRule, Mapping, matches};
use super::read::{Reader, meant};
use super::set::keys;
use crate::catalog::{Instrument, LabelKind, Metric, Signal};

/// A mapping and the bounds of its histogram.
pub(super) struct Found {
    pub(super) mapping: Mapping,
    pub(super) bounds: Vec<f64>,
}

/// The metrics that a family is computed from.
struct Sources {
    names: Vec<String>,
    metrics: Vec<(&'static Signal, &'static Metric)>,
}

impl Sources {
    /// Labels that every metric has.
    fn keys(&self) -> Vec<&'static str> {
        let mut common: Option<Vec<&'static str>> = None;
        for (signal, metric) in &self.metrics {
            let keys: Vec<&'static str> = keys(signal, metric).collect();
            common = Some(match common {
                None => keys,
                Some(known) => known.into_iter().filter(|k| keys.contains(k)).collect(),
            });
        }
        common.unwrap_or_default()
    }

    /// Labels that some metric has.
    fn all_keys(&self) -> Vec<&'static str> {
        let mut all: Vec<&'static str> = self
            .metrics
            .iter()
            .flat_map(|(signal, metric)| keys(signal, metric))
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Every value that a label can have, where they are a fixed list.
    fn values(&self, key: &str) -> Option<Vec<&'static str>> {
        let mut values = Vec::new();
        for (signal, metric) in &self.metrics {
            if let Some((constant, value)) = metric.constant
                && constant == key
            {
                values.push(value);
                continue;
            }
            let label = signal.labels_of(metric).find(|label| label.key == key)?;
            match label.kind {
                LabelKind::Closed { values: closed, .. } => values.extend(closed),
                LabelKind::Open { .. } => return None,
            }
        }
        values.dedup();
        Some(values)
    }

    fn instrument(&self) -> Option<Instrument> {
        self.metrics.first().map(|(_, metric)| metric.instrument)
    }

    fn bounds(&self) -> &'static [f64] {
        self.metrics
            .first()
            .map_or(&[], |(_, metric)| metric.bounds)
    }
}

/// Reads the mapping of a family.
pub(super) fn read(
    reader: &mut Reader,
    table: &dyn TableLike,
    place: &str,
    kind: Kind,
    words: &Words,
    signals: &[&'static Signal],
) -> Option<Found> {
    let sources = sources(reader, table, place, signals)?;
    let mut labels = labels(reader, table, place, &sources);
    add_words(reader, table, place, &sources, words, &mut labels);
    constants(reader, table, place, &mut labels);
    attributes(reader, table, place, &mut labels);
    readings(reader, table, place, kind, &sources, signals, &mut labels);
    let filters = filters(reader, table, place, &sources);
    let value = value::value(reader, table, place, kind, &sources, &mut labels, &filters);
    let bounds = value::bounds(reader, table, place, kind, &sources);
    Some(Found {
        mapping: Mapping {
            sources: sources.names,
            labels: labels
                .into_iter()
                .map(|(name, from)| LabelRule { name, from })
                .collect(),
            filters,
            value: value?,
        },
        bounds,
    })
}

fn sources(
    reader: &mut Reader,
    table: &dyn TableLike,
    place: &str,
    signals: &[&'static Signal],
) -> Option<Sources> {
    let names = reader.texts(table, "source", place)?;
    let line = reader.line_of(table, "source");
    let all = || {
        signals
            .iter()
            .flat_map(|signal| signal.metrics.iter().map(move |metric| (*signal, metric)))
    };
    let mut metrics = Vec::new();
    for name in &names {
        let before = metrics.len();
        metrics.extend(all().filter(|(_, metric)| metric.name == *name));
        if metrics.len() == before {
            // Somebody may have written the name that Prometheus shows.
            let shown = all().find(|(_, metric)| metric.prometheus_name() == *name);
            let near = match shown {
                Some((_, metric)) => format!(" did you mean `{}`?", metric.name),
                None => meant(name, all().map(|(_, metric)| metric.name)),
            };
            reader.fault(
                line,
                format!(
                    "{place}source `{name}` is not declared;{near} accepted: metrics that \
                     `tachograph catalog` lists"
                ),
            );
            return None;
        }
    }
    let instruments = |instrument| match instrument {
        Instrument::Counter | Instrument::FloatCounter => "counters",
        Instrument::Histogram => "histograms",
        Instrument::InFlight => "operations under way",
        Instrument::Gauge => "gauges",
    };
    let mut kinds: Vec<&str> = metrics
        .iter()
        .map(|(_, metric): &(&Signal, &Metric)| instruments(metric.instrument))
        .collect();
    kinds.dedup();
    let alike = metrics
        .windows(2)
        .all(|pair| pair[0].1.bounds == pair[1].1.bounds);
    if kinds.len() > 1 || !alike {
        reader.fault(
            line,
            format!(
                "{place}the sources are {} and cannot be added up; accepted: metrics of one \
                 type and the same bounds",
                kinds.join(" and ")
            ),
        );
        return None;
    }
    Some(Sources { names, metrics })
}

/// Says that a label is not one of the source's, if it is not.
fn known_key(reader: &mut Reader, line: usize, place: &str, sources: &Sources, key: &str) -> bool {
    let accepted = sources.keys();
    if accepted.contains(&key) {
        return true;
    }
    let near = meant(key, accepted.iter().copied());
    let accepted = match accepted.is_empty() {
        true => "none, it has no labels".to_owned(),
        false => accepted.join(", "),
    };
    reader.fault(
        line,
        format!(
            "{place}`{}` has no label `{key}`;{near} accepted: {accepted}",
            sources.names.join("`, `")
        ),
    );
    false
}

type Labels = BTreeMap<String, LabelFrom>;

/// Says that a name cannot be that of a label, if it cannot.
fn valid_label(reader: &mut Reader, line: usize, place: &str, name: &str, labels: &Labels) -> bool {
    let valid = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !valid {
        reader.fault(
            line,
            format!(
                "{place}`{name}` is no name of a label; accepted: letters, digits and `_`, no \
                 digit first"
            ),
        );
    } else if name.starts_with("__") || matches!(name, "le" | "quantile") {
        reader.fault(
            line,
            format!("{place}label `{name}` is kept by Prometheus for itself; choose another name"),
        );
    } else if labels.contains_key(name) {
        reader.fault(line, format!("{place}label `{name}` is there twice"));
    } else {
        return true;
    }
    false
}

fn labels(reader: &mut Reader, table: &dyn TableLike, place: &str, sources: &Sources) -> Labels {
    let mut labels = Labels::new();
    let Some(given) = reader.table(table, "labels", place) else {
        return labels;
    };
    for (name, _) in given.iter() {
        let line = reader.line_of(given, name);
        let Some(keys) = reader.texts(given, name, place) else {
            continue;
        };
        let mut known = true;
        for key in &keys {
            known &= known_key(reader, line, place, sources, key);
        }
        if valid_label(reader, line, place, name, &labels) && known {
            let words = Vec::new();
            labels.insert(name.to_owned(), LabelFrom::Keys { keys, words });
        }
    }
    labels
}

fn add_words(
    reader: &mut Reader,
    table: &dyn TableLike,
    place: &str,
    sources: &Sources,
    words: &Words,
    labels: &mut Labels,
) {
    let Some(given) = reader.table(table, "values", place) else {
        return;
    };
    for (name, item) in given.iter() {
        let line = reader.line_of(given, name);
        let Some(LabelFrom::Keys { keys, words: into }) = labels.get_mut(name) else {
            let accepted: Vec<&str> = labels.keys().map(String::as_str).collect();
            let near = meant(name, accepted.iter().copied());
            reader.fault(
                line,
                format!(
                    "{place}`values` names `{name}`, which is not in `labels`;{near} accepted: {}",
                    accepted.join(", ")
                ),
            );
            continue;
        };
        // Of a list that several families share, only what this label can be is used.
        let (map, shared) = if let Some(shared) = item.as_str() {
            let Some(map) = words.get(shared) else {
                let near = meant(shared, words.keys().map(String::as_str));
                let accepted: Vec<&str> = words.keys().map(String::as_str).collect();
                reader.fault(
                    line,
                    format!(
                        "{place}there are no words `{shared}`;{near} accepted: {}",
                        match accepted.is_empty() {
                            true => "the name of a table [words.…] of this file".to_owned(),
                            false => accepted.join(", "),
                        }
                    ),
                );
                continue;
            };
            (map.clone(), true)
        } else if let Some(map) = item.as_table_like() {
            (pairs(reader, map, place), false)
        } else {
            reader.fault(
                line,
                format!(
                    "{place}`{name}` in `values` is {}; accepted: the name of words, or a table \
                     from our word to theirs",
                    item.type_name()
                ),
            );
            continue;
        };
        let fixed: Option<Vec<&'static str>> = keys
            .iter()
            .map(|key| sources.values(key))
            .collect::<Option<Vec<_>>>()
            .map(|lists| lists.concat());
        let mut kept = Vec::new();
        for (ours, theirs) in map {
            let possible = fixed.as_ref().is_none_or(|fixed| fixed.contains(&&*ours));
            if possible {
                kept.push((ours, theirs));
            } else if !shared {
                let fixed = fixed.as_deref().unwrap_or_default();
                let near = meant(&ours, fixed.iter().copied());
                reader.fault(
                    line,
                    format!(
                        "{place}label `{name}` is never `{ours}`;{near} accepted: {}",
                        shown(fixed)
                    ),
                );
            }
        }
        *into = kept;
    }
}

/// A list of values in words: the empty one is `""`.
fn shown(values: &[&str]) -> String {
    let quoted = values.iter().map(|v| if v.is_empty() { "\"\"" } else { v });
    quoted.collect::<Vec<_>>().join(", ")
}

fn constants(reader: &mut Reader, table: &dyn TableLike, place: &str, labels: &mut Labels) {
    let Some(given) = reader.table(table, "constant", place) else {
        return;
    };
    for (name, text) in pairs(reader, given, place) {
        let line = reader.line_of(given, &name);
        if valid_label(reader, line, place, &name, labels) {
            labels.insert(name, LabelFrom::Constant(text));
        }
    }
}

/// Labels from attributes that stand beside the declared ones.
fn attributes(reader: &mut Reader, table: &dyn TableLike, place: &str, labels: &mut Labels) {
    let Some(given) = reader.table(table, "attributes", place) else {
        return;
    };
    for (name, key) in pairs(reader, given, place) {
        let line = reader.line_of(given, &name);
        if valid_label(reader, line, place, &name, labels) {
            let (keys, words) = (vec![key], Vec::new());
            labels.insert(name, LabelFrom::Keys { keys, words });
        }
    }
}

/// Labels whose values are what other gauges read.
fn readings(
    reader: &mut Reader,
    table: &dyn TableLike,
    place: &str,
    kind: Kind,
    sources: &Sources,
    signals: &[&'static Signal],
    labels: &mut Labels,
) {
    let Some(given) = reader.table(table, "readings", place) else {
        return;
    };
    let line = reader.line_of(table, "readings");
    if kind != Kind::Info {
        reader.fault(
            line,
            format!("{place}only an info has `readings`: of another type each would be a series"),
        );
        return;
    }
    let mut own: Vec<&str> = sources.all_keys();
    own.sort_unstable();
    for (name, metric) in pairs(reader, given, place) {
        let line = reader.line_of(given, &name);
        let fits = signals.iter().any(|signal| {
            signal.metrics.iter().any(|one| {
                let mut theirs: Vec<&str> = keys(signal, one).collect();
                theirs.sort_unstable();
                one.name == metric && one.instrument == Instrument::Gauge && theirs == own
            })
        });
        if !fits {
            reader.fault(
                line,
                format!(
                    "{place}`{metric}` is no gauge with the labels of the source; accepted: one \
                     with {}",
                    shown(&own)
                ),
            );
        } else if valid_label(reader, line, place, &name, labels) {
            labels.insert(name, LabelFrom::Reading(metric));
        }
    }
}

fn filters(
    reader: &mut Reader,
    table: &dyn TableLike,
    place: &str,
    sources: &Sources,
) -> Vec<Filter> {
    let mut filters = Vec::new();
    for (field, keep) in [("where", true), ("unless", false)] {
        let Some(given) = reader.table(table, field, place) else {
            continue;
        };
        for (key, _) in given.iter() {
            let line = reader.line_of(given, key);
            let known = known_key(reader, line, place, sources, key);
            let Some(values) = reader.texts(given, key, place) else {
                continue;
            };
            if !known {
                continue;
            }
            if let Some(fixed) = sources.values(key) {
                for value in &values {
                    if !fixed.iter().any(|fixed| matches(value, fixed)) {
                        let near = meant(value, fixed.iter().copied());
                        reader.fault(
                            line,
                            format!(
                                "{place}`{key}` is never `{value}`;{near} accepted: {}",
                                shown(&fixed)
                            ),
                        );
                    }
                }
            }
            filters.push(Filter {
                key: key.to_owned(),
                values,
                keep,
            });
        }
    }
    filters
}
