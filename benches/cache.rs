//! What the read-through cache costs: a hit in memory beside bare moka, a hit in Redis beside a
//! bare `GET` that is decoded alike, over a Unix socket with a connection taken for each; without a
//! subscriber, as where no span is recorded, and a signal layer's installed metrics.
#![allow(clippy::unwrap_used)]

mod common;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Contender, measure};
use opentelemetry_sdk::Resource;
use tachograph::instrumentation::cache::Cache;
use tachograph::instrumentation::redis::Redis;
use tachograph::instrumentation::redis::redis::AsyncCommands as _;
use tachograph::pipeline::metrics::install;
use tachograph::signals::CATALOG;
use tokio::runtime::{Builder, Runtime};

/// As long as the benchmark takes, and longer.
const HOUR: Duration = Duration::from_secs(3600);
/// What the cache stands in front of is not to be measured.
const UNREACHABLE: &str = "it is in the cache";

/// Ends with the benchmark.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn in_memory(runtime: &Runtime) {
    let bare: moka::future::Cache<String, String> = moka::future::Cache::builder()
        .max_capacity(1 << 20)
        .weigher(|key: &String, value: &String| {
            u32::try_from(key.len() + value.len()).unwrap_or(u32::MAX)
        })
        .time_to_live(HOUR)
        .build();
    let ours: Cache<String> = Cache::builder("bench").time_to_live(HOUR).build();
    runtime.block_on(async {
        bare.insert("key".to_owned(), "value".to_owned()).await;
        ours.insert("key", "value".to_owned()).await.unwrap();
    });
    let results = measure(
        &mut [
            Contender::new("bare moka", |n| {
                runtime.block_on(async {
                    for _ in 0..n {
                        let value = bare.get("key").await.unwrap();
                        assert_eq!(value, "value");
                    }
                });
            }),
            Contender::new("ours, in memory", |n| {
                runtime.block_on(async {
                    for _ in 0..n {
                        let load = || async { Err::<String, _>(UNREACHABLE) };
                        let value = ours.get_or_load("key", load).await.unwrap();
                        assert_eq!(value, "value");
                    }
                });
            }),
        ],
        9,
        200_000,
    );
    results.print("a hit in memory", "ns", 1.0);
    let ratio = results.ratio("ours, in memory", "bare moka");
    println!("  ours / bare: {ratio:.3}");
}

fn in_redis(runtime: &Runtime, url: &str) {
    let bare = deadpool_redis::Config::from_url(url);
    let bare = bare
        .create_pool(Some(deadpool_redis::Runtime::Tokio1))
        .unwrap();
    let redis = Redis::builder(url).build().unwrap();
    // Nothing fits into memory, so that each hit is Redis's.
    let ours: Cache<String> = Cache::builder("bench")
        .max_bytes(0)
        .redis(&redis, "", HOUR)
        .build();
    let kept = runtime.block_on(ours.insert("key", "value".to_owned()));
    kept.unwrap();
    let results = measure(
        &mut [
            Contender::new("bare GET", |n| {
                runtime.block_on(async {
                    for _ in 0..n {
                        let mut con = bare.get().await.unwrap();
                        let value: Vec<u8> = con.get("key").await.unwrap();
                        let value: String = serde_json::from_slice(&value).unwrap();
                        assert_eq!(value, "value");
                    }
                });
            }),
            Contender::new("ours, in Redis", |n| {
                runtime.block_on(async {
                    for _ in 0..n {
                        let load = || async { Err::<String, _>(UNREACHABLE) };
                        let value = ours.get_or_load("key", load).await.unwrap();
                        assert_eq!(value, "value");
                    }
                });
            }),
        ],
        9,
        5_000,
    );
    results.print("a hit in Redis", "µs", 1_000.0);
    let ratio = results.ratio("ours, in Redis", "bare GET");
    println!("  ours / bare: {ratio:.3}");
}

fn main() {
    install(Resource::builder_empty().build(), CATALOG, false).unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    in_memory(&runtime);
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("redis.sock");
    let child = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--unixsocket"])
        .arg(&socket)
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .spawn();
    let Ok(child) = child else {
        println!("redis-server is not installed: apt-get install redis-server");
        return;
    };
    let _server = Server(child);
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    in_redis(&runtime, &format!("redis+unix://{}", socket.display()));
}
