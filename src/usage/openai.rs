//! OpenAI, chat completions ("The chat completion object") and Responses API ("The response
//! object"): input includes what was read from the cache, output includes reasoning.

use serde_json::Value;

use super::fields::Fields;
use super::{Answer, Usage, UsageError, text, texts};

pub(super) fn chat_answer(body: &Value) -> Answer {
    Answer {
        usage: None,
        model: text(body, "model"),
        id: text(body, "id"),
        finish_reasons: texts(body, "choices", "finish_reason"),
    }
}

pub(super) fn responses_answer(body: &Value) -> Answer {
    // A response that is not complete says why.
    let reason = body
        .get("incomplete_details")
        .and_then(|details| text(details, "reason"))
        .or_else(|| text(body, "status"));
    Answer {
        usage: None,
        model: text(body, "model"),
        id: text(body, "id"),
        finish_reasons: reason.into_iter().collect(),
    }
}

pub(super) fn chat(fields: &Fields) -> Result<Usage, UsageError> {
    read(fields, "prompt", "completion")
}

pub(super) fn responses(fields: &Fields) -> Result<Usage, UsageError> {
    read(fields, "input", "output")
}

fn read(fields: &Fields, input: &str, output: &str) -> Result<Usage, UsageError> {
    let whole_input = format!("{input}_tokens");
    let whole_output = format!("{output}_tokens");
    let (prompt, completion) = (fields.count(&whole_input)?, fields.count(&whole_output)?);
    let total = fields.count("total_tokens")?;

    let details = format!("{input}_tokens_details");
    let (mut cache_read, mut written) = (None, None);
    if let Some(inner) = fields.inner(&details)? {
        cache_read = inner.count("cached_tokens")?;
        // Of gateways to providers that charge for writes.
        written = inner.count("cache_write_tokens")?;
    }
    let mut read_name = format!("{details}.cached_tokens");
    if cache_read.is_none() {
        // DeepSeek, "Context caching": beside the details, which it may leave out.
        cache_read = fields.count("prompt_cache_hit_tokens")?;
        read_name = "prompt_cache_hit_tokens".to_owned();
    }
    let uncached = fields.without(prompt, cache_read, (&whole_input, &read_name))?;
    let write_name = format!("{details}.cache_write_tokens");
    let uncached = fields.without(uncached, written, (&whole_input, &write_name))?;

    let details = format!("{output}_tokens_details");
    let reasoning = match fields.inner(&details)? {
        Some(inner) => inner.count("reasoning_tokens")?,
        None => None,
    };
    // xAI counts reasoning beside the completion; then the total says so.
    let apart = match (total, prompt, completion, reasoning) {
        (Some(total), Some(prompt), Some(completion), reasoning) => {
            let reasoning = reasoning.unwrap_or(0);
            if total == prompt + completion {
                false
            } else if total == prompt + completion + reasoning {
                true
            } else {
                return fields.refuse(
                    "total_tokens",
                    format!("{total} is not the sum of {whole_input} and {whole_output}"),
                );
            }
        }
        _ => false,
    };
    let visible = if apart {
        completion
    } else {
        let name = format!("{details}.reasoning_tokens");
        fields.without(completion, reasoning, (&whole_output, &name))?
    };
    Ok(Usage {
        input: uncached,
        cache_read,
        cache_write_5m: written,
        cache_write_1h: None,
        output: visible,
        reasoning,
    })
}
