//! Vocabularies that are served together.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::model::{Family, Kind, LabelFrom, Mapping, ValueRule, Vocabulary};
use crate::catalog::{Instrument, Metric, Signal, prometheus_label};

/// Families of one page, of one vocabulary or several, without those that wait.
#[derive(Clone, Debug, Default)]
pub struct Set {
    /// Families, sorted by name, each once.
    pub families: Vec<Arc<Family>>,
}

/// Two families that cannot be served at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Clash {
    /// Name of the family.
    pub family: String,
    /// Who has it.
    pub first: String,
    /// Who has it too.
    pub second: String,
    /// How they differ.
    pub why: String,
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            family,
            first,
            second,
            why,
        } = self;
        write!(
            f,
            "{first} and {second} cannot be served at once: both have `{family}`, {why}; each \
             alone works"
        )
    }
}

impl Set {
    /// The families of vocabularies that are to be served together, beside the families of
    /// `canonical` signals.
    ///
    /// A family that several of them have and mean alike is served once.
    ///
    /// # Errors
    /// Every pair that shares a name and differs.
    pub fn new(
        vocabularies: &[&Vocabulary],
        canonical: &[&'static Signal],
    ) -> Result<Self, Vec<Clash>> {
        let mut taken: BTreeMap<String, (String, Arc<Family>)> = BTreeMap::new();
        for family in canonical.iter().flat_map(|signal| published(signal)) {
            let family = Arc::new(family);
            for claim in claims(family.base(), family.kind) {
                taken.insert(claim, ("our own names".to_owned(), Arc::clone(&family)));
            }
        }
        let mut families: BTreeMap<String, Arc<Family>> = BTreeMap::new();
        let mut found = Vec::new();
        for vocabulary in vocabularies {
            let who = format!("vocabulary `{}`", vocabulary.name);
            for family in &vocabulary.families {
                if family.mapping().is_none() {
                    continue;
                }
                let names: Vec<String> = claims(family.base(), family.kind).collect();
                let other = names.iter().find_map(|name| taken.get(name));
                match other {
                    Some((first, known)) => {
                        if let Some(why) = difference(known, family) {
                            found.push(Clash {
                                family: family.name.clone(),
                                first: first.clone(),
                                second: who.clone(),
                                why,
                            });
                        }
                    }
                    None => {
                        let family = Arc::new(family.clone());
                        for name in names {
                            taken.insert(name, (who.clone(), Arc::clone(&family)));
                        }
                        families.insert(family.name.clone(), family);
                    }
                }
            }
        }
        if found.is_empty() {
            Ok(Self {
                families: families.into_values().collect(),
            })
        } else {
            Err(found)
        }
    }

    /// Every name that these families keep from others on the same page.
    pub fn claims(&self) -> impl Iterator<Item = String> {
        self.families
            .iter()
            .flat_map(|family| claims(family.base(), family.kind))
    }

    /// Whether there is nothing to serve.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.families.is_empty()
    }
}

/// Every name that a family keeps from others.
pub(super) fn claims(base: &str, kind: Kind) -> impl Iterator<Item = String> {
    kind.claims()
        .iter()
        .map(move |suffix| format!("{base}{suffix}"))
}

/// How two families of clashing names differ; none: not at all.
fn difference(a: &Family, b: &Family) -> Option<String> {
    if a.name != b.name {
        return Some(format!(
            "and samples of it would be taken for those of `{}`",
            a.name
        ));
    }
    if a.kind != b.kind {
        return Some(format!("a {} and a {}", a.kind, b.kind));
    }
    if a.labels != b.labels {
        return Some(format!(
            "with labels [{}] and [{}]",
            a.labels.join(", "),
            b.labels.join(", ")
        ));
    }
    if a.bounds != b.bounds {
        return Some(format!("with bounds {:?} and {:?}", a.bounds, b.bounds));
    }
    (a.origin != b.origin).then(|| "computed differently: other series or other words".to_owned())
}

/// The families that a signal has under our own names, as mappings onto themselves.
fn published(signal: &'static Signal) -> Vec<Family> {
    let mut seen: Vec<&'static str> = Vec::new();
    let mut families = Vec::new();
    for metric in signal.metrics {
        if seen.contains(&metric.name) {
            continue;
        }
        seen.push(metric.name);
        let mut labels: Vec<(String, &'static str)> = keys(signal, metric)
            .map(|key| (prometheus_label(key), key))
            .collect();
        labels.sort();
        families.push(Family {
            name: metric.prometheus_name(),
            kind: kind(metric.instrument),
            help: metric.brief.to_owned(),
            labels: labels.iter().map(|(name, _)| name.clone()).collect(),
            bounds: metric.bounds.to_vec(),
            line: 0,
            origin: super::model::Origin::Mapped(Mapping {
                sources: vec![metric.name.to_owned()],
                labels: labels
                    .into_iter()
                    .map(|(name, key)| super::model::LabelRule {
                        name,
                        from: LabelFrom::Keys {
                            keys: vec![key.to_owned()],
                            words: Vec::new(),
                        },
                    })
                    .collect(),
                filters: Vec::new(),
                value: ValueRule::Sum,
            }),
        });
    }
    families
}

/// The type of a metric under our own names.
fn kind(instrument: Instrument) -> Kind {
    match instrument {
        Instrument::Counter | Instrument::FloatCounter => Kind::Counter,
        Instrument::Histogram => Kind::Histogram,
        Instrument::InFlight | Instrument::Gauge => Kind::Gauge,
    }
}

/// OpenTelemetry names of the labels of a metric, its constant one among them.
pub(super) fn keys(
    signal: &'static Signal,
    metric: &'static Metric,
) -> impl Iterator<Item = &'static str> {
    let constant = metric.constant.map(|(key, _)| key);
    signal
        .labels_of(metric)
        .map(|label| label.key)
        .chain(constant)
}
