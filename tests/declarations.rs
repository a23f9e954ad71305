//! The declarations: what the catalog holds, and its registry.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use tachograph::catalog::{Instrument, Metric, Signal, SignalKind};
use tachograph::generate;
use tachograph::signals::CATALOG;

fn signals() -> Vec<&'static Signal> {
    generate::signals(CATALOG)
}

/// Every metric; those that share a name under different constant labels once.
fn metrics() -> Vec<(&'static Signal, &'static Metric)> {
    let mut seen = BTreeSet::new();
    signals()
        .into_iter()
        .flat_map(|signal| signal.metrics.iter().map(move |metric| (signal, metric)))
        .filter(|(_, metric)| seen.insert(metric.name))
        .collect()
}

#[test]
fn prometheus_names_are_unique_with_every_suffix() {
    let mut names: BTreeMap<String, &str> = BTreeMap::new();
    for (_, metric) in metrics() {
        let name = metric.prometheus_name();
        let mut all = vec![name.clone()];
        if metric.instrument == Instrument::Histogram {
            all.extend(["_bucket", "_sum", "_count"].map(|suffix| format!("{name}{suffix}")));
        }
        let base = metric.prometheus_base();
        if base != name {
            all.push(base);
        }
        for name in all {
            let before = names.insert(name.clone(), metric.name);
            assert_eq!(before, None, "{name} is also a name of {}", metric.name);
        }
    }
}

/// Gauges whose names are the semantic conventions'.
const OF_THE_CONVENTIONS: [&str; 5] = [
    "db.client.connection.count",
    "process.thread.count",
    "process.unix.file_descriptor.count",
    "system.cpu.logical.count",
    "system.process.count",
];

#[test]
fn gauges_do_not_end_like_counters_and_histograms() {
    for (_, metric) in metrics() {
        if matches!(metric.instrument, Instrument::Gauge | Instrument::InFlight) {
            let name = metric.prometheus_name();
            if OF_THE_CONVENTIONS.contains(&metric.name) {
                continue;
            }
            for suffix in ["_total", "_count", "_sum", "_bucket", "_created"] {
                assert!(!name.ends_with(suffix), "{name}");
            }
        }
    }
}

/// Families of other systems that are published beside ours under their own labels: a family
/// of one name must not have two meanings.
#[test]
fn names_of_other_systems_are_not_taken() {
    const TAKEN: &[&str] = &[
        "active_sessions_count",
        "agent_duration_seconds",
        "agent_error_total",
        "agent_execution_duration_seconds",
        "agent_invocation_total",
        "agent_invocations_total",
        "agent_last_execution_timestamp",
        "agent_request_latency_seconds",
        "agent_requests_total",
        "agent_success_rate",
        "agent_tokens_used_total",
        "agent_tool_duration_seconds",
        "agent_tool_usage_total",
        "app_info",
        "avg_agents_per_session",
        "http_errors_total",
        "http_request_duration_seconds",
        "http_requests_total",
        "parallel_executions_current",
        "phase_distribution_total",
        "session_duration_seconds",
        "sessions_active",
        "tool_execution_duration_seconds",
        "tool_executions_active",
        "tool_executions_total",
        "total_sessions",
        "users_total",
    ];
    for (_, metric) in metrics() {
        let name = metric.prometheus_name();
        assert!(!TAKEN.contains(&name.as_str()), "{name}");
    }
}

/// A histogram of another system is had by summing buckets, which takes each of its bounds.
#[test]
fn bounds_of_other_systems_are_among_ours() {
    const NEEDED: &[(&str, &[f64])] = &[
        (
            "agent.run.duration",
            &[0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0],
        ),
        (
            "agent.run.duration",
            &[
                1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0,
            ],
        ),
        (
            "tool.call.duration",
            &[0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0],
        ),
        (
            "tool.call.duration",
            &[
                1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
            ],
        ),
        (
            "tool.call.duration",
            &[
                0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
            ],
        ),
        (
            "workflow.duration",
            &[1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0],
        ),
        (
            "task.duration",
            &[1.0, 5.0, 15.0, 30.0, 60.0, 180.0, 300.0, 600.0],
        ),
        (
            "knowledge.search.duration",
            &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0],
        ),
        (
            "knowledge.search.results",
            &[0.0, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0],
        ),
        (
            "knowledge.embedding.duration",
            &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
        ),
        (
            "db.client.operation.duration",
            &[
                0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
            ],
        ),
        (
            "frontend.web_vital.duration",
            &[0.2, 0.5, 0.8, 1.8, 2.5, 3.0, 4.0],
        ),
        ("frontend.layout_shift", &[0.1, 0.25]),
        (
            "session.run.duration",
            &[60.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0],
        ),
        (
            "action.log.duration",
            &[
                0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
            ],
        ),
        (
            "gen_ai.client.operation.duration",
            &[0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0],
        ),
        (
            "gen_ai.client.operation.duration",
            &[
                0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96,
                81.92,
            ],
        ),
        (
            "http.server.request.duration",
            &[
                0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
            ],
        ),
        (
            "http.server.request.duration",
            &[
                0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
            ],
        ),
        (
            "github.operation.duration",
            &[0.1, 0.5, 1.0, 2.0, 5.0, 10.0],
        ),
        (
            "http.server.request.body.size",
            &[100.0, 500.0, 1e3, 5e3, 10e3, 50e3, 100e3, 500e3, 1e6],
        ),
        (
            "http.server.response.body.size",
            &[100.0, 500.0, 1e3, 5e3, 10e3, 50e3, 100e3, 500e3, 1e6],
        ),
    ];
    let metrics = metrics();
    for (name, needed) in NEEDED {
        let (_, metric) = metrics.iter().find(|(_, m)| m.name == *name).unwrap();
        for bound in *needed {
            assert!(metric.bounds.contains(bound), "{bound} of {name}");
        }
    }
}

#[test]
fn every_alert_can_be_acted_upon() {
    let mut names = BTreeSet::new();
    for signal in signals() {
        for alert in signal.alerts {
            let name = alert.name;
            assert!(names.insert(name), "{name} is declared twice");
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "{name}");
            assert!(name.starts_with(|c: char| c.is_ascii_uppercase()), "{name}");
            assert!(alert.summary.len() > 10, "{name} has no summary");
            assert!(alert.runbook.meaning.len() > 20, "{name}: meaning");
            for text in alert.runbook.causes.iter().chain(alert.runbook.actions) {
                assert!(text.len() > 5, "{name}: {text:?}");
            }
            assert!(alert.runbook.actions.len() >= 2, "{name}: what to do");
            assert!(alert.for_seconds > 0, "{name} fires on a single sample");
        }
    }
}

#[test]
fn what_is_watched_is_said_to_be_or_a_reason_given() {
    for (signal, metric) in metrics() {
        let watched = signal.alerts.iter().any(|alert| {
            let (first, second) = alert.condition.metrics();
            first == metric.name || second == Some(metric.name)
        });
        match metric.no_alert {
            Some(reason) => {
                assert!(!watched, "{} is watched after all", metric.name);
                assert!(reason.len() > 15, "{}: {reason}", metric.name);
            }
            None => assert!(watched, "{}", metric.name),
        }
    }
}

#[test]
fn every_domain_has_a_headline() {
    let mut headlines: BTreeMap<&str, usize> = BTreeMap::new();
    for signal in signals() {
        let own = signal.panels.iter().filter(|panel| panel.headline).count();
        *headlines.entry(signal.domain).or_default() += own;
    }
    for (domain, headlines) in headlines {
        assert!(headlines > 0, "{domain} has no headline panel");
        assert!(
            headlines <= 8,
            "{domain} has {headlines}: a row holds eight"
        );
    }
}

#[test]
fn briefs_are_sentences() {
    for signal in signals() {
        let metrics = signal.metrics.iter().map(|m| m.brief);
        let labels = signal.labels.iter().map(|l| l.brief);
        for brief in metrics.chain(labels).chain([signal.brief]) {
            assert!(brief.ends_with('.'), "{}: {brief:?}", signal.name);
            assert!(!brief.contains(['\n', '\r']), "{}: {brief:?}", signal.name);
        }
    }
}

#[test]
fn tachographs_own_signals_are_not_reportable() {
    for signal in signals() {
        let own = signal.name.starts_with("tachograph.");
        assert_eq!(own, signal.domain == "pipeline", "{}", signal.name);
        assert!(!own || !signal.reportable, "{}", signal.name);
    }
}

// ------------------------------------------------------------------ the registry

struct Registry {
    attributes: BTreeMap<String, Value>,
    groups: BTreeMap<String, Value>,
}

/// Reads the registry as `weaver registry check` does, and holds it against the rules of the
/// definition syntax that concern what we write.
fn registry() -> Registry {
    let mut registry = Registry {
        attributes: BTreeMap::new(),
        groups: BTreeMap::new(),
    };
    for (path, text) in generate::registry::files(&signals()) {
        let file: Value = serde_norway::from_str(&text).unwrap();
        if path == Path::new("manifest.yaml") {
            assert_eq!(file["schema_url"], generate::registry::SCHEMA_URL);
            continue;
        }
        assert_eq!(path.components().count(), 2, "{}", path.display());
        for group in file["groups"].as_array().unwrap() {
            let id = group["id"].as_str().unwrap().to_owned();
            for attribute in group["attributes"].as_array().into_iter().flatten() {
                if let Some(key) = attribute["id"].as_str() {
                    let before = registry
                        .attributes
                        .insert(key.to_owned(), attribute.clone());
                    assert!(before.is_none(), "attribute {key} is defined twice");
                }
            }
            let before = registry.groups.insert(id.clone(), group.clone());
            assert!(before.is_none(), "group {id} is defined twice");
        }
    }
    registry
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key]
        .as_str()
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| panic!("{key} of {value:#}"))
}

#[test]
fn the_registry_defines_attributes_well() {
    for (key, attribute) in registry().attributes {
        assert!(tachograph::catalog::check::is_name(&key), "{key}");
        text(&attribute, "brief");
        assert_eq!(text(&attribute, "stability"), "development");
        match &attribute["type"] {
            Value::String(kind) if kind == "string" => {
                let examples = attribute["examples"].as_array().unwrap();
                assert!(!examples.is_empty(), "{key} needs examples");
                assert!(examples.iter().all(Value::is_string), "{key}");
            }
            Value::String(kind) => assert_eq!(kind, "double", "{key}"),
            members => {
                let members = members["members"].as_array().unwrap();
                let mut ids = BTreeSet::new();
                let mut values = BTreeSet::new();
                for member in members {
                    let id = text(member, "id");
                    assert!(tachograph::catalog::check::is_name(id), "{key}: {id}");
                    assert!(ids.insert(id), "{key}: member {id} twice");
                    assert!(values.insert(text(member, "value")), "{key}");
                    assert_eq!(text(member, "stability"), "development");
                }
                assert!(!members.is_empty(), "{key}");
            }
        }
    }
}

#[test]
fn the_registrys_groups_are_whole_and_their_references_resolve() {
    const UNITS: &[&str] = &["{token}/s", "s", "By", "1", "USD", "Cel", "W", "J", "Hz"];
    let Registry { attributes, groups } = registry();
    for (id, group) in &groups {
        text(group, "brief");
        let kind = text(group, "type");
        let empty = Vec::new();
        let own = group["attributes"].as_array().unwrap_or(&empty);
        if kind == "attribute_group" {
            assert!(own.iter().all(|a| a["ref"].is_null()), "{id}");
            continue;
        }
        assert_eq!(text(group, "stability"), "development");
        let mut seen = BTreeSet::new();
        for attribute in own {
            let key = text(attribute, "ref");
            assert!(attributes.contains_key(key), "{id}: {key} is not defined");
            assert!(seen.insert(key), "{id}: {key} is referenced twice");
            let level = text(attribute, "requirement_level");
            assert!(matches!(level, "required" | "recommended"), "{id}: {level}");
        }
        match kind {
            "metric" => {
                assert_eq!(*id, format!("metric.{}", text(group, "metric_name")));
                let instrument = text(group, "instrument");
                let known = ["counter", "updowncounter", "gauge", "histogram"];
                assert!(known.contains(&instrument), "{id}: {instrument}");
                let unit = text(group, "unit");
                let annotation = unit.starts_with('{') && unit.ends_with('}');
                assert!(annotation || UNITS.contains(&unit), "{id}: {unit}");
            }
            "span" => {
                let kinds = ["client", "server", "producer", "consumer", "internal"];
                assert!(kinds.contains(&text(group, "span_kind")), "{id}");
                assert!(!own.is_empty(), "{id}: a span group needs attributes");
            }
            "event" => assert_eq!(*id, format!("event.{}", text(group, "name"))),
            other => panic!("{id}: {other}"),
        }
    }
}

#[test]
fn the_registry_holds_the_whole_catalog() {
    let Registry { attributes, groups } = registry();
    for (signal, metric) in metrics() {
        let group = &groups[&format!("metric.{}", metric.name)];
        let references: BTreeSet<&str> = group["attributes"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|a| text(a, "ref"))
            .collect();
        let constant = metric.constant.map(|(key, _)| key);
        let labels = signal.labels_of(metric).map(|label| label.key);
        assert_eq!(
            references,
            labels.chain(constant).collect(),
            "{}",
            metric.name
        );
    }
    for signal in signals() {
        let group = match signal.kind {
            SignalKind::Operation => format!("span.{}", signal.name),
            SignalKind::Measure if signal.reportable => format!("event.{}", signal.name),
            SignalKind::Measure => continue,
        };
        assert!(groups.contains_key(&group), "{group}");
    }
    let kinds = attributes["gen_ai.token.type"]["type"]["members"].as_array();
    let kinds: Vec<&str> = kinds.unwrap().iter().map(|m| text(m, "value")).collect();
    assert_eq!(kinds, ["input", "output"]);
}
