//! Budgets: how much of what may be spent on models is left, by what the ledger says.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::ledger::{Ledger, QueryError, Spending, SpendingFilter};
use crate::signals::llm::{
    LlmBudgetLimit, LlmBudgetRemaining, LlmBudgetSpent, LlmBudgetUnpriced, LlmBudgetUtilization,
};

/// How often the ledger is asked for what is new.
const EVERY: Duration = Duration::from_secs(15);
/// After so many times it is asked for everything: services that share a PostgreSQL may commit
/// records in another order than that of their numbers.
const ANEW: u32 = 20;

/// The period of a budget; all begin at midnight UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[derive(schemars::JsonSchema)]
pub enum Period {
    /// A day.
    Day,
    /// A week, from Monday on.
    Week,
    /// A calendar month.
    #[default]
    Month,
    /// No period: everything that the ledger has.
    Total,
}

impl Period {
    /// First and last-but-one microsecond of the period that a time is in: from, and until
    /// before, microseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn around(self, now: Timestamp) -> (i64, i64) {
        let today = now.to_zoned(TimeZone::UTC).date();
        let days = |days: i64| jiff::Span::new().days(days);
        let (first, next) = match self {
            Self::Day => (Some(today), today.checked_add(days(1)).ok()),
            Self::Week => {
                let passed = i64::from(today.weekday().to_monday_zero_offset());
                let first = today.checked_sub(days(passed)).ok();
                (first, first.and_then(|day| day.checked_add(days(7)).ok()))
            }
            Self::Month => {
                let next = today.last_of_month().checked_add(days(1));
                (Some(today.first_of_month()), next.ok())
            }
            Self::Total => (None, None),
        };
        let micros = |day: Option<Date>| {
            let midnight = day?.to_zoned(TimeZone::UTC).ok()?;
            Some(midnight.timestamp().as_microsecond())
        };
        (
            micros(first).unwrap_or(i64::MIN),
            micros(next).unwrap_or(i64::MAX),
        )
    }

    /// The longest that a period lasts; `None`: without end.
    #[must_use]
    pub fn longest(self) -> Option<Duration> {
        let days = match self {
            Self::Day => 1,
            Self::Week => 7,
            Self::Month => 31,
            Self::Total => return None,
        };
        Some(Duration::from_secs(days * 86_400))
    }
}

/// One budget.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[derive(schemars::JsonSchema)]
pub struct BudgetConfig {
    /// Its name, which tells its metrics apart.
    pub name: String,
    /// US dollars that may be spent in one period.
    pub usd: f64,
    /// How long it lasts: `day`, `week`, `month`, `total`.
    #[serde(default)]
    pub period: Period,
    /// Only requests to this provider, as `gen_ai.provider.name` has it.
    #[serde(default)]
    pub provider: Option<String>,
    /// Only requests of this agent.
    #[serde(default)]
    pub agent: Option<String>,
    /// Only requests to this model, as it was asked for.
    #[serde(default)]
    pub model: Option<String>,
}

/// A budget and what is known of it.
#[derive(Clone, Debug)]
struct Budget {
    config: BudgetConfig,
    period: Option<(i64, i64)>,
    spent: Spending,
    rounds: u32,
}

/// The budgets of a service.
#[derive(Clone, Debug)]
pub struct Budgets(Vec<Budget>);

impl Budgets {
    /// Budgets of which nothing is known yet.
    #[must_use]
    pub fn new(configs: &[BudgetConfig]) -> Self {
        let budget = |config: &BudgetConfig| Budget {
            config: config.clone(),
            period: None,
            spent: Spending::default(),
            rounds: 0,
        };
        Self(configs.iter().map(budget).collect())
    }

    /// Asks the ledger and sets the gauges. A budget of a period of which nothing is known is
    /// not on the page.
    ///
    /// # Errors
    /// The first budget that could not be asked for, by name, and why; the others are set.
    pub async fn refresh(
        &mut self,
        ledger: &Ledger,
        now: Timestamp,
    ) -> Result<(), (String, QueryError)> {
        let mut result = Ok(());
        for budget in &mut self.0 {
            match budget.refresh(ledger, now).await {
                Ok(()) => budget.publish(),
                Err(error) => {
                    if budget.period.is_none() {
                        budget.withdraw();
                    }
                    result = result.and(Err((budget.config.name.clone(), error)));
                }
            }
        }
        result
    }

    /// Keeps the gauges up until the task is aborted.
    pub async fn watch(mut self, ledger: Ledger) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut away = false;
        loop {
            ticks.tick().await;
            match self.refresh(&ledger, Timestamp::now()).await {
                Ok(()) => away = false,
                // One line when it begins.
                Err((budget, error)) if !std::mem::replace(&mut away, true) => {
                    tracing::warn!(budget, %error, "what is left of a budget is not known");
                }
                Err(_) => {}
            }
        }
    }
}

impl Budget {
    async fn refresh(&mut self, ledger: &Ledger, now: Timestamp) -> Result<(), QueryError> {
        let period = self.config.period.around(now);
        if self.period != Some(period) || self.rounds >= ANEW {
            if self.period != Some(period) {
                self.period = None;
            }
            self.spent = self.ask(ledger, period, 0).await?;
            self.period = Some(period);
            self.rounds = 0;
            return Ok(());
        }
        let newer = self.ask(ledger, period, self.spent.last).await?;
        self.spent = Spending {
            micros: self.spent.micros.saturating_add(newer.micros),
            unpriced: self.spent.unpriced.saturating_add(newer.unpriced),
            last: newer.last,
        };
        self.rounds += 1;
        Ok(())
    }

    async fn ask(
        &self,
        ledger: &Ledger,
        (from_us, until_us): (i64, i64),
        after: i64,
    ) -> Result<Spending, QueryError> {
        let filter = SpendingFilter {
            from_us,
            until_us,
            provider: self.config.provider.clone(),
            agent: self.config.agent.clone(),
            model: self.config.model.clone(),
        };
        ledger.spending(&filter, after).await
    }

    fn publish(&self) {
        let budget = &*self.config.name;
        let limit = (self.config.usd * 1e6).round();
        let spent = self.spent.micros as f64;
        LlmBudgetLimit { budget }.set(limit / 1e6);
        LlmBudgetSpent { budget }.set(spent / 1e6);
        LlmBudgetRemaining { budget }.set((limit - spent) / 1e6);
        LlmBudgetUtilization { budget }.set(spent / limit);
        LlmBudgetUnpriced { budget }.set(self.spent.unpriced as f64);
    }

    fn withdraw(&self) {
        let budget = &*self.config.name;
        LlmBudgetSpent { budget }.remove();
        LlmBudgetRemaining { budget }.remove();
        LlmBudgetUtilization { budget }.remove();
        LlmBudgetUnpriced { budget }.remove();
    }
}

/// What is wrong with budgets, given how long the ledger keeps records.
pub(super) fn check(budgets: &[BudgetConfig], kept: Option<Duration>) -> Vec<String> {
    let mut problems = Vec::new();
    for (at, budget) in budgets.iter().enumerate() {
        let name = &budget.name;
        if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
            problems.push("a budget's name is text of 1 to 100 bytes".to_owned());
        }
        if budgets.iter().take(at).any(|other| other.name == *name) {
            problems.push(format!("two budgets are named `{name}`"));
        }
        // Written so that NaN is refused as well.
        if !(budget.usd >= 0.000_001 && budget.usd <= 1e9) {
            problems.push(format!(
                "`usd` of budget `{name}`: accepted are 0.000001 to 1000000000 dollars"
            ));
        }
        if let Some(kept) = kept
            && budget.period.longest().is_none_or(|longest| longest > kept)
        {
            problems.push(format!(
                "budget `{name}` lasts longer than `ledger.max_age` keeps records, so that what is spent would be forgotten"
            ));
        }
    }
    if budgets.len() > 100 {
        problems.push("accepted are up to 100 budgets".to_owned());
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(period: Period, now: &str) -> (String, String) {
        let (from, until) = period.around(now.parse().unwrap());
        let day = |us| Timestamp::from_microsecond(us).unwrap().to_string();
        (day(from), day(until))
    }

    #[test]
    fn periods_begin_at_midnight_utc() {
        let at =
            |from: &str, until: &str| (format!("{from}T00:00:00Z"), format!("{until}T00:00:00Z"));
        let now = "2026-02-28T23:59:59.999999Z";
        assert_eq!(around(Period::Day, now), at("2026-02-28", "2026-03-01"));
        assert_eq!(around(Period::Week, now), at("2026-02-23", "2026-03-02"));
        assert_eq!(around(Period::Month, now), at("2026-02-01", "2026-03-01"));
        let monday = "2026-02-23T00:00:00Z";
        assert_eq!(around(Period::Week, monday), at("2026-02-23", "2026-03-02"));
        assert_eq!(
            Period::Total.around(now.parse().unwrap()),
            (i64::MIN, i64::MAX)
        );
    }

    #[test]
    fn budgets_that_cannot_be_kept_are_refused() {
        let budget = |name: &str, usd, period| BudgetConfig {
            name: name.to_owned(),
            usd,
            period,
            ..BudgetConfig::default()
        };
        let week = Some(Duration::from_secs(7 * 86_400));
        assert!(check(&[budget("a", 1.0, Period::Week)], week).is_empty());
        for (budgets, kept) in [
            (vec![budget("", 1.0, Period::Day)], None),
            (vec![budget("a", 0.0, Period::Day)], None),
            (vec![budget("a", f64::NAN, Period::Day)], None),
            (vec![budget("a", 1.0, Period::Month)], week),
            (vec![budget("a", 1.0, Period::Total)], week),
            (vec![budget("a", 1.0, Period::Day); 2], None),
        ] {
            assert_eq!(check(&budgets, kept).len(), 1, "{budgets:?}");
        }
    }
}
