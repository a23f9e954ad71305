//! Usage of the providers of models, read into kinds of which no token is in two.
#![allow(clippy::unwrap_used)]

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;
use tachograph::signals::llm::LimitKind;
use tachograph::usage::{Answer, Format, RateLimit, Stream, Usage, rate_limits, read};

fn usage(format: Format, body: &Value) -> Usage {
    read(format, body).unwrap().usage.unwrap()
}

fn refused(format: Format, body: &Value) -> String {
    read(format, body).unwrap_err().field
}

/// input, cache read, written for 5 minutes, for 1 hour, output, reasoning.
fn kinds(u: Usage) -> [Option<u64>; 6] {
    [
        u.input,
        u.cache_read,
        u.cache_write_5m,
        u.cache_write_1h,
        u.output,
        u.reasoning,
    ]
}

const NONE: Option<u64> = None;

#[test]
fn anthropic_leaves_the_cache_out_of_the_input() {
    let body = json!({
        "id": "msg_1", "type": "message", "model": "claude-sonnet-4-5-20250929",
        "stop_reason": "end_turn", "content": [{"type": "text", "text": "no"}],
        "usage": {
            "input_tokens": 12, "output_tokens": 300,
            "cache_creation_input_tokens": 500, "cache_read_input_tokens": 90_000,
            "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 400},
            "service_tier": "standard",
        },
    });
    let answer = read(Format::Anthropic, &body).unwrap();
    assert_eq!(
        kinds(answer.usage.unwrap()),
        [
            Some(12),
            Some(90_000),
            Some(100),
            Some(400),
            Some(300),
            NONE
        ]
    );
    assert_eq!(answer.usage.unwrap().input_total(), Some(90_512));
    assert_eq!(answer.model.unwrap(), "claude-sonnet-4-5-20250929");
    assert_eq!(answer.id.unwrap(), "msg_1");
    assert_eq!(answer.finish_reasons, ["end_turn"]);
    assert_eq!(Format::detect(&body), Some(Format::Anthropic));
    // The usage object alone, and writes that are not split.
    let bare = json!({"input_tokens": 1, "output_tokens": 2, "cache_creation_input_tokens": 3, "cache_read_input_tokens": null});
    assert_eq!(
        kinds(usage(Format::Anthropic, &bare)),
        [Some(1), NONE, Some(3), NONE, Some(2), NONE]
    );
    assert_eq!(Format::detect(&bare), Some(Format::Anthropic));
}

#[test]
fn anthropic_streams_are_cumulative() {
    // Adding the events up would count the output, or the whole input, twice.
    let events = json!([
        {"type": "message_start", "message": {"id": "msg_2", "model": "claude-x", "usage":
            {"input_tokens": 25, "cache_read_input_tokens": 1000, "output_tokens": 1}}},
        {"type": "ping"},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a"}},
        {"type": "message_delta", "delta": {"stop_reason": null}, "usage": {"output_tokens": 40}},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"},
         "usage": {"input_tokens": 25, "cache_read_input_tokens": 1000, "output_tokens": 90}},
        {"type": "message_stop", "amazon-bedrock-invocationMetrics":
            {"inputTokenCount": 25, "outputTokenCount": 90}},
    ]);
    let answer = read(Format::Anthropic, &events).unwrap();
    assert_eq!(
        kinds(answer.usage.unwrap()),
        [Some(25), Some(1000), NONE, NONE, Some(90), NONE]
    );
    assert_eq!(answer.finish_reasons, ["tool_use"]);
    assert_eq!(answer.id.as_deref(), Some("msg_2"));
    assert_eq!(Format::detect(&events), Some(Format::Anthropic));
}

#[test]
fn openai_chat_includes_the_cache_and_reasoning() {
    let body = json!({
        "object": "chat.completion", "id": "c", "model": "o4-mini",
        "choices": [{"finish_reason": "stop"}, {"finish_reason": "length"}],
        "usage": {
            "prompt_tokens": 2006, "completion_tokens": 300, "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 100},
        },
    });
    let answer = read(Format::OpenAiChat, &body).unwrap();
    assert_eq!(
        kinds(answer.usage.unwrap()),
        [Some(86), Some(1920), NONE, NONE, Some(200), Some(100)]
    );
    assert_eq!(answer.usage.unwrap().input_total(), Some(2006));
    assert_eq!(answer.usage.unwrap().output_total(), Some(300));
    assert_eq!(answer.finish_reasons, ["stop", "length"]);
    assert_eq!(Format::detect(&body), Some(Format::OpenAiChat));
}

#[test]
fn openai_streams_tell_usage_in_the_last_chunk_if_at_all() {
    let chunk = |usage: Value| json!({"object": "chat.completion.chunk", "id": "c", "model": "m", "choices": [], "usage": usage});
    let last = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 4}});
    let with = json!([
        chunk(Value::Null),
        {"id": "c", "choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}], "usage": null},
        chunk(last),
    ]);
    let answer = read(Format::OpenAiChat, &with).unwrap();
    assert_eq!(
        kinds(answer.usage.unwrap()),
        [Some(6), Some(4), NONE, NONE, Some(5), NONE]
    );
    assert_eq!(answer.finish_reasons, ["stop"]);
    // Without include_usage the usage is unknown, not 0.
    let without = json!([chunk(Value::Null), chunk(Value::Null)]);
    let answer = read(Format::OpenAiChat, &without).unwrap();
    assert_eq!((answer.usage, answer.id.as_deref()), (None, Some("c")));
}

#[test]
fn those_who_speak_openais_language_differ_in_details() {
    // xAI counts reasoning beside the completion, which the total tells.
    let xai = json!({"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135,
        "completion_tokens_details": {"reasoning_tokens": 94}});
    assert_eq!(
        kinds(usage(Format::OpenAiChat, &xai)),
        [Some(32), NONE, NONE, NONE, Some(9), Some(94)]
    );
    let deepseek = json!({"prompt_tokens": 100, "completion_tokens": 9, "total_tokens": 109,
        "prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36});
    assert_eq!(
        kinds(usage(Format::OpenAiChat, &deepseek)),
        [Some(36), Some(64), NONE, NONE, Some(9), NONE]
    );
    let gateway = json!({"prompt_tokens": 100, "completion_tokens": 1,
        "prompt_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 50}});
    assert_eq!(
        kinds(usage(Format::OpenAiChat, &gateway)),
        [Some(40), Some(10), Some(50), NONE, Some(1), NONE]
    );
}

#[test]
fn openai_responses_whole_and_streamed() {
    let response = json!({
        "id": "resp_1", "object": "response", "model": "gpt-5", "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
        "usage": {"input_tokens": 75, "input_tokens_details": {"cached_tokens": 50},
            "output_tokens": 1186, "output_tokens_details": {"reasoning_tokens": 1024},
            "total_tokens": 1261},
    });
    let expected = [Some(25), Some(50), NONE, NONE, Some(162), Some(1024)];
    let whole = read(Format::OpenAiResponses, &response).unwrap();
    assert_eq!(kinds(whole.usage.unwrap()), expected);
    assert_eq!(whole.finish_reasons, ["max_output_tokens"]);
    assert_eq!(Format::detect(&response), Some(Format::OpenAiResponses));
    let created = json!({"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "usage": null}});
    let done = json!({"type": "response.incomplete", "response": response});
    let events =
        json!([created, {"type": "response.output_text.delta", "delta": "x"}, done.clone()]);
    assert_eq!(read(Format::OpenAiResponses, &events).unwrap(), whole);
    assert_eq!(read(Format::OpenAiResponses, &done).unwrap(), whole);
}

#[test]
fn google_counts_thoughts_and_tools_apart_and_the_cache_within() {
    let body = json!({
        "responseId": "r", "modelVersion": "gemini-2.5-pro",
        "candidates": [{"finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 1000, "cachedContentTokenCount": 600,
            "toolUsePromptTokenCount": 30, "thoughtsTokenCount": 200,
            "candidatesTokenCount": 70, "totalTokenCount": 1300},
    });
    let answer = read(Format::Google, &body).unwrap();
    let expected = [Some(430), Some(600), NONE, NONE, Some(70), Some(200)];
    assert_eq!(kinds(answer.usage.unwrap()), expected);
    assert_eq!(answer.model.as_deref(), Some("gemini-2.5-pro"));
    assert_eq!(Format::detect(&body), Some(Format::Google));
    // Every chunk of a stream has counts so far; the last one holds.
    let early = json!({"usageMetadata": {"promptTokenCount": 1000, "totalTokenCount": 1000}});
    let streamed = read(Format::Google, &json!([early, body])).unwrap();
    assert_eq!(streamed, answer);
    // A count that is 0 is left out; the total tells.
    let blocked = json!({"promptTokenCount": 9, "totalTokenCount": 9});
    assert_eq!(
        kinds(usage(Format::Google, &blocked)),
        [Some(9), NONE, NONE, NONE, Some(0), NONE]
    );
}

#[test]
fn bedrock_leaves_the_cache_out_of_the_input() {
    let body = json!({
        "stopReason": "end_turn", "metrics": {"latencyMs": 1200},
        "usage": {"inputTokens": 13, "outputTokens": 85, "totalTokens": 1338,
            "cacheReadInputTokens": 1000, "cacheWriteInputTokens": 240,
            "cacheDetails": [{"inputTokens": 200, "ttl": "1h"}, {"inputTokens": 40, "ttl": "5m"}]},
    });
    let answer = read(Format::BedrockConverse, &body).unwrap();
    assert_eq!(
        kinds(answer.usage.unwrap()),
        [Some(13), Some(1000), Some(40), Some(200), Some(85), NONE]
    );
    assert_eq!(answer.finish_reasons, ["end_turn"]);
    assert_eq!(Format::detect(&body), Some(Format::BedrockConverse));
    let events = json!([
        {"messageStart": {"role": "assistant"}},
        {"messageStop": {"stopReason": "end_turn"}},
        {"metadata": {"usage": body["usage"], "metrics": {"latencyMs": 1}}},
    ]);
    assert_eq!(read(Format::BedrockConverse, &events).unwrap(), answer);
}

#[test]
fn an_answer_without_usage_is_unknown_and_garbage_is_named() {
    let answers = [
        (
            Format::Anthropic,
            json!({"type": "message", "id": "a", "model": "m"}),
        ),
        (
            Format::OpenAiChat,
            json!({"id": "a", "choices": [], "usage": null}),
        ),
        (Format::Google, json!({"responseId": "a", "candidates": []})),
    ];
    for (format, body) in answers {
        assert_eq!(read(format, &body).unwrap().usage, None, "{body}");
    }
    let prompt =
        |tokens: Value| json!({"usage": {"prompt_tokens": tokens, "completion_tokens": 1}});
    for tokens in [
        json!(-1),
        json!(1.5),
        json!("7"),
        json!(true),
        json!(1e300),
        json!([]),
    ] {
        assert_eq!(
            refused(Format::OpenAiChat, &prompt(tokens)),
            "usage.prompt_tokens"
        );
    }
    let cached = json!({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 6}});
    assert_eq!(
        refused(Format::OpenAiChat, &cached),
        "prompt_tokens_details.cached_tokens"
    );
    let total = json!({"usage": {"input_tokens": 5, "output_tokens": 5, "total_tokens": 11}});
    assert_eq!(
        refused(Format::OpenAiResponses, &total),
        "usage.total_tokens"
    );
    let split = json!({"input_tokens": 1, "cache_creation_input_tokens": 5,
        "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 1}});
    assert_eq!(
        refused(Format::Anthropic, &split),
        "cache_creation_input_tokens"
    );
    let total = json!({"promptTokenCount": 9, "candidatesTokenCount": 1, "totalTokenCount": 99});
    assert_eq!(refused(Format::Google, &total), "totalTokenCount");
    let ttl =
        json!({"inputTokens": 1, "cacheWriteInputTokens": 1, "cacheDetails": [{"ttl": "2h"}]});
    assert_eq!(
        refused(Format::BedrockConverse, &ttl),
        "cacheDetails[0].ttl"
    );
    for format in Format::ALL {
        for body in [
            json!({}),
            json!({"usage": 5, "usageMetadata": 5}),
            json!(null),
            json!("x"),
            json!([]),
        ] {
            assert!(read(format, &body).is_err(), "{format:?} {body}");
        }
    }
}

#[test]
fn what_could_be_several_formats_is_not_guessed() {
    let body = json!({"input_tokens": 1, "output_tokens": 2});
    assert_eq!(Format::detect(&body), None);
    assert_eq!(
        Format::detect(&json!({"usage": {"prompt_tokens": 1, "inputTokens": 1}})),
        None
    );
    // The bare usage object of a chat completion, whose total the Responses API has too.
    let chat = json!({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7});
    assert_eq!(Format::detect(&chat), Some(Format::OpenAiChat));
    let responses = json!({"input_tokens": 5, "output_tokens": 2, "total_tokens": 7});
    assert_eq!(Format::detect(&responses), Some(Format::OpenAiResponses));
    for format in Format::ALL {
        assert_eq!(Format::named(format.as_str()), Some(format));
    }
}

#[test]
fn the_provider_tells_what_the_members_do_not() {
    let bare = json!({"input_tokens": 1, "output_tokens": 2});
    for (provider, format) in [
        ("anthropic", Some(Format::Anthropic)),
        ("aws.bedrock", Some(Format::Anthropic)),
        ("gcp.vertex_ai", Some(Format::Anthropic)),
        ("openai", Some(Format::OpenAiResponses)),
        ("azure.ai.openai", Some(Format::OpenAiResponses)),
        ("acme", None),
    ] {
        assert_eq!(Format::of(provider, &bare), format, "{provider}");
        assert_eq!(Format::of(provider, &json!({ "usage": bare })), format);
        assert_eq!(
            Format::of(provider, &json!([{}, { "usage": bare }])),
            format
        );
    }
    // Nothing is known yet of an answer without usage.
    let empty = json!({"id": "1"});
    for (provider, format) in [
        ("openai", Some(Format::OpenAiChat)),
        ("deepseek", Some(Format::OpenAiChat)),
        ("aws.bedrock", Some(Format::BedrockConverse)),
        ("gcp.gemini", Some(Format::Google)),
        ("acme", None),
    ] {
        assert_eq!(Format::of(provider, &empty), format, "{provider}");
    }
    // What the members say holds: a gateway may speak another's language.
    let chat = json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3});
    assert_eq!(Format::of("anthropic", &chat), Some(Format::OpenAiChat));
}

#[test]
fn rate_limits_are_read_from_headers() {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let anthropic = rate_limits(
        [
            ("anthropic-ratelimit-requests-limit", "4000"),
            ("anthropic-ratelimit-requests-remaining", "3999"),
            ("Anthropic-RateLimit-Requests-Reset", "2026-01-01T00:00:01Z"),
            ("anthropic-ratelimit-input-tokens-remaining", "many"),
            ("retry-after", "30"),
            ("content-type", "application/json"),
        ],
        now,
    );
    let requests = RateLimit {
        kind: LimitKind::Requests,
        limit: Some(4000),
        remaining: Some(3999),
        reset: Some("2026-01-01T00:00:01Z".parse().unwrap()),
    };
    assert_eq!(anthropic.limits, [requests]);
    assert_eq!(anthropic.retry_after, Some(Duration::from_secs(30)));
    let openai = rate_limits(
        [
            ("x-ratelimit-remaining-tokens", "149984"),
            ("x-ratelimit-reset-tokens", "6m0.5s"),
            ("retry-after-ms", "20"),
            ("retry-after", "Thu, 01 Jan 2026 00:01:00 GMT"),
        ],
        now,
    );
    let tokens = RateLimit {
        kind: LimitKind::Tokens,
        limit: None,
        remaining: Some(149_984),
        reset: Some("2026-01-01T00:06:00.5Z".parse().unwrap()),
    };
    assert_eq!(openai.limits, [tokens]);
    assert_eq!(openai.retry_after, Some(Duration::from_millis(20)));
    let date = rate_limits([("retry-after", "Thu, 01 Jan 2026 00:01:00 GMT")], now);
    assert_eq!(date.retry_after, Some(Duration::from_secs(60)));
    for text in ["", "s", "5", "1x", "-1s", "1e999s", "1..2s"] {
        let limits = rate_limits([("x-ratelimit-reset-tokens", text)], now);
        assert!(limits.limits.is_empty(), "{text}");
    }
}

/// Any JSON, with the names that formats have more often than others.
fn garbage() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "usage",
        "usageMetadata",
        "input_tokens",
        "output_tokens",
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "cached_tokens",
        "completion_tokens_details",
        "reasoning_tokens",
        "cache_creation",
        "cache_creation_input_tokens",
        "ephemeral_1h_input_tokens",
        "promptTokenCount",
        "thoughtsTokenCount",
        "totalTokenCount",
        "inputTokens",
        "cacheDetails",
        "ttl",
        "cacheWriteInputTokens",
        "message",
        "delta",
        "response",
        "metadata",
        "type",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0_u64..50).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        let members = prop::collection::vec((name.clone(), inner.clone()), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            members.prop_map(|members| members
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect()),
        ]
    })
}

proptest! {
    #[test]
    fn kinds_are_disjoint_and_add_up_to_the_providers_total(
        input in 0_u64..1 << 30, read_ in 0_u64..1 << 30, short in 0_u64..1 << 30,
        long in 0_u64..1 << 30, output in 0_u64..1 << 30, reasoning in 0_u64..1 << 30,
        tools in 0_u64..1 << 20,
    ) {
        let all = input + read_ + short + long + output + reasoning;
        // Each provider's way of saying the same.
        let anthropic = json!({"input_tokens": input, "cache_read_input_tokens": read_,
            "cache_creation_input_tokens": short + long, "output_tokens": output + reasoning,
            "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long}});
        let bedrock = json!({"inputTokens": input, "cacheReadInputTokens": read_,
            "cacheWriteInputTokens": short + long, "outputTokens": output + reasoning,
            "cacheDetails": [{"ttl": "1h", "inputTokens": long}, {"ttl": "5m", "inputTokens": short}],
            "totalTokens": input + output + reasoning});
        for (format, body) in [(Format::Anthropic, anthropic), (Format::BedrockConverse, bedrock)] {
            let u = usage(format, &body);
            prop_assert_eq!(kinds(u), [Some(input), Some(read_), Some(short), Some(long), Some(output + reasoning), None]);
            prop_assert_eq!(u.input_total().unwrap() + u.output_total().unwrap(), all);
        }
        let total = input + read_ + output + reasoning;
        for (format, i, o) in [(Format::OpenAiChat, "prompt", "completion"), (Format::OpenAiResponses, "input", "output")] {
            let body = json!({format!("{i}_tokens"): input + read_, format!("{o}_tokens"): output + reasoning,
                format!("{i}_tokens_details"): {"cached_tokens": read_},
                format!("{o}_tokens_details"): {"reasoning_tokens": reasoning},
                "total_tokens": total});
            let u = usage(format, &body);
            prop_assert_eq!(kinds(u), [Some(input), Some(read_), None, None, Some(output), Some(reasoning)]);
            prop_assert_eq!(u.input_total().unwrap() + u.output_total().unwrap(), total);
        }
        let google = json!({"promptTokenCount": input + read_, "cachedContentTokenCount": read_,
            "toolUsePromptTokenCount": tools, "candidatesTokenCount": output,
            "thoughtsTokenCount": reasoning, "totalTokenCount": total + tools});
        let u = usage(Format::Google, &google);
        prop_assert_eq!(kinds(u), [Some(input + tools), Some(read_), None, None, Some(output), Some(reasoning)]);
        prop_assert_eq!(u.input_total().unwrap() + u.output_total().unwrap(), total + tools);
        // The conventions' whole is what its parts are taken from.
        let end = u.end();
        prop_assert_eq!(end.input_tokens.unwrap() - end.cache_read_tokens.unwrap(), (input + tools) as f64);
    }

    #[test]
    fn garbage_never_panics_and_totals_hold(body in garbage()) {
        let _ = Format::detect(&body);
        for format in Format::ALL {
            if let Ok(Answer { usage: Some(usage), .. }) = read(format, &body) {
                let known = kinds(usage).into_iter().flatten().sum::<u64>();
                prop_assert!(usage.input_total().unwrap_or(0) + usage.output_total().unwrap_or(0) <= known);
            }
            let mut stream = Stream::new(format);
            stream.event(&body);
            let _ = stream.finish();
        }
    }
}
