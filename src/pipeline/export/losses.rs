//! What export loses, by signal and reason, and the two log lines that frame a loss.
//!
//! Counting happens wherever the loss does, also on the host's threads; it is atomic
//! additions only. The log lines are written by the export thread, where telemetry is
//! suppressed, so that a full log queue never feeds itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::catalog::ClosedLabel as _;
use crate::signals::pipeline::{DropReason, Dropped, ExportSignal, ItemKind};

/// Target of every log line about export; log filters can name it.
pub const LOG_TARGET: &str = "tachograph::export";

/// Adds to the process's own metric of dropped telemetry.
fn count(signal: ExportSignal, reason: DropReason, items: u64) {
    let signal = match signal {
        ExportSignal::Traces => ItemKind::Traces,
        ExportSignal::Metrics => ItemKind::Metrics,
        ExportSignal::Logs => ItemKind::Logs,
    };
    Dropped { signal, reason }.add(items);
}

const REASONS: usize = DropReason::VALUES.len();

/// The losses of one signal.
#[derive(Debug)]
pub(crate) struct Losses {
    signal: ExportSignal,
    counts: [AtomicU64; REASONS],
    /// Set by the first loss, so that only that one wakes the reporter.
    noticed: AtomicBool,
    report: Arc<Notify>,
    log: Mutex<LogState>,
}

#[derive(Debug, Default)]
struct LogState {
    losing: bool,
    /// The counts when the last loss ended.
    before: [u64; REASONS],
}

impl Losses {
    /// `report` is notified when losing starts.
    pub(crate) fn new(signal: ExportSignal, report: Arc<Notify>) -> Self {
        Self {
            signal,
            counts: [const { AtomicU64::new(0) }; REASONS],
            noticed: AtomicBool::new(false),
            report,
            log: Mutex::default(),
        }
    }

    /// Counts lost items. Never blocks, never logs.
    pub(crate) fn lose(&self, reason: DropReason, items: u64) {
        if items == 0 {
            return;
        }
        self.counts[usize::from(reason.index())].fetch_add(items, Ordering::Relaxed);
        count(self.signal, reason, items);
        if !self.noticed.load(Ordering::Relaxed) && !self.noticed.swap(true, Ordering::AcqRel) {
            self.report.notify_one();
        }
    }

    /// Everything lost so far.
    pub(crate) fn total(&self) -> u64 {
        self.snapshot().iter().sum()
    }

    /// The reasons something was lost for, with how many items.
    pub(crate) fn by_reason(&self) -> BTreeMap<&'static str, u64> {
        let reasons = DropReason::VALUES.iter().copied();
        reasons
            .zip(self.snapshot())
            .filter(|(_, n)| *n > 0)
            .collect()
    }

    fn snapshot(&self) -> [u64; REASONS] {
        std::array::from_fn(|i| self.counts[i].load(Ordering::Relaxed))
    }

    /// Writes the line that says that losing started, unless it was written already.
    pub(crate) fn announce(&self, endpoint: &str, last_error: Option<&str>) {
        let mut log = self.log.lock();
        let counts = self.snapshot();
        if log.losing || counts == log.before {
            return;
        }
        log.losing = true;
        // Several reasons may have come together: the one that took most is named.
        let (reason, lost) = DropReason::VALUES
            .iter()
            .zip(counts.iter().zip(log.before).map(|(now, then)| now - then))
            .max_by_key(|(_, n)| *n)
            .unwrap_or((&"", 0));
        tracing::warn!(
            target: LOG_TARGET,
            signal = self.signal.as_str(),
            reason,
            lost,
            endpoint,
            error = last_error.unwrap_or_default(),
            "{} are being lost on their way to the OTLP backend",
            self.signal.as_str(),
        );
    }

    /// Tells that an export succeeded during which nothing was lost since `total` was
    /// `before`: losing has ended.
    pub(crate) fn recovered(&self, before: u64, endpoint: &str) {
        let mut log = self.log.lock();
        if !log.losing || self.total() != before {
            return;
        }
        let lost = before - log.before.iter().sum::<u64>();
        log.losing = false;
        log.before = self.snapshot();
        tracing::info!(
            target: LOG_TARGET,
            signal = self.signal.as_str(),
            lost,
            endpoint,
            "{} arrive at the OTLP backend again",
            self.signal.as_str(),
        );
        self.noticed.store(false, Ordering::Release);
        // A loss between the snapshot and this store saw the flag still set.
        if self.snapshot() != log.before {
            self.report.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses() -> Losses {
        Losses::new(ExportSignal::Traces, Arc::new(Notify::new()))
    }

    #[test]
    fn losses_are_kept_by_reason() {
        let losses = losses();
        losses.lose(DropReason::QueueFull, 2);
        losses.lose(DropReason::Shutdown, 3);
        losses.lose(DropReason::Rejected, 0);
        assert_eq!(losses.total(), 5);
        assert_eq!(
            losses.by_reason(),
            BTreeMap::from([("queue_full", 2), ("shutdown", 3)])
        );
    }

    #[test]
    fn losing_starts_and_ends_once() {
        let losses = losses();
        losses.announce("http://a", None);
        assert!(!losses.log.lock().losing, "nothing was lost");
        losses.lose(DropReason::Refused, 1);
        losses.announce("http://a", Some("refused"));
        assert!(losses.log.lock().losing);
        losses.recovered(0, "http://a");
        assert!(
            losses.log.lock().losing,
            "something was lost during the export"
        );
        losses.recovered(1, "http://a");
        assert!(!losses.log.lock().losing);
        losses.announce("http://a", None);
        assert!(!losses.log.lock().losing, "nothing new was lost");
    }
}
