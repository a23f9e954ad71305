//! The command line.

mod catalog;
mod client;
mod configuration;
mod demo;
mod doctor;
mod export;
mod generate;
mod health;
mod hook;
mod hooks;
mod hooks_settings;
mod keys;
mod lint;
mod prices;
mod record;
mod serve;
mod vocabulary;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Signals of AI agents, declared once: metrics, traces, logs and a durable record.
#[derive(Parser)]
#[command(name = "tachograph", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service until SIGTERM or Ctrl-C.
    Serve(serve::Arguments),
    /// Check configuration, ports, clock, database, OTLP endpoints and who scrapes, and say
    /// what to do.
    Doctor(doctor::Arguments),
    /// Read what others keep and show it to Prometheus, alone and without a ledger.
    Export(export::Arguments),
    /// Send one record to a running service.
    Record(record::Arguments),
    /// Ask a running service whether it can take records; for health checks of containers.
    Health(health::Arguments),
    /// Have an agent's client report to a running service.
    Hooks(hooks::Arguments),
    /// Make, show and revoke API keys of the service.
    Keys(keys::Arguments),
    /// Drive a running service with lifelike traffic.
    Demo(demo::Arguments),
    /// Show every declared signal.
    Catalog(catalog::Arguments),
    /// Render dashboards, alerts and pages from the catalog.
    Generate(generate::Arguments),
    /// Check vocabularies: other systems' names for what is recorded.
    Vocabulary(vocabulary::Arguments),
    /// Show and check the prices of models.
    Prices(prices::Arguments),
    /// Check dashboards and rules against the names that are published.
    Lint(lint::Arguments),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The command cannot be understood or the configuration is refused.
    #[error("{0}")]
    Usage(String),
    /// It was understood, and failed.
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    fn code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Failed(_) => ExitCode::FAILURE,
        }
    }
}

/// Runs the command that the process was started with. Exit status: 0, 1 when it failed, 2
/// when the arguments or the configuration are refused.
#[must_use]
pub fn main() -> ExitCode {
    // Before the command line is read: a hook must not fail for what is wrong there.
    if let Some(code) = hook::requested() {
        return code;
    }
    let result = match Arguments::parse().command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Record(arguments) => record::run(&arguments),
        Command::Health(arguments) => health::run(&arguments),
        Command::Hooks(arguments) => hooks::run(&arguments),
        Command::Keys(arguments) => keys::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Catalog(arguments) => catalog::run(&arguments),
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Vocabulary(arguments) => vocabulary::run(&arguments),
        Command::Prices(arguments) => prices::run(&arguments),
        Command::Lint(arguments) => lint::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // There is nowhere left to say that standard error is closed.
            let _ = writeln!(std::io::stderr(), "tachograph: {failure}");
            failure.code()
        }
    }
}

/// Writes to standard output; a reader that went away, such as `head`, is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}
