//! The rules of panels.

use super::{find, has_error_label, has_label, require, same};
use crate::catalog::{Condition, Instrument, LabelKind, Metric, Panel, Signal, View};

#[track_caller]
pub(super) const fn panels(s: &Signal) {
    let mut i = 0;
    while i < s.panels.len() {
        let panel = &s.panels[i];
        let Some(metric) = find(s, panel.view.metric()) else {
            panic!(
                "a panel shows a metric that the signal does not declare: use its OpenTelemetry name"
            )
        };
        let second = match panel.view.second() {
            None => None,
            Some(name) => match find(s, name) {
                Some(found) => Some(found),
                None => panic!(
                    "a panel shows a metric that the signal does not declare: use its OpenTelemetry name"
                ),
            },
        };
        require(
            !panel.title.is_empty() && !panel.description.is_empty(),
            "a panel needs a title and a description: say what a reader learns from it",
        );
        let mut j = 0;
        while j < panel.by.len() {
            let both = match second {
                Some(second) => has_label(s, second, panel.by[j]),
                None => true,
            };
            require(
                both && has_label(s, metric, panel.by[j]),
                "a panel is split by a label that its metric does not have",
            );
            j += 1;
        }
        let mut j = 0;
        while j < panel.only.len() {
            let (key, value) = panel.only[j];
            let first = takes(s, metric, key, value);
            let holds = match second {
                Some(second) => first || takes(s, second, key, value),
                None => first,
            };
            require(
                holds,
                "a panel is restricted to a label value that its metric does not have",
            );
            j += 1;
        }
        view(s, metric, second, &panel.view);
        graded(metric, panel);
        i += 1;
    }
}

/// Whether some series of the metric's name may carry this label value.
const fn takes(s: &Signal, metric: &Metric, key: &str, value: &str) -> bool {
    let mut i = 0;
    while i < metric.labels.len() {
        let label = &s.labels[metric.labels[i] as usize];
        if same(label.key, key) {
            return match label.kind {
                LabelKind::Open { .. } => true,
                LabelKind::Closed { values, .. } => {
                    let mut j = 0;
                    while j < values.len() && !same(values[j], value) {
                        j += 1;
                    }
                    j < values.len()
                }
            };
        }
        i += 1;
    }
    let mut i = 0;
    while i < s.metrics.len() {
        if same(s.metrics[i].name, metric.name)
            && let Some((constant, is)) = s.metrics[i].constant
            && same(constant, key)
            && same(is, value)
        {
            return true;
        }
        i += 1;
    }
    false
}

#[track_caller]
const fn view(s: &Signal, metric: &Metric, second: Option<&Metric>, view: &View) {
    match view {
        View::Rate(_) | View::Total(_) => require(
            is_cumulative(metric),
            "rates and totals need a counter or a histogram; show a gauge's value",
        ),
        View::Quantiles(_) | View::Heatmap(_) | View::Mean(_) => require(
            matches!(metric.instrument, Instrument::Histogram),
            "quantiles, heatmaps and means need a histogram",
        ),
        View::Value(_) => require(
            matches!(metric.instrument, Instrument::Gauge | Instrument::InFlight),
            "a value needs a gauge or an in-flight count; show a counter's rate or total",
        ),
        View::Table(_) => require(
            matches!(metric.instrument, Instrument::Gauge),
            "a table needs an information gauge",
        ),
        View::Age(_) => require(
            matches!(metric.instrument, Instrument::Gauge) && same(metric.unit, "s"),
            "an age needs a gauge of Unix seconds, unit `s`",
        ),
        View::ErrorRatio(_) | View::Errors(_) => require(
            has_error_label(s, metric),
            "an error ratio needs a closed label with values marked `error`, or `error.type`",
        ),
        View::Budget(_) => require(
            has_objective(s, metric.name),
            "an error budget needs a burn-rate alert on the metric, which sets the objective",
        ),
        View::Share { .. } => {
            let whole = match second {
                Some(whole) => is_cumulative(whole) && same(whole.unit, metric.unit),
                None => false,
            };
            require(
                whole && is_cumulative(metric),
                "a share needs two counters or histograms of one unit",
            );
        }
    }
}

#[track_caller]
const fn graded(metric: &Metric, panel: &Panel) {
    if let Some(quantile) = panel.quantile {
        require(
            matches!(panel.view, View::Quantiles(_)) && quantile > 0.0 && quantile < 1.0,
            "a panel's quantile lies between 0 and 1 and needs `View::Quantiles`",
        );
    }
    if let Some((good, poor)) = panel.grades {
        let (low, high) = metric.range();
        require(
            low < good && good < poor && poor < high,
            "grades rise from good to poor and lie within the range of the metric's values",
        );
    }
}

const fn is_cumulative(metric: &Metric) -> bool {
    matches!(
        metric.instrument,
        Instrument::Counter | Instrument::FloatCounter | Instrument::Histogram
    )
}

const fn has_objective(s: &Signal, name: &str) -> bool {
    let mut i = 0;
    while i < s.alerts.len() {
        if let Condition::BurnRate { metric, .. } = s.alerts[i].condition
            && same(metric, name)
        {
            return true;
        }
        i += 1;
    }
    false
}
