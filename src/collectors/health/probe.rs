//! One check of a target: what is asked, and what went wrong.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::SystemTime;

use tokio::net::{TcpStream, lookup_host};
use url::Url;

use super::config::TargetConfig;
use super::http::Http;
use super::stores::{Postgres, RedisPing, Sqlite};
use crate::signals::health::TargetKind;

/// Characters of a reason that are kept.
const MAX_REASON: usize = 300;

/// What went wrong, as `error.type` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No answer in time.
    Timeout,
    /// Nothing listens there.
    Refused,
    /// The name has no address.
    Dns,
    /// The certificate is not trusted, or the other side speaks no TLS.
    Tls,
    /// Another status of HTTP than what is well.
    Status,
    /// The body lacks what must be in it.
    Body,
    /// It says itself that it cannot.
    Answer,
    /// The connection failed in another way.
    Connection,
}

impl Fault {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Status => "status",
            Self::Body => "body",
            Self::Answer => "answer",
            Self::Connection => "connection",
        }
    }

    /// Finds the cause in an error and what caused it.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(cause) = next {
            if cause.is::<rustls::Error>() {
                return Self::Tls;
            }
            let io = cause.downcast_ref::<io::Error>();
            match io.map(io::Error::kind) {
                Some(io::ErrorKind::ConnectionRefused) => return Self::Refused,
                Some(io::ErrorKind::TimedOut) => return Self::Timeout,
                _ => {}
            }
            // An I/O error does not count what it carries among its sources.
            next = match io.and_then(io::Error::get_ref) {
                Some(carried) => Some(carried),
                None => cause.source(),
            };
        }
        Self::Connection
    }
}

/// Why a check failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) fault: Fault,
    /// In words, for the log and the health endpoint; without secrets.
    pub(super) reason: String,
}

impl Failure {
    pub(super) fn new(fault: Fault, reason: impl Into<String>) -> Self {
        let mut reason: String = reason.into();
        if let Some((end, _)) = reason.char_indices().nth(MAX_REASON) {
            reason.truncate(end);
        }
        Self { fault, reason }
    }

    /// Of an error, told with what caused it.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        let mut reason = error.to_string();
        let mut next = error.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !reason.contains(&text) {
                reason.push_str(": ");
                reason.push_str(&text);
            }
            next = cause.source();
        }
        Self::new(Fault::of(error), reason)
    }
}

/// What an answer as expected tells beside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// When the certificate expires that was shown.
    pub(super) certificate_ends: Option<SystemTime>,
}

/// How a target is asked.
pub(super) struct Probe {
    /// Host and port, where it has some; for spans.
    pub(super) server: Option<(String, u16)>,
    way: Way,
}

enum Way {
    Http(Box<Http>),
    Tcp,
    Redis(RedisPing),
    Postgres(Box<Postgres>),
    Sqlite(Sqlite),
}

impl Probe {
    /// How the target of a configuration that was checked is asked.
    ///
    /// # Errors
    /// What is not accepted.
    pub(super) fn new(config: &TargetConfig) -> Result<Self, String> {
        let address = |usual: Option<u16>| {
            let url = Url::parse(&config.url).map_err(|error| error.to_string())?;
            let port = url.port_or_known_default().or(usual);
            // The brackets around an address of version 6 belong to the URL.
            let host = url.host_str().map(|host| host.trim_matches(['[', ']']));
            match (host, port) {
                (Some(host), Some(port)) => Ok(Some((host.to_owned(), port))),
                _ => Err("the URL names no host and port".to_owned()),
            }
        };
        let (server, way) = match config.kind() {
            None => return Err("the URL is none that is accepted".to_owned()),
            Some(TargetKind::Http) => (address(None)?, Way::Http(Box::new(Http::new(config)?))),
            Some(TargetKind::Tcp) => (address(None)?, Way::Tcp),
            Some(TargetKind::Redis) => {
                let ping = RedisPing::new(config)?;
                (ping.server(), Way::Redis(ping))
            }
            Some(TargetKind::Sql) if config.url.starts_with("sqlite") => {
                (None, Way::Sqlite(Sqlite::new(config)?))
            }
            Some(TargetKind::Sql) => {
                let postgres = Postgres::new(config)?;
                (postgres.server(), Way::Postgres(Box::new(postgres)))
            }
        };
        Ok(Self { server, way })
    }

    /// Asks, each time by a connection of its own.
    pub(super) async fn ask(&self) -> Result<Answer, Failure> {
        let addresses = match &self.server {
            Some((host, port)) => resolve(host, *port).await?,
            None => Vec::new(),
        };
        match &self.way {
            Way::Http(http) => http.ask().await,
            Way::Tcp => match TcpStream::connect(&*addresses).await {
                Ok(_) => Ok(Answer::default()),
                Err(error) => Err(Failure::of(&error)),
            },
            Way::Redis(redis) => redis.ask().await,
            Way::Postgres(postgres) => postgres.ask().await,
            Way::Sqlite(sqlite) => sqlite.ask().await,
        }
    }
}

/// The addresses of a name, looked up first so that a name that is not known is told from a
/// server that is not there.
async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let found = match lookup_host((host, port)).await {
        Ok(found) => found.collect::<Vec<_>>(),
        Err(error) => return Err(Failure::new(Fault::Dns, format!("{host}: {error}"))),
    };
    match found.is_empty() {
        false => Ok(found),
        true => Err(Failure::new(Fault::Dns, format!("{host}: no address"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_found_however_deep_it_is() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let tls = || rustls::Error::General("on purpose".to_owned());
        for (error, expected) in [
            (io::Error::other(refused), Fault::Refused),
            (io::ErrorKind::TimedOut.into(), Fault::Timeout),
            (io::Error::other(tls()), Fault::Tls),
            (io::Error::other(io::Error::other(tls())), Fault::Tls),
            (io::ErrorKind::ConnectionReset.into(), Fault::Connection),
        ] {
            assert_eq!(Fault::of(&error), expected, "{error}");
        }
    }

    #[test]
    fn reasons_are_short() {
        let failure = Failure::new(Fault::Body, "é".repeat(10_000));
        assert_eq!(failure.reason.chars().count(), MAX_REASON);
    }

    #[test]
    fn hosts_and_ports_are_those_of_the_url() {
        for (url, expected) in [
            ("http://localhost/a", Some(("localhost", 80))),
            ("https://[::1]:8443", Some(("::1", 8443))),
            ("tcp://[::1]:22", Some(("::1", 22))),
            ("redis://:secret@localhost/1", Some(("localhost", 6379))),
            ("postgres://me@db:5433/a", Some(("db", 5433))),
            ("postgres:///a?host=/run/postgresql", None),
            ("sqlite:///a.db", None),
        ] {
            let probe = Probe::new(&TargetConfig::new("one", url)).unwrap();
            let expected = expected.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(probe.server, expected, "{url}");
        }
    }
}
