//! What an operation makes or changes that is counted.

use std::borrow::Cow;

use serde::Deserialize;

use crate::catalog::OTHER;
use crate::signals::github::{
    GithubCommit, GithubIssue, GithubPullRequest, GithubStatus, IssueAction, PullRequestAction,
};

/// Of a request's body, bytes that are read for what it changes.
const MOST: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Commit,
    PullRequest(PullRequestAction),
    Issue(IssueAction),
}

/// A change and the repository it is made in.
#[derive(Debug)]
pub(super) struct Change {
    what: What,
    repository: String,
}

impl Change {
    /// Of an operation with the body of its request; none: it changes nothing that is counted.
    pub(super) fn of(
        operation: &str,
        repository: Option<String>,
        body: Option<&[u8]>,
    ) -> Option<Self> {
        Some(Self {
            what: what(operation, body)?,
            repository: repository.unwrap_or_else(|| OTHER.to_owned()),
        })
    }

    pub(super) fn record(&self, status: GithubStatus) {
        let repository = &*self.repository;
        match self.what {
            What::Commit => GithubCommit { repository, status }.add(1),
            What::PullRequest(action) => GithubPullRequest {
                repository,
                action,
                status,
            }
            .add(1),
            What::Issue(action) => GithubIssue {
                repository,
                action,
                status,
            }
            .add(1),
        }
    }
}

fn what(operation: &str, body: Option<&[u8]>) -> Option<What> {
    use What::{Issue, PullRequest};
    Some(match operation {
        "git.create_commit"
        | "repos.create_or_update_file_contents"
        | "repos.delete_file"
        | "repos.merge" => What::Commit,
        "pulls.create" => PullRequest(PullRequestAction::Create),
        "pulls.update" => PullRequest(match state(body).as_deref() {
            Some("closed") => PullRequestAction::Close,
            Some("open") => PullRequestAction::Reopen,
            _ => PullRequestAction::Update,
        }),
        "pulls.update_branch" => PullRequest(PullRequestAction::Update),
        "pulls.merge" => PullRequest(PullRequestAction::Merge),
        "pulls.create_review" | "pulls.submit_review" => PullRequest(PullRequestAction::Review),
        "pulls.create_review_comment" | "pulls.create_reply_for_review_comment" => {
            PullRequest(PullRequestAction::Comment)
        }
        "issues.create" => Issue(IssueAction::Create),
        "issues.update" => Issue(match state(body).as_deref() {
            Some("closed") => IssueAction::Close,
            Some("open") => IssueAction::Reopen,
            _ => IssueAction::Update,
        }),
        "issues.create_comment" => Issue(IssueAction::Comment),
        _ => return None,
    })
}

/// The state that a request's body asks for.
fn state(body: Option<&[u8]>) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Update<'b> {
        #[serde(borrow)]
        state: Option<Cow<'b, str>>,
    }
    let body = body.filter(|body| body.len() <= MOST)?;
    serde_json::from_slice::<Update<'_>>(body).ok()?.state
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::instrumentation::reqwest::github::routes;

    #[test]
    fn updates_that_close_and_reopen_are_told_by_their_body() {
        let pull = |body: &str| what("pulls.update", Some(body.as_bytes()));
        let action = |action| Some(What::PullRequest(action));
        assert_eq!(pull(r#"{"title":"a"}"#), action(PullRequestAction::Update));
        assert_eq!(
            pull(r#"{"state":"closed"}"#),
            action(PullRequestAction::Close)
        );
        assert_eq!(
            pull(r#"{"body":"\"state\"","state":"open"}"#),
            action(PullRequestAction::Reopen)
        );
        assert_eq!(pull("{"), action(PullRequestAction::Update));
        assert_eq!(
            what("pulls.update", None),
            action(PullRequestAction::Update)
        );
        let issue = |body: &str| what("issues.update", Some(body.as_bytes()));
        assert_eq!(
            issue(r#"{"state":"closed"}"#),
            Some(What::Issue(IssueAction::Close))
        );
        assert_eq!(
            issue(r#"{"state":null}"#),
            Some(What::Issue(IssueAction::Update))
        );
        assert_eq!(what("pulls.get", None), None);
    }

    #[test]
    fn requests_that_change_something_are_told_from_those_that_do_not() {
        use PullRequestAction::{Comment, Create, Merge, Review, Update};
        let of = |method: &str, path: &str| {
            let route = routes::find(method, &format!("/repos/a/b/{path}")).unwrap();
            what(route.operation, None)
        };
        for (method, path) in [
            ("POST", "git/commits"),
            ("POST", "merges"),
            ("PUT", "contents/docs/a.md"),
            ("DELETE", "contents/docs/a.md"),
        ] {
            assert_eq!(of(method, path), Some(What::Commit), "{path}");
        }
        for (method, path, action) in [
            ("POST", "pulls", Create),
            ("PATCH", "pulls/1", Update),
            ("PUT", "pulls/1/update-branch", Update),
            ("PUT", "pulls/1/merge", Merge),
            ("POST", "pulls/1/reviews", Review),
            ("POST", "pulls/1/reviews/2/events", Review),
            ("POST", "pulls/1/comments", Comment),
            ("POST", "pulls/1/comments/2/replies", Comment),
        ] {
            assert_eq!(of(method, path), Some(What::PullRequest(action)), "{path}");
        }
        for (path, action) in [
            ("issues", IssueAction::Create),
            ("issues/1/comments", IssueAction::Comment),
        ] {
            assert_eq!(of("POST", path), Some(What::Issue(action)), "{path}");
        }
        for path in ["issues/1", "pulls/1/merge", "contents/docs/a.md"] {
            assert_eq!(of("GET", path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_read(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = what("issues.update", Some(&body));
        }
    }
}
