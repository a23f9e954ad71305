//! A request to a model that is under way, until the last byte of its answer.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use jiff::Timestamp;
use reqwest::Response;
use tracing::Span;
use tracing::field::Empty;
use url::Url;

use super::super::body::{End, Watch, watch};
use super::super::failure;
use super::super::request::server;
use super::call::{LlmCall, Retries};
use super::pace::Pace;
use crate::catalog::ClosedLabel as _;
use crate::prices::{ActiveRequest, Ending, Prices};
use crate::signals::http_client::HttpClientStatus;
use crate::signals::llm::{
    LlmOperation, LlmOutputChunk, LlmOutputSpeed, LlmProviderUp, LlmRequest, LlmRetried, LlmStatus,
    UsageGap,
};
use crate::usage::{Answer, Asked, Failure, Format, Read, Reader, Shape, rate_limits};

/// Stands for a model that nobody names.
const UNKNOWN: &str = "unknown";

pub(super) struct Observed {
    active: ActiveRequest,
    operation: LlmOperation,
    provider: String,
    model: String,
    format: Format,
    tells_usage: bool,
    prices: Arc<Prices>,
    retries: Retries,
    pace: Pace,
    /// Status code of the answer; 0 before there is one.
    code: u16,
    reader: Reader,
}

impl Observed {
    pub(super) fn begin(
        asked: &Asked,
        provider: &str,
        call: &LlmCall,
        url: &Url,
        retries: Retries,
        prices: Arc<Prices>,
    ) -> Self {
        let said = Some(&*call.model).filter(|model| !model.is_empty());
        let model = asked.model.as_deref().or(said).unwrap_or(UNKNOWN);
        let request = LlmRequest {
            operation: asked.operation,
            provider,
            model,
            agent: &call.agent,
        };
        let span = span(&request, call, url);
        if let Some(reason) = retries.take() {
            let retried = LlmRetried {
                provider,
                model,
                reason: &reason,
            };
            span.in_scope(|| retried.add(1));
        }
        Self {
            active: request.start_in(span),
            operation: asked.operation,
            provider: provider.to_owned(),
            model: model.to_owned(),
            format: asked.format,
            tells_usage: asked.tells_usage,
            prices,
            retries,
            pace: Pace::new(Instant::now()),
            code: 0,
            reader: Reader::new(asked.format, Shape::Other),
        }
    }

    pub(super) fn span(&self) -> Span {
        self.active.span().clone()
    }

    /// There is no answer.
    pub(super) fn failed(self, error: &reqwest_middleware::Error) {
        let unreachable = match error {
            reqwest_middleware::Error::Reqwest(error) => error.is_connect(),
            reqwest_middleware::Error::Middleware(_) => false,
        };
        if unreachable {
            self.reachable(0.0);
        }
        let (status, error) = of_transport(failure::of_error(error));
        let nothing = Ending {
            status,
            error,
            first_chunk: None,
            gap: None,
        };
        self.settle(Answer::default(), nothing);
    }

    /// The head of the answer is there: the rest is told by its body.
    pub(super) fn answered(mut self, response: Response) -> Response {
        self.reachable(1.0);
        self.code = response.status().as_u16();
        let headers = response.headers();
        let named = headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let limits = rate_limits(named, Timestamp::now());
        let span = self.span();
        span.in_scope(|| limits.record(&self.provider));
        span.record("http.response.status_code", u64::from(self.code));
        if let Some(wait) = limits.retry_after {
            span.record(LlmRequest::RETRY_AFTER, wait.as_secs_f64());
        }
        self.reader = Reader::new(self.format, shape(headers));
        watch(response, self)
    }

    fn reachable(&self, up: f64) {
        let provider = &*self.provider;
        self.active
            .span()
            .in_scope(|| LlmProviderUp { provider }.set(up));
    }

    fn settle(self, answer: Answer, ending: Ending<'_>) {
        if !ending.error.is_empty() {
            self.retries.failed(ending.error);
        }
        let request = LlmRequest {
            operation: self.operation,
            provider: &self.provider,
            model: &self.model,
            agent: "",
        };
        let output = answer.usage.and_then(|usage| usage.output_total());
        if let Some(speed) = output.and_then(|tokens| self.pace.speed(tokens)) {
            let of = LlmOutputSpeed {
                operation: self.operation,
                provider: &self.provider,
                model: &self.model,
            };
            self.active.span().in_scope(|| of.record(speed));
        }
        let answered = self.prices.answer(&request, answer, Timestamp::now());
        answered.finish_as(self.active, ending);
    }
}

impl Watch for Observed {
    fn chunk(&mut self, chunk: &Bytes) {
        if !self.reader.chunk(chunk) {
            return;
        }
        if let Some(gap) = self.pace.chunk(Instant::now()) {
            let of = LlmOutputChunk {
                operation: self.operation,
                provider: &self.provider,
                model: &self.model,
            };
            self.active.span().in_scope(|| of.record(gap.as_secs_f64()));
        }
    }

    fn end(mut self, end: End<'_>) {
        let nothing = Reader::new(self.format, Shape::Other);
        let read = std::mem::replace(&mut self.reader, nothing).finish(self.tells_usage);
        let mut digits = itoa::Buffer::new();
        let (status, error) = match verdict(self.code, &read, end) {
            // What the code says is all that is known.
            (status, error) if error == Failure::Other.as_str() && self.code >= 400 => {
                (status, digits.format(self.code))
            }
            verdict => verdict,
        };
        let ending = Ending {
            status,
            error,
            first_chunk: self.pace.first_chunk().filter(|_| read.streamed),
            gap: (self.code < 400).then_some(read.gap),
        };
        self.settle(read.answer, ending);
    }
}

/// How a request ended whose answer, or a part of it, was read.
fn verdict(code: u16, read: &Read, end: End<'_>) -> (LlmStatus, &'static str) {
    let said = read.failure.filter(|said| *said != Failure::Other);
    if let Some(failure) = said.or_else(|| Failure::of_status(code)).or(read.failure) {
        return (failure.status(), failure.as_str());
    }
    match end {
        End::Failed(error) => of_transport(failure::of_reqwest(error)),
        // A caller that has the last piece may go away before the end.
        _ if read.finished && read.filtered => (LlmStatus::Filtered, ""),
        _ if read.finished => (LlmStatus::Success, ""),
        End::Complete if read.gap == UsageGap::CutOff => (LlmStatus::Failed, "incomplete"),
        End::Complete => (LlmStatus::Success, ""),
        _ => (LlmStatus::Abandoned, "abandoned"),
    }
}

fn of_transport((status, error): (HttpClientStatus, &'static str)) -> (LlmStatus, &'static str) {
    match status {
        HttpClientStatus::Timeout => (LlmStatus::Timeout, error),
        _ => (LlmStatus::Failed, error),
    }
}

/// How the body is written. One that is compressed still cannot be read.
fn shape(headers: &HeaderMap) -> Shape {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    match kind {
        Some(kind) if !headers.contains_key(CONTENT_ENCODING) => Shape::of(kind),
        _ => Shape::Other,
    }
}

/// The request's span. It is made here and not by the typed recorder, as it is named
/// `{operation} {model}` (semantic conventions v1.41.0, "Generative AI spans").
fn span(request: &LlmRequest<'_>, call: &LlmCall, url: &Url) -> Span {
    let operation = request.operation.as_str();
    tracing::info_span!(
        target: "tachograph::signal",
        "llm.request",
        otel.name = format_args!("{operation} {}", request.model),
        otel.kind = "client",
        otel.status_code = Empty,
        "gen_ai.operation.name" = operation,
        "gen_ai.provider.name" = request.provider,
        "gen_ai.request.model" = request.model,
        "gen_ai.agent.name" = Some(request.agent).filter(|agent| !agent.is_empty()),
        "gen_ai.conversation.id" = call.conversation,
        correlation_id = call.correlation,
        "server.address" = server(url),
        "server.port" = url.port_or_known_default().map(u64::from),
        "http.response.status_code" = Empty,
        "gen_ai.response.model" = Empty,
        "gen_ai.response.id" = Empty,
        "gen_ai.response.finish_reasons" = Empty,
        "gen_ai.response.time_to_first_chunk" = Empty,
        "gen_ai.usage.input_tokens" = Empty,
        "gen_ai.usage.output_tokens" = Empty,
        "gen_ai.usage.cache_read.input_tokens" = Empty,
        "gen_ai.usage.cache_creation.input_tokens" = Empty,
        "gen_ai.usage.reasoning.output_tokens" = Empty,
        "llm.context_window.utilization" = Empty,
        "llm.retry_after" = Empty,
        "llm.cost_usd" = Empty,
        "llm.input_cost_usd" = Empty,
        "llm.cache_read_cost_usd" = Empty,
        "llm.cache_write_cost_usd" = Empty,
        "llm.output_cost_usd" = Empty,
        "llm.reasoning_cost_usd" = Empty,
        status = Empty,
        "error.type" = Empty,
    )
}
