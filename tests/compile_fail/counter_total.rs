use tachograph::signal;

signal! {
    /// A thing.
    pub counter Thing = "test.thing" => "test.things_total" "{thing}" {
        labels {}
        no_alert "a test"
    }
}

fn main() {}
