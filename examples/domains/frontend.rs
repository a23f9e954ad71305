//! What a browser sees: page loads, web vitals, layout shifts, calls and script errors. A
//! browser sends them to the service; a backend that takes them in itself records them so.

use std::time::Duration;

use tachograph::signals::frontend::{
    ErrorKind, FrontendApiCall, FrontendApiCallEnd, FrontendError, FrontendPageLoad, LayoutShift,
    Navigation, Vital, WebVital,
};
use tachograph::signals::http::Method;

/// Plain `tracing`.
fn plain() {
    // Where the first field's name has dots, the macro wants braces around the fields.
    tracing::info!(
        name: "frontend.page_load",
        { url.template = "/users/{id}", navigation.type = "navigate", value = 1.25 },
        "a page was loaded"
    );
    tracing::error!(
        name: "frontend.error",
        { frontend.error.kind = "exception", error.type = "TypeError", url.template = "/users/{id}" },
        "x is not a function"
    );
}

/// The typed recorders.
fn typed() {
    let route = "/users/{id}";
    let navigation = Navigation::BackForward;
    FrontendPageLoad { route, navigation }.record(0.2);
    let vital = Vital::Lcp;
    WebVital { vital, route }.record(1.9);
    LayoutShift { route }.record(0.04);
    let call = FrontendApiCall {
        method: Method::Get,
        route: "/api/users/{id}",
    };
    let end = FrontendApiCallEnd {
        status: "200",
        error: "",
    };
    call.record(end, Duration::from_millis(85));
    let error = FrontendError {
        kind: ErrorKind::Resource,
        error: "",
        route,
    };
    error.add(1);
}

pub fn run() {
    plain();
    typed();
}
