//! The reference of the configuration: every key with its type, default, variables and meaning,
//! and a JSON Schema of the file.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::File;
use crate::pipeline::config::load::{PREFIX, is_other_variable};
use crate::pipeline::config::otel_env;
use crate::service::config::ServiceConfig;

/// The schema of `tachograph.toml` (JSON Schema 2020-12).
#[must_use]
pub fn schema() -> Schema {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<ServiceConfig>();
    schema.insert("title".to_owned(), "tachograph.toml".into());
    schema
}

/// The page and the schema.
pub(super) fn files() -> Vec<File> {
    let schema = serde_json::to_string_pretty(&schema()).unwrap_or_default();
    vec![
        File {
            path: "docs/reference/configuration.md".to_owned(),
            text: page(),
        },
        File {
            path: "docs/reference/configuration.schema.json".to_owned(),
            text: format!("{schema}\n"),
        },
    ]
}

/// One key.
struct Key {
    path: Vec<String>,
    kind: String,
    default: String,
    meaning: String,
}

/// The page, as Markdown.
#[must_use]
pub fn page() -> String {
    let schema = schema();
    let mut keys = Vec::new();
    let mut tables = Vec::new();
    if let Some(root) = schema.as_object() {
        walk(root, &mut Vec::new(), &mut keys, &mut tables);
    }
    let mut variables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut effectless = Vec::new();
    for (name, field) in otel_env::names() {
        match field.as_str() {
            "" => effectless.push(name),
            field => variables
                .entry(format!("telemetry.{field}"))
                .or_default()
                .push(name),
        }
    }
    let mut out = String::from(
        "# Configuration\n\n\
         Rendered from the code by `tachograph generate`; change that. Values come from defaults, \
         the file named by `--config` or `TACHOGRAPH_CONFIG` (TOML), `TACHOGRAPH_*`, the `OTEL_*` \
         variables of the OpenTelemetry specification, and flags; the later wins. \
         `tachograph serve --print-config` shows what is in effect and where it comes from, \
         `tachograph doctor` whether it works. A key that is not known is refused.\n\n\
         Durations are written `500ms`, `10s`, `1m`, `2h`. In a variable a list is written \
         `a,b`, a table `{a=\"b\"}`. An application that embeds the library has the keys below \
         `telemetry`, and reads variables alone.\n\n\
         [configuration.schema.json](configuration.schema.json) is the same for editors.\n",
    );
    for (path, meaning) in &tables {
        let rows: Vec<&Key> = keys
            .iter()
            .filter(|key| key.path[..key.path.len() - 1] == path[..])
            .collect();
        if rows.is_empty() {
            continue;
        }
        // Writing to a `String` cannot fail.
        let _ = match path.is_empty() {
            true => write!(out, "\n## Top level\n\n"),
            false => write!(out, "\n## `[{}]`\n\n{}\n\n", path.join("."), meaning),
        };
        out.push_str(
            "| key | type | default | variables | meaning |\n| --- | --- | --- | --- | --- |\n",
        );
        for key in rows {
            let name = key.path.last().map_or("", String::as_str);
            let own = format!("{PREFIX}{}", key.path.join("__").to_ascii_uppercase());
            let standard = variables.get(&key.path.join("."));
            let names: Vec<String> = std::iter::once(&own)
                .chain(standard.into_iter().flatten())
                .map(|name| format!("`{name}`"))
                .collect();
            let _ = writeln!(
                out,
                "| `{name}` | {} | {} | {} | {} |",
                key.kind,
                key.default,
                names.join(", "),
                key.meaning.replace('|', "\\|"),
            );
        }
    }
    let _ = write!(
        out,
        "\n## Other variables\n\n\
         `OTEL_RESOURCE_ATTRIBUTES` sets the keys below `telemetry.resource`: `service.name`, \
         `service.namespace`, `service.version`, `service.instance.id` and \
         `deployment.environment.name` their own, others `attributes`. Checked, but without \
         effect: {}. For commands: {}.\n",
        listed(&effectless),
        listed(
            &["CONFIG", "URL", "TOKEN"]
                .into_iter()
                .filter(|name| is_other_variable::<ServiceConfig>(name))
                .map(|name| format!("{PREFIX}{name}"))
                .collect::<Vec<_>>()
        ),
    );
    out
}

fn listed(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn walk(
    table: &Map<String, Value>,
    path: &mut Vec<String>,
    keys: &mut Vec<Key>,
    tables: &mut Vec<(Vec<String>, String)>,
) {
    tables.push((path.clone(), meaning(table)));
    let fields = table.get("properties").and_then(Value::as_object);
    for (name, field) in fields.into_iter().flatten() {
        let Some(field) = field.as_object() else {
            continue;
        };
        path.push(name.clone());
        if field.contains_key("properties") {
            walk(field, path, keys, tables);
        } else {
            keys.push(Key {
                path: path.clone(),
                kind: kind(field),
                default: default(field.get("default")),
                meaning: meaning(field),
            });
        }
        path.pop();
    }
}

/// The doc comment, without what belongs to the code.
fn meaning(field: &Map<String, Value>) -> String {
    let text = field
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let text = text.replace("\n\n", " ").replace('\n', " ");
    // A link of rustdoc leads nowhere on this page: its text stays.
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("[`") {
        let Some((name, end)) = after.split_once("`]") else {
            break;
        };
        let end = match end.strip_prefix('(').and_then(|link| link.split_once(')')) {
            Some((_, end)) => end,
            None => end,
        };
        let _ = write!(out, "{before}`{name}`");
        rest = end;
    }
    out.push_str(rest);
    out
}

/// The type in words of the file.
fn kind(field: &Map<String, Value>) -> String {
    if let Some(choices) = choices(field) {
        return choices;
    }
    let types: Vec<&str> = match field.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(some)) => some.iter().filter_map(Value::as_str).collect(),
        _ => {
            // An optional value of a type of its own.
            let any = field.get("anyOf").and_then(Value::as_array);
            let own = any.into_iter().flatten().filter_map(Value::as_object);
            let own = own.filter(|one| one.get("type") != Some(&"null".into()));
            return own.map(kind).collect::<Vec<_>>().join(" or ");
        }
    };
    let types: Vec<String> = types
        .into_iter()
        .filter(|one| *one != "null")
        .map(
            |one| match (one, field.get("format").and_then(Value::as_str)) {
                ("string", Some("duration")) => "duration".to_owned(),
                ("string", Some("address")) => "address".to_owned(),
                ("string", _) => "text".to_owned(),
                ("boolean", _) => "`true`, `false`".to_owned(),
                ("integer", _) => "whole number".to_owned(),
                ("number", _) => "number".to_owned(),
                ("array", _) => match field.get("items").and_then(Value::as_object).map(kind) {
                    Some(items) => format!("list of {items}"),
                    None => "list".to_owned(),
                },
                ("object", _) if field.contains_key("properties") => "tables".to_owned(),
                ("object", _) => "table of text".to_owned(),
                (other, _) => other.to_owned(),
            },
        )
        .collect();
    types.join(" or ")
}

/// The values of a closed set.
fn choices(field: &Map<String, Value>) -> Option<String> {
    let values: Vec<&Value> = match (field.get("enum"), field.get("oneOf")) {
        (Some(Value::Array(values)), _) => values.iter().collect(),
        (None, Some(Value::Array(variants))) => variants
            .iter()
            .flat_map(|one| match &one["enum"] {
                Value::Array(values) => values.iter().collect(),
                _ => vec![&one["const"]],
            })
            .collect(),
        _ => return None,
    };
    let values: Vec<String> = values
        .into_iter()
        .filter_map(|value| Some(format!("`{}`", value.as_str()?)))
        .collect();
    Some(values.join(", "))
}

fn default(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "–".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "empty".to_owned(),
        Some(Value::String(text)) => format!("`{text}`"),
        Some(Value::Array(items)) if items.is_empty() => "none".to_owned(),
        Some(Value::Array(items)) => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            format!("`{}`", items.join(","))
        }
        Some(Value::Object(table)) if table.is_empty() => "none".to_owned(),
        Some(other) => format!("`{other}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key that `--print-config` knows stands on the page, with its variables.
    #[test]
    fn every_key_has_a_row_with_a_type_and_a_meaning() {
        let page = page();
        let schema = schema();
        let (mut keys, mut tables) = (Vec::new(), Vec::new());
        walk(
            schema.as_object().unwrap(),
            &mut Vec::new(),
            &mut keys,
            &mut tables,
        );
        let known = serde_json::to_value(ServiceConfig::default()).unwrap();
        let mut leaves = 0;
        let mut open = vec![(String::new(), &known)];
        while let Some((path, value)) = open.pop() {
            match value {
                Value::Object(table) if !table.is_empty() => {
                    open.extend(
                        table
                            .iter()
                            .map(|(key, value)| (format!("{path}__{key}"), value)),
                    );
                }
                _ => {
                    leaves += 1;
                    let variable = format!(
                        "`TACHOGRAPH{}`",
                        path.to_ascii_uppercase().replacen("__", "_", 1)
                    );
                    assert!(page.contains(&variable), "{variable}");
                }
            }
        }
        assert_eq!(leaves, keys.len());
        for key in keys {
            let name = key.path.join(".");
            assert!(!key.kind.is_empty(), "{name} has no type");
            assert!(!key.meaning.is_empty(), "{name} has no meaning");
        }
        for (name, field) in otel_env::names() {
            assert!(page.contains(&format!("`{name}`")), "{name} sets {field}");
        }
    }

    #[test]
    fn the_example_in_the_schema_is_what_is_loaded() {
        let schema = schema();
        assert_eq!(
            schema.get("additionalProperties"),
            Some(&Value::Bool(false))
        );
        let telemetry = &schema.as_value()["properties"]["telemetry"]["properties"];
        let sampler = telemetry["traces"]["properties"]["sampler"]
            .as_object()
            .unwrap();
        assert!(
            kind(sampler).contains("`parentbased_traceidratio`"),
            "{}",
            kind(sampler)
        );
    }
}
