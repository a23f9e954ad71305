//! GraphQL, as far as it is told: the name of a query, and that it has errors (GraphQL
//! specification, October 2021, sections 2.1 and 7.1; GitHub's GraphQL API).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::verdict::Verdict;
use crate::signals::github::GithubStatus;

/// What a query without a name is called.
pub(super) const UNNAMED: &str = "graphql";

/// Of a request's body, bytes that are read for the query's name.
const MOST: usize = 1 << 18;

/// The operation: `graphql`, or with the query's name, `graphql.Viewer`.
pub(super) fn operation(body: Option<&[u8]>) -> Cow<'static, str> {
    match name(body) {
        Some(name) => format!("{UNNAMED}.{name}").into(),
        None => UNNAMED.into(),
    }
}

fn name(body: Option<&[u8]>) -> Option<String> {
    #[derive(Deserialize)]
    struct Asked<'b> {
        #[serde(borrow, rename = "operationName")]
        name: Option<Cow<'b, str>>,
        #[serde(borrow)]
        query: Option<Cow<'b, str>>,
    }
    let body = body.filter(|body| body.len() <= MOST)?;
    let asked: Asked<'_> = serde_json::from_slice(body).ok()?;
    let named = asked.name.as_deref().filter(|name| is_name(name));
    if let Some(name) = named {
        return Some(name.to_owned());
    }
    let query = asked.query?;
    let query = query.trim_start();
    let kinds = ["query", "mutation"];
    let rest = kinds.iter().find_map(|kind| query.strip_prefix(kind))?;
    let end = rest.trim_start();
    let end = end
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .next()?;
    // Between the two there has to be a blank.
    (is_name(end) && rest.starts_with(char::is_whitespace)).then(|| end.to_owned())
}

fn is_name(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !text.is_empty()
        && text.len() <= 64
        && !text.as_bytes()[0].is_ascii_digit()
        && text.bytes().all(known)
}

/// What the body of an answer with status 200 says; none: it has no errors, or is none.
pub(super) fn errors(body: &[u8]) -> Option<Verdict> {
    #[derive(Deserialize)]
    struct Answer<'b> {
        #[serde(borrow)]
        errors: Option<Vec<&'b RawValue>>,
    }
    #[derive(Deserialize)]
    struct Error<'b> {
        #[serde(borrow, rename = "type")]
        kind: Option<Cow<'b, str>>,
    }
    let answer: Answer<'_> = serde_json::from_slice(body).ok()?;
    let first = *answer.errors?.first()?;
    let kind = serde_json::from_str::<Error<'_>>(first.get());
    let kind = kind.ok().and_then(|error| error.kind);
    Some(match kind.as_deref() {
        Some("RATE_LIMITED" | "RATE_LIMIT") => Verdict::primary_limit(),
        Some("NOT_FOUND") => Verdict::new(GithubStatus::Refused, "not_found"),
        Some(kind @ ("FORBIDDEN" | "INSUFFICIENT_SCOPES")) => {
            Verdict::new(GithubStatus::Denied, kind.to_ascii_lowercase())
        }
        Some(kind) if is_name(kind) && kind.len() <= 40 => {
            Verdict::new(GithubStatus::Failed, kind.to_ascii_lowercase())
        }
        _ => Verdict::new(GithubStatus::Failed, UNNAMED),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_query_is_called_by_its_name() {
        let called = |body: &str| operation(Some(body.as_bytes())).into_owned();
        for (body, expected) in [
            (r#"{"query":"{ viewer { login } }"}"#, "graphql"),
            (
                r#"{"query":"query Viewer { viewer { login } }"}"#,
                "graphql.Viewer",
            ),
            (
                r#"{"query":"\n mutation  Add($a: ID!) { x }"}"#,
                "graphql.Add",
            ),
            (r#"{"query":"query($a: ID!) { x }"}"#, "graphql"),
            (r#"{"query":"queryA { x }"}"#, "graphql"),
            (
                r#"{"query":"query A { x } query B { y }","operationName":"B"}"#,
                "graphql.B",
            ),
            (
                r#"{"query":"query A { x }","operationName":"a b"}"#,
                "graphql.A",
            ),
            (r#"{"query":17}"#, "graphql"),
            ("[]", "graphql"),
            ("", "graphql"),
        ] {
            assert_eq!(called(body), expected, "{body}");
        }
        assert_eq!(operation(None), "graphql");
    }

    #[test]
    fn errors_are_told_apart_by_their_type() {
        let status = |body: &str| {
            errors(body.as_bytes()).map(|found| (found.status, found.error.into_owned()))
        };
        let found = |status, error: &str| Some((status, error.to_owned()));
        for (body, expected) in [
            (r#"{"data":{"viewer":{"login":"errors"}}}"#, None),
            (r#"{"data":{},"errors":[]}"#, None),
            (
                r#"{"errors":[{"type":"NOT_FOUND","message":"no"}]}"#,
                found(GithubStatus::Refused, "not_found"),
            ),
            (
                r#"{"errors":[{"type":"RATE_LIMITED"}]}"#,
                found(GithubStatus::RateLimited, "rate_limit"),
            ),
            (
                r#"{"errors":[{"type":"FORBIDDEN"}]}"#,
                found(GithubStatus::Denied, "forbidden"),
            ),
            (
                r#"{"errors":[{"type":"SERVICE_UNAVAILABLE"}]}"#,
                found(GithubStatus::Failed, "service_unavailable"),
            ),
            (
                r#"{"errors":[{"message":"parse error"}]}"#,
                found(GithubStatus::Failed, "graphql"),
            ),
            (
                r#"{"errors":["what"]}"#,
                found(GithubStatus::Failed, "graphql"),
            ),
            ("<html>", None),
        ] {
            assert_eq!(status(body), expected, "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_read(body in prop::collection::vec(any::<u8>(), 0..200), text in ".*") {
            let _ = (operation(Some(&body)), errors(&body), is_name(&text));
            let query = serde_json::json!({ "query": text }).to_string();
            let named = operation(Some(query.as_bytes()));
            prop_assert!(named.len() <= 72);
        }
    }
}
