//! The one place where the service meets its telemetry.

use std::time::Duration;

use opentelemetry_sdk::Resource;
use serde_json::{Value, json};

use crate::catalog::ClosedLabel as _;
use crate::instrumentation::actix::{Middleware, MonitoringRoutes};
use crate::instrumentation::sqlx::{Statements, watch};
use crate::ledger::{Ledger, LedgerState, Pool};
use crate::pipeline::Telemetry;
use crate::pipeline::config::TelemetryConfig;
use crate::pipeline::metrics;
use crate::signals::CATALOG;
use crate::signals::service::{ComponentHealth, ServiceHealth};

/// Name of the pool that queries of the ledger have their connections from.
const POOL: &str = "ledger";

/// The telemetry of the service.
#[derive(Clone, Debug)]
pub(super) struct ServiceTelemetry(Telemetry);

impl ServiceTelemetry {
    pub(super) fn start(config: TelemetryConfig) -> Result<Self, String> {
        let telemetry = Telemetry::builder(config).reader(Statements::default());
        let telemetry = telemetry.init().map_err(|error| error.to_string())?;
        if !telemetry.is_enabled() {
            // Switched off is the telemetry, not the intake: records are still held against
            // the catalog, for which its signals must be there. Nothing reads them.
            metrics::install(Resource::builder_empty().build(), CATALOG, false)
                .map_err(|error| error.to_string())?;
        }
        Ok(Self(telemetry))
    }

    /// Records what the service serves.
    pub(super) fn middleware(&self) -> Middleware {
        self.0.middleware()
    }

    /// The routes by which metrics are read.
    pub(super) fn routes(&self) -> MonitoringRoutes {
        self.0.routes()
    }

    /// Shows on the page how the ledger is doing, and with it the service.
    pub(super) fn watch(&self, ledger: &Ledger) {
        let Some(collector) = self.0.collector() else {
            return;
        };
        let connections = match ledger.pool() {
            Pool::Sqlite(pool) => watch(&self.0, POOL, pool),
            Pool::Postgres(pool) => watch(&self.0, POOL, pool),
        };
        let ledger = ledger.clone();
        let service = self.0.config().resource.service_name.clone();
        collector.before_collect(move || {
            // Watched as long as the page is read.
            let _ = &connections;
            ledger.report();
            let up = f64::from(u8::from(matches!(
                ledger.health().state,
                LedgerState::Ready
            )));
            let component = "ledger";
            ComponentHealth { component }.set(up);
            ServiceHealth { name: &service }.set(up);
        });
    }

    /// `up` or `disabled`.
    pub(super) fn state(&self) -> &'static str {
        if self.0.is_enabled() {
            "up"
        } else {
            "disabled"
        }
    }

    /// Where is exported to, each address once.
    pub(super) fn endpoints(&self) -> Vec<String> {
        let exporters = self.0.exporters().into_iter();
        let mut endpoints: Vec<String> = exporters
            .map(|exporter| match url::Url::parse(&exporter.endpoint) {
                Ok(url) => url.origin().ascii_serialization(),
                Err(_) => exporter.endpoint,
            })
            .collect();
        endpoints.dedup();
        endpoints
    }

    /// How the exporters are doing, by signal; with `detailed` where to and why not.
    pub(super) fn exporters(&self, detailed: bool) -> Value {
        let exporters = self.0.exporters().into_iter().map(|exporter| {
            let status = match (exporter.consecutive_failures, exporter.last_success) {
                (0, None) => "starting",
                (0, Some(_)) => "up",
                _ => "failing",
            };
            let mut shown = json!({"status": status});
            if detailed && let Some(shown) = shown.as_object_mut() {
                shown.insert("endpoint".to_owned(), exporter.endpoint.into());
                shown.insert("last_error".to_owned(), exporter.last_error.into());
                let last = exporter.last_success.map(|time| time.to_string());
                shown.insert("last_success".to_owned(), last.into());
            }
            (exporter.signal.as_str().to_owned(), shown)
        });
        Value::Object(exporters.collect())
    }

    /// Flushes and ends; blocks for `deadline` at most.
    pub(super) fn shutdown(&self, deadline: Duration) -> Result<(), String> {
        self.0.shutdown(deadline).map_err(|error| error.to_string())
    }
}
