//! The trace of a request: the caller's context, the decision whether it is sampled, and the
//! server span if it is (OpenTelemetry semantic conventions v1.41.0, "HTTP server span").

use std::borrow::Cow;

use actix_web::dev::ServiceRequest;
use actix_web::http::header::{HeaderName, USER_AGENT};
use opentelemetry::trace::{SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt};
use opentelemetry::{Context, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::SdkTracer;

use super::middleware::Settings;
use crate::catalog::ClosedLabel as _;
use crate::pipeline::config::Propagator;
use crate::pipeline::propagation::{BAGGAGE, RemoteContext, TRACEPARENT};
use crate::pipeline::sampling::{TraceSampler, random_span_id, random_trace_id, start_sampled};
use crate::recording::exemplar::SampledSpan;
use crate::signals::http::Method;

/// Bytes of a client's text that go onto a span; the rest is cut off.
const TEXT_BYTES: usize = 1024;

static TRACEPARENT_NAME: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE_NAME: HeaderName = HeaderName::from_static("tracestate");
static BAGGAGE_NAME: HeaderName = HeaderName::from_static("baggage");

/// What makes server spans.
#[derive(Clone, Debug)]
pub struct Tracing {
    /// The tracer, of a provider made with
    /// [`provider_builder`](crate::pipeline::sampling::provider_builder) and this sampler.
    pub tracer: SdkTracer,
    /// The sampler.
    pub sampler: TraceSampler,
    /// What is read from a request's headers; empty: nothing.
    pub propagators: Vec<Propagator>,
}

impl Tracing {
    fn remote(&self, request: &ServiceRequest) -> RemoteContext {
        let headers = request.headers();
        RemoteContext::from_headers(|name| {
            let (propagator, name) = match name {
                BAGGAGE => (Propagator::Baggage, &BAGGAGE_NAME),
                TRACEPARENT => (Propagator::TraceContext, &TRACEPARENT_NAME),
                _ => (Propagator::TraceContext, &TRACESTATE_NAME),
            };
            let read = self.propagators.contains(&propagator);
            let values = read.then(|| headers.get_all(name));
            values.into_iter().flatten().map(|value| value.as_bytes())
        })
    }
}

/// Where a request is in its trace.
pub(super) struct RequestTrace {
    context: Context,
    sampled: Option<SampledSpan>,
}

impl RequestTrace {
    #[inline]
    pub(super) fn begin(
        tracing: &Tracing,
        settings: &Settings,
        request: &ServiceRequest,
        method: Method,
    ) -> Self {
        let parent = Context::map_current(|here| tracing.remote(request).into_context(here));
        let above = parent.span().span_context().clone();
        let trace_id = if above.is_valid() {
            above.trace_id()
        } else {
            random_trace_id()
        };
        if !tracing.sampler.decide(&above, trace_id) {
            // Nothing is recorded, but what happens inside belongs to this trace, and has to
            // find that it was decided against.
            let own = SpanContext::new(
                trace_id,
                random_span_id(),
                above.trace_flags().with_sampled(false),
                false,
                above.trace_state().clone(),
            );
            return Self {
                context: parent.with_remote_span_context(own),
                sampled: None,
            };
        }
        let builder = SpanBuilder::from_name(verb(method))
            .with_kind(SpanKind::Server)
            .with_attributes(attributes(settings, request, method));
        let span = start_sampled(&tracing.tracer, builder, trace_id, &parent);
        let context = parent.with_span(span);
        let sampled = {
            let span = context.span();
            let span = span.span_context();
            span.is_sampled().then(|| SampledSpan {
                trace_id: u128::from_be_bytes(span.trace_id().to_bytes()),
                span_id: u64::from_be_bytes(span.span_id().to_bytes()),
            })
        };
        Self { context, sampled }
    }

    /// What is in force inside the request.
    #[inline]
    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    /// The server span, if the request is sampled.
    #[inline]
    pub(super) fn sampled(&self) -> Option<SampledSpan> {
        self.sampled
    }

    pub(super) fn end(&self, ended: Ended<'_>) {
        if self.sampled.is_none() {
            return;
        }
        let span = self.context.span();
        let mut attributes = Vec::with_capacity(4);
        if let Some(route) = ended.route {
            let mut name = String::with_capacity(8 + route.len());
            name.push_str(verb(ended.method));
            name.push(' ');
            name.push_str(route);
            span.update_name(name);
            attributes.push(KeyValue::new("http.route", route.to_owned()));
        }
        if ended.status != 0 {
            attributes.push(KeyValue::new(
                "http.response.status_code",
                i64::from(ended.status),
            ));
        }
        if let Some(user) = ended.user {
            attributes.push(KeyValue::new("user.hash", user));
        }
        if let Some(error) = ended.error {
            // A status says all there is to say; a failure is named.
            let description = if error.starts_with(|c: char| c.is_ascii_digit()) {
                Cow::Borrowed("")
            } else {
                error.clone()
            };
            attributes.push(KeyValue::new("error.type", error));
            span.set_status(Status::error(description));
        }
        span.set_attributes(attributes);
        span.end();
    }
}

/// How a request ended, for its span and its log line.
pub(super) struct Ended<'r> {
    pub(super) method: Method,
    /// The pattern, if one matched.
    pub(super) route: Option<&'r str>,
    /// 0: none was sent.
    pub(super) status: u16,
    pub(super) error: Option<Cow<'static, str>>,
    /// Keyed hash.
    pub(super) user: Option<String>,
}

/// Writes the access log's event. Called with the request's context in force.
pub(super) fn log(
    ended: &Ended<'_>,
    path: &str,
    seconds: f64,
    request_size: Option<f64>,
    response_size: Option<f64>,
) {
    tracing::info!(
        target: "tachograph::access",
        duration = seconds,
        "http.request.method" = ended.method.as_str(),
        "url.path" = cut(path),
        "http.route" = ended.route,
        "http.response.status_code" = (ended.status != 0).then_some(ended.status),
        "error.type" = ended.error.as_deref(),
        "user.hash" = ended.user.as_deref(),
        "http.request.body.size" = request_size.map(|bytes| bytes as u64),
        "http.response.body.size" = response_size.map(|bytes| bytes as u64),
        "request"
    );
}

/// The method in a span's name.
fn verb(method: Method) -> &'static str {
    match method {
        Method::Other => "HTTP",
        known => known.as_str(),
    }
}

fn attributes(settings: &Settings, request: &ServiceRequest, method: Method) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(12);
    let mut put = |key: &'static str, value: Value| attributes.push(KeyValue::new(key, value));
    put("http.request.method", method.as_str().into());
    if method == Method::Other {
        put(
            "http.request.method_original",
            cut(request.method().as_str()).to_owned().into(),
        );
    }
    let config = request.app_config();
    put("url.path", cut(request.path()).to_owned().into());
    let scheme = if config.secure() { "https" } else { "http" };
    put("url.scheme", scheme.into());
    let address = config.local_addr();
    put("server.address", address.ip().to_string().into());
    put("server.port", i64::from(address.port()).into());
    if let Some(version) = version(request) {
        put("network.protocol.version", version.into());
    }
    if settings.client_address
        && let Some(peer) = request.peer_addr()
    {
        put("client.address", peer.ip().to_string().into());
    }
    if settings.user_agent
        && let Some(agent) = request.headers().get(USER_AGENT)
    {
        let agent: Cow<'_, str> = String::from_utf8_lossy(agent.as_bytes());
        put(
            "user_agent.original",
            StringValue::from(cut(&agent).to_owned()).into(),
        );
    }
    attributes
}

fn version(request: &ServiceRequest) -> Option<&'static str> {
    use actix_web::http::Version;
    match request.version() {
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_2 => Some("2"),
        Version::HTTP_3 => Some("3"),
        _ => None,
    }
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_at_characters() {
        assert_eq!(cut("short"), "short");
        let long = "é".repeat(TEXT_BYTES);
        assert_eq!(cut(&long).len(), TEXT_BYTES);
        let odd = format!("a{long}");
        assert_eq!(cut(&odd).len(), TEXT_BYTES - 1);
    }
}
