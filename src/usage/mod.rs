//! What providers of language models say they used: their answers, whole or streamed, read into
//! kinds of tokens of which no token is in two.
//!
//! Providers count in different ways. Anthropic's `input_tokens` leaves out what was read from
//! or written to the cache, OpenAI's `prompt_tokens` includes it; OpenAI's `completion_tokens`
//! include reasoning, Google's `candidatesTokenCount` does not. Added up as they are, the same
//! tokens are paid for twice. [`Usage`] keeps them apart; what the OpenTelemetry conventions
//! want, cached tokens within the input and reasoning within the output, is
//! [`Usage::input_total`] and [`Usage::output_total`].
//!
//! [`Reader`] reads an answer as its body passes, [`Asked`] what a request asks, [`Failure`] why
//! there is no answer.
//!
//! What was not reported is `None`, never 0. What contradicts itself is a [`UsageError`] that
//! names the field.
//!
//! ```
//! use serde_json::json;
//! use tachograph::usage::{Format, read};
//!
//! let answer = read(Format::OpenAiChat, &json!({
//!     "id": "chatcmpl-1", "model": "gpt-4o-2024-08-06",
//!     "usage": {
//!         "prompt_tokens": 2006, "completion_tokens": 300, "total_tokens": 2306,
//!         "prompt_tokens_details": {"cached_tokens": 1920},
//!         "completion_tokens_details": {"reasoning_tokens": 100},
//!     },
//! }))?;
//! let usage = answer.usage.unwrap_or_default();
//! assert_eq!((usage.input, usage.cache_read), (Some(86), Some(1920)));
//! assert_eq!((usage.output, usage.reasoning), (Some(200), Some(100)));
//! assert_eq!(usage.input_total(), Some(2006));
//! # Ok::<(), tachograph::usage::UsageError>(())
//! ```

mod anthropic;
mod asked;
mod bedrock;
mod failure;
mod fields;
mod google;
mod limits;
mod openai;
mod piece;
mod reader;
mod sieve;
mod sse;
mod stream;

use serde_json::Value;

pub use asked::Asked;
pub use failure::Failure;
pub use limits::{RateLimit, RateLimits, rate_limits};
pub use reader::{Read, Reader, Shape};
pub use sse::{Event, Events};
pub use stream::Stream;

use crate::signals::llm::{LlmRequestEnd, LlmStatus};
use fields::Fields;

/// Tokens of one request, each in one kind; `None` where the provider did not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Input that was neither read from the provider's cache nor written to it.
    pub input: Option<u64>,
    /// Input read from the cache.
    pub cache_read: Option<u64>,
    /// Input written to the cache for 5 minutes, the providers' default. Writes of which a
    /// provider does not say how long they stay are here.
    pub cache_write_5m: Option<u64>,
    /// Input written to the cache for 1 hour.
    pub cache_write_1h: Option<u64>,
    /// Output without reasoning; with it where the provider does not tell reasoning apart.
    pub output: Option<u64>,
    /// Output spent on reasoning.
    pub reasoning: Option<u64>,
}

impl Usage {
    /// Input written to the cache, for however long; `None` if nothing is known of any.
    #[must_use]
    pub fn cache_write(&self) -> Option<u64> {
        sum([self.cache_write_5m, self.cache_write_1h])
    }

    /// All input, cached or not: `gen_ai.usage.input_tokens` of the GenAI semantic conventions
    /// (v1.41.0). `None` if the uncached part is not known.
    #[must_use]
    pub fn input_total(&self) -> Option<u64> {
        self.input
            .and_then(|input| sum([Some(input), self.cache_read, self.cache_write()]))
    }

    /// All output, reasoning included: `gen_ai.usage.output_tokens` of the GenAI semantic
    /// conventions (v1.41.0). `None` if the visible part is not known.
    #[must_use]
    pub fn output_total(&self) -> Option<u64> {
        self.output
            .and_then(|output| sum([Some(output), self.reasoning]))
    }

    /// The end of a successful request with these tokens; every other field is absent and can be
    /// set with struct update syntax.
    #[must_use]
    pub fn end(&self) -> LlmRequestEnd<'static> {
        let number = |tokens: Option<u64>| tokens.map(|tokens| tokens as f64);
        LlmRequestEnd {
            response_model: "",
            status: LlmStatus::Success,
            error: "",
            input_tokens: number(self.input_total()),
            output_tokens: number(self.output_total()),
            cache_read_tokens: number(self.cache_read),
            cache_write_tokens: number(self.cache_write()),
            reasoning_tokens: number(self.reasoning),
            first_chunk: None,
            context_use: None,
            cost: None,
            input_cost: None,
            cache_read_cost: None,
            cache_write_cost: None,
            output_cost: None,
            reasoning_cost: None,
        }
    }
}

/// The sum of what is known; `None` if nothing is.
fn sum<const N: usize>(parts: [Option<u64>; N]) -> Option<u64> {
    let known = parts.into_iter().flatten();
    known.reduce(u64::saturating_add)
}

/// Whose way of reporting usage it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Anthropic, Messages API; also on Amazon Bedrock by `InvokeModel` and on Vertex AI.
    Anthropic,
    /// OpenAI, chat completions; also those who speak its language.
    OpenAiChat,
    /// OpenAI, Responses API.
    OpenAiResponses,
    /// Google, `generateContent` of Gemini and Vertex AI.
    Google,
    /// Amazon Bedrock, `Converse` and `ConverseStream`.
    BedrockConverse,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 5] = [
        Self::Anthropic,
        Self::OpenAiChat,
        Self::OpenAiResponses,
        Self::Google,
        Self::BedrockConverse,
    ];

    /// Its name in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenAiChat => "openai.chat",
            Self::OpenAiResponses => "openai.responses",
            Self::Google => "google",
            Self::BedrockConverse => "bedrock.converse",
        }
    }

    /// The format of this name; `None` if there is none.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == name)
    }

    /// The format that an answer or a usage object is in, by the names of its members; `None`
    /// if it could be in several, as `{"input_tokens": 1, "output_tokens": 2}` could.
    #[must_use]
    pub fn detect(body: &Value) -> Option<Self> {
        if let Some(events) = body.as_array() {
            return events.iter().find_map(Self::detect);
        }
        let has = |value: &Value, names: &[&str]| {
            names.iter().any(|name| {
                let member = value.get(name);
                member.is_some_and(|member| !member.is_null())
            })
        };
        let kind = body.get("type").and_then(Value::as_str).unwrap_or("");
        if has(body, &["usageMetadata"]) {
            return Some(Self::Google);
        }
        if matches!(kind, "message" | "message_start" | "message_delta") {
            return Some(Self::Anthropic);
        }
        if kind.starts_with("response.") || body.get("object") == Some(&"response".into()) {
            return Some(Self::OpenAiResponses);
        }
        if matches!(
            body.get("object").and_then(Value::as_str),
            Some("chat.completion" | "chat.completion.chunk")
        ) {
            return Some(Self::OpenAiChat);
        }
        let inner = body.get("metadata").unwrap_or(body);
        let usage = inner.get("usage").unwrap_or(body);
        let marks: [(Self, &[&str]); 5] = [
            (Self::Google, &["promptTokenCount", "totalTokenCount"]),
            (Self::BedrockConverse, &["inputTokens", "outputTokens"]),
            (Self::OpenAiChat, &["prompt_tokens", "completion_tokens"]),
            (
                Self::OpenAiResponses,
                &["input_tokens_details", "output_tokens_details"],
            ),
            (
                Self::Anthropic,
                &[
                    "cache_creation_input_tokens",
                    "cache_read_input_tokens",
                    "cache_creation",
                    "server_tool_use",
                    "service_tier",
                ],
            ),
        ];
        let mut matching = marks.iter().filter(|(_, names)| has(usage, names));
        match (matching.next(), matching.next()) {
            (Some((format, _)), None) => Some(*format),
            // Of those who name tokens so, only the Responses API adds them up.
            (None, None) if has(usage, &["input_tokens"]) && has(usage, &["total_tokens"]) => {
                Some(Self::OpenAiResponses)
            }
            _ => None,
        }
    }

    /// The format of an answer or a usage object of a provider, as `gen_ai.provider.name` has it:
    /// what its members tell, and where they could be several what that provider sends. `None` if
    /// neither tells.
    #[must_use]
    pub fn of(provider: &str, body: &Value) -> Option<Self> {
        Self::detect(body).or_else(|| {
            let (own, named) = match provider {
                "anthropic" => return Some(Self::Anthropic),
                "gcp.gemini" | "gcp.gen_ai" => return Some(Self::Google),
                // Theirs, and Anthropic's models as Anthropic has them.
                "aws.bedrock" => (Self::BedrockConverse, Self::Anthropic),
                "gcp.vertex_ai" => (Self::Google, Self::Anthropic),
                "openai" | "azure.ai.openai" | "azure.ai.inference" | "deepseek" | "groq"
                | "mistral_ai" | "perplexity" | "x_ai" => (Self::OpenAiChat, Self::OpenAiResponses),
                _ => return None,
            };
            let mut events = match body {
                Value::Array(events) => events.iter(),
                one => std::slice::from_ref(one).iter(),
            };
            let says = |event: &Value| counts(named, event.get("usage").unwrap_or(event));
            Some(if events.any(says) { named } else { own })
        })
    }
}

/// What an answer says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Tokens; `None` if the answer does not say.
    pub usage: Option<Usage>,
    /// Model that answered.
    pub model: Option<String>,
    /// The provider's id of the answer.
    pub id: Option<String>,
    /// Why the model stopped, for each candidate, in the provider's words.
    pub finish_reasons: Vec<String>,
}

/// Usage that is not as its format has it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct UsageError {
    /// Path of the member, such as `usage.prompt_tokens_details.cached_tokens`; empty: the whole.
    pub field: String,
    /// What is wrong and what is accepted.
    pub reason: String,
}

/// Reads an answer, or its usage object alone, or an array of the events of a stream.
///
/// # Errors
/// When a count is not a whole number from 0 to 10^12, a part is more than its whole, the
/// provider's total is another than the sum, or nothing in it is of the format.
pub fn read(format: Format, body: &Value) -> Result<Answer, UsageError> {
    if let Some(events) = body.as_array() {
        let mut stream = Stream::new(format);
        for event in events {
            stream.event(event);
        }
        return stream.finish();
    }
    let Some(members) = body.as_object() else {
        return Err(UsageError {
            field: String::new(),
            reason: format!(
                "accepted is an answer or a usage object of `{}`",
                format.as_str()
            ),
        });
    };
    // The responses API sends the answer within its last event.
    let body = match (format, body.get("response")) {
        (Format::OpenAiResponses, Some(response)) if response.is_object() => response,
        _ => body,
    };
    let name = match format {
        Format::Google => "usageMetadata",
        _ => "usage",
    };
    let mut answer = match format {
        Format::Anthropic => anthropic::answer(body),
        Format::OpenAiChat => openai::chat_answer(body),
        Format::OpenAiResponses => openai::responses_answer(body),
        Format::Google => google::answer(body),
        Format::BedrockConverse => bedrock::answer(body),
    };
    let fields = match body.get(name) {
        Some(Value::Null) => return Ok(answer),
        Some(usage) => Fields::of(name, usage)?,
        None if answer == Answer::default() || counts(format, body) => {
            Fields::of("", &Value::Object(members.clone()))?
        }
        None => return Ok(answer),
    };
    answer.usage = Some(usage(format, &fields)?);
    Ok(answer)
}

/// Whether an object has one of the counts of a format: whether it is a usage object.
fn counts(format: Format, body: &Value) -> bool {
    names(format).iter().any(|name| body.get(name).is_some())
}

/// The members of which a usage object has one at least.
fn names(format: Format) -> [&'static str; 2] {
    match format {
        Format::Anthropic | Format::OpenAiResponses => ["input_tokens", "output_tokens"],
        Format::OpenAiChat => ["prompt_tokens", "completion_tokens"],
        Format::Google => ["promptTokenCount", "totalTokenCount"],
        Format::BedrockConverse => ["inputTokens", "outputTokens"],
    }
}

fn usage(format: Format, fields: &Fields) -> Result<Usage, UsageError> {
    fields.one_of(&names(format))?;
    match format {
        Format::Anthropic => anthropic::usage(fields),
        Format::OpenAiChat => openai::chat(fields),
        Format::OpenAiResponses => openai::responses(fields),
        Format::Google => google::usage(fields),
        Format::BedrockConverse => bedrock::usage(fields),
    }
}

/// A text member of an answer.
fn text(body: &Value, name: &str) -> Option<String> {
    let text = body.get(name)?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// One text member of each element of an array.
fn texts(body: &Value, array: &str, name: &str) -> Vec<String> {
    let elements = body.get(array).and_then(Value::as_array);
    elements
        .into_iter()
        .flatten()
        .filter_map(|element| text(element, name))
        .collect()
}
