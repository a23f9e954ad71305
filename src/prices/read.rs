//! Reads files of prices.

use std::fmt;
use std::ops::Range;

use jiff::civil::Date;
use toml_edit::{ImDocument, Item, TableLike, Value};

use super::{Pattern, Price, Rates, Tier};

/// Highest price, micro-dollars per million tokens: a million dollars.
const MOST: u64 = 1_000_000_000_000;
/// Highest number of tokens of a window or a threshold.
const MOST_TOKENS: u64 = 1_000_000_000_000;
const RATES: [&str; 6] = [
    "input",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "output",
    "reasoning",
];

/// Something in a file of prices that is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what is accepted.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// What a file says.
pub(super) struct File {
    pub(super) rows: Vec<Price>,
    pub(super) as_of: Date,
}

/// Everything that is wrong with a file of prices, in the order of its lines.
#[must_use]
pub fn check(name: &str, text: &str) -> Vec<Problem> {
    file(name, text).err().unwrap_or_default()
}

pub(super) fn file(name: &str, text: &str) -> Result<File, Vec<Problem>> {
    let mut reader = Reader {
        name,
        text,
        problems: Vec::new(),
    };
    let file = reader.file();
    reader.problems.sort_by_key(|problem| problem.line);
    match file {
        Some(file) if reader.problems.is_empty() => Ok(file),
        _ => Err(reader.problems),
    }
}

struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn line(&self, span: Option<Range<usize>>) -> usize {
        let start = span.map_or(0, |span| span.start);
        let before = self.text.get(..start).unwrap_or(self.text);
        before.matches('\n').count() + 1
    }

    fn refuse(&mut self, line: usize, message: impl Into<String>) {
        self.problems.push(Problem {
            file: self.name.to_owned(),
            line,
            message: message.into(),
        });
    }

    fn file(&mut self) -> Option<File> {
        let document = match ImDocument::parse(self.text) {
            Ok(document) => document,
            Err(error) => {
                let line = self.line(error.span());
                let message = error.message().replace('\n', "; ");
                self.refuse(line, format!("not TOML: {message}"));
                return None;
            }
        };
        let table = document.as_table();
        self.known(table, &["as_of", "source", "price"], "");
        let as_of = match table.get("as_of") {
            Some(item) => self.date(item, "as_of"),
            None => {
                self.refuse(
                    1,
                    "`as_of` is missing: the day on which the prices were known to be right",
                );
                None
            }
        };
        let source = table
            .get("source")
            .and_then(|item| self.text(item, "source"));
        let mut rows: Vec<Price> = Vec::new();
        match table.get("price") {
            Some(Item::ArrayOfTables(tables)) => {
                for row in tables {
                    let line = self.line(row.span());
                    rows.extend(self.row(row, line, source.as_deref()));
                }
            }
            Some(other) => {
                let line = self.line(other.span());
                self.refuse(line, "`price` is written as [[price]], one for each row");
            }
            None => self.refuse(1, "no prices: each row begins with [[price]]"),
        }
        self.against_each_other(&rows);
        Some(File {
            rows,
            as_of: as_of?,
        })
    }

    fn known(&mut self, table: &dyn TableLike, names: &[&str], inside: &str) {
        for (key, item) in table.iter() {
            if !names.contains(&key) {
                let span = table.get_key_value(key).and_then(|(key, _)| key.span());
                let line = self.line(span.or_else(|| item.span()));
                let accepted = names.join(", ");
                self.refuse(
                    line,
                    format!("unknown key `{inside}{key}`; accepted: {accepted}"),
                );
            }
        }
    }

    fn row(
        &mut self,
        table: &toml_edit::Table,
        line: usize,
        source: Option<&str>,
    ) -> Option<Price> {
        let mut names = vec![
            "provider",
            "model",
            "from",
            "until",
            "source",
            "context_window",
            "above",
        ];
        names.extend(RATES);
        self.known(table, &names, "");
        let mut required = |name: &str| {
            let item = table.get(name);
            if item.is_none() {
                self.refuse(line, format!("a price without `{name}`"));
            }
            item
        };
        let (provider, model, from) = (required("provider"), required("model"), required("from"));
        let providers = self.texts(provider?, "provider");
        let models = self.patterns(model?);
        let from = self.date(from?, "from");
        let until = match table.get("until") {
            Some(item) => Some(self.date(item, "until")?),
            None => None,
        };
        let rates = self.rates(table, "");
        if rates.input.is_none() {
            self.refuse(line, "a price without `input`");
        }
        let context_window = self.tokens(table, "context_window", "");
        let above = table.get("above").and_then(|item| self.tier(item));
        let source = match table.get("source") {
            Some(item) => self.text(item, "source"),
            None => source.map(str::to_owned),
        };
        if source.is_none() {
            self.refuse(
                line,
                "a price without `source`, here or at the top: where it was published",
            );
        }
        if let (Some(from), Some(until)) = (from, until)
            && until <= from
        {
            self.refuse(line, format!("`until` {until} is not after `from` {from}"));
        }
        Some(Price {
            providers,
            models,
            from: from?,
            until,
            rates,
            above,
            context_window,
            source: source?,
            place: (self.name.to_owned(), line),
        })
    }

    fn tier(&mut self, item: &Item) -> Option<Tier> {
        let line = self.line(item.span());
        let Some(table) = item.as_table_like() else {
            self.refuse(line, "`above` is a table: { tokens = 200_000, input = … }");
            return None;
        };
        let mut names = vec!["tokens", "context_window"];
        names.extend(RATES);
        self.known(table, &names, "above.");
        let Some(tokens) = self.tokens(table, "tokens", "above.") else {
            self.refuse(
                line,
                "`above` without `tokens`: the input above which it holds",
            );
            return None;
        };
        let rates = self.rates(table, "above.");
        if rates.input.is_none() {
            self.refuse(line, "`above` without `input`");
        }
        Some(Tier {
            tokens,
            rates,
            context_window: self.tokens(table, "context_window", "above."),
        })
    }

    fn rates(&mut self, table: &dyn TableLike, inside: &str) -> Rates {
        let mut rate = |name: &str| {
            self.whole(
                table,
                name,
                inside,
                MOST,
                "micro-dollars per million tokens",
            )
        };
        Rates {
            input: rate("input"),
            cache_read: rate("cache_read"),
            cache_write_5m: rate("cache_write_5m"),
            cache_write_1h: rate("cache_write_1h"),
            output: rate("output"),
            reasoning: rate("reasoning"),
        }
    }

    fn tokens(&mut self, table: &dyn TableLike, name: &str, inside: &str) -> Option<u64> {
        self.whole(table, name, inside, MOST_TOKENS, "tokens")
    }

    fn whole(
        &mut self,
        table: &dyn TableLike,
        name: &str,
        inside: &str,
        most: u64,
        unit: &str,
    ) -> Option<u64> {
        let item = table.get(name)?;
        let given = item
            .as_integer()
            .and_then(|given| u64::try_from(given).ok());
        if given.is_none_or(|given| given > most) {
            let line = self.line(item.span());
            self.refuse(
                line,
                format!("`{inside}{name}`: accepted are whole {unit} from 0 to {most}"),
            );
            return None;
        }
        given
    }

    fn date(&mut self, item: &Item, name: &str) -> Option<Date> {
        let given = match item.as_value() {
            Some(Value::Datetime(given)) if given.value().time.is_none() => {
                given.value().date.as_ref().map(ToString::to_string)
            }
            Some(Value::String(given)) => Some(given.value().clone()),
            _ => None,
        };
        let date = given.and_then(|given| given.parse().ok());
        if date.is_none() {
            let line = self.line(item.span());
            self.refuse(
                line,
                format!("`{name}`: accepted is a day, such as 2025-09-29"),
            );
        }
        date
    }

    fn text(&mut self, item: &Item, name: &str) -> Option<String> {
        let text = item.as_str().filter(|text| !text.is_empty());
        if text.is_none() {
            let line = self.line(item.span());
            self.refuse(line, format!("`{name}`: accepted is text"));
        }
        text.map(str::to_owned)
    }

    /// One text or an array of texts.
    fn texts(&mut self, item: &Item, name: &str) -> Vec<String> {
        let texts: Option<Vec<String>> = match item.as_value() {
            Some(Value::String(text)) => Some(vec![text.value().clone()]),
            Some(Value::Array(array)) => array
                .iter()
                .map(|value| value.as_str().map(str::to_owned))
                .collect(),
            _ => None,
        };
        let texts = texts.filter(|texts| !texts.is_empty() && texts.iter().all(|t| !t.is_empty()));
        if texts.is_none() {
            let line = self.line(item.span());
            self.refuse(
                line,
                format!("`{name}`: accepted are text and an array of texts"),
            );
        }
        texts.unwrap_or_default()
    }

    fn patterns(&mut self, item: &Item) -> Vec<Pattern> {
        let line = self.line(item.span());
        let mut patterns = Vec::new();
        for text in self.texts(item, "model") {
            match Pattern::new(&text) {
                Ok(pattern) => patterns.push(pattern),
                Err(reason) => self.refuse(line, format!("`model` \"{text}\" {reason}")),
            }
        }
        patterns
    }

    /// Rows of one provider and pattern are in the order of their days, with neither overlap nor
    /// gap.
    fn against_each_other(&mut self, rows: &[Price]) {
        for (at, row) in rows.iter().enumerate() {
            let (mut named, line) = (Vec::new(), row.place.1);
            for provider in &row.providers {
                for model in &row.models {
                    let same = |other: &&Price| {
                        other.providers.contains(provider) && other.models.contains(model)
                    };
                    // The row before it of the same provider and model.
                    let Some(before) = rows.iter().take(at).rev().find(same) else {
                        continue;
                    };
                    let of = format!("`{model}` of {provider}");
                    let since = format!("the row of line {} from {}", before.place.1, before.from);
                    let message = if row.from == before.from {
                        format!("overlap: {of} has {since} as well")
                    } else if row.from < before.from {
                        format!(
                            "not sorted: {of} has {since} before this one from {}",
                            row.from
                        )
                    } else {
                        match before.until {
                            Some(until) if until > row.from => {
                                format!(
                                    "overlap: {of} has {since} until {until}, which is after {}",
                                    row.from
                                )
                            }
                            Some(until) if until < row.from => {
                                format!("gap: {of} has no price from {until} to {}", row.from)
                            }
                            _ => continue,
                        }
                    };
                    // One message for a row of several providers.
                    if !named.contains(&model) {
                        named.push(model);
                        self.refuse(line, message);
                    }
                }
            }
        }
    }
}
