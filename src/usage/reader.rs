//! An answer of a provider, read as it passes.

use serde_json::Value;

use super::piece::{SAID, piece};
use super::sieve::{Sieve, Sifted};
use super::{Answer, Event, Events, Failure, Format, Stream, read};
use crate::signals::llm::UsageGap;

/// How the body of an answer is written: its `content-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `text/event-stream`.
    Events,
    /// `application/json`: an answer in one piece, or Google's array of answers that is streamed
    /// where events are not asked for.
    Json,
    /// Anything else, which is not read.
    Other,
}

impl Shape {
    /// What a `content-type` says, whatever its parameters.
    #[must_use]
    pub fn of(content_type: &str) -> Self {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case("text/event-stream") {
            Self::Events
        } else if kind.eq_ignore_ascii_case("application/json") {
            Self::Json
        } else {
            Self::Other
        }
    }
}

/// Reads an answer as its body passes, whole or streamed. It holds back nothing and keeps no
/// contents: of an answer of any size at most 64 KiB, of a stream at most one event, up to 4 MiB.
///
/// ```
/// use tachograph::usage::{Format, Reader, Shape};
///
/// let mut reader = Reader::new(Format::Anthropic, Shape::Events);
/// let begin = br#"data: {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 9}}}"#;
/// assert!(!reader.chunk(begin));
/// assert!(!reader.chunk(b"\n\n"));
/// // Here the model has said something.
/// assert!(reader.chunk(b"event: content_block_delta\ndata: {\"delta\": {\"text\": \"Hi\"}}\n\n"));
/// let read = reader.finish(true);
/// let usage = read.answer.usage.unwrap_or_default();
/// // It was cut off: what was asked is known, what was answered is not.
/// assert_eq!((read.finished, usage.input, usage.output), (false, Some(9), None));
/// ```
#[derive(Clone, Debug)]
pub struct Reader {
    format: Format,
    body: Body,
    /// What is left of an event.
    sieve: Sieve,
    stream: Stream,
    /// Whether anything came in pieces of a stream.
    streamed: bool,
    /// The answer, if it came in one piece.
    whole: Option<Value>,
    failure: Option<Failure>,
    filtered: bool,
    finished: bool,
    /// Whether the counts are those of the whole answer.
    counted: bool,
    too_large: bool,
    unreadable: bool,
}

#[derive(Clone, Debug)]
enum Body {
    Events(Events),
    Json(Sieve),
    Other,
}

/// What an answer said, as far as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Usage, model, id and reasons to stop.
    pub answer: Answer,
    /// Whether it came to its end.
    pub finished: bool,
    /// Whether it was streamed.
    pub streamed: bool,
    /// What it says went wrong.
    pub failure: Option<Failure>,
    /// Whether the provider held back what the model said, or the model refused.
    pub filtered: bool,
    /// Why its usage is not known, if it is not.
    pub gap: UsageGap,
}

impl Reader {
    /// Before the first byte.
    #[must_use]
    pub fn new(format: Format, shape: Shape) -> Self {
        Self {
            format,
            body: match shape {
                Shape::Events => Body::Events(Events::new()),
                Shape::Json => Body::Json(Sieve::new()),
                Shape::Other => Body::Other,
            },
            sieve: Sieve::new(),
            stream: Stream::new(format),
            streamed: shape == Shape::Events,
            whole: None,
            failure: None,
            filtered: false,
            finished: false,
            counted: false,
            too_large: false,
            unreadable: shape == Shape::Other,
        }
    }

    /// Takes the next piece of the body. Says whether it completes something that the model put
    /// out as part of a stream: text, reasoning, a call of a tool.
    pub fn chunk(&mut self, piece: &[u8]) -> bool {
        let mut output = false;
        // Taken out, so that what it hands out can be taken in.
        match std::mem::replace(&mut self.body, Body::Other) {
            Body::Events(mut events) => {
                let before = events.skipped();
                events.feed(piece, |event| output |= self.event(event));
                self.too_large |= events.skipped() > before;
                self.body = Body::Events(events);
            }
            Body::Json(mut sieve) => {
                let mut objects = Vec::new();
                sieve.feed(piece, |sifted| match sifted {
                    Sifted::Object(json) => objects.push(serde_json::from_slice::<Value>(json)),
                    Sifted::TooLarge => self.too_large = true,
                });
                self.streamed |= sieve.is_array();
                for object in objects {
                    match object {
                        Ok(value) => output |= self.object(value),
                        Err(_) => self.unreadable = true,
                    }
                }
                self.body = Body::Json(sieve);
            }
            Body::Other => {}
        }
        output
    }

    fn event(&mut self, event: Event<'_>) -> bool {
        if event.data == b"[DONE]" {
            self.finished = true;
            self.counted = true;
            return false;
        }
        // Those that come for each piece of the answer need not be read.
        match (self.format, event.name) {
            (Format::Anthropic, b"content_block_delta") => return true,
            (Format::Anthropic, b"ping" | b"content_block_start" | b"content_block_stop") => {
                return false;
            }
            (Format::OpenAiResponses, name) if name.ends_with(b".delta") => return true,
            (Format::OpenAiResponses, name) if name.ends_with(b".done") => return false,
            (Format::OpenAiChat, _) => {
                let known = |name: &str, value: &str| self.stream.knows(name, value);
                if let Some(output) = piece(event.data, known) {
                    self.stream.passed();
                    return output;
                }
            }
            _ => {}
        }
        self.whole_event(event)
    }

    /// Reads all of an event.
    fn whole_event(&mut self, event: Event<'_>) -> bool {
        let mut read = None;
        self.sieve.begin();
        self.sieve.feed(event.data, |sifted| match sifted {
            Sifted::Object(json) => read = serde_json::from_slice::<Value>(json).ok(),
            Sifted::TooLarge => self.too_large = true,
        });
        match read {
            Some(value) => self.part(&value),
            None => false,
        }
    }

    fn object(&mut self, value: Value) -> bool {
        if self.streamed {
            return self.part(&value);
        }
        self.note(&value);
        self.finished = true;
        self.counted = true;
        self.whole = Some(value);
        false
    }

    /// Takes a part of a stream; says whether the model put something out in it.
    fn part(&mut self, value: &Value) -> bool {
        self.note(value);
        let kind = value.get("type").and_then(Value::as_str).unwrap_or("");
        let output = match self.format {
            Format::Anthropic => {
                let stopped = value.pointer("/delta/stop_reason").is_some_and(is_there);
                self.finished |= stopped || kind == "message_stop";
                self.counted |= kind == "message_delta" && value.get("usage").is_some_and(is_there);
                kind == "content_block_delta"
            }
            Format::OpenAiChat => {
                let stopped = |choice| member(choice, "finish_reason").is_some_and(is_there);
                self.finished |= elements(value, "choices").any(stopped);
                // The counts come last, or grow with each part.
                self.counted |= self.finished;
                elements(value, "choices").any(is_said)
            }
            Format::OpenAiResponses => {
                if matches!(
                    kind,
                    "response.completed" | "response.incomplete" | "response.failed"
                ) {
                    self.finished = true;
                    self.counted = true;
                }
                kind.ends_with(".delta")
            }
            Format::Google => {
                let stopped = |one| member(one, "finishReason").is_some_and(is_there);
                if elements(value, "candidates").any(stopped) || self.filtered {
                    self.finished = true;
                    self.counted = true;
                }
                elements(value, "candidates").any(|one| {
                    let parts = one.pointer("/content/parts");
                    parts.is_some_and(is_there)
                })
            }
            Format::BedrockConverse => {
                self.finished |= value.get("messageStop").is_some();
                self.counted |= value.get("metadata").is_some();
                value.get("contentBlockDelta").is_some()
            }
        };
        // Groq, "Streaming": its own place for the usage of a stream.
        let own = value.pointer("/x_groq/usage").filter(|own| is_there(own));
        match own {
            Some(usage) if value.get("usage").is_none() => {
                let mut value = value.clone();
                value["usage"] = usage.clone();
                self.stream.event(&value);
            }
            _ => self.stream.event(value),
        }
        output
    }

    /// Notes what went wrong, and what was held back.
    fn note(&mut self, value: &Value) {
        if self.failure.is_none() {
            self.failure = Failure::of_body(value);
        }
        let blocked = value.pointer("/promptFeedback/blockReason");
        self.filtered |= blocked.is_some_and(is_there);
    }

    /// What was said, when the body has ended, has broken off or is waited for no more: `told`
    /// if the answer was to tell its usage, see [`Asked::tells_usage`](super::Asked).
    #[must_use]
    pub fn finish(self, told: bool) -> Read {
        let mut unreadable = self.unreadable;
        let (result, model) = match self.whole {
            Some(mut whole) => {
                let result = read(self.format, &whole);
                let rest = result.is_err().then(|| {
                    for name in ["usage", "usageMetadata"] {
                        whole[name] = Value::Null;
                    }
                    read(self.format, &whole).unwrap_or_default()
                });
                (result, rest)
            }
            None => (self.stream.finish(), None),
        };
        let mut answer = match (result, model) {
            (Ok(answer), _) => answer,
            (Err(_), rest) => {
                unreadable |= self.finished;
                rest.unwrap_or_default()
            }
        };
        if let Some(usage) = &mut answer.usage
            && !self.counted
        {
            // Of a beginning: what came before the answer is right, the answer's counts are not.
            usage.output = None;
            usage.reasoning = None;
        }
        for text in [&mut answer.model, &mut answer.id] {
            *text = text.take().filter(|text| fits(text));
        }
        answer.finish_reasons.retain(|reason| fits(reason));
        answer.finish_reasons.truncate(16);
        let reasons = &answer.finish_reasons;
        let held_back = !reasons.is_empty() && reasons.iter().all(|reason| is_held_back(reason));
        let gap = if self.too_large {
            UsageGap::TooLarge
        } else if unreadable {
            UsageGap::Unreadable
        } else if !self.finished {
            UsageGap::CutOff
        } else if !told && self.streamed {
            UsageGap::NotRequested
        } else {
            UsageGap::NotReported
        };
        Read {
            answer,
            finished: self.finished,
            streamed: self.streamed,
            failure: self.failure,
            filtered: self.filtered || held_back,
            gap,
        }
    }
}

/// Whether a reason to stop says that something was held back: OpenAI's `content_filter`,
/// Anthropic's `refusal`, Google's `FinishReason`.
fn is_held_back(reason: &str) -> bool {
    matches!(
        reason,
        "content_filter"
            | "refusal"
            | "SAFETY"
            | "RECITATION"
            | "BLOCKLIST"
            | "PROHIBITED_CONTENT"
            | "SPII"
            | "IMAGE_SAFETY"
    )
}

/// Whether there is something: not null, not empty.
fn is_there(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(elements) => !elements.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

/// Whether a choice of a chat completion has a piece of the answer.
fn is_said(choice: &Value) -> bool {
    let of_delta = choice.get("delta").is_some_and(|delta| {
        let said = |name| member(delta, name).is_some_and(is_there);
        SAID.into_iter().any(said)
    });
    of_delta || choice.get("text").is_some_and(is_there)
}

fn member<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    value.get(name)
}

fn elements<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    let array = value.get(name).and_then(Value::as_array);
    array.into_iter().flatten()
}

/// Whether a text of an answer may go onto a span or a label.
fn fits(text: &str) -> bool {
    text.len() <= 256 && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANTHROPIC: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"c\",\"usage\":{\"input_tokens\":2,\"output_tokens\":1}}}\n\nevent: content_block_delta\ndata: {\"delta\":{\"text\":\"a\"}}\n\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"b\"}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":3}}\n\n";
    const OPENAI: &str = "data: {\"id\":\"i\",\"model\":\"g\",\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{\"arguments\":\"{\"}}]}}]}\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"\"},\"finish_reason\":\"tool_calls\"}]}\r\n\r\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":3,\"total_tokens\":5}}\r\n\r\ndata: [DONE]\r\n\r\n";
    const GOOGLE: &str = "[{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"}]\"}]}}]},\n{\"candidates\":[{\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":2,\"candidatesTokenCount\":3,\"totalTokenCount\":5}}]";
    const WHOLE: &str = "{\"id\":\"i\",\"choices\":[{\"message\":{\"content\":\"{\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":3,\"total_tokens\":5}}";

    /// What was read, and how many pieces completed output.
    fn pieces(format: Format, shape: Shape, pieces: &[&[u8]]) -> (Read, usize) {
        let mut reader = Reader::new(format, shape);
        let output = pieces.iter().filter(|piece| reader.chunk(piece)).count();
        (reader.finish(true), output)
    }

    fn cases() -> [(Format, Shape, &'static str, usize); 4] {
        [
            (Format::Anthropic, Shape::Events, ANTHROPIC, 2),
            (Format::OpenAiChat, Shape::Events, OPENAI, 1),
            (Format::Google, Shape::Json, GOOGLE, 1),
            (Format::OpenAiChat, Shape::Json, WHOLE, 0),
        ]
    }

    #[test]
    fn each_language_says_the_same() {
        for (format, shape, text, output) in cases() {
            let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            let (read, seen) = pieces(format, shape, &single);
            let usage = read.answer.usage.unwrap();
            assert_eq!(
                (usage.input, usage.output),
                (Some(2), Some(3)),
                "{format:?}"
            );
            assert!(read.finished && !read.filtered && read.failure.is_none());
            assert_eq!((read.streamed, seen), (output > 0, output), "{format:?}");
            assert_eq!(read.answer.finish_reasons.len(), 1);
        }
    }

    #[test]
    fn groq_has_a_place_of_its_own_for_the_usage_of_a_stream() {
        let text = b"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"x_groq\":{\"usage\":{\"queue_time\":0.1,\"prompt_tokens\":2,\"completion_tokens\":3,\"total_tokens\":5}}}\n\n";
        let (read, _) = pieces(Format::OpenAiChat, Shape::Events, &[text]);
        assert_eq!(read.answer.usage.unwrap().output, Some(3));
    }

    #[test]
    fn what_contradicts_itself_is_unreadable_and_the_model_is_known() {
        let text = b"{\"model\":\"g\",\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":3,\"total_tokens\":9}}";
        let (read, _) = pieces(Format::OpenAiChat, Shape::Json, &[text]);
        assert_eq!((read.gap, read.answer.usage), (UsageGap::Unreadable, None));
        assert_eq!(read.answer.model.as_deref(), Some("g"));
    }

    /// Texts, and what else may stand where a text is expected.
    fn value() -> impl Strategy<Value = String> {
        let odd = [
            "null",
            "false",
            "true",
            "0",
            "\"\"",
            "\"a\"",
            "\"\\u00e9\\n\"",
            "[]",
            "[0]",
            "{}",
            "{\"a\":[1]}",
            "{\"usage\":{\"queue_time\":1}}",
            "{\"blockReason\":\"SAFETY\"}",
            "\"error\"",
            "nul",
        ];
        prop::sample::select(odd.map(str::to_owned).to_vec())
    }

    /// Members of these names, some of them, and perhaps one twice.
    fn object(names: &'static [&'static str]) -> impl Strategy<Value = String> {
        // Also one that nobody looks at.
        let name = prop_oneof![6 => prop::sample::select(names), 1 => Just("role")];
        let member = (name, value());
        let members = prop::collection::vec(member, 0..4);
        members.prop_map(|members| {
            let members = members
                .iter()
                .map(|(name, value)| format!("\"{name}\":{value}"));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        })
    }

    /// A part of a stream of chat completions, near to those that providers send.
    fn part() -> impl Strategy<Value = String> {
        const MORE: [&str; 9] = [
            "id",
            "model",
            "usage",
            "error",
            "type",
            "response",
            "promptFeedback",
            "x_groq",
            "object",
        ];
        let choice = prop_oneof![
            (object(&SAID), value()).prop_map(|(delta, reason)| format!(
                "{{\"index\":0,\"delta\":{delta},\"finish_reason\":{reason}}}"
            )),
            object(&SAID).prop_map(|delta| format!("{{\"delta\":{delta},\"finish_reason\":null}}")),
            object(&["finish_reason", "text", "delta", "index"]),
            Just("[null,{\"content\":\"a\"},\"a\"]".to_owned()),
        ];
        let choices = prop::collection::vec(choice, 0..3);
        let more = prop_oneof![2 => Just("{}".to_owned()), 1 => object(&MORE)];
        (choices, more, prop::bool::weighted(0.8)).prop_map(|(choices, more, known)| {
            let known = if known {
                "\"id\":\"a\",\"model\":\"g\","
            } else {
                ""
            };
            let more = &more[1..];
            let comma = if more == "}" { "" } else { "," };
            format!("{{{known}\"choices\":[{}]{comma}{more}", choices.join(","))
        })
    }

    proptest! {
        #[test]
        fn a_piece_that_is_not_read_would_have_said_the_same(parts in prop::collection::vec(part(), 1..6)) {
            let mut one = Reader::new(Format::OpenAiChat, Shape::Events);
            let mut other = one.clone();
            for part in &parts {
                let event = Event { name: b"", data: part.as_bytes() };
                prop_assert_eq!(one.event(event), other.whole_event(event), "{}", part);
            }
            prop_assert_eq!(one.finish(true), other.finish(true));
        }

        #[test]
        fn pieces_of_any_size_say_the_same(case in 0_usize..4, size in 1_usize..400, end in 0_usize..700) {
            let (format, shape, text, _) = cases()[case];
            let text = &text.as_bytes()[..end.min(text.len())];
            let each: Vec<&[u8]> = text.chunks(size).collect();
            let (read, _) = pieces(format, shape, &each);
            prop_assert_eq!(&read, &pieces(format, shape, &[text]).0);
            // What is cut off is never 0.
            if !read.finished {
                prop_assert!(read.answer.usage.is_none_or(|usage| usage.output.is_none()));
                prop_assert_eq!(read.gap, UsageGap::CutOff);
            }
        }

        #[test]
        fn nothing_panics(case in 0_usize..4, bytes in prop::collection::vec(any::<u8>(), 0..60), at in 0_usize..300) {
            let (format, shape, text, _) = cases()[case];
            let (before, after) = text.as_bytes().split_at(at.min(text.len()));
            pieces(format, shape, &[before, &bytes, after]);
        }
    }
}
