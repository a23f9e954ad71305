//! Other systems' names for what is recorded: families that are computed from the declared
//! metrics when somebody reads them, so that recording does not know of them.
//!
//! A vocabulary is a TOML file; the built-in ones stand in `vocabularies/`.
//! `docs/vocabularies.md` explains the format.
//!
//! ```
//! use tachograph::vocabulary::{Vocabulary, builtin};
//!
//! let vocabulary = Vocabulary::parse(
//!     r#"
//!     name = "mine"
//!     title = "Dashboards of the old system"
//!
//!     [[family]]
//!     name = "jobs_total"
//!     type = "counter"
//!     help = "Jobs that ended"
//!     source = "task.executions"
//!     labels = { job = "task_type", result = "status" }
//!     "#,
//!     &tachograph::vocabulary::declared(),
//! )
//! .expect("no faults");
//! assert_eq!(vocabulary.families[0].labels, ["job", "result"]);
//! assert_eq!(builtin::NAMES.len(), 5);
//! ```

pub mod builtin;
mod family;
mod library;
mod mapping;
mod model;
mod read;
mod render;
mod set;
mod windows;

pub use library::{Library, Refused, Wanted};
pub use model::{
    Family, Fault, Filter, Kind, LabelFrom, LabelRule, Mapping, Origin, ValueRule, Vocabulary,
};
pub use render::{Computed, Rendering, Target, Value};
pub use set::{Clash, Set};

use crate::catalog::Signal;

/// Every signal that Tachograph declares.
#[must_use]
pub fn declared() -> Vec<&'static Signal> {
    crate::signals::CATALOG
        .iter()
        .map(|recorder| recorder.signal())
        .collect()
}
