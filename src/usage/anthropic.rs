//! Anthropic, Messages API, "Create a Message", "Streaming Messages" and "Prompt caching":
//! `input_tokens` leaves out what was read from and written to the cache. Reasoning is within
//! `output_tokens` and not told apart.

use serde_json::Value;

use super::fields::Fields;
use super::{Answer, Usage, UsageError, text};

pub(super) fn answer(body: &Value) -> Answer {
    Answer {
        usage: None,
        model: text(body, "model"),
        id: text(body, "id"),
        finish_reasons: text(body, "stop_reason").into_iter().collect(),
    }
}

pub(super) fn usage(fields: &Fields) -> Result<Usage, UsageError> {
    const WRITTEN: &str = "cache_creation_input_tokens";
    let written = fields.count(WRITTEN)?;
    let (short, long) = match fields.inner("cache_creation")? {
        Some(split) => (
            split.count("ephemeral_5m_input_tokens")?,
            split.count("ephemeral_1h_input_tokens")?,
        ),
        None => (None, None),
    };
    let (cache_write_5m, cache_write_1h) = match (written, short, long) {
        (written, None, None) => (written, None),
        (None, short, long) => (short, long),
        (Some(written), short, Some(long)) => {
            let rest = fields.without(
                Some(written),
                Some(long),
                (WRITTEN, "cache_creation.ephemeral_1h_input_tokens"),
            )?;
            if short.is_some() && short != rest {
                return differs(fields);
            }
            (rest, Some(long))
        }
        (Some(written), Some(short), None) if short == written => (Some(short), None),
        (Some(_), Some(_), None) => return differs(fields),
    };
    Ok(Usage {
        input: fields.count("input_tokens")?,
        cache_read: fields.count("cache_read_input_tokens")?,
        cache_write_5m,
        cache_write_1h,
        output: fields.count("output_tokens")?,
        reasoning: None,
    })
}

fn differs<T>(fields: &Fields) -> Result<T, UsageError> {
    fields.refuse(
        "cache_creation_input_tokens",
        "is not the sum of what `cache_creation` says was written for 5 minutes and for 1 hour",
    )
}
