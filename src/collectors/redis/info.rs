//! Reading `INFO` (Redis 7.0 documentation, "INFO"): lines of `<field>:<value>` below headings.

use std::collections::BTreeMap;

/// What `INFO` says; what it does not say is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Info {
    /// Bytes.
    pub(super) used: Option<f64>,
    pub(super) peak: Option<f64>,
    pub(super) resident: Option<f64>,
    /// 0 for no limit.
    pub(super) limit: Option<f64>,
    pub(super) fragmentation: Option<f64>,
    clients: Option<f64>,
    pub(super) blocked: Option<f64>,
    /// By index of the database.
    pub(super) keys: BTreeMap<String, f64>,
    /// Seconds, by replica.
    pub(super) lags: BTreeMap<String, f64>,
    pub(super) counts: Counts,
}

/// What a server has counted since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Of this run of the server.
    run: String,
    pub(super) expired: u64,
    pub(super) evicted: u64,
    pub(super) hits: u64,
    pub(super) misses: u64,
}

impl Counts {
    /// What was counted since then. Without a then it is not known since when: nothing. After a
    /// restart, or `CONFIG RESETSTAT`, what has been counted since that.
    pub(super) fn since(&self, before: Option<&Self>) -> Self {
        let Some(before) = before else {
            return Self::default();
        };
        let same = self.run == before.run;
        let grown = |now: u64, then: u64| match same && now >= then {
            true => now - then,
            false => now,
        };
        Self {
            run: self.run.clone(),
            expired: grown(self.expired, before.expired),
            evicted: grown(self.evicted, before.evicted),
            hits: grown(self.hits, before.hits),
            misses: grown(self.misses, before.misses),
        }
    }
}

/// Databases and replicas that are read at most.
const MOST: usize = 64;

impl Info {
    /// Reads it; what is not understood is left out.
    pub(super) fn parse(text: &str) -> Self {
        let mut info = Self::default();
        for line in text.lines() {
            if let Some((field, value)) = line.trim_end().split_once(':') {
                info.take(field, value);
            }
        }
        info
    }

    /// Clients that do not wait.
    pub(super) fn connected(&self) -> Option<f64> {
        Some((self.clients? - self.blocked.unwrap_or_default()).max(0.0))
    }

    fn take(&mut self, field: &str, value: &str) {
        let number = || value.parse().ok().filter(|number: &f64| number.is_finite());
        let count = || value.parse().unwrap_or_default();
        match field {
            "used_memory" => self.used = number(),
            "used_memory_peak" => self.peak = number(),
            "used_memory_rss" => self.resident = number(),
            "maxmemory" => self.limit = number(),
            "mem_fragmentation_ratio" => self.fragmentation = number(),
            "connected_clients" => self.clients = number(),
            "blocked_clients" => self.blocked = number(),
            "run_id" => value.clone_into(&mut self.counts.run),
            "expired_keys" => self.counts.expired = count(),
            "evicted_keys" => self.counts.evicted = count(),
            "keyspace_hits" => self.counts.hits = count(),
            "keyspace_misses" => self.counts.misses = count(),
            // On a replica: -1 while it has no primary.
            "master_last_io_seconds_ago" => {
                let lag = number().filter(|lag| *lag >= 0.0);
                self.lags.extend(lag.map(|lag| ("primary".to_owned(), lag)));
            }
            _ => self.take_numbered(field, value),
        }
    }

    /// `db0:keys=3,expires=0,…` and `slave0:ip=…,port=…,state=online,offset=…,lag=1`.
    fn take_numbered(&mut self, field: &str, value: &str) {
        let part = |name: &str| {
            let mut parts = value.split(',').filter_map(|part| part.split_once('='));
            parts.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let number = |name: &str| part(name)?.parse().ok().filter(|n: &f64| *n >= 0.0);
        if let Some(index) = index_of(field, "db") {
            if let Some(keys) = number("keys").filter(|_| self.keys.len() < MOST) {
                self.keys.insert(index.to_owned(), keys);
            }
        } else if index_of(field, "slave").is_some()
            && self.lags.len() < MOST
            && let (Some(ip), Some(port), Some(lag)) = (part("ip"), part("port"), number("lag"))
        {
            self.lags.insert(format!("{ip}:{port}"), lag);
        }
    }
}

/// The digits behind a prefix.
fn index_of<'f>(field: &'f str, prefix: &str) -> Option<&'f str> {
    let index = field.strip_prefix(prefix)?;
    let digits = !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit());
    digits.then_some(index)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n\r\n# Clients\r\n\
        connected_clients:5\r\nblocked_clients:2\r\n# Memory\r\nused_memory:1000\r\n\
        used_memory_human:1000B\r\nused_memory_peak:2000\r\nused_memory_rss:3000\r\n\
        maxmemory:4000\r\nmem_fragmentation_ratio:3.00\r\n# Stats\r\nexpired_keys:3\r\n\
        evicted_keys:4\r\nkeyspace_hits:50\r\nkeyspace_misses:6\r\n# Replication\r\nrole:master\r\n\
        slave0:ip=10.0.0.2,port=6379,state=online,offset=100,lag=1\r\n\
        slave_read_only:1\r\n# Keyspace\r\ndb0:keys=7,expires=1,avg_ttl=0\r\n\
        db12:keys=8,expires=0,avg_ttl=0\r\n";

    #[test]
    fn what_it_says_is_read() {
        let info = Info::parse(TEXT);
        assert_eq!(info.used, Some(1000.0));
        assert_eq!(info.peak, Some(2000.0));
        assert_eq!(info.resident, Some(3000.0));
        assert_eq!(info.limit, Some(4000.0));
        assert_eq!(info.fragmentation, Some(3.0));
        assert_eq!((info.connected(), info.blocked), (Some(3.0), Some(2.0)));
        let keys = [("0", 7.0), ("12", 8.0)].map(|(k, v)| (k.to_owned(), v));
        assert_eq!(info.keys, keys.into());
        assert_eq!(info.lags, [("10.0.0.2:6379".to_owned(), 1.0)].into());
        let Counts {
            expired,
            evicted,
            hits,
            misses,
            ..
        } = info.counts;
        assert_eq!((expired, evicted, hits, misses), (3, 4, 50, 6));
    }

    #[test]
    fn what_it_does_not_say_is_not_known() {
        let nothing = Info::parse("");
        assert_eq!(nothing, Info::default());
        assert_eq!(nothing.connected(), None);
        let alone = Info::parse("role:slave\r\nmaster_last_io_seconds_ago:-1\r\n");
        assert!(alone.lags.is_empty());
        let lag = Info::parse("master_last_io_seconds_ago:4").lags;
        assert_eq!(lag, [("primary".to_owned(), 4.0)].into());
    }

    #[test]
    fn counts_are_those_since_the_last_round_also_over_a_restart() {
        let counts = |run: &str, hits| Counts {
            run: run.to_owned(),
            hits,
            ..Counts::default()
        };
        assert_eq!(counts("a", 50).since(None).hits, 0);
        assert_eq!(counts("a", 50).since(Some(&counts("a", 20))).hits, 30);
        assert_eq!(counts("b", 50).since(Some(&counts("a", 20))).hits, 50);
        // `CONFIG RESETSTAT`
        assert_eq!(counts("a", 5).since(Some(&counts("a", 20))).hits, 5);
    }

    proptest! {
        #[test]
        fn whatever_comes_it_does_not_panic_and_stays_bounded(text in "(?s).{0,400}", n in 0..200_u32) {
            Info::parse(&text);
            let many: String = (0..n).map(|i| format!("db{i}:keys={i}\n")).collect();
            prop_assert!(Info::parse(&many).keys.len() <= MOST);
        }
    }
}
