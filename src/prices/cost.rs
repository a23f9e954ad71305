//! Tokens times prices.

use super::{Price, Rates};
use crate::signals::llm::LlmRequestEnd;
use crate::usage::Usage;

/// What one request cost, in whole pico-dollars (10^-12 US dollars), exact: the total, and each
/// kind; the kinds add up to the total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// All of it.
    pub total: u128,
    /// Input neither read from nor written to the cache.
    pub input: u128,
    /// Input read from the cache.
    pub cache_read: u128,
    /// Input written to the cache.
    pub cache_write: u128,
    /// Output without reasoning.
    pub output: u128,
    /// Reasoning.
    pub reasoning: u128,
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
    /// Pico-dollars as dollars.
    #[must_use]
    pub fn dollars(pico: u128) -> f64 {
        pico as f64 / 1e12
    }

    /// The end of a request with this cost.
    #[must_use]
    pub fn onto<'a>(&self, end: LlmRequestEnd<'a>) -> LlmRequestEnd<'a> {
        let dollars = |pico| Some(Self::dollars(pico));
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
        // Micro-dollars per million tokens are pico-dollars per token. Tokens and prices are up
        // to 10^12 each: 10^24 at most.
        let part = |tokens: Option<u64>, price: Option<u64>, kind| match (tokens, price) {
            (None | Some(0), _) => Ok(0),
            (Some(tokens), Some(price)) => Ok(u128::from(tokens) * u128::from(price)),
            (Some(_), None) => Err(Unpriced::Price(kind)),
        };
        let mut cost = Cost {
            total: 0,
            input: part(usage.input, self.input, "input")?,
            cache_read: part(usage.cache_read, self.cache_read, "cache_read")?,
            cache_write: part(usage.cache_write_5m, self.cache_write_5m, "cache_write_5m")?
                + part(usage.cache_write_1h, self.cache_write_1h, "cache_write_1h")?,
            output: part(usage.output, self.output, "output")?,
            reasoning: part(usage.reasoning, self.reasoning.or(self.output), "reasoning")?,
        };
        cost.total = cost.input + cost.cache_read + cost.cache_write + cost.output + cost.reasoning;
        Ok(cost)
    }
}
