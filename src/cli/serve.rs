//! `tachograph serve`.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};

use super::{Failure, configuration, print};
use crate::pipeline::config::show;
use crate::service::config::ServiceConfig;
use crate::service::{self, ServeError, Started};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    configuration: configuration::ConfigurationArguments,
    /// Print the configuration in effect with the source of each value, and end.
    #[arg(long)]
    print_config: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let loaded = arguments.configuration.load().map_err(|error| {
        let mut text = "the configuration is refused:".to_owned();
        for problem in &error.problems {
            // Writing to a `String` cannot fail.
            let _ = write!(text, "\n  {problem}");
        }
        Failure::Usage(text)
    })?;
    if arguments.print_config {
        return print(&loaded.to_toml());
    }
    let config = loaded.config;
    let shown = config.clone();
    let running = service::run(config, move |started| announce(&shown, started));
    actix_web::rt::System::new()
        .block_on(running)
        .map_err(|error| match error {
            ServeError::Telemetry(_) => Failure::Usage(error.to_string()),
            _ => Failure::Failed(error.to_string()),
        })
}

/// A banner on a terminal, one log line otherwise.
fn announce(config: &ServiceConfig, started: &Started) {
    let Started {
        listen,
        monitoring,
        otlp,
    } = started;
    let database = show::masked_url(&config.database);
    let otlp = match otlp.is_empty() {
        true => "off".to_owned(),
        false => otlp.join(", "),
    };
    if !std::io::stderr().is_terminal() {
        tracing::info!(
            listen = %listen,
            monitoring = %monitoring,
            database,
            otlp,
            hooks_content = config.hooks.content.as_str(),
            version = env!("CARGO_PKG_VERSION"),
            "listening"
        );
        return;
    }
    let telemetry = match config.telemetry.disabled {
        true => " (telemetry is switched off)",
        false => "",
    };
    let banner = format!(
        "\n  tachograph {}{telemetry}\n\n\
         \x20 records   http://{listen}/api/v1/records\n\
         \x20 metrics   http://{monitoring}/metrics\n\
         \x20 health    http://{listen}/health/ready\n\
         \x20 database  {database}\n\
         \x20 OTLP      {otlp}\n\n\
         \x20 Ctrl-C stops it; `tachograph demo` drives it with traffic.\n\n",
        env!("CARGO_PKG_VERSION")
    );
    // A terminal that went away is no reason to stop.
    let _ = std::io::stderr().write_all(banner.as_bytes());
}
