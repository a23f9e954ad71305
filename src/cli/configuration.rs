//! The arguments by which the service is configured.

use std::path::PathBuf;

use crate::pipeline::config::load::{Sources, load};
use crate::pipeline::config::{ConfigError, Loaded};
use crate::service::config::ServiceConfig;

#[derive(clap::Args)]
pub(super) struct ConfigurationArguments {
    /// TOML file with the configuration; without it, defaults and the environment count.
    #[arg(long, value_name = "FILE", env = "TACHOGRAPH_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// Where to listen, such as 127.0.0.1:8001; beyond loopback tokens are needed.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where records are kept, such as sqlite://tachograph.db.
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Read this agent workflow database too, such as logs/agent_workflow.db.
    #[arg(long, value_name = "FILE")]
    workflow_db: Option<String>,
    /// Show metrics under another system's names too, such as autobot; may be repeated.
    #[arg(long, value_name = "NAME")]
    vocabulary: Vec<String>,
    /// TOML file with a vocabulary that --vocabulary or `?vocabulary=` can name; may be repeated.
    #[arg(long, value_name = "FILE")]
    vocabulary_file: Vec<String>,
}

impl ConfigurationArguments {
    pub(super) fn load(&self) -> Result<Loaded<ServiceConfig>, ConfigError> {
        let mut sources = Sources::default().with_process_variables()?;
        if let Some(path) = &self.config {
            sources = sources.with_file(path)?;
        }
        let list = |values: &[String]| (!values.is_empty()).then(|| values.join(","));
        for (flag, path, value) in [
            (
                "--listen",
                &["listen"] as &'static [&'static str],
                self.listen.clone(),
            ),
            ("--database", &["database"], self.database.clone()),
            (
                "--workflow-db",
                &["workflow_db", "file"],
                self.workflow_db.clone(),
            ),
            (
                "--vocabulary",
                &["telemetry", "vocabulary", "serve"],
                list(&self.vocabulary),
            ),
            (
                "--vocabulary-file",
                &["telemetry", "vocabulary", "files"],
                list(&self.vocabulary_file),
            ),
        ] {
            if let Some(value) = value {
                sources.flags.push((flag, path, value));
            }
        }
        load(&ServiceConfig::default(), &sources)
    }
}
