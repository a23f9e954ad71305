use tachograph::signal;

signal! {
    /// A thing.
    pub counter Thing = "test.thing" => "test.things" "{thing}" {
        labels {}
        alerts [
            tachograph::catalog::Alert::new(
                "ThingsHappen",
                tachograph::catalog::Severity::Warning,
                tachograph::catalog::Condition::RateAbove { metric: "test.things", per_second: 1.0 },
                "Things happen",
                tachograph::catalog::Runbook { meaning: "", causes: &[], actions: &[] },
            ),
        ]
    }
}

fn main() {}
