//! What happens when the page of metrics is read.

use super::{Outcome, ScrapeFormat};
use crate::catalog::{Alert, BYTES, Condition, Panel, Runbook, SCRAPE, Severity, View};
use crate::signal;

signal! {
    /// One metrics page, from the request to its last byte.
    pub operation Scrape => ScrapeEnd = "tachograph.scrape" span server reportable false {
        labels {
            /// Format of the page.
            format: closed(ScrapeFormat),
        }
        outcome {
            /// How it ended.
            outcome: closed(Outcome),
        }
        values {
            /// Size of the page before compression, bytes.
            size,
        }
        metrics {
            /// Metrics pages that were asked for.
            "tachograph.scrapes" = counter "{request}" count by [format, outcome];
            /// Time to collect and encode a metrics page.
            "tachograph.scrape.duration" = histogram "s" duration by [format] buckets (SCRAPE);
            /// Size of metrics pages before compression.
            "tachograph.scrape.size" = histogram "By" of(size) by [format] buckets (BYTES)
                no_alert "its growth shows in the duration, which is watched";
        }
        panels [
            Panel::new("Scrapes", View::Rate("tachograph.scrapes"), "Metrics pages asked for, a second, by format and outcome.")
                .by(&["format", "outcome"])
                .section("Pages"),
            Panel::new("Failing scrapes", View::ErrorRatio("tachograph.scrapes"), "Share of the metrics pages that could not be given.")
                .section("Pages"),
            Panel::new("Scrape duration", View::Quantiles("tachograph.scrape.duration"), "Percentiles of the time to collect and encode a metrics page.")
                .section("Pages")
                .headline(),
            Panel::new("Page size", View::Mean("tachograph.scrape.size"), "Mean size of metrics pages before compression, by format.")
                .by(&["format"])
                .section("Pages"),
        ]
        alerts [
            Alert::new(
                "ScrapesFailing",
                Severity::Critical,
                Condition::ErrorRatioAbove { metric: "tachograph.scrapes", ratio: 0.1, floor: 10 },
                "More than 10 % of the metrics pages fail",
                Runbook {
                    meaning: "Metrics pages end in an error. Series have holes, and alerts that rest on them are unreliable.",
                    causes: &[
                        "Collection fails or takes longer than it may",
                        "A foreign metrics registry fails",
                    ],
                    actions: &[
                        "Ask for the page by hand: `curl -i /api/monitoring/metrics`",
                        "Look at `/api/monitoring/health/metrics` for what failed last",
                        "Read the log for the error",
                    ],
                },
            )
            .over_minutes(15),
            Alert::new(
                "ScrapesSlow",
                Severity::Warning,
                Condition::QuantileAbove { metric: "tachograph.scrape.duration", quantile: 0.95, threshold: 2.5, floor: 10 },
                "The 95th percentile of metrics pages takes more than 2.5 s",
                Runbook {
                    meaning: "Pages take long to collect and encode. At the scraper's timeout, 10 s by default, they fail.",
                    causes: &[
                        "Too many series: look at the page's size",
                        "The process has no CPU left",
                    ],
                    actions: &[
                        "Find the families with most series: `topk(10, count by (__name__) ({job=\"...\"}))`",
                        "Lower budgets of labels, or scrape with `name[]` in several jobs",
                        "Give the process more CPU",
                    ],
                },
            )
            .over_minutes(15),
        ]
    }
}

signal! {
    /// Collections of metrics that failed.
    pub counter CollectionFailed = "tachograph.collection.failed" => "tachograph.collection.failures" "{collection}" reportable false {
        labels {}
        panels [
            Panel::new("Failed collections", View::Rate("tachograph.collection.failures"), "Collections of metrics that failed, a second. Pages and pushes have holes while it is above zero.")
                .section("Losses"),
        ]
        alerts [
            Alert::new(
                "CollectionFailing",
                Severity::Critical,
                Condition::Occurs { metric: "tachograph.collection.failures" },
                "Metrics cannot be collected",
                Runbook {
                    meaning: "The SDK could not collect the metrics of this process. Pages and pushes are incomplete or missing.",
                    causes: &[
                        "The pipeline was shut down while it was still scraped",
                        "A callback of an observable instrument fails or hangs",
                    ],
                    actions: &[
                        "Read the log for the error",
                        "If the process is shutting down, nothing: it is expected once",
                        "Otherwise restart it and report the log",
                    ],
                },
            )
            .for_minutes(1)
            .over_minutes(15),
        ]
    }
}

signal! {
    /// Metric families of the host and its libraries whose names clash with declared ones.
    pub gauge ForeignClashes = "tachograph.foreign.clashes" => "tachograph.foreign.clashes" "{family}" reportable false {
        labels {}
        panels [
            Panel::new("Clashing metrics", View::Value("tachograph.foreign.clashes"), "Metric families of the host and its libraries that are left off the page or renamed because a declared one has their name.")
                .section("Losses"),
        ]
        alerts [
            Alert::new(
                "ForeignMetricsClash",
                Severity::Warning,
                Condition::ValueAbove { metric: "tachograph.foreign.clashes", threshold: 0.0 },
                "A library's metric has the name of a declared one",
                Runbook {
                    meaning: "A metric that the host or one of its libraries records has the name of a declared one. The declared one is published, the other is renamed or left off the page.",
                    causes: &["A second instrumentation of the same thing", "A metric of the host that should be declared"],
                    actions: &["Find the family in `/api/monitoring/health/metrics`", "Turn one of the two off, or rename the host's"],
                },
            )
            .for_minutes(15),
        ]
    }
}
