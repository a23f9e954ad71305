//! Tells the library which compiler built it, for `process.runtime.version`.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc)
        .arg("--version")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok());
    // `rustc 1.95.0 (...)`
    if let Some(version) = version.as_deref().and_then(|text| text.split(' ').nth(1)) {
        // Not `TACHOGRAPH_*`: `cargo run` hands it on, and those are configuration.
        println!("cargo::rustc-env=BUILD_RUSTC_VERSION={version}");
    }
}
