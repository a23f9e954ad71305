//! What the tests' series are made with.

use super::super::{identity, number};
use crate::catalog::{
    Alert, CLIENT_DISCONNECT, LabelKind, Metric, Severity, Signal, prometheus_label,
};
use crate::generate::promql;

/// An alert that must be firing.
#[derive(Clone, Debug)]
pub(super) struct Firing {
    /// Its job; empty: the alert has no labels of its own.
    pub(super) job: &'static str,
    /// Which of the alert's rules; none: the only one.
    pub(super) severity: Option<Severity>,
    /// The value of the expression.
    pub(super) value: f64,
}

/// What must be firing at a time.
#[derive(Clone, Debug)]
pub(super) struct Check {
    /// Seconds since the start.
    pub(super) at: u32,
    /// Everything that fires.
    pub(super) firing: Vec<Firing>,
}

/// Series, and what they lead to.
#[derive(Clone, Debug, Default)]
pub(super) struct Scenario {
    /// What is added to the alert's name to name the test.
    pub(super) suffix: &'static str,
    /// Each with its values.
    pub(super) series: Vec<(String, String)>,
    /// In order of time.
    pub(super) checks: Vec<Check>,
}

/// The value that a label of an alert has in the tests.
pub(super) fn label_value(signal: &Signal, alert: &Alert, label: &str) -> String {
    let only = alert
        .only
        .iter()
        .find(|(key, _)| prometheus_label(key) == label);
    if let Some((_, value)) = only {
        return (*value).to_owned();
    }
    let declared = signal
        .labels
        .iter()
        .find(|declared| prometheus_label(declared.key) == label);
    match declared.map(|label| label.kind) {
        Some(LabelKind::Closed { values, errors, .. }) => {
            let good = values.iter().find(|value| !errors.contains(value));
            good.or(values.first())
                .map_or("a", |value| *value)
                .to_owned()
        }
        _ => "a".to_owned(),
    }
}

/// A bench on which an alert's series are built.
pub(super) struct Bench<'a> {
    pub(super) signal: &'a Signal,
    pub(super) alert: &'a Alert,
    pub(super) metric: &'a Metric,
    /// Seconds between samples.
    pub(super) step: u32,
    series: Vec<(String, String)>,
}

impl<'a> Bench<'a> {
    pub(super) const fn new(
        signal: &'a Signal,
        alert: &'a Alert,
        metric: &'a Metric,
        step: u32,
    ) -> Self {
        Self {
            signal,
            alert,
            metric,
            step,
            series: Vec::new(),
        }
    }

    /// Adds a series of a process of a job.
    pub(super) fn put(
        &mut self,
        name: &str,
        job: &str,
        instance: &str,
        labels: &[(&str, &str)],
        values: String,
    ) {
        let mut all = vec![
            ("job".to_owned(), job.to_owned()),
            ("instance".to_owned(), instance.to_owned()),
        ];
        let mut add = |label: String, value: String| {
            if !all.iter().any(|(known, _)| *known == label) {
                all.push((label, value));
            }
        };
        for (label, value) in labels {
            add((*label).to_owned(), (*value).to_owned());
        }
        if name != "up" {
            for label in identity(self.alert) {
                let value = label_value(self.signal, self.alert, &label);
                add(label, value);
            }
            let only = self.alert.only.iter();
            for (key, value) in only.filter(|(key, _)| !self.lacks(name, key)) {
                add(prometheus_label(key), (*value).to_owned());
            }
            if let Some((key, value)) = self.metric.constant {
                add(prometheus_label(key), value.to_owned());
            }
        }
        let labels: Vec<String> = all
            .iter()
            .map(|(label, value)| format!("{label}=\"{value}\""))
            .collect();
        self.series
            .push((format!("{name}{{{}}}", labels.join(",")), values));
    }

    /// Whether the series of this name are those of a metric without the label.
    fn lacks(&self, name: &str, key: &str) -> bool {
        let mut metrics = self.signal.metrics.iter();
        let found = metrics.find(|metric| promql::counting(metric) == name);
        found.is_some_and(|metric| {
            metric.name != self.metric.name
                && !self.signal.labels_of(metric).any(|label| label.key == key)
        })
    }

    /// The same for the alert's own metric.
    pub(super) fn own(&mut self, job: &str, instance: &str, values: String) {
        self.put(&promql::counting(self.metric), job, instance, &[], values);
    }

    /// Adds what failed and what did not.
    pub(super) fn outcomes(
        &mut self,
        job: &str,
        instance: &str,
        good: Option<String>,
        bad: Option<String>,
    ) {
        let Some(outcome) = Outcome::of(self.signal, self.metric) else {
            return;
        };
        let name = promql::counting(self.metric);
        if let Some(values) = good {
            let labels: Vec<(&str, &str)> = outcome
                .good
                .iter()
                .map(|value| (outcome.label.as_str(), *value))
                .collect();
            self.put(&name, job, instance, &labels, values);
        }
        if let Some(values) = bad {
            self.put(
                &name,
                job,
                instance,
                &[(&outcome.label, outcome.bad)],
                values,
            );
        }
    }

    /// The next sample's time at or after this one.
    pub(super) fn sample(&self, seconds: f64) -> u32 {
        (seconds / f64::from(self.step)).ceil() as u32 * self.step
    }

    /// When an alert fires whose condition holds from this sample on.
    pub(super) fn fires(&self, holds: u32) -> u32 {
        holds + self.sample(f64::from(self.alert.for_seconds))
    }

    /// Checks around one time: not yet a sample before, then for good.
    pub(super) fn around(&self, fires: u32, job: &'static str, value: f64) -> Vec<Check> {
        let firing = vec![Firing {
            job,
            severity: None,
            value,
        }];
        let mut checks = Vec::new();
        if fires >= self.step {
            checks.push(Check {
                at: fires - self.step,
                firing: Vec::new(),
            });
        }
        for later in [0, 3, 7, 12] {
            checks.push(Check {
                at: fires + later * self.step,
                firing: firing.clone(),
            });
        }
        checks
    }

    /// The series, and what is checked of them.
    pub(super) fn into_scenario(self, checks: Vec<Check>) -> Scenario {
        Scenario {
            suffix: "",
            series: self.series,
            checks,
        }
    }
}

/// How a metric tells failures.
struct Outcome {
    label: String,
    bad: &'static str,
    /// None: the label is absent.
    good: Option<&'static str>,
}

impl Outcome {
    fn of(signal: &Signal, metric: &Metric) -> Option<Self> {
        signal.labels_of(metric).find_map(|label| match label.kind {
            LabelKind::Closed { values, errors, .. } if !errors.is_empty() => Some(Self {
                label: prometheus_label(label.key),
                bad: errors[0],
                good: values.iter().find(|value| !errors.contains(value)).copied(),
            }),
            LabelKind::Open { .. } if label.key == "error.type" => Some(Self {
                label: prometheus_label(label.key),
                bad: "broken",
                good: Some(CLIENT_DISCONNECT),
            }),
            _ => None,
        })
    }
}

/// Rising by so much a sample, from a start.
pub(super) fn rising(start: f64, by: f64, samples: u32) -> String {
    format!("{}+{}x{samples}", number(start), number(by))
}

/// Staying as it is.
pub(super) fn flat(value: f64, samples: u32) -> String {
    format!("{}x{samples}", number(value))
}

/// Rising, as a counter whose process starts anew after ten samples.
pub(super) fn restarting(by: f64, samples: u32) -> String {
    format!("{} {}", rising(0.0, by, 9), rising(0.0, by, samples))
}
