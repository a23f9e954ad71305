//! A streamed answer of a language model, recorded as it comes: `cargo run --example llm_client`.
//! With `ANTHROPIC_API_KEY` set it asks Anthropic, without it a server of its own that speaks the
//! same language.

#[path = "common/page.rs"]
mod page;

use std::convert::Infallible;
use std::time::Duration;

use actix_web::web::Bytes;
use actix_web::{App, HttpResponse, HttpServer, web};
use futures_util::stream;
use serde_json::{Value, json};
use tachograph::instrumentation::reqwest::llm::{Llm, LlmCall};
use tachograph::instrumentation::reqwest::reqwest_middleware::ClientBuilder;
use tachograph::usage::Events;
use tachograph::{Telemetry, TelemetryConfig};

const MODEL: &str = "claude-sonnet-4-5";

/// One event of the stream.
fn event(data: &Value) -> Bytes {
    let name = data["type"].as_str().unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n").into()
}

/// What Anthropic would send, word by word.
async fn answer() -> HttpResponse {
    let words = "An instrument that records what a driver does.";
    let usage = json!({"input_tokens": 12, "output_tokens": 1});
    let mut events = vec![event(&json!({"type": "message_start",
        "message": {"id": "msg_1", "model": MODEL, "usage": usage}}))];
    for word in words.split_inclusive(' ') {
        events.push(event(&json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "text_delta", "text": word}})));
    }
    events.push(event(&json!({"type": "message_delta",
        "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 10}})));
    events.push(event(&json!({"type": "message_stop"})));
    let paced = stream::unfold(events.into_iter(), |mut events| async {
        tokio::time::sleep(Duration::from_millis(40)).await;
        Some((Ok::<_, Infallible>(events.next()?), events))
    });
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .streaming(Box::pin(paced))
}

async fn own_server() -> std::io::Result<String> {
    let app = || App::new().route("/v1/messages", web::post().to(answer));
    let server = HttpServer::new(app).workers(1).disable_signals();
    let server = server.bind(("127.0.0.1", 0))?;
    let url = format!("http://{}/v1/messages", server.addrs()[0]);
    tokio::spawn(server.run());
    Ok(url)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // What reqwest makes TLS with, where none of its own features says.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let key = std::env::var("ANTHROPIC_API_KEY").unwrap_or_default();
    let url = match &*key {
        "" => own_server().await?,
        _ => "https://api.anthropic.com/v1/messages".to_owned(),
    };
    let telemetry = Telemetry::init(TelemetryConfig::from_env()?)?;
    let llm = Llm::builder().host("127.0.0.1", "anthropic").build()?;
    let bare = reqwest::Client::builder().timeout(Duration::from_secs(60));
    let client = ClientBuilder::new(bare.build()?).with(llm).build();

    let question = json!({"model": MODEL, "max_tokens": 100, "stream": true,
        "messages": [{"role": "user", "content": "What is a tachograph?"}]});
    let request = client
        .post(url)
        .header("x-api-key", key)
        .header("anthropic-version", "2023-06-01")
        .header("content-type", "application/json")
        .with_extension(LlmCall::new().agent("writer").conversation("example"))
        .body(question.to_string());
    let mut answer = request.send().await?;
    println!("{}", answer.status());

    let mut events = Events::new();
    let mut text = String::new();
    while let Some(chunk) = answer.chunk().await? {
        events.feed(&chunk, |event| {
            let data: Value = serde_json::from_slice(event.data).unwrap_or_default();
            text.push_str(data["delta"]["text"].as_str().unwrap_or_default());
        });
    }
    println!("{text}");
    page::print(
        &telemetry,
        &["gen_ai_client_", "llm_requests", "llm_cost", "llm_output"],
    )
    .await?;
    telemetry.shutdown(Duration::from_secs(5))?;
    Ok(())
}
