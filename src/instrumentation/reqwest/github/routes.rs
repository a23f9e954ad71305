//! The routes of GitHub's REST API that are told apart, under the names that its API description
//! has for them ("REST API endpoints", API version 2022-11-28), with `.` for `/` and `_` for `-`:
//! `pulls/create-review` is `pulls.create_review`.

/// A route that a path fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) operation: &'static str,
    pub(super) template: &'static str,
}

/// The route of a request; none: it is not told apart.
pub(super) fn find(method: &str, path: &str) -> Option<Route> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut routes = ROUTES.iter();
    let &(_, template, operation) =
        routes.find(|(of, template, _)| *of == method && fits(template, path))?;
    Some(Route {
        operation,
        template,
    })
}

/// `owner/name`, where a path is one of a repository.
pub(super) fn repository(path: &str) -> Option<String> {
    let mut parts = path.strip_prefix("/repos/")?.split('/');
    let (owner, name) = (parts.next()?, parts.next()?);
    let plain = |text: &str, most: usize| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !text.is_empty() && text.len() <= most && text.bytes().all(known)
    };
    (plain(owner, 39) && plain(name, 100)).then(|| format!("{owner}/{name}"))
}

fn fits(template: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    let mut steps = template.split('/').peekable();
    while let Some(step) = steps.next() {
        let part = parts.next();
        let last = steps.peek().is_none();
        match (step, part) {
            // These have slashes of their own.
            ("{path}" | "{ref}" | "{basehead}", _) if last => {
                return part.is_some_and(|p| !p.is_empty());
            }
            (_, None) => return false,
            (step, Some(part)) if step.ends_with("_number}") || step.ends_with("_id}") => {
                if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
                    return false;
                }
            }
            (step, Some(part)) if step.starts_with('{') => {
                if part.is_empty() {
                    return false;
                }
            }
            (step, Some(part)) => {
                if step != part {
                    return false;
                }
            }
        }
    }
    parts.next().is_none()
}

/// Method, template and operation. Of two that fit, the first counts.
#[rustfmt::skip]
const ROUTES: &[(&str, &str, &str)] = &[
    // Actions
    ("GET", "/repos/{owner}/{repo}/actions/artifacts", "actions.list_artifacts_for_repo"),
    ("GET", "/repos/{owner}/{repo}/actions/artifacts/{artifact_id}/{archive_format}", "actions.download_artifact"),
    ("GET", "/repos/{owner}/{repo}/actions/jobs/{job_id}", "actions.get_job_for_workflow_run"),
    ("GET", "/repos/{owner}/{repo}/actions/jobs/{job_id}/logs", "actions.download_job_logs_for_workflow_run"),
    ("GET", "/repos/{owner}/{repo}/actions/runs", "actions.list_workflow_runs_for_repo"),
    ("GET", "/repos/{owner}/{repo}/actions/runs/{run_id}", "actions.get_workflow_run"),
    ("GET", "/repos/{owner}/{repo}/actions/runs/{run_id}/artifacts", "actions.list_workflow_run_artifacts"),
    ("GET", "/repos/{owner}/{repo}/actions/runs/{run_id}/jobs", "actions.list_jobs_for_workflow_run"),
    ("GET", "/repos/{owner}/{repo}/actions/runs/{run_id}/logs", "actions.download_workflow_run_logs"),
    ("POST", "/repos/{owner}/{repo}/actions/runs/{run_id}/cancel", "actions.cancel_workflow_run"),
    ("POST", "/repos/{owner}/{repo}/actions/runs/{run_id}/rerun", "actions.re_run_workflow"),
    ("POST", "/repos/{owner}/{repo}/actions/runs/{run_id}/rerun-failed-jobs", "actions.re_run_workflow_failed_jobs"),
    ("GET", "/repos/{owner}/{repo}/actions/workflows", "actions.list_repo_workflows"),
    ("GET", "/repos/{owner}/{repo}/actions/workflows/{workflow}", "actions.get_workflow"),
    ("GET", "/repos/{owner}/{repo}/actions/workflows/{workflow}/runs", "actions.list_workflow_runs"),
    ("POST", "/repos/{owner}/{repo}/actions/workflows/{workflow}/dispatches", "actions.create_workflow_dispatch"),
    // Apps
    ("GET", "/app", "apps.get_authenticated"),
    ("GET", "/app/installations", "apps.list_installations"),
    ("POST", "/app/installations/{installation_id}/access_tokens", "apps.create_installation_access_token"),
    ("GET", "/installation/repositories", "apps.list_repos_accessible_to_installation"),
    ("GET", "/repos/{owner}/{repo}/installation", "apps.get_repo_installation"),
    // Checks
    ("POST", "/repos/{owner}/{repo}/check-runs", "checks.create"),
    ("GET", "/repos/{owner}/{repo}/check-runs/{check_run_id}", "checks.get"),
    ("PATCH", "/repos/{owner}/{repo}/check-runs/{check_run_id}", "checks.update"),
    ("GET", "/repos/{owner}/{repo}/commits/{commit}/check-runs", "checks.list_for_ref"),
    ("GET", "/repos/{owner}/{repo}/commits/{commit}/check-suites", "checks.list_suites_for_ref"),
    // Code scanning
    ("GET", "/repos/{owner}/{repo}/code-scanning/alerts", "code_scanning.list_alerts_for_repo"),
    ("GET", "/repos/{owner}/{repo}/dependabot/alerts", "dependabot.list_alerts_for_repo"),
    // Gists
    ("GET", "/gists", "gists.list"),
    ("POST", "/gists", "gists.create"),
    ("GET", "/gists/{gist}", "gists.get"),
    ("PATCH", "/gists/{gist}", "gists.update"),
    // The git database
    ("POST", "/repos/{owner}/{repo}/git/blobs", "git.create_blob"),
    ("GET", "/repos/{owner}/{repo}/git/blobs/{sha}", "git.get_blob"),
    ("POST", "/repos/{owner}/{repo}/git/commits", "git.create_commit"),
    ("GET", "/repos/{owner}/{repo}/git/commits/{sha}", "git.get_commit"),
    ("GET", "/repos/{owner}/{repo}/git/matching-refs/{ref}", "git.list_matching_refs"),
    ("GET", "/repos/{owner}/{repo}/git/ref/{ref}", "git.get_ref"),
    ("POST", "/repos/{owner}/{repo}/git/refs", "git.create_ref"),
    ("PATCH", "/repos/{owner}/{repo}/git/refs/{ref}", "git.update_ref"),
    ("DELETE", "/repos/{owner}/{repo}/git/refs/{ref}", "git.delete_ref"),
    ("POST", "/repos/{owner}/{repo}/git/tags", "git.create_tag"),
    ("GET", "/repos/{owner}/{repo}/git/tags/{sha}", "git.get_tag"),
    ("POST", "/repos/{owner}/{repo}/git/trees", "git.create_tree"),
    ("GET", "/repos/{owner}/{repo}/git/trees/{sha}", "git.get_tree"),
    // Issues
    ("GET", "/issues", "issues.list"),
    ("GET", "/repos/{owner}/{repo}/issues", "issues.list_for_repo"),
    ("POST", "/repos/{owner}/{repo}/issues", "issues.create"),
    ("GET", "/repos/{owner}/{repo}/issues/comments", "issues.list_comments_for_repo"),
    ("GET", "/repos/{owner}/{repo}/issues/comments/{comment_id}", "issues.get_comment"),
    ("PATCH", "/repos/{owner}/{repo}/issues/comments/{comment_id}", "issues.update_comment"),
    ("DELETE", "/repos/{owner}/{repo}/issues/comments/{comment_id}", "issues.delete_comment"),
    ("GET", "/repos/{owner}/{repo}/issues/{issue_number}", "issues.get"),
    ("PATCH", "/repos/{owner}/{repo}/issues/{issue_number}", "issues.update"),
    ("POST", "/repos/{owner}/{repo}/issues/{issue_number}/assignees", "issues.add_assignees"),
    ("DELETE", "/repos/{owner}/{repo}/issues/{issue_number}/assignees", "issues.remove_assignees"),
    ("GET", "/repos/{owner}/{repo}/issues/{issue_number}/comments", "issues.list_comments"),
    ("POST", "/repos/{owner}/{repo}/issues/{issue_number}/comments", "issues.create_comment"),
    ("GET", "/repos/{owner}/{repo}/issues/{issue_number}/events", "issues.list_events"),
    ("GET", "/repos/{owner}/{repo}/issues/{issue_number}/labels", "issues.list_labels_on_issue"),
    ("POST", "/repos/{owner}/{repo}/issues/{issue_number}/labels", "issues.add_labels"),
    ("PUT", "/repos/{owner}/{repo}/issues/{issue_number}/labels", "issues.set_labels"),
    ("DELETE", "/repos/{owner}/{repo}/issues/{issue_number}/labels/{name}", "issues.remove_label"),
    ("PUT", "/repos/{owner}/{repo}/issues/{issue_number}/lock", "issues.lock"),
    ("GET", "/repos/{owner}/{repo}/issues/{issue_number}/timeline", "issues.list_events_for_timeline"),
    ("GET", "/repos/{owner}/{repo}/labels", "issues.list_labels_for_repo"),
    ("POST", "/repos/{owner}/{repo}/labels", "issues.create_label"),
    ("GET", "/repos/{owner}/{repo}/milestones", "issues.list_milestones"),
    ("POST", "/repos/{owner}/{repo}/milestones", "issues.create_milestone"),
    // Organisations, users, rate limits
    ("GET", "/meta", "meta.get"),
    ("GET", "/notifications", "activity.list_notifications_for_authenticated_user"),
    ("GET", "/orgs/{org}", "orgs.get"),
    ("GET", "/orgs/{org}/members", "orgs.list_members"),
    ("GET", "/orgs/{org}/repos", "repos.list_for_org"),
    ("POST", "/orgs/{org}/repos", "repos.create_in_org"),
    ("GET", "/orgs/{org}/teams", "teams.list"),
    ("GET", "/rate_limit", "rate_limit.get"),
    ("GET", "/user", "users.get_authenticated"),
    ("GET", "/user/repos", "repos.list_for_authenticated_user"),
    ("POST", "/user/repos", "repos.create_for_authenticated_user"),
    ("GET", "/users/{username}", "users.get_by_username"),
    ("GET", "/users/{username}/repos", "repos.list_for_user"),
    // Pull requests
    ("GET", "/repos/{owner}/{repo}/pulls", "pulls.list"),
    ("POST", "/repos/{owner}/{repo}/pulls", "pulls.create"),
    ("GET", "/repos/{owner}/{repo}/pulls/comments", "pulls.list_review_comments_for_repo"),
    ("GET", "/repos/{owner}/{repo}/pulls/comments/{comment_id}", "pulls.get_review_comment"),
    ("PATCH", "/repos/{owner}/{repo}/pulls/comments/{comment_id}", "pulls.update_review_comment"),
    ("DELETE", "/repos/{owner}/{repo}/pulls/comments/{comment_id}", "pulls.delete_review_comment"),
    ("GET", "/repos/{owner}/{repo}/pulls/{pull_number}", "pulls.get"),
    ("PATCH", "/repos/{owner}/{repo}/pulls/{pull_number}", "pulls.update"),
    ("GET", "/repos/{owner}/{repo}/pulls/{pull_number}/comments", "pulls.list_review_comments"),
    ("POST", "/repos/{owner}/{repo}/pulls/{pull_number}/comments", "pulls.create_review_comment"),
    ("POST", "/repos/{owner}/{repo}/pulls/{pull_number}/comments/{comment_id}/replies", "pulls.create_reply_for_review_comment"),
    ("GET", "/repos/{owner}/{repo}/pulls/{pull_number}/commits", "pulls.list_commits"),
    ("GET", "/repos/{owner}/{repo}/pulls/{pull_number}/files", "pulls.list_files"),
    ("GET", "/repos/{owner}/{repo}/pulls/{pull_number}/merge", "pulls.check_if_merged"),
    ("PUT", "/repos/{owner}/{repo}/pulls/{pull_number}/merge", "pulls.merge"),
    ("GET", "/repos/{owner}/{repo}/pulls/{pull_number}/requested_reviewers", "pulls.list_requested_reviewers"),
    ("POST", "/repos/{owner}/{repo}/pulls/{pull_number}/requested_reviewers", "pulls.request_reviewers"),
    ("GET", "/repos/{owner}/{repo}/pulls/{pull_number}/reviews", "pulls.list_reviews"),
    ("POST", "/repos/{owner}/{repo}/pulls/{pull_number}/reviews", "pulls.create_review"),
    ("POST", "/repos/{owner}/{repo}/pulls/{pull_number}/reviews/{review_id}/events", "pulls.submit_review"),
    ("PUT", "/repos/{owner}/{repo}/pulls/{pull_number}/reviews/{review_id}/dismissals", "pulls.dismiss_review"),
    ("PUT", "/repos/{owner}/{repo}/pulls/{pull_number}/update-branch", "pulls.update_branch"),
    // Repositories
    ("GET", "/repos/{owner}/{repo}", "repos.get"),
    ("PATCH", "/repos/{owner}/{repo}", "repos.update"),
    ("DELETE", "/repos/{owner}/{repo}", "repos.delete"),
    ("GET", "/repos/{owner}/{repo}/branches", "repos.list_branches"),
    ("GET", "/repos/{owner}/{repo}/branches/{branch}", "repos.get_branch"),
    ("GET", "/repos/{owner}/{repo}/branches/{branch}/protection", "repos.get_branch_protection"),
    ("GET", "/repos/{owner}/{repo}/collaborators", "repos.list_collaborators"),
    ("GET", "/repos/{owner}/{repo}/commits", "repos.list_commits"),
    ("GET", "/repos/{owner}/{repo}/commits/{commit}", "repos.get_commit"),
    ("POST", "/repos/{owner}/{repo}/commits/{commit}/comments", "repos.create_commit_comment"),
    ("GET", "/repos/{owner}/{repo}/commits/{commit}/pulls", "repos.list_pull_requests_associated_with_commit"),
    ("GET", "/repos/{owner}/{repo}/commits/{commit}/status", "repos.get_combined_status_for_ref"),
    ("GET", "/repos/{owner}/{repo}/compare/{basehead}", "repos.compare_commits"),
    ("GET", "/repos/{owner}/{repo}/contents", "repos.get_content"),
    ("GET", "/repos/{owner}/{repo}/contents/{path}", "repos.get_content"),
    ("PUT", "/repos/{owner}/{repo}/contents/{path}", "repos.create_or_update_file_contents"),
    ("DELETE", "/repos/{owner}/{repo}/contents/{path}", "repos.delete_file"),
    ("GET", "/repos/{owner}/{repo}/contributors", "repos.list_contributors"),
    ("GET", "/repos/{owner}/{repo}/deployments", "repos.list_deployments"),
    ("POST", "/repos/{owner}/{repo}/deployments", "repos.create_deployment"),
    ("POST", "/repos/{owner}/{repo}/deployments/{deployment_id}/statuses", "repos.create_deployment_status"),
    ("POST", "/repos/{owner}/{repo}/dispatches", "repos.create_dispatch_event"),
    ("POST", "/repos/{owner}/{repo}/forks", "repos.create_fork"),
    ("GET", "/repos/{owner}/{repo}/hooks", "repos.list_webhooks"),
    ("POST", "/repos/{owner}/{repo}/hooks", "repos.create_webhook"),
    ("GET", "/repos/{owner}/{repo}/languages", "repos.list_languages"),
    ("POST", "/repos/{owner}/{repo}/merges", "repos.merge"),
    ("GET", "/repos/{owner}/{repo}/readme", "repos.get_readme"),
    ("GET", "/repos/{owner}/{repo}/releases", "repos.list_releases"),
    ("POST", "/repos/{owner}/{repo}/releases", "repos.create_release"),
    ("GET", "/repos/{owner}/{repo}/releases/latest", "repos.get_latest_release"),
    ("GET", "/repos/{owner}/{repo}/releases/tags/{tag}", "repos.get_release_by_tag"),
    ("GET", "/repos/{owner}/{repo}/releases/{release_id}", "repos.get_release"),
    ("PATCH", "/repos/{owner}/{repo}/releases/{release_id}", "repos.update_release"),
    ("POST", "/repos/{owner}/{repo}/releases/{release_id}/assets", "repos.upload_release_asset"),
    ("POST", "/repos/{owner}/{repo}/statuses/{sha}", "repos.create_commit_status"),
    ("GET", "/repos/{owner}/{repo}/tags", "repos.list_tags"),
    ("GET", "/repos/{owner}/{repo}/tarball/{ref}", "repos.download_tarball_archive"),
    ("GET", "/repos/{owner}/{repo}/topics", "repos.get_all_topics"),
    ("GET", "/repos/{owner}/{repo}/zipball/{ref}", "repos.download_zipball_archive"),
    // Search
    ("GET", "/search/code", "search.code"),
    ("GET", "/search/commits", "search.commits"),
    ("GET", "/search/issues", "search.issues_and_pull_requests"),
    ("GET", "/search/repositories", "search.repos"),
    ("GET", "/search/users", "search.users"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A path of a template.
    fn example(template: &str) -> String {
        let parts = template.split('/').map(|step| match step {
            "{path}" | "{ref}" | "{basehead}" => "a/b",
            step if step.ends_with("_number}") || step.ends_with("_id}") => "17",
            step if step.starts_with('{') => "some-thing",
            step => step,
        });
        parts.collect::<Vec<_>>().join("/")
    }

    #[test]
    fn every_route_is_found_by_its_own_paths_alone() {
        let mut seen = BTreeSet::new();
        for (method, template, operation) in ROUTES {
            assert!(seen.insert((method, template)), "{method} {template}");
            let found = find(method, &example(template)).unwrap();
            assert_eq!(found.operation, *operation, "{method} {template}");
            let name = |byte: u8| byte.is_ascii_lowercase() || b"._".contains(&byte);
            assert!(operation.bytes().all(name), "{operation}");
        }
        // As many as the label's budget has room for, beside queries.
        let operations: BTreeSet<_> = ROUTES.iter().map(|(.., operation)| operation).collect();
        assert!(operations.len() < 170, "{}", operations.len());
    }

    #[test]
    fn ids_are_numbers_and_what_is_not_known_is_none() {
        let found = |method, path| find(method, path).map(|route| route.operation);
        let pulls = "/repos/o/r/pulls";
        assert_eq!(found("GET", pulls), Some("pulls.list"));
        assert_eq!(found("GET", "/repos/o/r/pulls/"), Some("pulls.list"));
        assert_eq!(found("GET", "/repos/o/r/pulls/17"), Some("pulls.get"));
        assert_eq!(
            found("GET", "/repos/o/r/pulls/comments"),
            Some("pulls.list_review_comments_for_repo")
        );
        assert_eq!(found("GET", "/repos/o/r/pulls/new"), None);
        assert_eq!(found("BREW", pulls), None);
        assert_eq!(found("GET", "/repos//r/pulls"), None);
        assert_eq!(found("GET", "/repos/o/r/pulls/17/what"), None);
        assert_eq!(
            found("GET", "/repos/o/r/releases/latest"),
            Some("repos.get_latest_release")
        );
        assert_eq!(
            found("PUT", "/repos/o/r/contents/a/b/c.rs"),
            Some("repos.create_or_update_file_contents")
        );
        assert_eq!(found("PUT", "/repos/o/r/contents"), None);
        assert_eq!(found("GET", ""), None);
    }

    #[test]
    fn repositories_have_an_owner_and_a_name() {
        assert_eq!(
            repository("/repos/acme/web.site/pulls").as_deref(),
            Some("acme/web.site")
        );
        assert_eq!(repository("/repos/acme/site").as_deref(), Some("acme/site"));
        for path in [
            "/repos/acme",
            "/repos//site",
            "/user/repos",
            "/repos/a%20b/c",
            "",
        ] {
            assert_eq!(repository(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_found_or_not(path in ".*", parts in prop::collection::vec("[a-z0-9]{0,4}", 0..8)) {
            let _ = (find("GET", &path), repository(&path));
            let _ = find("GET", &format!("/repos/{}", parts.join("/")));
        }
    }
}
