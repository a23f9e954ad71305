//! Messages of channels.

use std::sync::Arc;

use deadpool_redis::redis::{Msg, RedisResult, ToRedisArgs, aio};
use futures_util::{Stream, StreamExt as _};

use super::client::Shared;
use crate::signals::redis::{Direction, RedisMessage};

/// A connection that receives messages of channels, each counted.
pub struct PubSub {
    inner: aio::PubSub,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for PubSub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PubSub")
            .field("pool", &self.shared.name)
            .finish_non_exhaustive()
    }
}

impl PubSub {
    pub(super) fn new(inner: aio::PubSub, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }

    /// Subscribes to channels.
    ///
    /// # Errors
    /// Of redis-rs.
    pub async fn subscribe(&mut self, channels: impl ToRedisArgs) -> RedisResult<()> {
        self.inner.subscribe(channels).await
    }

    /// Subscribes to channels whose names match patterns.
    ///
    /// # Errors
    /// Of redis-rs.
    pub async fn psubscribe(&mut self, patterns: impl ToRedisArgs) -> RedisResult<()> {
        self.inner.psubscribe(patterns).await
    }

    /// Ends subscriptions to channels.
    ///
    /// # Errors
    /// Of redis-rs.
    pub async fn unsubscribe(&mut self, channels: impl ToRedisArgs) -> RedisResult<()> {
        self.inner.unsubscribe(channels).await
    }

    /// Ends subscriptions by patterns.
    ///
    /// # Errors
    /// Of redis-rs.
    pub async fn punsubscribe(&mut self, patterns: impl ToRedisArgs) -> RedisResult<()> {
        self.inner.punsubscribe(patterns).await
    }

    /// Messages as they come; it ends when the connection is lost.
    pub fn messages(&mut self) -> impl Stream<Item = Msg> + '_ {
        let pool = &*self.shared.name;
        self.inner.on_message().inspect(|_| count(pool))
    }

    /// Messages as they come, without further subscriptions; it ends when the connection is lost.
    pub fn into_messages(self) -> impl Stream<Item = Msg> {
        let shared = self.shared;
        let messages = self.inner.into_on_message();
        messages.inspect(move |_| count(&shared.name))
    }
}

fn count(pool: &str) {
    let direction = Direction::Received;
    RedisMessage { pool, direction }.add(1);
}
