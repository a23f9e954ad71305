//! The declarations, one file per domain.

use crate::catalog;

pub mod http;
pub mod pipeline;
pub mod workflow;

catalog! {
    /// Every signal that Tachograph declares.
    pub CATALOG = [
        http::HttpServerRequest,
        workflow::WorkflowRun,
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
