//! The two list headers: `tracestate` (W3C Trace Context, section 3.3) and `baggage` (W3C
//! Baggage, section 3.3).

use std::borrow::Cow;

use opentelemetry::baggage::Baggage;
use opentelemetry::trace::TraceState;

/// Members of a `tracestate` at most; with more it is dropped (section 3.3.1.1).
const TRACESTATE_MEMBERS: usize = 32;
/// What a `tracestate` is shortened to, bytes of the written header (section 3.3.1.5).
const TRACESTATE_BYTES: usize = 512;
/// Members longer than this go first when a `tracestate` is shortened (section 3.3.1.5).
const TRACESTATE_LONG_MEMBER: usize = 128;
/// A `tracestate` that is longer as received is not read at all.
const TRACESTATE_RECEIVED: usize = 8192;
/// Bytes of all baggage headers together at most; with more they are dropped.
const BAGGAGE_BYTES: usize = 8192;
/// Members of a baggage that are read.
const BAGGAGE_MEMBERS: usize = 64;

/// Reads `tracestate`, its occurrences joined in order. Malformed, repeated keys or more
/// than 32 members: the whole is dropped. More than 512 bytes: members above 128 bytes go
/// first, then those at the end.
pub(super) fn parse_tracestate<'h>(values: impl IntoIterator<Item = &'h [u8]>) -> TraceState {
    read_tracestate(values).unwrap_or_default()
}

fn read_tracestate<'h>(values: impl IntoIterator<Item = &'h [u8]>) -> Option<TraceState> {
    let mut received = 0;
    let mut members: Vec<(&str, &str)> = Vec::new();
    for value in values {
        received += value.len();
        if received > TRACESTATE_RECEIVED {
            return None;
        }
        for member in value.split(|byte| *byte == b',') {
            let member = std::str::from_utf8(trim_blanks(member)).ok()?;
            if member.is_empty() {
                continue;
            }
            let (key, value) = member.split_once('=')?;
            let repeated = members.iter().any(|(other, _)| *other == key);
            if repeated
                || members.len() == TRACESTATE_MEMBERS
                || !is_state_key(key)
                || !is_state_value(value)
            {
                return None;
            }
            members.push((key, value));
        }
    }
    shorten(&mut members);
    if members.is_empty() {
        return None;
    }
    TraceState::from_key_value(members).ok()
}

fn shorten(members: &mut Vec<(&str, &str)>) {
    let size = |(key, value): &(&str, &str)| key.len() + value.len() + 1;
    let written = |members: &[(&str, &str)]| {
        members.iter().map(size).sum::<usize>() + members.len().saturating_sub(1)
    };
    while written(members) > TRACESTATE_BYTES {
        let long = members
            .iter()
            .rposition(|member| size(member) > TRACESTATE_LONG_MEMBER);
        match long {
            Some(index) => {
                members.remove(index);
            }
            None => {
                members.pop();
            }
        }
    }
}

/// `simple-key` or `tenant@system` (section 3.3.1.3.1; a leading digit as in Level 2).
fn is_state_key(key: &str) -> bool {
    let part = |part: &str, max: usize, digit_first: bool| {
        let bytes = part.as_bytes();
        let first = bytes.first().is_some_and(|byte| {
            byte.is_ascii_lowercase() || (digit_first && byte.is_ascii_digit())
        });
        first
            && bytes.len() <= max
            && bytes.iter().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(byte)
            })
    };
    match key.split_once('@') {
        None => part(key, 256, true),
        Some((tenant, system)) => part(tenant, 241, true) && part(system, 14, false),
    }
}

/// Printable ASCII without `,` and `=`, at most 256, not empty; blanks at its end were
/// trimmed with the member (section 3.3.1.3.2).
fn is_state_value(value: &str) -> bool {
    !value.is_empty()
        && value.len() <= 256
        && value
            .bytes()
            .all(|byte| matches!(byte, 0x20..=0x7e) && byte != b',' && byte != b'=')
}

/// Reads `baggage`, its occurrences joined in order; `None` when nothing can be used.
/// Malformed members are skipped, values percent-decoded, with U+FFFD for what is not UTF-8.
pub(super) fn parse_baggage<'h>(values: impl IntoIterator<Item = &'h [u8]>) -> Option<Baggage> {
    let mut baggage = None;
    let mut received = 0;
    let mut members = 0;
    for value in values {
        received += value.len();
        if received > BAGGAGE_BYTES {
            return None;
        }
        for member in value.split(|byte| *byte == b',') {
            let member = trim_blanks(member);
            if member.is_empty() {
                continue;
            }
            members += 1;
            if members > BAGGAGE_MEMBERS {
                return baggage;
            }
            if let Some((key, value, metadata)) = baggage_member(member) {
                baggage
                    .get_or_insert_with(Baggage::new)
                    .insert_with_metadata(key.to_owned(), value.into_owned(), metadata);
            }
        }
    }
    baggage
}

fn baggage_member(member: &[u8]) -> Option<(&str, Cow<'_, str>, &str)> {
    let (pair, metadata) = match member.iter().position(|byte| *byte == b';') {
        Some(at) => (&member[..at], trim_blanks(&member[at + 1..])),
        None => (member, &[][..]),
    };
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    let key = trim_blanks(&pair[..equals]);
    let value = trim_blanks(&pair[equals + 1..]);
    if key.is_empty() || !key.iter().all(|byte| is_token(*byte)) {
        return None;
    }
    if !value.iter().all(|byte| is_baggage_octet(*byte)) || !is_property_text(metadata) {
        return None;
    }
    Some((
        std::str::from_utf8(key).ok()?,
        percent_decode(value)?,
        std::str::from_utf8(metadata).ok()?,
    ))
}

/// `None` for a `%` without two hexadecimal digits.
fn percent_decode(value: &[u8]) -> Option<Cow<'_, str>> {
    if !value.contains(&b'%') {
        return std::str::from_utf8(value).ok().map(Cow::Borrowed);
    }
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((byte, tail)) = rest.split_first() {
        if *byte == b'%' {
            let (digits, tail) = tail.split_first_chunk::<2>()?;
            let high = (digits[0] as char).to_digit(16)?;
            let low = (digits[1] as char).to_digit(16)?;
            decoded.push(u8::try_from(high * 16 + low).ok()?);
            rest = tail;
        } else {
            decoded.push(*byte);
            rest = tail;
        }
    }
    Some(Cow::Owned(String::from_utf8_lossy(&decoded).into_owned()))
}

/// Writes `baggage`, in the order of its keys, within the same limits; `None` when empty.
pub(super) fn encode_baggage(baggage: &Baggage) -> Option<String> {
    if baggage.is_empty() {
        return None;
    }
    let mut entries: Vec<_> = baggage.iter().collect();
    entries.sort_by(|left, right| left.0.as_str().cmp(right.0.as_str()));
    let mut header = String::new();
    for (key, (value, metadata)) in entries.into_iter().take(BAGGAGE_MEMBERS) {
        let start = header.len();
        if start > 0 {
            header.push(',');
        }
        header.push_str(key.as_str());
        header.push('=');
        for byte in value.as_str().bytes() {
            if is_baggage_octet(byte) && byte != b'%' {
                header.push(byte as char);
            } else {
                const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                header.push('%');
                header.push(DIGITS[usize::from(byte >> 4)] as char);
                header.push(DIGITS[usize::from(byte & 15)] as char);
            }
        }
        let metadata = metadata.as_str();
        if !metadata.is_empty() && is_property_text(metadata.as_bytes()) {
            header.push(';');
            header.push_str(metadata);
        }
        if header.len() > BAGGAGE_BYTES {
            header.truncate(start);
        }
    }
    (!header.is_empty()).then_some(header)
}

/// `tchar` of RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// `baggage-octet` (W3C Baggage, section 3.3.1.3).
fn is_baggage_octet(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e)
}

/// Properties are passed on as they are: anything that a header can hold and that does not
/// end the member.
fn is_property_text(text: &[u8]) -> bool {
    text.iter()
        .all(|byte| matches!(byte, 0x20..=0x7e | b'\t') && *byte != b',')
}

pub(super) fn trim_blanks(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(text: &str) -> String {
        parse_tracestate([text.as_bytes()]).header()
    }

    fn baggage(text: &str) -> Vec<(String, String)> {
        let mut pairs: Vec<_> = parse_baggage([text.as_bytes()])
            .map(|baggage| {
                baggage
                    .iter()
                    .map(|(key, (value, _))| (key.to_string(), value.to_string()))
                    .collect()
            })
            .unwrap_or_default();
        pairs.sort();
        pairs
    }

    #[test]
    fn tracestate_keeps_its_order_and_loses_blanks() {
        assert_eq!(state("b=2 , a=1,, \t,t@v=x y"), "b=2,a=1,t@v=x y");
        let two = parse_tracestate([&b"a=1"[..], b"b=2"]);
        assert_eq!(two.header(), "a=1,b=2");
    }

    #[test]
    fn malformed_tracestate_is_dropped_as_a_whole() {
        for text in [
            "a",
            "a=1,b",
            "A=1",
            "a=1,a=2",
            "=1",
            "a=",
            "a=1=2",
            "@v=1",
            "t@=1",
            "t@9v=1",
            "t@abcdefghijklmno=1",
            "a\u{e9}=1",
            "a=\u{7f}",
            "-a=1",
        ] {
            assert_eq!(state(text), "", "{text}");
        }
        let members = |count| {
            (0..count)
                .map(|i| format!("k{i}=v"))
                .collect::<Vec<_>>()
                .join(",")
        };
        assert_eq!(state(&members(32)), members(32));
        assert_eq!(state(&members(33)), "");
        assert_eq!(state(&format!("{}=1", "k".repeat(257))), "");
        assert_eq!(state(&format!("k={}", "v".repeat(257))), "");
    }

    #[test]
    fn long_tracestate_loses_its_long_members_first() {
        let long = format!("long={}", "v".repeat(200));
        let short: Vec<String> = (0..4)
            .map(|i| format!("k{i}={}", "v".repeat(100)))
            .collect();
        let all = format!("{},{long},{}", short[..2].join(","), short[2..].join(","));
        assert_eq!(state(&all), short.join(","));
        let many: Vec<String> = (0..6)
            .map(|i| format!("k{i}={}", "v".repeat(100)))
            .collect();
        assert_eq!(state(&many.join(",")), many[..4].join(","));
    }

    #[test]
    fn baggage_values_are_decoded_and_come_out_as_they_were() {
        let text = "a=1=2,b=100%25%20%C3%A9;p=1;q, c = x ";
        assert_eq!(
            baggage(text),
            [("a", "1=2"), ("b", "100% \u{e9}"), ("c", "x")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
        let read = parse_baggage([text.as_bytes()]).unwrap();
        assert_eq!(
            encode_baggage(&read).unwrap(),
            "a=1=2,b=100%25%20%C3%A9;p=1;q,c=x"
        );
    }

    #[test]
    fn malformed_members_of_baggage_are_skipped() {
        assert_eq!(
            baggage("x,=1,k y=1,a=1,b=%zz,c=%4,d=\"q\",e=\u{e9},f=2;p=\u{e9},g=%ff"),
            [("a", "1"), ("g", "\u{fffd}")].map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
        assert!(parse_baggage([&b"nothing"[..]]).is_none());
    }

    #[test]
    fn baggage_is_limited() {
        let many: Vec<String> = (0..70).map(|i| format!("k{i:02}=v")).collect();
        assert_eq!(baggage(&many.join(",")).len(), 64);
        assert_eq!(baggage(&format!("k={}", "v".repeat(8190))).len(), 1);
        assert_eq!(baggage(&format!("k={}", "v".repeat(8191))).len(), 0);
        let half = format!("k={}", "v".repeat(5000));
        assert!(parse_baggage([half.as_bytes(), half.as_bytes()]).is_none());
    }
}
