//! Selectors: the name, the labels and the values they ask for.

use promql_parser::label::{MatchOp, Matcher};

use super::Code;
use super::expression::Selector;
use super::finding::Fault;
use super::infer::{Context, Infer, Info};
use super::labels::{Label, Labels};
use super::names::{Kind, Part, Sample, nearest};
use super::variables::is_variable;

impl Infer<'_> {
    pub(super) fn selector(&mut self, at: usize, selector: &Selector, context: Context) -> Info {
        let Some(name) = &selector.name else {
            self.unnamed(at, selector);
            return Info::unknown();
        };
        let names = self.names;
        if let Some(info) = self.recorded.get(name) {
            let mut info = info.clone();
            self.matchers(at, name, selector, &mut info.labels);
            return info;
        }
        let Some(sample) = names.sample(name) else {
            if !names.is_trusted(name) {
                self.push(
                    Fault::new(
                        Code::UnknownMetric,
                        at,
                        format!("nothing publishes `{name}`"),
                    )
                    .nearest(names.nearest(name)),
                );
            }
            return Info::unknown();
        };
        if let Some(what) = &sample.family.waits {
            self.fault(
                Code::Waiting,
                at,
                format!("nothing feeds `{name}` yet: it waits for {what}"),
            );
        }
        let mut info = self.sample(&sample);
        self.matchers(at, name, selector, &mut info.labels);
        if sample.part == Part::Whole && sample.family.kind == Kind::Histogram {
            self.push(
                Fault::new(
                    Code::NativeOnly,
                    at,
                    format!("`{name}` is a histogram: its series are {name}_bucket, {name}_sum and {name}_count; the name alone exists only where native histograms are scraped"),
                )
                .nearest(None),
            );
        }
        if info.counter && !context.counted {
            let message = if sample.part == Part::Bucket {
                format!(
                    "`{name}` counts since the process started: rate({name}[…]) is what happens now"
                )
            } else {
                format!(
                    "`{name}` grows since the process started and restarts at zero: rate or increase of it is meant"
                )
            };
            self.fault(Code::RawCounter, at, message);
        }
        info
    }

    /// Without a name: only that the labels exist somewhere, and the pattern of names matches.
    fn unnamed(&mut self, at: usize, selector: &Selector) {
        for matcher in &selector.matchers {
            if is_variable(&matcher.value) || is_variable(&matcher.name) {
                continue;
            }
            if matcher.name == "__name__" {
                let any = self.names.any_sample(|name| matcher.is_match(name))
                    || self.recorded.keys().any(|name| matcher.is_match(name));
                if matches!(matcher.op, MatchOp::Re(_)) && !any {
                    self.fault(
                        Code::UnknownMetric,
                        at,
                        format!("no metric's name matches `{}`", matcher.value),
                    );
                }
            } else if !self.names.has_label(&matcher.name) {
                let near = nearest(&matcher.name, self.names.labels());
                self.push(
                    Fault::new(
                        Code::UnknownLabel,
                        at,
                        format!("nothing has a label `{}`", matcher.name),
                    )
                    .nearest(near),
                );
            }
        }
    }

    /// What series of a family yield, before matchers.
    fn sample(&self, sample: &Sample<'_>) -> Info {
        let family = sample.family;
        let mut labels = Labels {
            open: family.open,
            ..Labels::default()
        };
        for (name, label) in &family.labels {
            labels.set(
                name,
                Label {
                    always: !label.optional,
                    values: label
                        .values
                        .as_ref()
                        .map(|values| values.iter().cloned().collect()),
                    target: false,
                },
            );
        }
        for (i, name) in self.names.target_labels().iter().enumerate() {
            labels.known.entry(name.clone()).or_insert(Label {
                // Only `job` and `instance` are on every series.
                always: i < 2,
                values: None,
                target: true,
            });
        }
        if sample.part == Part::Bucket {
            labels.set("le", Label::any(true));
        }
        if sample.part == Part::Whole && family.kind == Kind::Summary {
            labels.set("quantile", Label::any(true));
        }
        let mut info = Info::of(labels);
        info.counter = sample.is_counter();
        info.gauge = sample.is_gauge();
        info.unknown = family.kind == Kind::Unknown
            || sample.part == Part::Whole && family.kind == Kind::Histogram;
        if sample.part == Part::Bucket {
            info.buckets = Some((family.name.clone(), family.bounds.clone()));
        }
        if family.kind == Kind::Gauge && sample.part == Part::Value {
            info.replicated = Some(family.name.clone());
        }
        let never_negative = sample.is_counter() && sample.part != Part::Sum
            || family.kind == Kind::Sum && !family.open;
        let share = family.share.filter(|_| sample.part == Part::Value);
        info.share = share;
        if let Some((low, high)) = family.range.filter(|_| sample.part == Part::Value) {
            info = info.between(low, high);
            info.exceeds = share.is_some_and(|whole| high > whole);
        } else if let Some(whole) = share {
            info = info.between(0.0, whole);
        } else if family.name == "up" {
            info = info.between(0.0, 1.0);
        } else if never_negative {
            info = info.between(0.0, f64::INFINITY);
        }
        info
    }

    /// Checks matchers against the labels a series has, and narrows these.
    fn matchers(&mut self, at: usize, name: &str, selector: &Selector, labels: &mut Labels) {
        let bounds: Option<Vec<f64>> = self
            .names
            .sample(name)
            .filter(|sample| sample.part == Part::Bucket && !sample.family.bounds.is_empty())
            .map(|sample| sample.family.bounds.clone());
        for matcher in &selector.matchers {
            let label = matcher.name.as_str();
            if label == "__name__" || is_variable(label) {
                continue;
            }
            let place = selector.braces.0.max(at);
            if !labels.open && !labels.known.contains_key(label) {
                let original = label.strip_prefix("exported_");
                if original.is_some_and(|label| labels.known.contains_key(label)) {
                    continue;
                }
                self.push(
                    Fault::new(
                        Code::UnknownLabel,
                        place,
                        format!(
                            "`{name}` has no label `{label}`: it has {}",
                            labels.listed()
                        ),
                    )
                    .nearest(nearest(label, labels.known.keys())),
                );
                continue;
            }
            if is_variable(&matcher.value) {
                continue;
            }
            if label == "le" {
                self.le(place, matcher, bounds.as_deref());
            } else if let Some(values) = labels.known.get(label).and_then(|l| l.values.clone()) {
                let values: Vec<String> = values.into_iter().collect();
                self.value(place, name, matcher, &values);
            }
            narrow(labels, matcher);
        }
        if selector.alternatives {
            labels.open = true;
        }
    }

    fn value(&mut self, at: usize, name: &str, matcher: &Matcher, values: &[String]) {
        let label = &matcher.name;
        let listed = values.join(", ");
        match &matcher.op {
            MatchOp::Equal | MatchOp::NotEqual => {
                if matcher.value.is_empty() || values.contains(&matcher.value) {
                    return;
                }
                let code = if matches!(matcher.op, MatchOp::Equal) {
                    Code::UnknownValue
                } else {
                    Code::IdleMatcher
                };
                let near =
                    synonym(&matcher.value, values).or_else(|| nearest(&matcher.value, values));
                self.push(
                    Fault::new(
                        code,
                        at,
                        format!(
                            "`{label}` of `{name}` is never \"{}\": it is {listed}",
                            matcher.value
                        ),
                    )
                    .nearest(near),
                );
            }
            MatchOp::Re(pattern) | MatchOp::NotRe(pattern) => {
                let code = if matches!(matcher.op, MatchOp::Re(_)) {
                    Code::UnknownValue
                } else {
                    Code::IdleMatcher
                };
                let words: Vec<&str> = matcher.value.split('|').collect();
                let plain = |word: &&str| {
                    !word.is_empty()
                        && word
                            .chars()
                            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | ' ' | '/'))
                };
                if words.iter().all(plain) {
                    for word in words {
                        if values.iter().all(|value| value != word) {
                            let near = synonym(word, values).or_else(|| nearest(word, values));
                            self.push(
                                Fault::new(
                                    code,
                                    at,
                                    format!(
                                        "`{label}` of `{name}` is never \"{word}\": it is {listed}"
                                    ),
                                )
                                .nearest(near),
                            );
                        }
                    }
                } else if !pattern.is_match("")
                    && !values.iter().any(|value| pattern.is_match(value))
                {
                    self.push(Fault::new(
                        code,
                        at,
                        format!(
                            "no value of `{label}` of `{name}` matches \"{}\": it is {listed}",
                            matcher.value
                        ),
                    ));
                }
            }
        }
    }

    fn le(&mut self, at: usize, matcher: &Matcher, bounds: Option<&[f64]>) {
        let (Some(bounds), MatchOp::Equal) = (bounds, &matcher.op) else {
            return;
        };
        let known = match matcher.value.parse::<f64>() {
            Ok(value) => value == f64::INFINITY || bounds.contains(&value),
            Err(_) => matcher.value.is_empty(),
        };
        if !known {
            let bounds: Vec<String> = bounds.iter().map(f64::to_string).collect();
            self.fault(
                Code::UnknownValue,
                at,
                format!(
                    "there is no bucket le=\"{}\": the bounds are {}",
                    matcher.value,
                    bounds.join(", ")
                ),
            );
        }
    }
}

/// Words that systems use for the same thing.
const SYNONYMS: [&[&str]; 5] = [
    &[
        "success",
        "succeeded",
        "successful",
        "ok",
        "completed",
        "complete",
        "done",
        "finished",
    ],
    &["failed", "failure", "error", "errored", "fail"],
    &["timeout", "timed_out", "deadline_exceeded"],
    &["cancelled", "canceled", "aborted"],
    &["rejected", "denied", "refused"],
];

fn synonym(word: &str, values: &[String]) -> Option<String> {
    let word = word.to_ascii_lowercase();
    let group = SYNONYMS
        .iter()
        .find(|group| group.contains(&word.as_str()))?;
    values
        .iter()
        .find(|value| group.contains(&value.as_str()))
        .cloned()
}

/// What a matcher leaves of a label.
fn narrow(labels: &mut Labels, matcher: &Matcher) {
    let name = &matcher.name;
    let empty = matcher.is_match("");
    if matches!(matcher.op, MatchOp::Equal) {
        if matcher.value.is_empty() {
            labels.remove(name);
            return;
        }
        let target = labels.known.get(name).is_some_and(|label| label.target);
        labels.set(
            name,
            Label {
                always: true,
                values: Some([matcher.value.clone()].into()),
                target,
            },
        );
        return;
    }
    let label = labels
        .known
        .entry(name.clone())
        .or_insert_with(|| Label::any(false));
    label.always |= !empty;
    if let Some(values) = &mut label.values {
        values.retain(|value| matcher.is_match(value));
    }
}
