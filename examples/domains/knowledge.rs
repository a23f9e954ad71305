//! A knowledge base: what is in it, and what is searched, embedded and indexed.

use std::time::Duration;

use tachograph::signals::knowledge::{
    CacheResult, KnowledgeCacheLookup, KnowledgeCacheLookupEnd, KnowledgeDocuments,
    KnowledgeIndexing, KnowledgeIndexingEnd, KnowledgeVectors, RunStatus,
};

/// Plain `tracing`.
#[tracing::instrument(
    name = "knowledge.search",
    skip_all,
    fields(search_type = "semantic", collection, status, results)
)]
fn plain(collection: &str) {
    let span = tracing::Span::current();
    span.record("collection", collection);
    span.record("results", 7);
    span.record("status", "success");
}

/// The typed recorders.
fn typed(collection: &str) {
    let documents = KnowledgeDocuments {
        collection,
        document_type: "markdown",
    };
    documents.set(120.0);
    KnowledgeVectors { collection }.set(4_800.0);
    let indexed = KnowledgeIndexingEnd {
        status: RunStatus::Success,
        error: "",
        documents: Some(12.0),
    };
    KnowledgeIndexing { collection }.record(indexed, Duration::from_secs(6));
    let hit = KnowledgeCacheLookupEnd {
        result: CacheResult::Hit,
    };
    let cache_type = "embedding";
    KnowledgeCacheLookup { cache_type }.record(hit, Duration::from_micros(80));
}

pub fn run() {
    plain("handbook");
    typed("handbook");
}
