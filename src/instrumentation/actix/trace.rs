//! The trace of a request: the caller's context, the decision whether it is sampled, and the
//! server span if it is (OpenTelemetry semantic conventions v1.41.0, "HTTP server span").

use std::borrow::Cow;
use std::sync::Arc;

use actix_web::dev::ServiceRequest;
use actix_web::http::header::{HeaderName, USER_AGENT};
use opentelemetry::trace::{SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt};
use opentelemetry::{Context, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::SdkTracer;

use super::middleware::Worker;
use crate::catalog::ClosedLabel as _;
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
    /// Whether anything exports spans. Where nothing does, none is made; contexts are kept
    /// and flags handed on all the same.
    pub exported: bool,
}

/// What the caller sent along.
fn remote(request: &ServiceRequest) -> RemoteContext {
    let headers = request.headers();
    RemoteContext::from_headers(|name| {
        let name = match name {
            BAGGAGE => &BAGGAGE_NAME,
            TRACEPARENT => &TRACEPARENT_NAME,
            _ => &TRACESTATE_NAME,
        };
        headers.get_all(name).map(|value| value.as_bytes())
    })
}

/// Where a request is in its trace.
pub(super) struct RequestTrace {
    context: Context,
    /// Whether the context's span is the request's, and recorded.
    recorded: bool,
}

impl RequestTrace {
    #[inline]
    pub(super) fn begin(
        tracing: &Tracing,
        worker: &Worker,
        request: &ServiceRequest,
        method: Method,
    ) -> Self {
        let parent = Context::map_current(|here| remote(request).into_context(here));
        let above = parent.span().span_context().clone();
        let trace_id = if above.is_valid() {
            above.trace_id()
        } else {
            random_trace_id()
        };
        let sampled = tracing.sampler.decide(&above, trace_id);
        if !(sampled && tracing.exported) {
            // Nothing is recorded, but what happens inside belongs to this trace, and has to
            // find what was decided.
            let own = SpanContext::new(
                trace_id,
                random_span_id(),
                above.trace_flags().with_sampled(sampled),
                false,
                above.trace_state().clone(),
            );
            return Self {
                context: parent.with_remote_span_context(own),
                recorded: false,
            };
        }
        let builder = SpanBuilder::from_name(verb(method))
            .with_kind(SpanKind::Server)
            .with_attributes(attributes(worker, request, method));
        let span = start_sampled(&tracing.tracer, builder, trace_id, &parent);
        let context = parent.with_span(span);
        // A provider that was shut down makes empty spans.
        let recorded = context.span().span_context().is_sampled();
        Self { context, recorded }
    }

    /// What is in force inside the request.
    #[inline]
    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    /// The server span, if the request is sampled.
    #[inline]
    pub(super) fn sampled(&self) -> Option<SampledSpan> {
        self.recorded.then(|| {
            let span = self.context.span();
            let span = span.span_context();
            SampledSpan {
                trace_id: u128::from_be_bytes(span.trace_id().to_bytes()),
                span_id: u64::from_be_bytes(span.span_id().to_bytes()),
            }
        })
    }

    pub(super) fn end(&self, ended: Ended) {
        if !self.recorded {
            return;
        }
        let span = self.context.span();
        let mut attributes = Vec::with_capacity(4);
        if let Some(route) = ended.route {
            let mut name = String::with_capacity(8 + route.len());
            name.push_str(verb(ended.method));
            name.push(' ');
            name.push_str(&route);
            span.update_name(name);
            attributes.push(KeyValue::new("http.route", Value::String(route.into())));
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
pub(super) struct Ended {
    pub(super) method: Method,
    /// The pattern, if one matched.
    pub(super) route: Option<Arc<str>>,
    /// 0: none was sent.
    pub(super) status: u16,
    pub(super) error: Option<Cow<'static, str>>,
    /// Keyed hash.
    pub(super) user: Option<String>,
}

/// Writes the access log's event. Called with the request's context in force.
pub(super) fn log(
    ended: &Ended,
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
        "http.route" = ended.route.as_deref(),
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

fn attributes(worker: &Worker, request: &ServiceRequest, method: Method) -> Vec<KeyValue> {
    let settings = &worker.settings;
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
    let (address, port) = worker.server.get_or_init(|| {
        let address = config.local_addr();
        (address.ip().to_string().into(), i64::from(address.port()))
    });
    put("server.address", Value::String(Arc::clone(address).into()));
    put("server.port", (*port).into());
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
