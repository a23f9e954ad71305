//! Tachograph about itself: what is lost, what waits, what export, scrapes, collectors and the
//! ledger do.

use crate::catalog::{Alert, BATCH, COMMIT, Condition, Panel, Runbook, Severity, View};
use crate::signal;

mod collector;
mod export;
mod labels;
mod scrape;

pub use collector::{
    Collection, CollectionEnd, CollectorLastDuration, CollectorLastSuccess, CollectorMissing,
    CollectorTurn, CollectorUp,
};
pub use export::{Export, ExportEnd, ExportLastSuccess, ExportRetried};
pub use labels::{
    DropReason, ExportOutcome, ExportSignal, FieldFault, HookEvent, HookOutcome, ItemKind, Outcome,
    Queue, RecordOutcome, ScrapeFormat,
};
pub use scrape::{CollectionFailed, ForeignClashes, Scrape, ScrapeEnd};

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
