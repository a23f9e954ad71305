//! What an event means, given what is open in its session.
//!
//! Nothing is kept here between events but what only helps: the ledger's open operations are
//! the state, so that a restart between two halves, or another service on the same ledger,
//! makes no difference.

mod measures;
mod tools;

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::ids::{id, numbered};
use super::open::{AGENT_RUN, APPROVAL, How, Open, SESSION_RUN, TOOL_CALL, ended};
use super::payload::{Ended, Payload};
use super::recent::Recent;
use crate::ingest::records::Report;
use crate::ledger::{Ledger, QueryError};
use crate::signals::pipeline::{HookEvent, HookOutcome};

/// Name of the main agent where the client gives none, of the client, and of the kind of
/// workflow that asks for permissions.
const CLIENT: &str = "claude-code";
/// Name of a sub-agent whose kind is not told.
const SUBAGENT: &str = "subagent";
/// After how many seconds a session is given up that nobody ended: a week.
const SESSION_EXPIRES: u64 = 7 * 86_400;
/// How many that are named alike are told apart.
const ALIKE: u32 = 4_096;

/// What is to be recorded.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) reports: Vec<Report>,
    /// What became of an event without reports.
    pub(super) otherwise: Option<HookOutcome>,
    /// The session ended.
    pub(super) ended: bool,
}

/// The planning of one event.
pub(super) struct Planner<'a> {
    ledger: &'a Ledger,
    recent: &'a Recent,
    payload: &'a Payload,
    now: Timestamp,
    open: Vec<Open>,
    session: Option<Uuid>,
    plan: Plan,
    /// Agent runs under way after what is planned.
    running: u32,
    /// Agent runs that end, and where among the reports.
    ended_runs: Vec<(usize, Uuid)>,
}

impl<'a> Planner<'a> {
    /// Plans what an event that arrives `now` means.
    ///
    /// # Errors
    /// [`QueryError`] when the ledger cannot be asked.
    pub(super) async fn plan(
        ledger: &'a Ledger,
        recent: &'a Recent,
        payload: &'a Payload,
        now: Timestamp,
    ) -> Result<Plan, QueryError> {
        let mut planner = Self {
            ledger,
            recent,
            payload,
            now,
            open: Vec::new(),
            session: None,
            plan: Plan::default(),
            running: 0,
            ended_runs: Vec::new(),
        };
        // What is not known says nothing of the session either.
        if payload.event != HookEvent::Other {
            let open = ledger.open_of_session(&payload.session).await?;
            planner.open = open.into_iter().map(Open::of).collect();
            let running = planner.open.iter().filter(|open| open.is(AGENT_RUN));
            planner.running = u32::try_from(running.count()).unwrap_or(u32::MAX);
            planner.session().await?;
            planner.event().await?;
            planner.measure_runs().await?;
        }
        Ok(planner.plan)
    }

    async fn event(&mut self) -> Result<(), QueryError> {
        let payload = self.payload;
        match (payload.event, &payload.tool) {
            (HookEvent::SessionStart, _) if self.plan.reports.is_empty() => {
                if payload.source.as_deref() == Some("startup") {
                    self.plan.otherwise = Some(HookOutcome::Duplicate);
                }
                Ok(())
            }
            (HookEvent::UserPromptSubmit, _) => self.turn_begins().await,
            (HookEvent::Stop, _) => self.turn_ends(How::Success).await,
            (HookEvent::StopFailure, _) => {
                let error = payload.error.as_deref().unwrap_or("unknown");
                self.turn_ends(How::Failed(error)).await
            }
            (HookEvent::PreToolUse, Some(tool)) => self.tool_begins(tool).await,
            (HookEvent::PostToolUse | HookEvent::PostToolUseFailure, Some(tool)) => {
                let how = match tool.ended {
                    Ended::Success => How::Success,
                    Ended::Failed => How::Failed("tool_error"),
                    Ended::Timeout => How::Timeout,
                    Ended::Cancelled => How::Cancelled,
                };
                self.tool_ends(tool, how).await
            }
            (HookEvent::PermissionDenied, Some(tool)) => self.tool_ends(tool, How::Denied).await,
            (HookEvent::PermissionRequest, Some(tool)) => self.approval_begins(tool).await,
            (HookEvent::SubagentStart, _) => {
                if let Some(agent) = payload
                    .agent_id
                    .as_deref()
                    .filter(|_| self.session.is_some())
                {
                    self.subagent(agent);
                }
                Ok(())
            }
            (HookEvent::SubagentStop, _) => self.subagent_ends().await,
            (HookEvent::SessionEnd, _) => self.session_ends().await,
            _ => Ok(()),
        }
    }

    /// Finds the session's operation, or begins it.
    async fn session(&mut self) -> Result<(), QueryError> {
        let name = &self.payload.session;
        self.session = self.open.iter().find(|o| o.is(SESSION_RUN)).map(Open::id);
        if self.session.is_some() {
            return Ok(());
        }
        let Some((id, before)) = self.unused("session", &[]).await? else {
            return Ok(());
        };
        let begins = match self.payload.event {
            HookEvent::SessionEnd => false,
            // An id that ended does not start, it is resumed: this came twice.
            HookEvent::SessionStart => {
                before == 0 || self.payload.source.as_deref() != Some("startup")
            }
            // What arrives just after a session's end was under way before it.
            _ => before == 0 || !self.recent.ended(name, self.now),
        };
        if begins {
            let report = Report::start(SESSION_RUN, id)
                .at(self.now)
                .expires_in(Duration::from_secs(SESSION_EXPIRES))
                .field("session.client", CLIENT)
                .context("session.id", name.clone());
            self.plan.reports.push(report);
            self.session = Some(id);
        }
        Ok(())
    }

    async fn session_ends(&mut self) -> Result<(), QueryError> {
        let Some(session) = self.session else {
            let first = numbered(&self.payload.session, "session", &[], 0);
            return self.not_open(first).await;
        };
        for at in 0..self.open.len() {
            if !self.open[at].is(SESSION_RUN) {
                self.close(at, How::Abandoned);
            }
        }
        let mut end = Report::end(SESSION_RUN, session)
            .at(self.now)
            .field("status", "success");
        if let Some(reason) = &self.payload.reason {
            end = end.context("session.end_reason", reason.clone());
        }
        end = self.measure_session(end, session).await?;
        self.plan.reports.push(end);
        self.plan.ended = true;
        Ok(())
    }

    async fn turn_begins(&mut self) -> Result<(), QueryError> {
        let payload = self.payload;
        let Some(session) = self.session else {
            return Ok(());
        };
        let turn = match &payload.prompt_id {
            Some(prompt) => self.named("turn", &[prompt.as_bytes()]),
            None => {
                if self
                    .first_open(AGENT_RUN, "prompt", &[&payload.prompt])
                    .is_some()
                {
                    self.plan.otherwise = Some(HookOutcome::Duplicate);
                    return Ok(());
                }
                match self.unused("prompt", &[&payload.prompt]).await? {
                    Some((turn, _)) => turn,
                    None => return Ok(()),
                }
            }
        };
        if self.is_open(turn) {
            self.plan.otherwise = Some(HookOutcome::Duplicate);
            return Ok(());
        }
        self.interrupt();
        let correlation = payload
            .prompt_id
            .clone()
            .unwrap_or_else(|| turn.to_string());
        let mut report = Report::start(AGENT_RUN, turn)
            .at(self.now)
            .parent(session)
            .field("gen_ai.agent.name", self.main_agent())
            .context("gen_ai.conversation.id", payload.session.clone())
            .context("correlation_id", correlation);
        if let Some(input) = &payload.input {
            report = report.context("gen_ai.input.messages", input.clone());
        }
        self.begin_run(turn, report);
        Ok(())
    }

    /// Ends what was under way when a new prompt came: nothing tells of an interruption. What
    /// goes on in the background goes on.
    fn interrupt(&mut self) {
        let tools: Vec<Uuid> = self
            .open
            .iter()
            .filter(|open| open.is(TOOL_CALL))
            .map(Open::id)
            .collect();
        let background: Vec<Uuid> = self
            .open
            .iter()
            .filter(|open| {
                let parent = open.operation.parent;
                open.is_subagent() && !parent.is_some_and(|parent| tools.contains(&parent))
            })
            .map(Open::id)
            .collect();
        for at in 0..self.open.len() {
            if !self.open[at].is(SESSION_RUN) && !self.within(at, &background) {
                let how = match self.asked_for(at) || self.open[at].is(APPROVAL) {
                    true => How::Denied,
                    false => How::Cancelled,
                };
                self.close(at, how);
            }
        }
    }

    /// Whether an operation is one of these or below one.
    fn within(&self, at: usize, roots: &[Uuid]) -> bool {
        let mut next = Some(self.open[at].id());
        // A cycle cannot be, but what is read is not trusted.
        for _ in 0..64 {
            let Some(id) = next else { return false };
            if roots.contains(&id) {
                return true;
            }
            next = self
                .open
                .iter()
                .find(|open| open.id() == id)
                .and_then(|open| open.operation.parent);
        }
        false
    }

    /// Whether a tool call waits for an approval.
    fn asked_for(&self, at: usize) -> bool {
        let tool = Some(self.open[at].id());
        let mut others = self.open.iter();
        self.open[at].is(TOOL_CALL)
            && others.any(|open| open.is(APPROVAL) && open.operation.parent == tool)
    }

    async fn turn_ends(&mut self, how: How<'_>) -> Result<(), QueryError> {
        let named = |prompt: &String| self.named("turn", &[prompt.as_bytes()]);
        let id = self.payload.prompt_id.as_ref().map(named);
        let open = |open: &Open| open.is_turn() && id.is_none_or(|id| open.id() == id);
        match (self.open.iter().position(open), id) {
            (Some(at), _) => {
                self.close(at, how);
                Ok(())
            }
            (None, Some(id)) => self.not_open(id).await,
            (None, None) => {
                self.plan.otherwise = Some(HookOutcome::Unpaired);
                Ok(())
            }
        }
    }

    async fn subagent_ends(&mut self) -> Result<(), QueryError> {
        let subagents: Vec<usize> = (0..self.open.len())
            .filter(|at| self.open[*at].is_subagent())
            .collect();
        let Some(agent) = &self.payload.agent_id else {
            // Which one it was is known only if there is but one.
            match subagents[..] {
                [at] => self.close(at, How::Success),
                _ => self.plan.otherwise = Some(HookOutcome::Unpaired),
            }
            return Ok(());
        };
        let id = self.named("agent", &[agent.as_bytes()]);
        match self.position(id) {
            Some(at) => {
                self.close(at, How::Success);
                Ok(())
            }
            None => {
                let end = ended(Report::end(AGENT_RUN, id), AGENT_RUN, How::Success);
                self.recent.keep_end(id, end, self.now);
                self.not_open(id).await
            }
        }
    }

    /// The run of a sub-agent, begun if it is not open.
    fn subagent(&mut self, agent: &str) -> Uuid {
        let id = self.named("agent", &[agent.as_bytes()]);
        if self.is_open(id) {
            self.plan.otherwise = Some(HookOutcome::Duplicate);
            return id;
        }
        let kind = self.payload.agent_type.as_deref().unwrap_or(SUBAGENT);
        // The oldest call that starts one of its kind and has none yet.
        let called = self.open.iter().find(|call| {
            let taken = |open: &Open| open.operation.parent == Some(call.id());
            call.is(TOOL_CALL)
                && call.said("subagent.name") == Some(kind)
                && !self
                    .open
                    .iter()
                    .any(|open| open.is_subagent() && taken(open))
        });
        let parent = called
            .map(Open::id)
            .or_else(|| self.turn())
            .or(self.session);
        let mut report = Report::start(AGENT_RUN, id)
            .at(self.now)
            .field("gen_ai.agent.name", kind)
            .context("gen_ai.agent.id", agent);
        if let Some(parent) = parent {
            report = report.parent(parent);
        }
        let report = self.belonging(report);
        self.begin_run(id, report);
        id
    }

    /// Adds what an operation belongs to.
    fn belonging(&self, report: Report) -> Report {
        let report = report.context("gen_ai.conversation.id", self.payload.session.clone());
        let turn = self.open.iter().find(|open| open.is_turn());
        let correlation = turn.and_then(|turn| turn.said("correlation_id"));
        match self.payload.prompt_id.as_deref().or(correlation) {
            Some(correlation) => report.context("correlation_id", correlation),
            None => report,
        }
    }

    fn main_agent(&self) -> &'a str {
        let given = self.payload.agent_type.as_deref();
        given
            .filter(|_| self.payload.agent_id.is_none())
            .unwrap_or(CLIENT)
    }

    /// What a tool is called by: the sub-agent, the turn, or the session.
    fn caller(&mut self) -> Option<Uuid> {
        if let Some(agent) = &self.payload.agent_id {
            let before = self.plan.otherwise;
            let id = match self.session {
                Some(_) => self.subagent(agent),
                None => self.named("agent", &[agent.as_bytes()]),
            };
            self.plan.otherwise = before;
            return Some(id);
        }
        self.turn().or(self.session)
    }

    fn turn(&self) -> Option<Uuid> {
        self.open.iter().find(|open| open.is_turn()).map(Open::id)
    }

    /// Adds a beginning; if its end came before it, both.
    fn begin(&mut self, id: Uuid, start: Report) {
        match self.recent.take_end(&id, self.now) {
            // It took less than one of the two was late.
            Some((end, then)) => {
                let both = [start.at(then), end.at(self.now)];
                self.plan.reports.extend(both);
            }
            None => self.plan.reports.push(start),
        }
    }

    /// Adds the beginning of an agent's run.
    fn begin_run(&mut self, id: Uuid, start: Report) {
        self.running += 1;
        self.begin(id, start.field("parallel_runs", self.running));
    }

    /// Adds the end of an open operation.
    fn close(&mut self, at: usize, how: How<'_>) {
        let open = &self.open[at];
        if open.is(AGENT_RUN) {
            self.running = self.running.saturating_sub(1);
            self.ended_runs.push((self.plan.reports.len(), open.id()));
        }
        let end = self.end_of(at, how, None);
        self.plan.reports.push(end);
    }

    /// The end of an open operation, which took `ran` or all the time since it began.
    fn end_of(&self, at: usize, how: How<'_>, ran: Option<Duration>) -> Report {
        let open = &self.open[at];
        let mut end = Report::end(&*open.operation.signal, open.id()).at(self.now);
        if let Some(ran) = ran {
            end = end.took(ran);
        }
        ended(end, &open.operation.signal, how)
    }

    /// What becomes of the end of an operation that is not open.
    async fn not_open(&mut self, id: Uuid) -> Result<(), QueryError> {
        let recorded = self.ledger.recorded_among(&[id]).await?;
        self.plan.otherwise = Some(match recorded.is_empty() {
            true => HookOutcome::Unpaired,
            false => HookOutcome::Duplicate,
        });
        Ok(())
    }

    fn named(&self, kind: &str, parts: &[&[u8]]) -> Uuid {
        id(&self.payload.session, kind, parts)
    }

    fn position(&self, id: Uuid) -> Option<usize> {
        self.open.iter().position(|open| open.id() == id)
    }

    fn is_open(&self, id: Uuid) -> bool {
        self.position(id).is_some()
    }

    /// The first of those named alike that is open: the ids go up in order of their beginning.
    fn first_open(&self, signal: &str, kind: &str, parts: &[&[u8]]) -> Option<Uuid> {
        let open = self.open.iter().filter(|open| open.is(signal));
        let open: HashSet<Uuid> = open.map(Open::id).collect();
        let session = &self.payload.session;
        (!open.is_empty())
            .then(|| (0..ALIKE).map(|n| numbered(session, kind, parts, n)))?
            .find(|id| open.contains(id))
    }

    /// The first of those named alike that is neither open nor on record, and how many are
    /// before it.
    async fn unused(&self, kind: &str, parts: &[&[u8]]) -> Result<Option<(Uuid, u32)>, QueryError> {
        let mut chunk = 8;
        let mut from = 0;
        while from < ALIKE {
            let ids: Vec<Uuid> = (from..from + chunk)
                .map(|n| numbered(&self.payload.session, kind, parts, n))
                .collect();
            let recorded = self.ledger.recorded_among(&ids).await?;
            let free = |id: &Uuid| !recorded.contains(id) && !self.is_open(*id);
            if let Some(at) = ids.iter().position(free) {
                let before = from + u32::try_from(at).unwrap_or(0);
                return Ok(Some((ids[at], before)));
            }
            from += chunk;
            chunk = (chunk * 4).min(500);
        }
        // As many alike in one session are not told apart any more.
        Ok(None)
    }
}
