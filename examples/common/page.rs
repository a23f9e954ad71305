//! What the metrics page shows, for the end of an example.

use std::error::Error;
use std::time::Duration;

use tachograph::Telemetry;
use tachograph::exposition::Request;

/// Prints the page's series whose names begin with one of these, histograms without their buckets.
pub async fn print(telemetry: &Telemetry, names: &[impl AsRef<str>]) -> Result<(), Box<dyn Error>> {
    let page = telemetry.page()?.ok_or("telemetry is disabled")?;
    let request = Request::negotiate(None, None, "").ok_or("no format")?;
    let page = page.render(request, Duration::from_secs(5)).await?;
    let page = String::from_utf8(page.chunks.concat())?;
    for line in page.lines().filter(|line| !line.contains("_bucket{")) {
        if names.iter().any(|name| line.starts_with(name.as_ref())) {
            println!("{line}");
        }
    }
    Ok(())
}
