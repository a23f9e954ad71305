//! SDK wiring: configuration, resource, providers, exporters, tracing layers, sampling, and
//! the guard that flushes.

pub mod collectors;
pub mod config;
#[cfg(feature = "otlp")]
pub mod export;
pub mod filter;
pub mod foreign;
pub mod format;
pub mod logs;
pub mod metrics;
pub(crate) mod observed;
pub mod propagation;
pub mod resource;
pub mod sampling;
pub mod signal_layer;
pub mod sink;
pub mod subscriber;
mod telemetry;
mod w3c_lists;

pub use telemetry::{Builder, InitError, ShutdownError, Telemetry};
