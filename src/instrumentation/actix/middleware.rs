//! The middleware itself: one future of our own around the service's, and one body around
//! the response's.

use std::cell::OnceCell;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actix_web::Error;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::http::StatusCode;
use bytes::Bytes;
use pin_project_lite::pin_project;

use super::auth_info::UserKey;
use super::record::{ActiveHandles, Record};
use super::route::Routes;
#[cfg(feature = "otlp")]
use super::trace::Templates;
use super::trace::Tracing;
#[cfg(feature = "otlp")]
use crate::pipeline::export::direct::DirectSpans;
use crate::recording::Handle;
use crate::signals::http::{Method, ProtocolVersion, Scheme};

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) enabled: bool,
    pub(super) tracing: Option<Tracing>,
    /// Where sampled spans go past the tracer.
    #[cfg(feature = "otlp")]
    pub(super) spans: Option<DirectSpans>,
    pub(super) client_address: bool,
    pub(super) user_agent: bool,
    pub(super) access_log: bool,
    pub(super) user_key: UserKey,
}

/// Records what an actix-web application serves: the metrics of the signal
/// `http.server.request`, the trace context of each request and, where its trace is sampled,
/// a server span.
///
/// A request lasts from its head to the last byte of the answer's body, streams included; one
/// that is answered with another protocol (101), such as a WebSocket, to that answer. One
/// whose client goes away, whose handler panics or whose body fails is recorded like any
/// other, with an `error.type`; panics are passed on. Put it outermost, so that it sees what
/// the other middlewares answer:
///
/// ```
/// use actix_web::{App, web};
/// use tachograph::instrumentation::actix::Middleware;
///
/// let middleware = Middleware::new(None);
/// let app = App::new()
///     .route("/users/{id}", web::get().to(|| async { "a user" }))
///     .wrap(middleware);
/// ```
///
/// Neither query strings nor header values are recorded unless asked for.
#[derive(Clone, Debug)]
pub struct Middleware(Arc<Settings>);

impl Middleware {
    /// Metrics, and with `tracing` context and spans too.
    #[must_use]
    pub fn new(tracing: Option<Tracing>) -> Self {
        Self(Arc::new(Settings {
            enabled: true,
            tracing,
            #[cfg(feature = "otlp")]
            spans: None,
            client_address: false,
            user_agent: false,
            access_log: false,
            user_key: UserKey::of_process(),
        }))
    }

    #[cfg(feature = "otlp")]
    pub(super) fn direct_spans(mut self, spans: Option<DirectSpans>) -> Self {
        Arc::make_mut(&mut self.0).spans = spans;
        self
    }

    /// Does nothing.
    #[must_use]
    pub fn disabled() -> Self {
        let mut middleware = Self::new(None);
        Arc::make_mut(&mut middleware.0).enabled = false;
        middleware
    }

    /// Puts the peer's address on spans, as `client.address`. Off unless asked for.
    #[must_use]
    pub fn client_address(mut self, on: bool) -> Self {
        Arc::make_mut(&mut self.0).client_address = on;
        self
    }

    /// Puts the `User-Agent` header on spans, as `user_agent.original`. Off unless asked for.
    #[must_use]
    pub fn user_agent(mut self, on: bool) -> Self {
        Arc::make_mut(&mut self.0).user_agent = on;
        self
    }

    /// Writes an event of target `tachograph::access` and level INFO for each request. Off
    /// unless asked for.
    #[must_use]
    pub fn access_log(mut self, on: bool) -> Self {
        Arc::make_mut(&mut self.0).access_log = on;
        self
    }

    /// The key of `user.hash`; a random one for the whole process unless set.
    #[must_use]
    pub fn user_key(mut self, key: UserKey) -> Self {
        Arc::make_mut(&mut self.0).user_key = key;
        self
    }
}

/// What one worker keeps.
pub(super) struct Worker {
    pub(super) settings: Arc<Settings>,
    pub(super) routes: Routes,
    /// Address and port that the server listens on, as spans name them.
    pub(super) server: OnceCell<(Arc<str>, i64)>,
    active: ActiveHandles,
    #[cfg(feature = "otlp")]
    pub(super) templates: Templates,
}

impl Worker {
    #[inline]
    pub(super) fn active(
        &self,
        method: Method,
        scheme: Scheme,
        version: ProtocolVersion,
    ) -> Option<Handle> {
        self.active.get(method, scheme, version)
    }
}

impl<S, B> Transform<S, ServiceRequest> for Middleware
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    type Response = ServiceResponse<RecordedBody<B>>;
    type Error = Error;
    type Transform = MiddlewareService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(MiddlewareService {
            service,
            worker: Rc::new(Worker {
                settings: Arc::clone(&self.0),
                routes: Routes::default(),
                server: OnceCell::new(),
                active: ActiveHandles::default(),
                #[cfg(feature = "otlp")]
                templates: Templates::default(),
            }),
        }))
    }
}

/// [`Middleware`] in place before a service.
pub struct MiddlewareService<S> {
    service: S,
    worker: Rc<Worker>,
}

impl<S, B> Service<ServiceRequest> for MiddlewareService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    type Response = ServiceResponse<RecordedBody<B>>;
    type Error = Error;
    type Future = RecordedFuture<S::Future>;

    forward_ready!(service);

    #[inline]
    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        if !self.worker.settings.enabled {
            return RecordedFuture {
                future: self.service.call(request),
                handling: Handling(None),
            };
        }
        let mut handling = Handling(None);
        let record = Record::begin(&self.worker, &mut request);
        let record = handling.0.insert(record);
        let scope = record.enter();
        let future = self.service.call(request);
        record.leave(scope);
        RecordedFuture { future, handling }
    }
}

/// A request that is being handled.
struct Handling(Option<Box<Record>>);

impl Drop for Handling {
    #[inline]
    fn drop(&mut self) {
        if let Some(record) = &mut self.0 {
            record.unanswered();
        }
    }
}

pin_project! {
    /// The future of a recorded request.
    pub struct RecordedFuture<F> {
        #[pin]
        future: F,
        // After the future: what that drops still belongs to the request.
        handling: Handling,
    }
}

impl<F, B> Future for RecordedFuture<F>
where
    F: Future<Output = Result<ServiceResponse<B>, Error>>,
    B: MessageBody,
{
    type Output = Result<ServiceResponse<RecordedBody<B>>, Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(record) = &mut this.handling.0 else {
            let response = ready!(this.future.poll(cx));
            return Poll::Ready(response.map(|response| {
                response.map_body(|_, body| RecordedBody {
                    body: Body::Other { body },
                    record: None,
                })
            }));
        };
        let scope = record.enter();
        let polled = this.future.poll(cx);
        record.leave(scope);
        match ready!(polled) {
            Ok(response) => {
                let size = response.response().body().size();
                record.answered(response.request(), response.status(), size);
                // What follows on another protocol, for however long, is not of the request.
                let http = response.status() != StatusCode::SWITCHING_PROTOCOLS;
                let record = this.handling.0.take().filter(|_| http);
                let whole = matches!(size, BodySize::Sized(_));
                Poll::Ready(Ok(response.map_body(|_, body| RecordedBody {
                    body: Body::new(body, whole),
                    record,
                })))
            }
            Err(error) => {
                record.failed(error.as_response_error().status_code());
                drop(std::mem::replace(this.handling, Handling(None)));
                Poll::Ready(Err(error))
            }
        }
    }
}

pin_project! {
    /// A body: one that is in memory as a whole runs nothing of the application's when it is
    /// read.
    #[project = BodyProjection]
    enum Body<B> {
        Whole { bytes: Bytes },
        Other { #[pin] body: B },
    }
}

impl<B: MessageBody> Body<B> {
    #[inline]
    fn new(body: B, whole: bool) -> Self {
        if !whole {
            return Self::Other { body };
        }
        match body.try_into_bytes() {
            Ok(bytes) => Self::Whole { bytes },
            Err(body) => Self::Other { body },
        }
    }
}

pin_project! {
    /// The body of a recorded response; the request is over when it is dropped.
    pub struct RecordedBody<B> {
        #[pin]
        body: Body<B>,
        record: Option<Box<Record>>,
    }
}

impl<B: MessageBody> MessageBody for RecordedBody<B> {
    type Error = B::Error;

    #[inline]
    fn size(&self) -> BodySize {
        match &self.body {
            Body::Whole { bytes } => BodySize::Sized(bytes.len() as u64),
            Body::Other { body } => body.size(),
        }
    }

    #[inline]
    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.project();
        let body = match this.body.project() {
            BodyProjection::Whole { bytes } => {
                let bytes = std::mem::take(bytes);
                if let Some(record) = this.record {
                    record.sent(bytes.len());
                }
                return Poll::Ready((!bytes.is_empty()).then_some(Ok(bytes)));
            }
            BodyProjection::Other { body } => body,
        };
        let Some(record) = this.record else {
            return body.poll_next(cx);
        };
        let scope = record.enter();
        let polled = body.poll_next(cx);
        record.leave(scope);
        match &polled {
            Poll::Ready(Some(Ok(bytes))) => record.sent(bytes.len()),
            Poll::Ready(Some(Err(_))) => record.broken(),
            Poll::Ready(None) => record.done(),
            Poll::Pending => {}
        }
        polled
    }

    #[inline]
    fn try_into_bytes(self) -> Result<Bytes, Self> {
        let Self { body, mut record } = self;
        let bytes = match body {
            Body::Whole { bytes } => Ok(bytes),
            Body::Other { body } => body.try_into_bytes(),
        };
        match bytes {
            Ok(bytes) => {
                if let Some(record) = &mut record {
                    record.sent(bytes.len());
                    record.done();
                }
                Ok(bytes)
            }
            Err(body) => Err(Self {
                body: Body::Other { body },
                record,
            }),
        }
    }
}
