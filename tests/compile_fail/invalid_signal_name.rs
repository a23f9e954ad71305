use tachograph::signal;

signal! {
    /// A thing.
    pub counter Thing = "Test Thing" => "test.things" "{thing}" {
        labels {}
        no_alert "a test"
    }
}

fn main() {}
