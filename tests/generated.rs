//! The committed renderings are those of the catalog.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use tachograph::generate;
use tachograph::signals::CATALOG;

/// Rewrites what drifted, so that a look at the difference is all that is left to do; under
/// `CI=true` nothing is written. What is rendered depends on what is built in.
#[cfg(feature = "service")]
#[test]
fn files_are_as_rendered() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = generate::files(&generate::signals(CATALOG), &generate::Links::default());
    let drift = if std::env::var("CI").as_deref() == Ok("true") {
        generate::drift(root, &files).unwrap()
    } else {
        generate::write(root, &files).unwrap()
    };
    assert!(
        drift.is_empty(),
        "rendered anew; commit the result of `tachograph generate`: {drift:#?}"
    );
}

/// The command writes links as it is told to, finds what drifted, and says what it did.
#[cfg(feature = "service")]
#[test]
fn the_command_writes_links_as_told_and_finds_drift() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tachograph"));
        command.env_clear().current_dir(folder.path());
        let output = command.arg("generate").args(arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let links = [
        "--runbooks-url",
        "https://example.com/runbooks/",
        "--grafana-url",
        "https://grafana.example.com",
    ];
    let (written, said) = run(&links);
    assert!(written, "{said}");
    assert!(said.contains("written: alerts/http.yaml\n"), "{said}");
    let rules = std::fs::read_to_string(folder.path().join("alerts/http.yaml")).unwrap();
    for link in [
        "runbook_url: \"https://example.com/runbooks/HttpServerErrors.md\"",
        "dashboard: \"https://grafana.example.com/d/tachograph-api?var-job={{ $labels.job | urlquery }}\"",
    ] {
        assert!(rules.contains(link), "{link}");
    }
    let (same, said) = run(&[&["--check"], &links[..]].concat());
    assert!(same, "{said}");
    let (same, said) = run(&["--check"]);
    assert!(
        !same && said.contains("differs: alerts/http.yaml\n"),
        "{said}"
    );
}
