use tachograph::catalog::{Panel, View};
use tachograph::signal;

signal! {
    /// Things that happened.
    pub counter Thing = "test.thing" => "test.things" "{thing}" {
        labels {}
        panels [
            Panel::new("Things", View::Rate("test.things"), "How many.").only(&[("colour", "red")]),
        ]
        no_alert "a test"
    }
}

fn main() {}
