//! A connection of a pool.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_redis::redis::aio::{ConnectionLike, MultiplexedConnection};
use deadpool_redis::redis::{Cmd, Pipeline, RedisError, RedisFuture, RedisResult, Value};
use futures_util::FutureExt as _;
use std::future::Future;
use tokio::time::timeout;
use tracing::Instrument as _;

use super::client::{Shared, settle};
use super::failure::{self, Verdict};
use super::{Permit, asked};
use crate::signals::redis::{Direction, RedisMessage, RedisStatus};

/// A connection of a [`Redis`](super::Redis), to be used like any of redis-rs' own.
///
/// One that was lost is replaced by another of the pool with the next command, so that it may be
/// kept. What a command left on the server's side of the connection (`WATCH`, `SELECT`,
/// `CLIENT …`) is gone then. After `SELECT` the database on metrics and spans is the one selected,
/// and the connection does not go back to the pool, where others expect the one of the URL. Nor
/// does one whose caller went away, or whose time was over, while Redis held it up (`BLPOP`): it is
/// ended, so that nothing is taken for a caller who is gone.
pub struct Connection {
    /// None after it was lost.
    inner: Option<deadpool_redis::Connection>,
    /// The database that was selected; none: that of the client's URL.
    selected: Option<Arc<str>>,
    /// Whether the answer to a command that [lingers](asked::lingers) was not waited for.
    lingering: bool,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("pool", &self.shared.name)
            .finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(inner: deadpool_redis::Connection, shared: Arc<Shared>) -> Self {
        Self {
            inner: Some(inner),
            selected: None,
            lingering: false,
            shared,
        }
    }

    /// The connection, a new one if it was lost, and leave to use it.
    async fn ready<'c>(
        inner: &'c mut Option<deadpool_redis::Connection>,
        shared: &'c Shared,
    ) -> Result<(&'c mut MultiplexedConnection, Permit<'c>), (Verdict, RedisError)> {
        if inner.is_none() {
            *inner = Some(shared.acquire().await?);
        }
        let permit = shared.breaker.admit(Instant::now());
        match (inner, permit) {
            (Some(connection), Some(permit)) => Ok((connection, permit)),
            _ => Err((Verdict::rejected(), failure::circuit_open())),
        }
    }

    async fn one(&mut self, cmd: &Cmd) -> RedisResult<Value> {
        let shared = Arc::clone(&self.shared);
        let command = asked::command(cmd);
        let wait = asked::wait(cmd, command);
        self.begin(asked::lingers(cmd, wait));
        let namespace = self.selected.clone();
        let namespace = namespace.as_deref().unwrap_or(&shared.namespace);
        let observed = shared.observe(command, namespace, None);
        let span = observed.span().clone();
        let answer = async {
            let (connection, permit) = Self::ready(&mut self.inner, &shared).await?;
            let deadline = shared.deadline(command, wait);
            let answer = within(deadline, connection.send_packed_command(cmd)).await;
            let verdict = Verdict::of_answer(&answer);
            settle(permit, verdict.health);
            Ok((answer, verdict))
        };
        let (answer, verdict) = answer.instrument(span).await.unwrap_or_else(refused);
        let published = u64::from(asked::publishes(command));
        self.settle(&answer, &verdict, published);
        self.follow(asked::selects(cmd), &verdict);
        observed.settle(&verdict);
        answer
    }

    async fn several(
        &mut self,
        pipeline: &Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        let shared = Arc::clone(&self.shared);
        let command = asked::together(pipeline);
        let (mut lingers, mut published) = (false, 0);
        for cmd in pipeline.cmd_iter() {
            let command = asked::command(cmd);
            lingers |= asked::lingers(cmd, asked::wait(cmd, command));
            published += u64::from(asked::publishes(command));
        }
        self.begin(lingers);
        let namespace = self.selected.clone();
        let namespace = namespace.as_deref().unwrap_or(&shared.namespace);
        let observed = shared.observe(command, namespace, Some(pipeline.len()));
        let span = observed.span().clone();
        let answers = async {
            let (connection, permit) = Self::ready(&mut self.inner, &shared).await?;
            let deadline = Some(shared.deadline_together(command));
            let sending = connection.send_packed_commands(pipeline, offset, count);
            let answers = within(deadline, sending).await;
            let verdict = Verdict::of_answers(&answers);
            settle(permit, verdict.health);
            Ok((answers, verdict))
        };
        let (answers, verdict) = answers.instrument(span).await.unwrap_or_else(refused);
        self.settle(&answers, &verdict, published);
        self.follow(
            pipeline.cmd_iter().filter_map(asked::selects).last(),
            &verdict,
        );
        observed.settle(&verdict);
        answers
    }

    /// Before a command is sent, of which it is known whether it lingers.
    fn begin(&mut self, lingers: bool) {
        if self.lingering {
            self.leave();
        }
        self.lingering = lingers;
    }

    fn settle<T>(&mut self, answer: &RedisResult<T>, verdict: &Verdict, published: u64) {
        if published > 0 && verdict.status == RedisStatus::Success {
            let (pool, direction) = (&*self.shared.name, Direction::Published);
            RedisMessage { pool, direction }.add(published);
        }
        if answer.as_ref().is_err_and(failure::is_lost) {
            // The pool finds out that it is lost, and opens another when one is needed.
            (self.inner, self.selected) = (None, None);
        }
        self.lingering &= verdict.status == RedisStatus::Timeout;
    }

    /// Takes note of which database the connection is in, if it was told to change it.
    fn follow(&mut self, selects: Option<u32>, verdict: &Verdict) {
        let Some(database) = selects else {
            return;
        };
        self.selected = Some(database.to_string().into());
        if verdict.status != RedisStatus::Success {
            // It may be in either: the next command takes one that is in the URL's.
            self.leave();
        }
    }

    /// Ends a connection that is in another database than others expect, or held up.
    fn leave(&mut self) {
        let selected = self.selected.take().is_some();
        if (std::mem::take(&mut self.lingering) || selected)
            && let Some(inner) = self.inner.take()
        {
            drop(deadpool_redis::Connection::take(inner));
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.leave();
    }
}

/// What was not sent.
fn refused<T>((verdict, error): (Verdict, RedisError)) -> (RedisResult<T>, Verdict) {
    (Err(error), verdict)
}

/// An answer by the deadline, or an error that says there was none. The connection stays: what
/// comes later is not mistaken for another answer.
async fn within<T>(
    deadline: Option<Duration>,
    answer: impl Future<Output = RedisResult<T>>,
) -> RedisResult<T> {
    let Some(deadline) = deadline else {
        return answer.await;
    };
    timeout(deadline, answer)
        .await
        .unwrap_or_else(|_| Err(failure::no_answer()))
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        self.one(cmd).boxed()
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.several(pipeline, offset, count).boxed()
    }

    fn get_db(&self) -> i64 {
        let selected = self
            .selected
            .as_deref()
            .and_then(|index| index.parse().ok());
        let own = || self.inner.as_ref().map_or(0, ConnectionLike::get_db);
        selected.unwrap_or_else(own)
    }
}
