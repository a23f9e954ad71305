//! deploy/kubernetes: built by Kustomize, decoded strictly into the types of Kubernetes and of the
//! Prometheus operator, held against each other, and the service started as its pod would be.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use support::deploy::{Environment, Service, check, deploy, read, root, run, secrets, yaml};
use support::postgres::Server;

fn objects(folder: &str) -> Option<Vec<Value>> {
    let path = deploy().join(folder);
    let built = check(&["kustomize", path.to_str().unwrap()])?.unwrap();
    Some(built.as_array().unwrap().clone())
}

fn find<'o>(objects: &'o [Value], kind: &str, name: &str) -> &'o Value {
    let found = objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("{kind} {name}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Whether labels have everything that a selector asks for.
fn selects(selector: &Value, labels: &Value) -> bool {
    let selector = selector.as_object().unwrap();
    !selector.is_empty() && selector.iter().all(|(key, value)| labels[key] == *value)
}

fn pods(objects: &[Value]) -> impl Iterator<Item = (&Value, &Value)> {
    let makers = ["Deployment", "StatefulSet"];
    let all = objects.iter();
    let all = all.filter(move |object| makers.contains(&object["kind"].as_str().unwrap()));
    all.map(|object| (object, &object["spec"]["template"]))
}

const FOLDERS: [&str; 3] = ["kubernetes", "kubernetes/collector", "kubernetes/postgres"];

#[test]
fn every_pod_is_confined_probed_and_bounded() {
    for folder in FOLDERS {
        let Some(objects) = objects(folder) else {
            return;
        };
        assert!(pods(&objects).count() > 0);
        for (owner, template) in pods(&objects) {
            let name = &owner["metadata"]["name"];
            let pod = &template["spec"];
            assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
            let profile = &pod["securityContext"]["seccompProfile"]["type"];
            assert_eq!(profile, "RuntimeDefault", "{name}");
            assert!(selects(
                &owner["spec"]["selector"]["matchLabels"],
                &template["metadata"]["labels"]
            ));
            let claims = list(&owner["spec"]["volumeClaimTemplates"]);
            let volumes: BTreeSet<&str> = list(&pod["volumes"])
                .iter()
                .map(|volume| &volume["name"])
                .chain(claims.iter().map(|claim| &claim["metadata"]["name"]))
                .map(|name| name.as_str().unwrap())
                .collect();
            for container in list(&pod["containers"]) {
                let context = &container["securityContext"];
                assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
                assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
                assert_eq!(context["capabilities"]["drop"], json!(["ALL"]), "{name}");
                let resources = &container["resources"];
                assert!(resources["requests"]["cpu"].is_string(), "{name}");
                assert!(resources["limits"]["memory"].is_string(), "{name}");
                let ports: Vec<&Value> = list(&container["ports"])
                    .iter()
                    .map(|port| &port["name"])
                    .collect();
                for probe in ["livenessProbe", "readinessProbe"] {
                    let port = &container[probe]["httpGet"]["port"];
                    assert!(ports.contains(&port), "{name}: {probe}");
                }
                for mount in list(&container["volumeMounts"]) {
                    let volume = mount["name"].as_str().unwrap();
                    assert!(volumes.contains(volume), "{name}: {volume}");
                }
            }
        }
        for object in objects
            .iter()
            .filter(|object| object["kind"] != "Namespace")
        {
            assert_eq!(object["metadata"]["namespace"], "tachograph");
        }
    }
}

/// Services, budgets, autoscalers, policies and monitors mean pods and ports that are there.
#[test]
fn whatever_refers_to_pods_finds_them() {
    for folder in FOLDERS {
        let Some(objects) = objects(folder) else {
            return;
        };
        let pods: Vec<_> = pods(&objects).collect();
        let matched = |selector: &Value| -> Vec<&Value> {
            let all = pods.iter().map(|(_, template)| *template);
            all.filter(|template| selects(selector, &template["metadata"]["labels"]))
                .collect()
        };
        let has_port = |template: &Value, port: &Value| {
            let containers = list(&template["spec"]["containers"]).iter();
            let mut ports = containers.flat_map(|container| list(&container["ports"]));
            ports.any(|known| known["name"] == *port || known["containerPort"] == *port)
        };
        for object in &objects {
            let spec = &object["spec"];
            let kind = object["kind"].as_str().unwrap();
            let name = &object["metadata"]["name"];
            match kind {
                "Service" => {
                    let found = matched(&spec["selector"]);
                    assert_eq!(found.len(), 1, "{kind} {name}");
                    for port in list(&spec["ports"]) {
                        assert!(has_port(found[0], &port["targetPort"]), "{name}: {port}");
                    }
                }
                "PodDisruptionBudget" => {
                    let found = matched(&spec["selector"]["matchLabels"]);
                    assert_eq!(found.len(), 1, "{kind} {name}");
                    assert_eq!(spec["maxUnavailable"], 1);
                }
                "HorizontalPodAutoscaler" => {
                    let target = &spec["scaleTargetRef"];
                    let kind = target["kind"].as_str().unwrap();
                    let target = find(&objects, kind, target["name"].as_str().unwrap());
                    // Two that set the number would fight over it.
                    assert!(target["spec"]["replicas"].is_null(), "{name}");
                }
                "ServiceMonitor" => {
                    let selector = &spec["selector"]["matchLabels"];
                    let service = objects.iter().find(|object| {
                        object["kind"] == "Service"
                            && selects(selector, &object["metadata"]["labels"])
                    });
                    for endpoint in list(&spec["endpoints"]) {
                        let mut ports = list(&service.unwrap()["spec"]["ports"]).iter();
                        assert!(ports.any(|port| port["name"] == endpoint["port"]));
                    }
                }
                "PodMonitor" => {
                    let found = matched(&spec["selector"]["matchLabels"]);
                    assert!(!found.is_empty());
                    for endpoint in list(&spec["podMetricsEndpoints"]) {
                        assert!(found.iter().all(|pod| has_port(pod, &endpoint["port"])));
                    }
                }
                "NetworkPolicy" => {
                    let found = matched(&spec["podSelector"]["matchLabels"]);
                    assert!(!found.is_empty(), "{name}");
                    assert_eq!(spec["policyTypes"], json!(["Ingress", "Egress"]));
                    // Whichever of the two has OTLP to send sends it to collectors.
                    let to = list(&spec["egress"])
                        .iter()
                        .flat_map(|rule| list(&rule["to"]));
                    let pods = to
                        .filter_map(|peer| peer.get("podSelector"))
                        .filter(|pods| !pods.is_null());
                    let collectors = json!({ "app.kubernetes.io/name": "otel-collector" });
                    let named: Vec<&Value> = pods.map(|pods| &pods["matchLabels"]).collect();
                    assert_eq!(named, [&collectors], "{name}");
                    let ports = list(&spec["ingress"]).iter();
                    for port in ports.flat_map(|rule| list(&rule["ports"])) {
                        let known = found.iter().all(|pod| has_port(pod, &port["port"]));
                        assert!(known, "{name}: {port}");
                    }
                }
                "StatefulSet" => {
                    find(&objects, "Service", spec["serviceName"].as_str().unwrap());
                }
                _ => {}
            }
        }
    }
}

#[test]
fn rules_are_those_of_prometheus() {
    let Some(objects) = objects("kubernetes") else {
        return;
    };
    let rules: Vec<&Value> = objects
        .iter()
        .filter(|object| object["kind"] == "PrometheusRule")
        .collect();
    let files = fs::read_dir(root().join("alerts")).unwrap();
    let files: Vec<_> = files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    assert_eq!(rules.len(), files.len());
    for file in files {
        let domain = file.file_stem().unwrap().to_str().unwrap();
        let object = find(&objects, "PrometheusRule", &format!("tachograph-{domain}"));
        let same = object["spec"]["groups"] == yaml(&file)["groups"];
        assert!(same, "{domain}: run `tachograph generate`");
    }
}

/// The gateway names the samplers one by one, and both run what is in otel-collector/.
#[test]
fn the_gateway_knows_every_sampler() {
    let Some(objects) = objects("kubernetes/collector") else {
        return;
    };
    let container = |name: &str| -> Value {
        let set = find(&objects, "StatefulSet", name);
        set["spec"]["template"]["spec"]["containers"][0].clone()
    };
    let gateway = container("gateway");
    let samplers = list(&gateway["env"])
        .iter()
        .find(|variable| variable["name"] == "SAMPLERS")
        .unwrap();
    let samplers: Vec<String> = serde_json::from_str(samplers["value"].as_str().unwrap()).unwrap();
    let set = find(&objects, "StatefulSet", "sampler");
    let replicas = set["spec"]["replicas"].as_u64().unwrap();
    let expected: Vec<String> = (0..replicas)
        .map(|number| format!("sampler-{number}.sampler:4317"))
        .collect();
    assert_eq!(samplers, expected);
    let service = find(&objects, "Service", "sampler");
    assert_eq!(service["spec"]["clusterIP"], "None");
    for tier in ["gateway", "sampler"] {
        let container = container(tier);
        assert_eq!(
            container["args"],
            json!([format!("--config=/etc/otelcol/{tier}.yaml")])
        );
        let file = root().join(format!("otel-collector/{tier}.yaml"));
        let text = fs::read_to_string(&file).unwrap();
        // Where the queue is, and the port that is probed.
        assert!(
            text.contains("COLLECTOR_STORAGE:-/var/lib/otelcol"),
            "{tier}"
        );
        assert!(text.contains(":-13133"), "{tier}");
        for variable in list(&container["env"]) {
            let name = variable["name"].as_str().unwrap();
            let known = ["POD_IP", "GOMEMLIMIT"].contains(&name) || text.contains(name);
            assert!(known, "{tier}: {name}");
        }
    }
}

/// It must be able to find something.
#[test]
fn what_the_cluster_would_refuse_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let text = fs::read_to_string(deploy().join("kubernetes/service/deployment.yaml")).unwrap();
    let list = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n\
                resources: [deployment.yaml]\n";
    fs::write(folder.join("kustomization.yaml"), list).unwrap();
    let said = |text: &str| {
        fs::write(folder.join("deployment.yaml"), text).unwrap();
        check(&["kustomize", folder.to_str().unwrap()])
    };
    let Some(fine) = said(&text) else { return };
    fine.unwrap();
    for (from, to) in [
        (
            "readOnlyRootFilesystem: true",
            "readOnlyRootFileSystem: true",
        ),
        ("replicas: 1", "replicas: one"),
        ("memory: 512Mi", "memory: 512 megabytes"),
        ("kind: Deployment", "kind: Deploy"),
    ] {
        assert!(text.contains(from), "{from}");
        assert!(said(&text.replace(from, to)).unwrap().is_err(), "{to}");
    }
}

/// What the image says and the pod adds, with these folders in place of the mounted ones.
fn environment(pod: &Value, name: &str, url: &str, state: &Path, secret: &Path) -> Environment {
    let dockerfile = deploy().join("Dockerfile");
    let image = check(&["dockerfile", dockerfile.to_str().unwrap()]);
    let image = image.unwrap().unwrap();
    assert_eq!(image["Cmd"], json!(["serve"]));
    let mut environment = Environment::new();
    for entry in list(&image["Env"]) {
        let (name, value) = entry.as_str().unwrap().split_once('=').unwrap();
        environment.insert(name.to_owned(), value.to_owned());
    }
    for variable in list(&pod["containers"][0]["env"]) {
        let from = &variable["valueFrom"];
        let value = if let Some(value) = variable["value"].as_str() {
            value.replace("$(POD_NAME)", name)
        } else if from["fieldRef"]["fieldPath"] == "metadata.name" {
            name.to_owned()
        } else {
            let database = json!({ "name": "tachograph-database", "key": "url" });
            assert_eq!(from["secretKeyRef"], database);
            url.to_owned()
        };
        environment.insert(variable["name"].as_str().unwrap().to_owned(), value);
    }
    let here = |path: &Path| path.to_str().unwrap().to_owned();
    for value in environment.values_mut() {
        *value = value
            .replace("/var/lib/tachograph", &here(state))
            .replace("/etc/tachograph", &here(secret))
            .replace(":8001", ":0");
    }
    environment.remove("POD_NAME");
    environment
}

fn serve() -> Vec<String> {
    vec!["serve".to_owned()]
}

fn mounts(pod: &Value) -> Vec<&str> {
    let mounts = list(&pod["containers"][0]["volumeMounts"]).iter();
    let paths = mounts.map(|mount| mount["mountPath"].as_str().unwrap());
    paths.collect()
}

/// Probes are answered; what the monitor scrapes says which pod it is.
fn is_probed_and_scraped(
    service: &Service,
    pod: &Value,
    objects: &[Value],
    secret: &Path,
    name: &str,
) {
    let client = reqwest::blocking::Client::new();
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let path = pod["containers"][0][probe]["httpGet"]["path"].as_str();
        let url = format!("{}{}", service.url, path.unwrap());
        assert_eq!(client.get(url).send().unwrap().status(), 200, "{probe}");
    }
    let monitor = find(objects, "ServiceMonitor", "tachograph");
    let endpoint = &monitor["spec"]["endpoints"][0];
    let path = endpoint["path"].as_str().unwrap();
    let key = endpoint["authorization"]["credentials"]["key"].as_str();
    let page = client
        .get(format!("{}{path}", service.url))
        .bearer_auth(read(secret.join(key.unwrap())));
    let page = page.send().unwrap();
    assert_eq!(page.status(), 200);
    let instance = format!("service_instance_id=\"{name}\"");
    assert!(page.text().unwrap().contains(&instance), "{instance}");
}

#[test]
fn the_pod_starts_the_service() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Some(objects) = objects("kubernetes") else {
        return;
    };
    let (state, secret) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    secrets(secret.path());
    let pod = &find(&objects, "Deployment", "tachograph")["spec"]["template"]["spec"];
    let written = ["/var/lib/tachograph", "/etc/tachograph", "/tmp"];
    assert_eq!(mounts(pod), written);
    let name = "tachograph-0";
    let environment = environment(pod, name, "", state.path(), secret.path());
    let mut service = Service::start(&serve(), &environment, state.path());
    is_probed_and_scraped(&service, pod, &objects, secret.path(), name);
    assert!(service.process.stop().success());
}

/// Two pods on one PostgreSQL: each takes records, and what one has the other knows.
#[test]
fn pods_share_a_ledger_on_postgresql() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (Some(objects), Some(server)) = (objects("kubernetes/postgres"), Server::shared()) else {
        return;
    };
    let kinds: BTreeSet<&str> = objects
        .iter()
        .map(|object| object["kind"].as_str().unwrap())
        .collect();
    for kind in ["HorizontalPodAutoscaler", "PodDisruptionBudget"] {
        assert!(kinds.contains(kind), "{kind}");
    }
    for kind in ["Deployment", "PersistentVolumeClaim"] {
        assert!(!kinds.contains(kind), "{kind}");
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = runtime.block_on(server.database());
    let secret = tempfile::tempdir().unwrap();
    secrets(secret.path());
    let pod = &find(&objects, "StatefulSet", "tachograph")["spec"]["template"]["spec"];
    assert_eq!(mounts(pod), ["/etc/tachograph", "/tmp"]);
    let names = ["tachograph-0", "tachograph-1"];
    let mut services = names.map(|name| {
        let state = tempfile::tempdir().unwrap();
        let environment = environment(pod, name, &url, state.path(), secret.path());
        assert_eq!(environment["TACHOGRAPH_LEDGER__OWNER"], name);
        let service = Service::start(&serve(), &environment, state.path());
        is_probed_and_scraped(&service, pod, &objects, secret.path(), name);
        (service, state)
    });
    let client = reqwest::blocking::Client::new();
    let token = read(secret.path().join("records_token"));
    let send = |pod: usize, id: usize| {
        let record = json!({
            "id": format!("018f2f2e-0000-7000-8000-{id:012}"),
            "signal": "workflow.step",
            "fields": { "workflow_type": "a", "step_type": "b", "status": "completed" },
        });
        let sent = client
            .post(format!("{}/api/v1/records", services[pod].0.url))
            .bearer_auth(&token)
            .json(&record)
            .send()
            .unwrap();
        assert_eq!(sent.status(), 200);
        let answer: Value = sent.json().unwrap();
        (answer["accepted"].as_u64(), answer["duplicates"].as_u64())
    };
    for pod in [0, 1] {
        assert_eq!(send(pod, pod), (Some(1), Some(0)), "its own");
    }
    for pod in [0, 1] {
        assert_eq!(send(pod, 1 - pod), (Some(0), Some(1)), "the other's");
    }
    for (service, state) in &mut services {
        assert!(service.process.stop().success());
        let left = fs::read_dir(state.path()).unwrap().count();
        assert_eq!(left, 0, "a pod without a volume has written something");
    }
}

/// `kubectl`, where there is one, builds the same.
#[test]
fn kubectl_builds_it_too() {
    let kubectl = |arguments: &[&str]| run(std::process::Command::new("kubectl").args(arguments));
    if kubectl(&["version", "--client"]).is_err() {
        eprintln!("SKIPPED: no kubectl; Kustomize's library reads the same files");
        return;
    }
    for folder in FOLDERS {
        let Some(objects) = objects(folder) else {
            return;
        };
        let path = deploy().join(folder);
        let built = kubectl(&["kustomize", path.to_str().unwrap()]).unwrap();
        let kinds = built
            .lines()
            .filter(|line| line.starts_with("kind: "))
            .count();
        assert_eq!(kinds, objects.len(), "{folder}");
    }
}
