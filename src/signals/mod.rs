//! The declarations, one file per domain.

use crate::catalog;

pub mod action;
pub mod agent;
pub mod business;
pub mod cache;
pub mod container;
pub mod error;
pub mod frontend;
pub mod host;
pub mod http;
pub mod knowledge;
pub mod llm;
pub mod mcp;
pub mod pipeline;
pub mod process;
pub mod redis;
pub mod redis_server;
pub mod resilience;
pub mod routing;
pub mod service;
pub mod session;
pub mod task;
pub mod tool;
pub mod workflow;
pub mod workflow_db;

catalog! {
    /// Every signal that Tachograph declares.
    pub CATALOG = [
        http::HttpServerRequest,
        service::ServiceInfo,
        service::ServiceHealth,
        service::ComponentHealth,
        service::ServiceStart,
        workflow::WorkflowRun,
        workflow::WorkflowStep,
        workflow::WorkflowApproval,
        task::TaskRun,
        task::TaskRetried,
        task::TaskQueueSize,
        task::TaskWait,
        llm::LlmRequest,
        llm::LlmOutputChunk,
        llm::LlmRetried,
        llm::LlmUsageUnknown,
        llm::LlmPriceUnknown,
        llm::LlmRateLimitRemaining,
        llm::LlmRateLimit,
        llm::LlmRateLimitReset,
        llm::LlmRateLimitSaturation,
        llm::LlmProviderUp,
        llm::LlmBudgetLimit,
        llm::LlmBudgetSpent,
        llm::LlmBudgetRemaining,
        llm::LlmBudgetUnpriced,
        llm::LlmBudgetUtilization,
        tool::ToolCall,
        mcp::McpClientOperation,
        mcp::McpServerOperation,
        mcp::McpClientSession,
        mcp::McpServerSession,
        agent::AgentRun,
        session::SessionRun,
        action::ActionLog,
        routing::RoutingDecision,
        knowledge::KnowledgeDocuments,
        knowledge::KnowledgeVectors,
        knowledge::KnowledgeSearch,
        knowledge::KnowledgeEmbedding,
        knowledge::KnowledgeIndexing,
        knowledge::KnowledgeCacheLookup,
        error::ErrorReport,
        frontend::FrontendPageLoad,
        frontend::WebVital,
        frontend::LayoutShift,
        frontend::FrontendApiCall,
        frontend::FrontendError,
        frontend::FrontendRefused,
        workflow_db::Rows,
        workflow_db::RowsSkipped,
        workflow_db::DurationsUnknown,
        workflow_db::RowsUnfinished,
        workflow_db::RowsUnread,
        workflow_db::ReadUpTo,
        workflow_db::DatabaseSize,
        workflow_db::DatabaseInvocations,
        workflow_db::DatabaseAgents,
        redis::RedisOperation,
        redis::RedisConnectionAcquire,
        redis::RedisPoolConnections,
        redis::RedisPoolMax,
        redis::RedisPoolPending,
        redis::RedisPoolSaturation,
        redis::RedisMessage,
        redis_server::RedisServerMemory,
        redis_server::RedisServerMemoryLimit,
        redis_server::RedisServerMemoryUtilization,
        redis_server::RedisServerFragmentation,
        redis_server::RedisServerKeys,
        redis_server::RedisServerExpired,
        redis_server::RedisServerEvicted,
        redis_server::RedisServerLookup,
        redis_server::RedisServerClients,
        redis_server::RedisReplicationLag,
        redis_server::RedisStreamEntries,
        resilience::CircuitBreakerEvent,
        resilience::CircuitBreakerState,
        resilience::CircuitBreakerFailures,
        cache::CacheOperation,
        cache::CacheRequest,
        cache::CacheTierRequest,
        cache::CacheEviction,
        cache::CacheSize,
        cache::CacheEntries,
        host::CpuUtilization,
        host::CpuCount,
        host::LoadAverage,
        host::MemoryUsage,
        host::MemoryUtilization,
        host::MemoryLimit,
        host::PagingUsage,
        host::FilesystemUsage,
        host::FilesystemUtilization,
        host::DiskIo,
        host::NetworkIo,
        host::NetworkErrors,
        host::ProcessCount,
        host::Uptime,
        process::ProcessCpuTime,
        process::ProcessMemory,
        process::ProcessVirtualMemory,
        process::ProcessThreads,
        process::ProcessFiles,
        process::ProcessFilesShare,
        business::Users,
        business::ApiKeysActive,
        business::SessionsActive,
        business::Figure,
        container::ContainerCpuTime,
        container::ContainerCpuLimit,
        container::ContainerCpuPeriods,
        container::ContainerThrottledTime,
        container::ContainerMemory,
        container::ContainerWorkingSet,
        container::ContainerMemoryLimit,
        container::ContainerMemoryUtilization,
        container::ContainerOomKills,
        pipeline::Dropped,
        pipeline::LabelFolded,
        pipeline::FieldRefused,
        pipeline::QueueLength,
        pipeline::QueueCapacity,
        pipeline::QueueSaturation,
        pipeline::Export,
        pipeline::ExportRetried,
        pipeline::ExportLastSuccess,
        pipeline::Scrape,
        pipeline::CollectionFailed,
        pipeline::Collection,
        pipeline::CollectorUp,
        pipeline::CollectorLastSuccess,
        pipeline::CollectorLastDuration,
        pipeline::CollectorMissing,
        pipeline::CollectorTurn,
        pipeline::RecordsReceived,
        pipeline::HookReceived,
        pipeline::LedgerCommit,
        pipeline::ForeignClashes,
    ];
}
