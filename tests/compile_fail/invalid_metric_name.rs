use tachograph::signal;

signal! {
    /// A thing.
    pub counter Thing = "test.thing" => "test-things" "{thing}" {
        labels {}
        no_alert "a test"
    }
}

fn main() {}
