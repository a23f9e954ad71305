//! Sessions: a person or a program at work with agents, from the first request to the end.
//! `session.id` is from OpenTelemetry semantic conventions v1.41.0, "Session".

use crate::catalog::{Alert, Condition, Panel, Runbook, SESSION, STEPS, Severity, View};
use crate::signal;

pub use super::workflow::RunStatus;

signal! {
    /// One session of agents, from its first request to its end.
    pub operation SessionRun => SessionRunEnd = "session.run" {
        labels {
            /// Program that holds the session, such as `claude-code`.
            client as "session.client": optional(20),
        }
        outcome {
            /// How the session ended.
            status: closed(RunStatus),
        }
        values {
            /// Distinct agents that ran in it.
            agents,
            /// Distinct phases of work that its agents went through.
            phases,
            /// Most agent runs that were under way at the same time.
            parallel_agents,
        }
        context {
            /// Id of the session.
            SESSION_ID = "session.id",
            /// Why it ended, in the words of its client.
            REASON = "session.end_reason",
            /// Id shared by everything that belongs to one request or task.
            CORRELATION_ID = "correlation_id",
        }
        metrics {
            /// Sessions that ended.
            "session.runs" = counter "{session}" count by [client, status];
            /// Time from the beginning of a session to its end.
            "session.run.duration" = histogram "s" duration by [client] buckets (SESSION);
            /// Sessions under way now.
            "session.active" = in_flight "{session}" active by [client]
                no_alert "how many people and programs work at once is no fault";
            /// Distinct agents that ran in one session.
            "session.agents" = histogram "{agent}" of(agents) by [client] buckets (STEPS)
                no_alert "how many agents work needs is not known here";
            /// Distinct phases of work that the agents of one session went through.
            "session.phases" = histogram "{phase}" of(phases) by [client] buckets (STEPS)
                no_alert "how many phases work has is not known here";
            /// Most agent runs of one session that were under way at the same time.
            "session.parallel_agents" = histogram "{run}" of(parallel_agents) by [client] buckets (STEPS)
                no_alert "what is too much shows while it runs, in the agents' runs at once";
        }
        panels [
            Panel::new("Sessions under way", View::Value("session.active"), "Sessions that have begun and not ended, by client.")
                .by(&["session.client"])
                .section("Sessions")
                .headline(),
            Panel::new("Sessions ended", View::Total("session.runs"), "Sessions that ended over the range shown, by client and by how they ended.")
                .by(&["session.client", "status"])
                .section("Sessions")
                .headline(),
            Panel::new("Sessions that failed", View::ErrorRatio("session.runs"), "Share of sessions that failed or ran out of time, by client.")
                .by(&["session.client"])
                .section("Sessions")
                .headline(),
            Panel::new("Session duration", View::Quantiles("session.run.duration"), "The 95th percentile of the time from a session's beginning to its end, by client.")
                .by(&["session.client"])
                .section("Sessions")
                .headline(),
            Panel::new("Completion", View::Rate("session.runs"), "Sessions that ended, a second, by how they ended. Abandoned ones stopped reporting.")
                .by(&["status"])
                .section("Sessions"),
            Panel::new("Agents per session", View::Mean("session.agents"), "Mean number of distinct agents that run in one session, by client.")
                .by(&["session.client"])
                .section("What a session holds")
                .headline(),
            Panel::new("Phases per session", View::Mean("session.phases"), "Mean number of distinct phases that a session goes through, by client.")
                .by(&["session.client"])
                .section("What a session holds"),
            Panel::new("Agents at once", View::Quantiles("session.parallel_agents"), "The 95th percentile of the most agent runs that a session had under way at one time, by client.")
                .by(&["session.client"])
                .section("What a session holds"),
            Panel::new("Session duration by bucket", View::Heatmap("session.run.duration"), "Distribution of the duration of sessions; exemplars link to traces.")
                .section("What a session holds"),
        ]
        alerts [
            Alert::new(
                "SessionFailureRateHigh",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "session.runs", ratio: 0.2, floor: 10 },
                "More than 20 % of a client's sessions fail",
                Runbook {
                    meaning: "Of this client's sessions that ended lately, more than one in five ended with an error or ran out of time. Sessions that a person stopped do not count.",
                    causes: &["The model provider fails, or its rate limit is used up", "A new version of the client, or of its settings, has a defect", "A hook or a tool that every session needs is broken"],
                    actions: &["Compare with the failures of agents and model requests in the same time", "Read the end of a failed session by its session id", "Compare the start with the last update of the client, and go back if they coincide"],
                },
            )
            .by(&["session.client"])
            .over_minutes(60),
            Alert::new(
                "SessionLong",
                Severity::Info,
                Condition::QuantileAbove { metric: "session.run.duration", quantile: 0.95, threshold: 14400.0, floor: 5 },
                "The 95th percentile of a client's sessions is above 4 hours",
                Runbook {
                    meaning: "Of this client's sessions that ended lately, one in twenty lasted longer than four hours. Long sessions carry a long context, which makes every further request dearer.",
                    causes: &["Sessions are left open and not ended", "One session is used for several pieces of work", "An agent goes round in circles"],
                    actions: &["See whether the session worked all the time or stood open", "Look at its tokens and cost over time", "Start a session for each piece of work, or compact its context"],
                },
            )
            .over_minutes(720)
            .by(&["session.client"]),
        ]
    }
}
