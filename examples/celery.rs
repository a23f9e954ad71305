//! Celery on Redis, listened to in a program of one's own.
//!
//! ```text
//! cargo run --example celery -- redis://localhost/0 30
//! ```
//!
//! Listens for so many seconds, with Redis and workers there or not, and prints what the metrics
//! page shows of Celery then.

use std::error::Error;
use std::time::Duration;

use tachograph::collectors::Supervised;
use tachograph::collectors::celery::{Celery, CeleryConfig};
use tachograph::exposition::Request;
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

    let page = telemetry.page()?.ok_or("telemetry is disabled")?;
    let request = Request::negotiate(None, None, "").ok_or("no format")?;
    let page = page.render(request, Duration::from_secs(5)).await?;
    let page = String::from_utf8(page.chunks.concat())?;
    for line in page.lines().filter(|line| !line.contains("_bucket{")) {
        if line.starts_with("celery_") {
            println!("{line}");
        }
    }
    if let Some(collector) = collector {
        collector.shutdown(Duration::from_secs(5)).await;
    }
    telemetry.shutdown(Duration::from_secs(5))?;
    Ok(())
}
