//! The tokens of SQL, as far as literals, comments and names have to be told apart.

use crate::signals::database::DbSystem;

/// What a statement is made of, whitespace and comments apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword, or a name without quotes.
    Word(&'a str),
    /// A name in quotes, with them.
    Name(&'a str),
    /// What one database takes for a name and another for text: in double quotes, with them.
    Doubtful(&'a str),
    /// Text, a number, or anything else that is data.
    Literal,
    /// A place for a parameter.
    Parameter(&'a str),
    /// `::`
    Cast,
    /// One character of anything else.
    Symbol(char),
}

/// Reads tokens one after the other. What has no end is taken to go on to the end of the text,
/// and so is data.
#[derive(Clone)]
pub(super) struct Tokens<'a> {
    rest: &'a str,
    system: DbSystem,
}

fn begins_word(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

impl<'a> Tokens<'a> {
    pub(super) fn new(sql: &'a str, system: DbSystem) -> Self {
        Self { rest: sql, system }
    }

    /// Whether what comes next begins with this.
    pub(super) fn rest_begins(&self, with: char) -> bool {
        self.rest.starts_with(with)
    }

    /// Whether a backslash in text takes the next character into it.
    fn escapes(&self) -> bool {
        !matches!(
            self.system,
            DbSystem::Postgresql | DbSystem::Sqlite | DbSystem::SqlServer
        )
    }

    /// Takes so many bytes.
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }

    fn take_while(&mut self, holds: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !holds(c)).unwrap_or(self.rest.len());
        self.take(end)
    }

    /// Skips whitespace and comments, and says whether there were any.
    pub(super) fn skip_blank(&mut self) -> bool {
        let before = self.rest.len();
        loop {
            self.take_while(char::is_whitespace);
            let line = self.rest.starts_with("--")
                || self.rest.starts_with('#')
                    && matches!(self.system, DbSystem::Mysql | DbSystem::Mariadb);
            if line {
                self.take_while(|c| c != '\n');
            } else if self.rest.starts_with("/*") {
                self.comment();
            } else {
                return self.rest.len() < before;
            }
        }
    }

    /// Comments are taken to nest, as PostgreSQL's do: where they do not, more is left out.
    fn comment(&mut self) {
        let (bytes, mut at, mut depth) = (self.rest.as_bytes(), 0, 0_usize);
        while at < bytes.len() {
            match (bytes[at], bytes.get(at + 1)) {
                (b'/', Some(b'*')) => (at, depth) = (at + 2, depth + 1),
                (b'*', Some(b'/')) => {
                    (at, depth) = (at + 2, depth - 1);
                    if depth == 0 {
                        break;
                    }
                }
                _ => at += 1,
            }
        }
        self.take(at);
    }

    /// Takes what is in quotes, which it begins with; a doubled one stands for itself.
    fn quoted(&mut self, close: u8, escapes: bool) -> &'a str {
        let bytes = self.rest.as_bytes();
        let mut at = 1;
        while at < bytes.len() {
            if escapes && bytes[at] == b'\\' {
                at += 2;
            } else if bytes[at] != close {
                at += 1;
            } else if close != b']' && bytes.get(at + 1) == Some(&close) {
                at += 2;
            } else {
                return self.take(at + 1);
            }
        }
        self.take(bytes.len())
    }

    /// After a `$`: a parameter, text between two tags, or nothing of either.
    fn dollar(&mut self) -> Token<'a> {
        let name = &self.rest[1..];
        let end = name
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(name.len());
        let tag = &name[..end];
        let digits = tag.starts_with(|c: char| c.is_ascii_digit());
        if !digits && name[end..].starts_with('$') {
            let tag = &self.rest[..end + 2];
            let body = &self.rest[tag.len()..];
            let length = body
                .find(tag)
                .map_or(self.rest.len(), |at| at + 2 * tag.len());
            self.take(length);
            return Token::Literal;
        }
        if tag.is_empty() {
            self.take(1);
            return Token::Symbol('$');
        }
        Token::Parameter(self.take(end + 1))
    }

    fn number(&mut self) -> Token<'a> {
        let part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        let taken = self.take_while(part);
        // `1e+5`; a number in another base has no exponent.
        let mut next = self.rest.chars();
        if taken.ends_with(['e', 'E'])
            && !taken.starts_with("0x")
            && next.next().is_some_and(|c| matches!(c, '+' | '-'))
            && next.next().is_some_and(char::is_numeric)
        {
            self.take(1);
            self.take_while(part);
        }
        Token::Literal
    }

    /// A word, or the text whose kind it tells: `E'…'`, `X'…'`.
    fn word(&mut self) -> Token<'a> {
        let word = self.take_while(in_word);
        if self.rest.starts_with('\'') && word.len() == 1 {
            let escapes = word.eq_ignore_ascii_case("e") || self.escapes();
            self.quoted(b'\'', escapes);
            return Token::Literal;
        }
        Token::Word(word)
    }

    /// A parameter that is named after a sign.
    fn named(&mut self, sign: char) -> Token<'a> {
        let name = &self.rest[1..];
        if name.starts_with(begins_word) {
            let end = name.find(|c| !in_word(c)).unwrap_or(name.len());
            return Token::Parameter(self.take(end + 1));
        }
        // A cast is no parameter: `::text`.
        if sign == ':' && name.starts_with(':') {
            self.take(2);
            return Token::Cast;
        }
        self.take(1);
        Token::Symbol(sign)
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blank();
        let first = self.rest.chars().next()?;
        let second = self.rest[first.len_utf8()..].chars().next();
        Some(match first {
            '\'' => {
                self.quoted(b'\'', self.escapes());
                Token::Literal
            }
            '"' if self.system == DbSystem::Postgresql => Token::Name(self.quoted(b'"', false)),
            '"' => Token::Doubtful(self.quoted(b'"', self.escapes())),
            '`' => Token::Name(self.quoted(b'`', false)),
            '[' if matches!(self.system, DbSystem::Sqlite | DbSystem::SqlServer) => {
                Token::Name(self.quoted(b']', false))
            }
            '$' => self.dollar(),
            '?' => {
                let digits = self.rest[1..].find(|c: char| !c.is_ascii_digit());
                Token::Parameter(self.take(digits.map_or(self.rest.len(), |at| at + 1)))
            }
            ':' | '@' => self.named(first),
            c if c.is_numeric() => self.number(),
            '.' if second.is_some_and(char::is_numeric) => self.number(),
            c if begins_word(c) => self.word(),
            c => {
                self.take(c.len_utf8());
                Token::Symbol(c)
            }
        })
    }
}
