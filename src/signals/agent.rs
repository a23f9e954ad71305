//! Agents: their runs, from the request to the final answer. OpenTelemetry semantic
//! conventions v1.41.0, "Invoke agent span".

use crate::catalog::{Alert, Condition, JOB, Panel, Runbook, STEPS, Severity, View};
use crate::signal;

pub use super::workflow::RunStatus;

signal! {
    /// One run of an agent, from the request to its final answer.
    pub operation AgentRun => AgentRunEnd = "agent.run" {
        labels {
            /// Name of the agent.
            agent as "gen_ai.agent.name": open(100),
            /// Phase of the work it belongs to, where the work has phases.
            phase: optional(20),
            /// Model the agent runs on.
            model as "gen_ai.request.model": optional(100),
        }
        outcome {
            /// How the run ended.
            status: closed(RunStatus),
            /// What went wrong: one of few words; absent if nothing.
            error as "error.type": optional(32),
        }
        values {
            /// Tools the agent called during the run.
            tool_calls,
            /// Agent runs of the same session or workflow under way when it started, itself among
            /// them; unknown where its reporter does not see the others.
            parallel_runs,
        }
        context {
            /// Id of the agent.
            AGENT_ID = "gen_ai.agent.id",
            /// Conversation, session or thread it belongs to.
            CONVERSATION_ID = "gen_ai.conversation.id",
            /// What it was asked, as the text of a JSON array of messages; only where its reporter
            /// is told to keep contents.
            INPUT = "gen_ai.input.messages",
            /// Id shared by everything that belongs to one request or task.
            CORRELATION_ID = "correlation_id",
        }
        metrics {
            /// Agent runs that ended.
            "agent.runs" = counter "{run}" count by [agent, phase, model, status, error];
            /// Wall time of an agent run.
            "agent.run.duration" = histogram "s" duration by [agent, phase, model] buckets (JOB);
            /// Agent runs under way now.
            "agent.active" = in_flight "{run}" active by [agent];
            /// Tools an agent called during one run.
            "agent.run.tool_calls" = histogram "{call}" of(tool_calls) by [agent] buckets (STEPS);
            /// Agent runs of one session or workflow under way when a run started, itself among them.
            "agent.run.parallel_runs" = histogram "{run}" of(parallel_runs) by [agent] buckets (STEPS);
            /// When a run of the agent last ended, seconds since the Unix epoch.
            "agent.last_run.timestamp" = gauge "s" ended by [agent]
                no_alert "how often an agent should run is not known here";
        }
        panels [
            Panel::new("Agent runs", View::Rate("agent.runs"), "Agent runs that ended, a second, by agent.")
                .by(&["gen_ai.agent.name"])
                .section("Runs")
                .headline(),
            Panel::new("Failing agents", View::ErrorRatio("agent.runs"), "Share of an agent's runs that failed or timed out.")
                .by(&["gen_ai.agent.name"])
                .section("Runs")
                .headline(),
            Panel::new("Agent run duration", View::Quantiles("agent.run.duration"), "The 95th percentile of the wall time of agent runs, by agent.")
                .by(&["gen_ai.agent.name"])
                .section("Runs")
                .headline(),
            Panel::new("Tool calls per run", View::Quantiles("agent.run.tool_calls"), "The 95th percentile of the tools an agent calls during one run. An agent that goes round in circles shows here first.")
                .by(&["gen_ai.agent.name"])
                .section("Runs")
                .headline(),
            Panel::new("Agents at work", View::Value("agent.active"), "Agent runs that have started and not ended, by agent.")
                .by(&["gen_ai.agent.name"])
                .section("Runs")
                .headline(),
            Panel::new("Agent failures by kind", View::Errors("agent.runs"), "Agent runs that failed, a second, by agent and kind of error.")
                .by(&["gen_ai.agent.name", "error.type"])
                .section("Runs"),
            Panel::new("Runs over the range", View::Total("agent.runs"), "Agent runs that ended over the range shown, by agent and status.")
                .by(&["gen_ai.agent.name", "status"])
                .section("Work"),
            Panel::new("Runs by phase", View::Rate("agent.runs"), "Agent runs that ended, a second, by phase of the work.")
                .by(&["phase"])
                .section("Work"),
            Panel::new("Runs by model", View::Rate("agent.runs"), "Agent runs that ended, a second, by the model they run on.")
                .by(&["gen_ai.request.model"])
                .section("Work"),
            Panel::new("Tool calls of a run", View::Mean("agent.run.tool_calls"), "Mean number of tools that an agent calls during one run.")
                .by(&["gen_ai.agent.name"])
                .section("Work"),
            Panel::new("Mean run duration", View::Mean("agent.run.duration"), "Mean wall time of agent runs, by agent.")
                .by(&["gen_ai.agent.name"])
                .section("Work"),
            Panel::new("Runs at once", View::Quantiles("agent.run.parallel_runs"), "The 95th percentile of the agent runs that one session or workflow has under way when a run of this agent starts, itself among them: 1 if agents work one after the other.")
                .by(&["gen_ai.agent.name"])
                .section("Work"),
            Panel::new("Since the last run", View::Age("agent.last_run.timestamp"), "How long ago a run of each agent last ended.")
                .by(&["gen_ai.agent.name"])
                .section("Work"),
            Panel::new("Duration by bucket", View::Heatmap("agent.run.duration"), "Distribution of the wall time of agent runs; exemplars link to traces.")
                .section("Work"),
        ]
        alerts [
            Alert::new(
                "AgentFailureRateHigh",
                Severity::Critical,
                Condition::ErrorRatioAbove { metric: "agent.runs", ratio: 0.1, floor: 10 },
                "More than 10 % of an agent's runs fail",
                Runbook {
                    meaning: "Of this agent's runs that ended lately, more than one in ten failed or timed out. Cancelled runs do not count.",
                    causes: &["Its model's provider fails", "A tool it depends on fails", "A change of its instructions or its version"],
                    actions: &["Split by `error_type`, phase and model", "Look at failing model requests and tools", "Open the trace of a failed run", "Go back to the former instructions if they changed"],
                },
            )
            .by(&["gen_ai.agent.name"])
            .over_minutes(30),
            Alert::new(
                "AgentSuccessRateLow",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "agent.runs", ratio: 0.3, floor: 4 },
                "Less than 70 % of an agent's runs have succeeded lately",
                Runbook {
                    meaning: "Of this agent's runs of the last six hours, more than three in ten failed or timed out. This also tells of agents that run too rarely for AgentFailureRateHigh.",
                    causes: &["Work of a kind that the agent is not made for", "A tool or a model it depends on fails now and then", "A change of its instructions or its version"],
                    actions: &["Split by `error_type`, phase and model", "Open the trace of a failed run", "Go back to the former instructions if they changed"],
                },
            )
            .for_minutes(10)
            .over_minutes(360)
            .by(&["gen_ai.agent.name"]),
            Alert::new(
                "AgentSlow",
                Severity::Warning,
                Condition::QuantileAbove { metric: "agent.run.duration", quantile: 0.95, threshold: 300.0, floor: 5 },
                "The 95th percentile of an agent's runs is above 5 minutes",
                Runbook {
                    meaning: "One run of this agent in twenty takes longer than five minutes.",
                    causes: &["Model requests or tools have become slow", "The agent takes more steps than before", "It waits for a person"],
                    actions: &["Open an exemplar's trace from the slow buckets", "Compare the tool calls per run with before", "If its work takes that long by nature, give it an alert of its own"],
                },
            )
            .for_minutes(5)
            .by(&["gen_ai.agent.name"])
            .over_minutes(30),
            Alert::new(
                "AgentTakesMinutes",
                Severity::Info,
                Condition::QuantileAbove { metric: "agent.run.duration", quantile: 0.95, threshold: 60.0, floor: 5 },
                "The 95th percentile of an agent's runs is above 1 minute",
                Runbook {
                    meaning: "One run of this agent in twenty takes longer than a minute. For an agent that answers a person this is long; for one that works through a task it is not.",
                    causes: &["Model requests or tools have become slow", "The agent takes more steps than before"],
                    actions: &["Open an exemplar's trace from the slow buckets", "Compare the tool calls per run with before", "Raise its severity where a person waits for the agent"],
                },
            )
            .over_minutes(30)
            .by(&["gen_ai.agent.name"]),
            Alert::new(
                "AgentLoops",
                Severity::Warning,
                Condition::QuantileAbove { metric: "agent.run.tool_calls", quantile: 0.95, threshold: 100.0, floor: 3 },
                "An agent calls more than 100 tools in a run",
                Runbook {
                    meaning: "One run of this agent in twenty calls more than 100 tools: it may go round in circles, at a price.",
                    causes: &["A tool's answers do not help it on", "Instructions that it cannot satisfy", "Work that is too large for one run"],
                    actions: &["Open the trace of such a run and look for repeated calls", "Bound the number of steps", "Correct the tool's answers or the instructions"],
                },
            )
            .for_minutes(5)
            .by(&["gen_ai.agent.name"])
            .over_minutes(60),
            Alert::new(
                "AgentFansOut",
                Severity::Warning,
                Condition::QuantileAbove { metric: "agent.run.parallel_runs", quantile: 0.95, threshold: 20.0, floor: 20 },
                "More than 20 agents run at once within one session or workflow",
                Runbook {
                    meaning: "When runs of this agent start, one in twenty finds more than 20 runs of its own session or workflow under way. They share the provider's rate limit, and each costs.",
                    causes: &["An agent starts sub-agents that start sub-agents", "Work is split finer than is useful", "Runs that should have ended are still under way"],
                    actions: &["Open the trace of such a session and see who starts whom", "Bound how many sub-agents may run at once, and how deep they may nest", "Compare the provider's rate limit and the cost of the session with before"],
                },
            )
            .for_minutes(5)
            .by(&["gen_ai.agent.name"])
            .over_minutes(60),
            Alert::new(
                "AgentsStuck",
                Severity::Warning,
                Condition::Stuck { in_flight: "agent.active", ended: "agent.runs" },
                "Runs of an agent are under way and none ends",
                Runbook {
                    meaning: "Runs of this agent have started, and none has ended for a long time.",
                    causes: &["It waits for a person or for a tool", "Its model's provider does not answer", "The process that ran it is gone and did not say so"],
                    actions: &["Look at tool calls and model requests under way", "Look at the last log lines of a run", "Cancel runs that nobody needs"],
                },
            )
            .for_minutes(30)
            .by(&["gen_ai.agent.name"]),
        ]
    }
}
