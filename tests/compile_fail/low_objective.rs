use tachograph::signal;

tachograph::closed_label! {
    /// How it ended.
    pub enum Status {
        /// Well.
        Good = "good",
        /// Not well.
        Bad = "bad" error,
    }
}

signal! {
    /// A thing.
    pub counter Thing = "test.thing" => "test.things" "{thing}" {
        labels {
            /// How it ended.
            status: closed(Status),
        }
        alerts [
            tachograph::catalog::Alert::new(
                "ThingsBurn",
                tachograph::catalog::Severity::Warning,
                tachograph::catalog::Condition::BurnRate {
                    metric: "test.things",
                    objective: 0.9,
                },
                "Things fail",
                tachograph::catalog::Runbook {
                    meaning: "Things fail.",
                    causes: &["a bad thing"],
                    actions: &["make it better"],
                },
            ),
        ]
    }
}

fn main() {}
