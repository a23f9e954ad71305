//! SDK wiring: configuration, resource, providers, exporters, tracing layers, sampling, and
//! the guard that flushes.

pub mod config;
