//! `tachograph doctor`: what stands in the way of a service that would be started, or runs,
//! with this configuration.
//!
//! Nothing is changed, created or migrated. Each check has a few seconds at most, and they
//! run side by side.

mod clock;
mod database;
mod finding;
mod otlp;
mod ports;
mod scrape;
mod settings;
mod system;

use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use super::{Failure, configuration, print};
use crate::service::config::ServiceConfig;
use finding::{Finding, Severity};

/// How long a check may take.
const LIMIT: Duration = Duration::from_secs(4);

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    configuration: configuration::ConfigurationArguments,
    /// How the findings are written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (steady, wall) = (Instant::now(), SystemTime::now());
    let mut findings = Vec::new();
    let mut secrets = Vec::new();
    match arguments.configuration.load() {
        Ok(loaded) => {
            settings::check(&loaded, &mut findings);
            let file = arguments.configuration.config.as_deref();
            system::files(&loaded, file, &mut findings);
            secrets = settings::secrets(&loaded.config);
            findings.extend(ask(&loaded.config)?);
        }
        Err(error) => {
            let problems = error.problems.into_iter();
            findings.extend(problems.map(|problem| {
                Finding::error("configuration", problem).advise(
                    "correct it; `tachograph serve --print-config` shows what is in effect then",
                )
            }));
            for check in ["listen", "database", "otlp", "scrape"] {
                let why = "the configuration is refused";
                findings.push(Finding::skipped(check, why));
            }
        }
    }
    findings.push(clock::steady(steady, wall));
    findings.push(clock::synchronised());
    for finding in &mut findings {
        finding.mask(&secrets);
    }
    let text = match arguments.format {
        Format::Text => finding::text(&findings),
        Format::Json => {
            let counts = Severity::ALL.map(|severity| {
                let count = findings.iter().filter(|f| f.severity == severity).count();
                (severity.as_str().to_owned(), json!(count))
            });
            let summary: serde_json::Map<_, _> = counts.into_iter().collect();
            let version = env!("CARGO_PKG_VERSION");
            let whole = json!({"version": version, "summary": summary, "findings": findings});
            format!("{whole:#}\n")
        }
    };
    print(&text)?;
    let errors = findings.iter().filter(|f| f.severity == Severity::Error);
    match errors.count() {
        0 => Ok(()),
        1 => Err(Failure::Failed("1 error".to_owned())),
        errors => Err(Failure::Failed(format!("{errors} errors"))),
    }
}

/// What has to be asked for: from other programs, and from disks that may hang.
fn ask(config: &ServiceConfig) -> Result<Vec<Finding>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(format!("cannot check: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(&error))?;
    // Fails only when a provider is there already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder()
        .no_proxy()
        .timeout(LIMIT / 2)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| failed(&error))?;
    let findings = runtime.block_on(async {
        let service = async {
            let (mut findings, service) = ports::check(&http, config).await;
            findings.extend(scrape::check(&http, config, service.as_ref()).await);
            findings
        };
        let (service, database, otlp) =
            tokio::join!(service, database::check(config), otlp::check(config));
        let (otlp, dates) = otlp;
        let mut findings = [service, database, otlp].concat();
        findings.push(clock::skew(&dates));
        findings.push(system::descriptors(config));
        findings
    });
    // A name that is still looked up, or a disk that hangs, is not waited for.
    runtime.shutdown_background();
    Ok(findings)
}
