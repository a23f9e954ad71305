//! SDK wiring: configuration, resource, providers, exporters, tracing layers, sampling, and
//! the guard that flushes.

pub mod config;
pub mod metrics;
pub mod propagation;
mod w3c_lists;
