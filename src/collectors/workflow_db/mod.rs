//! The agent workflow database: a SQLite file into which agents write their sessions, runs and
//! tool uses. It is only read; each row is counted once, when it is final.
//!
//! # What counts, and when
//!
//! - A row is known by its id and what was written when it was inserted, not by its position:
//!   a file that is vacuumed, restored from a copy or replaced holds the same rows, an id that
//!   is used again is another one.
//! - Rows that are settled are kept in a file of ours ([`WorkflowDbConfig::state`]). A
//!   transaction settles rows there, and only after it has been committed they are recorded,
//!   once. When the outcome of a commit is not known, since it failed or was cancelled, the
//!   next round looks it up by the number of the transaction.
//! - Counters start at zero with the process, as with records: whether the count of a process
//!   that died was read before cannot be known, and the same series count records that other
//!   clients send. A process that dies between the commit and the recording takes these rows
//!   with it.
//! - New rows are found by position. Beside that every table is walked from its beginning now
//!   and then, small ones in every round, for rows that were inserted further up; and at once
//!   when the row at the position is another one, or the file is.
//! - A row that has begun and not ended is looked at in every round, and counted as abandoned
//!   when it has been seen unfinished for [`WorkflowDbConfig::abandon_after`]. An end that is
//!   written later changes nothing.

mod config;
mod file;
mod row;
mod state;
mod time;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;
use tokio::time::Instant;

use self::file::{File, PAGE, TABLES};
use self::row::{Fact, Row, RowKey, Verdict};
use self::state::{Change, Cursor, Pending, State};
use super::{CollectError, Collector, Progress, Schedule, unix_seconds};
use crate::recording::Begun;
use crate::signals::agent::AgentRun;
use crate::signals::session::SessionRun;
use crate::signals::tool::ToolCall;
use crate::signals::workflow_db::{
    DatabaseAgents, DatabaseInvocations, DatabaseSize, ReadUpTo, RowsUnfinished, RowsUnread,
    SkipReason, Table,
};

pub use config::WorkflowDbConfig;

/// A table that spans no more positions than this is walked in every round.
const SMALL: i64 = 2000;
/// How often a larger one is.
const WALK_EVERY: Duration = Duration::from_secs(600);
/// How often it is looked for settled rows that the file does not hold any more.
const FORGET_EVERY: Duration = Duration::from_secs(86_400);
/// For so long they are remembered, in seconds: a copy that is restored counts nothing twice.
const FORGET_AFTER: i64 = 90 * 86_400;
/// Longest wait for a lock on the file.
const LONGEST_BUSY: Duration = Duration::from_secs(5);
/// What the file holds is counted again after this many times what that took.
const COUNTING_SHARE: u32 = 20;

/// What one transaction settles, and what is recorded once it is committed.
#[derive(Default)]
struct Batch {
    number: i64,
    facts: Vec<Fact>,
    skipped: Vec<(Table, SkipReason)>,
}

impl Batch {
    fn record(self) {
        self.facts.iter().for_each(Fact::record);
        for (table, reason) in self.skipped {
            row::record_skip(table, reason);
        }
    }
}

/// Where a walk through a whole table is.
#[derive(Clone, Copy)]
enum Walk {
    /// At this position.
    At(i64),
    /// It was finished then.
    Finished(Instant),
}

/// The collector of the agent workflow database.
pub struct WorkflowDb {
    path: PathBuf,
    shown: String,
    state_path: PathBuf,
    zone: TimeZone,
    interval: Duration,
    abandon_after: i64,
    state: Option<State>,
    /// A transaction whose outcome is not known.
    in_doubt: Option<Batch>,
    walks: HashMap<&'static str, Walk>,
    /// When each table was last looked through for what may be forgotten.
    forgot: HashMap<&'static str, Instant>,
    under_way: HashMap<(&'static str, String), Vec<Begun>>,
    /// When what the file holds is counted again.
    count_at: Option<Instant>,
}

impl std::fmt::Debug for WorkflowDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkflowDb")
            .field("path", &self.path)
            .field("state_path", &self.state_path)
            .finish_non_exhaustive()
    }
}

impl WorkflowDb {
    /// The collector of a configuration; `None`: it names no file.
    ///
    /// # Errors
    /// As [`WorkflowDbConfig::check`]: the field, and what is accepted.
    pub fn new(config: &WorkflowDbConfig) -> Result<Option<Self>, String> {
        if let Some((field, problem)) = config.check().into_iter().next() {
            return Err(format!("{field}: {problem}"));
        }
        let Some(file) = &config.file else {
            return Ok(None);
        };
        let path = PathBuf::from(file);
        Ok(Some(Self {
            state_path: config.state_path(&path),
            path,
            shown: file.clone(),
            zone: config.time_zone()?,
            interval: config.interval,
            abandon_after: i64::try_from(config.abandon_after.as_secs()).unwrap_or(i64::MAX),
            state: None,
            in_doubt: None,
            walks: HashMap::new(),
            forgot: HashMap::new(),
            under_way: HashMap::new(),
            count_at: None,
        }))
    }

    async fn round(
        &mut self,
        state: &mut State,
        file: &mut File,
        until: Instant,
    ) -> Result<Progress, CollectError> {
        let began = SystemTime::now();
        let (last, known) = state.last().await?;
        // Looked up before it is taken: this may be cancelled while it waits.
        if let Some(batch) = self.in_doubt.take()
            && batch.number == last
        {
            batch.record();
        }
        if known != Some(file.identity) {
            self.walks.clear();
            state.identify(file.identity).await?;
        }
        let mut behind = false;
        let mut unread = 0;
        for table in file.tables() {
            let place = self.read_on(state, file, table, until).await?;
            if let Some(place) = place {
                behind = true;
                let last = file.span(table).await?.map_or(place, |(_, last)| last);
                unread += last.saturating_sub(place).max(0);
            }
        }
        for table in TABLES {
            self.look_again(state, file, table).await?;
        }
        for table in file.tables() {
            self.walk(state, file, table, until).await?;
        }
        self.count_under_way(state).await?;
        self.describe(file).await?;
        RowsUnread {}.set(unread as f64);
        if behind {
            return Ok(Progress::Behind);
        }
        ReadUpTo {}.set(unix_seconds(began));
        Ok(Progress::Done)
    }

    /// Reads what is new; says where it is when there is more.
    async fn read_on(
        &mut self,
        state: &mut State,
        file: &mut File,
        table: Table,
        until: Instant,
    ) -> Result<Option<i64>, CollectError> {
        let mut place = match state.cursor(table).await? {
            Some(cursor) => {
                let there = file.rows_at(table, cursor.place).await?;
                let same = there.iter().any(|row| file::key(table, row) == cursor.key);
                if same { cursor.place } else { i64::MIN }
            }
            None => i64::MIN,
        };
        if place == i64::MIN {
            // To read on from there is a walk.
            let walk = Walk::Finished(Instant::now());
            self.walks.insert(file::name(table), walk);
        }
        loop {
            let rows = file.page(table, place).await?;
            let Some(last) = rows.last() else {
                return Ok(None);
            };
            place = last.rowid;
            let cursor = Cursor {
                place,
                key: file::key(table, last),
            };
            let full = rows.len() == PAGE;
            self.settle(state, file, table, rows, Some(cursor)).await?;
            if !full {
                return Ok(None);
            }
            if Instant::now() >= until {
                return Ok(Some(place));
            }
        }
    }

    /// Looks at the rows again that had begun and not ended.
    async fn look_again(
        &mut self,
        state: &mut State,
        file: &mut File,
        table: Table,
    ) -> Result<(), CollectError> {
        let mut after = RowKey {
            id: i64::MIN,
            print: i64::MIN,
        };
        loop {
            let pending = state.pending_after(table, after, PAGE).await?;
            let Some(last) = pending.last() else {
                return Ok(());
            };
            after = last.key;
            let places = pending.iter().map(|p| match table {
                Table::Sessions => json!(p.place),
                _ => json!(p.key.id),
            });
            let rows = file.rows(table, &places.collect()).await?;
            let there: Vec<RowKey> = rows.iter().map(|row| file::key(table, row)).collect();
            let keys = pending.iter().map(|p| p.key);
            let gone: Vec<RowKey> = keys.filter(|key| !there.contains(key)).collect();
            self.settle(state, file, table, rows, None).await?;
            if !gone.is_empty() {
                let skipped = gone.iter().map(|_| (table, SkipReason::Deleted));
                let batch = Batch {
                    skipped: skipped.collect(),
                    ..Batch::default()
                };
                let change = Change {
                    gone,
                    ..Change::default()
                };
                self.commit(state, table, change, batch).await?;
            }
        }
    }

    /// Goes through a whole table, as far as there is time, where that is due.
    async fn walk(
        &mut self,
        state: &mut State,
        file: &mut File,
        table: Table,
        until: Instant,
    ) -> Result<(), CollectError> {
        let (first, last) = file.span(table).await?.unwrap_or_default();
        let name = file::name(table);
        let small = last.saturating_sub(first) <= SMALL;
        let mut place = match self.walks.get(name) {
            Some(Walk::At(place)) => *place,
            Some(Walk::Finished(at)) if !small && at.elapsed() < WALK_EVERY => return Ok(()),
            _ => i64::MIN,
        };
        let forgot = self.forgot.get(name);
        if place == i64::MIN && forgot.is_none_or(|at| at.elapsed() >= FORGET_EVERY) {
            state.note(table).await?;
        }
        loop {
            if !small && Instant::now() >= until {
                self.walks.insert(name, Walk::At(place));
                return Ok(());
            }
            let rows = file.page(table, place).await?;
            let full = rows.len() == PAGE;
            let keys = rows.iter().map(|row| file::key(table, row));
            state.met(table, keys).await?;
            if let Some(last) = rows.last() {
                place = last.rowid;
                self.settle(state, file, table, rows, None).await?;
            }
            if !full {
                let now = Timestamp::now().as_second();
                if state.forget(table, now, now - FORGET_AFTER).await? {
                    self.forgot.insert(name, Instant::now());
                }
                self.walks.insert(name, Walk::Finished(Instant::now()));
                return Ok(());
            }
        }
    }

    /// Settles those of the rows that are final, and notes those that have begun.
    async fn settle(
        &mut self,
        state: &mut State,
        file: &mut File,
        table: Table,
        rows: Vec<Row>,
        cursor: Option<Cursor>,
    ) -> Result<(), CollectError> {
        let keys: Vec<RowKey> = rows.iter().map(|row| file::key(table, row)).collect();
        let settled = state.settled(table, &keys).await?;
        let settled: std::collections::HashSet<RowKey> = settled.into_iter().collect();
        let pending = state.pending(table, &keys).await?;
        let pending: HashMap<RowKey, Pending> = pending.into_iter().map(|p| (p.key, p)).collect();
        let now = Timestamp::now();
        let mut change = Change {
            cursor,
            ..Change::default()
        };
        let mut batch = Batch::default();
        let mut ended: Vec<(&Row, Fact)> = Vec::new();
        let mut met = std::collections::HashSet::new();
        for (row, key) in rows.iter().zip(keys) {
            if settled.contains(&key) || !met.insert(key) {
                continue;
            }
            let mut verdict = row.judge(table, &self.zone, now);
            if verdict == Verdict::Unfinished {
                match pending.get(&key) {
                    Some(known) if now.as_second() - known.since >= self.abandon_after => {
                        verdict = row.abandoned(table);
                    }
                    Some(_) => {}
                    None => change.begun.push(Pending {
                        key,
                        place: row.session.clone().unwrap_or_default(),
                        name: row.under_way(table),
                        since: now.as_second(),
                    }),
                }
            }
            match verdict {
                Verdict::Unfinished => continue,
                Verdict::Skip(reason) => batch.skipped.push((table, reason)),
                Verdict::Ended(fact) => ended.push((row, fact)),
            }
            change.settled.push(key);
        }
        if change.is_empty() {
            return Ok(());
        }
        let sessions = ended.iter().filter_map(|(row, _)| row.session.as_deref());
        let sessions: std::collections::BTreeSet<&str> = sessions.collect();
        let sessions = json!(sessions);
        match table {
            Table::Sessions if !ended.is_empty() => {
                let counts = file.sessions(&sessions).await?;
                for (row, fact) in &mut ended {
                    let id = row.session.as_deref().unwrap_or_default();
                    fact.session = counts.get(id).copied();
                }
            }
            Table::AgentInvocations if !ended.is_empty() => {
                let invocations = json!(ended.iter().map(|(row, _)| row.rowid).collect::<Vec<_>>());
                if let Some(calls) = file.tool_calls(&invocations).await? {
                    // A session from before the table was there does not tell.
                    let told = file.with_agent_tool_uses(&sessions).await?;
                    for (row, fact) in &mut ended {
                        if row.session.as_ref().is_some_and(|id| told.contains(id)) {
                            let count = calls.get(&row.rowid).copied();
                            fact.tool_calls = Some(count.unwrap_or(0.0));
                        }
                    }
                }
            }
            Table::ToolUses if !ended.is_empty() => {
                let other = file.with_agent_tool_uses(&sessions).await?;
                ended.retain(|(row, _)| {
                    let counted_there = row.session.as_ref().is_some_and(|id| other.contains(id));
                    if counted_there {
                        batch.skipped.push((table, SkipReason::OtherTable));
                    }
                    !counted_there
                });
            }
            _ => {}
        }
        batch.facts = ended.into_iter().map(|(_, fact)| fact).collect();
        self.commit(state, table, change, batch).await
    }

    /// Commits, and then records.
    async fn commit(
        &mut self,
        state: &mut State,
        table: Table,
        change: Change,
        mut batch: Batch,
    ) -> Result<(), CollectError> {
        let (last, _) = state.last().await?;
        batch.number = last + 1;
        let number = batch.number;
        self.in_doubt = Some(batch);
        state.apply(table, &change, number).await?;
        if let Some(batch) = self.in_doubt.take() {
            batch.record();
        }
        Ok(())
    }

    /// Shows what is under way as the rows say.
    async fn count_under_way(&mut self, state: &mut State) -> Result<(), CollectError> {
        let counts = state.under_way().await?;
        for table in TABLES {
            let rows = counts.iter().filter(|(of, ..)| *of == table);
            let unfinished: usize = rows.map(|(.., count)| count).sum();
            RowsUnfinished { table }.set(unfinished as f64);
        }
        let shown = counts
            .into_iter()
            .filter(|(table, name, _)| *table == Table::Sessions || !name.is_empty());
        let wanted: HashMap<(&'static str, String), (Table, usize)> = shown
            .map(|(table, name, count)| ((file::name(table), name), (table, count)))
            .collect();
        self.under_way.retain(|key, _| wanted.contains_key(key));
        for (key, (table, count)) in wanted {
            let handle = match table {
                Table::Sessions => SessionRun { client: "" }.start_handle(),
                Table::AgentInvocations => AgentRun {
                    agent: &key.1,
                    phase: "",
                    model: "",
                }
                .start_handle(),
                Table::AgentToolUses | Table::ToolUses => ToolCall {
                    tool: &key.1,
                    agent: "",
                }
                .start_handle(),
            };
            let guards = self.under_way.entry(key).or_default();
            if let Some(handle) = handle {
                guards.resize_with(count, || handle.begin());
            }
        }
        Ok(())
    }

    /// Shows what the file holds; counting that again waits while it takes long.
    async fn describe(&mut self, file: &mut File) -> Result<(), CollectError> {
        let shown = self.shown.as_str();
        DatabaseSize { file: shown }.set(file.size as f64);
        if self.count_at.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        let start = Instant::now();
        match file.totals().await? {
            Some((invocations, agents)) => {
                DatabaseInvocations { file: shown }.set(invocations as f64);
                DatabaseAgents { file: shown }.set(agents as f64);
            }
            None => {
                DatabaseInvocations { file: shown }.remove();
                DatabaseAgents { file: shown }.remove();
            }
        }
        self.count_at = Some(Instant::now() + start.elapsed() * COUNTING_SHARE);
        Ok(())
    }
}

impl Collector for WorkflowDb {
    fn name(&self) -> &'static str {
        "workflow_db"
    }

    fn schedule(&self) -> Schedule {
        Schedule {
            interval: self.interval,
            deadline: self.interval.saturating_mul(2) + Duration::from_secs(60),
            // A file that is missing or locked costs little to look at.
            longest_pause: self.interval,
        }
    }

    async fn collect(&mut self, until: Instant) -> Result<Progress, CollectError> {
        // Both are dropped, and opened anew, unless this comes to its end.
        let mut state = match self.state.take() {
            Some(state) => state,
            None => State::open(&self.state_path).await?,
        };
        let opened = File::open(&self.path, self.interval.min(LONGEST_BUSY)).await;
        let result = match opened {
            Ok(mut file) => {
                let result = self.round(&mut state, &mut file, until).await;
                file.close().await;
                result
            }
            Err(error) => Err(error),
        };
        match &result {
            Ok(_) => self.state = Some(state),
            // Whether a transaction is open depends on what failed.
            Err(_) => state.close().await,
        }
        result
    }

    fn unknown(&mut self) {
        let file = self.shown.as_str();
        self.count_at = None;
        DatabaseSize { file }.remove();
        DatabaseInvocations { file }.remove();
        DatabaseAgents { file }.remove();
        RowsUnread {}.remove();
    }
}
