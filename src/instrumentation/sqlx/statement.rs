//! What a statement does and to which table, and its text without its literals.

use std::borrow::Cow;

use super::lexer::{Token, Tokens};
use crate::signals::database::DbSystem;

/// Longest text that is kept of a statement, in bytes.
const TEXT: usize = 2_048;
/// Longest name of a table, in bytes; one that is longer is not told.
const NAME: usize = 120;
/// Names of common table expressions that are remembered.
const EXPRESSIONS: usize = 16;

/// What statements do, by their first word; another one is `OTHER`.
const OPERATIONS: [&str; 48] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT",
    "RELEASE",
    "PRAGMA",
    "SET",
    "SHOW",
    "MERGE",
    "REPLACE",
    "VALUES",
    "CALL",
    "COPY",
    "CREATE",
    "ALTER",
    "DROP",
    "TRUNCATE",
    "LOCK",
    "EXPLAIN",
    "ANALYZE",
    "VACUUM",
    "REINDEX",
    "REFRESH",
    "START",
    "END",
    "ABORT",
    "PREPARE",
    "EXECUTE",
    "DEALLOCATE",
    "DECLARE",
    "FETCH",
    "CLOSE",
    "LISTEN",
    "UNLISTEN",
    "NOTIFY",
    "DISCARD",
    "RESET",
    "DO",
    "GRANT",
    "REVOKE",
    "COMMENT",
    "ATTACH",
    "DETACH",
    "CHECKPOINT",
];

/// What a statement that none of the words begins is called.
const OTHER: &str = "OTHER";

/// What a statement does, and to which table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Summary<'a> {
    pub(super) operation: &'static str,
    /// Empty where there is none, or where it is not a table.
    pub(super) table: Cow<'a, str>,
}

impl Summary<'_> {
    pub(super) fn into_owned(self) -> Summary<'static> {
        Summary {
            operation: self.operation,
            table: Cow::Owned(self.table.into_owned()),
        }
    }

    /// Whether it changes rows, so that their number means something.
    pub(super) fn writes(&self) -> bool {
        matches!(
            self.operation,
            "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "REPLACE" | "COPY"
        )
    }

    /// Whether it answers with rows, of which there may be none.
    pub(super) fn reads(&self) -> bool {
        matches!(
            self.operation,
            "SELECT" | "VALUES" | "SHOW" | "FETCH" | "EXPLAIN"
        )
    }
}

fn operation(word: &str) -> &'static str {
    OPERATIONS
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(word))
        .unwrap_or(OTHER)
}

fn is(word: &str, any: &[&str]) -> bool {
    any.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// Reads a statement; of several, the first.
pub(super) fn summary(sql: &str, system: DbSystem) -> Summary<'_> {
    let mut reading = Reading {
        tokens: Tokens::new(sql, system),
        depth: 0,
    };
    let Some((operation, expressions)) = reading.verb() else {
        return Summary {
            operation: OTHER,
            table: Cow::Borrowed(""),
        };
    };
    let table = reading.table(operation).unwrap_or(Cow::Borrowed(""));
    let derived = expressions.iter().any(|e| e.eq_ignore_ascii_case(&table));
    Summary {
        operation,
        table: if derived { Cow::Borrowed("") } else { table },
    }
}

struct Reading<'a> {
    tokens: Tokens<'a>,
    /// Parentheses that are open.
    depth: usize,
}

impl<'a> Reading<'a> {
    fn next(&mut self) -> Option<Token<'a>> {
        let token = self.tokens.next()?;
        match token {
            Token::Symbol('(') => self.depth += 1,
            Token::Symbol(')') => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        Some(token)
    }

    /// What the statement does, and the names of its common table expressions.
    fn verb(&mut self) -> Option<(&'static str, Vec<&'a str>)> {
        let mut expressions = Vec::new();
        let first = loop {
            match self.next()? {
                Token::Word(word) => break word,
                Token::Symbol('(' | ';') => {}
                _ => return None,
            }
        };
        if !first.eq_ignore_ascii_case("with") {
            return Some((operation(first), expressions));
        }
        let base = self.depth;
        loop {
            match self.next()? {
                Token::Word(word) if self.depth == base => {
                    let main = [
                        "select", "insert", "update", "delete", "merge", "replace", "values",
                    ];
                    if is(word, &main) {
                        return Some((operation(word), expressions));
                    }
                    if !is(word, &["recursive", "as", "not", "materialized"])
                        && expressions.len() < EXPRESSIONS
                    {
                        expressions.push(word);
                    }
                }
                Token::Symbol(';') => return None,
                _ => {}
            }
        }
    }

    fn table(&mut self, operation: &str) -> Option<Cow<'a, str>> {
        match operation {
            "SELECT" => self.from(),
            "DELETE" => self.after(&["from"], &["only"]),
            "INSERT" | "REPLACE" | "MERGE" => self.after(&["into"], &[]),
            "UPDATE" => self.updated(),
            "TRUNCATE" | "LOCK" => self.name(&["table", "only"]),
            "COPY" => self.name(&[]),
            "CREATE" => self.created(),
            "ALTER" | "DROP" => self.after(&["table"], &["if", "exists", "only"]),
            _ => None,
        }
    }

    /// The name after one of these words, where those may stand between.
    fn after(&mut self, words: &[&str], between: &[&str]) -> Option<Cow<'a, str>> {
        let base = self.depth;
        loop {
            match self.next()? {
                Token::Word(word) if self.depth == base && is(word, words) => {
                    return self.name(between);
                }
                Token::Symbol(';') => return None,
                _ => {}
            }
        }
    }

    /// The first table that a query is from, in a subquery if that is what it is from.
    fn from(&mut self) -> Option<Cow<'a, str>> {
        let (mut base, mut before) = (self.depth, "");
        loop {
            match self.next()? {
                // `a IS DISTINCT FROM b` names no table.
                Token::Word(word)
                    if self.depth == base
                        && word.eq_ignore_ascii_case("from")
                        && !before.eq_ignore_ascii_case("distinct") =>
                {
                    let mut ahead = self.tokens.clone();
                    if ahead.next() == Some(Token::Symbol('(')) {
                        self.next();
                        base = self.depth;
                        before = "";
                        continue;
                    }
                    let name = self.name(&["only", "lateral"]);
                    // A function is no table.
                    let called = self.tokens.clone().next() == Some(Token::Symbol('('));
                    return name.filter(|_| !called);
                }
                Token::Word(word) => before = word,
                Token::Symbol(';') => return None,
                _ => before = "",
            }
        }
    }

    /// The table that is made, or that what is made belongs to.
    fn created(&mut self) -> Option<Cow<'a, str>> {
        loop {
            match self.next()? {
                Token::Word(word) if word.eq_ignore_ascii_case("table") => {
                    return self.name(&["if", "not", "exists"]);
                }
                Token::Word(word) if is(word, &["index", "trigger", "policy"]) => {
                    return self.after(&["on"], &["only"]);
                }
                Token::Word(word) if is(word, &["view", "function", "procedure", "type"]) => {
                    return None;
                }
                Token::Word(_) => {}
                _ => return None,
            }
        }
    }

    fn updated(&mut self) -> Option<Cow<'a, str>> {
        let mut ahead = self.tokens.clone();
        if let Some(Token::Word(word)) = ahead.next()
            && word.eq_ignore_ascii_case("or")
        {
            // `UPDATE OR IGNORE t`
            self.next();
            self.next();
        }
        self.name(&["only"])
    }

    /// A name, with the schema it is in if that is said; unquoted ones in lower case, as they
    /// mean the same in any.
    fn name(&mut self, between: &[&str]) -> Option<Cow<'a, str>> {
        let mut part = self.tokens.next()?;
        while let Token::Word(word) = part
            && is(word, between)
        {
            part = self.tokens.next()?;
        }
        let mut name = plain(part)?;
        loop {
            let mut ahead = self.tokens.clone();
            if ahead.next() != Some(Token::Symbol('.')) {
                break;
            }
            let further = plain(ahead.next()?)?;
            self.tokens = ahead;
            name = Cow::Owned(format!("{name}.{further}"));
        }
        (name.len() <= NAME).then_some(name)
    }
}

/// A part of a name without its quotes.
fn plain(token: Token<'_>) -> Option<Cow<'_, str>> {
    match token {
        Token::Word(word) if word.bytes().any(|b| b.is_ascii_uppercase()) => {
            Some(Cow::Owned(word.to_ascii_lowercase()))
        }
        Token::Word(word) => Some(Cow::Borrowed(word)),
        Token::Name(quoted) | Token::Doubtful(quoted) => {
            let inside = quoted.get(1..quoted.len().saturating_sub(1))?;
            (!inside.is_empty()).then_some(Cow::Borrowed(inside))
        }
        _ => None,
    }
}

/// The text of a statement with `?` for each literal, one for several in a row, and without
/// comments. In doubt whether something is a name or text it is text.
pub(super) fn sanitised(sql: &str, system: DbSystem) -> String {
    let mut text = String::with_capacity(sql.len().min(TEXT));
    let mut tokens = Tokens::new(sql, system);
    let mut names_table = false;
    loop {
        let spaced = tokens.skip_blank() && !text.is_empty();
        let Some(token) = tokens.next() else {
            return text;
        };
        if text.len() >= TEXT {
            text.push_str(" …");
            return text;
        }
        if spaced {
            text.push(' ');
        }
        let literal = match token {
            Token::Word(kept) | Token::Name(kept) | Token::Parameter(kept) => {
                text.push_str(cut(kept));
                false
            }
            Token::Doubtful(kept) if names_table => {
                text.push_str(cut(kept));
                false
            }
            Token::Cast => {
                text.push_str("::");
                false
            }
            Token::Symbol(symbol) => {
                text.push(symbol);
                false
            }
            Token::Literal | Token::Doubtful(_) => true,
        };
        if literal {
            let before = text.trim_end();
            match before.strip_suffix(',').map(str::trim_end) {
                Some(list) if list.ends_with('?') => text.truncate(list.len()),
                _ => text.push('?'),
            }
        }
        names_table = match token {
            Token::Word(word) => is(word, &["from", "join", "into", "update", "table"]),
            Token::Symbol('.') => names_table,
            Token::Name(_) | Token::Doubtful(_) => names_table && tokens.rest_begins('.'),
            _ => false,
        };
    }
}

/// A word that is longer than a whole statement may be is no word.
fn cut(word: &str) -> &str {
    if word.len() <= TEXT { word } else { "…" }
}

#[cfg(test)]
mod tests;
