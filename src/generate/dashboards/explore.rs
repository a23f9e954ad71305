//! Links into Grafana's Explore: to traces in Tempo and logs in Loki.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::model::DataLink;
use super::variables::{LOKI, TEMPO, TRACE_ID};
use crate::catalog::{Signal, SignalKind, SpanKind};

const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Percent-encodes everything but `${…}`, which Grafana replaces.
fn encode(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        let end = from.find('}').map_or(from.len(), |end| end + 1);
        let (variable, after) = from.split_at(end);
        out.extend(utf8_percent_encode(before, ENCODED));
        out.push_str(variable);
        rest = after;
    }
    out.extend(utf8_percent_encode(rest, ENCODED));
    out
}

fn explore(source: &str, kind: &str, query: Value) -> String {
    let datasource = format!("${{{source}}}");
    let mut query = query;
    query["refId"] = json!("A");
    query["datasource"] = json!({ "type": kind, "uid": datasource });
    let panes = json!({ "a": {
        "datasource": datasource,
        "queries": [query],
        "range": { "from": "${__from}", "to": "${__to}" },
    }});
    format!(
        "/explore?schemaVersion=1&panes={}",
        encode(&panes.to_string())
    )
}

/// The trace whose id the dashboard's variable holds.
pub(super) fn trace() -> String {
    let query = format!("${{{TRACE_ID}}}");
    explore(
        TEMPO,
        "tempo",
        json!({ "queryType": "traceql", "query": query }),
    )
}

/// The log records of that trace. With OTLP, Loki keeps `trace_id` beside each record and makes
/// `service_name` a label.
pub(super) fn logs() -> String {
    let query = format!("{{service_name=~\".+\"}} | trace_id=`${{{TRACE_ID}}}`");
    explore(LOKI, "loki", json!({ "queryType": "range", "expr": query }))
}

/// From a point of a latency panel to the traces that took at least as long.
pub(super) fn slower(signal: &Signal) -> Option<DataLink> {
    if signal.kind != SignalKind::Operation {
        return None;
    }
    // A server's span is named after its route, every other one after its signal.
    let spans = match signal.span_kind {
        SpanKind::Server => "kind = server".to_owned(),
        _ => format!("name = \"{}\"", signal.name),
    };
    let query = format!("{{ {spans} && duration >= ${{__value.raw}}s }}");
    Some(DataLink {
        title: "Traces at least this slow".to_owned(),
        url: explore(
            TEMPO,
            "tempo",
            json!({ "queryType": "traceql", "query": query }),
        ),
        target_blank: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_stay_readable_for_grafana() {
        assert_eq!(
            encode("{\"a b\":\"${x}s\"}"),
            "%7B%22a%20b%22%3A%22${x}s%22%7D"
        );
        assert!(trace().contains("${trace_id}"));
        assert!(trace().contains("${tempo_datasource}"));
        assert!(logs().contains("${trace_id}"));
    }
}
