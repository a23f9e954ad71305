//! Model Context Protocol: OpenTelemetry semantic conventions v1.41.0, "Semantic conventions for
//! Model Context Protocol (MCP)" (status: development). `mcp.server.name` and the counts of what
//! is under way are ours: servers that are started as processes have no address.

use crate::catalog::{Alert, Condition, MCP, Panel, Runbook, Severity, View};
use crate::signal;

signal! {
    /// One request or notification to an MCP server, from sending it to its result.
    pub operation McpClientOperation => McpClientOperationEnd = "mcp.client.operation" span client {
        labels {
            /// Method of the request or notification, such as `tools/call`.
            method as "mcp.method.name": open(40),
            /// Name of the server, as it is configured.
            server as "mcp.server.name": optional(50),
            /// Name of the tool, where one is called.
            tool as "gen_ai.tool.name": optional(150),
            /// Name of the prompt, where one is asked for.
            prompt as "gen_ai.prompt.name": optional(50),
        }
        outcome {
            /// Error code of the response, such as `-32602`; absent if it has none.
            status_code as "rpc.response.status_code": optional(30),
            /// What went wrong: `tool_error` for a tool that failed, an error code, or a kind of error; absent if nothing.
            error as "error.type": optional(32),
        }
        context {
            /// Id of the MCP session.
            SESSION_ID = "mcp.session.id",
            /// Id of the request.
            REQUEST_ID = "jsonrpc.request.id",
            /// Version of the protocol.
            PROTOCOL_VERSION = "mcp.protocol.version",
            /// URI of the resource that is asked for.
            RESOURCE_URI = "mcp.resource.uri",
            /// Transport: `pipe` for standard input and output, `tcp` or `quic` for HTTP.
            TRANSPORT = "network.transport",
            /// Name or address of the server.
            SERVER_ADDRESS = "server.address",
            /// Port of the server.
            SERVER_PORT = "server.port",
            /// Conversation, session or thread it belongs to.
            CONVERSATION_ID = "gen_ai.conversation.id",
            /// Id shared by everything that belongs to one request or task.
            CORRELATION_ID = "correlation_id",
        }
        metrics {
            /// Duration of MCP requests and notifications, as their sender sees it.
            "mcp.client.operation.duration" = histogram "s" duration
                by [method, server, tool, prompt, status_code, error] buckets (MCP);
            /// MCP requests that were sent and have no result yet.
            "mcp.client.operation.active" = in_flight "{operation}" active by [method, server];
        }
        panels [
            Panel::new("MCP requests", View::Rate("mcp.client.operation.duration"), "Requests and notifications to MCP servers that ended, a second, by server and method.")
                .by(&["mcp.server.name", "mcp.method.name"])
                .section("As clients see it")
                .headline(),
            Panel::new("Failing MCP servers", View::ErrorRatio("mcp.client.operation.duration"), "Share of the requests to a server that ended with an error, failed tools among them.")
                .by(&["mcp.server.name"])
                .section("As clients see it")
                .headline(),
            Panel::new("MCP latency", View::Quantiles("mcp.client.operation.duration"), "The 95th percentile of the time from sending a request to its result, by server and method.")
                .by(&["mcp.server.name", "mcp.method.name"])
                .section("As clients see it")
                .headline(),
            Panel::new("MCP requests under way", View::Value("mcp.client.operation.active"), "Requests that were sent and have no result, by server.")
                .by(&["mcp.server.name"])
                .section("As clients see it"),
            Panel::new("MCP errors by kind", View::Errors("mcp.client.operation.duration"), "Requests that ended with an error, a second, by server and kind of error.")
                .by(&["mcp.server.name", "error.type"])
                .section("As clients see it"),
            Panel::new("MCP tools", View::Rate("mcp.client.operation.duration"), "Calls of tools through MCP, a second, by server and tool.")
                .only(&[("mcp.method.name", "tools/call")])
                .by(&["mcp.server.name", "gen_ai.tool.name"])
                .section("As clients see it"),
            Panel::new("MCP latency by bucket", View::Heatmap("mcp.client.operation.duration"), "Distribution of the time of requests; exemplars link to traces.")
                .section("As clients see it"),
        ]
        alerts [
            Alert::new(
                "McpServerFailing",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "mcp.client.operation.duration", ratio: 0.1, floor: 10 },
                "More than 10 % of the requests to an MCP server fail",
                Runbook {
                    meaning: "Requests to this server end with an error, or its tools fail. Agents go on without them, or try again.",
                    causes: &["The server's process has ended, or cannot be reached", "What the server calls is away: a database, an API", "A model passes arguments that a tool does not accept", "Credentials of the server have expired"],
                    actions: &["Split by `error_type`, method and tool: `tool_error` is the tool's doing, a code such as -32602 that of the arguments", "Read the server's own log", "Call the tool by hand with an MCP inspector"],
                },
            )
            .over_minutes(15)
            .by(&["mcp.server.name"]),
            Alert::new(
                "McpServerSlow",
                Severity::Warning,
                Condition::QuantileAbove { metric: "mcp.client.operation.duration", quantile: 0.95, threshold: 30.0, floor: 10 },
                "The 95th percentile of requests to an MCP server is above 30 seconds",
                Runbook {
                    meaning: "One request of this kind in twenty takes longer than 30 seconds. The agent waits meanwhile.",
                    causes: &["What the tool calls is slow", "The server handles one request after the other", "A call without a timeout"],
                    actions: &["Split by tool", "Compare with the duration that the server itself reports: the difference is spent on the way or waiting", "Give the tool a timeout, or let it work in the background"],
                },
            )
            .over_minutes(30)
            .by(&["mcp.server.name", "mcp.method.name"]),
            Alert::new(
                "McpRequestsStuck",
                Severity::Warning,
                Condition::Stuck { in_flight: "mcp.client.operation.active", ended: "mcp.client.operation.duration" },
                "Requests to an MCP server are under way and none ends",
                Runbook {
                    meaning: "Requests have been sent to this server, and none has got a result for a long time.",
                    causes: &["The server hangs, or its process is gone and nobody noticed", "A tool waits for a person", "The connection was lost without an error"],
                    actions: &["See whether the server answers `ping`", "Restart the server; its clients connect anew", "Give requests a timeout"],
                },
            )
            .for_minutes(30)
            .by(&["mcp.server.name"]),
        ]
    }
}

signal! {
    /// One request or notification that an MCP server handles, from receiving it to its result.
    pub operation McpServerOperation => McpServerOperationEnd = "mcp.server.operation" span server {
        labels {
            /// Method of the request or notification, such as `tools/call`.
            method as "mcp.method.name": open(40),
            /// Name of the tool, where one is called.
            tool as "gen_ai.tool.name": optional(150),
            /// Name of the prompt, where one is asked for.
            prompt as "gen_ai.prompt.name": optional(50),
        }
        outcome {
            /// Error code of the response, such as `-32602`; absent if it has none.
            status_code as "rpc.response.status_code": optional(30),
            /// What went wrong: `tool_error` for a tool that failed, an error code, or a kind of error; absent if nothing.
            error as "error.type": optional(32),
        }
        context {
            /// Id of the MCP session.
            SESSION_ID = "mcp.session.id",
            /// Id of the request.
            REQUEST_ID = "jsonrpc.request.id",
            /// Version of the protocol.
            PROTOCOL_VERSION = "mcp.protocol.version",
            /// URI of the resource that is asked for.
            RESOURCE_URI = "mcp.resource.uri",
            /// Transport: `pipe` for standard input and output, `tcp` or `quic` for HTTP.
            TRANSPORT = "network.transport",
            /// Id shared by everything that belongs to one request or task.
            CORRELATION_ID = "correlation_id",
        }
        metrics {
            /// Duration of MCP requests and notifications, as their receiver sees it.
            "mcp.server.operation.duration" = histogram "s" duration
                by [method, tool, prompt, status_code, error] buckets (MCP);
            /// MCP requests that were received and have no result yet.
            "mcp.server.operation.active" = in_flight "{operation}" active by [method];
        }
        panels [
            Panel::new("MCP requests handled", View::Rate("mcp.server.operation.duration"), "Requests and notifications that MCP servers handled, a second, by method.")
                .by(&["mcp.method.name"])
                .section("As servers see it")
                .headline(),
            Panel::new("Failing MCP methods", View::ErrorRatio("mcp.server.operation.duration"), "Share of a method's requests that ended with an error, failed tools among them.")
                .by(&["mcp.method.name"])
                .section("As servers see it")
                .headline(),
            Panel::new("MCP handling time", View::Quantiles("mcp.server.operation.duration"), "The 95th percentile of the time from receiving a request to its result, by method.")
                .by(&["mcp.method.name"])
                .section("As servers see it"),
            Panel::new("MCP tools handled", View::ErrorRatio("mcp.server.operation.duration"), "Share of a tool's calls that ended with an error.")
                .only(&[("mcp.method.name", "tools/call")])
                .by(&["gen_ai.tool.name"])
                .section("As servers see it"),
            Panel::new("MCP requests in hand", View::Value("mcp.server.operation.active"), "Requests that were received and have no result, by method.")
                .by(&["mcp.method.name"])
                .section("As servers see it"),
        ]
        alerts [
            Alert::new(
                "McpHandlingFails",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "mcp.server.operation.duration", ratio: 0.1, floor: 10 },
                "More than 10 % of the requests that an MCP server handles fail",
                Runbook {
                    meaning: "This server ends requests of this method with an error, or its tools fail.",
                    causes: &["What the server calls is away", "Clients send arguments that a tool does not accept", "A new version of the server has a defect"],
                    actions: &["Split by `error_type` and tool", "Read the server's log for one such request by its id", "Say more clearly in the tool's description what it accepts, if arguments are wrong"],
                },
            )
            .over_minutes(15)
            .by(&["mcp.method.name"]),
            Alert::new(
                "McpHandlingStuck",
                Severity::Warning,
                Condition::Stuck { in_flight: "mcp.server.operation.active", ended: "mcp.server.operation.duration" },
                "An MCP server holds requests and ends none",
                Runbook {
                    meaning: "Requests of this method were received, and none has ended for a long time.",
                    causes: &["A tool waits for something that has no timeout", "All of the server's workers are taken", "A lock is held"],
                    actions: &["Take a stack dump of the server", "Look at what the tools under way call", "Restart the server; what was under way is counted as abandoned"],
                },
            )
            .for_minutes(30)
            .by(&["mcp.method.name"]),
        ]
    }
}

signal! {
    /// One session with an MCP server, as its client sees it.
    pub operation McpClientSession => McpClientSessionEnd = "mcp.client.session" span client {
        labels {
            /// Name of the server, as it is configured.
            server as "mcp.server.name": optional(50),
            /// Version of the protocol.
            protocol_version as "mcp.protocol.version": optional(10),
            /// Transport: `pipe` for standard input and output, `tcp` or `quic` for HTTP.
            transport as "network.transport": optional(5),
        }
        outcome {
            /// Why the session broke off; absent if it was closed.
            error as "error.type": optional(32),
        }
        context {
            /// Id of the MCP session.
            SESSION_ID = "mcp.session.id",
            /// Name or address of the server.
            SERVER_ADDRESS = "server.address",
            /// Port of the server.
            SERVER_PORT = "server.port",
        }
        metrics {
            /// Duration of MCP sessions, as their client sees it.
            "mcp.client.session.duration" = histogram "s" duration
                by [server, protocol_version, transport, error] buckets (MCP);
            /// MCP sessions that clients hold open.
            "mcp.client.session.active" = in_flight "{session}" active by [server]
                no_alert "how many sessions are open follows from how many agents work";
        }
        panels [
            Panel::new("MCP sessions", View::Value("mcp.client.session.active"), "Sessions that clients hold open, by server.")
                .by(&["mcp.server.name"])
                .section("Sessions"),
            Panel::new("Broken MCP sessions", View::ErrorRatio("mcp.client.session.duration"), "Share of a server's sessions that broke off rather than being closed.")
                .by(&["mcp.server.name"])
                .section("Sessions")
                .headline(),
            Panel::new("MCP session duration", View::Quantiles("mcp.client.session.duration"), "The 95th percentile of the duration of sessions, by server. Many short ones mean that a server is started anew again and again.")
                .by(&["mcp.server.name"])
                .section("Sessions"),
        ]
        alerts [
            Alert::new(
                "McpSessionsBreak",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "mcp.client.session.duration", ratio: 0.2, floor: 5 },
                "More than 20 % of the sessions with an MCP server break off",
                Runbook {
                    meaning: "Sessions with this server end with an error rather than being closed. Agents lose its tools in the middle of their work.",
                    causes: &["The server's process ends: a defect, or too little memory", "A proxy closes connections that are quiet", "Client and server disagree on the version of the protocol"],
                    actions: &["Split by `error_type` and transport", "Read the end of the server's log", "Compare how long sessions last with the timeouts on the way"],
                },
            )
            .over_minutes(60)
            .by(&["mcp.server.name"]),
        ]
    }
}

signal! {
    /// One session of an MCP server with a client.
    pub operation McpServerSession => McpServerSessionEnd = "mcp.server.session" span server {
        labels {
            /// Version of the protocol.
            protocol_version as "mcp.protocol.version": optional(10),
            /// Transport: `pipe` for standard input and output, `tcp` or `quic` for HTTP.
            transport as "network.transport": optional(5),
        }
        outcome {
            /// Why the session broke off; absent if it was closed.
            error as "error.type": optional(32),
        }
        context {
            /// Id of the MCP session.
            SESSION_ID = "mcp.session.id",
        }
        metrics {
            /// Duration of MCP sessions, as their server sees it.
            "mcp.server.session.duration" = histogram "s" duration
                by [protocol_version, transport, error] buckets (MCP)
                no_alert "a client that goes away is no fault of the server; clients watch what breaks";
            /// MCP sessions that a server holds open.
            "mcp.server.session.active" = in_flight "{session}" active by [transport]
                no_alert "how many sessions are open follows from how many clients there are";
        }
        panels [
            Panel::new("MCP sessions served", View::Value("mcp.server.session.active"), "Sessions that servers hold open, by transport.")
                .by(&["network.transport"])
                .section("Sessions"),
            Panel::new("Duration of sessions served", View::Quantiles("mcp.server.session.duration"), "The 50th, 95th and 99th percentile of the duration of sessions, as servers see it.")
                .section("Sessions"),
        ]
    }
}
