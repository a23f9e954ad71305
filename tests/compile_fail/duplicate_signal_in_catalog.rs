use tachograph::{catalog, signal};

signal! {
    /// A thing.
    pub counter First = "test.thing" => "test.things" "{thing}" {
        labels {}
        no_alert "a test"
    }
}

signal! {
    /// Another one.
    pub counter Second = "test.thing" => "test.others" "{thing}" {
        labels {}
        no_alert "a test"
    }
}

catalog! {
    /// Two signals of one name.
    pub SIGNALS = [First, Second];
}

fn main() {}
