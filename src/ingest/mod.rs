//! The ways in for agents in any language: edge formats turned into declared signals.

pub mod action_log;
pub mod frontend;
pub mod hooks;
pub mod records;
