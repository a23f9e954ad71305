//! Something asked of Redis that is under way: its span, and its record at the end.

use std::time::{Duration, Instant};

use tracing::Span;

use super::failure::Verdict;
use crate::catalog::ClosedLabel as _;
use crate::signals::redis::RedisStatus;

/// Ends as abandoned unless somebody says how it ended.
pub(super) struct Observed<R: Fn(RedisStatus, &str, Duration)> {
    record: R,
    span: Span,
    start: Instant,
    settled: bool,
}

impl<R: Fn(RedisStatus, &str, Duration)> Observed<R> {
    pub(super) fn new(span: Span, record: R) -> Self {
        Self {
            record,
            span,
            start: Instant::now(),
            settled: false,
        }
    }

    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    pub(super) fn settle(mut self, verdict: &Verdict) {
        self.settled = true;
        self.end(verdict.status, &verdict.error);
    }

    fn end(&self, status: RedisStatus, error: &str) {
        // In the span, so that an exemplar points to it.
        let _entered = self.span.enter();
        (self.record)(status, error, self.start.elapsed());
        self.span.record("status", status.as_str());
        if !error.is_empty() {
            self.span.record("error.type", error);
            self.span.record("otel.status_code", "ERROR");
        }
    }
}

impl<R: Fn(RedisStatus, &str, Duration)> Drop for Observed<R> {
    fn drop(&mut self) {
        if !self.settled {
            self.end(RedisStatus::Abandoned, "abandoned");
        }
    }
}
