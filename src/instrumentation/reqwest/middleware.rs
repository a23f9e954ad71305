//! The middleware and how it is made.

use std::borrow::Cow;

use async_trait::async_trait;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::Injector;
use reqwest::redirect::Policy;
use reqwest::{Request, Response, Url};
use reqwest_middleware::{Middleware, Next, Result};
use tracing::Instrument as _;

use super::hosts::Hosts;
use super::request::Sent;
use crate::pipeline::propagation;
use crate::signals::http_client::HttpClientResend;

/// Options of a middleware that are not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("http client: `{field}`: {problem}")]
pub struct OptionsError {
    /// What was given.
    pub field: &'static str,
    /// What is not accepted, and what would be.
    pub problem: String,
}

/// What stands for the path of a request on metrics and in the name of its span (`url.template`),
/// given to it with [`with_extension`](reqwest_middleware::RequestBuilder::with_extension).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlTemplate(pub(super) Cow<'static, str>);

impl UrlTemplate {
    /// A template such as `/users/{id}`. It must hold nothing that differs from request to
    /// request.
    pub fn new(template: impl Into<Cow<'static, str>>) -> Self {
        Self(template.into())
    }
}

/// Redirections that are followed, as many as reqwest follows by itself.
const REDIRECTS: usize = 10;

/// How a [`ClientTelemetry`] is to be.
#[derive(Clone, Debug, Default)]
#[must_use = "`build` makes the middleware"]
pub struct ClientTelemetryBuilder {
    trace: Vec<String>,
    hide: Vec<String>,
}

impl ClientTelemetryBuilder {
    /// Hosts that `traceparent`, `tracestate` and `baggage` are sent to, on whatever port: names,
    /// addresses, and `*.example.com` for every name below `example.com`. None unless given.
    pub fn trace_hosts<P: Into<String>>(mut self, patterns: impl IntoIterator<Item = P>) -> Self {
        self.trace.extend(patterns.into_iter().map(Into::into));
        self
    }

    /// Hosts whose paths are not shown on spans, as they hold secrets: webhooks, for instance.
    /// Patterns as in [`trace_hosts`](Self::trace_hosts).
    pub fn hide_paths_of<P: Into<String>>(mut self, patterns: impl IntoIterator<Item = P>) -> Self {
        self.hide.extend(patterns.into_iter().map(Into::into));
        self
    }

    /// The middleware.
    ///
    /// # Errors
    /// A pattern that is not accepted.
    pub fn build(self) -> std::result::Result<ClientTelemetry, OptionsError> {
        Ok(ClientTelemetry {
            trace: hosts("trace_hosts", &self.trace)?,
            hide: hosts("hide_paths_of", &self.hide)?,
        })
    }
}

fn hosts(field: &'static str, patterns: &[String]) -> std::result::Result<Hosts, OptionsError> {
    let mut hosts = Hosts::default();
    for pattern in patterns {
        let added = hosts.add(pattern);
        added.map_err(|problem| OptionsError { field, problem })?;
    }
    Ok(hosts)
}

/// Records the requests of a client; see the [module](super).
#[derive(Clone, Debug, Default)]
pub struct ClientTelemetry {
    trace: Hosts,
    hide: Hosts,
}

impl ClientTelemetry {
    /// A middleware with options; the default one sends no trace context.
    pub fn builder() -> ClientTelemetryBuilder {
        ClientTelemetryBuilder::default()
    }

    /// What is to be done about redirections, for
    /// [`ClientBuilder::redirect`](reqwest::ClientBuilder::redirect), so that trace context goes
    /// to no other hosts that way: ten are followed, and one that leads from
    /// [`trace_hosts`](ClientTelemetryBuilder::trace_hosts) elsewhere is the answer itself.
    #[must_use]
    pub fn redirects(&self) -> Policy {
        let trace = self.trace.clone();
        Policy::custom(move |attempt| {
            let leaves = attempt
                .previous()
                .first()
                .is_some_and(|url| trace.have(url))
                && !trace.have(attempt.url());
            if leaves {
                attempt.stop()
            } else if attempt.previous().len() > REDIRECTS {
                attempt.error("too many redirections")
            } else {
                attempt.follow()
            }
        })
    }

    /// A URL as spans may show it.
    fn shown(&self, url: &Url) -> String {
        let mut shown = url.clone();
        shown.set_query(None);
        shown.set_fragment(None);
        // Only URLs without a host refuse these, and they have neither.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        if self.hide.have(url) {
            shown.set_path("");
        }
        shown.into()
    }
}

/// How many times a request has passed; in the extensions, which resends share.
#[derive(Clone, Copy)]
struct Passed(u32);

/// Counts one more pass; says how many there were.
fn pass(extensions: &mut Extensions) -> u32 {
    let before = extensions.get::<Passed>().map_or(0, |passed| passed.0);
    extensions.insert(Passed(before.saturating_add(1)));
    before
}

#[async_trait]
impl Middleware for ClientTelemetry {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        let template = extensions.get::<UrlTemplate>();
        let template = template.map_or(Cow::Borrowed(""), |template| template.0.clone());
        let resends = pass(extensions);
        let sent = Sent::begin(&request, || self.shown(request.url()), template, resends);
        if resends > 0 {
            let (method, server) = (sent.method(), sent.server());
            HttpClientResend { method, server }.add(1);
        }
        if self.trace.have(request.url()) {
            let mut headers = Headers(request.headers_mut());
            sent.span()
                .in_scope(|| propagation::inject_current(&mut headers));
        }
        let span = sent.span().clone();
        match next.run(request, extensions).instrument(span).await {
            Ok(response) => Ok(sent.answered(response)),
            Err(error) => {
                sent.failed(&error);
                Err(error)
            }
        }
    }
}

struct Headers<'h>(&'h mut HeaderMap);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_patterns_are_errors_that_name_the_option() {
        let error = ClientTelemetry::builder()
            .trace_hosts(["api.example.com", "https://api.example.com"])
            .build()
            .unwrap_err();
        assert_eq!(error.field, "trace_hosts");
        let hidden = ClientTelemetry::builder().hide_paths_of(["*"]).build();
        let said = hidden.unwrap_err().to_string();
        assert!(
            said.starts_with("http client: `hide_paths_of`: `*` is"),
            "{said}"
        );
    }

    #[test]
    fn what_is_secret_in_a_url_is_not_shown() {
        let telemetry = ClientTelemetry::builder()
            .hide_paths_of(["hooks.example.com"])
            .build()
            .unwrap();
        let shown = |url: &str| telemetry.shown(&Url::parse(url).unwrap());
        assert_eq!(
            shown("https://ada:hunter2@api.example.com:8443/a/b?key=hunter2#hunter2"),
            "https://api.example.com:8443/a/b"
        );
        assert_eq!(
            shown("https://hooks.example.com/T0/hunter2"),
            "https://hooks.example.com/"
        );
        assert_eq!(shown("mailto:ada?a=b"), "mailto:ada");
    }

    #[test]
    fn passes_are_counted_for_each_request() {
        let mut extensions = Extensions::new();
        assert_eq!([0; 3].map(|_| pass(&mut extensions)), [0, 1, 2]);
        assert_eq!(pass(&mut Extensions::new()), 0);
    }
}
