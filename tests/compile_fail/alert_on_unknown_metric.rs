use tachograph::signal;

tachograph::closed_label! {
    /// How it ended.
    pub enum Status {
        /// Well.
        Good = "good",
        /// Not well.
        Bad = "bad" error,
        /// Unknown.
        Abandoned = "abandoned" abandoned,
    }
}

signal! {
    /// A thing.
    pub operation Thing => ThingEnd = "test.thing" {
        labels {}
        outcome {
            /// How it ended.
            status: closed(Status),
        }
        metrics {
            /// A metric.
            "test.ends" = counter "{thing}" count by [status] no_alert "a test";
        }
        alerts [
            tachograph::catalog::Alert::new(
                "ThingSlow",
                tachograph::catalog::Severity::Warning,
                tachograph::catalog::Condition::QuantileAbove {
                    metric: "test.duration",
                    quantile: 0.95,
                    threshold: 60.0,
                    floor: 20,
                },
                "Things are slow",
                tachograph::catalog::Runbook {
                    meaning: "Things are slow.",
                    causes: &["a slow thing"],
                    actions: &["make it faster"],
                },
            ),
        ]
    }
}

fn main() {}
