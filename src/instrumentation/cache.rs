//! A read-through cache: in the process, with Redis behind it.
//!
//! [`Cache::get_or_load`] looks into memory, then into Redis, and then loads, once however many
//! ask at the same time. What is loaded is kept in both. Redis away: loading goes on without it,
//! which is counted. What the cache does is recorded as
//! [`signals::cache`](crate::signals::cache).
//!
//! ```
//! use std::time::Duration;
//! use tachograph::instrumentation::cache::Cache;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let cache: Cache<String> = Cache::builder("greetings")
//!     .max_bytes(1 << 20)
//!     .time_to_live(Duration::from_secs(60))
//!     .build();
//! let load = || async { Ok::<_, std::io::Error>("hello".to_owned()) };
//! let greeting = cache.get_or_load("en", load).await.unwrap();
//! assert_eq!(greeting, "hello");
//! # }
//! ```

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use deadpool_redis::redis::{AsyncCommands as _, RedisError};
use futures_util::FutureExt as _;
use moka::notification::RemovalCause;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::Instrument as _;

use super::redis::Redis;
use crate::pipeline::Telemetry;
use crate::signals::cache::{
    CacheEntries, CacheEviction, CacheOperation, CacheOperationEnd, CacheOperationName,
    CacheRequest, CacheResult, CacheSize, CacheStatus, CacheTier, CacheTierRequest, EvictionReason,
    TierResult,
};

/// Redis could not be told of a change. In memory it was made; what Redis had before may be found
/// again, here when memory's time is over, and by others.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The value cannot be written as JSON.
    #[error("the value cannot be written as JSON: {0}")]
    Encode(#[from] serde_json::Error),
    /// Redis is away, or refused.
    #[error("redis: {0}")]
    Redis(#[from] RedisError),
}

/// How a cache is to be.
#[derive(Clone, Debug)]
#[must_use = "`build` makes the cache"]
pub struct CacheBuilder<V> {
    name: String,
    max_bytes: u64,
    time_to_live: Duration,
    redis: Option<Behind>,
    value: PhantomData<fn() -> V>,
}

/// Redis, and how things are kept there.
#[derive(Clone, Debug)]
struct Behind {
    redis: Redis,
    prefix: String,
    time_to_live: Duration,
}

impl<V> CacheBuilder<V>
where
    V: Clone + Send + Sync + Serialize + DeserializeOwned + 'static,
{
    /// What it may hold in memory: bytes of keys and of values encoded as JSON, with a hundred
    /// for each entry; 64 MiB unless given. What is larger alone is not kept.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// How long things are kept in memory; 60 s unless given. What comes from Redis may have been
    /// there as long as it is kept there.
    pub fn time_to_live(mut self, time: Duration) -> Self {
        self.time_to_live = time;
        self
    }

    /// Redis behind it, where keys stand below `prefix` and things are kept this long.
    pub fn redis(mut self, redis: &Redis, prefix: &str, time_to_live: Duration) -> Self {
        self.redis = Some(Behind {
            redis: redis.clone(),
            prefix: prefix.to_owned(),
            // Redis refuses to keep something for no time.
            time_to_live: time_to_live.max(Duration::from_millis(1)),
        });
        self
    }

    /// The cache.
    #[must_use]
    pub fn build(self) -> Cache<V> {
        let name: Arc<str> = self.name.into();
        let cache = Arc::clone(&name);
        let evicted = move |_: Arc<String>, _: Entry<V>, cause: RemovalCause| {
            let reason = match cause {
                RemovalCause::Expired => EvictionReason::Expired,
                RemovalCause::Size => EvictionReason::Size,
                RemovalCause::Explicit | RemovalCause::Replaced => return,
            };
            CacheEviction {
                cache: &cache,
                reason,
            }
            .add(1);
        };
        let memory = moka::future::Cache::builder()
            .max_capacity(self.max_bytes)
            .weigher(|key: &String, entry: &Entry<V>| {
                let bytes = key.len().saturating_add(entry.bytes);
                u32::try_from(bytes.saturating_add(ENTRY)).unwrap_or(u32::MAX)
            })
            .time_to_live(self.time_to_live)
            .eviction_listener(evicted)
            .build();
        Cache(Arc::new(Shared {
            name,
            memory,
            behind: self.redis,
        }))
    }
}

/// What an entry takes in memory beside its key and value, about.
const ENTRY: usize = 100;

#[derive(Clone)]
struct Entry<V> {
    value: V,
    /// Of its encoded form.
    bytes: usize,
}

struct Shared<V: Clone + Send + Sync + 'static> {
    name: Arc<str>,
    memory: moka::future::Cache<String, Entry<V>>,
    behind: Option<Behind>,
}

/// A read-through cache; cheap to clone.
#[derive(Clone)]
pub struct Cache<V: Clone + Send + Sync + 'static>(Arc<Shared<V>>);

impl<V: Clone + Send + Sync + 'static> std::fmt::Debug for Cache<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache")
            .field("name", &self.0.name)
            .finish_non_exhaustive()
    }
}

/// Something asked of a cache that is under way; abandoned unless somebody says how it ended.
struct Asked<'a> {
    operation: CacheOperation<'a>,
    start: Instant,
    ended: bool,
}

impl Asked<'_> {
    fn end(mut self, status: CacheStatus) {
        self.ended = true;
        self.record(status);
    }

    fn record(&self, status: CacheStatus) {
        let took = self.start.elapsed();
        self.operation.record(CacheOperationEnd { status }, took);
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.record(CacheStatus::Abandoned);
        }
    }
}

impl<V> Cache<V>
where
    V: Clone + Send + Sync + Serialize + DeserializeOwned + 'static,
{
    /// A cache of this name, which stands on its metrics.
    pub fn builder(name: &str) -> CacheBuilder<V> {
        CacheBuilder {
            name: name.to_owned(),
            max_bytes: 64 << 20,
            time_to_live: Duration::from_secs(60),
            redis: None,
            value: PhantomData,
        }
    }

    /// What is cached under a key, or else what `load` gives, which is kept. Of those that ask at
    /// the same time one loads, and the others wait for it.
    ///
    /// # Errors
    /// Of `load`, for all who waited for it. Nothing is kept then.
    pub async fn get_or_load<E, F>(&self, key: &str, load: impl FnOnce() -> F) -> Result<V, Arc<E>>
    where
        E: Send + Sync + 'static,
        F: Future<Output = Result<V, E>>,
    {
        let shared = &self.0;
        let asked = shared.begin(CacheOperationName::Get);
        if let Some(entry) = shared.memory.get(key).await {
            shared.asked(CacheTier::Memory, CacheOperationName::Get, TierResult::Hit);
            shared.result(CacheResult::Hit);
            asked.end(CacheStatus::Success);
            return Ok(entry.value);
        }
        shared.asked(CacheTier::Memory, CacheOperationName::Get, TierResult::Miss);
        // Who waits for another's load misses as well.
        let found_behind = AtomicBool::new(false);
        let fetching = async {
            if let Some(entry) = shared.look_behind(key).await {
                found_behind.store(true, Ordering::Relaxed);
                return Ok(entry);
            }
            let value = load().await?;
            // What Redis does not have is loaded again.
            Ok(shared.keep_behind(key, value).await.0)
        };
        // Of those who wait the span is that of the one who loads.
        let fetching = async {
            let span = tracing::info_span!("cache.load", "cache.name" = &*shared.name);
            fetching.instrument(span).await
        };
        // Boxed, or the types of callers' futures grow past what the compiler takes.
        let fetching = Box::pin(fetching);
        let fetched = Box::pin(shared.memory.try_get_with_by_ref(key, fetching)).await;
        shared.result(match found_behind.into_inner() {
            true => CacheResult::Hit,
            false => CacheResult::Miss,
        });
        asked.end(match fetched {
            Ok(_) => CacheStatus::Success,
            Err(_) => CacheStatus::Failed,
        });
        fetched.map(|entry| entry.value)
    }

    /// Keeps a value, in memory and in Redis.
    ///
    /// # Errors
    /// It is in memory and not in Redis.
    pub async fn insert(&self, key: &str, value: V) -> Result<(), ChangeError> {
        let shared = &self.0;
        let asked = shared.begin(CacheOperationName::Set);
        let (entry, kept) = shared.keep_behind(key, value).await;
        shared.memory.insert(key.to_owned(), entry).await;
        shared.asked(CacheTier::Memory, CacheOperationName::Set, TierResult::Done);
        asked.end(changed(&kept));
        kept
    }

    /// Forgets what is kept under a key, here and in Redis. Other processes have it in memory
    /// until its time is over.
    ///
    /// # Errors
    /// It is forgotten here, and Redis may have it still.
    pub async fn remove(&self, key: &str) -> Result<(), ChangeError> {
        let shared = &self.0;
        let delete = CacheOperationName::Delete;
        let asked = shared.begin(delete);
        // Redis first: who loads in between must not find there what is to be forgotten.
        let mut forgotten = Ok(());
        if let Some(behind) = &shared.behind {
            forgotten = behind.forget(key).await.map_err(ChangeError::from);
            shared.asked(CacheTier::Redis, delete, done(forgotten.is_ok()));
        }
        shared.memory.invalidate(key).await;
        shared.asked(CacheTier::Memory, delete, TierResult::Done);
        asked.end(changed(&forgotten));
        forgotten
    }

    /// Puts its size on the page, as it is now.
    pub fn report(&self) {
        // A cache that nobody uses counts nothing by itself. If somebody is at it, it is counted.
        let _ = self.tidy().now_or_never();
        let cache = &*self.0.name;
        CacheSize { cache }.set(self.0.memory.weighted_size() as f64);
        CacheEntries { cache }.set(self.0.memory.entry_count() as f64);
    }

    /// Has [`report`](Self::report) called whenever metrics are read, until the last clone is
    /// gone.
    pub fn watch(&self, telemetry: &Telemetry) {
        let Some(collector) = telemetry.collector() else {
            return;
        };
        let weak = Arc::downgrade(&self.0);
        let name = Arc::clone(&self.0.name);
        collector.before_collect(move || match weak.upgrade() {
            Some(shared) => Self(shared).report(),
            None => {
                CacheSize { cache: &name }.remove();
                CacheEntries { cache: &name }.remove();
            }
        });
    }

    /// Does now what is otherwise done in passing: counts what is kept, and removes what has
    /// expired or has no room.
    pub async fn tidy(&self) {
        self.0.memory.run_pending_tasks().await;
    }
}

fn done(done: bool) -> TierResult {
    match done {
        true => TierResult::Done,
        false => TierResult::Failed,
    }
}

fn changed(change: &Result<(), ChangeError>) -> CacheStatus {
    match change {
        Ok(()) => CacheStatus::Success,
        Err(_) => CacheStatus::Failed,
    }
}

impl Behind {
    async fn keep(&self, key: &str, encoded: Vec<u8>) -> Result<(), RedisError> {
        let millis = u64::try_from(self.time_to_live.as_millis()).unwrap_or(u64::MAX);
        let mut con = self.redis.get().await?;
        con.pset_ex(self.key(key), encoded, millis).await
    }

    async fn forget(&self, key: &str) -> Result<(), RedisError> {
        let mut con = self.redis.get().await?;
        con.del(self.key(key)).await
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

impl<V> Shared<V>
where
    V: Clone + Send + Sync + Serialize + DeserializeOwned + 'static,
{
    fn begin(&self, operation: CacheOperationName) -> Asked<'_> {
        let cache = &*self.name;
        Asked {
            operation: CacheOperation { cache, operation },
            start: Instant::now(),
            ended: false,
        }
    }

    fn asked(&self, tier: CacheTier, operation: CacheOperationName, result: TierResult) {
        let cache = &*self.name;
        CacheTierRequest {
            cache,
            tier,
            operation,
            result,
        }
        .add(1);
    }

    fn result(&self, result: CacheResult) {
        let cache = &*self.name;
        CacheRequest { cache, result }.add(1);
    }

    /// What Redis has, if it is there and can be read.
    async fn look_behind(&self, key: &str) -> Option<Entry<V>> {
        let behind = self.behind.as_ref()?;
        let found: Result<Option<Vec<u8>>, ()> = async {
            let mut con = behind.redis.get().await.map_err(drop)?;
            con.get(behind.key(key)).await.map_err(drop)
        }
        .await;
        let read = |bytes: Vec<u8>| {
            let value = serde_json::from_slice(&bytes).map_err(drop)?;
            let bytes = bytes.len();
            Ok(Entry { value, bytes })
        };
        let found = found.and_then(|found| found.map(read).transpose());
        let result = match &found {
            Ok(Some(_)) => TierResult::Hit,
            Ok(None) => TierResult::Miss,
            Err(()) => TierResult::Failed,
        };
        self.asked(CacheTier::Redis, CacheOperationName::Get, result);
        found.ok().flatten()
    }

    /// Keeps a value in Redis, if there is one: the entry for memory, and whether it could be.
    async fn keep_behind(&self, key: &str, value: V) -> (Entry<V>, Result<(), ChangeError>) {
        let encoded = serde_json::to_vec(&value);
        let bytes = encoded.as_ref().map_or(0, Vec::len);
        let entry = Entry { value, bytes };
        let Some(behind) = &self.behind else {
            return (entry, Ok(()));
        };
        let kept = match encoded {
            Ok(encoded) => behind.keep(key, encoded).await.map_err(ChangeError::from),
            Err(error) => Err(error.into()),
        };
        self.asked(
            CacheTier::Redis,
            CacheOperationName::Set,
            done(kept.is_ok()),
        );
        (entry, kept)
    }
}
