//! The rules of alerts.

use super::{FASTEST_BURN, find, has_error_label, has_label, require, same};
use crate::catalog::{Condition, Instrument, LabelKind, Metric, Signal};

#[track_caller]
pub(super) const fn alerts(s: &Signal) {
    let mut i = 0;
    while i < s.alerts.len() {
        let alert = &s.alerts[i];
        let (first, second) = alert.condition.metrics();
        let Some(metric) = find(s, first) else {
            panic!(
                "an alert watches a metric that the signal does not declare: use its OpenTelemetry name"
            )
        };
        let second = match second {
            Some(name) => {
                let Some(second) = find(s, name) else {
                    panic!(
                        "an alert watches a metric that the signal does not declare: use its OpenTelemetry name"
                    )
                };
                second
            }
            None => metric,
        };
        let mut j = 0;
        while j < alert.by.len() {
            require(
                has_label(s, metric, alert.by[j]) && has_label(s, second, alert.by[j]),
                "an alert is split by a label that its metric does not have",
            );
            j += 1;
        }
        let mut j = 0;
        while j < alert.only.len() {
            let (key, value) = alert.only[j];
            // Of a share, what it is restricted to may be what makes the part.
            let part = matches!(alert.condition, Condition::ShareBelow { .. });
            require(
                has_label(s, metric, key)
                    && (part || has_label(s, second, key))
                    && can_be(s, key, value),
                "`only` names a label that the metric does not have, or a value that the label does not take",
            );
            j += 1;
        }
        require(
            is_alert_name(alert.name),
            "invalid alert name: use CamelCase letters and digits, such as `WorkflowSlow`",
        );
        require(
            alert.window_seconds > 0,
            "an alert's window is longer than nothing",
        );
        require(!alert.summary.is_empty(), "an alert needs a summary");
        require(
            !alert.runbook.meaning.is_empty()
                && !alert.runbook.causes.is_empty()
                && !alert.runbook.actions.is_empty(),
            "an alert needs a runbook: say what it means, what may cause it and what to do",
        );
        let mut j = 0;
        while j < i {
            require(
                !same(s.alerts[j].name, alert.name),
                "duplicate alert name in one signal: rename one",
            );
            j += 1;
        }
        condition(s, metric, second, &alert.condition);
        i += 1;
    }
}

#[track_caller]
const fn condition(s: &Signal, metric: &Metric, second: &Metric, condition: &Condition) {
    match *condition {
        Condition::QuantileAbove {
            quantile,
            threshold,
            floor,
            ..
        } => {
            require(
                matches!(metric.instrument, Instrument::Histogram),
                "a quantile alert needs a histogram",
            );
            require(
                quantile > 0.0 && quantile < 1.0,
                "a quantile lies between 0 and 1",
            );
            require(
                threshold > metric.bounds[0] && threshold < metric.bounds[metric.bounds.len() - 1],
                "the alert's threshold lies outside its histogram's bounds, so it can never fire: use wider `buckets` or another threshold",
            );
            require(
                floor > 1,
                "a quantile of one observation is that observation: give the alert a `floor` above 1",
            );
        }
        Condition::ErrorRatioAbove { ratio, floor, .. } => {
            require(
                ratio > 0.0 && ratio < 1.0,
                "an error ratio lies between 0 and 1",
            );
            require(
                floor as f64 * ratio >= 1.0,
                "one error alone would fire the alert: `floor` times `ratio` is at least 1",
            );
            require(
                has_error_label(s, metric),
                "an error ratio needs a closed label with values marked `error`, or `error.type`",
            );
        }
        Condition::BurnRate { objective, .. } => {
            require(
                objective > 0.0 && objective < 1.0,
                "an objective lies between 0 and 1, such as 0.99",
            );
            require(
                FASTEST_BURN * (1.0 - objective) < 1.0,
                "an objective this low cannot burn 14.4 times too fast: use one above 0.931, or `ErrorRatioAbove`",
            );
            require(
                is_missed(s, metric.name),
                "an objective needs an `Absent` alert on the same metric, for when nothing is known",
            );
            require(
                has_error_label(s, metric),
                "an objective needs a closed label with values marked `error`, or `error.type`",
            );
        }
        Condition::RateAbove { per_second, .. } => {
            require(counts(metric), "a rate alert needs a counter");
            require(
                per_second > 0.0,
                "a rate alert needs a rate above 0: for any growth at all use `Occurs`",
            );
        }
        Condition::IncreaseAbove { amount, .. } => {
            require(counts(metric), "an alert on an increase needs a counter");
            require(
                amount > 0.0,
                "an alert on an increase needs an amount above 0: for any growth at all use `Occurs`",
            );
        }
        Condition::Occurs { .. } => {
            require(counts(metric), "an alert on what occurs needs a counter");
        }
        Condition::Growing {
            threshold,
            ahead_seconds,
            ..
        } => {
            require(
                matches!(metric.instrument, Instrument::Gauge) && ahead_seconds > 0,
                "an alert on growth needs a gauge and a time to look ahead; for a counter use `RateAbove`",
            );
            can_exceed(metric, threshold);
        }
        Condition::ValueAbove { threshold, .. } => {
            shows_a_value(metric);
            can_exceed(metric, threshold);
        }
        Condition::ValueBelow { threshold, .. } => {
            shows_a_value(metric);
            can_fall_below(metric, threshold);
        }
        Condition::MeanBelow {
            threshold, floor, ..
        } => {
            require(
                matches!(metric.instrument, Instrument::Histogram),
                "an alert on a mean needs a histogram",
            );
            require(
                floor > 1,
                "a mean of one observation is that observation: give the alert a `floor` above 1",
            );
            can_fall_below(metric, threshold);
        }
        Condition::ShareBelow { ratio, floor, .. } => {
            require(
                counts(metric) && counts(second) && same(metric.unit, second.unit),
                "a share needs two counters or histograms of one unit",
            );
            require(ratio > 0.0 && ratio < 1.0, "a share lies between 0 and 1");
            require(
                floor as f64 * ratio >= 1.0,
                "one event alone would fire the alert: `floor` times `ratio` is at least 1",
            );
        }
        Condition::OlderThan { seconds, .. } => require(
            matches!(metric.instrument, Instrument::Gauge) && same(metric.unit, "s") && seconds > 0,
            "an age alert needs a gauge of Unix seconds, unit `s`, and an age above 0",
        ),
        Condition::Stuck { .. } => require(
            matches!(metric.instrument, Instrument::InFlight),
            "a stuck alert needs an in-flight count",
        ),
        Condition::Absent { .. } => {}
        Condition::JobDown { .. } | Condition::InstanceDown { .. } => require(
            matches!(metric.instrument, Instrument::Gauge),
            "whether a process is there is told by a gauge that it always publishes",
        ),
    }
}

#[track_caller]
const fn shows_a_value(metric: &Metric) {
    require(
        matches!(metric.instrument, Instrument::Gauge | Instrument::InFlight),
        "a value alert needs a gauge or an in-flight count; for a counter use `RateAbove`",
    );
}

#[track_caller]
const fn can_exceed(metric: &Metric, threshold: f64) {
    let (low, high) = metric.range();
    require(
        low <= threshold && threshold < high,
        "the alert's threshold lies outside the range of its metric's values, so it never fires or always does: choose another, or declare the `range`",
    );
}

#[track_caller]
const fn can_fall_below(metric: &Metric, threshold: f64) {
    let (low, high) = metric.range();
    require(
        low < threshold && threshold <= high,
        "the alert's threshold lies outside the range of its metric's values, so it never fires or always does: choose another, or declare the `range`",
    );
}

const fn counts(metric: &Metric) -> bool {
    matches!(
        metric.instrument,
        Instrument::Counter | Instrument::FloatCounter | Instrument::Histogram
    )
}

/// Whether an alert tells that the metric is absent.
const fn is_missed(s: &Signal, name: &str) -> bool {
    let mut i = 0;
    while i < s.alerts.len() {
        if let Condition::Absent { metric } = s.alerts[i].condition
            && same(metric, name)
        {
            return true;
        }
        i += 1;
    }
    false
}

/// Whether a label can take a value: any if it is open, one of the list if it is closed.
const fn can_be(s: &Signal, key: &str, value: &str) -> bool {
    let mut i = 0;
    while i < s.labels.len() {
        if let LabelKind::Closed { values, .. } = s.labels[i].kind
            && same(s.labels[i].key, key)
        {
            let mut j = 0;
            while j < values.len() {
                if same(values[j], value) {
                    return true;
                }
                j += 1;
            }
            return false;
        }
        i += 1;
    }
    true
}

/// Whether a name is CamelCase: what alerts, and the files of their runbooks, are called.
const fn is_alert_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() > 64 || !bytes[0].is_ascii_uppercase() {
        return false;
    }
    let mut i = 0;
    while i < bytes.len() {
        if !bytes[i].is_ascii_alphanumeric() {
            return false;
        }
        i += 1;
    }
    true
}
