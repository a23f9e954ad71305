//! How each domain is recorded, one file for each: through plain `tracing`, and through typed
//! recorders.
//!
//! ```text
//! cargo run --example domains -- workflow
//! ```
//!
//! Prints what the metrics page shows of the domain afterwards. Spans and log records go where
//! the `OTEL_*` variables say, log lines to standard error.

mod action;
mod agent;
mod database;
mod error;
mod frontend;
mod knowledge;
mod llm;
mod mcp;
#[path = "../common/page.rs"]
mod page;
mod routing;
mod session;
mod task;
mod tool;
mod workflow;

use std::error::Error;
use std::time::Duration;

use tachograph::signals::CATALOG;
use tachograph::{Telemetry, TelemetryConfig};

const DOMAINS: [(&str, fn()); 13] = [
    ("action", action::run),
    ("agent", agent::run),
    ("database", database::run),
    ("error", error::run),
    ("frontend", frontend::run),
    ("knowledge", knowledge::run),
    ("llm", llm::run),
    ("mcp", mcp::run),
    ("routing", routing::run),
    ("session", session::run),
    ("task", task::run),
    ("tool", tool::run),
    ("workflow", workflow::run),
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let Some((domain, run)) = DOMAINS.into_iter().find(|(name, _)| *name == wanted) else {
        let names: Vec<&str> = DOMAINS.iter().map(|(name, _)| *name).collect();
        return Err(format!("accepted: one of {}", names.join(", ")).into());
    };
    let telemetry = Telemetry::init(TelemetryConfig::from_env()?)?;
    run();
    let signals = CATALOG.iter().map(|recorder| recorder.signal());
    let families: Vec<String> = signals
        .filter(|signal| signal.domain == domain)
        .flat_map(|signal| signal.metrics.iter().map(|metric| metric.prometheus_name()))
        .collect();
    page::print(&telemetry, &families).await?;
    telemetry.shutdown(Duration::from_secs(5))?;
    Ok(())
}
