//! The actix application: routes, health, authentication and limits.

mod app;
pub mod auth;
pub mod budgets;
pub mod collectors;
pub mod config;
mod errors;
pub mod exporter;
mod health;
pub mod kafka;
mod ledger;
mod run;
mod telemetry;

pub use run::{ServeError, Started, run};
