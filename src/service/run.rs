//! Start, run, stop.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use super::app::{Listener, Shared, headers, routes};
use super::auth::Gates;
use super::budgets::Budgets;
use super::collectors::Collectors;
use super::config::{LimitsConfig, ServiceConfig};
use super::errors::{RequestTimeout, json_errors};
use super::telemetry::ServiceTelemetry;
use crate::collectors::Supervised;
use crate::collectors::runtime::Runtimes;
use crate::ledger::{Ledger, LedgerConfig, OpenError, Retention};
use crate::pipeline::config::TelemetryConfig;

/// How often open operations are looked at.
const SWEEP: Duration = Duration::from_secs(5);

/// Why the service did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Something else listens there.
    #[error("{address} is in use; name another address with --listen, or stop what listens there")]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        reason: io::Error,
    },
    /// Telemetry did not start.
    #[error("telemetry: {0}")]
    Telemetry(String),
    /// The file of prices is not what it was when the configuration was read.
    #[error("prices: {0}")]
    Prices(String),
    /// A collector cannot read as configured: which, and what is accepted.
    #[error("{0}")]
    Collector(String),
    /// A file of keys is not what it was when the configuration was read.
    #[error("auth: {0}")]
    Auth(String),
    /// The agent workflow database cannot be read as configured.
    #[error("workflow_db: {0}")]
    WorkflowDb(String),
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] OpenError),
    /// The server or the handling of signals failed.
    #[error("server: {0}")]
    Server(#[from] io::Error),
    /// Not everything was finished by the deadline.
    #[error("stopped late: {0}")]
    Late(String),
}

/// Where the service that has started can be reached.
#[derive(Clone, Debug)]
pub struct Started {
    /// Address of the records API.
    pub listen: SocketAddr,
    /// Address of the monitoring routes; the same unless they have a listener of their own.
    pub monitoring: SocketAddr,
    /// Where telemetry is exported to over OTLP, without credentials; empty: nowhere.
    pub otlp: Vec<String>,
}

/// Runs the service until SIGTERM or SIGINT (SIGHUP has the collectors read at once), then stops
/// it: no new connections, requests
/// under way are finished, the ledger commits what waits, telemetry is flushed, all within
/// `limits.shutdown_timeout`. A second signal ends the process at once. `started` is called
/// once the service listens.
///
/// Must be called inside of an actix system.
///
/// # Errors
/// [`ServeError`].
pub async fn run(config: ServiceConfig, started: impl FnOnce(&Started)) -> Result<(), ServeError> {
    // Listening comes first: a port in use must not leave a new database behind.
    let listener = listen(config.listen)?;
    let prices = config
        .prices
        .load()
        .map_err(|problems| ServeError::Prices(problems.join("; ")))?;
    let prices = Arc::new(prices);
    let gates = Gates::new(&config.auth).map_err(ServeError::Auth)?;
    let admin = config.admin_listen.map(listen).transpose()?;
    let telemetry = ServiceTelemetry::start(telemetry_of(&config), config.record_itself)
        .map_err(ServeError::Telemetry)?;
    let mut ledger = LedgerConfig::new(config.database.clone());
    ledger.queue_bytes = config.limits.queue_bytes;
    ledger.query_timeout = config.ledger.query_timeout;
    ledger.retention = Retention {
        max_age: config.ledger.max_age,
        max_bytes: config.ledger.max_bytes,
    };
    ledger.outbox = config.kafka.outbox();
    ledger.owner = match &config.ledger.owner {
        Some(owner) => owner.clone(),
        None => format!("{}:{}", hostname(), listener.local_addr()?.port()),
    };
    let ledger = Ledger::open(ledger).await?;
    telemetry.watch(&ledger);

    let limits = &config.limits;
    let shared = web::Data::new(Shared::new(ledger, telemetry, prices, gates, &config));
    let addresses = Started {
        listen: listener.local_addr()?,
        monitoring: match &admin {
            Some(admin) => admin.local_addr()?,
            None => listener.local_addr()?,
        },
        otlp: shared.telemetry.endpoints(),
    };
    let budgets = Budgets::new(&config.budgets).watch(shared.ledger.clone());
    let budgets = actix_web::rt::spawn(budgets);
    let sweeping = actix_web::rt::spawn(sweep(shared.clone()));
    let runtimes = Runtimes::default();
    if let Ok(here) = Handle::try_current() {
        runtimes.watch("service", &here);
    }
    let collectors = Collectors::start(&config, &shared.ledger, &runtimes)?;
    let mut signals = Signals::new()?;
    let _hangup = collect_on_hangup(collectors.running().to_vec())?;
    let mut servers = vec![server(
        &shared,
        &runtimes,
        limits,
        listener,
        Listener::Main,
    )?];
    if let Some(admin) = admin {
        servers.push(server(&shared, &runtimes, limits, admin, Listener::Admin)?);
    }
    let handles: Vec<ServerHandle> = servers.iter().map(Server::handle).collect();
    let mut running: Vec<_> = servers.into_iter().map(actix_web::rt::spawn).collect();
    started(&addresses);

    let first = running.remove(0);
    tokio::pin!(first);
    let ended = tokio::select! {
        name = signals.next() => {
            tracing::info!(signal = name, "stopping");
            None
        }
        ended = &mut first => Some(ended),
    };
    shared.stop();
    sweeping.abort();
    budgets.abort();
    actix_web::rt::spawn(async move {
        signals.next().await;
        tracing::warn!("ending at once");
        std::process::exit(1);
    });
    // Before telemetry: what they still settle is counted, and the last push should have it.
    collectors
        .shutdown(drain(shared.limits.shutdown_timeout))
        .await;
    stop(&shared, handles).await?;
    match ended {
        Some(Ok(result)) => Ok(result?),
        Some(Err(error)) => Err(io::Error::other(error).into()),
        None => Ok(()),
    }
}

/// The configuration of telemetry, with what the resource says beside.
fn telemetry_of(config: &ServiceConfig) -> TelemetryConfig {
    let mut telemetry = config.telemetry.clone();
    let content = config.hooks.content.as_str().to_owned();
    let attributes = &mut telemetry.resource.attributes;
    attributes.insert("tachograph.hooks.content".to_owned(), content);
    telemetry
}

/// Keeps what is in flight what the ledger says.
async fn sweep(shared: web::Data<Shared>) {
    let mut ticks = tokio::time::interval(SWEEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = shared.records_api.sweep(SystemTime::now()).await {
            // The ledger says itself when it goes away.
            tracing::debug!(%error, "open operations were not looked at");
        }
    }
}

/// The machine's name, or what there is of it.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let name = name.or_else(|_| std::env::var("HOSTNAME"));
    name.map_or_else(|_| "localhost".to_owned(), |name| name.trim().to_owned())
}

pub(super) fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).map_err(|reason| match reason.kind() {
        io::ErrorKind::AddrInUse => ServeError::InUse { address },
        _ => ServeError::Listen { address, reason },
    })
}

fn server(
    shared: &web::Data<Shared>,
    runtimes: &Runtimes,
    limits: &LimitsConfig,
    listener: TcpListener,
    kind: Listener,
) -> io::Result<Server> {
    let workers = match kind {
        Listener::Main => limits.workers,
        Listener::Admin => 1,
    };
    let timeout = RequestTimeout(limits.request_timeout);
    let (shared, runtimes) = (shared.clone(), runtimes.clone());
    let server = HttpServer::new(move || {
        // Each worker has a runtime of its own.
        if let Ok(here) = Handle::try_current() {
            runtimes.watch("http", &here);
        }
        App::new()
            .app_data(web::ThinData(timeout))
            .configure(|config| routes(config, &shared, kind))
            .wrap(from_fn(json_errors))
            .wrap(headers())
            .wrap(shared.telemetry.middleware())
    });
    let server = server
        .workers(workers)
        .worker_max_blocking_threads(4)
        .max_connections(limits.connections.div_ceil(workers))
        .client_request_timeout(limits.request_head_timeout)
        .client_disconnect_timeout(Duration::from_secs(1))
        .keep_alive(limits.keep_alive)
        // Answers of several segments would wait for the client's acknowledgements.
        .tcp_nodelay(true)
        .shutdown_timeout(drain(limits.shutdown_timeout).as_secs().max(1))
        .disable_signals()
        .listen(listener)?;
    Ok(server.run())
}

/// The part of the time to stop that requests under way have.
fn drain(total: Duration) -> Duration {
    total / 2
}

async fn stop(shared: &web::Data<Shared>, servers: Vec<ServerHandle>) -> Result<(), ServeError> {
    let total = shared.limits.shutdown_timeout;
    let deadline = Instant::now() + total;
    let left = || deadline.saturating_duration_since(Instant::now());
    let mut late = Vec::new();

    let draining = futures_util::future::join_all(servers.iter().map(|server| server.stop(true)));
    let patience = drain(total).max(Duration::from_secs(1)) + Duration::from_millis(500);
    if tokio::time::timeout(patience, draining).await.is_err() {
        late.push("requests were still under way".to_owned());
    }
    // Before telemetry: what it still commits is counted, and the last push should have it.
    if let Err(error) = shared.ledger.shutdown(left() / 2).await {
        late.push(error.to_string());
    }
    flush(&shared.telemetry, left()).await?;
    if late.is_empty() {
        Ok(())
    } else {
        Err(ServeError::Late(late.join("; ")))
    }
}

/// Flushes and ends telemetry. What a backend did not take has been counted and logged.
///
/// # Errors
/// When the system grants no thread.
pub(super) async fn flush(telemetry: &ServiceTelemetry, left: Duration) -> io::Result<()> {
    // On a plain thread: exporters may block, and this runtime still listens for signals.
    let telemetry = telemetry.clone();
    let (done, flushed) = tokio::sync::oneshot::channel();
    let patience = left.max(Duration::from_millis(500));
    let thread = std::thread::Builder::new().name("tachograph-flush".to_owned());
    thread.spawn(move || {
        // The receiver is gone only when the deadline has passed.
        let _ = done.send(telemetry.shutdown(patience));
    })?;
    let grace = Duration::from_millis(250);
    match tokio::time::timeout(patience + grace, flushed).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::warn!(error, "not all telemetry was delivered"),
        Ok(Err(_)) | Err(_) => tracing::warn!("telemetry was not flushed in time"),
    }
    Ok(())
}

/// Asks for rounds at once whenever SIGHUP comes; without a collector it changes nothing.
///
/// # Errors
/// When the signal cannot be handled.
pub(super) fn collect_on_hangup(
    collectors: Vec<Supervised>,
) -> io::Result<actix_web::rt::task::JoinHandle<()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(actix_web::rt::spawn(async move {
        while hangup.recv().await.is_some() {
            if collectors.is_empty() {
                tracing::info!(
                    signal = "SIGHUP",
                    "nothing to do: the configuration is read at the start"
                );
                continue;
            }
            tracing::info!(signal = "SIGHUP", "collecting now");
            collectors.iter().for_each(Supervised::collect_now);
        }
    }))
}

pub(super) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
