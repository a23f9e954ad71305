//! What the export over OTLP does.

use super::{ExportOutcome, ExportSignal};
use crate::catalog::{Alert, Condition, EXPORT, Panel, Runbook, Severity, View};
use crate::signal;

signal! {
    /// One request to the OTLP backend, retries included.
    pub operation Export => ExportEnd = "tachograph.export" reportable false {
        labels {
            /// What is exported.
            signal: closed(ExportSignal),
        }
        outcome {
            /// How it ended.
            outcome: closed(ExportOutcome),
        }
        metrics {
            /// Requests to the OTLP backend that ended.
            "tachograph.exports" = counter "{request}" count by [signal, outcome];
            /// Wall time of a request to the OTLP backend, retries included.
            "tachograph.export.duration" = histogram "s" duration by [signal] buckets (EXPORT)
                no_alert "slow exports show as full queues and timeouts, which are watched";
        }
        panels [
            Panel::new("Exports", View::Rate("tachograph.exports"), "Requests to the OTLP backend, a second, by signal and outcome.")
                .by(&["signal", "outcome"])
                .section("Export"),
            Panel::new("Failing exports", View::ErrorRatio("tachograph.exports"), "Share of the requests to the OTLP backend that failed, by signal.")
                .by(&["signal"])
                .section("Export")
                .headline(),
            Panel::new("Export duration", View::Quantiles("tachograph.export.duration"), "The 95th percentile of the time that requests to the OTLP backend take, retries included, by signal.")
                .by(&["signal"])
                .section("Export"),
        ]
        alerts [
            Alert::new(
                "ExportFailing",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "tachograph.exports", ratio: 0.1, floor: 10 },
                "More than 10 % of the exports fail",
                Runbook {
                    meaning: "The OTLP backend does not take what is sent. Items are retried within bounds and then dropped.",
                    causes: &[
                        "refused, timeout: the collector is down, or a network or certificate is wrong",
                        "unavailable: the backend throttles (429, 503)",
                        "rejected: credentials or protocol are wrong, or the data is not accepted",
                    ],
                    actions: &[
                        "Split the failing exports by `outcome`",
                        "Read the log of target `tachograph::export` for endpoint and error",
                        "Send a request to the endpoint by hand with the same headers",
                        "Metrics stay available by pull meanwhile",
                    ],
                },
            )
            .by(&["signal"])
            .over_minutes(30),
        ]
    }
}

signal! {
    /// Requests to the OTLP backend that were tried again.
    pub counter ExportRetried = "tachograph.export.retry" => "tachograph.export.retries" "{retry}" reportable false {
        labels {
            /// What is exported.
            signal: closed(ExportSignal),
        }
        panels [
            Panel::new("Export retries", View::Rate("tachograph.export.retries"), "Requests to the OTLP backend that were tried again, a second, by signal.")
                .by(&["signal"])
                .section("Export"),
        ]
        no_alert "a retry is how a passing failure is met; exports that fail for good are watched"
    }
}

signal! {
    /// When an export last succeeded, seconds since the Unix epoch.
    pub gauge ExportLastSuccess = "tachograph.export.last_success" => "tachograph.export.last_success.timestamp" "s" reportable false {
        labels {
            /// What is exported.
            signal: closed(ExportSignal),
        }
        panels [
            Panel::new("Since the last export", View::Age("tachograph.export.last_success.timestamp"), "How long ago an export of each signal last succeeded.")
                .by(&["signal"])
                .section("Export"),
        ]
        alerts [
            Alert::new(
                "ExportSilent",
                Severity::Warning,
                Condition::OlderThan { metric: "tachograph.export.last_success.timestamp", seconds: 900 },
                "No export of metrics has succeeded for 15 minutes",
                Runbook {
                    meaning: "Metrics were pushed before and are no longer, or nothing arrives. The backend's dashboards stand still. Metrics go out at every interval; spans and logs only when there are some, so they are watched by ExportFailing and TelemetryLost.",
                    causes: &[
                        "The backend is away, or its credentials have expired",
                        "The export thread hangs",
                    ],
                    actions: &[
                        "Compare with the failing exports and the queue's saturation",
                        "Look at `/api/monitoring/health/metrics` for the exporter's last error",
                        "Restart the process if nothing is tried at all, and keep its log",
                    ],
                },
            )
            .only(&[("signal", "metrics")])
            .by(&["signal"]),
        ]
    }
}
