//! Redis as its server tells of itself: `INFO`, and the length of streams.

mod info;

use std::time::Duration;

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{AsyncConnectionConfig, Client, RedisError, cmd, pipe};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{CollectError, Collector, Progress, Schedule};
use crate::instrumentation::redis::address::address;
use crate::pipeline::config::{duration, list};
use crate::recording::{Handle, Rounds};
use crate::signals::redis_server::{
    ClientState, KeyLookup, MemoryKind, RedisReplicationLag, RedisServerClients,
    RedisServerEvicted, RedisServerExpired, RedisServerFragmentation, RedisServerKeys,
    RedisServerLookup, RedisServerMemory, RedisServerMemoryLimit, RedisServerMemoryUtilization,
    RedisStreamEntries,
};
use info::{Counts, Info};

/// A server of Redis that is asked how it is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct RedisInfoConfig {
    /// The server: `redis://[[<user>]:<password>@]<host>[:<port>][/<database>]`, `rediss://…` with
    /// TLS. Not asked unless set. The user needs `INFO`, and `XLEN` for streams.
    pub url: Option<String>,
    /// PEM file of the authorities that are trusted with TLS, instead of the system's.
    pub ca_file: Option<String>,
    /// What it is called on metrics.
    pub name: String,
    /// Keys of streams whose length is asked for, 32 at most, in the database of the address.
    #[serde(deserialize_with = "list::deserialize")]
    pub streams: Vec<String>,
    /// Time between two rounds, 1s to 1h.
    #[serde(with = "duration")]
    #[cfg_attr(feature = "service", schemars(with = "String", extend("format" = "duration")))]
    pub interval: Duration,
}

impl Default for RedisInfoConfig {
    fn default() -> Self {
        Self {
            url: None,
            ca_file: None,
            name: "main".to_owned(),
            streams: Vec::new(),
            interval: Duration::from_secs(15),
        }
    }
}

/// Streams that are asked for at most.
const STREAMS: usize = 32;
/// How long connecting may take, and each answer.
const PATIENCE: Duration = Duration::from_secs(5);

impl RedisInfoConfig {
    /// What is not accepted: the field, and what would be.
    #[must_use]
    pub fn check(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if let Some(url) = &self.url
            && let Err(problem) = client(url, self.ca_file.as_deref())
        {
            problems.push(problem);
        }
        if self.name.is_empty() {
            problems.push(("name", "`` is not accepted; accepted: a name".to_owned()));
        }
        if self.streams.len() > STREAMS || self.streams.iter().any(String::is_empty) {
            problems.push((
                "streams",
                format!("this list is not accepted; accepted: {STREAMS} keys at most, none empty"),
            ));
        }
        problems.extend(super::check_interval(self.interval));
        problems
    }
}

/// The client of a server; or the field that is not accepted, and why.
pub(super) fn client(url: &str, ca_file: Option<&str>) -> Result<Client, (&'static str, String)> {
    let authorities = match ca_file.map(|file| (file, std::fs::read(file))) {
        None => None,
        Some((_, Ok(pem))) => Some(pem),
        Some((file, Err(error))) => {
            return Err((
                "ca_file",
                format!("`{file}` is not accepted; accepted: a file that can be read: {error}"),
            ));
        }
    };
    let refused = |problem| ("url", problem);
    let info = address(url, authorities.as_deref()).map_err(refused)?;
    Client::open(info).map_err(|error| refused(error.to_string()))
}

/// Reads how a server of Redis is doing.
pub struct RedisInfo {
    client: Client,
    config: RedisInfoConfig,
    connection: Option<MultiplexedConnection>,
    /// What the server had counted the last time.
    before: Option<Counts>,
    shown: Rounds,
}

impl std::fmt::Debug for RedisInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisInfo")
            .field("name", &self.config.name)
            .finish_non_exhaustive()
    }
}

impl RedisInfo {
    /// A collector, where a server is named.
    ///
    /// # Errors
    /// What is not accepted.
    pub fn new(config: &RedisInfoConfig) -> Result<Option<Self>, String> {
        if let Some((field, problem)) = config.check().into_iter().next() {
            return Err(format!("{field}: {problem}"));
        }
        let Some(url) = &config.url else {
            return Ok(None);
        };
        Ok(Some(Self {
            client: client(url, config.ca_file.as_deref())
                .map_err(|(field, problem)| format!("{field}: {problem}"))?,
            config: config.clone(),
            connection: None,
            before: None,
            shown: Rounds::default(),
        }))
    }

    async fn ask(&mut self) -> Result<(Info, Vec<Option<u64>>), RedisError> {
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
        let text: String = cmd("INFO").query_async(&mut connection).await?;
        let mut lengths = Vec::new();
        if !self.config.streams.is_empty() {
            let mut asked = pipe();
            for stream in &self.config.streams {
                // Nothing for a key that is not there, an error for one that is no stream.
                asked.cmd("EXISTS").arg(stream).cmd("XLEN").arg(stream);
            }
            let answers: Vec<u64> = asked.query_async(&mut connection).await?;
            lengths.extend(answers.chunks_exact(2).map(|a| (a[0] == 1).then_some(a[1])));
        }
        self.connection = Some(connection);
        Ok((Info::parse(&text), lengths))
    }

    /// Puts on the page what the server says, and the lengths of the streams.
    fn show(&mut self, info: &Info, lengths: &[Option<u64>]) {
        let instance = &*self.config.name;
        let mut round = Vec::new();
        let mut read = |gauge: Option<Handle>, value: Option<f64>| {
            round.extend(value.map(|value| (gauge, value)));
        };
        for (kind, bytes) in [
            (MemoryKind::Used, info.used),
            (MemoryKind::Peak, info.peak),
            (MemoryKind::Resident, info.resident),
        ] {
            read(RedisServerMemory { instance, kind }.handle(), bytes);
        }
        let limit = info.limit.filter(|limit| *limit > 0.0);
        read(RedisServerMemoryLimit { instance }.handle(), limit);
        let share = limit.and_then(|limit| Some(info.used? / limit));
        read(RedisServerMemoryUtilization { instance }.handle(), share);
        let fragmentation = RedisServerFragmentation { instance };
        read(fragmentation.handle(), info.fragmentation);
        for (state, clients) in [
            (ClientState::Connected, info.connected()),
            (ClientState::Blocked, info.blocked),
        ] {
            read(RedisServerClients { instance, state }.handle(), clients);
        }
        for (namespace, keys) in &info.keys {
            let of = RedisServerKeys {
                instance,
                namespace,
            };
            read(of.handle(), Some(*keys));
        }
        for (replica, lag) in &info.lags {
            let of = RedisReplicationLag { instance, replica };
            read(of.handle(), Some(*lag));
        }
        for (stream, length) in self.config.streams.iter().zip(lengths) {
            let length = length.map(|length| length as f64);
            read(RedisStreamEntries { instance, stream }.handle(), length);
        }
        self.shown.set(round);
    }

    /// Adds what the server counted since the last round; its own counts begin anew when it does.
    fn count(&mut self, info: &Info) {
        let instance = &*self.config.name;
        let since = info.counts.since(self.before.as_ref());
        RedisServerExpired { instance }.add(since.expired);
        RedisServerEvicted { instance }.add(since.evicted);
        for (result, amount) in [
            (KeyLookup::Hit, since.hits),
            (KeyLookup::Miss, since.misses),
        ] {
            RedisServerLookup { instance, result }.add(amount);
        }
        self.before = Some(info.counts.clone());
    }
}

impl Collector for RedisInfo {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn schedule(&self) -> Schedule {
        Schedule {
            interval: self.config.interval,
            deadline: PATIENCE * 3,
            longest_pause: Duration::from_secs(60),
        }
    }

    async fn collect(&mut self, _: Instant) -> Result<Progress, CollectError> {
        let asked = self.ask().await;
        let (info, lengths) = asked.map_err(|error| CollectError(error.to_string()))?;
        self.show(&info, &lengths);
        self.count(&info);
        Ok(Progress::Done)
    }

    fn unknown(&mut self) {
        self.connection = None;
        self.shown.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_accepted_is_named_without_the_password() {
        let good = RedisInfoConfig {
            url: Some("redis://:hunter2@localhost:6379/1".to_owned()),
            ..RedisInfoConfig::default()
        };
        assert_eq!(good.check(), []);
        let bad = RedisInfoConfig {
            url: Some("http://:hunter2@localhost".to_owned()),
            ca_file: None,
            name: String::new(),
            streams: vec![String::new()],
            interval: Duration::from_millis(1),
        };
        let problems = bad.check();
        let fields: Vec<&str> = problems.iter().map(|(field, _)| *field).collect();
        assert_eq!(fields, ["url", "name", "streams", "interval"]);
        for (_, problem) in &problems {
            assert!(
                problem.contains("accepted: ") && !problem.contains("hunter2"),
                "{problem}"
            );
        }
        let unread = RedisInfoConfig {
            url: Some("rediss://localhost".to_owned()),
            ca_file: Some("/no/such/file".to_owned()),
            ..RedisInfoConfig::default()
        };
        let problems = unread.check();
        assert_eq!(problems[0].0, "ca_file");
        assert!(
            problems[0].1.contains("/no/such/file"),
            "{:?}",
            problems[0].1
        );
        assert!(
            RedisInfo::new(&RedisInfoConfig::default())
                .unwrap()
                .is_none()
        );
    }
}
