use tachograph::catalog::{Panel, View};
use tachograph::signal;

signal! {
    /// Things that happened.
    pub counter Thing = "test.thing" => "test.things" "{thing}" {
        labels {}
        panels [
            Panel::new("Things", View::Quantiles("test.things"), "How they are spread."),
        ]
        no_alert "a test"
    }
}

fn main() {}
