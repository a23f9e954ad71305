//! A check under way: its span, and its record at the end.

use std::time::{Duration, Instant};

use tracing::Span;
use tracing::field::Empty;

use super::probe::Failure;
use crate::catalog::ClosedLabel as _;
use crate::signals::health::{CheckResult, HealthCheck, HealthCheckEnd, TargetKind};

/// Ends as abandoned unless somebody says how it ended.
pub(super) struct Observed<'a> {
    target: &'a str,
    kind: TargetKind,
    span: Span,
    start: Instant,
    settled: bool,
}

impl<'a> Observed<'a> {
    pub(super) fn start(target: &'a str, kind: TargetKind, server: Option<&(String, u16)>) -> Self {
        let span = tracing::info_span!(
            target: "tachograph::signal",
            "health.check",
            otel.kind = "client",
            otel.status_code = Empty,
            "health.target" = target,
            "health.target.kind" = kind.as_str(),
            "server.address" = server.map(|(host, _)| &**host),
            "server.port" = server.map(|(_, port)| i64::from(*port)),
            "health.check.result" = Empty,
            "error.type" = Empty,
        );
        Self {
            target,
            kind,
            span,
            start: Instant::now(),
            settled: false,
        }
    }

    /// How long it has taken.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    pub(super) fn settle(mut self, result: CheckResult, failure: Option<&Failure>, took: Duration) {
        self.settled = true;
        let error = failure.map_or("", |failure| failure.fault.as_str());
        self.end(result, error, took);
    }

    fn end(&self, result: CheckResult, error: &str, took: Duration) {
        // In the span, so that an exemplar points to it.
        let _entered = self.span.enter();
        let (target, kind) = (self.target, self.kind);
        HealthCheck { target, kind }.record(HealthCheckEnd { result, error }, took);
        self.span.record("health.check.result", result.as_str());
        if !error.is_empty() {
            self.span.record("error.type", error);
            self.span.record("otel.status_code", "ERROR");
        }
    }
}

impl Drop for Observed<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.end(CheckResult::Abandoned, "abandoned", self.elapsed());
        }
    }
}
