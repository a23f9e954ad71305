//! Google, `GenerateContentResponse.UsageMetadata` of the Gemini API and of Vertex AI: the
//! prompt includes cached content; tokens of results of tools and thoughts are counted apart.

use serde_json::Value;

use super::fields::Fields;
use super::{Answer, Usage, UsageError, sum, text, texts};

pub(super) fn answer(body: &Value) -> Answer {
    Answer {
        usage: None,
        model: text(body, "modelVersion"),
        id: text(body, "responseId"),
        finish_reasons: texts(body, "candidates", "finishReason"),
    }
}

pub(super) fn usage(fields: &Fields) -> Result<Usage, UsageError> {
    const TOTAL: &str = "totalTokenCount";
    let prompt = fields.count("promptTokenCount")?;
    let cache_read = fields.count("cachedContentTokenCount")?;
    let tools = fields.count("toolUsePromptTokenCount")?;
    let thoughts = fields.count("thoughtsTokenCount")?;
    let candidates = match fields.count("candidatesTokenCount")? {
        // The live API's name.
        None => fields.count("responseTokenCount")?,
        candidates => candidates,
    };
    let total = fields.count(TOTAL)?;
    let uncached = fields.without(
        prompt,
        cache_read,
        ("promptTokenCount", "cachedContentTokenCount"),
    )?;
    let output = match (total, prompt, candidates) {
        (Some(total), Some(prompt), candidates) => {
            let beside = prompt + tools.unwrap_or(0) + thoughts.unwrap_or(0);
            match candidates {
                // What is 0 is left out; the total tells.
                None => match total.checked_sub(beside) {
                    Some(rest) => Some(rest),
                    None => return differs(fields, total),
                },
                Some(candidates) if beside + candidates == total => Some(candidates),
                // Thoughts within the candidates: then the total has them once.
                Some(candidates)
                    if prompt + tools.unwrap_or(0) + candidates == total
                        && thoughts <= Some(candidates) =>
                {
                    Some(candidates - thoughts.unwrap_or(0))
                }
                Some(_) => return differs(fields, total),
            }
        }
        (_, _, candidates) => candidates,
    };
    Ok(Usage {
        input: uncached.and_then(|uncached| sum([Some(uncached), tools])),
        cache_read,
        cache_write_5m: None,
        cache_write_1h: None,
        output,
        reasoning: thoughts,
    })
}

fn differs<T>(fields: &Fields, total: u64) -> Result<T, UsageError> {
    fields.refuse(
        "totalTokenCount",
        format!("{total} is not the sum of prompt, tool use, thoughts and candidates"),
    )
}
