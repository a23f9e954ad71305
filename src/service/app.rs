//! Which route is where.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::guard::fn_guard;
use actix_web::web::{self, ServiceConfig as Routes};
use actix_web::{HttpResponse, middleware};
use serde_json::json;

use super::auth::Gates;
use super::config::LimitsConfig;
use super::errors::{HEADERS, not_found, only};
use super::health;
use super::ledger;
use super::telemetry::ServiceTelemetry;
use crate::ingest::frontend::{self, FrontendApi};
use crate::ingest::hooks::{self, HooksApi};
use crate::ingest::records::{self, RecordsApi, RecordsConfig};
use crate::instrumentation::actix::auth::Access;
use crate::ledger::Ledger;
use crate::prices::Prices;

/// Where records are sent to.
const RECORDS: &str = "/api/v1/records";
/// Where agents' hooks send their events to.
const HOOKS: &str = "/api/v1/hooks/claude-code";

/// What all workers share.
pub(super) struct Shared {
    pub(super) ledger: Ledger,
    pub(super) telemetry: ServiceTelemetry,
    pub(super) limits: LimitsConfig,
    /// Who may send records.
    pub(super) records: Access,
    pub(super) records_api: RecordsApi,
    /// The way in for browsers, where pages may send.
    frontend: Option<FrontendApi>,
    hooks_api: HooksApi,
    /// Who may read the monitoring routes.
    pub(super) monitoring: Access,
    /// Whether the monitoring routes have a listener of their own.
    pub(super) separate_admin: bool,
    stopping: AtomicBool,
}

impl Shared {
    pub(super) fn new(
        ledger: Ledger,
        telemetry: ServiceTelemetry,
        prices: Arc<Prices>,
        gates: Gates,
        config: &super::config::ServiceConfig,
    ) -> Self {
        let records_config = RecordsConfig {
            body_bytes: config.limits.body_bytes,
            records: config.limits.records_per_request,
            open_operations: config.ledger.open_operations,
            expires_in: config.ledger.expires_in,
            ..RecordsConfig::default()
        };
        let records_api = RecordsApi::new(ledger.clone(), records_config).prices(prices);
        let body_bytes = config.limits.body_bytes;
        Self {
            frontend: (!config.frontend.origins.is_empty())
                .then(|| FrontendApi::new(config.frontend.clone())),
            hooks_api: HooksApi::new(
                records_api.clone(),
                ledger.clone(),
                body_bytes,
                config.hooks,
            ),
            records_api,
            ledger,
            telemetry,
            limits: config.limits.clone(),
            records: gates.records,
            monitoring: gates.monitoring,
            separate_admin: config.admin_listen.is_some(),
            stopping: AtomicBool::new(false),
        }
    }

    /// From now on the service is not ready.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// Which listener an application is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listener {
    /// Records, health, and monitoring unless that has its own.
    Main,
    /// Monitoring and health.
    Admin,
}

/// Adds [`HEADERS`] to every answer.
pub(super) fn headers() -> middleware::DefaultHeaders {
    let none = middleware::DefaultHeaders::new();
    HEADERS
        .into_iter()
        .fold(none, |headers, header| headers.add(header))
}

/// Mounts the routes of a listener.
pub(super) fn routes(routes: &mut Routes, shared: &web::Data<Shared>, listener: Listener) {
    let records = listener == Listener::Main;
    let monitoring = listener == Listener::Admin || !shared.separate_admin;
    routes.app_data(shared.clone());
    let get = || "GET, HEAD";
    let frontend = records && shared.frontend.is_some();
    let index =
        move || async move { HttpResponse::Ok().json(index(records, frontend, monitoring)) };
    routes.service(
        web::resource("/")
            .route(web::get().to(index))
            .route(web::head().to(index))
            .default_service(only(get())),
    );
    routes.service(
        web::resource("/health/live")
            .route(web::get().to(health::live))
            .route(web::head().to(health::live))
            .default_service(only(get())),
    );
    routes.service(
        web::resource("/health/ready")
            .route(web::get().to(health::ready))
            .route(web::head().to(health::ready))
            .default_service(only(get())),
    );
    if monitoring {
        routes.service(shared.telemetry.routes().access(shared.monitoring.clone()));
        routes.service(
            web::scope("")
                .guard(fn_guard(|context| {
                    context.head().uri.path().starts_with(ledger::PREFIX)
                }))
                .wrap(shared.monitoring.clone())
                .configure(ledger::configure)
                .default_service(web::route().to(not_found)),
        );
    }
    if records {
        let (api, hooks_api) = (shared.records_api.clone(), shared.hooks_api.clone());
        routes.service(
            // Without the guard the scope would hold every path back, also unknown ones.
            web::scope("")
                .guard(fn_guard(|context| {
                    [RECORDS, HOOKS].contains(&context.head().uri.path())
                }))
                .wrap(shared.records.clone())
                .configure(move |routes| records::configure(routes, api))
                .configure(move |routes| hooks::configure(routes, hooks_api)),
        );
    }
    if records && let Some(api) = shared.frontend.clone() {
        routes.configure(move |routes| frontend::configure(routes, api));
    }
    routes.default_service(web::route().to(not_found));
}

fn index(records: bool, frontend: bool, monitoring: bool) -> serde_json::Value {
    let mut endpoints = json!({
        "GET /health/live": "whether the process runs",
        "GET /health/ready": "whether records can be taken, with components",
    });
    if let Some(endpoints) = endpoints.as_object_mut() {
        if records {
            let text = "takes records: one, an array, or NDJSON";
            endpoints.insert("POST /api/v1/records".to_owned(), text.into());
            let text = "takes what Claude Code's hooks write: `tachograph hooks install`";
            endpoints.insert(format!("POST {HOOKS}"), text.into());
        }
        if frontend {
            let text = "takes what pages of the configured origins report";
            endpoints.insert("POST /api/v1/frontend".to_owned(), text.into());
        }
        if monitoring {
            for (route, text) in [
                ("GET /metrics", "metrics for Prometheus"),
                ("GET /api/monitoring/metrics", "the same"),
                (
                    "GET /api/monitoring/health/metrics",
                    "whether collection, exporters and collectors work",
                ),
                (
                    "GET /api/v1/ledger/sessions",
                    "sessions, those seen first last",
                ),
                (
                    "GET /api/v1/ledger/sessions/{id}/timeline",
                    "who called what in a session, nested",
                ),
                (
                    "GET /api/v1/ledger/correlations/{id}",
                    "the same by correlation id",
                ),
                (
                    "GET /api/v1/ledger/costs?by=",
                    "costs by day, agent, model, provider or session",
                ),
                (
                    "GET /api/v1/ledger/slowest?signal=",
                    "the operations that took longest",
                ),
                (
                    "GET /api/v1/ledger/failing",
                    "what failed, the latest first",
                ),
            ] {
                endpoints.insert(route.to_owned(), text.into());
            }
        }
    }
    json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "endpoints": endpoints,
    })
}
