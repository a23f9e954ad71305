//! Figures of the business behind a backend: users, API keys and sessions, and what further
//! queries return. Nothing is changed in the database, and each query has its time; one that
//! fails takes its own figure off the page and no other.

mod config;
mod query;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

pub use self::config::{BusinessConfig, FigureConfig};
use self::query::{Database, Failure, FigureRow};
use super::{CollectError, Collector, Missing, PostgresTurns, Progress, Schedule};
use crate::ledger::is_postgres;
use crate::recording::{Handle, Rounds};
use crate::signals::business::{ApiKeysActive, Figure, SessionsActive, Users};

const NAME: &str = "business";

/// A time that has not passed, in PostgreSQL.
const LATER_POSTGRES: &str = "(expires_at IS NULL OR expires_at > now())";
/// The same in SQLite, which keeps a time as text or as seconds since the Unix epoch.
const LATER_SQLITE: &str = "(expires_at IS NULL OR CASE WHEN typeof(expires_at) = 'text' \
                            THEN unixepoch(expires_at) ELSE expires_at END > unixepoch())";

/// What a query is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Users,
    ApiKeys,
    Sessions,
    Figure(String),
}

impl Subject {
    /// What it is called in the log and on the health endpoint.
    fn name(&self) -> String {
        match self {
            Self::Users => "users".to_owned(),
            Self::ApiKeys => "api_keys".to_owned(),
            Self::Sessions => "sessions".to_owned(),
            Self::Figure(name) => format!("figures.{name}"),
        }
    }

    /// The gauge of a row.
    fn gauge(&self, labels: &[String]) -> Option<Handle> {
        let label = |at: usize| labels.get(at).map_or("", String::as_str);
        match self {
            Self::Users => Users {}.handle(),
            Self::ApiKeys => ApiKeysActive {}.handle(),
            Self::Sessions => SessionsActive {}.handle(),
            Self::Figure(figure) => Figure {
                figure,
                group: label(0),
                subgroup: label(1),
            }
            .handle(),
        }
    }

    /// What does not fit of the rows.
    fn refuses(&self, rows: &[FigureRow]) -> Option<String> {
        let mut seen = BTreeSet::new();
        match self {
            Self::Figure(_) => rows
                .iter()
                .find(|(labels, _)| !seen.insert(labels))
                .map(|(labels, _)| format!("two rows are called `{}`", labels.join("`, `"))),
            _ => match rows {
                [(labels, _)] if labels.is_empty() => None,
                _ => Some("it does not return one number".to_owned()),
            },
        }
    }
}

/// The collector.
#[derive(Debug)]
pub struct Business {
    database: String,
    interval: Duration,
    timeout: Duration,
    queries: Vec<(Subject, String)>,
    shown: BTreeMap<Subject, Rounds>,
    missing: Missing,
}

impl Business {
    /// The collector of a configuration; `None`: it names no database.
    ///
    /// # Errors
    /// As [`BusinessConfig::check`]: the field, and what is accepted.
    pub fn new(config: &BusinessConfig) -> Result<Option<Self>, String> {
        if let Some((field, problem)) = config.check().into_iter().next() {
            return Err(format!("{field}: {problem}"));
        }
        let Some(database) = &config.database else {
            return Ok(None);
        };
        Ok(Some(Self {
            database: database.clone(),
            interval: config.interval,
            timeout: config.timeout,
            queries: queries(config, is_postgres(database)),
            shown: BTreeMap::new(),
            missing: Missing::of(NAME),
        }))
    }

    /// Turns in reading among the services that read the same figures of the same database;
    /// `None`: it is a file, which is one machine's.
    ///
    /// # Errors
    /// When the URL cannot be read.
    pub fn turns(&self) -> Result<Option<PostgresTurns>, String> {
        let mut digest = Sha256::new();
        for (subject, sql) in &self.queries {
            digest.update(subject.name());
            digest.update([0]);
            digest.update(sql);
            digest.update([0]);
        }
        let name = format!("{NAME} {:x}", digest.finalize());
        PostgresTurns::if_shared(&self.database, &name)
    }

    /// Publishes the rows of a query; those of the round before that are not among them go.
    fn publish(&mut self, subject: &Subject, rows: &[FigureRow]) {
        let numbers = rows
            .iter()
            .filter_map(|(labels, number)| Some((subject.gauge(labels), (*number)?)));
        self.shown.entry(subject.clone()).or_default().set(numbers);
    }
}

/// The queries of a configuration.
fn queries(config: &BusinessConfig, postgres: bool) -> Vec<(Subject, String)> {
    let (active, later) = match postgres {
        true => ("is_active", LATER_POSTGRES),
        false => ("is_active IN (1, 'true')", LATER_SQLITE),
    };
    let built_in = [
        (
            Subject::Users,
            &config.users,
            "SELECT count(*) FROM users".to_owned(),
        ),
        (
            Subject::ApiKeys,
            &config.api_keys,
            format!("SELECT count(*) FROM api_keys WHERE {active} AND {later}"),
        ),
        (
            Subject::Sessions,
            &config.sessions,
            format!("SELECT count(*) FROM sessions WHERE {later}"),
        ),
    ];
    let built_in = built_in
        .into_iter()
        .map(|(subject, given, sql)| (subject, given.clone().unwrap_or(sql)))
        .filter(|(_, sql)| !sql.is_empty());
    let further = config.figures.iter();
    let further = further.map(|one| (Subject::Figure(one.name.clone()), one.sql.clone()));
    built_in.chain(further).collect()
}

impl Collector for Business {
    fn name(&self) -> &'static str {
        NAME
    }

    fn schedule(&self) -> Schedule {
        let asked = u32::try_from(self.queries.len()).unwrap_or(u32::MAX);
        let deadline = (self.timeout + Duration::from_secs(2)).saturating_mul(asked + 1);
        Schedule::every(self.interval, deadline)
    }

    async fn collect(&mut self, _: Instant) -> Result<Progress, CollectError> {
        let mut database = Database::connect(&self.database, self.timeout).await?;
        for (subject, sql) in self.queries.clone() {
            let asked = match database.ask(&sql, self.timeout).await {
                Ok(rows) => match subject.refuses(&rows) {
                    None => Ok(rows),
                    Some(reason) => Err(reason),
                },
                Err(Failure::Query(reason)) => Err(reason),
                Err(Failure::Connection(error)) => return Err(error),
            };
            match asked {
                Ok(rows) => {
                    self.missing.remove(&subject.name());
                    self.publish(&subject, &rows);
                }
                Err(reason) => {
                    self.missing.add(&subject.name(), reason);
                    self.publish(&subject, &[]);
                }
            }
        }
        Ok(Progress::Done)
    }

    fn unknown(&mut self) {
        self.shown.values_mut().for_each(Rounds::clear);
    }
}
