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
            /// A metric.
            "test.ends" = histogram "s" duration by [] buckets (tachograph::catalog::JOB) no_alert "a test";
        }
    }
}

fn main() {}
