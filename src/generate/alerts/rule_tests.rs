//! Tests of the rules, in the format of `promtool test rules`, rendered from the declarations.
//!
//! One test for each alert. Its series play cases side by side, each a job of its own: a job
//! named `fires…` must raise the alert at the right time with the right labels and
//! annotations, every other job is a way to stay quiet.

mod bench;
mod burn;
mod cases;
mod values;

use super::{Links, Rule, annotations, files, identity, recording_group, rules};
use crate::catalog::{Alert, Signal};
use crate::generate::output::File;
use crate::generate::yaml::Yaml;
use crate::generate::{domains, severity};
use bench::Scenario;
use cases::scenarios;

/// One file of tests for each file of rules.
pub(in crate::generate) fn test_files(signals: &[&'static Signal], links: &Links) -> Vec<File> {
    let rule_files = files(signals, links);
    let mut tests = Vec::new();
    for (domain, signals) in domains(signals) {
        let path = format!("alerts/{domain}.yaml");
        if rule_files.iter().any(|file| file.path == path) {
            tests.push(File {
                path: format!("alerts/tests/{domain}.yaml"),
                text: document(domain, &signals, links),
            });
        }
    }
    tests
}

fn document(domain: &str, signals: &[&'static Signal], links: &Links) -> String {
    let each = || {
        let alerts = |signal: &&'static Signal| {
            let signal = *signal;
            signal.alerts.iter().map(move |alert| (signal, alert))
        };
        signals.iter().flat_map(alerts)
    };
    let step = step(each().map(|(_, alert)| alert));
    let tests = each().flat_map(|(signal, alert)| {
        scenarios(signal, alert, step)
            .into_iter()
            .map(move |scenario| test(signal, alert, &scenario, step, links))
    });
    let budgets = each().any(|(signal, alert)| !super::recordings(signal, alert).is_empty());
    // The tests of budgets check between two samples.
    let evaluation = if budgets { step.div_ceil(2) } else { step };
    let mut document = Yaml::map([
        (
            "rule_files",
            Yaml::list([format!("../{domain}.yaml").as_str()]),
        ),
        ("evaluation_interval", format!("{evaluation}s").into()),
    ]);
    if budgets {
        document = document.with(
            "group_eval_order",
            Yaml::list([recording_group(domain).as_str(), domain]),
        );
    }
    document.with("tests", Yaml::list(tests)).document()
}

/// The interval between samples: a minute, or less where a window holds fewer than four.
fn step<'a>(alerts: impl Iterator<Item = &'a Alert>) -> u32 {
    let shortest = alerts.map(|alert| alert.window_seconds).min();
    (shortest.unwrap_or(300) / 4).clamp(1, 60)
}

fn test(signal: &Signal, alert: &Alert, scenario: &Scenario, step: u32, links: &Links) -> Yaml {
    let series = scenario.series.iter().map(|(series, values)| {
        Yaml::map([
            ("series", series.as_str().into()),
            ("values", values.as_str().into()),
        ])
    });
    let checks = scenario.checks.iter().map(|check| {
        let expected: Vec<Yaml> = check
            .firing
            .iter()
            .filter_map(|firing| {
                let rules = rules(signal, alert);
                let rule = rules.iter().find(|rule| {
                    rule.bare == firing.job.is_empty()
                        && firing
                            .severity
                            .is_none_or(|severity| rule.severity == severity)
                })?;
                Some(expectation(signal, alert, rule, firing, links))
            })
            .collect();
        let yaml = Yaml::map([
            ("eval_time", format!("{}s", check.at).into()),
            ("alertname", alert.name.into()),
        ]);
        if expected.is_empty() {
            yaml
        } else {
            yaml.with("exp_alerts", Yaml::list(expected))
        }
    });
    Yaml::map([
        ("name", format!("{}{}", alert.name, scenario.suffix).into()),
        ("interval", format!("{step}s").into()),
        ("input_series", Yaml::list(series)),
        ("alert_rule_test", Yaml::list(checks)),
    ])
}

fn expectation(
    signal: &Signal,
    alert: &Alert,
    rule: &Rule,
    firing: &bench::Firing,
    links: &Links,
) -> Yaml {
    let labels: Vec<(String, String)> = identity(alert)
        .into_iter()
        .filter_map(|label| {
            let value = match label.as_str() {
                "job" => firing.job.to_owned(),
                "instance" => "a".to_owned(),
                _ => bench::label_value(signal, alert, &label),
            };
            (!firing.job.is_empty()).then_some((label, value))
        })
        .collect();
    let mut expected: Vec<(String, Yaml)> = vec![
        ("severity".to_owned(), severity(rule.severity).into()),
        ("domain".to_owned(), signal.domain.into()),
    ];
    expected.extend(
        labels
            .iter()
            .map(|(label, value)| (label.clone(), value.as_str().into())),
    );
    let annotations = annotations(signal, alert, rule, links).map(|(key, template)| {
        (
            key.to_owned(),
            values::expand(&template, &labels, firing.value).into(),
        )
    });
    Yaml::map([
        ("exp_labels", Yaml::Map(expected)),
        ("exp_annotations", Yaml::Map(annotations.into())),
    ])
}
