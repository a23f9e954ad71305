//! `tachograph catalog`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::{Failure, print};
use crate::catalog::Signal;
use crate::generate;
use crate::signals::CATALOG;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Form of the catalog.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Folder for the registry; it must not exist, or be empty.
    #[arg(long, value_name = "FOLDER", required_if_eq("format", "registry"))]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// A line for each metric.
    Table,
    /// Everything that is declared.
    Json,
    /// A reference page.
    Markdown,
    /// An OpenTelemetry semantic-convention registry: a folder of YAML files.
    Registry,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let signals = generate::signals(CATALOG);
    let text = match (arguments.format, &arguments.output) {
        (Format::Registry, Some(folder)) => return write_registry(folder, &signals),
        (Format::Registry, None) => {
            return Err(Failure::Usage(
                "--format registry writes a folder: name it with --output".to_owned(),
            ));
        }
        (_, Some(_)) => {
            return Err(Failure::Usage(
                "--output belongs to --format registry; the others are printed".to_owned(),
            ));
        }
        (Format::Table, None) => generate::catalog::table(&signals),
        (Format::Json, None) => generate::catalog::json(&signals),
        (Format::Markdown, None) => generate::reference::page(&signals),
    };
    print(&text)
}

fn write_registry(folder: &Path, signals: &[&'static Signal]) -> Result<(), Failure> {
    let failed = |path: &Path, error: std::io::Error| {
        Failure::Failed(format!("{}: {error}", path.display()))
    };
    // Files of a former catalog would be read as part of this one.
    match fs::read_dir(folder) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(Failure::Usage(format!(
                    "--output {}: the folder is not empty",
                    folder.display()
                )));
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(folder, error)),
    }
    for (path, text) in generate::registry::files(signals) {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
        }
        fs::write(&path, text).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}
