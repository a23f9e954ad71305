//! A chat room, recorded:
//!
//! ```text
//! cargo run --example websocket -- 127.0.0.1:8080
//! ```
//!
//! Connect with any client, such as `new WebSocket("ws://127.0.0.1:8080/chat")` in a browser's
//! console, and read `http://127.0.0.1:8080/metrics`.

use std::time::Duration;

use actix_web::web::{self, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, rt};
use tachograph::instrumentation::websocket::{self, Message, Received, Rooms, WebSocket};
use tachograph::{Telemetry, TelemetryConfig};
use tracing::instrument::Instrument as _;

async fn chat(
    request: HttpRequest,
    payload: web::Payload,
    socket: Data<WebSocket>,
    rooms: Data<Rooms>,
) -> actix_web::Result<HttpResponse> {
    let (response, session, mut messages) = websocket::handle(&request, payload, &socket)?;
    let span = session.span().clone();
    let serving = async move {
        let Ok(_member) = rooms.join("everybody", &session) else {
            return session.close(None).await;
        };
        while let Some(Ok(received)) = messages.recv().await {
            let Received {
                message,
                mut handling,
            } = received;
            match message {
                Message::Text(text) => {
                    handling.event_type("chat_message");
                    rooms.broadcast("everybody", "chat_message", Message::Text(text));
                }
                _ => handling.fail("not_text"),
            }
        }
        session.close(None).await;
    };
    rt::spawn(serving.instrument(span));
    Ok(response)
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1);
    let address = address.unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let telemetry = Telemetry::init(TelemetryConfig::from_env()?)?;
    let socket = WebSocket::builder("/chat")
        .ping_interval(Duration::from_secs(20))
        .max_connections(1_000)
        .build();
    let (shared, rooms) = (
        Data::new(socket.clone()),
        Data::new(Rooms::new("/chat", 100)),
    );
    let recording = telemetry.clone();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(shared.clone())
            .app_data(rooms.clone())
            .route("/chat", web::get().to(chat))
            .service(recording.routes())
            .wrap(recording.middleware())
    });
    let server = server.tcp_nodelay(true).bind(&address)?;
    for address in server.addrs() {
        println!("listening on ws://{address}/chat");
    }
    server.run().await?;
    socket.shutdown();
    telemetry.shutdown(Duration::from_secs(5))?;
    Ok(())
}
