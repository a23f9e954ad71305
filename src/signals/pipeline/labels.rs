//! The closed labels of Tachograph's own signals.

use crate::closed_label;

closed_label! {
    /// What kind of item was lost.
    pub enum ItemKind {
        /// Spans on their way to the OTLP backend.
        Traces = "traces",
        /// Metric data points on their way to the OTLP backend.
        Metrics = "metrics",
        /// Log records on their way to the OTLP backend.
        Logs = "logs",
        /// Records sent to the records API.
        Records = "records",
        /// Events of hooks and of the OTLP intake.
        Events = "events",
        /// Fields of declared spans and events.
        Fields = "fields",
        /// Metrics of the host and its libraries, left off the page.
        Foreign = "foreign",
        /// Lines of the local log output.
        LogLines = "log_lines",
    }
}

closed_label! {
    /// Why an item was lost.
    pub enum DropReason {
        /// The queue before it was full.
        QueueFull = "queue_full",
        /// There was no answer in time.
        Timeout = "timeout",
        /// No connection could be made, or it broke.
        Refused = "refused",
        /// The backend asked for patience until retries or time ran out.
        Unavailable = "unavailable",
        /// It was turned down for good.
        Rejected = "rejected",
        /// The backend took the request, but not these items.
        Partial = "partial",
        /// It is larger than may be.
        TooLarge = "too_large",
        /// It could not be encoded.
        Encoding = "encoding",
        /// Metrics could not be collected; counted once per attempt.
        Collect = "collect",
        /// The pipeline was shut down before it went out.
        Shutdown = "shutdown",
        /// The ledger did not take records.
        LedgerAway = "ledger_away",
        /// It breaks a rule of its format or of the catalog.
        Invalid = "invalid",
        /// Its name is that of something else.
        Clash = "clash",
        /// A table of bounded size had no room.
        NoRoom = "no_room",
        /// A fault of Tachograph's own; the log says which.
        Internal = "internal",
    }
}

closed_label! {
    /// A signal of OpenTelemetry.
    pub enum ExportSignal {
        /// Spans.
        Traces = "traces",
        /// Metric data points.
        Metrics = "metrics",
        /// Log records.
        Logs = "logs",
    }
}

closed_label! {
    /// How an export ended.
    pub enum ExportOutcome {
        /// The backend took everything.
        Success = "success",
        /// The backend took the request, but not all items.
        Partial = "partial" error,
        /// The backend did not answer in time.
        Timeout = "timeout" error,
        /// No connection could be made, or it broke.
        Refused = "refused" error,
        /// The backend asked for patience until retries or time ran out.
        Unavailable = "unavailable" error,
        /// The backend turned the request down for good.
        Rejected = "rejected" error,
        /// The request could not be made.
        Encoding = "encoding" error,
        /// Shutdown cut it short.
        Abandoned = "abandoned" abandoned,
    }
}

closed_label! {
    /// A bounded queue.
    pub enum Queue {
        /// Spans that wait for export.
        Traces = "traces",
        /// Metrics that wait for export.
        Metrics = "metrics",
        /// Log records that wait for export.
        Logs = "logs",
        /// Records that wait for the ledger.
        Records = "records",
    }
}

closed_label! {
    /// Format of a metrics page.
    pub enum ScrapeFormat {
        /// OpenMetrics 1.0.
        OpenMetrics = "openmetrics",
        /// Prometheus text 1.0.0.
        Text1 = "text_1",
        /// Prometheus text 0.0.4.
        Text0 = "text_0",
        /// Delimited protobuf.
        Protobuf = "protobuf",
    }
}

closed_label! {
    /// How work of Tachograph's own ended.
    pub enum Outcome {
        /// As meant.
        Success = "success",
        /// It failed; the log says why.
        Failed = "failed" error,
        /// It took longer than it may.
        Timeout = "timeout" error,
        /// Nobody waited for its end.
        Abandoned = "abandoned" abandoned,
    }
}

closed_label! {
    /// What became of a record sent to the records API.
    pub enum RecordOutcome {
        /// Durable and counted.
        Accepted = "accepted",
        /// Its id was known already; not counted again.
        Duplicate = "duplicate",
        /// The catalog does not allow it; the answer says why.
        Rejected = "rejected" error,
    }
}

closed_label! {
    /// Why a field of a declared span or event was refused.
    pub enum FieldFault {
        /// The declaration requires it and it was not there.
        Missing = "missing",
        /// Its type is not the declared one.
        Mistyped = "mistyped",
        /// The declaration does not list its value.
        UnknownValue = "unknown_value",
    }
}

closed_label! {
    /// An event of Claude Code's hooks, by its name there.
    pub enum HookEvent {
        /// A session began, or goes on.
        SessionStart = "SessionStart",
        /// A prompt was submitted.
        UserPromptSubmit = "UserPromptSubmit",
        /// A tool is about to be called.
        PreToolUse = "PreToolUse",
        /// A person is asked whether a tool may be called.
        PermissionRequest = "PermissionRequest",
        /// A tool may not be called.
        PermissionDenied = "PermissionDenied",
        /// A tool gave a result.
        PostToolUse = "PostToolUse",
        /// A tool failed.
        PostToolUseFailure = "PostToolUseFailure",
        /// A sub-agent began.
        SubagentStart = "SubagentStart",
        /// A sub-agent ended.
        SubagentStop = "SubagentStop",
        /// The main agent answered.
        Stop = "Stop",
        /// The main agent could not answer.
        StopFailure = "StopFailure",
        /// The context is about to be compacted.
        PreCompact = "PreCompact",
        /// The context was compacted.
        PostCompact = "PostCompact",
        /// A person is told something.
        Notification = "Notification",
        /// A session ended.
        SessionEnd = "SessionEnd",
        /// An event that is not known here.
        Other = "other",
        /// What is no event.
        None = "none",
    }
}

closed_label! {
    /// What became of an event of a hook.
    pub enum HookOutcome {
        /// It is on record.
        Recorded = "recorded",
        /// It was on record before.
        Duplicate = "duplicate",
        /// It says nothing that is recorded.
        Ignored = "ignored",
        /// It tells of an end whose beginning is not known, so that it is not known how long it took.
        Unpaired = "unpaired",
        /// It cannot be understood; the answer says why.
        Malformed = "malformed" error,
        /// There was no room for what it tells of, or the ledger was away.
        Lost = "lost" error,
    }
}
