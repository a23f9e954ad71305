//! Alerting rules with what belongs to them: the rules' own tests, the settings of an
//! Alertmanager, and the rules once more as objects of Kubernetes.

pub(super) mod alertmanager;
mod expression;
pub(super) mod kubernetes;
pub(super) mod rule_tests;
pub(super) mod text;

pub(super) use expression::{Rule, duration, number, recordings, rules};

use super::dashboards::uid_of_domain;
use super::output::File;
use super::yaml::Yaml;
use super::{domains, severity};
use crate::catalog::{Alert, Signal, prometheus_label};

/// Where the links on alerts lead.
#[derive(Clone, Debug)]
pub struct Links {
    /// Folder of the runbooks, as a URL or relative to where the rules are read.
    pub runbooks: String,
    /// Address of Grafana; empty: links are relative to its root.
    pub grafana: String,
}

impl Default for Links {
    /// Relative links.
    fn default() -> Self {
        Self {
            runbooks: "docs/runbooks".to_owned(),
            grafana: String::new(),
        }
    }
}

impl Links {
    /// The runbook of an alert.
    #[must_use]
    pub fn runbook(&self, alert: &str) -> String {
        format!("{}/{alert}.md", self.runbooks.trim_end_matches('/'))
    }

    /// The dashboard of a domain.
    #[must_use]
    pub fn dashboard(&self, domain: &str) -> String {
        format!(
            "{}/d/{}",
            self.grafana.trim_end_matches('/'),
            uid_of_domain(domain)
        )
    }
}

/// One file of rules for each domain that declares an alert.
pub(super) fn files(signals: &[&'static Signal], links: &Links) -> Vec<File> {
    let mut files = Vec::new();
    for (domain, signals) in domains(signals) {
        let groups = groups(domain, &signals, links);
        if !groups.is_empty() {
            files.push(File {
                path: format!("alerts/{domain}.yaml"),
                text: Yaml::map([("groups", Yaml::list(groups))]).document(),
            });
        }
    }
    files
}

/// The name of the group of recording rules, which stands before that of the alerts.
pub(super) fn recording_group(domain: &str) -> String {
    format!("{domain}.recordings")
}

fn groups(domain: &str, signals: &[&'static Signal], links: &Links) -> Vec<Yaml> {
    let group = |name: String, rules: Vec<Yaml>| {
        (!rules.is_empty())
            .then(|| Yaml::map([("name", name.into()), ("rules", Yaml::list(rules))]))
    };
    let each = || {
        let alerts = |signal: &&'static Signal| {
            let signal = *signal;
            signal.alerts.iter().map(move |alert| (signal, alert))
        };
        signals.iter().flat_map(alerts)
    };
    let recorded = each()
        .flat_map(|(signal, alert)| recordings(signal, alert))
        .map(|(name, expression)| {
            Yaml::map([("record", name.into()), ("expr", Yaml::Block(expression))])
        });
    let alerting = each().flat_map(|(signal, alert)| {
        rules(signal, alert)
            .into_iter()
            .map(|rule| alerting_rule(signal, alert, &rule, links))
    });
    [
        group(recording_group(domain), recorded.collect()),
        group(domain.to_owned(), alerting.collect()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn alerting_rule(signal: &Signal, alert: &Alert, rule: &Rule, links: &Links) -> Yaml {
    let mut yaml = Yaml::map([
        ("alert", alert.name.into()),
        ("expr", Yaml::Block(rule.expression.clone())),
    ]);
    if rule.for_seconds > 0 {
        yaml = yaml.with("for", duration(rule.for_seconds));
    }
    let annotations = annotations(signal, alert, rule, links)
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect();
    yaml.with(
        "labels",
        Yaml::map([
            ("severity", severity(rule.severity).into()),
            ("domain", signal.domain.into()),
        ]),
    )
    .with("annotations", Yaml::Map(annotations))
}

/// The annotations of a rule, as templates.
fn annotations(
    signal: &Signal,
    alert: &Alert,
    rule: &Rule,
    links: &Links,
) -> [(&'static str, String); 4] {
    let mut dashboard = links.dashboard(signal.domain);
    if !rule.bare {
        dashboard.push_str("?var-job={{ $labels.job | urlquery }}");
    }
    [
        ("summary", text::summary(alert, rule)),
        ("description", text::description(signal, alert, rule)),
        ("runbook_url", links.runbook(alert.name)),
        ("dashboard", dashboard),
    ]
}

/// The labels that tell an alert's instances apart, in Prometheus' spelling: `job` first, so
/// that two services do not mix.
pub(super) fn identity(alert: &Alert) -> Vec<String> {
    let mut labels = vec!["job".to_owned()];
    if let crate::catalog::Condition::InstanceDown { .. } = alert.condition {
        labels.push("instance".to_owned());
    }
    labels.extend(alert.by.iter().map(|key| prometheus_label(key)));
    labels
}
