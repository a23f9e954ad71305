//! What providers say went wrong, in a few words that all of them share.
//!
//! Anthropic, "Errors": `{"type": "error", "error": {"type": …}}`, in streams as an event
//! `error`. OpenAI, "Error codes": `{"error": {"type": …, "code": …}}`; the Responses API has
//! `response.error` and an event `error` with the code in it. Google, "Errors" (AIP-193):
//! `{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}`, in streams in an array. Their
//! messages are not looked at: they may quote what was asked.

use serde_json::Value;

use crate::signals::llm::LlmStatus;

/// Why a provider gave no answer, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The request is not as the provider accepts it.
    InvalidRequest,
    /// The key is missing, wrong or has expired.
    Authentication,
    /// The key does not allow it.
    Permission,
    /// The account has no credit, or has used up what it may spend.
    Billing,
    /// There is no such model, deployment or path.
    NotFound,
    /// The request is larger than the provider takes.
    TooLarge,
    /// Input and output do not fit into the model's context window.
    ContextLength,
    /// What was asked or answered is not allowed.
    ContentFilter,
    /// The rate limit is used up.
    RateLimited,
    /// The provider has too much to do.
    Overloaded,
    /// The provider gave up waiting.
    Timeout,
    /// Somebody stopped it.
    Cancelled,
    /// The provider failed.
    Server,
    /// It says so, in words that are not known here.
    Other,
}

/// The words of the providers, lower case.
const WORDS: &[(&str, Failure)] = &[
    // Anthropic, types.
    ("invalid_request_error", Failure::InvalidRequest),
    ("authentication_error", Failure::Authentication),
    ("billing_error", Failure::Billing),
    ("permission_error", Failure::Permission),
    ("not_found_error", Failure::NotFound),
    ("request_too_large", Failure::TooLarge),
    ("rate_limit_error", Failure::RateLimited),
    ("timeout_error", Failure::Timeout),
    ("api_error", Failure::Server),
    ("overloaded_error", Failure::Overloaded),
    // OpenAI and those who speak its language: codes and types.
    ("invalid_api_key", Failure::Authentication),
    ("invalid_authentication", Failure::Authentication),
    ("account_deactivated", Failure::Permission),
    ("insufficient_permissions", Failure::Permission),
    ("unsupported_country_region_territory", Failure::Permission),
    ("insufficient_quota", Failure::Billing),
    ("billing_hard_limit_reached", Failure::Billing),
    ("billing_not_active", Failure::Billing),
    ("model_not_found", Failure::NotFound),
    ("deploymentnotfound", Failure::NotFound),
    ("context_length_exceeded", Failure::ContextLength),
    ("string_above_max_length", Failure::TooLarge),
    ("content_filter", Failure::ContentFilter),
    ("content_policy_violation", Failure::ContentFilter),
    ("invalid_prompt", Failure::ContentFilter),
    ("rate_limit_exceeded", Failure::RateLimited),
    ("too_many_requests", Failure::RateLimited),
    ("toomanyrequests", Failure::RateLimited),
    ("engine_overloaded", Failure::Overloaded),
    ("service_unavailable", Failure::Overloaded),
    ("service_unavailable_error", Failure::Overloaded),
    ("server_error", Failure::Server),
    ("internal_server_error", Failure::Server),
    ("internalservererror", Failure::Server),
    ("requesttimeout", Failure::Timeout),
    ("bad_request", Failure::InvalidRequest),
    ("badrequest", Failure::InvalidRequest),
    ("invalid_value", Failure::InvalidRequest),
    // Google: google.rpc.Code.
    ("cancelled", Failure::Cancelled),
    ("invalid_argument", Failure::InvalidRequest),
    ("failed_precondition", Failure::InvalidRequest),
    ("out_of_range", Failure::InvalidRequest),
    ("unauthenticated", Failure::Authentication),
    ("permission_denied", Failure::Permission),
    ("not_found", Failure::NotFound),
    ("resource_exhausted", Failure::RateLimited),
    ("unavailable", Failure::Overloaded),
    ("deadline_exceeded", Failure::Timeout),
    ("internal", Failure::Server),
    ("unknown", Failure::Server),
    ("aborted", Failure::Server),
    ("data_loss", Failure::Server),
];

impl Failure {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::InvalidRequest,
        Self::Authentication,
        Self::Permission,
        Self::Billing,
        Self::NotFound,
        Self::TooLarge,
        Self::ContextLength,
        Self::ContentFilter,
        Self::RateLimited,
        Self::Overloaded,
        Self::Timeout,
        Self::Cancelled,
        Self::Server,
        Self::Other,
    ];

    /// Its name: `error.type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Authentication => "authentication",
            Self::Permission => "permission",
            Self::Billing => "billing",
            Self::NotFound => "not_found",
            Self::TooLarge => "too_large",
            Self::ContextLength => "context_length",
            Self::ContentFilter => "content_filter",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Server => "server_error",
            Self::Other => "_OTHER",
        }
    }

    /// How a request ends that fails so.
    #[must_use]
    pub const fn status(self) -> LlmStatus {
        match self {
            Self::RateLimited => LlmStatus::RateLimited,
            Self::Timeout => LlmStatus::Timeout,
            Self::ContentFilter => LlmStatus::Filtered,
            Self::Cancelled => LlmStatus::Cancelled,
            _ => LlmStatus::Failed,
        }
    }

    /// What a status code of HTTP says; `None` below 400. 499 and 529 are as Google and
    /// Anthropic use them.
    #[must_use]
    pub const fn of_status(code: u16) -> Option<Self> {
        Some(match code {
            0..400 => return None,
            400 | 405 | 415 | 422 => Self::InvalidRequest,
            401 => Self::Authentication,
            402 => Self::Billing,
            403 => Self::Permission,
            404 => Self::NotFound,
            408 | 504 => Self::Timeout,
            413 => Self::TooLarge,
            429 => Self::RateLimited,
            499 => Self::Cancelled,
            503 | 529 => Self::Overloaded,
            500..=502 => Self::Server,
            _ => Self::Other,
        })
    }

    /// What a body, or an event of a stream, says went wrong; `None` if it speaks of no error.
    #[must_use]
    pub fn of_body(body: &Value) -> Option<Self> {
        if let Some(elements) = body.as_array() {
            return elements.iter().find_map(Self::of_element);
        }
        Self::of_element(body)
    }

    fn of_element(body: &Value) -> Option<Self> {
        let members = body.as_object()?;
        let kind = members.get("type").and_then(Value::as_str);
        let error = match members.get("error") {
            None | Some(Value::Null | Value::Bool(false)) => {
                let inner = members.get("response").and_then(|inner| inner.get("error"));
                inner.filter(|error| !error.is_null())
            }
            error => error,
        };
        match error {
            Some(error) => Some(Self::of_error(error)),
            // The Responses API has an event of this kind, with the code beside it.
            None if kind == Some("error") => Some(Self::of_error(body)),
            None if kind == Some("response.failed") => Some(Self::Other),
            None => None,
        }
    }

    /// The code says more than the status, the status more than the type.
    fn of_error(error: &Value) -> Self {
        for name in ["code", "status", "type"] {
            let Some(value) = error.get(name) else {
                continue;
            };
            let found = match value {
                Value::String(text) => Self::of_word(text),
                Value::Number(code) => number(code.as_u64()),
                _ => None,
            };
            // A number says no more than the status beside it, which may be of Google's.
            let vague = value.is_number() && error.get("status").is_some_and(Value::is_string);
            if let Some(found) = found.filter(|_| !vague) {
                return found;
            }
        }
        number(error.get("code").and_then(Value::as_u64)).unwrap_or(Self::Other)
    }

    fn of_word(text: &str) -> Option<Self> {
        // Longer than any of the words.
        if text.len() > 64 {
            return None;
        }
        let word = text.to_ascii_lowercase();
        let known = WORDS.iter().find(|(known, _)| *known == word);
        known
            .map(|(_, failure)| *failure)
            .or_else(|| number(word.parse().ok()))
    }
}

/// A status code of HTTP within a body.
fn number(code: Option<u64>) -> Option<Failure> {
    let failure = Failure::of_status(u16::try_from(code?).ok()?)?;
    (failure != Failure::Other).then_some(failure)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn each_provider_says_it_in_its_way() {
        for (body, expected) in [
            (
                json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_1"}),
                Some(Failure::Overloaded),
            ),
            (
                json!({"error": {"message": "…", "type": "insufficient_quota", "param": null, "code": "insufficient_quota"}}),
                Some(Failure::Billing),
            ),
            (
                json!({"error": {"message": "…", "type": "tokens", "param": null, "code": "rate_limit_exceeded"}}),
                Some(Failure::RateLimited),
            ),
            (
                json!({"error": {"message": "…", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}}),
                Some(Failure::ContextLength),
            ),
            (
                json!({"error": {"message": "…", "type": "invalid_request_error", "code": null}}),
                Some(Failure::InvalidRequest),
            ),
            (
                json!({"error": {"code": "429", "message": "…"}}),
                Some(Failure::RateLimited),
            ),
            (
                json!([{"error": {"code": 400, "message": "…", "status": "FAILED_PRECONDITION"}}]),
                Some(Failure::InvalidRequest),
            ),
            (
                json!({"error": {"code": 503, "message": "…", "status": "UNAVAILABLE"}}),
                Some(Failure::Overloaded),
            ),
            (
                json!({"error": {"code": 403, "status": "SOMETHING_NEW"}}),
                Some(Failure::Permission),
            ),
            (
                json!({"type": "error", "code": "server_error", "message": "…"}),
                Some(Failure::Server),
            ),
            (
                json!({"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded"}}}),
                Some(Failure::RateLimited),
            ),
            (json!({"error": "no such thing"}), Some(Failure::Other)),
            (json!({"error": null, "id": "resp_1"}), None),
            (json!({"type": "message", "usage": {}}), None),
        ] {
            assert_eq!(Failure::of_body(&body), expected, "{body}");
        }
    }

    #[test]
    fn names_are_told_apart_and_words_are_lower_case() {
        for (at, failure) in Failure::ALL.iter().enumerate() {
            let same = |other: &Failure| other.as_str() == failure.as_str();
            assert_eq!(Failure::ALL.iter().position(same), Some(at));
        }
        for (at, (word, _)) in WORDS.iter().enumerate() {
            assert_eq!(*word, word.to_ascii_lowercase());
            assert!(WORDS.iter().skip(at + 1).all(|(other, _)| other != word));
        }
        assert_eq!(Failure::of_status(200), None);
        assert_eq!(Failure::of_status(529), Some(Failure::Overloaded));
        assert_eq!(Failure::of_status(418), Some(Failure::Other));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let word = prop_oneof![
            "error|type|code|status|response|message",
            "[a-zA-Z_]{0,80}",
            ".{0,10}"
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            word.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(word.clone(), inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn nothing_panics(body in any_json(), code: u16) {
            let _ = Failure::of_body(&body);
            let _ = Failure::of_status(code);
        }
    }
}
