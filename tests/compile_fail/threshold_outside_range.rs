use tachograph::signal;

signal! {
    /// A share.
    pub gauge Share = "test.share" => "test.share" "1" {
        labels {}
        alerts [
            tachograph::catalog::Alert::new(
                "ShareHigh",
                tachograph::catalog::Severity::Warning,
                tachograph::catalog::Condition::ValueAbove {
                    metric: "test.share",
                    threshold: 1.0,
                },
                "The share is high",
                tachograph::catalog::Runbook {
                    meaning: "The share is high.",
                    causes: &["too much"],
                    actions: &["less"],
                },
            ),
        ]
    }
}

fn main() {}
