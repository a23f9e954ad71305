//! Which targets are checked, and what is expected of them.

use std::ops::RangeInclusive;
use std::str::FromStr as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use url::Url;

use crate::pipeline::config::{duration, list, show};
use crate::signals::health::TargetKind;

/// Targets that are accepted.
const MAX_TARGETS: usize = 64;
/// Characters of a name that are accepted.
const MAX_NAME: usize = 64;

/// Targets whose health is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(schemars::JsonSchema)]
pub struct HealthConfig {
    /// The targets, 64 at most: `[[collectors.health.targets]]`, one for each, with `name`, `url`
    /// and what differs from what is usual: `method`, `status`, `body`, `ca_file`, `timeout`,
    /// `interval`, `degraded_above`, `group`, `machine`.
    pub targets: Vec<TargetConfig>,
}

/// A target and what is expected of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[derive(schemars::JsonSchema)]
pub struct TargetConfig {
    /// Its name on metrics.
    pub name: String,
    /// Where and how it is asked: `http://`, `https://`, `tcp://<host>:<port>`, `redis://`,
    /// `rediss://`, `postgres://` or `sqlite://<file>`.
    pub url: String,
    /// Method of the request of HTTP.
    #[serde(default)]
    pub method: Method,
    /// Statuses of HTTP that are well: `200`, `200-299`. Those from 200 to 399 unless given.
    #[serde(default, deserialize_with = "list::deserialize")]
    pub status: Vec<String>,
    /// Text that must be in the first mebibyte of the body.
    #[serde(default)]
    pub body: Option<String>,
    /// PEM file of authorities that are trusted beside the system's (`https`), or instead of them
    /// (`rediss`).
    #[serde(default)]
    pub ca_file: Option<String>,
    /// How long a check may take, 10ms to 1m.
    #[serde(default = "timeout", with = "duration")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub timeout: Duration,
    /// Time between two checks, 1s to 1h.
    #[serde(default = "interval", with = "duration")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub interval: Duration,
    /// A check that takes longer is degraded; more than 0.
    #[serde(default = "degraded_above", with = "duration")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub degraded_above: Duration,
    /// What it belongs to, on metrics.
    #[serde(default)]
    pub group: Option<String>,
    /// The machine that it runs on, on metrics.
    #[serde(default)]
    pub machine: Option<String>,
}

const fn timeout() -> Duration {
    Duration::from_secs(5)
}

const fn interval() -> Duration {
    Duration::from_secs(15)
}

const fn degraded_above() -> Duration {
    Duration::from_secs(1)
}

/// Method of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[derive(schemars::JsonSchema)]
pub enum Method {
    /// `GET`.
    #[default]
    Get,
    /// `HEAD`.
    Head,
    /// `OPTIONS`.
    Options,
    /// `POST`, with an empty body.
    Post,
}

impl TargetConfig {
    /// A target with what is usual.
    #[must_use]
    pub fn new(name: &str, url: &str) -> Self {
        Self {
            name: name.to_owned(),
            url: url.to_owned(),
            method: Method::default(),
            status: Vec::new(),
            body: None,
            ca_file: None,
            timeout: timeout(),
            interval: interval(),
            degraded_above: degraded_above(),
            group: None,
            machine: None,
        }
    }

    /// How it is asked; `None`: its URL is none that is accepted.
    pub(super) fn kind(&self) -> Option<TargetKind> {
        Some(match self.url.split_once(':')?.0 {
            "http" | "https" => TargetKind::Http,
            "tcp" => TargetKind::Tcp,
            "redis" | "rediss" => TargetKind::Redis,
            "postgres" | "postgresql" | "sqlite" => TargetKind::Sql,
            _ => return None,
        })
    }

    /// Statuses that are well.
    pub(super) fn statuses(&self) -> Result<Vec<RangeInclusive<u16>>, String> {
        if self.status.is_empty() {
            return Ok(vec![200..=399]);
        }
        self.status.iter().map(|text| statuses(text)).collect()
    }

    /// What is not accepted, in words.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut refuse = |field: &str, shown: &str, accepted: &str| {
            problems.push(format!(
                "{field} `{shown}` is not accepted; accepted: {accepted}"
            ));
        };
        let shown = show::masked_url(&self.url);
        match self.kind() {
            None => refuse(
                "url",
                &shown,
                "one that begins with `http://`, `https://`, `tcp://`, `redis://`, `rediss://`, \
                 `postgres://` or `sqlite://`",
            ),
            Some(TargetKind::Http | TargetKind::Tcp) => {
                if let Some(accepted) = self.refused_address() {
                    refuse("url", &shown, accepted);
                }
            }
            Some(TargetKind::Sql) if self.url.starts_with("sqlite") => {
                let memory = self.url.contains(":memory:");
                if memory || SqliteConnectOptions::from_str(&self.url).is_err() {
                    refuse("url", &shown, "`sqlite://<file>`");
                }
            }
            Some(TargetKind::Sql) => {
                if PgConnectOptions::from_str(&self.url).is_err() {
                    refuse("url", &shown, "`postgres://<user>@<host>/<database>`");
                }
            }
            // Told where it is read.
            Some(TargetKind::Redis) => {}
        }
        if let Err(text) = self.statuses() {
            refuse("status", &text, "such as `200` or `200-299`, 100 to 599");
        }
        let http = self.kind() == Some(TargetKind::Http);
        let other = self.method != Method::Get || !self.status.is_empty() || self.body.is_some();
        if !http && other {
            refuse(
                "url",
                &shown,
                "one of HTTP where `method`, `status` or `body` is given",
            );
        }
        if self.method == Method::Head && self.body.is_some() {
            refuse("method", "HEAD", "one with a body where `body` is given");
        }
        let secure = ["https:", "rediss:"]
            .iter()
            .any(|scheme| self.url.starts_with(scheme));
        if let Some(file) = &self.ca_file
            && !secure
        {
            refuse("ca_file", file, "for `https://` and `rediss://`");
        }
        for (field, value, accepted, words) in [
            (
                "timeout",
                self.timeout,
                Duration::from_millis(10)..=Duration::from_secs(60),
                "10ms to 1m",
            ),
            (
                "interval",
                self.interval,
                Duration::from_secs(1)..=Duration::from_secs(3600),
                "1s to 1h",
            ),
            (
                "degraded_above",
                self.degraded_above,
                Duration::from_nanos(1)..=Duration::MAX,
                "more than 0",
            ),
        ] {
            if !accepted.contains(&value) {
                refuse(field, &duration::format(value), words);
            }
        }
        problems
    }

    /// What would be accepted as the address of HTTP or a port.
    fn refused_address(&self) -> Option<&'static str> {
        let url = Url::parse(&self.url).ok();
        let host = |url: &Url| url.host_str().is_some_and(|host| !host.is_empty());
        let Some(url) = url.filter(host) else {
            return Some("`<scheme>://<host>[:<port>]`");
        };
        let bare = matches!(url.path(), "" | "/") && url.query().is_none();
        let plain = bare && url.username().is_empty() && url.password().is_none();
        (url.scheme() == "tcp" && (url.port().is_none() || !plain))
            .then_some("`tcp://<host>:<port>`")
    }
}

/// A status, or two with all between.
fn statuses(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| {
        let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        number.filter(|status| (100..600).contains(status))
    };
    match (status(from.trim()), status(to.trim())) {
        (Some(from), Some(to)) if from <= to => Ok(from..=to),
        _ => Err(text.to_owned()),
    }
}

impl HealthConfig {
    /// What is not accepted: the field, and what would be.
    #[must_use]
    pub fn check(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if self.targets.len() > MAX_TARGETS {
            problems.push(format!(
                "{} are not accepted; accepted: {MAX_TARGETS} at most",
                self.targets.len()
            ));
        }
        for (at, target) in self.targets.iter().enumerate() {
            let name = &target.name;
            let length = name.chars().count();
            if !(1..=MAX_NAME).contains(&length) || name.chars().any(char::is_control) {
                problems.push(format!(
                    "name `{}` is not accepted; accepted: 1 to {MAX_NAME} characters",
                    name.escape_debug()
                ));
            } else if self.targets[..at].iter().any(|other| other.name == *name) {
                problems.push(format!("name `{name}` is there twice; accepted: each once"));
            }
            let own = target.problems().into_iter();
            problems.extend(own.map(|problem| format!("{name}: {problem}")));
        }
        let problems = problems.into_iter();
        problems.map(|problem| ("targets", problem)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problems(target: TargetConfig) -> String {
        let config = HealthConfig {
            targets: vec![target],
        };
        let all = config.check().into_iter();
        all.map(|(field, problem)| format!("{field}: {problem}\n"))
            .collect()
    }

    #[test]
    fn what_is_usual_is_accepted() {
        for url in [
            "http://localhost:8080/health?deep=1",
            "https://user:secret@example.com",
            "tcp://10.0.0.1:22",
            "tcp://[::1]:22",
            "redis://localhost",
            "rediss://:secret@localhost:6380/2",
            "postgres://me:secret@localhost/backend",
            "sqlite:///var/lib/backend.db",
        ] {
            assert_eq!(problems(TargetConfig::new("one", url)), "", "{url}");
        }
    }

    #[test]
    fn what_is_not_accepted_is_said_without_secrets() {
        let target = |url: &str| TargetConfig::new("one", url);
        let http = || target("https://localhost");
        for (target, expected) in [
            (target("ftp://me:secret@localhost"), "url"),
            (target("localhost:80"), "url"),
            (target("http://"), "url"),
            (target("tcp://localhost"), "tcp://<host>:<port>"),
            (target("tcp://me:secret@localhost:1"), "tcp://<host>:<port>"),
            (target("tcp://localhost:1/path"), "tcp://<host>:<port>"),
            (target("sqlite::memory:"), "sqlite://<file>"),
            (TargetConfig::new("", "tcp://a:1"), "name"),
            (TargetConfig::new("a\nb", "tcp://a:1"), "name"),
            (
                TargetConfig {
                    status: vec!["20".to_owned()],
                    ..http()
                },
                "status `20`",
            ),
            (
                TargetConfig {
                    status: vec!["200".to_owned()],
                    ..target("tcp://a:1")
                },
                "one of HTTP",
            ),
            (
                TargetConfig {
                    method: Method::Head,
                    body: Some("ok".to_owned()),
                    ..http()
                },
                "method `HEAD`",
            ),
            (
                TargetConfig {
                    ca_file: Some("ca.pem".to_owned()),
                    ..target("http://a")
                },
                "ca_file",
            ),
            (
                TargetConfig {
                    timeout: Duration::ZERO,
                    ..http()
                },
                "timeout",
            ),
            (
                TargetConfig {
                    interval: Duration::from_millis(10),
                    ..http()
                },
                "interval",
            ),
            (
                TargetConfig {
                    degraded_above: Duration::ZERO,
                    ..http()
                },
                "degraded_above",
            ),
        ] {
            let said = problems(target);
            assert!(said.contains(expected), "{expected}: {said}");
            assert!(
                said.contains("accepted: ") && !said.contains("secret"),
                "{said}"
            );
        }
        let one = http();
        let twice = HealthConfig {
            targets: vec![one.clone(), one.clone()],
        };
        assert!(twice.check()[0].1.contains("there twice"));
        let many = (0..=MAX_TARGETS).map(|at| TargetConfig {
            name: at.to_string(),
            ..one.clone()
        });
        let many = HealthConfig {
            targets: many.collect(),
        };
        assert!(many.check()[0].1.contains("64 at most"));
    }

    #[test]
    fn statuses_are_read() {
        for (text, expected) in [
            ("200", Some(200..=200)),
            ("200-299", Some(200..=299)),
            (" 200 - 299 ", Some(200..=299)),
            ("299-200", None),
            ("2xx", None),
            ("099", None),
            ("600", None),
            ("+20", None),
            ("", None),
        ] {
            assert_eq!(statuses(text).ok(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_status_is_too_strange(text in "\\PC{0,12}") {
            if let Ok(range) = statuses(&text) {
                prop_assert!(*range.start() >= 100 && *range.end() < 600);
                prop_assert!(!range.is_empty());
            }
        }

        #[test]
        fn no_url_is_too_strange(url in "\\PC{0,40}", scheme in "(http|https|tcp|redis|sqlite|postgres)://") {
            let _ = problems(TargetConfig::new("one", &format!("{scheme}{url}")));
        }
    }
}
