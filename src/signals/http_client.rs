//! HTTP requests to other servers, as their client sees them: OpenTelemetry semantic conventions
//! v1.41.0, "HTTP metrics" and "HTTP spans", the parts on clients.

use super::http::Method;
use crate::catalog::{Alert, BYTES, Condition, HTTP, Panel, Runbook, Severity, View};
use crate::{closed_label, signal};

closed_label! {
    /// How a request to a server ended.
    pub enum HttpClientStatus {
        /// The server answered with a status below 400, and the answer was read to its end.
        Success = "success",
        /// The server refused it as wrong: a status from 400 to 499 other than 429.
        Refused = "refused",
        /// There were too many: status 429.
        RateLimited = "rate_limited" error,
        /// The server failed: a status from 500 on.
        ServerError = "server_error" error,
        /// There was no answer, or it broke off.
        Failed = "failed" error,
        /// There was no answer in time, or not all of it.
        Timeout = "timeout" error,
        /// Its caller went away before the end of the answer.
        Abandoned = "abandoned" abandoned,
    }
}

signal! {
    /// One HTTP request to a server, from its sending to the last byte of the answer; each resend is one of its own.
    pub operation HttpClientRequest => HttpClientRequestEnd = "http.client.request" span client series 4000 {
        labels {
            /// Method of the request.
            method as "http.request.method": closed(Method),
            /// Name or address of the server that was asked for.
            server as "server.address": open(64),
            /// Template of the path, such as `/users/{id}`, where the caller tells it.
            template as "url.template": optional(200),
        }
        outcome {
            /// How it ended.
            status: closed(HttpClientStatus),
            /// Status code of the answer; absent if there was none.
            code as "http.response.status_code": optional(64),
            /// What went wrong: the status code from 400 on, or the kind of error; absent if nothing.
            error as "error.type": optional(40),
        }
        values {
            /// Bytes of the request's body; unknown of a stream that does not say.
            request_size as "http.request.body.size",
            /// Bytes of the answer's body as the client hands them on; unknown if it was not read to its end.
            response_size as "http.response.body.size",
            /// Seconds until the head of the answer was there.
            first_byte as "http.client.time_to_first_byte",
        }
        context {
            /// Method as it was sent, where it is `_OTHER`.
            METHOD_ORIGINAL = "http.request.method_original",
            /// URL without user, password, query and fragment.
            URL = "url.full",
            /// Port of the server.
            SERVER_PORT = "server.port",
            /// Version of HTTP that the server answered in.
            VERSION = "network.protocol.version",
            /// How many times the request had been sent before.
            RESEND_COUNT = "http.request.resend_count",
        }
        metrics {
            /// Duration of HTTP client requests.
            "http.client.request.duration" = histogram "s" duration
                by [method, server, template, status, code, error] buckets (HTTP);
            /// Time until the head of the answer was there.
            "http.client.request.time_to_first_byte" = histogram "s" of(first_byte)
                by [method, server, template] buckets (HTTP);
            /// HTTP client requests under way.
            "http.client.active_requests" = in_flight "{request}" active by [method, server]
                no_alert "an answer that streams is a request under way for as long as it is read";
            /// Size of HTTP client request bodies.
            "http.client.request.body.size" = histogram "By" of(request_size)
                by [method, server, template] buckets (BYTES)
                no_alert "what is sent is the caller's choice";
            /// Size of HTTP client response bodies.
            "http.client.response.body.size" = histogram "By" of(response_size)
                by [method, server, template] buckets (BYTES)
                no_alert "the right size differs by what is asked for";
        }
        panels [
            Panel::new("Requests to servers", View::Rate("http.client.request.duration"), "Requests that ended, a second, by server.")
                .by(&["server.address"])
                .section("Requests to servers")
                .headline(),
            Panel::new("Failing requests to servers", View::ErrorRatio("http.client.request.duration"), "Share of the requests to a server that it failed, that were too many for it, or that got no whole answer. Statuses from 400 to 499 other than 429 do not count.")
                .by(&["server.address"])
                .section("Requests to servers")
                .headline(),
            Panel::new("Time to first byte", View::Quantiles("http.client.request.time_to_first_byte"), "The 95th percentile of the time until the head of the answer was there, by server.")
                .by(&["server.address"])
                .section("Requests to servers")
                .headline(),
            Panel::new("Duration of requests to servers", View::Quantiles("http.client.request.duration"), "Percentiles of the time from sending a request to the last byte of its answer. An answer that streams takes as long as it is read.")
                .section("Requests to servers"),
            Panel::new("Duration by template", View::Quantiles("http.client.request.duration"), "The 95th percentile of the duration of requests, by the template of their path.")
                .by(&["server.address", "url.template"])
                .section("Requests to servers"),
            Panel::new("Requests by end", View::Rate("http.client.request.duration"), "Requests that ended, a second, by how they ended. Abandoned ones were dropped by their caller before the end of the answer.")
                .by(&["status"])
                .section("Requests to servers"),
            Panel::new("Requests to servers by status code", View::Rate("http.client.request.duration"), "Requests that ended, a second, by the status code of the answer; without one there was none.")
                .by(&["http.response.status_code"])
                .section("Requests to servers"),
            Panel::new("Failures by server and kind", View::Errors("http.client.request.duration"), "Requests that failed, a second, by server and by status code or kind of error.")
                .by(&["server.address", "error.type"])
                .section("Requests to servers"),
            Panel::new("Requests to servers under way", View::Value("http.client.active_requests"), "Requests whose answer was not read to its end yet, by server.")
                .by(&["server.address"])
                .section("Requests to servers"),
            Panel::new("Bodies sent", View::Quantiles("http.client.request.body.size"), "Percentiles of the size of request bodies.")
                .section("Bodies to and from servers"),
            Panel::new("Bodies received", View::Quantiles("http.client.response.body.size"), "Percentiles of the size of response bodies.")
                .section("Bodies to and from servers"),
            Panel::new("Bytes received", View::Total("http.client.response.body.size"), "Bytes of response bodies over the range shown, by server.")
                .by(&["server.address"])
                .section("Bodies to and from servers"),
        ]
        alerts [
            Alert::new(
                "HttpClientRequestsFail",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "http.client.request.duration", ratio: 0.1, floor: 20 },
                "More than 10 % of the requests to a server fail",
                Runbook {
                    meaning: "The server fails, refuses more requests (429), cannot be reached, or does not answer in time. Statuses from 400 to 499 other than 429 are the caller's and do not count, nor do requests that their caller drops.",
                    causes: &[
                        "The server is away, overloaded, or has a defect (`status` is `server_error`)",
                        "More is asked of it than it allows (`rate_limited`)",
                        "The name does not resolve, or the network is cut (`error_type` is `dns`, `connect`, `connection_refused`)",
                        "A certificate has expired or is not trusted (`tls`)",
                        "The client's timeout is shorter than what the server needs (`timeout`)",
                    ],
                    actions: &[
                        "Split by `status`, `error_type` and `url_template`",
                        "Open an exemplar's trace of a failing request; if the server takes part in traces, its span is below",
                        "Ask the server's status page, or whoever runs it",
                        "If it is rate-limited, send less, or wait as its answer says",
                    ],
                },
            )
            .by(&["server.address"]),
            Alert::new(
                "HttpClientSlow",
                Severity::Warning,
                Condition::QuantileAbove { metric: "http.client.request.time_to_first_byte", quantile: 0.95, threshold: 10.0, floor: 20 },
                "One request to a server in twenty waits more than 10 s for the head of its answer",
                Runbook {
                    meaning: "The time from sending a request to the first byte of the answer. How long the body takes does not count, so that streams do not matter.",
                    causes: &["The server is overloaded", "The network between loses packets", "What is asked for takes that long, as an answer of a language model that is not streamed does"],
                    actions: &[
                        "Split by `url_template` and `http_request_method`",
                        "Compare with the server's own latency, if it is yours",
                        "Set a timeout for the request, so that a slow server does not hold callers",
                    ],
                },
            )
            .for_minutes(10)
            .by(&["server.address"])
            .silence("For a server whose answers take that long by their nature."),
        ]
    }
}

signal! {
    /// Requests that were sent again, by whatever retries them.
    pub counter HttpClientResend = "http.client.resend" => "http.client.request.resends" "{request}" {
        labels {
            /// Method of the request.
            method as "http.request.method": closed(Method),
            /// Name or address of the server that was asked for.
            server as "server.address": open(64),
        }
        panels [
            Panel::new("Resent requests", View::Rate("http.client.request.resends"), "Requests that were sent again, a second, by server.")
                .by(&["server.address"])
                .section("Requests to servers"),
        ]
        no_alert "what fails is watched attempt by attempt; a resend that works does no harm"
    }
}
