//! The Model Context Protocol, from the client's and from the server's side.

use std::time::Duration;

use tachograph::signals::mcp::{
    McpClientOperation, McpClientOperationEnd, McpServerOperation, McpServerOperationEnd,
    McpServerSession, McpServerSessionEnd,
};

/// Plain `tracing`: a client calls a server's tool.
fn plain() {
    let span = tracing::info_span!(
        "mcp.client.operation",
        mcp.method.name = "tools/call",
        mcp.server.name = "files",
        gen_ai.tool.name = "read_file",
    );
    span.in_scope(|| tracing::info!("reading"));
}

/// The typed recorders: a client that is refused, and a server.
fn typed() {
    let call = McpClientOperation {
        method: "resources/read",
        server: "files",
        tool: "",
        prompt: "",
    };
    let active = call.start();
    active.context(McpClientOperation::RESOURCE_URI, "file:///missing");
    active.finish(McpClientOperationEnd {
        status_code: "-32002",
        error: "-32002",
    });
    let served = McpServerOperation {
        method: "tools/call",
        tool: "read_file",
        prompt: "",
    };
    let well = McpServerOperationEnd {
        status_code: "",
        error: "",
    };
    served.record(well, Duration::from_millis(12));
    let session = McpServerSession {
        protocol_version: "2025-06-18",
        transport: "pipe",
    };
    session.record(McpServerSessionEnd { error: "" }, Duration::from_secs(300));
}

pub fn run() {
    plain();
    typed();
}
