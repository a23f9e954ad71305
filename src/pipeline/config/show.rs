//! The effective configuration as TOML, each value with its source, secrets masked.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Map, Value};

use super::load::Origins;

/// What stands in place of a secret.
pub const MASK: &str = "***";

/// Tables and lists whose values are never shown.
const SECRET: [&str; 6] = [
    "headers", "tokens", "users", "password", "secret", "secrets",
];

/// Query parameters of a URL that are never shown.
const SECRET_PARAMETERS: [&str; 6] = ["password", "token", "key", "secret", "auth", "sig"];

/// Whether a value under this path is secret.
#[must_use]
pub fn is_secret(path: &[impl AsRef<str>]) -> bool {
    path.iter().any(|step| SECRET.contains(&step.as_ref()))
}

/// A URL without its password, and without query parameters that carry one. Over `http` and
/// `https` a user alone is hidden too: it is a token there. Text that is no URL stays.
#[must_use]
pub fn masked_url(text: &str) -> String {
    let parsed = url::Url::parse(text).ok();
    // A password that is not encoded can end what looks like the host.
    let clear = |url: &url::Url| {
        let rest = [
            url.path(),
            url.query().unwrap_or(""),
            url.fragment().unwrap_or(""),
        ];
        url.has_host() && !rest.iter().any(|part| part.contains('@'))
    };
    let http = text.starts_with("http");
    let Some(mut url) = parsed.filter(|url| clear(url) || http && url.has_host()) else {
        return match text.rsplit_once('@') {
            // Without a host nobody knows where in it a secret would be.
            Some((_, rest)) => format!("{MASK}@{rest}"),
            None => text.to_owned(),
        };
    };
    let mut masked = false;
    if url.password().is_some() {
        masked |= url.set_password(Some(MASK)).is_ok();
    } else if !url.username().is_empty() && url.scheme().starts_with("http") {
        masked |= url.set_username(MASK).is_ok();
    }
    let secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        SECRET_PARAMETERS.iter().any(|part| name.contains(part))
    };
    if url.query_pairs().any(|(name, _)| secret(&name)) {
        let pairs: Vec<(String, String)> = url
            .query_pairs()
            .map(|(name, value)| {
                let value = if secret(&name) { MASK.into() } else { value };
                (name.into_owned(), value.into_owned())
            })
            .collect();
        url.query_pairs_mut().clear().extend_pairs(pairs);
        masked = true;
    }
    // An address without secrets is shown as it was written, not as it was normalised.
    if masked { url.into() } else { text.to_owned() }
}

fn mask(value: &mut Value, secret: bool) {
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                mask(value, secret || is_secret(&[key]));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| mask(item, secret)),
        Value::String(text) if secret => MASK.clone_into(text),
        Value::String(text) if text.contains("://") => {
            *text = masked_url(text);
        }
        _ => {}
    }
}

/// A configuration on one line, as JSON, secrets masked.
#[must_use]
pub fn to_inline(config: &impl Serialize) -> String {
    serde_json::to_value(config)
        .map(|mut value| {
            mask(&mut value, false);
            value.to_string()
        })
        .unwrap_or_else(|error| error.to_string())
}

/// A configuration as TOML, secrets masked, the source of each value behind it. A value that
/// is not set stands as a comment.
#[must_use]
pub fn to_toml(config: &impl Serialize, origins: &Origins) -> String {
    let mut value = serde_json::to_value(config).unwrap_or_default();
    mask(&mut value, false);
    let mut text = String::new();
    if let Value::Object(table) = &value {
        write_table(&mut text, table, &mut Vec::new(), origins);
    }
    text
}

fn write_table(
    text: &mut String,
    table: &Map<String, Value>,
    path: &mut Vec<String>,
    origins: &Origins,
) {
    let is_table = |value: &Value| matches!(value, Value::Object(_));
    for (key, value) in table.iter().filter(|(_, value)| !is_table(value)) {
        path.push(key.clone());
        let source = origins.of(path);
        // Writing to a `String` cannot fail.
        let _ = match value {
            Value::Null => writeln!(text, "# {} is not set  # {source}", toml_key(key)),
            value => writeln!(
                text,
                "{} = {}  # {source}",
                toml_key(key),
                toml_value(value)
            ),
        };
        path.pop();
    }
    for (key, value) in table {
        let Value::Object(inner) = value else {
            continue;
        };
        path.push(key.clone());
        let name: Vec<String> = path.iter().map(|step| toml_key(step)).collect();
        let name = name.join(".");
        let _ = match inner.is_empty() {
            true => writeln!(text, "\n[{name}]  # {}", origins.of(path)),
            // A table of tables needs no header of its own.
            false if inner.values().all(is_table) => Ok(()),
            false => writeln!(text, "\n[{name}]"),
        };
        write_table(text, inner, path, origins);
        path.pop();
    }
}

fn toml_key(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) {
        key.to_owned()
    } else {
        toml_text(key)
    }
}

fn toml_value(value: &Value) -> String {
    match value {
        Value::String(text) => toml_text(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(toml_value).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

fn toml_text(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_their_secrets_and_nothing_else() {
        for (url, shown) in [
            ("sqlite://tachograph.db", "sqlite://tachograph.db"),
            ("postgres://me:pw@db/x", "postgres://me:***@db/x"),
            ("postgres://me@db/x", "postgres://me@db/x"),
            (
                "postgres://me@db/x?password=pw&a=b",
                "postgres://me@db/x?password=***&a=b",
            ),
            ("https://glc_token@host/otlp", "https://***@host/otlp"),
            ("http://collector:4318", "http://collector:4318"),
            ("me:pw@host", "***@host"),
            ("postgres://me:12#pw@host/db", "***@host/db"),
            ("postgres://me:12/pw@host/db", "***@host/db"),
            ("postgres://me:12?pw@host/db", "***@host/db"),
        ] {
            assert_eq!(masked_url(url), shown);
        }
    }
}
