//! Usage as providers send it, for requests to models.

use serde_json::{Map, Value, json};

/// Puts the token counts of a request into the usage object that its provider would send, for
/// the service to read and to price. Who gets no answer gets no usage.
pub(super) fn as_sent(record: &mut Value) {
    let Some(fields) = record.get_mut("fields").and_then(Value::as_object_mut) else {
        return;
    };
    let text = |fields: &Map<String, Value>, key: &str| {
        let text = fields.get(key).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let provider = text(fields, "gen_ai.provider.name");
    let answered = text(fields, "status") == "success";
    let mut take = |key: &str| {
        let taken = fields.remove(key).and_then(|value| value.as_f64());
        taken.map_or(0, |tokens| tokens as u64)
    };
    let (input, output) = (
        take("gen_ai.usage.input_tokens"),
        take("gen_ai.usage.output_tokens"),
    );
    let (read, written) = (
        take("gen_ai.usage.cache_read.input_tokens"),
        take("gen_ai.usage.cache_creation.input_tokens"),
    );
    let reasoning = take("gen_ai.usage.reasoning.output_tokens");
    fields.retain(|key, _| !key.ends_with("cost_usd") && key != "llm.context_window.utilization");
    if !answered {
        return;
    }
    let (format, body) = match &*provider {
        "anthropic" => (
            "anthropic",
            json!({
                "input_tokens": input.saturating_sub(read + written),
                "cache_read_input_tokens": read,
                "cache_creation_input_tokens": written,
                "output_tokens": output,
            }),
        ),
        "gcp.gemini" => (
            "google",
            json!({
                "promptTokenCount": input,
                "cachedContentTokenCount": read,
                "candidatesTokenCount": output.saturating_sub(reasoning),
                "thoughtsTokenCount": reasoning.min(output),
                "totalTokenCount": input + output,
            }),
        ),
        "openai" => (
            "openai.responses",
            json!({
                "input_tokens": input,
                "input_tokens_details": {"cached_tokens": read},
                "output_tokens": output,
                "output_tokens_details": {"reasoning_tokens": reasoning},
                "total_tokens": input + output,
            }),
        ),
        _ => (
            "openai.chat",
            json!({
                "prompt_tokens": input,
                "completion_tokens": output,
                "total_tokens": input + output,
            }),
        ),
    };
    if let Some(record) = record.as_object_mut() {
        record.insert("usage".to_owned(), json!({"format": format, "body": body}));
    }
}
