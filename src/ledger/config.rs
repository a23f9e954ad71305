//! Where the ledger is and how much may wait for it.

use std::path::PathBuf;
use std::time::Duration;

use super::OpenError;

/// Configuration of [`Ledger`](super::Ledger).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerConfig {
    /// `sqlite:FILE`, `sqlite://FILE` or a plain path. A file that does not exist is created
    /// with mode 0600.
    pub database: String,
    /// Memory that records waiting for the writer may hold, in bytes.
    pub queue_bytes: usize,
    /// Records in one transaction; a single larger submission is still one transaction.
    pub group_records: usize,
    /// How long a commit waits for another process to release its lock.
    pub busy_timeout: Duration,
    /// How often a ledger that is away is tried again.
    pub retry_interval: Duration,
    /// Pages the database may grow to, at most; `None` leaves it to the disk.
    pub max_pages: Option<u32>,
}

impl LedgerConfig {
    /// The defaults, for the database at `database`.
    pub fn new(database: impl Into<String>) -> Self {
        Self {
            database: database.into(),
            queue_bytes: 64 * 1024 * 1024,
            group_records: 8_192,
            busy_timeout: Duration::from_secs(2),
            retry_interval: Duration::from_millis(500),
            max_pages: None,
        }
    }

    /// The path in [`database`](Self::database).
    pub(super) fn path(&self) -> Result<PathBuf, OpenError> {
        let refuse = |reason: &'static str| OpenError::Url {
            url: redacted(&self.database),
            reason,
        };
        let path = match self.database.strip_prefix("sqlite:") {
            Some(rest) => rest.strip_prefix("//").unwrap_or(rest),
            None if self.database.contains("://") => {
                return Err(refuse("accepted are sqlite:FILE and a path"));
            }
            None => &self.database,
        };
        if path.is_empty() {
            return Err(refuse("the file name is missing"));
        }
        if path.starts_with(":memory:") {
            return Err(refuse("a ledger in memory would not survive the process"));
        }
        if path.contains(['?', '\0']) {
            return Err(refuse(
                "parameters after ? and NUL are not accepted in the file name",
            ));
        }
        Ok(PathBuf::from(path))
    }
}

/// The URL without what may be a password.
fn redacted(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => {
            format!("{}***{}", &url[..scheme + 3], &url[at..])
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(url: &str) -> Result<PathBuf, OpenError> {
        LedgerConfig::new(url).path()
    }

    #[test]
    fn urls_and_paths_name_a_file() {
        for (url, expected) in [
            ("sqlite:a.db", "a.db"),
            ("sqlite://a.db", "a.db"),
            ("sqlite:///var/a.db", "/var/a.db"),
            ("/var/a.db", "/var/a.db"),
        ] {
            assert_eq!(path(url).unwrap(), PathBuf::from(expected), "{url}");
        }
    }

    #[test]
    fn what_is_no_durable_file_is_refused() {
        for url in ["", "sqlite:", "sqlite::memory:", "sqlite:a.db?mode=memory"] {
            assert!(matches!(path(url), Err(OpenError::Url { .. })), "{url:?}");
        }
    }

    #[test]
    fn a_refused_url_does_not_show_its_password() {
        let message = path("postgres://user:secret@host/db")
            .unwrap_err()
            .to_string();
        assert!(!message.contains("secret"), "{message}");
        assert!(message.contains("sqlite:FILE"), "{message}");
    }
}
