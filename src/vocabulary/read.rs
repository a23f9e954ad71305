//! TOML with the line of everything in it, and everything that is wrong with it.

use std::ops::Range;

use toml_edit::{Item, TableLike, Value};

use super::model::Fault;

/// Takes values out of a file, and notes faults.
pub(super) struct Reader {
    /// Offset of the first byte of each line.
    lines: Vec<usize>,
    pub(super) faults: Vec<Fault>,
}

impl Reader {
    pub(super) fn new(text: &str) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            lines: std::iter::once(0).chain(breaks).collect(),
            faults: Vec::new(),
        }
    }

    /// The line of an offset, from 1.
    pub(super) fn line(&self, span: Option<Range<usize>>) -> usize {
        let at = span.map_or(0, |span| span.start);
        self.lines.partition_point(|start| *start <= at).max(1)
    }

    /// The line of a key of a table.
    pub(super) fn line_of(&self, table: &dyn TableLike, key: &str) -> usize {
        let span = table.key(key).and_then(toml_edit::Key::span);
        self.line(span.or_else(|| table.get(key).and_then(Item::span)))
    }

    pub(super) fn fault(&mut self, line: usize, message: impl Into<String>) {
        self.faults.push(Fault {
            line,
            message: message.into(),
        });
    }

    /// Notes keys that mean nothing.
    pub(super) fn known(&mut self, table: &dyn TableLike, place: &str, accepted: &[&str]) {
        for (key, _) in table.iter() {
            if !accepted.contains(&key) {
                let line = self.line_of(table, key);
                let near = meant(key, accepted.iter().copied());
                self.fault(
                    line,
                    format!(
                        "{place}unknown key `{key}`;{near} accepted: {}",
                        accepted.join(", ")
                    ),
                );
            }
        }
    }

    fn wrong(&mut self, table: &dyn TableLike, key: &str, place: &str, accepted: &str) {
        let line = self.line_of(table, key);
        let given = table.get(key).map_or("nothing", Item::type_name);
        self.fault(
            line,
            format!("{place}`{key}` is {given}; accepted: {accepted}"),
        );
    }

    /// Text that must be there; `line` is where it is missed.
    pub(super) fn text(
        &mut self,
        table: &dyn TableLike,
        key: &str,
        place: &str,
        line: usize,
    ) -> Option<String> {
        if table.get(key).is_none() {
            self.fault(line, format!("{place}`{key}` is missing; accepted: text"));
            return None;
        }
        let text = self.optional(table, key, place)?;
        if text.trim().is_empty() {
            let line = self.line_of(table, key);
            self.fault(line, format!("{place}`{key}` is empty; accepted: text"));
            return None;
        }
        Some(text)
    }

    /// Text that may be left out.
    pub(super) fn optional(
        &mut self,
        table: &dyn TableLike,
        key: &str,
        place: &str,
    ) -> Option<String> {
        let item = table.get(key)?;
        match item.as_str() {
            Some(text) => Some(text.to_owned()),
            None => {
                self.wrong(table, key, place, "text in quotes");
                None
            }
        }
    }

    /// One text, or a list of at least one.
    pub(super) fn texts(
        &mut self,
        table: &dyn TableLike,
        key: &str,
        place: &str,
    ) -> Option<Vec<String>> {
        let item = table.get(key)?;
        let accepted = "text in quotes, or a list of it";
        if let Some(text) = item.as_str() {
            return Some(vec![text.to_owned()]);
        }
        let list: Option<Vec<String>> = item
            .as_array()
            .map(|list| list.iter().map(|v| v.as_str().map(str::to_owned)).collect())
            .unwrap_or_default();
        match list {
            Some(list) if !list.is_empty() => Some(list),
            Some(_) => {
                let line = self.line_of(table, key);
                self.fault(
                    line,
                    format!("{place}`{key}` is empty; accepted: {accepted}"),
                );
                None
            }
            None => {
                self.wrong(table, key, place, accepted);
                None
            }
        }
    }

    /// A list of numbers, each with its line.
    pub(super) fn numbers(
        &mut self,
        table: &dyn TableLike,
        key: &str,
        place: &str,
    ) -> Option<Vec<(f64, usize)>> {
        let item = table.get(key)?;
        let Some(list) = item.as_array() else {
            self.wrong(table, key, place, "a list of numbers");
            return None;
        };
        let mut numbers = Vec::new();
        for value in list {
            let line = self.line(value.span());
            match number(value) {
                Some(number) => numbers.push((number, line)),
                None => {
                    self.fault(
                        line,
                        format!(
                            "{place}`{key}` holds {}; accepted: numbers",
                            value.type_name()
                        ),
                    );
                    return None;
                }
            }
        }
        Some(numbers)
    }

    /// A number that may be left out.
    pub(super) fn number(&mut self, table: &dyn TableLike, key: &str, place: &str) -> Option<f64> {
        let item = table.get(key)?;
        let found = item.as_value().and_then(number);
        if found.is_none() {
            self.wrong(table, key, place, "a number");
        }
        found
    }

    /// A table that may be left out.
    pub(super) fn table<'t>(
        &mut self,
        table: &'t dyn TableLike,
        key: &str,
        place: &str,
    ) -> Option<&'t dyn TableLike> {
        let item = table.get(key)?;
        let found = item.as_table_like();
        if found.is_none() {
            self.wrong(table, key, place, "a table: { key = \"value\" }");
        }
        found
    }
}

fn number(value: &Value) -> Option<f64> {
    value
        .as_float()
        .or_else(|| value.as_integer().map(|whole| whole as f64))
        .filter(|number| number.is_finite())
}

/// ` did you mean …?`, where a name is alike.
pub(super) fn meant<'n>(given: &str, names: impl Iterator<Item = &'n str>) -> String {
    names
        .map(|name| (strsim::jaro_winkler(given, name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(String::new, |(_, name)| format!(" did you mean `{name}`?"))
}

/// `5m`: a whole number and `s`, `m`, `h` or `d`.
pub(super) fn duration(text: &str) -> Option<std::time::Duration> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let number: u64 = text[..text.len() - 1].parse().ok()?;
    let seconds = number.checked_mul(unit)?;
    (1..=7 * 86_400)
        .contains(&seconds)
        .then(|| std::time::Duration::from_secs(seconds))
}
