//! What the service publishes to Kafka.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::Secret;
use crate::ledger::OutboxConfig;
use crate::pipeline::config::{duration, list};
use crate::signals::{CATALOG, action};

/// Where the action log is published unless topics are named.
const TOPIC: &str = "agent-actions";

/// Words in the names of settings whose values are secret (librdkafka's `CONFIGURATION.md`).
const SECRET: [&str; 4] = ["password", "secret", ".pem", "sasl.oauthbearer.config"];

/// Accepted records that are published to Kafka, each at least once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(schemars::JsonSchema)]
pub struct KafkaConfig {
    /// Brokers that the others are learned from, each `<host>:<port>`. Nothing is published
    /// unless given.
    #[serde(deserialize_with = "list::deserialize")]
    pub brokers: Vec<String>,
    /// Topic of each signal whose records are published, by the signal's name; `"action.log"` to
    /// `agent-actions` unless given.
    pub topics: BTreeMap<String, String>,
    /// Further settings of librdkafka, such as `"security.protocol" = "SASL_SSL"`.
    pub options: BTreeMap<String, String>,
    /// Settings of librdkafka that are not shown, such as `"sasl.password"`. Secret.
    pub secrets: BTreeMap<String, Secret>,
    /// A record that the broker does not confirm within this long is tried again.
    #[serde(with = "duration")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub delivery_timeout: Duration,
    /// Records that may wait to be published; beyond, the oldest are dropped unpublished.
    pub outbox_max_rows: u64,
    /// Bytes of records that may wait to be published; beyond, the oldest are dropped
    /// unpublished.
    pub outbox_max_bytes: u64,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: Vec::new(),
            topics: BTreeMap::new(),
            options: BTreeMap::new(),
            secrets: BTreeMap::new(),
            delivery_timeout: Duration::from_secs(30),
            outbox_max_rows: 1_000_000,
            outbox_max_bytes: 1 << 30,
        }
    }
}

impl KafkaConfig {
    /// Whether anything is published.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.brokers.is_empty()
    }

    /// Topic of each signal that is published.
    #[must_use]
    pub fn topics(&self) -> BTreeMap<String, String> {
        if self.topics.is_empty() {
            let signal = action::ActionLog::SIGNAL.name.to_owned();
            return BTreeMap::from([(signal, TOPIC.to_owned())]);
        }
        self.topics.clone()
    }

    /// What the ledger keeps to be published; `None`: nothing is.
    #[must_use]
    pub fn outbox(&self) -> Option<OutboxConfig> {
        self.is_on().then(|| OutboxConfig {
            signals: self.topics().into_keys().collect(),
            max_rows: self.outbox_max_rows,
            max_bytes: self.outbox_max_bytes,
        })
    }

    /// What is not accepted: the field, and what would be.
    #[must_use]
    pub fn check(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if !self.is_on() {
            let off = Self {
                outbox_max_rows: self.outbox_max_rows,
                outbox_max_bytes: self.outbox_max_bytes,
                delivery_timeout: self.delivery_timeout,
                ..Self::default()
            };
            if *self != off {
                problems.push((
                    "brokers",
                    "is missing, and nothing is published without; accepted: \
                     `[\"<host>:<port>\"]`"
                        .to_owned(),
                ));
            }
        } else if cfg!(not(feature = "kafka")) {
            problems.push((
                "brokers",
                "this program is built without the feature `kafka`; build it with \
                 `cargo build --release --features kafka`, or leave `[kafka]` out"
                    .to_owned(),
            ));
        }
        for broker in self.brokers.iter().filter(|broker| !is_broker(broker)) {
            let problem = format!("`{broker}` is not accepted; accepted: `<host>:<port>`");
            problems.push(("brokers", problem));
        }
        for (name, topic) in &self.topics {
            let signal = CATALOG.iter().find(|one| one.signal().name == name);
            if !signal.is_some_and(|one| one.signal().reportable) {
                let problem = format!(
                    "`{name}` is no signal that is reported; accepted: such as `action.log`; \
                     `tachograph catalog` lists them"
                );
                problems.push(("topics", problem));
            }
            if !is_topic(topic) {
                let problem = format!(
                    "`{topic}` is no name of a topic; accepted: 1 to 249 letters, digits, `.`, \
                     `_`, `-`, not `.` and not `..`"
                );
                problems.push(("topics", problem));
            }
        }
        for name in self.options.keys().filter(|name| is_secret(name)) {
            let problem = format!("`{name}` would be shown; accepted: the same in `secrets`");
            problems.push(("options", problem));
        }
        let fixed = ["bootstrap.servers", "message.timeout.ms", "client.id"];
        let given =
            |name: &&str| self.options.contains_key(*name) || self.secrets.contains_key(*name);
        for name in fixed.into_iter().filter(given) {
            let problem =
                format!("`{name}` is not accepted; accepted: `brokers`, `delivery_timeout`");
            problems.push(("options", problem));
        }
        let accepted = Duration::from_millis(100)..=Duration::from_secs(3_600);
        if !accepted.contains(&self.delivery_timeout) {
            let shown = duration::format(self.delivery_timeout);
            let problem = format!("`{shown}` is not accepted; accepted: 100ms to 1h");
            problems.push(("delivery_timeout", problem));
        }
        if !(1..=1_000_000_000).contains(&self.outbox_max_rows) {
            let rows = self.outbox_max_rows;
            let problem = format!("`{rows}` is not accepted; accepted: 1 to 1000000000");
            problems.push(("outbox_max_rows", problem));
        }
        if !(1 << 20..=1 << 50).contains(&self.outbox_max_bytes) {
            let bytes = self.outbox_max_bytes;
            let problem = format!(
                "`{bytes}` is not accepted; accepted: 1048576 to {}",
                1_u64 << 50
            );
            problems.push(("outbox_max_bytes", problem));
        }
        problems
    }
}

#[cfg(feature = "kafka")]
mod publisher {
    use super::super::collectors::start_in_turn;
    use super::super::config::ServiceConfig;
    use crate::collectors::outbox::{OutboxPublisher, PublisherConfig};
    use crate::collectors::{PostgresTurns, Supervised};
    use crate::ledger::Ledger;
    use crate::service::ServeError;

    /// Starts to publish, if that is configured. Of several services on one PostgreSQL one does
    /// at a time.
    pub(in crate::service) fn start(
        config: &ServiceConfig,
        ledger: &Ledger,
    ) -> Result<Option<Supervised>, ServeError> {
        let kafka = &config.kafka;
        let Some(outbox) = kafka.outbox() else {
            return Ok(None);
        };
        let refused = |problem: String| ServeError::Collector(format!("kafka: {problem}"));
        let shown = kafka.options.clone().into_iter();
        let secret = kafka.secrets.iter();
        let secret = secret.map(|(name, value)| (name.clone(), value.expose().to_owned()));
        let publisher = OutboxPublisher::new(
            ledger.clone(),
            PublisherConfig {
                brokers: kafka.brokers.join(","),
                topics: kafka.topics(),
                settings: shown.chain(secret).collect(),
                delivery_timeout: kafka.delivery_timeout,
                outbox,
            },
        );
        let publisher = publisher.map_err(refused)?;
        let turns = PostgresTurns::if_shared(&config.database, "kafka_outbox").map_err(refused)?;
        Ok(Some(start_in_turn(publisher, turns)?))
    }
}

#[cfg(feature = "kafka")]
pub(super) use publisher::start;

/// Whether Kafka takes this as the name of a topic (Apache Kafka, `Topic.java`: `LEGAL_CHARS`,
/// `MAX_NAME_LENGTH`).
fn is_topic(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=249).contains(&name.len()) && name.bytes().all(legal) && !matches!(name, "." | "..")
}

fn is_broker(broker: &str) -> bool {
    let Some((host, port)) = broker.rsplit_once(':') else {
        return false;
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let plain = !host.is_empty() && !host.contains([':', '/', ',', '@', ' ']);
    (plain || bracketed) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_secret(setting: &str) -> bool {
    SECRET.iter().any(|word| setting.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on() -> KafkaConfig {
        KafkaConfig {
            brokers: vec!["kafka-1:9092".to_owned(), "[::1]:9092".to_owned()],
            ..KafkaConfig::default()
        }
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn nothing_is_published_unless_brokers_are_named() {
        assert_eq!(KafkaConfig::default().outbox(), None);
        assert!(KafkaConfig::default().check().is_empty());
        let forgotten = KafkaConfig {
            topics: map(&[("action.log", "t")]),
            ..KafkaConfig::default()
        };
        assert_eq!(forgotten.check()[0].0, "brokers");
        let outbox = on().outbox().unwrap();
        assert_eq!(outbox.signals, ["action.log"]);
        assert_eq!(on().topics()["action.log"], "agent-actions");
    }

    #[test]
    #[cfg(feature = "kafka")]
    fn what_is_not_accepted_is_named_with_what_is() {
        assert!(on().check().is_empty(), "{:?}", on().check());
        let with = |change: fn(&mut KafkaConfig)| {
            let mut config = on();
            change(&mut config);
            let problems = config.check();
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].1.contains("accepted: "), "{problems:?}");
            problems[0].0
        };
        for broker in [
            "kafka",
            "kafka:0",
            "kafka:99999",
            ":9092",
            "http://k:1",
            "::1:9092",
        ] {
            let config = KafkaConfig {
                brokers: vec![broker.to_owned()],
                ..on()
            };
            assert_eq!(config.check().len(), 1, "{broker}");
        }
        assert_eq!(with(|c| c.topics = map(&[("tool.cal", "t")])), "topics");
        assert_eq!(with(|c| c.topics = map(&[("tool.call", "a b")])), "topics");
        assert_eq!(with(|c| c.topics = map(&[("tool.call", "..")])), "topics");
        assert_eq!(
            with(|c| c.options = map(&[("sasl.password", "hush")])),
            "options"
        );
        assert_eq!(with(|c| c.options = map(&[("client.id", "me")])), "options");
        assert_eq!(with(|c| c.outbox_max_rows = 0), "outbox_max_rows");
        assert_eq!(with(|c| c.outbox_max_bytes = 1), "outbox_max_bytes");
        assert_eq!(
            with(|c| c.delivery_timeout = Duration::ZERO),
            "delivery_timeout"
        );
    }

    #[test]
    #[cfg(not(feature = "kafka"))]
    fn without_the_feature_it_says_which_is_missing() {
        let problems = on().check();
        assert!(
            problems[0].1.contains("the feature `kafka`"),
            "{problems:?}"
        );
    }

    #[test]
    fn names_of_topics_are_kafka_s() {
        let longest = "x".repeat(249);
        for name in ["agent-actions", "A.b_c-9", &longest] {
            assert!(is_topic(name), "{name}");
        }
        let longer = "x".repeat(250);
        for name in ["", ".", "..", "a/b", "é", &longer] {
            assert!(!is_topic(name), "{name}");
        }
    }
}
