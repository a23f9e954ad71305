//! The reference page: every signal with its labels, fields and metrics, and PromQL to start
//! from.

use std::fmt::Write as _;

use super::catalog::{label_names, watchers};
use super::promql::{self, Frame};
use super::severity;
use super::{domains, instrument};
use crate::catalog::{Instrument, Label, LabelKind, Metric, Signal, SignalKind};
use crate::vocabulary::{Vocabulary, builtin};

const FRAME: Frame<'static> = Frame {
    matchers: "",
    window: "5m",
};

/// The page, as Markdown: for each domain its signals, for each signal its labels, fields and
/// metrics.
#[must_use]
pub fn page(signals: &[&'static Signal]) -> String {
    // One that these signals cannot feed has no names for them.
    let vocabularies: Vec<Vocabulary> = builtin::NAMES
        .iter()
        .filter_map(|name| builtin::load(name, signals)?.ok())
        .collect();
    let mut out = String::from(
        "# Signals and their metrics\n\n\
         Rendered from the declarations by `tachograph generate`; change those. Names are those \
         of OpenTelemetry, with the Prometheus name beside them; both are the same for pull and \
         push. Histograms also have `_bucket`, `_sum` and `_count`.\n\n",
    );
    for (domain, signals) in domains(signals) {
        let links: Vec<String> = signals
            .iter()
            .map(|signal| format!("[`{}`](#{})", signal.name, anchor(signal.name)))
            .collect();
        let _ = writeln!(out, "- **{domain}**: {}", links.join(", "));
    }
    for (domain, signals) in domains(signals) {
        let _ = write!(out, "\n## {domain}\n");
        for signal in signals {
            write_signal(&mut out, signal, &vocabularies);
        }
    }
    out
}

/// The anchor of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    heading
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == '-')
        .collect()
}

fn write_signal(out: &mut String, signal: &'static Signal, vocabularies: &[Vocabulary]) {
    let _ = write!(out, "\n### `{}`\n\n{}\n", signal.name, signal.brief);
    let kind = match signal.kind {
        SignalKind::Operation => format!("Operation, {} span", signal.span_kind.as_str()),
        SignalKind::Measure => "Measure".to_owned(),
    };
    let api = if signal.reportable {
        "may be sent to the records API"
    } else {
        "recorded by the process itself"
    };
    let _ = write!(out, "\n{kind}; {api}. Declared in `{}`.\n", signal.source.0);
    let labels = signal.labels.iter().map(|label| {
        [
            format!("`{}`", label.key),
            label.brief.to_owned(),
            values(label),
        ]
    });
    write_table(out, ["Label", "Meaning", "Values"], labels);
    let values = signal.values.iter().map(|v| (v.key, v.brief, "number"));
    let context = signal
        .context
        .iter()
        .map(|c| (c.key, c.brief, "span and log only"));
    let fields = values
        .chain(context)
        .map(|(key, brief, kind)| [format!("`{key}`"), brief.to_owned(), kind.to_owned()]);
    write_table(out, ["Field", "Meaning", "Kind"], fields);
    for metric in signal.metrics {
        // Metrics that share a name differ in a constant label; together they are one family.
        if signal
            .metric(metric.name)
            .is_some_and(|first| std::ptr::eq(first, metric))
        {
            write_metric(out, signal, metric, vocabularies);
        }
    }
}

fn values(label: &Label) -> String {
    match label.kind {
        LabelKind::Closed { values, errors, .. } => {
            let value = |value: &&str| match *value {
                "" => "absent".to_owned(),
                value if errors.contains(&value) => format!("`{value}` (failure)"),
                value => format!("`{value}`"),
            };
            values.iter().map(value).collect::<Vec<_>>().join(", ")
        }
        LabelKind::Open { budget, optional } => format!(
            "text, at most {budget} values, then `other`{}",
            if optional { "; may be absent" } else { "" }
        ),
    }
}

fn write_metric(
    out: &mut String,
    signal: &'static Signal,
    metric: &'static Metric,
    vocabularies: &[Vocabulary],
) {
    let _ = write!(
        out,
        "\n#### `{}`\n\n{}\n\n",
        metric.prometheus_name(),
        metric.brief
    );
    let mut labels: Vec<String> = Vec::new();
    for of_name in signal.metrics.iter().filter(|m| m.name == metric.name) {
        for label in label_names(signal, of_name) {
            let label = format!("`{label}`");
            if !labels.contains(&label) {
                labels.push(label);
            }
        }
    }
    let _ = writeln!(
        out,
        "- OpenTelemetry: `{}`, {}, unit `{}`",
        metric.name,
        instrument(metric.instrument),
        metric.unit
    );
    let labels = if labels.is_empty() {
        "none".to_owned()
    } else {
        labels.join(", ")
    };
    let _ = writeln!(out, "- Labels: {labels}");
    if !metric.bounds.is_empty() {
        let bounds: Vec<String> = metric.bounds.iter().map(f64::to_string).collect();
        let _ = writeln!(out, "- Bounds: {}", bounds.join(", "));
    }
    let watchers = watchers(signal, metric);
    let alerts: Vec<String> = signal
        .alerts
        .iter()
        .filter(|alert| watchers.contains(&alert.name))
        .map(|alert| {
            format!(
                "[{name}](../runbooks/{name}.md) ({})",
                severity(alert.severity),
                name = alert.name
            )
        })
        .collect();
    match metric.no_alert {
        Some(reason) if alerts.is_empty() => {
            let _ = writeln!(out, "- Alerts: none; {reason}");
        }
        _ => {
            let _ = writeln!(out, "- Alerts: {}", alerts.join(", "));
        }
    }
    let others = elsewhere(metric, vocabularies);
    if !others.is_empty() {
        let _ = writeln!(out, "- In other vocabularies: {}", others.join(", "));
    }
    out.push_str("\n```promql\n");
    let family = Metric {
        constant: None,
        ..*metric
    };
    let constant = metric.constant.map(|(key, _)| key);
    for (comment, query) in queries(signal, &family, constant) {
        let _ = writeln!(out, "# {comment}\n{query}");
    }
    out.push_str("```\n");
}

/// The families of other systems that are computed from a metric.
fn elsewhere(metric: &Metric, vocabularies: &[Vocabulary]) -> Vec<String> {
    let mut names = Vec::new();
    for vocabulary in vocabularies {
        for family in &vocabulary.families {
            let fed = family
                .mapping()
                .is_some_and(|mapping| mapping.sources.iter().any(|name| name == metric.name));
            if fed {
                names.push(format!("`{}` ({})", family.name, vocabulary.name));
            }
        }
    }
    names
}

/// PromQL to start from, each with what it gives.
fn queries(
    signal: &'static Signal,
    metric: &Metric,
    constant: Option<&'static str>,
) -> Vec<(&'static str, String)> {
    let labels = signal.labels_of(metric).map(|label| label.key);
    let labels: Vec<&str> = constant.into_iter().chain(labels).collect();
    let first = &labels[..labels.len().min(1)];
    let mut queries = Vec::new();
    match metric.instrument {
        Instrument::Counter | Instrument::FloatCounter => {
            queries.push(("a second", promql::rate(metric, FRAME, first)));
            let day = FRAME.window("1d");
            queries.push(("in a day", promql::increase(metric, day, first)));
        }
        Instrument::Histogram => {
            let quantile = promql::quantile(metric, 0.95, FRAME, first);
            queries.push(("95th percentile", quantile));
            queries.push(("observations a second", promql::rate(metric, FRAME, first)));
        }
        Instrument::InFlight => queries.push(("now", promql::value(metric, FRAME, first))),
        Instrument::Gauge => queries.push(("now", promql::value(metric, FRAME, &labels))),
    }
    let counts = !matches!(metric.instrument, Instrument::InFlight | Instrument::Gauge);
    if counts && let Some(ratio) = promql::error_ratio(signal, metric, FRAME, &[]) {
        queries.push(("share of failures", ratio));
    }
    queries
}

fn write_table<const N: usize>(
    out: &mut String,
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return;
    }
    let _ = write!(out, "\n| {} |\n|{}\n", head.join(" | "), " --- |".repeat(N));
    for row in rows {
        let cells = row.map(|cell| cell.replace('|', "\\|"));
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::signals;
    use crate::signals::CATALOG;

    #[test]
    fn names_every_metric_and_its_tables_are_even() {
        let signals = signals(CATALOG);
        let text = page(&signals);
        for signal in &signals {
            assert!(text.contains(&format!("### `{}`", signal.name)));
            for metric in signal.metrics {
                assert!(text.contains(&format!("`{}`", metric.prometheus_name())));
            }
        }
        let mut columns = None;
        for line in text.lines() {
            let cells = line.replace("\\|", "").matches('|').count();
            if !line.starts_with('|') {
                columns = None;
            } else {
                assert_eq!(*columns.get_or_insert(cells), cells, "{line}");
            }
        }
    }
}
