//! Adapters to real libraries.

pub mod actix;
#[cfg(feature = "redis")]
pub mod cache;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "http-client")]
pub mod reqwest;
#[cfg(feature = "sqlx")]
pub mod sqlx;
#[cfg(feature = "websocket")]
pub mod websocket;
