//! The image and compose without a Docker: both are read by Docker's own libraries, and the service
//! is started as they say.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::deploy::{
    Environment, Service, any_port, check, deploy, moved, read, root, run, secrets, texts, works,
    yaml,
};

const DOCKERFILE: &str = "deploy/Dockerfile";

fn image() -> Option<Value> {
    let path = root().join(DOCKERFILE);
    Some(check(&["dockerfile", path.to_str().unwrap()])?.unwrap())
}

#[test]
fn the_image_is_small_and_unprivileged() {
    let Some(image) = image() else { return };
    assert_eq!(image["User"], "65532:65532");
    assert_eq!(image["Entrypoint"], json!(["/usr/bin/tachograph"]));
    assert_eq!(image["Cmd"], json!(["serve"]));
    assert_eq!(
        image["Healthcheck"]["Test"],
        json!(["CMD", "/usr/bin/tachograph", "health"])
    );
    let text = read(root().join(DOCKERFILE));
    let manifest = read(root().join("Cargo.toml"));
    let version = |key: &str| {
        let line = manifest.lines().find(|line| line.starts_with(key)).unwrap();
        line.split('"').nth(1).unwrap()
    };
    let compiler = format!("FROM rust:{}-bookworm AS build", version("rust-version ="));
    assert!(text.contains(&compiler), "{compiler}");
    for file in ["compose.yaml", "kubernetes/service/deployment.yaml"] {
        let image = format!("image: tachograph:{}\n", version("version ="));
        assert!(read(deploy().join(file)).contains(&image), "{file}");
    }
    // It must be able to find something.
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("Dockerfile");
    for (from, to, says) in [
        (
            "FROM rust:1.95-bookworm AS build",
            "FROM rust:1.95-bookworm as build",
            "FromAsCasing",
        ),
        ("CMD [\"serve\"]", "CMD serve", "JSONArgsRecommended"),
        ("EXPOSE 8001", "EXPORT 8001", "unknown instruction"),
    ] {
        assert!(text.contains(from), "{from}");
        fs::write(&broken, text.replace(from, to)).unwrap();
        let said = check(&["dockerfile", broken.to_str().unwrap()]).unwrap();
        let said = said.unwrap_err();
        assert!(said.contains(says), "{said}");
    }
}

/// The base image has glibc, libgcc and libm; the context has what is compiled in. The image is
/// built without Kafka, whose client needs more.
#[test]
fn the_image_holds_what_the_service_needs() {
    let linked = run(Command::new("ldd").arg(env!("CARGO_BIN_EXE_tachograph")));
    for line in linked.unwrap_or_default().lines() {
        let library = line.split_whitespace().next().unwrap();
        let name = library
            .rsplit('/')
            .next()
            .unwrap()
            .split('.')
            .next()
            .unwrap();
        let known = [
            "linux-vdso",
            "libc",
            "libgcc_s",
            "libm",
            "ld-linux-x86-64",
            "ld-linux-aarch64",
        ];
        let kafka = cfg!(feature = "kafka") && ["libz", "libssl", "libcrypto"].contains(&name);
        assert!(kafka || known.contains(&name), "{line}");
    }
    let ignored = read(deploy().join("Dockerfile.dockerignore"));
    let ignored: Vec<&str> = ignored
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    assert!(ignored.contains(&"target") && ignored.contains(&"deploy"));
    let mut folders = vec![root().join("src")];
    let mut included = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = read(&path);
            let calls = [
                "include_str!(\"",
                "include_bytes!(\"",
                "include!(\"",
                "migrate!(\"",
            ];
            for after in calls.iter().flat_map(|call| text.split(call).skip(1)) {
                let named = path
                    .parent()
                    .unwrap()
                    .join(after.split('"').next().unwrap());
                let named = named.canonicalize().unwrap();
                let named = named.strip_prefix(root()).unwrap();
                let first = named.iter().next().unwrap().to_str().unwrap();
                assert!(
                    !ignored.contains(&first),
                    "{} names {}",
                    path.display(),
                    named.display()
                );
                included += 1;
            }
        }
    }
    assert!(included >= 5, "{included}");
}

#[test]
fn the_image_starts_with_a_file_of_tokens_alone() {
    let Some(image) = image() else { return };
    let (state, secret) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    secrets(secret.path());
    let folders = [("/var/lib/tachograph", state.path())];
    let mut environment: Environment = texts(&image["Env"])
        .iter()
        .filter_map(|entry| entry.split_once('='))
        .filter(|(name, _)| name.starts_with("TACHOGRAPH_"))
        .map(|(name, value)| (name.to_owned(), moved(value, &folders)))
        .collect();
    any_port(&mut environment);
    // As it is, it refuses: it listens beyond loopback.
    let refused = run(Command::new(env!("CARGO_BIN_EXE_tachograph"))
        .current_dir(state.path())
        .env_clear()
        .envs(&environment)
        .args(texts(&image["Cmd"])))
    .unwrap_err();
    assert!(refused.contains("everything would be open"), "{refused}");
    let file = secret.path().join("tachograph.toml");
    let file = file.to_str().unwrap().to_owned();
    environment.insert("TACHOGRAPH_CONFIG".to_owned(), file);
    let service = Service::start(&texts(&image["Cmd"]), &environment, state.path());
    works(service, secret.path());
}

fn compose(profile: &str) -> Option<Value> {
    let path = deploy().join("compose.yaml");
    Some(check(&["compose", path.to_str().unwrap(), profile])?.unwrap())
}

#[test]
fn compose_runs_what_each_profile_says_and_confines_it() {
    let names = |project: &Value| -> Vec<String> {
        project["services"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    };
    let Some(minimal) = compose("minimal") else {
        return;
    };
    assert_eq!(names(&minimal), ["tachograph"]);
    let monitoring = compose("monitoring").unwrap();
    assert_eq!(
        names(&monitoring),
        ["alertmanager", "grafana", "prometheus", "tachograph"]
    );
    let full = compose("full").unwrap();
    let expected = [
        "alertmanager",
        "grafana",
        "loki",
        "otel-collector",
        "prometheus",
        "tachograph-exporting",
        "tempo",
    ];
    assert_eq!(names(&full), expected);
    let cloud = compose("cloud").unwrap();
    assert_eq!(
        names(&cloud),
        ["otel-collector-cloud", "tachograph-exporting"]
    );

    let made = tempfile::tempdir().unwrap();
    secrets(made.path());
    let all = [&full, &minimal, &cloud].map(|project| project["services"].as_object().unwrap());
    for (name, service) in all.into_iter().flatten() {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"], json!(["ALL"]), "{name}");
        assert_eq!(
            service["security_opt"],
            json!(["no-new-privileges:true"]),
            "{name}"
        );
        assert!(service["mem_limit"].is_string(), "{name}");
        let image = service["image"].as_str().unwrap();
        let tag = image.rsplit(':').next().unwrap();
        assert!(
            tag.trim_start_matches('v').split('.').count() == 3,
            "{name}: {image}"
        );
        for port in service["ports"].as_array().into_iter().flatten() {
            assert_eq!(port["host_ip"], "127.0.0.1", "{name}");
        }
        // The others' images have nothing in them to ask with; ours has it in the image.
        let healthcheck = ["alertmanager", "grafana", "prometheus"].contains(&name.as_str());
        assert_eq!(service["healthcheck"].is_object(), healthcheck, "{name}");
        for volume in service["volumes"].as_array().into_iter().flatten() {
            if volume["type"] == "bind" {
                assert_eq!(volume["read_only"], true, "{name}");
                let source = volume["source"].as_str().unwrap();
                assert!(Path::new(source).exists(), "{name}: {source}");
            }
        }
        for secret in service["secrets"].as_array().into_iter().flatten() {
            let secret = secret["source"].as_str().unwrap();
            assert!(made.path().join(secret).exists(), "{name}: {secret}");
        }
    }
    // It must be able to find something.
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("compose.yaml");
    let text = read(deploy().join("compose.yaml"));
    for (from, to) in [
        ("read_only: true", "readonly: true"),
        ("secrets: [monitoring_token]", "secrets: [monitor_token]"),
        ("prometheus:/prometheus", "prom:/prometheus"),
        ("mem_limit: 1g", "mem_limit: plenty"),
    ] {
        assert!(text.contains(from), "{from}");
        fs::write(&broken, text.replace(from, to)).unwrap();
        let said = check(&["compose", broken.to_str().unwrap(), "full"]).unwrap();
        assert!(said.is_err(), "{to}");
    }
}

/// What the programs in containers are told to read is what is mounted there.
#[test]
fn what_compose_mounts_is_what_is_read() {
    let Some(full) = compose("full") else { return };
    let mounted = |service: &str| -> BTreeMap<String, String> {
        let service = &full["services"][service];
        let volumes = service["volumes"].as_array().into_iter().flatten();
        let volumes = volumes.map(|volume| (&volume["target"], &volume["source"]));
        let secrets = service["secrets"].as_array().into_iter().flatten();
        let secrets = secrets.map(|secret| (&secret["target"], &secret["source"]));
        volumes
            .chain(secrets)
            .map(|(target, source)| {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                (text(target), text(source))
            })
            .collect()
    };
    let within = |service: &str, path: &str| {
        let mounted = mounted(service);
        let found = mounted
            .keys()
            .any(|target| Path::new(path).starts_with(target));
        assert!(found, "{service} reads {path}, and has {mounted:#?}");
    };
    let prometheus = yaml(deploy().join("prometheus/prometheus.yml"));
    for file in texts(&prometheus["rule_files"]) {
        within("prometheus", &file);
    }
    let jobs = prometheus["scrape_configs"].as_array().unwrap();
    for job in jobs {
        if let Some(file) = job["authorization"]["credentials_file"].as_str() {
            within("prometheus", file);
        }
        let targets = job["static_configs"][0]["targets"][0].as_str().unwrap();
        let host = targets.split(':').next().unwrap();
        let known = full["services"]
            .as_object()
            .unwrap()
            .iter()
            .any(|(name, service)| {
                let aliases = &service["networks"]["default"]["aliases"];
                name == host
                    || host == "localhost"
                    || texts(aliases).iter().any(|alias| alias == host)
            });
        assert!(known, "{host}");
    }
    for service in [
        "prometheus",
        "alertmanager",
        "otel-collector",
        "tempo",
        "loki",
    ] {
        for argument in texts(&full["services"][service]["command"]) {
            if let Some((flag, path)) = argument.split_once('=')
                && flag.contains("config")
            {
                within(service, path);
            }
        }
    }
    let alertmanager = read(root().join("alerts/alertmanager.yml"));
    let secrets = alertmanager
        .split('"')
        .filter(|text| text.starts_with("/etc/alertmanager/"));
    let secrets: BTreeSet<&str> = secrets.collect();
    assert_eq!(secrets.len(), 3, "{secrets:?}");
    for file in secrets {
        within("alertmanager", file);
    }
    within(
        "alertmanager",
        "/etc/alertmanager/templates/tachograph.tmpl",
    );
    let provider = yaml(deploy().join("grafana/provisioning/dashboards/dashboards.yaml"));
    let path = provider["providers"][0]["options"]["path"]
        .as_str()
        .unwrap();
    let dashboards = &mounted("grafana")[path];
    assert_eq!(Path::new(dashboards), root().join("dashboards"));
}

#[test]
fn compose_starts_the_service() {
    let (state, secret) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    secrets(secret.path());
    let folders = [
        ("/var/lib/tachograph", state.path()),
        ("/run/secrets", secret.path()),
    ];
    for (profile, name) in [("minimal", "tachograph"), ("full", "tachograph-exporting")] {
        let (Some(image), Some(project)) = (image(), compose(profile)) else {
            return;
        };
        let mut environment: Environment = texts(&image["Env"])
            .iter()
            .filter_map(|entry| entry.split_once('='))
            .map(|(name, value)| (name.to_owned(), moved(value, &folders)))
            .collect();
        let set = project["services"][name]["environment"]
            .as_object()
            .unwrap();
        for (name, value) in set {
            let value = moved(value.as_str().unwrap(), &folders);
            environment.insert(name.clone(), value);
        }
        any_port(&mut environment);
        let exports = environment.contains_key("OTEL_EXPORTER_OTLP_ENDPOINT");
        assert_eq!(exports, profile == "full");
        let service = Service::start(&texts(&image["Cmd"]), &environment, state.path());
        works(service, secret.path());
    }
}

/// Secrets are made once, and nobody but the owner gets at them.
#[cfg(unix)]
#[test]
fn secrets_are_made_once_and_kept_to_the_owner() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("secrets");
    secrets(&folder);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let token = read(folder.join("records_token"));
    assert!(
        token.len() == 64 && token.chars().all(|c| c.is_ascii_hexdigit()),
        "{token}"
    );
    assert_ne!(token, read(folder.join("monitoring_token")));
    secrets(&folder);
    assert_eq!(token, read(folder.join("records_token")));
    let ignored = read(deploy().join(".gitignore"));
    assert!(ignored.lines().any(|line| line == "/secrets"));
}
