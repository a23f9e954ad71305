//! Caches of the application: in process, with Redis behind them.

use crate::catalog::{Alert, Condition, KEY_VALUE, Panel, Runbook, Severity, View};
use crate::{closed_label, signal};

closed_label! {
    /// What is asked of a cache.
    pub enum CacheOperationName {
        /// To find something; with the time to load it where it is not there.
        Get = "get",
        /// To keep something.
        Set = "set",
        /// To forget something.
        Delete = "delete",
    }
}

closed_label! {
    /// How it ended for who asked.
    pub enum CacheStatus {
        /// As it should.
        Success = "success",
        /// What was not in the cache could not be loaded, or Redis could not be told of a change.
        Failed = "failed" error,
        /// Who asked went away before the end.
        Abandoned = "abandoned" abandoned,
    }
}

closed_label! {
    /// Whether a cache had what it was asked for. To look for a share that is too low, a miss
    /// counts as an error.
    pub enum CacheResult {
        /// It was there.
        Hit = "hit",
        /// It had to be loaded.
        Miss = "miss" error,
    }
}

closed_label! {
    /// A part of a cache.
    pub enum CacheTier {
        /// The memory of the process.
        Memory = "memory",
        /// Redis, which processes share.
        Redis = "redis",
    }
}

closed_label! {
    /// What a part of a cache said.
    pub enum TierResult {
        /// It is there.
        Hit = "hit",
        /// It is not.
        Miss = "miss",
        /// It was kept or forgotten.
        Done = "done",
        /// It could not be asked, or what it has cannot be read.
        Failed = "failed" error,
    }
}

closed_label! {
    /// Why something left a cache without being asked to.
    pub enum EvictionReason {
        /// Its time was over.
        Expired = "expired",
        /// There was no room.
        Size = "size",
    }
}

signal! {
    /// One thing asked of a cache.
    pub operation CacheOperation => CacheOperationEnd = "cache.operation" {
        labels {
            /// Name of the cache.
            cache as "cache.name": open(32),
            /// What was asked.
            operation as "cache.operation.name": closed(CacheOperationName),
        }
        outcome {
            /// How it ended.
            status: closed(CacheStatus),
        }
        metrics {
            /// Things asked of caches.
            "cache.operations" = counter "{operation}" count by [cache, operation, status];
            /// Time until a cache had answered, with the time to load what was not there.
            "cache.operation.duration" = histogram "s" duration by [cache, operation] buckets (KEY_VALUE)
                no_alert "mostly the time of what is behind the cache, which is watched where it is called";
        }
        panels [
            Panel::new("Cache operations", View::Rate("cache.operations"), "Things asked of caches, a second, by cache and by what was asked.")
                .by(&["cache.name", "cache.operation.name"])
                .section("Caches"),
            Panel::new("Cache latency", View::Quantiles("cache.operation.duration"), "The 95th percentile of the time until a cache had answered, with the time to load what was not there.")
                .by(&["cache.name", "cache.operation.name"])
                .section("Caches")
                .headline(),
            Panel::new("Failing loads", View::ErrorRatio("cache.operations"), "Share of what was asked of a cache that failed, as what was not there could not be loaded.")
                .by(&["cache.name"])
                .section("Caches")
                .headline(),
        ]
        alerts [
            Alert::new(
                "CacheLoadsFail",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "cache.operations", ratio: 0.05, floor: 20 },
                "More than 5 % of what is asked of a cache cannot be loaded",
                Runbook {
                    meaning: "What is not in the cache cannot be had from behind it either. What is there is still served, until it expires.",
                    causes: &["What is behind the cache is away or overloaded", "Keys are asked for that do not exist, and the loader calls that an error"],
                    actions: &["Look at the errors of what the loader calls", "See whether the hit rate fell before: more is loaded then", "Raise the time that things are kept, if older ones will do meanwhile"],
                },
            )
            .by(&["cache.name"]),
        ]
    }
}

signal! {
    /// Requests to a cache, by whether it had what was asked for.
    pub counter CacheRequest = "cache.request" => "cache.requests" "{request}" {
        labels {
            /// Name of the cache.
            cache as "cache.name": open(32),
            /// Whether some part of it had what was asked for.
            result as "cache.result": closed(CacheResult),
        }
        panels [
            Panel::new("Cache misses", View::ErrorRatio("cache.requests"), "Share of requests for which a cache did not have what was asked for.")
                .by(&["cache.name"])
                .section("Caches")
                .headline(),
            Panel::new("Cache hits and misses", View::Rate("cache.requests"), "Requests to caches, a second, by cache and by whether it had what was asked for.")
                .by(&["cache.name", "cache.result"])
                .section("Caches"),
        ]
        alerts [
            Alert::new(
                "CacheHitRateLow",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "cache.requests", ratio: 0.5, floor: 100 },
                "A cache has less than half of what it is asked for",
                Runbook {
                    meaning: "More than half of the requests are loaded from behind the cache.",
                    causes: &["The process has just started, and its cache is cold", "The cache is too small: see evictions by size", "Things are kept too shortly", "Redis behind it is away, so that every process loads for itself"],
                    actions: &["Split by part of the cache, and look at evictions", "Raise its size or the time that things are kept", "If keys hardly ever repeat, take the cache away"],
                },
            )
            .for_minutes(10)
            .over_minutes(15)
            .by(&["cache.name"]),
        ]
    }
}

signal! {
    /// What the parts of a cache said.
    pub counter CacheTierRequest = "cache.tier.request" => "cache.tier.requests" "{request}" reportable false {
        labels {
            /// Name of the cache.
            cache as "cache.name": open(32),
            /// The part.
            tier as "cache.tier": closed(CacheTier),
            /// What was asked.
            operation as "cache.operation.name": closed(CacheOperationName),
            /// What it said.
            result as "cache.tier.result": closed(TierResult),
        }
        panels [
            Panel::new("Requests by part", View::Rate("cache.tier.requests"), "What the parts of caches said, a second: memory is asked first, then Redis.")
                .by(&["cache.name", "cache.tier", "cache.tier.result"])
                .section("Caches"),
            Panel::new("Failing parts", View::ErrorRatio("cache.tier.requests"), "Share of requests to a part of a cache that failed. Loading goes on without it.")
                .by(&["cache.name", "cache.tier"])
                .section("Caches")
                .headline(),
        ]
        alerts [
            Alert::new(
                "CacheDegraded",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "cache.tier.requests", ratio: 0.1, floor: 20 },
                "More than 10 % of the requests to a part of a cache fail",
                Runbook {
                    meaning: "A part of the cache, mostly Redis, cannot be asked. Everything that is not in memory is loaded anew, by each process for itself.",
                    causes: &["Redis is away, stalled or out of memory", "Its circuit breaker is open", "What it holds was written by another version and cannot be read"],
                    actions: &["Look at the circuit breaker and the failures of Redis", "Watch what is behind the cache: it has more to do now", "Delete the cache's keys in Redis if they cannot be read"],
                },
            )
            .by(&["cache.name", "cache.tier"]),
        ]
    }
}

signal! {
    /// Things that left a cache's memory without being asked to.
    pub counter CacheEviction = "cache.eviction" => "cache.evictions" "{entry}" {
        labels {
            /// Name of the cache.
            cache as "cache.name": open(32),
            /// Why.
            reason as "cache.eviction.reason": closed(EvictionReason),
        }
        panels [
            Panel::new("Cache evictions", View::Rate("cache.evictions"), "Things that left a cache's memory, a second, because their time was over or there was no room.")
                .by(&["cache.name", "cache.eviction.reason"])
                .section("Caches"),
        ]
        no_alert "what leaves too early is missed, and misses are watched"
    }
}

signal! {
    /// What a cache holds in memory, in bytes of its encoded entries.
    pub gauge CacheSize = "cache.size" => "cache.memory.size" "By" {
        labels {
            /// Name of the cache.
            cache as "cache.name": open(32),
        }
        panels [
            Panel::new("Cache size", View::Value("cache.memory.size"), "Bytes that each cache holds in memory: keys and encoded values.")
                .by(&["cache.name"])
                .section("Caches")
                .headline(),
        ]
        no_alert "it is bounded by the cache's settings"
    }
}

signal! {
    /// Entries that a cache holds in memory.
    pub gauge CacheEntries = "cache.entries" => "cache.memory.entries" "{entry}" {
        labels {
            /// Name of the cache.
            cache as "cache.name": open(32),
        }
        panels [
            Panel::new("Cache entries", View::Value("cache.memory.entries"), "Entries that each cache holds in memory.")
                .by(&["cache.name"])
                .section("Caches"),
        ]
        no_alert "its size in bytes is bounded by the cache's settings"
    }
}
