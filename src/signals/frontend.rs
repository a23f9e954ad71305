//! Frontends: what browsers report of page loads, Core Web Vitals, their API calls and script
//! errors. Thresholds of the vitals are those that web.dev publishes, of the 75th percentile.

use crate::catalog::{
    Alert, Condition, HTTP, LAYOUT_SHIFT, PAGE_LOAD, Panel, Runbook, Severity, View,
};
use crate::{closed_label, signal};

pub use super::http::Method;

closed_label! {
    /// How a page came to be loaded: `PerformanceNavigationTiming.type`.
    pub enum Navigation {
        /// By a link, an address or a form.
        Navigate = "navigate",
        /// Anew.
        Reload = "reload",
        /// Out of the history.
        BackForward = "back_forward",
        /// Ahead of time.
        Prerender = "prerender",
    }
}

closed_label! {
    /// A Web Vital that is a time.
    pub enum Vital {
        /// Largest Contentful Paint: when the main content is shown. Good to 2.5 s, poor above 4 s.
        Lcp = "lcp",
        /// Interaction to Next Paint: how long the page takes to react. Good to 200 ms, poor above 500 ms.
        Inp = "inp",
        /// First Contentful Paint: when anything is shown. Good to 1.8 s, poor above 3 s.
        Fcp = "fcp",
        /// Time to First Byte: when the answer begins. Good to 800 ms, poor above 1.8 s.
        Ttfb = "ttfb",
    }
}

closed_label! {
    /// Where a script error came from.
    pub enum ErrorKind {
        /// An exception that nothing caught.
        Exception = "exception",
        /// A promise that was rejected, and nothing handled it.
        UnhandledRejection = "unhandled_rejection",
        /// A script, style or image that did not load.
        Resource = "resource",
    }
}

closed_label! {
    /// Why what a browser sent was not counted.
    pub enum RefusalReason {
        /// The page's origin may not send.
        Origin = "origin",
        /// Too many requests.
        RateLimited = "rate_limited",
        /// Larger than may be.
        TooLarge = "too_large",
        /// Not what is accepted.
        Invalid = "invalid",
    }
}

signal! {
    /// Time from the start of a navigation to the end of the page's load event.
    pub distribution FrontendPageLoad = "frontend.page_load" => "frontend.page_load.duration" "s" {
        labels {
            /// Template of the page's path, such as `/orders/{id}`.
            route as "url.template": open(100),
            /// How the page came to be loaded.
            navigation as "navigation.type": closed(Navigation),
        }
        buckets (PAGE_LOAD)
        panels [
            Panel::new("Page loads", View::Rate("frontend.page_load.duration"), "Pages loaded, a second, by route.")
                .by(&["url.template"])
                .section("Pages")
                .headline(),
            Panel::new("Page load time", View::Quantiles("frontend.page_load.duration"), "The 95th percentile of the time from the start of a navigation to the end of the load event, by route.")
                .by(&["url.template"])
                .section("Pages")
                .headline(),
            Panel::new("Page loads by kind", View::Rate("frontend.page_load.duration"), "Pages loaded, a second, by how they came to be loaded. Many reloads mean that people try again.")
                .by(&["navigation.type"])
                .section("Pages"),
        ]
        alerts [
            Alert::new(
                "FrontendPageLoadSlow",
                Severity::Warning,
                Condition::QuantileAbove { metric: "frontend.page_load.duration", quantile: 0.95, threshold: 10.0, floor: 20 },
                "The 95th percentile of loading a page is above 10 seconds",
                Runbook {
                    meaning: "One load of this page in twenty takes longer than ten seconds.",
                    causes: &["The server or the network is slow", "A large script, image or font was added", "A third party that the page waits for is slow"],
                    actions: &["Look at the time to first byte of the page: if it is high too, the server is slow", "Load the page with the browser's network view open", "Compare the start with the last release of the frontend"],
                },
            )
            .over_minutes(30)
            .by(&["url.template"]),
        ]
    }
}

signal! {
    /// A Web Vital of one page view that is a time.
    pub distribution WebVital = "frontend.web_vital" => "frontend.web_vital.duration" "s" {
        labels {
            /// Which vital.
            vital as "web_vital.name": closed(Vital),
            /// Template of the page's path, such as `/orders/{id}`.
            route as "url.template": open(100),
        }
        buckets (PAGE_LOAD)
        panels [
            Panel::new("Largest Contentful Paint", View::Quantiles("frontend.web_vital.duration"), "The 75th percentile of the time until a page's main content is shown, by route. Up to 2.5 s is good, above 4 s poor.")
                .only(&[("web_vital.name", "lcp")])
                .quantile(0.75)
                .grades(2.5, 4.0)
                .by(&["url.template"])
                .section("Web vitals")
                .headline(),
            Panel::new("Interaction to Next Paint", View::Quantiles("frontend.web_vital.duration"), "The 75th percentile of the time a page takes to react to what people do, by route. Up to 200 ms is good, above 500 ms poor.")
                .only(&[("web_vital.name", "inp")])
                .quantile(0.75)
                .grades(0.2, 0.5)
                .by(&["url.template"])
                .section("Web vitals")
                .headline(),
            Panel::new("First Contentful Paint", View::Quantiles("frontend.web_vital.duration"), "The 75th percentile of the time until a page shows anything, by route. Up to 1.8 s is good, above 3 s poor.")
                .only(&[("web_vital.name", "fcp")])
                .quantile(0.75)
                .grades(1.8, 3.0)
                .by(&["url.template"])
                .section("Web vitals"),
            Panel::new("Time to First Byte", View::Quantiles("frontend.web_vital.duration"), "The 75th percentile of the time until a page's answer begins, by route. Up to 800 ms is good, above 1.8 s poor.")
                .only(&[("web_vital.name", "ttfb")])
                .quantile(0.75)
                .grades(0.8, 1.8)
                .by(&["url.template"])
                .section("Web vitals"),
        ]
        alerts [
            Alert::new(
                "WebVitalLcpPoor",
                Severity::Warning,
                Condition::QuantileAbove { metric: "frontend.web_vital.duration", quantile: 0.75, threshold: 4.0, floor: 20 },
                "The Largest Contentful Paint of a page is poor: its 75th percentile is above 4 seconds",
                Runbook {
                    meaning: "A quarter of the views of this page wait longer than four seconds for its main content. Up to 2.5 seconds would be good.",
                    causes: &["The page's answer comes late: see its time to first byte", "The largest image or text waits for scripts or fonts", "A large image is not compressed, or is loaded late"],
                    actions: &["Find the largest element in the browser's performance view", "Load it early: preload it, and keep scripts out of its way", "Compare the start with the last release of the frontend"],
                },
            )
            .only(&[("web_vital.name", "lcp")])
            .over_minutes(60)
            .by(&["url.template"]),
            Alert::new(
                "WebVitalInpPoor",
                Severity::Warning,
                Condition::QuantileAbove { metric: "frontend.web_vital.duration", quantile: 0.75, threshold: 0.5, floor: 20 },
                "The Interaction to Next Paint of a page is poor: its 75th percentile is above 500 milliseconds",
                Runbook {
                    meaning: "A quarter of the views of this page take longer than half a second to react to what people do. Up to 200 milliseconds would be good.",
                    causes: &["Long tasks on the page's main thread", "A handler that computes or renders too much at once", "Scripts of third parties"],
                    actions: &["Record an interaction in the browser's performance view and find the long task", "Split it, or move it to a worker", "Compare the start with the last release of the frontend"],
                },
            )
            .only(&[("web_vital.name", "inp")])
            .over_minutes(60)
            .by(&["url.template"]),
            Alert::new(
                "WebVitalFcpPoor",
                Severity::Info,
                Condition::QuantileAbove { metric: "frontend.web_vital.duration", quantile: 0.75, threshold: 3.0, floor: 20 },
                "The First Contentful Paint of a page is poor: its 75th percentile is above 3 seconds",
                Runbook {
                    meaning: "A quarter of the views of this page stay blank for longer than three seconds. Up to 1.8 seconds would be good.",
                    causes: &["The page's answer comes late", "Scripts and styles that block rendering"],
                    actions: &["Compare with the time to first byte of the page", "Defer scripts, and put the styles of what is seen first into the page"],
                },
            )
            .only(&[("web_vital.name", "fcp")])
            .over_minutes(60)
            .by(&["url.template"]),
            Alert::new(
                "WebVitalTtfbPoor",
                Severity::Warning,
                Condition::QuantileAbove { metric: "frontend.web_vital.duration", quantile: 0.75, threshold: 1.8, floor: 20 },
                "The Time to First Byte of a page is poor: its 75th percentile is above 1.8 seconds",
                Runbook {
                    meaning: "A quarter of the views of this page wait longer than 1.8 seconds for the answer to begin. Up to 800 milliseconds would be good. Everything else on the page comes later still.",
                    causes: &["The server is slow: see its latency for the route", "Redirects before the page", "A cache or a content network in front that no longer holds the page"],
                    actions: &["Compare with the latency that the server itself reports", "Follow the page's redirects by hand", "See from where views come, and what is in front of the server there"],
                },
            )
            .only(&[("web_vital.name", "ttfb")])
            .over_minutes(60)
            .by(&["url.template"]),
        ]
    }
}

signal! {
    /// Cumulative Layout Shift of one page view: how much of what is shown moves unasked.
    pub distribution LayoutShift = "frontend.layout_shift" => "frontend.layout_shift" "{score}" {
        labels {
            /// Template of the page's path, such as `/orders/{id}`.
            route as "url.template": open(100),
        }
        buckets (LAYOUT_SHIFT)
        panels [
            Panel::new("Cumulative Layout Shift", View::Quantiles("frontend.layout_shift"), "The 75th percentile of how much of a page moves unasked, by route. Up to 0.1 is good, above 0.25 poor.")
                .quantile(0.75)
                .grades(0.1, 0.25)
                .by(&["url.template"])
                .section("Web vitals")
                .headline(),
        ]
        alerts [
            Alert::new(
                "WebVitalClsPoor",
                Severity::Warning,
                Condition::QuantileAbove { metric: "frontend.layout_shift", quantile: 0.75, threshold: 0.25, floor: 20 },
                "The Cumulative Layout Shift of a page is poor: its 75th percentile is above 0.25",
                Runbook {
                    meaning: "On a quarter of the views of this page a lot of what people read or are about to press moves away. Up to 0.1 would be good.",
                    causes: &["Images, adverts or embedded pages without a size", "Text that is rendered anew when its font arrives", "Content that is put in above what is shown already"],
                    actions: &["Find what moves in the browser's performance view", "Give it its size ahead of time", "Compare the start with the last release of the frontend"],
                },
            )
            .over_minutes(60)
            .by(&["url.template"]),
        ]
    }
}

signal! {
    /// One API call that a page makes, as the browser sees it.
    pub operation FrontendApiCall => FrontendApiCallEnd = "frontend.api_call" span client {
        labels {
            /// Method of the request.
            method as "http.request.method": closed(Method),
            /// Template of the path that is called, such as `/api/orders/{id}`.
            route as "url.template": open(100),
        }
        outcome {
            /// Status code of the answer; absent if none came.
            status as "http.response.status_code": optional(64),
            /// What went wrong: the status code from 400 on, or the kind of error; absent if nothing.
            error as "error.type": optional(32),
        }
        context {
            /// Id of the session.
            SESSION_ID = "session.id",
        }
        metrics {
            /// Duration of API calls, as browsers see it.
            "frontend.api_call.duration" = histogram "s" duration by [method, route, status, error] buckets (HTTP);
        }
        panels [
            Panel::new("API calls of pages", View::Rate("frontend.api_call.duration"), "API calls that pages make, a second, by route.")
                .by(&["url.template"])
                .section("API calls and errors"),
            Panel::new("Failing API calls", View::ErrorRatio("frontend.api_call.duration"), "Share of a route's calls that got no answer, or one from 400 on.")
                .by(&["url.template"])
                .section("API calls and errors")
                .headline(),
            Panel::new("Latency of API calls", View::Quantiles("frontend.api_call.duration"), "The 95th percentile of the time of API calls as browsers see it, network included, by route.")
                .by(&["url.template"])
                .section("API calls and errors")
                .headline(),
            Panel::new("Failing API calls by kind", View::Errors("frontend.api_call.duration"), "API calls that failed, a second, by route and kind of error.")
                .by(&["url.template", "error.type"])
                .section("API calls and errors"),
        ]
        alerts [
            Alert::new(
                "FrontendApiCallsFailing",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "frontend.api_call.duration", ratio: 0.1, floor: 20 },
                "More than 10 % of the API calls that pages make to a route fail",
                Runbook {
                    meaning: "Of the calls that browsers make to this route, more than one in ten gets no answer, or an error.",
                    causes: &["The server fails: see its errors for the route", "The network, a proxy or a certificate between browsers and the server", "A release of the frontend calls what the server does not know"],
                    actions: &["Split by `error_type`: `network` never reached the server", "Compare with the errors that the server itself reports", "Compare the start with the last releases of frontend and server"],
                },
            )
            .over_minutes(15)
            .by(&["url.template"]),
            Alert::new(
                "FrontendApiCallsSlow",
                Severity::Warning,
                Condition::QuantileAbove { metric: "frontend.api_call.duration", quantile: 0.95, threshold: 5.0, floor: 20 },
                "The 95th percentile of the API calls that pages make to a route is above 5 seconds",
                Runbook {
                    meaning: "One call of this route in twenty takes longer than five seconds, as the browser sees it.",
                    causes: &["The server is slow for this route", "People are far away, or on slow networks", "The browser holds calls back because too many are under way"],
                    actions: &["Compare with the latency that the server itself reports: the difference is network and browser", "Make fewer calls at once, or smaller answers"],
                },
            )
            .over_minutes(30)
            .by(&["url.template"]),
        ]
    }
}

signal! {
    /// Script errors that browsers report.
    pub counter FrontendError = "frontend.error" => "frontend.errors" "{error}" {
        labels {
            /// Where the error came from.
            kind as "frontend.error.kind": closed(ErrorKind),
            /// Name of the error, such as `TypeError`.
            error as "error.type": optional(30),
            /// Template of the page's path, such as `/orders/{id}`.
            route as "url.template": open(100),
        }
        panels [
            Panel::new("Script errors", View::Rate("frontend.errors"), "Script errors that browsers report, a second, by route and name.")
                .by(&["url.template", "error.type"])
                .section("API calls and errors")
                .headline(),
            Panel::new("Script errors by kind", View::Total("frontend.errors"), "Script errors over the range shown, by where they came from and name.")
                .by(&["frontend.error.kind", "error.type"])
                .section("API calls and errors"),
        ]
        alerts [
            Alert::new(
                "FrontendErrorsHigh",
                Severity::Warning,
                Condition::IncreaseAbove { metric: "frontend.errors", amount: 50.0 },
                "Browsers report more than 50 script errors of one name on a page in 10 minutes",
                Runbook {
                    meaning: "Scripts of this page fail for many people: something on it does not work.",
                    causes: &["A release of the frontend has a defect, or does not work in some browser", "An answer of the API has another form than the scripts expect", "A script of a third party fails, or is blocked"],
                    actions: &["Open the page with the browser's console, in the browsers that people use most", "Compare the start with the last releases of frontend and server", "Roll the frontend back if they coincide"],
                },
            )
            .over_minutes(10)
            .by(&["url.template", "error.type"]),
        ]
    }
}

signal! {
    /// Requests and events of browsers that were not counted.
    pub counter FrontendRefused = "frontend.refused" => "frontend.refusals" "{item}" reportable false {
        labels {
            /// Why.
            reason: closed(RefusalReason),
        }
        panels [
            Panel::new("Refused of browsers", View::Rate("frontend.refusals"), "Requests and events of browsers that were not counted, a second, by reason.")
                .by(&["reason"])
                .section("API calls and errors"),
        ]
        alerts [
            Alert::new(
                "FrontendEventsRefused",
                Severity::Info,
                Condition::IncreaseAbove { metric: "frontend.refusals", amount: 500.0 },
                "More than 500 requests or events of browsers were refused within 10 minutes",
                Runbook {
                    meaning: "Browsers send what is not counted, so that the figures of the frontend show less than there was. Anybody can send to this route, so it need not be your pages.",
                    causes: &["origin: a page was moved to an origin that is not configured, or somebody else's page sends", "rate_limited: a proxy in front makes all browsers look like one address, or somebody floods the route", "invalid: the script in the pages does not fit this version"],
                    actions: &["Split by `reason`", "Send one event by hand, as the answer says what is wrong with it", "Add the origin under `frontend.origins`, or raise `frontend.requests_per_minute`, if they are your pages", "Block who floods the route in front of the service"],
                },
            )
            .over_minutes(10)
            .by(&["reason"]),
        ]
    }
}
