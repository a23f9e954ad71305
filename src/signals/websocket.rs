//! WebSockets as a server sees them: connections (RFC 6455), the messages on them, pings, and
//! the rooms that connections are in. The semantic conventions (v1.41.0) have none for them.

use crate::catalog::{
    Alert, BYTES, Condition, EXPORT, KEY_VALUE, Panel, Runbook, SESSION, Severity, View,
};
use crate::{closed_label, signal};

closed_label! {
    /// What became of a request to open a connection.
    pub enum Handshake {
        /// The connection is open.
        Connected = "connected",
        /// There are as many connections as there may be.
        Refused = "refused" error,
        /// The request is not one for a WebSocket.
        Invalid = "invalid" error,
    }
}

closed_label! {
    /// Who or what ended a connection.
    pub enum Disconnect {
        /// The client closed it.
        Client = "client",
        /// The application closed it.
        Server = "server",
        /// The application closed it because it stops or starts anew (close codes 1001, 1012).
        Shutdown = "shutdown",
        /// The application closed it because it could not go on (close code 1011).
        Failed = "failed" error,
        /// It was gone without having been closed.
        Lost = "lost" error,
        /// The client did not answer pings.
        Timeout = "timeout" error,
        /// What came was not the protocol, or too large.
        Protocol = "protocol" error,
        /// Nobody used it any more, and nobody had closed it.
        Abandoned = "abandoned" abandoned,
    }
}

closed_label! {
    /// The code that a connection was closed with, in classes (RFC 6455, section 7.4).
    pub enum CloseClass {
        /// 1000.
        Normal = "normal",
        /// 1001: one side goes away.
        Away = "going_away",
        /// 1002, 1003, 1007, 1010: what was sent is not understood.
        Protocol = "protocol",
        /// 1008.
        Policy = "policy",
        /// 1009.
        TooBig = "too_big",
        /// 1011.
        Error = "server_error",
        /// 1012, 1013: come back later.
        Restart = "restart",
        /// 3000 to 4999, and whatever else is not registered.
        Application = "application",
        /// There was none.
        Absent = "none" abandoned,
    }
}

closed_label! {
    /// What a message is made of.
    pub enum MessageKind {
        /// Text.
        Text = "text",
        /// Bytes.
        Binary = "binary",
        /// A piece of a message that comes in several.
        Continuation = "continuation",
        /// Nobody said.
        Unknown = "unknown" abandoned,
    }
}

closed_label! {
    /// How handling a message ended.
    pub enum HandlingStatus {
        /// It was handled.
        Success = "success",
        /// It could not be.
        Failed = "failed" error,
        /// Nobody said how it ended.
        Abandoned = "abandoned" abandoned,
    }
}

closed_label! {
    /// How sending a message ended.
    pub enum SendStatus {
        /// It is in the queue of the connection.
        Success = "success",
        /// The connection is closed.
        Closed = "closed" error,
        /// The queue is full, and the sender did not want to wait.
        Full = "full" error,
        /// The sender went away while it waited.
        Abandoned = "abandoned" abandoned,
    }
}

closed_label! {
    /// Which way something goes.
    pub enum Direction {
        /// To the client.
        Sent = "sent",
        /// From the client.
        Received = "received",
    }
}

closed_label! {
    /// A frame that is about the connection.
    pub enum ControlKind {
        /// A question whether the other side is there.
        Ping = "ping",
        /// The answer.
        Pong = "pong",
        /// The end.
        Close = "close",
    }
}

closed_label! {
    /// What came of a ping.
    pub enum PingResult {
        /// Its answer came.
        Answered = "answered",
        /// There was none by the time of the next one.
        Missed = "missed" error,
        /// The connection ended meanwhile.
        Abandoned = "abandoned" abandoned,
    }
}

closed_label! {
    /// What went wrong on a WebSocket.
    pub enum ErrorKind {
        /// A request to open one was not valid.
        Handshake = "handshake",
        /// There were as many connections as there may be.
        Refused = "refused",
        /// What came was not the protocol.
        Protocol = "protocol",
        /// What came was too large.
        TooLarge = "too_large",
        /// The connection was gone without having been closed.
        ConnectionLost = "connection_lost",
        /// The client did not answer pings.
        Timeout = "timeout",
        /// A message could not be sent.
        Send = "send",
        /// The application could not handle a message.
        Handling = "handling",
        /// The application closed the connection because it could not go on.
        Server = "server",
    }
}

closed_label! {
    /// What happened to a room's members.
    pub enum RoomChange {
        /// One came.
        Joined = "joined",
        /// One went.
        Left = "left",
        /// One could not come: there are as many rooms as there may be.
        Refused = "refused" error,
    }
}

signal! {
    /// Requests to open a WebSocket.
    pub counter WebsocketHandshake = "websocket.handshake" => "websocket.handshakes" "{handshake}" {
        labels {
            /// What the connections are for: a route, such as `/chat`.
            namespace as "websocket.namespace": open(32),
            /// What became of it.
            result as "websocket.handshake.result": closed(Handshake),
        }
        panels [
            Panel::new("New connections", View::Rate("websocket.handshakes"), "Requests to open a WebSocket, a second, by what became of them.")
                .by(&["websocket.namespace", "websocket.handshake.result"])
                .section("Connections"),
        ]
        alerts [
            Alert::new(
                "WebsocketConnectionsRefused",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "websocket.handshakes", ratio: 0.05, floor: 20 },
                "More than 5 % of the requests to open a WebSocket are turned away",
                Runbook {
                    meaning: "Clients ask for a connection and get none: there are as many as there may be, or what they send is not a request for a WebSocket.",
                    causes: &["More clients than the limit was made for", "Connections that are lost and opened anew in a loop", "A proxy that does not pass `Upgrade` on", "Connections that nobody closes"],
                    actions: &["Split by `websocket_handshake_result`", "`refused`: compare open connections with the limit, and raise it if there is memory", "`invalid`: see what the proxy in front does with `Connection` and `Upgrade`"],
                },
            )
            .by(&["websocket.namespace"]),
        ]
    }
}

signal! {
    /// One WebSocket, from its handshake to its end.
    pub operation WebsocketConnection => WebsocketConnectionEnd = "websocket.connection" {
        labels {
            /// What the connection is for: a route, such as `/chat`.
            namespace as "websocket.namespace": open(32),
        }
        outcome {
            /// Who or what ended it.
            reason as "websocket.disconnect.reason": closed(Disconnect),
            /// The code it was closed with.
            close as "websocket.close": closed(CloseClass),
        }
        context {
            /// The code itself.
            CLOSE_CODE = "websocket.close.code",
            /// Messages that came, without control frames.
            RECEIVED = "websocket.received",
            /// Messages that were sent, without control frames.
            SENT = "websocket.sent",
            /// The protocol that was agreed on (`Sec-WebSocket-Protocol`).
            SUBPROTOCOL = "websocket.subprotocol",
        }
        metrics {
            /// Connections that ended.
            "websocket.connections" = counter "{connection}" count by [namespace, reason, close];
            /// How long connections were open.
            "websocket.connection.duration" = histogram "s" duration by [namespace, reason] buckets (SESSION)
                no_alert "how long clients stay is theirs; ends that are faults are watched";
            /// Connections that are open.
            "websocket.connections.active" = in_flight "{connection}" active by [namespace]
                no_alert "how many are too many is the limit's to say, and what it turns away is watched";
        }
        panels [
            Panel::new("Open connections", View::Value("websocket.connections.active"), "Connections that are open now.")
                .by(&["websocket.namespace"])
                .section("Connections")
                .headline(),
            Panel::new("Broken connections", View::ErrorRatio("websocket.connections"), "Share of the connections that ended by a fault: lost, silent, not the protocol, or given up by the application.")
                .by(&["websocket.namespace"])
                .section("Connections")
                .headline(),
            Panel::new("Disconnects", View::Rate("websocket.connections"), "Connections that ended, a second, by who or what ended them.")
                .by(&["websocket.namespace", "websocket.disconnect.reason"])
                .section("Connections"),
            Panel::new("Close codes", View::Rate("websocket.connections"), "Connections that ended, a second, by the code they were closed with.")
                .by(&["websocket.close"])
                .section("Connections"),
            Panel::new("Connection length", View::Quantiles("websocket.connection.duration"), "How long connections were open that ended.")
                .by(&["websocket.namespace"])
                .section("Connections"),
        ]
        alerts [
            Alert::new(
                "WebsocketConnectionsBreak",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "websocket.connections", ratio: 0.2, floor: 20 },
                "More than 20 % of the WebSockets that end are lost or broken",
                Runbook {
                    meaning: "Connections end without having been closed, do not answer pings, or are given up. Clients see a gap until they connect again.",
                    causes: &["A proxy or load balancer that cuts connections it takes for idle", "A release that ends the process without closing connections", "Clients on mobile networks", "The process stalls, so that pings and their answers wait"],
                    actions: &["Split by `websocket_disconnect_reason`", "`lost`: see whether the lengths of connections gather at one value, which is a proxy's limit; ping more often than that", "`timeout`: compare with the round trip of pings and the CPU of the process", "`protocol`: read the log for what came", "`failed`: look at the application's errors"],
                },
            )
            .by(&["websocket.namespace"]),
        ]
    }
}

signal! {
    /// One message that came, from its arrival until it was handled.
    pub operation WebsocketReceive => WebsocketReceiveEnd = "websocket.receive" span consumer {
        labels {
            /// What the connection is for: a route, such as `/chat`.
            namespace as "websocket.namespace": open(32),
        }
        outcome {
            /// What the message is made of.
            kind as "websocket.message.kind": closed(MessageKind),
            /// What it is to the application, such as `chat_message`; absent if it does not say.
            event as "websocket.event.type": optional(64),
            /// How handling it ended.
            status: closed(HandlingStatus),
            /// Why it could not be handled; absent if it was.
            error as "error.type": optional(40),
        }
        values {
            /// Its bytes, without frames.
            size as "websocket.message.size",
        }
        metrics {
            /// Messages that came and were handled or not.
            "websocket.messages.received" = counter "{message}" count by [namespace, kind, event, status, error];
            /// Time from a message's arrival until it was handled.
            "websocket.message.latency" = histogram "s" duration by [namespace, event] buckets (KEY_VALUE);
            /// Bytes of messages that came.
            "websocket.received.size" = histogram "By" of(size) by [namespace] buckets (BYTES)
                no_alert "how much clients say is theirs; what is too large is refused";
        }
        panels [
            Panel::new("Messages received", View::Rate("websocket.messages.received"), "Messages that came, a second, by what they are to the application.")
                .by(&["websocket.namespace", "websocket.event.type"])
                .section("Messages")
                .headline(),
            Panel::new("Failing messages", View::ErrorRatio("websocket.messages.received"), "Share of the messages that came that could not be handled.")
                .by(&["websocket.namespace"])
                .section("Messages")
                .headline(),
            Panel::new("Failures by kind", View::Errors("websocket.messages.received"), "Messages that could not be handled, a second, by what they are to the application and why.")
                .by(&["websocket.event.type", "error.type"])
                .section("Messages"),
            Panel::new("Handling time", View::Quantiles("websocket.message.latency"), "Time from a message's arrival until it was handled.")
                .by(&["websocket.namespace"])
                .section("Messages")
                .headline(),
            Panel::new("Handling time by event", View::Quantiles("websocket.message.latency"), "The 95th percentile of the time until a message was handled, by what it is to the application.")
                .by(&["websocket.event.type"])
                .section("Messages"),
            Panel::new("Size of messages received", View::Quantiles("websocket.received.size"), "Bytes of messages that came.")
                .by(&["websocket.namespace"])
                .section("Messages"),
        ]
        alerts [
            Alert::new(
                "WebsocketMessagesFail",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "websocket.messages.received", ratio: 0.05, floor: 50 },
                "More than 5 % of the messages on WebSockets cannot be handled",
                Runbook {
                    meaning: "Messages come and the application fails on them.",
                    causes: &["A release of clients and one of the server that do not fit", "What the handlers need is away", "A client that sends what is not understood, over and over"],
                    actions: &["Split by `websocket_event_type` and `error_type`", "Look at the spans of connections that have failures", "See what else failed at the same time"],
                },
            )
            .by(&["websocket.namespace"]),
            Alert::new(
                "WebsocketHandlingSlow",
                Severity::Warning,
                Condition::QuantileAbove { metric: "websocket.message.latency", quantile: 0.95, threshold: 1.0, floor: 100 },
                "The 95th percentile of the time to handle a message on a WebSocket is above 1 s",
                Runbook {
                    meaning: "One message in twenty takes longer than a second. Those behind it on the same connection wait.",
                    causes: &["What the handlers need is slow", "Work that belongs in a task of its own is done while messages wait", "The process is out of CPU, or its workers are blocked"],
                    actions: &["Split the time by `websocket_event_type`", "Turn message spans on for one namespace and look at the slow ones", "See the busy time of the runtime's workers"],
                },
            )
            .by(&["websocket.namespace"]),
        ]
    }
}

signal! {
    /// One message to a client, until it is in the connection's queue.
    pub operation WebsocketSend => WebsocketSendEnd = "websocket.send" {
        labels {
            /// What the connection is for: a route, such as `/chat`.
            namespace as "websocket.namespace": open(32),
            /// What it is to the application, such as `chat_message`; absent if it does not say.
            event as "websocket.event.type": optional(64),
        }
        outcome {
            /// What the message is made of.
            kind as "websocket.message.kind": closed(MessageKind),
            /// How sending it ended.
            status: closed(SendStatus),
        }
        values {
            /// Its bytes, without frames.
            size as "websocket.message.size",
        }
        metrics {
            /// Messages that were sent, or were to be.
            "websocket.messages.sent" = counter "{message}" count by [namespace, event, kind, status];
            /// Time until a message was in the connection's queue: long where a client reads slowly.
            "websocket.send.duration" = histogram "s" duration by [namespace] buckets (KEY_VALUE)
                no_alert "one client that reads slowly is no fault of ours; what is not sent is watched";
            /// Bytes of messages that were sent.
            "websocket.sent.size" = histogram "By" of(size) by [namespace] buckets (BYTES)
                no_alert "how much is said is the application's";
        }
        panels [
            Panel::new("Messages sent", View::Rate("websocket.messages.sent"), "Messages to clients, a second, by what they are to the application.")
                .by(&["websocket.namespace", "websocket.event.type"])
                .section("Messages")
                .headline(),
            Panel::new("Messages not sent", View::ErrorRatio("websocket.messages.sent"), "Share of the messages to clients that were not sent: the connection was closed, or its queue was full.")
                .by(&["websocket.namespace"])
                .section("Messages"),
            Panel::new("Waits to send", View::Quantiles("websocket.send.duration"), "Time until a message was in its connection's queue. It is long where clients read slowly.")
                .by(&["websocket.namespace"])
                .section("Messages"),
            Panel::new("Size of messages sent", View::Quantiles("websocket.sent.size"), "Bytes of messages to clients.")
                .by(&["websocket.namespace"])
                .section("Messages"),
        ]
        alerts [
            Alert::new(
                "WebsocketMessagesNotSent",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "websocket.messages.sent", ratio: 0.1, floor: 100 },
                "More than 10 % of the messages to clients on WebSockets are not sent",
                Runbook {
                    meaning: "Connections are closed when something is to be sent, or their queues are full, and what is sent to a room skips them.",
                    causes: &["Clients that read more slowly than is sent to them", "Many connections that broke at once", "Something that goes on sending to connections it knows to be closed"],
                    actions: &["Split by `status`", "`full`: send less often, or several in one message", "`closed`: see why connections end"],
                },
            )
            .by(&["websocket.namespace"]),
        ]
    }
}

signal! {
    /// Frames about a connection: pings, pongs and closes.
    pub counter WebsocketControl = "websocket.control" => "websocket.control_frames" "{frame}" {
        labels {
            /// What the connection is for: a route, such as `/chat`.
            namespace as "websocket.namespace": open(32),
            /// Which way it goes.
            direction as "websocket.direction": closed(Direction),
            /// What it is.
            kind as "websocket.control.kind": closed(ControlKind),
        }
        panels [
            Panel::new("Control frames", View::Rate("websocket.control_frames"), "Pings, pongs and closes, a second, by which way they go.")
                .by(&["websocket.direction", "websocket.control.kind"])
                .section("Pings"),
        ]
        no_alert "pings that are not answered, and ends that are faults, are watched"
    }
}

signal! {
    /// One ping of a client, until its answer.
    pub operation WebsocketPing => WebsocketPingEnd = "websocket.ping" {
        labels {
            /// What the connection is for: a route, such as `/chat`.
            namespace as "websocket.namespace": open(32),
        }
        outcome {
            /// What came of it.
            result as "websocket.ping.result": closed(PingResult),
        }
        metrics {
            /// Pings that were answered or not.
            "websocket.pings" = counter "{ping}" count by [namespace, result]
                no_alert "a client that does not answer is disconnected, which is watched";
            /// Time from a ping to its answer.
            "websocket.ping.duration" = histogram "s" duration by [namespace, result] buckets (EXPORT)
                no_alert "how far away clients are is theirs";
        }
        panels [
            Panel::new("Ping round trip", View::Quantiles("websocket.ping.duration"), "Time from a ping to its answer.")
                .by(&["websocket.namespace"])
                .only(&[("websocket.ping.result", "answered")])
                .section("Pings"),
            Panel::new("Missed pongs", View::ErrorRatio("websocket.pings"), "Share of pings that had no answer by the time of the next.")
                .by(&["websocket.namespace"])
                .section("Pings")
                .headline(),
        ]
    }
}

signal! {
    /// What went wrong on WebSockets, by kind.
    pub counter WebsocketError = "websocket.error" => "websocket.errors" "{error}" {
        labels {
            /// What the connection is for: a route, such as `/chat`.
            namespace as "websocket.namespace": open(32),
            /// What went wrong.
            kind as "error.type": closed(ErrorKind),
        }
        panels [
            Panel::new("Errors", View::Rate("websocket.errors"), "What went wrong on WebSockets, a second, by kind.")
                .by(&["websocket.namespace", "error.type"])
                .section("Connections"),
        ]
        no_alert "the shares of connections and messages that fail are watched"
    }
}

signal! {
    /// Rooms that have members.
    pub gauge WebsocketRooms = "websocket.rooms" => "websocket.rooms.active" "{room}" {
        labels {
            /// What the connections are for: a route, such as `/chat`.
            namespace as "websocket.namespace": open(32),
        }
        panels [
            Panel::new("Rooms", View::Value("websocket.rooms.active"), "Rooms that have members.")
                .by(&["websocket.namespace"])
                .section("Rooms")
                .headline(),
        ]
        no_alert "how many there are is the application's"
    }
}

signal! {
    /// Members of all rooms; a connection counts in each room it is in.
    pub gauge WebsocketMembers = "websocket.room.members" => "websocket.rooms.members" "{member}" {
        labels {
            /// What the connections are for: a route, such as `/chat`.
            namespace as "websocket.namespace": open(32),
        }
        panels [
            Panel::new("Members of rooms", View::Value("websocket.rooms.members"), "Members of all rooms together.")
                .by(&["websocket.namespace"])
                .section("Rooms"),
        ]
        no_alert "how many there are is the application's"
    }
}

signal! {
    /// Members that came to rooms, went, or were turned away.
    pub counter WebsocketRoomChange = "websocket.room.change" => "websocket.rooms.changes" "{change}" {
        labels {
            /// What the connections are for: a route, such as `/chat`.
            namespace as "websocket.namespace": open(32),
            /// What happened.
            change as "websocket.room.change": closed(RoomChange),
        }
        panels [
            Panel::new("Comings and goings", View::Rate("websocket.rooms.changes"), "Members that came to rooms and went, a second.")
                .by(&["websocket.room.change"])
                .section("Rooms"),
        ]
        alerts [
            Alert::new(
                "WebsocketRoomsFull",
                Severity::Warning,
                Condition::IncreaseAbove { metric: "websocket.rooms.changes", amount: 10.0 },
                "Rooms are turned away: there are as many as there may be",
                Runbook {
                    meaning: "Connections want to be in a room that does not exist yet, and no more may be made. What is sent there does not reach them.",
                    causes: &["Rooms whose names are made up by clients", "More rooms than the limit was made for", "Members that are kept after their connection ended"],
                    actions: &["See how many rooms there are, and since when", "Let clients be in rooms that exist only", "Raise the limit"],
                },
            )
            .only(&[("websocket.room.change", "refused")])
            .by(&["websocket.namespace"]),
        ]
    }
}

signal! {
    /// Messages that were sent to a room.
    pub counter WebsocketBroadcast = "websocket.broadcast" => "websocket.broadcasts" "{broadcast}" {
        labels {
            /// What the connections are for: a route, such as `/chat`.
            namespace as "websocket.namespace": open(32),
            /// What they are to the application, such as `chat_message`; absent if it does not say.
            event as "websocket.event.type": optional(64),
        }
        panels [
            Panel::new("Broadcasts", View::Rate("websocket.broadcasts"), "Messages that were sent to a room, a second; each is one more message sent for every member.")
                .by(&["websocket.namespace", "websocket.event.type"])
                .section("Rooms"),
        ]
        no_alert "what does not reach a member is watched as a message that is not sent"
    }
}
