//! The record of one request: made when its head has been read, moved from the handler's
//! future into the response's body, and written when that is dropped. However a request
//! ends, it ends there.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use actix_web::body::BodySize;
use actix_web::dev::ServiceRequest;
use actix_web::http::{StatusCode, Uri, Version};
use actix_web::{HttpMessage as _, HttpRequest};
use opentelemetry::ContextGuard;

use super::auth_info::AuthInfo;
use super::middleware::Worker;
use super::payload::{Received, RequestSize};
use super::route::{Outcome, Route};
use super::trace::{Ended, RequestTrace};
use crate::catalog::{CLIENT_DISCONNECT, ClosedLabel as _};
use crate::recording::exemplar::{self, SampledSpan};
use crate::recording::{Begun, Handle};
use crate::signals::http::{
    AuthType, HttpServerRequest, HttpServerRequestEnd, Method, ProtocolVersion, Scheme,
};

/// Why a request had no proper end; the value of `error.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The handler or the response's body panicked.
    Panic,
    /// Dropped before the end: the client went away, or whatever waits for the answer,
    /// such as a timeout around the middleware, gave up.
    ClientDisconnect,
    /// The response's body ended with an error.
    ResponseBody,
}

impl Failure {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::ClientDisconnect => CLIENT_DISCONNECT,
            Self::ResponseBody => "response_body",
        }
    }
}

/// How far a request has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The handler has not answered.
    Handling,
    /// So many bytes of the body are still expected, if that is known.
    Sending(Option<u64>),
    /// All was sent.
    Done,
}

pub(super) struct Record {
    worker: Rc<Worker>,
    start: Instant,
    _active: Option<Begun>,
    method: Method,
    scheme: Scheme,
    version: ProtocolVersion,
    auth: AuthType,
    /// Whether our code is inside the handler's or the body's.
    running: bool,
    phase: Phase,
    failure: Option<Failure>,
    /// 0: none was sent.
    status: u16,
    /// Whether the answer has a body.
    body: bool,
    sent: u64,
    received: RequestSize,
    route: Option<Rc<Route>>,
    /// Where it went, in case that it is never answered: if its route was not known when it came,
    /// or its path is logged.
    uri: Option<Uri>,
    /// For the access log.
    path: Option<Box<str>>,
    user: Option<Box<str>>,
    trace: Option<RequestTrace>,
}

impl Record {
    /// On the heap, as it is moved often: with futures, responses and bodies.
    #[inline]
    pub(super) fn begin(worker: &Rc<Worker>, request: &mut ServiceRequest) -> Box<Self> {
        let start = Instant::now();
        worker.routes.learn(request);
        let method = Method::from_name(request.method().as_str());
        let version = match request.version() {
            Version::HTTP_11 => ProtocolVersion::V11,
            Version::HTTP_2 => ProtocolVersion::V2,
            Version::HTTP_10 => ProtocolVersion::V10,
            Version::HTTP_3 => ProtocolVersion::V3,
            _ => ProtocolVersion::Unknown,
        };
        let scheme = if request.app_config().secure() {
            Scheme::Https
        } else {
            Scheme::Http
        };
        let trace = worker.settings.tracing.as_ref();
        let route = worker.routes.known(request.path());
        let needs_path = route.is_none() || worker.settings.access_log;
        Box::new(Self {
            worker: Rc::clone(worker),
            start,
            _active: worker
                .active(method, scheme, version)
                .map(|handle| handle.begin()),
            method,
            scheme,
            version,
            auth: AuthType::Unknown,
            running: false,
            phase: Phase::Handling,
            failure: None,
            status: 0,
            body: false,
            sent: 0,
            received: RequestSize::watch(request),
            route,
            uri: needs_path.then(|| request.uri().clone()),
            path: None,
            user: None,
            trace: trace.map(|tracing| {
                RequestTrace::begin(tracing, worker, request, (method, scheme, version))
            }),
        })
    }

    /// Puts the request's context in force; to be called around everything of the
    /// application that is run for it, and left with [`leave`](Self::leave).
    #[inline]
    pub(super) fn enter(&mut self) -> Scope {
        self.running = true;
        let Some(trace) = &self.trace else {
            return Scope {
                _context: None,
                before: None,
            };
        };
        Scope {
            _context: Some(trace.context().clone().attach()),
            before: trace
                .sampled()
                .map(|span| exemplar::set_current(Some(span))),
        }
    }

    /// The application's code has returned; after a panic it has not.
    #[inline]
    pub(super) fn leave(&mut self, scope: Scope) {
        self.running = false;
        drop(scope);
    }

    /// The handler has answered.
    #[inline]
    pub(super) fn answered(&mut self, request: &HttpRequest, status: StatusCode, size: BodySize) {
        self.status = status.as_u16();
        if self.route.is_none() || !request.match_info().is_empty() {
            self.route = Some(self.worker.routes.of(request));
        }
        if self.worker.settings.access_log {
            self.path = Some(request.path().into());
        }
        if let Some(auth) = request.extensions().get::<AuthInfo>() {
            self.auth = auth.kind();
            if self.worker.settings.access_log || self.sampled().is_some() {
                self.user = auth.user().map(Into::into);
            }
        }
        let bodiless = self.method == Method::Head || status == StatusCode::SWITCHING_PROTOCOLS;
        self.body = !bodiless && size != BodySize::None;
        self.phase = match size {
            _ if bodiless => Phase::Done,
            BodySize::None | BodySize::Sized(0) => Phase::Done,
            BodySize::Sized(bytes) => Phase::Sending(Some(bytes)),
            BodySize::Stream => Phase::Sending(None),
        };
    }

    /// Something between the middleware and the handler has failed with an error, which
    /// actix-web will answer with this status.
    #[cold]
    pub(super) fn failed(&mut self, status: StatusCode) {
        self.status = status.as_u16();
        self.phase = Phase::Done;
    }

    /// The request is gone without an answer of its handler: all that is known of it is where
    /// it went.
    #[inline]
    pub(super) fn unanswered(&mut self) {
        if let Some(uri) = self.uri.take() {
            self.went_to(&uri);
        }
    }

    #[cold]
    fn went_to(&mut self, uri: &Uri) {
        if self.route.is_none() {
            self.route = Some(self.worker.routes.of_path(uri.path()));
        }
        if self.worker.settings.access_log {
            self.path = Some(uri.path().into());
        }
    }

    /// A piece of the body was handed on.
    #[inline]
    pub(super) fn sent(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.sent += bytes;
        if let Phase::Sending(Some(left)) = self.phase {
            let left = left.saturating_sub(bytes);
            self.phase = if left == 0 {
                Phase::Done
            } else {
                Phase::Sending(Some(left))
            };
        }
    }

    /// The body has ended.
    #[inline]
    pub(super) fn done(&mut self) {
        self.phase = Phase::Done;
    }

    /// The body has ended with an error.
    #[cold]
    pub(super) fn broken(&mut self) {
        self.failure = Some(Failure::ResponseBody);
    }

    fn sampled(&self) -> Option<SampledSpan> {
        self.trace.as_ref().and_then(RequestTrace::sampled)
    }

    fn failure(&self) -> Option<Failure> {
        if self.failure.is_some() {
            self.failure
        } else if self.running {
            Some(Failure::Panic)
        } else if self.phase != Phase::Done {
            Some(Failure::ClientDisconnect)
        } else {
            None
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let elapsed = self.start.elapsed();
        let failure = self.failure();
        let route = self.route.take().unwrap_or_else(|| {
            // Unless a panic came between, a record has its route by now.
            self.worker.routes.of_path("")
        });
        let outcome = Outcome {
            method: self.method,
            scheme: self.scheme,
            version: self.version,
            auth: self.auth,
            status: self.status,
            error: failure,
        };
        let request_size = match self.received.end() {
            Received::All(bytes) => Some(bytes as f64),
            Received::Declared(bytes) if failure.is_none() => Some(bytes as f64),
            Received::Declared(_) | Received::Unknown | Received::NoBody => None,
        };
        let response_size = (self.body && failure.is_none()).then_some(self.sent as f64);
        if let Some(handle) = route.handle(outcome, |route| handle(outcome, route)) {
            let mut values = [None; 2];
            values[REQUEST_SIZE] = request_size;
            values[RESPONSE_SIZE] = response_size;
            handle.record_in(elapsed, &values, self.sampled());
        }
        let access_log = self.worker.settings.access_log;
        if self.sampled().is_none() && !access_log {
            return;
        }
        let user = self.user.take();
        let ended = Ended {
            outcome,
            route: &route,
            user: user.map(|user| self.worker.settings.user_key.hash(&user)),
        };
        if access_log {
            let scope = self.enter();
            let path = self.path.take().unwrap_or_default();
            super::trace::log(&ended, &path, elapsed, request_size, response_size);
            drop(scope);
        }
        if let Some(trace) = &self.trace {
            trace.end(ended, elapsed);
        }
    }
}

const REQUEST_SIZE: usize = 0;
const RESPONSE_SIZE: usize = 1;
const _: () = {
    use crate::catalog::check::same;
    let values = HttpServerRequest::SIGNAL.values;
    assert!(same(values[REQUEST_SIZE].key, "http.request.body.size"));
    assert!(same(values[RESPONSE_SIZE].key, "http.response.body.size"));
};

/// `error.type`: the failure, or else a status from 500 on.
pub(super) fn error_type(status: u16, failure: Option<Failure>) -> Option<Cow<'static, str>> {
    match failure {
        Some(failure) => Some(failure.as_str().into()),
        None if status >= 500 => Some(status.to_string().into()),
        None => None,
    }
}

#[cold]
fn handle(outcome: Outcome, route: &str) -> Option<Handle> {
    let status = match outcome.status {
        0 => String::new(),
        status => status.to_string(),
    };
    let start = HttpServerRequest {
        method: outcome.method,
        scheme: outcome.scheme,
        version: outcome.version,
    };
    start.handle(&HttpServerRequestEnd {
        route,
        status: &status,
        error: &error_type(outcome.status, outcome.error).unwrap_or_default(),
        auth: outcome.auth,
        request_size: None,
        response_size: None,
    })
}

/// The request's context in force on this thread.
pub(super) struct Scope {
    _context: Option<ContextGuard>,
    /// The span of exemplars before, if it was replaced.
    before: Option<Option<SampledSpan>>,
}

impl Drop for Scope {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            exemplar::set_current(before);
        }
    }
}

/// The in-flight handles of one worker, by method.
#[derive(Default)]
pub(super) struct ActiveHandles([[Cell<Option<Handle>>; Scheme::VALUES.len()]; METHODS]);

const METHODS: usize = Method::VALUES.len();

impl ActiveHandles {
    #[inline]
    pub(super) fn get(
        &self,
        method: Method,
        scheme: Scheme,
        version: ProtocolVersion,
    ) -> Option<Handle> {
        let slot = &self.0[method as usize][scheme as usize];
        if let Some(handle) = slot.get() {
            return Some(handle);
        }
        // The version is no label of the gauge.
        let handle = HttpServerRequest {
            method,
            scheme,
            version,
        }
        .start_handle();
        slot.set(handle);
        handle
    }
}
