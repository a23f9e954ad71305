//! What a request asks of a model: read from its path and, as far as it is at hand, its body.

use std::borrow::Cow;

use serde::Deserialize;

use super::Format;
use crate::signals::llm::LlmOperation;

/// Longest body that is looked at, in bytes: more than any provider takes.
const LIMIT: usize = 32 * 1024 * 1024;
/// Longest name of a model, in bytes.
const NAME: usize = 256;

/// What a request asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What the model is to do.
    pub operation: LlmOperation,
    /// How the answer will speak of its usage.
    pub format: Format,
    /// Model, or the deployment that stands for it; `None` if it is not known.
    pub model: Option<String>,
    /// Whether the answer is to be streamed.
    pub streamed: bool,
    /// Whether a streamed answer will say what it used: of OpenAI's chat completions it does if
    /// `stream_options.include_usage` is set.
    pub tells_usage: bool,
}

/// What of a body says what is asked.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Body<'b> {
    #[serde(borrow)]
    model: Option<Cow<'b, str>>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StreamOptions {
    include_usage: Option<bool>,
}

impl Asked {
    /// What a request to this path asks, by the end of the path, so that it may be behind a
    /// gateway; `None` if it asks nothing of a model:
    ///
    /// | path | operation | format |
    /// | --- | --- | --- |
    /// | `/v1/messages` | `chat` | `anthropic` |
    /// | `…/models/{model}:rawPredict`, `:streamRawPredict`, of Anthropic on Vertex AI | `chat` | `anthropic` |
    /// | `…/chat/completions` | `chat` | `openai.chat` |
    /// | `…/completions` | `text_completion` | `openai.chat` |
    /// | `…/embeddings` | `embeddings` | `openai.chat` |
    /// | `…/responses` | `chat` | `openai.responses` |
    /// | `…/models/{model}:generateContent`, `:streamGenerateContent` | `generate_content` | `google` |
    /// | `…/models/{model}:embedContent`, `:batchEmbedContents` | `embeddings` | `google` |
    ///
    /// `/deployments/{name}/` in it names the model, as on Azure.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        let path = path.trim_end_matches('/');
        let ends = |end: &str| path.ends_with(end);
        let (operation, format) = if ends("/v1/messages") {
            (LlmOperation::Chat, Format::Anthropic)
        } else if ends("/chat/completions") {
            (LlmOperation::Chat, Format::OpenAiChat)
        } else if ends("/completions") {
            (LlmOperation::TextCompletion, Format::OpenAiChat)
        } else if ends("/embeddings") {
            (LlmOperation::Embeddings, Format::OpenAiChat)
        } else if ends("/responses") {
            (LlmOperation::Chat, Format::OpenAiResponses)
        } else {
            return Self::of_method(path);
        };
        let deployment = path.split_once("/deployments/");
        let deployment = deployment.and_then(|(_, rest)| rest.split('/').next());
        Some(Self {
            operation,
            format,
            model: deployment.and_then(named),
            streamed: false,
            tells_usage: true,
        })
    }

    /// Of Google's `models/{model}:{method}`.
    fn of_method(path: &str) -> Option<Self> {
        let (before, last) = path.rsplit_once('/')?;
        if !(before.ends_with("models") || before.ends_with("tunedModels")) {
            return None;
        }
        let (model, method) = last.split_once(':')?;
        let anthropic = before.ends_with("publishers/anthropic/models");
        let (operation, format) = match method {
            "generateContent" | "streamGenerateContent" => {
                (LlmOperation::GenerateContent, Format::Google)
            }
            "embedContent" | "batchEmbedContents" => (LlmOperation::Embeddings, Format::Google),
            "rawPredict" | "streamRawPredict" if anthropic => {
                (LlmOperation::Chat, Format::Anthropic)
            }
            _ => return None,
        };
        Some(Self {
            operation,
            format,
            model: named(model),
            streamed: method.starts_with("stream"),
            tells_usage: true,
        })
    }

    /// Reads the model, and whether to stream, out of the body. A body that is not JSON, or
    /// larger than 32 MiB, says nothing. Nothing else of it is kept.
    pub fn read_body(&mut self, body: &[u8]) {
        if body.len() > LIMIT {
            return;
        }
        let Ok(read) = serde_json::from_slice::<Body<'_>>(body) else {
            return;
        };
        // A path that names it says which one is asked, and Google's models begin with a folder.
        if self.model.is_none() {
            self.model = read.model.as_deref().and_then(named);
        }
        self.streamed |= read.stream.unwrap_or(false);
        let asked = read.stream_options.and_then(|o| o.include_usage);
        let must_ask = self.format == Format::OpenAiChat && self.streamed;
        self.tells_usage = !must_ask || asked.unwrap_or(false);
    }

    /// The body, with `stream_options.include_usage` set; `None` if it is not to be asked for:
    /// the answer tells without it, or the body sets `stream_options` itself.
    #[must_use]
    pub fn asking_for_usage(&self, body: &[u8]) -> Option<Vec<u8>> {
        if self.tells_usage {
            return None;
        }
        let read: Body<'_> = serde_json::from_slice(body).ok()?;
        let text = body.trim_ascii_end();
        let members = text.strip_suffix(b"}")?;
        // What is streamed says so, so that there is a member before.
        if read.stream_options.is_some() {
            return None;
        }
        let mut asking = members.trim_ascii_end().to_vec();
        asking.extend_from_slice(br#","stream_options":{"include_usage":true}}"#);
        Some(asking)
    }
}

/// A name of a model that can be one.
fn named(name: &str) -> Option<String> {
    let fits = !name.is_empty() && name.len() <= NAME && !name.chars().any(char::is_control);
    fits.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn paths_of_the_providers_and_of_gateways() {
        use Format::*;
        use LlmOperation::*;
        for (path, operation, format, model, streamed) in [
            ("/v1/messages", Chat, Anthropic, None, false),
            (
                "/proxy/anthropic/v1/messages/",
                Chat,
                Anthropic,
                None,
                false,
            ),
            ("/v1/chat/completions", Chat, OpenAiChat, None, false),
            ("/openai/v1/chat/completions", Chat, OpenAiChat, None, false),
            ("/chat/completions", Chat, OpenAiChat, None, false),
            ("/v1/completions", TextCompletion, OpenAiChat, None, false),
            ("/v1/responses", Chat, OpenAiResponses, None, false),
            ("/v1/embeddings", Embeddings, OpenAiChat, None, false),
            (
                "/openai/deployments/prod-4o/chat/completions",
                Chat,
                OpenAiChat,
                Some("prod-4o"),
                false,
            ),
            (
                "/v1beta/models/gemini-2.5-flash:generateContent",
                GenerateContent,
                Google,
                Some("gemini-2.5-flash"),
                false,
            ),
            (
                "/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-pro:streamGenerateContent",
                GenerateContent,
                Google,
                Some("gemini-2.5-pro"),
                true,
            ),
            (
                "/v1beta/models/gemini-embedding-001:embedContent",
                Embeddings,
                Google,
                Some("gemini-embedding-001"),
                false,
            ),
            (
                "/v1/projects/p/locations/l/publishers/anthropic/models/claude-sonnet-4-5:streamRawPredict",
                Chat,
                Anthropic,
                Some("claude-sonnet-4-5"),
                true,
            ),
        ] {
            let expected = Asked {
                operation,
                format,
                model: model.map(str::to_owned),
                streamed,
                tells_usage: true,
            };
            assert_eq!(Asked::of_path(path), Some(expected), "{path}");
        }
        for path in [
            "/",
            "",
            "/v1/models",
            "/v1/messages/count_tokens",
            "/v1/messages/batches",
            "/2010-04-01/Accounts/AC1/Messages",
            "/v1beta/models/gemini-2.5-flash:countTokens",
            "/v1/other:generateContent",
            "/v1/projects/p/locations/l/publishers/google/models/m:rawPredict",
        ] {
            assert_eq!(Asked::of_path(path), None, "{path}");
        }
    }

    #[test]
    fn bodies_name_the_model_and_whether_to_stream() {
        let chat = Asked::of_path("/v1/chat/completions").unwrap();
        for (body, model, streamed, tells) in [
            (
                r#"{"model": "gpt-4o", "messages": []}"#,
                Some("gpt-4o"),
                false,
                true,
            ),
            (
                r#"{"stream": true, "model": "gpt-4o"}"#,
                Some("gpt-4o"),
                true,
                false,
            ),
            (
                r#"{"model": "\u0067pt", "stream": true, "stream_options": {"include_usage": true}}"#,
                Some("gpt"),
                true,
                true,
            ),
            (r#"{"model": "a\nb"}"#, None, false, true),
            (r#"{"model": ""}"#, None, false, true),
            (r#"{"model": 3}"#, None, false, true),
            ("no json", None, false, true),
        ] {
            let mut asked = chat.clone();
            asked.read_body(body.as_bytes());
            assert_eq!(asked.model.as_deref(), model, "{body}");
            assert_eq!(
                (asked.streamed, asked.tells_usage),
                (streamed, tells),
                "{body}"
            );
        }
        let mut deployment = Asked::of_path("/openai/deployments/d/chat/completions").unwrap();
        deployment.read_body(br#"{"model": "gpt-4o"}"#);
        assert_eq!(deployment.model.as_deref(), Some("d"));
        let mut anthropic = Asked::of_path("/v1/messages").unwrap();
        anthropic.read_body(br#"{"model": "claude", "stream": true}"#);
        assert!(anthropic.streamed && anthropic.tells_usage);
    }

    #[test]
    fn usage_is_asked_for_where_it_is_not_told_and_the_rest_is_left_as_it_is() {
        let mut asked = Asked::of_path("/v1/chat/completions").unwrap();
        let body = "{\"temperature\": 0.10, \"stream\": true,\n \"model\": \"m\" \n} ";
        asked.read_body(body.as_bytes());
        let asking = asked.asking_for_usage(body.as_bytes()).unwrap();
        let text = String::from_utf8(asking).unwrap();
        assert_eq!(
            text,
            "{\"temperature\": 0.10, \"stream\": true,\n \"model\": \"m\",\"stream_options\":{\"include_usage\":true}}"
        );
        let mut again = Asked::of_path("/v1/chat/completions").unwrap();
        again.read_body(text.as_bytes());
        assert!(again.tells_usage);
        assert_eq!(again.asking_for_usage(text.as_bytes()), None);
        let own = br#"{"stream": true, "stream_options": {"include_usage": false}}"#;
        asked.read_body(own);
        assert_eq!(asked.asking_for_usage(own), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(path in ".{0,40}", body in prop::collection::vec(any::<u8>(), 0..60)) {
            let of_path = Asked::of_path(&format!("/models/{path}"));
            let each = [of_path, Asked::of_path(&path), Asked::of_path("/v1/chat/completions")];
            for mut asked in each.into_iter().flatten() {
                asked.read_body(&body);
                if let Some(asking) = asked.asking_for_usage(&body) {
                    prop_assert!(serde_json::from_slice::<Value>(&asking).is_ok());
                }
            }
        }
    }
}
