//! Redis as a client sees it: OpenTelemetry semantic conventions v1.41.0, "Semantic conventions
//! for Redis" and "Database client metrics". What the server tells of itself is in
//! [`redis_server`](super::redis_server).

use crate::catalog::{Alert, BATCH, Condition, KEY_VALUE, Panel, Runbook, Severity, View};
use crate::{closed_label, signal};

mod command;

pub use command::Command;

closed_label! {
    /// How something asked of Redis ended.
    pub enum RedisStatus {
        /// Redis did it.
        Success = "success",
        /// Redis refused it, or was not there.
        Failed = "failed" error,
        /// There was no answer by its deadline.
        Timeout = "timeout" error,
        /// The circuit breaker did not let it through.
        Rejected = "rejected" error,
        /// Its caller went away before the end.
        Abandoned = "abandoned" abandoned,
    }
}

closed_label! {
    /// What a connection of a pool does.
    pub enum ConnectionState {
        /// It waits to be used; `idle` of the semantic conventions.
        Idle = "idle",
        /// Somebody has it; `used` of the semantic conventions.
        Used = "used",
    }
}

closed_label! {
    /// Which way a message of a channel goes.
    pub enum Direction {
        /// It was sent to a channel.
        Published = "published",
        /// It came from a channel.
        Received = "received",
    }
}

signal! {
    /// One command of Redis, or a pipeline of them.
    pub operation RedisOperation => RedisOperationEnd = "redis.operation" span client {
        labels {
            /// Name of the client's pool of connections.
            pool as "db.client.connection.pool.name": open(16),
            /// Index of the database.
            namespace as "db.namespace": open(16),
            /// The command; `PIPELINE` or `MULTI` where there are several.
            operation as "db.operation.name": closed(Command),
        }
        outcome {
            /// How it ended.
            status: closed(RedisStatus),
            /// What went wrong: the code that Redis answered with, such as `WRONGTYPE`, or what happened to the connection; absent if nothing.
            error as "error.type": optional(40),
        }
        values {
            /// Commands that were sent together, at least two.
            batch as "db.operation.batch.size",
        }
        context {
            /// `redis`.
            SYSTEM = "db.system.name",
            /// Host of the server.
            SERVER = "server.address",
            /// Port of the server.
            PORT = "server.port",
        }
        metrics {
            /// Commands and pipelines that ended.
            "redis.client.operations" = counter "{operation}" count by [pool, namespace, operation, status, error];
            /// Time from sending a command to its answer.
            "redis.client.operation.duration" = histogram "s" duration by [pool, namespace, operation, status] buckets (KEY_VALUE);
            /// Commands of a pipeline.
            "redis.client.pipeline.size" = histogram "{command}" of(batch) by [pool, namespace] buckets (BATCH)
                no_alert "how much is sent together is the application's choice";
        }
        panels [
            Panel::new("Redis commands", View::Rate("redis.client.operations"), "Commands and pipelines that ended, a second, by pool.")
                .by(&["db.client.connection.pool.name"])
                .section("Redis commands")
                .headline(),
            Panel::new("Failing Redis commands", View::ErrorRatio("redis.client.operations"), "Share of commands that failed, timed out, or were not let through by the circuit breaker.")
                .by(&["db.client.connection.pool.name"])
                .section("Redis commands")
                .headline(),
            Panel::new("Redis latency", View::Quantiles("redis.client.operation.duration"), "How long commands take that succeed.")
                .only(&[("status", "success")])
                .section("Redis commands")
                .headline(),
            Panel::new("Redis latency by command", View::Quantiles("redis.client.operation.duration"), "The 95th percentile of the time that a command takes, of those that succeed.")
                .by(&["db.operation.name"])
                .only(&[("status", "success")])
                .section("Redis commands"),
            Panel::new("Redis commands by name", View::Rate("redis.client.operations"), "Commands that ended, a second, by name.")
                .by(&["db.operation.name"])
                .section("Redis commands"),
            Panel::new("Redis commands by status", View::Rate("redis.client.operations"), "Commands that ended, a second, by status. Rejected ones were not sent, as the circuit breaker is open.")
                .by(&["status"])
                .section("Redis commands"),
            Panel::new("Redis failures by kind", View::Errors("redis.client.operations"), "Commands that failed, a second, by command and by what went wrong.")
                .by(&["db.operation.name", "error.type"])
                .section("Redis commands"),
            Panel::new("Pipeline size", View::Quantiles("redis.client.pipeline.size"), "How many commands are sent together.")
                .section("Redis commands"),
            Panel::new("Pipelines", View::Rate("redis.client.pipeline.size"), "Pipelines and transactions that ended, a second.")
                .by(&["db.client.connection.pool.name"])
                .section("Redis commands"),
        ]
        alerts [
            Alert::new(
                "RedisErrorRateHigh",
                Severity::Critical,
                Condition::ErrorRatioAbove { metric: "redis.client.operations", ratio: 0.05, floor: 100 },
                "More than 5 % of the commands to Redis fail",
                Runbook {
                    meaning: "Commands of this pool fail, time out, or are refused by its circuit breaker. What depends on Redis is slow or does without it.",
                    causes: &[
                        "Redis is away, restarts, or fails over",
                        "Redis is out of memory and refuses writes (`error_type` is `OOM`)",
                        "Redis is stalled by a slow command, a fork, or a full disk",
                        "The application uses a key as what it is not (`WRONGTYPE`)",
                    ],
                    actions: &[
                        "Split by `status` and `error_type`",
                        "Rejected commands: see when the circuit breaker opened, and why",
                        "Reach Redis from the same host, and read `INFO` and `SLOWLOG GET`",
                    ],
                },
            )
            .by(&["db.client.connection.pool.name"]),
            Alert::new(
                "RedisTimeouts",
                Severity::Warning,
                Condition::RateAbove { metric: "redis.client.operations", per_second: 0.1 },
                "Commands to Redis find no answer by their deadline",
                Runbook {
                    meaning: "Redis is there and does not answer in time.",
                    causes: &["A command that goes through all keys (`KEYS`, a large `SMEMBERS`) holds the others up", "Redis writes a snapshot, or swaps", "The network is lossy"],
                    actions: &["Read `SLOWLOG GET` and `LATENCY DOCTOR`", "Compare with the latency of commands that succeed", "Raise the deadline of commands that are meant to take long"],
                },
            )
            .only(&[("status", "timeout")])
            .by(&["db.client.connection.pool.name"]),
            Alert::new(
                "RedisSlow",
                Severity::Warning,
                Condition::QuantileAbove { metric: "redis.client.operation.duration", quantile: 0.95, threshold: 0.1, floor: 100 },
                "The 95th percentile of commands to Redis is above 100 ms",
                Runbook {
                    meaning: "One command in twenty takes longer than 100 ms, where one is expected to take less than one.",
                    causes: &["Large values, or commands over many keys", "Redis is busy on its one thread", "The process itself is out of CPU, and answers wait for it"],
                    actions: &["Split the latency by command", "Read `SLOWLOG GET`: what is not in it took its time elsewhere", "See the CPU of the process and of the server"],
                },
            )
            .only(&[("status", "success")])
            .by(&["db.client.connection.pool.name"]),
        ]
    }
}

signal! {
    /// Taking a connection out of a pool, or opening one.
    pub operation RedisConnectionAcquire => RedisConnectionAcquireEnd = "redis.connection.acquire" reportable false {
        labels {
            /// Name of the client's pool of connections.
            pool as "db.client.connection.pool.name": open(16),
        }
        outcome {
            /// How it ended.
            status: closed(RedisStatus),
            /// What went wrong: `pool_timeout` where none was free in time, or what happened to the connection; absent if nothing.
            error as "error.type": optional(40),
        }
        metrics {
            /// Connections that were asked for.
            "redis.client.connection.acquisitions" = counter "{connection}" count by [pool, status, error];
            /// Time until a connection was had, or was not.
            "redis.client.connection.wait_time" = histogram "s" duration by [pool, status] buckets (KEY_VALUE)
                no_alert "a wait that is too long ends as a timeout, which is watched";
        }
        panels [
            Panel::new("Waits for connections", View::Quantiles("redis.client.connection.wait_time"), "The 95th percentile of the time until a connection was had, by pool.")
                .by(&["db.client.connection.pool.name"])
                .only(&[("status", "success")])
                .section("Redis connections"),
            Panel::new("Connections asked for", View::Rate("redis.client.connection.acquisitions"), "Connections that were asked for, a second, by pool and by how that ended.")
                .by(&["db.client.connection.pool.name", "status"])
                .section("Redis connections"),
            Panel::new("Connection failures", View::Errors("redis.client.connection.acquisitions"), "Connections that were not had, a second, by pool and by what went wrong.")
                .by(&["db.client.connection.pool.name", "error.type"])
                .section("Redis connections")
                .headline(),
        ]
        alerts [
            Alert::new(
                "RedisConnectionsFail",
                Severity::Critical,
                Condition::ErrorRatioAbove { metric: "redis.client.connection.acquisitions", ratio: 0.1, floor: 10 },
                "More than 10 % of the connections to Redis that are asked for are not had",
                Runbook {
                    meaning: "No connection was free in time, none could be opened, or the circuit breaker is open.",
                    causes: &["Redis is away or refuses connections (`maxclients`)", "The pool is used up: connections are kept over long work", "Credentials have changed"],
                    actions: &["Split by `error_type`", "`pool_timeout`: see the saturation of the pool, and who keeps connections", "Otherwise reach Redis from the same host with the same address"],
                },
            )
            .by(&["db.client.connection.pool.name"]),
        ]
    }
}

signal! {
    /// Open connections of a pool to Redis.
    pub gauge RedisPoolConnections = "redis.pool.connections" => "redis.client.connections" "{connection}" {
        labels {
            /// Name of the client's pool of connections.
            pool as "db.client.connection.pool.name": open(16),
            /// What they do.
            state as "db.client.connection.state": closed(ConnectionState),
        }
        panels [
            Panel::new("Redis connections", View::Value("redis.client.connections"), "Open connections of each pool, by state.")
                .by(&["db.client.connection.pool.name", "db.client.connection.state"])
                .section("Redis connections"),
        ]
        no_alert "the share of the pool that is in use is watched"
    }
}

signal! {
    /// Connections that a pool to Redis may have.
    pub gauge RedisPoolMax = "redis.pool.max" => "redis.client.connections.max" "{connection}" {
        labels {
            /// Name of the client's pool of connections.
            pool as "db.client.connection.pool.name": open(16),
        }
        panels [
            Panel::new("Redis connections at most", View::Value("redis.client.connections.max"), "Connections that each pool may have.")
                .by(&["db.client.connection.pool.name"])
                .section("Redis connections"),
        ]
        no_alert "it is a setting, and its use is watched"
    }
}

signal! {
    /// Callers that wait for a connection of a pool to Redis.
    pub gauge RedisPoolPending = "redis.pool.pending" => "redis.client.connections.pending" "{request}" {
        labels {
            /// Name of the client's pool of connections.
            pool as "db.client.connection.pool.name": open(16),
        }
        panels [
            Panel::new("Waiting for Redis connections", View::Value("redis.client.connections.pending"), "Callers that wait for a connection, by pool.")
                .by(&["db.client.connection.pool.name"])
                .section("Redis connections"),
        ]
        no_alert "waits that are too long end as timeouts, which are watched"
    }
}

signal! {
    /// Share of a pool to Redis that is in use, 0 to 1.
    pub gauge RedisPoolSaturation = "redis.pool.saturation" => "redis.client.connections.saturation" "1" {
        labels {
            /// Name of the client's pool of connections.
            pool as "db.client.connection.pool.name": open(16),
        }
        panels [
            Panel::new("Redis pool in use", View::Value("redis.client.connections.saturation"), "Share of each pool that is in use. At 1 callers wait.")
                .by(&["db.client.connection.pool.name"])
                .section("Redis connections")
                .headline(),
        ]
        alerts [
            Alert::new(
                "RedisPoolSaturated",
                Severity::Warning,
                Condition::ValueAbove { metric: "redis.client.connections.saturation", threshold: 0.8 },
                "More than 80 % of a pool's connections to Redis are in use",
                Runbook {
                    meaning: "Soon callers will wait for a connection, and then time out.",
                    causes: &["More traffic than the pool was made for", "Connections are kept over work that has nothing to do with Redis", "Redis is slow, so that each is used longer"],
                    actions: &["Compare with the latency of commands: if it has risen, see to that", "Look for connections that are held across other awaits", "Raise the pool's size, and `maxclients` of Redis with it"],
                },
            )
            .for_minutes(2)
            .by(&["db.client.connection.pool.name"]),
        ]
    }
}

signal! {
    /// Messages of channels.
    pub counter RedisMessage = "redis.message" => "redis.client.messages" "{message}" {
        labels {
            /// Name of the client's pool of connections.
            pool as "db.client.connection.pool.name": open(16),
            /// Which way they go.
            direction as "redis.message.direction": closed(Direction),
        }
        panels [
            Panel::new("Channel messages", View::Rate("redis.client.messages"), "Messages that were published to channels and received from them, a second.")
                .by(&["db.client.connection.pool.name", "redis.message.direction"])
                .section("Redis channels"),
        ]
        no_alert "how much is said is the application's; publishing that fails is watched as a command"
    }
}
