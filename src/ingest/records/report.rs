//! Records from within the process, such as those that hooks are turned into.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

/// A record before it is held against the catalog. In JSON it is what
/// `POST /api/v1/records` takes.
///
/// ```
/// use tachograph::ingest::records::Report;
/// use uuid::Uuid;
///
/// let id = Uuid::now_v7();
/// let start = Report::start("tool.call", id)
///     .field("gen_ai.tool.name", "Bash")
///     .context("gen_ai.conversation.id", "s-1");
/// let end = Report::end("tool.call", id).field("status", "success");
/// assert_eq!(serde_json::to_value(&end).unwrap()["event"], "end");
/// # let _ = start;
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    signal: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<jiff::Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<Uuid>,
    fields: Map<String, Value>,
    context: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Value>,
}

impl Report {
    /// An operation that ended, or a measure, in one record.
    #[must_use]
    pub fn new(signal: impl Into<String>) -> Self {
        Self {
            signal: signal.into(),
            id: None,
            event: None,
            time: None,
            duration: None,
            expires_in: None,
            parent: None,
            fields: Map::new(),
            context: Map::new(),
            usage: None,
        }
    }

    /// An operation began.
    #[must_use]
    pub fn start(signal: impl Into<String>, id: Uuid) -> Self {
        Self {
            event: Some("start"),
            ..Self::new(signal).id(id)
        }
    }

    /// The operation that began with this id ended: what is not said here is taken from its
    /// start, and the duration too. Without a start it has to be complete.
    #[must_use]
    pub fn end(signal: impl Into<String>, id: Uuid) -> Self {
        Self {
            event: Some("end"),
            ..Self::new(signal).id(id)
        }
    }

    /// The id, by which it is recognised when it comes again.
    #[must_use]
    pub fn id(self, id: Uuid) -> Self {
        Self {
            id: Some(id),
            ..self
        }
    }

    /// When it began or ended; now unless given.
    #[must_use]
    pub fn at(self, time: jiff::Timestamp) -> Self {
        Self {
            time: Some(time),
            ..self
        }
    }

    /// How long it took.
    #[must_use]
    pub fn took(self, duration: Duration) -> Self {
        Self {
            duration: Some(duration.as_secs_f64()),
            ..self
        }
    }

    /// After how long an operation that began is given up, a second at least.
    #[must_use]
    pub fn expires_in(self, duration: Duration) -> Self {
        Self {
            expires_in: Some(duration.as_secs_f64()),
            ..self
        }
    }

    /// The operation that it belongs to.
    #[must_use]
    pub fn parent(self, id: Uuid) -> Self {
        Self {
            parent: Some(id),
            ..self
        }
    }

    /// A label, as text, or a value, as a number.
    #[must_use]
    pub fn field(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(key.to_owned(), value.into());
        self
    }

    /// What the provider of a model sent: its answer, its usage object alone, or an array of a
    /// stream's events. Of `llm.request`; tokens, the answering model and the cost follow from it.
    /// Contents are read past, and are better left out.
    #[must_use]
    pub fn usage(self, body: impl Into<Value>) -> Self {
        Self {
            usage: Some(body.into()),
            ..self
        }
    }

    /// A context field.
    #[must_use]
    pub fn context(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.context.insert(key.to_owned(), value.into());
        self
    }
}
