//! The declarations, one file per domain.

use crate::catalog;

pub mod workflow;

catalog! {
    /// Every signal that Tachograph declares.
    pub CATALOG = [workflow::WorkflowRun];
}
