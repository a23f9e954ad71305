//! Whole files: our own, other shapes of dashboards and rules, and text that is neither.

#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};
use tachograph::generate;
use tachograph::lint::{self, Code, Input, Names, Options, Report, Severity};
use tachograph::signals::CATALOG;

mod support;

use support::lint::{alert, codes, dashboard, record, rules, run};

fn catalog() -> Names {
    Names::of_catalog(&generate::signals(CATALOG))
}

fn input(name: &str, text: impl Into<String>) -> Input {
    Input {
        name: name.to_owned(),
        text: text.into(),
    }
}

fn read(name: &str, text: &str) -> Report {
    lint::run(
        &[input(name, text)],
        &Options {
            names: catalog(),
            ignored: Vec::new(),
        },
    )
}

/// What is rendered from the catalog holds against the catalog, and a wrong name in it does not.
#[test]
fn our_own_files() {
    let files: Vec<Input> =
        generate::files(&generate::signals(CATALOG), &generate::Links::default())
            .into_iter()
            .filter(|file| {
                file.path.starts_with("dashboards/") && file.path.ends_with(".json")
                    || file.path.starts_with("alerts/") && file.path.ends_with(".yaml")
            })
            .map(|file| input(&file.path, file.text))
            .collect();
    assert!(!files.is_empty());
    let report = run(&files, &catalog());
    let grave: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| finding.severity() > Severity::Hint)
        .collect();
    assert!(grave.is_empty(), "{grave:#?}");
    assert!(report.expressions > 300, "{}", report.expressions);

    let broken: Vec<Input> = files
        .iter()
        .map(|file| {
            input(
                &file.name,
                file.text
                    .replace("workflow_executions_total", "workflow_executed_total"),
            )
        })
        .collect();
    assert!(codes(&run(&broken, &catalog())).contains(&Code::UnknownMetric));
}

#[test]
fn shapes_of_dashboards() {
    let target = json!({"refId": "A", "expr": "rate(workflow_execution_total[$__rate_interval])"});
    let panel = json!({"id": 1, "title": "P", "type": "timeseries", "targets": [target]});
    let classic = json!({"title": "D", "panels": [panel]});
    let v2 = json!({"elements": {"panel-1": {"kind": "Panel", "spec": {
        "id": 1, "title": "P",
        "data": {"kind": "QueryGroup", "spec": {"queries": [{"kind": "PanelQuery", "spec": {
            "refId": "A",
            "query": {"kind": "DataQuery", "group": "prometheus", "spec": {"expr": target["expr"]}},
        }}]}},
        "vizConfig": {"kind": "VizConfig", "group": "timeseries", "spec": {}},
    }}}});
    for shape in [
        classic.clone(),
        json!({"dashboard": classic, "folderUid": "x"}),
        json!({"apiVersion": "dashboard.grafana.app/v1beta1", "kind": "Dashboard", "spec": classic}),
        json!({"kind": "GrafanaDashboard", "spec": {"json": classic.to_string()}}),
        json!({"panels": [{"type": "row", "title": "R", "panels": [panel]}]}),
        json!({"rows": [{"panels": [panel]}]}),
        json!([classic]),
        v2.clone(),
        json!({"kind": "Dashboard", "spec": v2}),
    ] {
        let report = run(&[input("d.json", shape.to_string())], &catalog());
        assert_eq!(codes(&report), [Code::UnknownMetric], "{shape}");
        assert_eq!(report.findings[0].place, "panel \"P\" (id 1), A", "{shape}");
    }
    let yaml = serde_norway::to_string(&json!({"kind": "Dashboard", "spec": classic})).unwrap();
    let report = run(&[input("d.yaml", yaml)], &catalog());
    assert_eq!(codes(&report), [Code::UnknownMetric]);
}

#[test]
fn data_sources() {
    let wrong = "workflow_actve";
    let with = |panel: Value, target: Value| {
        let dashboard = json!({
            "templating": {"list": [
                {"type": "datasource", "name": "prom", "query": "prometheus"},
                {"type": "datasource", "name": "logs", "query": "loki"},
            ]},
            "__inputs": [{"name": "DS_TRACES", "pluginId": "tempo"}],
            "panels": [{"title": "P", "datasource": panel, "targets": [{"expr": wrong, "datasource": target}]}],
        });
        codes(&run(&[input("d.json", dashboard.to_string())], &catalog())).len()
    };
    let none = Value::Null;
    for (panel, target, checked) in [
        (none.clone(), none.clone(), 1),
        (json!("Prometheus"), none.clone(), 1),
        (json!("$prom"), none.clone(), 1),
        (json!("${logs}"), none.clone(), 0),
        (json!({"type": "loki", "uid": "x"}), none.clone(), 0),
        (json!({"type": "prometheus", "uid": "x"}), none.clone(), 1),
        (json!({"uid": "${DS_TRACES}"}), none.clone(), 0),
        (
            json!({"type": "datasource", "uid": "-- Mixed --"}),
            json!({"type": "loki", "uid": "x"}),
            0,
        ),
        (
            json!({"type": "datasource", "uid": "-- Mixed --"}),
            json!({"type": "prometheus", "uid": "x"}),
            1,
        ),
        (json!("-- Mixed --"), json!({"uid": "${logs}"}), 0),
        (json!("-- Mixed --"), json!({"uid": "${prom}"}), 1),
        (
            json!({"type": "prometheus"}),
            json!({"type": "__expr__", "uid": "__expr__"}),
            0,
        ),
    ] {
        assert_eq!(
            with(panel.clone(), target.clone()),
            checked,
            "{panel} {target}"
        );
    }
}

#[test]
fn variables_and_annotations() {
    for (query, expected) in [
        ("label_values(workflow_active, workflow_type)", vec![]),
        (
            "label_values(workflow_active{job=~\"$job\"}, instance)",
            vec![],
        ),
        ("label_values(workflow_executions_total, status)", vec![]),
        ("label_values(job)", vec![]),
        (
            "label_values(workflow_actve, workflow_type)",
            vec![Code::UnknownMetric],
        ),
        (
            "label_values(workflow_active, workflow)",
            vec![Code::UnknownLabel],
        ),
        ("label_values(workflw)", vec![Code::UnknownLabel]),
        ("query_result(workflow_actve)", vec![Code::UnknownMetric]),
        ("label_names()", vec![]),
    ] {
        for query in [json!(query), json!({"query": query, "refId": "x"})] {
            let dashboard = json!({"panels": [], "templating": {"list": [
                {"type": "query", "name": "v", "query": query, "datasource": {"type": "prometheus"}},
            ]}});
            let found = codes(&run(&[input("d.json", dashboard.to_string())], &catalog()));
            assert_eq!(found, expected, "{query}");
        }
    }
    let dashboard = json!({"panels": [], "annotations": {"list": [
        {"name": "a", "datasource": {"type": "grafana", "uid": "-- Grafana --"}, "expr": "x"},
        {"name": "b", "datasource": {"type": "prometheus"}, "expr": "workflow_actve"},
    ]}});
    let report = run(&[input("d.json", dashboard.to_string())], &catalog());
    assert_eq!(codes(&report), [Code::UnknownMetric]);
}

#[test]
fn panels() {
    let ratio = "sum(rate(workflow_executions_total{status=\"failed\"}[$__rate_interval])) / sum(rate(workflow_executions_total[$__rate_interval]))";
    let with = |field: Value| {
        let dashboard = json!({"panels": [{"title": "P", "type": "stat", "fieldConfig": {"defaults": field},
            "targets": [{"expr": ratio, "legendFormat": "{{status}}"}]}]});
        codes(&run(&[input("d.json", dashboard.to_string())], &catalog()))
    };
    assert_eq!(with(json!({"unit": "percentunit"})), [Code::AbsentLabel]);
    assert_eq!(
        with(json!({"unit": "percent"})),
        [Code::AbsentLabel, Code::PercentOfRatio]
    );
    let steps = |value: f64| json!({"thresholds": {"mode": "absolute", "steps": [{"value": null}, {"value": value}]}});
    assert_eq!(with(steps(0.5)), [Code::AbsentLabel]);
    assert_eq!(with(steps(5.0)), [Code::AbsentLabel, Code::NeverFires]);
    let library = json!({"panels": [{"title": "L", "libraryPanel": {"uid": "x"}}]});
    let report = run(&[input("d.json", library.to_string())], &catalog());
    assert_eq!(codes(&report), [Code::NotChecked]);
}

#[test]
fn shapes_of_rules() {
    let wrong = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: |\n      up == 0\n      or workflow_actve > 1\n";
    let operator = format!(
        "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nspec:\n{}",
        wrong
            .lines()
            .map(|line| format!("  {line}\n"))
            .collect::<String>()
    );
    for (text, line) in [
        (wrong.to_owned(), 7),
        (operator, 10),
        (format!("---\n---\n{wrong}"), 9),
        (format!("groups: []\n---\n{wrong}"), 9),
        (
            format!("global: {{}}\nscrape_configs: []\n---\n{wrong}"),
            10,
        ),
    ] {
        let report = run(&[input("r.yml", text.as_str())], &catalog());
        let last = report.findings.last().unwrap();
        assert_eq!(
            (last.code, last.line),
            (Code::UnknownMetric, Some(line)),
            "{text}"
        );
        assert_eq!(
            last.position
                .map(|position| (position.line, position.column)),
            Some((2, 4))
        );
    }
}

#[test]
fn unreadable_files() {
    for (name, text) in [
        ("a.json", "{"),
        ("a.json", "{}"),
        ("a.json", "[]"),
        ("a.json", "\"panels\""),
        ("a.yaml", "a: [b"),
        ("a.yaml", "a: 1"),
        ("a.yaml", ""),
        ("a.yaml", "groups: 1"),
        ("a.yaml", "groups: [{name: g, rules: 1}]"),
        ("a.yaml", "groups: [{name: g, rules: [{alert: A}]}]"),
        ("a.yaml", "groups: [{name: g, rules: [{expr: a}]}]"),
        (
            "a.yaml",
            "groups: [{name: g, rules: [{alert: A, record: b, expr: c}]}]",
        ),
        ("a", "nothing"),
    ] {
        let report = read(name, text);
        assert_eq!(report.unreadable.len(), 1, "{name}: {text}");
        assert_eq!(report.unreadable[0].file, name);
        assert!(report.findings.is_empty());
    }
}

#[test]
fn reports() {
    let files = [rules(&[
        record("a:b", "sum(rate(workflow_execution_total[5m]))"),
        alert("A", "up == 0", &[]),
    ])];
    let report = run(&files, &catalog());
    let text = lint::text(&report);
    for part in [
        "rules.yaml:",
        "error[unknown-metric] group g, record a:b",
        "did you mean workflow_executions_total?",
        "1 files, 2 expressions: 1 errors, 0 warnings, 0 hints",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let value: Value = serde_json::from_str(&lint::json(&report)).unwrap();
    assert_eq!(value["errors"], 1);
    let finding = &value["findings"][0];
    assert_eq!(finding["code"], "unknown-metric");
    assert_eq!(finding["nearest"], "workflow_executions_total");
    assert_eq!(
        finding["position"],
        json!({"offset": 9, "line": 1, "column": 10})
    );

    let ignored = lint::run(
        &files,
        &Options {
            names: catalog(),
            ignored: vec![Code::UnknownMetric],
        },
    );
    assert!(ignored.findings.is_empty());
    let mut trusting = catalog();
    trusting.trust("workflow_exec*");
    assert!(run(&files, &trusting).findings.is_empty());
    let labelled = [rules(&[alert(
        "A",
        "workflow_active{cluster=\"x\"} > 1",
        &[],
    )])];
    assert_eq!(codes(&run(&labelled, &catalog())), [Code::UnknownLabel]);
    let mut scraped = catalog();
    scraped.target_label("cluster");
    assert!(run(&labelled, &scraped).findings.is_empty());
}

/// Pieces of PromQL, so that some of what is made of them parses.
fn promql() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("sum"),
        Just(" by "),
        Just("(le"),
        Just("("),
        Just(")"),
        Just("rate("),
        Just("[5m]"),
        Just("workflow_duration_seconds_bucket"),
        Just("workflow_executions_total"),
        Just("up"),
        Just("{status=\"failed\"}"),
        Just("{"),
        Just("}"),
        Just(" / "),
        Just(" > "),
        Just("0.5"),
        Just("histogram_quantile(0.9,"),
        Just(","),
        Just("$job"),
        Just("${x:regex}"),
        Just("[[y]]"),
        Just("[$__rate_interval]"),
        Just("\""),
        Just("ä"),
        Just(" and "),
        Just(" or "),
        Just(" on ()"),
        Just(" group_left "),
        Just("-"),
        Just(" # "),
        Just("\n"),
        Just("1e999"),
        Just("offset 5m"),
        Just("label_replace("),
        Just("topk(3,"),
        Just("vector(0)"),
        Just("NaN"),
        Just("\\"),
    ];
    prop_oneof![
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat()),
        ".{0,80}",
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "panels",
        "rows",
        "targets",
        "expr",
        "datasource",
        "type",
        "uid",
        "templating",
        "list",
        "query",
        "spec",
        "elements",
        "dashboard",
        "groups",
        "rules",
        "alert",
        "record",
        "labels",
        "annotations",
        "fieldConfig",
        "defaults",
        "thresholds",
        "steps",
        "value",
        "kind",
        "items",
        "title",
        "id",
        "legendFormat",
        "json",
        "libraryPanel",
        "data",
        "queries",
        "name",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        promql().prop_map(Value::from),
        Just(json!("query")),
        Just(json!("label_values(up, job)")),
        Just(json!("{{ $labels.x }} {{ $value }}% {{")),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|pairs| {
                Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
            }),
        ]
    })
}

/// A report that does not speak of a parser that gave up, and that can be printed.
fn survives(report: &Report) {
    for unreadable in &report.unreadable {
        assert!(!unreadable.message.contains("gave up"), "{unreadable:?}");
    }
    let _ = (lint::text(report), lint::json(report));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_expression(expression in promql()) {
        let files = [
            rules(&[alert("A", &expression, &[("a", &expression)]), record("a:b", &expression)]),
            dashboard(&[&expression]),
        ];
        survives(&lint::run(&files, &Options { names: catalog(), ignored: Vec::new() }));
    }

    #[test]
    fn any_document(value in any_json(), wrap in 0..4) {
        let value = match wrap {
            0 => json!({"panels": [value]}),
            1 => json!({"groups": value}),
            2 => json!({"spec": value, "kind": "PrometheusRule"}),
            _ => value,
        };
        survives(&read("a.json", &value.to_string()));
        survives(&read("a.yaml", &serde_norway::to_string(&value).unwrap_or_default()));
    }

    #[test]
    fn any_text(text in ".{0,300}") {
        survives(&read("a.json", &text));
        survives(&read("a.yaml", &text));
        survives(&read("a", &text));
    }
}
