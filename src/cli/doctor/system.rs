//! Files that are configured, and limits of the process.

use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::finding::Finding;
use crate::pipeline::config::{Loaded, OtlpSignal, show};
use crate::service::config::ServiceConfig;

/// Descriptors beside those of connections: database, log, listeners, exporters, threads.
const OTHER_DESCRIPTORS: u64 = 64;

/// Permission bits, where the system has them.
#[cfg(unix)]
pub(super) fn mode(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = std::fs::metadata(path).ok()?;
    Some(metadata.permissions().mode() & 0o777)
}

#[cfg(not(unix))]
pub(super) fn mode(_: &Path) -> Option<u32> {
    None
}

/// A size in bytes for a reader.
pub(super) fn shown(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        unit => format!("{value:.1} {}", units[unit]),
    }
}

/// Whether others can read what is secret.
pub(super) fn files(
    loaded: &Loaded<ServiceConfig>,
    file: Option<&Path>,
    findings: &mut Vec<Finding>,
) {
    let open = |path: &Path| mode(path).filter(|mode| mode & 0o077 != 0);
    if let Some(path) = file {
        let name = path.display().to_string();
        let secret = loaded.origins.set_by(&name).any(show::is_secret);
        findings.push(match open(path).filter(|_| secret) {
            Some(mode) => Finding::warning(
                "files",
                format!("{name} holds secrets, and other users have access: mode {mode:03o}"),
            )
            .advise(format!(
                "`chmod 600 {name}`, and change the secrets if others may have read it"
            )),
            None => Finding::ok("files", format!("{name} shows no secrets to other users")),
        });
    }
    let otlp = &loaded.config.telemetry.otlp;
    let own = OtlpSignal::ALL.map(|signal| otlp.signal(signal).client_key.as_deref());
    let mut keys: Vec<&str> = own
        .into_iter()
        .chain([otlp.client_key.as_deref()])
        .flatten()
        .collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        if let Some(mode) = open(Path::new(key)) {
            let found =
                format!("{key} is a private key, and other users have access: mode {mode:03o}");
            findings.push(Finding::warning("files", found).advise(format!("`chmod 600 {key}`")));
        }
    }
}

/// Whether there are as many file descriptors as connections may need.
pub(super) fn descriptors(config: &ServiceConfig) -> Finding {
    judge(
        getrlimit(Resource::Nofile).current,
        config.limits.connections as u64,
    )
}

fn judge(limit: Option<u64>, connections: u64) -> Finding {
    let check = "limits.descriptors";
    let needed = connections + OTHER_DESCRIPTORS;
    match limit {
        Some(limit) if limit < needed => Finding::warning(
            check,
            format!("{limit} files may be open here, and {connections} connections need {needed}"),
        )
        .advise("raise it (`ulimit -n`, systemd's LimitNOFILE=), or lower `limits.connections`"),
        Some(limit) => Finding::ok(
            check,
            format!("{limit} files may be open here; a service manager may set another limit"),
        ),
        None => Finding::ok(check, "there is no limit"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    #[test]
    fn descriptors_are_held_against_connections() {
        assert_eq!(judge(Some(1024), 1024).severity, Severity::Warning);
        assert_eq!(judge(Some(1088), 1024).severity, Severity::Ok);
        assert_eq!(judge(None, 1024).severity, Severity::Ok);
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!(shown(1023), "1023 B");
        assert_eq!(shown(1536), "1.5 KiB");
        assert_eq!(shown(u64::MAX), "16777216.0 TiB");
    }
}
