//! Calls of tools, requests to MCP servers and approvals.

use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::super::open::{AGENT_RUN, APPROVAL, How, MCP, Open, TOOL_CALL, ended};
use super::super::payload::Tool;
use super::{CLIENT, Planner, SUBAGENT};
use crate::ingest::records::Report;
use crate::ledger::QueryError;
use crate::signals::pipeline::HookOutcome;

/// Adds what a tool answered, as far as it is kept.
fn answered(report: Report, tool: &Tool) -> Report {
    match &tool.result {
        Some(result) => report.context("gen_ai.tool.call.result", result.clone()),
        None => report,
    }
}

impl Planner<'_> {
    pub(super) async fn tool_begins(&mut self, tool: &Tool) -> Result<(), QueryError> {
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
            self.begin_run(run, report);
        }
        Ok(())
    }

    pub(super) async fn tool_ends(&mut self, tool: &Tool, how: How<'_>) -> Result<(), QueryError> {
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
            let end = answered(self.end_of(at, how, tool.ran), tool);
            self.plan.reports.push(end);
            let mcp = self.named("mcp", &[id.as_bytes()]);
            if let Some(at) = self.position(mcp) {
                let end = self.end_of(at, how, tool.ran);
                self.plan.reports.push(end);
            }
            return Ok(());
        }
        let Some(ran) = tool.ran else {
            let end = answered(Report::end(TOOL_CALL, id), tool);
            let end = ended(end, TOOL_CALL, how);
            self.recent.keep_end(id, end, self.now);
            let mcp = self.named("mcp", &[id.as_bytes()]);
            let end = ended(Report::end(MCP, mcp), MCP, how);
            self.recent.keep_end(mcp, end, self.now);
            return self.not_open(id).await;
        };
        // Whole without its beginning, which changes nothing when it comes late.
        let report = Report::new(TOOL_CALL).id(id).at(self.now).took(ran);
        let report = answered(self.tool_call(report, tool), tool);
        let report = ended(report, TOOL_CALL, how);
        self.plan.reports.push(report);
        if let Some((server, called)) = tool.mcp() {
            let mcp = self.named("mcp", &[id.as_bytes()]);
            let report = Report::new(MCP).id(mcp).at(self.now).took(ran);
            let report = ended(self.mcp_call(report, (server, called), id), MCP, how);
            self.plan.reports.push(report);
        }
        Ok(())
    }

    pub(super) async fn approval_begins(&mut self, tool: &Tool) -> Result<(), QueryError> {
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
        if let Some(arguments) = &tool.arguments {
            report = report.context("gen_ai.tool.call.arguments", arguments.clone());
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
}
