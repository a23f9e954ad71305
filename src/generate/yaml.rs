//! A small YAML writer: block style, every string that is not a plain word in double quotes.

use std::fmt::Write as _;

/// A YAML value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Yaml {
    Text(String),
    /// A text of several lines, as a literal block where one can hold it.
    Block(String),
    Number(f64),
    Bool(bool),
    List(Vec<Yaml>),
    Map(Vec<(String, Yaml)>),
}

impl From<&str> for Yaml {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Yaml {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl Yaml {
    pub(super) fn list<T: Into<Self>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }

    pub(super) fn map<const N: usize>(entries: [(&str, Self); N]) -> Self {
        Self::Map(entries.map(|(key, value)| (key.to_owned(), value)).into())
    }

    /// Adds an entry to a map; anything else stays as it is.
    pub(super) fn with(mut self, key: &str, value: impl Into<Self>) -> Self {
        if let Self::Map(entries) = &mut self {
            entries.push((key.to_owned(), value.into()));
        }
        self
    }

    fn is_block(&self) -> bool {
        match self {
            Self::List(items) => !items.is_empty() && !self.is_flow(),
            Self::Map(entries) => !entries.is_empty(),
            Self::Text(_) | Self::Block(_) | Self::Number(_) | Self::Bool(_) => false,
        }
    }

    /// Lists of scalars stand on one line.
    fn is_flow(&self) -> bool {
        matches!(self, Self::List(items)
            if items.iter().all(|item| matches!(item, Self::Text(_) | Self::Number(_))))
    }

    /// The document.
    pub(super) fn document(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0);
        if !out.ends_with('\n') {
            out.push('\n');
        }
        out
    }

    /// Writes the value; a block begins at the current column, which is `indent`.
    fn write(&self, out: &mut String, indent: usize) {
        match self {
            Self::Text(text) => out.push_str(&scalar(text)),
            Self::Block(text) if is_literal(text) => {
                out.push_str("|-\n");
                for line in text.lines() {
                    pad(out, indent + 2);
                    out.push_str(line);
                    out.push('\n');
                }
            }
            Self::Block(text) => out.push_str(&scalar(text)),
            Self::Number(number) => {
                let _ = write!(out, "{number:?}");
            }
            Self::Bool(yes) => {
                let _ = write!(out, "{yes}");
            }
            Self::List(items) if self.is_flow() => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push_str(", ");
                    }
                    item.write(out, indent);
                }
                out.push(']');
            }
            Self::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        pad(out, indent);
                    }
                    out.push_str("- ");
                    item.write(out, indent + 2);
                    end_line(out);
                }
            }
            Self::Map(entries) if entries.is_empty() => out.push_str("{}"),
            Self::Map(entries) => {
                for (i, (key, value)) in entries.iter().enumerate() {
                    if i > 0 {
                        pad(out, indent);
                    }
                    out.push_str(&scalar(key));
                    out.push(':');
                    if value.is_block() {
                        out.push('\n');
                        pad(out, indent + 2);
                        value.write(out, indent + 2);
                    } else {
                        out.push(' ');
                        value.write(out, indent);
                    }
                    end_line(out);
                }
            }
        }
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn end_line(out: &mut String) {
    if !out.ends_with('\n') {
        out.push('\n');
    }
}

/// Whether a literal block holds the text as it is: several lines, none of them blank or in
/// need of escapes, the first and the last without spaces around.
fn is_literal(text: &str) -> bool {
    text.contains('\n')
        && text.trim() == text
        && text
            .split('\n')
            .all(|line| !line.trim().is_empty() && line.chars().all(is_printable))
}

/// A scalar: plain where no reader of YAML 1.1 or 1.2 could take it for anything but text, in
/// double quotes otherwise. JSON's escapes are among YAML's (YAML 1.2.2, section 5.7).
fn scalar(text: &str) -> String {
    const TAKEN: &[&str] = &[
        "true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan", "inf",
    ];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'))
        && !TAKEN.contains(&text.to_ascii_lowercase().as_str());
    if plain {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if is_printable(c) => quoted.push(c),
            c => {
                let _ = write!(quoted, "\\U{:08x}", u32::from(c));
            }
        }
    }
    quoted.push('"');
    quoted
}

/// Whether YAML allows the character unescaped within quotes (YAML 1.2.2, section 5.1), and
/// no reader of YAML 1.1 takes it for a line's end.
fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(value: &Yaml) -> serde_json::Value {
        match value {
            Yaml::Text(text) | Yaml::Block(text) => text.as_str().into(),
            Yaml::Number(number) => (*number).into(),
            Yaml::Bool(yes) => (*yes).into(),
            Yaml::List(items) => items.iter().map(json).collect(),
            Yaml::Map(entries) => entries
                .iter()
                .map(|(key, value)| (key.clone(), json(value)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }

    fn any_yaml() -> impl Strategy<Value = Yaml> {
        let text = prop_oneof![
            any::<String>(),
            "[a-z.0-9_:{}#-]{0,8}",
            Just("yes".to_owned()),
            Just("1.1".to_owned()),
            Just("NULL".to_owned()),
        ];
        let leaf = prop_oneof![
            text.prop_map(Yaml::Text),
            "([ -~]{0,8}\n){0,3}[ -~]{0,8}".prop_map(Yaml::Block),
            (-1e6..1e6f64).prop_map(Yaml::Number),
            any::<bool>().prop_map(Yaml::Bool),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Yaml::List),
                prop::collection::btree_map(".{0,6}", inner, 0..4)
                    .prop_map(|map| Yaml::Map(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_reader_gets_back_what_was_written(value in any_yaml()) {
            let document = value.document();
            let read: serde_json::Value = serde_norway::from_str(&document)
                .map_err(|e| TestCaseError::fail(format!("{e}\n{document}")))?;
            prop_assert_eq!(read, json(&value), "{}", document);
        }
    }

    #[test]
    fn words_stand_plain_and_everything_else_in_quotes() {
        assert_eq!(scalar("http.route"), "http.route");
        assert_eq!(scalar("1.1"), "\"1.1\"");
        assert_eq!(scalar("No"), "\"No\"");
        assert_eq!(scalar("a: \"b\"\\"), "\"a: \\\"b\\\"\\\\\"");
    }
}
