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
    }
}

fn main() {}
