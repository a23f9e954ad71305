//! What a recorded WebSocket costs beside bare actix-ws: a message of 64 bytes and its echo over
//! loopback, one after the other, and a hundred at once; without a subscriber, as where no span
//! is recorded, and with the signals' installed metrics.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::{SocketAddr, TcpListener};

use actix_web::web::{self, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, rt};
use common::{Contender, measure};
use futures_util::{SinkExt as _, StreamExt as _};
use opentelemetry_sdk::Resource;
use tachograph::instrumentation::websocket::{self, Message, Received, WebSocket};
use tachograph::pipeline::metrics::install;
use tachograph::signals::CATALOG;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio_tungstenite::tungstenite::Message as Said;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

async fn bare(request: HttpRequest, payload: web::Payload) -> actix_web::Result<HttpResponse> {
    let (response, mut session, mut messages) = actix_ws::handle(&request, payload)?;
    rt::spawn(async move {
        while let Some(Ok(message)) = messages.recv().await {
            if let Message::Text(text) = message
                && session.text(text).await.is_err()
            {
                return;
            }
        }
    });
    Ok(response)
}

async fn ours(
    request: HttpRequest,
    payload: web::Payload,
    socket: Data<WebSocket>,
) -> actix_web::Result<HttpResponse> {
    let (response, mut session, mut messages) = websocket::handle(&request, payload, &socket)?;
    rt::spawn(async move {
        while let Some(Ok(received)) = messages.recv().await {
            let Received {
                message,
                mut handling,
            } = received;
            handling.event_type("echo");
            if let Message::Text(text) = message
                && session.text_as("echo", text).await.is_err()
            {
                return;
            }
        }
    });
    Ok(response)
}

/// A server on a thread of its own, which ends with the program.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let socket = Data::new(WebSocket::builder("/ours").build());
        let server = HttpServer::new(move || {
            App::new()
                .app_data(socket.clone())
                .route("/bare", web::get().to(bare))
                .route("/ours", web::get().to(ours))
        });
        // Without Nagle's algorithm, whose pauses would be all that is measured.
        let server = server.workers(1).tcp_nodelay(true).disable_signals();
        let server = server.listen(listener);
        rt::System::new().block_on(server.unwrap().run()).unwrap();
    });
    address
}

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// So many messages and their echoes, so many of them at once.
async fn echoes(client: &mut Client, mut count: usize, at_once: usize) {
    while count > 0 {
        let now = count.min(at_once);
        for _ in 0..now {
            client.feed(Said::text("x".repeat(64))).await.unwrap();
        }
        client.flush().await.unwrap();
        let mut heard = 0;
        while heard < now {
            // Pings come between.
            let echo = client.next().await.unwrap().unwrap();
            heard += usize::from(echo.is_text());
        }
        count -= now;
    }
}

fn main() {
    install(Resource::builder_empty().build(), CATALOG, false).unwrap();
    let address = serve();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let connect = |path: &str| {
        let url = format!("ws://{address}/{path}");
        let connected = connect_async_with_config(url, None, true);
        runtime.block_on(connected).unwrap().0
    };
    for at_once in [1, 100] {
        let (mut to_bare, mut to_ours) = (connect("bare"), connect("ours"));
        let results = measure(
            &mut [
                Contender::new("bare actix-ws", |n| {
                    runtime.block_on(echoes(&mut to_bare, n, at_once));
                }),
                Contender::new("ours", |n| {
                    runtime.block_on(echoes(&mut to_ours, n, at_once));
                }),
            ],
            9,
            5_000,
        );
        results.print(&format!("an echo, {at_once} at once"), "µs", 1_000.0);
        let ratio = results.ratio("ours", "bare actix-ws");
        println!("  ours / bare actix-ws: {ratio:.3}");
    }
}
