//! A client's settings: changed in the one place that is ours, everything else as it was.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Failure;
use super::hooks::MARK;

/// Largest file of settings that is read, in bytes.
const LARGEST: u64 = 4 * 1024 * 1024;

/// Where settings are, and what they were before.
pub(super) struct Place {
    pub(super) path: PathBuf,
    backup: PathBuf,
}

impl Place {
    pub(super) fn new(path: &Path) -> Self {
        // What a link points to is changed, not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let backup = path.with_extension("json.before-tachograph");
        Self { path, backup }
    }

    /// The text of the settings; `None` where there are none.
    pub(super) fn read(&self) -> Result<Option<String>, Failure> {
        match fs::metadata(&self.path) {
            Ok(found) if found.len() > LARGEST => Err(failed(
                &self.path,
                format!("longer than {LARGEST} bytes, which is not accepted"),
            )),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            _ => fs::read_to_string(&self.path)
                .map(Some)
                .map_err(|error| failed(&self.path, error)),
        }
    }

    /// Keeps the text beside the settings.
    pub(super) fn back_up(&self, text: &str) -> Result<(), Failure> {
        replace(&self.backup, text, Some(&self.path))
    }

    pub(super) fn write(&self, text: &str) -> Result<(), Failure> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
        }
        replace(&self.path, text, Some(&self.path))
    }

    /// Puts back what was there before if these settings, ours taken out, are the same; else
    /// writes these.
    pub(super) fn restore(&self, settings: &Settings) -> Result<&'static str, Failure> {
        let text = settings.text();
        let same = |text: &str, other: &str| matches!((bare(text), bare(other)), (Some(one), Some(other)) if one == other);
        let backup = fs::read_to_string(&self.backup).ok();
        match backup {
            Some(backup) if same(&backup, &text) => {
                replace(&self.path, &backup, Some(&self.path))?;
                fs::remove_file(&self.backup).map_err(|error| failed(&self.backup, error))?;
                Ok("the hooks are taken out, and the settings are as they were")
            }
            None if same(&text, "{}") => {
                fs::remove_file(&self.path).map_err(|error| failed(&self.path, error))?;
                // Fails where the folder holds something else, and stays then.
                let _ = self.path.parent().map(fs::remove_dir);
                Ok("the hooks are taken out, and the file, which held nothing else, is removed")
            }
            _ => {
                replace(&self.path, &text, Some(&self.path))?;
                Ok(
                    "the hooks are taken out; the settings have changed otherwise since, which is kept",
                )
            }
        }
    }
}

/// Settings without hooks that hold nothing, which ours may have taken the place of.
fn bare(text: &str) -> Option<Value> {
    let mut value: Value = serde_json::from_str(text).ok()?;
    if let Some(hooks) = value.get_mut("hooks").and_then(Value::as_object_mut) {
        hooks.retain(|_, groups| groups.as_array().is_none_or(|groups| !groups.is_empty()));
        if hooks.is_empty() {
            value.as_object_mut()?.remove("hooks");
        }
    }
    Some(value)
}

fn failed(path: &Path, reason: impl fmt::Display) -> Failure {
    Failure::Failed(format!("{}: {reason}", path.display()))
}

/// Writes a file whole or not at all, with the permissions of `like`.
fn replace(path: &Path, text: &str, like: Option<&Path>) -> Result<(), Failure> {
    let beside = path.with_extension(format!("tachograph-{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&beside)?;
        file.write_all(text.as_bytes())?;
        if let Some(found) = like.and_then(|like| fs::metadata(like).ok()) {
            file.set_permissions(found.permissions())?;
        }
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|error| {
        // Nothing of it is left; the first error is the one to tell.
        let _ = fs::remove_file(&beside);
        failed(path, error)
    })
}

/// An object in the order of its text, values as they are written.
#[derive(Default)]
struct Object(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut entries: Vec<(String, Box<RawValue>)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if entries.iter().any(|(known, _)| *known == key) {
                        let message = format!("`{key}` is given twice");
                        return Err(serde::de::Error::custom(message));
                    }
                    entries.push((key, value));
                }
                Ok(Object(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// An array, elements as they are written.
#[derive(Default)]
struct Array(Vec<Box<RawValue>>);

impl<'de> Deserialize<'de> for Array {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements;
        impl<'de> Visitor<'de> for Elements {
            type Value = Array;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Array, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element()? {
                    elements.push(element);
                }
                Ok(Array(elements))
            }
        }
        deserializer.deserialize_seq(Elements)
    }
}

impl Object {
    fn get(&self, key: &str) -> Option<&RawValue> {
        let mut entries = self.0.iter();
        entries
            .find(|(known, _)| known == key)
            .map(|(_, value)| &**value)
    }
}

/// Settings that were read.
pub(super) struct Settings {
    path: PathBuf,
    all: Object,
    /// Events and their groups of hooks; `None`: the settings have no hooks.
    hooks: Option<Vec<(String, Array)>>,
    indent: String,
    newline: bool,
}

impl Settings {
    /// Reads settings; what is not as a client writes it is refused by line and column.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, Failure> {
        let refuse = |what: &str, error: serde_json::Error| {
            let reason = format!("{what}{error}; nothing was changed");
            Failure::Failed(format!("{}: {reason}", path.display()))
        };
        let all: Object = serde_json::from_str(text).map_err(|error| refuse("", error))?;
        let mut hooks = None;
        if let Some(raw) = all.get("hooks") {
            let events: Object =
                serde_json::from_str(raw.get()).map_err(|error| refuse("hooks: ", error))?;
            let mut read = Vec::new();
            for (event, raw) in events.0 {
                let groups = serde_json::from_str(raw.get());
                let groups = groups.map_err(|error| refuse(&format!("hooks.{event}: "), error))?;
                read.push((event, groups));
            }
            hooks = Some(read);
        }
        let indented = text.lines().find(|line| line.starts_with([' ', '\t']));
        let indent = indented.map_or("  ", |line| {
            &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
        });
        Ok(Self {
            path: path.to_owned(),
            all,
            hooks,
            indent: indent.to_owned(),
            newline: text.ends_with('\n') || text == "{}",
        })
    }

    /// Adds a group of hooks to an event.
    pub(super) fn add(&mut self, event: &str, group: &Value) -> Result<(), Failure> {
        let text = self.nested(group, 3);
        let raw = RawValue::from_string(text).map_err(|error| failed(&self.path, error))?;
        let hooks = self.hooks.get_or_insert_default();
        match hooks.iter_mut().find(|(known, _)| known == event) {
            Some((_, groups)) => groups.0.push(raw),
            None => hooks.push((event.to_owned(), Array(vec![raw]))),
        }
        Ok(())
    }

    /// Takes our hooks out: how many there were. Events that held nothing else keep their place.
    pub(super) fn remove(&mut self) -> Result<usize, Failure> {
        let mut removed = 0;
        let mut hooks = self.hooks.take();
        for (_, groups) in hooks.iter_mut().flatten() {
            let mut left = Vec::new();
            for group in std::mem::take(&mut groups.0) {
                let ours = ours(&group).len();
                removed += ours;
                match ours {
                    0 => left.push(group),
                    _ => left.extend(self.others(&group)?),
                }
            }
            groups.0 = left;
        }
        self.hooks = hooks;
        Ok(removed)
    }

    /// Drops events without hooks.
    pub(super) fn prune(&mut self) {
        if let Some(hooks) = &mut self.hooks {
            hooks.retain(|(_, groups)| !groups.0.is_empty());
        }
        self.hooks = self.hooks.take().filter(|hooks| !hooks.is_empty());
    }

    /// Our commands, by event.
    pub(super) fn commands(&mut self) -> Result<Vec<(String, String)>, Failure> {
        let hooks = self.hooks.iter().flatten();
        let found = hooks.flat_map(|(event, groups)| {
            let commands = groups.0.iter().flat_map(|group| ours(group));
            commands.map(|command| (event.clone(), command))
        });
        Ok(found.collect())
    }

    /// What a group of hooks holds beside ours; `None` if nothing.
    fn others(&self, group: &RawValue) -> Result<Option<Box<RawValue>>, Failure> {
        let mut value: Value =
            serde_json::from_str(group.get()).map_err(|error| failed(&self.path, error))?;
        let hooks = value.get_mut("hooks").and_then(Value::as_array_mut);
        let left = hooks.map_or(0, |hooks| {
            hooks.retain(|hook| command(hook).is_none());
            hooks.len()
        });
        if left == 0 {
            return Ok(None);
        }
        let raw = RawValue::from_string(self.nested(&value, 3));
        raw.map(Some).map_err(|error| failed(&self.path, error))
    }

    /// The text of a value that is `depth` levels down.
    fn nested(&self, value: &Value, depth: usize) -> String {
        let mut out = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(self.indent.as_bytes());
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
        // Writing a value to memory cannot fail, and JSON is UTF-8.
        let _ = serde::Serialize::serialize(value, &mut serializer);
        let text = String::from_utf8(out).unwrap_or_default();
        text.replace('\n', &format!("\n{}", self.indent.repeat(depth)))
    }

    /// The settings as text.
    pub(super) fn text(&self) -> String {
        let hooks = self.hooks.as_ref().map(|hooks| {
            let events = hooks.iter().map(|(event, groups)| {
                let groups = groups.0.iter().map(|group| group.get().to_owned());
                (
                    Some(&**event),
                    self.list('[', ']', 2, groups.map(|group| (None, group))),
                )
            });
            self.list('{', '}', 1, events)
        });
        let mut entries: Vec<(Option<&str>, String)> = Vec::new();
        for (key, value) in &self.all.0 {
            match (&**key, &hooks) {
                ("hooks", Some(hooks)) => entries.push((Some(key), hooks.clone())),
                ("hooks", None) => {}
                _ => entries.push((Some(key), value.get().to_owned())),
            }
        }
        if let (Some(hooks), None) = (hooks, self.all.get("hooks")) {
            entries.push((Some("hooks"), hooks));
        }
        let mut text = self.list('{', '}', 0, entries);
        if self.newline {
            text.push('\n');
        }
        text
    }

    /// An object or an array `depth` levels down, one entry a line.
    fn list<'k>(
        &self,
        open: char,
        close: char,
        depth: usize,
        entries: impl IntoIterator<Item = (Option<&'k str>, String)>,
    ) -> String {
        let mut lines = Vec::new();
        for (key, value) in entries {
            let key = key.map_or_else(String::new, |key| format!("{}: ", Value::from(key)));
            lines.push(format!("\n{}{key}{value}", self.indent.repeat(depth + 1)));
        }
        if lines.is_empty() {
            return format!("{open}{close}");
        }
        let last = self.indent.repeat(depth);
        format!("{open}{}\n{last}{close}", lines.join(","))
    }
}

/// The command of a hook that is ours.
fn command(hook: &Value) -> Option<&str> {
    hook.get("command")?
        .as_str()
        .filter(|command| command.contains(MARK))
}

/// Our commands in a group of hooks.
fn ours(group: &RawValue) -> Vec<String> {
    let Ok(value) = serde_json::from_str::<Value>(group.get()) else {
        return Vec::new();
    };
    let hooks = value.get("hooks").and_then(Value::as_array);
    let hooks = hooks.into_iter().flatten();
    hooks
        .filter_map(|hook| command(hook).map(str::to_owned))
        .collect()
}
