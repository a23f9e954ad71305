//! Helpers shared by the integration tests; each test binary uses a part of them.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

#[cfg(feature = "otlp")]
pub mod backend;
#[cfg(feature = "service")]
pub mod celery;
#[cfg(feature = "otlp")]
pub mod collector;
pub mod dashboards;
pub mod declared;
#[cfg(feature = "service")]
pub mod deploy;
#[cfg(feature = "otlp")]
pub mod export;
#[cfg(feature = "service")]
pub mod hooks;
#[cfg(feature = "http-client")]
pub mod https;
#[cfg(feature = "service")]
pub mod lint;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod metrics;
pub mod oracle;
#[cfg(feature = "otlp")]
pub mod otlp;
#[cfg(feature = "service")]
pub mod postgres;
pub mod prometheus;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(any(feature = "otlp", feature = "http-client"))]
pub mod tls;
pub mod traffic;
pub mod web;
#[cfg(feature = "service")]
pub mod workflow_db;
