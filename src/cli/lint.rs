//! `tachograph lint`.

use std::fs;
use std::path::PathBuf;

use clap::ValueEnum;

use super::{Failure, print};
use crate::generate;
use crate::lint::{self, Code, Input, Names, Options, Severity};
use crate::signals::CATALOG;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Grafana dashboards (JSON or YAML) and Prometheus rules (YAML or JSON).
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Know the families of a built-in vocabulary too.
    #[arg(long, value_name = "NAME")]
    vocabulary: Vec<String>,
    /// Know the families of a vocabulary file too.
    #[arg(long, value_name = "FILE")]
    vocabulary_file: Vec<PathBuf>,
    /// Take this metric for known; `node_*` stands for all that begin so.
    #[arg(long, value_name = "NAME")]
    allow: Vec<String>,
    /// A label that every series gets from the scrape, beside `job` and `instance`.
    #[arg(long, value_name = "NAME")]
    label: Vec<String>,
    /// Do not report this code.
    #[arg(long, value_name = "CODE", value_parser = code)]
    ignore: Vec<Code>,
    /// Fail on warnings too.
    #[arg(long)]
    strict: bool,
    /// Form of the report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For machines; `docs/lint.md` describes it.
    Json,
}

fn code(text: &str) -> Result<Code, String> {
    Code::ALL
        .iter()
        .copied()
        .find(|code| code.as_str() == text)
        .ok_or_else(|| {
            let known: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
            format!("the codes are {}", known.join(", "))
        })
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let signals = generate::signals(CATALOG);
    let mut names = Names::of_catalog(&signals);
    if !arguments.vocabulary.is_empty() || !arguments.vocabulary_file.is_empty() {
        for vocabulary in
            super::vocabulary::chosen(&arguments.vocabulary, &arguments.vocabulary_file)?
        {
            names.add_vocabulary(&vocabulary, &signals);
        }
    }
    for name in &arguments.allow {
        names.trust(name);
    }
    for label in &arguments.label {
        names.target_label(label);
    }
    let mut inputs = Vec::new();
    for path in &arguments.files {
        let text = fs::read(path)
            .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
        let text = String::from_utf8(text)
            .map_err(|_| Failure::Usage(format!("{}: it is not UTF-8", path.display())))?;
        inputs.push(Input {
            name: path.display().to_string(),
            text,
        });
    }
    let report = lint::run(
        &inputs,
        &Options {
            names,
            ignored: arguments.ignore.clone(),
        },
    );
    print(&match arguments.format {
        Format::Text => lint::text(&report),
        Format::Json => lint::json(&report),
    })?;
    if !report.unreadable.is_empty() {
        return Err(Failure::Usage(format!(
            "{} files could not be read",
            report.unreadable.len()
        )));
    }
    let (errors, warnings) = (
        report.count(Severity::Error),
        report.count(Severity::Warning),
    );
    if errors > 0 || arguments.strict && warnings > 0 {
        return Err(Failure::Failed(format!(
            "{errors} errors, {warnings} warnings"
        )));
    }
    Ok(())
}
