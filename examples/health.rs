//! Health checks in a program of one's own: `cargo run --example health -- tcp://localhost:22
//! https://example.com`, with `name=url` for another name than the URL.

#[path = "common/page.rs"]
mod page;

use std::time::Duration;

use tachograph::collectors::Supervised;
use tachograph::collectors::health::{HealthChecks, HealthConfig, TargetConfig};
use tachograph::pipeline::collectors::reports;
use tachograph::{Telemetry, TelemetryConfig};

fn target(argument: &str) -> TargetConfig {
    let (name, url) = match argument.split_once('=') {
        Some((name, url)) if !name.contains(':') => (name, url),
        _ => (argument, argument),
    };
    TargetConfig {
        timeout: Duration::from_secs(2),
        degraded_above: Duration::from_millis(250),
        ..TargetConfig::new(name, url)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let targets = std::env::args().skip(1);
    let targets = targets.map(|argument| target(&argument)).collect();
    let Some(checks) = HealthChecks::new(&HealthConfig { targets })? else {
        println!("name what is to be checked, such as tcp://localhost:22");
        return Ok(());
    };
    let telemetry = Telemetry::init(TelemetryConfig::from_env()?)?;
    let checking = Supervised::start(checks)?;
    // Longer than the first check of each may take.
    tokio::time::sleep(Duration::from_secs(3)).await;
    for (name, target) in &reports()["health"].targets {
        let reason = target.reason.as_deref().unwrap_or_default();
        println!("{name}: {:?} {reason}", target.state);
    }
    page::print(&telemetry, &["health_"]).await?;
    checking.shutdown(Duration::from_secs(5)).await;
    telemetry.shutdown(Duration::from_secs(5))?;
    Ok(())
}
