//! Where Celery's broker is, and how it is listened to.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::collectors::check_interval;
use crate::collectors::redis::client;
use crate::pipeline::config::{duration, list};

/// Celery on Redis: its events and its queues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct CeleryConfig {
    /// The broker, as Celery's `broker_url` names it:
    /// `redis[s]://[[<user>]:<password>@]<host>[:<port>][/<database>]`. Not listened to unless set.
    pub url: Option<String>,
    /// Authorities that a certificate of the broker may be from, as a file of PEM certificates;
    /// those of the operating system unless set.
    pub ca_file: Option<String>,
    /// Time between two readings of queues, and between two looks at who is still there, 1s to 1h.
    #[serde(with = "duration")]
    #[cfg_attr(feature = "service", schemars(with = "String", extend("format" = "duration")))]
    pub interval: Duration,
    /// Queues that are read beside those that workers have declared, 100 at most.
    #[serde(deserialize_with = "list::deserialize")]
    pub queues: Vec<String>,
    /// `priority_steps` of Celery's `broker_transport_options`, 10 at most, each 0 to 255.
    #[serde(deserialize_with = "list::deserialize")]
    pub priority_steps: Vec<u8>,
    /// `sep` of Celery's `broker_transport_options`: what stands between the name of a queue and
    /// a priority.
    pub separator: String,
    /// `global_keyprefix` of Celery's `broker_transport_options`.
    pub key_prefix: String,
    /// `fanout_prefix` of Celery's `broker_transport_options`, where it is a text; empty where it
    /// is off. `{db}` stands for the database.
    pub fanout_prefix: String,
    /// Celery's `event_exchange`.
    pub event_exchange: String,
    /// Heartbeats that a worker may miss before it counts as lost, 2 to 100.
    pub missed_heartbeats: u32,
    /// A worker that was lost leaves the page after this long, 1s to 24h.
    #[serde(with = "duration")]
    #[cfg_attr(feature = "service", schemars(with = "String", extend("format" = "duration")))]
    pub forget_workers: Duration,
    /// Tasks that are followed at once, so that events which do not name them are understood:
    /// 100 to 1000000. Each takes about 300 bytes.
    pub max_tracked_tasks: usize,
    /// A task of which nothing is heard is not followed any more after this long, 1m to 720h.
    #[serde(with = "duration")]
    #[cfg_attr(feature = "service", schemars(with = "String", extend("format" = "duration")))]
    pub forget_tasks: Duration,
    /// Time between two questions to workers of how many tasks they can run at once, 1s to 24h;
    /// 0s: they are not asked. Asking writes to the broker, as `celery inspect stats` does.
    #[serde(with = "duration")]
    #[cfg_attr(feature = "service", schemars(with = "String", extend("format" = "duration")))]
    pub inspect_interval: Duration,
}

impl Default for CeleryConfig {
    fn default() -> Self {
        Self {
            url: None,
            ca_file: None,
            interval: Duration::from_secs(10),
            queues: Vec::new(),
            priority_steps: vec![0, 3, 6, 9],
            separator: "\u{6}\u{16}".to_owned(),
            key_prefix: String::new(),
            fanout_prefix: "/{db}.".to_owned(),
            event_exchange: "celeryev".to_owned(),
            missed_heartbeats: 3,
            forget_workers: Duration::from_secs(600),
            max_tracked_tasks: 50_000,
            forget_tasks: Duration::from_secs(24 * 3600),
            inspect_interval: Duration::ZERO,
        }
    }
}

/// Queues that may be named.
const QUEUES: usize = 100;
/// Priority steps that may be named.
const STEPS: usize = 10;

impl CeleryConfig {
    /// What is not accepted: the field, and what would be.
    #[must_use]
    pub fn check(&self) -> Vec<(&'static str, String)> {
        let mut problems: Vec<(&'static str, String)> = Vec::new();
        if let Some(url) = &self.url
            && let Err(problem) = client(url, self.ca_file.as_deref())
        {
            problems.push(problem);
        }
        problems.extend(check_interval(self.interval));
        if self.queues.len() > QUEUES || self.queues.iter().any(String::is_empty) {
            problems.push((
                "queues",
                format!("this list is not accepted; accepted: {QUEUES} names at most, none empty"),
            ));
        }
        let steps = &self.priority_steps;
        if steps.is_empty() || steps.len() > STEPS || !steps.is_sorted_by(|a, b| a < b) {
            problems.push((
                "priority_steps",
                format!(
                    "{steps:?} is not accepted; accepted: 1 to {STEPS} numbers, each once, \
                     ascending"
                ),
            ));
        }
        for (field, text) in [
            ("separator", &self.separator),
            ("event_exchange", &self.event_exchange),
        ] {
            if text.is_empty() {
                problems.push((field, "`` is not accepted; accepted: a text".to_owned()));
            }
        }
        if !(2..=100).contains(&self.missed_heartbeats) {
            let given = self.missed_heartbeats;
            problems.push((
                "missed_heartbeats",
                format!("`{given}` is not accepted; accepted: 2 to 100"),
            ));
        }
        if !(100..=1_000_000).contains(&self.max_tracked_tasks) {
            let given = self.max_tracked_tasks;
            problems.push((
                "max_tracked_tasks",
                format!("`{given}` is not accepted; accepted: 100 to 1000000"),
            ));
        }
        let day = 24 * 3600;
        let mut within = |field, given: Duration, from, to, accepted: &str| {
            let range = Duration::from_secs(from)..=Duration::from_secs(to);
            if !range.contains(&given) {
                let shown = duration::format(given);
                problems.push((
                    field,
                    format!("`{shown}` is not accepted; accepted: {accepted}"),
                ));
            }
        };
        within("forget_workers", self.forget_workers, 1, day, "1s to 24h");
        within(
            "forget_tasks",
            self.forget_tasks,
            60,
            30 * day,
            "1m to 720h",
        );
        if !self.inspect_interval.is_zero() {
            within(
                "inspect_interval",
                self.inspect_interval,
                1,
                day,
                "0s, or 1s to 24h",
            );
        }
        problems
    }

    /// The key, with its prefix.
    pub(super) fn key(&self, key: &str) -> String {
        format!("{}{key}", self.key_prefix)
    }

    /// The pattern of the channels on which events come (kombu 5, `transport/redis.py`,
    /// `_get_publish_topic`; Celery 5, `events/event.py`, `get_exchange`).
    pub(super) fn channels(&self, database: i64) -> String {
        let fanout = self.fanout(database);
        let fixed = format!("{}{fanout}{}/", self.key_prefix, self.event_exchange);
        format!("{}*", literal(&fixed))
    }

    /// What stands before the name of a fanout exchange.
    pub(super) fn fanout(&self, database: i64) -> String {
        self.fanout_prefix.replace("{db}", &database.to_string())
    }
}

/// A text as a pattern that only it matches (Redis documentation, "KEYS").
pub(super) fn literal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '^' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_accepted_is_named() {
        assert_eq!(CeleryConfig::default().check(), []);
        let bad = CeleryConfig {
            url: Some("amqp://user:hunter2@localhost".to_owned()),
            interval: Duration::ZERO,
            queues: vec![String::new()],
            priority_steps: vec![3, 0],
            separator: String::new(),
            event_exchange: String::new(),
            missed_heartbeats: 1,
            forget_workers: Duration::ZERO,
            max_tracked_tasks: 1,
            forget_tasks: Duration::ZERO,
            inspect_interval: Duration::from_millis(1),
            ..CeleryConfig::default()
        };
        let problems = bad.check();
        let fields: Vec<&str> = problems.iter().map(|(field, _)| *field).collect();
        let expected = [
            "url",
            "interval",
            "queues",
            "priority_steps",
            "separator",
            "event_exchange",
            "missed_heartbeats",
            "max_tracked_tasks",
            "forget_workers",
            "forget_tasks",
            "inspect_interval",
        ];
        assert_eq!(fields, expected);
        for (field, problem) in &problems {
            let told = problem.contains("accepted: ") && !problem.contains("hunter2");
            assert!(told, "{field}: {problem}");
        }
    }

    #[test]
    fn channels_are_those_that_kombu_publishes_on() {
        let config = CeleryConfig::default();
        assert_eq!(config.channels(2), "/2.celeryev/*");
        let config = CeleryConfig {
            key_prefix: "app[1]:".to_owned(),
            fanout_prefix: String::new(),
            event_exchange: "ours".to_owned(),
            ..config
        };
        assert_eq!(config.channels(0), "app\\[1\\]:ours/*");
    }
}
