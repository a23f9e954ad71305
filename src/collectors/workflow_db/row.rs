//! What a row says, and how it is recorded.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::time::{self, MAX_SECONDS};
use crate::recording::Recorder;
use crate::signals::agent::AgentRun;
use crate::signals::session::SessionRun;
use crate::signals::tool::ToolCall;
use crate::signals::workflow_db::{
    DurationsUnknown, NoDuration, RowResult, Rows, RowsSkipped, SkipReason, Table,
};

/// Longest label, in bytes.
const MAX_LABEL: usize = 256;

/// Which row it is, however often it is written anew: its id, and a hash of what was known
/// when it was inserted. An id that is used again is another row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct RowKey {
    pub(super) id: i64,
    pub(super) print: i64,
}

/// A row as it was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) rowid: i64,
    pub(super) session: Option<String>,
    pub(super) timestamp: Option<String>,
    pub(super) start: Option<String>,
    pub(super) end: Option<String>,
    /// Seconds.
    pub(super) duration: Option<f64>,
    /// Whether there is a duration that is no number.
    pub(super) duration_malformed: bool,
    pub(super) status: Option<String>,
    /// Agent or tool.
    pub(super) name: Option<String>,
    /// Agent of a tool use.
    pub(super) agent: Option<String>,
    pub(super) phase: Option<String>,
    pub(super) model: Option<String>,
    pub(super) has_output: bool,
    pub(super) has_error: bool,
}

/// What a row says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// It has not ended.
    Unfinished,
    /// It ended and is not counted.
    Skip(SkipReason),
    /// It ended.
    Ended(Fact),
}

/// What is recorded of a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fact {
    pub(super) table: Table,
    pub(super) result: RowResult,
    pub(super) name: String,
    pub(super) agent: String,
    pub(super) phase: String,
    pub(super) model: String,
    pub(super) status: &'static str,
    pub(super) seconds: Result<f64, NoDuration>,
    /// When it ended, seconds since the Unix epoch.
    pub(super) ended: Option<f64>,
    /// Of a session: its distinct agents and phases.
    pub(super) session: Option<(f64, f64)>,
    /// Of a run of an agent: how many tools it called.
    pub(super) tool_calls: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    None,
    Unfinished,
    Ended(&'static str),
    Unknown,
}

fn word(status: Option<&str>) -> Word {
    let status = status.unwrap_or_default().trim().to_ascii_lowercase();
    match status.as_str() {
        "" => Word::None,
        "started" | "running" | "active" | "in_progress" | "pending" | "open" => Word::Unfinished,
        "completed" | "complete" | "success" | "succeeded" | "ok" | "done" | "ended"
        | "finished" | "closed" => Word::Ended("success"),
        "failed" | "failure" | "error" | "errored" => Word::Ended("failed"),
        "timeout" | "timed_out" => Word::Ended("timeout"),
        "cancelled" | "canceled" | "aborted" | "interrupted" | "stopped" => {
            Word::Ended("cancelled")
        }
        "abandoned" => Word::Ended("abandoned"),
        _ => Word::Unknown,
    }
}

impl Row {
    /// What it says now.
    pub(super) fn judge(&self, table: Table, zone: &TimeZone, now: Timestamp) -> Verdict {
        let has_end = self
            .end
            .as_deref()
            .is_some_and(|end| !end.trim().is_empty());
        let timed = has_end || self.duration.is_some();
        let by_error = if self.has_error { "failed" } else { "success" };
        let status = match (table, word(self.status.as_deref())) {
            (_, Word::Ended(status)) => status,
            // Its writer may set nothing but the time.
            (Table::Sessions, Word::Unfinished | Word::None) if has_end => "success",
            (_, Word::Unfinished) => return Verdict::Unfinished,
            (_, Word::None) if timed => by_error,
            (Table::ToolUses, Word::None) if self.has_output => by_error,
            (_, Word::Unknown) if timed => return Verdict::Skip(SkipReason::UnknownStatus),
            (_, Word::None | Word::Unknown) => return Verdict::Unfinished,
        };
        if let Some(reason) = self.noise(table) {
            return Verdict::Skip(reason);
        }
        let end = self.end.as_deref().and_then(|t| time::parse(t, zone, now));
        let timestamp = self.timestamp.as_deref();
        let timestamp = timestamp.and_then(|t| time::parse(t, zone, now));
        let last = end.or(timestamp).map(|moment| time::unix(moment.first));
        Verdict::Ended(Fact {
            seconds: self.seconds(zone, now),
            ended: last.map(|last| last.min(time::unix(now))),
            ..self.fact(table, RowResult::Counted, status)
        })
    }

    /// What is recorded when its end did not come in time.
    pub(super) fn abandoned(&self, table: Table) -> Verdict {
        match self.noise(table) {
            Some(reason) => Verdict::Skip(reason),
            None => Verdict::Ended(self.fact(table, RowResult::Abandoned, "abandoned")),
        }
    }

    fn fact(&self, table: Table, result: RowResult, status: &'static str) -> Fact {
        let agent = match table {
            Table::AgentToolUses => label(self.agent.as_deref()),
            _ => String::new(),
        };
        Fact {
            table,
            result,
            name: label(self.name.as_deref()),
            agent: match agent.as_str() {
                // Outside of any agent, and noise.
                "direct" | "unknown" => String::new(),
                _ => agent,
            },
            phase: label(self.phase.as_deref()),
            model: label(self.model.as_deref()),
            status,
            seconds: Err(NoDuration::Missing),
            ended: None,
            session: None,
            tool_calls: None,
        }
    }

    /// Why it is never counted.
    fn noise(&self, table: Table) -> Option<SkipReason> {
        let name = self.name.as_deref().map(str::trim).unwrap_or_default();
        match (table, name) {
            (Table::Sessions, _) => None,
            (_, "") => Some(SkipReason::NoName),
            (Table::AgentInvocations, "unknown") => Some(SkipReason::UnknownAgent),
            _ => None,
        }
    }

    /// Under which name it is shown while it is under way; empty: it is not.
    pub(super) fn under_way(&self, table: Table) -> String {
        match self.noise(table) {
            Some(_) => String::new(),
            None => label(self.name.as_deref()),
        }
    }

    /// How long it took: as it says, else from its times.
    fn seconds(&self, zone: &TimeZone, now: Timestamp) -> Result<f64, NoDuration> {
        let mut problem = NoDuration::Missing;
        match self.duration {
            Some(seconds) if (0.0..=MAX_SECONDS).contains(&seconds) => return Ok(seconds + 0.0),
            Some(seconds) if seconds < 0.0 => problem = NoDuration::Negative,
            Some(_) => problem = NoDuration::Malformed,
            None if self.duration_malformed => problem = NoDuration::Malformed,
            None => {}
        }
        let given = |text: &Option<String>| text.clone().filter(|t| !t.trim().is_empty());
        let start = given(&self.start).or_else(|| given(&self.timestamp));
        let (Some(start), Some(end)) = (start, given(&self.end)) else {
            return Err(problem);
        };
        let times = time::parse(&start, zone, now).zip(time::parse(&end, zone, now));
        let (start, end) = times.ok_or(NoDuration::Malformed)?;
        let seconds = time::between(start, end).ok_or(NoDuration::Negative)?;
        if seconds > MAX_SECONDS {
            return Err(NoDuration::Malformed);
        }
        Ok(seconds)
    }
}

/// A text that can be the value of a label.
fn label(text: Option<&str>) -> String {
    let text = text.unwrap_or_default().trim();
    let mut label: String = text.chars().filter(|c| !c.is_control()).collect();
    let mut end = label.len().min(MAX_LABEL);
    while !label.is_char_boundary(end) {
        end -= 1;
    }
    label.truncate(end);
    label
}

impl Fact {
    /// Records it as the records API would. To be called once, after it was settled.
    pub(super) fn record(&self) {
        let Self { table, result, .. } = *self;
        Rows { table, result }.add(1);
        if let (RowResult::Counted, Err(reason)) = (result, self.seconds) {
            DurationsUnknown { table, reason }.add(1);
        }
        let (recorder, name_key): (&'static dyn Recorder, &str) = match table {
            Table::Sessions => (SessionRun::recorder(), ""),
            Table::AgentInvocations => (AgentRun::recorder(), "gen_ai.agent.name"),
            Table::AgentToolUses | Table::ToolUses => (ToolCall::recorder(), "gen_ai.tool.name"),
        };
        let signal = recorder.signal();
        let labels = signal.labels.iter().map(|label| match label.key {
            key if key == name_key => self.name.as_str(),
            "gen_ai.agent.name" => &self.agent,
            "gen_ai.request.model" => &self.model,
            "phase" => &self.phase,
            "status" => self.status,
            _ => "",
        });
        let labels: Vec<&str> = labels.collect();
        let values = signal.values.iter().map(|value| match value.key {
            "agents" => self.session.map(|(agents, _)| agents),
            "phases" => self.session.map(|(_, phases)| phases),
            "tool_calls" => self.tool_calls,
            _ => None,
        });
        let values: Vec<Option<f64>> = values.collect();
        if let Err(error) = recorder.record_past(&labels, &values, self.seconds.ok(), self.ended) {
            tracing::error!(signal = signal.name, %error, "a settled row was not counted");
        }
    }
}

/// Counts a row that was settled and not recorded.
pub(super) fn record_skip(table: Table, reason: SkipReason) {
    Rows {
        table,
        result: RowResult::Skipped,
    }
    .add(1);
    RowsSkipped { table, reason }.add(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-06-01T00:00:00Z".parse().unwrap()
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn invocation(status: &str) -> Row {
        Row {
            name: some("reviewer"),
            timestamp: some("2026-05-01T10:00:00"),
            status: some(status),
            ..Row::default()
        }
    }

    fn judge(row: &Row, table: Table) -> Verdict {
        row.judge(table, &TimeZone::UTC, now())
    }

    fn fact(row: &Row, table: Table) -> Fact {
        match judge(row, table) {
            Verdict::Ended(fact) => fact,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_status_says_whether_and_how_a_row_ended() {
        let table = Table::AgentInvocations;
        assert_eq!(judge(&invocation("started"), table), Verdict::Unfinished);
        assert_eq!(judge(&invocation(""), table), Verdict::Unfinished);
        for (given, status) in [
            ("completed", "success"),
            ("FAILED", "failed"),
            ("error", "failed"),
            ("timeout", "timeout"),
        ] {
            assert_eq!(fact(&invocation(given), table).status, status, "{given}");
        }
        let mut strange = invocation("exploded");
        assert_eq!(judge(&strange, table), Verdict::Unfinished);
        strange.duration = Some(1.0);
        let reason = SkipReason::UnknownStatus;
        assert_eq!(judge(&strange, table), Verdict::Skip(reason));
    }

    #[test]
    fn a_row_without_a_status_ends_with_its_times() {
        let mut row = Row {
            name: some("Read"),
            ..Row::default()
        };
        assert_eq!(judge(&row, Table::ToolUses), Verdict::Unfinished);
        row.has_output = true;
        let ended = fact(&row, Table::ToolUses);
        assert_eq!(ended.seconds, Err(NoDuration::Missing));
        row.duration = Some(0.5);
        assert_eq!(fact(&row, Table::ToolUses).seconds, Ok(0.5));
        let session = Row {
            status: some("active"),
            start: some("2026-05-01T10:00:00"),
            end: some("2026-05-01T10:01:00"),
            ..Row::default()
        };
        assert_eq!(fact(&session, Table::Sessions).seconds, Ok(60.0));
    }

    #[test]
    fn noise_is_told_from_names() {
        let mut row = invocation("completed");
        row.name = some("unknown");
        let reason = Verdict::Skip(SkipReason::UnknownAgent);
        assert_eq!(judge(&row, Table::AgentInvocations), reason);
        row.name = None;
        let reason = Verdict::Skip(SkipReason::NoName);
        assert_eq!(judge(&row, Table::AgentInvocations), reason);
        row.name = some("Read");
        row.agent = some("direct");
        assert_eq!(fact(&row, Table::AgentToolUses).agent, "");
        row.agent = some(" triage\n");
        assert_eq!(fact(&row, Table::AgentToolUses).agent, "triage");
    }

    #[test]
    fn a_duration_that_is_absurd_is_not_known() {
        let table = Table::AgentInvocations;
        let seconds = |row: &Row| fact(row, table).seconds;
        let mut row = invocation("completed");
        assert_eq!(seconds(&row), Err(NoDuration::Missing));
        row.duration = Some(-1.0);
        assert_eq!(seconds(&row), Err(NoDuration::Negative));
        row.duration = Some(f64::INFINITY);
        assert_eq!(seconds(&row), Err(NoDuration::Malformed));
        row.end = some("2026-05-01T10:00:30");
        assert_eq!(seconds(&row), Ok(30.0));
        row.end = some("2026-05-01T09:00:30");
        assert_eq!(seconds(&row), Err(NoDuration::Negative));
        row.end = some("yesterday");
        assert_eq!(seconds(&row), Err(NoDuration::Malformed));
    }
}
