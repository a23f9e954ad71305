//! A finding and where it stands.

use super::{Code, Severity};

/// A place inside an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Bytes from the start of the expression.
    pub offset: usize,
    /// Line of the expression, from 1.
    pub line: usize,
    /// Character of the line, from 1.
    pub column: usize,
}

impl Position {
    /// The position of a byte offset; an offset past the end or inside a character is moved
    /// back to the character before it.
    #[must_use]
    pub fn of(text: &str, offset: usize) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            offset,
            line: before.matches('\n').count() + 1,
            column: before[start..].chars().count() + 1,
        }
    }
}

/// Something that is wrong, or worth a thought.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The file, as it was named.
    pub file: String,
    /// Line of the file, from 1; none where it is not known.
    pub line: Option<usize>,
    /// The panel, variable or rule.
    pub place: String,
    /// The expression; empty where the finding is about something else.
    pub expression: String,
    /// Where in the expression.
    pub position: Option<Position>,
    /// What it is about.
    pub code: Code,
    /// What is wrong, and what would be right.
    pub message: String,
    /// The nearest name or value there is.
    pub nearest: Option<String>,
}

impl Finding {
    /// How grave it is.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        self.code.severity()
    }
}

/// A finding inside one expression.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) code: Code,
    /// Bytes from the start of the expression.
    pub(super) at: usize,
    pub(super) message: String,
    pub(super) nearest: Option<String>,
}

impl Fault {
    pub(super) fn new(code: Code, at: usize, message: impl Into<String>) -> Self {
        Self {
            code,
            at,
            message: message.into(),
            nearest: None,
        }
    }

    pub(super) fn nearest(mut self, nearest: Option<String>) -> Self {
        self.nearest = nearest;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters() {
        let position = Position::of("ä +\n  b", 7);
        assert_eq!((position.line, position.column), (2, 3));
        let position = Position::of("ä", 1);
        assert_eq!((position.offset, position.line, position.column), (0, 1, 1));
        assert_eq!(Position::of("ab", 9).offset, 2);
    }
}
