//! Grafana's variables in PromQL, replaced by text of the same length that parses, so that
//! positions stay those of the original.

/// Stands in strings where a variable was.
const IN_TEXT: char = '\u{1}';
/// What an identifier made of a variable contains.
const IN_NAME: &str = "V_";

/// Whether text contains a variable's replacement.
pub(super) fn is_variable(text: &str) -> bool {
    text.contains(IN_TEXT) || text.contains(IN_NAME)
}

/// An expression without variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Substituted {
    pub(super) text: String,
    /// Byte ranges of the variables.
    pub(super) spans: Vec<(usize, usize)>,
    /// Whether a variable stands for a function, an operator or a number.
    pub(super) opaque: bool,
}

/// What variables outside strings and windows stand for.
#[derive(Clone, Copy)]
struct Guess {
    number: Number,
    function: &'static str,
}

/// Which of them are numbers.
#[derive(Clone, Copy, PartialEq)]
enum Number {
    None,
    /// Those in first place, as in `topk($n, …)`.
    First,
    All,
}

/// Replacements of an expression's variables, the likeliest first; one of them parses if the
/// expression does.
pub(super) fn substitute(text: &str) -> Vec<Substituted> {
    let mut found: Vec<Substituted> = Vec::new();
    for function in ["min", "rate"] {
        for number in [Number::None, Number::First, Number::All] {
            let substituted = with(text, Guess { number, function });
            if !found.contains(&substituted) {
                found.push(substituted);
            }
        }
    }
    found
}

fn with(text: &str, guess: Guess) -> Substituted {
    let bytes = text.as_bytes();
    let mut out = text.to_owned().into_bytes();
    let mut spans = Vec::new();
    let mut opaque = false;
    let mut quote = None;
    let (mut brackets, mut braces) = (0_usize, 0_usize);
    let mut i = 0;
    while i < bytes.len() {
        let byte = bytes[i];
        if let Some(end) = variable(bytes, i) {
            spans.push((i, end));
            let place = Place {
                before: &bytes[..i],
                after: &bytes[end..],
                text: quote.is_some(),
                window: brackets > 0,
                braces: braces > 0,
            };
            let (replacement, computed) = place.replace(end - i, guess);
            opaque |= computed;
            out[i..end].copy_from_slice(&replacement);
            i = end;
            continue;
        }
        match (quote, byte) {
            (Some(q), _) if q == byte => quote = None,
            (Some(b'`'), _) => {}
            (Some(_), b'\\') => i += 1,
            (Some(_), _) => {}
            (None, b'"' | b'\'' | b'`') => quote = Some(byte),
            (None, b'#') => {
                while i < bytes.len() && bytes[i] != b'\n' {
                    i += 1;
                }
            }
            (None, b'[') => brackets += 1,
            (None, b']') => brackets = brackets.saturating_sub(1),
            (None, b'{') => braces += 1,
            (None, b'}') => braces = braces.saturating_sub(1),
            _ => {}
        }
        i += 1;
    }
    Substituted {
        // Replacements are ASCII, and variables begin and end at ASCII.
        text: String::from_utf8(out).unwrap_or_default(),
        spans,
        opaque,
    }
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The end of the variable that begins here.
fn variable(bytes: &[u8], at: usize) -> Option<usize> {
    let word = |from: usize| {
        let rest = bytes.get(from..)?;
        let first = rest.first()?;
        if !(first.is_ascii_alphabetic() || *first == b'_') {
            return None;
        }
        Some(from + rest.iter().take_while(|b| is_word(**b)).count())
    };
    // `name`, `name.path`, `name:format`.
    let long = |from: usize, close: &[u8]| {
        let mut end = word(from)?;
        while end < bytes.len() && end - from < 200 {
            if bytes[end..].starts_with(close) {
                return Some(end + close.len());
            }
            if !(is_word(bytes[end]) || matches!(bytes[end], b'.' | b':' | b'-' | b'$')) {
                return None;
            }
            end += 1;
        }
        None
    };
    match bytes.get(at..at + 2)? {
        b"${" => long(at + 2, b"}"),
        b"[[" => long(at + 2, b"]]"),
        [b'$', _] => word(at + 1),
        _ => None,
    }
}

/// What surrounds a variable.
struct Place<'a> {
    before: &'a [u8],
    after: &'a [u8],
    text: bool,
    window: bool,
    braces: bool,
}

impl Place<'_> {
    /// The replacement, and whether what is computed depends on it.
    fn replace(&self, length: usize, guess: Guess) -> (Vec<u8>, bool) {
        let before = self.before.trim_ascii_end();
        let after = self.after.trim_ascii_start();
        let joined = self
            .before
            .last()
            .is_some_and(|b| is_word(*b) || *b == b':')
            || self
                .after
                .first()
                .is_some_and(|b| is_word(*b) || *b == b':');
        if self.text {
            return (vec![IN_TEXT as u8; length], false);
        }
        let before_lower = before.to_ascii_lowercase();
        if self.window || before_lower.ends_with(b"offset") || before_lower.ends_with(b"offset -") {
            return (self.duration(length), false);
        }
        if self.braces {
            let matcher = after.starts_with(b"=") || after.starts_with(b"!");
            let replacement = if matcher || joined {
                name(length)
            } else {
                vec![b' '; length]
            };
            return (replacement, false);
        }
        let called = after.starts_with(b"(")
            || after
                .get(..2)
                .is_some_and(|word| word.eq_ignore_ascii_case(b"by"))
            || after
                .get(..7)
                .is_some_and(|word| word.eq_ignore_ascii_case(b"without"));
        if called && !joined && length >= guess.function.len() {
            let mut function = guess.function.as_bytes().to_vec();
            function.resize(length, b' ');
            return (function, true);
        }
        let first = before.ends_with(b"(") && after.starts_with(b",");
        let number = guess.number == Number::All || guess.number == Number::First && first;
        if number && !joined {
            let mut number = vec![b'0'; length];
            number[length - 1] = b'1';
            return (number, guess.number == Number::All);
        }
        (name(length), false)
    }

    /// A duration, or the part of one that is missing.
    fn duration(&self, length: usize) -> Vec<u8> {
        let digit_before = self.before.last().is_some_and(u8::is_ascii_digit);
        let unit_after = self.after.first().is_some_and(u8::is_ascii_alphabetic);
        let mut duration = vec![b'0'; length];
        if digit_before {
            duration.fill(b' ');
            duration[0] = b'm';
        } else if unit_after {
            duration[length - 1] = b'5';
        } else {
            duration[length - 2] = b'5';
            duration[length - 1] = b'm';
        }
        duration
    }
}

fn name(length: usize) -> Vec<u8> {
    let mut name = vec![b'_'; length];
    name[0] = b'V';
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacements_keep_positions_and_parse() {
        for text in [
            r#"sum by (job) (rate(a_total{job=~"$job",x="${x:regex}"}[$__rate_interval]))"#,
            "rate(a_total[[[interval]]])",
            "rate(a_total[${__range_s}s])",
            "a offset $shift",
            "topk($n, a)",
            "topk(${n}, $metric)",
            "a > $threshold",
            "histogram_quantile(${q}, sum by (le) (rate(a_bucket[5m])))",
            "${prefix}_requests_total{$filter}",
            "a{job=\"x\", ${more:raw}}",
            "$agg by ($group) (a)",
            "${fn}(a_total[5m])",
            "max_over_time(a[$__range:$__interval])",
            "a{$label=\"x\"}",
            "a * [[factor]]",
        ] {
            let parsed = substitute(text).into_iter().find(|substituted| {
                assert_eq!(substituted.text.len(), text.len(), "{text}");
                promql_parser::parser::parse(&substituted.text).is_ok()
            });
            assert!(parsed.is_some(), "{text}: {:?}", substitute(text));
        }
    }

    #[test]
    fn no_variable_no_change() {
        for text in [
            "a{b=\"5$\"} # $x\n> 1",
            "a{b=~\"x$|y\"}",
            "rate(a[5m:1m])",
            "$",
            "${",
            "[[",
        ] {
            let substituted = substitute(text);
            assert_eq!(substituted.len(), 1, "{text}");
            assert_eq!(substituted[0].text, text);
            assert!(substituted[0].spans.is_empty());
        }
    }
}
