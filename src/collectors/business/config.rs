//! Which figures are read, and where.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::collectors::check_interval;
use crate::ledger::is_postgres;
use crate::pipeline::config::{duration, show};

/// Queries that are accepted.
const MAX_FIGURES: usize = 64;

/// Figures of the business, read from a backend's database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(schemars::JsonSchema)]
pub struct BusinessConfig {
    /// `postgres://<user>:<password>@<host>:<port>/<database>` or `sqlite://<file>`; the user
    /// needs no more than to read. Nothing is read unless set.
    pub database: Option<String>,
    /// Time between two readings, 1s to 1h.
    #[serde(with = "duration")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub interval: Duration,
    /// A query takes this long at most, 10ms to 5m.
    #[serde(with = "duration")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub timeout: Duration,
    /// Query of how many users there are; empty: it is not asked. The rows of `users` unless
    /// given.
    pub users: Option<String>,
    /// Query of how many API keys are active; empty: it is not asked. The rows of `api_keys`
    /// with `is_active` whose `expires_at` is not past unless given.
    pub api_keys: Option<String>,
    /// Query of how many sessions are active; empty: it is not asked. The rows of `sessions`
    /// whose `expires_at` is not past unless given.
    pub sessions: Option<String>,
    /// Further ones: `[[collectors.business.figures]]`, one for each, with `name` and `sql`,
    /// whose last column is the number and whose first two, if there are more, tell rows apart.
    pub figures: Vec<FigureConfig>,
}

/// A figure and its query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[derive(schemars::JsonSchema)]
pub struct FigureConfig {
    /// Its name.
    pub name: String,
    /// One SELECT without `;`.
    pub sql: String,
}

impl Default for BusinessConfig {
    fn default() -> Self {
        Self {
            database: None,
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(5),
            users: None,
            api_keys: None,
            sessions: None,
            figures: Vec::new(),
        }
    }
}

impl BusinessConfig {
    /// What is not accepted: the field, and what would be.
    #[must_use]
    pub fn check(&self) -> Vec<(&'static str, String)> {
        let mut problems: Vec<_> = check_interval(self.interval).into_iter().collect();
        if let Some(database) = &self.database
            && !is_postgres(database)
            && !database.starts_with("sqlite:")
        {
            let shown = show::masked_url(database);
            problems.push((
                "database",
                format!(
                    "`{shown}` is not accepted; accepted: `sqlite://<file>`, \
                     `postgres://<user>@<host>/<database>`"
                ),
            ));
        }
        if !(Duration::from_millis(10)..=Duration::from_secs(300)).contains(&self.timeout) {
            let shown = duration::format(self.timeout);
            problems.push((
                "timeout",
                format!("`{shown}` is not accepted; accepted: 10ms to 5m"),
            ));
        }
        for (field, sql) in [
            ("users", &self.users),
            ("api_keys", &self.api_keys),
            ("sessions", &self.sessions),
        ] {
            let given = sql.as_deref().filter(|sql| !sql.is_empty());
            problems.extend(given.and_then(refused).map(|problem| (field, problem)));
        }
        self.check_figures(&mut problems);
        problems
    }

    fn check_figures(&self, problems: &mut Vec<(&'static str, String)>) {
        if self.figures.len() > MAX_FIGURES {
            let many = self.figures.len();
            problems.push((
                "figures",
                format!("{many} are not accepted; accepted: {MAX_FIGURES} at most"),
            ));
        }
        for (at, figure) in self.figures.iter().enumerate() {
            let name = &figure.name;
            let mut before = self.figures[..at].iter();
            let character = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
            if name.is_empty() || !name.chars().all(character) {
                problems.push((
                    "figures",
                    format!("name `{name}` is not accepted; accepted: letters, digits, `_`, `.`"),
                ));
            } else if before.any(|other| other.name == *name) {
                problems.push((
                    "figures",
                    format!("name `{name}` is there twice; accepted: each once"),
                ));
            }
            let problem = refused(&figure.sql);
            problems.extend(problem.map(|problem| ("figures", format!("{name}: {problem}"))));
        }
    }
}

/// Why a query is not accepted.
fn refused(sql: &str) -> Option<String> {
    let first: String = sql
        .trim_start()
        .chars()
        .take_while(char::is_ascii_alphabetic)
        .collect();
    let reads = ["select", "with"].contains(&&*first.to_ascii_lowercase());
    (!reads || sql.contains(';'))
        .then(|| format!("`{sql}` is not accepted; accepted: one `SELECT` or `WITH`, without `;`"))
}
