//! What providers of models allow, and whether they can be reached.

use crate::catalog::{Alert, Condition, Panel, Runbook, Severity, View};
use crate::{closed_label, signal};

closed_label! {
    /// What a provider's rate limit counts.
    pub enum LimitKind {
        /// Requests.
        Requests = "requests",
        /// Tokens of input and output together.
        Tokens = "tokens",
        /// Tokens of input.
        InputTokens = "input_tokens",
        /// Tokens of output.
        OutputTokens = "output_tokens",
    }
}

signal! {
    /// What a provider's rate limit still allows.
    pub gauge LlmRateLimitRemaining = "llm.rate_limit.remaining" => "llm.rate_limit.remaining" "{unit}" {
        labels {
            /// Provider.
            provider as "gen_ai.provider.name": open(24),
            /// What the limit counts.
            kind as "llm.rate_limit.kind": closed(LimitKind),
        }
        panels [
            Panel::new("Rate limit remaining", View::Value("llm.rate_limit.remaining"), "What providers' rate limits still allow, by what they count.")
                .by(&["gen_ai.provider.name", "llm.rate_limit.kind"])
                .section("Limits and gaps"),
        ]
        no_alert "whether little is left depends on the limit: llm.rate_limit.saturation is watched"
    }
}

signal! {
    /// What a provider's rate limit allows in one of its windows.
    pub gauge LlmRateLimit = "llm.rate_limit.limit" => "llm.rate_limit.limit" "{unit}" {
        labels {
            /// Provider.
            provider as "gen_ai.provider.name": open(24),
            /// What the limit counts.
            kind as "llm.rate_limit.kind": closed(LimitKind),
        }
        no_alert "a setting of the provider, not a state"
    }
}

signal! {
    /// When a provider's rate limit is full again, seconds since the Unix epoch.
    pub gauge LlmRateLimitReset = "llm.rate_limit.reset" => "llm.rate_limit.reset.timestamp" "s" {
        labels {
            /// Provider.
            provider as "gen_ai.provider.name": open(24),
            /// What the limit counts.
            kind as "llm.rate_limit.kind": closed(LimitKind),
        }
        no_alert "limits reset by themselves: llm.rate_limit.saturation is watched"
    }
}

signal! {
    /// Share of a provider's rate limit that is used up, 0 to 1.
    pub gauge LlmRateLimitSaturation = "llm.rate_limit.saturation" => "llm.rate_limit.saturation" "1" {
        labels {
            /// Provider.
            provider as "gen_ai.provider.name": open(24),
            /// What the limit counts.
            kind as "llm.rate_limit.kind": closed(LimitKind),
        }
        panels [
            Panel::new("Rate limit used", View::Value("llm.rate_limit.saturation"), "Share of providers' rate limits that is used up. At 1 requests are refused.")
                .by(&["gen_ai.provider.name", "llm.rate_limit.kind"])
                .section("Limits and gaps")
                .headline(),
        ]
        alerts [
            Alert::new(
                "LlmRateLimitNearlyUsedUp",
                Severity::Warning,
                Condition::ValueAbove { metric: "llm.rate_limit.saturation", threshold: 0.9 },
                "A provider's rate limit is nearly used up",
                Runbook {
                    meaning: "Less than a tenth of what the provider allows in its window is left. Past it, requests are refused with 429.",
                    causes: &["More traffic than planned", "An agent runs in a loop", "Retries use the limit up"],
                    actions: &["Find the agent with most requests", "Lower concurrency or spread work over time", "Ask the provider for more, or use a second one"],
                },
            )
            .by(&["gen_ai.provider.name", "llm.rate_limit.kind"]),
        ]
    }
}

signal! {
    /// Whether a provider could be reached when it was last tried: 1 or 0.
    pub gauge LlmProviderUp = "llm.provider.up" => "llm.provider.up" "{state}" {
        labels {
            /// Provider.
            provider as "gen_ai.provider.name": open(24),
        }
        panels [
            Panel::new("Providers up", View::Value("llm.provider.up"), "1 where a provider could be reached when it was last tried.")
                .by(&["gen_ai.provider.name"])
                .section("Requests")
                .headline(),
        ]
        alerts [
            Alert::new(
                "LlmProviderDown",
                Severity::Critical,
                Condition::ValueBelow { metric: "llm.provider.up", threshold: 1.0 },
                "A model provider cannot be reached",
                Runbook {
                    meaning: "The provider did not answer when it was last tried.",
                    causes: &["The provider has an outage", "Network, proxy or certificates", "Credentials have expired"],
                    actions: &["Look at the provider's status page", "Reach its address by hand from the same host", "Fall back to another provider"],
                },
            )
            .by(&["gen_ai.provider.name"]),
        ]
    }
}
