//! actix-web.
//!
//! [`Middleware`] records what an application serves; an application that authenticates its
//! callers tells it with [`AuthInfo`].

pub mod auth;
mod auth_info;
mod middleware;
mod payload;
mod record;
mod route;
mod telemetry;
mod trace;

pub use auth_info::{AuthInfo, UserKey};
pub use middleware::{Middleware, MiddlewareService, RecordedBody, RecordedFuture};
pub use trace::Tracing;
