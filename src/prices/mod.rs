//! What tokens cost: a dated table of prices, shipped as data, and exact arithmetic on it.
//!
//! Prices are whole micro-dollars (millionths of a US dollar) per million tokens, so that a
//! token costs whole pico-dollars, and so does a request: nothing is rounded, however small it is.
//!
//! Whatever the table does not say is unknown, never 0: a model, a day before its first row, a
//! kind of tokens.
//!
//! ```
//! use tachograph::prices::Prices;
//! use tachograph::usage::Usage;
//!
//! let prices = Prices::shipped();
//! let at = "2025-12-01T00:00:00Z".parse()?;
//! let usage = Usage { input: Some(12), cache_read: Some(90_000), output: Some(300), ..Usage::default() };
//! let price = prices.find("anthropic", "claude-sonnet-4-5", at).ok_or("no price")?;
//! // 31,536 micro-dollars.
//! assert_eq!(price.cost(&usage)?.total, 31_536_000_000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answered;
mod cost;
mod pattern;
mod read;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::OnceLock;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

pub use answered::{ActiveRequest, Answered, Ending, Estimate, Gap, Known, fields};
pub use cost::{Cost, Unpriced};
pub use pattern::Pattern;
pub use read::{Problem, check};

/// The files that are shipped, each with its name.
const SHIPPED: [(&str, &str); 6] = [
    (
        "prices/anthropic.toml",
        include_str!("../../prices/anthropic.toml"),
    ),
    (
        "prices/bedrock.toml",
        include_str!("../../prices/bedrock.toml"),
    ),
    (
        "prices/deepseek.toml",
        include_str!("../../prices/deepseek.toml"),
    ),
    (
        "prices/google.toml",
        include_str!("../../prices/google.toml"),
    ),
    (
        "prices/mistral.toml",
        include_str!("../../prices/mistral.toml"),
    ),
    (
        "prices/openai.toml",
        include_str!("../../prices/openai.toml"),
    ),
];

/// Prices of each kind of token, micro-dollars per million; `None`: not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Input that is neither read from nor written to the cache.
    pub input: Option<u64>,
    /// Input read from the cache.
    pub cache_read: Option<u64>,
    /// Input written to the cache for 5 minutes, or for a time that is not said.
    pub cache_write_5m: Option<u64>,
    /// Input written to the cache for 1 hour.
    pub cache_write_1h: Option<u64>,
    /// Output; `None` also where a model has none, such as one for embeddings.
    pub output: Option<u64>,
    /// Reasoning; `None`: the price of output.
    pub reasoning: Option<u64>,
}

/// Other prices for requests whose input is long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// They hold for the whole request when its input, cached tokens included, is above this.
    pub tokens: u64,
    /// The prices.
    pub rates: Rates,
    /// Context window of such requests; `None`: that of the row.
    pub context_window: Option<u64>,
}

/// One row: what models cost from a day on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// Providers, as `gen_ai.provider.name` has them.
    pub providers: Vec<String>,
    /// Models.
    pub models: Vec<Pattern>,
    /// First day, UTC.
    pub from: Date,
    /// The day it ends, UTC, which no longer belongs to it; `None`: when a later row begins.
    pub until: Option<Date>,
    /// The prices.
    pub rates: Rates,
    /// Prices of long requests.
    pub above: Option<Tier>,
    /// Tokens that input and output of one request may take; `None`: not known.
    pub context_window: Option<u64>,
    /// Where the prices were published.
    pub source: String,
    /// File and line of the row.
    pub place: (String, usize),
}

impl Price {
    /// Whether it holds on a day, as far as no other row does.
    #[must_use]
    pub fn in_force(&self, day: Date) -> bool {
        self.from <= day && self.until.is_none_or(|until| day < until)
    }

    /// Share of the context window that a request took, 0 to 1 unless it took more than there
    /// should be; `None` if a count or the window is not known.
    #[must_use]
    pub fn context_use(&self, usage: &crate::usage::Usage) -> Option<f64> {
        let (input, output) = (usage.input_total()?, usage.output_total().unwrap_or(0));
        let long = self.above.filter(|tier| input > tier.tokens);
        let window = long.and_then(|tier| tier.context_window);
        let window = window
            .or(self.context_window)
            .filter(|window| *window > 0)?;
        Some((input + output) as f64 / window as f64)
    }
}

/// Rows of one origin by provider.
#[derive(Clone, Debug, Default)]
struct Layer {
    rows: Vec<Price>,
    by_provider: HashMap<String, Vec<usize>>,
}

impl Layer {
    fn new(rows: Vec<Price>) -> Self {
        let mut by_provider: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, row) in rows.iter().enumerate() {
            for provider in &row.providers {
                by_provider.entry(provider.clone()).or_default().push(at);
            }
        }
        Self { rows, by_provider }
    }

    fn find(&self, provider: &str, model: &str, day: Date) -> Option<&Price> {
        let rows = self.by_provider.get(provider)?;
        let matching = rows.iter().filter_map(|at| {
            let row = self.rows.get(*at)?;
            let fits = row.models.iter().filter(|pattern| pattern.fits(model));
            let best = fits.map(Pattern::weight).max()?;
            row.in_force(day).then_some((best, row.from, row))
        });
        let best = matching.max_by_key(|(weight, from, _)| (*weight, *from));
        best.map(|(_, _, row)| row)
    }
}

/// A table of prices.
#[derive(Clone, Debug)]
pub struct Prices {
    own: Layer,
    shipped: Layer,
    version: String,
}

impl Prices {
    /// The prices that are shipped.
    #[must_use]
    pub fn shipped() -> Self {
        // What is shipped is checked by a test; what is not accepted has no price.
        let (layer, as_of) = shipped();
        Self {
            own: Layer::default(),
            shipped: layer.clone(),
            version: version(*as_of, None),
        }
    }

    /// The prices of a file before those that are shipped: where it has a row for a model and a
    /// day, that one holds.
    ///
    /// # Errors
    /// Everything in the file that is not accepted, with its line.
    pub fn with_file(name: &str, text: &str) -> Result<Self, Vec<Problem>> {
        let file = read::file(name, text)?;
        let (layer, as_of) = shipped();
        Ok(Self {
            own: Layer::new(file.rows),
            shipped: layer.clone(),
            version: version(file.as_of.max(*as_of), Some(text)),
        })
    }

    /// The row for a model at a time: of those in force the one whose pattern says most of the
    /// name, of several such the latest. `None`: the price is not known.
    #[must_use]
    pub fn find(&self, provider: &str, model: &str, at: Timestamp) -> Option<&Price> {
        let day = at.to_zoned(TimeZone::UTC).date();
        let own = self.own.find(provider, model, day);
        own.or_else(|| self.shipped.find(provider, model, day))
    }

    /// All rows, those of a file first.
    pub fn rows(&self) -> impl Iterator<Item = &Price> {
        self.own.rows.iter().chain(&self.shipped.rows)
    }

    /// Names exactly these prices: the latest day at which a file was known to be right, and
    /// 12 hexadecimal digits of the SHA-256 of all of them, as in `2026-10-07+0123456789ab`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }
}

fn shipped() -> &'static (Layer, Date) {
    static LAYER: OnceLock<(Layer, Date)> = OnceLock::new();
    LAYER.get_or_init(|| {
        let (mut rows, mut as_of) = (Vec::new(), Date::MIN);
        for (name, text) in SHIPPED {
            if let Ok(file) = read::file(name, text) {
                rows.extend(file.rows);
                as_of = as_of.max(file.as_of);
            }
        }
        (Layer::new(rows), as_of)
    })
}

/// What is wrong with the prices that are shipped: nothing, as a test holds.
#[must_use]
pub fn check_shipped() -> Vec<Problem> {
    let each = SHIPPED.iter().map(|(name, text)| check(name, text));
    each.flatten().collect()
}

fn version(as_of: Date, own: Option<&str>) -> String {
    let mut hash = Sha256::new();
    for text in SHIPPED.iter().map(|(_, text)| *text).chain(own) {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    let mut version = format!("{as_of}+");
    for byte in hash.finalize().iter().take(6) {
        let _ = write!(version, "{byte:02x}");
    }
    version
}
