//! The parts of a record, each held against what is declared.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::value::RawValue;
use uuid::Uuid;

use super::wire::{Refusal, Scalar, check_text, each, excerpt, text};
use crate::catalog::{LabelKind, Signal, SignalKind};
use crate::recording::{self, FieldError, Recorder};

/// Longest label value, in bytes.
const MAX_LABEL: usize = 256;
/// Longest context value, in bytes.
const MAX_CONTEXT: usize = 4096;
/// Longest duration, in seconds: 366 days.
pub(super) const MAX_DURATION: f64 = 366.0 * 86_400.0;

pub(super) fn undeclared(error: FieldError) -> Refusal {
    Refusal {
        field: match error.field {
            "duration" => "duration".into(),
            other => format!("fields.{other}").into(),
        },
        incomplete: error.reason.starts_with("missing"),
        reason: error.reason,
    }
}

pub(super) fn event(raw: Option<&RawValue>) -> Result<Option<&'static str>, Refusal> {
    let accepted = "`start` or `end`";
    match text(raw, "event", accepted)?.as_deref() {
        None => Ok(None),
        Some("start") => Ok(Some("start")),
        Some("end") => Ok(Some("end")),
        Some(other) => Err(Refusal::of(
            "event",
            format!("`{}` is not one; accepted is {accepted}", excerpt(other)),
        )),
    }
}

pub(super) fn expires_in(raw: Option<&RawValue>) -> Result<Option<Duration>, Refusal> {
    let Some(raw) = raw else { return Ok(None) };
    match serde_json::from_str::<f64>(raw.get()) {
        Ok(seconds) if (1.0..=MAX_DURATION).contains(&seconds) => {
            Ok(Some(Duration::from_secs_f64(seconds)))
        }
        _ => Err(Refusal::of(
            "expires_in",
            format!(
                "`{}` is not accepted; accepted are seconds from 1 to 31622400 (366 days)",
                excerpt(raw.get())
            ),
        )),
    }
}

pub(super) fn recorder(raw: Option<&RawValue>) -> Result<&'static dyn Recorder, Refusal> {
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

pub(super) fn id(raw: Option<&RawValue>) -> Result<Option<Uuid>, Refusal> {
    uuid(raw, "id")
}

pub(super) fn parent(raw: Option<&RawValue>) -> Result<Option<Uuid>, Refusal> {
    uuid(raw, "parent")
}

fn uuid(raw: Option<&RawValue>, field: &'static str) -> Result<Option<Uuid>, Refusal> {
    let Some(text) = text(raw, field, "a UUID")? else {
        return Ok(None);
    };
    match Uuid::try_parse(&text) {
        Ok(id) if !id.is_nil() => Ok(Some(id)),
        _ => Err(Refusal::of(
            field,
            format!(
                "`{}` is not an id; accepted is a UUID other than nil",
                excerpt(&text)
            ),
        )),
    }
}

pub(super) fn duration(raw: Option<&RawValue>, signal: &Signal) -> Result<Option<f64>, Refusal> {
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

pub(super) fn fields<'a>(
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

/// Reads the context; texts come into `found`.
pub(super) fn context_fields<'a>(
    raw: &'a RawValue,
    signal: &Signal,
    found: &mut Vec<(&'static str, Cow<'a, str>)>,
) -> Result<(), Refusal> {
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
            Scalar::Text(text) => {
                check_text(&text, MAX_CONTEXT, |c| c == '\0')?;
                found.push((signal.context[position].key, text));
                Ok(())
            }
            Scalar::Compound(kind) => {
                Err(format!("{kind} given; accepted are text, numbers, true and false").into())
            }
            Scalar::Null | Scalar::Bool | Scalar::Number(_) => Ok(()),
        }
    })
}
