//! The vocabularies a process knows: the built-in ones and those of its configuration.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::builtin;
use super::model::{Fault, Vocabulary};
use super::read::meant;
use super::set::Set;
use crate::catalog::Signal;

/// Which vocabularies a process serves and exports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Served on the page beside our own names.
    pub serve: Vec<String>,
    /// Files that are known beside the built-in ones.
    pub files: Vec<PathBuf>,
    /// Exported over OTLP beside our own names.
    pub export: Vec<String>,
}

/// A setting that is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("vocabulary.{field}: {message}")]
pub struct Refused {
    /// `serve`, `files` or `export`.
    pub field: &'static str,
    /// What is wrong, and what is accepted.
    pub message: String,
}

/// Sets of vocabularies that are remembered.
const REMEMBERED: usize = 32;

type Read = Result<Vocabulary, Vec<Fault>>;

/// The vocabularies that can be asked for. Built-in ones are read when they first are.
#[derive(Debug, Default)]
pub struct Library {
    signals: Vec<&'static Signal>,
    own: Vec<Vocabulary>,
    builtin: [OnceLock<Read>; builtin::NAMES.len()],
    served: Arc<Set>,
    exported: Arc<Set>,
    /// What was asked for before.
    alone: Mutex<HashMap<Vec<String>, Arc<Set>>>,
}

impl Library {
    /// The built-in ones alone.
    pub fn new(signals: impl IntoIterator<Item = &'static Signal>) -> Self {
        Self {
            signals: signals.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Reads the files, and what is served and exported.
    ///
    /// # Errors
    /// Everything that is not accepted.
    pub fn load(wanted: &Wanted, signals: &[&'static Signal]) -> Result<Self, Vec<Refused>> {
        let mut refused = Vec::new();
        let mut library = Self::new(signals.iter().copied());
        for file in &wanted.files {
            if let Err(messages) = library.read(file) {
                refused.extend(messages.into_iter().map(|message| Refused {
                    field: "files",
                    message,
                }));
            }
        }
        let mut set = |field, names: &[String]| match library.beside(names) {
            Ok(set) => set,
            Err(messages) => {
                refused.extend(
                    messages
                        .into_iter()
                        .map(|message| Refused { field, message }),
                );
                Arc::default()
            }
        };
        let served = set("serve", &wanted.serve);
        let exported = set("export", &wanted.export);
        (library.served, library.exported) = (served, exported);
        match refused.is_empty() {
            true => Ok(library),
            false => Err(refused),
        }
    }

    fn read(&mut self, file: &std::path::Path) -> Result<(), Vec<String>> {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file)
            .map_err(|error| vec![format!("`{name}` cannot be read: {error}")])?;
        let vocabulary = Vocabulary::parse(&text, &self.signals).map_err(|faults| {
            faults
                .iter()
                .map(|f| format!("{name}:{f}"))
                .collect::<Vec<_>>()
        })?;
        if self.names().any(|known| known == vocabulary.name) {
            return Err(vec![format!(
                "{name}: there is a vocabulary `{}` already; choose another name",
                vocabulary.name
            )]);
        }
        self.own.push(vocabulary);
        Ok(())
    }

    /// Names of the vocabularies that can be asked for.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let own = self.own.iter().map(|vocabulary| &*vocabulary.name);
        builtin::NAMES.into_iter().chain(own)
    }

    /// A vocabulary by its name.
    ///
    /// # Errors
    /// There is none, or its file does not fit the signals.
    pub fn find(&self, name: &str) -> Result<&Vocabulary, String> {
        if let Some(own) = self.own.iter().find(|v| v.name == name) {
            return Ok(own);
        }
        let unknown = || {
            let shown: String = name.chars().take(64).collect();
            let near = meant(&shown, self.names());
            let known: Vec<&str> = self.names().collect();
            format!(
                "there is no vocabulary `{shown}`;{near} accepted: {}",
                known.join(", ")
            )
        };
        let at = builtin::NAMES.iter().position(|known| *known == name);
        let cell = at.and_then(|at| self.builtin.get(at)).ok_or_else(unknown)?;
        let read = cell
            .get_or_init(|| builtin::load(name, &self.signals).unwrap_or_else(|| Err(Vec::new())));
        read.as_ref().map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(|f| format!("line {f}")).collect();
            format!(
                "vocabulary `{name}` does not fit the signals of this process: {}",
                faults.join("; ")
            )
        })
    }

    fn chosen(&self, names: &[String]) -> Result<Vec<&Vocabulary>, Vec<String>> {
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for name in names {
            match self.find(name) {
                Ok(vocabulary) => found.push(vocabulary),
                Err(message) => missing.push(message),
            }
        }
        match missing.is_empty() {
            true => Ok(found),
            false => Err(missing),
        }
    }

    fn set(
        &self,
        names: &[String],
        canonical: &[&'static Signal],
    ) -> Result<Arc<Set>, Vec<String>> {
        let set = Set::new(&self.chosen(names)?, canonical);
        set.map(Arc::new)
            .map_err(|clashes| clashes.iter().map(ToString::to_string).collect())
    }

    fn beside(&self, names: &[String]) -> Result<Arc<Set>, Vec<String>> {
        match names.is_empty() {
            true => Ok(Arc::default()),
            false => self.set(names, &self.signals),
        }
    }

    /// The families of some vocabularies without our own names.
    ///
    /// # Errors
    /// One is not known, or two differ in a family.
    pub fn alone(&self, names: &[String]) -> Result<Arc<Set>, String> {
        if let Some(set) = self.alone.lock().get(names) {
            return Ok(Arc::clone(set));
        }
        let set = self
            .set(names, &[])
            .map_err(|messages| messages.join("; "))?;
        let mut known = self.alone.lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(names.to_vec(), Arc::clone(&set));
        Ok(set)
    }

    /// The families served beside our own names.
    #[must_use]
    pub fn served(&self) -> &Arc<Set> {
        &self.served
    }

    /// The families exported beside our own names.
    #[must_use]
    pub fn exported(&self) -> &Arc<Set> {
        &self.exported
    }
}
