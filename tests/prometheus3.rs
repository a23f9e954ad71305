//! A current Prometheus, beside the older one that the other tests use: what it negotiates, what it
//! stores of native histograms, and what it says of our rules, queries and its own settings.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use reqwest::blocking::Client;
use serde_json::Value;
use support::backend::backend;
use support::dashboards::{all, panels};
use support::deploy::{Environment, Service, read, root, secrets};
use support::otlp::OtlpReceiver;
use support::prometheus::{Prometheus, current, until};

fn promtool(folder: &Path, current: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(current.join("promtool"));
    command.current_dir(folder).args(arguments);
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// Paths of the YAML files of a folder.
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let yaml = paths.filter(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    yaml.map(|path| path.to_str().unwrap().to_owned()).collect()
}

fn config(target: &str, more: &str) -> String {
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
         scrape_configs:\n\
         - job_name: backend\n  metrics_path: /api/monitoring/metrics\n{more}\
         \x20 static_configs: [{{targets: ['{target}']}}]\n"
    )
}

/// Times that a page of this format was handed out.
fn scrapes(prometheus: &Prometheus, format: &str) -> Option<f64> {
    prometheus.value(&format!(
        "tachograph_scrapes_total{{format=\"{format}\",outcome=\"success\"}}"
    ))
}

fn exemplars(prometheus: &Prometheus, query: &str) -> Vec<Value> {
    let range = [("query", query), ("start", "0"), ("end", "99999999999")];
    let data = prometheus.ask("query_exemplars", &range);
    let series = data.as_array().unwrap().iter();
    series
        .flat_map(|series| series["exemplars"].as_array().unwrap().clone())
        .collect()
}

#[test]
fn rules_hold_and_fire_as_they_do_in_the_older_one() {
    let Some(current) = current() else { return };
    let alerts = root().join("alerts");
    for (command, folder) in [("check", alerts.clone()), ("test", alerts.join("tests"))] {
        let files = files(&folder);
        assert!(files.len() > 5, "{files:?}");
        let mut arguments = vec![command, "rules"];
        arguments.extend(files.iter().map(String::as_str));
        let output = promtool(&alerts, &current, &arguments);
        assert!(output.status.success(), "{}", said(&output));
    }
}

/// By its defaults it asks for OpenMetrics 1.0 with UTF-8 names.
#[test]
fn a_scrape_by_its_defaults_is_openmetrics_with_exemplars() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Some(current) = current() else { return };
    let directory = tempfile::tempdir().unwrap();
    // Without anywhere to send spans to, none is sampled, and there are no exemplars.
    let receiver = OtlpReceiver::start_blocking();
    let (_process, target) = backend(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.http_endpoint()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
    ]);
    let program = current.join("prometheus");
    let prometheus = Prometheus::run(&program, directory.path(), &config(&target, ""), &[]);
    let prometheus = prometheus.unwrap();
    for user in 0..20 {
        let url = format!("http://{target}/users/{user}");
        assert!(reqwest::blocking::get(url).unwrap().status().is_success());
    }
    let users = "http_server_request_duration_seconds";
    until("the requests are scraped", || {
        prometheus.value(&format!("{users}_count{{http_route=\"/users/{{id}}\"}}")) == Some(20.0)
    });
    until("a second page has been scraped", || {
        scrapes(&prometheus, "openmetrics").is_some_and(|scrapes| scrapes >= 2.0)
    });
    for format in ["text", "protobuf"] {
        assert_eq!(scrapes(&prometheus, format).unwrap_or(0.0), 0.0, "{format}");
    }
    assert_eq!(prometheus.value("min_over_time(up[1m])"), Some(1.0));
    let found = exemplars(&prometheus, &format!("{users}_bucket"));
    assert!(!found.is_empty());
    let id = found[0]["labels"]["trace_id"].as_str().unwrap();
    assert_eq!(id.len(), 32, "{found:?}");
    let metadata = prometheus.ask("metadata", &[("metric", users)]);
    assert_eq!(metadata[users][0]["type"], "histogram");
    assert_eq!(metadata[users][0]["unit"], "seconds");
}

/// Over protobuf: native histograms beside the classic ones, with exemplars, and when each series
/// began to count.
#[test]
fn native_histograms_are_stored_beside_classic_ones() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Some(current) = current() else { return };
    let directory = tempfile::tempdir().unwrap();
    let receiver = OtlpReceiver::start_blocking();
    let (_process, target) = backend(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.http_endpoint()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("TACHOGRAPH_TELEMETRY__METRICS__NATIVE_HISTOGRAMS", "true"),
    ]);
    let client = Client::new();
    let run = |kind: &str| {
        let url = format!("http://{target}/workflows/{kind}");
        assert!(client.post(url).send().unwrap().status().is_success());
    };
    (0..30).for_each(|_| run("early"));
    let more = "  scrape_native_histograms: true\n  always_scrape_classic_histograms: true\n";
    let prometheus = Prometheus::run(
        &current.join("prometheus"),
        directory.path(),
        &config(&target, more),
        &["--enable-feature=created-timestamp-zero-ingestion"],
    )
    .unwrap();
    let native = "workflow_duration_seconds{workflow_type=\"early\"}";
    until("the native histogram is scraped", || {
        prometheus.value(&format!("histogram_count({native})")) == Some(30.0)
    });
    let classic = |suffix: &str| {
        let name = "workflow_duration_seconds_";
        prometheus.value(&format!("{name}{suffix}"))
    };
    assert_eq!(classic("count{workflow_type=\"early\"}"), Some(30.0));
    assert_eq!(
        classic("bucket{workflow_type=\"early\",le=\"+Inf\"}"),
        Some(30.0)
    );
    assert_eq!(
        prometheus.value(&format!("histogram_sum({native})")),
        classic("sum{workflow_type=\"early\"}")
    );
    let quantile = prometheus.value(&format!("histogram_quantile(0.5, {native})"));
    assert!(quantile.unwrap() > 0.0);
    for metric in [
        "workflow_duration_seconds",
        "workflow_duration_seconds_bucket",
    ] {
        let found = exemplars(&prometheus, &format!("{metric}{{workflow_type=\"early\"}}"));
        assert!(!found.is_empty(), "{metric}");
        let trace = found[0]["labels"]["trace_id"].as_str().unwrap();
        assert_eq!(trace.len(), 32, "{found:?}");
    }
    until("a second page has been scraped", || {
        scrapes(&prometheus, "protobuf").is_some_and(|scrapes| scrapes >= 2.0)
    });
    assert_eq!(scrapes(&prometheus, "openmetrics").unwrap_or(0.0), 0.0);
    // A series that comes with ten runs at its first scrape: with the time of its beginning these
    // are an increase, without it they would be nothing.
    (0..10).for_each(|_| run("late"));
    let late = "workflow_executions_total{workflow_type=\"late\",status=\"success\"}";
    until("the late series is scraped", || {
        prometheus.value(late) == Some(10.0)
    });
    prometheus.two_scrapes();
    let first = prometheus.value(&format!("min_over_time({late}[1m])"));
    assert_eq!(first, Some(0.0), "it begins with zero");
    let increase = prometheus.value(&format!("increase({late}[1m])")).unwrap();
    assert!((9.9..=13.0).contains(&increase), "{increase}");
    assert_eq!(prometheus.value("min_over_time(up[1m])"), Some(1.0));
}

/// The settings of deploy/, only quicker and with other addresses: the service behind its tokens,
/// and every rule.
#[test]
fn the_settings_of_deploy_scrape_and_judge() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Some(current) = current() else { return };
    let (state, secret) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    secrets(secret.path());
    let environment = [
        ("TACHOGRAPH_LISTEN", "0.0.0.0:0"),
        ("TACHOGRAPH_DATABASE", "sqlite://tachograph.db"),
        ("TACHOGRAPH_TELEMETRY__METRICS__NATIVE_HISTOGRAMS", "true"),
    ];
    let mut environment: Environment = environment
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let file = secret.path().join("tachograph.toml");
    let file = file.to_str().unwrap().to_owned();
    environment.insert("TACHOGRAPH_CONFIG".to_owned(), file);
    let service = Service::start(&["serve".to_owned()], &environment, state.path());
    let target = service.url.strip_prefix("http://").unwrap();

    let mut text = read(root().join("deploy/prometheus/prometheus.yml"));
    let folder = |name: &str| root().join(name).to_str().unwrap().to_owned();
    for (from, to) in [
        ("/etc/prometheus/alerts", folder("alerts")),
        ("/etc/prometheus/otel-collector", folder("otel-collector")),
        ("/run/secrets", secret.path().to_str().unwrap().to_owned()),
        ("scrape_interval: 15s", "scrape_interval: 1s".to_owned()),
        ("scrape_timeout: 10s", "scrape_timeout: 1s".to_owned()),
        (
            "evaluation_interval: 15s",
            "evaluation_interval: 1s".to_owned(),
        ),
        ("tachograph:8001", target.to_owned()),
        ("otel-collector:888", "127.0.0.1:888".to_owned()),
        ("alertmanager:9093", "127.0.0.1:9093".to_owned()),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, &to);
    }
    let directory = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        fs::write(directory.path().join("checked.yml"), text).unwrap();
        promtool(
            directory.path(),
            &current,
            &["check", "config", "checked.yml"],
        )
    };
    let output = check(&text);
    assert!(output.status.success(), "{}", said(&output));
    for (from, to) in [
        ("rule_files", "rules_files"),
        ("monitoring_token", "no_token"),
    ] {
        assert!(!check(&text.replace(from, to)).status.success(), "{to}");
    }

    let program = current.join("prometheus");
    let prometheus = Prometheus::run(&program, directory.path(), &text, &[]).unwrap();
    until("the service is scraped with its token", || {
        prometheus.value("up{job=\"tachograph\"}") == Some(1.0)
    });
    until("it is known by its job", || {
        prometheus.value("count(service_info{job=\"tachograph\"})") == Some(1.0)
    });
    until("a page of protobuf has been scraped", || {
        scrapes(&prometheus, "protobuf").is_some_and(|scrapes| scrapes > 1.0)
    });
    // Of the scrapes' own requests.
    let requests = "http_server_request_duration_seconds";
    let of = "{http_route=\"/api/monitoring/metrics\",http_response_status_code=\"200\"}";
    for count in [
        format!("sum({requests}_count{of})"),
        format!("histogram_count(sum({requests}{of}))"),
    ] {
        until(&count, || {
            prometheus.value(&count).is_some_and(|count| count > 1.0)
        });
    }
    until("every rule has been judged", || {
        let rules = prometheus.ask("rules", &[]);
        let groups = rules["groups"].as_array().unwrap();
        let rules: Vec<&Value> = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().unwrap())
            .collect();
        assert!(rules.len() > 80, "{}", rules.len());
        for rule in &rules {
            assert_ne!(rule["health"], "err", "{rule}");
        }
        rules.iter().all(|rule| rule["health"] == "ok")
    });
    assert_eq!(
        prometheus.value("sum(ALERTS{alertstate=\"firing\",job=\"tachograph\"})"),
        None
    );
}

/// As [`dashboards_live`](../dashboards_live.rs) asks the older one for numbers.
#[test]
fn every_query_of_every_dashboard_is_understood() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Some(current) = current() else { return };
    let directory = tempfile::tempdir().unwrap();
    let program = current.join("prometheus");
    let config = "global: {scrape_interval: 1s}\n";
    let prometheus = Prometheus::run(&program, directory.path(), config, &[]).unwrap();
    let variable = |text: &str| {
        let mut text = text.to_owned();
        for (name, value) in [("rate_interval", "5m"), ("range", "1h"), ("interval", "1m")] {
            text = text.replace(&format!("$__{name}"), value);
        }
        let mut parts = text.split('$');
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let name = |c: char| c.is_ascii_alphanumeric() || "_{}".contains(c);
            let end = part.find(|c| !name(c)).unwrap_or(part.len());
            out.push_str(".*");
            out.push_str(&part[end..]);
        }
        out
    };
    let mut queries = BTreeSet::new();
    for (_, dashboard) in all() {
        for panel in panels(&dashboard) {
            let targets = panel["targets"].as_array().into_iter().flatten();
            queries.extend(targets.map(|target| variable(target["expr"].as_str().unwrap())));
        }
    }
    assert!(queries.len() > 250, "{}", queries.len());
    for query in &queries {
        prometheus.ask("query", &[("query", query)]);
    }
}
