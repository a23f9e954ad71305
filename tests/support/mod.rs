//! Helpers shared by the integration tests; each test binary uses a part of them.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

#[cfg(feature = "otlp")]
pub mod backend;
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
#[cfg(feature = "service")]
pub mod lint;
pub mod metrics;
pub mod oracle;
#[cfg(feature = "otlp")]
pub mod otlp;
#[cfg(feature = "service")]
pub mod postgres;
pub mod prometheus;
#[cfg(feature = "otlp")]
pub mod tls;
pub mod traffic;
pub mod web;
