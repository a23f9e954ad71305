//! The text of records: its parts, unread, and scalars.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Longest `fields` or `context`, in bytes of JSON.
const MAX_OBJECT: usize = 64 * 1024;

/// Why a record is refused.
pub(super) struct Refusal {
    pub(super) field: Cow<'static, str>,
    pub(super) reason: Cow<'static, str>,
    /// Whether something is missing that the operation's start may have said.
    pub(super) incomplete: bool,
}

impl Refusal {
    pub(super) fn of(
        field: impl Into<Cow<'static, str>>,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            field: field.into(),
            reason: reason.into(),
            incomplete: false,
        }
    }
}

pub(super) fn check_text(
    text: &str,
    longest: usize,
    refused: impl Fn(char) -> bool,
) -> Result<(), Cow<'static, str>> {
    if text.len() > longest {
        return Err(format!("{} bytes long; accepted are up to {longest}", text.len()).into());
    }
    match text.chars().find(|c| refused(*c)) {
        Some(c) => Err(format!(
            "contains the control character U+{:04X}, which is not accepted",
            u32::from(c)
        )
        .into()),
        None => Ok(()),
    }
}

/// Text that was given at the top of a record; `null` is not given.
pub(super) fn text<'a>(
    raw: Option<&'a RawValue>,
    field: &'static str,
    accepted: &str,
) -> Result<Option<Cow<'a, str>>, Refusal> {
    let Some(raw) = raw else { return Ok(None) };
    match serde_json::from_str(raw.get()) {
        Ok(Scalar::Text(text)) => Ok(Some(text)),
        Ok(other) => Err(Refusal::of(
            field,
            format!("{} given; accepted is {accepted}, as text", other.kind()),
        )),
        Err(error) => Err(Refusal::of(field, error.to_string())),
    }
}

/// The start of a text, to be shown.
pub(super) fn excerpt(text: &str) -> String {
    let mut shown: String = text.chars().filter(|c| !c.is_control()).take(64).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// Calls `entry` for every key of an object of scalars until it refuses one.
pub(super) fn each<'a>(
    raw: &'a RawValue,
    name: &'static str,
    entry: impl FnMut(&str, Scalar<'a>) -> Result<(), Cow<'static, str>>,
) -> Result<(), Refusal> {
    let text = raw.get();
    if !text.starts_with('{') {
        return Err(Refusal::of(name, "accepted is an object"));
    }
    if text.len() > MAX_OBJECT {
        return Err(Refusal::of(
            name,
            format!("{} bytes long; accepted are up to {MAX_OBJECT}", text.len()),
        ));
    }
    let mut refused = None;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let result = deserializer.deserialize_map(Entries {
        entry,
        refused: &mut refused,
    });
    match (refused, result) {
        (Some((key, reason)), _) => Err(Refusal::of(format!("{name}.{}", excerpt(&key)), reason)),
        (None, Err(error)) => Err(Refusal::of(name, error.to_string())),
        (None, Ok(())) => Ok(()),
    }
}

struct Entries<'r, F> {
    entry: F,
    refused: &'r mut Option<(String, Cow<'static, str>)>,
}

impl<'de, F> Visitor<'de> for Entries<'_, F>
where
    F: FnMut(&str, Scalar<'de>) -> Result<(), Cow<'static, str>>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            let scalar = map.next_value()?;
            if self.refused.is_none()
                && let Err(reason) = (self.entry)(&key, scalar)
            {
                *self.refused = Some((key.into_owned(), reason));
            }
        }
        Ok(())
    }
}

/// An object with what was added to it; what was given in it stands.
pub(super) fn with(
    added: &serde_json::Map<String, serde_json::Value>,
    given: Option<&RawValue>,
) -> String {
    if added.is_empty() {
        return object(given);
    }
    let merged = serde_json::to_string(added)
        .ok()
        .and_then(|added| merge(&added, given));
    object(merged.as_deref().or(given))
}

/// The object of a start with the keys of the end over it; `None` if the end's stands alone.
pub(super) fn merge(start: &str, end: Option<&RawValue>) -> Option<Box<RawValue>> {
    let mut merged: BTreeMap<String, &RawValue> = serde_json::from_str(start).ok()?;
    if let Some(end) = end {
        let over: BTreeMap<String, &RawValue> = serde_json::from_str(end.get()).ok()?;
        merged.extend(over.into_iter().filter(|(_, value)| value.get() != "null"));
    }
    serde_json::value::to_raw_value(&merged).ok()
}

pub(super) fn object(raw: Option<&RawValue>) -> String {
    raw.map_or("{}", RawValue::get).to_owned()
}

/// A value of a field.
pub(super) enum Scalar<'a> {
    Null,
    Bool,
    Number(f64),
    Text(Cow<'a, str>),
    Compound(&'static str),
}

impl Scalar<'_> {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::Compound(kind) => kind,
        }
    }
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Bool)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Compound("an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Compound("an object"))
    }
}

/// A key, borrowed unless it has escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(ScalarVisitor)? {
            Scalar::Text(text) => Ok(Self(text)),
            _ => Err(serde::de::Error::custom("a key is text")),
        }
    }
}

/// A record as it was sent, its parts unread.
#[derive(Default)]
pub(super) struct Wire<'a> {
    pub(super) signal: Option<&'a RawValue>,
    pub(super) id: Option<&'a RawValue>,
    pub(super) time: Option<&'a RawValue>,
    pub(super) duration: Option<&'a RawValue>,
    pub(super) fields: Option<&'a RawValue>,
    pub(super) context: Option<&'a RawValue>,
    pub(super) parent: Option<&'a RawValue>,
    pub(super) event: Option<&'a RawValue>,
    pub(super) expires_in: Option<&'a RawValue>,
    pub(super) usage: Option<&'a RawValue>,
    pub(super) refused: Option<(String, &'static str)>,
}

impl<'de> Deserialize<'de> for Wire<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(WireVisitor)
    }
}

struct WireVisitor;

impl<'de> Visitor<'de> for WireVisitor {
    type Value = Wire<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an object with signal, id, event, time, duration, expires_in, parent, fields, context, usage",
        )
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut wire = Wire::default();
        let mut seen = 0_u16;
        while let Some(Key(key)) = map.next_key()? {
            let value: &'de RawValue = map.next_value()?;
            let (bit, slot) = match &*key {
                "signal" => (1, &mut wire.signal),
                "id" => (2, &mut wire.id),
                "time" => (4, &mut wire.time),
                "duration" => (8, &mut wire.duration),
                "fields" => (16, &mut wire.fields),
                "context" => (32, &mut wire.context),
                "parent" => (64, &mut wire.parent),
                "event" => (128, &mut wire.event),
                "expires_in" => (256, &mut wire.expires_in),
                "usage" => (512, &mut wire.usage),
                other => {
                    wire.refused.get_or_insert_with(|| {
                        let reason = "not part of a record; accepted are signal, id, event, time, duration, expires_in, parent, fields, context, usage";
                        (excerpt(other), reason)
                    });
                    continue;
                }
            };
            if seen & bit != 0 {
                wire.refused
                    .get_or_insert_with(|| (key.into_owned(), "given twice"));
                continue;
            }
            seen |= bit;
            // `null` is the same as absent.
            *slot = (value.get() != "null").then_some(value);
        }
        Ok(wire)
    }
}
