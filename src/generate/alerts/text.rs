//! What alerts say: the templates of their annotations, and the same in plain words.

use super::{Rule, duration, identity, number};
use crate::catalog::{Alert, Condition, Metric, Signal};

/// `$value` as a reader of its unit wants it.
fn value(unit: &str) -> &'static str {
    match unit {
        "s" => "{{ $value | humanizeDuration }}",
        "By" => "{{ $value | humanize1024 }}B",
        "1" => "{{ $value | humanizePercentage }}",
        "USD" => "{{ $value | printf \"%.2f\" }} USD",
        _ => "{{ $value | humanize }}",
    }
}

/// A threshold in words.
pub(in crate::generate) fn quantity(unit: &str, value: f64) -> String {
    match unit {
        "s" if value >= 60.0 && value.fract() == 0.0 && value < f64::from(u32::MAX) => {
            duration(value as u32)
        }
        "s" => format!("{}s", number(value)),
        "By" => format!("{} bytes", number(value)),
        "1" => percent(value),
        "USD" => format!("{} USD", number(value)),
        _ => number(value),
    }
}

pub(in crate::generate) fn percent(share: f64) -> String {
    format!("{} %", number(share * 100.0))
}

/// `95th percentile`.
fn percentile(quantile: f64) -> String {
    format!("{}th percentile", number(quantile * 100.0))
}

/// A metric's meaning as the subject of a sentence, without what is said beside it.
fn subject(metric: &Metric) -> &str {
    let brief = metric.brief.trim().trim_end_matches('.');
    brief.split([':', ';']).next().unwrap_or(brief)
}

/// The label values that an alert is about, in words.
fn restriction(alert: &Alert) -> String {
    let only = alert.only.iter();
    only.map(|(key, value)| format!(", {key} {value}"))
        .collect()
}

/// One line: what is the matter, and with what.
pub(super) fn summary(alert: &Alert, rule: &Rule) -> String {
    if rule.bare {
        return alert.summary.to_owned();
    }
    let labels: Vec<String> = identity(alert)
        .iter()
        .map(|label| format!("{label} {{{{ $labels.{label} }}}}"))
        .collect();
    format!("{} ({})", alert.summary, labels.join(", "))
}

/// What was measured, against which threshold, and what it means.
pub(super) fn description(signal: &Signal, alert: &Alert, rule: &Rule) -> String {
    let measured = signal
        .metric(alert.condition.metrics().0)
        .map_or_else(String::new, |metric| measured(metric, alert, rule));
    format!("{measured} {}", alert.runbook.meaning)
}

fn measured(metric: &Metric, alert: &Alert, rule: &Rule) -> String {
    let window = duration(alert.window_seconds);
    let subject = subject(metric);
    let value = value(metric.unit);
    match alert.condition {
        Condition::QuantileAbove {
            quantile,
            threshold,
            ..
        } => format!(
            "{subject}: the {} over {window} is {value}, above {}.",
            percentile(quantile),
            quantity(metric.unit, threshold)
        ),
        Condition::ErrorRatioAbove { ratio, .. } => format!(
            "{{{{ $value | humanizePercentage }}}} failed over {window}, more than {}.",
            percent(ratio)
        ),
        Condition::RateAbove { per_second, .. } => format!(
            "{subject}: {{{{ $value | humanize }}}} a second over {window}, more than {}.",
            number(per_second)
        ),
        Condition::IncreaseAbove { amount, .. } => format!(
            "{subject}: {value} over {window}, more than {}.",
            quantity(metric.unit, amount)
        ),
        Condition::Occurs { .. } => {
            format!("{subject}: {{{{ $value | humanize }}}} over {window}.")
        }
        Condition::ValueAbove { threshold, .. } => format!(
            "{subject}: {value}, above {}.",
            quantity(metric.unit, threshold)
        ),
        Condition::ValueBelow { threshold, .. } => format!(
            "{subject}: {value}, below {}.",
            quantity(metric.unit, threshold)
        ),
        Condition::MeanBelow { threshold, .. } => format!(
            "{subject}: the mean over {window} is {value}, below {}.",
            quantity(metric.unit, threshold)
        ),
        Condition::ShareBelow { ratio, .. } => format!(
            "{subject}{}: {{{{ $value | humanizePercentage }}}} of all over {window}, less than {}.",
            restriction(alert),
            percent(ratio)
        ),
        Condition::Growing {
            threshold,
            ahead_seconds,
            ..
        } => format!(
            "{subject}: {value} within {}, as it grew over {window}; more than {}.",
            duration(ahead_seconds),
            quantity(metric.unit, threshold)
        ),
        Condition::OlderThan { seconds, .. } => format!(
            "{subject}: {{{{ $value | humanizeDuration }}}} ago, longer than {}.",
            duration(seconds)
        ),
        Condition::Stuck { .. } => format!(
            "{subject}: {{{{ $value | humanize }}}}, and none has ended for {}.",
            duration(alert.for_seconds.max(alert.window_seconds))
        ),
        Condition::BurnRate { objective, .. } => {
            let windows = rule.burns.map_or_else(String::new, |burns| {
                format!("{} or {}", burns[0].short, burns[1].short)
            });
            format!(
                "{{{{ $value | humanizePercentage }}}} failed over {windows}; the objective allows {}.",
                percent(1.0 - objective)
            )
        }
        Condition::Absent { .. } => {
            format!("`{}` is published no more.", metric.prometheus_name())
        }
        Condition::JobDown { .. } if rule.bare => "No service publishes metrics.".to_owned(),
        Condition::JobDown { .. } => {
            "No process of {{ $labels.job }} publishes metrics.".to_owned()
        }
        Condition::InstanceDown { .. } => "{{ $labels.instance }} cannot be scraped.".to_owned(),
    }
}

/// When the alert fires, for a runbook.
pub(in crate::generate) fn fires_when(metric: &Metric, alert: &Alert) -> String {
    let window = duration(alert.window_seconds);
    let name = metric.prometheus_name();
    let condition = match alert.condition {
        Condition::QuantileAbove {
            quantile,
            threshold,
            floor,
            ..
        } => format!(
            "the {} of `{name}` over {window} is above {}, of at least {floor} observations",
            percentile(quantile),
            quantity(metric.unit, threshold)
        ),
        Condition::ErrorRatioAbove { ratio, floor, .. } => format!(
            "more than {} of the events that `{name}` counts over {window} failed, of at least {floor}",
            percent(ratio)
        ),
        Condition::RateAbove { per_second, .. } => format!(
            "`{name}` grows by more than {} a second over {window}",
            number(per_second)
        ),
        Condition::IncreaseAbove { amount, .. } => format!(
            "`{name}` grows by more than {} within {window}",
            quantity(metric.unit, amount)
        ),
        Condition::Occurs { .. } => {
            format!("`{name}` grows at all within {window}, or appears")
        }
        Condition::ValueAbove { threshold, .. } => {
            format!("`{name}` is above {}", quantity(metric.unit, threshold))
        }
        Condition::ValueBelow { threshold, .. } => format!(
            "`{name}` of any process is below {}",
            quantity(metric.unit, threshold)
        ),
        Condition::MeanBelow {
            threshold, floor, ..
        } => format!(
            "the mean of `{name}` over {window} is below {}, of at least {floor} observations",
            quantity(metric.unit, threshold)
        ),
        Condition::ShareBelow {
            whole,
            ratio,
            floor,
            ..
        } => format!(
            "`{name}`{} grows by less than {} of what `{whole}` does over {window}, of at least {floor} events",
            restriction(alert),
            percent(ratio)
        ),
        Condition::Growing {
            threshold,
            ahead_seconds,
            ..
        } => format!(
            "`{name}` grows and, as it grew over {window}, passes {} within {}",
            quantity(metric.unit, threshold),
            duration(ahead_seconds)
        ),
        Condition::OlderThan { seconds, .. } => format!(
            "the time in `{name}` lies more than {} back",
            duration(seconds)
        ),
        Condition::Stuck { ended, .. } => {
            format!("`{name}` is above 0 and `{ended}` has counted nothing for {window}")
        }
        Condition::BurnRate { objective, .. } => format!(
            "the {} of failures that an objective of {} allows are used up 14.4 times too fast over 5m and 1h, or 6 times over 30m and 6h; as a warning, 3 times over 2h and 1d, or as fast as is allowed over 6h and 3d",
            percent(1.0 - objective),
            percent(objective)
        ),
        Condition::Absent { .. } => {
            format!("a job published `{name}` within the last day and no longer does")
        }
        Condition::JobDown { .. } => {
            format!(
                "no process of a job publishes `{name}`, which one did within three days; or none at all"
            )
        }
        Condition::InstanceDown { .. } => {
            format!("a target that published `{name}` within three days cannot be scraped")
        }
    };
    if alert.for_seconds == 0 {
        condition
    } else {
        format!("{condition}, for {}", duration(alert.for_seconds))
    }
}

/// When to silence an alert, by what it watches.
pub(in crate::generate) fn silence(alert: &Alert) -> &'static str {
    if let Some(silence) = alert.silence {
        return silence;
    }
    match alert.condition {
        Condition::QuantileAbove { .. } => {
            "While work that is known to be slow runs, such as a migration or a load test: for its duration, and for these label values only."
        }
        Condition::ErrorRatioAbove { .. } | Condition::RateAbove { .. } => {
            "While the cause is known and being worked on, for these label values only. Never because it fires often: then the threshold or the code is wrong."
        }
        Condition::IncreaseAbove { .. } => {
            "When the amount is known and approved, until the window has passed."
        }
        Condition::Occurs { .. } => {
            "When the cause is found and its removal is on the way, until that is deployed."
        }
        Condition::ValueAbove { .. } | Condition::ValueBelow { .. } => {
            "During planned maintenance of what it watches, for these label values only."
        }
        Condition::MeanBelow { .. } | Condition::ShareBelow { .. } => {
            "When it is known why it is low and that it will rise by itself, such as a cache that was emptied, until it should have."
        }
        Condition::Growing { .. } => {
            "While a batch that is known to fit is being worked off, until it should be done."
        }
        Condition::OlderThan { .. } => {
            "When it was switched off on purpose, until the process has been restarted without it."
        }
        Condition::Stuck { .. } => {
            "When what is under way is known to take this long, until it should have ended."
        }
        Condition::BurnRate { .. } => {
            "When the outage that used the budget up is over and the long window still shows it, for the length of that window."
        }
        Condition::Absent { .. } => {
            "When nothing is expected to run, such as overnight, until it should run again."
        }
        Condition::JobDown { .. } | Condition::InstanceDown { .. } => {
            "During a planned shutdown. For a service that is gone for good nothing needs to be done: after three days it is forgotten."
        }
    }
}
