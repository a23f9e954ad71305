//! What producers and consumers have in common: how they are made, and what they hear.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::failure;
use super::statistics::Figures;
use crate::signals::event::{EventBrokers, EventConsumerLag, EventQueueSaturation};

/// A client cannot be made as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("kafka: `{field}`: {problem}")]
pub struct BuildError {
    /// What was given: a setting of librdkafka, or `brokers`, `name`, `group`.
    pub field: String,
    /// What is not accepted.
    pub problem: String,
}

impl BuildError {
    /// Of an error of rdkafka. Values are not shown: they may be passwords.
    pub(super) fn of(error: &KafkaError) -> Self {
        let (field, problem) = match error {
            KafkaError::ClientConfig(_, said, key, _) => (key.clone(), said.clone()),
            other => ("client".to_owned(), other.to_string()),
        };
        Self { field, problem }
    }
}

/// Settings that every client has.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) name: String,
    pub(super) config: ClientConfig,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the settings: passwords are among them.
        f.debug_struct("Settings")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Settings {
    pub(super) fn new(brokers: &str) -> Self {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("statistics.interval.ms", "5000")
            .set_log_level(RDKafkaLogLevel::Info);
        Self {
            name: "main".to_owned(),
            config,
        }
    }

    pub(super) fn set(&mut self, setting: &str, value: &str) {
        self.config.set(setting, value);
    }

    /// In milliseconds, one at least.
    pub(super) fn set_duration(&mut self, setting: &str, value: Duration) {
        self.set(setting, &value.as_millis().max(1).to_string());
    }

    /// Looks at what librdkafka would accept and not do anything with.
    pub(super) fn check(&mut self) -> Result<(), BuildError> {
        let missing = |field: &str, accepted: &str| BuildError {
            field: field.to_owned(),
            problem: format!("nothing is not accepted; accepted: {accepted}"),
        };
        let brokers = self.config.get("bootstrap.servers").unwrap_or_default();
        if brokers.split(',').all(|broker| broker.trim().is_empty()) {
            return Err(missing("brokers", "`<host>:<port>`, several joined by `,`"));
        }
        if self.name.is_empty() {
            return Err(missing("name", "a name"));
        }
        let name = self.name.clone();
        self.set("client.id", &name);
        Ok(())
    }
}

/// Hears what librdkafka tells of a client: its log, its errors, its statistics.
pub(super) struct Observer {
    pub(super) name: String,
    /// Consumer group; empty of a producer.
    pub(super) group: String,
    figures: Mutex<Option<Figures>>,
    /// Partitions whose lag is on the page.
    shown: Mutex<BTreeSet<(String, i32)>>,
    /// Whether the log has a line on all brokers being away.
    away: AtomicBool,
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observer")
            .field("name", &self.name)
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

impl Observer {
    pub(super) fn new(name: &str, group: &str) -> Self {
        Self {
            name: name.to_owned(),
            group: group.to_owned(),
            figures: Mutex::new(None),
            shown: Mutex::new(BTreeSet::new()),
            away: AtomicBool::new(false),
        }
    }

    /// Puts what was heard last on the page.
    pub(super) fn report(&self) {
        let Some(figures) = self.figures.lock().clone() else {
            return;
        };
        let client = &*self.name;
        EventBrokers { client }.set(figures.brokers as f64);
        if let Some(share) = figures.saturation {
            EventQueueSaturation { client }.set(share);
        }
        let mut shown = self.shown.lock();
        let mut now = BTreeSet::new();
        for (topic, partition, lag) in figures.lags {
            self.lag(&topic, partition, |gauge| gauge.set(lag as f64));
            now.insert((topic, partition));
        }
        for (topic, partition) in shown.difference(&now) {
            self.lag(topic, *partition, |gauge| gauge.remove());
        }
        *shown = now;
    }

    /// Takes what is not known any more off the page.
    pub(super) fn forget(&self) {
        let client = &*self.name;
        EventBrokers { client }.remove();
        EventQueueSaturation { client }.remove();
        for (topic, partition) in std::mem::take(&mut *self.shown.lock()) {
            self.lag(&topic, partition, |gauge| gauge.remove());
        }
    }

    fn lag(&self, destination: &str, partition: i32, act: impl FnOnce(EventConsumerLag<'_>)) {
        act(EventConsumerLag {
            group: &self.group,
            destination,
            partition: &partition.to_string(),
        });
    }
}

impl ClientContext for Observer {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let client = &*self.name;
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => {
                tracing::warn!(target: "tachograph::kafka", client, facility, "{message}");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(target: "tachograph::kafka", client, facility, "{message}");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let client = &*self.name;
        let kind = failure::name(&error);
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            tracing::debug!(target: "tachograph::kafka", client, kind, reason, "Kafka's client met an error");
        } else if !self.away.swap(true, Ordering::Relaxed) {
            tracing::error!(target: "tachograph::kafka", client, reason, "no broker of Kafka can be reached");
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        match Figures::parse(statistics) {
            Ok(figures) => {
                if figures.brokers > 0 && self.away.swap(false, Ordering::Relaxed) {
                    let client = &*self.name;
                    tracing::info!(target: "tachograph::kafka", client, "a broker of Kafka is reached again");
                }
                *self.figures.lock() = Some(figures);
            }
            Err(error) => {
                tracing::debug!(target: "tachograph::kafka", %error, "statistics cannot be read");
            }
        }
    }
}
