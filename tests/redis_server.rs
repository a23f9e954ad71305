//! The collector of `INFO` against a real Redis: what it says, killed and restarted; in the
//! service by its configuration.
#![cfg(all(feature = "redis", feature = "service"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use support::prometheus::{Process, until};
use support::redis::Server;
use support::tls::Authority;
use tachograph::collectors::health::{HealthChecks, HealthConfig, TargetConfig};
use tachograph::collectors::redis::{RedisInfo, RedisInfoConfig};
use tachograph::collectors::{Collector as _, Progress};
use tachograph::testing::{self, Capture};
use tokio::time::Instant;

const BINARY: &str = env!("CARGO_BIN_EXE_tachograph");

fn value(recorded: &Capture, metric: &str, label: &str, of: &str) -> Option<f64> {
    let metric = recorded.metric(metric).label("redis.instance", "main");
    metric.label(label, of).value()
}

async fn round(collector: &mut RedisInfo) -> Result<Progress, String> {
    let until = Instant::now() + Duration::from_secs(5);
    collector.collect(until).await.map_err(|error| error.0)
}

#[tokio::test]
async fn what_the_server_says_is_on_the_page_and_what_is_not_known_is_not() {
    let settings = &["--maxmemory", "100mb"];
    let Some(server) = Server::start(settings) else {
        return;
    };
    let recorded = testing::capture();
    let config = RedisInfoConfig {
        url: Some(server.url()),
        name: "main".to_owned(),
        streams: vec!["jobs".to_owned(), "none".to_owned()],
        ..RedisInfoConfig::default()
    };
    let mut collector = RedisInfo::new(&config).unwrap().unwrap();
    for command in [
        "SET a 1",
        "SET b 1",
        "XADD jobs * k v",
        "GET a",
        "GET nothing",
    ] {
        server.ask(command);
    }
    round(&mut collector).await.unwrap();
    assert_eq!(
        value(&recorded, "redis.server.keys", "db.namespace", "0"),
        Some(3.0)
    );
    let streams = "redis.server.stream.entries";
    assert_eq!(value(&recorded, streams, "redis.stream", "jobs"), Some(1.0));
    assert_eq!(
        recorded.metric(streams).value(),
        Some(1.0),
        "no stream, no length"
    );
    recorded
        .metric("redis.server.memory.limit")
        .assert_value(104_857_600.0);
    let used = value(
        &recorded,
        "redis.server.memory",
        "redis.memory.kind",
        "used",
    )
    .unwrap();
    assert!(used > 100_000.0, "{used}");
    let share = recorded
        .metric("redis.server.memory.utilization")
        .value()
        .unwrap();
    assert!((share - used / 104_857_600.0).abs() < 1e-9, "{share}");
    let connected = "redis.client.state";
    let clients = value(&recorded, "redis.server.clients", connected, "connected");
    assert!(clients.is_some_and(|clients| clients >= 1.0), "{clients:?}");
    assert_eq!(
        recorded.metric("redis.server.replication.lag").value(),
        None
    );

    // Looking up streams is counted by the server as well: another asks for none.
    let config = RedisInfoConfig {
        name: "plain".to_owned(),
        streams: Vec::new(),
        ..config
    };
    let mut plain = RedisInfo::new(&config).unwrap().unwrap();
    let lookups = |result: &str| {
        let lookups = recorded.signal("redis.server.lookup");
        let lookups = lookups.label("redis.instance", "plain");
        lookups.label("redis.lookup.result", result).count()
    };
    round(&mut plain).await.unwrap();
    // It is not known since when the server counts.
    assert_eq!((lookups("hit"), lookups("miss")), (0, 0));
    for command in ["GET a", "GET a", "GET nothing", "SET c 1 PX 1"] {
        server.ask(command);
    }
    until("the key expires", || server.ask("DBSIZE") == ":3\r\n");
    round(&mut plain).await.unwrap();
    assert_eq!((lookups("hit"), lookups("miss")), (2, 1));
    recorded.signal("redis.server.expired").assert_count(1);

    server.kill();
    for collector in [&mut collector, &mut plain] {
        round(collector).await.unwrap_err();
        collector.unknown();
    }
    for gone in ["redis.server.memory", "redis.server.keys", streams] {
        assert_eq!(recorded.metric(gone).value(), None, "{gone}");
    }
    server.run();
    server.ask("SET a 1");
    server.ask("GET a");
    round(&mut collector).await.unwrap();
    round(&mut plain).await.unwrap();
    // The server counts anew; what it counted before was counted.
    assert_eq!(lookups("hit"), 3);
    assert_eq!(
        value(&recorded, "redis.server.keys", "db.namespace", "0"),
        Some(1.0)
    );
}

#[tokio::test]
async fn over_tls_it_is_read_where_the_authority_is_named() {
    let authority = Authority::new();
    let Some((_server, port)) = Server::secure(&authority) else {
        return;
    };
    let recorded = testing::capture();
    let config = RedisInfoConfig {
        url: Some(format!("rediss://localhost:{port}")),
        name: "secure".to_owned(),
        ca_file: Some(authority.file("ca.pem", &authority.pem)),
        ..RedisInfoConfig::default()
    };
    let mut trusting = RedisInfo::new(&config).unwrap().unwrap();
    round(&mut trusting).await.unwrap();
    let memory = recorded.metric("redis.server.memory");
    let memory = memory.label("redis.instance", "secure").value();
    assert!(memory.is_some_and(|bytes| bytes > 0.0), "{memory:?}");
    let config = RedisInfoConfig {
        ca_file: None,
        ..config
    };
    let mut strange = RedisInfo::new(&config).unwrap().unwrap();
    let error = round(&mut strange).await.unwrap_err();
    assert!(error.contains("certificate"), "{error}");

    let targets = vec![
        TargetConfig {
            ca_file: Some(authority.file("ca.pem", &authority.pem)),
            ..TargetConfig::new("trusted", &format!("rediss://localhost:{port}"))
        },
        TargetConfig::new("strange", &format!("rediss://localhost:{port}")),
    ];
    let mut checks = HealthChecks::new(&HealthConfig { targets })
        .unwrap()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    checks.collect(until).await.unwrap();
    let checked = |target: &str| {
        recorded
            .signal("health.check")
            .label("health.target", target)
    };
    let trusted = checked("trusted").label("health.check.result", "failed");
    trusted.assert_count(0);
    checked("trusted").assert_count(1);
    checked("strange")
        .label("error.type", "tls")
        .assert_count(1);
    let span = recorded
        .span("health.check")
        .field("health.target", "strange");
    span.field("error.type", "tls").failed(true).assert_count(1);
}

#[test]
fn the_service_reads_it_when_told_where_and_shows_no_password() {
    let Some(server) = Server::start(&["--requirepass", "hunter2"]) else {
        return;
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("redis://:hunter2@127.0.0.1:{}/0", server.port());
    let run = |arguments: &[&str]| {
        let mut command = Command::new(BINARY);
        command
            .current_dir(folder.path())
            .env_clear()
            .env("TACHOGRAPH_COLLECTORS__REDIS__URL", &url)
            .env("TACHOGRAPH_COLLECTORS__REDIS__INTERVAL", "1s")
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdin(Stdio::null());
        command
    };
    let shown = run(&["--print-config"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("[collectors.redis]") && !shown.contains("hunter2"),
        "{shown}"
    );

    let mut child = run(&[])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let _process = Process(child);
    let mut lines = lines.map_while(Result::ok);
    let line = lines.find(|line| line.contains("listening")).unwrap();
    std::thread::spawn(move || lines.for_each(|line| assert!(!line.contains("hunter2"))));
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = line["fields"]["listen"].as_str().unwrap().to_owned();
    let page = || {
        let url = format!("http://{address}/metrics");
        reqwest::blocking::get(url).unwrap().text().unwrap()
    };
    let used = "redis_server_memory_bytes{redis_instance=\"main\",redis_memory_kind=\"used\"} ";
    until("the server's memory is on the page", || {
        page().contains(used)
    });
    server.kill();
    until("it is gone from the page", || !page().contains(used));
    let up = "tachograph_collector_up{collector=\"redis\"} 0";
    assert!(page().contains(up), "{}", page());
}
