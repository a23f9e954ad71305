//! `POST /api/v1/hooks/claude-code`: what Claude Code's hooks write, as it is, turned into
//! signals of sessions, agents, tools, MCP servers and approvals.
//!
//! | event | what is recorded |
//! | --- | --- |
//! | `SessionStart`, `SessionEnd` | `session.run`, with all that was left open in it |
//! | `UserPromptSubmit`, `Stop`, `StopFailure` | `agent.run` of the main agent: a turn, the session's child |
//! | `PreToolUse`, `PostToolUse`, `PostToolUseFailure` | `tool.call`, the child of the turn or sub-agent that calls; `mcp.client.operation` below it for `mcp__server__tool` |
//! | `SubagentStart`, `SubagentStop` | `agent.run` of the sub-agent, the child of the call that started it |
//! | `PermissionRequest`, `PermissionDenied` | `workflow.approval`, the child of the call |
//!
//! Other events are counted only. Ids of records follow from the session and the client's own
//! ids, so an event that comes twice changes nothing; what is open is in the
//! [`ledger`](crate::ledger), so a restart between two halves changes nothing either.
//!
//! - An end without a beginning is recorded where the client says how long it took
//!   (`duration_ms`); otherwise it is counted as `unpaired`, as its duration is not known. Should
//!   its beginning arrive within a minute, both are recorded.
//! - A beginning without an end stays in flight until the session's end, or until it is given
//!   up, and ends as `abandoned`. What a new prompt finds under way in the foreground was
//!   interrupted, which no event tells of, and ends as `cancelled`, `denied` if a person was asked.
//! - Tokens and costs are not in these events, and none are recorded.
//! - Prompts, tool inputs and tool results are kept as far as [`HooksConfig::content`] says, in
//!   the context of the ledger's records and nowhere else.
//!
//! The answer has no body, as a client takes a body for instructions; `x-tachograph-outcome`
//! says what became of the event.

mod content;
mod handler;
mod ids;
mod open;
mod payload;
mod plan;
mod recent;
mod redact;

pub use content::{HookContent, HooksConfig};
pub use handler::{HooksApi, Refused, configure};
pub use payload::Unusable;
