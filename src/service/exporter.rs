//! A collector alone with its page: no records, no ledger.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use actix_web::middleware::from_fn;
use actix_web::{App, HttpResponse, HttpServer, web};
use serde_json::json;

use super::app::headers;
use super::errors::{RequestTimeout, json_errors, not_found, only};
use super::run::{ServeError, Signals, collect_on_hangup, flush, listen};
use super::telemetry::ServiceTelemetry;
use crate::collectors::Supervised;
use crate::collectors::workflow_db::{WorkflowDb, WorkflowDbConfig};
use crate::instrumentation::actix::auth::Access;
use crate::pipeline::config::TelemetryConfig;

/// How long stopping may take.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Configuration of an exporter of the agent workflow database.
#[derive(Clone, Debug, PartialEq)]
pub struct ExporterConfig {
    /// Where the page is served.
    pub listen: SocketAddr,
    /// Bearer token that a reader must show; `None`: everybody may read.
    pub token: Option<String>,
    /// The database.
    pub workflow_db: WorkflowDbConfig,
    /// Telemetry of the exporter.
    pub telemetry: TelemetryConfig,
}

/// Runs an exporter until SIGTERM or SIGINT: reads the database, serves `/metrics` and
/// `/health/live`; SIGHUP asks for a round at once. `started` is called once it listens.
///
/// Must be called inside of an actix system.
///
/// # Errors
/// [`ServeError`].
pub async fn export(
    config: ExporterConfig,
    started: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let refused = |problem: String| ServeError::Collector(format!("workflow_db: {problem}"));
    let collector = WorkflowDb::new(&config.workflow_db).map_err(refused)?;
    let collector = collector.ok_or_else(|| refused("file: missing".to_owned()))?;
    let listener = listen(config.listen)?;
    let address = listener.local_addr()?;
    let telemetry =
        ServiceTelemetry::start(config.telemetry, true).map_err(ServeError::Telemetry)?;
    let access = match &config.token {
        Some(token) => Access::default().token(token),
        None => Access::default(),
    };
    let mut signals = Signals::new()?;
    let collector = Supervised::start(collector)?;
    let _hangup = collect_on_hangup(vec![collector.clone()])?;
    let routes = telemetry.routes().access(access);
    let server = HttpServer::new(move || {
        let live = || async { HttpResponse::Ok().json(json!({"status": "live"})) };
        App::new()
            .app_data(web::ThinData(RequestTimeout(PATIENCE)))
            .service(
                web::resource("/health/live")
                    .route(web::get().to(live))
                    .route(web::head().to(live))
                    .default_service(only("GET, HEAD")),
            )
            .service(routes.clone())
            .default_service(web::route().to(not_found))
            .wrap(from_fn(json_errors))
            .wrap(headers())
    });
    let server = server
        .workers(1)
        .max_connections(64)
        .tcp_nodelay(true)
        .shutdown_timeout(1)
        .disable_signals()
        .listen(listener)?
        .run();
    let handle = server.handle();
    let mut server = actix_web::rt::spawn(server);
    started(address);
    let ended = tokio::select! {
        name = signals.next() => {
            tracing::info!(signal = name, "stopping");
            Ok(())
        }
        ended = &mut server => match ended {
            Ok(result) => result.map_err(ServeError::Server),
            Err(error) => Err(std::io::Error::other(error).into()),
        },
    };
    let deadline = Instant::now() + SHUTDOWN;
    if !collector.shutdown(SHUTDOWN / 2).await {
        tracing::warn!("the collector did not stop in time");
    }
    handle.stop(true).await;
    let left = deadline.saturating_duration_since(Instant::now());
    flush(&telemetry, left).await?;
    ended
}
