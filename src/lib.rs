//! OpenTelemetry pipeline for AI-agent backends: each signal is declared once, recorded
//! through `tracing` or typed recorders, and published to Prometheus and OTLP.
//!
//! The rooms, from the ground up; a room imports only rooms above it in this list:
//! [`mod@catalog`], [`recording`], [`signals`], [`usage`], [`prices`], [`vocabulary`], [`pipeline`], [`exposition`], `ledger`,
//! [`instrumentation`], [`testing`], [`collectors`], `ingest`, `service`, [`generate`], `lint`, `cli`.
//! `docs/architecture.md` explains them.

pub mod catalog;
pub mod recording;
pub mod signals;

pub mod usage;

pub mod prices;

pub mod vocabulary;

pub mod pipeline;

pub mod exposition;

#[cfg(feature = "service")]
pub mod ledger;

pub mod instrumentation;

pub mod testing;

pub mod collectors;

#[cfg(feature = "service")]
pub mod ingest;

#[cfg(feature = "service")]
pub mod service;

pub mod generate;

#[cfg(feature = "service")]
pub mod lint;

#[cfg(feature = "service")]
pub mod cli;

pub use pipeline::Telemetry;
pub use pipeline::config::TelemetryConfig;

/// The guide's programs, compiled.
#[cfg(all(doctest, feature = "service"))]
#[doc = include_str!("../docs/embedding.md")]
mod embedding {}

/// The recorders of each domain, run.
#[cfg(all(doctest, feature = "service"))]
#[doc = include_str!("../docs/recording.md")]
mod recorders {}

/// The page on HTTP clients, compiled.
#[cfg(all(doctest, feature = "service"))]
#[doc = include_str!("../docs/http-clients.md")]
mod http_clients_page {}

/// The page on clients of models, compiled.
#[cfg(all(doctest, feature = "service"))]
#[doc = include_str!("../docs/llm-clients.md")]
mod llm_clients_page {}

/// The guides of migration, run.
#[cfg(all(doctest, feature = "service"))]
mod migrate {
    #![doc = include_str!("../docs/migrate/agent-service.md")]
    #![doc = include_str!("../docs/migrate/agent-workflow.md")]
    #![doc = include_str!("../docs/migrate/autobot.md")]
    #![doc = include_str!("../docs/migrate/data20.md")]
    #![doc = include_str!("../docs/migrate/omniclaude.md")]
}

/// The page on collectors, compiled.
#[cfg(all(doctest, feature = "service"))]
#[doc = include_str!("../docs/collectors.md")]
mod collectors_page {}

/// The page on Celery, compiled.
#[cfg(all(doctest, feature = "service"))]
#[doc = include_str!("../docs/celery.md")]
mod celery_page {}

/// The page on Kafka, compiled.
#[cfg(all(doctest, feature = "kafka"))]
#[doc = include_str!("../docs/kafka.md")]
mod kafka_page {}

/// The page on WebSockets, compiled.
#[cfg(all(doctest, feature = "service"))]
#[doc = include_str!("../docs/websocket.md")]
mod websocket_page {}
