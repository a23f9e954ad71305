//! Splits a body into its records without reading them.

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Why nothing of a body was taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not UTF-8, which JSON has to be (RFC 8259, section 8.1).
    #[error("the body is not UTF-8 from byte {0} on")]
    Encoding(usize),
    /// Nothing but white space.
    #[error("the body is empty; accepted are a record, an array of records, or one record a line")]
    Empty,
    /// Neither an object nor an array.
    #[error("the body does not begin with a record or an array of records")]
    Shape,
    /// Not JSON.
    #[error("the body is not JSON: {0}")]
    Json(String),
    /// More records than one request may have.
    #[error("more than {limit} records in one request; send them in several")]
    TooMany {
        /// How many are accepted.
        limit: usize,
    },
}

/// One record's text, or why a line of NDJSON is none.
pub(super) type Frame<'a> = Result<&'a str, String>;

/// The records of a body, in order.
pub(super) fn split(body: &[u8], limit: usize) -> Result<Vec<Frame<'_>>, Malformed> {
    let body =
        std::str::from_utf8(body).map_err(|error| Malformed::Encoding(error.valid_up_to()))?;
    // RFC 8259, section 8.1: a parser may ignore a byte order mark.
    let body = body.strip_prefix('\u{feff}').unwrap_or(body);
    let trimmed = body.trim_matches([' ', '\t', '\r', '\n']);
    match trimmed.as_bytes().first() {
        None => Err(Malformed::Empty),
        Some(b'[') => array(trimmed, limit),
        Some(b'{') => objects(trimmed, limit),
        Some(_) => Err(Malformed::Shape),
    }
}

fn array(body: &str, limit: usize) -> Result<Vec<Frame<'_>>, Malformed> {
    let mut elements = Elements {
        limit,
        too_many: false,
        frames: Vec::new(),
    };
    let mut deserializer = serde_json::Deserializer::from_str(body);
    let result = (&mut elements)
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end());
    match result {
        _ if elements.too_many => Err(Malformed::TooMany { limit }),
        Err(error) => Err(Malformed::Json(error.to_string())),
        Ok(()) => Ok(elements.frames),
    }
}

struct Elements<'a> {
    limit: usize,
    too_many: bool,
    frames: Vec<Frame<'a>>,
}

impl<'de> DeserializeSeed<'de> for &mut Elements<'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for &mut Elements<'de> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(element) = seq.next_element::<&'de RawValue>()? {
            if self.frames.len() == self.limit {
                self.too_many = true;
                return Err(A::Error::custom("too many records"));
            }
            self.frames.push(Ok(element.get()));
        }
        Ok(())
    }
}

/// One object, however it is laid out, or one object a line. A line that is no JSON does not
/// take the others with it; when none is, the body is malformed.
fn objects(body: &str, limit: usize) -> Result<Vec<Frame<'_>>, Malformed> {
    let whole = serde_json::from_str::<&RawValue>(body);
    let error = match whole {
        Ok(record) => return Ok(vec![Ok(record.get())]),
        Err(error) => error.to_string(),
    };
    let mut frames = Vec::new();
    for line in body.lines().filter(|line| !line.trim().is_empty()) {
        if frames.len() == limit {
            return Err(Malformed::TooMany { limit });
        }
        frames.push(match serde_json::from_str::<&RawValue>(line) {
            Ok(record) => Ok(record.get()),
            Err(error) => Err(error.to_string()),
        });
    }
    let objects = |frame: &Frame<'_>| matches!(frame, Ok(text) if text.starts_with('{'));
    if frames.len() > 1 && frames.iter().any(objects) {
        Ok(frames)
    } else {
        Err(Malformed::Json(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(body: &str) -> Vec<String> {
        let frames = split(body.as_bytes(), 10).unwrap();
        frames
            .into_iter()
            .map(|frame| frame.map_or_else(|_| "malformed".to_owned(), str::to_owned))
            .collect()
    }

    #[test]
    fn one_record_an_array_and_lines_are_told_apart() {
        assert_eq!(texts("{\n \"a\": 1\n}\n"), ["{\n \"a\": 1\n}"]);
        assert_eq!(texts("\u{feff} [ {\"a\":1} , 2 ]"), ["{\"a\":1}", "2"]);
        assert_eq!(
            texts("{\"a\":1}\r\n\n{\"b\":2}\n"),
            ["{\"a\":1}", "{\"b\":2}"]
        );
        assert_eq!(texts("[]"), [] as [&str; 0]);
    }

    #[test]
    fn a_torn_line_leaves_the_others() {
        assert_eq!(
            texts("{\"a\":1}\n{\"b\":\n{\"c\":3}"),
            ["{\"a\":1}", "malformed", "{\"c\":3}"]
        );
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for body in ["{", "[{}", "[{}] x", "{\"a\":1", "{]\n{]", "[1,]"] {
            let result = split(body.as_bytes(), 10);
            assert!(
                matches!(result, Err(Malformed::Json(_))),
                "{body}: {result:?}"
            );
        }
        assert_eq!(split(b" \n", 10), Err(Malformed::Empty));
        assert_eq!(split(b"12", 10), Err(Malformed::Shape));
        assert_eq!(split(b"{\"a\xff\":1}", 10), Err(Malformed::Encoding(3)));
    }

    #[test]
    fn the_number_of_records_is_bounded() {
        let too_many = Err(Malformed::TooMany { limit: 10 });
        assert_eq!(texts(&format!("[{}0]", "0,".repeat(9))).len(), 10);
        assert_eq!(
            split(format!("[{}0]", "0,".repeat(10)).as_bytes(), 10),
            too_many
        );
        assert_eq!(split("{}\n".repeat(11).as_bytes(), 10), too_many);
        assert_eq!(texts(&"{}\n".repeat(10)).len(), 10);
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        let deep = format!("[{}{}]", "[".repeat(500_000), "]".repeat(500_000));
        assert_eq!(split(deep.as_bytes(), 10).unwrap().len(), 1);
    }
}
