//! Figures of the business behind a backend, read from its database.

use crate::catalog::{Panel, View};
use crate::signal;

signal! {
    /// Users that there are.
    pub gauge Users = "business.users" => "business.users" "{user}" reportable false {
        labels {}
        panels [
            Panel::new("Users", View::Value("business.users"), "Users that the backend's database holds.")
                .section("Accounts")
                .headline(),
        ]
        no_alert "how many there are is no fault; a figure that cannot be read is watched"
    }
}

signal! {
    /// API keys that are switched on and have not expired.
    pub gauge ApiKeysActive = "business.api_keys" => "business.api_keys.active" "{key}" reportable false {
        labels {}
        panels [
            Panel::new("Active API keys", View::Value("business.api_keys.active"), "API keys that are switched on and have not expired.")
                .section("Accounts")
                .headline(),
        ]
        no_alert "how many there are is no fault; a figure that cannot be read is watched"
    }
}

signal! {
    /// Sessions of users that have not expired.
    pub gauge SessionsActive = "business.sessions" => "business.sessions.active" "{session}" reportable false {
        labels {}
        panels [
            Panel::new("Active sessions", View::Value("business.sessions.active"), "Sessions of users that have not expired.")
                .section("Accounts")
                .headline(),
        ]
        no_alert "how many there are is no fault; a figure that cannot be read is watched"
    }
}

signal! {
    /// A figure that a configured query returned.
    pub gauge Figure = "business.figure" => "business.figure" "{figure}" reportable false {
        labels {
            /// Its name in the configuration.
            figure: open(64),
            /// First column of the query, if it returns more than the number.
            group: optional(500),
            /// Second column of the query, if it returns more than that.
            subgroup: optional(500),
        }
        panels [
            Panel::new("Figures", View::Value("business.figure"), "What the configured queries returned, by name and by what they group by.")
                .by(&["figure", "group", "subgroup"])
                .section("Figures"),
        ]
        no_alert "what is too much or too little is known to whoever wrote the query"
    }
}
