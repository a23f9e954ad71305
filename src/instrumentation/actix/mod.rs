//! actix-web.
//!
//! [`Middleware`] records what an application serves; an application that authenticates its
//! callers tells it with [`AuthInfo`]. [`MonitoringRoutes`] let metrics be read.

pub mod auth;
mod auth_info;
mod health;
mod middleware;
mod payload;
mod record;
mod route;
mod routes;
mod telemetry;
mod trace;

pub use auth_info::{AuthInfo, UserKey};
pub use middleware::{Middleware, MiddlewareService, RecordedBody, RecordedFuture};
pub use routes::MonitoringRoutes;
pub use trace::Tracing;
