//! Where the agent workflow database is, and how it is read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::pipeline::config::duration;

/// The agent workflow database: a SQLite file that agents write, and that is only read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(schemars::JsonSchema)]
pub struct WorkflowDbConfig {
    /// The file, such as `logs/agent_workflow.db`; it may come later. Not read unless set.
    pub file: Option<String>,
    /// Where is kept which rows have been counted; beside the file, with `.tachograph` added to
    /// its name, unless set.
    pub state: Option<String>,
    /// Time between two readings, 100ms to 1h.
    #[serde(with = "duration")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub interval: Duration,
    /// Time zone of times that are written without one: `local`, or a name such as
    /// `Europe/Berlin`.
    pub zone: String,
    /// A row that has been seen unfinished for this long is counted as abandoned; 1s to 365d.
    #[serde(with = "duration")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub abandon_after: Duration,
}

impl Default for WorkflowDbConfig {
    fn default() -> Self {
        Self {
            file: None,
            state: None,
            interval: Duration::from_secs(15),
            zone: "local".to_owned(),
            abandon_after: Duration::from_secs(24 * 3600),
        }
    }
}

impl WorkflowDbConfig {
    /// What is not accepted: the field, and what would be.
    #[must_use]
    pub fn check(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if self.file.as_deref() == Some("") {
            problems.push(("file", "`` is not accepted; accepted: a path".to_owned()));
        }
        if let Some(state) = &self.state
            && (state.is_empty() || Some(state) == self.file.as_ref())
        {
            problems.push((
                "state",
                format!("`{state}` is not accepted; accepted: another path than `file`"),
            ));
        }
        let second = Duration::from_secs(1);
        for (field, value, from, to, accepted) in [
            (
                "interval",
                self.interval,
                second / 10,
                second * 3600,
                "100ms to 1h",
            ),
            (
                "abandon_after",
                self.abandon_after,
                second,
                second * 365 * 86_400,
                "1s to 8760h",
            ),
        ] {
            if !(from..=to).contains(&value) {
                let value = duration::format(value);
                problems.push((
                    field,
                    format!("`{value}` is not accepted; accepted: {accepted}"),
                ));
            }
        }
        if let Err(reason) = self.time_zone() {
            problems.push(("zone", reason));
        }
        problems
    }

    /// The zone of times that are written without one.
    pub(super) fn time_zone(&self) -> Result<TimeZone, String> {
        match self.zone.as_str() {
            "local" => Ok(TimeZone::system()),
            "UTC" => Ok(TimeZone::UTC),
            name => TimeZone::get(name).map_err(|_| {
                format!(
                    "`{name}` is not known here; accepted: `local`, `UTC`, and names of the \
                     system's time zone database such as `Europe/Berlin`"
                )
            }),
        }
    }

    /// Where is kept what was counted.
    pub(super) fn state_path(&self, file: &Path) -> PathBuf {
        match &self.state {
            Some(state) => state.into(),
            None => {
                let mut name = file.as_os_str().to_owned();
                name.push(".tachograph");
                name.into()
            }
        }
    }
}
