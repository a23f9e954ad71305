//! Queues, as the broker holds them: how many tasks wait, by priority, and how many were taken and
//! not acknowledged (kombu 5, `transport/redis.py`).

use std::collections::{BTreeMap, BTreeSet};

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{RedisResult, cmd, pipe};
use tokio::time::Instant;

use super::config::literal;
use super::{CeleryConfig, PATIENCE};
use crate::recording::Rounds;
use crate::signals::celery::{
    CeleryQueueLength, CeleryQueuePriorityLength, CeleryUnacknowledged, CeleryUnacknowledgedOldest,
};

/// Queues that are read at most.
const QUEUES: usize = 200;
/// Names of keys that are looked at in one round: in the first one, and later.
const FIRST_LOOKS: u32 = 500;
const LOOKS: u32 = 20;
/// Keys that one look asks for.
const KEYS: u32 = 1000;

/// The queues of a broker.
#[derive(Debug)]
pub struct Queues {
    config: CeleryConfig,
    /// Where looking through the keys has come to.
    cursor: u64,
    /// Those that were found since it began, and those of the time before.
    found: BTreeSet<String>,
    known: BTreeSet<String>,
    looked_through: bool,
    before: Option<Lengths>,
    sizes: Rounds,
    priorities: Rounds,
}

/// What a round read.
#[derive(Clone, Debug, Default, PartialEq)]
struct Lengths {
    /// By queue, in the order of the priority steps.
    queues: BTreeMap<String, Vec<u64>>,
    unacknowledged: u64,
    /// When the oldest of them was taken, seconds since the Unix epoch.
    oldest: Option<f64>,
}

impl Queues {
    /// Nothing is known of them yet.
    pub fn new(config: &CeleryConfig) -> Self {
        Self {
            config: config.clone(),
            cursor: 0,
            found: BTreeSet::new(),
            known: BTreeSet::new(),
            looked_through: false,
            before: None,
            sizes: Rounds::default(),
            priorities: Rounds::default(),
        }
    }

    /// Reads them and puts them on the page; whether tasks left a queue or were acknowledged
    /// since the last time, and how many queues are more than are read.
    ///
    /// # Errors
    /// Of Redis.
    pub async fn read(
        &mut self,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<(bool, usize)> {
        self.look(connection).await?;
        let mut names: BTreeSet<&String> = self.config.queues.iter().collect();
        let configured = names.len();
        names.extend(self.known.union(&self.found));
        let more = names.len().saturating_sub(QUEUES.max(configured));
        // Those that are configured are read in any case.
        let found = names
            .iter()
            .filter(|name| !self.config.queues.contains(name));
        let left = QUEUES.saturating_sub(configured);
        let found: Vec<String> = found.take(left).map(|name| (*name).clone()).collect();
        let names = self.config.queues.iter().cloned().chain(found).collect();
        let lengths = self.lengths(connection, names).await?;
        let worked = self
            .before
            .as_ref()
            .is_some_and(|before| lengths.worked(before));
        self.publish(lengths);
        Ok((worked, more))
    }

    /// Looks through the keys for exchanges that queues are bound to, some each round.
    async fn look(&mut self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        let prefix = self.config.key("_kombu.binding.");
        let pattern = format!("{}*", literal(&prefix));
        let looks = if self.looked_through {
            LOOKS
        } else {
            FIRST_LOOKS
        };
        let until = Instant::now() + PATIENCE;
        for _ in 0..looks {
            let mut scan = cmd("SCAN");
            scan.arg(self.cursor).arg("MATCH").arg(&pattern);
            scan.arg("COUNT").arg(KEYS);
            let (cursor, keys): (u64, Vec<Vec<u8>>) = scan.query_async(connection).await?;
            for key in keys {
                let key = String::from_utf8_lossy(&key);
                let exchange = key.strip_prefix(&prefix).unwrap_or_default();
                // Where events and remote control go: no tasks wait there.
                if exchange == self.config.event_exchange || exchange.ends_with(".pidbox") {
                    continue;
                }
                let mut members = cmd("SMEMBERS");
                let members: Vec<Vec<u8>> = members.arg(&*key).query_async(connection).await?;
                let names = members.iter().filter_map(|member| self.bound(member));
                let names: Vec<String> = names.collect();
                self.found.extend(names);
            }
            self.cursor = cursor;
            if cursor == 0 {
                self.known = std::mem::take(&mut self.found);
                self.looked_through = true;
            }
            if cursor == 0 || Instant::now() >= until {
                break;
            }
        }
        Ok(())
    }

    /// The queue of a binding: routing key, pattern and queue with separators between.
    fn bound(&self, member: &[u8]) -> Option<String> {
        let member = std::str::from_utf8(member).ok()?;
        let (_, queue) = member.rsplit_once(&*self.config.separator)?;
        (!queue.is_empty()).then(|| queue.to_owned())
    }

    async fn lengths(
        &self,
        connection: &mut MultiplexedConnection,
        names: BTreeSet<String>,
    ) -> RedisResult<Lengths> {
        let steps = &self.config.priority_steps;
        let mut asked = pipe();
        for name in &names {
            for step in steps {
                asked.cmd("LLEN").arg(self.list(name, *step));
            }
        }
        let mut lengths: Vec<u64> = Vec::new();
        if !names.is_empty() {
            lengths = asked.query_async(connection).await?;
        }
        let mut asked = pipe();
        asked.cmd("HLEN").arg(self.config.key("unacked"));
        asked.cmd("ZRANGE").arg(self.config.key("unacked_index"));
        asked.arg(0).arg(0).arg("WITHSCORES");
        let (unacknowledged, oldest): (u64, Vec<(Vec<u8>, f64)>) =
            asked.query_async(connection).await?;
        let lengths = lengths.chunks(steps.len()).map(<[u64]>::to_vec);
        Ok(Lengths {
            queues: names.into_iter().zip(lengths).collect(),
            unacknowledged,
            oldest: oldest
                .first()
                .map(|(_, taken)| *taken)
                .filter(|taken| taken.is_finite()),
        })
    }

    /// The list that holds the tasks of a queue of one priority step (`_q_for_pri`).
    fn list(&self, queue: &str, step: u8) -> String {
        match step {
            0 => self.config.key(queue),
            step => format!("{}{}{step}", self.config.key(queue), self.config.separator),
        }
    }

    fn publish(&mut self, now: Lengths) {
        self.sizes.set(now.queues.iter().map(|(queue, lengths)| {
            let length = lengths.iter().sum::<u64>() as f64;
            (CeleryQueueLength { queue }.handle(), length)
        }));
        let steps = self.config.priority_steps.iter();
        let steps: Vec<String> = steps.map(u8::to_string).collect();
        let of = |queue, (priority, length): (&String, &u64)| {
            let length = *length as f64;
            (
                CeleryQueuePriorityLength { queue, priority }.handle(),
                length,
            )
        };
        let priorities = now.queues.iter().flat_map(|(queue, lengths)| {
            let lengths = steps.iter().zip(lengths);
            lengths.map(move |one| of(queue, one))
        });
        self.priorities.set(priorities);
        CeleryUnacknowledged {}.set(now.unacknowledged as f64);
        match now.oldest {
            Some(taken) => CeleryUnacknowledgedOldest {}.set(taken),
            None => CeleryUnacknowledgedOldest {}.remove(),
        }
        self.before = Some(now);
    }

    /// Takes them off the page.
    pub fn unknown(&mut self) {
        self.before = None;
        self.sizes.clear();
        self.priorities.clear();
        CeleryUnacknowledged {}.remove();
        CeleryUnacknowledgedOldest {}.remove();
    }
}

impl Lengths {
    /// Whether tasks left a queue, or other ones than before are not acknowledged.
    fn worked(&self, before: &Self) -> bool {
        let sum = |lengths: &Vec<u64>| lengths.iter().sum::<u64>();
        let shorter = self.queues.iter().any(|(queue, lengths)| {
            let before = before.queues.get(queue);
            before.is_some_and(|before| sum(lengths) < sum(before))
        });
        shorter || self.unacknowledged != before.unacknowledged || self.oldest != before.oldest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_bindings_are_those_of_kombu() {
        let config = CeleryConfig {
            key_prefix: "app:".to_owned(),
            ..CeleryConfig::default()
        };
        let queues = Queues::new(&config);
        assert_eq!(queues.list("mail", 0), "app:mail");
        assert_eq!(queues.list("mail", 9), "app:mail\u{6}\u{16}9");
        let bound = |member: &[u8]| queues.bound(member);
        assert_eq!(bound(b"mail\x06\x16\x06\x16mail").as_deref(), Some("mail"));
        for none in [&b"mail"[..], b"mail\x06\x16\x06\x16", b"\xff\x06\x16\xff"] {
            assert_eq!(bound(none), None);
        }
    }

    #[test]
    fn work_shows_in_queues_that_grow_shorter_and_in_what_is_acknowledged() {
        let lengths = |queue: [u64; 2], unacknowledged| Lengths {
            queues: BTreeMap::from([("mail".to_owned(), queue.to_vec())]),
            unacknowledged,
            oldest: None,
        };
        let before = lengths([3, 2], 1);
        assert!(!before.worked(&before));
        assert!(!lengths([4, 2], 1).worked(&before), "it only came in");
        assert!(!lengths([2, 3], 1).worked(&before));
        assert!(lengths([3, 1], 1).worked(&before));
        assert!(lengths([3, 2], 0).worked(&before));
    }
}
