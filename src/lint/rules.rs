//! Prometheus rule files: groups, alone or in a `PrometheusRule`, one or several documents.

use serde_norway::Value;

use super::alerts::{self, Watched};
use super::annotation;
use super::expression::{self, Expression, SyntaxError};
use super::finding::{Fault, Finding, Position};
use super::infer::{Infer, Info, Recorded};
use super::labels::Label;
use super::lines::YamlLine;
use super::names::Names;

/// A rule.
#[derive(Debug)]
pub(super) struct Rule {
    /// Group and name, for reports.
    place: String,
    /// Name of the series it records; none: it alerts.
    record: Option<String>,
    text: String,
    parsed: Result<Expression, SyntaxError>,
    /// Static labels and annotations, by key.
    labels: Vec<(String, String)>,
    annotations: Vec<(String, String)>,
    pub(super) line: Option<YamlLine>,
}

fn get<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.as_mapping()?.get(key)
}

/// A scalar as text.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Tagged(tagged) => scalar(&tagged.value),
        Value::Null | Value::Sequence(_) | Value::Mapping(_) => None,
    }
}

fn pairs(rule: &Value, key: &str) -> Vec<(String, String)> {
    get(rule, key)
        .and_then(Value::as_mapping)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((scalar(key)?, scalar(value)?)))
        .collect()
}

/// The groups of a document, if it holds rules.
pub(super) fn groups(document: &Value) -> Option<&Value> {
    get(document, "groups").or_else(|| {
        let kind = get(document, "kind").and_then(Value::as_str)?;
        (kind == "PrometheusRule").then(|| get(get(document, "spec")?, "groups"))?
    })
}

/// Reads the rules of groups, or says which of them is none.
pub(super) fn read(groups: &Value) -> Result<Vec<Rule>, String> {
    let groups = groups
        .as_sequence()
        .ok_or("groups: a list of rule groups is expected")?;
    let mut found = Vec::new();
    for (i, group) in groups.iter().enumerate() {
        let name = get(group, "name")
            .and_then(scalar)
            .unwrap_or_else(|| format!("#{i}"));
        let rules = match get(group, "rules") {
            None | Some(Value::Null) => continue,
            Some(rules) => rules
                .as_sequence()
                .ok_or_else(|| format!("group {name}: rules: a list is expected"))?,
        };
        for (j, rule) in rules.iter().enumerate() {
            let field = |key: &str| get(rule, key).and_then(scalar);
            let (alert, record) = (field("alert"), field("record"));
            let what = match (&alert, &record) {
                (Some(alert), None) => format!("alert {alert}"),
                (None, Some(record)) => format!("record {record}"),
                _ => {
                    return Err(format!(
                        "group {name}: rule {j}: either `alert` or `record` is expected"
                    ));
                }
            };
            let text = field("expr").ok_or_else(|| {
                format!("group {name}: {what}: `expr`: an expression is expected")
            })?;
            found.push(Rule {
                place: format!("group {name}, {what}"),
                record,
                parsed: expression::parse(&text, false),
                text,
                labels: pairs(rule, "labels"),
                annotations: pairs(rule, "annotations"),
                line: None,
            });
        }
    }
    Ok(found)
}

/// The series that recording rules make. Rules may read one another's, in any order, so this is
/// repeated until nothing changes; where a chain is longer than that, less is known of its end.
pub(super) fn recorded<'a>(
    rules: impl Iterator<Item = &'a Rule> + Clone,
    names: &Names,
) -> Recorded {
    let records: Vec<(&str, &Rule)> = rules
        .filter_map(|rule| Some((rule.record.as_deref()?, rule)))
        .collect();
    let mut known: Recorded = records
        .iter()
        .map(|(name, _)| ((*name).to_owned(), Info::unknown()))
        .collect();
    for _ in 0..8 {
        let mut next = Recorded::new();
        for (name, rule) in &records {
            let mut info = match &rule.parsed {
                Ok(parsed) => Infer::expression(parsed, names, &known).0,
                Err(_) => Info::unknown(),
            };
            info.replicated = None;
            for (label, value) in &rule.labels {
                let mut fixed = Label::any(true);
                fixed.values = Some([value.clone()].into());
                info.labels.set(label, fixed);
            }
            let info = next
                .get(*name)
                .map_or(info.clone(), |other| other.either(&info));
            next.insert((*name).to_owned(), info);
        }
        let done = next == known;
        known = next;
        if done {
            break;
        }
    }
    known
}

/// Notes what an alert watches for having gone.
pub(super) fn watch(rule: &Rule, watched: &mut Watched) {
    if let (None, Ok(parsed)) = (&rule.record, &rule.parsed) {
        watched.note(&parsed.root);
    }
}

/// The findings of a rule.
pub(super) fn check(
    file: &str,
    rule: &Rule,
    names: &Names,
    recorded: &Recorded,
    watched: &Watched,
) -> Vec<Finding> {
    let finding = |fault: Fault, inside: bool| {
        let position = inside.then(|| Position::of(&rule.text, fault.at));
        Finding {
            file: file.to_owned(),
            line: rule
                .line
                .map(|line| line.of(position.map_or(1, |position| position.line))),
            place: rule.place.clone(),
            expression: rule.text.clone(),
            position,
            code: fault.code,
            message: fault.message,
            nearest: fault.nearest,
        }
    };
    let parsed = match &rule.parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            return vec![finding(error.clone().fault(0), true)];
        }
    };
    let (info, faults) = Infer::expression(parsed, names, recorded);
    let mut found: Vec<Finding> = faults
        .into_iter()
        .map(|fault| finding(fault, true))
        .collect();
    if rule.record.is_none() {
        let faults = alerts::check(&parsed.root, names, recorded, watched);
        found.extend(faults.into_iter().map(|fault| finding(fault, true)));
        for (key, text) in rule.annotations.iter().chain(&rule.labels) {
            for fault in annotation::check(text, &info) {
                let mut fault = finding(fault, false);
                fault.message = format!("{key}: {}", fault.message);
                found.push(fault);
            }
        }
    }
    found
}
