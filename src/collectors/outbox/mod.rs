//! Publishes what waits in the ledger's outbox to Kafka.
//!
//! Each round takes the oldest rows, hands them to the producer, and removes those whose delivery
//! report says that the broker has them. So every record is published at least once: what was
//! under way when the process ended, or lost its turn, is published again. Consumers tell by the
//! id. What the broker will never take is taken out, counted and logged; everything else is
//! tried again until it succeeds. A topic that cannot be published to does not hold the others up:
//! what comes after its rows is published meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::document::{CONTENT_TYPE, SCHEMA, document};
use super::{CollectError, Collector, Progress, Schedule};
use crate::instrumentation::kafka::{Producer, PublishError, Publishing};
use crate::ledger::{Ledger, OutboxConfig, OutboxRow};
use crate::signals::event::outbox::{
    OutboxEvents, OutboxOldest, OutboxOutcome, OutboxRows, OutboxSaturation,
};

mod document;

/// Rows of one round at most.
const ROWS: u32 = 1_000;

/// Bytes of one round at most, unless a single row has more.
const BYTES: u64 = 4 * 1024 * 1024;

/// Rows of one round that are sent once more alone, at most.
const ALONE: usize = 100;

/// How often it is looked for something to publish.
const INTERVAL: Duration = Duration::from_millis(500);

/// The pause after failures doubles up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How often gauges are set while a round waits for Kafka.
const GAUGES: Duration = Duration::from_secs(1);

/// Name of the client at the brokers and on metrics, and of the collector.
const NAME: &str = "kafka_outbox";

/// Where records are published, and how.
#[derive(Clone)]
pub struct PublisherConfig {
    /// Brokers, `<host>:<port>` joined by `,`.
    pub brokers: String,
    /// Topic of each signal that is published, by the signal's name.
    pub topics: BTreeMap<String, String>,
    /// Settings of librdkafka.
    pub settings: Vec<(String, String)>,
    /// How long a record may take to be published before it is tried again.
    pub delivery_timeout: Duration,
    /// What the outbox holds.
    pub outbox: OutboxConfig,
}

/// Publishes what waits in the outbox.
pub struct OutboxPublisher {
    ledger: Ledger,
    config: PublisherConfig,
    producer: Producer,
    /// Why publishing fails now, as the log has it.
    failing: Option<String>,
    failures: u32,
    /// When publishing is tried again.
    next: Instant,
    /// Up to here are rows of topics that cannot be published to; 0: none are known.
    after: i64,
}

impl std::fmt::Debug for OutboxPublisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutboxPublisher")
            .field("brokers", &self.config.brokers)
            .field("topics", &self.config.topics)
            .finish_non_exhaustive()
    }
}

fn producer(config: &PublisherConfig) -> Result<Producer, String> {
    let mut builder = Producer::builder(&config.brokers)
        .name(NAME)
        .delivery_timeout(config.delivery_timeout)
        // Kafka that is back is found soon.
        .set("reconnect.backoff.max.ms", "2000");
    for (setting, value) in &config.settings {
        builder = builder.set(setting, value);
    }
    builder.build().map_err(|error| error.to_string())
}

/// What became of the rows of a round.
#[derive(Default)]
struct Settled {
    published: Vec<i64>,
    refused: Vec<i64>,
    /// How many are to be tried again, and why the first of them is.
    retried: u64,
    reason: Option<String>,
    /// Whether one of them is to be tried again for another reason than its topic.
    away: bool,
}

impl Settled {
    fn refuse(&mut self, row: &OutboxRow, reason: &str) {
        let (id, signal) = (row.id.to_string(), &row.signal);
        tracing::error!(id, signal, reason, "a record will never be published");
        self.refused.push(row.seq);
    }

    fn retry(&mut self, error: &PublishError) {
        self.retried += 1;
        self.away |= !error.is_of_topic();
        self.reason.get_or_insert_with(|| error.name());
    }
}

impl OutboxPublisher {
    /// A publisher; it connects in its first round.
    ///
    /// # Errors
    /// A setting that is not accepted.
    pub fn new(ledger: Ledger, config: PublisherConfig) -> Result<Self, String> {
        Ok(Self {
            producer: producer(&config)?,
            ledger,
            config,
            failing: None,
            failures: 0,
            next: Instant::now(),
            after: 0,
        })
    }

    /// Puts on the page what waits.
    async fn report(&self) -> Result<(), CollectError> {
        let state = self.ledger.outbox_state().await;
        let state = state.map_err(|error| CollectError(error.to_string()))?;
        OutboxRows {}.set(state.rows as f64);
        let share = |used: u64, most: u64| used as f64 / most.max(1) as f64;
        let rows = share(state.rows, self.config.outbox.max_rows);
        let bytes = share(state.bytes, self.config.outbox.max_bytes);
        OutboxSaturation {}.set(rows.max(bytes).min(1.0));
        let age = state.oldest_us.map_or(0.0, |oldest_us| {
            let now = super::unix_seconds(SystemTime::now());
            (now - oldest_us as f64 / 1e6).max(0.0)
        });
        OutboxOldest {}.set(age);
        self.producer.report();
        Ok(())
    }

    /// Hands a row to the producer; `Err`: why it can never be published.
    fn send(&self, row: &OutboxRow) -> Result<Publishing, String> {
        let topic = self.config.topics.get(&row.signal);
        // It was copied under another configuration.
        let topic = topic.ok_or("its signal is not published any more")?;
        let document = document(row)?;
        let id = row.id.to_string();
        let header = |key, value| Header {
            key,
            value: Some(value),
        };
        let headers = OwnedHeaders::new_with_capacity(8)
            .insert(header("id", id.as_str()))
            .insert(header("signal", row.signal.as_str()))
            .insert(header("schema", SCHEMA))
            .insert(header("content-type", CONTENT_TYPE));
        // Without the record's time as its timestamp: a topic's retention would count from there,
        // and remove at once what has waited or was reported late.
        let record = FutureRecord::to(topic).key(&id).payload(&document);
        Ok(self.producer.send(record.headers(headers)))
    }

    /// Publishes rows and waits for what becomes of each.
    async fn publish(&self, rows: &[OutboxRow]) -> Result<Settled, CollectError> {
        let mut settled = Settled::default();
        let mut sent = Vec::with_capacity(rows.len());
        for row in rows {
            match self.send(row) {
                Ok(publishing) => sent.push((row, publishing)),
                Err(reason) => settled.refuse(row, &reason),
            }
        }
        let waiting = sent.into_iter();
        let mut waiting =
            std::pin::pin!(join_all(waiting.map(async |(row, sent)| (row, sent.await))));
        let mut ticks = interval(GAUGES);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let results = loop {
            tokio::select! {
                results = &mut waiting => break results,
                _ = ticks.tick() => self.report().await?,
            }
        };
        let mut alone = ALONE;
        for (row, result) in results {
            match result.map(|_| ()) {
                // The broker refuses a whole batch that is too large: what it does not take alone
                // is what it will never take.
                Err(error) if error.is_permanent() && alone > 0 => {
                    alone -= 1;
                    match self.send_alone(row, error).await {
                        Ok(()) => settled.published.push(row.seq),
                        Err(error) if error.is_permanent() => settled.refuse(row, &error.name()),
                        Err(error) => settled.retry(&error),
                    }
                }
                Ok(()) => settled.published.push(row.seq),
                Err(error) => settled.retry(&error),
            }
        }
        Ok(settled)
    }

    /// Publishes a row while nothing else is under way, after it was refused with others.
    async fn send_alone(&self, row: &OutboxRow, refused: PublishError) -> Result<(), PublishError> {
        match self.send(row) {
            Ok(publishing) => publishing.await.map(|_| ()),
            Err(_) => Err(refused),
        }
    }

    /// Notes how a round went: one line when publishing begins to fail, one when it works again.
    fn note(&mut self, reason: Option<String>) {
        match reason {
            None => {
                self.failures = 0;
                if self.failing.take().is_some() {
                    tracing::info!("records are published again");
                }
            }
            Some(reason) => {
                let pause = INTERVAL.saturating_mul(1 << self.failures.min(8));
                self.next = Instant::now() + pause.min(LONGEST_PAUSE);
                self.failures = self.failures.saturating_add(1);
                if self.failing.as_ref() != Some(&reason) {
                    tracing::warn!(reason, "records are not published; they wait in the outbox");
                    self.failing = Some(reason);
                }
            }
        }
    }

    /// A producer that has met an error which it does not survive is replaced.
    fn renew(&mut self) -> Result<(), CollectError> {
        if let Some(reason) = self.producer.fatal() {
            tracing::warn!(reason, "Kafka's client is made anew");
            self.producer = producer(&self.config).map_err(CollectError)?;
        }
        Ok(())
    }
}

impl Collector for OutboxPublisher {
    fn name(&self) -> &'static str {
        NAME
    }

    fn schedule(&self) -> Schedule {
        let deadline = self.config.delivery_timeout + Duration::from_secs(60);
        Schedule {
            longest_pause: LONGEST_PAUSE,
            ..Schedule::every(INTERVAL, deadline)
        }
    }

    /// Fails where the ledger cannot be read or written. That Kafka is away is no failure of the
    /// round: what waits is known then, and stays on the page.
    async fn collect(&mut self, _: Instant) -> Result<Progress, CollectError> {
        self.report().await?;
        if Instant::now() < self.next {
            return Ok(Progress::Done);
        }
        self.renew()?;
        let rows = self.ledger.outbox(self.after, ROWS, BYTES).await;
        let rows = rows.map_err(|error| CollectError(error.to_string()))?;
        let Some(last) = rows.last().map(|row| row.seq) else {
            if std::mem::take(&mut self.after) == 0 {
                self.note(None);
            } else {
                // Those that were passed over are tried again, not at once.
                self.next = Instant::now() + LONGEST_PAUSE;
            }
            return Ok(Progress::Done);
        };
        let settled = self.publish(&rows).await?;
        for (outcome, count) in [
            (OutboxOutcome::Published, settled.published.len() as u64),
            (OutboxOutcome::Refused, settled.refused.len() as u64),
            (OutboxOutcome::Retried, settled.retried),
        ] {
            OutboxEvents { outcome }.add(count);
        }
        let mut done = settled.published;
        done.extend(settled.refused);
        if !done.is_empty() {
            let removed = self.ledger.published(done).await;
            // What is not removed is published again.
            removed.map_err(|error| CollectError(error.to_string()))?;
        }
        self.report().await?;
        let failed = settled.reason.is_some();
        if settled.away {
            self.after = 0;
        } else if failed || self.after > 0 {
            self.after = last;
        }
        // What is passed over is still not published.
        if failed || self.after == 0 {
            self.note(settled.reason);
        }
        Ok(match failed {
            true => Progress::Done,
            // What came meanwhile does not wait for the next interval.
            false => Progress::Behind,
        })
    }

    fn unknown(&mut self) {
        OutboxRows {}.remove();
        OutboxSaturation {}.remove();
        OutboxOldest {}.remove();
        self.producer.forget();
    }
}
