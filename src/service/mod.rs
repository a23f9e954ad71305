//! The actix application: routes, health, authentication and limits.

pub mod config;
