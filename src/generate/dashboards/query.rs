//! The queries of a panel.

use super::model::Target;
use super::variables::{Choice, PROMETHEUS, WHERE};
use crate::catalog::{
    Condition, Instrument, LabelKind, Metric, Panel, Signal, View, prometheus_label,
};
use crate::generate::promql::{self, Frame};

/// Window of rates, chosen by Grafana for the scrape interval and the range shown.
const WINDOW: &str = "$__rate_interval";
/// The whole range shown.
const RANGE: &str = "$__range";
/// Lines of a total at most.
const MOST: usize = 10;
/// The quantile that is shown of a histogram where a panel names none.
pub(super) const USUAL_QUANTILE: f64 = 0.95;
/// Scale of `View::Rate` of dollars.
pub(super) const SECONDS_OF_AN_HOUR: f64 = 3600.0;

/// What a dashboard restricts all its panels to.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) choices: &'a [Choice],
    pub(super) only: &'a [(&'static str, &'static str)],
}

/// A metric of a panel with the matchers of its selectors.
struct Series<'a> {
    signal: &'a Signal,
    metric: Metric,
    matchers: String,
}

/// The matchers of those pairs whose label a metric has.
pub(super) fn fixed(
    signal: &Signal,
    metric: &Metric,
    pairs: &[(&'static str, &'static str)],
) -> Vec<String> {
    let has = |key: &str| has_label(signal, metric, key);
    let matcher = |(key, value): &(&str, &str)| format!("{}=\"{value}\"", prometheus_label(key));
    pairs
        .iter()
        .filter(|(key, _)| has(key))
        .map(matcher)
        .collect()
}

/// Whether series of the metric's name have the label.
pub(super) fn has_label(signal: &Signal, metric: &Metric, key: &str) -> bool {
    let mut constants = signal.metrics.iter().filter(|m| m.name == metric.name);
    signal.labels_of(metric).any(|label| label.key == key)
        || constants.any(|m| m.constant.is_some_and(|(constant, _)| constant == key))
}

impl<'a> Series<'a> {
    fn new(signal: &'a Signal, panel: &Panel, name: &str, scope: Scope<'_>) -> Option<Self> {
        let mut metric = *signal.metric(name)?;
        let mut matchers = vec![WHERE.to_owned()];
        for choice in scope.choices {
            if signal
                .labels_of(&metric)
                .any(|label| label.key == choice.key)
            {
                matchers.push(choice.matcher());
            }
        }
        matchers.extend(fixed(signal, &metric, scope.only));
        matchers.extend(fixed(signal, &metric, panel.only));
        if signal.metrics.iter().filter(|m| m.name == name).count() > 1 {
            // The panel tells metrics of one name apart by splitting or restricting, or not.
            metric.constant = None;
        }
        Some(Self {
            signal,
            metric,
            matchers: matchers.join(","),
        })
    }

    fn frame(&self, window: &'static str) -> Frame<'_> {
        Frame {
            matchers: &self.matchers,
            window,
        }
    }

    fn rate(&self, by: &[&str]) -> String {
        promql::rate(&self.metric, self.frame(WINDOW), by)
    }

    /// Growth of a `_total`, `_count` or `_sum` over a window, summed.
    fn growth(
        &self,
        series: &str,
        extra: &str,
        by: &[&str],
        function: &str,
        window: &str,
    ) -> String {
        let constant = self
            .metric
            .constant
            .map_or_else(String::new, |(key, value)| {
                format!("{}=\"{value}\"", prometheus_label(key))
            });
        let selector = promql::select(series, &[&constant, &self.matchers, extra]);
        promql::aggregate("sum", by, &format!("{function}({selector}[{window}])"))
    }

    fn sum(&self, by: &[&str], function: &str, window: &str) -> String {
        self.growth(&promql::summing(&self.metric), "", by, function, window)
    }

    /// Failures as a share of all, over the whole range shown.
    fn error_ratio_of_range(&self, by: &[&str]) -> Option<String> {
        let errors = promql::errors(self.signal, &self.metric)?;
        let name = promql::counting(&self.metric);
        let failed = self.growth(&name, &errors, by, "increase", RANGE);
        let all = self.growth(&name, "", by, "increase", RANGE);
        Some(ratio(&failed, &all))
    }

    fn value(&self, by: &[&str]) -> String {
        if self.metric.unit == "{state}" {
            // Of replicas that do not agree, the one that is not well stands.
            let constant = self
                .metric
                .constant
                .map_or_else(String::new, |(key, value)| {
                    format!("{}=\"{value}\"", prometheus_label(key))
                });
            let selector =
                promql::select(&self.metric.prometheus_name(), &[&constant, &self.matchers]);
            return promql::aggregate("min", by, &selector);
        }
        promql::value(&self.metric, self.frame(WINDOW), by)
    }
}

/// 0 where there is a whole and no part, nothing where there is no whole.
fn ratio(part: &str, whole: &str) -> String {
    format!("({part} or 0 * {whole}) / ({whole} > 0)")
}

/// The objective that a burn-rate alert sets for a metric.
fn objective(signal: &Signal, name: &str) -> Option<f64> {
    signal
        .alerts
        .iter()
        .find_map(|alert| match alert.condition {
            Condition::BurnRate { metric, objective } if metric == name => Some(objective),
            _ => None,
        })
}

/// The labels that tell kinds of failure apart: `error.type`, else what is marked as an error.
pub(super) fn error_labels(signal: &Signal, metric: &Metric) -> Vec<&'static str> {
    let mut closed = None;
    for label in signal.labels_of(metric) {
        match label.kind {
            LabelKind::Open { .. } if label.key == "error.type" => return vec![label.key],
            LabelKind::Closed { errors, .. } if !errors.is_empty() => {
                closed = closed.or(Some(label.key));
            }
            _ => {}
        }
    }
    closed.into_iter().collect()
}

/// The queries of a panel in full, split by labels; none: its metric cannot be shown so.
pub(super) fn of_panel(
    signal: &Signal,
    panel: &Panel,
    by: &[&str],
    scope: Scope<'_>,
) -> Option<Vec<Target>> {
    let series = Series::new(signal, panel, panel.view.metric(), scope)?;
    let legend = legend(panel, by);
    let line = |expr: String| vec![over_time(expr, &legend)];
    let metric = &series.metric;
    Some(match panel.view {
        View::Rate(_) if metric.unit == "USD" => line(format!(
            "{SECONDS_OF_AN_HOUR} * {}",
            series.sum(by, "rate", WINDOW)
        )),
        View::Rate(_) => line(series.rate(by)),
        View::Quantiles(_) if by.is_empty() && panel.quantile.is_none() => {
            [(0.5, "p50"), (0.95, "p95"), (0.99, "p99")]
                .map(|(quantile, name)| {
                    let frame = series.frame(WINDOW);
                    over_time(promql::quantile(metric, quantile, frame, by), name)
                })
                .into()
        }
        View::Quantiles(_) => {
            let quantile = panel.quantile.unwrap_or(USUAL_QUANTILE);
            line(promql::quantile(metric, quantile, series.frame(WINDOW), by))
        }
        View::Heatmap(_) => {
            let name = format!("{}_bucket", metric.prometheus_name());
            let buckets = series.growth(&name, "", &["le"], "increase", WINDOW);
            vec![Target {
                format: "heatmap",
                ..over_time(buckets, "{{le}}")
            }]
        }
        View::Mean(_) => line(format!(
            "{} / ({} > 0)",
            series.sum(by, "rate", WINDOW),
            series.rate(by)
        )),
        View::Value(_) => line(series.value(by)),
        View::Age(_) => line(format!("time() - {}", series.value(by))),
        View::ErrorRatio(_) => line(promql::error_ratio(
            signal,
            metric,
            series.frame(WINDOW),
            by,
        )?),
        View::Errors(_) => line(promql::error_rate(
            signal,
            metric,
            series.frame(WINDOW),
            by,
        )?),
        View::Budget(name) => {
            let objective = objective(signal, name)?;
            let ratio = series.error_ratio_of_range(by)?;
            line(format!("1 - ({ratio}) / (1 - {objective})"))
        }
        View::Total(_) => {
            let total = series.sum(by, "increase", RANGE);
            let expr = if by.is_empty() {
                total
            } else {
                format!("topk({MOST}, {total} > 0)")
            };
            vec![now(expr, &legend)]
        }
        View::Share { whole, .. } => {
            let whole = Series::new(signal, panel, whole, scope)?;
            line(ratio(
                &series.sum(by, "rate", WINDOW),
                &whole.sum(by, "rate", WINDOW),
            ))
        }
        View::Table(_) => {
            let selector = promql::select(&metric.prometheus_name(), &[&series.matchers]);
            vec![Target {
                format: "table",
                ..now(selector, "")
            }]
        }
    })
}

/// One number for a panel: whether it is fine. Of several lines it is the worst.
pub(super) fn of_headline(signal: &Signal, panel: &Panel, scope: Scope<'_>) -> Option<Target> {
    let series = Series::new(signal, panel, panel.view.metric(), scope)?;
    let by: Vec<&str> = split(panel, scope);
    let legend = panel.title;
    let worst = |operator: &str, expr: String| {
        let expr = if by.is_empty() {
            expr
        } else {
            format!("{operator}({expr})")
        };
        now(expr, legend)
    };
    let metric = &series.metric;
    Some(match panel.view {
        View::Rate(_) if metric.unit == "USD" => over_time(
            format!("{SECONDS_OF_AN_HOUR} * {}", series.sum(&[], "rate", WINDOW)),
            legend,
        ),
        View::Rate(_) => over_time(series.rate(&[]), legend),
        View::Errors(_) => over_time(
            promql::error_rate(signal, metric, series.frame(WINDOW), &[])?,
            legend,
        ),
        View::Quantiles(_) | View::Heatmap(_) => {
            let name = format!("{}_bucket", metric.prometheus_name());
            let mut labels = vec!["le"];
            labels.extend(&by);
            let buckets = series.growth(&name, "", &labels, "increase", RANGE);
            let quantile = panel.quantile.unwrap_or(USUAL_QUANTILE);
            worst("max", format!("histogram_quantile({quantile}, {buckets})"))
        }
        View::Mean(_) => {
            let sum = series.sum(&[], "increase", RANGE);
            let count = series.growth(&promql::counting(metric), "", &[], "increase", RANGE);
            now(format!("{sum} / ({count} > 0)"), legend)
        }
        View::Value(_) if metric.unit == "{state}" => worst("min", series.value(&by)),
        View::Value(_) if metric.instrument == Instrument::InFlight => {
            now(series.value(&[]), legend)
        }
        View::Value(_) => worst("max", series.value(&by)),
        View::Age(_) => worst("max", format!("time() - {}", series.value(&by))),
        View::ErrorRatio(_) => worst("max", series.error_ratio_of_range(&by)?),
        View::Budget(name) => {
            let objective = objective(signal, name)?;
            let ratio = series.error_ratio_of_range(&by)?;
            worst("min", format!("1 - ({ratio}) / (1 - {objective})"))
        }
        View::Total(_) => now(series.sum(&[], "increase", RANGE), legend),
        View::Share { whole, .. } => {
            let whole = Series::new(signal, panel, whole, scope)?;
            now(
                ratio(
                    &series.sum(&[], "increase", RANGE),
                    &whole.sum(&[], "increase", RANGE),
                ),
                legend,
            )
        }
        View::Table(_) => return None,
    })
}

/// How many failures there were over the whole range shown.
pub(super) fn failed_in_range(
    signal: &Signal,
    panel: &Panel,
    legend: &str,
    scope: Scope<'_>,
) -> Option<Target> {
    let series = Series::new(signal, panel, panel.view.metric(), scope)?;
    let errors = promql::errors(signal, &series.metric)?;
    let name = promql::counting(&series.metric);
    let failed = series.growth(&name, &errors, &[], "increase", RANGE);
    let all = series.growth(&name, "", &[], "increase", RANGE);
    Some(now(format!("{failed} or 0 * {all}"), legend))
}

/// The labels that split a panel; those of one value split nothing.
pub(super) fn split<'a>(panel: &Panel, scope: Scope<'a>) -> Vec<&'a str> {
    let fixed = |key: &str| scope.only.iter().any(|(only, _)| *only == key);
    panel.by.iter().copied().filter(|key| !fixed(key)).collect()
}

fn legend(panel: &Panel, by: &[&str]) -> String {
    if by.is_empty() {
        return panel.title.to_owned();
    }
    let labels: Vec<String> = by
        .iter()
        .map(|key| format!("{{{{{}}}}}", prometheus_label(key)))
        .collect();
    labels.join(" · ")
}

fn over_time(expr: String, legend: &str) -> Target {
    Target {
        ref_id: String::new(),
        datasource: PROMETHEUS,
        editor_mode: "code",
        expr,
        legend_format: legend.to_owned(),
        format: "time_series",
        range: true,
        instant: false,
        exemplar: false,
    }
}

fn now(expr: String, legend: &str) -> Target {
    Target {
        range: false,
        instant: true,
        ..over_time(expr, legend)
    }
}
