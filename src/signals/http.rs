//! HTTP requests handled by a server: OpenTelemetry semantic conventions v1.41.0, "HTTP
//! metrics", "HTTP spans".

use crate::catalog::{Alert, BYTES, Condition, HTTP, Panel, Runbook, Severity, View};
use crate::{closed_label, signal};

closed_label! {
    /// Method of a request (RFC 9110, section 9; RFC 5789; the QUERY method).
    pub enum Method {
        /// CONNECT.
        Connect = "CONNECT",
        /// DELETE.
        Delete = "DELETE",
        /// GET.
        Get = "GET",
        /// HEAD.
        Head = "HEAD",
        /// OPTIONS.
        Options = "OPTIONS",
        /// PATCH.
        Patch = "PATCH",
        /// POST.
        Post = "POST",
        /// PUT.
        Put = "PUT",
        /// QUERY.
        Query = "QUERY",
        /// TRACE.
        Trace = "TRACE",
        /// Any other text.
        Other = "_OTHER",
    }
}

impl Method {
    /// The method of a request line; names are case-sensitive, and unknown ones are
    /// [`Method::Other`].
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        Self::parse(name).unwrap_or(Self::Other)
    }
}

closed_label! {
    /// Scheme of the request's target.
    pub enum Scheme {
        /// http.
        Http = "http",
        /// https.
        Https = "https",
    }
}

closed_label! {
    /// Version of HTTP.
    pub enum ProtocolVersion {
        /// HTTP/1.1.
        V11 = "1.1",
        /// HTTP/1.0.
        V10 = "1.0",
        /// HTTP/2.
        V2 = "2",
        /// HTTP/3.
        V3 = "3",
        /// Another one; the label is absent.
        Unknown = "",
    }
}

closed_label! {
    /// How the caller proved who it is.
    pub enum AuthType {
        /// With a JSON Web Token.
        Jwt = "jwt",
        /// With an API key.
        ApiKey = "api_key",
        /// Not at all.
        None = "none",
        /// The application did not say; the label is absent.
        Unknown = "" abandoned,
    }
}

/// Value of `http.route` for requests that no route matches.
pub const UNMATCHED: &str = "unmatched";

signal! {
    /// One request handled by an HTTP server, from its head to the last byte of the answer.
    pub operation HttpServerRequest => HttpServerRequestEnd = "http.server.request" span server series 4000 {
        labels {
            /// Method of the request.
            method as "http.request.method": closed(Method),
            /// Scheme of the request's target.
            scheme as "url.scheme": closed(Scheme),
            /// Version of HTTP the request was made in.
            version as "network.protocol.version": closed(ProtocolVersion),
        }
        outcome {
            /// Pattern of the matched route, such as `/users/{id}`; `unmatched` if there is none.
            route as "http.route": optional(250),
            /// Status code of the answer; absent if none was sent.
            status as "http.response.status_code": optional(64),
            /// What went wrong: the status code from 500 on, or the kind of error; absent if nothing.
            error as "error.type": optional(32),
            /// How the caller proved who it is, where the application says it.
            auth as "auth.type": closed(AuthType),
        }
        values {
            /// Bytes of the request's body as received; unknown if it was not read to its end.
            request_size as "http.request.body.size",
            /// Bytes of the answer's body as sent.
            response_size as "http.response.body.size",
        }
        context {
            /// Method as it was sent, where it is `_OTHER`.
            METHOD_ORIGINAL = "http.request.method_original",
            /// Path of the request's target, without the query.
            PATH = "url.path",
            /// Name or address of the server that the client asked for.
            SERVER_ADDRESS = "server.address",
            /// Port of the server that the client asked for.
            SERVER_PORT = "server.port",
            /// Address of the client.
            CLIENT_ADDRESS = "client.address",
            /// What the client says it is.
            USER_AGENT = "user_agent.original",
            /// Keyed hash of the user's id.
            USER_HASH = "user.hash",
        }
        metrics {
            /// Duration of HTTP server requests.
            "http.server.request.duration" = histogram "s" duration
                by [method, scheme, version, route, status, error] buckets (HTTP);
            /// HTTP server requests under way.
            "http.server.active_requests" = in_flight "{request}" active by [method, scheme];
            /// Size of HTTP server request bodies.
            "http.server.request.body.size" = histogram "By" of(request_size)
                by [method, scheme, route, status, error] buckets (BYTES)
                no_alert "any size below the server's limit is right";
            /// Size of HTTP server response bodies.
            "http.server.response.body.size" = histogram "By" of(response_size)
                by [method, scheme, route, status, error] buckets (BYTES)
                no_alert "the right size differs by route";
            /// HTTP server requests that ended, by how the caller proved who it is.
            "http.server.requests" = counter "{request}" count by [method, route, status, auth]
                no_alert "errors and durations are watched on http.server.request.duration";
        }
        panels [
            Panel::new("Requests", View::Rate("http.server.request.duration"), "Requests answered, a second, by route.")
                .by(&["http.route"])
                .section("Traffic")
                .headline(),
            Panel::new("Server errors", View::ErrorRatio("http.server.request.duration"), "Share of a route's requests that ended in a server error: a status from 500 on, a panic, or a client that went away.")
                .by(&["http.route"])
                .section("Errors")
                .headline(),
            Panel::new("HTTP error budget left", View::Budget("http.server.request.duration"), "What is left of the share of requests that may fail, over the range shown: 100 % if none failed, below 0 if too many did.")
                .section("Errors")
                .headline(),
            Panel::new("Latency", View::Quantiles("http.server.request.duration"), "Percentiles of the time from a request's head to the last byte of the answer.")
                .section("Latency")
                .headline(),
            Panel::new("Requests by status", View::Rate("http.server.request.duration"), "Requests answered, a second, by status code.")
                .by(&["http.response.status_code"])
                .section("Traffic"),
            Panel::new("Requests under way", View::Value("http.server.active_requests"), "Requests whose answer is not finished yet, by method.")
                .by(&["http.request.method"])
                .section("Traffic"),
            Panel::new("Busiest routes", View::Total("http.server.request.duration"), "Seconds that the server spent on requests over the range shown, by route.")
                .by(&["http.route"])
                .section("Traffic"),
            Panel::new("Requests by authentication", View::Rate("http.server.requests"), "Requests answered, a second, by how the caller proved who it is.")
                .by(&["auth.type"])
                .section("Traffic"),
            Panel::new("Errors by kind", View::Errors("http.server.request.duration"), "Requests that ended in a server error, a second, by route and by status code or kind of error.")
                .by(&["http.route", "error.type"])
                .section("Errors"),
            Panel::new("Latency by route", View::Quantiles("http.server.request.duration"), "The 95th percentile of the latency of each route.")
                .by(&["http.route"])
                .section("Latency"),
            Panel::new("Latency by bucket", View::Heatmap("http.server.request.duration"), "Distribution of latency over time; exemplars link to traces.")
                .section("Latency"),
            Panel::new("Request bodies", View::Quantiles("http.server.request.body.size"), "Percentiles of the size of request bodies.")
                .section("Bodies"),
            Panel::new("Response bodies", View::Quantiles("http.server.response.body.size"), "Percentiles of the size of response bodies.")
                .section("Bodies"),
            Panel::new("Response bodies by route", View::Mean("http.server.response.body.size"), "Mean size of response bodies, by route.")
                .by(&["http.route"])
                .section("Bodies"),
        ]
        alerts [
            Alert::new(
                "HttpServerErrors",
                Severity::Critical,
                Condition::ErrorRatioAbove { metric: "http.server.request.duration", ratio: 0.05, floor: 20 },
                "More than 5 % of a route's requests end in a server error",
                Runbook {
                    meaning: "Requests of this route are answered with a status from 500 on, or not at all. Answers from 400 to 499 and clients that go away (`error_type=\"client_disconnect\"`) are the client's and do not count.",
                    causes: &[
                        "A defect in a new version of the handler",
                        "Something the handler needs (database, Redis, model provider) is away",
                    ],
                    actions: &[
                        "Split by `error_type` and `http_response_status_code`",
                        "Open an exemplar's trace of a failing request, or search the log for its trace id",
                        "Compare the start with the last deployment, and roll back if they coincide",
                        "Check the health of the components the route uses",
                    ],
                },
            )
            .by(&["http.route"]),
            Alert::new(
                "HttpServerErrorBudgetBurns",
                Severity::Critical,
                Condition::BurnRate { metric: "http.server.request.duration", objective: 0.99 },
                "Server errors use the error budget up too fast",
                Runbook {
                    meaning: "At this rate, more than the 1 % of failing requests that the objective allows is used up well before the month ends.",
                    causes: &["A lasting fault at a low rate", "A short outage that took many requests"],
                    actions: &[
                        "Find the routes with most errors",
                        "If it goes on, treat it as HttpServerErrors",
                        "If it has ended, note it and slow risky changes down until the budget recovers",
                    ],
                },
            )
            .for_minutes(2),
            Alert::new(
                "HttpServerErrorBudgetUnknown",
                Severity::Info,
                Condition::Absent { metric: "http.server.request.duration" },
                "No requests are counted any more, so their objective cannot be judged",
                Runbook {
                    meaning: "The service published this metric within the last day and no longer does. As long as nothing is known, the alerts of the error budget stay silent.",
                    causes: &["Nothing has run since the process was started anew, for instance at night", "The code that records requests was changed, or is no longer reached"],
                    actions: &["See when the process started and whether requests should have come since", "If some did, look for the signal with `tachograph catalog` and compare it with what the code records"],
                },
            )
            .for_minutes(15),
            Alert::new(
                "HttpServerSlow",
                Severity::Warning,
                Condition::QuantileAbove { metric: "http.server.request.duration", quantile: 0.95, threshold: 5.0, floor: 20 },
                "The 95th percentile of a route's latency is above 5 s",
                Runbook {
                    meaning: "One request of this route in twenty takes longer than 5 s.",
                    causes: &["A slow query or downstream call", "The workers are busy or blocked", "A route that streams: its duration is that of the stream"],
                    actions: &[
                        "Open an exemplar's trace from the slow buckets and see which span takes the time",
                        "Compare CPU use and requests under way",
                        "Scale out, or move blocking work off the workers",
                    ],
                },
            )
            .for_minutes(10)
            .by(&["http.route"]),
            Alert::new(
                "HttpRequestsStuck",
                Severity::Warning,
                Condition::Stuck { in_flight: "http.server.active_requests", ended: "http.server.request.duration" },
                "Requests are under way and none ends",
                Runbook {
                    meaning: "The server has accepted requests and answers none of them.",
                    causes: &["Nothing but open streams is left: a quiet night, not a fault", "All workers are blocked by something synchronous", "A deadlock, or a pool that is exhausted for good"],
                    actions: &["Take a stack dump of the process", "Check the database and Redis pools", "Restart the process"],
                },
            )
            .for_minutes(15),
        ]
    }
}
