//! What collectors do.

use super::Outcome;
use crate::catalog::{Alert, Condition, EXPORT, Panel, Runbook, Severity, View};
use crate::signal;

signal! {
    /// One round of a background collector.
    pub operation Collection => CollectionEnd = "tachograph.collector.run" reportable false {
        labels {
            /// The collector.
            collector: open(64),
        }
        outcome {
            /// How it ended.
            outcome: closed(Outcome),
        }
        metrics {
            /// Rounds of background collectors that ended.
            "tachograph.collector.runs" = counter "{run}" count by [collector, outcome];
            /// Wall time of a round of a background collector.
            "tachograph.collector.duration" = histogram "s" duration by [collector] buckets (EXPORT)
                no_alert "a round that takes too long ends as timeout, which is watched";
        }
        panels [
            Panel::new("Collector rounds", View::Rate("tachograph.collector.runs"), "Rounds of background collectors, a second, by outcome.")
                .by(&["collector", "outcome"])
                .section("Collectors"),
            Panel::new("Failing collectors", View::ErrorRatio("tachograph.collector.runs"), "Share of a collector's rounds that failed.")
                .by(&["collector"])
                .section("Collectors"),
            Panel::new("Collector duration", View::Quantiles("tachograph.collector.duration"), "The 95th percentile of the time that a round takes, by collector.")
                .by(&["collector"])
                .section("Collectors"),
        ]
        alerts [
            Alert::new(
                "CollectorFailing",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "tachograph.collector.runs", ratio: 0.5, floor: 4 },
                "More than half of a collector's rounds fail",
                Runbook {
                    meaning: "A background collector cannot read its source. Its gauges are taken off the page, since unknown is not zero.",
                    causes: &[
                        "The source (pool, Redis, database, device) is away or refuses the credentials",
                        "The source is slower than the collector's timeout",
                    ],
                    actions: &[
                        "Read the log for the collector's error",
                        "Reach the source by hand from the same host",
                        "Raise the collector's interval or timeout if the source is only slow",
                    ],
                },
            )
            .by(&["collector"])
            .over_minutes(15),
        ]
    }
}

signal! {
    /// Whether a background collector's last round succeeded: 1 or 0.
    pub gauge CollectorUp = "tachograph.collector.up" => "tachograph.collector.up" "{state}" reportable false {
        labels {
            /// The collector.
            collector: open(64),
        }
        panels [
            Panel::new(
                "Collectors up",
                View::Value("tachograph.collector.up"),
                "1 where a collector's last round succeeded, 0 where it failed.",
            )
            .by(&["collector"])
            .section("Collectors")
            .headline(),
        ]
        alerts [
            Alert::new(
                "CollectorDown",
                Severity::Warning,
                Condition::ValueBelow { metric: "tachograph.collector.up", threshold: 1.0 },
                "A collector is down",
                Runbook {
                    meaning: "The collector's last rounds failed. What it reads is unknown now.",
                    causes: &["Its source is away, slow, or refuses the credentials", "The collector panicked and is being restarted"],
                    actions: &["Read the log for the collector's error", "Check its source", "Check its settings with `--print-config`"],
                },
            )
            .for_minutes(10)
            .by(&["collector"]),
        ]
    }
}

signal! {
    /// When a background collector last succeeded, seconds since the Unix epoch.
    pub gauge CollectorLastSuccess = "tachograph.collector.last_success" => "tachograph.collector.last_success.timestamp" "s" reportable false {
        labels {
            /// The collector.
            collector: open(64),
        }
        panels [
            Panel::new("Since the last good round", View::Age("tachograph.collector.last_success.timestamp"), "How long ago each background collector last succeeded.")
                .by(&["collector"])
                .section("Collectors"),
        ]
        alerts [
            Alert::new(
                "CollectorSilent",
                Severity::Warning,
                Condition::OlderThan { metric: "tachograph.collector.last_success.timestamp", seconds: 900 },
                "A collector has not succeeded for 15 minutes",
                Runbook {
                    meaning: "The collector neither succeeds nor, perhaps, runs.",
                    causes: &["Its source is away", "Its task hangs in a call without a timeout"],
                    actions: &["See whether it is reported as down", "Read the log for the collector", "Restart the process if it does not run at all"],
                },
            )
            .by(&["collector"]),
        ]
    }
}

signal! {
    /// How long the last round of a background collector took.
    pub gauge CollectorLastDuration = "tachograph.collector.last_duration" => "tachograph.collector.last_duration" "s" reportable false {
        labels {
            /// The collector.
            collector: open(64),
        }
        panels [
            Panel::new("Last round", View::Value("tachograph.collector.last_duration"), "How long the last round of each background collector took.")
                .by(&["collector"])
                .section("Collectors"),
        ]
        no_alert "a round that takes too long ends as timeout, which is watched"
    }
}

signal! {
    /// Parts of what a background collector reads that it cannot read.
    pub gauge CollectorMissing = "tachograph.collector.missing" => "tachograph.collector.missing" "{part}" reportable false {
        labels {
            /// The collector.
            collector: open(64),
        }
        panels [
            Panel::new("Missing parts", View::Value("tachograph.collector.missing"), "Parts of what a collector reads that it cannot read, while it reads the rest: a table that is not there, a figure whose query fails.")
                .by(&["collector"])
                .section("Collectors"),
        ]
        alerts [
            Alert::new(
                "CollectorIncomplete",
                Severity::Info,
                Condition::ValueAbove { metric: "tachograph.collector.missing", threshold: 0.0 },
                "A collector cannot read a part of what it should",
                Runbook {
                    meaning: "The collector reads the rest. What is missing is absent from the page, since unknown is not zero.",
                    causes: &["A table or a column is not there, or has another name", "The user may not read it", "A query takes longer than its timeout"],
                    actions: &["Ask for `/api/monitoring/health/metrics`: it names the part and the reason", "Give the query that fits your schema, or switch the figure off", "Grant the user what it should read"],
                },
            )
            .by(&["collector"])
            .for_minutes(30),
        ]
    }
}

signal! {
    /// Whether it is this process's turn to read what several share: 1 or 0.
    pub gauge CollectorTurn = "tachograph.collector.turn" => "tachograph.collector.turn" "{turn}" reportable false {
        labels {
            /// The collector.
            collector: open(64),
        }
        panels [
            Panel::new("Whose turn", View::Value("tachograph.collector.turn"), "1 where some process reads what several share, 0 while none does.")
                .by(&["collector"])
                .section("Collectors"),
        ]
        no_alert "when nobody reads, the collector's last success grows old, which is watched"
    }
}
