//! The declarations, one file per domain.

use crate::catalog;

pub mod action;
pub mod agent;
pub mod http;
pub mod llm;
pub mod pipeline;
pub mod routing;
pub mod service;
pub mod session;
pub mod task;
pub mod tool;
pub mod workflow;

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
        llm::LlmRetried,
        llm::LlmUsageUnknown,
        llm::LlmPriceUnknown,
        llm::LlmRateLimitRemaining,
        llm::LlmRateLimit,
        llm::LlmRateLimitSaturation,
        llm::LlmProviderUp,
        tool::ToolCall,
        agent::AgentRun,
        session::SessionRun,
        action::ActionLog,
        routing::RoutingDecision,
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
        pipeline::RecordsReceived,
        pipeline::LedgerCommit,
        pipeline::ForeignClashes,
    ];
}
