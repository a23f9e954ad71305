//! Circuit breakers: what keeps callers from waiting for something that is away.

use crate::catalog::{Alert, Condition, Panel, Runbook, Severity, View};
use crate::{closed_label, signal};

closed_label! {
    /// What a circuit breaker did.
    pub enum BreakerEvent {
        /// It lets nothing through from now on.
        Opened = "opened",
        /// It lets one call through, to see whether what it guards is back.
        HalfOpened = "half_opened",
        /// It lets everything through again.
        Closed = "closed",
    }
}

closed_label! {
    /// Why a circuit breaker did it.
    pub enum BreakerReason {
        /// So many calls in a row failed.
        TooManyFailures = "too_many_failures",
        /// It had been open long enough.
        CoolDownOver = "cool_down_over",
        /// The one call that was let through failed.
        ProbeFailed = "probe_failed",
        /// The one call that was let through succeeded.
        ProbeSucceeded = "probe_succeeded",
    }
}

signal! {
    /// Changes of a circuit breaker.
    pub counter CircuitBreakerEvent = "circuit_breaker.event" => "circuit_breaker.events" "{event}" {
        labels {
            /// Name of the breaker: of the pool that it guards.
            breaker as "circuit_breaker.name": open(32),
            /// What it did.
            event as "circuit_breaker.event": closed(BreakerEvent),
            /// Why.
            reason as "circuit_breaker.reason": closed(BreakerReason),
        }
        panels [
            Panel::new("Circuit breaker events", View::Total("circuit_breaker.events"), "How often circuit breakers opened, tried, and closed over the range shown, and why.")
                .by(&["circuit_breaker.name", "circuit_breaker.event", "circuit_breaker.reason"])
                .section("Circuit breakers"),
        ]
        no_alert "the state that the events lead to is watched"
    }
}

signal! {
    /// State of a circuit breaker: 0 closed, 1 open, 2 half-open.
    pub gauge CircuitBreakerState = "circuit_breaker.state" => "circuit_breaker.state" "{position}" {
        labels {
            /// Name of the breaker: of the pool that it guards.
            breaker as "circuit_breaker.name": open(32),
        }
        panels [
            Panel::new("Circuit breakers", View::Value("circuit_breaker.state"), "0 where a circuit breaker is closed, as it should be; 1 where it is open; 2 where it tries.")
                .by(&["circuit_breaker.name"])
                .section("Circuit breakers")
                .headline(),
        ]
        alerts [
            Alert::new(
                "CircuitBreakerOpen",
                Severity::Critical,
                Condition::ValueAbove { metric: "circuit_breaker.state", threshold: 0.0 },
                "A circuit breaker is not closed",
                Runbook {
                    meaning: "What the breaker guards has failed several times in a row. Calls are refused at once, and one at a time is let through to see whether it is back.",
                    causes: &["What it guards is away or does not answer", "The network between is broken", "A deadline is shorter than what is asked takes"],
                    actions: &["Read the log for why it opened", "Reach what it guards from the same host", "Nothing needs to be reset: it closes by itself after one call that succeeds"],
                },
            )
            .for_minutes(1)
            .by(&["circuit_breaker.name"]),
        ]
    }
}

signal! {
    /// Failures in a row that a circuit breaker has seen.
    pub gauge CircuitBreakerFailures = "circuit_breaker.failures" => "circuit_breaker.consecutive_failures" "{failure}" {
        labels {
            /// Name of the breaker: of the pool that it guards.
            breaker as "circuit_breaker.name": open(32),
        }
        panels [
            Panel::new("Failures in a row", View::Value("circuit_breaker.consecutive_failures"), "Calls in a row that failed, by circuit breaker. It opens at its limit.")
                .by(&["circuit_breaker.name"])
                .section("Circuit breakers"),
        ]
        no_alert "the breaker opens when there are too many, which is watched"
    }
}
