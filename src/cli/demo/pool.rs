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
        model: "mistral-large",
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
const COLLECTIONS: &[&str] = &["handbook", "tickets", "source"];
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
    if has("error") || has("reason") {
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
    } else if has("service") || has("component") {
        Pool::Ranked(SERVICES)
    } else if has("collection") || has("index") || has("knowledge") || has("database") {
        Pool::Ranked(COLLECTIONS)
    } else if has("region") || has("zone") {
        Pool::Ranked(REGIONS)
    } else {
        Pool::Numbered
    }
}
