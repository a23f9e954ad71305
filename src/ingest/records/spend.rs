//! What requests to models took: providers' usage as they send it, and what it costs.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::wire::{Refusal, excerpt};
use crate::catalog::Signal;
use crate::prices::{self, Gap, Known, Prices};
use crate::signals::llm::LlmRequest;
use crate::usage::{self, Answer, Format, Usage};

/// Longest `usage`, in bytes of JSON.
const MAX_USAGE: usize = 64 * 1024;
/// Longest text taken from an answer, in bytes.
const MAX_TEXT: usize = 256;

const OPERATION: &str = "gen_ai.operation.name";
const PROVIDER: &str = "gen_ai.provider.name";
const MODEL: &str = "gen_ai.request.model";
const RESPONSE_MODEL: &str = "gen_ai.response.model";
const STATUS: &str = "status";
const INPUT: &str = "gen_ai.usage.input_tokens";
const OUTPUT: &str = "gen_ai.usage.output_tokens";
const CACHE_READ: &str = "gen_ai.usage.cache_read.input_tokens";
const CACHE_WRITE: &str = "gen_ai.usage.cache_creation.input_tokens";
const REASONING: &str = "gen_ai.usage.reasoning.output_tokens";
const CONTEXT_USE: &str = "llm.context_window.utilization";
const COST: &str = "llm.cost_usd";

/// What was added to a record.
#[derive(Default)]
pub(super) struct Spend {
    /// Fields, to be kept with those that were given.
    pub(super) fields: Map<String, Value>,
    /// Context fields, to be kept with those that were given.
    pub(super) context: Map<String, Value>,
    /// Version of the prices, if the cost was computed.
    pub(super) price_version: Option<Arc<str>>,
}

/// A request's labels and values, by key.
struct Request<'r, 'a> {
    signal: &'static Signal,
    labels: &'r mut [Cow<'a, str>],
    values: &'r mut [Option<f64>],
    added: Spend,
}

impl Request<'_, '_> {
    fn label(&self, key: &str) -> &str {
        text(self.signal, self.labels, key)
    }

    fn value(&self, key: &str) -> Option<f64> {
        value(self.signal, self.values, key)
    }

    fn set(&mut self, key: &str, given: Option<f64>) {
        let at = self.signal.values.iter().position(|value| value.key == key);
        if let (Some(at), Some(number)) = (at, given)
            && let Some(slot) = self.values.get_mut(at)
        {
            *slot = given;
            self.added.fields.insert(key.to_owned(), number.into());
        }
    }
}

fn text<'t>(signal: &Signal, labels: &'t [impl AsRef<str>], key: &str) -> &'t str {
    let at = signal.labels.iter().position(|label| label.key == key);
    let label = at.and_then(|at| labels.get(at));
    label.map_or("", AsRef::as_ref)
}

fn value(signal: &Signal, values: &[Option<f64>], key: &str) -> Option<f64> {
    let at = signal.values.iter().position(|value| value.key == key)?;
    values.get(at).copied().flatten()
}

/// Fills in what a provider's usage says, the share of the context window and, unless it was
/// reported, the cost at the price in force at the record's time. Labels and values have been
/// checked before.
pub(super) fn complete(
    signal: &'static Signal,
    given: Option<&RawValue>,
    labels: &mut [Cow<'_, str>],
    values: &mut [Option<f64>],
    time_us: i64,
    prices: &Prices,
) -> Result<Spend, Refusal> {
    if signal.name != LlmRequest::SIGNAL.name {
        return match given {
            Some(_) => Err(Refusal::of("usage", "accepted of `llm.request` only")),
            None => Ok(Spend::default()),
        };
    }
    let mut request = Request {
        signal,
        labels,
        values,
        added: Spend::default(),
    };
    let usage = match given {
        Some(raw) => {
            let answer = read(raw, request.label(PROVIDER))?;
            request.take(answer)?
        }
        None => None,
    };
    let usage = usage.or_else(|| request.reported());
    if let (Some(usage), Ok(at)) = (usage, jiff::Timestamp::from_microsecond(time_us)) {
        request.price(&usage, at, prices);
    }
    Ok(request.added)
}

impl Request<'_, '_> {
    /// Takes what an answer says.
    fn take(&mut self, answer: Answer) -> Result<Option<Usage>, Refusal> {
        if let Some(usage) = answer.usage {
            for key in [INPUT, OUTPUT, CACHE_READ, CACHE_WRITE, REASONING] {
                if self.value(key).is_some() {
                    let reason = format!("given beside `fields.{key}`; send one of them");
                    return Err(Refusal::of("usage", reason));
                }
            }
            for (key, tokens) in prices::fields(&usage.end()) {
                self.set(key, tokens);
            }
        }
        let fit = |text: &String| text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
        let at = self
            .signal
            .labels
            .iter()
            .position(|label| label.key == RESPONSE_MODEL);
        if let Some(model) = answer.model.filter(fit)
            && let Some(slot) = at.and_then(|at| self.labels.get_mut(at))
            && slot.is_empty()
        {
            *slot = Cow::Owned(model.clone());
            self.added
                .fields
                .insert(RESPONSE_MODEL.to_owned(), model.into());
        }
        let reasons = Some(answer.finish_reasons.join(",")).filter(|text| !text.is_empty());
        for (key, text) in [
            (LlmRequest::RESPONSE_ID, answer.id),
            (LlmRequest::FINISH_REASONS, reasons),
        ] {
            if let Some(text) = text.filter(fit) {
                self.added.context.insert(key.to_owned(), text.into());
            }
        }
        Ok(answer.usage)
    }

    /// What the fields say, in disjoint kinds. They do not say how long writes to the cache
    /// stay: they count as 5 minutes, the providers' default.
    fn reported(&self) -> Option<Usage> {
        let tokens = |key| self.value(key).map(|tokens| tokens.round() as u64);
        let (read, written, thought) = (tokens(CACHE_READ), tokens(CACHE_WRITE), tokens(REASONING));
        let rest = |whole: u64, parts: [Option<u64>; 2]| {
            parts.into_iter().flatten().fold(whole, u64::saturating_sub)
        };
        let input = tokens(INPUT)?;
        Some(Usage {
            input: Some(rest(input, [read, written])),
            cache_read: read,
            cache_write_5m: written,
            cache_write_1h: None,
            output: tokens(OUTPUT).map(|output| rest(output, [thought, None])),
            reasoning: thought,
        })
    }

    fn price(&mut self, usage: &Usage, at: jiff::Timestamp, prices: &Prices) {
        // The model that answered says more: an alias or a deployment may be asked for.
        let models = [self.label(RESPONSE_MODEL), self.label(MODEL)];
        let estimate = prices.estimate(self.label(PROVIDER), &models, usage, at);
        if self.value(CONTEXT_USE).is_none() {
            self.set(CONTEXT_USE, estimate.context_use);
        }
        // What has no price counts as such when the record is committed.
        let Some(cost) = estimate.cost.filter(|_| self.value(COST).is_none()) else {
            return;
        };
        let end = cost.onto(Usage::default().end());
        for (key, dollars) in prices::fields(&end) {
            self.set(key, dollars);
        }
        self.added.price_version = Some(Arc::from(prices.version()));
    }
}

/// Reads `usage`: a provider's object, or one with `format` and `body`. Without `format`, its
/// members and the provider tell.
fn read(raw: &RawValue, provider: &str) -> Result<Answer, Refusal> {
    let text = raw.get();
    if text.len() > MAX_USAGE {
        let reason = format!(
            "{} bytes long; accepted are up to {MAX_USAGE}: leave contents out",
            text.len()
        );
        return Err(Refusal::of("usage", reason));
    }
    let mut given: Value =
        serde_json::from_str(text).map_err(|error| Refusal::of("usage", error.to_string()))?;
    let names = Format::ALL.map(Format::as_str).join(", ");
    let wrapped = given.get("body").is_some();
    let mut format = None;
    let body = if wrapped {
        let members = given.as_object().into_iter().flat_map(Map::keys);
        if let Some(other) = members
            .into_iter()
            .find(|key| !matches!(&***key, "format" | "body"))
        {
            let field = format!("usage.{}", excerpt(other));
            return Err(Refusal::of(field, "accepted are `format` and `body`"));
        }
        if let Some(name) = given.get("format") {
            format = name.as_str().and_then(Format::named);
            if format.is_none() {
                return Err(Refusal::of("usage.format", format!("accepted are {names}")));
            }
        }
        given.get_mut("body").map(Value::take).unwrap_or_default()
    } else {
        given
    };
    let Some(format) = format.or_else(|| Format::of(provider, &body)) else {
        let reason = format!(
            "its shape does not tell whose it is; say so: {{\"format\": …, \"body\": …}} with one of {names}"
        );
        return Err(Refusal::of("usage", reason));
    };
    usage::read(format, &body).map_err(|error| {
        let at = if wrapped { "usage.body" } else { "usage" };
        let field = match &*error.field {
            "" => at.to_owned(),
            field => format!("{at}.{field}"),
        };
        Refusal::of(field, error.reason)
    })
}

/// Counts what is not known of a request that was committed: its usage if it was answered, its
/// price if it used something.
pub(super) fn count_unknown(signal: &Signal, labels: &[&str], values: &[Option<f64>]) {
    if signal.name != LlmRequest::SIGNAL.name {
        return;
    }
    let known = Known {
        input: value(signal, values, INPUT).is_some(),
        output: value(signal, values, OUTPUT).is_some(),
        cost: value(signal, values, COST).is_some(),
    };
    let label = |key| text(signal, labels, key);
    if let Some(gap) = Gap::of(label(OPERATION), label(STATUS), &known) {
        gap.count(label(PROVIDER), label(MODEL));
    }
}
