//! Tools that agents call: OpenTelemetry semantic conventions v1.41.0, "Execute tool span".

use crate::catalog::{Alert, Condition, Panel, Runbook, Severity, TOOL, View};
use crate::{closed_label, signal};

closed_label! {
    /// How a tool call ended.
    pub enum ToolStatus {
        /// It gave a result.
        Success = "success",
        /// It failed.
        Failed = "failed" error,
        /// It took longer than it may.
        Timeout = "timeout" error,
        /// A person or a policy did not allow it.
        Denied = "denied",
        /// Somebody stopped it.
        Cancelled = "cancelled",
        /// Nobody reported its end.
        Abandoned = "abandoned" abandoned,
    }
}

signal! {
    /// One call of a tool by an agent.
    pub operation ToolCall => ToolCallEnd = "tool.call" {
        labels {
            /// Name of the tool.
            tool as "gen_ai.tool.name": open(150),
            /// Agent that calls it.
            agent as "gen_ai.agent.name": optional(100),
        }
        outcome {
            /// How the call ended.
            status: closed(ToolStatus),
            /// What went wrong: one of few words; absent if nothing.
            error as "error.type": optional(32),
        }
        context {
            /// Id of the call, as the model gave it.
            CALL_ID = "gen_ai.tool.call.id",
            /// Kind of tool: `function`, `extension` or `datastore`.
            TYPE = "gen_ai.tool.type",
            /// Kind of sub-agent that the call starts, where it starts one.
            SUBAGENT = "subagent.name",
            /// What the tool was given, as text or as the text of JSON; only where its reporter is
            /// told to keep contents.
            ARGUMENTS = "gen_ai.tool.call.arguments",
            /// What the tool answered, likewise.
            RESULT = "gen_ai.tool.call.result",
            /// Conversation, session or thread it belongs to.
            CONVERSATION_ID = "gen_ai.conversation.id",
            /// Id shared by everything that belongs to one request or task.
            CORRELATION_ID = "correlation_id",
        }
        metrics {
            /// Tool calls that ended.
            "tool.calls" = counter "{call}" count by [tool, agent, status, error];
            /// Wall time of a tool call; with the time that a person took to permit it, where its
            /// reporter cannot tell the two apart.
            "tool.call.duration" = histogram "s" duration by [tool, agent] buckets (TOOL);
            /// Tool calls under way now.
            "tool.active" = in_flight "{call}" active by [tool];
        }
        panels [
            Panel::new("Tool calls", View::Rate("tool.calls"), "Tool calls that ended, a second, by tool.")
                .by(&["gen_ai.tool.name"])
                .section("Tool calls")
                .headline(),
            Panel::new("Failing tools", View::ErrorRatio("tool.calls"), "Share of a tool's calls that failed or timed out.")
                .by(&["gen_ai.tool.name"])
                .section("Tool calls")
                .headline(),
            Panel::new("Tool latency", View::Quantiles("tool.call.duration"), "The 95th percentile of the wall time of tool calls, by tool.")
                .by(&["gen_ai.tool.name"])
                .section("Tool calls")
                .headline(),
            Panel::new("Tool calls under way", View::Value("tool.active"), "Tool calls that have started and not ended, by tool.")
                .by(&["gen_ai.tool.name"])
                .section("Tool calls")
                .headline(),
            Panel::new("Tool failures by kind", View::Errors("tool.calls"), "Tool calls that failed, a second, by tool and kind of error.")
                .by(&["gen_ai.tool.name", "error.type"])
                .section("Tool calls"),
            Panel::new("Tool calls by status", View::Rate("tool.calls"), "Tool calls that ended, a second, by status. Denied ones were refused by a person or a policy.")
                .by(&["status"])
                .section("Tool calls"),
            Panel::new("Most called tools", View::Total("tool.calls"), "Tool calls over the range shown, by tool.")
                .by(&["gen_ai.tool.name"])
                .section("Use of tools"),
            Panel::new("Time spent in tools", View::Total("tool.call.duration"), "Seconds that agents waited for tools over the range shown, by tool.")
                .by(&["gen_ai.tool.name"])
                .section("Use of tools"),
            Panel::new("Tool calls by agent", View::Rate("tool.calls"), "Tool calls that ended, a second, by agent.")
                .by(&["gen_ai.agent.name"])
                .section("Use of tools"),
            Panel::new("Tool latency by agent", View::Quantiles("tool.call.duration"), "The 95th percentile of the wall time of tool calls, by the agent that waits for them.")
                .by(&["gen_ai.agent.name"])
                .section("Use of tools"),
            Panel::new("Failing calls by agent", View::ErrorRatio("tool.calls"), "Share of an agent's tool calls that failed or timed out. One agent alone points to its instructions, all of them to the tool.")
                .by(&["gen_ai.agent.name"])
                .section("Use of tools"),
            Panel::new("Latency by bucket", View::Heatmap("tool.call.duration"), "Distribution of the wall time of tool calls; exemplars link to traces.")
                .section("Use of tools"),
        ]
        alerts [
            Alert::new(
                "ToolFailureRateHigh",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "tool.calls", ratio: 0.2, floor: 10 },
                "More than 20 % of a tool's calls fail",
                Runbook {
                    meaning: "Of this tool's calls that ended lately, more than one in five failed or timed out. Calls that were denied do not count.",
                    causes: &["What the tool calls is away", "A model passes arguments the tool does not accept", "A new version of the tool has a defect"],
                    actions: &["Split by `error_type` and agent", "Read the log of failed calls", "Improve the tool's description if arguments are wrong"],
                },
            )
            .by(&["gen_ai.tool.name"])
            .over_minutes(10),
            Alert::new(
                "ToolSlow",
                Severity::Warning,
                Condition::QuantileAbove { metric: "tool.call.duration", quantile: 0.9, threshold: 300.0, floor: 5 },
                "The 90th percentile of a tool's calls is above 5 minutes",
                Runbook {
                    meaning: "One call of this tool in ten takes longer than five minutes. The agent waits meanwhile.",
                    causes: &["What the tool calls is slow", "A call without a timeout", "The work itself has grown"],
                    actions: &["Open an exemplar's trace from the slow buckets", "Give the tool a timeout", "Let it work in the background and report back"],
                },
            )
            .for_minutes(10)
            .by(&["gen_ai.tool.name"])
            .over_minutes(30),
            Alert::new(
                "ToolsStuck",
                Severity::Warning,
                Condition::Stuck { in_flight: "tool.active", ended: "tool.calls" },
                "Calls of a tool are under way and none ends",
                Runbook {
                    meaning: "Calls of this tool have started, and none has ended for a long time.",
                    causes: &["The tool waits for a person's permission", "What it calls does not answer, and it has no timeout"],
                    actions: &["Look for permissions that wait", "Look at what the tool waits for", "Cancel the calls; they are counted as abandoned"],
                },
            )
            .for_minutes(30)
            .by(&["gen_ai.tool.name"]),
        ]
    }
}
