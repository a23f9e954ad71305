//! The catalog as an OpenTelemetry semantic-convention registry: a folder of YAML files in the
//! definition syntax of `weaver` (open-telemetry/weaver, `schemas/semconv-syntax.md`).
//!
//! ```text
//! manifest.yaml
//! <domain>/attributes.yaml    attributes, each defined once, in the first domain that has it
//! <domain>/metrics.yaml
//! <domain>/spans.yaml         operations
//! <domain>/events.yaml        measures that may be reported
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::yaml::Yaml;
use super::{domains, instrument};
use crate::catalog::{Instrument, LabelKind, Metric, Signal, SignalKind};

/// Identifies the registry and its version; nothing is fetched from it.
pub const SCHEMA_URL: &str = concat!("https://example.com/tachograph/", env!("CARGO_PKG_VERSION"));

const STABILITY: &str = "development";
/// Brief of the labels that tell metrics of one name apart.
const KIND: &str = "What is counted.";

type Attributes = BTreeMap<&'static str, Attribute>;

/// An attribute as it is defined once for all signals that have it.
#[derive(Default)]
struct Attribute {
    domain: &'static str,
    brief: &'static str,
    /// Values of closed labels and constants, in order of declaration.
    members: Vec<&'static str>,
    /// Whether any text is allowed somewhere.
    open: bool,
    number: bool,
}

/// The files of the registry, by path within its folder.
#[must_use]
pub fn files(signals: &[&'static Signal]) -> Vec<(PathBuf, String)> {
    let attributes = attributes(signals);
    let manifest = Yaml::map([
        (
            "description",
            "What Tachograph records of AI agents and the backends that run them.".into(),
        ),
        ("schema_url", SCHEMA_URL.into()),
    ]);
    let mut files = vec![(PathBuf::from("manifest.yaml"), manifest.document())];
    for (domain, signals) in domains(signals) {
        let kinds = [
            ("attributes", attribute_groups(domain, &attributes)),
            ("metrics", metric_groups(&attributes, &signals)),
            ("spans", span_groups(&attributes, &signals)),
            ("events", event_groups(&attributes, &signals)),
        ];
        for (kind, groups) in kinds {
            if !groups.is_empty() {
                let document = Yaml::map([("groups", Yaml::List(groups))]).document();
                files.push((PathBuf::from(domain).join(format!("{kind}.yaml")), document));
            }
        }
    }
    files
}

fn attributes(signals: &[&'static Signal]) -> Attributes {
    let mut all = Attributes::new();
    for signal in signals {
        let mut define = |key, brief, values: &[&'static str], open, number| {
            let attribute = all.entry(key).or_insert_with(|| Attribute {
                domain: signal.domain,
                brief,
                number: true,
                ..Attribute::default()
            });
            attribute.open |= open;
            attribute.number &= number;
            for value in values {
                if !value.is_empty() && !attribute.members.contains(value) {
                    attribute.members.push(value);
                }
            }
        };
        for label in signal.labels {
            match label.kind {
                LabelKind::Closed { values, .. } => {
                    define(label.key, label.brief, values, false, false);
                }
                LabelKind::Open { .. } => define(label.key, label.brief, &[], true, false),
            }
        }
        for metric in signal.metrics {
            if let Some((key, value)) = metric.constant {
                define(key, KIND, &[value], false, false);
            }
        }
        if signal.kind == SignalKind::Operation || signal.reportable {
            for value in signal.values {
                define(value.key, value.brief, &[], false, true);
            }
        }
        for field in signal.context {
            define(field.key, field.brief, &[], true, false);
        }
    }
    all
}

fn attribute_groups(domain: &str, attributes: &Attributes) -> Vec<Yaml> {
    let own: Vec<Yaml> = attributes
        .iter()
        .filter(|(_, attribute)| attribute.domain == domain)
        .map(|(key, attribute)| attribute_definition(key, attribute))
        .collect();
    if own.is_empty() {
        return Vec::new();
    }
    vec![Yaml::map([
        ("id", format!("registry.{domain}").into()),
        ("type", "attribute_group".into()),
        ("display_name", format!("Attributes of {domain}").into()),
        (
            "brief",
            format!("Attributes first declared for {domain}.").into(),
        ),
        ("attributes", Yaml::List(own)),
    ])]
}

fn attribute_definition(key: &str, attribute: &Attribute) -> Yaml {
    let definition = Yaml::map([("id", key.into())]);
    let definition = if attribute.number {
        definition.with("type", "double")
    } else if attribute.open || attribute.members.is_empty() {
        let examples = match attribute.members.as_slice() {
            [] => Yaml::list([example(key)]),
            members => Yaml::list(members.iter().copied()),
        };
        definition.with("type", "string").with("examples", examples)
    } else {
        definition.with(
            "type",
            Yaml::map([("members", members(&attribute.members))]),
        )
    };
    definition
        .with("stability", STABILITY)
        .with("brief", attribute.brief)
}

fn members(values: &[&'static str]) -> Yaml {
    let member = |value: &&'static str| {
        Yaml::map([
            ("id", member_id(value).into()),
            ("value", (*value).into()),
            ("brief", format!("The value {value}.").into()),
            ("stability", STABILITY.into()),
        ])
    };
    Yaml::List(values.iter().map(member).collect())
}

/// An identifier for an enum member: lower-case words of `[a-z0-9_]`, led by a letter.
fn member_id(value: &str) -> String {
    let id: String = value
        .trim_matches('_')
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect();
    if id.starts_with(|c: char| c.is_ascii_alphabetic()) {
        id
    } else {
        format!("v{id}")
    }
}

fn example(key: &str) -> &'static str {
    match key {
        "http.route" => "/users/{id}",
        "http.response.status_code" => "200",
        "error.type" => "timeout",
        "gen_ai.provider.name" => "anthropic",
        "service.version" => "1.4.2",
        "deployment.environment.name" => "production",
        "server.address" | "client.address" => "192.0.2.1",
        "url.path" => "/users/7",
        _ => "example",
    }
}

/// A reference to an attribute, with a brief of its own where it means something narrower here.
fn reference(all: &Attributes, key: &str, brief: &str, required: bool) -> Yaml {
    let level = if required { "required" } else { "recommended" };
    let reference = Yaml::map([("ref", key.into()), ("requirement_level", level.into())]);
    if all
        .get(key)
        .is_some_and(|attribute| attribute.brief != brief)
    {
        reference.with("brief", brief)
    } else {
        reference
    }
}

fn label_references(
    all: &Attributes,
    labels: impl Iterator<Item = &'static crate::catalog::Label>,
) -> Vec<Yaml> {
    labels
        .map(|label| {
            let required = match label.kind {
                LabelKind::Closed { values, .. } => !values.contains(&""),
                LabelKind::Open { optional, .. } => !optional,
            };
            reference(all, label.key, label.brief, required)
        })
        .collect()
}

fn metric_groups(all: &Attributes, signals: &[&'static Signal]) -> Vec<Yaml> {
    let mut groups = Vec::new();
    for signal in signals {
        for (i, metric) in signal.metrics.iter().enumerate() {
            // Metrics of one name are one metric, told apart by the constant label.
            if !signal.metrics[..i].iter().any(|m| m.name == metric.name) {
                groups.push(metric_group(all, signal, metric));
            }
        }
    }
    groups
}

fn metric_group(all: &Attributes, signal: &'static Signal, metric: &'static Metric) -> Yaml {
    let mut annotations = Yaml::map([
        ("prometheus", metric.prometheus_name().into()),
        ("signal", signal.name.into()),
    ]);
    if metric.instrument == Instrument::Histogram {
        let bounds = metric.bounds.iter().map(|b| Yaml::Number(*b)).collect();
        annotations = annotations.with("bucket_boundaries", Yaml::List(bounds));
    }
    let mut attributes = label_references(all, signal.labels_of(metric));
    attributes.extend(
        metric
            .constant
            .map(|(key, _)| reference(all, key, KIND, true)),
    );
    let group = Yaml::map([
        ("id", format!("metric.{}", metric.name).into()),
        ("type", "metric".into()),
        ("metric_name", metric.name.into()),
        ("brief", metric.brief.into()),
        ("instrument", instrument(metric.instrument).into()),
        ("unit", metric.unit.into()),
        ("stability", STABILITY.into()),
        ("annotations", Yaml::map([("tachograph", annotations)])),
    ]);
    with_attributes(group, attributes)
}

fn with_attributes(group: Yaml, attributes: Vec<Yaml>) -> Yaml {
    if attributes.is_empty() {
        group
    } else {
        group.with("attributes", Yaml::List(attributes))
    }
}

/// Labels, values and context fields: what a span or an event carries.
fn fields(all: &Attributes, signal: &'static Signal) -> Vec<Yaml> {
    let mut fields = label_references(all, signal.labels.iter());
    fields.extend(
        signal
            .values
            .iter()
            .map(|v| reference(all, v.key, v.brief, false)),
    );
    fields.extend(
        signal
            .context
            .iter()
            .map(|c| reference(all, c.key, c.brief, false)),
    );
    fields
}

fn span_groups(all: &Attributes, signals: &[&'static Signal]) -> Vec<Yaml> {
    signals
        .iter()
        .filter(|signal| signal.kind == SignalKind::Operation)
        .filter_map(|signal| {
            let attributes = fields(all, signal);
            let group = Yaml::map([
                ("id", format!("span.{}", signal.name).into()),
                ("type", "span".into()),
                ("span_kind", signal.span_kind.as_str().into()),
                ("brief", signal.brief.into()),
                ("stability", STABILITY.into()),
            ]);
            // A span group without attributes is not allowed.
            (!attributes.is_empty()).then(|| with_attributes(group, attributes))
        })
        .collect()
}

fn event_groups(all: &Attributes, signals: &[&'static Signal]) -> Vec<Yaml> {
    signals
        .iter()
        .filter(|signal| signal.kind == SignalKind::Measure && signal.reportable)
        .map(|signal| {
            let group = Yaml::map([
                ("id", format!("event.{}", signal.name).into()),
                ("type", "event".into()),
                ("name", signal.name.into()),
                ("brief", signal.brief.into()),
                ("stability", STABILITY.into()),
            ]);
            with_attributes(group, fields(all, signal))
        })
        .collect()
}
