//! GitHub as a client of its API sees it: operations, rate limits, and what was made there. There
//! are no semantic conventions for it; names of rate limits follow GitHub's headers ("Rate limits
//! for the REST API", API version 2022-11-28).

use crate::catalog::{API, Alert, Condition, Panel, Runbook, Severity, View};
use crate::{closed_label, signal};

closed_label! {
    /// How an operation of GitHub's API ended.
    pub enum GithubStatus {
        /// GitHub did it.
        Success = "success",
        /// What was asked for is not there, or cannot be done as asked: a status from 400 on that is none of the others.
        Refused = "refused",
        /// The credentials are wrong or do not suffice: status 401 or 403.
        Denied = "denied" error,
        /// A rate limit was exceeded, the primary or a secondary one.
        RateLimited = "rate_limited" error,
        /// GitHub failed, or there was no whole answer.
        Failed = "failed" error,
        /// There was no answer in time.
        Timeout = "timeout" error,
        /// Its caller went away before the end.
        Abandoned = "abandoned" abandoned,
    }
}

closed_label! {
    /// What is done with a pull request.
    pub enum PullRequestAction {
        /// It is opened.
        Create = "create",
        /// Its title, text or base is changed, or its branch is brought up to date.
        Update = "update",
        /// It is merged.
        Merge = "merge",
        /// It is closed without being merged.
        Close = "close",
        /// It is opened again.
        Reopen = "reopen",
        /// It is reviewed.
        Review = "review",
        /// A comment on its changes is made.
        Comment = "comment",
    }
}

closed_label! {
    /// What is done with an issue. Pull requests are issues to GitHub, so that comments on them count here.
    pub enum IssueAction {
        /// It is opened.
        Create = "create",
        /// It is changed.
        Update = "update",
        /// It is closed.
        Close = "close",
        /// It is opened again.
        Reopen = "reopen",
        /// A comment is made.
        Comment = "comment",
    }
}

signal! {
    /// One operation of GitHub's API.
    pub operation GithubOperation => GithubOperationEnd = "github.operation" {
        labels {
            /// The operation as GitHub's API description names it, such as `pulls.create`; `other` if it is not known, `graphql` and the query's name for a query that has one.
            operation as "github.operation.name": open(200),
        }
        outcome {
            /// How it ended.
            status: closed(GithubStatus),
            /// What went wrong: the status code, `rate_limit`, `secondary_rate_limit`, the type of a query's error, or the kind of error; absent if nothing.
            error as "error.type": optional(40),
        }
        context {
            /// The repository, as `owner/name`.
            REPOSITORY = "github.repository",
            /// Status code of the answer.
            CODE = "http.response.status_code",
        }
        metrics {
            /// Operations of GitHub's API that ended.
            "github.operations" = counter "{operation}" count by [operation, status, error];
            /// Time from an operation's request to the end of its answer.
            "github.operation.duration" = histogram "s" duration by [operation, status] buckets (API);
        }
        panels [
            Panel::new("GitHub operations", View::Rate("github.operations"), "Operations of GitHub's API, a second, by name.")
                .by(&["github.operation.name"])
                .section("GitHub operations")
                .headline(),
            Panel::new("Failing GitHub operations", View::ErrorRatio("github.operations"), "Share of operations that GitHub failed, denied or limited. What is not there (404) or cannot be done as asked (422) does not count.")
                .section("GitHub operations")
                .headline(),
            Panel::new("GitHub latency", View::Quantiles("github.operation.duration"), "How long operations take that succeed.")
                .only(&[("status", "success")])
                .section("GitHub operations")
                .headline(),
            Panel::new("GitHub operations by status", View::Rate("github.operations"), "Operations of GitHub's API, a second, by how they ended.")
                .by(&["status"])
                .section("GitHub operations"),
            Panel::new("GitHub latency by operation", View::Quantiles("github.operation.duration"), "The 95th percentile of the time that an operation takes, of those that succeed.")
                .by(&["github.operation.name"])
                .only(&[("status", "success")])
                .section("GitHub operations"),
            Panel::new("GitHub failures by kind", View::Errors("github.operations"), "Operations that failed, a second, by name and by what went wrong.")
                .by(&["github.operation.name", "error.type"])
                .section("GitHub operations"),
        ]
        alerts [
            Alert::new(
                "GitHubApiFailing",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "github.operations", ratio: 0.1, floor: 20 },
                "More than 10 % of the operations of GitHub's API fail",
                Runbook {
                    meaning: "GitHub fails, does not answer, denies or limits what is asked of it. What is not there (404) or cannot be done as asked (409, 422) does not count.",
                    causes: &[
                        "GitHub has an incident (`status` is `failed` or `timeout`)",
                        "The token has expired, was revoked, or lacks a permission (`denied`)",
                        "A rate limit is used up (`rate_limited`)",
                    ],
                    actions: &[
                        "Split by `status`, `error_type` and `github_operation_name`",
                        "Read githubstatus.com",
                        "`denied`: ask `GET /user` or `GET /installation/repositories` with the same token, and compare its permissions with what the operation needs",
                        "`rate_limited`: see the runbooks of GitHubRateLimitLow and GitHubSecondaryLimit",
                    ],
                },
            ),
            Alert::new(
                "GitHubSlow",
                Severity::Warning,
                Condition::QuantileAbove { metric: "github.operation.duration", quantile: 0.95, threshold: 5.0, floor: 20 },
                "One operation of GitHub's API in twenty takes more than 5 s",
                Runbook {
                    meaning: "The time from an operation's request to the end of its answer.",
                    causes: &["GitHub is slow, often ahead of an incident", "Large answers: diffs, archives, long lists", "The network between"],
                    actions: &["Split by `github_operation_name`", "Read githubstatus.com", "Ask for smaller pages, or for what has changed alone (`since`, ETags)"],
                },
            )
            .for_minutes(10),
        ]
    }
}

signal! {
    /// Requests that a rate limit of GitHub allows until its reset.
    pub gauge GithubRateLimit = "github.rate_limit" => "github.rate_limit.limit" "{request}" {
        labels {
            /// Name of the client, whose credentials the limit is of.
            client as "github.client.name": open(16),
            /// What the limit is on, such as `core`, `search` or `graphql`.
            resource as "github.rate_limit.resource": open(24),
        }
        panels [
            Panel::new("GitHub limits", View::Value("github.rate_limit.limit"), "Requests that each limit allows until its reset.")
                .by(&["github.client.name", "github.rate_limit.resource"])
                .section("GitHub rate limits"),
        ]
        no_alert "it is GitHub's setting, and what is left of it is watched"
    }
}

signal! {
    /// Requests that are left until the reset of a rate limit of GitHub.
    pub gauge GithubRateLimitRemaining = "github.rate_limit_remaining" => "github.rate_limit.remaining" "{request}" {
        labels {
            /// Name of the client, whose credentials the limit is of.
            client as "github.client.name": open(16),
            /// What the limit is on, such as `core`, `search` or `graphql`.
            resource as "github.rate_limit.resource": open(24),
        }
        panels [
            Panel::new("GitHub requests left", View::Value("github.rate_limit.remaining"), "Requests that are left until the reset, by limit.")
                .by(&["github.client.name", "github.rate_limit.resource"])
                .section("GitHub rate limits"),
        ]
        no_alert "limits differ from 10 to 15000, so that the share that is left is watched"
    }
}

signal! {
    /// Requests that were made since the last reset of a rate limit of GitHub.
    pub gauge GithubRateLimitUsed = "github.rate_limit_used" => "github.rate_limit.used" "{request}" {
        labels {
            /// Name of the client, whose credentials the limit is of.
            client as "github.client.name": open(16),
            /// What the limit is on, such as `core`, `search` or `graphql`.
            resource as "github.rate_limit.resource": open(24),
        }
        panels [
            Panel::new("GitHub requests used", View::Value("github.rate_limit.used"), "Requests that were made since the last reset, by limit. Others with the same credentials are among them.")
                .by(&["github.client.name", "github.rate_limit.resource"])
                .section("GitHub rate limits"),
        ]
        no_alert "the share that is left is watched"
    }
}

signal! {
    /// When a rate limit of GitHub is reset, in seconds since the Unix epoch.
    pub gauge GithubRateLimitReset = "github.rate_limit_reset" => "github.rate_limit.reset" "s" {
        labels {
            /// Name of the client, whose credentials the limit is of.
            client as "github.client.name": open(16),
            /// What the limit is on, such as `core`, `search` or `graphql`.
            resource as "github.rate_limit.resource": open(24),
        }
        no_alert "a reset comes by itself"
    }
}

signal! {
    /// Share of a rate limit of GitHub that is left until its reset, 0 to 1.
    pub gauge GithubRateLimitAvailable = "github.rate_limit_available" => "github.rate_limit.available" "1" {
        labels {
            /// Name of the client, whose credentials the limit is of.
            client as "github.client.name": open(16),
            /// What the limit is on, such as `core`, `search` or `graphql`.
            resource as "github.rate_limit.resource": open(24),
        }
        panels [
            Panel::new("GitHub rate limit left", View::Value("github.rate_limit.available"), "Share of each limit that is left until its reset. At 0 GitHub refuses.")
                .by(&["github.client.name", "github.rate_limit.resource"])
                .section("GitHub rate limits")
                .headline(),
        ]
        alerts [
            Alert::new(
                "GitHubRateLimitLow",
                Severity::Warning,
                Condition::ValueBelow { metric: "github.rate_limit.available", threshold: 0.1 },
                "Less than a tenth of a rate limit of GitHub is left",
                Runbook {
                    meaning: "Before long GitHub refuses until the reset, which for most limits is within the hour. Limits that are reset each minute (`search`, `code_search`) fire only if they stay low.",
                    causes: &[
                        "Somebody polls in short intervals, or lists pages again and again",
                        "Another program uses the same credentials",
                        "More is done than the limit was made for",
                    ],
                    actions: &[
                        "See which operations are made most (GitHub operations)",
                        "See when it is reset: `github_rate_limit_reset_seconds`",
                        "Ask conditionally (ETags): 304 does not count; use webhooks instead of polling",
                        "Use an app's installation, whose limit grows with its repositories",
                    ],
                },
            )
            .by(&["github.client.name", "github.rate_limit.resource"]),
        ]
    }
}

signal! {
    /// Answers by which GitHub said that a secondary rate limit was exceeded.
    pub counter GithubSecondaryLimit = "github.secondary_limit" => "github.secondary_limits" "{response}" {
        labels {
            /// Name of the client, whose credentials the limit is of.
            client as "github.client.name": open(16),
        }
        panels [
            Panel::new("GitHub secondary limits", View::Rate("github.secondary_limits"), "Answers that a secondary rate limit was exceeded, a second. GitHub does not tell beforehand what is left of those.")
                .by(&["github.client.name"])
                .section("GitHub rate limits"),
        ]
        alerts [
            Alert::new(
                "GitHubSecondaryLimit",
                Severity::Warning,
                Condition::IncreaseAbove { metric: "github.secondary_limits", amount: 3.0 },
                "GitHub says again and again that a secondary rate limit is exceeded",
                Runbook {
                    meaning: "Too many requests at the same time or in a minute, or too much content made. GitHub bans those who go on regardless.",
                    causes: &["Requests are made concurrently", "Comments, issues or commits are made in a quick row", "Refused requests are sent again at once"],
                    actions: &[
                        "Wait as long as `retry-after` says, or a minute at least, and longer each time",
                        "Make requests one after the other, those that change something a second apart",
                        "See which operations are made most",
                    ],
                },
            )
            .over_minutes(15)
            .by(&["github.client.name"]),
        ]
    }
}

signal! {
    /// A commit that was asked of GitHub's API: of the git database, of a file's contents, or a merge of branches.
    pub counter GithubCommit = "github.commit" => "github.commits" "{commit}" {
        labels {
            /// The repository, as `owner/name`.
            repository as "github.repository": open(100),
            /// How it ended.
            status: closed(GithubStatus),
        }
        panels [
            Panel::new("GitHub commits", View::Total("github.commits"), "Commits that were made over the range shown, by repository.")
                .by(&["github.repository"])
                .only(&[("status", "success")])
                .section("Made at GitHub")
                .headline(),
        ]
        no_alert "failing operations are watched on github.operations"
    }
}

signal! {
    /// Something done with a pull request.
    pub counter GithubPullRequest = "github.pull_request" => "github.pull_requests" "{action}" {
        labels {
            /// The repository, as `owner/name`.
            repository as "github.repository": open(100),
            /// What was done.
            action as "github.pull_request.action": closed(PullRequestAction),
            /// How it ended.
            status: closed(GithubStatus),
        }
        panels [
            Panel::new("Pull requests", View::Total("github.pull_requests"), "What was done with pull requests over the range shown, by action.")
                .by(&["github.pull_request.action"])
                .only(&[("status", "success")])
                .section("Made at GitHub")
                .headline(),
            Panel::new("Pull requests by repository", View::Total("github.pull_requests"), "Pull requests that were opened over the range shown, by repository.")
                .by(&["github.repository"])
                .only(&[("status", "success"), ("github.pull_request.action", "create")])
                .section("Made at GitHub"),
        ]
        no_alert "failing operations are watched on github.operations"
    }
}

signal! {
    /// Something done with an issue.
    pub counter GithubIssue = "github.issue" => "github.issues" "{action}" {
        labels {
            /// The repository, as `owner/name`.
            repository as "github.repository": open(100),
            /// What was done.
            action as "github.issue.action": closed(IssueAction),
            /// How it ended.
            status: closed(GithubStatus),
        }
        panels [
            Panel::new("Issues", View::Total("github.issues"), "What was done with issues over the range shown, by action.")
                .by(&["github.issue.action"])
                .only(&[("status", "success")])
                .section("Made at GitHub"),
            Panel::new("Issues by repository", View::Total("github.issues"), "What was done with issues over the range shown, by repository.")
                .by(&["github.repository"])
                .only(&[("status", "success")])
                .section("Made at GitHub"),
        ]
        no_alert "failing operations are watched on github.operations"
    }
}
