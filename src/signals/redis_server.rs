//! Redis as its server tells of itself, by `INFO`: Redis 7.0 documentation, "INFO".

use crate::catalog::{Alert, Condition, Panel, Runbook, Severity, View};
use crate::{closed_label, signal};

closed_label! {
    /// A kind of memory.
    pub enum MemoryKind {
        /// `used_memory`: what Redis has allocated.
        Used = "used",
        /// `used_memory_peak`: the most that it ever had.
        Peak = "peak",
        /// `used_memory_rss`: what the system has given it.
        Resident = "resident",
    }
}

closed_label! {
    /// What a client of the server does.
    pub enum ClientState {
        /// It is connected: `connected_clients`, without those that are blocked.
        Connected = "connected",
        /// It waits in a command that blocks: `blocked_clients`.
        Blocked = "blocked",
    }
}

closed_label! {
    /// What looking up a key gave.
    pub enum KeyLookup {
        /// It is there.
        Hit = "hit",
        /// It is not.
        Miss = "miss",
    }
}

signal! {
    /// Memory of a Redis server.
    pub gauge RedisServerMemory = "redis.server.memory" => "redis.server.memory" "By" reportable false {
        labels {
            /// The server, by the name it was configured with.
            instance as "redis.instance": open(16),
            /// The kind.
            kind as "redis.memory.kind": closed(MemoryKind),
        }
        panels [
            Panel::new("Redis memory", View::Value("redis.server.memory"), "Memory of each server: what it uses, the most that it used, what the system gave it.")
                .by(&["redis.instance", "redis.memory.kind"])
                .section("Redis server")
                .headline(),
        ]
        no_alert "its share of the limit is watched"
    }
}

signal! {
    /// What a Redis server may use (`maxmemory`); absent without a limit.
    pub gauge RedisServerMemoryLimit = "redis.server.memory.limit" => "redis.server.memory.limit" "By" reportable false {
        labels {
            /// The server, by the name it was configured with.
            instance as "redis.instance": open(16),
        }
        panels [
            Panel::new("Redis memory limit", View::Value("redis.server.memory.limit"), "What each server may use; nothing where it has no limit.")
                .by(&["redis.instance"])
                .section("Redis server"),
        ]
        no_alert "it is a setting, and its use is watched"
    }
}

signal! {
    /// Share of its limit that a Redis server uses, 0 to 1; absent without a limit.
    pub gauge RedisServerMemoryUtilization = "redis.server.memory.utilization" => "redis.server.memory.utilization" "1" reportable false {
        labels {
            /// The server, by the name it was configured with.
            instance as "redis.instance": open(16),
        }
        panels [
            Panel::new("Redis memory in use", View::Value("redis.server.memory.utilization"), "Share of its limit that each server uses. At 1 it evicts keys, or refuses writes.")
                .by(&["redis.instance"])
                .section("Redis server")
                .headline(),
        ]
        alerts [
            Alert::new(
                "RedisMemoryNearMaximum",
                Severity::Warning,
                Condition::ValueAbove { metric: "redis.server.memory.utilization", threshold: 0.9 },
                "A Redis server uses more than 90 % of the memory it may",
                Runbook {
                    meaning: "At its limit Redis evicts keys, or refuses writes with `OOM`, as its `maxmemory-policy` says.",
                    causes: &["Keys without an expiry pile up", "A stream or a list grows that nobody trims", "The limit is too low for what is kept"],
                    actions: &["Find the largest keys with `redis-cli --bigkeys`", "See whether keys expire, and streams are trimmed", "Raise `maxmemory`, if the machine has room"],
                },
            )
            .by(&["redis.instance"]),
        ]
    }
}

signal! {
    /// Resident memory of a Redis server divided by what it has allocated.
    pub gauge RedisServerFragmentation = "redis.server.memory.fragmentation" => "redis.server.memory.fragmentation" "1" reportable false {
        labels {
            /// The server, by the name it was configured with.
            instance as "redis.instance": open(16),
        }
        panels [
            Panel::new("Redis fragmentation", View::Value("redis.server.memory.fragmentation"), "Resident memory divided by what is allocated. Well above 1 memory is lost between allocations, below 1 the server swaps.")
                .by(&["redis.instance"])
                .section("Redis server"),
        ]
        no_alert "servers with little in them always show it"
    }
}

signal! {
    /// Keys of a database of a Redis server.
    pub gauge RedisServerKeys = "redis.server.keys" => "redis.server.keys" "{key}" reportable false {
        labels {
            /// The server, by the name it was configured with.
            instance as "redis.instance": open(16),
            /// Index of the database.
            namespace as "db.namespace": open(16),
        }
        panels [
            Panel::new("Redis keys", View::Value("redis.server.keys"), "Keys of each database.")
                .by(&["redis.instance", "db.namespace"])
                .section("Redis server")
                .headline(),
        ]
        no_alert "how much is kept is the application's choice; its memory is watched"
    }
}

signal! {
    /// Keys of a Redis server whose time was over, since the collector started.
    pub counter RedisServerExpired = "redis.server.expired" => "redis.server.expired_keys" "{key}" reportable false {
        labels {
            /// The server, by the name it was configured with.
            instance as "redis.instance": open(16),
        }
        panels [
            Panel::new("Redis keys expired", View::Rate("redis.server.expired_keys"), "Keys whose time was over, a second.")
                .by(&["redis.instance"])
                .section("Redis server"),
        ]
        no_alert "that keys expire is what they were given a time for"
    }
}

signal! {
    /// Keys that a Redis server removed for want of memory, since the collector started.
    pub counter RedisServerEvicted = "redis.server.evicted" => "redis.server.evicted_keys" "{key}" reportable false {
        labels {
            /// The server, by the name it was configured with.
            instance as "redis.instance": open(16),
        }
        panels [
            Panel::new("Redis keys evicted", View::Rate("redis.server.evicted_keys"), "Keys that were removed for want of memory, a second.")
                .by(&["redis.instance"])
                .section("Redis server")
                .headline(),
        ]
        alerts [
            Alert::new(
                "RedisEvictsKeys",
                Severity::Warning,
                Condition::RateAbove { metric: "redis.server.evicted_keys", per_second: 1.0 },
                "A Redis server removes keys for want of memory",
                Runbook {
                    meaning: "Redis is at its limit and removes keys that have not expired. For a cache that costs hits; for anything else it is loss.",
                    causes: &["More is written than the limit holds", "Keys have no expiry, or a long one"],
                    actions: &["Compare with the hit rate of caches", "If it holds more than caches: set `maxmemory-policy` to `noeviction` and raise `maxmemory`", "Otherwise shorten the time that things are kept, or raise the limit"],
                },
            )
            .over_minutes(15)
            .by(&["redis.instance"]),
        ]
    }
}

signal! {
    /// Look-ups of keys that a Redis server counted, since the collector started.
    pub counter RedisServerLookup = "redis.server.lookup" => "redis.server.key_lookups" "{lookup}" reportable false {
        labels {
            /// The server, by the name it was configured with.
            instance as "redis.instance": open(16),
            /// What it gave.
            result as "redis.lookup.result": closed(KeyLookup),
        }
        panels [
            Panel::new("Redis look-ups", View::Rate("redis.server.key_lookups"), "Look-ups of keys by all clients of the server, a second, by whether the key was there.")
                .by(&["redis.instance", "redis.lookup.result"])
                .section("Redis server"),
        ]
        no_alert "a key that is not there is no fault; caches are watched by their own hits"
    }
}

signal! {
    /// Clients of a Redis server.
    pub gauge RedisServerClients = "redis.server.clients" => "redis.server.clients" "{client}" reportable false {
        labels {
            /// The server, by the name it was configured with.
            instance as "redis.instance": open(16),
            /// What they do.
            state as "redis.client.state": closed(ClientState),
        }
        panels [
            Panel::new("Redis clients", View::Value("redis.server.clients"), "Clients of each server, by whether they wait in a command that blocks.")
                .by(&["redis.instance", "redis.client.state"])
                .section("Redis server"),
        ]
        no_alert "connections that are refused show as failures of the clients, which are watched"
    }
}

signal! {
    /// Time since a replica of a Redis server was last heard of.
    pub gauge RedisReplicationLag = "redis.server.replication_lag" => "redis.server.replication.lag" "s" reportable false {
        labels {
            /// The server, by the name it was configured with.
            instance as "redis.instance": open(16),
            /// The replica, as the server knows it; `primary` where the server is a replica itself, and it is the other side that was heard.
            replica as "redis.replica": open(16),
        }
        panels [
            Panel::new("Redis replication lag", View::Value("redis.server.replication.lag"), "Time since each replica was last heard of, as its server tells, or on a replica since it heard from its primary.")
                .by(&["redis.instance", "redis.replica"])
                .section("Redis server"),
        ]
        alerts [
            Alert::new(
                "RedisReplicationLags",
                Severity::Warning,
                Condition::ValueAbove { metric: "redis.server.replication.lag", threshold: 30.0 },
                "A replica of Redis has not been heard of for 30 seconds",
                Runbook {
                    meaning: "The replica does not follow. If the primary is lost now, what was written since is lost with it.",
                    causes: &["The replica is away, or reads a snapshot", "The network between is broken or slow", "The primary is stalled"],
                    actions: &["Read `INFO replication` on both sides", "Read the replica's log", "Raise `repl-backlog-size` if it starts anew again and again"],
                },
            )
            .by(&["redis.instance", "redis.replica"]),
        ]
    }
}

signal! {
    /// Entries of a stream of a Redis server.
    pub gauge RedisStreamEntries = "redis.server.stream_entries" => "redis.server.stream.entries" "{entry}" reportable false {
        labels {
            /// The server, by the name it was configured with.
            instance as "redis.instance": open(16),
            /// Key of the stream.
            stream as "redis.stream": open(32),
        }
        panels [
            Panel::new("Redis streams", View::Value("redis.server.stream.entries"), "Entries of each stream that the collector is told to watch.")
                .by(&["redis.instance", "redis.stream"])
                .section("Redis server"),
        ]
        no_alert "how long a stream is kept is the application's choice; memory is watched"
    }
}
