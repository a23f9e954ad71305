//! The client and how it is made.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_redis::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, RedisError, RedisResult,
};
use deadpool_redis::{
    Manager, Pool, PoolConfig, PoolError, QueueMode, Runtime, TimeoutType, Timeouts,
};
use futures_util::FutureExt as _;
use tokio::time::timeout;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::address::address;
use super::asked::Wait;
use super::failure::{self, Health, Verdict};
use super::observed::Observed;
use super::{Breaker, BreakerConfig, Connection, Permit, PubSub};
use crate::catalog::ClosedLabel as _;
use crate::pipeline::Telemetry;
use crate::signals::redis::{
    Command, ConnectionState, RedisConnectionAcquire, RedisConnectionAcquireEnd, RedisOperation,
    RedisOperationEnd, RedisPoolConnections, RedisPoolMax, RedisPoolPending, RedisPoolSaturation,
    RedisStatus,
};

/// A client cannot be made as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("redis: `{field}`: {problem}")]
pub struct BuildError {
    /// What was given.
    pub field: &'static str,
    /// What is not accepted, and what would be.
    pub problem: String,
}

/// How a client is to be.
#[derive(Clone, Debug)]
#[must_use = "`build` makes the client"]
pub struct RedisBuilder {
    url: String,
    authorities: Option<Vec<u8>>,
    name: String,
    max_connections: usize,
    wait: Duration,
    connect: Duration,
    deadline: Duration,
    deadlines: Vec<(String, Duration)>,
    breaker: BreakerConfig,
}

impl RedisBuilder {
    /// Name of the pool and of its breaker on metrics; `main` unless given.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// PEM of the authorities that are trusted to know the server, instead of the system's; for
    /// `rediss://`.
    pub fn authorities(mut self, pem: &[u8]) -> Self {
        self.authorities = Some(pem.to_owned());
        self
    }

    /// Connections at most, 1 to 10,000; 16 unless given.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// How long [`Redis::get`] waits for a connection that others have; 1 s unless given.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// How long opening a connection may take; 1 s unless given.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect = timeout;
        self
    }

    /// How long a command may take; 500 ms unless given. Commands that block (`BLPOP`, `XREAD`
    /// with `BLOCK`, …) may take as much longer as they ask for.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long this command may take, such as `EVALSHA`; `PIPELINE` and `MULTI` for several
    /// sent together.
    pub fn deadline_of(mut self, command: &str, deadline: Duration) -> Self {
        self.deadlines.push((command.to_owned(), deadline));
        self
    }

    /// When the circuit breaker opens, and for how long.
    pub fn breaker(mut self, breaker: BreakerConfig) -> Self {
        self.breaker = breaker;
        self
    }

    /// The client. Nothing is connected yet: Redis may come later.
    ///
    /// # Errors
    /// What is not accepted.
    pub fn build(self) -> Result<Redis, BuildError> {
        let refused = |problem: String| BuildError {
            field: "url",
            problem,
        };
        let info = address(&self.url, self.authorities.as_deref()).map_err(refused)?;
        let (server, port) = match info.addr() {
            ConnectionAddr::Unix(path) => (path.display().to_string(), None),
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                (host.clone(), Some(i64::from(*port)))
            }
            // redis-rs may learn of more.
            other => return Err(refused(format!("`{other}` is not supported"))),
        };
        self.check()?;
        let namespace = info.redis_settings().db().to_string();
        let unusable = |error: RedisError| refused(error.to_string());
        let client = Client::open(info.clone()).map_err(unusable)?;
        let connection = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect))
            // Each command has its own deadline.
            .set_response_timeout(None);
        let manager = Manager::new_with_config(info, connection).map_err(unusable)?;
        let timeouts = Timeouts {
            wait: Some(self.wait),
            create: Some(self.connect),
            recycle: Some(self.deadline),
        };
        let pool = Pool::builder(manager)
            .config(PoolConfig {
                max_size: self.max_connections,
                timeouts,
                queue_mode: QueueMode::Lifo,
            })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| refused(error.to_string()))?;
        let mut deadlines = vec![None; Command::VALUES.len()].into_boxed_slice();
        for (name, deadline) in &self.deadlines {
            let command = known(name)?;
            deadlines[usize::from(command.index())] = Some(*deadline);
        }
        Ok(Redis(Arc::new(Shared {
            breaker: Breaker::new(&self.name, self.breaker),
            name: self.name,
            namespace,
            server,
            port,
            pool,
            client,
            acquire: self.wait.saturating_add(self.connect),
            connect: self.connect,
            deadline: self.deadline,
            deadlines,
        })))
    }

    fn check(&self) -> Result<(), BuildError> {
        if !(1..=10_000).contains(&self.max_connections) {
            return Err(BuildError {
                field: "max_connections",
                problem: format!(
                    "`{}` is not accepted; accepted: 1 to 10000",
                    self.max_connections
                ),
            });
        }
        let named = [("name", self.name.is_empty(), "a name")];
        let zero = [
            ("wait", self.wait.is_zero()),
            ("connect_timeout", self.connect.is_zero()),
            ("deadline", self.deadline.is_zero()),
        ];
        let zero = zero.map(|(field, zero)| (field, zero, "more than 0"));
        match named.into_iter().chain(zero).find(|(_, bad, _)| *bad) {
            None => Ok(()),
            Some((field, _, accepted)) => Err(BuildError {
                field,
                problem: format!("nothing is not accepted; accepted: {accepted}"),
            }),
        }
    }
}

fn known(name: &str) -> Result<Command, BuildError> {
    let upper = name.to_ascii_uppercase();
    Command::parse(&upper).ok_or_else(|| BuildError {
        field: "deadline_of",
        problem: format!(
            "`{name}` is not a command that is told apart; accepted: {}",
            Command::VALUES.join(", ")
        ),
    })
}

/// A client of Redis with a pool of connections; cheap to clone.
#[derive(Clone)]
pub struct Redis(Arc<Shared>);

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis")
            .field("name", &self.0.name)
            .field("server", &self.0.server)
            .finish_non_exhaustive()
    }
}

impl Redis {
    /// A client of the server and database that a URL names.
    pub fn builder(url: &str) -> RedisBuilder {
        RedisBuilder {
            url: url.to_owned(),
            authorities: None,
            name: "main".to_owned(),
            max_connections: 16,
            wait: Duration::from_secs(1),
            connect: Duration::from_secs(1),
            deadline: Duration::from_millis(500),
            deadlines: Vec::new(),
            breaker: BreakerConfig::default(),
        }
    }

    /// A connection; it goes back to the pool when it is dropped.
    ///
    /// # Errors
    /// None was free in time, none could be opened, or the circuit breaker is open.
    pub async fn get(&self) -> RedisResult<Connection> {
        let inner = self.0.acquire().await.map_err(|(_, error)| error)?;
        Ok(Connection::new(inner, Arc::clone(&self.0)))
    }

    /// A connection of its own, outside of the pool, for messages of channels.
    ///
    /// # Errors
    /// It could not be opened, or the circuit breaker is open.
    pub async fn pubsub(&self) -> RedisResult<PubSub> {
        let shared = &self.0;
        let opening = async {
            match timeout(shared.connect, shared.client.get_async_pubsub()).await {
                Ok(result) => result.map_err(PoolError::Backend),
                Err(_) => Err(PoolError::Timeout(TimeoutType::Create)),
            }
        };
        let opening = opening.boxed();
        let inner = shared.connected(opening).await.map_err(|(_, e)| e)?;
        Ok(PubSub::new(inner, Arc::clone(shared)))
    }

    /// Its circuit breaker.
    #[must_use]
    pub fn breaker(&self) -> &Breaker {
        &self.0.breaker
    }

    /// Puts the pool and the breaker on the page, as they are now.
    pub fn report(&self) {
        self.0.report();
    }

    /// Has [`report`](Self::report) called whenever metrics are read, until the last clone is
    /// gone.
    pub fn watch(&self, telemetry: &Telemetry) {
        let Some(collector) = telemetry.collector() else {
            return;
        };
        let weak = Arc::downgrade(&self.0);
        let (name, breaker) = (self.0.name.clone(), self.0.breaker.clone());
        collector.before_collect(move || match weak.upgrade() {
            Some(shared) => shared.report(),
            None => forget(&name, &breaker),
        });
    }
}

/// Takes what is not known any more off the page.
fn forget(pool: &str, breaker: &Breaker) {
    for state in [ConnectionState::Idle, ConnectionState::Used] {
        RedisPoolConnections { pool, state }.remove();
    }
    RedisPoolMax { pool }.remove();
    RedisPoolPending { pool }.remove();
    RedisPoolSaturation { pool }.remove();
    breaker.forget();
}

/// What the clones of a client share.
pub(super) struct Shared {
    pub(super) name: String,
    /// Index of the database of the URL.
    pub(super) namespace: String,
    server: String,
    port: Option<i64>,
    pool: Pool,
    client: Client,
    /// How long getting a connection may take in all.
    acquire: Duration,
    connect: Duration,
    deadline: Duration,
    /// By command, in the order of [`Command::VALUES`].
    deadlines: Box<[Option<Duration>]>,
    pub(super) breaker: Breaker,
}

impl Shared {
    /// How long a command may take; `None`: as long as it likes.
    pub(super) fn deadline(&self, command: Command, wait: Wait) -> Option<Duration> {
        let own = self.deadlines[usize::from(command.index())];
        match (own, wait) {
            (Some(own), _) => Some(own),
            (None, Wait::No) => Some(self.deadline),
            (None, Wait::For(longer)) => Some(self.deadline.saturating_add(longer)),
            (None, Wait::Forever) => None,
        }
    }

    /// How long several commands sent together may take.
    pub(super) fn deadline_together(&self, command: Command) -> Duration {
        self.deadlines[usize::from(command.index())].unwrap_or(self.deadline)
    }

    pub(super) async fn acquire(
        &self,
    ) -> Result<deadpool_redis::Connection, (Verdict, RedisError)> {
        let getting = async {
            // Each connection that has gone bad is looked at in turn.
            match timeout(self.acquire, self.pool.get()).await {
                Ok(result) => result,
                Err(_) => Err(PoolError::Timeout(TimeoutType::Create)),
            }
        };
        // Boxed, or the types of callers' futures grow past what the compiler takes.
        self.connected(getting.boxed()).await
    }

    /// Gets a connection in some way, recorded and through the breaker.
    async fn connected<C>(
        &self,
        getting: impl Future<Output = Result<C, PoolError>>,
    ) -> Result<C, (Verdict, RedisError)> {
        let span = tracing::info_span!(
            target: "tachograph::signal",
            "redis.connection.acquire",
            "db.client.connection.pool.name" = self.name,
            status = Empty,
            "error.type" = Empty,
            otel.status_code = Empty,
        );
        let observed = Observed::new(span, |status, error, took| {
            let end = RedisConnectionAcquireEnd { status, error };
            RedisConnectionAcquire { pool: &self.name }.record(end, took);
        });
        let Some(permit) = self.breaker.admit(Instant::now()) else {
            let verdict = Verdict::rejected();
            observed.settle(&verdict);
            return Err((verdict, failure::circuit_open()));
        };
        let result = getting.instrument(observed.span().clone()).await;
        let verdict = Verdict::of_pool(&result);
        settle(permit, verdict.health);
        observed.settle(&verdict);
        result.map_err(|error| (verdict, failure::of_pool(error)))
    }

    /// Begins to observe a command, or so many together, in a database.
    pub(super) fn observe(
        &self,
        operation: Command,
        namespace: &str,
        batch: Option<usize>,
    ) -> Observed<impl Fn(RedisStatus, &str, Duration)> {
        let span = tracing::info_span!(
            target: "tachograph::signal",
            "redis.operation",
            otel.name = format_args!("{} {namespace}", operation.as_str()),
            otel.kind = "client",
            otel.status_code = Empty,
            "db.system.name" = "redis",
            "db.namespace" = namespace,
            "db.operation.name" = operation.as_str(),
            "db.operation.batch.size" = batch.map(|batch| batch as u64),
            "db.client.connection.pool.name" = self.name,
            "server.address" = self.server,
            "server.port" = self.port,
            status = Empty,
            "error.type" = Empty,
        );
        let batch = batch.map(|batch| batch as f64);
        Observed::new(span, move |status, error, took| {
            let operation = RedisOperation {
                pool: &self.name,
                namespace,
                operation,
            };
            let end = RedisOperationEnd {
                status,
                error,
                batch,
            };
            operation.record(end, took);
        })
    }

    fn report(&self) {
        let pool = &*self.name;
        let status = self.pool.status();
        let used = status.size.saturating_sub(status.available);
        let count = |count: usize| count as f64;
        for (state, connections) in [
            (ConnectionState::Idle, status.available),
            (ConnectionState::Used, used),
        ] {
            RedisPoolConnections { pool, state }.set(count(connections));
        }
        RedisPoolMax { pool }.set(count(status.max_size));
        RedisPoolPending { pool }.set(count(status.waiting));
        if status.max_size > 0 {
            RedisPoolSaturation { pool }.set(count(used) / count(status.max_size));
        }
        self.breaker.report();
    }
}

/// Tells the breaker what an end says about Redis.
pub(super) fn settle(permit: Permit<'_>, health: Health) {
    match health {
        Health::Answers => permit.succeeded(),
        Health::Fails => permit.failed(Instant::now()),
        Health::Unknown => drop(permit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_accepted_is_named_and_passwords_are_not() {
        for (builder, field) in [
            (Redis::builder("redis://:hunter2@"), "url"),
            (
                Redis::builder("rediss://:hunter2@localhost").authorities(b"none"),
                "url",
            ),
            (Redis::builder("http://:hunter2@localhost"), "url"),
            (
                Redis::builder("redis://localhost").max_connections(0),
                "max_connections",
            ),
            (Redis::builder("redis://localhost").name(""), "name"),
            (
                Redis::builder("redis://localhost").deadline(Duration::ZERO),
                "deadline",
            ),
            (
                Redis::builder("redis://localhost").deadline_of("GTE", Duration::from_secs(1)),
                "deadline_of",
            ),
        ] {
            let error = builder.build().unwrap_err();
            assert_eq!(error.field, field);
            let said = error.to_string();
            assert!(
                said.contains("accepted: ") && !said.contains("hunter2"),
                "{said}"
            );
        }
        let secure = Redis::builder("rediss://:hunter2@localhost").build();
        assert!(!format!("{:?}", secure.unwrap()).contains("hunter2"));
    }

    #[test]
    fn a_command_has_its_own_deadline_or_the_common_one_and_what_it_waits() {
        use super::super::asked;
        use deadpool_redis::redis::{Cmd, cmd};
        let second = Duration::from_secs(1);
        let redis = Redis::builder("redis://localhost")
            .deadline(second)
            .deadline_of("evalsha", second * 9)
            .build()
            .unwrap();
        let deadline = |cmd: &Cmd| {
            let command = asked::command(cmd);
            redis.0.deadline(command, asked::wait(cmd, command))
        };
        assert_eq!(deadline(cmd("GET").arg("a")), Some(second));
        assert_eq!(deadline(cmd("EVALSHA").arg("a")), Some(second * 9));
        assert_eq!(deadline(cmd("BLPOP").arg("a").arg(4)), Some(second * 5));
        assert_eq!(deadline(cmd("BLPOP").arg("a").arg(0)), None);
    }
}
