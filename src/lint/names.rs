//! The names that are published: families, their labels and values.

use std::collections::BTreeMap;

use crate::catalog::{Instrument, LabelKind, Signal, prometheus_label};

/// Type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, and restarts at zero.
    Counter,
    /// Goes up and down; of replicas the largest stands.
    Gauge,
    /// Goes up and down; replicas add up.
    Sum,
    /// Classic buckets, a sum and a count.
    Histogram,
    /// Quantiles, a sum and a count.
    Summary,
    /// Not known: no check of types.
    Unknown,
}

/// A label of a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilyLabel {
    /// Every value, where they are a fixed list.
    pub values: Option<Vec<String>>,
    /// Whether a series may lack it.
    pub optional: bool,
}

/// A family of series.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Name: with `_total` for a counter, without suffix for a histogram.
    pub name: String,
    /// Type.
    pub kind: Kind,
    /// Labels, without those of the scrape.
    pub labels: BTreeMap<String, FamilyLabel>,
    /// Finite upper bounds of a histogram's buckets; empty: not known.
    pub bounds: Vec<f64>,
    /// The whole, where a value is a share of it: 1 for ratios, 100 for percentages.
    pub share: Option<f64>,
    /// Least and largest value, where they are declared.
    pub range: Option<(f64, f64)>,
    /// What it waits for, where nothing feeds it yet.
    pub waits: Option<String>,
    /// Whether there may be labels that are not listed.
    pub open: bool,
}

impl Family {
    /// A family with labels that every series has, of any value.
    #[must_use]
    pub fn new(name: &str, kind: Kind, labels: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            labels: labels
                .iter()
                .map(|label| {
                    let any = FamilyLabel {
                        values: None,
                        optional: false,
                    };
                    ((*label).to_owned(), any)
                })
                .collect(),
            bounds: Vec::new(),
            share: (kind != Kind::Counter && name.ends_with("_ratio")).then_some(1.0),
            range: None,
            waits: None,
            open: false,
        }
    }

    /// Sets the finite upper bounds of the buckets, in rising order.
    #[must_use]
    pub fn bounds(mut self, bounds: &[f64]) -> Self {
        self.bounds = bounds.iter().copied().filter(|b| b.is_finite()).collect();
        self
    }

    /// Sets the values of a label.
    #[must_use]
    pub fn values(mut self, label: &str, values: &[&str]) -> Self {
        let values = values.iter().map(|v| (*v).to_owned()).collect();
        self.labels.insert(
            label.to_owned(),
            FamilyLabel {
                values: Some(values),
                optional: false,
            },
        );
        self
    }
}

/// Which series of a family a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The value of a counter or a gauge.
    Value,
    /// `_bucket` of a histogram.
    Bucket,
    /// `_sum` of a histogram or a summary.
    Sum,
    /// `_count` of a histogram or a summary.
    Count,
    /// `_created`: when the series began.
    Created,
    /// A histogram's own name, or a summary's quantiles.
    Whole,
}

/// A series' name, found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample<'a> {
    pub(super) family: &'a Family,
    pub(super) part: Part,
}

impl Sample<'_> {
    /// Whether it only grows.
    pub(super) fn is_counter(&self) -> bool {
        matches!(self.part, Part::Bucket | Part::Sum | Part::Count)
            || self.family.kind == Kind::Counter && self.part == Part::Value
    }

    /// Whether it goes up and down.
    pub(super) fn is_gauge(&self) -> bool {
        self.part == Part::Created || matches!(self.family.kind, Kind::Gauge | Kind::Sum)
    }
}

/// The families that are published, and names that are taken on trust.
#[derive(Clone, Debug, Default)]
pub struct Names {
    families: BTreeMap<String, Family>,
    trusted: Vec<String>,
    target: Vec<String>,
}

/// Series that Prometheus makes for every target, and the alerts it evaluates.
const PROMETHEUS: [&str; 11] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
    "scrape_timeout_seconds",
    "scrape_sample_limit",
    "scrape_body_size_bytes",
    "target_info",
    "ALERTS",
    "ALERTS_FOR_STATE",
];

impl Names {
    /// What Prometheus makes itself: `up`, `scrape_*`, `ALERTS`, and `target_info`.
    #[must_use]
    pub fn new() -> Self {
        let mut names = Self {
            target: vec!["job".to_owned(), "instance".to_owned()],
            ..Self::default()
        };
        for name in PROMETHEUS {
            let mut family = Family::new(name, Kind::Sum, &[]);
            // Alerts carry their rule's labels, target_info those of the resource.
            family.open = name.starts_with("ALERTS") || name == "target_info";
            names.add(family);
        }
        names
    }

    /// Those, and every metric of a catalog.
    #[must_use]
    pub fn of_catalog(signals: &[&'static Signal]) -> Self {
        let mut names = Self::new();
        for signal in signals {
            for metric in signal.metrics {
                let mut family = Family::new(
                    &metric.prometheus_name(),
                    match metric.instrument {
                        Instrument::Counter | Instrument::FloatCounter => Kind::Counter,
                        Instrument::Histogram => Kind::Histogram,
                        Instrument::InFlight => Kind::Sum,
                        Instrument::Gauge => Kind::Gauge,
                    },
                    &[],
                )
                .bounds(metric.bounds);
                if metric.instrument == Instrument::Gauge {
                    family.range = Some(metric.range());
                }
                for label in signal.labels_of(metric) {
                    let (values, optional) = match label.kind {
                        LabelKind::Closed { values, .. } => (
                            Some(values.iter().map(|v| (*v).to_owned()).collect()),
                            false,
                        ),
                        LabelKind::Open { optional, .. } => (None, optional),
                    };
                    family.labels.insert(
                        prometheus_label(label.key),
                        FamilyLabel { values, optional },
                    );
                }
                if let Some((key, value)) = metric.constant {
                    family = family.values(&prometheus_label(key), &[value]);
                }
                names.add(family);
            }
        }
        names
    }

    /// Adds a family. One of the same name is widened: labels that only one of them has become
    /// optional, values add up.
    pub fn add(&mut self, family: Family) {
        let Some(known) = self.families.get_mut(&family.name) else {
            self.families.insert(family.name.clone(), family);
            return;
        };
        for (name, label) in &mut known.labels {
            match family.labels.get(name) {
                Some(other) => {
                    label.optional |= other.optional;
                    label.values = match (label.values.take(), &other.values) {
                        (Some(mut values), Some(more)) => {
                            values.extend(more.iter().cloned());
                            values.sort();
                            values.dedup();
                            Some(values)
                        }
                        _ => None,
                    };
                }
                None => label.optional = true,
            }
        }
        for (name, label) in family.labels {
            known.labels.entry(name).or_insert(FamilyLabel {
                optional: true,
                ..label
            });
        }
        known.open |= family.open;
        known.share = known.share.filter(|share| family.share == Some(*share));
        known.range = match (known.range, family.range) {
            (Some((low, high)), Some((lower, higher))) => Some((low.min(lower), high.max(higher))),
            _ => None,
        };
        known.waits = known.waits.take().filter(|_| family.waits.is_some());
        if known.kind != family.kind {
            known.kind = Kind::Unknown;
        }
        if known.bounds != family.bounds {
            known.bounds.clear();
        }
    }

    /// Takes a name on trust; one that ends in `*` stands for all that begin so.
    pub fn trust(&mut self, name: &str) {
        self.trusted.push(name.to_owned());
    }

    /// Adds a label that every series gets from the scrape, beside `job` and `instance`.
    pub fn target_label(&mut self, name: &str) {
        self.target.push(name.to_owned());
    }

    pub(super) fn is_trusted(&self, name: &str) -> bool {
        self.trusted.iter().any(|trusted| {
            trusted
                .strip_suffix('*')
                .map_or(trusted == name, |prefix| name.starts_with(prefix))
        })
    }

    pub(super) fn target_labels(&self) -> &[String] {
        &self.target
    }

    /// Whether any series has the label.
    pub(super) fn has_label(&self, name: &str) -> bool {
        self.target.iter().any(|label| label == name)
            || matches!(name, "le" | "__name__" | "alertname" | "alertstate")
            || self.families.values().any(|f| f.labels.contains_key(name))
    }

    /// Every label there is.
    pub(super) fn labels(&self) -> impl Iterator<Item = &str> {
        self.families
            .values()
            .flat_map(|family| family.labels.keys())
            .chain(&self.target)
            .map(String::as_str)
    }

    /// The series a name stands for.
    pub(super) fn sample(&self, name: &str) -> Option<Sample<'_>> {
        if let Some(family) = self.families.get(name) {
            let part = match family.kind {
                Kind::Histogram | Kind::Summary => Part::Whole,
                _ => Part::Value,
            };
            return Some(Sample { family, part });
        }
        let (base, part) = [
            ("_bucket", Part::Bucket),
            ("_sum", Part::Sum),
            ("_count", Part::Count),
            ("_created", Part::Created),
        ]
        .into_iter()
        .find_map(|(suffix, part)| Some((name.strip_suffix(suffix)?, part)))?;
        let family = self
            .families
            .get(base)
            .or_else(|| self.families.get(&format!("{base}_total")))?;
        let fits = match family.kind {
            Kind::Histogram => true,
            Kind::Summary => part != Part::Bucket,
            Kind::Counter => part == Part::Created,
            Kind::Gauge | Kind::Sum | Kind::Unknown => false,
        };
        fits.then_some(Sample { family, part })
    }

    /// Whether any series' name satisfies a condition.
    pub(super) fn any_sample(&self, mut test: impl FnMut(&str) -> bool) -> bool {
        self.sample_names().any(|name| test(&name))
    }

    fn sample_names(&self) -> impl Iterator<Item = String> {
        self.families.values().flat_map(|family| {
            let suffixes: &[&str] = match family.kind {
                Kind::Histogram => &["_bucket", "_sum", "_count"],
                Kind::Summary => &["", "_sum", "_count"],
                _ => &[""],
            };
            suffixes
                .iter()
                .map(move |suffix| format!("{}{suffix}", family.name))
        })
    }

    /// The series' name nearest to one that does not exist.
    pub(super) fn nearest(&self, name: &str) -> Option<String> {
        // A forgotten or a wrong suffix is the commonest slip.
        let stem = |name: &str| -> String {
            let mut stem = name;
            for suffix in ["_total", "_bucket", "_sum", "_count", "_seconds", "_bytes"] {
                stem = stem.strip_suffix(suffix).unwrap_or(stem);
            }
            stem.to_owned()
        };
        let mut same_stem: Vec<String> = self
            .sample_names()
            .filter(|known| stem(known) == stem(name))
            .collect();
        same_stem.sort_by_key(|known| strsim::damerau_levenshtein(known, name));
        same_stem
            .into_iter()
            .next()
            .or_else(|| nearest(name, self.sample_names()))
    }
}

/// The nearest of several words, if one is near enough to be meant.
pub(super) fn nearest<S: AsRef<str>>(
    word: &str,
    known: impl IntoIterator<Item = S>,
) -> Option<String> {
    known
        .into_iter()
        .map(|known| {
            let score = strsim::normalized_damerau_levenshtein(word, known.as_ref())
                .max(strsim::jaro_winkler(word, known.as_ref()) - 0.25);
            (score, known)
        })
        .filter(|(score, known)| *score >= 0.6 && known.as_ref() != word)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known.as_ref().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::CATALOG;

    fn catalog() -> Names {
        let signals: Vec<_> = CATALOG.iter().map(|recorder| recorder.signal()).collect();
        Names::of_catalog(&signals)
    }

    #[test]
    fn suffixes_name_parts() {
        let names = catalog();
        let part = |name: &str| names.sample(name).map(|sample| sample.part);
        assert_eq!(part("workflow_duration_seconds_bucket"), Some(Part::Bucket));
        assert_eq!(part("workflow_duration_seconds"), Some(Part::Whole));
        assert_eq!(part("workflow_executions_total"), Some(Part::Value));
        assert_eq!(part("workflow_executions_created"), Some(Part::Created));
        assert_eq!(part("workflow_executions_total_bucket"), None);
        assert_eq!(part("workflow_active_count"), None);
        assert_eq!(part("up"), Some(Part::Value));
    }

    #[test]
    fn the_nearest_name_is_near() {
        let names = catalog();
        assert_eq!(
            names.nearest("workflow_execution_total").as_deref(),
            Some("workflow_executions_total")
        );
        assert_eq!(
            names.nearest("workflow_duration_bucket").as_deref(),
            Some("workflow_duration_seconds_bucket")
        );
        assert_eq!(names.nearest("qqqq"), None);
    }

    #[test]
    fn families_of_one_name_are_widened() {
        let mut names = Names::new();
        names.add(Family::new("a_total", Kind::Counter, &["x"]).values("s", &["1"]));
        names.add(Family::new("a_total", Kind::Counter, &["y"]).values("s", &["2"]));
        let family = names.sample("a_total").unwrap().family;
        assert!(family.labels["x"].optional && family.labels["y"].optional);
        assert_eq!(
            family.labels["s"].values,
            Some(vec!["1".into(), "2".into()])
        );
    }
}
