//! Rules and dashboards to check.

use serde_json::json;
use tachograph::lint::{self, Code, Input, Names, Options, Report};

pub fn run(inputs: &[Input], names: &Names) -> Report {
    let report = lint::run(
        inputs,
        &Options {
            names: names.clone(),
            ignored: Vec::new(),
        },
    );
    assert!(report.unreadable.is_empty(), "{:?}", report.unreadable);
    report
}

pub fn codes(report: &Report) -> Vec<Code> {
    report.findings.iter().map(|finding| finding.code).collect()
}

/// An alerting rule with annotations.
pub fn alert(name: &str, expression: &str, annotations: &[(&str, &str)]) -> serde_json::Value {
    let annotations: serde_json::Map<_, _> = annotations
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)))
        .collect();
    json!({"alert": name, "expr": expression, "annotations": annotations})
}

pub fn record(name: &str, expression: &str) -> serde_json::Value {
    json!({"record": name, "expr": expression})
}

/// A file of one group.
pub fn rules(rules: &[serde_json::Value]) -> Input {
    let groups = json!({"groups": [{"name": "g", "rules": rules}]});
    Input {
        name: "rules.yaml".to_owned(),
        text: serde_norway::to_string(&groups).unwrap(),
    }
}

/// A dashboard with a graph for each expression.
pub fn dashboard(expressions: &[&str]) -> Input {
    let panels: Vec<_> = expressions
        .iter()
        .enumerate()
        .map(|(i, expression)| {
            json!({
                "id": i,
                "title": "P",
                "type": "timeseries",
                "datasource": {"type": "prometheus", "uid": "$datasource"},
                "targets": [{"refId": "A", "expr": expression}],
            })
        })
        .collect();
    Input {
        name: "dashboard.json".to_owned(),
        text: json!({"title": "D", "panels": panels}).to_string(),
    }
}
