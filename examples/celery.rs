//! Celery on Redis, listened to in a program of one's own.
//!
//! ```text
//! cargo run --example celery -- redis://localhost/0 30
//! ```
//!
//! Listens for so many seconds, with Redis and workers there or not, and prints what the metrics
//! page shows of Celery then.

#[path = "common/page.rs"]
mod page;

use std::error::Error;
use std::time::Duration;

use tachograph::collectors::Supervised;
use tachograph::collectors::celery::{Celery, CeleryConfig};
use tachograph::{Telemetry, TelemetryConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next();
    let url = url.unwrap_or_else(|| "redis://localhost/0".to_owned());
    let seconds: u64 = arguments.next().as_deref().unwrap_or("30").parse()?;
    let telemetry = Telemetry::init(TelemetryConfig::from_env()?)?;
    let config = CeleryConfig {
        url: Some(url),
        interval: Duration::from_secs(1),
        ..CeleryConfig::default()
    };
    let collector = Celery::new(&config)?.map(Supervised::start).transpose()?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;

    page::print(&telemetry, &["celery_"]).await?;
    if let Some(collector) = collector {
        collector.shutdown(Duration::from_secs(5)).await;
    }
    telemetry.shutdown(Duration::from_secs(5))?;
    Ok(())
}
