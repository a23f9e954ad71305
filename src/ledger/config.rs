//! Where the ledger is and how much may wait for it.

use std::path::PathBuf;
use std::time::Duration;

use super::{OpenError, OutboxConfig};

/// Configuration of [`Ledger`](super::Ledger).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerConfig {
    /// `sqlite:FILE`, `sqlite://FILE` or a plain path: a file that does not exist is created
    /// with mode 0600. Or `postgres://USER:PASSWORD@HOST:PORT/DATABASE`: the database exists,
    /// its tables are created.
    pub database: String,
    /// Memory that records waiting for the writer may hold, in bytes.
    pub queue_bytes: usize,
    /// Records in one transaction; a single larger submission is still one transaction.
    pub group_records: usize,
    /// How long a commit waits for another process to release its lock.
    pub busy_timeout: Duration,
    /// How often a ledger that is away is tried again.
    pub retry_interval: Duration,
    /// Pages a SQLite database may grow to, at most; `None` leaves it to the disk.
    pub max_pages: Option<u32>,
    /// How long one query may take.
    pub query_timeout: Duration,
    /// Whose open operations these are, on a PostgreSQL that several services share: the same
    /// after a restart, and no other service's. On SQLite, which is one service's, not used.
    pub owner: String,
    /// What is kept.
    pub retention: Retention,
    /// What is copied into the outbox; `None`: nothing.
    pub outbox: Option<OutboxConfig>,
}

/// Which records are removed; by default none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Records that ended and were received longer ago than this are removed.
    pub max_age: Option<Duration>,
    /// While the records that are kept take more than this many bytes, the oldest are removed.
    pub max_bytes: Option<u64>,
}

/// Where the ledger is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    File(PathBuf),
    Server(String),
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
            query_timeout: Duration::from_secs(5),
            owner: "tachograph".to_owned(),
            retention: Retention::default(),
            outbox: None,
        }
    }

    /// Where [`database`](Self::database) says it is.
    pub(super) fn place(&self) -> Result<Place, OpenError> {
        let refuse = |reason: &'static str| OpenError::Url {
            url: redacted(&self.database),
            reason,
        };
        if is_postgres(&self.database) {
            return Ok(Place::Server(self.database.clone()));
        }
        let path = match self.database.strip_prefix("sqlite:") {
            Some(rest) => rest.strip_prefix("//").unwrap_or(rest),
            None if self.database.contains("://") => {
                return Err(refuse(
                    "accepted are sqlite:FILE, a path, and postgres://USER@HOST/DATABASE",
                ));
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
        Ok(Place::File(PathBuf::from(path)))
    }
}

/// Whether a URL is one of PostgreSQL's.
pub(crate) fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// The URL without what may be a password: neither user nor parameters.
pub(super) fn redacted(url: &str) -> String {
    let (scheme, rest) = url.split_at(url.find("://").map_or(0, |at| at + 3));
    let (user, rest) = match rest.rfind('@') {
        Some(at) if !scheme.is_empty() => ("***", &rest[at..]),
        _ => ("", rest),
    };
    match rest.split_once('?') {
        Some((place, _)) if !scheme.is_empty() => format!("{scheme}{user}{place}?***"),
        _ => format!("{scheme}{user}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> Result<Place, OpenError> {
        LedgerConfig::new(url).place()
    }

    #[test]
    fn urls_and_paths_name_a_file() {
        for (url, expected) in [
            ("sqlite:a.db", "a.db"),
            ("sqlite://a.db", "a.db"),
            ("sqlite:///var/a.db", "/var/a.db"),
            ("/var/a.db", "/var/a.db"),
        ] {
            assert_eq!(place(url).unwrap(), Place::File(expected.into()), "{url}");
        }
    }

    #[test]
    fn a_server_is_named_by_its_url() {
        for url in ["postgres://a@b/c", "postgresql://a@b/c"] {
            assert_eq!(place(url).unwrap(), Place::Server(url.to_owned()));
        }
    }

    #[test]
    fn what_is_no_durable_file_is_refused() {
        for url in ["", "sqlite:", "sqlite::memory:", "sqlite:a.db?mode=memory"] {
            assert!(matches!(place(url), Err(OpenError::Url { .. })), "{url:?}");
        }
    }

    #[test]
    fn a_refused_url_does_not_show_its_password() {
        for url in [
            "mysql://user:secret@host/db",
            "mysql://user:1/secret?@host/db",
            "mysql://host/db?password=secret",
        ] {
            let message = place(url).unwrap_err().to_string();
            assert!(!message.contains("secret"), "{message}");
            assert!(message.contains("sqlite:FILE"), "{message}");
        }
    }
}
