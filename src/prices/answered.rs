//! Answers of providers, read and priced: the same for the typed recorder, for a span of plain
//! `tracing` and for a record.

use jiff::Timestamp;
use serde_json::Value;
use tracing::Span;

use super::{Cost, Prices};
use crate::catalog::{ClosedLabel, check};
use crate::recording::Active;
use crate::signals::llm::{
    LlmOperation, LlmPriceUnknown, LlmRequest, LlmRequestEnd, LlmStatus, LlmUsageUnknown, UsageGap,
};
use crate::usage::{Answer, Format, Usage, UsageError, read};

/// Open labels of a request.
const OPEN: usize = check::rank(
    LlmRequest::SIGNAL.labels,
    LlmRequest::SIGNAL.labels.len(),
    false,
);

/// A request under way.
pub type ActiveRequest = Active<LlmRequest<'static>, OPEN>;

/// How a request ended, beside what its answer says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ending<'e> {
    /// How it ended.
    pub status: LlmStatus,
    /// What went wrong; empty if nothing.
    pub error: &'e str,
    /// Seconds to the first chunk; `None` if the answer was not streamed.
    pub first_chunk: Option<f64>,
    /// What to count if the tokens are not known; `None`: nothing, as there was no answer.
    pub gap: Option<UsageGap>,
}

/// What usage and prices tell of a request's end, by the fields' keys.
#[must_use]
pub fn fields(end: &LlmRequestEnd<'_>) -> [(&'static str, Option<f64>); 12] {
    [
        ("gen_ai.usage.input_tokens", end.input_tokens),
        ("gen_ai.usage.output_tokens", end.output_tokens),
        (
            "gen_ai.usage.cache_read.input_tokens",
            end.cache_read_tokens,
        ),
        (
            "gen_ai.usage.cache_creation.input_tokens",
            end.cache_write_tokens,
        ),
        ("gen_ai.usage.reasoning.output_tokens", end.reasoning_tokens),
        ("llm.context_window.utilization", end.context_use),
        ("llm.cost_usd", end.cost),
        ("llm.input_cost_usd", end.input_cost),
        ("llm.cache_read_cost_usd", end.cache_read_cost),
        ("llm.cache_write_cost_usd", end.cache_write_cost),
        ("llm.output_cost_usd", end.output_cost),
        ("llm.reasoning_cost_usd", end.reasoning_cost),
    ]
}

/// What usage is worth, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// The cost; `None` if usage or price is not known.
    pub cost: Option<Cost>,
    /// Share of the model's context window, at most 1; `None` if usage or window is not known.
    pub context_use: Option<f64>,
}

/// What is missing of a request to a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// It was answered without saying what it used.
    Usage,
    /// What it used is known, and the price is not.
    Price,
}

impl Gap {
    /// What is missing of a request that ended: nothing if its cost is known; its price if input
    /// and output are (of embeddings, which have none, the input); its usage if it succeeded.
    #[must_use]
    pub fn of(operation: &str, status: &str, end: &Known) -> Option<Self> {
        let output = end.output || operation == LlmOperation::Embeddings.as_str();
        match (end.cost, end.input && output) {
            (true, _) => None,
            (false, true) => Some(Self::Price),
            (false, false) => (status == LlmStatus::Success.as_str()).then_some(Self::Usage),
        }
    }

    /// Counts it: in `llm.usage.unknown` or `llm.price.unknown`.
    pub fn count(self, provider: &str, model: &str) {
        match self {
            Self::Usage => count_usage(provider, model, UsageGap::NotReported),
            Self::Price => LlmPriceUnknown { provider, model }.add(1),
        }
    }
}

fn count_usage(provider: &str, model: &str, reason: UsageGap) {
    LlmUsageUnknown {
        provider,
        model,
        reason,
    }
    .add(1);
}

/// What is known of the end of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its tokens of input.
    pub input: bool,
    /// Its tokens of output.
    pub output: bool,
    /// Its cost.
    pub cost: bool,
}

/// An answer to a request, read and priced.
///
/// ```
/// use serde_json::json;
/// use tachograph::prices::Prices;
/// use tachograph::signals::llm::{LlmOperation, LlmRequest};
///
/// let request = LlmRequest {
///     operation: LlmOperation::Chat,
///     provider: "openai",
///     model: "gpt-4o",
///     agent: "",
/// };
/// let active = request.start();
/// // What the provider sent: the answer, its usage object, or an array of a stream's events.
/// let body = json!({"prompt_tokens": 2000, "completion_tokens": 100, "total_tokens": 2100});
/// let at = "2025-12-01T00:00:00Z".parse()?;
/// let answered = Prices::shipped().answered(&request, &body, at)?;
/// assert_eq!(answered.end().cost, Some(0.006));
/// answered.finish(active);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Answered<'r> {
    operation: LlmOperation,
    provider: &'r str,
    model: &'r str,
    answer: Answer,
    estimate: Estimate,
}

impl Prices {
    /// What usage is worth at a time, by the first of the models that has a price.
    #[must_use]
    pub fn estimate(
        &self,
        provider: &str,
        models: &[&str],
        usage: &Usage,
        at: Timestamp,
    ) -> Estimate {
        let mut models = models.iter().filter(|model| !model.is_empty());
        let found = models.find_map(|model| self.find(provider, model, at));
        found.map_or_else(Estimate::default, |price| Estimate {
            cost: price.cost(usage).ok(),
            context_use: price.context_use(usage).map(|share| share.min(1.0)),
        })
    }

    /// Reads what a provider answered, whole, as its usage object alone or as an array of a
    /// stream's events, and prices it at a time. Whose format it is follows from its members and
    /// the request's provider.
    ///
    /// # Errors
    /// As [`read`]; and when neither members nor provider tell the format.
    pub fn answered<'r>(
        &self,
        request: &LlmRequest<'r>,
        body: &Value,
        at: Timestamp,
    ) -> Result<Answered<'r>, UsageError> {
        let format = Format::of(request.provider, body).ok_or_else(|| UsageError {
            field: String::new(),
            reason: "neither its members nor the provider tell whose format it is".to_owned(),
        })?;
        Ok(self.answer(request, read(format, body)?, at))
    }

    /// Prices an answer that was read before, such as that of a [`Stream`](crate::usage::Stream).
    #[must_use]
    pub fn answer<'r>(
        &self,
        request: &LlmRequest<'r>,
        answer: Answer,
        at: Timestamp,
    ) -> Answered<'r> {
        let LlmRequest {
            operation,
            provider,
            model,
            ..
        } = *request;
        // The model that answered says more: an alias or a deployment may be asked for.
        let models = [answer.model.as_deref().unwrap_or_default(), model];
        let estimate = answer
            .usage
            .map(|usage| self.estimate(provider, &models, &usage, at));
        Answered {
            operation,
            provider,
            model,
            answer,
            estimate: estimate.unwrap_or_default(),
        }
    }
}

impl Answered<'_> {
    /// What the answer says.
    #[must_use]
    pub const fn answer(&self) -> &Answer {
        &self.answer
    }

    /// Its cost; `None` if usage or price is not known.
    #[must_use]
    pub const fn cost(&self) -> Option<Cost> {
        self.estimate.cost
    }

    /// The end of the request, which succeeded; other fields can be set with struct update
    /// syntax.
    #[must_use]
    pub fn end(&self) -> LlmRequestEnd<'_> {
        let end = self.answer.usage.unwrap_or_default().end();
        let end = LlmRequestEnd {
            response_model: self.answer.model.as_deref().unwrap_or_default(),
            context_use: self.estimate.context_use,
            ..end
        };
        match &self.estimate.cost {
            Some(cost) => cost.onto(end),
            None => end,
        }
    }

    /// Puts the same on a span of the name `llm.request`, as far as it was made with the fields,
    /// and counts what is missing: what [`finish`](Self::finish) is to the typed recorder.
    pub fn record_on(&self, span: &Span) {
        let end = self.end();
        let texts = [
            ("gen_ai.response.model", end.response_model),
            ("status", end.status.as_str()),
        ];
        for (key, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            span.record(key, text);
        }
        for (key, value) in fields(&end) {
            if let Some(value) = value {
                span.record(key, value);
            }
        }
        self.describe(span);
        self.count_gap();
    }

    /// Ends the request with it: tokens, cost, the answering model, the answer's id and why it
    /// stopped; and counts what is missing.
    pub fn finish(&self, active: ActiveRequest) {
        self.finish_as(
            active,
            Ending {
                status: LlmStatus::Success,
                error: "",
                first_chunk: None,
                gap: Some(UsageGap::NotReported),
            },
        );
    }

    /// As [`finish`](Self::finish), of a request that was streamed or did not succeed.
    pub fn finish_as(&self, active: ActiveRequest, ending: Ending<'_>) {
        let span = active.span().clone();
        self.describe(&span);
        active.finish(LlmRequestEnd {
            status: ending.status,
            error: ending.error,
            first_chunk: ending.first_chunk,
            ..self.end()
        });
        span.in_scope(|| match (self.gap(), ending.gap) {
            (Some(Gap::Price), _) => Gap::Price.count(self.provider, self.model),
            (Some(Gap::Usage), Some(reason)) => count_usage(self.provider, self.model, reason),
            (Some(Gap::Usage), None) | (None, _) => {}
        });
    }

    /// Puts the answer's context fields on a span.
    fn describe(&self, span: &Span) {
        if let Some(id) = &self.answer.id {
            span.record(LlmRequest::RESPONSE_ID, &**id);
        }
        if !self.answer.finish_reasons.is_empty() {
            let reasons = self.answer.finish_reasons.join(",");
            span.record(LlmRequest::FINISH_REASONS, &*reasons);
        }
    }

    /// What is missing of it.
    #[must_use]
    pub fn gap(&self) -> Option<Gap> {
        let usage = self.answer.usage.unwrap_or_default();
        let known = Known {
            input: usage.input_total().is_some(),
            output: usage.output_total().is_some(),
            cost: self.estimate.cost.is_some(),
        };
        Gap::of(self.operation.as_str(), LlmStatus::Success.as_str(), &known)
    }

    fn count_gap(&self) {
        if let Some(gap) = self.gap() {
            gap.count(self.provider, self.model);
        }
    }
}
