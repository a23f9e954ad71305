//! Patterns of models' names.

use std::fmt;

/// A pattern of a model's name: `#` stands for one digit, `*` for any text, everything else for
/// itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(String);

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When it is empty, is longer than 200 bytes, has more than one `*`, has characters that no model's name has, or
    /// would stand for nearly anything.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() || text.len() > 200 {
            return Err("accepted are patterns of 1 to 200 bytes");
        }
        if !text.chars().all(|c| c.is_ascii_graphic()) {
            return Err("accepted are printable ASCII characters without spaces");
        }
        if text.matches('*').count() > 1 {
            return Err("accepted is at most one *");
        }
        if text.trim_matches(['*', '#']).len() < 2 {
            return Err(
                "says nothing of the name; accepted are at least two characters beside * and #",
            );
        }
        Ok(Self(text.to_owned()))
    }

    /// The pattern as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a model's name fits.
    #[must_use]
    pub fn fits(&self, model: &str) -> bool {
        let same = |pattern: &[u8], text: &[u8]| {
            pattern.len() == text.len()
                && pattern.iter().zip(text).all(|(p, t)| match p {
                    b'#' => t.is_ascii_digit(),
                    p => p == t,
                })
        };
        let model = model.as_bytes();
        match self.0.split_once('*') {
            None => same(self.0.as_bytes(), model),
            Some((head, tail)) => {
                let (head, tail) = (head.as_bytes(), tail.as_bytes());
                let Some(middle) = model.len().checked_sub(tail.len()) else {
                    return false;
                };
                head.len() <= middle
                    && model
                        .get(..head.len())
                        .is_some_and(|start| same(head, start))
                    && model.get(middle..).is_some_and(|end| same(tail, end))
            }
        }
    }

    /// How much of a name it says: without `*` before with, then by characters said.
    pub(super) fn weight(&self) -> (bool, usize) {
        let said = self.0.bytes().filter(|b| !matches!(b, b'*' | b'#'));
        (!self.0.contains('*'), said.count())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, model: &str) -> bool {
        Pattern::new(pattern).unwrap().fits(model)
    }

    #[test]
    fn digits_and_any_text_stand_for_others() {
        assert!(fits("gpt-4o", "gpt-4o"));
        assert!(!fits("gpt-4o", "gpt-4o-mini"));
        assert!(fits("gpt-4o-####-##-##", "gpt-4o-2024-08-06"));
        assert!(!fits("gpt-4o-####-##-##", "gpt-4o-mini-08-06"));
        assert!(fits("*amazon.nova-pro-v1:0", "eu.amazon.nova-pro-v1:0"));
        assert!(fits("*amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"));
        assert!(!fits("aa*aa", "aaa"));
        assert!(fits("aa*aa", "aaaa"));
        assert!(!fits("claude-#", "claude-é"));
    }

    #[test]
    fn patterns_that_say_nothing_are_refused() {
        for pattern in ["", "*", "##*", "a b", "a*b*c", "x", "modèle"] {
            assert!(Pattern::new(pattern).is_err(), "{pattern}");
        }
    }
}
