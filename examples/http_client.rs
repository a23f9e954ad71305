//! Requests to other servers, recorded: `cargo run --example http_client -- https://example.com/`;
//! without a URL it asks a server of its own.

#[path = "common/page.rs"]
mod page;

use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use tachograph::instrumentation::reqwest::reqwest_middleware::ClientBuilder;
use tachograph::instrumentation::reqwest::{ClientTelemetry, UrlTemplate};
use tachograph::{Telemetry, TelemetryConfig};

/// Some page of some server, and where it is.
async fn own_server() -> std::io::Result<String> {
    let page = || async { HttpResponse::Ok().body("content") };
    let app = move || App::new().route("/pages/{id}", web::get().to(page));
    let server = HttpServer::new(app).workers(1).disable_signals();
    let server = server.bind(("127.0.0.1", 0))?;
    let url = format!("http://{}/pages/17", server.addrs()[0]);
    tokio::spawn(server.run());
    Ok(url)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // What reqwest makes TLS with, where none of its own features says.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = match std::env::args().nth(1) {
        Some(url) => url,
        None => own_server().await?,
    };
    let telemetry = Telemetry::init(TelemetryConfig::from_env()?)?;
    let recording = ClientTelemetry::builder()
        .trace_hosts(["127.0.0.1", "*.internal"])
        .build()?;
    let bare = reqwest::Client::builder().timeout(Duration::from_secs(10));
    let client = ClientBuilder::new(bare.build()?).with(recording).build();

    for _ in 0..3 {
        let request = client
            .get(&url)
            .with_extension(UrlTemplate::new("/pages/{id}"));
        match request.send().await {
            Ok(answer) => {
                let status = answer.status();
                println!("{status}: {} bytes", answer.bytes().await?.len());
            }
            Err(error) => println!("no answer: {error}"),
        }
    }
    page::print(&telemetry, &["http_client_"]).await?;
    telemetry.shutdown(Duration::from_secs(5))?;
    Ok(())
}
