//! What Grafana is provisioned with: links lead somewhere, and the settings of data sources fit the
//! types that Grafana publishes. Those of Loki and of Alertmanager are not published.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::deploy::{deploy, read, run, yaml};
use support::oracle::missing;

const PROVISIONING: &str = "grafana/provisioning";

fn path() -> PathBuf {
    deploy()
        .join(PROVISIONING)
        .join("datasources/datasources.yaml")
}

/// As Grafana reads it: variables of the environment are put in, `$$` is a dollar.
fn sources() -> Vec<Value> {
    let text = read(path());
    let single = text.replace("$$", "");
    let single: Vec<&str> = single
        .lines()
        .filter(|line| !line.starts_with('#') && line.contains('$'))
        .collect();
    assert!(single.is_empty(), "taken for variables: {single:#?}");
    let document: Value = serde_norway::from_str(&text.replace("$$", "$")).unwrap();
    assert_eq!(document["apiVersion"], 1);
    document["datasources"].as_array().unwrap().clone()
}

fn source<'s>(sources: &'s [Value], uid: &str) -> &'s Value {
    let found = sources.iter().find(|source| source["uid"] == uid);
    found.unwrap_or_else(|| panic!("no data source {uid}"))
}

/// Every value under one of these keys, at any depth.
fn under<'v>(value: &'v Value, keys: &[&str], found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if keys.contains(&key.as_str()) {
                    found.push(value);
                }
                under(value, keys, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| under(item, keys, found)),
        _ => {}
    }
}

#[test]
fn links_lead_to_what_is_there() {
    let sources = sources();
    let uids: BTreeSet<&str> = sources
        .iter()
        .map(|source| source["uid"].as_str().unwrap())
        .collect();
    assert_eq!(uids.len(), sources.len());
    for source in &sources {
        let mut links = Vec::new();
        under(
            &source["jsonData"],
            &["datasourceUid", "alertmanagerUid"],
            &mut links,
        );
        for link in links {
            assert!(uids.contains(link.as_str().unwrap()), "{link}");
        }
        // A host of compose.yaml by its name.
        let url = source["url"].as_str().unwrap();
        let host = url
            .strip_prefix("http://")
            .unwrap()
            .split(':')
            .next()
            .unwrap();
        let services = &yaml(deploy().join("compose.yaml"))["services"];
        assert!(services[host].is_object(), "{host}");
    }
    let defaults = sources.iter().filter(|source| source["isDefault"] == true);
    assert_eq!(defaults.count(), 1);
    // What exemplars carry, and what log records are known by.
    let data = &source(&sources, "prometheus")["jsonData"];
    assert_eq!(data["exemplarTraceIdDestinations"][0]["name"], "trace_id");
    let prometheus = yaml(deploy().join("prometheus/prometheus.yml"));
    assert_eq!(
        data["timeInterval"],
        prometheus["global"]["scrape_interval"]
    );
    let logs = &source(&sources, "loki")["jsonData"]["derivedFields"][0];
    assert_eq!(logs["url"], "${__value.raw}");
    let logs = &source(&sources, "tempo")["jsonData"]["tracesToLogsV2"];
    assert_eq!(
        logs["query"],
        "{${__tags}} | trace_id = \"${__trace.traceId}\""
    );
}

/// What a trace leads to are metrics of ours, with labels that they have.
#[test]
fn the_numbers_of_a_trace_are_declared() {
    let folder = tempfile::tempdir().unwrap();
    let sources = sources();
    let queries = &source(&sources, "tempo")["jsonData"]["tracesToMetrics"]["queries"];
    let rules: Vec<Value> = queries
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
        .map(|(index, query)| {
            let query = query["query"]
                .as_str()
                .unwrap()
                .replace("$__tags", "job=\"a\"");
            json!({ "record": format!("job:query:{index}"), "expr": query })
        })
        .collect();
    assert!(rules.len() >= 2);
    let lint = |rules: &[Value]| {
        let file = folder.path().join("rules.yaml");
        let document = json!({ "groups": [{ "name": "queries", "rules": rules }] });
        fs::write(&file, document.to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tachograph"));
        run(command.args(["lint", "--strict"]).arg(file))
    };
    lint(&rules).unwrap();
    let unknown = json!({ "record": "job:query:9", "expr": "rate(http_server_asks_total[5m])" });
    assert!(lint(&[unknown]).is_err());
}

const PACKAGES: [(&str, &str); 3] = [
    ("prometheus", "13.2.3"),
    ("o11y-ds-frontend", "13.2.1"),
    ("data", "13.2.3"),
];
const TYPESCRIPT: &str = "5.9.3";

/// The packages with the types alone: what they depend on is half of Grafana.
fn types(folder: &Path) -> Result<PathBuf, String> {
    let modules = folder.join("node_modules");
    let npm = |arguments: &[&str]| run(Command::new("npm").current_dir(folder).args(arguments));
    fs::create_dir_all(&modules).unwrap();
    if !modules.join("typescript").is_dir() {
        fs::write(folder.join("package.json"), "{\"private\": true}").unwrap();
        let typescript = format!("typescript@{TYPESCRIPT}");
        npm(&[
            "install",
            "--silent",
            "--no-audit",
            "--no-fund",
            &typescript,
        ])?;
    }
    for (name, version) in PACKAGES {
        let into = modules.join("@grafana").join(name);
        if into.join(version).exists() {
            continue;
        }
        let packed = npm(&["pack", "--silent", &format!("@grafana/{name}@{version}")])?;
        fs::create_dir_all(&into).unwrap();
        run(Command::new("tar")
            .current_dir(folder)
            .args(["xzf", packed.trim(), "--strip-components=1", "-C"])
            .arg(&into))?;
        fs::remove_file(folder.join(packed.trim())).unwrap();
        fs::write(into.join(version), "").unwrap();
    }
    Ok(modules.join("typescript/bin/tsc"))
}

#[test]
fn settings_of_data_sources_fit_grafana_s_types() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("grafana-sources");
    let compiler = match types(&folder) {
        Ok(compiler) => compiler,
        Err(error) => {
            missing(
                "npm with Grafana's packages",
                "Node.js 20 with npm, and its registry",
            );
            eprintln!("{error}");
            return;
        }
    };
    let check = |prometheus: &Value, tempo: &Value| {
        let program = format!(
            "import type {{ PromOptions }} from './node_modules/@grafana/prometheus/dist/types/types';
import type {{ TraceToLogsOptionsV2 as L }} from './node_modules/@grafana/o11y-ds-frontend/dist/types/TraceToLogs/TraceToLogsSettings';
import type {{ TraceToMetricsOptions as M }} from './node_modules/@grafana/o11y-ds-frontend/dist/types/TraceToMetrics/TraceToMetricsSettings';
import type {{ NodeGraphOptions as N }} from './node_modules/@grafana/o11y-ds-frontend/dist/types/NodeGraph/NodeGraphSettings';
type P = Omit<PromOptions, 'prometheusType'> & {{ prometheusType: `${{NonNullable<PromOptions['prometheusType']>}}` }};
type T = {{ tracesToLogsV2: L, tracesToMetrics: M, nodeGraph: N, serviceMap: {{ datasourceUid: string }} }};
export const prometheus: P = {prometheus};
export const tempo: T = {tempo};
"
        );
        fs::write(folder.join("sources.ts"), program).unwrap();
        run(Command::new("node")
            .current_dir(&folder)
            .arg(&compiler)
            .args([
                "--noEmit",
                "--strict",
                "--skipLibCheck",
                "--target",
                "es2022",
                "--module",
                "esnext",
                "--moduleResolution",
                "bundler",
                "sources.ts",
            ]))
    };
    let sources = sources();
    let data = |uid: &str| source(&sources, uid)["jsonData"].clone();
    let (prometheus, tempo) = (data("prometheus"), data("tempo"));
    if let Err(said) = check(&prometheus, &tempo) {
        panic!("{said}");
    }
    // It must be able to find something.
    for (pointer, wrong) in [
        ("/exemplarTraceIdDestinations/0/name", json!(1)),
        ("/prometheusType", json!("Promtheus")),
    ] {
        let mut spoilt = prometheus.clone();
        *spoilt.pointer_mut(pointer).unwrap() = wrong;
        assert!(check(&spoilt, &tempo).is_err(), "{pointer}");
    }
    let mut spoilt = prometheus.clone();
    spoilt["exemplarTraceIdDestination"] = json!([]);
    assert!(check(&spoilt, &tempo).is_err());
    let mut spoilt = tempo.clone();
    spoilt["tracesToLogsV2"]["spanStartTimeshift"] = json!("1m");
    assert!(check(&prometheus, &spoilt).is_err());
}
