//! Redis, over deadpool-redis.
//!
//! [`Redis`] is a client with a pool: commands, pipelines and channels are recorded as
//! [`signals::redis`](crate::signals::redis), each has a deadline, and a [`Breaker`] keeps
//! callers from waiting while Redis is away. [`Connection`] is one of redis-rs'
//! [`ConnectionLike`](redis::aio::ConnectionLike), so that code goes on writing `con.get(…)`.
//! Spans tell the command and the database, never keys or values. Over TLS (`rediss://`) the
//! server's certificate is verified, by the system's authorities or by
//! [given ones](RedisBuilder::authorities).
//!
//! ```no_run
//! use std::time::Duration;
//! use tachograph::instrumentation::redis::Redis;
//! use tachograph::instrumentation::redis::redis::AsyncCommands as _;
//!
//! # async fn example(telemetry: &tachograph::Telemetry) -> Result<(), Box<dyn std::error::Error>> {
//! let redis = Redis::builder("redis://localhost/0")
//!     .name("main")
//!     .deadline(Duration::from_millis(250))
//!     .build()?;
//! redis.watch(telemetry);
//! let mut con = redis.get().await?;
//! let visits: u64 = con.incr("visits", 1).await?;
//! # let _ = visits;
//! # Ok(())
//! # }
//! ```

pub(crate) mod address;
mod asked;
mod breaker;
mod client;
mod connection;
mod failure;
mod observed;
mod pubsub;

pub use breaker::{Breaker, BreakerConfig, BreakerState, Permit};
pub use client::{BuildError, Redis, RedisBuilder};
pub use connection::Connection;
pub use deadpool_redis::redis;
pub use pubsub::PubSub;
