//! Reads records and holds them against the catalog.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::batch::{Batch, Rejected};
use super::frame::{Malformed, split};
use crate::catalog::{LabelKind, Signal, SignalKind};
use crate::ledger::Record;
use crate::recording::{self, Recorder};

/// Longest label value, in bytes.
const MAX_LABEL: usize = 256;
/// Longest context value, in bytes.
const MAX_CONTEXT: usize = 4096;
/// Longest `fields` or `context`, in bytes of JSON.
const MAX_OBJECT: usize = 64 * 1024;
/// Longest duration, in seconds: 366 days.
const MAX_DURATION: f64 = 366.0 * 86_400.0;
/// How far a record's time may be ahead of ours: a day, for clocks that are wrong.
const MAX_AHEAD: Duration = Duration::from_secs(86_400);
/// 2000-01-01T00:00:00Z, in microseconds.
const EARLIEST_US: i64 = 946_684_800_000_000;

/// What time it is, also after the system's clock was set back.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall_us: i64,
    /// The latest of the system's clock and what it would be had nobody set it.
    horizon_us: i64,
}

impl Clock {
    /// The present; `started` was read from both clocks at the same moment.
    #[must_use]
    pub fn now(started: (SystemTime, Instant)) -> Self {
        let ran = started.0 + started.1.elapsed();
        Self::at(SystemTime::now(), ran)
    }

    /// When the system's clock says `wall`, and `ran` is what it would say had it run freely
    /// since the start. A record's time is held against the later of the two: a clock that
    /// is set back must not turn away what was fit to be accepted a moment before.
    #[must_use]
    pub fn at(wall: SystemTime, ran: SystemTime) -> Self {
        Self {
            wall_us: micros(wall),
            horizon_us: micros(wall.max(ran) + MAX_AHEAD),
        }
    }
}

fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Reads a body: those records that pass, and why each other one does not.
///
/// # Errors
/// When the body as a whole is malformed or has more than `limit` records.
pub fn read(body: &[u8], limit: usize, clock: Clock) -> Result<(Batch, Vec<Rejected>), Malformed> {
    let mut batch = Batch::default();
    let mut rejected = Vec::new();
    for (index, frame) in split(body, limit)?.into_iter().enumerate() {
        let result = match frame {
            Ok(text) => admit(&mut batch, text, clock),
            Err(error) => Err(Refusal::of("", format!("not JSON: {error}"))),
        };
        if let Err(Refusal { field, reason }) = result {
            rejected.push(Rejected {
                index,
                field,
                reason,
            });
        }
    }
    Ok((batch, rejected))
}

struct Refusal {
    field: Cow<'static, str>,
    reason: Cow<'static, str>,
}

impl Refusal {
    fn of(field: impl Into<Cow<'static, str>>, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            field: field.into(),
            reason: reason.into(),
        }
    }
}

fn admit(batch: &mut Batch, text: &str, clock: Clock) -> Result<(), Refusal> {
    let wire: Wire<'_> = serde_json::from_str(text).map_err(|error| {
        Refusal::of(
            "",
            format!("accepted is an object that is a record: {error}"),
        )
    })?;
    if let Some((field, reason)) = wire.refused {
        return Err(Refusal::of(field, reason));
    }
    let recorder = recorder(wire.signal)?;
    let signal = recorder.signal();
    let id = id(wire.id)?;
    let time_us = time(wire.time, clock)?;
    let duration = duration(wire.duration, signal)?;
    let mut labels = vec![Cow::Borrowed(""); signal.labels.len()];
    let mut values = vec![None; signal.values.len()];
    if let Some(raw) = wire.fields {
        fields(raw, signal, &mut labels, &mut values)?;
    }
    if let Some(raw) = wire.context {
        context(raw, signal)?;
    }
    let given: Vec<&str> = labels.iter().map(|label| &**label).collect();
    recorder
        .check(&given, &values, duration)
        .map_err(|error| Refusal {
            field: match error.field {
                "duration" => "duration".into(),
                other => format!("fields.{other}").into(),
            },
            reason: error.reason,
        })?;
    let object = |raw: Option<&RawValue>| raw.map_or("{}", RawValue::get).to_owned();
    let record = Record {
        id,
        signal: signal.name,
        time_us,
        duration,
        fields: object(wire.fields),
        context: object(wire.context),
    };
    batch.push(recorder, record, &labels, &values);
    Ok(())
}

fn recorder(raw: Option<&RawValue>) -> Result<&'static dyn Recorder, Refusal> {
    let name = text(raw, "signal", "the name of a declared signal")?.ok_or_else(|| {
        Refusal::of(
            "signal",
            "missing; accepted is the name of a declared signal",
        )
    })?;
    match recording::find(&name) {
        Some(recorder) if recorder.signal().reportable => Ok(recorder),
        Some(_) => Err(Refusal::of(
            "signal",
            format!("`{name}` is recorded by the service itself and not accepted here"),
        )),
        None => Err(Refusal::of("signal", unknown_signal(&name))),
    }
}

fn unknown_signal(name: &str) -> String {
    let shown = excerpt(name);
    let names = recording::all()
        .iter()
        .map(|recorder| recorder.signal())
        .filter(|signal| signal.reportable)
        .map(|signal| signal.name);
    match nearest(&shown, names) {
        Some(near) => format!("`{shown}` is not declared; did you mean `{near}`?"),
        None => format!("`{shown}` is not declared; `tachograph catalog` lists those that are"),
    }
}

/// The name that the given one was probably meant to be.
fn nearest<'n>(given: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    names
        .map(|name| (strsim::jaro_winkler(given, name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

fn id(raw: Option<&RawValue>) -> Result<Uuid, Refusal> {
    let Some(text) = text(raw, "id", "a UUID")? else {
        return Ok(Uuid::now_v7());
    };
    match Uuid::try_parse(&text) {
        Ok(id) if !id.is_nil() => Ok(id),
        _ => Err(Refusal::of(
            "id",
            format!(
                "`{}` is not an id; accepted is a UUID other than nil",
                excerpt(&text)
            ),
        )),
    }
}

fn time(raw: Option<&RawValue>, clock: Clock) -> Result<i64, Refusal> {
    let Some(text) = text(raw, "time", "RFC 3339")? else {
        return Ok(clock.wall_us);
    };
    let refuse = |what: &str| {
        Refusal::of(
            "time",
            format!(
                "`{}` {what}; accepted is RFC 3339 from 2000 to a day ahead of the server's clock",
                excerpt(&text)
            ),
        )
    };
    let time: jiff::Timestamp = text.parse().map_err(|_| refuse("is not a time"))?;
    match time.as_microsecond() {
        early if early < EARLIEST_US => Err(refuse("is too early")),
        late if late > clock.horizon_us => Err(refuse("is in the future")),
        time_us => Ok(time_us),
    }
}

fn duration(raw: Option<&RawValue>, signal: &Signal) -> Result<Option<f64>, Refusal> {
    let accepted = "accepted are seconds from 0 to 31622400 (366 days)";
    let Some(raw) = raw else { return Ok(None) };
    if signal.kind == SignalKind::Measure {
        return Err(Refusal::of(
            "duration",
            "not accepted: the signal is a measure, which has none",
        ));
    }
    match serde_json::from_str::<f64>(raw.get()) {
        // The sum 0.0 takes the sign off a negative zero.
        Ok(seconds) if (0.0..=MAX_DURATION).contains(&seconds) => Ok(Some(seconds + 0.0)),
        _ => Err(Refusal::of(
            "duration",
            format!("`{}` is not one; {accepted}", excerpt(raw.get())),
        )),
    }
}

fn fields<'a>(
    raw: &'a RawValue,
    signal: &Signal,
    labels: &mut [Cow<'a, str>],
    values: &mut [Option<f64>],
) -> Result<(), Refusal> {
    let mut seen = 0_u64;
    each(raw, "fields", |key, scalar| {
        let label = signal.labels.iter().position(|label| label.key == key);
        let value = signal.values.iter().position(|value| value.key == key);
        let slot = match (label, value) {
            (Some(label), _) => label,
            (None, Some(value)) => signal.labels.len() + value,
            (None, None) => return Err(unknown_field(signal, key)),
        };
        // Declarations have far fewer than 64 fields.
        let bit = 1_u64.checked_shl(u32::try_from(slot).unwrap_or(64));
        let bit = bit.unwrap_or(0);
        if seen & bit != 0 {
            return Err("given twice".into());
        }
        seen |= bit;
        match (scalar, label, value) {
            (Scalar::Null, ..) => Ok(()),
            (Scalar::Text(text), Some(label), _) => {
                check_text(&text, MAX_LABEL, char::is_control)?;
                labels[label] = text;
                Ok(())
            }
            (Scalar::Number(number), None, Some(value)) => {
                values[value] = Some(number);
                Ok(())
            }
            (other, Some(label), _) => {
                let accepted = match signal.labels[label].kind {
                    LabelKind::Closed { values, .. } => {
                        format!("text, one of {}", values.join(", "))
                    }
                    LabelKind::Open { .. } => "text".to_owned(),
                };
                Err(format!("{} given; accepted is {accepted}", other.kind()).into())
            }
            (other, None, _) => Err(format!("{} given; accepted is a number", other.kind()).into()),
        }
    })
}

fn unknown_field(signal: &Signal, key: &str) -> Cow<'static, str> {
    let labels = signal.labels.iter().map(|label| label.key);
    let names: Vec<&str> = labels
        .chain(signal.values.iter().map(|value| value.key))
        .collect();
    let context = signal.context.iter().any(|field| field.key == key);
    unknown(
        signal,
        &names,
        if context {
            "; it belongs into `context`"
        } else {
            ""
        },
    )
}

fn unknown(signal: &Signal, names: &[&str], hint: &str) -> Cow<'static, str> {
    let accepted = match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    format!(
        "not declared for `{}`; accepted are {accepted}{hint}",
        signal.name
    )
    .into()
}

fn context(raw: &RawValue, signal: &Signal) -> Result<(), Refusal> {
    let mut seen = Vec::new();
    each(raw, "context", |key, scalar| {
        let Some(position) = signal.context.iter().position(|field| field.key == key) else {
            let names: Vec<&str> = signal.context.iter().map(|field| field.key).collect();
            return Err(unknown(signal, &names, ""));
        };
        if seen.contains(&position) {
            return Err("given twice".into());
        }
        seen.push(position);
        match scalar {
            Scalar::Text(text) => check_text(&text, MAX_CONTEXT, |c| c == '\0'),
            Scalar::Compound(kind) => {
                Err(format!("{kind} given; accepted are text, numbers, true and false").into())
            }
            Scalar::Null | Scalar::Bool | Scalar::Number(_) => Ok(()),
        }
    })
}

fn check_text(
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
fn text<'a>(
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
fn excerpt(text: &str) -> String {
    let mut shown: String = text.chars().filter(|c| !c.is_control()).take(64).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// Calls `entry` for every key of an object of scalars until it refuses one.
fn each<'a>(
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

/// A value of a field.
enum Scalar<'a> {
    Null,
    Bool,
    Number(f64),
    Text(Cow<'a, str>),
    Compound(&'static str),
}

impl Scalar<'_> {
    fn kind(&self) -> &'static str {
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
struct Wire<'a> {
    signal: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    time: Option<&'a RawValue>,
    duration: Option<&'a RawValue>,
    fields: Option<&'a RawValue>,
    context: Option<&'a RawValue>,
    refused: Option<(String, &'static str)>,
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
        f.write_str("an object with signal, id, time, duration, fields, context")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut wire = Wire::default();
        let mut seen = 0_u8;
        while let Some(Key(key)) = map.next_key()? {
            let value: &'de RawValue = map.next_value()?;
            let (bit, slot) = match &*key {
                "signal" => (1, &mut wire.signal),
                "id" => (2, &mut wire.id),
                "time" => (4, &mut wire.time),
                "duration" => (8, &mut wire.duration),
                "fields" => (16, &mut wire.fields),
                "context" => (32, &mut wire.context),
                other => {
                    wire.refused.get_or_insert_with(|| {
                        let reason = "not part of a record; accepted are signal, id, time, duration, fields, context";
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
