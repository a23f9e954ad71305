//! Grafana dashboards: classic JSON, wrapped by the API or by a resource, and the elements of
//! schema v2.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::annotation;
use super::code::Code;
use super::expression::{self, Expression, Node, NodeKind};
use super::finding::{Fault, Finding, Position};
use super::infer::{Infer, Info, Recorded};
use super::input::Input;
use super::lines::JsonLines;
use super::names::Names;
use super::variables::is_variable;

/// The dashboards in a document.
pub(super) fn find(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items.iter().flat_map(find).collect(),
        Value::Object(fields) => {
            if let Some(inner) = fields.get("dashboard").filter(|inner| inner.is_object()) {
                return find(inner);
            }
            let list = |key: &str| fields.get(key).is_some_and(Value::is_array);
            if list("panels")
                || list("rows")
                || fields.get("elements").is_some_and(Value::is_object)
            {
                return vec![value.clone()];
            }
            match fields.get("spec") {
                // The Grafana operator keeps the dashboard as text.
                Some(spec) => match spec.get("json").and_then(Value::as_str) {
                    Some(text) => serde_json::from_str(text)
                        .map(|inner| find(&inner))
                        .unwrap_or_default(),
                    None => find(spec),
                },
                None => Vec::new(),
            }
        }
        _ => Vec::new(),
    }
}

/// What a query goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Prometheus,
    Other,
    /// The panel's targets say.
    Mixed,
    /// Nothing says: the default, or a name.
    Unknown,
}

/// Checks a dashboard: how many expressions it has, and what was found.
pub(super) fn check(
    input: &Input,
    dashboard: &Value,
    names: &Names,
    recorded: &Recorded,
) -> (usize, Vec<Finding>) {
    let mut reader = Reader {
        file: &input.name,
        lines: JsonLines::new(&input.text),
        names,
        recorded,
        sources: sources(dashboard),
        expressions: 0,
        findings: Vec::new(),
    };
    for annotation in list(dashboard, &["annotations", "list"]) {
        let place = format!("annotation {}", name_of(annotation, "name"));
        if reader.is_prometheus(annotation.get("datasource"), None)
            && let Some(text) = annotation
                .get("expr")
                .or_else(|| annotation.get("target")?.get("expr"))
                .and_then(Value::as_str)
        {
            reader.expression(&place, text, false);
        }
    }
    for variable in list(dashboard, &["templating", "list"]) {
        reader.variable(variable);
    }
    for variable in list(dashboard, &["variables"]) {
        reader.variable(&classic_variable(variable));
    }
    for panel in list(dashboard, &["panels"]) {
        reader.panel(panel, 0);
    }
    for row in list(dashboard, &["rows"]) {
        for panel in list(row, &["panels"]) {
            reader.panel(panel, 0);
        }
    }
    for (name, element) in dashboard
        .get("elements")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        reader.panel(&classic_panel(name, element), 0);
    }
    (reader.expressions, reader.findings)
}

fn list<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    path.iter()
        .try_fold(value, |value, key| value.get(key))
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn name_of(value: &Value, key: &str) -> String {
    match value.get(key) {
        Some(Value::String(text)) => format!("{text:?}"),
        Some(other) => other.to_string(),
        None => "without a name".to_owned(),
    }
}

/// The plugins behind variables and inputs that stand for data sources.
fn sources(dashboard: &Value) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut add = |name: Option<&Value>, plugin: Option<&Value>| {
        if let (Some(name), Some(plugin)) =
            (name.and_then(Value::as_str), plugin.and_then(Value::as_str))
        {
            found.insert(name.to_owned(), plugin.to_owned());
        }
    };
    for variable in list(dashboard, &["templating", "list"]) {
        if variable.get("type").and_then(Value::as_str) == Some("datasource") {
            add(variable.get("name"), variable.get("query"));
        }
    }
    for variable in list(dashboard, &["variables"]) {
        if variable.get("kind").and_then(Value::as_str) == Some("DatasourceVariable")
            && let Some(spec) = variable.get("spec")
        {
            add(spec.get("name"), spec.get("pluginId"));
        }
    }
    for input in list(dashboard, &["__inputs"]) {
        add(input.get("name"), input.get("pluginId"));
    }
    found
}

/// A variable of schema v2 in classic form.
fn classic_variable(variable: &Value) -> Value {
    let spec = &variable["spec"];
    let query = &spec["query"];
    let kind = match variable["kind"].as_str() {
        Some("QueryVariable") => "query",
        _ => "other",
    };
    json!({
        "type": kind,
        "name": spec["name"],
        "query": query["spec"]["query"],
        "datasource": {"type": plugin(query)},
    })
}

/// The plugin of a query of schema v2.
fn plugin(query: &Value) -> Value {
    match (query["kind"].as_str(), &query["group"]) {
        (Some("DataQuery"), Value::String(group)) => json!(group),
        (Some(kind), _) => json!(kind),
        _ => Value::Null,
    }
}

/// A panel of schema v2 in classic form.
fn classic_panel(name: &str, element: &Value) -> Value {
    let spec = &element["spec"];
    if element["kind"].as_str() == Some("LibraryPanel") {
        return json!({"title": name, "libraryPanel": spec["libraryPanel"]});
    }
    let targets: Vec<Value> = list(spec, &["data", "spec", "queries"])
        .iter()
        .map(|query| {
            let query_spec = &query["spec"];
            let mut target = query_spec["query"]["spec"].clone();
            if let Value::Object(fields) = &mut target {
                fields.insert("refId".to_owned(), query_spec["refId"].clone());
                fields.insert(
                    "datasource".to_owned(),
                    json!({"type": plugin(&query_spec["query"])}),
                );
            }
            target
        })
        .collect();
    let config = &spec["vizConfig"];
    let kind = match config["kind"].as_str() {
        Some("VizConfig") => &config["group"],
        _ => &config["kind"],
    };
    json!({
        "title": spec["title"],
        "id": spec["id"],
        "type": kind,
        "targets": targets,
        "fieldConfig": config["spec"]["fieldConfig"],
        "transformations": spec["data"]["spec"]["transformations"],
    })
}

struct Reader<'a> {
    file: &'a str,
    lines: JsonLines<'a>,
    names: &'a Names,
    recorded: &'a Recorded,
    sources: BTreeMap<String, String>,
    expressions: usize,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    fn plugin(&self, name: &str) -> Source {
        match name {
            "-- Mixed --" | "mixed" => return Source::Mixed,
            "-- Grafana --" | "grafana" | "-- Dashboard --" | "__expr__" => return Source::Other,
            _ => {}
        }
        let variable = name
            .strip_prefix("${")
            .and_then(|rest| rest.strip_suffix('}'))
            .or_else(|| {
                name.strip_prefix("[[")
                    .and_then(|rest| rest.strip_suffix("]]"))
            })
            .or_else(|| name.strip_prefix('$'));
        let name = match variable {
            Some(variable) => match self
                .sources
                .get(variable.split(':').next().unwrap_or(variable))
            {
                Some(plugin) => plugin.as_str(),
                None => return Source::Unknown,
            },
            None => name,
        };
        let name = name.to_ascii_lowercase();
        if ["prometheus", "mimir", "thanos"]
            .iter()
            .any(|word| name.contains(word))
        {
            Source::Prometheus
        } else if [
            "loki",
            "tempo",
            "jaeger",
            "zipkin",
            "pyroscope",
            "sql",
            "postgres",
            "elastic",
            "influx",
            "graphite",
        ]
        .iter()
        .any(|word| name.contains(word))
        {
            Source::Other
        } else {
            Source::Unknown
        }
    }

    fn source(&self, datasource: Option<&Value>) -> Source {
        match datasource {
            Some(Value::String(name)) => self.plugin(name),
            Some(Value::Object(fields)) => {
                let text = |key: &str| fields.get(key).and_then(Value::as_str);
                match (text("type"), text("uid")) {
                    (Some("datasource"), Some(uid)) => match self.plugin(uid) {
                        Source::Mixed => Source::Mixed,
                        _ => Source::Other,
                    },
                    (Some(kind), _) => match self.plugin(kind) {
                        // A type that is not Prometheus is something else.
                        Source::Unknown if !kind.starts_with('$') => Source::Other,
                        source => source,
                    },
                    (None, Some(uid)) => self.plugin(uid),
                    (None, None) => Source::Unknown,
                }
            }
            _ => Source::Unknown,
        }
    }

    fn is_prometheus(&self, own: Option<&Value>, panel: Option<&Value>) -> bool {
        let source = match self.source(own) {
            Source::Unknown => self.source(panel),
            source => source,
        };
        matches!(source, Source::Prometheus | Source::Unknown | Source::Mixed)
    }

    fn report(&mut self, place: &str, text: &str, line: Option<usize>, fault: Fault, inside: bool) {
        self.findings.push(Finding {
            file: self.file.to_owned(),
            line,
            place: place.to_owned(),
            position: inside.then(|| Position::of(text, fault.at)),
            expression: text.to_owned(),
            code: fault.code,
            message: fault.message,
            nearest: fault.nearest,
        });
    }

    /// Checks an expression; what it yields, unless it is no PromQL. `graph`: it is drawn over
    /// time.
    fn expression(
        &mut self,
        place: &str,
        text: &str,
        graph: bool,
    ) -> Option<(Info, Option<usize>)> {
        // Grafana takes an empty query for none.
        if text.trim().is_empty() {
            return None;
        }
        self.expressions += 1;
        let line = self.lines.of(text);
        let parsed = match expression::parse(text, true) {
            Ok(parsed) => parsed,
            Err(error) => {
                let fault = error.fault(0);
                self.report(place, text, line, fault, true);
                return None;
            }
        };
        let (info, faults) = Infer::expression(&parsed, self.names, self.recorded);
        for fault in faults {
            self.report(place, text, line, fault, true);
        }
        if graph {
            for fault in graph_faults(&parsed) {
                self.report(place, text, line, fault, true);
            }
        }
        Some((info, line))
    }

    fn variable(&mut self, variable: &Value) {
        if variable.get("type").and_then(Value::as_str) != Some("query")
            || !self.is_prometheus(variable.get("datasource"), None)
        {
            return;
        }
        let query = match variable.get("query") {
            Some(Value::String(text)) => Some(text.as_str()),
            Some(Value::Object(fields)) => fields.get("query").and_then(Value::as_str),
            _ => None,
        };
        let query = query.or_else(|| variable.get("definition").and_then(Value::as_str));
        let Some(query) = query.map(str::trim) else {
            return;
        };
        let place = format!("variable {}", name_of(variable, "name"));
        let arguments = |function: &str| {
            query
                .strip_prefix(function)?
                .trim_start()
                .strip_prefix('(')?
                .strip_suffix(')')
                .map(str::trim)
        };
        if let Some(inside) = arguments("query_result") {
            self.expression(&place, inside, false);
        } else if let Some(inside) = arguments("label_values") {
            // The label stands behind the last comma outside braces, or alone.
            let (selector, label) = match inside.rsplit_once(',') {
                Some((selector, label)) if !label.contains('}') => {
                    (Some(selector.trim()), label.trim())
                }
                _ => (None, inside),
            };
            self.label_values(&place, query, selector, label);
        }
    }

    fn label_values(&mut self, place: &str, query: &str, selector: Option<&str>, label: &str) {
        let line = self.lines.of(query);
        let at = query.rfind(label).unwrap_or(0);
        let mut infer = Infer {
            names: self.names,
            recorded: self.recorded,
            faults: Vec::new(),
            opaque: false,
        };
        let mut offset = 0;
        let info = match selector {
            Some(selector) => {
                offset = query.find(selector).unwrap_or(0);
                self.expressions += 1;
                match expression::parse(selector, true) {
                    Ok(parsed) => {
                        let (info, faults) = Infer::expression(&parsed, self.names, self.recorded);
                        let wanted = |fault: &Fault| {
                            !matches!(fault.code, Code::RawCounter | Code::NativeOnly)
                        };
                        infer.faults.extend(faults.into_iter().filter(wanted));
                        info
                    }
                    Err(error) => {
                        let fault = error.fault(offset);
                        self.report(place, query, line, fault, true);
                        return;
                    }
                }
            }
            None => Info::unknown(),
        };
        for fault in &mut infer.faults {
            fault.at += offset;
        }
        if selector.is_some() {
            infer.present(at, label, &info);
        } else if !is_variable(label) && !label.contains('$') && !self.names.has_label(label) {
            let near = super::names::nearest(label, self.names.labels());
            infer.push(
                Fault::new(
                    Code::UnknownLabel,
                    at,
                    format!("nothing has a label `{label}`"),
                )
                .nearest(near),
            );
        }
        for fault in infer.faults {
            self.report(place, query, line, fault, true);
        }
    }

    fn panel(&mut self, panel: &Value, depth: usize) {
        if depth > 8 {
            return;
        }
        let id = panel
            .get("id")
            .and_then(Value::as_i64)
            .map_or_else(String::new, |id| format!(" (id {id})"));
        let title = format!("panel {}{id}", name_of(panel, "title"));
        let targets = list(panel, &["targets"]);
        if panel.get("libraryPanel").is_some_and(Value::is_object) && targets.is_empty() {
            let fault = Fault::new(
                Code::NotChecked,
                0,
                "a library panel's queries are kept elsewhere",
            );
            self.report(&title, "", None, fault, false);
        }
        let kind = panel
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let mut yields = Vec::new();
        let mut complete = true;
        for target in targets {
            let Some(text) = target.get("expr").and_then(Value::as_str) else {
                complete = false;
                continue;
            };
            if !self.is_prometheus(target.get("datasource"), panel.get("datasource")) {
                complete = false;
                continue;
            }
            let place = match target.get("refId").and_then(Value::as_str) {
                Some(id) => format!("{title}, {id}"),
                None => title.clone(),
            };
            let instant = target.get("instant").and_then(Value::as_bool) == Some(true);
            let graph = !instant && matches!(kind, "timeseries" | "graph" | "heatmap" | "barchart");
            match self.expression(&place, text, graph) {
                Some((info, line)) => {
                    if let Some(legend) = target.get("legendFormat").and_then(Value::as_str) {
                        for fault in annotation::check_legend(legend, &info) {
                            self.report(&place, text, line, fault, false);
                        }
                    }
                    yields.push(info);
                }
                None => complete = false,
            }
        }
        if complete && list(panel, &["transformations"]).is_empty() {
            self.field(&title, &panel["fieldConfig"], &yields);
        }
        for inner in list(panel, &["panels"]) {
            self.panel(inner, depth + 1);
        }
    }

    /// A panel's unit and thresholds against what its targets yield.
    fn field(&mut self, place: &str, config: &Value, yields: &[Info]) {
        let defaults = &config["defaults"];
        let all =
            |scale: f64| !yields.is_empty() && yields.iter().all(|info| info.share == Some(scale));
        let overridden = config["overrides"].to_string().contains("\"unit\"");
        let message = match defaults["unit"].as_str() {
            _ if overridden => None,
            Some("percent") if all(1.0) => Some(
                "the value is a ratio between 0 and 1, and the unit `percent` shows 10 % as 0.1%: `percentunit`",
            ),
            Some("percentunit") if all(100.0) => Some(
                "the value is a percentage already, and the unit `percentunit` multiplies it by 100: `percent`",
            ),
            _ => None,
        };
        if let Some(message) = message {
            self.report(
                place,
                "",
                None,
                Fault::new(Code::PercentOfRatio, 0, message),
                false,
            );
        }
        if defaults["thresholds"]["mode"].as_str() == Some("percentage") {
            return;
        }
        let highest = yields
            .iter()
            .map(|info| {
                if info.unknown {
                    f64::INFINITY
                } else {
                    info.high
                }
            })
            .fold(f64::NEG_INFINITY, f64::max);
        for step in list(defaults, &["thresholds", "steps"]) {
            if let Some(value) = step["value"].as_f64()
                && !yields.is_empty()
                && value > highest
            {
                let message = format!(
                    "the threshold {value} is never reached: the value is {highest} at most"
                );
                self.report(
                    place,
                    "",
                    None,
                    Fault::new(Code::NeverFires, 0, message),
                    false,
                );
            }
        }
    }
}

/// What is amiss in a graph and nowhere else.
fn graph_faults(parsed: &Expression) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut visit = |node: &Node| match &node.kind {
        NodeKind::Call {
            function,
            arguments,
        } if matches!(*function, "rate" | "irate" | "increase") => {
            if let Some(NodeKind::Selector(selector)) =
                arguments.first().map(|argument| &argument.kind)
                && selector.window.is_some_and(|window| !window.variable)
            {
                faults.push(Fault::new(
                    Code::FixedWindow,
                    node.at,
                    "with a fixed window a graph skips events when zoomed out and has gaps where scrapes are rare: $__rate_interval",
                ));
            }
        }
        NodeKind::Aggregate { operator, .. } if matches!(operator.as_str(), "topk" | "bottomk") => {
            faults.push(Fault::new(
                Code::TopkInGraph,
                node.at,
                format!("`{operator}` chooses anew at every step, so lines come and go: an instant query in a table or bar gauge"),
            ));
        }
        _ => {}
    };
    parsed.root.walk(&mut visit);
    faults
}
