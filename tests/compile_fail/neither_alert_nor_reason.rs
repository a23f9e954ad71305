use tachograph::signal;

signal! {
    /// A thing.
    pub counter Thing = "test.thing" => "test.things" "{thing}" {
        labels {}
    }
}

fn main() {}
