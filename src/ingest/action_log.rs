//! The action log: helpers with which an agent writes down what it does.
//!
//! An entry is a record of the signal `action.log` in the [`ledger`](crate::ledger), with its
//! correlation id, its parameters and what came of it, and is durable when the call returns.
//! The metrics count every entry that was written, or could not be, with the time it took.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::catalog::ClosedLabel as _;
use crate::ledger::{Columns, Disposition, Event, Ledger, Record, SubmitError};
use crate::signals::action::{self, ActionLogEnd, ActionType, EntryStatus};

/// Longest parameters and longest result, each in bytes of JSON. Of longer ones the entry has
/// `{"bytes": <length>, "start": "<the first of them>"}`.
pub const MAX_JSON: usize = 16 * 1024;

/// Longest agent, name, session and correlation id, in bytes; longer ones are cut.
const MAX_TEXT: usize = 256;

/// Writes down what one agent does; clones write to the same ledger.
///
/// ```no_run
/// # async fn work(ledger: tachograph::ledger::Ledger) -> Result<(), Box<dyn std::error::Error>> {
/// use serde_json::json;
/// use tachograph::ingest::action_log::ActionLog;
///
/// let log = ActionLog::new(ledger, "planner").correlated("01890a5d-ac96-774b-bcce-b302099a8057");
/// log.log_decision("use the cache", json!({"age": 12}), None).await?;
/// log.log_tool_call("Read", json!({"path": "a.rs"}), None, None).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ActionLog {
    ledger: Ledger,
    agent: String,
    correlation: Option<String>,
    session: Option<String>,
}

/// What an entry says.
struct Entry<'a> {
    kind: ActionType,
    name: &'a str,
    parameters: Value,
    result: Option<Value>,
    took: Option<Duration>,
}

impl ActionLog {
    /// The log of an agent.
    #[must_use]
    pub fn new(ledger: Ledger, agent: impl Into<String>) -> Self {
        Self {
            ledger,
            agent: cut(agent.into()),
            correlation: None,
            session: None,
        }
    }

    /// Entries of one request or task, which share this id.
    #[must_use]
    pub fn correlated(self, id: impl Into<String>) -> Self {
        Self {
            correlation: Some(cut(id.into())),
            ..self
        }
    }

    /// Entries of this session.
    #[must_use]
    pub fn in_session(self, id: impl Into<String>) -> Self {
        Self {
            session: Some(cut(id.into())),
            ..self
        }
    }

    /// The agent called a tool, which took this long; the entry's id.
    ///
    /// # Errors
    /// [`SubmitError`]: the entry is not written, which is counted.
    pub async fn log_tool_call(
        &self,
        tool: &str,
        parameters: Value,
        result: Option<Value>,
        took: Option<Duration>,
    ) -> Result<Uuid, SubmitError> {
        let kind = ActionType::ToolCall;
        self.write(Entry {
            kind,
            name: tool,
            parameters,
            result,
            took,
        })
        .await
    }

    /// The agent decided something for these reasons; the entry's id.
    ///
    /// # Errors
    /// [`SubmitError`]: the entry is not written, which is counted.
    pub async fn log_decision(
        &self,
        decision: &str,
        reasons: Value,
        took: Option<Duration>,
    ) -> Result<Uuid, SubmitError> {
        self.write(Entry {
            kind: ActionType::Decision,
            name: decision,
            parameters: reasons,
            result: None,
            took,
        })
        .await
    }

    /// The agent met an error of this kind; the entry's id.
    ///
    /// # Errors
    /// [`SubmitError`]: the entry is not written, which is counted.
    pub async fn log_error(&self, error: &str, details: Value) -> Result<Uuid, SubmitError> {
        self.write(Entry {
            kind: ActionType::Error,
            name: error,
            parameters: details,
            result: None,
            took: None,
        })
        .await
    }

    /// The agent reached what it was after; the entry's id.
    ///
    /// # Errors
    /// [`SubmitError`]: the entry is not written, which is counted.
    pub async fn log_success(
        &self,
        what: &str,
        result: Value,
        took: Option<Duration>,
    ) -> Result<Uuid, SubmitError> {
        self.write(Entry {
            kind: ActionType::Success,
            name: what,
            parameters: Value::Null,
            result: Some(result),
            took,
        })
        .await
    }

    async fn write(&self, entry: Entry<'_>) -> Result<Uuid, SubmitError> {
        let start = Instant::now();
        let (kind, took) = (entry.kind, entry.took);
        let record = self.record(entry);
        let id = record.id;
        let agent = self.agent.clone();
        // The writer counts it, also when nobody waits any more.
        let counted = move |dispositions: &[Disposition]| {
            if dispositions.contains(&Disposition::Accepted) {
                count(&agent, kind, took, None, start.elapsed());
            }
        };
        let committed = match self.ledger.submit(vec![record], counted) {
            Ok(receipt) => receipt.committed().await,
            Err(error) => Err(error),
        };
        match committed {
            Ok(_) => Ok(id),
            Err(error) => {
                let reason = match error {
                    SubmitError::Full => "queue_full",
                    SubmitError::Away(_) => "ledger_away",
                    SubmitError::Closed => "shutdown",
                };
                count(&self.agent, kind, took, Some(reason), start.elapsed());
                Err(error)
            }
        }
    }

    /// The row; its duration is that of the action.
    fn record(&self, entry: Entry<'_>) -> Record {
        let seconds = entry.took.map(|took| took.as_secs_f64());
        let name = cut(entry.name.to_owned());
        let mut fields = Map::new();
        fields.insert("gen_ai.agent.name".to_owned(), self.agent.clone().into());
        fields.insert("action.type".to_owned(), entry.kind.as_str().into());
        fields.insert("status".to_owned(), EntryStatus::Success.as_str().into());
        if let Some(seconds) = seconds {
            fields.insert("action.duration".to_owned(), seconds.into());
        }
        let mut context = Map::new();
        context.insert("action.name".to_owned(), name.clone().into());
        for (key, value) in [
            ("action.parameters", Some(entry.parameters)),
            ("action.result", entry.result),
        ] {
            if let Some(value) = value.filter(|value| !value.is_null()) {
                context.insert(key.to_owned(), bounded(&value).into());
            }
        }
        let mut columns = Columns {
            agent: Some(self.agent.as_str().into()),
            name: Some(name.into()),
            status: Some(EntryStatus::Success.as_str().into()),
            failed: Some(false),
            ..Columns::default()
        };
        for (key, value) in [
            ("correlation_id", &self.correlation),
            ("session.id", &self.session),
        ] {
            if let Some(value) = value {
                columns.context(key, value);
                context.insert(key.to_owned(), value.clone().into());
            }
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let time_us = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
        Record {
            id: Uuid::now_v7(),
            signal: action::ActionLog::SIGNAL.name,
            event: Event::End,
            time_us,
            first_us: time_us,
            duration: seconds,
            parent: None,
            fields: Value::Object(fields).to_string(),
            context: Value::Object(context).to_string(),
            columns,
        }
    }
}

fn count(
    agent: &str,
    action_type: ActionType,
    took: Option<Duration>,
    error: Option<&str>,
    elapsed: Duration,
) {
    let end = ActionLogEnd {
        status: match error {
            None => EntryStatus::Success,
            Some(_) => EntryStatus::Failed,
        },
        error: error.unwrap_or_default(),
        action_duration: took.map(|took| took.as_secs_f64()),
    };
    action::ActionLog { agent, action_type }.record(end, elapsed);
}

/// The JSON, or its length and what of it there is room for.
fn bounded(value: &Value) -> String {
    let text = value.to_string();
    if text.len() <= MAX_JSON {
        return text;
    }
    // Escaping may double what is quoted once more.
    let start = &text[..text.floor_char_boundary(MAX_JSON / 2)];
    json!({"bytes": text.len(), "start": start}).to_string()
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_cut_and_stays_json() {
        let long = json!({"text": "é\"".repeat(MAX_JSON)});
        let text = bounded(&long);
        assert!(text.len() <= MAX_JSON + 100, "{}", text.len());
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["bytes"], long.to_string().len());
        assert_eq!(bounded(&json!([1])), "[1]");
        assert_eq!(cut("é".repeat(MAX_TEXT)).len(), MAX_TEXT);
    }
}
