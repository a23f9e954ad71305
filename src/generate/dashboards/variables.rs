//! Template variables: data sources, where it runs, and labels of the domain.

use serde_json::{Value, json};

use super::model::{Source, Variable};
use crate::catalog::{Feed, LabelKind, Metric, Signal, prometheus_label};
use crate::generate::promql;
use crate::signals::service::ServiceInfo;

pub(super) const PROMETHEUS: Source = Source {
    kind: "prometheus",
    uid: "${prometheus_datasource}",
};
pub(super) const LOKI: &str = "loki_datasource";
pub(super) const TEMPO: &str = "tempo_datasource";
pub(super) const TRACE_ID: &str = "trace_id";

/// Labels that are offered under a shorter name: key, name, text.
const NAMES: &[(&str, &str, &str)] = &[
    ("gen_ai.agent.name", "agent", "Agent"),
    ("gen_ai.tool.name", "tool", "Tool"),
    ("gen_ai.provider.name", "provider", "Provider"),
    ("gen_ai.request.model", "model", "Model"),
    ("http.route", "route", "Route"),
];

/// A label that the reader of a dashboard may choose values of.
#[derive(Clone, Copy)]
pub(super) struct Choice {
    pub(super) key: &'static str,
}

impl Choice {
    pub(super) fn name(self) -> String {
        let short = NAMES.iter().find(|(key, ..)| *key == self.key);
        short.map_or_else(
            || prometheus_label(self.key),
            |(_, name, _)| (*name).to_owned(),
        )
    }

    pub(super) fn text(self) -> String {
        let short = NAMES.iter().find(|(key, ..)| *key == self.key);
        short.map_or_else(|| super::words(self.key), |(.., text)| (*text).to_owned())
    }

    /// `label=~"$name"`.
    pub(super) fn matcher(self) -> String {
        format!("{}=~\"${}\"", prometheus_label(self.key), self.name())
    }
}

/// `job=~"$job",instance=~"$instance"`: what every query is restricted to.
pub(super) const WHERE: &str = "job=~\"$job\",instance=~\"$instance\"";

/// Every variable of a dashboard. Values of a label are those that the first counter of
/// `signals` with it has had, restricted to `only`.
pub(super) fn all(
    choices: &[Choice],
    signals: &[&'static Signal],
    only: &[(&'static str, &'static str)],
) -> Vec<Variable> {
    let mut all = vec![datasource(
        "prometheus",
        "prometheus_datasource",
        "Prometheus data source",
    )];
    let info = ServiceInfo::SIGNAL;
    // The one declared metric that says where a process is deployed; a page and a push both
    // carry it.
    if let Some(metric) = info.metrics.first() {
        let name = metric.prometheus_name();
        let label = prometheus_label("deployment.environment.name");
        let environment = format!("{label}=~\"$environment\"");
        let job = promql::select(&name, &[&environment]);
        let instance = promql::select(&name, &["job=~\"$job\"", &environment]);
        all.push(labels(
            "environment",
            "Environment",
            &name,
            &label,
            Some(".*"),
        ));
        all.push(labels("job", "Job", &job, "job", Some(".+")));
        // Without a value for all of them Grafana lists those of the environment.
        all.push(labels("instance", "Instance", &instance, "instance", None));
    }
    for choice in choices {
        let Some((signal, metric)) = source(choice.key, signals) else {
            continue;
        };
        let mut matchers = vec![WHERE.to_owned()];
        matchers.extend(super::query::fixed(signal, metric, only));
        let matchers: Vec<&str> = matchers.iter().map(String::as_str).collect();
        let series = promql::select(&promql::counting(metric), &matchers);
        let label = prometheus_label(choice.key);
        all.push(labels(
            &choice.name(),
            &choice.text(),
            &series,
            &label,
            Some(".*"),
        ));
    }
    all.push(datasource("loki", LOKI, "Loki data source"));
    all.push(datasource("tempo", TEMPO, "Tempo data source"));
    all.push(Variable {
        query: json!(""),
        description: Some("What the links «Trace» and «Logs of the trace» open.".to_owned()),
        ..variable("textbox", TRACE_ID, "Trace id")
    });
    all
}

/// The metric that best knows a label's values: a counter of ends, else the first that has it.
fn source(key: &str, signals: &[&'static Signal]) -> Option<(&'static Signal, &'static Metric)> {
    let having = || {
        signals.iter().flat_map(move |signal| {
            let has = move |metric: &&'static Metric| {
                signal.labels_of(metric).any(|label| label.key == key)
            };
            signal.metrics.iter().filter(has).map(move |m| (*signal, m))
        })
    };
    having()
        .find(|(_, metric)| metric.feed == Feed::Count)
        .or_else(|| having().next())
}

/// The labels a dashboard offers where none are named: the open ones that panels are split by,
/// four at most.
pub(super) fn choices_of(signals: &[&'static Signal]) -> Vec<Choice> {
    let mut found: Vec<Choice> = Vec::new();
    for signal in signals {
        for key in signal.panels.iter().flat_map(|panel| panel.by) {
            let open = signal
                .labels
                .iter()
                .any(|label| label.key == *key && matches!(label.kind, LabelKind::Open { .. }));
            let known = found.iter().any(|choice| choice.key == *key);
            if open && !known && *key != "error.type" && found.len() < 4 {
                found.push(Choice { key });
            }
        }
    }
    found
}

fn variable(kind: &'static str, name: &str, label: &str) -> Variable {
    Variable {
        kind,
        name: name.to_owned(),
        label: label.to_owned(),
        description: None,
        hide: 0,
        skip_url_sync: false,
        query: Value::Null,
        current: json!({ "text": "", "value": "" }),
        options: Vec::new(),
        datasource: None,
        regex: None,
        refresh: None,
        sort: None,
        multi: None,
        include_all: None,
        all_value: None,
    }
}

fn datasource(kind: &'static str, name: &str, label: &str) -> Variable {
    Variable {
        query: json!(kind),
        regex: Some(""),
        refresh: Some(1),
        multi: Some(false),
        include_all: Some(false),
        ..variable("datasource", name, label)
    }
}

fn labels(
    name: &str,
    text: &str,
    series: &str,
    label: &str,
    all_value: Option<&'static str>,
) -> Variable {
    let query = format!("label_values({series}, {label})");
    Variable {
        query: json!({ "query": query, "refId": format!("variable-{name}") }),
        current: json!({ "text": ["All"], "value": ["$__all"] }),
        datasource: Some(PROMETHEUS),
        regex: Some(""),
        refresh: Some(2),
        sort: Some(1),
        multi: Some(true),
        include_all: Some(true),
        all_value,
        ..variable("query", name, text)
    }
}
