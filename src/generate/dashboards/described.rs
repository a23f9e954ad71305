//! The dashboards of Tachograph's own signals.

use super::{Content, Dashboard};

const fn of(domains: &'static [&'static str]) -> Content {
    Content::Domains {
        of: domains,
        split_by: None,
    }
}

/// The dashboards of Tachograph's own signals, in the order of their list.
pub const DASHBOARDS: &[Dashboard] = &[
    Dashboard {
        slug: "overview",
        title: "Tachograph / Overview",
        description: "Whether agents, their models and tools, and the services that run them are well. The first rows tell; each row below has a dashboard of its own.",
        content: Content::Headlines,
        only: &[],
        choices: &[],
    },
    Dashboard {
        slug: "workflows",
        title: "Tachograph / Workflow execution",
        description: "Workflows: how many run, how long they take, which steps fail, what was approved.",
        content: of(&["workflow"]),
        only: &[],
        choices: &["workflow_type"],
    },
    Dashboard {
        slug: "tasks",
        title: "Tachograph / Tasks and queues",
        description: "Tasks of workers and agents: throughput, failures, retries, and what waits.",
        content: of(&["task"]),
        only: &[],
        choices: &["task_type", "agent_type", "queue"],
    },
    Dashboard {
        slug: "agents",
        title: "Tachograph / Agents",
        description: "Agents: runs, failures, durations, loops, and the tools, tokens and money they use.",
        content: Content::Domains {
            of: &["agent"],
            split_by: Some("gen_ai.agent.name"),
        },
        only: &[],
        choices: &["gen_ai.agent.name", "gen_ai.request.model", "phase"],
    },
    Dashboard {
        slug: "sessions",
        title: "Tachograph / Sessions",
        description: "Sessions of agents: how many, how long, how they end, and how many agents and phases one holds.",
        content: of(&["session"]),
        only: &[],
        choices: &["session.client"],
    },
    Dashboard {
        slug: "actions",
        title: "Tachograph / Action log and routing",
        description: "What agents write down of what they do, and which agent is chosen for a request: how often, how long, how surely, and what fails.",
        content: of(&["action", "routing"]),
        only: &[],
        choices: &["gen_ai.agent.name", "action.type", "routing.method"],
    },
    Dashboard {
        slug: "tools",
        title: "Tachograph / Tools",
        description: "Tools that agents call: how often, how long, which fail and why.",
        content: of(&["tool"]),
        only: &[],
        choices: &["gen_ai.tool.name", "gen_ai.agent.name"],
    },
    Dashboard {
        slug: "mcp",
        title: "Tachograph / MCP",
        description: "Model Context Protocol: requests to servers and their handling, which fail and why, latency, sessions.",
        content: of(&["mcp"]),
        only: &[],
        choices: &["mcp.server.name", "mcp.method.name", "gen_ai.tool.name"],
    },
    Dashboard {
        slug: "knowledge-base",
        title: "Tachograph / Knowledge base",
        description: "Knowledge bases: documents and vectors, searches, embeddings, indexing, caches.",
        content: of(&["knowledge"]),
        only: &[],
        choices: &["collection", "search_type", "cache_type"],
    },
    Dashboard {
        slug: "llm",
        title: "Tachograph / LLM providers and cost",
        description: "Requests to language models: failures, latency, time to the first chunk, tokens, cost and rate limits, by provider, model and agent.",
        content: of(&["llm"]),
        only: &[],
        choices: &[
            "gen_ai.provider.name",
            "gen_ai.request.model",
            "gen_ai.agent.name",
        ],
    },
    Dashboard {
        slug: "claude",
        title: "Tachograph / Claude API",
        description: "Requests to the Claude API: failures, latency, tokens, cache use, cost and rate limits, by model and agent.",
        content: of(&["llm"]),
        only: &[("gen_ai.provider.name", "anthropic")],
        choices: &["gen_ai.request.model", "gen_ai.agent.name"],
    },
    Dashboard {
        slug: "api",
        title: "Tachograph / API health",
        description: "HTTP servers: traffic, errors and latency by route, the error budget, and whether services and their components are well.",
        content: of(&["http", "service"]),
        only: &[],
        choices: &["http.route"],
    },
    Dashboard {
        slug: "redis",
        title: "Tachograph / Redis",
        description: "Redis from both sides: commands, connections and circuit breakers of its clients; memory, keys, clients and replicas of its servers.",
        content: of(&["redis", "resilience", "redis_server"]),
        only: &[],
        choices: &["db.client.connection.pool.name", "redis.instance"],
    },
    Dashboard {
        slug: "cache",
        title: "Tachograph / Caches",
        description: "Caches of the application: what they have and do not have, how long they take, what leaves them, and whether all their parts are there.",
        content: of(&["cache"]),
        only: &[],
        choices: &["cache.name"],
    },
    Dashboard {
        slug: "frontend",
        title: "Tachograph / Frontend",
        description: "What browsers report: page loads, web vitals, API calls and script errors, by route.",
        content: of(&["frontend"]),
        only: &[],
        choices: &["url.template"],
    },
    Dashboard {
        slug: "errors",
        title: "Tachograph / Error tracking",
        description: "Everything that fails: errors that components report, shares and rates of failures of every signal, by kind, and what is retried, refused or lost.",
        content: Content::Failures { of: &["error"] },
        only: &[],
        choices: &[],
    },
    Dashboard {
        slug: "tachograph",
        title: "Tachograph / Itself",
        description: "The instrument: what is lost or folded, what waits, exports, scrapes, collectors, the records API and its ledger.",
        content: of(&["pipeline"]),
        only: &[],
        choices: &[],
    },
];
