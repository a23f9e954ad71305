//! What an event means, given what is open in its session.
//!
//! Nothing is kept here between events but what only helps: the ledger's open operations are
//! the state, so that a restart between two halves, or another service on the same ledger,
//! makes no difference.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::ids::{id, numbered};
use super::open::{AGENT_RUN, APPROVAL, How, MCP, Open, SESSION_RUN, TOOL_CALL, ended};
use super::payload::{Ended, Payload, Tool};
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
        };
        // What is not known says nothing of the session either.
        if payload.event != HookEvent::Other {
            let open = ledger.open_of_session(&payload.session).await?;
            planner.open = open.into_iter().map(Open::of).collect();
            planner.session().await?;
            planner.event().await?;
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
        let report = Report::start(AGENT_RUN, turn)
            .at(self.now)
            .parent(session)
            .field("gen_ai.agent.name", self.main_agent())
            .context("gen_ai.conversation.id", payload.session.clone())
            .context("correlation_id", correlation);
        self.begin(turn, report);
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

    async fn tool_begins(&mut self, tool: &Tool) -> Result<(), QueryError> {
        if self.session.is_none() {
            self.plan.otherwise = Some(HookOutcome::Ignored);
            return Ok(());
        }
        let id = match &tool.use_id {
            Some(use_id) => self.named("tool", &[use_id.as_bytes()]),
            None => match self.unused("call", &[&tool.digest]).await? {
                Some((id, _)) => id,
                None => return Ok(()),
            },
        };
        if self.is_open(id) {
            self.plan.otherwise = Some(HookOutcome::Duplicate);
            return Ok(());
        }
        let report = Report::start(TOOL_CALL, id).at(self.now);
        let report = self.tool_call(report, tool);
        self.begin(id, report);
        if let Some((server, called)) = tool.mcp() {
            let mcp = self.named("mcp", &[id.as_bytes()]);
            let report = Report::start(MCP, mcp).at(self.now);
            let report = self.mcp_call(report, (server, called), id);
            self.begin(mcp, report);
        }
        // Clients that give calls no id do not tell of the beginning of sub-agents either.
        if let (Some(kind), None) = (&tool.subagent, &tool.use_id) {
            let run = self.named("task", &[id.as_bytes()]);
            let report = Report::start(AGENT_RUN, run)
                .at(self.now)
                .parent(id)
                .field("gen_ai.agent.name", kind.clone())
                .context("gen_ai.agent.id", id.to_string());
            let report = self.belonging(report);
            self.begin(run, report);
        }
        Ok(())
    }

    async fn tool_ends(&mut self, tool: &Tool, how: How<'_>) -> Result<(), QueryError> {
        self.approvals_end(tool, how);
        let id = match &tool.use_id {
            Some(use_id) => Some(self.named("tool", &[use_id.as_bytes()])),
            None => self.first_open(TOOL_CALL, "call", &[&tool.digest]),
        };
        let Some(id) = id else {
            self.plan.otherwise = Some(HookOutcome::Unpaired);
            return Ok(());
        };
        if let Some(at) = self.position(id) {
            self.subagents_end(tool, at, how);
            self.close_after(at, how, tool.ran);
            let mcp = self.named("mcp", &[id.as_bytes()]);
            if let Some(at) = self.position(mcp) {
                self.close_after(at, how, tool.ran);
            }
            return Ok(());
        }
        let Some(ran) = tool.ran else {
            let end = ended(Report::end(TOOL_CALL, id), TOOL_CALL, how);
            self.recent.keep_end(id, end, self.now);
            let mcp = self.named("mcp", &[id.as_bytes()]);
            let end = ended(Report::end(MCP, mcp), MCP, how);
            self.recent.keep_end(mcp, end, self.now);
            return self.not_open(id).await;
        };
        // Whole without its beginning, which changes nothing when it comes late.
        let report = Report::new(TOOL_CALL).id(id).at(self.now).took(ran);
        let report = ended(self.tool_call(report, tool), TOOL_CALL, how);
        self.plan.reports.push(report);
        if let Some((server, called)) = tool.mcp() {
            let mcp = self.named("mcp", &[id.as_bytes()]);
            let report = Report::new(MCP).id(mcp).at(self.now).took(ran);
            let report = ended(self.mcp_call(report, (server, called), id), MCP, how);
            self.plan.reports.push(report);
        }
        Ok(())
    }

    async fn approval_begins(&mut self, tool: &Tool) -> Result<(), QueryError> {
        if self.session.is_none()
            || self
                .first_open(APPROVAL, "approval", &[&tool.digest])
                .is_some()
        {
            self.plan.otherwise = Some(HookOutcome::Duplicate);
            return Ok(());
        }
        let Some((id, _)) = self.unused("approval", &[&tool.digest]).await? else {
            return Ok(());
        };
        let caller = self.caller();
        let by_use = tool.use_id.as_ref();
        let by_use = by_use.map(|use_id| self.named("tool", &[use_id.as_bytes()]));
        // The event does not say which call it is about: the latest of this tool.
        let called = self.open.iter().rev().find(|open| {
            open.is(TOOL_CALL)
                && open.operation.parent == caller
                && open.fields.get("gen_ai.tool.name").and_then(Value::as_str) == Some(&tool.name)
        });
        let parent = by_use.or(called.map(Open::id)).or(caller);
        let mut report = Report::start(APPROVAL, id)
            .at(self.now)
            .field("workflow_type", CLIENT);
        if let Some(parent) = parent {
            report = report.parent(parent);
        }
        if let Some(run) = caller {
            report = report.context("workflow_id", run.to_string());
        }
        let report = self.belonging(report);
        self.begin(id, report);
        Ok(())
    }

    fn approvals_end(&mut self, tool: &Tool, how: How<'_>) {
        let Some(id) = self.first_open(APPROVAL, "approval", &[&tool.digest]) else {
            return;
        };
        let Some(at) = self.position(id) else { return };
        if how == How::Denied {
            return self.close(at, How::Denied);
        }
        // It was decided when the tool began to run, as far as that is known.
        let ran = tool.ran.unwrap_or_default();
        let decided = self.now.checked_sub(ran).unwrap_or(self.now);
        let end = Report::end(APPROVAL, id).at(decided);
        let end = ended(end, APPROVAL, How::Success);
        self.plan.reports.push(end);
    }

    /// Ends sub-agents that end with the call that started them.
    fn subagents_end(&mut self, tool: &Tool, at: usize, how: How<'_>) {
        if tool.subagent.is_none() || tool.background {
            return;
        }
        let call = self.open[at].id();
        let told = tool.started.as_ref();
        let told = told.map(|agent| self.named("agent", &[agent.as_bytes()]));
        let own = self.named("task", &[call.as_bytes()]);
        for at in 0..self.open.len() {
            let (id, parent) = (self.open[at].id(), self.open[at].operation.parent);
            let cancelled = how == How::Cancelled && parent == Some(call);
            if Some(id) == told || id == own || (cancelled && self.open[at].is_subagent()) {
                self.close(at, how);
            }
        }
        let unseen = told.filter(|told| self.position(*told).is_none());
        if let (Some(run), Some(kind), Some(agent)) = (unseen, &tool.subagent, &tool.started) {
            // Neither its beginning nor its end was seen; if they were, this is a duplicate.
            let began = self.open[at].operation.time_us;
            let took = self.now.as_microsecond().saturating_sub(began).max(0);
            let took = Duration::from_micros(took.unsigned_abs());
            let report = Report::new(AGENT_RUN)
                .id(run)
                .at(self.now)
                .took(took)
                .parent(call)
                .field("gen_ai.agent.name", kind.clone())
                .context("gen_ai.agent.id", agent.clone());
            let report = ended(self.belonging(report), AGENT_RUN, how);
            self.plan.reports.push(report);
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
        self.begin(id, report);
        id
    }

    fn tool_call(&mut self, report: Report, tool: &Tool) -> Report {
        let caller = self.caller();
        let agent = match &self.payload.agent_id {
            Some(_) => self.payload.agent_type.as_deref().unwrap_or(SUBAGENT),
            None => self.main_agent(),
        };
        let mut report = report
            .field("gen_ai.tool.name", tool.name.clone())
            .field("gen_ai.agent.name", agent)
            .context("gen_ai.tool.type", "function");
        if let Some(caller) = caller {
            report = report.parent(caller);
        }
        if let Some(use_id) = &tool.use_id {
            report = report.context("gen_ai.tool.call.id", use_id.clone());
        }
        if let Some(kind) = &tool.subagent {
            report = report.context("subagent.name", kind.clone());
        }
        self.belonging(report)
    }

    fn mcp_call(&self, report: Report, (server, tool): (&str, &str), call: Uuid) -> Report {
        let report = report
            .parent(call)
            .field("mcp.method.name", "tools/call")
            .field("mcp.server.name", server)
            .field("gen_ai.tool.name", tool);
        self.belonging(report)
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

    fn close(&mut self, at: usize, how: How<'_>) {
        self.close_after(at, how, None);
    }

    /// Adds the end of an open operation, which took `ran` or all the time since it began.
    fn close_after(&mut self, at: usize, how: How<'_>, ran: Option<Duration>) {
        let (id, signal) = (self.open[at].id(), self.open[at].operation.signal.clone());
        let mut end = Report::end(&*signal, id).at(self.now);
        if let Some(ran) = ran {
            end = end.took(ran);
        }
        let end = ended(end, &signal, how);
        self.plan.reports.push(end);
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
