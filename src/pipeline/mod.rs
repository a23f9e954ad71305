//! SDK wiring: configuration, resource, providers, exporters, tracing layers, sampling, and
//! the guard that flushes.

pub mod config;
#[cfg(feature = "otlp")]
pub mod export;
pub mod filter;
pub mod metrics;
pub mod propagation;
pub mod sampling;
pub mod signal_layer;
mod w3c_lists;
