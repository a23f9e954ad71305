//! Helpers shared by the integration tests; each test binary uses a part of them.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

pub mod export;
pub mod meters;
pub mod metrics;
pub mod oracle;
pub mod otlp;
pub mod web;
