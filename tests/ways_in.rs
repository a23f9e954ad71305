//! Every signal that agents may report, through each of its ways in: the typed recorder, an
//! event and a span of its name, and the records API. The page must say the same of each.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Map, json};
use tachograph::catalog::{Feed, Instrument, LabelKind, Signal, SignalKind};
use tachograph::exposition::{Format, Page, Request};
use tachograph::ingest::records::{RecordsApi, RecordsConfig};
use tachograph::ledger::{Ledger, LedgerConfig};
use tachograph::recording::Recorder;
use tachograph::signals::CATALOG;
use tachograph::signals::accelerator::{
    AcceleratorHeartbeat, AcceleratorInference, AcceleratorInferenceEnd, AcceleratorMemory,
    AcceleratorQueue, AcceleratorTemperature, AcceleratorUtilization, AcceleratorWorkerUp, Device,
    InferenceStatus,
};
use tachograph::signals::action::*;
use tachograph::signals::agent::{AgentRun, AgentRunEnd};
use tachograph::signals::auth::{
    AuthLockout, AuthLogin, AuthOutcome, AuthRefused, AuthTokenRefresh, RefusalReason as Refused,
};
use tachograph::signals::cache::{
    CacheEntries, CacheEviction, CacheOperation, CacheOperationEnd, CacheOperationName,
    CacheRequest, CacheSize, CacheStatus, EvictionReason,
};
use tachograph::signals::database::*;
use tachograph::signals::database_server::{
    BlockSource, OldestTransaction, ServerBlocks, ServerConnections, ServerDeadlocks, ServerSize,
    ServerTransactions, SessionState, TransactionEnd,
};
use tachograph::signals::error::ErrorReport;
use tachograph::signals::event::{
    EventBrokers, EventConsumed, EventConsumerLag, EventProcess, EventProcessEnd, EventPublish,
    EventPublishEnd, EventQueue, EventQueueSaturation, EventRebalance, MessagingSystem,
    ProcessStatus, PublishStatus, RebalanceKind,
};
use tachograph::signals::frontend::*;
use tachograph::signals::github::*;
use tachograph::signals::http::{
    AuthType, HttpServerRequest, HttpServerRequestEnd, ProtocolVersion, Scheme,
};
use tachograph::signals::http_client::{
    HttpClientRequest, HttpClientRequestEnd, HttpClientResend, HttpClientStatus,
};
use tachograph::signals::knowledge::*;
use tachograph::signals::llm::*;
use tachograph::signals::mcp::*;
use tachograph::signals::redis::{
    Command, ConnectionState as RedisConnection, Direction, RedisMessage, RedisOperation,
    RedisOperationEnd, RedisPoolConnections, RedisPoolMax, RedisPoolPending, RedisPoolSaturation,
    RedisStatus,
};
use tachograph::signals::resilience::*;
use tachograph::signals::routing::*;
use tachograph::signals::service::{ComponentHealth, ServiceHealth, ServiceStart};
use tachograph::signals::session::{SessionRun, SessionRunEnd};
use tachograph::signals::task::*;
use tachograph::signals::tool::*;
use tachograph::signals::websocket::{
    CloseClass, ControlKind, Direction as Way, Disconnect, ErrorKind as SocketError,
    HandlingStatus, Handshake, MessageKind, PingResult, RoomChange, SendStatus, WebsocketBroadcast,
    WebsocketConnection, WebsocketConnectionEnd, WebsocketControl, WebsocketError,
    WebsocketHandshake, WebsocketMembers, WebsocketPing, WebsocketPingEnd, WebsocketReceive,
    WebsocketReceiveEnd, WebsocketRoomChange, WebsocketRooms, WebsocketSend, WebsocketSendEnd,
};
use tachograph::signals::workflow::*;
use tachograph::{Telemetry, TelemetryConfig};
use tracing_core::callsite::{self, Callsite, Identifier};
use tracing_core::field::{FieldSet, Value};
use tracing_core::{Event, Interest, Kind, Level, Metadata};

/// How long every operation takes.
const SECONDS: f64 = 1.5;

/// The value of an open label: no two labels share one, so that a mix-up shows.
fn x(key: &str) -> &'static str {
    format!("x-{key}").leak()
}

/// The value at a position: no two share one, each is larger than all after it together, and
/// their sums are exact.
fn v(position: i32) -> Option<f64> {
    Some(4096.0 / 2_f64.powi(position))
}

/// Records an operation by starting and finishing it.
macro_rules! op {
    ($start:ident { $($l:ident : $lv:expr),* } => $end:ident { $($e:ident : $ev:expr),* }) => {
        ($start::SIGNAL.name, || {
            let took = Duration::from_secs_f64(SECONDS);
            $start { $($l: $lv),* }.start().finish_after(took, $end { $($e: $ev),* });
        })
    };
}

/// Records a measure.
macro_rules! measure {
    ($name:ident { $($l:ident : $lv:expr),* } $method:ident($value:expr)) => {
        ($name::SIGNAL.name, || $name { $($l: $lv),* }.$method($value))
    };
}

type Typed = (&'static str, fn());

/// Every signal by its typed recorder: open labels as [`x`] has them, closed ones their first
/// value, values as [`v`]
fn typed() -> Vec<Typed> {
    vec![
        op!(RedisOperation {
            pool: x("db.client.connection.pool.name"),
            namespace: x("db.namespace"),
            operation: Command::Append
        } => RedisOperationEnd {
            status: RedisStatus::Success,
            error: x("error.type"),
            batch: v(0)
        }),
        op!(HttpServerRequest {
            method: Method::Connect,
            scheme: Scheme::Http,
            version: ProtocolVersion::V11
        } => HttpServerRequestEnd {
            route: x("http.route"),
            status: x("http.response.status_code"),
            error: x("error.type"),
            auth: AuthType::Jwt,
            request_size: v(0),
            response_size: v(1)
        }),
        op!(HttpClientRequest {
            method: Method::Connect,
            server: x("server.address"),
            template: x("url.template")
        } => HttpClientRequestEnd {
            status: HttpClientStatus::Success,
            code: x("http.response.status_code"),
            error: x("error.type"),
            request_size: v(0),
            response_size: v(1),
            first_byte: v(2)
        }),
        measure!(
            HttpClientResend {
                method: Method::Connect,
                server: x("server.address")
            } add(4096)
        ),
        op!(GithubOperation { operation: x("github.operation.name") } => GithubOperationEnd {
            status: GithubStatus::Success,
            error: x("error.type")
        }),
        measure!(
            GithubRateLimit {
                client: x("github.client.name"),
                resource: x("github.rate_limit.resource")
            } set(4096.0)
        ),
        measure!(
            GithubRateLimitRemaining {
                client: x("github.client.name"),
                resource: x("github.rate_limit.resource")
            } set(4096.0)
        ),
        measure!(
            GithubRateLimitUsed {
                client: x("github.client.name"),
                resource: x("github.rate_limit.resource")
            } set(4096.0)
        ),
        measure!(
            GithubRateLimitReset {
                client: x("github.client.name"),
                resource: x("github.rate_limit.resource")
            } set(4096.0)
        ),
        measure!(
            GithubRateLimitAvailable {
                client: x("github.client.name"),
                resource: x("github.rate_limit.resource")
            } set(1.0)
        ),
        measure!(GithubSecondaryLimit { client: x("github.client.name") } add(4096)),
        measure!(
            GithubCommit {
                repository: x("github.repository"),
                status: GithubStatus::Success
            } add(4096)
        ),
        measure!(
            GithubPullRequest {
                repository: x("github.repository"),
                action: PullRequestAction::Create,
                status: GithubStatus::Success
            } add(4096)
        ),
        measure!(
            GithubIssue {
                repository: x("github.repository"),
                action: IssueAction::Create,
                status: GithubStatus::Success
            } add(4096)
        ),
        measure!(
            RedisPoolConnections {
                pool: x("db.client.connection.pool.name"),
                state: RedisConnection::Idle
            } set(4096.0)
        ),
        measure!(RedisPoolMax { pool: x("db.client.connection.pool.name") } set(4096.0)),
        measure!(RedisPoolPending { pool: x("db.client.connection.pool.name") } set(4096.0)),
        measure!(RedisPoolSaturation { pool: x("db.client.connection.pool.name") } set(1.0)),
        measure!(
            RedisMessage {
                pool: x("db.client.connection.pool.name"),
                direction: Direction::Published
            } add(4096)
        ),
        op!(EventPublish {
            destination: x("messaging.destination.name"),
            system: MessagingSystem::Kafka
        } => EventPublishEnd {
            status: PublishStatus::Success,
            error: x("error.type"),
            size: v(0)
        }),
        op!(EventProcess {
            destination: x("messaging.destination.name"),
            group: x("messaging.consumer.group.name"),
            system: MessagingSystem::Kafka
        } => EventProcessEnd {
            status: ProcessStatus::Success,
            error: x("error.type")
        }),
        measure!(
            EventConsumed {
                destination: x("messaging.destination.name"),
                group: x("messaging.consumer.group.name"),
                system: MessagingSystem::Kafka,
                error: x("error.type")
            } add(4096)
        ),
        measure!(
            EventConsumerLag {
                group: x("messaging.consumer.group.name"),
                destination: x("messaging.destination.name"),
                partition: x("messaging.destination.partition.id")
            } set(4096.0)
        ),
        measure!(
            EventRebalance {
                group: x("messaging.consumer.group.name"),
                kind: RebalanceKind::Assigned
            } add(4096)
        ),
        measure!(EventBrokers { client: x("messaging.client.id") } set(4096.0)),
        measure!(EventQueue { client: x("messaging.client.id") } set(4096.0)),
        measure!(EventQueueSaturation { client: x("messaging.client.id") } set(1.0)),
        measure!(
            CircuitBreakerEvent {
                breaker: x("circuit_breaker.name"),
                event: BreakerEvent::Opened,
                reason: BreakerReason::TooManyFailures
            } add(4096)
        ),
        measure!(CircuitBreakerState { breaker: x("circuit_breaker.name") } set(4096.0)),
        measure!(CircuitBreakerFailures { breaker: x("circuit_breaker.name") } set(4096.0)),
        op!(CacheOperation {
            cache: x("cache.name"),
            operation: CacheOperationName::Get
        } => CacheOperationEnd { status: CacheStatus::Success }),
        measure!(
            CacheRequest {
                cache: x("cache.name"),
                result: tachograph::signals::cache::CacheResult::Hit
            } add(4096)
        ),
        measure!(
            CacheEviction {
                cache: x("cache.name"),
                reason: EvictionReason::Expired
            } add(4096)
        ),
        measure!(CacheSize { cache: x("cache.name") } set(4096.0)),
        measure!(CacheEntries { cache: x("cache.name") } set(4096.0)),
        measure!(
            WebsocketHandshake {
                namespace: x("websocket.namespace"),
                result: Handshake::Connected
            } add(4096)
        ),
        op!(WebsocketConnection { namespace: x("websocket.namespace") }
            => WebsocketConnectionEnd { reason: Disconnect::Client, close: CloseClass::Normal }),
        op!(WebsocketReceive { namespace: x("websocket.namespace") } => WebsocketReceiveEnd {
            kind: MessageKind::Text,
            event: x("websocket.event.type"),
            status: HandlingStatus::Success,
            error: x("error.type"),
            size: v(0)
        }),
        op!(WebsocketSend {
            namespace: x("websocket.namespace"),
            event: x("websocket.event.type")
        } => WebsocketSendEnd {
            kind: MessageKind::Text,
            status: SendStatus::Success,
            size: v(0)
        }),
        measure!(
            WebsocketControl {
                namespace: x("websocket.namespace"),
                direction: Way::Sent,
                kind: ControlKind::Ping
            } add(4096)
        ),
        op!(WebsocketPing { namespace: x("websocket.namespace") }
            => WebsocketPingEnd { result: PingResult::Answered }),
        measure!(
            WebsocketError {
                namespace: x("websocket.namespace"),
                kind: SocketError::Handshake
            } add(4096)
        ),
        measure!(WebsocketRooms { namespace: x("websocket.namespace") } set(4096.0)),
        measure!(WebsocketMembers { namespace: x("websocket.namespace") } set(4096.0)),
        measure!(
            WebsocketRoomChange {
                namespace: x("websocket.namespace"),
                change: RoomChange::Joined
            } add(4096)
        ),
        measure!(
            WebsocketBroadcast {
                namespace: x("websocket.namespace"),
                event: x("websocket.event.type")
            } add(4096)
        ),
        op!(AcceleratorInference {
            worker: x("accelerator.worker"),
            device: Device::Npu,
            model: x("accelerator.model")
        } => AcceleratorInferenceEnd {
            status: InferenceStatus::Success,
            error: x("error.type"),
            batch: v(0)
        }),
        measure!(AcceleratorWorkerUp { worker: x("accelerator.worker"), device: Device::Npu } set(4096.0)),
        measure!(AcceleratorHeartbeat { worker: x("accelerator.worker") } set(4096.0)),
        measure!(AcceleratorUtilization { worker: x("accelerator.worker"), device: Device::Npu } set(1.0)),
        measure!(AcceleratorMemory { worker: x("accelerator.worker"), device: Device::Npu } set(4096.0)),
        measure!(AcceleratorQueue { worker: x("accelerator.worker") } set(4096.0)),
        measure!(AcceleratorTemperature { worker: x("accelerator.worker"), device: Device::Npu } set(4096.0)),
        op!(WorkflowRun { workflow_type: x("workflow_type") }
            => WorkflowRunEnd { status: RunStatus::Success }),
        measure!(WorkflowStep { workflow_type: x("workflow_type"), step_type: x("step_type"), status: StepStatus::Completed } add(4096)),
        op!(WorkflowApproval { workflow_type: x("workflow_type") }
            => WorkflowApprovalEnd { decision: Decision::Approved }),
        op!(TaskRun { task_type: x("task_type"), agent_type: x("agent_type") }
            => TaskRunEnd { status: RunStatus::Success }),
        measure!(TaskRetried { task_type: x("task_type"), reason: x("reason") } add(4096)),
        measure!(TaskQueueSize { queue: x("queue"), priority: x("priority") } set(4096.0)),
        measure!(TaskWait { queue: x("queue"), priority: x("priority") } record(4096.0)),
        op!(LlmRequest {
            operation: LlmOperation::Chat,
            provider: x("gen_ai.provider.name"),
            model: x("gen_ai.request.model"),
            agent: x("gen_ai.agent.name")
        } => LlmRequestEnd {
            response_model: x("gen_ai.response.model"),
            status: LlmStatus::Success,
            error: x("error.type"),
            input_tokens: v(0),
            output_tokens: v(1),
            cache_read_tokens: v(2),
            cache_write_tokens: v(3),
            reasoning_tokens: v(4),
            first_chunk: v(5),
                context_use: Some(1.0),
                cost: v(7),
                input_cost: v(8),
                cache_read_cost: v(9),
                cache_write_cost: v(10),
                output_cost: v(11),
                reasoning_cost: v(12)
            }),
        measure!(
            LlmOutputChunk {
                operation: LlmOperation::Chat,
                provider: x("gen_ai.provider.name"),
                model: x("gen_ai.request.model")
            } record(4096.0)
        ),
        measure!(
            LlmRateLimitReset {
                provider: x("gen_ai.provider.name"),
                kind: LimitKind::Requests
            } set(4096.0)
        ),
        measure!(AuthLogin { provider: x("auth.provider"), status: AuthOutcome::Success } add(4096)),
        measure!(AuthTokenRefresh { provider: x("auth.provider"), status: AuthOutcome::Success } add(4096)),
        measure!(AuthRefused { auth_type: AuthType::Jwt, reason: Refused::Missing } add(4096)),
        measure!(AuthLockout {} add(4096)),
        measure!(LlmRetried { provider: x("gen_ai.provider.name"), model: x("gen_ai.request.model"), reason: x("error.type") } add(4096)),
        measure!(LlmOutputSpeed { operation: LlmOperation::Chat, provider: x("gen_ai.provider.name"), model: x("gen_ai.request.model") } record(4096.0)),
        measure!(LlmUsageUnknown { provider: x("gen_ai.provider.name"), model: x("gen_ai.request.model"), reason: UsageGap::NotReported } add(4096)),
        measure!(LlmPriceUnknown { provider: x("gen_ai.provider.name"), model: x("gen_ai.request.model") } add(4096)),
        measure!(LlmRateLimitRemaining { provider: x("gen_ai.provider.name"), kind: LimitKind::Requests } set(4096.0)),
        measure!(LlmRateLimit { provider: x("gen_ai.provider.name"), kind: LimitKind::Requests } set(4096.0)),
        measure!(LlmRateLimitSaturation { provider: x("gen_ai.provider.name"), kind: LimitKind::Requests } set(1.0)),
        measure!(LlmProviderUp { provider: x("gen_ai.provider.name") } set(4096.0)),
        op!(ToolCall { tool: x("gen_ai.tool.name"), agent: x("gen_ai.agent.name") }
            => ToolCallEnd { status: ToolStatus::Success, error: x("error.type") }),
        op!(McpClientOperation {
            method: x("mcp.method.name"),
            server: x("mcp.server.name"),
            tool: x("gen_ai.tool.name"),
            prompt: x("gen_ai.prompt.name")
        } => McpClientOperationEnd { status_code: x("rpc.response.status_code"), error: x("error.type") }),
        op!(McpServerOperation {
            method: x("mcp.method.name"),
            tool: x("gen_ai.tool.name"),
            prompt: x("gen_ai.prompt.name")
        } => McpServerOperationEnd { status_code: x("rpc.response.status_code"), error: x("error.type") }),
        op!(McpClientSession {
            server: x("mcp.server.name"),
            protocol_version: x("mcp.protocol.version"),
            transport: x("network.transport")
        } => McpClientSessionEnd { error: x("error.type") }),
        op!(McpServerSession { protocol_version: x("mcp.protocol.version"), transport: x("network.transport") }
            => McpServerSessionEnd { error: x("error.type") }),
        op!(AgentRun {
            agent: x("gen_ai.agent.name"),
            phase: x("phase"),
            model: x("gen_ai.request.model")
        } => AgentRunEnd {
            status: RunStatus::Success,
            error: x("error.type"),
            tool_calls: v(0),
            parallel_runs: v(1)
        }),
        op!(SessionRun { client: x("session.client") } => SessionRunEnd {
            status: RunStatus::Success,
            agents: v(0),
            phases: v(1),
            parallel_agents: v(2)
        }),
        op!(ActionLog { agent: x("gen_ai.agent.name"), action_type: ActionType::ToolCall }
            => ActionLogEnd { status: EntryStatus::Success, error: x("error.type"), action_duration: v(0) }),
        op!(RoutingDecision { method: x("routing.method") } => RoutingDecisionEnd {
            agent: x("gen_ai.agent.name"),
            status: RoutingStatus::Success,
            error: x("error.type"),
            confidence: Some(1.0)
        }),
        measure!(KnowledgeDocuments { collection: x("collection"), document_type: x("document_type") } set(4096.0)),
        measure!(KnowledgeVectors { collection: x("collection") } set(4096.0)),
        op!(KnowledgeSearch { search_type: x("search_type"), collection: x("collection") }
            => KnowledgeSearchEnd { status: RunStatus::Success, error: x("error.type"), results: v(0) }),
        op!(KnowledgeEmbedding { model: x("gen_ai.request.model") }
            => KnowledgeEmbeddingEnd { status: RunStatus::Success, error: x("error.type"), texts: v(0) }),
        op!(KnowledgeIndexing { collection: x("collection") }
            => KnowledgeIndexingEnd { status: RunStatus::Success, error: x("error.type"), documents: v(0) }),
        op!(KnowledgeCacheLookup { cache_type: x("cache_type") }
            => KnowledgeCacheLookupEnd { result: CacheResult::Hit }),
        op!(DbOperation {
            system: DbSystem::Postgresql,
            operation: x("db.operation.name"),
            collection: x("db.collection.name")
        } => DbOperationEnd {
            status: DbStatus::Success,
            error: x("error.type"),
            rows: v(0),
            affected: v(1)
        }),
        measure!(
            DbSlowOperation {
                system: DbSystem::Postgresql,
                operation: x("db.operation.name"),
                collection: x("db.collection.name")
            } add(4096)
        ),
        measure!(
            DbConnections {
                pool: x("db.client.connection.pool.name"),
                state: tachograph::signals::database::ConnectionState::Idle
            } set(4096.0)
        ),
        measure!(DbConnectionsMax { pool: x("db.client.connection.pool.name") } set(4096.0)),
        measure!(DbPoolSaturation { pool: x("db.client.connection.pool.name") } set(1.0)),
        op!(DbAcquire { pool: x("db.client.connection.pool.name") }
            => DbAcquireEnd { status: AcquireStatus::Success }),
        measure!(DbConnectionTimeout { pool: x("db.client.connection.pool.name") } add(4096)),
        measure!(DbConnectionUse { pool: x("db.client.connection.pool.name") } record(4096.0)),
        measure!(ServerSize { system: DbSystem::Postgresql, namespace: x("db.namespace") } set(4096.0)),
        measure!(ServerConnections { namespace: x("db.namespace"), state: SessionState::Active } set(4096.0)),
        measure!(ServerTransactions { namespace: x("db.namespace"), end: TransactionEnd::Commit } add(4096)),
        measure!(ServerDeadlocks { namespace: x("db.namespace") } add(4096)),
        measure!(ServerBlocks { namespace: x("db.namespace"), source: BlockSource::Cache } add(4096)),
        measure!(OldestTransaction { namespace: x("db.namespace") } set(4096.0)),
        measure!(ErrorReport { component: x("component"), error: x("error.type") } add(4096)),
        measure!(FrontendPageLoad { route: x("url.template"), navigation: Navigation::Navigate } record(4096.0)),
        measure!(WebVital { vital: Vital::Lcp, route: x("url.template") } record(4096.0)),
        measure!(LayoutShift { route: x("url.template") } record(4096.0)),
        op!(FrontendApiCall { method: Method::Connect, route: x("url.template") }
            => FrontendApiCallEnd { status: x("http.response.status_code"), error: x("error.type") }),
        measure!(FrontendError { kind: ErrorKind::Exception, error: x("error.type"), route: x("url.template") } add(4096)),
        measure!(ServiceHealth { name: x("service.name") } set(4096.0)),
        measure!(ComponentHealth { component: x("component") } set(4096.0)),
        measure!(ServiceStart { name: x("service.name") } set(4096.0)),
    ]
}

/// The labels that every way gives.
fn labels(signal: &Signal) -> Vec<(&'static str, &'static str)> {
    let value = |kind, key| match kind {
        LabelKind::Closed { values, .. } => values[0],
        LabelKind::Open { .. } => x(key),
    };
    let labels = signal.labels.iter();
    labels.map(|l| (l.key, value(l.kind, l.key))).collect()
}

/// The values that every way gives; shares are at most 1.
fn values(signal: &Signal) -> Vec<(&'static str, f64)> {
    let is_share = |position| {
        let mut metrics = signal.metrics.iter();
        metrics.any(|m| m.feed == Feed::Value(position) && m.range().1 == 1.0)
    };
    let values = signal.values.iter().zip(0..);
    values
        .map(|(value, position)| match is_share(position) {
            true => (value.key, 1.0),
            false => (value.key, v(position.into()).unwrap()),
        })
        .collect()
}

/// A place in the code, made at run time.
struct Site(OnceLock<Metadata<'static>>);

impl Callsite for Site {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        self.0.get().unwrap()
    }
}

fn site(signal: &Signal, kind: Kind, fields: Vec<&'static str>) -> &'static Metadata<'static> {
    let site: &'static Site = Box::leak(Box::new(Site(OnceLock::new())));
    let fields = FieldSet::new(fields.leak(), Identifier(site));
    let place = (Some(file!()), Some(line!()), Some(module_path!()));
    site.0.get_or_init(|| {
        Metadata::new(
            signal.name,
            "test",
            Level::INFO,
            place.0,
            place.1,
            place.2,
            fields,
            kind,
        )
    });
    callsite::register(site);
    site.0.get().unwrap()
}

/// Records a signal by an event of its name, or by a span.
fn traced(signal: &Signal, as_event: bool) {
    let kind = if as_event { Kind::EVENT } else { Kind::SPAN };
    let (labels, values) = (labels(signal), values(signal));
    let mut fields: Vec<&'static str> = labels.iter().map(|(key, _)| *key).collect();
    fields.extend(values.iter().map(|(key, _)| *key));
    let timed = signal.kind == SignalKind::Operation && as_event;
    if timed {
        fields.push("duration");
    }
    let meta = site(signal, kind, fields);
    let mut given: Vec<Option<&dyn Value>> = Vec::new();
    given.extend(labels.iter().map(|(_, value)| Some(value as &dyn Value)));
    given.extend(values.iter().map(|(_, value)| Some(value as &dyn Value)));
    if timed {
        given.push(Some(&SECONDS));
    }
    let given = meta.fields().value_set_all(&given);
    let wanted = tracing::dispatcher::get_default(|dispatch| dispatch.enabled(meta));
    assert!(wanted, "{}", signal.name);
    if as_event {
        Event::dispatch(meta, &given);
    } else {
        tracing::Span::new(meta, &given).in_scope(|| {});
    }
}

fn record(signal: &Signal) -> String {
    let mut fields = Map::new();
    for (key, value) in labels(signal) {
        fields.insert(key.to_owned(), value.into());
    }
    for (key, value) in values(signal) {
        fields.insert(key.to_owned(), value.into());
    }
    let mut record = json!({ "signal": signal.name, "fields": fields });
    if signal.kind == SignalKind::Operation {
        record["duration"] = SECONDS.into();
    }
    let context = signal.context.iter().map(|field| (field.key, "c".into()));
    let context: Map<_, _> = context.map(|(k, v)| (k.to_owned(), v)).collect();
    record["context"] = context.into();
    record.to_string()
}

/// The series of a page that Tachograph does not keep of itself.
type Series = BTreeMap<String, f64>;

async fn series(page: &Page) -> Series {
    let mut request = Request::negotiate(None, None, "").unwrap();
    request.format = Format::Text0;
    let rendered = page.render(request, Duration::from_secs(30)).await.unwrap();
    let text = String::from_utf8(rendered.chunks.concat()).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter(|line| !line.starts_with("tachograph_"))
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// What a way added to the page; times of the present differ from way to way.
fn added(signal: &Signal, before: &Series, after: &Series) -> Series {
    let ended = |name: &str| {
        let metrics = signal.metrics.iter();
        metrics
            .filter(|metric| metric.feed == Feed::Ended)
            .any(|metric| name.starts_with(&metric.prometheus_name()))
    };
    after
        .iter()
        .map(|(name, value)| (name, value - before.get(name).copied().unwrap_or_default()))
        .filter(|(name, change)| *change != 0.0 && !ended(name))
        .map(|(name, change)| (name.clone(), change))
        .collect()
}

/// Without what follows from how long something took.
fn untimed(series: &Series) -> Series {
    let timed = |name: &str| name.contains("_bucket{") || name.contains("_sum");
    let kept = series.iter().filter(|(name, _)| !timed(name));
    kept.map(|(name, value)| (name.clone(), *value)).collect()
}

/// Gives gauges a value that no way gives.
fn unset(recorder: &'static dyn Recorder) {
    let signal = recorder.signal();
    if signal
        .metrics
        .iter()
        .all(|m| m.instrument == Instrument::Gauge)
    {
        let labels: Vec<&str> = labels(signal).iter().map(|(_, value)| *value).collect();
        recorder.record(&labels, &[Some(0.25)], None, None).unwrap();
    }
}

#[tokio::test]
async fn every_signal_says_the_same_through_each_of_its_ways() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = TelemetryConfig::default();
    config.logs.filter = "off".to_owned();
    let telemetry = Telemetry::init(config).unwrap();
    let page = Page::builder(telemetry.collector().unwrap().clone())
        .start()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("a.db").display());
    let ledger = Ledger::open(LedgerConfig::new(url)).await.unwrap();
    let api = RecordsApi::new(ledger, RecordsConfig::default());

    let recorders = CATALOG.iter().filter(|r| r.signal().reportable);
    let mut typed: BTreeMap<&str, fn()> = typed().into_iter().collect();
    for recorder in recorders {
        let signal = recorder.signal();
        let Some(by_type) = typed.remove(signal.name) else {
            panic!("`{}` is not in the table of typed recorders", signal.name);
        };
        unset(*recorder);
        let start = series(&page).await;
        by_type();
        let after_type = series(&page).await;
        unset(*recorder);
        let before_event = series(&page).await;
        traced(signal, true);
        let after_event = series(&page).await;
        unset(*recorder);
        let before_record = series(&page).await;
        let outcome = api.take(record(signal).into()).await.unwrap();
        assert_eq!(outcome.accepted, 1, "{outcome:?}");
        let after_record = series(&page).await;

        let expected = added(signal, &start, &after_type);
        assert!(!expected.is_empty(), "{} shows nothing", signal.name);
        // Every metric that is fed by an end shows.
        for metric in signal.metrics {
            let name = metric.prometheus_name();
            let shown = expected.keys().any(|series| series.starts_with(&name));
            let silent = matches!(metric.feed, Feed::Active | Feed::Ended);
            assert!(shown || silent, "{name} shows nothing");
        }
        let by_event = added(signal, &before_event, &after_event);
        assert_eq!(by_event, expected, "an event of `{}`", signal.name);
        let by_record = added(signal, &before_record, &after_record);
        assert_eq!(by_record, expected, "a record of `{}`", signal.name);

        if signal.kind == SignalKind::Operation {
            traced(signal, false);
            let by_span = added(signal, &after_record, &series(&page).await);
            let (by_span, expected) = (untimed(&by_span), untimed(&expected));
            assert_eq!(by_span, expected, "a span of `{}`", signal.name);
        }
    }
    let left: BTreeSet<&str> = typed.into_keys().collect();
    assert!(left.is_empty(), "no reportable signals: {left:?}");
}
