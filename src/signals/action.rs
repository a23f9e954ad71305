//! The action log: what agents write down of what they do.
//!
//! An entry is one operation, and its duration is that of writing it. How long the action
//! itself took is a value of its own.

use crate::catalog::{Alert, Condition, HTTP, Panel, Runbook, Severity, TOOL, View};
use crate::{closed_label, signal};

closed_label! {
    /// What an agent did.
    pub enum ActionType {
        /// It called a tool.
        ToolCall = "tool_call",
        /// It decided something.
        Decision = "decision",
        /// It met an error.
        Error = "error",
        /// It reached what it was after.
        Success = "success",
        /// Something else, which the action's name tells.
        Other = "other",
    }
}

closed_label! {
    /// What became of an entry of the action log.
    pub enum EntryStatus {
        /// It was written.
        Success = "success",
        /// It could not be written.
        Failed = "failed" error,
        /// Nobody reported whether it was.
        Abandoned = "abandoned" abandoned,
    }
}

signal! {
    /// One action of an agent, written to the action log.
    pub operation ActionLog => ActionLogEnd = "action.log" timed_by_write true {
        labels {
            /// Agent that acted.
            agent as "gen_ai.agent.name": open(100),
            /// What it did.
            action_type as "action.type": closed(ActionType),
        }
        outcome {
            /// What became of the entry.
            status: closed(EntryStatus),
            /// Why it could not be written: one of few words; absent if it was.
            error as "error.type": optional(32),
        }
        values {
            /// Seconds that the action itself took; unknown if not reported.
            action_duration as "action.duration",
        }
        context {
            /// Id shared by everything that belongs to one request or task.
            CORRELATION_ID = "correlation_id",
            /// Name of the action: of the tool, the decision or the error.
            NAME = "action.name",
            /// What it was given, as JSON.
            PARAMETERS = "action.parameters",
            /// What came of it, as JSON.
            RESULT = "action.result",
            /// Id of the session.
            SESSION_ID = "session.id",
        }
        metrics {
            /// Entries of the action log that were written, or could not be.
            "action.log.entries" = counter "{entry}" count by [agent, action_type, status, error];
            /// Time spent writing an entry of the action log.
            "action.log.duration" = histogram "s" duration by [agent, action_type] buckets (HTTP);
            /// Time that an action took.
            "action.duration" = histogram "s" of(action_duration) by [agent, action_type] buckets (TOOL)
                no_alert "tools, models and agents watch how long they take, each by its own measure";
        }
        panels [
            Panel::new("Actions logged", View::Rate("action.log.entries"), "Entries of the action log, a second, by type of action.")
                .by(&["action.type"])
                .section("Action log")
                .headline(),
            Panel::new("Actions by agent", View::Rate("action.log.entries"), "Entries of the action log, a second, by agent.")
                .by(&["gen_ai.agent.name"])
                .section("Action log"),
            Panel::new("Entries not written", View::ErrorRatio("action.log.entries"), "Share of an agent's entries that could not be written: what it did is not on record.")
                .by(&["gen_ai.agent.name"])
                .section("Action log")
                .headline(),
            Panel::new("Action log errors", View::Errors("action.log.entries"), "Entries that could not be written, a second, by agent and kind of error.")
                .by(&["gen_ai.agent.name", "error.type"])
                .section("Action log"),
            Panel::new("Action log latency", View::Quantiles("action.log.duration"), "The 50th, 95th and 99th percentile of the time spent writing an entry.")
                .section("Action log")
                .headline(),
            Panel::new("Action log latency by agent", View::Quantiles("action.log.duration"), "The 95th percentile of the time spent writing an entry, by agent.")
                .by(&["gen_ai.agent.name"])
                .section("Action log"),
            Panel::new("Actions over the range", View::Total("action.log.entries"), "Entries of the action log over the range shown, by agent and type of action.")
                .by(&["gen_ai.agent.name", "action.type"])
                .section("Action log"),
            Panel::new("Duration of actions", View::Quantiles("action.duration"), "The 95th percentile of the time that actions took, by type.")
                .by(&["action.type"])
                .section("Action log"),
        ]
        alerts [
            Alert::new(
                "ActionLogSlow",
                Severity::Warning,
                Condition::QuantileAbove { metric: "action.log.duration", quantile: 0.95, threshold: 1.0, floor: 10 },
                "The 95th percentile of writing to the action log is above 1 second",
                Runbook {
                    meaning: "Writing down what an agent does takes longer than a second for one action in twenty. Agents that wait for it work that much slower.",
                    causes: &["The database or the broker behind the log is slow or far away", "Entries are large: whole files as parameters or results", "A lock: a backup, a migration, a long query on the log"],
                    actions: &["Compare with the latency of the ledger and the database", "Look at the size of parameters and results in the latest entries", "Let agents write in the background, and bound what waits"],
                },
            )
            .over_minutes(10),
            Alert::new(
                "ActionLogFailing",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "action.log.entries", ratio: 0.05, floor: 20 },
                "More than 5 % of an agent's actions cannot be logged",
                Runbook {
                    meaning: "What this agent does is missing from the action log, and cannot be looked up later.",
                    causes: &["The database or the broker behind the log refuses entries, or is away", "Its disk is full", "Entries are refused because of their size or form"],
                    actions: &["Split by `error_type`", "Read the agent's log for what refuses the entries", "Write one entry by hand, with the same credentials"],
                },
            )
            .over_minutes(15)
            .by(&["gen_ai.agent.name"]),
        ]
    }
}
