//! Durations as `500ms`, `10s`, `1m`, `2h`; a bare number is milliseconds, as in the
//! OpenTelemetry environment variables.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error};

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Millis(u64),
    Text(String),
}

/// Reads a duration from its written form.
///
/// # Errors
/// Says what is accepted.
pub fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let accepted = "accepted are a whole number and one of ms, s, m, h, such as `10s`";
    let number: u64 = number
        .parse()
        .map_err(|_| format!("`{text}` is not a duration; {accepted}"))?;
    let millis = match unit.trim() {
        "" | "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => return Err(format!("`{unit}` is not a unit of time; {accepted}")),
    };
    millis
        .map(Duration::from_millis)
        .ok_or_else(|| format!("`{text}` is too long"))
}

/// Writes a duration in the largest unit that is exact.
#[must_use]
pub fn format(value: Duration) -> String {
    let millis = value.as_millis();
    match millis {
        0 => "0s".to_owned(),
        m if m % 3_600_000 == 0 => format!("{}h", m / 3_600_000),
        m if m % 60_000 == 0 => format!("{}m", m / 60_000),
        m if m % 1_000 == 0 => format!("{}s", m / 1_000),
        m => format!("{m}ms"),
    }
}

pub(crate) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&format(*value))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    match Written::deserialize(from).map_err(|_| {
        D::Error::custom("not a duration; accepted are milliseconds or text such as `10s`")
    })? {
        Written::Millis(ms) => Ok(Duration::from_millis(ms)),
        Written::Text(text) => parse(&text).map_err(D::Error::custom),
    }
}

/// The same for a duration that may be left out.
pub mod optional {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => super::serialize(value, to),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        #[derive(Deserialize)]
        struct Inner(#[serde(with = "super")] Duration);
        Ok(Option::<Inner>::deserialize(from)?.map(|Inner(value)| value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_the_largest_exact_unit() {
        for (written, millis, shown) in [
            ("1500ms", 1_500, "1500ms"),
            ("250", 250, "250ms"),
            ("90s", 90_000, "90s"),
            ("120s", 120_000, "2m"),
            (" 2h ", 7_200_000, "2h"),
            ("0", 0, "0s"),
        ] {
            let value = parse(written).unwrap();
            assert_eq!(value, Duration::from_millis(millis), "{written}");
            assert_eq!(format(value), shown);
        }
    }

    #[test]
    fn refuses_the_rest_and_says_what_is_accepted() {
        for written in ["", "s", "-1s", "1.5s", "1 day", "10x"] {
            let error = parse(written).unwrap_err();
            assert!(error.contains("ms, s, m, h"), "{written}: {error}");
        }
        assert!(parse("9999999999999999h").is_err());
    }
}
