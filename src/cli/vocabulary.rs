//! `tachograph vocabulary`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{Failure, print};
use crate::vocabulary::{Origin, Vocabulary, builtin, declared};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Read a vocabulary file and say everything that is wrong with it, by line.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Show what each vocabulary serves, and what the rest waits for.
    Status {
        /// Built-in vocabularies; all unless named.
        names: Vec<String>,
        /// A vocabulary file, instead or beside.
        #[arg(long, value_name = "FILE")]
        vocabulary_file: Vec<PathBuf>,
    },
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Check { file } => {
            let vocabulary = load(file)?;
            let waiting = waiting(&vocabulary);
            print(&format!(
                "{}: vocabulary `{}` is right: {} families, {waiting} of them wait for signals\n",
                file.display(),
                vocabulary.name,
                vocabulary.families.len(),
            ))
        }
        Command::Status {
            names,
            vocabulary_file,
        } => {
            let mut text = String::new();
            for vocabulary in chosen(names, vocabulary_file)? {
                status(&mut text, &vocabulary);
            }
            print(&text)
        }
    }
}

fn waiting(vocabulary: &Vocabulary) -> usize {
    let waits = |family: &&crate::vocabulary::Family| family.mapping().is_none();
    vocabulary.families.iter().filter(waits).count()
}

/// The vocabularies of these names and files; all built-in ones without either.
pub(super) fn chosen(names: &[String], files: &[PathBuf]) -> Result<Vec<Vocabulary>, Failure> {
    let mut found = Vec::new();
    let all: Vec<String> = builtin::NAMES.map(str::to_owned).to_vec();
    let names = match (names, files) {
        ([], []) => &all,
        (names, _) => names,
    };
    for name in names {
        match builtin::load(name, &declared()) {
            Some(Ok(vocabulary)) => found.push(vocabulary),
            Some(Err(faults)) => return Err(refused(name, &faults)),
            None => {
                return Err(Failure::Usage(format!(
                    "there is no vocabulary `{name}`; accepted: {}",
                    builtin::NAMES.join(", ")
                )));
            }
        }
    }
    for file in files {
        found.push(load(file)?);
    }
    Ok(found)
}

fn load(file: &Path) -> Result<Vocabulary, Failure> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::Usage(format!("{name}: cannot be read: {error}")))?;
    Vocabulary::parse(&text, &declared()).map_err(|faults| refused(&name, &faults))
}

fn refused(name: &str, faults: &[crate::vocabulary::Fault]) -> Failure {
    let mut text = match faults.len() {
        1 => format!("{name} has a fault:"),
        count => format!("{name} has {count} faults:"),
    };
    for fault in faults {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "\n  {name}:{fault}");
    }
    Failure::Failed(text)
}

fn status(text: &mut String, vocabulary: &Vocabulary) {
    let all = vocabulary.families.len();
    let served = all - waiting(vocabulary);
    let width = vocabulary.families.iter().map(|family| family.name.len());
    let width = width.max().unwrap_or_default();
    // Writing to a `String` cannot fail.
    let _ = writeln!(
        text,
        "{}: {served} of {all} families served ({})",
        vocabulary.name, vocabulary.title
    );
    for family in &vocabulary.families {
        let (state, why) = match &family.origin {
            Origin::Mapped(mapping) => ("served", mapping.sources.join(", ")),
            Origin::Waits(what) => ("waits ", what.clone()),
        };
        let _ = writeln!(
            text,
            "  {state}  {:9}  {:width$}  {why}",
            family.kind, family.name
        );
    }
    text.push('\n');
}
