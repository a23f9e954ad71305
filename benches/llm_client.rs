//! What the middleware of clients of models costs beside a bare client with middlewares: an
//! answer in one piece, and one that is streamed in 200 chunks, of a local server over plain
//! HTTP/1.1; without a subscriber, as where no span is recorded, and with the metrics installed.
#![allow(clippy::unwrap_used)]

mod common;

use std::convert::Infallible;

use bytes::Bytes;
use common::server::serve;
use common::{Contender, measure};
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use opentelemetry_sdk::Resource;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use serde_json::json;
use tachograph::instrumentation::reqwest::llm::Llm;
use tachograph::pipeline::metrics::install;
use tachograph::signals::CATALOG;
use tokio::runtime::Builder;

const QUESTION: &str = r#"{"model": "gpt-4o", "stream": true, "stream_options": {"include_usage": true},
    "messages": [{"role": "user", "content": "What is a tachograph?"}]}"#;

/// An answer in one piece, with 2 KB of text.
fn whole() -> Vec<Bytes> {
    let answer = json!({"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "word ".repeat(400)},
            "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 400, "total_tokens": 420}});
    vec![answer.to_string().into()]
}

/// A stream of 200 chunks.
fn streamed() -> Vec<Bytes> {
    let chunk = |choices, usage| {
        let data = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk",
            "model": "gpt-4o-2024-08-06", "choices": choices, "usage": usage});
        Bytes::from(format!("data: {data}\n\n"))
    };
    let piece = |content: &str, reason: Option<&str>| json!([{"index": 0, "delta": {"content": content}, "finish_reason": reason}]);
    let mut chunks = vec![chunk(piece("word ", None), json!(null)); 197];
    chunks.push(chunk(piece("", Some("stop")), json!(null)));
    let usage = json!({"prompt_tokens": 20, "completion_tokens": 197, "total_tokens": 217});
    chunks.push(chunk(json!([]), usage));
    chunks.push(Bytes::from_static(b"data: [DONE]\n\n"));
    chunks
}

async fn answer(
    request: hyper::Request<Incoming>,
) -> Result<
    hyper::Response<StreamBody<impl stream::Stream<Item = Result<Frame<Bytes>, Infallible>>>>,
    Infallible,
> {
    let stream = request.uri().path().starts_with("/stream");
    let _ = request.into_body().collect().await;
    let (kind, chunks) = match stream {
        true => ("text/event-stream", streamed()),
        false => ("application/json", whole()),
    };
    let frames = stream::iter(chunks.into_iter().map(|chunk| Ok(Frame::data(chunk))));
    let mut response = hyper::Response::new(StreamBody::new(frames));
    let kind = hyper::header::HeaderValue::from_static(kind);
    response.headers_mut().insert("content-type", kind);
    Ok(response)
}

async fn ask(client: &ClientWithMiddleware, url: &str) {
    let mut response = client.post(url).body(QUESTION).send().await.unwrap();
    while response.chunk().await.unwrap().is_some() {}
}

fn main() {
    let mut numbers = std::env::args().filter_map(|arg| arg.parse::<usize>().ok());
    let requests = numbers.next().unwrap_or(2_000);
    let _ = rustls::crypto::ring::default_provider().install_default();
    install(Resource::builder_empty().build(), CATALOG, false).unwrap();
    let address = serve(answer);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let bare = || reqwest::Client::builder().no_proxy().build().unwrap();
    let ours = Llm::builder().host("127.0.0.1", "openai").build().unwrap();
    let ours = ClientBuilder::new(bare()).with(ours).build();
    let bare = ClientBuilder::new(bare()).build();
    for (title, path, requests) in [
        ("one answer", "plain", requests),
        ("200 chunks", "stream", requests / 10 + 1),
    ] {
        let url = format!("http://{address}/{path}/v1/chat/completions");
        let run = |client: &ClientWithMiddleware, n| {
            runtime.block_on(async {
                for _ in 0..n {
                    ask(client, &url).await;
                }
            });
        };
        let results = measure(
            &mut [
                Contender::new("bare", |n| run(&bare, n)),
                Contender::new("ours", |n| run(&ours, n)),
            ],
            9,
            requests,
        );
        results.print(title, "µs", 1_000.0);
        println!("  ours / bare: {:.3}", results.ratio("ours", "bare"));
    }
}
