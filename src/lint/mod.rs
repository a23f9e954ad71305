//! Checks of Grafana dashboards and Prometheus rules against the names that are published.
//!
//! [`run`] reads files into [`Finding`]s; `docs/lint.md` explains every [`Code`].

mod alerts;
mod annotation;
mod code;
mod compare;
mod dashboard;
mod expression;
mod finding;
mod infer;
mod input;
mod labels;
mod lines;
mod matching;
mod names;
mod ratio;
mod report;
mod rules;
mod selector;
mod tokens;
mod variables;
mod vocabulary;

pub use code::{Code, Severity};
pub use finding::{Finding, Position};
pub use input::{Input, Options, Report, Unreadable, run};
pub use names::{Family, FamilyLabel, Kind, Names};
pub use report::{json, text};
