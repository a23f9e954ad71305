use tachograph::signal;

signal! {
    /// A thing.
    pub counter Thing = "test.thing" => "test.things" "{thing}" {
        labels {
            /// A name.
            name as "__name__": open(10),
        }
        no_alert "a test"
    }
}

fn main() {}
