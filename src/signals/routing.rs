//! Routing: which agent is chosen for a request, how, and how surely.

use crate::catalog::{Alert, CONFIDENCE, Condition, HTTP, Panel, Runbook, Severity, View};
use crate::{closed_label, signal};

closed_label! {
    /// How a choice of an agent ended.
    pub enum RoutingStatus {
        /// An agent was chosen.
        Success = "success",
        /// No agent fitted well enough, and the default one was taken.
        Fallback = "fallback",
        /// No agent was chosen.
        Failed = "failed" error,
        /// There was no choice in time.
        Timeout = "timeout" error,
        /// Nobody reported its end.
        Abandoned = "abandoned" abandoned,
    }
}

signal! {
    /// One choice of the agent that is to handle a request.
    pub operation RoutingDecision => RoutingDecisionEnd = "routing.decision" {
        labels {
            /// How agents are compared, such as `fuzzy`, `embedding`, `llm`.
            method as "routing.method": open(20),
        }
        outcome {
            /// Agent that was chosen; absent if none was.
            agent as "gen_ai.agent.name": optional(100),
            /// How the choice ended.
            status: closed(RoutingStatus),
            /// What went wrong: one of few words; absent if nothing.
            error as "error.type": optional(32),
        }
        values {
            /// How sure the choice is, 0 to 1; unknown if the method does not tell.
            confidence,
        }
        context {
            /// Id shared by everything that belongs to one request or task.
            CORRELATION_ID = "correlation_id",
            /// Id of the session.
            SESSION_ID = "session.id",
        }
        metrics {
            /// Choices of an agent that ended.
            "routing.decisions" = counter "{decision}" count by [method, agent, status, error];
            /// Time that choosing an agent took.
            "routing.decision.duration" = histogram "s" duration by [method] buckets (HTTP);
            /// How sure the choice of an agent is, 0 to 1.
            "routing.confidence" = histogram "1" of(confidence) by [agent, method] buckets (CONFIDENCE);
        }
        panels [
            Panel::new("Routing decisions", View::Rate("routing.decisions"), "Choices of an agent, a second, by the agent chosen.")
                .by(&["gen_ai.agent.name"])
                .section("Routing")
                .headline(),
            Panel::new("Routing by status", View::Rate("routing.decisions"), "Choices of an agent, a second, by how they ended. Fallback means that no agent fitted well enough.")
                .by(&["status"])
                .section("Routing"),
            Panel::new("Failing routing", View::ErrorRatio("routing.decisions"), "Share of a method's choices that gave no agent, or none in time.")
                .by(&["routing.method"])
                .section("Routing")
                .headline(),
            Panel::new("Routing latency", View::Quantiles("routing.decision.duration"), "The 95th percentile of the time that choosing an agent takes, by method.")
                .by(&["routing.method"])
                .section("Routing")
                .headline(),
            Panel::new("Routing confidence", View::Mean("routing.confidence"), "Mean of how sure choices are, by the agent chosen. One that falls points to requests that no agent is made for.")
                .by(&["gen_ai.agent.name"])
                .section("Routing"),
            Panel::new("Confidence by method", View::Mean("routing.confidence"), "Mean of how sure choices are, by method. Methods differ in how sure they say they are: compare one with itself over time.")
                .by(&["routing.method"])
                .section("Routing")
                .headline(),
            Panel::new("Confidence by bucket", View::Heatmap("routing.confidence"), "Distribution of how sure choices are, 0 to 1.")
                .section("Routing"),
        ]
        alerts [
            Alert::new(
                "RoutingSlow",
                Severity::Warning,
                Condition::QuantileAbove { metric: "routing.decision.duration", quantile: 0.95, threshold: 2.5, floor: 10 },
                "The 95th percentile of choosing an agent is above 2.5 seconds",
                Runbook {
                    meaning: "With this method one choice of an agent in twenty takes longer than 2.5 seconds. Every request waits for it before any work begins.",
                    causes: &["The method asks a model or a vector store that has become slow", "More agents are compared than before", "What could be cached is computed anew each time"],
                    actions: &["Open an exemplar's trace and see which span takes the time", "Compare with the latency of models and of searches", "Use a faster method first, and this one only where it is not sure"],
                },
            )
            .over_minutes(15)
            .by(&["routing.method"]),
            Alert::new(
                "RoutingFailureRateHigh",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "routing.decisions", ratio: 0.1, floor: 10 },
                "More than 10 % of the choices of an agent fail",
                Runbook {
                    meaning: "With this method more than one request in ten finds no agent, or none in time. Fallbacks to the default agent do not count.",
                    causes: &["The registry of agents is empty or cannot be read", "What the method asks, a model or a vector store, is away", "Requests of a kind that no agent is made for"],
                    actions: &["Split by `error_type`", "List the agents that the registry knows", "Read the requests that failed by their correlation ids"],
                },
            )
            .over_minutes(15)
            .by(&["routing.method"]),
            Alert::new(
                "RoutingConfidenceLow",
                Severity::Warning,
                Condition::MeanBelow { metric: "routing.confidence", threshold: 0.5, floor: 20 },
                "Choices of an agent are unsure: their mean confidence is below 0.5",
                Runbook {
                    meaning: "On the whole this method is less than half sure of the agents that it chooses: work goes to agents that may not be made for it.",
                    causes: &["Requests of a kind that no agent is made for", "Agents whose descriptions are alike, or say too little", "A change of the model or of the texts that the method compares"],
                    actions: &["See in the panel by agent which choices are unsure", "Read some of their requests by their correlation ids", "Describe the agents apart, or add one for what is asked for", "Where the method is never surer than that, give it a threshold of its own in a rule beside this one, and silence this one for it"],
                },
            )
            .for_minutes(15)
            .over_minutes(30)
            .by(&["routing.method"]),
        ]
    }
}
