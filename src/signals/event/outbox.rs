//! The outbox: accepted records that wait in the ledger until they are published.

use crate::catalog::{Alert, Condition, Panel, Runbook, Severity, View};
use crate::{closed_label, signal};

closed_label! {
    /// What became of a record of the outbox.
    pub enum OutboxOutcome {
        /// The broker has it, and said so.
        Published = "published",
        /// This attempt failed; it stays and is tried again.
        Retried = "retried",
        /// The broker will never take it, as it is too large or malformed; it was taken out.
        Refused = "refused" error,
        /// The outbox was full, and it was among the oldest; it was taken out.
        Dropped = "dropped" error,
    }
}

signal! {
    /// What became of records of the outbox; of those that are tried again, once for each attempt.
    pub counter OutboxEvents = "event.outbox" => "event.outbox.events" "{event}" reportable false {
        labels {
            /// What became of them.
            outcome as "event.outbox.outcome": closed(OutboxOutcome),
        }
        panels [
            Panel::new("Outbox", View::Rate("event.outbox.events"), "What became of records of the outbox, a second: published, tried again, refused by the broker for good, or dropped as the outbox was full.")
                .by(&["event.outbox.outcome"])
                .section("Outbox"),
        ]
        alerts [
            Alert::new(
                "EventOutboxDrops",
                Severity::Critical,
                Condition::Occurs { metric: "event.outbox.events" },
                "The outbox is full and drops records unpublished",
                Runbook {
                    meaning: "The outbox was full, and its oldest records made room for new ones. They are in the ledger and will not be published.",
                    causes: &["Kafka was away for longer than the outbox has room", "`kafka.outbox_max_rows` or `kafka.outbox_max_bytes` is small for what is accepted"],
                    actions: &["Bring Kafka back", "Raise the limit: the ledger's disk has to have the room", "Read what the topic lacks from the ledger"],
                },
            )
            .only(&[("event.outbox.outcome", "dropped")])
            .for_minutes(1)
            .over_minutes(15),
            Alert::new(
                "EventOutboxRefused",
                Severity::Warning,
                Condition::Occurs { metric: "event.outbox.events" },
                "Kafka refuses records for good",
                Runbook {
                    meaning: "Kafka will never take these records, so they were taken out of the outbox. They are in the ledger and not in the topic.",
                    causes: &["They are larger than the topic's `max.message.bytes`", "The topic's configuration refuses records of this form"],
                    actions: &["Read the service's log: it names their ids and the reason", "Raise the topic's `max.message.bytes` and `message.max.bytes` under `kafka.options`, or have agents send less"],
                },
            )
            .only(&[("event.outbox.outcome", "refused")])
            .for_minutes(1)
            .over_minutes(15),
        ]
    }
}

signal! {
    /// Records that wait to be published.
    pub gauge OutboxRows = "event.outbox.rows" => "event.outbox.rows" "{event}" reportable false {
        labels {}
        panels [
            Panel::new("Waiting in the outbox", View::Value("event.outbox.rows"), "Records that wait in the ledger to be published.")
                .section("Outbox")
                .headline(),
        ]
        no_alert "how long the oldest waits and how much room is left are watched"
    }
}

signal! {
    /// How long the record has waited that waits longest; 0 where none does.
    pub gauge OutboxOldest = "event.outbox.oldest" => "event.outbox.oldest.age" "s" reportable false {
        labels {}
        panels [
            Panel::new("Oldest in the outbox", View::Value("event.outbox.oldest.age"), "How long the record has waited that waits longest to be published.")
                .section("Outbox"),
        ]
        alerts [
            Alert::new(
                "EventOutboxBehind",
                Severity::Warning,
                Condition::ValueAbove { metric: "event.outbox.oldest.age", threshold: 300.0 },
                "Records have been waiting for more than 5 minutes to be published",
                Runbook {
                    meaning: "Records are accepted and safe in the ledger, and consumers of the topic do not see them yet.",
                    causes: &["Kafka is away, or refuses (see `error_type` of events that are not published)", "More is accepted than can be published", "No service has the turn to publish"],
                    actions: &["Look at the brokers that are connected and at events that are not published", "Read the service's log for `kafka_outbox`", "Nothing needs to be restarted: publishing goes on by itself when Kafka is back"],
                },
            ),
        ]
    }
}

signal! {
    /// Share of the outbox that is in use, of its rows or its bytes, whichever is more.
    pub gauge OutboxSaturation = "event.outbox.saturation" => "event.outbox.saturation" "1" reportable false {
        labels {}
        panels [
            Panel::new("Outbox in use", View::Value("event.outbox.saturation"), "Share of the outbox that is in use. At 1 the oldest records are dropped for new ones.")
                .section("Outbox"),
        ]
        alerts [
            Alert::new(
                "EventOutboxFull",
                Severity::Critical,
                Condition::ValueAbove { metric: "event.outbox.saturation", threshold: 0.9 },
                "More than 90 % of the outbox is in use",
                Runbook {
                    meaning: "When it is full, the oldest records are dropped from it unpublished. They stay in the ledger.",
                    causes: &["Kafka has been away for long", "`kafka.outbox_max_rows` or `kafka.outbox_max_bytes` is small for what is accepted"],
                    actions: &["Bring Kafka back", "Raise the limit and restart the service: the ledger's disk has to have the room"],
                },
            )
            .for_minutes(1),
        ]
    }
}
