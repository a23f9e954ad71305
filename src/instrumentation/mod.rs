//! Adapters to real libraries.

pub mod actix;
