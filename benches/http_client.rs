//! What the middlewares of any client and of GitHub cost beside a bare client with middlewares: a
//! small answer, and one of many chunks, of a local server over plain HTTP/1.1; without a subscriber, as where no span is
//! recorded, and with the metrics installed.
#![allow(clippy::unwrap_used)]

mod common;

use std::convert::Infallible;

use bytes::Bytes;
use common::server::serve;
use common::{Contender, measure};
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::header::HeaderValue;
use opentelemetry_sdk::Resource;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use tachograph::instrumentation::reqwest::github::GitHub;
use tachograph::instrumentation::reqwest::{ClientTelemetry, UrlTemplate};
use tachograph::pipeline::metrics::install;
use tachograph::signals::CATALOG;
use tokio::runtime::Builder;

/// Answers with as many chunks as the path says.
async fn answer(
    request: hyper::Request<Incoming>,
) -> Result<
    hyper::Response<StreamBody<impl stream::Stream<Item = Result<Frame<Bytes>, Infallible>>>>,
    Infallible,
> {
    let chunks = request.uri().path()[1..].parse().unwrap_or(1);
    let limits = [
        ("x-ratelimit-limit", "5000"),
        ("x-ratelimit-remaining", "4987"),
        ("x-ratelimit-used", "13"),
        ("x-ratelimit-reset", "4102444800"),
        ("x-ratelimit-resource", "core"),
    ];
    let chunk = || Ok(Frame::data(Bytes::from_static(&[b'x'; 64])));
    let chunks = stream::iter(std::iter::repeat_with(chunk).take(chunks));
    let mut response = hyper::Response::new(StreamBody::new(chunks));
    for (name, value) in limits {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

async fn get(client: &ClientWithMiddleware, url: &str) {
    let template = UrlTemplate::new("/{chunks}");
    let request = client.get(url).with_extension(template);
    let mut response = request.send().await.unwrap();
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
    let ours = ClientTelemetry::builder().trace_hosts(["127.0.0.1"]);
    let ours = ClientBuilder::new(bare())
        .with(ours.build().unwrap())
        .build();
    let github = GitHub::builder().enterprise(&format!("http://{address}/api/v3"));
    let github = ClientBuilder::new(bare())
        .with(github.build().unwrap())
        .build();
    let bare = ClientBuilder::new(bare()).build();
    let issue = format!("http://{address}/api/v3/repos/octo/hello/issues/1");
    let one = |client: &ClientWithMiddleware, n| {
        runtime.block_on(async {
            for _ in 0..n {
                get(client, &issue).await;
            }
        });
    };
    let results = measure(
        &mut [
            Contender::new("bare", |n| one(&bare, n)),
            Contender::new("GitHub", |n| one(&github, n)),
        ],
        9,
        requests,
    );
    results.print("GET, an issue of GitHub's API", "µs", 1_000.0);
    println!("  ours / bare: {:.3}", results.ratio("GitHub", "bare"));
    for (title, chunks, requests) in [
        ("GET, one chunk", 1, requests),
        ("GET, 200 chunks", 200, requests / 10 + 1),
    ] {
        let url = format!("http://{address}/{chunks}");
        let run = |client: &ClientWithMiddleware, n| {
            runtime.block_on(async {
                for _ in 0..n {
                    get(client, &url).await;
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
