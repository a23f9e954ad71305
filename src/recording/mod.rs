//! Recording: series tables, budgets, operation guards, exemplars and the `signal!` macro.
//!
//! A label tuple is looked up once in an append-only table and yields what its signal's metrics
//! keep under it. Until a pipeline is installed recording does nothing.
//!
//! Reading goes from [`all`] recorders by [`Recorder::metrics`] and [`MetricSeries::series`] to
//! [`Series::read`].

mod active;
mod bounds;
mod budget;
mod bundle;
mod cell;
pub mod exemplar;
mod exponential;
mod given;
mod macros;
mod metric;
#[doc(hidden)]
pub mod observe;
mod recorder;
mod registry;
mod rounds;
mod series;
mod stripes;
mod table;

pub use active::{Active, OperationSpec};
pub use bundle::{Begun, Handle};
pub use cell::Cell;
pub use exponential::{Exponential, ExponentialBuckets};
pub use given::{Complete, Given, Place, Shape};
pub use metric::MetricSeries;
#[cfg(feature = "service")]
pub(crate) use recorder::check_values;
pub use recorder::{FieldError, Recorder};
pub use registry::{InstallError, SCOPE, all, find, find_metric, fold_counts, install};
pub use rounds::Rounds;
pub use series::{Reading, Series};
pub use table::Key;

/// What the `signal!` macro expands to; not for use by hand.
#[doc(hidden)]
pub mod private {
    pub use tracing;
}
