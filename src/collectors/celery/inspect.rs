//! Asking workers how many tasks they can run at once, as `celery inspect stats` does: their
//! heartbeats do not say it (kombu 5, `pidbox.py`; Celery 5, `worker/control.py`).

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{RedisResult, cmd, pipe};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::CeleryConfig;
use super::envelope::body;
use crate::collectors::unix_seconds;

/// How long workers have to answer; Celery's own is a second.
const ANSWER: Duration = Duration::from_secs(1);
/// Answers that are read.
const ANSWERS: isize = 1000;
const EXCHANGE: &str = "celery.pidbox";
const REPLIES: &str = "reply.celery.pidbox";

/// Asks all workers; how many tasks each can run at once, of those that answered.
///
/// # Errors
/// Of Redis.
pub async fn sizes(
    connection: &mut MultiplexedConnection,
    config: &CeleryConfig,
    database: i64,
) -> RedisResult<BTreeMap<String, u64>> {
    let id = Uuid::new_v4().to_string();
    let queue = format!("{id}.{REPLIES}");
    let list = config.key(&queue);
    let bindings = config.key(&format!("_kombu.binding.{REPLIES}"));
    let separator = &config.separator;
    let binding = format!("{id}{separator}{separator}{queue}");
    let channel = config.key(&format!("{}{EXCHANGE}", config.fanout(database)));
    let asked = {
        let mut asked = pipe();
        asked.cmd("SADD").arg(&bindings).arg(&binding).ignore();
        asked.cmd("PUBLISH").arg(&channel).arg(question(&id));
        asked.query_async::<(u64,)>(connection).await
    };
    let answers = match asked {
        Ok((workers,)) => answers(connection, &list, workers).await,
        Err(error) => Err(error),
    };
    // Whatever happened: nobody is to answer any more, and nothing is to stay.
    let mut leaving = pipe();
    leaving.cmd("SREM").arg(&bindings).arg(&binding).ignore();
    leaving.cmd("DEL").arg(&list).ignore();
    let left = leaving.query_async::<()>(connection).await;
    let answers = answers?;
    left?;
    Ok(answers.iter().flat_map(|answer| read(answer)).collect())
}

/// Waits until so many have answered, or long enough.
async fn answers(
    connection: &mut MultiplexedConnection,
    list: &str,
    workers: u64,
) -> RedisResult<Vec<Vec<u8>>> {
    let until = Instant::now() + ANSWER;
    loop {
        let answered: u64 = cmd("LLEN").arg(list).query_async(connection).await?;
        if answered >= workers || Instant::now() >= until {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    let mut read = cmd("LRANGE");
    read.arg(list).arg(0).arg(ANSWERS - 1);
    read.query_async(connection).await
}

/// The question, in kombu's envelope.
fn question(id: &str) -> String {
    let now = unix_seconds(SystemTime::now());
    let asked = json!({
        "method": "stats",
        "arguments": {},
        "destination": null,
        "pattern": null,
        "matcher": null,
        "ticket": Uuid::new_v4().to_string(),
        "reply_to": {"exchange": REPLIES, "routing_key": id},
    });
    json!({
        "body": STANDARD.encode(asked.to_string()),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"clock": 1, "expires": now + ANSWER.as_secs_f64()},
        "properties": {
            "delivery_mode": 2,
            "delivery_info": {"exchange": EXCHANGE, "routing_key": ""},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": Uuid::new_v4().to_string(),
        },
    })
    .to_string()
}

/// What is used of an answer.
#[derive(Deserialize)]
struct Stats {
    #[serde(default)]
    pool: Value,
}

/// The size of each worker that an answer is of.
fn read(message: &[u8]) -> BTreeMap<String, u64> {
    let body = body(message).unwrap_or_default();
    let stats: BTreeMap<String, Stats> = serde_json::from_slice(&body).unwrap_or_default();
    let sizes = stats.into_iter().filter_map(|(worker, stats)| {
        let size = stats.pool.get("max-concurrency")?.as_u64()?;
        Some((worker, size))
    });
    sizes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_the_size_and_anything_else_tells_nothing() {
        let answer = |body: &str| {
            let body = serde_json::to_string(body).unwrap();
            read(format!("{{\"body\": {body}}}").as_bytes())
        };
        let stats = r#"{"celery@a": {"pool": {"max-concurrency": 4}, "total": {}}}"#;
        assert_eq!(answer(stats), BTreeMap::from([("celery@a".to_owned(), 4)]));
        for none in [
            "",
            "[]",
            r#"{"celery@a": {"pool": 3}}"#,
            r#"{"celery@a": 1}"#,
        ] {
            assert_eq!(answer(none), BTreeMap::new(), "{none}");
        }
        assert_eq!(read(b"\xff"), BTreeMap::new());
    }

    #[test]
    fn the_question_is_one_that_can_be_read_back() {
        let question = question("me");
        let asked: Value = serde_json::from_slice(&body(question.as_bytes()).unwrap()).unwrap();
        assert_eq!(asked["method"], "stats");
        assert_eq!(asked["reply_to"]["routing_key"], "me");
    }
}
