//! `tachograph export`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::Failure;
use crate::collectors::workflow_db::WorkflowDbConfig;
use crate::pipeline::config::TelemetryConfig;
use crate::pipeline::config::load::{Sources, load};
use crate::service::ServeError;
use crate::service::config::is_loopback;
use crate::service::exporter::{ExporterConfig, export};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The agent workflow database, on /metrics, under the names of the guide that it is made
    /// for beside our own.
    WorkflowDb(WorkflowDbArguments),
}

#[derive(clap::Args)]
struct WorkflowDbArguments {
    /// The database; it may come later.
    #[arg(long, value_name = "FILE", default_value = "logs/agent_workflow.db")]
    db: PathBuf,
    /// Port of the page.
    #[arg(long, default_value_t = 9090)]
    port: u16,
    /// Address of the page; beyond loopback a token is needed.
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Bearer token that whoever reads the page must show.
    #[arg(long, env = "TACHOGRAPH_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Seconds between two readings.
    #[arg(long, value_name = "SECONDS", default_value_t = 15.0)]
    interval: f64,
    /// Where is kept which rows have been counted [default: beside the database, with
    /// `.tachograph` added to its name].
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Time zone of times without one: local, or a name such as Europe/Berlin.
    #[arg(long, default_value = "local")]
    zone: String,
    /// Seconds after which a row without an end is counted as abandoned.
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400.0)]
    abandon_after: f64,
    /// Another system's names on the page beside our own; may be repeated.
    #[arg(long, value_name = "NAME", default_value = "agent-workflow")]
    vocabulary: Vec<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let What::WorkflowDb(arguments) = &arguments.what;
    let config = arguments.config()?;
    let database = arguments.db.display().to_string();
    let running = export(config, move |address| {
        tracing::info!(
            metrics = format!("http://{address}/metrics"),
            database,
            version = env!("CARGO_PKG_VERSION"),
            "listening"
        );
    });
    actix_web::rt::System::new()
        .block_on(running)
        .map_err(|error| match error {
            ServeError::InUse { address } => Failure::Failed(format!(
                "{address} is in use; name another port with --port, or stop what listens there"
            )),
            ServeError::Telemetry(_) | ServeError::Collector(_) => {
                Failure::Usage(error.to_string())
            }
            _ => Failure::Failed(error.to_string()),
        })
}

impl WorkflowDbArguments {
    fn config(&self) -> Result<ExporterConfig, Failure> {
        let listen = SocketAddr::new(self.host, self.port);
        if !is_loopback(&listen) && self.token.is_none() {
            return Err(Failure::Usage(format!(
                "--host: {} is beyond loopback and the page would be open; give a --token \
                 (`openssl rand -hex 32` makes one)",
                self.host
            )));
        }
        let workflow_db = WorkflowDbConfig {
            file: Some(text("--db", &self.db)?),
            state: self
                .state
                .as_ref()
                .map(|state| text("--state", state))
                .transpose()?,
            interval: seconds("--interval", self.interval)?,
            zone: self.zone.clone(),
            abandon_after: seconds("--abandon-after", self.abandon_after)?,
        };
        if let Some((field, problem)) = workflow_db.check().into_iter().next() {
            let flag = match field {
                "file" => "db".to_owned(),
                field => field.replace('_', "-"),
            };
            return Err(Failure::Usage(format!("--{flag}: {problem}")));
        }
        let mut base = TelemetryConfig::default();
        base.logs.filter = "info,actix_server=warn,opentelemetry=warn".to_owned();
        base.resource.service_name = "agent-workflow-exporter".to_owned();
        base.resource.service_version = Some(env!("CARGO_PKG_VERSION").to_owned());
        base.vocabulary.serve.clone_from(&self.vocabulary);
        let sources = Sources::default().with_process_variables();
        let telemetry = sources
            .and_then(|sources| load(&base, &sources))
            .map_err(|error| Failure::Usage(error.to_string()))?
            .config;
        Ok(ExporterConfig {
            listen,
            token: self.token.clone(),
            workflow_db,
            telemetry,
        })
    }
}

fn text(flag: &str, path: &std::path::Path) -> Result<String, Failure> {
    match path.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(Failure::Usage(format!(
            "{flag}: the path is no UTF-8, which is not accepted"
        ))),
    }
}

fn seconds(flag: &str, seconds: f64) -> Result<Duration, Failure> {
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        Failure::Usage(format!(
            "{flag}: `{seconds}` is not accepted; accepted: seconds"
        ))
    })
}
