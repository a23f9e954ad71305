//! The actix application: routes, health, authentication and limits.
