//! What is open, and how it ends.

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::ingest::records::Report;
use crate::ledger::OpenOperation;

pub(super) const SESSION_RUN: &str = "session.run";
pub(super) const AGENT_RUN: &str = "agent.run";
pub(super) const TOOL_CALL: &str = "tool.call";
pub(super) const MCP: &str = "mcp.client.operation";
pub(super) const APPROVAL: &str = "workflow.approval";

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How<'a> {
    Success,
    Failed(&'a str),
    Timeout,
    Denied,
    Cancelled,
    Abandoned,
}

/// An open operation with its JSON read.
pub(super) struct Open {
    pub(super) operation: OpenOperation,
    pub(super) fields: Map<String, Value>,
    pub(super) context: Map<String, Value>,
}

impl Open {
    pub(super) fn of(operation: OpenOperation) -> Self {
        let map = |text: &str| serde_json::from_str(text).unwrap_or_default();
        Self {
            fields: map(&operation.fields),
            context: map(&operation.context),
            operation,
        }
    }

    pub(super) fn is(&self, signal: &str) -> bool {
        self.operation.signal == signal
    }

    pub(super) fn id(&self) -> Uuid {
        self.operation.id
    }

    pub(super) fn said(&self, key: &str) -> Option<&str> {
        self.context.get(key).and_then(Value::as_str)
    }

    pub(super) fn is_subagent(&self) -> bool {
        self.is(AGENT_RUN) && self.said("gen_ai.agent.id").is_some()
    }

    pub(super) fn is_turn(&self) -> bool {
        self.is(AGENT_RUN) && !self.is_subagent()
    }
}

/// Adds how an operation ended, in the words of its signal.
pub(super) fn ended(report: Report, signal: &str, how: How<'_>) -> Report {
    let (status, error) = match (signal, how) {
        (APPROVAL, How::Success | How::Failed(_) | How::Timeout) => ("approved", None),
        (APPROVAL, How::Denied | How::Cancelled) => ("rejected", None),
        (MCP, How::Success) => ("", None),
        (MCP, How::Failed(error)) => ("", Some(error)),
        (MCP, How::Timeout) => ("", Some("timeout")),
        (MCP, How::Denied) => ("", Some("denied")),
        (MCP, How::Cancelled) => ("", Some("cancelled")),
        (MCP, How::Abandoned) => ("", Some("abandoned")),
        (_, How::Success) => ("success", None),
        (_, How::Failed(error)) => ("failed", Some(error)),
        (_, How::Timeout) => ("timeout", Some("timeout")),
        (TOOL_CALL, How::Denied) => ("denied", None),
        (_, How::Denied | How::Cancelled) => ("cancelled", None),
        (_, How::Abandoned) => ("abandoned", None),
    };
    let report = match (signal, status) {
        (_, "") => report,
        (APPROVAL, decision) => report.field("decision", decision),
        (_, status) => report.field("status", status),
    };
    match error {
        Some(error) => report.field("error.type", error),
        None => report,
    }
}
