//! What the page knows about itself, for the health endpoint.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::pipeline::foreign::MAX_CLASHES;
use crate::recording;

/// State of the page. What was never measured is absent.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PageStatus {
    /// When metrics were last collected.
    pub last_success: Option<Timestamp>,
    /// When collecting last failed, and why.
    pub last_error: Option<PageFailure>,
    /// Collections so far.
    pub collections: u64,
    /// Collections that failed.
    pub failures: u64,
    /// How long the last collection and everything written from it took, seconds.
    pub last_duration: Option<f64>,
    /// Size of the last page before compression, bytes.
    pub last_size: Option<u64>,
    /// When the page was last read by a scraper: by a request that names its deadline in
    /// `X-Prometheus-Scrape-Timeout-Seconds`, as Prometheus does.
    pub last_scrape: Option<Reader>,
    /// When the page was last read by something else.
    pub last_read: Option<Reader>,
    /// Categories of declared metrics: the domains of the catalog.
    pub domains: BTreeMap<&'static str, DomainStatus>,
    /// Metrics of the host and its libraries.
    pub foreign: ForeignStatus,
}

/// Who read the page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reader {
    /// When.
    pub time: Timestamp,
    /// What it calls itself: `User-Agent`, 100 characters at most.
    pub user_agent: Option<String>,
}

/// A failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PageFailure {
    /// When.
    pub time: Timestamp,
    /// Why.
    pub reason: String,
}

/// One category of declared metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DomainStatus {
    /// Families declared.
    pub declared: usize,
    /// Families with series in the last collection; none before the first.
    pub families: Option<usize>,
    /// Series in the last collection, a histogram's counted once; none before the first.
    pub series: Option<usize>,
}

/// Metrics that are not declared.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ForeignStatus {
    /// Families on the last page.
    pub families: Option<usize>,
    /// Series on the last page.
    pub series: Option<usize>,
    /// When gathering last failed, and why.
    pub last_error: Option<PageFailure>,
    /// Clashes that stand, at most 100: what was left off or renamed.
    pub clashes: Vec<String>,
}

impl PageStatus {
    /// A status with the declared domains.
    pub(super) fn start() -> Self {
        let mut status = Self::default();
        for recorder in recording::all() {
            let signal = recorder.signal();
            status.domains.entry(signal.domain).or_default().declared += signal.metrics.len();
        }
        status
    }

    /// Takes note of a collection; the counts are by domain.
    pub(super) fn succeeded(
        &mut self,
        counts: &BTreeMap<&'static str, (usize, usize)>,
        took: Duration,
    ) {
        if self.domains.is_empty() {
            self.domains = Self::start().domains;
        }
        for domain in self.domains.values_mut() {
            (domain.families, domain.series) = (Some(0), Some(0));
        }
        for (name, (families, series)) in counts {
            let domain = self.domains.entry(name).or_default();
            (domain.families, domain.series) = (Some(*families), Some(*series));
        }
        self.collections += 1;
        self.last_success = Some(Timestamp::now());
        self.last_duration = Some(took.as_secs_f64());
    }

    /// Takes note of a collection that failed.
    pub(super) fn failed(&mut self, reason: String) {
        self.collections += 1;
        self.failures += 1;
        self.last_error = Some(failure(reason));
    }

    /// Takes note of foreign metrics; returns the clashes that are new.
    pub(super) fn gathered(
        &mut self,
        families: usize,
        series: usize,
        errors: Vec<String>,
        mut clashes: Vec<String>,
    ) -> Vec<String> {
        let foreign = &mut self.foreign;
        if errors.is_empty() {
            (foreign.families, foreign.series) = (Some(families), Some(series));
        } else {
            foreign.last_error = Some(failure(errors.join("; ")));
        }
        clashes.truncate(MAX_CLASHES);
        if !errors.is_empty() && clashes.is_empty() {
            return Vec::new();
        }
        let known: HashSet<&String> = foreign.clashes.iter().collect();
        let new = clashes
            .iter()
            .filter(|clash| !known.contains(clash))
            .cloned()
            .collect();
        foreign.clashes = clashes;
        new
    }
}

fn failure(reason: String) -> PageFailure {
    PageFailure {
        time: Timestamp::now(),
        reason,
    }
}
