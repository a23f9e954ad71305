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
pub(super) struct ServiceTelemetry {
    telemetry: Telemetry,
    itself: bool,
}

impl ServiceTelemetry {
    /// Starts it; `itself`: whether it records what the service itself is asked and asks.
    pub(super) fn start(config: TelemetryConfig, itself: bool) -> Result<Self, String> {
        let mut telemetry = Telemetry::builder(config);
        if itself {
            telemetry = telemetry.reader(Statements::default());
        }
        let telemetry = telemetry.init().map_err(|error| error.to_string())?;
        if !telemetry.is_enabled() {
            // Switched off is the telemetry, not the intake: records are still held against
            // the catalog, for which its signals must be there. Nothing reads them.
            metrics::install(Resource::builder_empty().build(), CATALOG, false)
                .map_err(|error| error.to_string())?;
        }
        Ok(Self { telemetry, itself })
    }

    /// Records what the service serves.
    pub(super) fn middleware(&self) -> Middleware {
        match self.itself {
            true => self.telemetry.middleware(),
            false => Middleware::disabled(),
        }
    }

    /// The routes by which metrics are read.
    pub(super) fn routes(&self) -> MonitoringRoutes {
        self.telemetry.routes()
    }

    /// Shows on the page how the ledger is doing, and with it the service.
    pub(super) fn watch(&self, ledger: &Ledger) {
        let Some(collector) = self.telemetry.collector() else {
            return;
        };
        let connections = self.itself.then(|| match ledger.pool() {
            Pool::Sqlite(pool) => watch(&self.telemetry, POOL, pool),
            Pool::Postgres(pool) => watch(&self.telemetry, POOL, pool),
        });
        let ledger = ledger.clone();
        let service = self.telemetry.config().resource.service_name.clone();
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
        if self.telemetry.is_enabled() {
            "up"
        } else {
            "disabled"
        }
    }

    /// Where is exported to, each address once.
    pub(super) fn endpoints(&self) -> Vec<String> {
        let exporters = self.telemetry.exporters().into_iter();
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
        let exporters = self.telemetry.exporters().into_iter().map(|exporter| {
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
        self.telemetry
            .shutdown(deadline)
            .map_err(|error| error.to_string())
    }
}
