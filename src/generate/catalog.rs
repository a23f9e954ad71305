//! The catalog as a table and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{instrument, severity};
use crate::catalog::{
    Alert, Condition, Feed, Label, LabelKind, Metric, Signal, SignalKind, prometheus_label,
};

/// One line for each metric: signal, metric, Prometheus family, instrument, unit, labels.
#[must_use]
pub fn table(signals: &[&'static Signal]) -> String {
    let mut rows: Vec<[String; 6]> =
        vec![["SIGNAL", "METRIC", "PROMETHEUS", "TYPE", "UNIT", "LABELS"].map(str::to_owned)];
    for signal in signals {
        for metric in signal.metrics {
            rows.push([
                signal.name.to_owned(),
                metric.name.to_owned(),
                metric.prometheus_name(),
                instrument(metric.instrument).to_owned(),
                metric.unit.to_owned(),
                label_names(signal, metric).join(","),
            ]);
        }
    }
    let widths: [usize; 6] =
        std::array::from_fn(|i| rows.iter().map(|row| row[i].len()).max().unwrap_or(0));
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Everything that is declared, as one JSON object with the list `signals`.
#[must_use]
pub fn json(signals: &[&'static Signal]) -> String {
    let value = json!({ "signals": signals.iter().map(|s| signal_json(s)).collect::<Value>() });
    format!("{value:#}\n")
}

pub(super) fn label_names(signal: &Signal, metric: &Metric) -> Vec<String> {
    let labels = signal.labels_of(metric).map(|l| prometheus_label(l.key));
    let constant = metric
        .constant
        .iter()
        .map(|(key, value)| format!("{}={value}", prometheus_label(key)));
    labels.chain(constant).collect()
}

fn signal_json(signal: &'static Signal) -> Value {
    let fields = |pairs: Vec<(&str, &str)>| {
        pairs
            .into_iter()
            .map(|(key, brief)| json!({ "key": key, "brief": brief }))
            .collect::<Value>()
    };
    let operation = signal.kind == SignalKind::Operation;
    json!({
        "name": signal.name,
        "domain": signal.domain,
        "brief": signal.brief,
        "kind": if operation { "operation" } else { "measure" },
        "span_kind": operation.then(|| signal.span_kind.as_str()),
        "reportable": signal.reportable,
        "timed_by_write": signal.timed_by_write,
        "series": signal.series,
        "labels": signal.labels.iter().map(label_json).collect::<Value>(),
        "values": fields(signal.values.iter().map(|v| (v.key, v.brief)).collect()),
        "context": fields(signal.context.iter().map(|c| (c.key, c.brief)).collect()),
        "metrics": signal.metrics.iter().map(|m| metric_json(signal, m)).collect::<Value>(),
        "panels": signal.panels.iter().map(|panel| json!({
            "title": panel.title,
            "description": panel.description,
            "view": panel.view.name(),
            "metric": panel.view.metric(),
            "second": panel.view.second(),
            "by": panel.by,
            "only": panel.only.iter().map(|(key, value)| json!({ *key: value })).collect::<Value>(),
            "section": panel.section,
            "headline": panel.headline,
        })).collect::<Value>(),
        "alerts": signal.alerts.iter().map(alert_json).collect::<Value>(),
        "source": format!("{}:{}", signal.source.0, signal.source.1),
    })
}

fn label_json(label: &Label) -> Value {
    let mut value = json!({
        "key": label.key,
        "prometheus": prometheus_label(label.key),
        "brief": label.brief,
        "known_at": if label.outcome { "end" } else { "start" },
    });
    match label.kind {
        LabelKind::Closed { values, errors, .. } => {
            value["values"] = json!(values);
            value["errors"] = json!(errors);
        }
        LabelKind::Open { budget, optional } => {
            value["budget"] = json!(budget);
            value["optional"] = json!(optional);
        }
    }
    value
}

fn metric_json(signal: &'static Signal, metric: &Metric) -> Value {
    json!({
        "name": metric.name,
        "prometheus": metric.prometheus_name(),
        "brief": metric.brief,
        "unit": metric.unit,
        "instrument": instrument(metric.instrument),
        "from": match metric.feed {
            Feed::Count => "count",
            Feed::Duration => "duration",
            Feed::Active => "active",
            Feed::Ended => "end time",
            Feed::Value(position) | Feed::Rest(position, _) => signal.values.get(usize::from(position)).map_or("value", |v| v.key),
        },
        "labels": signal.labels_of(metric).map(|l| l.key).collect::<Vec<_>>(),
        "constant": metric.constant.map(|(key, value)| json!({ key: value })),
        "bounds": metric.bounds,
        "range": <[f64; 2]>::from(metric.range()),
        "series_limit": metric.series_limit(signal),
        "alerts": watchers(signal, metric),
        "no_alert": metric.no_alert,
    })
}

fn alert_json(alert: &Alert) -> Value {
    json!({
        "name": alert.name,
        "severity": severity(alert.severity),
        "condition": condition_json(&alert.condition),
        "for_seconds": alert.for_seconds,
        "window_seconds": alert.window_seconds,
        "by": alert.by,
        "only": alert.only.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect::<serde_json::Map<_, _>>(),
        "summary": alert.summary,
        "runbook": {
            "meaning": alert.runbook.meaning,
            "causes": alert.runbook.causes,
            "actions": alert.runbook.actions,
        },
    })
}

fn condition_json(condition: &Condition) -> Value {
    match *condition {
        Condition::QuantileAbove {
            metric,
            quantile,
            threshold,
            floor,
        } => {
            json!({ "type": "quantile_above", "metric": metric, "quantile": quantile, "threshold": threshold, "floor": floor })
        }
        Condition::ErrorRatioAbove {
            metric,
            ratio,
            floor,
        } => {
            json!({ "type": "error_ratio_above", "metric": metric, "ratio": ratio, "floor": floor })
        }
        Condition::RateAbove { metric, per_second } => {
            json!({ "type": "rate_above", "metric": metric, "per_second": per_second })
        }
        Condition::IncreaseAbove { metric, amount } => {
            json!({ "type": "increase_above", "metric": metric, "amount": amount })
        }
        Condition::Occurs { metric } => json!({ "type": "occurs", "metric": metric }),
        Condition::ValueAbove { metric, threshold } => {
            json!({ "type": "value_above", "metric": metric, "threshold": threshold })
        }
        Condition::ValueBelow { metric, threshold } => {
            json!({ "type": "value_below", "metric": metric, "threshold": threshold })
        }
        Condition::MeanBelow {
            metric,
            threshold,
            floor,
        } => {
            json!({ "type": "mean_below", "metric": metric, "threshold": threshold, "floor": floor })
        }
        Condition::ShareBelow {
            metric,
            whole,
            ratio,
            floor,
        } => {
            json!({ "type": "share_below", "metric": metric, "whole": whole, "ratio": ratio, "floor": floor })
        }
        Condition::Growing {
            metric,
            threshold,
            ahead_seconds,
        } => {
            json!({ "type": "growing", "metric": metric, "threshold": threshold, "ahead_seconds": ahead_seconds })
        }
        Condition::OlderThan { metric, seconds } => {
            json!({ "type": "older_than", "metric": metric, "seconds": seconds })
        }
        Condition::Stuck { in_flight, ended } => {
            json!({ "type": "stuck", "metric": in_flight, "ended": ended })
        }
        Condition::BurnRate { metric, objective } => {
            json!({ "type": "burn_rate", "metric": metric, "objective": objective })
        }
        Condition::Absent { metric } => json!({ "type": "absent", "metric": metric }),
        Condition::JobDown { metric } => json!({ "type": "job_down", "metric": metric }),
        Condition::InstanceDown { metric } => json!({ "type": "instance_down", "metric": metric }),
    }
}

/// The alerts that watch a metric, by name.
pub(super) fn watchers(signal: &Signal, metric: &Metric) -> Vec<&'static str> {
    let watches = |alert: &&Alert| {
        let (first, second) = alert.condition.metrics();
        first == metric.name || second == Some(metric.name)
    };
    signal
        .alerts
        .iter()
        .filter(watches)
        .map(|alert| alert.name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::signals;
    use crate::signals::CATALOG;

    #[test]
    fn the_table_has_a_line_for_each_metric() {
        let signals = signals(CATALOG);
        let text = table(&signals);
        let metrics: usize = signals.iter().map(|s| s.metrics.len()).sum();
        assert_eq!(text.lines().count(), metrics + 1);
        let line = text
            .lines()
            .find(|l| l.contains(" http.server.request.duration "))
            .unwrap();
        let cells: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(cells[0], "http.server.request");
        assert_eq!(cells[2], "http_server_request_duration_seconds");
        assert_eq!(cells[3..5], ["histogram", "s"]);
        assert!(cells[5].contains("http_response_status_code"));
    }

    #[test]
    fn json_says_everything_that_is_declared() {
        let signals = signals(CATALOG);
        let value: Value = serde_json::from_str(&json(&signals)).unwrap();
        let list = value["signals"].as_array().unwrap();
        assert_eq!(list.len(), signals.len());
        for (value, signal) in list.iter().zip(&signals) {
            assert_eq!(value["name"], signal.name);
            for part in ["labels", "values", "context", "metrics", "panels", "alerts"] {
                assert!(value[part].is_array(), "{part} of {}", signal.name);
            }
            assert_eq!(
                value["metrics"].as_array().unwrap().len(),
                signal.metrics.len()
            );
            for metric in value["metrics"].as_array().unwrap() {
                assert!(
                    !metric["alerts"].as_array().unwrap().is_empty()
                        || metric["no_alert"].is_string(),
                    "{metric}"
                );
            }
        }
    }
}
