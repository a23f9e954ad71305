//! PromQL of alerts.

use crate::catalog::{Alert, Condition, Metric, Severity, Signal, prometheus_label};
use crate::generate::promql::{self, Frame};

/// Failures in the long window that a burn-rate alert takes at least: one error on a quiet
/// night burns fast and means nothing.
const BURN_FAILURES: u32 = 3;
/// How far back a job or target counts as known.
const KNOWN: &str = "3d";
/// How long the slow windows of a burn rate must agree, seconds.
const TICKET_FOR: u32 = 900;

/// How fast an error budget burns, and over which windows that is looked at.
#[derive(Clone, Copy, Debug)]
pub(in crate::generate) struct Burn {
    /// How many times faster than it may.
    pub(in crate::generate) factor: f64,
    /// The window that tells that it still burns.
    pub(in crate::generate) short: &'static str,
    /// The window that tells that it matters.
    pub(in crate::generate) long: &'static str,
}

const fn burn(factor: f64, short: &'static str, long: &'static str) -> Burn {
    Burn {
        factor,
        short,
        long,
    }
}

/// Site Reliability Workbook, chapter 5, "Multiwindow, Multi-Burn-Rate Alerts".
pub(in crate::generate) const PAGE: [Burn; 2] = [burn(14.4, "5m", "1h"), burn(6.0, "30m", "6h")];
/// As above.
pub(in crate::generate) const TICKET: [Burn; 2] = [burn(3.0, "2h", "1d"), burn(1.0, "6h", "3d")];
/// Every window above.
const BURN_WINDOWS: [&str; 7] = ["5m", "30m", "1h", "2h", "6h", "1d", "3d"];

/// An alerting rule.
#[derive(Clone, Debug)]
pub(in crate::generate) struct Rule {
    pub(in crate::generate) severity: Severity,
    pub(in crate::generate) expression: String,
    pub(in crate::generate) for_seconds: u32,
    /// The windows of a burn rate.
    pub(in crate::generate) burns: Option<[Burn; 2]>,
    /// Whether it fires without labels, because nothing is there to have any.
    pub(in crate::generate) bare: bool,
}

/// A number as PromQL and people write it.
pub(in crate::generate) fn number(value: f64) -> String {
    // 1 - 0.99 is not 0.01 in binary.
    let rounded = (value * 1e9).round() / 1e9;
    rounded.to_string()
}

/// A duration in Prometheus' syntax.
pub(in crate::generate) fn duration(seconds: u32) -> String {
    if seconds == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    let mut rest = seconds;
    for (unit, size) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        if rest >= size {
            text.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    text
}

/// The labels an expression keeps: those the alert is split by, and the job.
fn kept(alert: &Alert) -> Vec<&str> {
    let mut by = vec!["job"];
    by.extend(alert.by);
    by
}

fn matchers(alert: &Alert) -> String {
    matchers_of(alert.only.iter())
}

/// Those whose label a metric has.
fn matchers_on(signal: &Signal, metric: &Metric, alert: &Alert) -> String {
    let has = |(key, _): &&(&str, &str)| signal.labels_of(metric).any(|label| label.key == *key);
    matchers_of(alert.only.iter().filter(has))
}

fn matchers_of<'a>(only: impl Iterator<Item = &'a (&'static str, &'static str)>) -> String {
    let matcher = |(key, value): &(&str, &str)| format!("{}=\"{value}\"", prometheus_label(key));
    only.map(matcher).collect::<Vec<String>>().join(",")
}

/// Name of the recorded share of failures over a window: `level:metric:operations`.
pub(in crate::generate) fn recorded(metric: &Metric, alert: &Alert, window: &str) -> String {
    let name = metric.prometheus_name();
    format!(
        "{}:{}:error_ratio_rate{window}",
        super::identity(alert).join("_"),
        name.strip_suffix("_total").unwrap_or(&name)
    )
}

/// The recording rules an alert rests on: name and expression.
pub(in crate::generate) fn recordings(signal: &Signal, alert: &Alert) -> Vec<(String, String)> {
    let Condition::BurnRate { metric, .. } = alert.condition else {
        return Vec::new();
    };
    let Some(metric) = signal.metric(metric) else {
        return Vec::new();
    };
    let matchers = matchers(alert);
    let rule = |window: &&'static str| {
        let frame = Frame {
            matchers: &matchers,
            window,
        };
        let by = kept(alert);
        let failed = promql::error_rate(signal, metric, frame, &by)?;
        let all = promql::rate(metric, frame, &by);
        Some((
            recorded(metric, alert, window),
            format!("(\n    {failed}\n  or\n    0 * {all}\n)\n/\n  ({all} > 0)"),
        ))
    };
    BURN_WINDOWS.iter().filter_map(rule).collect()
}

/// The alerting rules of an alert: one; for an objective one for each of page and ticket, for a
/// service one for each job and one for when there is none; none where the signal does not
/// declare the metric.
pub(in crate::generate) fn rules(signal: &Signal, alert: &Alert) -> Vec<Rule> {
    if let Condition::BurnRate { metric, objective } = alert.condition {
        let Some(metric) = signal.metric(metric) else {
            return Vec::new();
        };
        let rule = |(severity, burns, for_seconds): (Severity, [Burn; 2], u32)| Rule {
            severity,
            expression: burning(signal, metric, alert, objective, &burns),
            for_seconds,
            burns: Some(burns),
            bare: false,
        };
        return [
            (alert.severity, PAGE, alert.for_seconds),
            (Severity::Warning, TICKET, TICKET_FOR),
        ]
        .map(rule)
        .into();
    }
    let rule = |expression, bare| Rule {
        severity: alert.severity,
        expression,
        for_seconds: alert.for_seconds,
        burns: None,
        bare,
    };
    let mut rules: Vec<Rule> = expression(signal, alert)
        .map(|expression| rule(expression, false))
        .into_iter()
        .collect();
    if let Condition::JobDown { metric } = alert.condition
        && let Some(metric) = signal.metric(metric)
    {
        let series = counted(metric, &matchers(alert));
        rules.push(rule(format!("absent({series})"), true));
    }
    rules
}

fn burning(
    signal: &Signal,
    metric: &Metric,
    alert: &Alert,
    objective: f64,
    burns: &[Burn],
) -> String {
    let matchers = matchers(alert);
    let budget = number(1.0 - objective);
    let parts: Vec<String> = burns
        .iter()
        .map(|burn| {
            let frame = Frame {
                matchers: &matchers,
                window: burn.long,
            };
            let failures =
                promql::failures(signal, metric, frame, &kept(alert)).unwrap_or_default();
            let above = |window: &str| {
                format!(
                    "{} > {} * {budget}",
                    recorded(metric, alert, window),
                    number(burn.factor)
                )
            };
            format!(
                "(\n    {}\n  and\n    {}\n  and\n    {failures} >= {BURN_FAILURES}\n)",
                above(burn.short),
                above(burn.long)
            )
        })
        .collect();
    parts.join("\nor\n")
}

/// The expression of an alert without windows of its own; none where the signal does not
/// declare the metric.
fn expression(signal: &Signal, alert: &Alert) -> Option<String> {
    let (first, second) = alert.condition.metrics();
    let metric = signal.metric(first)?;
    let matchers = matchers(alert);
    let window = duration(alert.window_seconds);
    let frame = Frame {
        matchers: &matchers,
        window: &window,
    };
    let by = kept(alert);
    let events_from = |floor: u32| format!("{} >= {floor}", promql::events(metric, frame, &by));
    Some(match alert.condition {
        Condition::QuantileAbove {
            quantile,
            threshold,
            floor,
            ..
        } => format!(
            "{} > {}\nand\n  {}",
            promql::quantile(metric, quantile, frame, &by),
            number(threshold),
            events_from(floor)
        ),
        Condition::ErrorRatioAbove { ratio, floor, .. } => format!(
            "(\n    {}\n  /\n    {}\n) > {}\nand\n  {}",
            promql::error_rate(signal, metric, frame, &by)?,
            promql::rate(metric, frame, &by),
            number(ratio),
            events_from(floor)
        ),
        Condition::RateAbove { per_second, .. } => {
            format!(
                "{} > {}",
                promql::rate(metric, frame, &by),
                number(per_second)
            )
        }
        Condition::IncreaseAbove { amount, .. } => {
            format!(
                "{} > {}",
                promql::increase(metric, frame, &by),
                number(amount)
            )
        }
        Condition::Occurs { .. } => grows(metric, frame, &by),
        Condition::ValueAbove { threshold, .. } => {
            format!(
                "{} > {}",
                promql::value(metric, frame, &by),
                number(threshold)
            )
        }
        Condition::ValueBelow { threshold, .. } => format!(
            "{} < {}",
            promql::aggregate("min", &by, &promql::series(metric, frame)),
            number(threshold)
        ),
        Condition::MeanBelow {
            threshold, floor, ..
        } => format!(
            "{} < {}\nand\n  {}",
            promql::mean(metric, frame, &by),
            number(threshold),
            events_from(floor)
        ),
        Condition::ShareBelow { ratio, floor, .. } => {
            let whole = signal.metric(second?)?;
            let all = promql::events(
                whole,
                Frame {
                    matchers: &matchers_on(signal, whole, alert),
                    window: &window,
                },
                &by,
            );
            let part = promql::events(metric, frame, &by);
            format!(
                "(\n    (\n      {part}\n    or\n      0 * {all}\n    )\n  /\n    ({all} > 0)\n) < {}\nand\n  {all} >= {floor}",
                number(ratio)
            )
        }
        Condition::Growing {
            threshold,
            ahead_seconds,
            ..
        } => {
            let series = promql::series(metric, frame);
            let ahead = promql::aggregate(
                "max",
                &by,
                &format!("predict_linear({series}[{window}], {ahead_seconds})"),
            );
            let slope = promql::aggregate("max", &by, &format!("deriv({series}[{window}])"));
            format!("{ahead} > {}\nand\n  {slope} > 0", number(threshold))
        }
        Condition::OlderThan { seconds, .. } => {
            format!("time() - {} > {seconds}", promql::value(metric, frame, &by))
        }
        Condition::Stuck { .. } => {
            let ended = signal.metric(second?)?;
            format!(
                "{} > 0\nunless\n  (\n{}\n  )",
                promql::value(metric, frame, &by),
                indent(&grows(ended, frame, &by), 4)
            )
        }
        Condition::Absent { .. } => {
            let series = counted(metric, &matchers);
            format!(
                "{}\nunless\n  {}",
                promql::aggregate("group", &by, &format!("last_over_time({series}[1d])")),
                promql::aggregate("group", &by, &series)
            )
        }
        Condition::JobDown { .. } => {
            let series = promql::series(metric, frame);
            format!(
                "{}\nunless\n  {}",
                promql::aggregate("group", &by, &format!("last_over_time({series}[{KNOWN}])")),
                promql::aggregate("group", &by, &series)
            )
        }
        Condition::InstanceDown { .. } => {
            let series = promql::series(metric, frame);
            let target = ["job", "instance"];
            format!(
                "{} == 0\nand\n  {}",
                promql::aggregate("max", &target, "up"),
                promql::aggregate(
                    "group",
                    &target,
                    &format!("last_over_time({series}[{KNOWN}])")
                )
            )
        }
        Condition::BurnRate { .. } => return None,
    })
}

/// The series that tells whether a metric is published.
fn counted(metric: &Metric, matchers: &str) -> String {
    promql::select(&promql::counting(metric), &[matchers])
}

/// By how much a counter grew, where it did. `increase` takes the first sample of a series for
/// where it began; a series that was not there a window ago began at zero.
fn grows(metric: &Metric, frame: Frame<'_>, by: &[&str]) -> String {
    let series = counted(metric, frame.matchers);
    format!(
        "{} > 0\nor\n{} > 0",
        promql::events(metric, frame, by),
        promql::aggregate(
            "sum",
            by,
            &format!("{series} unless {series} offset {}", frame.window)
        )
    )
}

fn indent(text: &str, by: usize) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| format!("{:by$}{line}", ""))
        .collect();
    lines.join("\n")
}
