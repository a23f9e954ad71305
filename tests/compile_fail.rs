//! Declarations that do not compile, and what the compiler says of each.
//!
//! They are compiled with what this program is linked to, so that nothing is compiled a second
//! time for them. `BLESS=1 cargo test --test compile_fail` writes down what is said now.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const CASES: &str = "tests/compile_fail";

/// Files in a folder that have this beginning and this end.
fn files(folder: &Path, beginning: &str, end: &str) -> Vec<PathBuf> {
    let entries = folder.read_dir().unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with(beginning) && name.ends_with(end)
    });
    paths.sort();
    paths
}

/// The folder of what cargo compiled, and the library in it; of several the newest.
fn library() -> (PathBuf, PathBuf) {
    let folder = std::env::current_exe().unwrap();
    let folder = folder.parent().unwrap();
    let compiled = files(folder, "libtachograph-", ".rlib");
    let newest = compiled
        .into_iter()
        .max_by_key(|path| path.metadata().unwrap().modified().unwrap());
    (folder.to_owned(), newest.unwrap())
}

/// What the compiler says of a program that it refuses; `None`: it does not.
fn said(program: &Path, (folder, library): &(PathBuf, PathBuf)) -> Option<String> {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(compiler)
        .args(["--edition=2024", "--emit=metadata", "--out-dir"])
        .arg(env!("CARGO_TARGET_TMPDIR"))
        .arg(format!("--extern=tachograph={}", library.display()))
        .arg(format!("-Ldependency={}", folder.display()))
        .arg(program)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    // Without how many errors there were, and where their codes are explained.
    let errors = said.split("\nerror: aborting due to ").next();
    (!output.status.success()).then(|| errors.unwrap_or_default().to_owned())
}

#[test]
fn bad_declarations_do_not_compile() {
    let library = library();
    let bless = std::env::var_os("BLESS").is_some();
    let cases = files(Path::new(CASES), "", ".rs");
    assert!(!cases.is_empty());
    let mut wrong = String::new();
    for case in cases {
        let file = case.with_extension("stderr");
        let (name, Some(said)) = (case.display(), said(&case, &library)) else {
            wrong += &format!("{} compiles\n", case.display());
            continue;
        };
        if bless {
            fs::write(&file, &said).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if said != expected {
            wrong += &format!("of {name} is said:\n{said}\nexpected:\n{expected}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
