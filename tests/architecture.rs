//! The rooms of the house: a room imports only rooms below it.
#![allow(clippy::unwrap_used)]

use std::path::Path;

/// From the ground up.
const ROOMS: [&str; 17] = [
    "catalog",
    "recording",
    "signals",
    "usage",
    "prices",
    "vocabulary",
    "pipeline",
    "exposition",
    "ledger",
    "instrumentation",
    "testing",
    "collectors",
    "ingest",
    "service",
    "generate",
    "lint",
    "cli",
];

fn sources(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The code of a file: no comments, no strings' worth of difference to imports.
fn code(text: &str) -> String {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The rooms that a piece of code names through `crate::`, in groups too.
fn named(code: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 1;
            let mut item = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
                if depth == 1 && c == ',' {
                    rooms.push(std::mem::take(&mut item));
                } else {
                    item.push(c);
                }
            }
            rooms.push(item);
        } else {
            rooms.push(rest.to_owned());
        }
    }
    rooms
        .into_iter()
        .map(|path| {
            path.trim_start()
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect()
        })
        .collect()
}

#[test]
fn rooms_import_only_rooms_below() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut faults = Vec::new();
    for (floor, room) in ROOMS.iter().enumerate() {
        let mut files = Vec::new();
        sources(&root.join(room), &mut files);
        assert!(!files.is_empty(), "src/{room} is empty");
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for other in named(&code(&text)) {
                if let Some(found) = ROOMS.iter().position(|r| *r == other)
                    && found > floor
                {
                    let file = file.strip_prefix(&root).unwrap().display().to_string();
                    faults.push(format!(
                        "src/{file} imports {other}, which lies above {room}"
                    ));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_room_is_known() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert!(
                ROOMS.contains(&name.as_str()),
                "src/{name} has no place in the house"
            );
        }
    }
}

#[test]
fn architecture_names_the_rooms_in_order() {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md"))
            .unwrap();
    let mut last = 0;
    for room in ROOMS {
        let at = text
            .find(&format!("| `src/{room}/` |"))
            .unwrap_or_else(|| panic!("docs/architecture.md has no row for src/{room}/"));
        assert!(
            at > last,
            "docs/architecture.md lists src/{room}/ out of order"
        );
        last = at;
    }
}

#[test]
fn files_stay_readable() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    for file in files {
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        let declarations = file.components().any(|c| c.as_os_str() == "signals");
        let limit = if declarations { 900 } else { 700 };
        assert!(
            lines <= limit,
            "{} has {lines} lines; make it two",
            file.display()
        );
    }
}

#[test]
fn finds_imports_in_groups() {
    let found =
        named("use crate::{catalog::Signal, ledger::{A, B}};\nlet x = crate::service::run;");
    assert_eq!(found, ["catalog", "ledger", "service"]);
}
