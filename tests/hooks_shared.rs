//! Hooks of one session that reach two services on one PostgreSQL: halves are paired whichever
//! service they reach, and count once.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::hooks::{Service, Session, parallel};
use support::postgres::Server;
use tempfile::TempDir;

const S: Session = Session("6f1c3d52-0d7e-4a7e-9f0e-eeeeeeeeeeee");

/// Every node with what it is within.
fn walk<'t>(items: &'t Value, within: &'t str, found: &mut Vec<(&'t str, &'t str, &'t Value)>) {
    for node in items.as_array().into_iter().flatten() {
        let signal = node["signal"].as_str().unwrap();
        found.push((within, signal, node));
        walk(&node["children"], signal, found);
    }
}

#[tokio::test]
async fn halves_that_reach_different_services_are_paired_once() {
    let Some(server) = Server::shared() else {
        return;
    };
    let url = server.database().await;
    tokio::task::spawn_blocking(move || halves(&url))
        .await
        .unwrap();
}

fn halves(url: &str) {
    let dir = TempDir::new().unwrap();
    let services = [0, 1].map(|_| Service::on(url, dir.path(), &[]));
    for (number, event) in parallel(&S).into_iter().enumerate() {
        let (one, other) = (&services[number % 2], &services[(number + 1) % 2]);
        assert_eq!(one.send(&event), "recorded", "{event}");
        // A client that was not sure sends it again, elsewhere.
        assert_ne!(other.send(&event), "recorded", "{event}");
    }
    let sum = |name: &str, labels: &[(&str, &str)]| -> f64 {
        let each = services
            .iter()
            .map(|service| service.page().sum(name, labels));
        each.sum()
    };
    assert_eq!(sum("tool_calls_total", &[("status", "success")]), 5.0);
    assert_eq!(sum("tool_call_duration_seconds_count", &[]), 5.0);
    assert_eq!(sum("agent_runs_total", &[("status", "success")]), 3.0);
    assert_eq!(sum("session_runs_total", &[("status", "success")]), 1.0);
    assert_eq!(sum("mcp_client_operation_duration_seconds_count", &[]), 1.0);
    assert_eq!(sum("session_agents_sum", &[]), 3.0);
    assert_eq!(sum("agent_run_tool_calls_sum", &[]), 5.0);
    let answer = reqwest::blocking::get(format!(
        "{}/api/v1/ledger/sessions/{}/timeline?limit=100",
        services[0].url, S.0
    ));
    let timeline: Value = serde_json::from_str(&answer.unwrap().text().unwrap()).unwrap();
    let mut found = Vec::new();
    walk(&timeline["items"], "", &mut found);
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (within, signal, node) in &found {
        assert!(node["open"].is_null(), "{node}");
        *counts.entry((within, signal)).or_default() += 1;
    }
    let expected = [
        (("", "session.run"), 1),
        (("agent.run", "tool.call"), 5),
        (("session.run", "agent.run"), 1),
        (("tool.call", "agent.run"), 2),
        (("tool.call", "mcp.client.operation"), 1),
    ];
    assert_eq!(counts, BTreeMap::from(expected), "{timeline:#}");
    // What another service ended is in flight until the ledger is looked at, every few seconds.
    let start = Instant::now();
    while services
        .iter()
        .any(|service| service.page().in_flight() != [0.0; 5])
    {
        assert!(start.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(100));
    }
}
