use tachograph::signal;

signal! {
    /// A thing.
    pub counter Thing = "test.thing" => "test.things" "{thing}" {
        labels {
            /// A label.
            a as "a.b": open(10),
            /// The same in Prometheus.
            b as "a_b": open(10),
        }
        no_alert "a test"
    }
}

fn main() {}
