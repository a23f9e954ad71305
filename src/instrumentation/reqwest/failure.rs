//! What went wrong with a request, in the words of the metrics.

use std::error::Error;
use std::io::{self, ErrorKind};

use crate::signals::http_client::HttpClientStatus;

/// A status and `error.type`, empty if nothing went wrong.
pub(super) type Verdict = (HttpClientStatus, &'static str);

/// Of an error that the middlewares below gave.
pub(super) fn of_error(error: &reqwest_middleware::Error) -> Verdict {
    match error {
        reqwest_middleware::Error::Reqwest(error) => of_reqwest(error),
        reqwest_middleware::Error::Middleware(_) => (HttpClientStatus::Failed, "middleware"),
    }
}

/// Of an error of reqwest, of a body's as well.
pub(super) fn of_reqwest(error: &reqwest::Error) -> Verdict {
    if error.is_timeout() {
        return (HttpClientStatus::Timeout, "timeout");
    }
    (HttpClientStatus::Failed, kind(error))
}

/// `error.type` of what is no timeout.
fn kind(error: &reqwest::Error) -> &'static str {
    if error.is_dns() {
        return "dns";
    }
    if error.is_builder() {
        return "request";
    }
    if error.is_redirect() {
        return "redirect";
    }
    let mut cause = error.source();
    while let Some(this) = cause {
        if let Some(kind) = of_cause(this) {
            return kind;
        }
        cause = this.source();
    }
    if error.is_connect() {
        "connect"
    } else if error.is_decode() {
        "decode"
    } else if error.is_body() {
        "body"
    } else {
        "request"
    }
}

fn of_cause(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    if cause.is::<rustls::Error>() {
        return Some("tls");
    }
    if let Some(http) = cause.downcast_ref::<hyper::Error>() {
        return (http.is_incomplete_message() || http.is_closed()).then_some("connection_closed");
    }
    let io = cause.downcast_ref::<io::Error>()?;
    // What an error of I/O holds is not among its sources.
    if let Some(inner) = io.get_ref()
        && let Some(kind) = of_cause(inner)
    {
        return Some(kind);
    }
    match io.kind() {
        ErrorKind::ConnectionRefused => Some("connection_refused"),
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => Some("connection_reset"),
        ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => Some("connection_closed"),
        _ => None,
    }
}

/// Of an answer whose status is this.
pub(super) fn of_status(code: u16) -> HttpClientStatus {
    match code {
        429 => HttpClientStatus::RateLimited,
        400..=499 => HttpClientStatus::Refused,
        500.. => HttpClientStatus::ServerError,
        _ => HttpClientStatus::Success,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_from_500_on_and_429_are_failures() {
        use HttpClientStatus::{RateLimited, Refused, ServerError, Success};
        for (code, status) in [
            (101, Success),
            (200, Success),
            (304, Success),
            (400, Refused),
            (404, Refused),
            (429, RateLimited),
            (500, ServerError),
            (503, ServerError),
            (999, ServerError),
        ] {
            assert_eq!(of_status(code), status, "{code}");
        }
    }

    #[test]
    fn what_an_error_of_io_holds_is_looked_at() {
        let tls = rustls::Error::General("no".to_owned());
        let held = io::Error::new(ErrorKind::InvalidData, tls);
        assert_eq!(of_cause(&held), Some("tls"));
        let nested = io::Error::other(io::Error::from(ErrorKind::ConnectionReset));
        assert_eq!(of_cause(&nested), Some("connection_reset"));
        assert_eq!(of_cause(&io::Error::other("what")), None);
    }

    #[tokio::test]
    async fn a_request_that_cannot_be_made_is_not_the_servers_failure_alone() {
        let error = reqwest::Body::wrap_stream(futures_util::stream::iter([Err::<&str, _>(
            io::Error::from(ErrorKind::UnexpectedEof),
        )]));
        let error = http_body_util::BodyExt::collect(error).await.unwrap_err();
        assert_eq!(
            of_reqwest(&error),
            (HttpClientStatus::Failed, "connection_closed")
        );
        let middleware = reqwest_middleware::Error::middleware(io::Error::other("what"));
        assert_eq!(
            of_error(&middleware),
            (HttpClientStatus::Failed, "middleware")
        );
    }
}
