//! How an operation ended, by its status, its headers and the message of a refusal.

use std::borrow::Cow;

use http::HeaderMap;
use serde::Deserialize;

use super::limits::Told;
use crate::instrumentation::reqwest::failure;
use crate::signals::github::GithubStatus;
use crate::signals::http_client::HttpClientStatus;

/// `error.type` where a secondary limit was exceeded.
const SECONDARY: &str = "secondary_rate_limit";

/// A status and `error.type`, empty if nothing went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) status: GithubStatus,
    pub(super) error: Cow<'static, str>,
}

impl Verdict {
    pub(super) fn new(status: GithubStatus, error: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            error: error.into(),
        }
    }

    pub(super) fn primary_limit() -> Self {
        Self::new(GithubStatus::RateLimited, "rate_limit")
    }

    pub(super) fn is_secondary_limit(&self) -> bool {
        self.error == SECONDARY
    }

    /// Of what the HTTP client tells.
    pub(super) fn of_failure((status, error): failure::Verdict) -> Self {
        let status = match status {
            HttpClientStatus::Timeout => GithubStatus::Timeout,
            _ => GithubStatus::Failed,
        };
        Self::new(status, error)
    }
}

/// What the head of an answer tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) code: u16,
    /// Whether it says how long to wait.
    retry_after: bool,
    /// Whether nothing is left of the primary limit.
    used_up: bool,
}

impl Head {
    pub(super) fn new(code: u16, headers: &HeaderMap, told: Option<&Told>) -> Self {
        Self {
            code,
            retry_after: headers.contains_key(http::header::RETRY_AFTER),
            used_up: told.is_some_and(|told| told.remaining == Some(0)),
        }
    }

    /// Whether its body could be the message of a secondary limit.
    pub(super) fn may_be_limit(self) -> bool {
        matches!(self.code, 403 | 429)
    }

    /// How the operation ended; `body` as far as it was kept.
    pub(super) fn verdict(self, body: Option<&[u8]>) -> Verdict {
        let code = self.code;
        if self.may_be_limit() {
            // "Rate limits for the REST API", "Exceeding the rate limit".
            if self.retry_after || body.is_some_and(says_secondary) {
                return Verdict::new(GithubStatus::RateLimited, SECONDARY);
            }
            if self.used_up {
                return Verdict::primary_limit();
            }
        }
        let status = match code {
            429 => GithubStatus::RateLimited,
            401 | 403 => GithubStatus::Denied,
            400..=499 => GithubStatus::Refused,
            500.. => GithubStatus::Failed,
            _ => return Verdict::new(GithubStatus::Success, ""),
        };
        Verdict::new(status, code.to_string())
    }
}

/// Whether the message of a refusal is that of a secondary limit, the older word for it among
/// them.
fn says_secondary(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Refusal<'b> {
        #[serde(borrow)]
        message: Option<Cow<'b, str>>,
    }
    let refusal = serde_json::from_slice::<Refusal<'_>>(body);
    let message = refusal.ok().and_then(|refusal| refusal.message);
    message.is_some_and(|message| {
        message.contains("secondary rate limit") || message.contains("abuse detection")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_from_what_is_denied() {
        let secondary = r#"{"message":"You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}"#;
        let abuse = r#"{"message":"You have triggered an abuse detection mechanism."}"#;
        let permission = r#"{"message":"Resource not accessible by integration"}"#;
        for (code, retry_after, remaining, body, status, error) in [
            (200, false, Some(7), "{}", GithubStatus::Success, ""),
            (304, false, Some(0), "", GithubStatus::Success, ""),
            (403, true, Some(7), "", GithubStatus::RateLimited, SECONDARY),
            (
                403,
                false,
                Some(7),
                secondary,
                GithubStatus::RateLimited,
                SECONDARY,
            ),
            (
                403,
                false,
                Some(7),
                abuse,
                GithubStatus::RateLimited,
                SECONDARY,
            ),
            (
                403,
                false,
                Some(0),
                permission,
                GithubStatus::RateLimited,
                "rate_limit",
            ),
            (403, false, Some(7), permission, GithubStatus::Denied, "403"),
            (403, false, None, "<html>", GithubStatus::Denied, "403"),
            (429, false, Some(7), "", GithubStatus::RateLimited, "429"),
            (
                429,
                false,
                Some(0),
                "",
                GithubStatus::RateLimited,
                "rate_limit",
            ),
            (401, false, None, "", GithubStatus::Denied, "401"),
            (404, true, Some(0), secondary, GithubStatus::Refused, "404"),
            (422, false, None, "", GithubStatus::Refused, "422"),
            (502, true, None, secondary, GithubStatus::Failed, "502"),
        ] {
            let head = Head {
                code,
                retry_after,
                used_up: remaining == Some(0),
            };
            let verdict = head.verdict(Some(body.as_bytes()));
            assert_eq!(verdict, Verdict::new(status, error), "{code} {body}");
        }
    }
}
