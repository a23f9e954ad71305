//! Errors as JSON: `{"error": {"status": 404, "code": "not_found", "message": "…"}}`.

use std::fmt;
use std::time::Duration;

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse, ResponseError, web};

/// Headers of every answer: it is data for programs, never a page.
pub(super) const HEADERS: [(&str, &str); 4] = [
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    (
        "Content-Security-Policy",
        "default-src 'none'; frame-ancestors 'none'",
    ),
];

/// An answer that is an error.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        // An error passes the middleware by that adds them to answers.
        for header in HEADERS {
            response.insert_header(header);
        }
        response.json(body(self.status, &self.message))
    }
}

fn body(status: StatusCode, message: &str) -> serde_json::Value {
    let code = status.canonical_reason().unwrap_or("error");
    let code = code.to_ascii_lowercase().replace([' ', '-'], "_");
    serde_json::json!({
        "error": {"status": status.as_u16(), "code": code, "message": message}
    })
}

fn message(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "there is nothing here; `/` lists what there is",
        StatusCode::METHOD_NOT_ALLOWED => "this method is not accepted here",
        StatusCode::PAYLOAD_TOO_LARGE => "the body is too large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "this content type or encoding is not accepted",
        StatusCode::BAD_REQUEST => "the request is malformed",
        StatusCode::INTERNAL_SERVER_ERROR => "something went wrong; the log says what",
        _ => status.canonical_reason().unwrap_or("error"),
    }
}

/// How long a request may take from its head to its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestTimeout(pub(super) Duration);

/// Ends requests that take too long, among them bodies that trickle in, and turns every
/// error that is not JSON yet into JSON.
pub(super) async fn json_errors<B: MessageBody + 'static>(
    timeout: web::ThinData<RequestTimeout>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, BoxBody>>, Error> {
    let limit = timeout.0.0;
    let response = match tokio::time::timeout(limit, next.call(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            let status = error.as_response_error().status_code();
            let shown = match status.is_server_error() {
                true => message(status).to_owned(),
                false => error.to_string(),
            };
            return Err(ApiError::new(status, shown).into());
        }
        Err(_) => {
            let message = format!("the request took longer than {limit:?}");
            return Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, message).into());
        }
    };
    let status = response.status();
    let is_json = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("json"));
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return Ok(response.map_into_left_body());
    }
    let text = body(status, message(status)).to_string();
    Ok(response.map_body(|head, _| {
        let json = HeaderValue::from_static("application/json");
        head.headers_mut().insert(CONTENT_TYPE, json);
        EitherBody::right(BoxBody::new(text))
    }))
}

/// Answers methods that a resource does not have.
pub(super) fn only(allowed: &'static str) -> actix_web::Route {
    web::route().to(move || async move {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        let message = format!("this method is not accepted here; accepted: {allowed}");
        HttpResponse::build(status)
            .insert_header((ALLOW, allowed))
            .json(body(status, &message))
    })
}

/// Answers paths that nothing is under.
pub(super) async fn not_found() -> HttpResponse {
    let status = StatusCode::NOT_FOUND;
    HttpResponse::build(status).json(body(status, message(status)))
}
