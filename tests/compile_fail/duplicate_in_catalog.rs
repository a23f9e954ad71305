use tachograph::{catalog, signal};

signal! {
    /// A thing.
    pub counter First = "test.first" => "test.things" "{thing}" {
        labels {}
        no_alert "a test"
    }
}

signal! {
    /// Another one.
    pub counter Second = "test.second" => "test.things" "{thing}" {
        labels {}
        no_alert "a test"
    }
}

catalog! {
    /// Two signals with one metric.
    pub SIGNALS = [First, Second];
}

fn main() {}
