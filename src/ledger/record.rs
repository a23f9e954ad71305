//! One row of the ledger.

use std::borrow::Cow;
use std::sync::Arc;

use uuid::Uuid;

use crate::catalog::{LabelKind, Signal};

/// A record on its way into the ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Names the record once and for all; sending it again changes nothing.
    pub id: Uuid,
    /// Name of the declared signal, dotted, as in the catalog.
    pub signal: &'static str,
    /// Whether it tells of a beginning or of an end.
    pub event: Event,
    /// When that was, in microseconds since 1970-01-01T00:00:00Z.
    pub time_us: i64,
    /// Before this time it was not sent, in microseconds since 1970-01-01T00:00:00Z: what is
    /// removed was sent before the horizon. The time, where the sender said it.
    pub first_us: i64,
    /// How long it took, in seconds; `None` for a measure, for a beginning, and where that is
    /// not known.
    pub duration: Option<f64>,
    /// Id of the operation that it belongs to.
    pub parent: Option<Uuid>,
    /// The declared fields, a JSON object.
    pub fields: String,
    /// The context fields, a JSON object.
    pub context: String,
    /// What is asked of it, in columns of their own.
    pub columns: Columns,
}

/// What a record tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An operation began. Unless its end is recorded before, it is given up at this time, in
    /// microseconds since 1970-01-01T00:00:00Z.
    Start {
        /// When it is given up.
        expires_us: i64,
    },
    /// An operation ended, or a measure was taken.
    End,
}

/// What is asked of records, apart from their JSON. `None` is unknown, never zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns {
    /// Session or conversation.
    pub session: Option<Arc<str>>,
    /// Id shared by everything that belongs to one request or task.
    pub correlation: Option<Arc<str>>,
    /// Agent.
    pub agent: Option<Arc<str>>,
    /// What was done: tool, type of workflow or task, and the like.
    pub name: Option<Arc<str>>,
    /// Provider of the model.
    pub provider: Option<Arc<str>>,
    /// Model that was asked for.
    pub model: Option<Arc<str>>,
    /// How it ended.
    pub status: Option<Arc<str>>,
    /// Whether that is a failure by its declaration.
    pub failed: Option<bool>,
    /// Kind of error.
    pub error: Option<Arc<str>>,
    /// Whether its signal declares a cost: without one it is of unknown cost.
    pub billable: bool,
    /// Tokens of input, those read from and written to the cache included.
    pub input_tokens: Option<i64>,
    /// Tokens of output, reasoning included.
    pub output_tokens: Option<i64>,
    /// Tokens of input read from the provider's cache.
    pub cache_read_tokens: Option<i64>,
    /// Tokens of input written to the provider's cache.
    pub cache_write_tokens: Option<i64>,
    /// Tokens of output spent on reasoning.
    pub reasoning_tokens: Option<i64>,
    /// Cost in millionths of a US dollar, rounded.
    pub cost_micros: Option<i64>,
    /// Version of the prices that the cost was computed with; `None` if it was reported.
    pub price_version: Option<Arc<str>>,
}

const AGENT: &str = "gen_ai.agent.name";
const PROVIDER: &str = "gen_ai.provider.name";
const MODEL: &str = "gen_ai.request.model";
const ERROR: &str = "error.type";
const COST: &str = "llm.cost_usd";

impl Columns {
    /// Reads labels and values, given in the order of their declaration. An empty label is
    /// absent.
    #[must_use]
    pub fn of(signal: &Signal, labels: &[Cow<'_, str>], values: &[Option<f64>]) -> Self {
        let mut columns = Self {
            billable: signal.values.iter().any(|value| value.key == COST),
            ..Self::default()
        };
        for (label, given) in signal.labels.iter().zip(labels) {
            let text = || (!given.is_empty()).then(|| Arc::<str>::from(&**given));
            match (label.key, label.kind) {
                (AGENT, _) => columns.agent = text(),
                (PROVIDER, _) => columns.provider = text(),
                (MODEL, _) => columns.model = text(),
                (ERROR, _) => columns.error = text(),
                (_, LabelKind::Closed { errors, .. })
                    if label.outcome && columns.status.is_none() =>
                {
                    // Without one nobody reported how it ended, and it counts as that.
                    let status = match &**given {
                        "" => label.abandoned(),
                        status => status,
                    };
                    columns.failed = Some(errors.contains(&status));
                    columns.status = Some(Arc::from(status));
                }
                (_, LabelKind::Open { .. }) if !label.outcome && columns.name.is_none() => {
                    columns.name = text();
                }
                _ => {}
            }
        }
        if columns.failed.is_none() && columns.error.is_some() {
            columns.failed = Some(true);
        }
        for (value, given) in signal.values.iter().zip(values) {
            let Some(given) = *given else { continue };
            match value.key {
                "gen_ai.usage.input_tokens" => columns.input_tokens = whole(given),
                "gen_ai.usage.output_tokens" => columns.output_tokens = whole(given),
                "gen_ai.usage.cache_read.input_tokens" => columns.cache_read_tokens = whole(given),
                "gen_ai.usage.cache_creation.input_tokens" => {
                    columns.cache_write_tokens = whole(given);
                }
                "gen_ai.usage.reasoning.output_tokens" => columns.reasoning_tokens = whole(given),
                COST => columns.cost_micros = whole(given * 1e6),
                _ => {}
            }
        }
        columns
    }

    /// Takes a context field.
    pub fn context(&mut self, key: &str, value: &str) {
        match key {
            "gen_ai.conversation.id" => self.session = Some(Arc::from(value)),
            "session.id" if self.session.is_none() => self.session = Some(Arc::from(value)),
            "correlation_id" => self.correlation = Some(Arc::from(value)),
            _ => {}
        }
    }
}

/// The nearest whole number; none beyond what a double holds exactly.
fn whole(number: f64) -> Option<i64> {
    let rounded = number.round();
    (0.0..=9e15).contains(&rounded).then_some(rounded as i64)
}

impl Record {
    /// Bytes of memory that the record holds, roughly; what the queue's bound counts.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.fields.capacity() + self.context.capacity()
    }

    /// Bytes that it takes in the database with its entries in the indices, roughly.
    pub(super) fn stored_bytes(&self) -> i64 {
        let text = self.fields.len() + self.context.len();
        i64::try_from(text).unwrap_or(i64::MAX - ROW_BYTES) + ROW_BYTES
    }
}

/// What a row is taken to need beside `fields` and `context`; the migrations and the removal of
/// rows count the same.
pub(super) const ROW_BYTES: i64 = 256;

/// What became of one record, known after the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// New; now durable.
    Accepted,
    /// A record with this id was there before, or came earlier in the same batch. A start is
    /// one too whose operation has ended.
    Duplicate,
    /// It ended, or was sent for the first time, before what the ledger keeps begins, so that it cannot be known whether it was
    /// there before.
    TooOld,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::llm::LlmRequest;
    use crate::signals::tool::ToolCall;

    fn labels<'a>(signal: &Signal, given: &[(&str, &'a str)]) -> Vec<Cow<'a, str>> {
        let value = |key| {
            given
                .iter()
                .find(|(k, _)| *k == key)
                .map_or("", |(_, v)| *v)
        };
        let labels = signal.labels.iter();
        labels
            .map(|label| Cow::Borrowed(value(label.key)))
            .collect()
    }

    #[test]
    fn unknown_tokens_and_cost_stay_unknown() {
        let signal = LlmRequest::SIGNAL;
        let labels = labels(signal, &[(MODEL, "m"), ("status", "rate_limited")]);
        let mut values = vec![None; signal.values.len()];
        let none = Columns::of(signal, &labels, &values);
        assert_eq!((none.input_tokens, none.cost_micros), (None, None));
        assert_eq!((none.failed, none.billable), (Some(true), true));
        assert_eq!(none.model.as_deref(), Some("m"));
        let cost = signal.values.iter().position(|value| value.key == COST);
        values[cost.unwrap()] = Some(0.001_234_6);
        let some = Columns::of(signal, &labels, &values);
        assert_eq!(some.cost_micros, Some(1_235));
    }

    #[test]
    fn an_end_without_a_status_is_abandoned() {
        let signal = ToolCall::SIGNAL;
        let columns = Columns::of(
            signal,
            &labels(signal, &[("gen_ai.tool.name", "Bash")]),
            &[],
        );
        assert_eq!(columns.status.as_deref(), Some("abandoned"));
        assert_eq!((columns.failed, columns.billable), (Some(false), false));
        assert_eq!(columns.name.as_deref(), Some("Bash"));
    }
}
