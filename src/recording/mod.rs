//! Recording: series tables, budgets, operation guards, exemplars and the `signal!` macro.
//!
//! A label tuple is looked up once in an append-only table and yields the bound instruments
//! of its signal. Until a pipeline is installed recording does nothing.

mod active;
mod budget;
mod cell;
pub mod exemplar;
mod macros;
mod registry;
mod series;
mod table;

pub use active::{Active, OperationSpec};
pub use cell::{Begun, Cell, FieldError, Handle, Recorder};
pub use registry::{
    InstallError, Meters, NATIVE_SCOPE, SCOPE, all, find, find_metric, fold_counts, install, view,
};
pub use series::{HistogramSeries, MetricSeries};
pub use table::Key;

/// What the `signal!` macro expands to; not for use by hand.
#[doc(hidden)]
pub mod private {
    pub use tracing;
}
