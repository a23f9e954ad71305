//! actix-web.

pub mod auth;
