//! On which line of a file an expression stands.

use std::collections::BTreeMap;

/// Finds expressions in the text of a JSON file, in order.
pub(super) struct JsonLines<'a> {
    text: &'a str,
    /// Where the next search for a string begins.
    from: BTreeMap<String, usize>,
}

impl<'a> JsonLines<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self {
            text,
            from: BTreeMap::new(),
        }
    }

    /// The line of the next occurrence of a string.
    pub(super) fn of(&mut self, value: &str) -> Option<usize> {
        let quoted = serde_json::to_string(value).ok()?;
        let from = self.from.get(value).copied().unwrap_or(0);
        let at = from + self.text.get(from..)?.find(&quoted)?;
        self.from.insert(value.to_owned(), at + quoted.len());
        Some(self.text[..at].matches('\n').count() + 1)
    }
}

/// Where a rule's expression stands in a YAML file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct YamlLine {
    /// Line of the key, from 1.
    key: usize,
    /// Whether the text follows line by line below the key.
    block: bool,
}

impl YamlLine {
    /// The file's line of a line of the expression.
    pub(super) const fn of(self, line: usize) -> usize {
        if self.block {
            self.key + line
        } else {
            self.key
        }
    }
}

/// The lines of every `expr:` key.
pub(super) fn yaml(text: &str) -> Vec<YamlLine> {
    text.lines()
        .enumerate()
        .filter_map(|(i, line)| {
            let line = line.trim_start().trim_start_matches("- ").trim_start();
            let rest = ["expr:", "\"expr\":", "'expr':"]
                .iter()
                .find_map(|key| line.strip_prefix(key))?;
            Some(YamlLine {
                key: i + 1,
                block: rest.trim_start().starts_with('|'),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_found_once_for_each_time_it_stands() {
        let mut lines = JsonLines::new("[\n\"a\\\"b\",\n\"x\",\n\"a\\\"b\"]");
        assert_eq!(lines.of("a\"b"), Some(2));
        assert_eq!(lines.of("a\"b"), Some(4));
        assert_eq!(lines.of("a\"b"), None);
        assert_eq!(lines.of("x"), Some(3));
    }

    #[test]
    fn blocks_count_on_below_their_key() {
        let lines = yaml("rules:\n  - alert: A\n    expr: |\n      a\n      b\n  - expr: c\n");
        assert_eq!(
            lines.iter().map(|line| line.of(2)).collect::<Vec<_>>(),
            [5, 6]
        );
    }
}
