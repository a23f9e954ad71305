//! Tokens times prices.

use super::{Price, Rates};
use crate::signals::llm::LlmRequestEnd;
use crate::usage::Usage;

/// Micro-dollars of one request: the total, and each kind; the kinds add up to the total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// All of it.
    pub total: u64,
    /// Input neither read from nor written to the cache.
    pub input: u64,
    /// Input read from the cache.
    pub cache_read: u64,
    /// Input written to the cache.
    pub cache_write: u64,
    /// Output without reasoning.
    pub output: u64,
    /// Reasoning.
    pub reasoning: u64,
}

/// Why the cost of a request is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unpriced {
    /// The provider did not say how many tokens of a kind it took.
    #[error("the {0} tokens are not known")]
    Usage(&'static str),
    /// There are tokens of a kind that the price table has no price of.
    #[error("the price of {0} tokens is not known")]
    Price(&'static str),
}

impl Cost {
    /// The end of a request with this cost.
    #[must_use]
    pub fn onto<'a>(&self, end: LlmRequestEnd<'a>) -> LlmRequestEnd<'a> {
        let dollars = |micros: u64| Some(micros as f64 / 1e6);
        LlmRequestEnd {
            cost: dollars(self.total),
            input_cost: dollars(self.input),
            cache_read_cost: dollars(self.cache_read),
            cache_write_cost: dollars(self.cache_write),
            output_cost: dollars(self.output),
            reasoning_cost: dollars(self.reasoning),
            ..end
        }
    }
}

/// Tokens for which a price per million is meant.
const MILLION: u128 = 1_000_000;

impl Price {
    /// The cost of a request.
    ///
    /// # Errors
    /// When input or output is not known, or there are tokens of a kind without a price.
    pub fn cost(&self, usage: &Usage) -> Result<Cost, Unpriced> {
        let whole = usage.input_total().ok_or(Unpriced::Usage("input"))?;
        let rates = match self.above {
            Some(tier) if whole > tier.tokens => tier.rates,
            _ => self.rates,
        };
        // A model without output, such as one for embeddings, has no price of it.
        if usage.output.is_none() && rates.output.is_some() {
            return Err(Unpriced::Usage("output"));
        }
        rates.cost(usage)
    }
}

impl Rates {
    fn cost(&self, usage: &Usage) -> Result<Cost, Unpriced> {
        // In millionths of a micro-dollar. Tokens and prices are up to 10^12 each: 10^24 at most.
        let part = |tokens: Option<u64>, price: Option<u64>, kind| match (tokens, price) {
            (None | Some(0), _) => Ok(0),
            (Some(tokens), Some(price)) => Ok(u128::from(tokens) * u128::from(price)),
            (Some(_), None) => Err(Unpriced::Price(kind)),
        };
        let written = part(usage.cache_write_5m, self.cache_write_5m, "cache_write_5m")?
            + part(usage.cache_write_1h, self.cache_write_1h, "cache_write_1h")?;
        let parts = [
            part(usage.input, self.input, "input")?,
            part(usage.cache_read, self.cache_read, "cache_read")?,
            written,
            part(usage.output, self.output, "output")?,
            part(usage.reasoning, self.reasoning.or(self.output), "reasoning")?,
        ];
        let total = (parts.iter().sum::<u128>() + MILLION / 2) / MILLION;
        let [input, cache_read, cache_write, output, reasoning] = shares(parts, total);
        Ok(Cost {
            total: u64::try_from(total).unwrap_or(u64::MAX),
            input,
            cache_read,
            cache_write,
            output,
            reasoning,
        })
    }
}

/// Parts in whole micro-dollars that add up to the total: each rounded down, then those with the
/// largest remainders up, of equal ones the first.
fn shares(parts: [u128; 5], total: u128) -> [u64; 5] {
    let mut whole = parts.map(|part| part / MILLION);
    let missing = total.saturating_sub(whole.iter().sum());
    let mut order = [0, 1, 2, 3, 4];
    order.sort_by_key(|at: &usize| std::cmp::Reverse(parts.get(*at).map(|part| part % MILLION)));
    for at in order
        .into_iter()
        .take(usize::try_from(missing).unwrap_or(0))
    {
        if let Some(part) = whole.get_mut(at) {
            *part += 1;
        }
    }
    whole.map(|part| u64::try_from(part).unwrap_or(u64::MAX))
}
