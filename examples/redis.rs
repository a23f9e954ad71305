//! Redis behind a cache, recorded: `cargo run --example redis -- redis://localhost`, with Redis
//! there or not.

#[path = "common/page.rs"]
mod page;

use std::time::Duration;

use tachograph::instrumentation::cache::Cache;
use tachograph::instrumentation::redis::Redis;
use tachograph::instrumentation::redis::redis::AsyncCommands as _;
use tachograph::{Telemetry, TelemetryConfig};

/// What is slow, and worth being cached.
async fn look_up(user: &str) -> Result<String, std::io::Error> {
    tokio::time::sleep(Duration::from_millis(20)).await;
    Ok(format!("the profile of {user}"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1);
    let url = url.unwrap_or_else(|| "redis://localhost".to_owned());
    let telemetry = Telemetry::init(TelemetryConfig::from_env()?)?;
    let redis = Redis::builder(&url).name("main").build()?;
    redis.watch(&telemetry);
    let profiles: Cache<String> = Cache::builder("profiles")
        .redis(&redis, "profile:", Duration::from_secs(600))
        .build();
    profiles.watch(&telemetry);

    for user in ["ada", "grace", "ada"] {
        let profile = profiles.get_or_load(user, || look_up(user)).await;
        println!("{}", profile?);
    }
    match redis.get().await {
        Ok(mut con) => {
            let visits: u64 = con.incr("visits", 1).await?;
            println!("visit {visits}");
        }
        Err(error) => println!("not counted: {error}"),
    }
    page::print(&telemetry, &["redis_client_", "cache_"]).await?;
    telemetry.shutdown(Duration::from_secs(5))?;
    Ok(())
}
