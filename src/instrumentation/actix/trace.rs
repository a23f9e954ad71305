//! The trace of a request: the caller's context, the decision whether it is sampled, and the
//! server span if it is (OpenTelemetry semantic conventions v1.41.0, "HTTP server span").

use std::borrow::Cow;
#[cfg(feature = "otlp")]
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServiceRequest;
use actix_web::http::header::{HeaderName, USER_AGENT};
use opentelemetry::trace::{SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::SdkTracer;

use super::middleware::Worker;
use super::record::error_type;
use super::route::{Outcome, Route};
use crate::catalog::ClosedLabel as _;
#[cfg(feature = "otlp")]
use crate::pipeline::export::direct::{DirectSpan, Ending, Template};
use crate::pipeline::propagation::{BAGGAGE, RemoteContext, TRACEPARENT};
use crate::pipeline::sampling::{TraceSampler, random_span_id, random_trace_id, start_decided};
use crate::recording::exemplar::SampledSpan;
use crate::signals::http::{Method, ProtocolVersion, Scheme};

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

/// What makes the span of a request that is recorded.
#[derive(Debug)]
enum Recorded {
    /// The context's span is the SDK's.
    Sdk,
    #[cfg(feature = "otlp")]
    Direct(DirectSpan),
}

/// Where a request is in its trace.
pub(super) struct RequestTrace {
    context: Context,
    /// The request's own span, if it is recorded.
    recorded: Option<(Recorded, SampledSpan)>,
}

/// What is known of a request before its head is read further.
pub(super) type Head = (Method, Scheme, ProtocolVersion);

impl RequestTrace {
    #[inline]
    pub(super) fn begin(
        tracing: &Tracing,
        worker: &Worker,
        request: &ServiceRequest,
        head: Head,
    ) -> Self {
        let parent = Context::map_current(|here| remote(request).into_context(here));
        let above = parent.span().span_context().clone();
        let trace_id = if above.is_valid() {
            above.trace_id()
        } else {
            random_trace_id()
        };
        let sampled = tracing.sampler.decide(&above, trace_id);
        let own = || {
            SpanContext::new(
                trace_id,
                random_span_id(),
                above.trace_flags().with_sampled(sampled),
                false,
                above.trace_state().clone(),
            )
        };
        if !(sampled && tracing.exported) {
            // Nothing is recorded, but what happens inside belongs to this trace, and has to
            // find what was decided.
            return Self {
                context: parent.with_remote_span_context(own()),
                recorded: None,
            };
        }
        #[cfg(feature = "otlp")]
        if let Some(spans) = &worker.settings.spans
            && spans.is_open()
            && !parent.is_telemetry_suppressed()
        {
            let template = worker.templates.get(head, || {
                let attributes = fixed(worker, request, head);
                Template::new(spans, verb(head.0), SpanKind::Server, attributes)
            });
            let own = own();
            let span = sampled_span(&own);
            let (direct, context) = DirectSpan::start(&template, own, &parent, |written| {
                texts(worker, request, head.0, |key, text| written.put(key, text));
            });
            return Self {
                context,
                recorded: Some((Recorded::Direct(direct), span)),
            };
        }
        let mut attributes = fixed(worker, request, head);
        texts(worker, request, head.0, |key, text| {
            attributes.push(KeyValue::new(key, text.to_owned()));
        });
        let builder = SpanBuilder::from_name(verb(head.0))
            .with_kind(SpanKind::Server)
            .with_attributes(attributes);
        let ids = (trace_id, SpanId::INVALID);
        let span = start_decided(&tracing.tracer, builder, ids, &parent);
        let context = parent.with_span(span);
        // A provider that was shut down makes empty spans.
        let span = context.span();
        let span = span.span_context();
        let recorded = span
            .is_sampled()
            .then(|| (Recorded::Sdk, sampled_span(span)));
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
        self.recorded.as_ref().map(|(_, span)| *span)
    }

    pub(super) fn end(&self, ended: Ended<'_>, duration: Duration) {
        let Some((recorded, _)) = &self.recorded else {
            return;
        };
        let user = ended.user.map(|user| KeyValue::new("user.hash", user));
        let (route, outcome) = (ended.route, ended.outcome);
        match recorded {
            Recorded::Sdk => {
                let (name, attributes, status) = ending(route, outcome);
                let span = self.context.span();
                if let Some(name) = name {
                    span.update_name(name);
                }
                span.set_attributes(attributes.into_iter().chain(user));
                span.set_status(status);
                span.end();
            }
            #[cfg(feature = "otlp")]
            Recorded::Direct(span) => {
                let ending = route.ending(outcome, || {
                    let (name, attributes, status) = ending(route, outcome);
                    Ending::new(verb(outcome.method), name, attributes, status)
                });
                span.end(&ending, user, duration);
            }
        }
        // The SDK takes the times of its spans itself.
        #[cfg(not(feature = "otlp"))]
        let _ = duration;
    }
}

fn sampled_span(span: &SpanContext) -> SampledSpan {
    SampledSpan {
        trace_id: u128::from_be_bytes(span.trace_id().to_bytes()),
        span_id: u64::from_be_bytes(span.span_id().to_bytes()),
    }
}

/// The name, where a route matched, the attributes and the status that a span ends with.
fn ending(route: &Route, outcome: Outcome) -> (Option<String>, Vec<KeyValue>, Status) {
    let mut attributes = Vec::with_capacity(3);
    let name = route.matched().map(|route| {
        attributes.push(KeyValue::new(
            "http.route",
            Value::String(Arc::clone(route).into()),
        ));
        format!("{} {route}", verb(outcome.method))
    });
    if outcome.status != 0 {
        attributes.push(KeyValue::new(
            "http.response.status_code",
            i64::from(outcome.status),
        ));
    }
    let mut status = Status::Unset;
    if let Some(error) = error_type(outcome.status, outcome.error) {
        // A status says all there is to say; a failure is named.
        status = Status::error(match outcome.error {
            Some(failure) => failure.as_str(),
            None => "",
        });
        attributes.push(KeyValue::new("error.type", error));
    }
    (name, attributes, status)
}

/// The templates of one worker's spans.
#[cfg(feature = "otlp")]
#[derive(Default)]
pub(super) struct Templates(RefCell<Vec<(Head, Arc<Template>)>>);

#[cfg(feature = "otlp")]
impl Templates {
    /// The template of a head, made with `make` when it is new.
    #[inline]
    fn get(&self, head: Head, make: impl FnOnce() -> Template) -> Arc<Template> {
        let known = self.0.borrow();
        if let Some((_, template)) = known.iter().find(|(of, _)| *of == head) {
            return Arc::clone(template);
        }
        drop(known);
        let template = Arc::new(make());
        let mut known = self.0.borrow_mut();
        known.push((head, Arc::clone(&template)));
        template
    }
}

/// How a request ended, for its span and its log line.
pub(super) struct Ended<'r> {
    pub(super) outcome: Outcome,
    pub(super) route: &'r Route,
    /// Keyed hash.
    pub(super) user: Option<String>,
}

/// Writes the access log's event. Called with the request's context in force.
pub(super) fn log(
    ended: &Ended<'_>,
    path: &str,
    duration: Duration,
    request_size: Option<f64>,
    response_size: Option<f64>,
) {
    let Outcome {
        method,
        status,
        error,
        ..
    } = ended.outcome;
    tracing::info!(
        target: "tachograph::access",
        duration = duration.as_secs_f64(),
        "http.request.method" = method.as_str(),
        "url.path" = cut(path),
        "http.route" = ended.route.matched().map(|route| &**route),
        "http.response.status_code" = (status != 0).then_some(status),
        "error.type" = error_type(status, error).as_deref(),
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

/// The attributes that all requests of a head have at one worker.
fn fixed(worker: &Worker, request: &ServiceRequest, head: Head) -> Vec<KeyValue> {
    let (method, scheme, version) = head;
    let mut attributes = Vec::with_capacity(12);
    let mut put = |key: &'static str, value: Value| attributes.push(KeyValue::new(key, value));
    put("http.request.method", method.as_str().into());
    put("url.scheme", scheme.as_str().into());
    let (address, port) = worker.server.get_or_init(|| {
        let address = request.app_config().local_addr();
        (address.ip().to_string().into(), i64::from(address.port()))
    });
    put("server.address", Value::String(Arc::clone(address).into()));
    put("server.port", (*port).into());
    if !version.as_str().is_empty() {
        put("network.protocol.version", version.as_str().into());
    }
    attributes
}

/// The attributes that differ from request to request.
fn texts(
    worker: &Worker,
    request: &ServiceRequest,
    method: Method,
    mut put: impl FnMut(&'static str, &str),
) {
    put("url.path", cut(request.path()));
    if method == Method::Other {
        let original = cut(request.method().as_str());
        put("http.request.method_original", original);
    }
    let settings = &worker.settings;
    if settings.client_address
        && let Some(peer) = request.peer_addr()
    {
        put("client.address", &peer.ip().to_string());
    }
    if settings.user_agent
        && let Some(agent) = request.headers().get(USER_AGENT)
    {
        let agent: Cow<'_, str> = String::from_utf8_lossy(agent.as_bytes());
        put("user_agent.original", cut(&agent));
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
