//! Amazon Bedrock, `Converse` and `ConverseStream`, "TokenUsage": input leaves out what was
//! read from and written to the cache. Reasoning is within the output and not told apart.

use serde_json::Value;

use super::fields::Fields;
use super::{Answer, Usage, UsageError, text};

pub(super) fn answer(body: &Value) -> Answer {
    Answer {
        usage: None,
        // The answer says neither.
        model: None,
        id: None,
        finish_reasons: text(body, "stopReason").into_iter().collect(),
    }
}

pub(super) fn usage(fields: &Fields) -> Result<Usage, UsageError> {
    const WRITTEN: &str = "cacheWriteInputTokens";
    let (input, output) = (fields.count("inputTokens")?, fields.count("outputTokens")?);
    let cache_read = fields.count("cacheReadInputTokens")?;
    let written = fields.count(WRITTEN)?;
    let mut long = None;
    for (at, detail) in fields.elements("cacheDetails")?.iter().enumerate() {
        match detail.text("ttl") {
            Some("1h") => {
                let more = detail.count("inputTokens")?.unwrap_or(0);
                long = Some(long.unwrap_or(0) + more);
            }
            Some("5m") => {}
            _ => {
                return fields.refuse(&format!("cacheDetails[{at}].ttl"), "accepted are 5m and 1h");
            }
        }
    }
    let short = match (written, long) {
        (None, Some(_)) => {
            return fields.refuse(WRITTEN, "missing, while cacheDetails says how it is split");
        }
        _ => fields.without(written, long, (WRITTEN, "cacheDetails"))?,
    };
    if let (Some(total), Some(input), Some(output)) = (fields.count("totalTokens")?, input, output)
    {
        let cached = cache_read.unwrap_or(0) + written.unwrap_or(0);
        // With the cache for some models, without for others.
        if total != input + output && total != input + output + cached {
            return fields.refuse(
                "totalTokens",
                format!("{total} is not the sum of input and output, with the cache or without"),
            );
        }
    }
    Ok(Usage {
        input,
        cache_read,
        cache_write_5m: short,
        cache_write_1h: long,
        output,
        reasoning: None,
    })
}
