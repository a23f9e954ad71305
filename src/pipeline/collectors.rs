//! What background collectors say of themselves beside their figures, for the health endpoint.

use std::collections::BTreeMap;

use jiff::Timestamp;
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
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CollectorReport {
    /// What it is about.
    pub state: CollectorState,
    /// Why it does not read, if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it cannot read while it reads the rest, and why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub missing: BTreeMap<String, String>,
    /// What it knows of each of the targets that it checks.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub targets: BTreeMap<String, TargetReport>,
}

/// How a target is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetState {
    /// It was not checked yet.
    #[default]
    Unknown,
    /// It answers as expected.
    Ok,
    /// It answers as expected, but slowly.
    Degraded,
    /// It does not answer as expected.
    Failing,
}

/// What the last checks of a target said.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TargetReport {
    /// How it is.
    pub state: TargetState,
    /// What went wrong, as `error.type` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'static str>,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How well it was of late, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// How long the last check took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_duration_seconds: Option<f64>,
    /// When it last answered as expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Timestamp>,
    /// When the certificate expires that it showed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_expires: Option<Timestamp>,
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
