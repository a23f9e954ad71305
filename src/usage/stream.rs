//! Answers that come in events.

use serde_json::{Map, Value};

use super::{Answer, Format, UsageError, read, text};

/// Collects what the events of one streamed answer say about it. Give it every event's data, in
/// order; it keeps counts, names and reasons, never contents.
///
/// - Anthropic: `message_start` and, cumulative, `message_delta` ("Streaming Messages").
/// - OpenAI, chat completions: the last chunk that has `usage`, which comes if
///   `stream_options.include_usage` is set.
/// - OpenAI, Responses API: `response.completed`, `.incomplete` or `.failed`.
/// - Google: every chunk has `usageMetadata`; the last one holds.
/// - Bedrock: the event `metadata` of `ConverseStream`.
#[derive(Clone, Debug)]
pub struct Stream {
    format: Format,
    /// The answer as it would have come in one piece, without its contents.
    whole: Map<String, Value>,
    finish_reasons: Vec<String>,
    events: bool,
}

impl Stream {
    /// A stream of no events yet.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self {
            format,
            whole: Map::new(),
            finish_reasons: Vec::new(),
            events: false,
        }
    }

    /// Takes the next event. What is not an event of the format is passed over: streams carry
    /// pings, and new kinds of events come up.
    pub fn event(&mut self, event: &Value) {
        self.events |= event.is_object();
        match self.format {
            Format::Anthropic => self.anthropic(event),
            Format::OpenAiChat => {
                self.keep(event, &["id", "model", "usage"]);
                self.finished(event, "choices", "finish_reason");
            }
            Format::OpenAiResponses => {
                if let Some(response) = event.get("response") {
                    let kept = ["id", "model", "status", "incomplete_details", "usage"];
                    self.keep(response, &kept);
                }
            }
            Format::Google => {
                self.keep(event, &["responseId", "modelVersion", "usageMetadata"]);
                self.finished(event, "candidates", "finishReason");
            }
            Format::BedrockConverse => {
                // The event's kind is the member's name in the SDKs, a header on the wire.
                for kind in ["metadata", "messageStop"] {
                    if let Some(inner) = event.get(kind) {
                        self.keep(inner, &["usage", "stopReason"]);
                    }
                }
                self.keep(event, &["usage", "stopReason"]);
            }
        }
    }

    /// Whether this is what was said last under this name.
    pub(super) fn knows(&self, name: &str, value: &str) -> bool {
        self.whole.get(name).and_then(Value::as_str) == Some(value)
    }

    /// Takes an event that says nothing that is kept.
    pub(super) fn passed(&mut self) {
        self.events = true;
    }

    fn anthropic(&mut self, event: &Value) {
        if let Some(message) = event.get("message") {
            self.keep(message, &["id", "model", "usage", "stop_reason"]);
        }
        if let Some(delta) = event.get("delta") {
            self.keep(delta, &["stop_reason"]);
        }
        // Cumulative, and with those counts only that may have changed.
        match (self.whole.get_mut("usage"), event.get("usage")) {
            (Some(Value::Object(known)), Some(Value::Object(newer))) => {
                for (name, count) in newer.iter().filter(|(_, count)| !count.is_null()) {
                    known.insert(name.clone(), count.clone());
                }
            }
            _ => self.keep(event, &["usage"]),
        }
    }

    /// Keeps the members that are there; later ones hold.
    fn keep(&mut self, event: &Value, names: &[&str]) {
        for name in names {
            if let Some(value) = event.get(name)
                && !value.is_null()
            {
                self.whole.insert((*name).to_owned(), value.clone());
            }
        }
    }

    fn finished(&mut self, event: &Value, array: &str, name: &str) {
        let elements = event.get(array).and_then(Value::as_array);
        for element in elements.into_iter().flatten() {
            // More candidates than this no provider gives.
            if let Some(reason) = text(element, name)
                && self.finish_reasons.len() < 128
            {
                self.finish_reasons.push(reason);
            }
        }
    }

    /// What the events said. A stream that was cut before its last event has no usage, or that
    /// of its beginning for Anthropic.
    ///
    /// # Errors
    /// As [`read`](super::read); and when there was no event at all.
    pub fn finish(self) -> Result<Answer, UsageError> {
        if !self.events {
            return Err(UsageError {
                field: String::new(),
                reason: format!("without any event of `{}`", self.format.as_str()),
            });
        }
        let name = match self.format {
            Format::Google => "usageMetadata",
            _ => "usage",
        };
        let mut whole = self.whole;
        whole.entry(name).or_insert(Value::Null);
        let mut answer = read(self.format, &Value::Object(whole))?;
        if !self.finish_reasons.is_empty() {
            answer.finish_reasons = self.finish_reasons;
        }
        Ok(answer)
    }
}
