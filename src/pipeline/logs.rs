//! The log bridge: `tracing` events as OpenTelemetry log records.

use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::{SdkLogger, SdkLoggerProvider};
use tracing::{Event, Metadata, Subscriber};
use tracing_log::NormalizeEvent;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::sampling::thread_is_live;

/// Libraries that an exporter runs on. Their events do not go out as records: each would be
/// the cause of the next.
const EXPORT_PATH: [&str; 8] = [
    "h2",
    "hyper",
    "hyper_util",
    "reqwest",
    "rustls",
    "tokio_rustls",
    "tonic",
    "tower",
];

/// Hands events to an SDK logger provider.
///
/// The SDK takes trace id, span id and flags from the context in force. Left out are the
/// events of the libraries that exporters run on and, by the SDK, everything that happens
/// inside `opentelemetry::Context::enter_telemetry_suppressed_scope`, which the export
/// threads are in.
pub struct LogBridge(OpenTelemetryTracingBridge<SdkLoggerProvider, SdkLogger>);

impl LogBridge {
    /// A bridge to this provider.
    #[must_use]
    pub fn new(provider: &SdkLoggerProvider) -> Self {
        Self(OpenTelemetryTracingBridge::new(provider))
    }
}

impl<S> Layer<S> for LogBridge
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let left_out = with_metadata(event, |meta| is_export_path(meta.target()));
        if !left_out && thread_is_live() {
            self.0.on_event(event, ctx);
        }
    }
}

/// Whether events of this target can come of exporting.
fn is_export_path(target: &str) -> bool {
    let library = target.split_once("::").map_or(target, |(first, _)| first);
    is_sdk(target) || EXPORT_PATH.contains(&library)
}

/// The OpenTelemetry crates themselves.
pub(super) fn is_sdk(target: &str) -> bool {
    target.starts_with("opentelemetry")
}

/// Whether the event stands for a record of the `log` crate.
pub(super) fn is_log_record(event: &Event<'_>) -> bool {
    event.metadata().target() == "log" && event.is_log()
}

/// Calls `f` with the event's metadata, those of the original for a record of the `log`
/// crate.
pub(super) fn with_metadata<T>(event: &Event<'_>, f: impl FnOnce(&Metadata<'_>) -> T) -> T {
    if event.metadata().target() == "log"
        && let Some(meta) = event.normalized_metadata()
    {
        return f(&meta);
    }
    f(event.metadata())
}

#[cfg(test)]
mod tests {
    use super::is_export_path;

    #[test]
    fn the_libraries_below_an_exporter() {
        for target in [
            "h2",
            "h2::codec::framed_read",
            "hyper_util::client",
            "opentelemetry_sdk",
            "opentelemetry-otlp",
        ] {
            assert!(is_export_path(target), "{target}");
        }
        for target in ["h2o", "my::h2", "tower_http::trace", "tachograph::pipeline"] {
            assert!(!is_export_path(target), "{target}");
        }
    }
}
