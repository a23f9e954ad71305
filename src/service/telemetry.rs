//! The one place where the service meets its telemetry.

use std::time::Duration;

use crate::pipeline::config::TelemetryConfig;

/// The telemetry of the service.
#[derive(Clone, Debug)]
pub(super) struct ServiceTelemetry {
    disabled: bool,
}

impl ServiceTelemetry {
    pub(super) fn start(config: TelemetryConfig) -> Result<Self, String> {
        let _ = tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .try_init();
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
