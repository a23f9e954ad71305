//! Celery on Redis: its events, heard as they are sent, and its queues, read at an interval.
//!
//! Events are messages of a channel, which Redis does not keep: what is sent while nobody listens
//! is lost. So listening goes on between rounds, and every gap is counted. Several processes that
//! listen to one broker would each count everything: they take [turns](super::Turns), or one of
//! them is told to listen.

mod config;
mod ear;
mod envelope;
mod heard;
mod inspect;
mod queues;
mod tasks;
mod workers;

use std::sync::Arc;
use std::time::{Duration, Instant as Monotonic};

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{AsyncConnectionConfig, Client, RedisError};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::redis::client;
use super::{CollectError, Collector, Missing, Progress, Schedule};
use crate::signals::celery::{CeleryEventProblem, CeleryEventUnused, CeleryListening};
use heard::Listening;
use queues::Queues;

pub use config::CeleryConfig;
pub use envelope::{Event, events};
pub use heard::Heard;

/// Its name on metrics and in the log.
const NAME: &str = "celery";
/// How long connecting may take, and each answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Counts an event, or a part of one, that is not used.
fn unused(problem: CeleryEventProblem) {
    CeleryEventUnused { problem }.add(1);
}

/// Listens to a task that is ended with it.
#[derive(Debug)]
struct Ear(JoinHandle<()>);

impl Drop for Ear {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Listens to Celery's events, and reads its queues.
pub struct Celery {
    config: CeleryConfig,
    client: Client,
    database: i64,
    connection: Option<MultiplexedConnection>,
    heard: Arc<Mutex<Heard>>,
    changed: Arc<Notify>,
    ear: Option<Ear>,
    queues: Queues,
    missing: Missing,
    inspected: Option<Monotonic>,
    /// A round failed of itself; what is listened to goes on being so.
    failed: bool,
}

impl std::fmt::Debug for Celery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Celery").finish_non_exhaustive()
    }
}

impl Celery {
    /// A collector, where a broker is named.
    ///
    /// # Errors
    /// What is not accepted.
    pub fn new(config: &CeleryConfig) -> Result<Option<Self>, String> {
        if let Some((field, problem)) = config.check().into_iter().next() {
            return Err(format!("{field}: {problem}"));
        }
        let Some(url) = &config.url else {
            return Ok(None);
        };
        let client = client(url, config.ca_file.as_deref())
            .map_err(|(field, problem)| format!("{field}: {problem}"))?;
        let database = client.get_connection_info().redis_settings().db();
        Ok(Some(Self {
            config: config.clone(),
            client,
            database,
            connection: None,
            heard: Arc::new(Mutex::new(Heard::new(config))),
            changed: Arc::new(Notify::new()),
            ear: None,
            queues: Queues::new(config),
            missing: Missing::of(NAME),
            inspected: None,
            failed: false,
        }))
    }

    /// Turns with the other processes that share this PostgreSQL and listen to the same broker;
    /// `None`: it is none of PostgreSQL's, and nothing is shared.
    ///
    /// # Errors
    /// When the URL cannot be read.
    #[cfg(feature = "service")]
    pub fn turns(&self, database: &str) -> Result<Option<super::PostgresTurns>, String> {
        let server = self.client.get_connection_info().addr();
        let channels = self.config.channels(self.database);
        super::PostgresTurns::if_shared(database, &format!("{NAME} {server} {channels}"))
    }

    /// Sees to it that events are listened to, and waits until it is known whether they can be.
    async fn keep_listening(&mut self) {
        let ended = |ear: &Ear| ear.0.is_finished();
        if self.ear.as_ref().is_some_and(ended) {
            self.ear = None;
            let reason = "listening ended by itself".to_owned();
            self.heard.lock().lost(Monotonic::now(), reason);
        }
        if self.ear.is_none() {
            let listening = ear::listen(
                self.client.clone(),
                self.config.channels(self.database),
                Arc::clone(&self.heard),
                Arc::clone(&self.changed),
            );
            self.ear = Some(Ear(tokio::spawn(listening)));
        }
        let changed = self.changed.notified();
        if *self.heard.lock().listening() == Listening::Starting {
            // Longer than subscribing takes, so that nothing is left to be known.
            let _ = timeout(PATIENCE * 2, changed).await;
        }
    }

    /// Reads the queues; whether tasks left them.
    async fn ask(&mut self) -> Result<bool, RedisError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(PATIENCE))
                    .set_response_timeout(Some(PATIENCE));
                let connecting = self
                    .client
                    .get_multiplexed_async_connection_with_config(&config);
                connecting.await?
            }
        };
        let (worked, more) = self.queues.read(&mut connection).await?;
        let beyond = (more > 0).then(|| format!("{more} queues are more than are read"));
        self.note("further queues", beyond);
        self.inspect(&mut connection).await;
        self.connection = Some(connection);
        Ok(worked)
    }

    /// Asks workers for their size when it is time to.
    async fn inspect(&mut self, connection: &mut MultiplexedConnection) {
        let interval = self.config.inspect_interval;
        let asked = self.inspected.map(|asked| asked.elapsed());
        if interval.is_zero() || asked.is_some_and(|asked| asked < interval) {
            return;
        }
        self.inspected = Some(Monotonic::now());
        let sizes = inspect::sizes(connection, &self.config, self.database).await;
        let failed = sizes.as_ref().err().map(ToString::to_string);
        self.note("worker sizes", failed);
        self.heard.lock().sizes(&sizes.unwrap_or_default());
    }

    /// Notes whether a part is missing.
    fn note(&mut self, part: &str, missing: Option<String>) {
        match missing {
            Some(reason) => self.missing.add(part, reason),
            None => self.missing.remove(part),
        };
    }
}

impl Collector for Celery {
    fn name(&self) -> &'static str {
        NAME
    }

    fn schedule(&self) -> Schedule {
        Schedule {
            interval: self.config.interval,
            deadline: PATIENCE * 12,
            longest_pause: Duration::from_secs(60),
        }
    }

    async fn collect(&mut self, _: Instant) -> Result<Progress, CollectError> {
        self.keep_listening().await;
        let asked = self.ask().await.map_err(|error| error.to_string());
        let now = Monotonic::now();
        let (listening, mute, silent) = {
            let mut heard = self.heard.lock();
            heard.round(now, *asked.as_ref().unwrap_or(&false));
            heard.publish(now);
            let (mute, silent) = (heard.mute_workers(), heard.silent_workers());
            (heard.listening().clone(), mute, silent)
        };
        let deaf = match listening {
            Listening::Connected(_) => None,
            Listening::Starting => Some("nobody answers".to_owned()),
            Listening::Lost(_, reason) | Listening::Refused(reason) => Some(reason),
        };
        if let (Err(error), Some(_)) = (&asked, &deaf) {
            self.failed = true;
            return Err(CollectError(error.clone()));
        }
        if asked.is_err() {
            self.queues.unknown();
        }
        let parts = [
            ("queues", asked.err()),
            ("events", deaf),
            ("task events", mute),
            ("worker events", silent),
        ];
        for (part, missing) in parts {
            self.note(part, missing);
        }
        Ok(Progress::Done)
    }

    fn unknown(&mut self) {
        self.connection = None;
        self.queues.unknown();
        let mut heard = self.heard.lock();
        heard.unknown();
        if std::mem::take(&mut self.failed) {
            return;
        }
        // Another listens from now on, or nothing is known of how far this got.
        *heard = Heard::new(&self.config);
        drop(heard);
        self.ear = None;
        self.inspected = None;
        CeleryListening {}.remove();
        for part in self.missing.parts().clone().into_keys() {
            self.missing.remove(&part);
        }
    }
}
