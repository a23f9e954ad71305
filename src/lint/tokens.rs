//! The tokens of an expression that nodes of its tree stand at. The parser keeps no positions;
//! the tree, walked in the order of the text, meets these tokens in the same order.

/// A token, and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) at: usize,
    pub(super) end: usize,
    pub(super) text: &'a str,
}

/// Identifiers, operators, `{` with what follows up to `}`, `[` up to `]`. Left out: strings,
/// numbers, parentheses, and the label lists of groupings and matchings.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut i = 0;
    let mut list_next = false;
    while i < bytes.len() {
        let start = i;
        let byte = bytes[i];
        match byte {
            b'"' | b'\'' | b'`' => i = after_string(bytes, i),
            b'#' => i = after(bytes, i, b'\n'),
            b'{' | b'[' => {
                i = after_group(bytes, i, byte, if byte == b'{' { b'}' } else { b']' });
                found.push((start, i));
            }
            b'(' if list_next => i = after(bytes, i, b')'),
            _ if byte.is_ascii_alphabetic() || byte == b'_' || byte == b':' => {
                while i < bytes.len()
                    && (bytes[i].is_ascii_alphanumeric() || matches!(bytes[i], b'_' | b':'))
                {
                    i += 1;
                }
                found.push((start, i));
            }
            _ if byte.is_ascii_digit() || byte == b'.' => {
                while i < bytes.len() && (bytes[i].is_ascii_alphanumeric() || bytes[i] == b'.') {
                    i += 1;
                }
            }
            b'=' | b'!' | b'<' | b'>' => {
                i += 1 + usize::from(bytes.get(i + 1) == Some(&b'='));
                found.push((start, i));
            }
            b'+' | b'-' | b'*' | b'/' | b'%' | b'^' => {
                i += 1;
                found.push((start, i));
            }
            _ => i += 1,
        }
        if !byte.is_ascii_whitespace() {
            list_next = text.get(start..i).is_some_and(|word| {
                [
                    "by",
                    "without",
                    "on",
                    "ignoring",
                    "group_left",
                    "group_right",
                ]
                .iter()
                .any(|list| word.eq_ignore_ascii_case(list))
            });
        }
    }
    found
        .into_iter()
        .filter_map(|(at, end)| {
            Some(Token {
                at,
                end,
                text: text.get(at..end)?,
            })
        })
        .collect()
}

fn after(bytes: &[u8], from: usize, close: u8) -> usize {
    bytes[from..]
        .iter()
        .position(|b| *b == close)
        .map_or(bytes.len(), |length| from + length + 1)
}

fn after_string(bytes: &[u8], from: usize) -> usize {
    let quote = bytes[from];
    let mut i = from + 1;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' if quote != b'`' => i += 1,
            b if b == quote => return i + 1,
            _ => {}
        }
        i += 1;
    }
    bytes.len()
}

fn after_group(bytes: &[u8], from: usize, open: u8, close: u8) -> usize {
    let mut depth = 0_usize;
    let mut i = from;
    while i < bytes.len() {
        match bytes[i] {
            b'"' | b'\'' | b'`' => {
                i = after_string(bytes, i);
                continue;
            }
            b if b == open => depth += 1,
            b if b == close => {
                depth -= 1;
                if depth == 0 {
                    return i + 1;
                }
            }
            _ => {}
        }
        i += 1;
    }
    bytes.len()
}

/// Walks over tokens once, from the left.
pub(super) struct Cursor<'a> {
    tokens: Vec<Token<'a>>,
    next: usize,
    last: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            tokens: tokens(text),
            next: 0,
            last: 0,
        }
    }

    /// Moves past the next token that satisfies a condition. Without one the place is the
    /// last token's, and the cursor stays.
    pub(super) fn seek(&mut self, test: impl Fn(&str) -> bool) -> (usize, usize) {
        let rest = self.tokens.get(self.next..).unwrap_or_default();
        match rest.iter().position(|token| test(token.text)) {
            Some(steps) => {
                let token = &rest[steps];
                self.next += steps + 1;
                self.last = token.at;
                (token.at, token.end)
            }
            None => (self.last, self.last),
        }
    }

    /// The next token, if it satisfies a condition.
    pub(super) fn take(&mut self, test: impl Fn(&str) -> bool) -> Option<(usize, usize)> {
        let token = self
            .tokens
            .get(self.next)
            .filter(|token| test(token.text))?;
        self.next += 1;
        Some((token.at, token.end))
    }

    /// How many tokens there are.
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nodes_stand_at() {
        let text = r#"sum by (a, b) (rate(x{y="}"}[5m])) / on (a) group_left (c) z >= 1e3 # w"#;
        let words: Vec<&str> = tokens(text).into_iter().map(|token| token.text).collect();
        assert_eq!(
            words,
            [
                "sum",
                "by",
                "rate",
                "x",
                r#"{y="}"}"#,
                "[5m]",
                "/",
                "on",
                "group_left",
                "z",
                ">="
            ]
        );
    }

    #[test]
    fn odd_text_ends() {
        for text in [
            "\"", "{", "[", "{\"", "by (", "#", "\\", "'\\", "ä{", "{[}", "]", "}",
        ] {
            let _ = tokens(text);
        }
    }
}
