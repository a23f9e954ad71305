//! A request under way: its span, and its record at the end.

use std::borrow::Cow;
use std::time::Instant;

use bytes::Bytes;
use reqwest::{Body, Request, Response, Url, Version};
use tracing::Span;
use tracing::field::Empty;

use super::body::{End, Watch};
use super::failure::{self, Verdict};
use crate::catalog::ClosedLabel as _;
use crate::recording::Begun;
use crate::signals::http::Method;
use crate::signals::http_client::{HttpClientRequest, HttpClientRequestEnd, HttpClientStatus};

/// Ends as abandoned unless somebody says how it ended.
pub(super) struct Sent {
    span: Span,
    start: Instant,
    active: Option<Begun>,
    method: Method,
    server: Box<str>,
    template: Cow<'static, str>,
    /// Status code of the answer; 0: there is none yet.
    code: u16,
    request_size: Option<f64>,
    /// Of the answer's body, so far.
    received: u64,
    /// Whether the answer has a body that can be counted.
    body: bool,
    first_byte: Option<f64>,
    settled: bool,
}

impl Sent {
    /// `url`: as the span may show it, asked for where there is a span. `resends`: how many times
    /// it was sent before.
    pub(super) fn begin(
        request: &Request,
        url: impl FnOnce() -> String,
        template: Cow<'static, str>,
        resends: u32,
    ) -> Self {
        let name = request.method().as_str();
        let method = Method::from_name(name);
        let server: Box<str> = server(request.url()).into();
        // Semantic conventions v1.41.0, "HTTP spans", "Name".
        let shown = match method {
            Method::Other => "HTTP",
            _ => name,
        };
        let gap = if template.is_empty() { "" } else { " " };
        let span = tracing::info_span!(
            target: "tachograph::signal",
            "http.client.request",
            otel.name = format_args!("{shown}{gap}{template}"),
            otel.kind = "client",
            otel.status_code = Empty,
            "http.request.method" = method.as_str(),
            "http.request.method_original" = (method == Method::Other).then_some(name),
            "http.request.body.size" = Empty,
            "http.request.resend_count" = (resends > 0).then_some(u64::from(resends)),
            "http.response.status_code" = Empty,
            "http.response.body.size" = Empty,
            "network.protocol.version" = Empty,
            "server.address" = &*server,
            "server.port" = request.url().port_or_known_default().map(u64::from),
            "url.full" = url(),
            "url.template" = (!template.is_empty()).then_some(&*template),
            status = Empty,
            "error.type" = Empty,
        );
        let start = HttpClientRequest {
            method,
            server: &server,
            template: &template,
        };
        let active = start.start_handle().map(|handle| handle.begin());
        Self {
            span,
            start: Instant::now(),
            active,
            method,
            server,
            template,
            code: 0,
            request_size: size(request),
            received: 0,
            body: false,
            first_byte: None,
            settled: false,
        }
    }

    pub(super) fn method(&self) -> Method {
        self.method
    }

    pub(super) fn server(&self) -> &str {
        &self.server
    }

    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    /// There is no answer.
    pub(super) fn failed(mut self, error: &reqwest_middleware::Error) {
        self.settle(failure::of_error(error), false);
    }

    /// The head of the answer is there: the rest is told by its body.
    pub(super) fn answered(mut self, response: Response) -> Response {
        self.first_byte = Some(self.start.elapsed().as_secs_f64());
        self.code = response.status().as_u16();
        // RFC 9110, section 6.4.1.
        self.body = self.method != Method::Head && !matches!(self.code, 100..=199 | 204 | 304);
        self.span
            .record("http.response.status_code", u64::from(self.code));
        if let Some(version) = version(response.version()) {
            self.span.record("network.protocol.version", version);
        }
        super::body::watch(response, self)
    }

    /// `complete`: the body was read to its end.
    fn settle(&mut self, verdict: Verdict, complete: bool) {
        self.settled = true;
        self.finish(verdict, complete);
    }

    fn finish(&mut self, (status, error): Verdict, complete: bool) {
        let took = self.start.elapsed();
        let mut digits = itoa::Buffer::new();
        let code = match self.code {
            0 => "",
            code => digits.format(code),
        };
        let error = match status {
            HttpClientStatus::Refused
            | HttpClientStatus::RateLimited
            | HttpClientStatus::ServerError => code,
            _ => error,
        };
        let response_size = (complete && self.body).then_some(self.received as f64);
        {
            // In the span, so that an exemplar points to it.
            let _entered = self.span.enter();
            let request = HttpClientRequest {
                method: self.method,
                server: &self.server,
                template: &self.template,
            };
            let end = HttpClientRequestEnd {
                status,
                code,
                error,
                request_size: self.request_size,
                response_size,
                first_byte: self.first_byte,
            };
            request.record(end, took);
        }
        let size = |size: Option<f64>| size.map(|size| size as u64);
        self.span
            .record("http.request.body.size", size(self.request_size));
        self.span
            .record("http.response.body.size", size(response_size));
        self.span.record("status", status.as_str());
        if !error.is_empty() {
            self.span.record("error.type", error);
            self.span.record("otel.status_code", "ERROR");
        }
        self.active = None;
    }
}

impl Watch for Sent {
    fn chunk(&mut self, chunk: &Bytes) {
        self.received += chunk.len() as u64;
    }

    fn end(mut self, end: End<'_>) {
        let answered = (failure::of_status(self.code), "");
        match end {
            End::Complete => self.settle(answered, true),
            End::Failed(error) => self.settle(failure::of_reqwest(error), false),
            // The caller wanted no more than the head.
            End::Unread => self.settle(answered, false),
            End::Dropped if self.code >= 400 => self.settle(answered, false),
            // Its drop tells.
            End::Dropped => {}
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if !self.settled {
            self.finish((HttpClientStatus::Abandoned, "abandoned"), false);
        }
    }
}

/// Bytes of a request's body, where that is known before it is sent; none where it has no body.
fn size(request: &Request) -> Option<f64> {
    let body: &Body = request.body()?;
    if let Some(bytes) = body.as_bytes() {
        return Some(bytes.len() as f64);
    }
    let declared = request.headers().get(http::header::CONTENT_LENGTH)?;
    declared.to_str().ok()?.parse::<u32>().ok().map(f64::from)
}

/// The host that is asked for, of an address without brackets; empty if there is none.
pub(super) fn server(url: &Url) -> &str {
    let host = url.host_str().unwrap_or_default();
    host.trim_start_matches('[').trim_end_matches(']')
}

/// As the semantic conventions write it.
fn version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        Version::HTTP_3 => Some("3"),
        _ => None,
    }
}
