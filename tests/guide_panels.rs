//! What the guides of five systems show on their dashboards, and where it is on ours.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value;
use support::docs;

/// How many dashboards, panels, groups or themes a guide lists.
const LISTED: &[(&str, usize)] = &[
    ("agent-service", 4),
    ("agent-workflow", 7),
    ("autobot", 13),
    ("data20", 5),
    ("omniclaude", 11),
];

/// A guide's list: what it names, and our dashboards with panels on which it is.
type Listed = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static [&'static str])],
);

#[rustfmt::skip]
const LISTS: &[Listed] = &[
    ("agent-service", "request monitoring", &[("api", &["Busiest routes", "Latency by route", "Requests by status", "Server errors", "Requests by authentication"])]),
    ("agent-service", "agent performance", &[("agents", &["Agent runs", "Failing agents", "Agent run duration", "Tokens by agent"])]),
    ("agent-service", "infrastructure", &[("database", &["Pool saturation"]), ("redis", &["Redis connections"]), ("business", &["Active sessions"])]),
    ("agent-service", "business", &[("business", &["Users", "Active API keys", "Active sessions"])]),

    ("agent-workflow", "overview", &[("agents", &["Runs over the range", "Failing agents"]), ("workflow_db", &["Agents held"]), ("sessions", &["Sessions ended"])]),
    ("agent-workflow", "performance over time", &[("agents", &["Agent run duration"])]),
    ("agent-workflow", "table of agents", &[("agents", &["Runs over the range", "Failing agents"])]),
    ("agent-workflow", "distribution over phases", &[("agents", &["Runs by phase"])]),
    ("agent-workflow", "average execution time", &[("agents", &["Mean run duration"])]),
    ("agent-workflow", "rate of invocations", &[("agents", &["Agent runs"])]),
    ("agent-workflow", "system", &[("agents", &["Agents at work"]), ("sessions", &["Sessions under way", "Agents per session"])]),

    ("autobot", "AutoBot Overview", &[("overview", &[])]),
    ("autobot", "System Metrics", &[("system", &[])]),
    ("autobot", "Workflow Execution", &[("workflows", &[])]),
    ("autobot", "Error Tracking", &[("errors", &[])]),
    ("autobot", "Claude API", &[("claude", &[])]),
    ("autobot", "GitHub Integration", &[("github", &[])]),
    ("autobot", "GPU/NPU Performance", &[("performance", &[])]),
    ("autobot", "API Health", &[("api", &[])]),
    ("autobot", "Multi-Machine", &[("multi-machine", &[])]),
    ("autobot", "Knowledge Base", &[("knowledge-base", &[])]),
    ("autobot", "LLM Providers", &[("llm", &[])]),
    ("autobot", "Redis", &[("redis", &[])]),
    ("autobot", "WebSocket", &[("websocket", &[])]),

    ("data20", "Request Rate", &[("api", &["Busiest routes"])]),
    ("data20", "P95 Latency", &[("api", &["Latency by route"])]),
    ("data20", "Error Rate", &[("api", &["Server errors"])]),
    ("data20", "Tool Executions", &[("tools", &["Tool calls by status", "Most called tools"])]),
    ("data20", "System Resources", &[("system", &["CPU", "Memory used", "Disk space used"])]),

    ("omniclaude", "Service Health Status", &[("api", &["Health"])]),
    ("omniclaude", "Action Log Rate", &[("actions", &["Actions logged", "Actions by agent"])]),
    ("omniclaude", "Action Log Duration", &[("actions", &["Action log latency"])]),
    ("omniclaude", "Event Publishing Rate", &[("events", &["Events published"])]),
    ("omniclaude", "Event Publishing Duration", &[("events", &["Publishing latency"])]),
    ("omniclaude", "Cache Hit/Miss Rate", &[("cache", &["Cache hits and misses"])]),
    ("omniclaude", "Overall Cache Hit Rate", &[("cache", &["Cache misses"])]),
    ("omniclaude", "Database Operation Duration", &[("database", &["Statement latency", "Latency by table"])]),
    ("omniclaude", "Database Operation Rate", &[("database", &["Statements", "Statements by table"])]),
    ("omniclaude", "HTTP Request Duration", &[("api", &["Latency", "Latency by route"])]),
    ("omniclaude", "HTTP Request Rate", &[("api", &["Requests", "Busiest routes"])]),
];

/// What else a guide asks in its queries, and the panel that shows it.
#[rustfmt::skip]
const QUERIES: &[(&str, &str, &str, &str)] = &[
    ("agent-service", "logins by provider and success", "auth", "Logins"),
    ("agent-service", "failed attempts by reason", "auth", "Refused callers"),
    ("agent-service", "tools", "tools", "Tool calls"),
    ("agent-service", "quantiles of queries", "database", "Statement latency"),
    ("agent-service", "operations of Redis", "redis", "Redis commands by name"),

    ("agent-workflow", "the slowest agents", "agents", "Agent run duration"),
    ("agent-workflow", "agents whose success declines", "agents", "Failing agents"),
    ("agent-workflow", "phases in per cent", "agents", "Runs by phase"),
    ("agent-workflow", "parallel runs by session", "sessions", "Agents at once"),
    ("agent-workflow", "errors by agent", "agents", "Agent failures by kind"),
    ("agent-workflow", "sessions that end", "sessions", "Completion"),
    ("agent-workflow", "last execution", "agents", "Since the last run"),
    ("agent-workflow", "tools by agent", "agents", "Tool calls by agent"),
    ("agent-workflow", "the database", "workflow_db", "Size"),

    ("autobot", "workflow success rate", "workflows", "Failing workflows"),
    ("autobot", "workflow duration", "workflows", "Workflow duration"),
    ("autobot", "workflow steps", "workflows", "Workflow steps"),
    ("autobot", "approvals", "workflows", "Approvals"),
    ("autobot", "GitHub calls", "github", "GitHub operations"),
    ("autobot", "GitHub rate limit", "github", "GitHub requests left"),
    ("autobot", "commits", "github", "GitHub commits"),
    ("autobot", "pull requests", "github", "Pull requests"),
    ("autobot", "issues", "github", "Issues"),
    ("autobot", "active tasks by agent", "tasks", "Tasks under way"),
    ("autobot", "task queue depth", "tasks", "Tasks waiting"),
    ("autobot", "task retries", "tasks", "Task retries"),
    ("autobot", "knowledge base search latency", "knowledge-base", "Search latency"),
    ("autobot", "knowledge base cache hits", "knowledge-base", "Cache hits"),
    ("autobot", "documents", "knowledge-base", "Documents"),
    ("autobot", "embedding latency", "knowledge-base", "Embedding latency"),
    ("autobot", "LLM requests by provider", "llm", "Model requests"),
    ("autobot", "LLM tokens", "llm", "Tokens"),
    ("autobot", "LLM cost", "llm", "Cost"),
    ("autobot", "LLM errors", "llm", "Errors by kind"),
    ("autobot", "LLM rate limit", "llm", "Rate limit remaining"),
    ("autobot", "provider availability", "llm", "Providers up"),
    ("autobot", "active WebSocket connections", "websocket", "Open connections"),
    ("autobot", "WebSocket messages", "websocket", "Messages received"),
    ("autobot", "WebSocket latency", "websocket", "Handling time"),
    ("autobot", "WebSocket rooms", "websocket", "Rooms"),
    ("autobot", "Redis latency by operation", "redis", "Redis latency by command"),
    ("autobot", "Redis pool", "redis", "Redis connections"),
    ("autobot", "Redis memory", "redis", "Redis memory"),
    ("autobot", "channels", "redis", "Channel messages"),
    ("autobot", "timeouts", "redis", "Redis commands by status"),
    ("autobot", "circuit breakers", "redis", "Circuit breakers"),

    ("data20", "errors by endpoint", "api", "Server errors"),
    ("data20", "tools most used", "tools", "Most called tools"),
    ("data20", "tool success rate", "tools", "Failing tools"),
    ("data20", "tool duration", "tools", "Tool latency"),
    ("data20", "tools running", "tools", "Tool calls under way"),
    ("data20", "queries", "database", "Statements"),
    ("data20", "slow queries", "database", "Slow statements"),
    ("data20", "connection pool usage", "database", "Pool saturation"),
    ("data20", "Celery throughput", "celery", "Celery tasks by end"),
    ("data20", "Celery failures", "celery", "Failing Celery tasks"),
    ("data20", "Celery queues", "celery", "Celery queues"),
    ("data20", "cache hit rate", "cache", "Cache misses"),
    ("data20", "cache size", "cache", "Cache size"),
    ("data20", "processor", "system", "CPU"),
    ("data20", "memory available", "system", "Memory"),
    ("data20", "disk free", "system", "Free disk space"),

    ("omniclaude", "action log errors", "actions", "Action log errors"),
    ("omniclaude", "event publishing success", "events", "Events not published"),
    ("omniclaude", "event size", "events", "Size of events"),
    ("omniclaude", "slow statements", "database", "Slow statements"),
    ("omniclaude", "tables by volume", "database", "Statements by table"),
    ("omniclaude", "connection pool utilisation", "database", "Pool saturation"),
    ("omniclaude", "cache latency", "cache", "Cache latency"),
    ("omniclaude", "cache entries", "cache", "Cache entries"),
    ("omniclaude", "request size", "api", "Request bodies"),
    ("omniclaude", "response size", "api", "Response bodies"),
    ("omniclaude", "routing latency", "actions", "Routing latency"),
    ("omniclaude", "routing decisions", "actions", "Routing decisions"),
    ("omniclaude", "routing confidence", "actions", "Routing confidence"),
    ("omniclaude", "time since start", "api", "Time since start"),
    ("omniclaude", "system information", "api", "Services"),
];

/// The titles of the panels of a dashboard, also of those in rows; none if there is no such file.
fn panels(dashboard: &str) -> Option<Vec<String>> {
    let path = docs::root().join(format!("dashboards/{dashboard}.json"));
    let text = std::fs::read_to_string(path).ok()?;
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut titles = Vec::new();
    let mut open = vec![&dashboard];
    while let Some(part) = open.pop() {
        for panel in part["panels"].as_array().into_iter().flatten() {
            if panel["type"] != "row" {
                titles.extend(panel["title"].as_str().map(str::to_owned));
            }
            open.push(panel);
        }
    }
    Some(titles)
}

/// What is missing of a panel; of a dashboard alone, if no panel is named.
fn missing(guide: &str, theirs: &str, dashboard: &str, panel: Option<&str>) -> Option<String> {
    let Some(titles) = panels(dashboard) else {
        return Some(format!("{guide}: {theirs}: no dashboards/{dashboard}.json"));
    };
    let panel = panel?;
    (!titles.iter().any(|title| title == panel))
        .then(|| format!("{guide}: {theirs}: dashboards/{dashboard}.json has no panel {panel}"))
}

#[test]
fn what_the_guides_list_is_on_our_dashboards() {
    let mut all = Vec::new();
    for (guide, theirs, ours) in LISTS {
        for (dashboard, panels) in *ours {
            all.extend(missing(guide, theirs, dashboard, None));
            for panel in *panels {
                all.extend(missing(guide, theirs, dashboard, Some(panel)));
            }
        }
    }
    assert!(all.is_empty(), "{all:#?}");
    for (guide, expected) in LISTED {
        let count = LISTS.iter().filter(|(of, _, _)| of == guide).count();
        assert_eq!(count, *expected, "{guide}");
    }
}

#[test]
fn what_the_guides_ask_is_on_our_dashboards() {
    let each = |(guide, theirs, dashboard, panel): &(&str, &str, &str, &str)| {
        missing(guide, theirs, dashboard, Some(panel))
    };
    let all: Vec<_> = QUERIES.iter().filter_map(each).collect();
    assert!(all.is_empty(), "{all:#?}");
}

#[test]
fn the_guides_of_migration_say_where() {
    for (guide, theirs, ours) in LISTS {
        let page = docs::page(&format!("docs/migrate/{guide}.md"));
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| {theirs}")))
            .unwrap_or_else(|| panic!("docs/migrate/{guide}.md has no row for {theirs}"));
        for (dashboard, panels) in *ours {
            assert!(
                row.contains(&format!("`{dashboard}.json`")),
                "{guide}: {row}"
            );
            for panel in *panels {
                assert!(
                    row.contains(&format!("*{panel}*")),
                    "{guide}: {panel}: {row}"
                );
            }
        }
    }
}
