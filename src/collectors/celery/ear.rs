//! Listening: a subscription to the channels of Celery's events, made anew whenever it breaks off.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_redis::redis::aio::{PubSubSink, PubSubStream};
use deadpool_redis::redis::{Client, Value};
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::PATIENCE;
use super::heard::Heard;

/// Time between two questions whether the other side is still there, which a connection that
/// only receives would not learn.
const PING: Duration = Duration::from_secs(5);
/// The pauses between attempts to subscribe.
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Listens until it is dropped; `changed` is told whenever events can be heard or cannot.
pub async fn listen(
    client: Client,
    channels: String,
    heard: Arc<Mutex<Heard>>,
    changed: Arc<Notify>,
) {
    let mut pause = SHORTEST_PAUSE;
    loop {
        let reason = match subscribe(&client, &channels).await {
            Ok((sink, stream)) => {
                heard.lock().connected(Instant::now());
                changed.notify_waiters();
                pause = SHORTEST_PAUSE;
                attend(sink, stream, &heard).await
            }
            Err(reason) => reason,
        };
        heard.lock().lost(Instant::now(), reason);
        changed.notify_waiters();
        sleep(pause.mul_f64(0.9 + 0.1 * fastrand::f64())).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn subscribe(client: &Client, channels: &str) -> Result<(PubSubSink, PubSubStream), String> {
    let subscribing = async {
        let mut connection = client.get_async_pubsub().await?;
        connection.psubscribe(channels).await?;
        Ok(connection.split())
    };
    match timeout(PATIENCE, subscribing).await {
        Ok(subscribed) => {
            subscribed.map_err(|error: deadpool_redis::redis::RedisError| error.to_string())
        }
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}

/// Hears events until the connection breaks; why it did.
async fn attend(sink: PubSubSink, stream: PubSubStream, heard: &Mutex<Heard>) -> String {
    // The client keeps what comes without a bound. Here all of it is taken before anything else
    // gets its turn, so that no more waits than one reading of the socket brings.
    let hearing = tokio::task::unconstrained(hear(stream, heard));
    let asking = ask(sink);
    let (hearing, asking) = (pin!(hearing), pin!(asking));
    tokio::select! {
        () = hearing => "the connection was closed".to_owned(),
        reason = asking => reason,
    }
}

async fn hear(mut stream: PubSubStream, heard: &Mutex<Heard>) {
    while let Some(message) = stream.next().await {
        heard
            .lock()
            .message(Instant::now(), message.get_payload_bytes());
    }
}

async fn ask(mut sink: PubSubSink) -> String {
    loop {
        sleep(PING).await;
        match timeout(PATIENCE, sink.ping::<Value>()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return format!("no answer within {PATIENCE:?}"),
        }
    }
}
