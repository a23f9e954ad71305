//! What may be spent on models, and what was.

use crate::catalog::{Alert, Condition, Panel, Runbook, Severity, View};
use crate::signal;

signal! {
    /// What a budget allows to be spent in its period.
    pub gauge LlmBudgetLimit = "llm.budget.limit" => "llm.budget.limit" "USD" reportable false {
        labels {
            /// Name of the budget.
            budget as "llm.budget.name": open(100),
        }
        no_alert "a setting, not a state"
    }
}

signal! {
    /// What has been spent of a budget since its period began; requests of unknown cost are not in it.
    pub gauge LlmBudgetSpent = "llm.budget.spent" => "llm.budget.spent" "USD" reportable false {
        labels {
            /// Name of the budget.
            budget as "llm.budget.name": open(100),
        }
        panels [
            Panel::new("Spent of the budget", View::Value("llm.budget.spent"), "US dollars spent since the period of each budget began. Requests of unknown cost are not in it.")
                .by(&["llm.budget.name"])
                .section("Budgets"),
        ]
        no_alert "llm.budget.utilization is watched"
    }
}

signal! {
    /// What is left of a budget in its period; below 0 when it is overspent.
    pub gauge LlmBudgetRemaining = "llm.budget.remaining" => "llm.budget.remaining" "USD" reportable false {
        labels {
            /// Name of the budget.
            budget as "llm.budget.name": open(100),
        }
        range (f64::NEG_INFINITY, f64::INFINITY)
        panels [
            Panel::new("Left of the budget", View::Value("llm.budget.remaining"), "US dollars left of each budget until its period ends; below 0 when it is overspent.")
                .by(&["llm.budget.name"])
                .section("Budgets"),
        ]
        no_alert "llm.budget.utilization is watched"
    }
}

signal! {
    /// Requests of unknown cost that belong to a budget, since its period began: it is used up further than it says.
    pub gauge LlmBudgetUnpriced = "llm.budget.unpriced" => "llm.budget.unpriced" "{request}" reportable false {
        labels {
            /// Name of the budget.
            budget as "llm.budget.name": open(100),
        }
        panels [
            Panel::new("Requests a budget does not see", View::Value("llm.budget.unpriced"), "Requests of unknown cost since the period of each budget began. What they cost is missing from what is spent.")
                .by(&["llm.budget.name"])
                .section("Budgets"),
        ]
        alerts [
            Alert::new(
                "LlmBudgetBlind",
                Severity::Info,
                Condition::ValueAbove { metric: "llm.budget.unpriced", threshold: 0.0 },
                "A budget does not know the cost of some requests",
                Runbook {
                    meaning: "Requests that belong to this budget have no known cost. More of it is spent than it says.",
                    causes: &["A model without a price", "Answers without token counts", "Agents that report requests and neither usage nor cost"],
                    actions: &["See which models LlmPriceUnknown and LlmUsageUnknown name", "Add prices to the file that `prices.file` names", "Compare with the provider's invoice"],
                },
            )
            .for_minutes(5)
            .by(&["llm.budget.name"]),
        ]
    }
}

signal! {
    /// Share of a budget that is spent in its period; above 1 when it is overspent.
    pub gauge LlmBudgetUtilization = "llm.budget.utilization" => "llm.budget.utilization" "1" reportable false {
        labels {
            /// Name of the budget.
            budget as "llm.budget.name": open(100),
        }
        range (0.0, f64::INFINITY)
        panels [
            Panel::new("Budget used", View::Value("llm.budget.utilization"), "Share of each budget that is spent since its period began. At 1 it is used up.")
                .by(&["llm.budget.name"])
                .section("Budgets"),
        ]
        alerts [
            Alert::new(
                "LlmBudgetNearlyUsedUp",
                Severity::Warning,
                Condition::ValueAbove { metric: "llm.budget.utilization", threshold: 0.8 },
                "More than 80 % of a budget is spent",
                Runbook {
                    meaning: "Less than a fifth of this budget is left until its period ends.",
                    causes: &["More work than planned", "A dearer model than intended", "An agent runs in a loop", "The period is nearly over and all is well"],
                    actions: &["Compare with how much of the period has passed", "Find the agent and the model in the cost panels", "Use a cheaper model where it is good enough, or raise the budget"],
                },
            )
            .for_minutes(5)
            .by(&["llm.budget.name"]),
            Alert::new(
                "LlmBudgetUsedUp",
                Severity::Critical,
                Condition::ValueAbove { metric: "llm.budget.utilization", threshold: 1.0 },
                "A budget is overspent",
                Runbook {
                    meaning: "More than this budget was spent before its period has ended. Requests are not held back because of it.",
                    causes: &["More work than planned", "A dearer model than intended", "An agent runs in a loop"],
                    actions: &["Stop agents that loop or can wait", "Find the agent and the model in the cost panels", "Raise the budget, or wait for the next period"],
                },
            )
            .for_minutes(5)
            .by(&["llm.budget.name"]),
        ]
    }
}
