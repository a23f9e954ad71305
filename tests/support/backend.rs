//! The example backend as a process.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::prometheus::Process;

/// Builds an example as it is now, and says where it is.
pub fn example(name: &str) -> PathBuf {
    // target/<profile>/deps/<this test>
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().unwrap().parent().unwrap();
    let mut build = Command::new(env!("CARGO"));
    build
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "--example", name, "--target-dir"])
        .arg(profile.parent().unwrap());
    if profile.ends_with("release") {
        build.arg("--release");
    }
    // With the features of this test, so that it is built already.
    if cfg!(not(feature = "service")) {
        build.args(["--no-default-features", "--features", "otlp"]);
    } else if cfg!(feature = "kafka") {
        build.args(["--features", "kafka"]);
    }
    assert!(build.status().unwrap().success(), "the example builds");
    profile.join("examples").join(name)
}

/// The backend with these settings and no others, and where it listens.
pub fn backend(settings: &[(&str, &str)]) -> (Process, String) {
    let mut command = Command::new(example("backend"));
    for (name, _) in std::env::vars() {
        if name.starts_with("OTEL_") || name.starts_with("TACHOGRAPH_") {
            command.env_remove(name);
        }
    }
    let mut child = command
        .args(["--listen", "127.0.0.1:0"])
        .env("OTEL_SERVICE_NAME", "backend")
        .envs(settings.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let process = Process(child);
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on http://").unwrap();
    (process, address.to_owned())
}
