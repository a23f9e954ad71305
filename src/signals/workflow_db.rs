//! The agent workflow database, a SQLite file that other programs write: what was read of it,
//! what was not, and what it holds.

use crate::catalog::{Alert, Condition, Panel, Runbook, Severity, View};
use crate::{closed_label, signal};

closed_label! {
    /// A table of the file.
    pub enum Table {
        /// `sessions`
        Sessions = "sessions",
        /// `agent_invocations`
        AgentInvocations = "agent_invocations",
        /// `agent_tool_uses`, of newer files.
        AgentToolUses = "agent_tool_uses",
        /// `tool_uses`
        ToolUses = "tool_uses",
    }
}

closed_label! {
    /// What became of a row; a row is settled once.
    pub enum RowResult {
        /// It was counted as it ended.
        Counted = "counted",
        /// It was counted as abandoned: its end did not come in time.
        Abandoned = "abandoned",
        /// It was not counted.
        Skipped = "skipped",
    }
}

closed_label! {
    /// Why a row was not counted.
    pub enum SkipReason {
        /// Its agent is `unknown`, which the writer uses for noise.
        UnknownAgent = "unknown_agent",
        /// It does not name its agent or tool.
        NoName = "no_name",
        /// It ended, with a status that is no known word.
        UnknownStatus = "unknown_status",
        /// Its session's tool uses are counted from `agent_tool_uses`.
        OtherTable = "other_table",
        /// It was deleted before it ended.
        Deleted = "deleted",
    }
}

closed_label! {
    /// Why it is not known how long something took.
    pub enum NoDuration {
        /// The row holds neither a duration nor both times.
        Missing = "missing",
        /// A duration or a time is none, or absurd.
        Malformed = "malformed",
        /// It ended before it began.
        Negative = "negative",
    }
}

signal! {
    /// Rows of the file that were settled: each once, when it is final.
    pub counter Rows = "workflow_db.row" => "workflow_db.rows" "{row}" reportable false {
        labels {
            /// Table it stands in.
            table: closed(Table),
            /// What became of it.
            result: closed(RowResult),
        }
        panels [
            Panel::new("Rows read", View::Rate("workflow_db.rows"), "Rows of the agent workflow database that were settled, a second, by table and what became of them.")
                .by(&["table", "result"])
                .section("Reading"),
        ]
        no_alert "what rows say is watched with sessions, agents and tools"
    }
}

signal! {
    /// Rows of the file that were not counted.
    pub counter RowsSkipped = "workflow_db.row.skipped" => "workflow_db.skipped_rows" "{row}" reportable false {
        labels {
            /// Table it stands in.
            table: closed(Table),
            /// Why.
            reason: closed(SkipReason),
        }
        panels [
            Panel::new("Rows skipped", View::Total("workflow_db.skipped_rows"), "Rows of the agent workflow database that were not counted over the range shown, by reason.")
                .by(&["table", "reason"])
                .section("Reading")
                .headline(),
        ]
        no_alert "the writer marks noise by such rows"
    }
}

signal! {
    /// Rows that were counted without a duration, since it is not known.
    pub counter DurationsUnknown = "workflow_db.duration.unknown" => "workflow_db.unknown_durations" "{row}" reportable false {
        labels {
            /// Table it stands in.
            table: closed(Table),
            /// Why.
            reason: closed(NoDuration),
        }
        panels [
            Panel::new("Unknown durations", View::Total("workflow_db.unknown_durations"), "Rows of the agent workflow database that were counted over the range shown although it is not known how long they took, by reason.")
                .by(&["table", "reason"])
                .section("Reading"),
        ]
        no_alert "what older writers leave out does not come back"
    }
}

signal! {
    /// Rows of the file that have begun and not ended.
    pub gauge RowsUnfinished = "workflow_db.unfinished" => "workflow_db.unfinished_rows" "{row}" reportable false {
        labels {
            /// Table it stands in.
            table: closed(Table),
        }
        panels [
            Panel::new("Unfinished rows", View::Value("workflow_db.unfinished_rows"), "Rows of the agent workflow database that have begun and not ended. They end as abandoned when their end does not come.")
                .by(&["table"])
                .section("Reading"),
        ]
        no_alert "agents that hang are watched by their runs"
    }
}

signal! {
    /// Rows of the file that are there and were not read yet.
    pub gauge RowsUnread = "workflow_db.unread" => "workflow_db.unread_rows" "{row}" reportable false {
        labels {}
        panels [
            Panel::new("Unread rows", View::Value("workflow_db.unread_rows"), "Rows that the agent workflow database holds and that were not read yet: how far behind the reader is.")
                .section("Reading")
                .headline(),
        ]
        no_alert "the time up to which everything was read is watched"
    }
}

signal! {
    /// Up to when everything the file held has been read, seconds since the Unix epoch.
    pub gauge ReadUpTo = "workflow_db.read_up_to" => "workflow_db.read_up_to.timestamp" "s" reportable false {
        labels {}
        panels [
            Panel::new("Lag", View::Age("workflow_db.read_up_to.timestamp"), "How far behind the agent workflow database the counts are: what was written longer ago has been read.")
                .section("Reading")
                .headline(),
        ]
        alerts [
            Alert::new(
                "WorkflowDatabaseLags",
                Severity::Warning,
                Condition::OlderThan { metric: "workflow_db.read_up_to.timestamp", seconds: 900 },
                "The agent workflow database has not been read to its end for 15 minutes",
                Runbook {
                    meaning: "What the agents wrote into the workflow database in the last 15 minutes or more is not counted yet. Nothing is lost: it is counted when it is read.",
                    causes: &["A writer keeps the file locked", "The file was moved or deleted", "A large file is being read for the first time"],
                    actions: &["Read the log for the collector `workflow_db`", "See whether unread rows fall, and who holds the file", "Raise the interval if one round takes longer than it"],
                },
            ),
        ]
    }
}

signal! {
    /// Size of the file.
    pub gauge DatabaseSize = "workflow_db.size" => "workflow_db.size" "By" reportable false {
        labels {
            /// Path of the file, as it was given.
            file as "file.path": open(4),
        }
        panels [
            Panel::new("Size", View::Value("workflow_db.size"), "Size of the agent workflow database.")
                .by(&["file.path"])
                .section("What the file holds"),
        ]
        no_alert "the disk it is on is watched as a whole"
    }
}

signal! {
    /// Agent invocations that the file holds, ended or not.
    pub gauge DatabaseInvocations = "workflow_db.invocations" => "workflow_db.invocations" "{run}" reportable false {
        labels {
            /// Path of the file, as it was given.
            file as "file.path": open(4),
        }
        panels [
            Panel::new("Invocations held", View::Value("workflow_db.invocations"), "Agent invocations that the workflow database holds. Falls when rows are deleted.")
                .by(&["file.path"])
                .section("What the file holds"),
        ]
        no_alert "how much is kept is its owner's choice"
    }
}

signal! {
    /// Distinct agents that the file names.
    pub gauge DatabaseAgents = "workflow_db.agents" => "workflow_db.agents" "{agent}" reportable false {
        labels {
            /// Path of the file, as it was given.
            file as "file.path": open(4),
        }
        panels [
            Panel::new("Agents held", View::Value("workflow_db.agents"), "Distinct agents that the workflow database names, without `unknown`.")
                .by(&["file.path"])
                .section("What the file holds"),
        ]
        no_alert "how many agents there are is no fault"
    }
}
