//! Tachograph about itself: what is lost, what waits, what export, scrapes, collectors and the
//! ledger do.

use crate::catalog::{
    Alert, BATCH, BYTES, COMMIT, Condition, EXPORT, Panel, Runbook, SCRAPE, Severity, View,
};
use crate::signal;

mod labels;

pub use labels::{
    DropReason, ExportOutcome, ExportSignal, FieldFault, HookEvent, HookOutcome, ItemKind, Outcome,
    Queue, RecordOutcome, ScrapeFormat,
};

signal! {
    /// Items lost, by what they were and why.
    pub counter Dropped = "tachograph.dropped" => "tachograph.dropped" "{item}" reportable false {
        labels {
            /// What kind of item.
            signal: closed(ItemKind),
            /// Why it was lost.
            reason: closed(DropReason),
        }
        panels [
            Panel::new(
                "Items lost",
                View::Rate("tachograph.dropped"),
                "Telemetry and records lost, a second, by kind and reason. Anything above zero is a hole in what the other panels show.",
            )
            .by(&["signal", "reason"])
            .section("Losses")
            .headline(),
        ]
        alerts [
            Alert::new(
                "TelemetryLost",
                Severity::Warning,
                Condition::Occurs { metric: "tachograph.dropped" },
                "Tachograph loses items",
                Runbook {
                    meaning: "Spans, metrics, logs, records or fields are lost; `signal` says which and `reason` why. Dashboards of that signal show less than there was.",
                    causes: &[
                        "queue_full: more is produced than the backend takes, or the backend is slow",
                        "timeout, refused, unavailable: the OTLP backend is away or overloaded",
                        "rejected, partial: the backend does not accept the data or the credentials",
                        "ledger_away: the database of the ledger is locked, full or unreachable",
                        "invalid: a client sends what the catalog does not allow",
                    ],
                    actions: &[
                        "Read the log of target `tachograph::export`: one line names endpoint and error when losing starts",
                        "Check the endpoint, its certificate and the headers with `tachograph serve --print-config`",
                        "For queue_full, raise the queue or batch size, or lower the sampling ratio",
                        "For ledger_away, look at free space and at who holds the database",
                    ],
                },
            )
            .by(&["signal", "reason"])
            .for_minutes(1)
            .over_minutes(15),
        ]
    }
}

signal! {
    /// Label values folded into `other` because the label's budget was spent.
    pub counter LabelFolded = "tachograph.label.fold" => "tachograph.label.folds" "{fold}" reportable false {
        labels {
            /// Signal whose label it is.
            signal: open(250),
            /// The label.
            label: open(250),
        }
        panels [
            Panel::new(
                "Label folds",
                View::Rate("tachograph.label.folds"),
                "Recordings whose label value was folded into `other`, a second. The named label has more values than its declaration allows.",
            )
            .by(&["signal", "label"])
                .section("Losses"),
        ]
        alerts [
            Alert::new(
                "LabelBudgetSpent",
                Severity::Warning,
                Condition::Occurs { metric: "tachograph.label.folds" },
                "A label has more values than its budget allows",
                Runbook {
                    meaning: "New values of this label are counted under `other`. Totals stay right; the split by this label does not.",
                    causes: &[
                        "Ids, paths or free text are written into a label",
                        "A client sends misspelt or made-up names",
                        "The declaration's budget is too small for this system",
                    ],
                    actions: &[
                        "List the values with `count by (<label>) (<metric>)` and see whether they are names or ids",
                        "Move ids to context fields, which go on spans and logs",
                        "If the values are right, raise the budget in the declaration: `open(n)`",
                    ],
                },
            )
            .for_minutes(1)
            .by(&["signal", "label"])
            .over_minutes(60),
        ]
    }
}

signal! {
    /// Fields of declared spans and events that could not be used.
    pub counter FieldRefused = "tachograph.field.refused" => "tachograph.field.refusals" "{field}" reportable false {
        labels {
            /// Signal the span or event is declared as.
            signal: open(250),
            /// The field.
            field: open(250),
            /// Why it was refused.
            reason: closed(FieldFault),
        }
        panels [
            Panel::new(
                "Fields refused",
                View::Rate("tachograph.field.refusals"),
                "Fields of declared spans and events that were missing, of another type or of an unknown value, a second.",
            )
            .by(&["signal", "field", "reason"])
                .section("Losses"),
        ]
        alerts [
            Alert::new(
                "FieldsRefused",
                Severity::Warning,
                Condition::Occurs { metric: "tachograph.field.refusals" },
                "An application's spans do not fit their declaration",
                Runbook {
                    meaning: "A span or event of a declared name lacks a field, or carries one of another type or of a value that the declaration does not list. What depends on it is not recorded.",
                    causes: &[
                        "The application was changed and the declaration was not, or the other way round",
                        "A status is written in other words than the declared ones",
                        "A number is formatted into text",
                    ],
                    actions: &[
                        "Look the signal up with `tachograph catalog` and compare its fields with the span's",
                        "Find the callsite in the log: the first refusal of each field is logged with file and line",
                        "Correct the callsite; never widen a closed label to take a misspelling",
                    ],
                },
            )
            .for_minutes(1)
            .by(&["signal", "field", "reason"])
            .over_minutes(60),
        ]
    }
}

signal! {
    /// Items that wait in a queue.
    pub gauge QueueLength = "tachograph.queue.length" => "tachograph.queue.length" "{item}" reportable false {
        labels {
            /// The queue.
            queue: closed(Queue),
        }
        panels [
            Panel::new(
                "Queue lengths",
                View::Value("tachograph.queue.length"),
                "Items that wait for export or for the ledger.",
            )
            .by(&["queue"])
                .section("Queues"),
        ]
        no_alert "its saturation is watched: tachograph.queue.saturation"
    }
}

signal! {
    /// Items a queue holds at most; absent for queues that are bounded in bytes.
    pub gauge QueueCapacity = "tachograph.queue.capacity" => "tachograph.queue.capacity" "{item}" reportable false {
        labels {
            /// The queue.
            queue: closed(Queue),
        }
        no_alert "a setting, not a state"
    }
}

signal! {
    /// Share of a queue that is taken, 0 to 1, in whatever its bound is counted in.
    pub gauge QueueSaturation = "tachograph.queue.saturation" => "tachograph.queue.saturation" "1" reportable false {
        labels {
            /// The queue.
            queue: closed(Queue),
        }
        panels [
            Panel::new(
                "Queue saturation",
                View::Value("tachograph.queue.saturation"),
                "Share of each queue that is taken. At 1 the next item is lost or refused.",
            )
            .by(&["queue"])
                .section("Queues")
                .headline(),
        ]
        alerts [
            Alert::new(
                "QueueNearlyFull",
                Severity::Warning,
                Condition::ValueAbove { metric: "tachograph.queue.saturation", threshold: 0.8 },
                "A queue of Tachograph is nearly full",
                Runbook {
                    meaning: "More comes in than goes out. When the queue is full, telemetry is dropped and counted, and the records API answers 429.",
                    causes: &[
                        "The OTLP backend or the database is slow or away",
                        "A burst of traffic, or a sampling ratio that is too high",
                    ],
                    actions: &[
                        "Look at export duration and commit duration: which one has grown",
                        "If the backend is well, raise the queue's size in the configuration",
                        "For traces, lower the sampling ratio",
                    ],
                },
            )
            .by(&["queue"]),
        ]
    }
}

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

signal! {
    /// Records sent to the records API, by what became of them.
    pub counter RecordsReceived = "tachograph.record.received" => "tachograph.records" "{record}" reportable false {
        labels {
            /// What became of it.
            outcome: closed(RecordOutcome),
        }
        panels [
            Panel::new("Records", View::Rate("tachograph.records"), "Records sent to the records API, a second: accepted, duplicate, rejected.")
                .by(&["outcome"])
                .section("Records and ledger"),
            Panel::new("Rejected records", View::ErrorRatio("tachograph.records"), "Share of the records that the catalog does not allow.")
                .section("Records and ledger")
                .headline(),
        ]
        alerts [
            Alert::new(
                "RecordsRejected",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "tachograph.records", ratio: 0.05, floor: 20 },
                "More than 5 % of the records are rejected",
                Runbook {
                    meaning: "Clients send records that the catalog does not allow. They are neither stored nor counted.",
                    causes: &["A client of another version", "A misspelt signal, field or status", "A value of the wrong type"],
                    actions: &["Look at the answers: each rejected record is named with field and reason", "Compare with `tachograph catalog`", "Correct the client"],
                },
            )
            .over_minutes(10),
        ]
    }
}

signal! {
    /// Events of agents' hooks, by what became of them.
    pub counter HookReceived = "tachograph.hook.event" => "tachograph.hook.events" "{event}" reportable false {
        labels {
            /// The event.
            event as "hook.event": closed(HookEvent),
            /// What became of it.
            outcome: closed(HookOutcome),
        }
        panels [
            Panel::new("Events of hooks", View::Rate("tachograph.hook.events"), "Events that agents' hooks sent, a second, by what became of them. Unpaired ones tell of an end whose beginning was not seen.")
                .by(&["outcome"])
                .section("Records and ledger"),
            Panel::new("Events of hooks by kind", View::Rate("tachograph.hook.events"), "Events that agents' hooks sent, a second, by event.")
                .by(&["hook.event"])
                .section("Records and ledger"),
        ]
        alerts [
            Alert::new(
                "HookEventsFailing",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "tachograph.hook.events", ratio: 0.05, floor: 20 },
                "More than 5 % of the hooks' events cannot be used",
                Runbook {
                    meaning: "Events that agents' hooks send are malformed, or could not be kept. What those agents do shows only in part.",
                    causes: &["The ledger is away, or as many operations are open as may be", "A client of a version whose events look different", "Something else sends to the address of the hooks"],
                    actions: &["Split by `outcome`: `lost` is the ledger's doing, `malformed` the client's", "Send one event by hand and read the answer", "See whether the ledger is ready: `/health/ready`"],
                },
            )
            .over_minutes(10),
        ]
    }
}

signal! {
    /// One commit of the ledger.
    pub operation LedgerCommit => LedgerCommitEnd = "tachograph.ledger.commit" reportable false {
        labels {}
        outcome {
            /// How it ended.
            outcome: closed(Outcome),
        }
        values {
            /// Records in the batch.
            records,
        }
        metrics {
            /// Commits of the ledger that ended.
            "tachograph.ledger.commits" = counter "{commit}" count by [outcome];
            /// Wall time of a commit of the ledger.
            "tachograph.ledger.commit.duration" = histogram "s" duration by [] buckets (COMMIT);
            /// Records in a commit of the ledger.
            "tachograph.ledger.commit.records" = histogram "{record}" of(records) by [] buckets (BATCH)
                no_alert "any size is right; the duration is watched";
        }
        panels [
            Panel::new("Ledger commits", View::Rate("tachograph.ledger.commits"), "Commits of the ledger, a second, by outcome.")
                .by(&["outcome"])
                .section("Records and ledger"),
            Panel::new("Failing commits", View::ErrorRatio("tachograph.ledger.commits"), "Share of the ledger's commits that failed: the records API answers 503 meanwhile.")
                .section("Records and ledger")
                .headline(),
            Panel::new("Commit duration", View::Quantiles("tachograph.ledger.commit.duration"), "Percentiles of the time that commits of the ledger take: what a client of the records API waits for.")
                .section("Records and ledger")
                .headline(),
            Panel::new("Records per commit", View::Quantiles("tachograph.ledger.commit.records"), "Percentiles of the number of records in one commit of the ledger.")
                .section("Records and ledger"),
        ]
        alerts [
            Alert::new(
                "LedgerCommitsFailing",
                Severity::Critical,
                Condition::ErrorRatioAbove { metric: "tachograph.ledger.commits", ratio: 0.1, floor: 10 },
                "Commits of the ledger fail",
                Runbook {
                    meaning: "Records cannot be made durable. The records API answers 503 and clients have to send again; nothing is counted meanwhile.",
                    causes: &["The disk is full", "Another process holds the database", "The database server is away"],
                    actions: &["Read the log for the database's error", "Check free space and who holds the file", "Once it is back, clients' repeated records are counted once"],
                },
            )
            .over_minutes(10),
            Alert::new(
                "LedgerSlow",
                Severity::Warning,
                Condition::QuantileAbove { metric: "tachograph.ledger.commit.duration", quantile: 0.95, threshold: 1.0, floor: 20 },
                "The 95th percentile of ledger commits takes more than 1 s",
                Runbook {
                    meaning: "Clients of the records API wait long for their acknowledgement, and the queue fills.",
                    causes: &["The disk is slow or shared", "A backup or a long reader holds the database"],
                    actions: &["Compare with the disk's latency", "Move the ledger to a local disk", "End long readers"],
                },
            )
            .over_minutes(10),
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
