//! PromQL of a metric: what dashboards, alerts, runbooks and the reference have in common.

use crate::catalog::{
    CLIENT_DISCONNECT, Instrument, Label, LabelKind, Metric, Signal, prometheus_label,
};

/// Where an expression stands.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Matchers put on every selector, such as `job=~"$job"`; empty: none.
    pub matchers: &'a str,
    /// Window of rates, such as `5m` or `$__rate_interval`.
    pub window: &'a str,
}

impl<'a> Frame<'a> {
    /// The same with another window.
    #[must_use]
    pub const fn window(self, window: &'a str) -> Self {
        Self { window, ..self }
    }
}

/// `name{matchers}`.
#[must_use]
pub fn select(name: &str, matchers: &[&str]) -> String {
    let matchers: Vec<&str> = matchers.iter().copied().filter(|m| !m.is_empty()).collect();
    if matchers.is_empty() {
        name.to_owned()
    } else {
        format!("{name}{{{}}}", matchers.join(","))
    }
}

/// `sum by (labels) (inner)`; without labels `sum(inner)`.
#[must_use]
pub fn aggregate(operator: &str, by: &[&str], inner: &str) -> String {
    if by.is_empty() {
        format!("{operator}({inner})")
    } else {
        let labels: Vec<String> = by.iter().map(|key| prometheus_label(key)).collect();
        format!("{operator} by ({}) ({inner})", labels.join(", "))
    }
}

/// Name of the series that counts: a counter itself, a histogram's `_count`.
#[must_use]
pub fn counting(metric: &Metric) -> String {
    match metric.instrument {
        Instrument::Histogram => format!("{}_count", metric.prometheus_name()),
        _ => metric.prometheus_name(),
    }
}

/// Name of the series that sums: a counter itself, a histogram's `_sum`.
#[must_use]
pub fn summing(metric: &Metric) -> String {
    match metric.instrument {
        Instrument::Histogram => format!("{}_sum", metric.prometheus_name()),
        _ => metric.prometheus_name(),
    }
}

fn constant(metric: &Metric) -> String {
    metric.constant.map_or_else(String::new, |(key, value)| {
        format!("{}=\"{value}\"", prometheus_label(key))
    })
}

/// Events a second.
#[must_use]
pub fn rate(metric: &Metric, frame: Frame<'_>, by: &[&str]) -> String {
    rate_of(metric, frame, by, "")
}

fn rate_of(metric: &Metric, frame: Frame<'_>, by: &[&str], matcher: &str) -> String {
    let selector = select(
        &counting(metric),
        &[&constant(metric), frame.matchers, matcher],
    );
    aggregate("sum", by, &format!("rate({selector}[{}])", frame.window))
}

/// Growth over the window of a counter or of a histogram's sum.
#[must_use]
pub fn increase(metric: &Metric, frame: Frame<'_>, by: &[&str]) -> String {
    let selector = select(&summing(metric), &[&constant(metric), frame.matchers]);
    aggregate(
        "sum",
        by,
        &format!("increase({selector}[{}])", frame.window),
    )
}

/// How many events a counter, or a histogram's count, has seen over the window.
#[must_use]
pub fn events(metric: &Metric, frame: Frame<'_>, by: &[&str]) -> String {
    events_of(metric, frame, by, "")
}

/// How many of them were failures; none: the metric has no label that tells them.
#[must_use]
pub fn failures(signal: &Signal, metric: &Metric, frame: Frame<'_>, by: &[&str]) -> Option<String> {
    Some(events_of(metric, frame, by, &errors(signal, metric)?))
}

fn events_of(metric: &Metric, frame: Frame<'_>, by: &[&str], matcher: &str) -> String {
    let selector = select(
        &counting(metric),
        &[&constant(metric), frame.matchers, matcher],
    );
    aggregate(
        "sum",
        by,
        &format!("increase({selector}[{}])", frame.window),
    )
}

/// Mean of a histogram's observations; nothing where there are none.
#[must_use]
pub fn mean(metric: &Metric, frame: Frame<'_>, by: &[&str]) -> String {
    let selector = select(&summing(metric), &[&constant(metric), frame.matchers]);
    let sum = aggregate("sum", by, &format!("rate({selector}[{}])", frame.window));
    format!("{sum} / ({} > 0)", rate(metric, frame, by))
}

/// Quantile of a histogram.
#[must_use]
pub fn quantile(metric: &Metric, quantile: f64, frame: Frame<'_>, by: &[&str]) -> String {
    let selector = select(
        &format!("{}_bucket", metric.prometheus_name()),
        &[&constant(metric), frame.matchers],
    );
    let mut labels = vec!["le"];
    labels.extend(by);
    let rates = aggregate(
        "sum",
        &labels,
        &format!("rate({selector}[{}])", frame.window),
    );
    format!("histogram_quantile({quantile}, {rates})")
}

/// The series of a gauge or an in-flight count, one for each process.
#[must_use]
pub fn series(metric: &Metric, frame: Frame<'_>) -> String {
    select(
        &metric.prometheus_name(),
        &[&constant(metric), frame.matchers],
    )
}

/// A gauge or an in-flight count: of replicas the in-flight counts add up, of gauges the largest
/// stands.
#[must_use]
pub fn value(metric: &Metric, frame: Frame<'_>, by: &[&str]) -> String {
    let operator = match metric.instrument {
        Instrument::InFlight => "sum",
        _ => "max",
    };
    aggregate(operator, by, &series(metric, frame))
}

/// The matcher of series that count failures; none: the metric has no such label.
#[must_use]
pub fn errors(signal: &Signal, metric: &Metric) -> Option<String> {
    let matcher = |label: &Label| match label.kind {
        LabelKind::Closed { errors, .. } if !errors.is_empty() => Some(format!(
            "{}{}\"{}\"",
            prometheus_label(label.key),
            if errors.len() == 1 { "=" } else { "=~" },
            errors.join("|")
        )),
        LabelKind::Open { .. } if label.key == "error.type" => {
            let key = prometheus_label(label.key);
            Some(format!("{key}!~\"|{CLIENT_DISCONNECT}\""))
        }
        _ => None,
    };
    signal.labels_of(metric).find_map(matcher)
}

/// Failures a second; none: the metric has no label that tells them.
#[must_use]
pub fn error_rate(
    signal: &Signal,
    metric: &Metric,
    frame: Frame<'_>,
    by: &[&str],
) -> Option<String> {
    Some(rate_of(metric, frame, by, &errors(signal, metric)?))
}

/// The share of failures: 0 where there are events and no failure, nothing where there are no
/// events.
#[must_use]
pub fn error_ratio(
    signal: &Signal,
    metric: &Metric,
    frame: Frame<'_>,
    by: &[&str],
) -> Option<String> {
    let all = rate(metric, frame, by);
    let failed = error_rate(signal, metric, frame, by)?;
    Some(format!("({failed} or 0 * {all}) / ({all} > 0)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::workflow::WorkflowRun;

    const FRAME: Frame<'static> = Frame {
        matchers: "job=~\"$job\"",
        window: "5m",
    };

    #[test]
    fn a_ratio_is_zero_without_failures_and_absent_without_events() {
        let signal = WorkflowRun::SIGNAL;
        let metric = signal.metric("workflow.executions").unwrap();
        assert_eq!(
            error_ratio(signal, metric, FRAME, &["workflow_type"]).unwrap(),
            "(sum by (workflow_type) (rate(workflow_executions_total{job=~\"$job\",status=~\"failed|timeout\"}[5m])) \
             or 0 * sum by (workflow_type) (rate(workflow_executions_total{job=~\"$job\"}[5m]))) \
             / (sum by (workflow_type) (rate(workflow_executions_total{job=~\"$job\"}[5m])) > 0)"
        );
    }

    #[test]
    fn quantiles_are_taken_of_summed_rates() {
        let signal = WorkflowRun::SIGNAL;
        let metric = signal.metric("workflow.duration").unwrap();
        assert_eq!(
            quantile(metric, 0.95, FRAME, &[]),
            "histogram_quantile(0.95, sum by (le) (rate(workflow_duration_seconds_bucket{job=~\"$job\"}[5m])))"
        );
    }
}
