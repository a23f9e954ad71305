//! The vocabularies that come with the crate.

use super::model::{Fault, Vocabulary};
use crate::catalog::Signal;

/// Their names.
pub const NAMES: [&str; 5] = [
    "agent-service",
    "agent-workflow",
    "autobot",
    "data20",
    "omniclaude",
];

/// The file of a built-in vocabulary.
#[must_use]
pub fn text(name: &str) -> Option<&'static str> {
    Some(match name {
        "agent-service" => include_str!("../../vocabularies/agent-service.toml"),
        "agent-workflow" => include_str!("../../vocabularies/agent-workflow.toml"),
        "autobot" => include_str!("../../vocabularies/autobot.toml"),
        "data20" => include_str!("../../vocabularies/data20.toml"),
        "omniclaude" => include_str!("../../vocabularies/omniclaude.toml"),
        _ => return None,
    })
}

/// Reads a built-in vocabulary; none: there is none of this name.
///
/// # Errors
/// What in its file does not fit the signals.
pub fn load(name: &str, signals: &[&'static Signal]) -> Option<Result<Vocabulary, Vec<Fault>>> {
    text(name).map(|text| Vocabulary::parse(text, signals))
}
