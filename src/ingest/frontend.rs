//! `POST /api/v1/frontend`: what pages in browsers report.
//!
//! A body is an object with a list of events:
//!
//! ```json
//! {"events": [
//!   {"type": "page_load", "route": "/orders/{id}", "navigation": "navigate", "seconds": 1.2},
//!   {"type": "web_vital", "route": "/orders/{id}", "name": "lcp", "seconds": 1.9},
//!   {"type": "layout_shift", "route": "/orders/{id}", "score": 0.03},
//!   {"type": "api_call", "route": "/api/orders", "method": "GET", "status": 200, "seconds": 0.2},
//!   {"type": "error", "route": "/orders/{id}", "kind": "exception", "name": "TypeError"}
//! ]}
//! ```
//!
//! It may be sent as `text/plain`, which is what `navigator.sendBeacon` does with a text and what
//! needs no preflight, or as `application/json`. A browser has no secret to show: instead, the
//! page's origin must be one of the configured ones, and what one address may send is limited.
//! Anybody can write an `Origin` header, so the figures are claims, not facts. They are counted
//! and not kept.
//!
//! Routes are templates of paths. Parts that look like ids become `{id}`; addresses with a query
//! are refused, so that what people do is not on a label.

mod event;
mod limit;

use std::sync::Arc;
use std::time::Instant;

use actix_web::http::header::{self, HeaderValue};
use actix_web::web::{self, BytesMut, Data, Payload};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, HttpResponseBuilder};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};

use self::limit::Limiter;
use crate::pipeline::config::list;
use crate::signals::frontend::{FrontendRefused, RefusalReason};

/// What browsers may send. Without origins nobody may, and there is no route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(schemars::JsonSchema)]
pub struct FrontendConfig {
    /// Origins whose pages may send, such as `https://app.example.com`.
    #[serde(deserialize_with = "list::deserialize")]
    pub origins: Vec<String>,
    /// Bytes of one body at most.
    pub body_bytes: usize,
    /// Events of one body at most.
    pub events: usize,
    /// Requests of one address (IPv6: of one /64) a minute at most. Behind a proxy all requests
    /// come from the proxy's.
    pub requests_per_minute: u32,
    /// Requests of all addresses a second at most.
    pub requests_per_second: u32,
}

impl Default for FrontendConfig {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            body_bytes: 16 * 1024,
            events: 100,
            requests_per_minute: 120,
            requests_per_second: 200,
        }
    }
}

impl FrontendConfig {
    /// What is not accepted: the field, and why.
    #[must_use]
    pub fn check(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        for origin in &self.origins {
            // RFC 6454, section 6.2.
            let whole = url::Url::parse(origin)
                .ok()
                .filter(|url| matches!(url.scheme(), "http" | "https"))
                .is_some_and(|url| url.origin().ascii_serialization() == *origin);
            if !whole {
                problems.push((
                    "origins",
                    format!(
                        "`{origin}` is not an origin; accepted: `https://app.example.com`, with a \
                         port where it is not the usual one, and nothing after it"
                    ),
                ));
            }
        }
        for (field, value, to) in [
            ("body_bytes", self.body_bytes, 1024 * 1024),
            ("events", self.events, 10_000),
            (
                "requests_per_minute",
                self.requests_per_minute as usize,
                1_000_000,
            ),
            (
                "requests_per_second",
                self.requests_per_second as usize,
                1_000_000,
            ),
        ] {
            if !(1..=to).contains(&value) {
                let problem = format!("`{value}` is not accepted; accepted: 1 to {to}");
                problems.push((field, problem));
            }
        }
        problems
    }
}

/// The way in for browsers; clones share its limits.
#[derive(Clone, Debug)]
pub struct FrontendApi(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: FrontendConfig,
    limiter: Limiter,
}

/// What became of a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// Events that were counted.
    pub accepted: usize,
    /// Those that were not.
    pub rejected: Vec<Rejected>,
}

/// An event that was not counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// Its position in the body, from 0.
    pub index: usize,
    /// The field that is wrong.
    pub field: String,
    /// What is wrong, and what is accepted.
    pub reason: String,
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Origin,
    TooMany,
    Type,
    TooLarge,
    Broken,
    Malformed,
}

impl FrontendApi {
    /// Takes events from pages of the configured origins.
    #[must_use]
    pub fn new(config: FrontendConfig) -> Self {
        let limiter = Limiter::new(config.requests_per_minute, config.requests_per_second);
        Self(Arc::new(Inner { config, limiter }))
    }

    /// Counts the events of a body; `None` if it is no list of events, or of too many.
    #[must_use]
    pub fn take(&self, body: &[u8]) -> Option<Taken> {
        let events = event::split(body, self.0.config.events)?;
        let mut taken = Taken {
            accepted: 0,
            rejected: Vec::new(),
        };
        for (index, event) in events.iter().enumerate() {
            match event::record(event) {
                Ok(()) => taken.accepted += 1,
                Err(event::Fault { field, reason }) => taken.rejected.push(Rejected {
                    index,
                    field: field.to_owned(),
                    reason,
                }),
            }
        }
        if !taken.rejected.is_empty() {
            let reason = RefusalReason::Invalid;
            FrontendRefused { reason }.add(taken.rejected.len() as u64);
        }
        Some(taken)
    }

    /// The origin of a request, if its pages may send.
    fn origin(&self, request: &HttpRequest) -> Result<HeaderValue, Refused> {
        let mut given = request.headers().get_all(header::ORIGIN);
        match (given.next(), given.next()) {
            (Some(origin), None) if self.0.config.origins.iter().any(|o| origin == o.as_str()) => {
                Ok(origin.clone())
            }
            _ => Err(Refused::Origin),
        }
    }
}

/// Mounts `POST /api/v1/frontend` and its preflight.
pub fn configure(service: &mut web::ServiceConfig, api: FrontendApi) {
    service.service(
        web::resource("/api/v1/frontend")
            .app_data(Data::new(api))
            .route(web::post().to(post))
            .route(web::method(actix_web::http::Method::OPTIONS).to(preflight))
            .default_service(web::route().to(|| async {
                let mut response = HttpResponse::MethodNotAllowed();
                response.insert_header((header::ALLOW, "POST, OPTIONS"));
                problem(&mut response, "accepted is POST")
            })),
    );
}

async fn preflight(request: HttpRequest, api: Data<FrontendApi>) -> HttpResponse {
    match api.origin(&request) {
        Ok(origin) => {
            let mut response = HttpResponse::NoContent();
            allow(&mut response, &origin);
            response
                .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "POST"))
                .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type"))
                .insert_header((header::ACCESS_CONTROL_MAX_AGE, "86400"))
                .finish()
        }
        Err(refused) => answer(refused, None, &api.0.config),
    }
}

async fn post(request: HttpRequest, payload: Payload, api: Data<FrontendApi>) -> HttpResponse {
    let config = &api.0.config;
    let origin = match api.origin(&request) {
        Ok(origin) => origin,
        Err(refused) => return answer(refused, None, config),
    };
    let peer = request.peer_addr().map(|address| address.ip());
    let taken = if !api.0.limiter.allows(Instant::now(), peer) {
        Err(Refused::TooMany)
    } else if !matches!(
        &*request.content_type().to_ascii_lowercase(),
        "text/plain" | "application/json"
    ) {
        Err(Refused::Type)
    } else {
        match body(payload, config.body_bytes).await {
            Ok(body) => api.take(&body).ok_or(Refused::Malformed),
            Err(refused) => Err(refused),
        }
    };
    match taken {
        Ok(taken) => {
            let mut response = HttpResponse::Ok();
            allow(&mut response, &origin);
            response.json(taken)
        }
        Err(refused) => answer(refused, Some(&origin), config),
    }
}

async fn body(mut payload: Payload, limit: usize) -> Result<BytesMut, Refused> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Refused::Broken)?;
        if body.len() + chunk.len() > limit {
            return Err(Refused::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Lets the page read the answer. A beacon is sent with credentials, which the browser wants to
/// be allowed; nothing is made of them.
fn allow(response: &mut HttpResponseBuilder, origin: &HeaderValue) {
    response
        .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()))
        .insert_header((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"))
        .insert_header((header::VARY, "Origin"));
}

fn answer(refused: Refused, origin: Option<&HeaderValue>, config: &FrontendConfig) -> HttpResponse {
    let (reason, mut response, message) = match refused {
        Refused::Origin => (
            RefusalReason::Origin,
            HttpResponse::Forbidden(),
            "the page's origin may not send; accepted are those under `frontend.origins`"
                .to_owned(),
        ),
        Refused::TooMany => {
            let mut response = HttpResponse::TooManyRequests();
            response.insert_header((header::RETRY_AFTER, "60"));
            let message = "too many requests; send the events of a page in one".to_owned();
            (RefusalReason::RateLimited, response, message)
        }
        Refused::Type => (
            RefusalReason::Invalid,
            HttpResponse::UnsupportedMediaType(),
            "accepted are text/plain and application/json".to_owned(),
        ),
        Refused::TooLarge => (
            RefusalReason::TooLarge,
            HttpResponse::PayloadTooLarge(),
            format!("the body is longer than {} bytes", config.body_bytes),
        ),
        Refused::Broken => (
            RefusalReason::Invalid,
            HttpResponse::BadRequest(),
            "the body did not arrive whole".to_owned(),
        ),
        Refused::Malformed => (
            RefusalReason::Invalid,
            HttpResponse::BadRequest(),
            format!(
                "accepted is {{\"events\": […]}} with up to {} events",
                config.events
            ),
        ),
    };
    FrontendRefused { reason }.add(1);
    if let Some(origin) = origin {
        allow(&mut response, origin);
    }
    problem(&mut response, &message)
}

/// An error in the form that every route of the service answers with.
fn problem(response: &mut HttpResponseBuilder, message: &str) -> HttpResponse {
    let mut answer = response.finish();
    let status = answer.status();
    let reason = status.canonical_reason().unwrap_or("error");
    let error = serde_json::json!({"error": {
        "status": status.as_u16(),
        "code": reason.to_ascii_lowercase().replace([' ', '-'], "_"),
        "message": message,
    }});
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer.set_body(actix_web::body::BoxBody::new(error.to_string()))
}
