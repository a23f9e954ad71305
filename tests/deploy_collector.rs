//! The collector as deploy/ runs it: compose's two configurations in one process, with receivers in
//! place of Tempo and Loki, and what units and compose set against what is read.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::collector::{Ports, Sender, file, program, span, until};
use support::deploy::{deploy, read, root, yaml};
use support::otlp::OtlpReceiver;
use support::prometheus::Process;

fn compose(service: &str) -> Value {
    yaml(deploy().join("compose.yaml"))["services"][service].clone()
}

fn variables(service: &Value) -> BTreeMap<String, String> {
    let set = service["environment"].as_object().unwrap();
    set.iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect()
}

#[test]
fn traces_and_logs_reach_their_stores_and_spans_are_counted() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Some(program) = program() else { return };
    let (tempo, loki) = (
        OtlpReceiver::start_blocking(),
        OtlpReceiver::start_blocking(),
    );
    let host = |receiver: &OtlpReceiver| {
        let endpoint = receiver.http_endpoint();
        endpoint.strip_prefix("http://").unwrap().to_owned()
    };
    let service = compose("otel-collector");
    let mut command = Command::new(program);
    for argument in service["command"].as_array().unwrap() {
        let path = argument
            .as_str()
            .unwrap()
            .strip_prefix("--config=")
            .unwrap();
        let here = match path {
            "/etc/otelcol/local.yaml" => file("local.yaml"),
            "/etc/otelcol/stores.yaml" => deploy().join("otel-collector/stores.yaml"),
            other => panic!("{other}"),
        };
        command.arg("--config").arg(here);
    }
    let ports = Ports::free();
    let folder = tempfile::tempdir().unwrap();
    let child = command
        .env_clear()
        .current_dir(folder.path())
        .envs(variables(&service))
        .env("OTLP_LISTEN_HOST", "127.0.0.1")
        .env("OTLP_GRPC_PORT", ports.grpc.to_string())
        .env("OTLP_HTTP_PORT", ports.http.to_string())
        .env("COLLECTOR_HEALTH_PORT", ports.health.to_string())
        .env("COLLECTOR_METRICS_PORT", ports.metrics.to_string())
        .env("COLLECTOR_PAGE_PORT", ports.page.to_string())
        .env("SPAN_METRICS_INTERVAL", "1s")
        .env("TEMPO_HOST", host(&tempo))
        .env("LOKI_HOST", host(&loki))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut process = Process(child);
    let get = |port: u16, path: &str| {
        let answer = reqwest::blocking::get(format!("http://127.0.0.1:{port}{path}"));
        answer.ok().and_then(|answer| answer.text().ok())
    };
    until("the collector is well", || {
        assert_eq!(process.0.try_wait().unwrap(), None);
        get(ports.health, "/").is_some()
    });
    let sender = Sender::new(ports);
    let took = Duration::from_millis(20);
    until("the collector takes spans", || {
        sender.spans("shop", vec![span("order", 7, 1, 0, took)]) == 200
    });
    assert_eq!(sender.logs("shop", vec![Default::default()]), 200);
    tempo.wait_for_blocking(|tempo| !tempo.spans().is_empty());
    loki.wait_for_blocking(|loki| !loki.logs().is_empty());
    assert!(tempo.logs().is_empty() && loki.spans().is_empty());
    let path = &loki.requests()[0].path;
    assert_eq!(path, "/otlp/v1/logs");
    // What Grafana's service map and the page for Prometheus look for.
    until("spans are counted", || {
        let page = get(ports.page, "/metrics").unwrap_or_default();
        page.lines().any(|line| {
            line.starts_with("traces_span_metrics_calls_total{") && line.contains("job=\"shop\"")
        })
    });
    // Nothing is written beside: the file system is read-only.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// A token is a file's content, so that it is in no environment.
#[test]
fn the_agent_of_compose_scrapes_with_the_token() {
    use std::io::{Read as _, Write as _};

    let Some(program) = program() else { return };
    let service = compose("otel-collector-cloud");
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("monitoring_token");
    std::fs::write(&token, "the-monitoring-token").unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let ports = Ports::free();
    let mut variables = variables(&service);
    for value in variables.values_mut() {
        // As Compose reads `$$`.
        *value = value
            .replace("$$", "$")
            .replace("/run/secrets/monitoring_token", token.to_str().unwrap());
    }
    for (name, value) in [
        ("OTLP_LISTEN_HOST", "127.0.0.1".to_owned()),
        ("OTLP_GRPC_PORT", ports.grpc.to_string()),
        ("OTLP_HTTP_PORT", ports.http.to_string()),
        ("COLLECTOR_HEALTH_PORT", ports.health.to_string()),
        ("COLLECTOR_METRICS_PORT", ports.metrics.to_string()),
        (
            "COLLECTOR_STORAGE",
            folder.path().join("queue").to_str().unwrap().to_owned(),
        ),
        (
            "TACHOGRAPH_METRICS_TARGET",
            listener.local_addr().unwrap().to_string(),
        ),
        ("TACHOGRAPH_SCRAPE_INTERVAL", "1s".to_owned()),
        ("TACHOGRAPH_SCRAPE_TIMEOUT", "1s".to_owned()),
        (
            "GRAFANA_CLOUD_OTLP_ENDPOINT",
            "http://127.0.0.1:1/otlp".to_owned(),
        ),
        ("GRAFANA_CLOUD_INSTANCE_ID", "1".to_owned()),
        ("GRAFANA_CLOUD_API_KEY", "key".to_owned()),
    ] {
        variables.insert(name.to_owned(), value);
    }
    let child = Command::new(program)
        .arg("--config")
        .arg(file("agent.yaml"))
        .env_clear()
        .envs(variables)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut process = Process(child);
    listener.set_nonblocking(true).unwrap();
    let mut stream = None;
    until("the service is scraped", || {
        assert_eq!(process.0.try_wait().unwrap(), None);
        stream = listener.accept().ok();
        stream.is_some()
    });
    let (mut stream, _) = stream.unwrap();
    stream.set_nonblocking(false).unwrap();
    let mut head = [0; 2048];
    let length = stream.read(&mut head).unwrap();
    let head = String::from_utf8_lossy(&head[..length]);
    assert!(head.starts_with("GET /api/monitoring/metrics "), "{head}");
    assert!(
        head.contains("\r\nAuthorization: Bearer the-monitoring-token\r\n"),
        "{head}"
    );
    let _ = stream.write_all(b"HTTP/1.1 503 Later\r\ncontent-length: 0\r\n\r\n");
}

/// A variable that nothing reads is a mistake in its name.
#[test]
fn what_is_set_is_read() {
    let known = |name: &str, config: &str| {
        // Of the Go runtime, not of the configuration.
        name == "GOMEMLIMIT" || read(file(config)).contains(&format!("${{env:{name}"))
    };
    for (service, config) in [
        ("otel-collector", "local.yaml"),
        ("otel-collector-cloud", "agent.yaml"),
    ] {
        for name in variables(&compose(service)).keys() {
            assert!(known(name, config), "{service}: {name}");
        }
    }
    let unit = read(deploy().join("systemd/otelcol.service"));
    let set = unit
        .lines()
        .filter_map(|line| line.strip_prefix("Environment="));
    for entry in set {
        assert!(
            known(entry.split('=').next().unwrap(), "agent.yaml"),
            "{entry}"
        );
    }
    assert!(unit.contains("--config /etc/otelcol/agent.yaml"));
    let plist = read(deploy().join("launchd/dev.tachograph.otelcol.plist"));
    for name in ["COLLECTOR_STORAGE", "GOMEMLIMIT"] {
        assert!(plist.contains(&format!("<key>{name}</key>")));
    }
    // The program of the manifest, under the name that units start.
    let name = "otelcol-tachograph";
    let manifest = yaml(root().join("otel-collector/builder.yaml"));
    assert_eq!(manifest["dist"]["name"], name);
    assert!(unit.contains(&format!("ExecStart=/usr/local/bin/{name} ")));
    // Images of the version that is tested.
    let version = manifest["dist"]["version"].as_str().unwrap();
    let image = format!("otel/opentelemetry-collector-contrib:{version}\n");
    for file in [
        "compose.yaml",
        "kubernetes/collector/gateway.yaml",
        "kubernetes/collector/sampler.yaml",
    ] {
        assert!(read(deploy().join(file)).contains(&image), "{file}");
    }
}
