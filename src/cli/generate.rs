//! `tachograph generate`.

use std::path::PathBuf;

use super::{Failure, print};
use crate::generate::{self, Drift};
use crate::signals::CATALOG;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Write nothing; fail if a file differs from its rendering.
    #[arg(long)]
    check: bool,
    /// Folder that holds `dashboards`, `alerts` and `docs`.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    root: PathBuf,
    /// Where alerts' links to their runbooks lead: a URL, or a path relative to the rules.
    #[arg(long, value_name = "URL", default_value = "docs/runbooks")]
    runbooks_url: String,
    /// Address of the Grafana that holds the dashboards; without it, links are relative to
    /// Grafana's root.
    #[arg(long, value_name = "URL", default_value = "")]
    grafana_url: String,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let links = generate::Links {
        runbooks: arguments.runbooks_url.clone(),
        grafana: arguments.grafana_url.clone(),
    };
    let files = generate::files(&generate::signals(CATALOG), &links);
    let failed = |error: generate::OutputError| Failure::Failed(error.to_string());
    let drift = if arguments.check {
        generate::drift(&arguments.root, &files).map_err(failed)?
    } else {
        generate::write(&arguments.root, &files).map_err(failed)?
    };
    let mut out = String::new();
    for (path, kind) in &drift {
        let word = match (kind, arguments.check) {
            (Drift::Missing, true) => "missing",
            (Drift::Differs, true) => "differs",
            (Drift::Stale, true) => "stale",
            (Drift::Missing | Drift::Differs, false) => "written",
            (Drift::Stale, false) => "removed",
        };
        out.push_str(&format!("{word}: {path}\n"));
    }
    if drift.is_empty() {
        out.push_str(&format!("{} files are as rendered\n", files.len()));
    }
    print(&out)?;
    if arguments.check && !drift.is_empty() {
        return Err(Failure::Failed(format!(
            "{} files differ from the catalog: run `tachograph generate --root {}`",
            drift.len(),
            arguments.root.display()
        )));
    }
    Ok(())
}
