//! What the client of Redis costs beside bare deadpool-redis: a `GET` over a Unix socket, with a
//! connection taken for each and with one that is kept; without a subscriber, as where no span
//! is recorded, and a signal layer's installed metrics.
#![allow(clippy::unwrap_used)]

mod common;

use std::process::{Child, Command, Stdio};

use common::{Contender, measure};
use opentelemetry_sdk::Resource;
use tachograph::instrumentation::redis::Redis;
use tachograph::instrumentation::redis::redis::AsyncCommands;
use tachograph::pipeline::metrics::install;
use tachograph::signals::CATALOG;
use tokio::runtime::Builder;

/// Ends with the benchmark.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn get(con: &mut impl AsyncCommands) {
    let value: String = con.get("key").await.unwrap();
    assert_eq!(value, "value");
}

fn main() {
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
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    install(Resource::builder_empty().build(), CATALOG, false).unwrap();
    let url = format!("redis+unix://{}", socket.display());
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let bare = deadpool_redis::Config::from_url(&url);
    let bare = bare
        .create_pool(Some(deadpool_redis::Runtime::Tokio1))
        .unwrap();
    let ours = Redis::builder(&url).build().unwrap();
    let (mut bare_kept, mut ours_kept) = runtime.block_on(async {
        let mut con = bare.get().await.unwrap();
        con.set::<_, _, ()>("key", "value").await.unwrap();
        (con, ours.get().await.unwrap())
    });
    let results = measure(
        &mut [
            Contender::new("bare, kept", |n| {
                runtime.block_on(async {
                    for _ in 0..n {
                        get(&mut bare_kept).await;
                    }
                });
            }),
            Contender::new("ours, kept", |n| {
                runtime.block_on(async {
                    for _ in 0..n {
                        get(&mut ours_kept).await;
                    }
                });
            }),
            Contender::new("bare, taken", |n| {
                runtime.block_on(async {
                    for _ in 0..n {
                        get(&mut bare.get().await.unwrap()).await;
                    }
                });
            }),
            Contender::new("ours, taken", |n| {
                runtime.block_on(async {
                    for _ in 0..n {
                        get(&mut ours.get().await.unwrap()).await;
                    }
                });
            }),
        ],
        9,
        5_000,
    );
    results.print("GET", "µs", 1_000.0);
    for (ours, bare) in [("ours, kept", "bare, kept"), ("ours, taken", "bare, taken")] {
        println!("  {ours} / {bare}: {:.3}", results.ratio(ours, bare));
    }
}
