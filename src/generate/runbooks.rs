//! A page for each alert, and one that lists them.

use std::fmt::Write as _;

use super::alerts::{self, Links, alertmanager, duration, text};
use super::output::File;
use super::promql::{self, Frame};
use super::{domains, severity};
use crate::catalog::{Alert, Condition, Metric, Signal, prometheus_label};

/// The pages.
pub(super) fn files(signals: &[&'static Signal], links: &Links) -> Vec<File> {
    let mut files = Vec::new();
    for signal in signals {
        for alert in signal.alerts {
            if let Some(metric) = signal.metric(alert.condition.metrics().0) {
                files.push(File {
                    path: format!("docs/runbooks/{}.md", alert.name),
                    text: page(signals, signal, metric, alert, links),
                });
            }
        }
    }
    if !files.is_empty() {
        files.push(File {
            path: "docs/runbooks/README.md".to_owned(),
            text: index(signals),
        });
    }
    files
}

fn index(signals: &[&'static Signal]) -> String {
    let mut out = "# Runbooks\n\nOne page for each alert, rendered from the declarations in `src/signals/` by `tachograph generate`.\n".to_owned();
    for (domain, signals) in domains(signals) {
        let alerts: Vec<&Alert> = signals.iter().flat_map(|signal| signal.alerts).collect();
        if alerts.is_empty() {
            continue;
        }
        let _ = write!(
            out,
            "\n## {domain}\n\n| alert | severity | tells |\n| --- | --- | --- |\n"
        );
        for alert in alerts {
            let _ = writeln!(
                out,
                "| [{0}]({0}.md) | {1} | {2} |",
                alert.name,
                severity(alert.severity),
                alert.summary
            );
        }
    }
    out
}

fn page(
    signals: &[&'static Signal],
    signal: &Signal,
    metric: &Metric,
    alert: &Alert,
    links: &Links,
) -> String {
    let mut out = format!("# {}\n\n{}.\n\n", alert.name, alert.summary);
    let rules = alerts::rules(signal, alert);
    let mut severities: Vec<String> = rules
        .iter()
        .map(|rule| {
            let held = match rule.for_seconds {
                0 => "at once".to_owned(),
                seconds => format!("after {}", duration(seconds)),
            };
            format!("{}, {held}", severity(rule.severity))
        })
        .collect();
    severities.dedup();
    let identity: Vec<String> = alerts::identity(alert)
        .iter()
        .map(|label| format!("`{label}`"))
        .collect();
    let dashboard = links.dashboard(signal.domain);
    let _ = write!(
        out,
        "| | |\n| --- | --- |\n| Severity | {} |\n| Fires when | {} |\n| One for each | {} |\n| Dashboard | `{dashboard}` |\n| Rule | [alerts/{domain}.yaml](../../alerts/{domain}.yaml) |\n",
        severities.join("; "),
        text::fires_when(metric, alert),
        identity.join(", "),
        domain = signal.domain,
    );
    let _ = write!(out, "\n## What it means\n\n{}\n", alert.runbook.meaning);
    out.push_str("\n## Likely causes\n\n");
    for cause in alert.runbook.causes {
        let _ = writeln!(out, "- {cause}");
    }
    out.push_str("\n## Queries\n");
    for rule in &rules {
        let label = if rule.bare {
            ", where nothing is known".to_owned()
        } else if rule.burns.is_some() {
            format!(", {}", severity(rule.severity))
        } else {
            String::new()
        };
        query(
            &mut out,
            &format!("The alert's own{label}"),
            &rule.expression,
        );
    }
    for (title, expression) in breakdown(signal, metric, alert) {
        query(&mut out, &title, &expression);
    }
    out.push_str("\n## What to do\n\n");
    for (number, action) in (1..).zip(alert.runbook.actions) {
        let _ = writeln!(out, "{number}. {action}");
    }
    let _ = write!(out, "\n## When to silence\n\n{}\n", text::silence(alert));
    let muted: Vec<String> = alertmanager::mutes(signals, alert)
        .iter()
        .map(|name| format!("[{name}]({name}.md)"))
        .collect();
    let related: Vec<String> = signal
        .alerts
        .iter()
        .filter(|other| other.name != alert.name)
        .map(|other| format!("[{0}]({0}.md)", other.name))
        .collect();
    if !muted.is_empty() || !related.is_empty() {
        out.push_str("\n## Related\n\n");
        if !muted.is_empty() {
            let _ = writeln!(
                out,
                "- Not notified while one of these fires: {}",
                muted.join(", ")
            );
        }
        if !related.is_empty() {
            let _ = writeln!(out, "- On the same signal: {}", related.join(", "));
        }
    }
    out
}

fn query(out: &mut String, title: &str, expression: &str) {
    let _ = write!(out, "\n{title}:\n\n```promql\n{expression}\n```\n");
}

/// What the alert looks at, split by each label that the alert sums over, and by process.
fn breakdown(signal: &Signal, metric: &Metric, alert: &Alert) -> Vec<(String, String)> {
    let window = match alert.condition {
        Condition::BurnRate { .. } => "1h".to_owned(),
        _ => duration(alert.window_seconds),
    };
    let matchers: Vec<String> = alert
        .only
        .iter()
        .map(|(key, value)| format!("{}=\"{value}\"", prometheus_label(key)))
        .collect();
    let matchers = matchers.join(",");
    let frame = Frame {
        matchers: &matchers,
        window: &window,
    };
    let mut by = vec!["job"];
    by.extend(alert.by);
    let split = |by: &[&str]| match alert.condition {
        Condition::QuantileAbove { quantile, .. } => {
            Some(promql::quantile(metric, quantile, frame, by))
        }
        Condition::ErrorRatioAbove { .. } | Condition::BurnRate { .. } => {
            promql::failures(signal, metric, frame, by)
        }
        Condition::IncreaseAbove { .. } => Some(promql::increase(metric, frame, by)),
        Condition::RateAbove { .. } | Condition::Occurs { .. } | Condition::ShareBelow { .. } => {
            Some(promql::events(metric, frame, by))
        }
        Condition::MeanBelow { .. } => Some(promql::mean(metric, frame, by)),
        Condition::ValueAbove { .. }
        | Condition::ValueBelow { .. }
        | Condition::Growing { .. }
        | Condition::OlderThan { .. }
        | Condition::Stuck { .. } => Some(promql::value(metric, frame, by)),
        Condition::Absent { .. } | Condition::JobDown { .. } | Condition::InstanceDown { .. } => {
            None
        }
    };
    let mut queries = Vec::new();
    let others = signal.labels_of(metric).map(|label| label.key);
    for key in others.chain(["instance"]) {
        if by.contains(&key) || alert.only.iter().any(|(only, _)| *only == key) {
            continue;
        }
        let mut by = by.clone();
        by.push(key);
        if let Some(expression) = split(&by) {
            queries.push((format!("By `{}`", prometheus_label(key)), expression));
        }
    }
    match alert.condition {
        Condition::Stuck { ended, .. } => {
            if let Some(ended) = signal.metric(ended) {
                queries.push((
                    "What ended over the last hour".to_owned(),
                    promql::events(ended, frame.window("1h"), &by),
                ));
            }
        }
        Condition::JobDown { .. } | Condition::InstanceDown { .. } => queries.push((
            "Targets that cannot be scraped".to_owned(),
            "up == 0".to_owned(),
        )),
        Condition::Absent { .. } => queries.push((
            "When each process started".to_owned(),
            "max by (job, instance) (service_start_timestamp_seconds)".to_owned(),
        )),
        _ => {}
    }
    queries
}
