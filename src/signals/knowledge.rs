//! Knowledge bases: what they hold, how they are filled, and how they answer.
//!
//! Turning texts into vectors is a step of its own here, wherever it is done. What a provider
//! is asked for on the way is a request to a model, whose operation is `embeddings`.

use crate::catalog::{Alert, Condition, HTTP, JOB, Panel, RESULTS, Runbook, Severity, View};
use crate::{closed_label, signal};

pub use super::workflow::RunStatus;

closed_label! {
    /// What a cache gave.
    pub enum CacheResult {
        /// What was asked for.
        Hit = "hit",
        /// Nothing.
        Miss = "miss",
        /// It could not be asked.
        Failed = "failed" error,
        /// Nobody reported what it gave.
        Abandoned = "abandoned" abandoned,
    }
}

signal! {
    /// Documents that a knowledge base holds.
    pub gauge KnowledgeDocuments = "knowledge.documents" => "knowledge.documents" "{document}" {
        labels {
            /// Collection of the knowledge base.
            collection: open(50),
            /// Kind of document, such as `markdown`.
            document_type: optional(30),
        }
        panels [
            Panel::new("Documents", View::Value("knowledge.documents"), "Documents that the knowledge base holds, by collection and kind.")
                .by(&["collection", "document_type"])
                .section("What it holds")
                .headline(),
        ]
        no_alert "how many documents a collection should hold is not known here"
    }
}

signal! {
    /// Vectors that a knowledge base holds.
    pub gauge KnowledgeVectors = "knowledge.vectors" => "knowledge.vectors" "{vector}" {
        labels {
            /// Collection of the knowledge base.
            collection: open(50),
        }
        panels [
            Panel::new("Vectors", View::Value("knowledge.vectors"), "Vectors that the knowledge base holds, by collection.")
                .by(&["collection"])
                .section("What it holds")
                .headline(),
        ]
        no_alert "how many vectors a collection should hold is not known here"
    }
}

signal! {
    /// One search in a knowledge base.
    pub operation KnowledgeSearch => KnowledgeSearchEnd = "knowledge.search" {
        labels {
            /// How it searches, such as `semantic`, `keyword`, `hybrid`.
            search_type: open(20),
            /// Collection that is searched.
            collection: open(50),
        }
        outcome {
            /// How the search ended.
            status: closed(RunStatus),
            /// What went wrong: one of few words; absent if nothing.
            error as "error.type": optional(32),
        }
        values {
            /// Results returned; unknown if there was no answer.
            results,
        }
        context {
            /// Id shared by everything that belongs to one request or task.
            CORRELATION_ID = "correlation_id",
            /// Conversation, session or thread it belongs to.
            CONVERSATION_ID = "gen_ai.conversation.id",
        }
        metrics {
            /// Searches that ended.
            "knowledge.searches" = counter "{search}" count by [search_type, collection, status, error];
            /// Time from a search to its results.
            "knowledge.search.duration" = histogram "s" duration by [search_type, collection] buckets (HTTP);
            /// Results that one search returned.
            "knowledge.search.results" = histogram "{result}" of(results) by [search_type, collection] buckets (RESULTS)
                no_alert "how many results are right depends on the question";
        }
        panels [
            Panel::new("Searches", View::Rate("knowledge.searches"), "Searches that ended, a second, by how they search and collection.")
                .by(&["search_type", "collection"])
                .section("Searches")
                .headline(),
            Panel::new("Search latency", View::Quantiles("knowledge.search.duration"), "The 95th percentile of the time from a search to its results, by how it searches.")
                .by(&["search_type"])
                .section("Searches")
                .headline(),
            Panel::new("Failing searches", View::ErrorRatio("knowledge.searches"), "Share of a collection's searches that failed or gave no answer in time.")
                .by(&["collection"])
                .section("Searches")
                .headline(),
            Panel::new("Results of a search", View::Mean("knowledge.search.results"), "Mean number of results of one search, by how it searches. One that falls to zero points to an empty or broken index.")
                .by(&["search_type"])
                .section("Searches"),
            Panel::new("Results by bucket", View::Heatmap("knowledge.search.results"), "Distribution of the number of results of one search.")
                .section("Searches"),
            Panel::new("Search latency by bucket", View::Heatmap("knowledge.search.duration"), "Distribution of the time of searches; exemplars link to traces.")
                .section("Searches"),
        ]
        alerts [
            Alert::new(
                "KnowledgeSearchSlow",
                Severity::Warning,
                Condition::QuantileAbove { metric: "knowledge.search.duration", quantile: 0.95, threshold: 2.5, floor: 20 },
                "The 95th percentile of searches in the knowledge base is above 2.5 seconds",
                Runbook {
                    meaning: "One search in twenty takes longer than 2.5 seconds. Agents wait for it before they ask their model.",
                    causes: &["The vector store lacks memory or CPU, or builds an index", "The question is turned into a vector by a model that has become slow", "The collection has grown past what its index is made for"],
                    actions: &["Compare with the latency of embeddings: the question goes through it first", "Look at memory and load of the vector store", "Open an exemplar's trace from the slow buckets"],
                },
            )
            .over_minutes(15)
            .by(&["search_type"]),
            Alert::new(
                "KnowledgeSearchFailing",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "knowledge.searches", ratio: 0.05, floor: 20 },
                "More than 5 % of the searches in a collection fail",
                Runbook {
                    meaning: "Agents that ask this collection get no answer, and go on without what it knows.",
                    causes: &["The vector store is away or refuses connections", "The collection is missing, or was made with vectors of another length", "The model that turns questions into vectors fails"],
                    actions: &["Split by `error_type` and by how it searches", "Search the collection by hand from the same host", "Compare with failing embeddings"],
                },
            )
            .over_minutes(15)
            .by(&["collection"]),
        ]
    }
}

signal! {
    /// Turning one batch of texts into vectors.
    pub operation KnowledgeEmbedding => KnowledgeEmbeddingEnd = "knowledge.embedding" {
        labels {
            /// Model that makes the vectors.
            model as "gen_ai.request.model": open(50),
        }
        outcome {
            /// How it ended.
            status: closed(RunStatus),
            /// What went wrong: one of few words; absent if nothing.
            error as "error.type": optional(32),
        }
        values {
            /// Texts in the batch.
            texts,
        }
        context {
            /// Id shared by everything that belongs to one request or task.
            CORRELATION_ID = "correlation_id",
        }
        metrics {
            /// Batches of texts that were turned into vectors, or could not be.
            "knowledge.embeddings" = counter "{batch}" count by [model, status, error];
            /// Time that turning one batch of texts into vectors took.
            "knowledge.embedding.duration" = histogram "s" duration by [model] buckets (HTTP);
            /// Texts that were turned into vectors.
            "knowledge.embedded_texts" = counter "{text}" of(texts) by [model]
                no_alert "how much is embedded follows from what is indexed and asked";
        }
        panels [
            Panel::new("Embedding latency", View::Quantiles("knowledge.embedding.duration"), "The 95th percentile of the time that turning one batch of texts into vectors takes, by model.")
                .by(&["gen_ai.request.model"])
                .section("Embeddings and indexing")
                .headline(),
            Panel::new("Failing embeddings", View::ErrorRatio("knowledge.embeddings"), "Share of a model's batches that failed or gave no answer in time.")
                .by(&["gen_ai.request.model"])
                .section("Embeddings and indexing"),
            Panel::new("Embedded texts", View::Rate("knowledge.embedded_texts"), "Texts that were turned into vectors, a second, by model.")
                .by(&["gen_ai.request.model"])
                .section("Embeddings and indexing"),
        ]
        alerts [
            Alert::new(
                "KnowledgeEmbeddingSlow",
                Severity::Warning,
                Condition::QuantileAbove { metric: "knowledge.embedding.duration", quantile: 0.95, threshold: 5.0, floor: 10 },
                "The 95th percentile of embeddings is above 5 seconds",
                Runbook {
                    meaning: "Turning texts into vectors with this model takes longer than five seconds for one batch in twenty. Searches that embed their question wait for it.",
                    causes: &["The model's provider is slow, or throttles", "Batches are larger than before", "A local model shares its GPU or CPU with other work"],
                    actions: &["Compare the texts a batch holds with before", "Look at the provider's latency and rate limit, or at the load of the machine", "Embed questions apart from documents, so that indexing does not hold them up"],
                },
            )
            .over_minutes(15)
            .by(&["gen_ai.request.model"]),
            Alert::new(
                "KnowledgeEmbeddingFailing",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "knowledge.embeddings", ratio: 0.1, floor: 10 },
                "More than 10 % of the embeddings of a model fail",
                Runbook {
                    meaning: "Texts are not turned into vectors: what is indexed now cannot be found, and questions get no answer.",
                    causes: &["The model's provider is away, or its rate limit is used up", "Texts are longer than the model takes", "Credentials have expired or the model's name has been retired"],
                    actions: &["Split by `error_type`", "Embed one short text by hand with the same credentials", "Index again what failed once it works"],
                },
            )
            .over_minutes(15)
            .by(&["gen_ai.request.model"]),
        ]
    }
}

signal! {
    /// One run that indexes documents: reading, splitting, embedding, storing.
    pub operation KnowledgeIndexing => KnowledgeIndexingEnd = "knowledge.indexing" {
        labels {
            /// Collection that is filled.
            collection: open(50),
        }
        outcome {
            /// How the run ended.
            status: closed(RunStatus),
            /// What went wrong: one of few words; absent if nothing.
            error as "error.type": optional(32),
        }
        values {
            /// Documents that were indexed.
            documents,
        }
        context {
            /// Id shared by everything that belongs to one request or task.
            CORRELATION_ID = "correlation_id",
        }
        metrics {
            /// Runs of indexing that ended.
            "knowledge.indexings" = counter "{run}" count by [collection, status, error];
            /// Wall time of a run of indexing.
            "knowledge.indexing.duration" = histogram "s" duration by [collection] buckets (JOB)
                no_alert "how long it takes follows from how much there is to index";
            /// Documents that were indexed.
            "knowledge.indexed_documents" = counter "{document}" of(documents) by [collection]
                no_alert "how much comes in to be indexed is not known here";
            /// Runs of indexing under way now.
            "knowledge.indexing.active" = in_flight "{run}" active by [collection];
        }
        panels [
            Panel::new("Indexed documents", View::Rate("knowledge.indexed_documents"), "Documents indexed, a second, by collection.")
                .by(&["collection"])
                .section("Embeddings and indexing"),
            Panel::new("Failing indexing", View::ErrorRatio("knowledge.indexings"), "Share of a collection's runs of indexing that failed or ran out of time.")
                .by(&["collection"])
                .section("Embeddings and indexing")
                .headline(),
            Panel::new("Indexing duration", View::Quantiles("knowledge.indexing.duration"), "The 95th percentile of the wall time of a run of indexing, by collection.")
                .by(&["collection"])
                .section("Embeddings and indexing"),
            Panel::new("Indexing under way", View::Value("knowledge.indexing.active"), "Runs of indexing that have begun and not ended, by collection.")
                .by(&["collection"])
                .section("Embeddings and indexing"),
        ]
        alerts [
            Alert::new(
                "KnowledgeIndexingFailing",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "knowledge.indexings", ratio: 0.2, floor: 5 },
                "More than 20 % of a collection's runs of indexing fail",
                Runbook {
                    meaning: "What is new does not reach this collection: searches answer from what it held before.",
                    causes: &["The vector store refuses what is written, or its disk is full", "Documents of a kind that the reader does not understand", "Embeddings fail"],
                    actions: &["Split by `error_type`", "Index one document by hand and read the error", "Index again what failed once it works"],
                },
            )
            .over_minutes(60)
            .by(&["collection"]),
            Alert::new(
                "KnowledgeIndexingStuck",
                Severity::Warning,
                Condition::Stuck { in_flight: "knowledge.indexing.active", ended: "knowledge.indexings" },
                "Indexing of a collection is under way and none ends",
                Runbook {
                    meaning: "Runs of indexing have begun for this collection, and none has ended for a long time.",
                    causes: &["The vector store or the model does not answer, and there is no timeout", "A very large document", "A lock held by a run that is gone"],
                    actions: &["See in the run's log which document it is at", "Compare with the latency of embeddings", "Cancel the run and start it with fewer documents"],
                },
            )
            .for_minutes(60)
            .over_minutes(60)
            .by(&["collection"]),
        ]
    }
}

signal! {
    /// One look into a cache of the knowledge base.
    pub operation KnowledgeCacheLookup => KnowledgeCacheLookupEnd = "knowledge.cache.lookup" {
        labels {
            /// What is cached, such as `embedding`, `search`.
            cache_type: open(20),
        }
        outcome {
            /// What it gave.
            result: closed(CacheResult),
        }
        metrics {
            /// Looks into caches of the knowledge base.
            "knowledge.cache.lookups" = counter "{lookup}" count by [cache_type];
            /// Looks into caches of the knowledge base, by what they gave.
            "knowledge.cache.results" = counter "{lookup}" count by [cache_type, result];
        }
        panels [
            Panel::new("Cache hits", View::Share { part: "knowledge.cache.results", whole: "knowledge.cache.lookups" }, "Share of looks into a cache that found what was asked for, by cache.")
                .only(&[("result", "hit")])
                .by(&["cache_type"])
                .section("Caches")
                .headline(),
            Panel::new("Cache hits and misses", View::Rate("knowledge.cache.results"), "Looks into caches, a second, by cache and by what they gave.")
                .by(&["cache_type", "result"])
                .section("Caches"),
        ]
        alerts [
            Alert::new(
                "KnowledgeCacheFailing",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "knowledge.cache.results", ratio: 0.1, floor: 20 },
                "More than 10 % of the looks into a cache of the knowledge base fail",
                Runbook {
                    meaning: "The cache cannot be asked, which is not a miss: everything it holds is computed anew, which takes time and costs requests to models.",
                    causes: &["The store behind the cache is away or overloaded", "Its connections are used up", "What it holds cannot be read by this version"],
                    actions: &["Look at the store behind the cache, and at its connections", "Compare search and embedding latency with before", "Empty the cache if what it holds cannot be read"],
                },
            )
            .over_minutes(15)
            .by(&["cache_type"]),
            Alert::new(
                "KnowledgeCacheHitRateLow",
                Severity::Warning,
                Condition::ShareBelow { metric: "knowledge.cache.results", whole: "knowledge.cache.lookups", ratio: 0.5, floor: 100 },
                "Fewer than half of the looks into a cache of the knowledge base find anything",
                Runbook {
                    meaning: "Most of what this cache is asked for is computed anew, which takes time and costs requests to models.",
                    causes: &["The cache was emptied, or started anew, and is not warm yet", "It is too small: what is asked for again has been evicted", "Keys differ where what is asked for does not, as after a change of the model or the prompt", "What is asked for hardly ever comes again: then a cache is of little use"],
                    actions: &["See whether it began with a restart or a deployment, and whether it rises again", "Look at the size of the store behind the cache and at what it evicts", "Compare the keys of two looks that should have been one"],
                },
            )
            .only(&[("result", "hit")])
            .for_minutes(15)
            .over_minutes(30)
            .by(&["cache_type"]),
        ]
    }
}
