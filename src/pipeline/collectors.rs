//! What background collectors say of themselves beside their figures, for the health endpoint.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde::Serialize;

/// What a collector is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CollectorState {
    /// It reads.
    #[default]
    Reading,
    /// It is another process's turn to read what they share.
    Standby,
    /// There is nothing here to be read.
    Absent,
}

/// What a collector says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CollectorReport {
    /// What it is about.
    pub state: CollectorState,
    /// Why it does not read, if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it cannot read while it reads the rest, and why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub missing: BTreeMap<String, String>,
}

static REPORTS: Mutex<BTreeMap<&'static str, CollectorReport>> = Mutex::new(BTreeMap::new());

/// Changes what a collector says of itself.
pub fn report<R>(collector: &'static str, change: impl FnOnce(&mut CollectorReport) -> R) -> R {
    change(REPORTS.lock().entry(collector).or_default())
}

/// What each collector of the process said last, by name.
#[must_use]
pub fn reports() -> BTreeMap<&'static str, CollectorReport> {
    REPORTS.lock().clone()
}
