//! What stands in a message of Celery's events: kombu's envelope, and in it one event or a list
//! of them (kombu 5, `transport/virtual/base.py`; Celery 5, `events/dispatcher.py`).

use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher as _, Hash as _, Hasher as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::signals::celery::{CeleryEventProblem as Problem, CeleryEventType as EventType};

/// Longest message that is read, bytes.
const MAX_MESSAGE: usize = 8 << 20;
/// Events that are read of one list; a worker sends 24 at most.
const MAX_EVENTS: usize = 10_000;
/// Longest name of a task, a queue or a worker that is kept, bytes; more would not fit a label.
const MAX_NAME: usize = 256;

/// An event, as far as it is used.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its type.
    pub kind: EventType,
    /// Name of the worker or client that sent it.
    pub host: String,
    /// When it was sent, seconds since the Unix epoch by its sender's clock.
    pub at: f64,
    /// Tells it from others.
    pub fingerprint: u64,
    /// The task it is about; 0 where it is about none.
    pub task: u128,
    /// Name of the task.
    pub name: Option<String>,
    /// Queue that the task was sent to.
    pub queue: Option<String>,
    /// How often the task had been tried before.
    pub retries: Option<u32>,
    /// The time that the task was asked to wait for, seconds since the Unix epoch.
    pub due: Option<f64>,
    /// How long it ran, seconds.
    pub runtime: Option<f64>,
    /// Class of the exception; none: there is none to be seen.
    pub exception: Option<String>,
    /// Time between two heartbeats, seconds.
    pub frequency: Option<f64>,
    /// Tasks that the worker runs.
    pub active: Option<u64>,
    /// Tasks that the worker began to run since it started.
    pub processed: Option<u64>,
}

/// The events of a message, each read or not.
pub fn events(message: &[u8]) -> Vec<Result<Event, Problem>> {
    match body(message) {
        Ok(body) => split(&body),
        Err(problem) => vec![Err(problem)],
    }
}

/// What kombu wraps a body in.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    body: Cow<'a, str>,
    #[serde(rename = "content-type", borrow, default)]
    content_type: Text<'a>,
    #[serde(borrow, default)]
    headers: Headers<'a>,
    #[serde(borrow, default)]
    properties: Properties<'a>,
}

#[derive(Default, Deserialize)]
struct Headers<'a> {
    #[serde(borrow, default)]
    compression: Text<'a>,
}

#[derive(Default, Deserialize)]
struct Properties<'a> {
    #[serde(borrow, default)]
    body_encoding: Text<'a>,
}

/// The JSON in an envelope.
pub(super) fn body(message: &[u8]) -> Result<Vec<u8>, Problem> {
    if message.len() > MAX_MESSAGE {
        return Err(Problem::TooLarge);
    }
    let envelope: Envelope<'_> = serde_json::from_slice(message).map_err(|_| Problem::Malformed)?;
    let json = envelope.content_type.0.as_deref();
    if json.is_some_and(|kind| kind != "application/json")
        || envelope.headers.compression.0.is_some()
    {
        return Err(Problem::Serializer);
    }
    match envelope.properties.body_encoding.0.as_deref() {
        Some("base64") => STANDARD
            .decode(envelope.body.as_bytes())
            .map_err(|_| Problem::Malformed),
        None => Ok(envelope.body.into_owned().into_bytes()),
        Some(_) => Err(Problem::Serializer),
    }
}

/// The events of a body: one, or a list, whose items are read each for itself.
fn split(body: &[u8]) -> Vec<Result<Event, Problem>> {
    if body.trim_ascii_start().first() != Some(&b'[') {
        return vec![event(body)];
    }
    match serde_json::from_slice::<Vec<&RawValue>>(body) {
        Ok(items) if items.len() > MAX_EVENTS => vec![Err(Problem::TooLarge)],
        Ok(items) => {
            let items = items.into_iter();
            items.map(|item| event(item.get().as_bytes())).collect()
        }
        Err(_) => vec![Err(Problem::Malformed)],
    }
}

/// An event as it is written. What is not of the type that Celery writes counts as absent, since
/// applications send events of their own.
#[derive(Deserialize)]
struct Written<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    hostname: Text<'a>,
    #[serde(default)]
    timestamp: Number,
    #[serde(default)]
    clock: Number,
    #[serde(borrow, default)]
    uuid: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    queue: Text<'a>,
    #[serde(default)]
    retries: Number,
    #[serde(borrow, default)]
    eta: Text<'a>,
    #[serde(default)]
    runtime: Number,
    #[serde(borrow, default)]
    exception: Text<'a>,
    #[serde(default)]
    freq: Number,
    #[serde(default)]
    active: Number,
    #[serde(default)]
    processed: Number,
}

fn event(json: &[u8]) -> Result<Event, Problem> {
    let written: Written<'_> = serde_json::from_slice(json).map_err(|_| Problem::Malformed)?;
    let kind = EventType::parse(&written.kind).unwrap_or(EventType::Custom);
    let (host, at) = (written.hostname.name(), written.timestamp.0);
    if kind == EventType::Custom {
        return Ok(Event::of(kind, host.unwrap_or_default(), at.unwrap_or(0.0)));
    }
    let (Some(host), Some(at)) = (host, at) else {
        return Err(Problem::Malformed);
    };
    let id = written.uuid.0.as_deref().filter(|id| !id.is_empty());
    let of_task = written.kind.starts_with("task-");
    let task = match (of_task, id) {
        (true, None) => return Err(Problem::Malformed),
        (true, Some(id)) => key(id),
        (false, _) => 0,
    };
    let mut hasher = foldhash::fast::FixedState::with_seed(0).build_hasher();
    (kind, &host, at.to_bits(), task).hash(&mut hasher);
    written.clock.0.map(f64::to_bits).hash(&mut hasher);
    Ok(Event {
        fingerprint: hasher.finish(),
        task,
        name: written.name.name(),
        queue: written.queue.name(),
        retries: written.retries.whole().and_then(|n| u32::try_from(n).ok()),
        due: written.eta.0.as_deref().and_then(seconds),
        runtime: written.runtime.0.filter(|runtime| *runtime >= 0.0),
        exception: written.exception.0.as_deref().and_then(class),
        frequency: written.freq.0.filter(|freq| *freq > 0.0),
        active: written.active.whole(),
        processed: written.processed.whole(),
        ..Event::of(kind, host, at)
    })
}

impl Event {
    /// An event that says no more.
    #[must_use]
    pub const fn of(kind: EventType, host: String, at: f64) -> Self {
        Self {
            kind,
            host,
            at,
            fingerprint: 0,
            task: 0,
            name: None,
            queue: None,
            retries: None,
            due: None,
            runtime: None,
            exception: None,
            frequency: None,
            active: None,
            processed: None,
        }
    }
}

/// A key of fixed size for a task's id, which is a UUID unless the application gives one.
fn key(id: &str) -> u128 {
    if let Ok(uuid) = Uuid::try_parse(id) {
        return uuid.as_u128();
    }
    let digest = Sha256::digest(id);
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(key)
}

/// A time as Python's `isoformat` writes it, seconds since the Unix epoch; without a zone it is
/// UTC.
fn seconds(time: &str) -> Option<f64> {
    let zoned = time.parse::<jiff::Timestamp>().ok();
    let time = zoned.or_else(|| {
        let naive = time.parse::<jiff::civil::DateTime>().ok()?;
        let utc = naive.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(utc.timestamp())
    });
    Some(time?.as_duration().as_secs_f64())
}

/// The class of an exception, out of what Python's `repr` says of it: `ValueError('no')`. Of
/// Celery's own `Retry('why', ConnectionError('away'), 180)` it is that of what made it try again.
fn class(repr: &str) -> Option<String> {
    let (name, rest) = called(repr)?;
    let cause = match name {
        "Retry" => second(rest).and_then(called).map(|(cause, _)| cause),
        _ => None,
    };
    let cause = cause.filter(|cause| *cause != "None");
    Some(cause.unwrap_or(name).to_owned())
}

/// What is called in Python, without its path, and what it is called with.
fn called(repr: &str) -> Option<(&str, &str)> {
    let repr = repr.trim_start();
    let part = |c: char| c == '_' || c == '.' || c.is_alphanumeric();
    let end = repr.find(|c| !part(c)).unwrap_or(repr.len());
    let (path, rest) = repr.split_at(end);
    let name = path.rsplit('.').next()?;
    let starts = |c: char| c == '_' || c.is_alphabetic();
    let ends = rest.is_empty() || rest.starts_with(['(', ',', ')']);
    (ends && name.starts_with(starts) && name.len() <= 64).then_some((name, rest))
}

/// The second of the arguments that a text begins with.
fn second(arguments: &str) -> Option<&str> {
    let (mut depth, mut quote, mut escaped) = (0_u32, None, false);
    for (at, c) in arguments.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 1 => return arguments.get(at + 1..),
            _ => {}
        }
    }
    None
}

/// A text, or nothing where something else stands.
#[derive(Default)]
struct Text<'a>(Option<Cow<'a, str>>);

impl Text<'_> {
    /// As a name that fits a label: neither empty nor too long.
    fn name(self) -> Option<String> {
        let text = self.0.filter(|text| !text.is_empty())?;
        let mut text = text.into_owned();
        if text.len() > MAX_NAME {
            text.truncate(text.floor_char_boundary(MAX_NAME));
        }
        Some(text)
    }
}

/// A finite number, or nothing where something else stands.
#[derive(Default)]
struct Number(Option<f64>);

impl Number {
    /// Where it is a whole number, 0 or more.
    fn whole(&self) -> Option<u64> {
        let number = self.0.filter(|n| *n >= 0.0 && n.fract() == 0.0)?;
        (number <= 9e15).then_some(number as u64)
    }
}

/// Reads a value of any type, and keeps that of one.
struct Any<T>(std::marker::PhantomData<T>);

/// What a value of any type becomes.
trait Kept<'de>: Default {
    fn text(_: Cow<'de, str>) -> Self {
        Self::default()
    }

    fn number(_: f64) -> Self {
        Self::default()
    }
}

impl<'de> Kept<'de> for Text<'de> {
    fn text(text: Cow<'de, str>) -> Self {
        Self(Some(text))
    }
}

impl Kept<'_> for Number {
    fn number(number: f64) -> Self {
        Self(Some(number).filter(|number| number.is_finite()))
    }
}

impl<'de, T: Kept<'de>> Visitor<'de> for Any<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<T, E> {
        Ok(T::text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<T, E> {
        Ok(T::text(Cow::Owned(text.to_owned())))
    }

    fn visit_f64<E>(self, number: f64) -> Result<T, E> {
        Ok(T::number(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<T, E> {
        Ok(T::number(number as f64))
    }

    fn visit_i64<E>(self, number: i64) -> Result<T, E> {
        Ok(T::number(number as f64))
    }

    fn visit_bool<E>(self, _: bool) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<T, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(T::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<T, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(T::default())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Any::<Text<'de>>(std::marker::PhantomData))
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Any::<Self>(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wrapped(body: &str) -> Vec<u8> {
        let body = STANDARD.encode(body);
        format!(
            r#"{{"body": "{body}", "content-encoding": "utf-8",
                 "content-type": "application/json", "headers": {{"hostname": "celery@a"}},
                 "properties": {{"delivery_mode": 1, "delivery_info": {{"exchange": "celeryev",
                 "routing_key": "task.multi"}}, "priority": 0, "body_encoding": "base64",
                 "delivery_tag": "x"}}}}"#
        )
        .into_bytes()
    }

    const STARTED: &str = r#"{"hostname": "celery@a", "utcoffset": 0, "pid": 7, "clock": 12,
        "uuid": "6f0f7d0a-1c6e-4b59-9c45-0a4bb1f7b7c1", "timestamp": 1700000000.5,
        "type": "task-started"}"#;

    #[test]
    fn an_event_and_a_list_of_them_are_read() {
        let one = events(&wrapped(STARTED));
        let [Ok(started)] = &one[..] else {
            panic!("{one:?}");
        };
        assert_eq!(started.kind, EventType::TaskStarted);
        assert_eq!((&*started.host, started.at), ("celery@a", 1_700_000_000.5));
        assert_eq!(started.task, 0x6f0f_7d0a_1c6e_4b59_9c45_0a4b_b1f7_b7c1);
        let failed = r#"{"type": "task-failed", "hostname": "celery@a", "uuid": "mine",
            "timestamp": 2, "exception": "kombu.errors.OperationalError('x', 1)",
            "traceback": "…"}"#;
        let list = format!("[{STARTED}, 7, {failed}, {{\"type\": \"app-x\", \"name\": 3}}]");
        let list = events(&wrapped(&list));
        assert_eq!(list[0].as_ref(), Ok(started));
        assert_eq!(list[1], Err(Problem::Malformed), "the others stand");
        let failed = list[2].as_ref().unwrap();
        assert_eq!(failed.exception.as_deref(), Some("OperationalError"));
        assert_eq!(list[3].as_ref().unwrap().kind, EventType::Custom);
        assert_eq!(list.len(), 4);
    }

    #[test]
    fn events_that_differ_are_told_apart() {
        let print = |json: &str| event(json.as_bytes()).unwrap().fingerprint;
        assert_eq!(print(STARTED), print(STARTED));
        for (from, to) in [
            ("12", "13"),
            ("7c1", "7c2"),
            ("000.5", "000.6"),
            ("@a", "@b"),
        ] {
            assert_ne!(print(STARTED), print(&STARTED.replace(from, to)), "{from}");
        }
    }

    #[test]
    fn fields_are_read_as_celery_writes_them() {
        let sent = r#"{"type": "task-sent", "hostname": "gen1@b", "timestamp": 10.25,
            "uuid": "a", "name": "app.add", "queue": "celery", "retries": 2, "args": "(1,)",
            "eta": "1970-01-01T00:01:40.500000+00:00", "expires": null}"#;
        let sent = event(sent.as_bytes()).unwrap();
        assert_eq!(sent.name.as_deref(), Some("app.add"));
        assert_eq!(sent.queue.as_deref(), Some("celery"));
        assert_eq!((sent.retries, sent.due), (Some(2), Some(100.5)));
        assert_eq!(
            seconds("1970-01-01T00:00:02"),
            Some(2.0),
            "without a zone it is UTC"
        );
        assert_eq!(seconds("soon"), None);
        let beat = r#"{"type": "worker-heartbeat", "hostname": "celery@a", "timestamp": 1,
            "freq": 2.0, "active": 3, "processed": 41, "loadavg": [0.1, 0.2, 0.3],
            "sw_ident": "py-celery", "sw_ver": "5.6.2", "sw_sys": "Linux"}"#;
        let beat = event(beat.as_bytes()).unwrap();
        assert_eq!((beat.frequency, beat.active), (Some(2.0), Some(3)));
        assert_eq!((beat.processed, beat.task), (Some(41), 0));
    }

    #[test]
    fn a_class_is_what_stands_before_the_parenthesis() {
        for (repr, expected) in [
            ("ValueError('no')", Some("ValueError")),
            ("KeyError", Some("KeyError")),
            ("app.errors.Broken(1)", Some("Broken")),
            ("Fehler_ü(1)", Some("Fehler_ü")),
            (
                "Retry(Retry(...), ConnectionError('away'), 0.1)",
                Some("ConnectionError"),
            ),
            ("Retry('x, \\'(y', app.Broken(1), 180)", Some("Broken")),
            ("Retry(\"it's\", KeyError, 1)", Some("KeyError")),
            ("Retry('later', None, 180)", Some("Retry")),
            ("Retry(')", Some("Retry")),
            ("<ExceptionInfo: x>", None),
            ("404 Client Error", None),
            ("HTTPError: 404", None),
            ("", None),
            ("'text'", None),
        ] {
            assert_eq!(class(repr).as_deref(), expected, "{repr}");
        }
        assert_eq!(class(&"E".repeat(65)), None);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let other = |from: &str, to: &str| {
            let text = String::from_utf8(wrapped(STARTED)).unwrap();
            events(text.replace(from, to).as_bytes()).remove(0)
        };
        let msgpack = other("application/json", "application/x-msgpack");
        assert_eq!(msgpack, Err(Problem::Serializer));
        let zipped = other(r#""hostname": "celery@a""#, r#""compression": "gzip""#);
        assert_eq!(zipped, Err(Problem::Serializer));
        assert_eq!(
            other("\"body\": \"", "\"body\": \"?"),
            Err(Problem::Malformed)
        );
        assert!(other("\"base64\"", "null").is_err(), "base64 is no JSON");
        assert_eq!(events(b"")[0], Err(Problem::Malformed));
        let long = vec![b' '; MAX_MESSAGE + 1];
        assert_eq!(events(&long), [Err(Problem::TooLarge)]);
        for lacking in ["uuid", "hostname", "timestamp"] {
            let json = STARTED.replace(lacking, "other");
            assert_eq!(event(json.as_bytes()), Err(Problem::Malformed), "{lacking}");
        }
    }

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            any::<f64>()
                .prop_filter("JSON has no others", |n| n.is_finite())
                .prop_map(|n| n.to_string()),
            "[a-z(@é.]{0,300}".prop_map(|text| format!("{text:?}")),
            Just("[1, {\"a\": []}]".to_owned()),
            Just("{\"a\": 1e400}".to_owned()),
        ]
    }

    const FIELDS: &[&str] = &[
        "hostname",
        "timestamp",
        "clock",
        "uuid",
        "name",
        "queue",
        "retries",
        "eta",
        "runtime",
        "exception",
        "freq",
        "active",
        "processed",
    ];

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = events(&bytes);
            let _ = split(&bytes);
            let _ = class(&format!("Retry{}", String::from_utf8_lossy(&bytes)));
        }

        #[test]
        fn no_field_of_another_type_makes_it_panic(
            kind in prop_oneof![Just("task-failed"), Just("worker-heartbeat"), Just("x")],
            fields in proptest::sample::subsequence(FIELDS, 0..FIELDS.len()),
            values in proptest::collection::vec(value(), FIELDS.len()),
        ) {
            let mut json = format!("{{\"type\": \"{kind}\"");
            for (field, value) in fields.iter().zip(&values) {
                json += &format!(", \"{field}\": {value}");
            }
            json.push('}');
            for read in events(&wrapped(&format!("[{json}, {json}]"))).into_iter().flatten() {
                prop_assert!(read.name.is_none_or(|name| name.len() <= MAX_NAME));
                prop_assert!(read.at.is_finite());
            }
        }

        #[test]
        fn a_list_has_as_many_events_as_were_sent(count in 0_usize..60) {
            let list = vec![STARTED; count].join(",");
            let read = events(&wrapped(&format!("[{list}]")));
            prop_assert_eq!(read.len(), count);
            prop_assert!(read.iter().all(Result::is_ok));
        }
    }
}
