//! The ledger: its server, or its file and the disk that it is on.

use std::path::Path;
use std::time::Duration;

use rustix::fs::{Access, access, statvfs};

use super::LIMIT;
use super::finding::Finding;
use super::system::{mode, shown};
use crate::ledger::{
    Content, Inspection, Integrity, LedgerConfig, Reached, Unreached, inspect, reach,
};
use crate::service::config::ServiceConfig;

const MIB: u64 = 1024 * 1024;
/// The write-ahead log alone may take as much between two checkpoints.
const LEAST_FREE: u64 = 128 * MIB;
const LITTLE_FREE: u64 = 1024 * MIB;
/// It is kept to 64 MiB unless a reader holds it.
const LONG_LOG: u64 = 256 * MIB;

pub(super) async fn check(config: &ServiceConfig) -> Vec<Finding> {
    let config = LedgerConfig::new(config.database.clone());
    if config.database.starts_with("postgres") {
        return server(&config).await;
    }
    // A disk that is away can make any question to it hang.
    let looking = tokio::time::timeout(LIMIT, look(config));
    looking.await.unwrap_or_else(|_| {
        let found = format!("its disk did not answer within {LIMIT:?}");
        vec![Finding::error("database", found).advise("check the mount that holds it")]
    })
}

/// What the server says, which schema the ledger has, and what the role may do.
async fn server(config: &LedgerConfig) -> Vec<Finding> {
    let shown = crate::pipeline::config::show::masked_url(&config.database);
    match reach(config, LIMIT).await {
        Ok(reached) => reached_server(&shown, &reached),
        Err(said) => vec![unreached(&shown, &said)],
    }
}

fn unreached(shown: &str, said: &Unreached) -> Finding {
    // Class 28: not let in. 3D000: no such database. 53300: too many connections.
    let advice = match said.code.as_deref() {
        Some("3D000") => "create it (`createdb NAME`), or name another one",
        Some("42501") => "grant the role CONNECT on the database",
        Some("53300") => "raise `max_connections`, or end connections that are not needed",
        Some(code) if code.starts_with("28") => {
            "check user and password, and what the server's pg_hba.conf lets in"
        }
        Some(_) => "the server's log has more; ask again when it is ready",
        None => "check the address, that the server runs, what is between, and `sslmode`",
    };
    Finding::error("database", format!("{shown}: {}", said.said)).advise(advice)
}

fn reached_server(shown: &str, reached: &Reached) -> Vec<Finding> {
    let (check, permissions) = ("database", "database.permissions");
    let role = &reached.role;
    let mut findings = vec![match (reached.schema, reached.known_schema) {
        (Some(schema), known) if schema > known => Finding::error(
            check,
            format!("{shown}: schema {schema}, and this version knows {known} at most"),
        )
        .advise("run the version that wrote it, or a later one"),
        (Some(schema), known) if schema < known => Finding::warning(
            check,
            format!("{shown}: schema {schema}; the next start brings it to {known}"),
        )
        .advise("back it up first: earlier versions cannot read it afterwards"),
        (Some(schema), _) => Finding::ok(check, format!("{shown}, schema {schema}")),
        (None, _) if !reached.denied.is_empty() => {
            Finding::ok(check, format!("{shown}, with tables that are not readable"))
        }
        (None, _) => Finding::ok(check, format!("{shown}; the service creates its tables")),
    }];
    if let Some(why) = reached.read_only {
        findings.push(
            Finding::error("database.read_only", format!("{role} cannot write: {why}")).advise(
                "name the primary, or `ALTER ROLE … SET default_transaction_read_only = off`",
            ),
        );
    }
    if !reached.creates {
        findings.push(
            Finding::error(permissions, format!("{role} may not create tables"))
                .advise("`GRANT CREATE ON SCHEMA public TO …`: every start needs it"),
        );
    }
    if !reached.denied.is_empty() {
        let denied = reached.denied.join(", ");
        findings.push(
            Finding::error(permissions, format!("{role} lacks {denied}")).advise(
                "let the role own the tables; a change of the schema needs that in any case",
            ),
        );
    }
    if findings.iter().all(|finding| finding.check != permissions) {
        findings.push(Finding::ok(permissions, format!("{role} may write")));
    }
    findings
}

async fn look(config: LedgerConfig) -> Vec<Finding> {
    let inspected = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| error.to_string())?;
        let patience = config.busy_timeout.min(LIMIT / 2) - Duration::from_millis(100);
        let looked = runtime.block_on(inspect(&config, patience));
        let found = looked.map_err(|error| error.to_string())?;
        let mut findings = judge(&found);
        findings.extend(surroundings(&found));
        Ok::<_, String>(findings)
    });
    match inspected.await.map_err(|error| error.to_string()) {
        Ok(Ok(findings)) => findings,
        Ok(Err(said)) | Err(said) => vec![Finding::error("database", said)],
    }
}

/// What the inspection says.
fn judge(found: &Inspection) -> Vec<Finding> {
    let check = "database";
    let path = found.path.display();
    let mut findings = Vec::new();
    let by = match found.open_by {
        Some(pid) => format!(", open by process {pid}"),
        None => String::new(),
    };
    match (&found.content, found.size) {
        (None, _) => findings.push(Finding::ok(
            check,
            format!("{path} does not exist; the service creates it"),
        )),
        (Some(Err(said)), _) => findings.push(unreadable(&path.to_string(), said)),
        (Some(Ok(content)), size) => {
            let size = shown(size.unwrap_or(0));
            findings.push(schema(&format!("{path}, {size}{by}"), content));
            findings.push(match &content.integrity {
                Integrity::Sound => {
                    Finding::ok("database.integrity", "SQLite's quick check passed")
                }
                Integrity::Damaged(said) => {
                    Finding::error("database.integrity", format!("damaged: {said}")).advise(
                        "stop the service, keep a copy, and restore a backup, or \
                         `sqlite3 FILE .recover`; docs/operations.md says how",
                    )
                }
                Integrity::Unfinished => {
                    Finding::skipped("database.integrity", "the check takes longer than it may")
                        .advise("run `sqlite3 FILE 'PRAGMA quick_check'` at a quiet time")
                }
            });
        }
    }
    if let Some(pid) = found.locked_by {
        findings.push(
            Finding::error(
                "database.lock",
                format!("process {pid} holds the lock of writers; records are refused meanwhile"),
            )
            .advise(format!(
                "end what it does there (`ps -p {pid}` names it); a service under full load may \
                 look alike: ask again"
            )),
        );
    }
    if let Some(size) = found.log_size.filter(|size| *size > LONG_LOG) {
        let found = format!("the write-ahead log has {}", shown(size));
        findings.push(Finding::warning("database.log", found).advise(
            "a reader that stays in one transaction keeps it from being moved into the \
             database: end such readers",
        ));
    }
    findings
}

fn unreadable(path: &str, said: &str) -> Finding {
    let finding = Finding::error("database", format!("{path} cannot be read: {said}"));
    // SQLITE_NOTADB and SQLITE_CORRUPT, SQLITE_BUSY, SQLITE_CANTOPEN
    if said.contains("not a database") || said.contains("malformed") {
        finding.advise("restore a backup, or name another file with --database")
    } else if said.contains("locked") {
        finding.advise("another process locks the whole file: end it")
    } else {
        finding.advise("let the service's user read and write it and its folder")
    }
}

fn schema(what: &str, content: &Content) -> Finding {
    let check = "database";
    let known = content.known_schema;
    if !content.ledger {
        return Finding::error(check, format!("{what}: a database of another application"))
            .advise("name another file with --database; this one is left alone");
    }
    match content.schema {
        Some(version) if version > known => Finding::error(
            check,
            format!("{what}: schema {version}, and this version knows {known} at most"),
        )
        .advise("run the version that wrote it, or a later one"),
        Some(version) if version < known => Finding::warning(
            check,
            format!("{what}: schema {version}; the next start brings it to {known}"),
        )
        .advise("back it up first: earlier versions cannot read it afterwards"),
        Some(version) => Finding::ok(check, format!("{what}, schema {version}")),
        None => Finding::ok(check, format!("{what}, empty")),
    }
}

/// Permissions and room on the disk.
fn surroundings(found: &Inspection) -> Vec<Finding> {
    let mut findings = Vec::new();
    let folder = match found.path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let name = folder.display();
    let check = "database.permissions";
    // The log and the shared memory are made beside the file.
    if let Err(error) = access(folder, Access::WRITE_OK | Access::EXEC_OK) {
        findings.push(
            Finding::error(check, format!("nothing can be created in {name}: {error}"))
                .advise("create the folder, or let the service's user write there"),
        );
        return findings;
    }
    let writable = access(&found.path, Access::READ_OK | Access::WRITE_OK);
    match (found.size, writable, mode(&found.path)) {
        (Some(_), Err(error), _) => findings.push(
            Finding::error(
                check,
                format!("{} is not writable: {error}", found.path.display()),
            )
            .advise("let the service's user write it (`chown`, `chmod 600`)"),
        ),
        (Some(_), Ok(()), Some(mode)) if mode & 0o077 != 0 => findings.push(
            Finding::warning(check, format!("other users have access: mode {mode:03o}")).advise(
                format!(
                    "`chmod 600 {}`; records can be personal",
                    found.path.display()
                ),
            ),
        ),
        _ => findings.push(Finding::ok(check, "this user can write there")),
    }
    findings.push(match statvfs(folder) {
        Ok(disk) => room(
            disk.f_bavail.saturating_mul(disk.f_frsize),
            &name.to_string(),
        ),
        Err(error) => Finding::skipped("disk", format!("{name}: {error}")),
    });
    findings
}

fn room(free: u64, folder: &str) -> Finding {
    let found = format!("{} free for {folder}", shown(free));
    let advice =
        "make room: records are refused when the disk is full; nothing is deleted by itself";
    match free {
        0..LEAST_FREE => Finding::error("disk", found).advise(advice),
        LEAST_FREE..LITTLE_FREE => Finding::warning("disk", found).advise(advice),
        _ => Finding::ok("disk", found),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    fn content(schema: i64) -> Content {
        Content {
            ledger: true,
            schema: Some(schema),
            known_schema: 3,
            integrity: Integrity::Sound,
        }
    }

    #[test]
    fn schemas_and_room_are_judged() {
        for (version, severity) in [
            (2, Severity::Warning),
            (3, Severity::Ok),
            (4, Severity::Error),
        ] {
            assert_eq!(schema("x", &content(version)).severity, severity);
        }
        for (free, severity) in [
            (MIB, Severity::Error),
            (200 * MIB, Severity::Warning),
            (2048 * MIB, Severity::Ok),
        ] {
            assert_eq!(room(free, "x").severity, severity);
        }
    }

    #[test]
    fn a_long_log_and_an_unfinished_check_are_said() {
        let found = Inspection {
            path: "x.db".into(),
            size: Some(1),
            log_size: Some(300 * MIB),
            open_by: None,
            locked_by: Some(7),
            content: Some(Ok(Content {
                integrity: Integrity::Unfinished,
                ..content(3)
            })),
        };
        let said: Vec<_> = judge(&found)
            .into_iter()
            .map(|f| (f.check, f.severity))
            .collect();
        let expected = [
            ("database", Severity::Ok),
            ("database.integrity", Severity::Skipped),
            ("database.lock", Severity::Error),
            ("database.log", Severity::Warning),
        ];
        assert_eq!(
            said,
            expected.map(|(check, severity)| (check.to_owned(), severity))
        );
    }
}
