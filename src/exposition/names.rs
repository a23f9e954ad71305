//! Names, labels and escaping as the text formats and the data model of Prometheus have them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::catalog::prometheus_label;
use crate::vocabulary;

/// Names asked for with `name[]`; empty: all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Names(Vec<String>);

impl Names {
    /// Names kept of one request; further ones are ignored.
    pub const LIMIT: usize = 1_000;

    /// Names, in any order.
    pub fn new(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let mut names: Vec<String> = names
            .into_iter()
            .take(Self::LIMIT)
            .map(Into::into)
            .collect();
        names.sort_unstable();
        names.dedup();
        Self(names)
    }

    /// The values of `name[]` in a query string (`application/x-www-form-urlencoded`).
    #[must_use]
    pub fn from_query(query: &str) -> Self {
        Self::new(
            url::form_urlencoded::parse(query.as_bytes())
                .filter(|(key, _)| key == "name[]")
                .map(|(_, value)| value.into_owned()),
        )
    }

    fn has(&self, name: &str) -> bool {
        self.0
            .binary_search_by(|known| known.as_str().cmp(name))
            .is_ok()
    }

    /// Whether a family is asked for: by its name, or by the name of one of its samples.
    pub(super) fn admit(&self, base: &str, kind: Kind) -> bool {
        self.0.is_empty()
            || self.has(base)
            || kind
                .suffixes()
                .iter()
                .any(|suffix| self.has(&format!("{base}{suffix}")))
    }
}

/// Type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Summary,
    Info,
    Unknown,
}

impl Kind {
    /// Suffixes that samples of the family may bear.
    pub(super) const fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Counter => &["_total"],
            Self::Histogram => &["_bucket", "_sum", "_count"],
            Self::Summary => &["_sum", "_count"],
            Self::Info => &["_info"],
            Self::Gauge | Self::Unknown => &[],
        }
    }

    /// Suffixes no other family may end in after this one's name (OpenMetrics 1.0, "MetricFamily",
    /// names), `_created` among them though it is not written here.
    pub(super) const fn claims(self) -> &'static [&'static str] {
        match self {
            Self::Counter => vocabulary::Kind::Counter.claims(),
            Self::Histogram => vocabulary::Kind::Histogram.claims(),
            Self::Summary => &["", "_sum", "_count", "_created"],
            Self::Info => vocabulary::Kind::Info.claims(),
            Self::Gauge | Self::Unknown => vocabulary::Kind::Gauge.claims(),
        }
    }

    /// `TYPE` in text 0.0.4 and 1.0.0.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge | Self::Info => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Unknown => "untyped",
        }
    }

    /// `TYPE` in OpenMetrics.
    pub(super) const fn open_metrics(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Unknown => "unknown",
            _ => self.text(),
        }
    }
}

/// Makes a label name valid. What the data model keeps for itself gets `key_` before it, as a
/// leading digit does.
pub(super) fn label_name(key: &str) -> String {
    let name = prometheus_label(key);
    if matches!(name.as_str(), "le" | "quantile") || name.starts_with("__") {
        format!("key_{name}")
    } else {
        name
    }
}

/// Appends text, escaped for a label value.
///
/// NUL becomes U+FFFD: Prometheus' lexer takes it for the end of the page.
pub(super) fn escape_value(out: &mut String, text: &str) {
    escape(out, text, true);
}

/// Appends text, escaped for `HELP`.
pub(super) fn escape_help(out: &mut String, text: &str, quotes: bool) {
    escape(out, text, quotes);
}

fn escape(out: &mut String, text: &str, quotes: bool) {
    let mut from = 0;
    for (i, byte) in text.bytes().enumerate() {
        let with = match byte {
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'"' if quotes => "\\\"",
            0 => "\u{fffd}",
            _ => continue,
        };
        out.push_str(&text[from..i]);
        out.push_str(with);
        from = i + 1;
    }
    out.push_str(&text[from..]);
}

/// Labels by name. Attributes that share one after sanitising are joined with `;` in the order
/// of their keys (OpenTelemetry, "Prometheus and OpenMetrics Compatibility", metric attributes);
/// empty ones are left out, since Prometheus takes them for absent.
pub(super) fn label_pairs<'a>(
    attributes: impl Iterator<Item = (&'a str, Cow<'a, str>)>,
) -> BTreeMap<String, String> {
    let mut pairs: Vec<(&str, Cow<'a, str>)> = attributes.collect();
    pairs.sort_by(|a, b| a.0.cmp(b.0));
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    for (key, value) in pairs {
        let value = value.replace('\0', "\u{fffd}");
        labels
            .entry(label_name(key))
            .and_modify(|known| {
                known.push(';');
                known.push_str(&value);
            })
            .or_insert(value);
    }
    labels.retain(|_, value| !value.is_empty());
    labels
}

/// `a="b",c="d"`, without braces.
pub(super) fn label_text<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        escape_value(&mut text, value);
        text.push('"');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(attributes: &[(&str, &str)]) -> String {
        let pairs = label_pairs(attributes.iter().map(|(k, v)| (*k, Cow::Borrowed(*v))));
        label_text(pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())))
    }

    #[test]
    fn labels_are_sorted_sanitised_joined_and_escaped() {
        let attributes = [
            ("b.c", "2"),
            ("z", "q\"\\\n\0"),
            ("b_c", "3"),
            ("1st", "1"),
            ("le", "x"),
            ("__name__", "y"),
            ("empty", ""),
        ];
        assert_eq!(
            text(&attributes),
            "b_c=\"2;3\",key_1st=\"1\",key___name__=\"y\",key_le=\"x\",z=\"q\\\"\\\\\\n\u{fffd}\""
        );
    }

    #[test]
    fn names_filter_by_family_and_sample() {
        let names = Names::from_query("name[]=a_total&x=1&name%5B%5D=h_bucket");
        assert!(names.admit("a", Kind::Counter));
        assert!(!names.admit("a", Kind::Gauge));
        assert!(names.admit("h", Kind::Histogram));
        assert!(!names.admit("b", Kind::Gauge));
        assert!(Names::default().admit("b", Kind::Gauge));
    }
}
