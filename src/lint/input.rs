//! From files to a report.

use serde::Deserialize as _;
use serde_json::Value;

use super::alerts::Watched;
use super::dashboard;
use super::finding::Finding;
use super::lines;
use super::names::Names;
use super::rules::{self, Rule};
use super::{Code, Severity};

/// Bytes of a file at most.
const BYTES: usize = 32 * 1024 * 1024;
/// Documents are walked by recursion, to a depth that their parsers limit.
const STACK: usize = 64 * 1024 * 1024;

/// A file.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its name; `.json`, `.yaml` and `.yml` say what it is, of others both are tried.
    pub name: String,
    /// What it holds.
    pub text: String,
}

/// What files are checked against.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The names there are.
    pub names: Names,
    /// What is not reported.
    pub ignored: Vec<Code>,
}

/// A file, or a part of one, that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The file.
    pub file: String,
    /// Why.
    pub message: String,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of the files.
    pub findings: Vec<Finding>,
    /// In the order of the files.
    pub unreadable: Vec<Unreadable>,
    /// Files read.
    pub files: usize,
    /// Expressions checked.
    pub expressions: usize,
}

impl Report {
    /// Number of findings of a severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.severity() == severity)
            .count()
    }
}

/// What a file holds.
enum Content {
    Rules(Vec<Rule>),
    Dashboards(Vec<Value>),
    /// Something else that is known, and not checked.
    Other(&'static str),
}

/// Checks files. Recording rules of any of them are known to all.
#[must_use]
pub fn run(inputs: &[Input], options: &Options) -> Report {
    let mut report = Report::default();
    let mut read = Vec::new();
    for input in inputs {
        match apart(|| content(input)) {
            Ok(Ok(contents)) => {
                report.files += 1;
                read.push((input, contents));
            }
            Ok(Err(message)) => report.unreadable.push(Unreadable {
                file: input.name.clone(),
                message,
            }),
            Err(message) => report.unreadable.push(Unreadable {
                file: input.name.clone(),
                message,
            }),
        }
    }
    let every_rule = || {
        read.iter()
            .flat_map(|(_, contents)| contents)
            .filter_map(|content| match content {
                Content::Rules(rules) => Some(rules),
                _ => None,
            })
            .flatten()
    };
    let mut watched = Watched::default();
    for rule in every_rule() {
        rules::watch(rule, &mut watched);
    }
    let recorded =
        apart(|| rules::recorded(every_rule().collect::<Vec<_>>().into_iter(), &options.names))
            .unwrap_or_default();
    for (input, contents) in &read {
        let checked = apart(|| {
            let mut findings = Vec::new();
            let mut expressions = 0;
            for content in contents {
                match content {
                    Content::Rules(rules) => {
                        for rule in rules {
                            expressions += 1;
                            findings.extend(rules::check(
                                &input.name,
                                rule,
                                &options.names,
                                &recorded,
                                &watched,
                            ));
                        }
                    }
                    Content::Dashboards(dashboards) => {
                        for value in dashboards {
                            let (count, found) =
                                dashboard::check(input, value, &options.names, &recorded);
                            expressions += count;
                            findings.extend(found);
                        }
                    }
                    Content::Other(what) => findings.push(Finding {
                        file: input.name.clone(),
                        line: None,
                        place: String::new(),
                        expression: String::new(),
                        position: None,
                        code: Code::NotChecked,
                        message: format!("{what} is not checked"),
                        nearest: None,
                    }),
                }
            }
            (findings, expressions)
        });
        match checked {
            Ok((findings, expressions)) => {
                report.expressions += expressions;
                for finding in findings {
                    let known = report
                        .findings
                        .iter()
                        .rev()
                        .take_while(|f| f.file == finding.file);
                    if !options.ignored.contains(&finding.code)
                        && !known.into_iter().any(|other| *other == finding)
                    {
                        report.findings.push(finding);
                    }
                }
            }
            Err(message) => report.unreadable.push(Unreadable {
                file: input.name.clone(),
                message,
            }),
        }
    }
    report
}

/// Runs on a thread with a large stack; a panic in a parser becomes an error of its file.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("lint".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, work)
            .map_err(|error| format!("no thread to read it: {error}"))?
            .join()
            .map_err(|_| "it cannot be parsed: the parser gave up".to_owned())
    })
}

fn content(input: &Input) -> Result<Vec<Content>, String> {
    if input.text.len() > BYTES {
        return Err(format!("longer than {BYTES} bytes"));
    }
    let extension = input.name.rsplit_once('.').map(|(_, extension)| extension);
    match extension {
        Some("json") => json(&input.text),
        Some("yaml" | "yml") => yaml(&input.text),
        _ => json(&input.text).or_else(|_| yaml(&input.text)),
    }
}

fn json(text: &str) -> Result<Vec<Content>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let value: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    if value.get("groups").is_some() {
        return yaml(text);
    }
    let dashboards = dashboard::find(&value);
    if dashboards.is_empty() {
        return Err(EXPECTED.to_owned());
    }
    Ok(vec![Content::Dashboards(dashboards)])
}

const EXPECTED: &str = "neither a dashboard nor rules: a Grafana dashboard (`panels`, also below `dashboard` or `spec`) or Prometheus rules (`groups`) are expected";

fn yaml(text: &str) -> Result<Vec<Content>, String> {
    let mut contents = Vec::new();
    for document in serde_norway::Deserializer::from_str(text) {
        let value = serde_norway::Value::deserialize(document)
            .map_err(|error| format!("no YAML: {error}"))?;
        document_of(&value, &mut contents)?;
    }
    let count = contents
        .iter()
        .map(|content| match content {
            Content::Rules(rules) => rules.len(),
            _ => 0,
        })
        .sum::<usize>();
    let lines = lines::yaml(text);
    // Only where keys and rules can be told to be the same.
    if lines.len() == count {
        let mut lines = lines.into_iter();
        for content in &mut contents {
            if let Content::Rules(rules) = content {
                for rule in rules {
                    rule.line = lines.next();
                }
            }
        }
    }
    if contents.is_empty() {
        return Err(EXPECTED.to_owned());
    }
    Ok(contents)
}

fn document_of(value: &serde_norway::Value, contents: &mut Vec<Content>) -> Result<(), String> {
    use serde_norway::Value as Yaml;
    if matches!(value, Yaml::Null) {
        return Ok(());
    }
    if let Some(groups) = rules::groups(value) {
        contents.push(Content::Rules(rules::read(groups)?));
        return Ok(());
    }
    let has = |key: &str| value.get(key).is_some();
    if value
        .get("kind")
        .and_then(Yaml::as_str)
        .is_some_and(|kind| kind.ends_with("List"))
        && let Some(items) = value.get("items").and_then(Yaml::as_sequence)
    {
        return items
            .iter()
            .try_for_each(|item| document_of(item, contents));
    }
    let other = if has("route") && has("receivers") {
        Some("an Alertmanager configuration")
    } else if has("rule_files") && has("tests") {
        Some("a promtool test")
    } else if has("scrape_configs") {
        Some("a Prometheus configuration")
    } else {
        None
    };
    if let Some(other) = other {
        contents.push(Content::Other(other));
        return Ok(());
    }
    let value = serde_json::to_value(value).map_err(|_| EXPECTED.to_owned())?;
    let dashboards = dashboard::find(&value);
    if dashboards.is_empty() {
        return Err(EXPECTED.to_owned());
    }
    contents.push(Content::Dashboards(dashboards));
    Ok(())
}
