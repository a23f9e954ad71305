//! The middleware of GitHub's API against a real server over TLS that answers as GitHub does.
#![cfg(feature = "http-client")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use reqwest::Method;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use serde_json::{Value, json};
use support::https::{Answer, Asked, HttpsServer, answer, streamed};
use tachograph::instrumentation::reqwest::ClientTelemetry;
use tachograph::instrumentation::reqwest::github::GitHub;
use tachograph::testing::{self, Capture};

const NAMES: [&str; 3] = ["api.github.com", "github.example.com", "elsewhere.test"];
const SECRET: &str = "hunter2";

fn in_an_hour() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs() + 3600
}

/// The headers of an answer of `api.github.com`, as far as they concern limits.
fn github(status: u16, limits: (&str, u64, u64), more: &[(&str, &str)], body: &Value) -> Answer {
    let (resource, limit, remaining) = limits;
    let (used, reset) = ((limit - remaining).to_string(), in_an_hour().to_string());
    let (limit, remaining) = (limit.to_string(), remaining.to_string());
    let mut headers = vec![
        ("content-type", "application/json; charset=utf-8"),
        ("server", "github.com"),
        ("x-github-media-type", "github.v3; format=json"),
        ("x-github-request-id", "C0DE:1A2B3C:4D5E6F:7A8B9C:65000000"),
        ("x-ratelimit-limit", &limit),
        ("x-ratelimit-remaining", &remaining),
        ("x-ratelimit-reset", &reset),
        ("x-ratelimit-used", &used),
        ("x-ratelimit-resource", resource),
    ];
    headers.extend_from_slice(more);
    answer(status, &headers, body.to_string())
}

fn client(server: &HttpsServer) -> ClientWithMiddleware {
    let github = GitHub::builder().name("bot");
    let github = github.enterprise("https://github.example.com/api/v3");
    ClientBuilder::new(server.client().build().unwrap())
        .with(github.build().unwrap())
        .with(ClientTelemetry::default())
        .build()
}

async fn ask(client: &ClientWithMiddleware, method: Method, url: String, body: &Value) -> u16 {
    let request = client.request(method, url).bearer_auth(SECRET);
    let request = request.header("user-agent", "tests").body(body.to_string());
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    answer.bytes().await.unwrap();
    status
}

fn operations(recorded: &Capture, operation: &str, status: &str) -> u64 {
    let operations = recorded.signal("github.operation");
    let operations = operations.label("github.operation.name", operation);
    operations.label("status", status).count()
}

#[tokio::test]
async fn operations_are_told_by_their_route_and_what_they_make_is_counted_by_repository() {
    let server = HttpsServer::start(&NAMES, |asked: &Asked| {
        let status = match (&*asked.method, &*asked.path) {
            ("GET", "/repos/acme/site/pulls/404") => 404,
            ("POST", _) => 201,
            _ => 200,
        };
        let body = json!({"id": 1, "user": {"login": "somebody"}});
        Some(github(status, ("core", 5000, 4999), &[], &body))
    })
    .await;
    let recorded = testing::capture();
    let client = client(&server);
    let title = json!({"title": SECRET, "body": SECRET});
    let closed = json!({"state": "closed"});
    for (method, path, body) in [
        (Method::POST, "/repos/acme/site/git/commits", &title),
        (Method::PUT, "/repos/acme/site/contents/docs/a.md", &title),
        (Method::POST, "/repos/acme/site/pulls", &title),
        (Method::PATCH, "/repos/acme/site/pulls/7", &closed),
        (Method::PUT, "/repos/acme/site/pulls/7/merge", &title),
        (Method::POST, "/repos/acme/site/pulls/7/reviews", &title),
        (
            Method::GET,
            "/repos/acme/site/pulls/7?per_page=hunter2",
            &title,
        ),
        (Method::GET, "/repos/acme/site/pulls/404", &title),
        (Method::POST, "/repos/acme/agents/issues", &title),
        (Method::PATCH, "/repos/acme/agents/issues/1", &closed),
        (Method::POST, "/repos/acme/agents/issues/1/comments", &title),
        (Method::GET, "/repos/acme/site/something/new", &title),
    ] {
        ask(&client, method, server.url("api.github.com", path), body).await;
    }
    let enterprise = server.url("github.example.com", "/api/v3/repos/acme/site/git/commits");
    ask(&client, Method::POST, enterprise, &title).await;
    let elsewhere = server.url("elsewhere.test", "/repos/acme/site/git/commits");
    ask(&client, Method::POST, elsewhere, &title).await;

    for (operation, status, expected) in [
        ("git.create_commit", "success", 2),
        ("repos.create_or_update_file_contents", "success", 1),
        ("pulls.create", "success", 1),
        ("pulls.update", "success", 1),
        ("pulls.merge", "success", 1),
        ("pulls.get", "success", 1),
        ("pulls.get", "refused", 1),
        ("issues.create_comment", "success", 1),
        ("other", "success", 1),
    ] {
        let count = operations(&recorded, operation, status);
        assert_eq!(count, expected, "{operation} {status}");
    }
    recorded.signal("github.operation").assert_count(13);
    recorded.signal("http.client.request").assert_count(14);
    let commits = recorded.signal("github.commit");
    let commits = commits.label("github.repository", "acme/site");
    commits.label("status", "success").assert_count(3);
    for (action, expected) in [("create", 1), ("close", 1), ("merge", 1), ("review", 1)] {
        let pulls = recorded.signal("github.pull_request");
        let pulls = pulls.label("github.pull_request.action", action);
        pulls
            .label("github.repository", "acme/site")
            .assert_count(expected);
    }
    for action in ["create", "close", "comment"] {
        let issues = recorded
            .signal("github.issue")
            .label("github.issue.action", action);
        issues
            .label("github.repository", "acme/agents")
            .assert_count(1);
    }
    let latency = recorded.metric("github.operation.duration");
    assert_eq!(latency.observations(), 13);

    let span = recorded.span("github.operation");
    let span = span.field("github.operation.name", "pulls.merge");
    let span = span.field("github.repository", "acme/site");
    let span = span.field("http.response.status_code", "200");
    span.failed(false).assert_count(1);
    let span = recorded.span("GET /repos/{owner}/{repo}/pulls/{pull_number}");
    span.child_of("github.operation").assert_count(2);
    let all = recorded.to_string();
    for secret in [SECRET, "somebody"] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
}

#[tokio::test]
async fn limits_are_told_by_resource_and_secondary_ones_are_counted() {
    let message =
        |text: &str| json!({"message": text, "documentation_url": "https://docs.github.com/"});
    let secondary = message("You have exceeded a secondary rate limit. Please wait a few minutes.");
    let exceeded = message("API rate limit exceeded for installation ID 17.");
    let permission = message("Resource not accessible by integration");
    let server = HttpsServer::start(&NAMES, move |asked: &Asked| {
        Some(match &*asked.path {
            "/user" => github(200, ("core", 5000, 4990), &[], &json!({})),
            "/search/code" => github(200, ("code_search", 10, 4), &[], &json!({})),
            "/gists" => github(403, ("core", 5000, 4989), &[], &secondary),
            "/issues" => github(
                429,
                ("core", 5000, 4988),
                &[("retry-after", "60")],
                &secondary,
            ),
            "/meta" => github(403, ("search", 30, 0), &[], &exceeded),
            _ => github(403, ("core", 5000, 4987), &[], &permission),
        })
    })
    .await;
    let recorded = testing::capture();
    let client = client(&server);
    for path in ["/user", "/search/code", "/gists", "/meta", "/app"] {
        ask(
            &client,
            Method::GET,
            server.url("api.github.com", path),
            &json!({}),
        )
        .await;
    }
    // The body tells nothing that the head does not, and is not read.
    let unread = client
        .get(server.url("api.github.com", "/issues"))
        .send()
        .await;
    drop(unread.unwrap());

    for (resource, limit, remaining, share) in [
        ("core", 5000.0, 4987.0, 0.9974),
        ("code_search", 10.0, 4.0, 0.4),
        ("search", 30.0, 0.0, 0.0),
    ] {
        let gauge = |name: &str| {
            let gauge = recorded.metric(name).label("github.client.name", "bot");
            gauge.label("github.rate_limit.resource", resource).value()
        };
        assert_eq!(gauge("github.rate_limit.limit"), Some(limit), "{resource}");
        // That `/issues`, asked for last, tells of one more is an answer that came late.
        let left = gauge("github.rate_limit.remaining");
        assert_eq!(left, Some(remaining), "{resource}");
        assert_eq!(
            gauge("github.rate_limit.available"),
            Some(share),
            "{resource}"
        );
        assert!(gauge("github.rate_limit.reset").unwrap() > 1.7e9);
    }
    let limits = recorded.signal("github.secondary_limit");
    limits.label("github.client.name", "bot").assert_count(2);
    for (operation, status, error) in [
        ("gists.list", "rate_limited", "secondary_rate_limit"),
        ("issues.list", "rate_limited", "secondary_rate_limit"),
        ("meta.get", "rate_limited", "rate_limit"),
        ("apps.get_authenticated", "denied", "403"),
    ] {
        assert_eq!(operations(&recorded, operation, status), 1, "{operation}");
        let span = recorded.span("github.operation");
        let span = span.field("github.operation.name", operation);
        span.field("error.type", error).failed(true).assert_count(1);
    }
}

#[tokio::test]
async fn what_is_left_is_not_known_after_the_reset() {
    let soon = in_an_hour() - 3600 + 2;
    let server = HttpsServer::start(&NAMES, move |asked: &Asked| {
        Some(match &*asked.path {
            "/user" => {
                let reset = soon.to_string();
                let limits = [
                    ("x-ratelimit-limit", "60"),
                    ("x-ratelimit-remaining", "3"),
                    ("x-ratelimit-reset", &*reset),
                ];
                answer(200, &limits, "{}")
            }
            _ => github(200, ("search", 30, 29), &[], &json!({})),
        })
    })
    .await;
    let recorded = testing::capture();
    let client = client(&server);
    let left = |resource| {
        let left = recorded.metric("github.rate_limit.available");
        left.label("github.rate_limit.resource", resource).value()
    };
    ask(
        &client,
        Method::GET,
        server.url("api.github.com", "/user"),
        &json!({}),
    )
    .await;
    assert_eq!(left("core"), Some(0.05));
    let start = Instant::now();
    while left("core").is_some() {
        assert!(start.elapsed() < Duration::from_secs(20));
        let url = server.url("api.github.com", "/search/code");
        ask(&client, Method::GET, url, &json!({})).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        recorded.metric("github.rate_limit.limit").value(),
        Some(30.0)
    );
    assert!(left("search").is_some());
}

#[tokio::test]
async fn queries_are_one_operation_by_name_and_their_errors_are_seen() {
    let server = HttpsServer::start(&NAMES, |asked: &Asked| {
        let query = String::from_utf8_lossy(&asked.body).into_owned();
        let body = match query {
            q if q.contains("Missing") => json!({"data": null, "errors": [{"type": "NOT_FOUND", "path": ["repository"], "message": "Could not resolve to a Repository with the name 'a/b'."}]}),
            q if q.contains("Limited") => json!({"errors": [{"type": "RATE_LIMITED", "message": "API rate limit exceeded"}]}),
            q if q.contains("Large") => json!({"data": {"text": "x".repeat(1 << 18)}}),
            _ => json!({"data": {"viewer": {"login": "somebody"}}}),
        };
        Some(github(200, ("graphql", 5000, 4900), &[], &body))
    })
    .await;
    let recorded = testing::capture();
    let client = client(&server);
    for (query, operation, status) in [
        (
            "query Viewer { viewer { login } }",
            "graphql.Viewer",
            "success",
        ),
        ("{ viewer { login } }", "graphql", "success"),
        ("query Missing { repository }", "graphql.Missing", "refused"),
        (
            "query Limited { viewer }",
            "graphql.Limited",
            "rate_limited",
        ),
        ("query Large { viewer }", "graphql.Large", "success"),
    ] {
        let url = server.url("api.github.com", "/graphql");
        ask(&client, Method::POST, url, &json!({"query": query})).await;
        assert_eq!(operations(&recorded, operation, status), 1, "{operation}");
    }
    let left = recorded.metric("github.rate_limit.remaining");
    left.label("github.rate_limit.resource", "graphql")
        .assert_value(4900.0);
    recorded
        .span("POST /graphql")
        .child_of("github.operation")
        .assert_count(5);
    assert!(!recorded.to_string().contains("somebody"));
}

#[tokio::test]
async fn what_gets_no_answer_and_what_is_dropped_is_no_success() {
    let (send, half) = streamed(200, &[]);
    let half = std::sync::Mutex::new(Some(half));
    let server = HttpsServer::start(&NAMES, move |asked: &Asked| match &*asked.method {
        "GET" => half.lock().unwrap().take(),
        _ => None,
    })
    .await;
    let recorded = testing::capture();
    let bare = server.client().timeout(Duration::from_millis(500));
    let client = ClientBuilder::new(bare.build().unwrap())
        .with(GitHub::builder().build().unwrap())
        .build();
    let mut left = client
        .get(server.url("api.github.com", "/user/repos"))
        .send()
        .await
        .unwrap();
    send.send(Ok("[")).unwrap();
    left.chunk().await.unwrap();
    drop(left);
    assert_eq!(
        operations(&recorded, "repos.list_for_authenticated_user", "abandoned"),
        1
    );

    let url = server.url("api.github.com", "/repos/acme/site/git/commits");
    client.post(&url).body("{}").send().await.unwrap_err();
    assert_eq!(operations(&recorded, "git.create_commit", "timeout"), 1);
    let url = server.url("api.github.com", "/repos/acme/site/pulls");
    let waiting = client.post(&url).body("{}").send();
    let given_up = tokio::time::timeout(Duration::from_millis(20), waiting);
    given_up.await.unwrap_err();
    assert_eq!(operations(&recorded, "pulls.create", "abandoned"), 1);

    let commits = recorded.signal("github.commit");
    commits.label("status", "timeout").assert_count(1);
    let pulls = recorded.signal("github.pull_request");
    pulls.label("status", "abandoned").assert_count(1);
    let span = recorded.span("github.operation").failed(true);
    span.assert_count(3);
    // Without the other middleware nothing is said of HTTP.
    recorded.signal("http.client.request").assert_count(0);
}
