//! A signal's recorder by name.

use std::borrow::Cow;
use std::time::Duration;

use super::bundle::Begun;
use super::exemplar::SampledSpan;
use super::given::Complete;
use super::metric::MetricSeries;
use crate::catalog::{Feed, Signal, SignalKind};

/// Why a dynamic recording was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct FieldError {
    /// The field.
    pub field: &'static str,
    /// What is wrong and what is accepted.
    pub reason: Cow<'static, str>,
}

/// A signal's recorder by name, for edges that learn at run time what is recorded.
///
/// Labels are given in the order of [`Signal::labels`], values in that of
/// [`Signal::values`]; an empty label is absent. How an operation ended has to be said: only one
/// that nobody ends in this process is abandoned without a word.
pub trait Recorder: Sync {
    /// The signal.
    fn signal(&self) -> &'static Signal;

    /// Checks what [`record`](Self::record) would refuse.
    ///
    /// # Errors
    /// Names the field and says what is accepted.
    fn check(
        &self,
        labels: &[&str],
        values: &[Option<f64>],
        seconds: Option<f64>,
    ) -> Result<(), FieldError>;

    /// Records an end of an operation that took `seconds`, or a measure.
    ///
    /// # Errors
    /// As [`check`](Self::check); then nothing was recorded.
    fn record(
        &'static self,
        labels: &[&str],
        values: &[Option<f64>],
        seconds: Option<f64>,
        span: Option<SampledSpan>,
    ) -> Result<(), FieldError>;

    /// Records an operation that ended at `ended`, in seconds since the Unix epoch where that is
    /// known, as told by somebody who kept it. Where it is not known how long it took, it is
    /// counted, and no distribution of durations observes it.
    ///
    /// # Errors
    /// As [`check`](Self::check), apart from a duration that is not known; then nothing was
    /// recorded.
    fn record_past(
        &'static self,
        labels: &[&str],
        values: &[Option<f64>],
        seconds: Option<f64>,
        ended: Option<f64>,
    ) -> Result<(), FieldError>;

    /// Records labels that were read one by one, as [`record`](Self::record) does.
    ///
    /// # Errors
    /// Of the numbers, as [`check`](Self::check); then nothing was recorded.
    fn record_read(
        &'static self,
        labels: Complete<'_>,
        values: &[Option<f64>],
        seconds: Option<f64>,
        span: Option<SampledSpan>,
    ) -> Result<(), FieldError>;

    /// Records an end of an operation whose duration was measured in this process, with labels
    /// that were read one by one; of a measure nothing.
    ///
    /// # Errors
    /// Of the values, as [`check`](Self::check); then nothing was recorded.
    fn end_read(
        &'static self,
        labels: Complete<'_>,
        values: &[Option<f64>],
        duration: Duration,
        span: Option<SampledSpan>,
    ) -> Result<(), FieldError>;

    /// Counts an operation in flight until the returned guard is dropped; `labels` are those of
    /// a start.
    fn begin_read(&'static self, labels: Complete<'_>) -> Begun;

    /// Makes the metrics, with exponential histograms beside the declared buckets if `native`,
    /// and lets recording begin; false if that was done before.
    #[doc(hidden)]
    fn install(&'static self, native: bool) -> bool;

    /// The metrics with their series; empty until installed.
    fn metrics(&self) -> &[MetricSeries];

    /// In a test program that observes: the metrics as recorded in one scope.
    #[doc(hidden)]
    fn observed(&self, scope: u64) -> &[MetricSeries];

    /// Folds so far by label.
    fn folds(&self) -> Vec<(&'static str, u64)>;
}

/// Checks an operation's duration and the values.
pub(super) fn check_numbers(
    signal: &'static Signal,
    values: &[Option<f64>],
    seconds: Option<f64>,
) -> Result<(), FieldError> {
    if signal.kind == SignalKind::Operation {
        match seconds {
            Some(s) if s.is_finite() && s >= 0.0 => {}
            Some(_) => {
                return Err(FieldError {
                    field: "duration",
                    reason: "accepted are finite seconds, 0 or more".into(),
                });
            }
            None if signal.metrics.iter().any(|m| m.feed == Feed::Duration) => {
                return Err(missing("duration"));
            }
            None => {}
        }
    }
    check_values(signal, values)?;
    if signal.kind == SignalKind::Measure
        && let Some(amount) = values.first().copied().flatten()
        && signal.metrics.iter().any(|m| m.feed == Feed::Count)
        && (amount < 0.0 || amount.fract() != 0.0 || amount > 9e15)
    {
        return Err(FieldError {
            field: "value",
            reason: "accepted are whole numbers, 0 or more".into(),
        });
    }
    Ok(())
}

/// Checks the values.
pub(crate) fn check_values(
    signal: &'static Signal,
    values: &[Option<f64>],
) -> Result<(), FieldError> {
    for metric in signal.metrics {
        let Feed::Value(position) = metric.feed else {
            continue;
        };
        let position = position as usize;
        let field = signal.values.get(position).map_or("value", |v| v.key);
        match values.get(position).copied().flatten() {
            None if signal.kind == SignalKind::Measure => return Err(missing(field)),
            None => {}
            Some(value) => {
                let (low, high) = metric.range();
                if !(value.is_finite() && low <= value && value <= high) {
                    let reason = match (low.is_finite(), high.is_finite()) {
                        (true, true) => format!("accepted are numbers from {low} to {high}"),
                        (true, false) => format!("accepted are finite numbers, {low} or more"),
                        (false, true) => format!("accepted are finite numbers, {high} or less"),
                        (false, false) => "accepted are finite numbers".to_owned(),
                    };
                    return Err(FieldError {
                        field,
                        reason: reason.into(),
                    });
                }
            }
        }
    }
    for metric in signal.metrics {
        if let Feed::Rest(whole, parts) = metric.feed {
            check_parts(signal, values, whole, parts)?;
        }
    }
    Ok(())
}

/// Parts are not more than the whole.
fn check_parts(
    signal: &'static Signal,
    values: &[Option<f64>],
    whole: u8,
    parts: &'static [u8],
) -> Result<(), FieldError> {
    let given = |position: u8| values.get(usize::from(position)).copied().flatten();
    let key = |position: u8| {
        let field = signal.values.get(usize::from(position));
        field.map_or("value", |field| field.key)
    };
    let Some(total) = given(whole) else {
        return Ok(());
    };
    let mut sum = 0.0;
    for &part in parts {
        sum += given(part).unwrap_or(0.0);
        if sum > total {
            return Err(FieldError {
                field: key(part),
                reason: format!("more than `{}`, which it is part of", key(whole)).into(),
            });
        }
    }
    Ok(())
}

pub(super) fn missing(field: &'static str) -> FieldError {
    FieldError {
        field,
        reason: "missing".into(),
    }
}

pub(super) fn unknown_value(field: &'static str, given: &str, values: &[&str]) -> FieldError {
    let accepted = values.join(", ");
    let reason = if given.is_empty() {
        format!("missing; accepted are {accepted}")
    } else {
        let given: String = given.chars().take(64).collect();
        format!("`{given}` is not a value; accepted are {accepted}")
    };
    FieldError {
        field,
        reason: reason.into(),
    }
}
