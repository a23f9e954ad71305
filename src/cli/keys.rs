//! `tachograph keys`.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

use super::{Failure, print};
use crate::service::auth::keys::{self, Key, Route};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The file of keys, which `auth.keys_file` names for the service.
    #[arg(long, global = true, value_name = "FILE", default_value = "keys.toml")]
    file: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Make a key and print it, this once; the file gets its digest.
    Create {
        /// Whose it is.
        name: String,
        /// How long it is good, such as `90d` or `1y`; for ever unless given.
        #[arg(long, value_name = "TIME")]
        expires_in: Option<Span>,
        /// What it is for.
        #[arg(long, value_enum, value_delimiter = ',', default_values_t = Route::ALL)]
        routes: Vec<Route>,
    },
    /// Show the keys of the file and their states.
    List,
    /// Take keys back: a running service refuses them within a second of the next use.
    Revoke {
        /// A key's id, or whose keys.
        key: String,
    },
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (file, now) = (arguments.file.as_path(), Timestamp::now());
    match &arguments.command {
        Command::Create {
            name,
            expires_in,
            routes,
        } => {
            let until = |span: Span| now.to_zoned(TimeZone::UTC).checked_add(span);
            let expires = match expires_in.map(until).transpose() {
                Ok(until) => until.map(|until| until.timestamp()),
                Err(error) => return Err(Failure::Usage(format!("--expires-in: {error}"))),
            };
            if expires.is_some_and(|expires| expires <= now) {
                return Err(Failure::Usage("--expires-in must be above 0".to_owned()));
            }
            create(file, name, routes.clone(), now, expires)
        }
        Command::List => list(file, now),
        Command::Revoke { key } => revoke(file, key, now),
    }
}

fn failed(reason: impl std::fmt::Display) -> Failure {
    Failure::Failed(reason.to_string())
}

/// The file's text, which is a file of keys; none is one without keys.
fn document(file: &Path) -> Result<DocumentMut, Failure> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed(format!("{}: {error}", file.display()))),
    };
    keys::parse(&text).map_err(|reason| failed(format!("{}: {reason}", file.display())))?;
    text.parse()
        .map_err(|error| failed(format!("{}: {error}", file.display())))
}

fn create(
    file: &Path,
    name: &str,
    routes: Vec<Route>,
    now: Timestamp,
    expires: Option<Timestamp>,
) -> Result<(), Failure> {
    if name.is_empty() {
        return Err(Failure::Usage("NAME must not be empty".to_owned()));
    }
    let mut document = document(file)?;
    let (key, shown) = Key::new(name, routes, now, expires).map_err(failed)?;
    let mut table = Table::new();
    table["id"] = value(&key.id);
    table["name"] = value(&key.name);
    table["sha256"] = value(&key.sha256);
    table["routes"] = value(
        key.routes
            .iter()
            .map(|route| route.name())
            .collect::<toml_edit::Array>(),
    );
    table["created"] = value(key.created.to_string());
    if let Some(expires) = key.expires {
        table["expires"] = value(expires.to_string());
    }
    let keys = document
        .entry("key")
        .or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    let keys = keys
        .as_array_of_tables_mut()
        .ok_or_else(|| failed(format!("{}: `key` is no list of tables", file.display())))?;
    keys.push(table);
    replace(file, &document.to_string())?;
    print(&format!("{shown}\n"))
}

fn list(file: &Path, now: Timestamp) -> Result<(), Failure> {
    let keys = keys::read(file).map_err(failed)?;
    let mut text = format!(
        "{:10} {:24} {:20} {:22} {}\n",
        "ID", "NAME", "ROUTES", "CREATED", "STATE"
    );
    for key in keys {
        let state = match (key.revoked, key.expires) {
            (Some(revoked), _) => format!("revoked {revoked:.0}"),
            (None, Some(expires)) if expires <= now => format!("expired {expires:.0}"),
            (None, Some(expires)) => format!("good until {expires:.0}"),
            (None, None) => "good".to_owned(),
        };
        let routes: Vec<&str> = key.routes.iter().map(|route| route.name()).collect();
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "{:10} {:24} {:20} {:22} {state}",
            key.id,
            key.name,
            routes.join(","),
            format!("{:.0}", key.created),
        );
    }
    print(&text)
}

fn revoke(file: &Path, which: &str, now: Timestamp) -> Result<(), Failure> {
    let good: Vec<Key> = keys::read(file).map_err(failed)?;
    let mut document = document(file)?;
    let tables = document["key"].as_array_of_tables_mut();
    let mut revoked = Vec::new();
    for (key, table) in good
        .iter()
        .zip(tables.into_iter().flat_map(|t| t.iter_mut()))
    {
        if (key.id == which || key.name == which) && key.revoked.is_none() {
            table["revoked"] = value(now.to_string());
            revoked.push(key.id.as_str());
        }
    }
    if revoked.is_empty() {
        let file = file.display();
        return Err(failed(format!(
            "{file}: no key has the id or name `{which}` and is not revoked"
        )));
    }
    replace(file, &document.to_string())?;
    print(&format!("revoked {}\n", revoked.join(", ")))
}

/// Writes the file whole or not at all; a new one is its owner's alone.
fn replace(file: &Path, text: &str) -> Result<(), Failure> {
    let beside = file.with_extension(format!("tachograph-{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut new = options.open(&beside)?;
        new.write_all(text.as_bytes())?;
        if let Ok(found) = fs::metadata(file) {
            new.set_permissions(found.permissions())?;
        }
        new.sync_all()?;
        fs::rename(&beside, file)
    };
    write().map_err(|error| {
        // Nothing of it is left; the first error is the one to tell.
        let _ = fs::remove_file(&beside);
        failed(format!("{}: {error}", file.display()))
    })
}
