//! Answers that are streamed: handed on as they come, whole and broken off.

use super::*;

/// The events of a streamed answer, and how many of them are output.
pub(super) fn events(host: &str) -> Vec<&'static str> {
    match host {
        ANTHROPIC => vec![
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_02\",\"model\":\"dear-1-2\",\"content\":[],\"usage\":{\"input_tokens\":25,\"cache_read_input_tokens\":100,\"output_tokens\":1}}}\n\n",
            "event: ping\ndata: {\"type\": \"ping\"}\n\n",
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"an answer for \"}}\n\n",
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"somebody\"}}\n\n",
            "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":15}}\n\n",
            "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        ],
        GEMINI => vec![
            "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"an answer\"}],\"role\": \"model\"}}],\"usageMetadata\": {\"promptTokenCount\": 7,\"totalTokenCount\": 7},\"modelVersion\": \"dear-1-001\"}\r\n\r\n",
            "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \" for somebody\"}],\"role\": \"model\"},\"finishReason\": \"STOP\"}],\"usageMetadata\": {\"promptTokenCount\": 7,\"candidatesTokenCount\": 9,\"totalTokenCount\": 16},\"modelVersion\": \"dear-1-001\"}\r\n\r\n",
        ],
        _ => vec![
            "data: {\"id\":\"chatcmpl-2\",\"model\":\"dear-1-2\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}],\"usage\":null}\n\n",
            "data: {\"id\":\"chatcmpl-2\",\"model\":\"dear-1-2\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"an answer for\"},\"finish_reason\":null}],\"usage\":null}\n\n",
            "data: {\"id\":\"chatcmpl-2\",\"model\":\"dear-1-2\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" somebody\"},\"finish_reason\":null}],\"usage\":null}\n\n",
            "data: {\"id\":\"chatcmpl-2\",\"model\":\"dear-1-2\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n",
            "data: {\"id\":\"chatcmpl-2\",\"model\":\"dear-1-2\",\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":6,\"total_tokens\":17}}\n\n",
            "data: [DONE]\n\n",
        ],
    }
}

/// Sends the events one by one, each when the one before has been read.
async fn read_one_by_one(
    send: tokio::sync::mpsc::UnboundedSender<io::Result<&'static str>>,
    answer: &mut Response,
    events: &[&'static str],
) {
    for event in events {
        send.send(Ok(event)).unwrap();
        let mut seen = 0;
        while seen < event.len() {
            seen += answer.chunk().await.unwrap().unwrap().len();
        }
    }
}

#[tokio::test]
async fn streams_are_handed_on_as_they_come_and_tell_their_pace_and_usage() {
    for (host, provider, name, input, output) in [
        (ANTHROPIC, "anthropic", "chat dear-1", 125.0, 15.0),
        (OPENAI, "openai", "chat dear-1", 11.0, 6.0),
        (GEMINI, "gcp.gemini", "generate_content dear-1", 7.0, 9.0),
    ] {
        let (send, stream) = streamed(200, &[EVENTS]);
        let server = server([stream]).await;
        let recorded = testing::capture();
        let client = client(&server, options().ask_for_usage(true));
        let mut answer = ask(&client, &server, host, true).send().await.unwrap();
        recorded.metric("llm.active").assert_value(1.0);
        let events = events(host);
        let (before, after) = events.split_at(events.len() - 1);
        read_one_by_one(send.clone(), &mut answer, before).await;
        // So long that a speed means something.
        tokio::time::sleep(Duration::from_millis(60)).await;
        recorded.signal("llm.request").assert_count(0);
        read_one_by_one(send, &mut answer, after).await;
        assert_eq!(answer.chunk().await.unwrap(), None);

        assert_ended(&recorded, provider, "success", "", 1);
        let first = recorded.metric("gen_ai.client.operation.time_to_first_chunk");
        assert_eq!(first.observations(), 1, "{host}");
        let took = recorded.metric("gen_ai.client.operation.duration").value();
        assert!(first.value() < took, "{host}");
        let gaps = recorded.metric("gen_ai.client.operation.time_per_output_chunk");
        assert_eq!(gaps.observations(), 1, "{host}");
        // Of the others the last piece is no output, and the rest comes within no time.
        let speed = recorded.metric("llm.output.tokens_per_second");
        assert_eq!(speed.observations(), u64::from(host == GEMINI), "{host}");
        let sum = |kind| {
            let usage = recorded.metric("gen_ai.client.token.usage");
            usage.label("gen_ai.token.type", kind).value()
        };
        assert_eq!(
            (sum("input"), sum("output")),
            (Some(input), Some(output)),
            "{host}"
        );
        assert!(recorded.metric("llm.cost").value() > Some(0.0));
        let span = recorded
            .span(name)
            .field("gen_ai.usage.output_tokens", &output.to_string());
        span.failed(false).assert_count(1);
        assert_nothing_secret(&recorded);
        let asked = serde_json::from_slice::<Value>(&server.last().body).unwrap();
        let options = (host == OPENAI).then(|| json!({"include_usage": true}));
        assert_eq!(asked.get("stream_options").cloned(), options, "{host}");
    }
}

#[tokio::test]
async fn googles_array_and_responses_are_streams_too() {
    let (send, array) = streamed(200, &[JSON]);
    let (other, responses) = streamed(200, &[EVENTS]);
    let server = server([array, responses]).await;
    let recorded = testing::capture();
    let client = client(&server, options());
    let path = "/v1beta/models/dear-1:streamGenerateContent";
    let request = client
        .post(server.url(GEMINI, path))
        .body(body(GEMINI, true).to_string());
    let mut answer = request.send().await.unwrap();
    let parts = [
        "[{\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"[{\\\"\"}]}}],",
        "\"usageMetadata\": {\"promptTokenCount\": 7, \"totalTokenCount\": 7}}\n,\r\n",
        "{\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"b\"}]}, \"finishReason\": \"MAX_TOKENS\"}], \"usageMetadata\": {\"promptTokenCount\": 7, \"candidatesTokenCount\": 3, \"totalTokenCount\": 10}}]",
    ];
    read_one_by_one(send, &mut answer, &parts).await;
    drop(answer);
    assert_ended(&recorded, "gcp.gemini", "success", "", 1);
    assert_eq!(tokens(&recorded, "gcp.gemini", "output"), Some(3.0));
    let span = recorded.span("generate_content dear-1");
    span.field("gen_ai.response.finish_reasons", "MAX_TOKENS")
        .assert_count(1);

    let request = client.post(server.url(OPENAI, "/v1/responses"));
    let mut answer = request
        .body(body(OPENAI, true).to_string())
        .send()
        .await
        .unwrap();
    let parts = [
        "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_2\",\"status\":\"in_progress\",\"model\":\"dear-1-2\",\"usage\":null}}\n\n",
        "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"an answer for somebody\"}\n\n",
        "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_2\",\"status\":\"completed\",\"model\":\"dear-1-2\",\"output\":[{\"content\":[{\"text\":\"an answer for somebody\"}]}],\"usage\":{\"input_tokens\":4,\"output_tokens\":5,\"total_tokens\":9}}}\n\n",
    ];
    read_one_by_one(other, &mut answer, &parts).await;
    drop(answer);
    assert_ended(&recorded, "openai", "success", "", 1);
    assert_eq!(tokens(&recorded, "openai", "output"), Some(5.0));
    let first = recorded.metric("gen_ai.client.operation.time_to_first_chunk");
    assert_eq!(first.observations(), 2);
    assert_nothing_secret(&recorded);
}

#[tokio::test]
async fn streams_that_end_early_are_no_success_and_their_usage_is_unknown() {
    let begin = &events(ANTHROPIC)[..3];
    let recorded = testing::capture();

    // It breaks off.
    let (send, stream) = streamed(200, &[EVENTS]);
    let broken = server([stream]).await;
    let asking = client(&broken, options());
    let mut answer = ask(&asking, &broken, ANTHROPIC, true).send().await.unwrap();
    read_one_by_one(send.clone(), &mut answer, begin).await;
    send.send(Err(io::ErrorKind::Other.into())).unwrap();
    answer.chunk().await.unwrap_err();
    assert_ended(&recorded, "anthropic", "failed", "connection_closed", 1);
    // What was asked is known, what was answered is not, and is not 0.
    let usage = |kind| {
        recorded
            .metric("gen_ai.client.token.usage")
            .label("gen_ai.token.type", kind)
    };
    assert_eq!(usage("input").value(), Some(125.0));
    assert_eq!(usage("output").observations(), 0);
    assert_eq!(recorded.metric("llm.cost").value().unwrap_or(0.0), 0.0);
    assert_eq!(unknown(&recorded, "cut_off"), Some(1.0));
    let span = recorded
        .span("chat dear-1")
        .field("error.type", "connection_closed");
    span.field("gen_ai.usage.input_tokens", "125")
        .failed(true)
        .assert_count(1);

    // The caller goes away; the provider ends it without a last event; it says it failed.
    for (provider, host, parts, dropped, status, error) in [
        (
            "anthropic",
            ANTHROPIC,
            begin.to_vec(),
            true,
            "abandoned",
            "abandoned",
        ),
        (
            "anthropic",
            ANTHROPIC,
            begin.to_vec(),
            false,
            "failed",
            "incomplete",
        ),
        (
            "openai",
            OPENAI,
            events(OPENAI)[..2].to_vec(),
            true,
            "abandoned",
            "abandoned",
        ),
        (
            "gcp.gemini",
            GEMINI,
            events(GEMINI)[..1].to_vec(),
            false,
            "failed",
            "incomplete",
        ),
        (
            "anthropic",
            ANTHROPIC,
            vec![
                begin[0],
                "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n",
            ],
            false,
            "failed",
            "overloaded",
        ),
    ] {
        let before = unknown(&recorded, "cut_off").unwrap();
        let (send, stream) = streamed(200, &[EVENTS]);
        let server = server([stream]).await;
        let client = client(&server, options().ask_for_usage(true));
        let mut answer = ask(&client, &server, host, true).send().await.unwrap();
        read_one_by_one(send, &mut answer, &parts).await;
        if !dropped {
            assert_eq!(answer.chunk().await.unwrap(), None);
        }
        drop(answer);
        assert_ended(&recorded, provider, status, error, 1);
        assert_eq!(
            unknown(&recorded, "cut_off"),
            Some(before + 1.0),
            "{host} {status}"
        );
    }
    assert_eq!(usage("output").observations(), 0);

    // Whoever has the last event may go away, as clients do.
    let (send, stream) = streamed(200, &[EVENTS]);
    let server = server([stream]).await;
    let client = client(&server, options());
    let mut answer = ask(&client, &server, ANTHROPIC, true).send().await.unwrap();
    read_one_by_one(send, &mut answer, &events(ANTHROPIC)).await;
    drop(answer);
    assert_ended(&recorded, "anthropic", "success", "", 1);
    assert_eq!(usage("output").value(), Some(15.0));
    assert_nothing_secret(&recorded);
}
