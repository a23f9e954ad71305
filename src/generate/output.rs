//! The rendered files on disk: which there are, how they are written, and whether they drifted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::alerts::{self, Links};
use super::{dashboards, runbooks};
use crate::catalog::Signal;

/// A rendered file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Path below the root, with `/` between its parts.
    pub path: String,
    /// Content.
    pub text: String,
}

/// Folders, each with the ending of the files in it that are rendered: what else of that ending
/// lies there belongs to a signal that is no longer declared.
const OWNED: &[(&str, &str)] = &[
    ("dashboards", "json"),
    ("alerts", "yaml"),
    ("alerts", "yml"),
    ("alerts/templates", "tmpl"),
    ("alerts/tests", "yaml"),
    ("deploy/kubernetes/rules", "yaml"),
    ("docs/reference", "json"),
    ("docs/reference", "md"),
    ("docs/runbooks", "md"),
];

/// How a file on disk differs from its rendering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// It is not there.
    Missing,
    /// Its content is another.
    Differs,
    /// Nothing renders it any more.
    Stale,
}

/// Why the files cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {error}")]
pub struct OutputError {
    /// The file or folder.
    pub path: String,
    /// What the system says.
    pub error: io::Error,
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> OutputError {
    let path = path.display().to_string();
    move |error| OutputError { path, error }
}

/// Every rendering of the signals, ordered by path.
#[must_use]
pub fn files(signals: &[&'static Signal], links: &Links) -> Vec<File> {
    let mut files = vec![File {
        path: "docs/reference/metrics.md".to_owned(),
        text: super::reference::page(signals),
    }];
    #[cfg(feature = "service")]
    files.extend(super::configuration::files());
    files.extend(dashboards::files(signals, dashboards::DASHBOARDS));
    files.extend(alerts::files(signals, links));
    files.extend(alerts::rule_tests::test_files(signals, links));
    files.extend(alerts::alertmanager::files(signals));
    files.extend(alerts::kubernetes::files(signals, links));
    files.extend(runbooks::files(signals, links));
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// The files below `root` that differ from `files`, ordered by path.
///
/// # Errors
/// When a file or folder cannot be read.
pub fn drift(root: &Path, files: &[File]) -> Result<Vec<(String, Drift)>, OutputError> {
    let mut found = Vec::new();
    for file in files {
        let path = root.join(&file.path);
        match fs::read(&path) {
            Ok(bytes) if bytes == file.text.as_bytes() => {}
            Ok(_) => found.push((file.path.clone(), Drift::Differs)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                found.push((file.path.clone(), Drift::Missing));
            }
            Err(error) => return Err(failed(&path)(error)),
        }
    }
    for (folder, ending) in OWNED {
        let path = root.join(folder);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(&path)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(failed(&path))?;
            let name = PathBuf::from(entry.file_name());
            if name.extension().is_some_and(|found| found == *ending) {
                let path = format!("{folder}/{}", name.display());
                if !files.iter().any(|file| file.path == path) {
                    found.push((path, Drift::Stale));
                }
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// Writes what differs and removes what is stale; returns what was done. Each file is replaced
/// as a whole.
///
/// # Errors
/// When a file or folder cannot be read or written.
pub fn write(root: &Path, files: &[File]) -> Result<Vec<(String, Drift)>, OutputError> {
    let drift = drift(root, files)?;
    for (name, kind) in &drift {
        let path = root.join(name);
        if *kind == Drift::Stale {
            fs::remove_file(&path).map_err(failed(&path))?;
        } else if let Some(file) = files.iter().find(|file| file.path == *name) {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(failed(parent))?;
            }
            let mut part = path.clone().into_os_string();
            part.push(".part");
            let part = PathBuf::from(part);
            fs::write(&part, &file.text).map_err(failed(&part))?;
            fs::rename(&part, &path).map_err(failed(&path))?;
        }
    }
    Ok(drift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_differs_and_removes_what_is_stale() {
        let root = tempfile::tempdir().unwrap();
        let file = |path: &str, text: &str| File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let files = [
            file("alerts/http.yaml", "a\n"),
            file("dashboards/llm.json", "{}\n"),
        ];
        fs::create_dir(root.path().join("alerts")).unwrap();
        for (path, text) in [
            ("alerts/http.yaml", "old"),
            ("alerts/gone.yaml", ""),
            ("alerts/README.md", ""),
        ] {
            fs::write(root.path().join(path), text).unwrap();
        }
        let expected = vec![
            ("alerts/gone.yaml".to_owned(), Drift::Stale),
            ("alerts/http.yaml".to_owned(), Drift::Differs),
            ("dashboards/llm.json".to_owned(), Drift::Missing),
        ];
        assert_eq!(drift(root.path(), &files).unwrap(), expected);
        assert_eq!(write(root.path(), &files).unwrap(), expected);
        assert_eq!(drift(root.path(), &files).unwrap(), vec![]);
        assert!(root.path().join("alerts/README.md").exists());
        assert!(!root.path().join("alerts/gone.yaml").exists());
    }
}
