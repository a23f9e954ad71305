//! Believable values for open labels. Those that belong together, such as a provider and its
//! models, are drawn together.

/// An agent as it appears on labels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Persona {
    /// Share of the traffic.
    pub(super) weight: u32,
    pub(super) agent: &'static str,
    pub(super) framework: &'static str,
    pub(super) provider: &'static str,
    pub(super) model: &'static str,
    /// How slow it is, 1 for the average.
    pub(super) pace: f64,
}

pub(super) const PERSONAS: &[Persona] = &[
    Persona {
        weight: 40,
        agent: "code-reviewer",
        framework: "claude-code",
        provider: "anthropic",
        model: "claude-sonnet-4-5",
        pace: 1.0,
    },
    Persona {
        weight: 20,
        agent: "bug-fixer",
        framework: "codex",
        provider: "openai",
        model: "gpt-5.1-codex",
        pace: 1.3,
    },
    Persona {
        weight: 15,
        agent: "researcher",
        framework: "gemini-cli",
        provider: "gcp.gemini",
        model: "gemini-2.5-pro",
        pace: 1.6,
    },
    Persona {
        weight: 15,
        agent: "triage",
        framework: "langgraph",
        provider: "anthropic",
        model: "claude-haiku-4-5",
        pace: 0.4,
    },
    Persona {
        weight: 10,
        agent: "release-notes",
        framework: "crewai",
        provider: "mistral_ai",
        model: "mistral-large-2411",
        pace: 0.8,
    },
];

const TOOLS: &[&str] = &[
    "read_file",
    "bash",
    "edit_file",
    "grep",
    "web_search",
    "run_tests",
    "git_diff",
    "fetch_url",
];
const WORKFLOWS: &[&str] = &[
    "code_review",
    "bug_fix",
    "triage",
    "release_notes",
    "dependency_update",
];
const TASKS: &[&str] = &[
    "index_repository",
    "summarise_diff",
    "send_report",
    "embed_documents",
    "sync_issues",
];
const QUEUES: &[&str] = &["default", "reports", "embeddings"];
const SERVICES: &[&str] = &["gateway", "orchestrator", "knowledge"];
const ROUTES: &[&str] = &[
    "/api/v1/tasks",
    "/api/v1/tasks/{id}",
    "/api/v1/reviews",
    "/health/live",
];
const ERRORS: &[&str] = &[
    "timeout",
    "rate_limited",
    "connection_reset",
    "invalid_response",
];
const REPOSITORIES: &[&str] = &["shop/backend", "shop/frontend", "shop/infrastructure"];
const SERVERS: &[&str] = &["filesystem", "github", "postgres"];
const GITHUB: &[&str] = &[
    "pulls.get",
    "repos.get_content",
    "issues.create_comment",
    "git.create_commit",
    "pulls.create",
];
const COLLECTIONS: &[&str] = &["handbook", "tickets", "source"];
const COMPONENTS: &[&str] = &["ledger", "redis", "vector_store"];
const METHODS: &[&str] = &["embedding", "fuzzy", "llm"];
const PAGES: &[&str] = &["/", "/reviews/{id}", "/agents", "/settings"];
const REGIONS: &[&str] = &["eu-central", "us-east"];

/// What a value is drawn from.
pub(super) enum Pool {
    /// The persona decides.
    Fixed(&'static str),
    /// Earlier ones more often.
    Ranked(&'static [&'static str]),
    /// `<last part of the key>-1` to `-5`.
    Numbered,
}

/// The pool of an open label, by words in its key.
pub(super) fn of(key: &str, persona: &Persona) -> Pool {
    let has = |word: &str| key.contains(word);
    if has("accelerator.worker") {
        Pool::Ranked(&["npu-1", "npu-2", "gpu-1"])
    } else if has("accelerator.model") {
        Pool::Ranked(&["bge-small-en", "whisper-base", "yolo11n"])
    } else if has("mcp.method") {
        Pool::Ranked(&["tools/call", "tools/list", "prompts/get", "resources/read"])
    } else if has("method") {
        Pool::Ranked(METHODS)
    } else if has("destination.name") {
        Pool::Ranked(&["agent-actions", "orders", "quality-metrics"])
    } else if has("partition") {
        Pool::Ranked(&["0", "1", "2"])
    } else if has("consumer.group") {
        Pool::Ranked(&["billing", "search"])
    } else if has("db.operation") {
        Pool::Ranked(&["SELECT", "INSERT", "UPDATE", "DELETE"])
    } else if has("db.collection") {
        Pool::Ranked(&["orders", "users", "events"])
    } else if has("pool.name") {
        Pool::Ranked(&["main", "reports"])
    } else if has("github.client") {
        Pool::Ranked(&["main"])
    } else if has("github.operation") {
        Pool::Ranked(GITHUB)
    } else if has("repository") {
        Pool::Ranked(&["acme/site", "acme/agents", "acme/infra"])
    } else if has("rate_limit.resource") {
        Pool::Ranked(&["core", "search", "graphql"])
    } else if has("server.address") {
        Pool::Ranked(&["api.github.com", "accounts.internal", "api.anthropic.com"])
    } else if has("url.template") {
        Pool::Ranked(PAGES)
    } else if has("http.route") {
        Pool::Ranked(&["/api/run", "/api/tools", "/agents/{name}", "/health"])
    } else if has("status_code") {
        // Only what failed says one here.
        Pool::Ranked(&["500", "429", "404"])
    } else if has("protocol") {
        Pool::Ranked(&["2025-06-18", "2025-03-26"])
    } else if has("transport") {
        Pool::Ranked(&["pipe", "tcp"])
    } else if has("prompt") {
        Pool::Ranked(&["summarise", "review"])
    } else if has("search_type") {
        Pool::Ranked(&["semantic", "keyword", "hybrid"])
    } else if has("document_type") {
        Pool::Ranked(&["markdown", "pdf", "html"])
    } else if has("cache_type") {
        Pool::Ranked(&["embedding", "search"])
    } else if has("websocket.namespace") {
        Pool::Ranked(&["/chat", "/workflows"])
    } else if has("websocket.event") {
        Pool::Ranked(&["chat_message", "workflow_update", "typing"])
    } else if has("step") {
        Pool::Ranked(&["plan", "implement", "test", "review"])
    } else if has("phase") {
        Pool::Ranked(&["execute", "plan", "verify"])
    } else if has("priority") {
        Pool::Ranked(&["normal", "high", "low"])
    } else if has("component") {
        Pool::Ranked(COMPONENTS)
    } else if has("error") || has("reason") {
        Pool::Ranked(ERRORS)
    } else if has("model") {
        Pool::Fixed(persona.model)
    } else if has("provider") || key == "gen_ai.system" {
        Pool::Fixed(persona.provider)
    } else if has("framework") || has("client") {
        Pool::Fixed(persona.framework)
    } else if has("tool") {
        Pool::Ranked(TOOLS)
    } else if has("workflow") {
        Pool::Ranked(WORKFLOWS)
    } else if has("task") || has("job") {
        Pool::Ranked(TASKS)
    } else if has("agent") || has("worker") {
        Pool::Fixed(persona.agent)
    } else if has("queue") || has("topic") {
        Pool::Ranked(QUEUES)
    } else if has("route") || has("path") || has("endpoint") {
        Pool::Ranked(ROUTES)
    } else if has("repo") || has("project") {
        Pool::Ranked(REPOSITORIES)
    } else if has("server") {
        Pool::Ranked(SERVERS)
    } else if has("service") {
        Pool::Ranked(SERVICES)
    } else if has("collection") || has("index") || has("knowledge") || has("database") {
        Pool::Ranked(COLLECTIONS)
    } else if has("namespace") {
        Pool::Fixed("shop")
    } else if has("region") || has("zone") {
        Pool::Ranked(REGIONS)
    } else {
        Pool::Numbered
    }
}

/// How large a value is.
pub(super) enum Scale {
    /// 1, seldom 0.
    State,
    /// The time of the start.
    Start,
    /// 0 to 1, mostly low.
    Share,
    /// 0 to 1, mostly high.
    Confidence,
    /// Always this.
    Fixed(f64),
    /// Up to this share of the record's first value.
    OfFirst(f64),
    /// Up to this share of the record's second value.
    OfSecond(f64),
    /// Whole numbers around this.
    Whole(f64),
    /// Around this.
    Median(f64),
    /// For the metric's buckets to say.
    Unknown,
}

/// The scale of a value, by words in the name of its field or metric.
pub(super) fn scale(name: &str) -> Scale {
    let has = |word: &str| name.contains(word);
    if has("health") || name.ends_with("up") {
        Scale::State
    } else if has("timestamp") {
        Scale::Start
    } else if has("confidence") {
        Scale::Confidence
    } else if has("saturation") || has("ratio") || has("utilization") {
        Scale::Share
    } else if has("github.rate_limit.limit") {
        Scale::Fixed(5_000.0)
    } else if has("github.rate_limit.reset") {
        Scale::Start
    } else if has("github.rate_limit.available") {
        Scale::Confidence
    } else if has("github.rate_limit") {
        Scale::Whole(1_200.0)
    } else if has("rate_limit.limit") {
        Scale::Fixed(100_000.0)
    } else if has("rate_limit.remaining") {
        Scale::Whole(60_000.0)
    } else if has("cache") && has("tokens") {
        // Read and written: together less than the input.
        Scale::OfFirst(0.45)
    } else if has("cost_usd") && name != "llm.cost_usd" {
        Scale::Median(0.003)
    } else if has("reasoning") {
        Scale::OfSecond(0.7)
    } else if has("input_tokens") {
        Scale::Whole(3_000.0)
    } else if has("output_tokens") {
        Scale::Whole(450.0)
    } else if has("first_chunk") {
        Scale::Median(0.6)
    } else if has("cost") {
        Scale::Median(0.012)
    } else if has("tool_calls") {
        Scale::Whole(6.0)
    } else if has("knowledge.documents") {
        Scale::Whole(1_500.0)
    } else if has("knowledge.vectors") {
        Scale::Whole(40_000.0)
    } else if has("web_vital") {
        Scale::Median(0.4)
    } else if has("layout_shift") {
        Scale::Median(0.06)
    } else if has("temperature") {
        Scale::Median(55.0)
    } else if has("accelerator.memory") {
        Scale::Whole(2e9)
    } else if has("documents") || has("texts") || has("results") {
        Scale::Whole(9.0)
    } else if has("agents") || has("phases") || has("parallel") {
        Scale::Whole(2.5)
    } else if name.ends_with("queue.size") {
        Scale::Whole(4.0)
    } else {
        Scale::Unknown
    }
}
