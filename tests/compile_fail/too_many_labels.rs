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
    pub counter Thing = "test.thing" => "test.things" "{thing}" series 1000000 {
        labels {
            /// A label.
            l0: closed(Status),
            /// A label.
            l1: closed(Status),
            /// A label.
            l2: closed(Status),
            /// A label.
            l3: closed(Status),
            /// A label.
            l4: closed(Status),
            /// A label.
            l5: closed(Status),
            /// A label.
            l6: closed(Status),
            /// A label.
            l7: closed(Status),
            /// A label.
            l8: closed(Status),
        }
        no_alert "a test"
    }
}

fn main() {}
