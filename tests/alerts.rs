//! The rendered rules, their tests and the Alertmanager's settings, judged by Prometheus' own
//! tools.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::oracle::missing;
use tachograph::catalog::Signal;
use tachograph::generate::{self, Links};
use tachograph::signals::CATALOG;

/// Runs a tool in a folder; `None` if it is not installed.
fn run(tool: &str, package: &str, folder: &Path, arguments: &[&str]) -> Option<Output> {
    match Command::new(tool)
        .current_dir(folder)
        .args(arguments)
        .output()
    {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            missing(tool, &format!("apt-get install {package}"));
            None
        }
        Err(error) => panic!("{tool}: {error}"),
    }
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Renders signals into a new folder.
fn rendered(signals: &[&'static Signal]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let files = generate::files(signals, &Links::default());
    generate::write(folder.path(), &files).unwrap();
    folder
}

/// The files of a folder with an ending, below it.
fn names(folder: &Path, ending: &str) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| PathBuf::from(entry.unwrap().file_name()))
        .filter(|name| name.extension().is_some_and(|found| found == ending))
        .map(|name| name.display().to_string())
        .collect();
    names.sort();
    assert!(!names.is_empty(), "no .{ending} in {}", folder.display());
    names
}

fn promtool(folder: &Path, command: &[&str]) -> Option<Output> {
    let names = names(folder, "yaml");
    let mut arguments = command.to_vec();
    arguments.extend(names.iter().map(String::as_str));
    run("promtool", "prometheus", folder, &arguments)
}

#[test]
fn rules_are_valid_and_fire_when_they_should_and_only_then() {
    let folder = rendered(&generate::signals(CATALOG));
    let rules = folder.path().join("alerts");
    let Some(output) = promtool(&rules, &["check", "rules"]) else {
        return;
    };
    assert!(output.status.success(), "{}", said(&output));
    let output = promtool(&rules.join("tests"), &["test", "rules"]).unwrap();
    assert!(output.status.success(), "{}", said(&output));
}
