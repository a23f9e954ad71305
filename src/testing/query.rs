//! Signals and metrics that were recorded.

use super::show::{Pairs, series};
use super::{Capture, Point, carries, nearest};
use crate::catalog::{Feed, Instrument, Label, LabelKind, Metric, Signal, SignalKind};
use crate::recording::{self, Reading};

/// What was recorded as one signal, under the labels named so far.
#[must_use = "nothing is asserted until it is read"]
#[derive(Debug)]
pub struct SignalQuery<'c> {
    capture: &'c Capture,
    signal: &'static Signal,
    labels: Vec<(String, String)>,
}

impl<'c> SignalQuery<'c> {
    #[track_caller]
    pub(super) fn new(capture: &'c Capture, name: &str) -> Self {
        let Some(recorder) = recording::find(name) else {
            let names = recording::all().iter().map(|one| one.signal().name);
            panic!(
                "no signal `{name}` is declared in this test program's pipeline{}; signals of \
                 your own are given to `capture_with`",
                nearest(name, names)
            );
        };
        Self {
            capture,
            signal: recorder.signal(),
            labels: Vec::new(),
        }
    }

    /// Counts only what has this value under the label.
    ///
    /// # Panics
    /// The signal has no such label, or the label no such value.
    #[track_caller]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        check(
            &format!("signal `{}`", self.signal.name),
            self.signal.labels.iter().collect(),
            key,
            value,
        );
        self.labels.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Of an operation, how many ended; of a counter, what it has come to; of a distribution,
    /// how many values it took; of a gauge or a sum, how many label sets it was recorded under.
    ///
    /// # Panics
    /// No metric of the operation has all the labels that were named.
    #[must_use]
    #[track_caller]
    pub fn count(&self) -> u64 {
        let metric = self.counting();
        let points = self.capture.points();
        let found = points.iter().filter(|point| {
            point.signal.name == self.signal.name
                && point.metric.name == metric.name
                && carries(&point.labels, &self.labels)
        });
        found.map(|point| counted(&point.reading)).sum()
    }

    /// Asserts that [`count`](Self::count) is this.
    ///
    /// # Panics
    /// It is not; says what was recorded instead.
    #[track_caller]
    pub fn assert_count(&self, expected: u64) {
        let count = self.count();
        assert!(
            count == expected,
            "{}",
            self.capture.instead(
                &format!(
                    "signal `{}` {}: {count} recorded, {expected} expected",
                    self.signal.name,
                    Pairs(&self.labels)
                ),
                Some(self.signal)
            )
        );
    }

    /// Asserts that it was recorded at all.
    ///
    /// # Panics
    /// It was not; says what was recorded instead.
    #[track_caller]
    pub fn assert_recorded(&self) {
        assert!(
            self.count() > 0,
            "{}",
            self.capture.instead(
                &format!(
                    "signal `{}` {} was not recorded",
                    self.signal.name,
                    Pairs(&self.labels)
                ),
                Some(self.signal)
            )
        );
    }

    /// The metric that says how often, with all labels that were named.
    #[track_caller]
    fn counting(&self) -> &'static Metric {
        let counts = |metric: &&'static Metric| match self.signal.kind {
            SignalKind::Operation => matches!(metric.feed, Feed::Count | Feed::Duration),
            SignalKind::Measure => true,
        };
        let has = |metric: &Metric, key: &str| {
            (self.signal.labels_of(metric)).any(|label| label.key == key)
        };
        let metrics = self.signal.metrics.iter().filter(counts);
        let mut metrics = metrics.filter(|m| self.labels.iter().all(|(key, _)| has(m, key)));
        metrics.next().unwrap_or_else(|| {
            panic!(
                "no metric that counts signal `{}` has all of the labels {}: ask its spans",
                self.signal.name,
                Pairs(&self.labels)
            )
        })
    }
}

fn counted(reading: &Reading) -> u64 {
    match reading {
        Reading::Unsigned(count) | Reading::Histogram { count, .. } => *count,
        Reading::Signed(_) | Reading::Float(_) => 1,
        Reading::Absent => 0,
    }
}

/// What one metric has come to, under the labels named so far.
#[must_use = "nothing is asserted until it is read"]
#[derive(Debug)]
pub struct MetricQuery<'c> {
    capture: &'c Capture,
    signal: &'static Signal,
    metric: &'static Metric,
    labels: Vec<(String, String)>,
}

impl<'c> MetricQuery<'c> {
    #[track_caller]
    pub(super) fn new(capture: &'c Capture, name: &str) -> Self {
        let Some((signal, series)) = recording::find_metric(name) else {
            let signals = recording::all().iter().map(|one| one.signal());
            let names = signals.flat_map(|signal| signal.metrics.iter().map(|metric| metric.name));
            panic!(
                "no metric `{name}` is declared in this test program's pipeline{}",
                nearest(name, names)
            );
        };
        Self {
            capture,
            signal,
            metric: series.metric(),
            labels: Vec::new(),
        }
    }

    /// Reads only the series that have this value under the label.
    ///
    /// # Panics
    /// The metric has no such label, or the label no such value.
    #[track_caller]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        // Metrics of one name differ in a constant label.
        let mut same = self.signal.metrics.iter();
        let constant = same.any(|m| m.name == self.metric.name && m.constant == Some((key, value)));
        if !constant {
            check(
                &format!("metric `{}`", self.metric.name),
                self.signal.labels_of(self.metric).collect(),
                key,
                value,
            );
        }
        self.labels.push((key.to_owned(), value.to_owned()));
        self
    }

    fn points(&self) -> Vec<Point> {
        let mut points = self.capture.points();
        points.retain(|point| {
            point.metric.name == self.metric.name && carries(&point.labels, &self.labels)
        });
        points
    }

    /// Of a counter or a gauge the sum of its series, of a histogram the sum of what it
    /// observed, in the metric's unit; `None`: nothing was recorded.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        let points = self.points();
        (!points.is_empty()).then(|| {
            let values = points.iter().map(|point| match point.reading {
                Reading::Unsigned(value) => value as f64,
                Reading::Signed(value) => value as f64,
                Reading::Float(value) => value,
                Reading::Histogram { sum, .. } => sum,
                Reading::Absent => 0.0,
            });
            values.sum()
        })
    }

    /// How many values a histogram observed.
    ///
    /// # Panics
    /// The metric is none.
    #[must_use]
    #[track_caller]
    pub fn observations(&self) -> u64 {
        assert!(
            self.metric.instrument == Instrument::Histogram,
            "metric `{}` is no histogram: ask for its value",
            self.metric.name
        );
        let points = self.points();
        points.iter().map(|point| counted(&point.reading)).sum()
    }

    /// Asserts that [`value`](Self::value) is this, but for what is lost in rounding.
    ///
    /// # Panics
    /// It is not, or nothing was recorded; says what was.
    #[track_caller]
    pub fn assert_value(&self, expected: f64) {
        let value = self.value();
        let near = |value: f64| (value - expected).abs() <= 1e-9 * expected.abs().max(1.0);
        assert!(
            value.is_some_and(near),
            "{}",
            self.capture.instead(
                &format!(
                    "metric `{}` {}: {} recorded, {expected} expected",
                    self.metric.name,
                    Pairs(&self.labels),
                    value.map_or("nothing".to_owned(), |value| value.to_string())
                ),
                Some(self.signal)
            )
        );
    }
}

#[track_caller]
fn check(of: &str, labels: Vec<&'static Label>, key: &str, value: &str) {
    let Some(label) = labels.iter().find(|label| label.key == key) else {
        let keys: Vec<&str> = labels.iter().map(|label| label.key).collect();
        panic!(
            "{of} has no label `{key}`{}; it has {}",
            nearest(key, keys.iter().copied()),
            if keys.is_empty() {
                "none".to_owned()
            } else {
                keys.join(", ")
            }
        );
    };
    if let LabelKind::Closed { values, .. } = label.kind
        && !values.contains(&value)
    {
        panic!(
            "label `{key}` of {of} has no value `{value}`{}; it has {}",
            nearest(value, values.iter().copied()),
            values.join(", ")
        );
    }
}

impl Capture {
    /// The text of a failed assertion: what was expected, and what there is.
    pub(super) fn instead(&self, expected: &str, signal: Option<&'static Signal>) -> String {
        let points = self.points();
        let of_it: Vec<&Point> = points
            .iter()
            .filter(|point| signal.is_none_or(|signal| signal.name == point.signal.name))
            .collect();
        let mut text = expected.to_owned();
        if of_it.is_empty() {
            text.push_str("\nThis capture recorded:\n");
            text.push_str(&self.to_string());
        } else {
            text.push_str("\nRecorded instead:\n");
            for point in of_it {
                text.push_str(&series(point));
            }
            text.push_str(&self.gaps());
        }
        text
    }
}
