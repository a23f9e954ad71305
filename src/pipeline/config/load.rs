//! Where configuration comes from: defaults, a TOML file, `TACHOGRAPH_*`, `OTEL_*`, flags;
//! the later wins. Every value remembers its source, and every refusal names it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use figment::error::{Actual, Kind};
use figment::providers::{Format as _, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{TelemetryConfig, otel_env, show};

/// Variables of this prefix set fields, `__` for each step down.
pub const PREFIX: &str = "TACHOGRAPH_";

/// A refused configuration: everything that is wrong with it, not only the first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// One sentence each: where it stands, which key, what is accepted.
    pub problems: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

impl From<String> for ConfigError {
    fn from(problem: String) -> Self {
        Self {
            problems: vec![problem],
        }
    }
}

/// A configuration that can be loaded.
pub trait Configuration: Serialize + DeserializeOwned {
    /// Where in it the [`TelemetryConfig`] stands.
    const TELEMETRY: &'static [&'static str];
    /// Where in the names of `TACHOGRAPH_*` variables it stands.
    const VARIABLES: &'static [&'static str];
    /// Variables of the prefix that mean something else, in lower case without the prefix.
    const OTHER_VARIABLES: &'static [&'static str] = &[];

    /// What is wrong beyond keys and types: path and sentence.
    fn check(&self) -> Vec<(Vec<&'static str>, String)>;
}

impl Configuration for TelemetryConfig {
    const TELEMETRY: &'static [&'static str] = &[];
    const VARIABLES: &'static [&'static str] = &["telemetry"];

    fn check(&self) -> Vec<(Vec<&'static str>, String)> {
        super::check::telemetry(self)
    }
}

/// Everything a configuration can be loaded from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Name and text of a TOML file.
    pub file: Option<(String, String)>,
    /// Environment variables; others than `TACHOGRAPH_*` and `OTEL_*` are ignored.
    pub variables: Vec<(String, String)>,
    /// Flags of the command line: flag, path, value.
    pub flags: Vec<(&'static str, &'static [&'static str], String)>,
}

impl Sources {
    /// Takes the variables of this process.
    ///
    /// # Errors
    /// When one that could matter is not UTF-8.
    pub fn with_process_variables(mut self) -> Result<Self, ConfigError> {
        self.variables = from_os(std::env::vars_os())?;
        Ok(self)
    }

    /// Takes a TOML file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn with_file(mut self, path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{name}: cannot be read: {error}"))?;
        self.file = Some((name, text));
        Ok(self)
    }
}

fn from_os(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, ConfigError> {
    variables
        .filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            (name.starts_with(PREFIX) || name.starts_with("OTEL_")).then_some((name, value))
        })
        .map(|(name, value)| match value.into_string() {
            Ok(value) => Ok((name, value)),
            Err(_) => Err(format!("{name}: the value is not UTF-8").into()),
        })
        .collect()
}

/// Where each value comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<Vec<String>, String>);

impl Origins {
    /// Every source but the defaults, each once, files without lines.
    #[must_use]
    pub fn sources(&self) -> BTreeSet<&str> {
        let sources = self.0.values().map(String::as_str);
        sources
            .filter(|source| *source != DEFAULT)
            .map(|source| match source.rsplit_once(':') {
                Some((file, line)) if line.bytes().all(|b| b.is_ascii_digit()) => file,
                _ => source,
            })
            .collect()
    }

    /// The values that a source sets, by path.
    pub fn set_by(&self, source: &str) -> impl Iterator<Item = &[String]> {
        self.0.iter().filter_map(move |(path, from)| {
            let rest = from.strip_prefix(source)?;
            (rest.is_empty() || rest.starts_with(':')).then_some(&path[..])
        })
    }

    /// The source of a value: `default`, `<file>:<line>`, a variable or a flag. For a table,
    /// the first source in it that is not a default.
    #[must_use]
    pub fn of(&self, path: &[impl AsRef<str>]) -> &str {
        let mut path: Vec<String> = path.iter().map(|step| step.as_ref().to_owned()).collect();
        let within = self.0.iter().filter(|(known, _)| known.starts_with(&path));
        if let Some((_, source)) = within.into_iter().find(|(_, source)| *source != DEFAULT) {
            return source;
        }
        loop {
            if let Some(source) = self.0.get(&path) {
                return source;
            }
            if path.pop().is_none() {
                return DEFAULT;
            }
        }
    }
}

const DEFAULT: &str = "default";

/// A configuration and where its values come from.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// The configuration.
    pub config: T,
    /// Where its values come from.
    pub origins: Origins,
}

impl<T: Serialize> Loaded<T> {
    /// As TOML with the source of each value, secrets masked.
    #[must_use]
    pub fn to_toml(&self) -> String {
        show::to_toml(&self.config, &self.origins)
    }
}

/// One place that sets values: a file, a variable, a flag.
struct Layer {
    name: String,
    kind: LayerKind,
    values: Dict,
}

enum LayerKind {
    File(String),
    Variable,
    /// A variable or flag that has its own name for the field.
    Named,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

impl Layer {
    /// `file:line` for a value of a file, else the name of the variable or flag.
    fn place(&self, path: &[String]) -> String {
        match &self.kind {
            LayerKind::File(text) => match line_of(text, path) {
                Some(line) => format!("{}:{line}", self.name),
                None => self.name.clone(),
            },
            _ => self.name.clone(),
        }
    }

    fn key<T: Configuration>(&self, path: &[String]) -> String {
        match self.kind {
            LayerKind::Variable => variable_name::<T>(path),
            _ => path.join("."),
        }
    }
}

/// Whether a variable, named without the prefix, is for something else than the configuration.
#[cfg(feature = "service")]
pub(crate) fn is_other_variable<T: Configuration>(name: &str) -> bool {
    T::OTHER_VARIABLES.contains(&&*name.to_ascii_lowercase())
}

fn variable_name<T: Configuration>(path: &[String]) -> String {
    let steps: Vec<String> = T::VARIABLES
        .iter()
        .map(|step| (*step).to_owned())
        .chain(path.iter().cloned())
        .map(|step| step.to_ascii_uppercase())
        .collect();
    format!("{PREFIX}{}", steps.join("__"))
}

/// The line, from 1, on which a value of a TOML text stands.
fn line_of(text: &str, path: &[String]) -> Option<usize> {
    let document = toml_edit::ImDocument::parse(text).ok()?;
    let mut table: &dyn toml_edit::TableLike = document.as_table();
    let mut start = None;
    for step in path {
        let (key, item) = table.get_key_value(step)?;
        start = key.span().or_else(|| item.span()).map(|span| span.start);
        match item.as_table_like() {
            Some(inner) => table = inner,
            None => break,
        }
    }
    Some(text.get(..start?)?.matches('\n').count() + 1)
}

/// Sets a value in nested tables.
pub(super) fn set(values: &mut Dict, path: &[String], value: Value) {
    match path {
        [] => {}
        [last] => {
            values.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let inner = values
                .entry(first.clone())
                .or_insert_with(|| Value::from(Dict::new()));
            if !matches!(inner, Value::Dict(..)) {
                *inner = Value::from(Dict::new());
            }
            if let Value::Dict(_, inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

fn remove(values: &mut Dict, path: &[String]) -> bool {
    match path {
        [] => false,
        [last] => values.remove(last).is_some(),
        [first, rest @ ..] => match values.get_mut(first) {
            Some(Value::Dict(_, inner)) => remove(inner, rest),
            // The error lies inside of something else, such as a list.
            Some(_) => values.remove(first).is_some(),
            None => false,
        },
    }
}

/// Loads a configuration on top of `base`.
///
/// # Errors
/// Every unknown key, wrong type and wrong value, with its place and what is accepted.
pub fn load<T: Configuration>(base: &T, sources: &Sources) -> Result<Loaded<T>, ConfigError> {
    let schema = Schema::of(base);
    let mut problems = Vec::new();
    let mut layers = Vec::new();
    if let Some((name, text)) = &sources.file {
        layers.push(file_layer(name, text)?);
    }
    for (name, value) in &sources.variables {
        layers.extend(variable_layer::<T>(name, value));
    }
    for (name, result) in otel_env::read(&sources.variables) {
        match result {
            Ok(fields) => {
                let mut values = Dict::new();
                for (path, value) in fields {
                    let path: Vec<String> = T::TELEMETRY
                        .iter()
                        .map(|step| (*step).to_owned())
                        .chain(path)
                        .collect();
                    set(&mut values, &path, value);
                }
                layers.push(Layer {
                    name: name.to_owned(),
                    kind: LayerKind::Named,
                    values,
                });
            }
            Err(problem) => problems.push(format!("{name}: {problem}")),
        }
    }
    for (flag, path, value) in &sources.flags {
        let path: Vec<String> = path.iter().map(|step| (*step).to_owned()).collect();
        let mut values = Dict::new();
        set(&mut values, &path, Value::from(value.clone()));
        layers.push(Layer {
            name: (*flag).to_owned(),
            kind: LayerKind::Named,
            values,
        });
    }
    for layer in &mut layers {
        check_layer::<T>(layer, &schema, &mut problems);
    }
    if !problems.is_empty() {
        return Err(ConfigError { problems });
    }

    let mut merged = Figment::from(Serialized::defaults(base));
    for layer in &layers {
        merged = merged.merge(layer);
    }
    let config: T = merged.extract().map_err(|error| error.to_string())?;
    let mut origins = BTreeMap::new();
    if let Ok(values) = merged.find_value("") {
        let by_name: BTreeMap<&str, &Layer> =
            layers.iter().map(|layer| (&*layer.name, layer)).collect();
        visit(&values, &mut Vec::new(), &mut |path, value| {
            let source = merged
                .get_metadata(value.tag())
                .and_then(|metadata| by_name.get(&*metadata.name))
                .map_or_else(|| DEFAULT.to_owned(), |layer| layer.place(path));
            origins.insert(path.to_vec(), source);
        });
    }
    let origins = Origins(origins);
    let problems: Vec<String> = config
        .check()
        .into_iter()
        .map(|(path, problem)| format!("{}: `{}`: {problem}", origins.of(&path), path.join(".")))
        .collect();
    if problems.is_empty() {
        Ok(Loaded { config, origins })
    } else {
        Err(ConfigError { problems })
    }
}

fn visit(value: &Value, path: &mut Vec<String>, leaf: &mut impl FnMut(&[String], &Value)) {
    match value {
        Value::Dict(_, values) if !values.is_empty() => {
            for (key, value) in values {
                path.push(key.clone());
                visit(value, path, leaf);
                path.pop();
            }
        }
        _ => leaf(path, value),
    }
}

fn file_layer(name: &str, text: &str) -> Result<Layer, ConfigError> {
    // Parsed here for the position in the error, without the line itself: it may be secret.
    toml_edit::ImDocument::parse(text).map_err(|error| {
        let start = error.span().map_or(text.len(), |span| span.start);
        let before = text.get(..start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        format!(
            "{name}:{line}: not TOML: {}",
            error.message().replace('\n', "; ")
        )
    })?;
    let mut data = Toml::string(text)
        .data()
        .map_err(|error| format!("{name}: {error}"))?;
    Ok(Layer {
        name: name.to_owned(),
        kind: LayerKind::File(text.to_owned()),
        values: data.remove(&Profile::Default).unwrap_or_default(),
    })
}

/// The layer of one `TACHOGRAPH_*` variable. Text that is a number, a truth value, a list or
/// a table is read as such only where the field is no text.
fn variable_layer<T: Configuration>(name: &str, text: &str) -> Option<Layer> {
    let key = name.strip_prefix(PREFIX)?.to_ascii_lowercase();
    if T::OTHER_VARIABLES.contains(&&*key) {
        return None;
    }
    let path: Vec<String> = key.split("__").map(str::to_owned).collect();
    let path = match T::VARIABLES.len() {
        0 => &path[..],
        // Variables of other parts of a service are not the library's to judge.
        steps => path
            .get(..steps)
            .filter(|first| first == &T::VARIABLES)
            .and_then(|_| path.get(steps..))?,
    };
    if path.is_empty() {
        return None;
    }
    let layer = |value: Value| {
        let mut values = Dict::new();
        set(&mut values, path, value);
        Layer {
            name: name.to_owned(),
            kind: LayerKind::Variable,
            values,
        }
    };
    let as_text = layer(Value::from(text));
    let as_value = layer(text.parse().unwrap_or_else(|_| Value::from(text)));
    let structured = text.trim_start().starts_with(['[', '{']);
    let (first, second) = if structured {
        (as_value, as_text)
    } else {
        (as_text, as_value)
    };
    match Figment::from(&first).extract::<T>() {
        Ok(_) => Some(first),
        Err(error) if matches!(error.kind, Kind::InvalidType(..)) => {
            match Figment::from(&second).extract::<T>() {
                Err(error) if matches!(error.kind, Kind::InvalidType(..)) => Some(first),
                _ => Some(second),
            }
        }
        Err(_) => Some(first),
    }
}

/// Names everything in a layer that does not fit, taking it out on the way.
fn check_layer<T: Configuration>(layer: &mut Layer, schema: &Schema, problems: &mut Vec<String>) {
    loop {
        let Err(error) = Figment::from(&*layer).extract::<T>() else {
            return;
        };
        let path = error.path.clone();
        let place = layer.place(&path);
        problems.push(match &error.kind {
            Kind::UnknownField(field, accepted) => {
                let siblings = match path.split_last() {
                    Some((_, parent)) => parent.to_vec(),
                    None => Vec::new(),
                };
                let near = schema
                    .nearest(&path, accepted)
                    .map_or_else(String::new, |near| {
                        format!(" did you mean `{}`?", layer.key::<T>(&near))
                    });
                let inside = match siblings.is_empty() {
                    true => String::new(),
                    false => format!(" in `{}`", siblings.join(".")),
                };
                format!(
                    "{place}: unknown key `{field}`{inside};{near} accepted: {}",
                    accepted.join(", ")
                )
            }
            kind => format!("{place}: `{}`: {}", path.join("."), describe(kind, &path)),
        });
        if !remove(&mut layer.values, &path) {
            return;
        }
    }
}

fn describe(kind: &Kind, path: &[String]) -> String {
    let shown = |actual: &Actual| match actual {
        _ if show::is_secret(path) => "this value".to_owned(),
        Actual::Str(text) => format!("`{}`", show::masked_url(text)),
        Actual::Bool(value) => format!("`{value}`"),
        Actual::Unsigned(value) => format!("`{value}`"),
        Actual::Signed(value) => format!("`{value}`"),
        Actual::Float(value) => format!("`{value}`"),
        Actual::Map => "a table".to_owned(),
        Actual::Seq => "a list".to_owned(),
        other => other.to_string(),
    };
    match kind {
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            format!(
                "{} is not accepted; accepted: {}",
                shown(actual),
                plain(expected)
            )
        }
        Kind::UnknownVariant(actual, accepted) => {
            format!(
                "`{actual}` is not accepted; accepted: {}",
                accepted.join(", ")
            )
        }
        Kind::ISizeOutOfRange(value) => format!("`{value}` is out of range"),
        Kind::USizeOutOfRange(value) => format!("`{value}` is out of range"),
        Kind::Message(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What serde expects, in words of the file.
fn plain(expected: &str) -> &str {
    match expected {
        "a boolean" => "true, false",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, 0 or more",
        "f32" | "f64" => "a number",
        "a string" => "text",
        "a sequence" => "a list",
        "a map" => "a table of text",
        other if other.starts_with("struct ") => "a table",
        other => other,
    }
}

/// All keys there are.
struct Schema(Vec<Vec<String>>);

impl Schema {
    fn of(base: &impl Serialize) -> Self {
        let mut paths = Vec::new();
        if let Ok(values) = Figment::from(Serialized::defaults(base)).find_value("") {
            visit(&values, &mut Vec::new(), &mut |path, _| {
                paths.push(path.to_vec())
            });
        }
        Self(paths)
    }

    /// The key that was probably meant: one beside it that is written alike, one of the same
    /// name elsewhere, or one whose whole path is written alike.
    fn nearest(&self, path: &[String], siblings: &[&str]) -> Option<Vec<String>> {
        let (last, parent) = path.split_last()?;
        let beside = siblings
            .iter()
            .map(|name| (strsim::jaro_winkler(name, last), name))
            .filter(|(likeness, _)| *likeness >= 0.85)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((_, name)) = beside {
            return Some([parent, &[(*name).to_owned()]].concat());
        }
        if let Some(elsewhere) = self.0.iter().find(|known| known.last() == Some(last)) {
            return Some(elsewhere.clone());
        }
        let whole = path.join(".");
        self.0
            .iter()
            .map(|known| {
                (
                    strsim::normalized_levenshtein(&known.join("."), &whole),
                    known,
                )
            })
            .filter(|(likeness, _)| *likeness >= 0.6)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, known)| known.clone())
    }
}

impl TelemetryConfig {
    /// What the environment of this process says: `OTEL_*` and `TACHOGRAPH_TELEMETRY__*`, on
    /// top of the defaults. Unless named, the service is `unknown_service:<executable>`
    /// (resource semantic conventions, "Service").
    ///
    /// # Errors
    /// Everything that is not accepted, with the variable and what is.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_variables(from_os(std::env::vars_os())?)
    }

    /// The same from variables given as name and value.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn from_variables(
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let executable = std::env::current_exe().ok();
        let executable = executable.as_deref().and_then(Path::file_name);
        let mut base = Self::default();
        base.resource.service_name = match executable {
            Some(name) => format!("unknown_service:{}", name.to_string_lossy()),
            None => "unknown_service".to_owned(),
        };
        let sources = Sources {
            variables: variables.into_iter().collect(),
            ..Sources::default()
        };
        load(&base, &sources).map(|loaded| loaded.config)
    }
}
