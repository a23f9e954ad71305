//! One of everything that the other systems' names speak of.

use std::time::Duration;

use tachograph::signals::action::{ActionLog, ActionLogEnd, ActionType, EntryStatus};
use tachograph::signals::agent::{AgentRun, AgentRunEnd};
use tachograph::signals::auth::{
    AuthLogin, AuthOutcome, AuthRefused, AuthTokenRefresh, RefusalReason,
};
use tachograph::signals::business::{ApiKeysActive, SessionsActive, Users};
use tachograph::signals::cache::{
    CacheEntries, CacheOperation, CacheOperationEnd, CacheOperationName, CacheRequest, CacheResult,
    CacheSize, CacheStatus,
};
use tachograph::signals::celery::{
    CeleryQueueLength, CeleryTask, CeleryTaskDuration, CeleryTaskEnd, CeleryTaskRetry,
    CeleryTaskState, CeleryTaskStatus, CeleryTasksActive,
};
use tachograph::signals::database::{
    ConnectionState as DbConnectionState, DbConnections, DbConnectionsMax, DbOperation,
    DbOperationEnd, DbStatus, DbSystem,
};
use tachograph::signals::event::{EventPublish, EventPublishEnd, MessagingSystem, PublishStatus};
use tachograph::signals::github::{
    GithubCommit, GithubIssue, GithubOperation, GithubOperationEnd, GithubPullRequest,
    GithubRateLimitRemaining, GithubStatus, IssueAction, PullRequestAction,
};
use tachograph::signals::host::{
    CpuUtilization, FilesystemUsage, FilesystemUtilization, MemoryState, MemoryUsage,
    MemoryUtilization, SpaceState,
};
use tachograph::signals::http::{
    AuthType, HttpServerRequest, HttpServerRequestEnd, Method, ProtocolVersion, Scheme,
};
use tachograph::signals::knowledge::{
    CacheResult as KnowledgeCacheResult, KnowledgeCacheLookup, KnowledgeCacheLookupEnd,
    KnowledgeDocuments, KnowledgeEmbedding, KnowledgeEmbeddingEnd, KnowledgeSearch,
    KnowledgeSearchEnd, KnowledgeVectors,
};
use tachograph::signals::llm::{
    LimitKind, LlmOperation, LlmProviderUp, LlmRateLimitRemaining, LlmRequest, LlmRequestEnd,
    LlmStatus,
};
use tachograph::signals::redis::{
    Command, ConnectionState, Direction, RedisMessage, RedisOperation, RedisOperationEnd,
    RedisPoolConnections, RedisPoolSaturation, RedisStatus,
};
use tachograph::signals::redis_server::{MemoryKind, RedisServerKeys, RedisServerMemory};
use tachograph::signals::resilience::{
    BreakerEvent, BreakerReason, CircuitBreakerEvent, CircuitBreakerFailures, CircuitBreakerState,
};
use tachograph::signals::routing::{RoutingDecision, RoutingDecisionEnd, RoutingStatus};
use tachograph::signals::service::{ServiceHealth, ServiceInfo, ServiceStart};
use tachograph::signals::session::{SessionRun, SessionRunEnd};
use tachograph::signals::task::{TaskQueueSize, TaskRetried, TaskRun, TaskRunEnd};
use tachograph::signals::tool::{ToolCall, ToolCallEnd, ToolStatus};
use tachograph::signals::websocket::{
    ErrorKind, HandlingStatus, Handshake, MessageKind, SendStatus, WebsocketConnection,
    WebsocketError, WebsocketHandshake, WebsocketReceive, WebsocketReceiveEnd, WebsocketRooms,
    WebsocketSend, WebsocketSendEnd,
};
use tachograph::signals::workflow::{
    Decision, RunStatus, StepStatus, WorkflowApproval, WorkflowApprovalEnd, WorkflowRun,
    WorkflowRunEnd, WorkflowStep,
};
use tachograph::signals::workflow_db::{DatabaseAgents, DatabaseInvocations, DatabaseSize};

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// What a day of such systems is like, in small. Starts operations that never end.
pub fn record() {
    let free = [("agent_registry_path".to_owned(), "~/agents".to_owned())];
    ServiceInfo {
        name: "backend",
        version: "1.2.3",
        environment: "production",
    }
    .set_with(&free, 1.0);
    ServiceHealth { name: "backend" }.set(1.0);
    ServiceHealth { name: "worker" }.set(0.0);
    ServiceStart { name: "backend" }.set(1_700_000_000.5);

    let workflow = |status, took| {
        let run = WorkflowRun {
            workflow_type: "code_review",
        };
        run.record(WorkflowRunEnd { status }, seconds(took));
    };
    workflow(RunStatus::Success, 2.5);
    workflow(RunStatus::Success, 45.0);
    workflow(RunStatus::Failed, 700.0);
    workflow(RunStatus::Timeout, 60.0);
    for _ in 0..3 {
        let workflow_type = "code_review";
        std::mem::forget(WorkflowRun { workflow_type }.start());
    }
    WorkflowStep {
        workflow_type: "code_review",
        step_type: "analysis",
        status: StepStatus::Completed,
    }
    .add(5);
    for waited in [30.0, 4000.0] {
        let decision = Decision::Approved;
        let asked = WorkflowApproval {
            workflow_type: "code_review",
        };
        asked.record(WorkflowApprovalEnd { decision }, seconds(waited));
    }

    let task = |agent_type, status, took| {
        let task_type = "code_analysis";
        let run = TaskRun {
            task_type,
            agent_type,
        };
        run.record(TaskRunEnd { status }, seconds(took));
    };
    task("code-reviewer", RunStatus::Success, 12.0);
    task("code-reviewer", RunStatus::Failed, 170.0);
    task("", RunStatus::Success, 0.5);
    for _ in 0..2 {
        std::mem::forget(
            TaskRun {
                task_type: "code_analysis",
                agent_type: "code-reviewer",
            }
            .start(),
        );
    }
    for (queue, priority, size) in [("a", "high", 10.0), ("b", "high", 4.0), ("a", "low", 5.0)] {
        TaskQueueSize { queue, priority }.set(size);
    }
    TaskRetried {
        task_type: "code_analysis",
        reason: "timeout",
    }
    .add(3);

    let llm = |operation, agent, status, error, took| {
        let request = LlmRequest {
            operation,
            provider: "anthropic",
            model: "claude-sonnet-4-5",
            agent,
        };
        let ended = status == LlmStatus::Success;
        request.record(
            LlmRequestEnd {
                response_model: "",
                status,
                error,
                input_tokens: ended.then_some(1000.0),
                output_tokens: ended.then_some(200.0),
                cache_read_tokens: ended.then_some(600.0),
                cache_write_tokens: ended.then_some(100.0),
                reasoning_tokens: ended.then_some(50.0),
                first_chunk: None,
                context_use: None,
                input_cost: None,
                cache_read_cost: None,
                cache_write_cost: None,
                output_cost: None,
                reasoning_cost: None,
                cost: ended.then_some(0.25),
            },
            seconds(took),
        );
    };
    llm(LlmOperation::Chat, "reviewer", LlmStatus::Success, "", 2.0);
    llm(LlmOperation::Chat, "", LlmStatus::Success, "", 8.0);
    let completion = LlmOperation::TextCompletion;
    llm(completion, "reviewer", LlmStatus::RateLimited, "", 0.2);
    llm(completion, "reviewer", LlmStatus::Failed, "500", 0.2);
    llm(completion, "reviewer", LlmStatus::Cancelled, "", 200.0);
    for (kind, left) in [(LimitKind::Requests, 450.0), (LimitKind::Tokens, 90_000.0)] {
        let provider = "anthropic";
        LlmRateLimitRemaining { provider, kind }.set(left);
    }
    LlmProviderUp {
        provider: "anthropic",
    }
    .set(1.0);
    LlmProviderUp { provider: "openai" }.set(0.0);

    let agent = |agent, phase, status, took| {
        let run = AgentRun {
            agent,
            phase,
            model: "claude-sonnet-4-5",
        };
        let error = "";
        run.record(
            AgentRunEnd {
                status,
                error,
                tool_calls: None,
                parallel_runs: None,
            },
            seconds(took),
        );
    };
    agent("reviewer", "plan", RunStatus::Success, 90.0);
    agent("reviewer", "plan", RunStatus::Success, 0.3);
    agent("reviewer", "execute", RunStatus::Failed, 20.0);
    agent("reviewer", "execute", RunStatus::Timeout, 1000.0);
    agent("reviewer", "execute", RunStatus::Cancelled, 5.0);
    agent("triage", "plan", RunStatus::Cancelled, 5.0);
    for name in ["reviewer", "triage", "triage"] {
        std::mem::forget(
            AgentRun {
                agent: name,
                phase: "plan",
                model: "claude-sonnet-4-5",
            }
            .start(),
        );
    }

    let tool = |agent, status, took| {
        let call = ToolCall {
            tool: "build_graph",
            agent,
        };
        call.record(ToolCallEnd { status, error: "" }, seconds(took));
    };
    tool("reviewer", ToolStatus::Success, 3.0);
    tool("triage", ToolStatus::Success, 400.0);
    tool("reviewer", ToolStatus::Timeout, 600.0);
    tool("reviewer", ToolStatus::Denied, 0.1);
    tool("", ToolStatus::Failed, 0.2);
    std::mem::forget(
        ToolCall {
            tool: "build_graph",
            agent: "triage",
        }
        .start(),
    );

    callers();
    agents_at_work();
    knowledge();
    database();
    workflow_db();
    redis();
    events();
    caches();
    celery();
    github();
    websockets();
    host();
    business();

    let http = |method, route, status, auth, took| {
        let request = HttpServerRequest {
            method,
            scheme: Scheme::Https,
            version: ProtocolVersion::V2,
        };
        request.record(
            HttpServerRequestEnd {
                route,
                status,
                error: if status == "500" { "500" } else { "" },
                auth,
                request_size: Some(600.0),
                response_size: Some(40_000.0),
            },
            seconds(took),
        );
    };
    http(Method::Get, "/api/tools", "200", AuthType::Jwt, 0.004);
    http(Method::Get, "/api/tools", "200", AuthType::None, 0.2);
    http(Method::Get, "/api/tools", "404", AuthType::None, 0.001);
    http(Method::Post, "/api/run", "500", AuthType::ApiKey, 7.0);
    http(Method::Post, "/api/run", "", AuthType::Unknown, 70.0);
}

/// Who got in.
fn callers() {
    for (provider, status, times) in [
        ("google", AuthOutcome::Success, 5),
        ("google", AuthOutcome::Failed, 2),
        ("password", AuthOutcome::Failed, 1),
    ] {
        AuthLogin { provider, status }.add(times);
        AuthTokenRefresh { provider, status }.add(times * 10);
    }
    for (auth_type, reason, times) in [
        (AuthType::Jwt, RefusalReason::Expired, 4),
        (AuthType::ApiKey, RefusalReason::Expired, 2),
        (AuthType::None, RefusalReason::Missing, 7),
    ] {
        AuthRefused { auth_type, reason }.add(times);
    }
}

/// Sessions, the action log, the choice of agents.
fn agents_at_work() {
    let session = |client, status, agents, took| {
        let end = SessionRunEnd {
            status,
            agents,
            phases: agents,
            parallel_agents: None,
        };
        SessionRun { client }.record(end, seconds(took));
    };
    session("claude-code", RunStatus::Success, Some(3.0), 250.0);
    session("claude-code", RunStatus::Abandoned, None, 9000.0);
    session("", RunStatus::Failed, Some(2.0), 20_000.0);
    for client in ["claude-code", ""] {
        std::mem::forget(SessionRun { client }.start());
    }

    let action = |agent, action_type, status, error, took| {
        let end = ActionLogEnd {
            status,
            error,
            action_duration: Some(7.0),
        };
        ActionLog { agent, action_type }.record(end, seconds(took));
    };
    let written = EntryStatus::Success;
    action("researcher", ActionType::ToolCall, written, "", 0.004);
    action("researcher", ActionType::ToolCall, written, "", 2.0);
    action("researcher", ActionType::Error, written, "", 0.03);
    let lost = EntryStatus::Failed;
    action("triage", ActionType::Decision, lost, "connection", 8.0);
    action("triage", ActionType::Decision, lost, "", 0.2);

    let routing = |method, agent, status, confidence, took| {
        let end = RoutingDecisionEnd {
            agent,
            status,
            error: "",
            confidence,
        };
        RoutingDecision { method }.record(end, seconds(took));
    };
    let chosen = RoutingStatus::Success;
    routing("fuzzy", "researcher", chosen, Some(0.92), 0.002);
    routing("embedding", "researcher", chosen, Some(0.55), 0.08);
    routing("embedding", "triage", RoutingStatus::Fallback, None, 0.3);
    routing("embedding", "", RoutingStatus::Failed, None, 3.0);
}

/// A knowledge base.
fn knowledge() {
    let collection = "docs";
    for (document_type, count) in [("markdown", 1500.0), ("", 20.0)] {
        let documents = KnowledgeDocuments {
            collection,
            document_type,
        };
        documents.set(count);
    }
    KnowledgeVectors { collection }.set(40_000.0);
    let search = |search_type, status, results, took| {
        let search = KnowledgeSearch {
            search_type,
            collection,
        };
        let error = "";
        let end = KnowledgeSearchEnd {
            status,
            error,
            results,
        };
        search.record(end, seconds(took));
    };
    search("semantic", RunStatus::Success, Some(12.0), 0.12);
    search("semantic", RunStatus::Success, Some(0.0), 0.02);
    search("keyword", RunStatus::Failed, None, 4.0);
    let model = "text-embedding-3-small";
    let end = KnowledgeEmbeddingEnd {
        status: RunStatus::Success,
        error: "",
        texts: Some(16.0),
    };
    KnowledgeEmbedding { model }.record(end, seconds(0.7));
    for result in [
        KnowledgeCacheResult::Hit,
        KnowledgeCacheResult::Hit,
        KnowledgeCacheResult::Miss,
    ] {
        let cache_type = "embedding";
        KnowledgeCacheLookup { cache_type }
            .record(KnowledgeCacheLookupEnd { result }, Duration::ZERO);
    }
}

/// Statements, and two pools.
fn database() {
    let statement = |operation, collection, status, error, took| {
        let statement = DbOperation {
            system: DbSystem::Postgresql,
            operation,
            collection,
        };
        let end = DbOperationEnd {
            status,
            error,
            rows: None,
            affected: None,
        };
        statement.record(end, seconds(took));
    };
    statement("SELECT", "users", DbStatus::Success, "", 0.004);
    statement("SELECT", "users", DbStatus::Success, "", 2.0);
    statement("SELECT", "", DbStatus::Unknown, "", 1.0);
    let class = "integrity_constraint_violation";
    statement("INSERT", "users", DbStatus::Failed, class, 0.02);
    let class = "query_canceled";
    statement("UPDATE", "orders", DbStatus::Timeout, class, 7.0);
    for (pool, idle, used) in [("main", 0.0, 10.0), ("reports", 1.0, 9.0)] {
        for (state, count) in [
            (DbConnectionState::Idle, idle),
            (DbConnectionState::Used, used),
        ] {
            DbConnections { pool, state }.set(count);
        }
        DbConnectionsMax { pool }.set(10.0);
    }
}

/// What the agent workflow database holds.
fn workflow_db() {
    let file = "logs/agent_workflow.db";
    DatabaseSize { file }.set(1_048_576.0);
    DatabaseInvocations { file }.set(6.0);
    DatabaseAgents { file }.set(2.0);
}

/// Redis, as its clients and its server tell.
fn redis() {
    let operation = |operation, status, error, took| {
        let end = RedisOperationEnd {
            status,
            error,
            batch: None,
        };
        let (pool, namespace) = ("main", "0");
        RedisOperation {
            pool,
            namespace,
            operation,
        }
        .record(end, seconds(took));
    };
    operation(Command::Get, RedisStatus::Success, "", 0.0003);
    operation(Command::Get, RedisStatus::Success, "", 0.004);
    operation(Command::Get, RedisStatus::Timeout, "timeout", 0.5);
    operation(Command::Set, RedisStatus::Failed, "OOM", 0.002);
    operation(Command::Set, RedisStatus::Rejected, "circuit_open", 0.0);
    for (state, count) in [(ConnectionState::Used, 3.0), (ConnectionState::Idle, 1.0)] {
        RedisPoolConnections {
            pool: "main",
            state,
        }
        .set(count);
    }
    RedisPoolSaturation { pool: "main" }.set(0.75);
    for (direction, count) in [(Direction::Published, 2), (Direction::Received, 5)] {
        let pool = "main";
        RedisMessage { pool, direction }.add(count);
    }
    let breaker = "main";
    CircuitBreakerEvent {
        breaker,
        event: BreakerEvent::Opened,
        reason: BreakerReason::TooManyFailures,
    }
    .add(1);
    CircuitBreakerState { breaker }.set(1.0);
    CircuitBreakerFailures { breaker }.set(5.0);
    let instance = "main";
    for (kind, bytes) in [(MemoryKind::Used, 1e6), (MemoryKind::Peak, 2e6)] {
        RedisServerMemory { instance, kind }.set(bytes);
    }
    for (namespace, keys) in [("0", 120.0), ("1", 3.0)] {
        let keys_of = RedisServerKeys {
            instance,
            namespace,
        };
        keys_of.set(keys);
    }
}

/// What is asked of GitHub and made there.
fn github() {
    let asked = |operation, status, error, took| {
        let end = GithubOperationEnd { status, error };
        GithubOperation { operation }.record(end, seconds(took));
    };
    asked("git.create_commit", GithubStatus::Success, "", 0.375);
    asked("git.create_commit", GithubStatus::Timeout, "timeout", 12.0);
    asked("pulls.get", GithubStatus::Success, "", 0.0625);
    asked("pulls.get", GithubStatus::Refused, "404", 0.125);
    asked("pulls.get", GithubStatus::Abandoned, "abandoned", 1.5);
    for (client, resource, left) in [
        ("main", "core", 4_321.0),
        ("bot", "core", 4_999.0),
        ("main", "search", 29.0),
    ] {
        GithubRateLimitRemaining { client, resource }.set(left);
    }
    let repository = "acme/site";
    for (status, count) in [(GithubStatus::Success, 3), (GithubStatus::Denied, 1)] {
        GithubCommit { repository, status }.add(count);
    }
    let status = GithubStatus::Success;
    for action in [PullRequestAction::Create, PullRequestAction::Merge] {
        GithubPullRequest {
            repository,
            action,
            status,
        }
        .add(1);
    }
    GithubIssue {
        repository,
        action: IssueAction::Update,
        status,
    }
    .add(2);
}

/// Events that are published.
fn events() {
    let published = |destination, status, error, bytes, took| {
        let system = MessagingSystem::Kafka;
        let end = EventPublishEnd {
            status,
            error,
            size: Some(bytes),
        };
        EventPublish {
            destination,
            system,
        }
        .record(end, seconds(took));
    };
    let actions = "agent-actions";
    published(actions, PublishStatus::Success, "", 300.0, 0.004);
    published(actions, PublishStatus::Success, "", 2_000.0, 0.2);
    published(
        actions,
        PublishStatus::Timeout,
        "message_timed_out",
        400.0,
        30.0,
    );
    published(actions, PublishStatus::Failed, "", 400.0, 0.5);
    let (metrics, large) = ("quality-metrics", "message_size_too_large");
    published(metrics, PublishStatus::Failed, large, 2e6, 0.0005);
}

/// Caches of the application.
fn caches() {
    let cache = "patterns";
    let asked = |operation, took| {
        let status = CacheStatus::Success;
        CacheOperation { cache, operation }.record(CacheOperationEnd { status }, seconds(took));
    };
    asked(CacheOperationName::Get, 0.002);
    asked(CacheOperationName::Get, 0.3);
    asked(CacheOperationName::Set, 0.001);
    for (result, count) in [(CacheResult::Hit, 7), (CacheResult::Miss, 2)] {
        CacheRequest { cache, result }.add(count);
    }
    CacheSize { cache }.set(1_048_576.0);
    CacheEntries { cache }.set(42.0);
}

/// Tasks of Celery.
fn celery() {
    let name = "app.report";
    for (state, count) in [
        (CeleryTaskState::Sent, 9),
        (CeleryTaskState::Received, 8),
        (CeleryTaskState::Started, 7),
    ] {
        CeleryTask { name, state }.add(count);
    }
    for (status, count) in [
        (CeleryTaskStatus::Succeeded, 3),
        (CeleryTaskStatus::Failed, 1),
        (CeleryTaskStatus::Revoked, 1),
        (CeleryTaskStatus::Retried, 2),
    ] {
        CeleryTaskEnd { name, status }.add(count);
    }
    for took in [0.02, 7.0, 90.0, 4000.0] {
        CeleryTaskDuration { name }.record(took);
    }
    for (error, count) in [("ConnectionError", 1), ("TimeoutError", 1)] {
        CeleryTaskRetry { name, error }.add(count);
    }
    CeleryTasksActive { name }.set(1.0);
    for (queue, length) in [("celery", 12.0), ("mail", 0.0)] {
        CeleryQueueLength { queue }.set(length);
    }
}

/// Connections, what is said on them, and what goes wrong.
fn websockets() {
    let namespace = "/chat";
    for (result, times) in [(Handshake::Connected, 6), (Handshake::Refused, 1)] {
        WebsocketHandshake { namespace, result }.add(times);
    }
    for _ in 0..2 {
        std::mem::forget(WebsocketConnection { namespace }.start());
    }
    let received = |event, status, error, took| {
        let end = WebsocketReceiveEnd {
            kind: MessageKind::Text,
            event,
            status,
            error,
            size: Some(64.0),
        };
        WebsocketReceive { namespace }.record(end, seconds(took));
    };
    received("chat_message", HandlingStatus::Success, "", 0.005);
    received("chat_message", HandlingStatus::Success, "", 0.3);
    received("", HandlingStatus::Failed, "unknown_event", 2.0);
    for (status, times) in [(SendStatus::Success, 3), (SendStatus::Closed, 1)] {
        for _ in 0..times {
            let event = "chat_message";
            let end = WebsocketSendEnd {
                kind: MessageKind::Text,
                status,
                size: None,
            };
            WebsocketSend { namespace, event }.record(end, seconds(0.001));
        }
    }
    for (kind, times) in [(ErrorKind::ConnectionLost, 2), (ErrorKind::Timeout, 1)] {
        WebsocketError { namespace, kind }.add(times);
    }
    WebsocketRooms { namespace }.set(4.0);
}

/// What a backend's database holds.
fn business() {
    Users {}.set(120.0);
    ApiKeysActive {}.set(7.0);
    SessionsActive {}.set(31.0);
}

/// The machine.
fn host() {
    CpuUtilization {}.set(0.25);
    for (state, bytes, share) in [
        (MemoryState::Used, 6e9, 0.75),
        (MemoryState::Cached, 1e9, 0.125),
        (MemoryState::Free, 1e9, 0.125),
    ] {
        MemoryUsage { state }.set(bytes);
        MemoryUtilization { state }.set(share);
    }
    for (mountpoint, used, free) in [("/", 3e10, 1e10), ("/data", 1e9, 3e9)] {
        for (state, bytes) in [(SpaceState::Used, used), (SpaceState::Free, free)] {
            FilesystemUsage { mountpoint, state }.set(bytes);
        }
        FilesystemUtilization { mountpoint }.set(used / (used + free));
    }
}
