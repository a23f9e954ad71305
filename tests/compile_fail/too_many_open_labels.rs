use tachograph::signal;

signal! {
    /// A thing.
    pub counter Thing = "test.thing" => "test.things" "{thing}" {
        labels {
            /// A label.
            l0: open(2),
            /// A label.
            l1: open(2),
            /// A label.
            l2: open(2),
            /// A label.
            l3: open(2),
            /// A label.
            l4: open(2),
            /// A label.
            l5: open(2),
            /// A label.
            l6: open(2),
        }
        no_alert "a test"
    }
}

fn main() {}
