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
    pub counter Thing = "test.thing" => "test.things" "{thing}" series 20 {
        labels {
            /// A label.
            l0: closed(Status),
            /// A label.
            l1: closed(Status),
            /// A label.
            l2: closed(Status),
        }
        no_alert "a test"
    }
}

fn main() {}
