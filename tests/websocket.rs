//! WebSockets on a real server with a real client: how connections end, messages, pings, limits,
//! rooms, and what lies about the protocol.
#![cfg(feature = "websocket")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::{Duration, Instant};

use actix_web::web::{self, Data};
use actix_web::{HttpRequest, HttpResponse, rt};
use futures_util::{SinkExt as _, StreamExt as _};
use support::web::{PATIENCE, Server};
use tachograph::instrumentation::websocket::{
    self, AggregatedMessage, CloseCode, Message, MessageStream, Received, Rooms, Session, WebSocket,
};
use tachograph::pipeline::propagation::inject_current;
use tachograph::testing::{self, Capture};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderName;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message as Said};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tracing::Instrument as _;

const SECRET: &str = "what-somebody-said";

/// What the connections of a test share.
#[derive(Clone)]
struct Chat {
    socket: WebSocket,
    rooms: Rooms,
}

/// Answers what it is told, and does what is asked of it.
async fn serve(mut session: Session, mut messages: MessageStream, rooms: Rooms) {
    let mut member = None;
    while let Some(Ok(received)) = messages.recv().await {
        let Received {
            message,
            mut handling,
        } = received;
        let Message::Text(text) = message else {
            handling.event_type("bytes");
            continue;
        };
        match &*text {
            "join" => {
                handling.event_type("join");
                member = rooms.join("general", &session).ok();
            }
            "leave" => member = None,
            "say" => {
                handling.event_type("say");
                let said = Message::Text("said".into());
                rooms.broadcast("general", "chat_message", said);
            }
            "bad" => handling.fail("unknown_event"),
            "panic" => panic!("on purpose"),
            "bye" => break,
            "broken" => return session.close(Some(CloseCode::Error.into())).await,
            "forget" => return,
            _ => {
                handling.event_type("chat_message");
                session.text_as("chat_message", text).await.unwrap();
            }
        }
    }
    drop(member);
    session.close(Some(CloseCode::Normal.into())).await;
}

async fn open(
    request: HttpRequest,
    payload: web::Payload,
    chat: Data<Chat>,
) -> actix_web::Result<HttpResponse> {
    let (response, session, messages) = websocket::handle(&request, payload, &chat.socket)?;
    let span = session.span().clone();
    let serving = serve(session, messages, chat.rooms.clone());
    rt::spawn(serving.instrument(span));
    Ok(response)
}

/// As [`open`], with pieces put together.
async fn whole(
    request: HttpRequest,
    payload: web::Payload,
    chat: Data<Chat>,
) -> actix_web::Result<HttpResponse> {
    let (response, mut session, messages) = websocket::handle(&request, payload, &chat.socket)?;
    let mut messages = messages.aggregate_continuations(16);
    rt::spawn(async move {
        while let Some(Ok(received)) = messages.recv().await {
            if let AggregatedMessage::Text(text) = received.message {
                session.text(text).await.unwrap();
            }
        }
    });
    Ok(response)
}

/// A server that ends on a thread of its own, as it may not on one of a runtime.
struct Running(Option<Server>);

impl Drop for Running {
    fn drop(&mut self) {
        let server = self.0.take();
        let _ = std::thread::spawn(move || drop(server)).join();
    }
}

impl Running {
    fn url(&self, scheme: &str, path: &str) -> String {
        let address = self.0.as_ref().unwrap().address;
        format!("{scheme}://{address}{path}")
    }
}

fn start(recorded: &Capture, socket: WebSocket) -> (Running, Chat) {
    let rooms = Rooms::new("/chat", 1);
    let chat = Chat { socket, rooms };
    let shared = Data::new(chat.clone());
    let server = Server::start(recorded.telemetry().middleware(), move |app| {
        app.app_data(shared.clone())
            .route("/chat", web::get().to(open))
            .route("/whole", web::get().to(whole));
    });
    (Running(Some(server)), chat)
}

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A client whose request is in the capture's trace.
async fn connect(server: &Running, path: &str) -> Result<Client, Error> {
    let url = server.url("ws", path);
    let mut request = url.into_client_request().unwrap();
    let mut headers = std::collections::HashMap::<String, String>::new();
    inject_current(&mut headers);
    for (name, value) in &headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    connect_async(request).await.map(|(client, _)| client)
}

async fn say(client: &mut Client, text: &str) {
    client.send(Said::text(text)).await.unwrap();
}

/// The next message of the server that is not a ping.
async fn hear(client: &mut Client) -> Said {
    loop {
        let said = tokio::time::timeout(PATIENCE, client.next()).await;
        match said.unwrap().unwrap().unwrap() {
            Said::Ping(_) => {}
            said => return said,
        }
    }
}

/// Waits for what another thread is about to record.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn ended(recorded: &Capture, reason: &str, close: &str) -> u64 {
    let connections = recorded.signal("websocket.connection");
    let connections = connections.label("websocket.disconnect.reason", reason);
    connections.label("websocket.close", close).count()
}

fn errors(recorded: &Capture, kind: &str) -> u64 {
    let errors = recorded.signal("websocket.error");
    errors.label("error.type", kind).count()
}

fn received(recorded: &Capture, event: &str, status: &str) -> u64 {
    let received = recorded.signal("websocket.receive");
    let received = received.label("websocket.event.type", event);
    received.label("status", status).count()
}

fn handshakes(recorded: &Capture, result: &str) -> u64 {
    let handshakes = recorded.signal("websocket.handshake");
    handshakes
        .label("websocket.handshake.result", result)
        .count()
}

fn control(recorded: &Capture, direction: &str, kind: &str) -> u64 {
    let frames = recorded.signal("websocket.control");
    let frames = frames.label("websocket.direction", direction);
    frames.label("websocket.control.kind", kind).count()
}

fn active(recorded: &Capture) -> Option<f64> {
    recorded.metric("websocket.connections.active").value()
}

#[tokio::test]
async fn a_conversation_is_recorded_and_what_is_said_is_not() {
    let recorded = testing::capture();
    let (server, _) = start(&recorded, WebSocket::builder("/chat").build());
    let mut client = connect(&server, "/chat").await.unwrap();
    until("the connection", || active(&recorded) == Some(1.0)).await;
    assert_eq!(handshakes(&recorded, "connected"), 1);
    // The request is over, as what follows is no HTTP.
    let request = recorded.span("GET /chat").failed(false);
    let request = request.field("http.response.status_code", "101");
    until("the answer", || request.count() == 1).await;

    for _ in 0..3 {
        say(&mut client, SECRET).await;
        assert_eq!(hear(&mut client).await, Said::text(SECRET));
    }
    client.send(Said::binary(vec![0; 1000])).await.unwrap();
    client.send(Said::Ping(vec![1, 2].into())).await.unwrap();
    assert_eq!(hear(&mut client).await, Said::Pong(vec![1, 2].into()));
    say(&mut client, "bad").await;
    let close = CloseFrame {
        code: 1000.into(),
        reason: "".into(),
    };
    client.close(Some(close)).await.unwrap();
    until("the end", || ended(&recorded, "client", "normal") == 1).await;

    assert_eq!(received(&recorded, "chat_message", "success"), 3);
    assert_eq!(received(&recorded, "bytes", "success"), 1);
    let failed = recorded.signal("websocket.receive");
    let failed = failed.label("status", "failed");
    failed.label("error.type", "unknown_event").assert_count(1);
    assert_eq!(errors(&recorded, "handling"), 1);
    let sent = recorded.signal("websocket.send").label("status", "success");
    sent.label("websocket.event.type", "chat_message")
        .assert_count(3);
    assert_eq!(control(&recorded, "received", "ping"), 1);
    assert_eq!(control(&recorded, "sent", "pong"), 1);
    assert_eq!(control(&recorded, "received", "close"), 1);
    until("the answer", || control(&recorded, "sent", "close") == 1).await;
    let sizes = recorded.metric("websocket.received.size");
    let bytes = 3.0 * SECRET.len() as f64 + 1000.0 + 3.0;
    assert_eq!((sizes.observations(), sizes.value()), (5, Some(bytes)));
    let latency = recorded.metric("websocket.message.latency");
    assert_eq!(latency.observations(), 5);
    assert_eq!(active(&recorded), Some(0.0));

    let span = recorded.span("websocket.connection");
    let span = span.child_of("GET /chat").failed(false);
    let span = span.field("websocket.disconnect.reason", "client");
    let span = span.field("websocket.close.code", "1000");
    let span = span.field("websocket.received", "5");
    let span = span.field("websocket.sent", "3");
    until("its span", || span.count() == 1).await;
    recorded.span("websocket.receive").assert_count(0);
    let all = recorded.to_string();
    assert!(!all.contains(SECRET), "{all}");
}

#[tokio::test]
async fn each_end_is_told_from_the_others() {
    let recorded = testing::capture();
    let (server, chat) = start(&recorded, WebSocket::builder("/chat").build());

    let mut client = connect(&server, "/chat").await.unwrap();
    say(&mut client, "bye").await;
    assert!(matches!(hear(&mut client).await, Said::Close(Some(_))));
    until("the server's", || ended(&recorded, "server", "normal") == 1).await;

    let mut client = connect(&server, "/chat").await.unwrap();
    say(&mut client, "broken").await;
    let Said::Close(Some(close)) = hear(&mut client).await else {
        panic!("no close");
    };
    assert_eq!(u16::from(close.code), 1011);
    until("what failed", || {
        ended(&recorded, "failed", "server_error") == 1
    })
    .await;
    assert_eq!(errors(&recorded, "server"), 1);

    // Gone without a word.
    let client = connect(&server, "/chat").await.unwrap();
    drop(client);
    until("what was lost", || ended(&recorded, "lost", "none") == 1).await;
    assert_eq!(errors(&recorded, "connection_lost"), 1);

    // The application forgets it, and panics.
    for (what, count) in [("forget", 1), ("panic", 2)] {
        let mut client = connect(&server, "/chat").await.unwrap();
        say(&mut client, what).await;
        until(what, || ended(&recorded, "abandoned", "none") == count).await;
    }
    let panicked = recorded.signal("websocket.receive");
    panicked.label("error.type", "panic").assert_count(1);

    // A frame that is not masked, as none of a client may be.
    let mut client = connect(&server, "/chat").await.unwrap();
    client.get_mut().write_all(&[0x81, 1, b'x']).await.unwrap();
    until("what is no protocol", || {
        ended(&recorded, "protocol", "protocol") == 1
    })
    .await;
    assert_eq!(errors(&recorded, "protocol"), 1);

    let mut client = connect(&server, "/chat").await.unwrap();
    client.send(Said::binary(vec![0; 70_000])).await.unwrap();
    until("what is too large", || {
        ended(&recorded, "protocol", "too_big") == 1
    })
    .await;
    assert_eq!(errors(&recorded, "too_large"), 1);

    let mut client = connect(&server, "/chat").await.unwrap();
    say(&mut client, "a").await;
    hear(&mut client).await;
    chat.socket.shutdown();
    let Said::Close(Some(close)) = hear(&mut client).await else {
        panic!("no close");
    };
    assert_eq!(u16::from(close.code), 1001);
    until("the stop", || {
        ended(&recorded, "shutdown", "going_away") == 1
    })
    .await;
    let refused = connect(&server, "/chat").await.unwrap_err();
    assert!(matches!(refused, Error::Http(ref answer) if answer.status() == 503));

    assert_eq!(active(&recorded), Some(0.0));
    for (reason, failed) in [("lost", true), ("abandoned", true), ("server", false)] {
        let span = recorded.span("websocket.connection");
        let span = span.field("websocket.disconnect.reason", reason);
        let span = span.failed(failed);
        until(reason, || span.count() >= 1).await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_answer_is_given_up_and_one_that_does_is_timed() {
    let recorded = testing::capture();
    let socket = WebSocket::builder("/chat")
        .ping_interval(Duration::from_millis(20))
        .missed_pongs(3);
    let (server, _) = start(&recorded, socket.build());
    let pings = |result: &str| {
        let pings = recorded.signal("websocket.ping");
        pings.label("websocket.ping.result", result).count()
    };
    // A client that reads answers by itself.
    let mut client = connect(&server, "/chat").await.unwrap();
    let start = Instant::now();
    while pings("answered") < 3 {
        assert!(start.elapsed() < PATIENCE);
        let _ = tokio::time::timeout(Duration::from_millis(5), client.next()).await;
    }
    let round_trips = recorded.metric("websocket.ping.duration");
    let round_trips = round_trips.label("websocket.ping.result", "answered");
    assert!(round_trips.observations() >= 3);
    assert_eq!(ended(&recorded, "timeout", "none"), 0);

    // One that does not read does not answer.
    until("the end", || ended(&recorded, "timeout", "none") == 1).await;
    assert!(pings("missed") >= 3);
    assert_eq!(errors(&recorded, "timeout"), 1);
    let span = recorded.span("websocket.connection");
    let span = span.field("websocket.disconnect.reason", "timeout");
    let span = span.failed(true);
    until("its span", || span.count() == 1).await;
    assert_eq!(active(&recorded), Some(0.0));
}

#[tokio::test]
async fn more_than_may_be_are_refused_until_one_has_gone() {
    let recorded = testing::capture();
    let socket = WebSocket::builder("/chat").max_connections(1);
    let (server, _) = start(&recorded, socket.build());
    let mut client = connect(&server, "/chat").await.unwrap();
    let refused = connect(&server, "/chat").await.unwrap_err();
    assert!(matches!(refused, Error::Http(ref answer) if answer.status() == 503));
    assert_eq!(handshakes(&recorded, "refused"), 1);
    assert_eq!(errors(&recorded, "refused"), 1);
    client.close(None).await.unwrap();
    until("the end", || ended(&recorded, "client", "none") == 1).await;
    connect(&server, "/chat").await.unwrap();
    assert_eq!(handshakes(&recorded, "connected"), 2);

    let mut headers = std::collections::HashMap::<String, String>::new();
    inject_current(&mut headers);
    let parent = [("traceparent", headers["traceparent"].as_str())];
    until("the end", || ended(&recorded, "lost", "none") == 1).await;
    let plain = server.0.as_ref().unwrap();
    assert_eq!(plain.request("GET /chat", &parent, "").0, 400);
    assert_eq!(handshakes(&recorded, "invalid"), 1);
    assert_eq!(errors(&recorded, "handshake"), 1);
}

#[tokio::test]
async fn rooms_are_sent_to_together_and_left_with_the_connection() {
    let recorded = testing::capture();
    let (server, chat) = start(&recorded, WebSocket::builder("/chat").build());
    let gauge = |name: &str| recorded.metric(name).value();
    let mut one = connect(&server, "/chat").await.unwrap();
    let mut other = connect(&server, "/chat").await.unwrap();
    say(&mut one, "join").await;
    say(&mut other, "join").await;
    until("both", || chat.rooms.members("general") == 2).await;
    until("both", || gauge("websocket.rooms.members") == Some(2.0)).await;
    assert_eq!(gauge("websocket.rooms.active"), Some(1.0));
    say(&mut one, "say").await;
    for client in [&mut one, &mut other] {
        assert_eq!(hear(client).await, Said::text("said"));
    }
    let broadcasts = recorded.signal("websocket.broadcast");
    broadcasts
        .label("websocket.event.type", "chat_message")
        .assert_count(1);
    let sent = recorded.signal("websocket.send").label("status", "success");
    sent.assert_count(2);
    say(&mut one, "leave").await;
    until("one", || gauge("websocket.rooms.members") == Some(1.0)).await;
    drop(other);
    until("none", || gauge("websocket.rooms.active") == Some(0.0)).await;
    assert_eq!(ended(&recorded, "lost", "none"), 1);
    let changes = |change: &str| {
        let changes = recorded.signal("websocket.room.change");
        changes.label("websocket.room.change", change).count()
    };
    until("both", || changes("left") == 2).await;
    assert_eq!(changes("joined"), 2);
}

#[tokio::test]
async fn pieces_are_put_together_up_to_a_limit_and_messages_have_spans_if_asked_for() {
    let recorded = testing::capture();
    let socket = WebSocket::builder("/chat").message_spans(true);
    let (server, _) = start(&recorded, socket.build());
    let pieces: [&[u8]; 2] = [
        &[0x01, 0x82, 0, 0, 0, 0, b'a', b'b'],
        &[0x80, 0x81, 0, 0, 0, 0, b'c'],
    ];
    let mut client = connect(&server, "/whole").await.unwrap();
    for piece in pieces {
        client.get_mut().write_all(piece).await.unwrap();
    }
    assert_eq!(hear(&mut client).await, Said::text("abc"));
    let kind = |kind: &str| {
        let received = recorded.signal("websocket.receive");
        received.label("websocket.message.kind", kind).count()
    };
    until("the whole", || kind("text") == 1).await;
    // Not put together, each piece is one.
    let mut apart = connect(&server, "/chat").await.unwrap();
    for piece in pieces {
        apart.get_mut().write_all(piece).await.unwrap();
    }
    until("the pieces", || kind("continuation") == 2).await;

    let mut long = vec![0x01, 0x80 | 20, 0, 0, 0, 0];
    long.extend([b'x'; 20]);
    client.get_mut().write_all(&long).await.unwrap();
    until("what is too large", || {
        ended(&recorded, "protocol", "too_big") == 1
    })
    .await;
    let span = recorded.span("websocket.receive");
    let span = span.child_of("websocket.connection");
    let span = span.field("websocket.message.size", "3");
    until("its span", || span.count() == 1).await;
}
