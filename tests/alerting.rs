//! The whole chain on real servers: a fault in the example backend, scraped by a Prometheus,
//! judged by the rendered rules, sent on by an Alertmanager with the rendered settings, read by
//! whoever is told.
#![cfg(feature = "otlp")]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use reqwest::blocking::Client;
use serde_json::Value;
use support::backend::backend;
use support::oracle::missing;
use support::prometheus::{Process, Prometheus, until};
use tachograph::catalog::{Alert, Signal};
use tachograph::generate::{self, Links};
use tachograph::signals::CATALOG;

/// How long a notification may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Whoever is told: keeps what arrives, by path.
#[derive(Clone, Default)]
struct Inbox(Arc<Mutex<Vec<(String, Value)>>>);

impl Inbox {
    /// Starts to listen; says where.
    fn open() -> (Self, String) {
        let inbox = Self::default();
        let kept = inbox.clone();
        let (say, heard) = mpsc::channel();
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let app = move || {
                    let kept = kept.clone();
                    let take = move |request: HttpRequest, body: web::Json<Value>| {
                        let path = request.path().to_owned();
                        kept.0.lock().unwrap().push((path, body.into_inner()));
                        async { HttpResponse::Accepted().body("ok") }
                    };
                    App::new().default_service(web::to(take))
                };
                let server = HttpServer::new(app)
                    .workers(1)
                    .disable_signals()
                    .bind(("127.0.0.1", 0))
                    .unwrap();
                say.send(server.addrs()[0]).unwrap();
                server.run().await.unwrap();
            });
        });
        (inbox, format!("http://{}", heard.recv().unwrap()))
    }

    fn find(&self, wanted: impl Fn(&str, &Value) -> bool) -> Option<Value> {
        let kept = self.0.lock().unwrap();
        let found = kept.iter().find(|(path, body)| wanted(path, body));
        found.map(|(_, body)| body.clone())
    }

    /// Waits for what is wanted, doing something meanwhile.
    fn wait(
        &self,
        what: &str,
        mut meanwhile: impl FnMut(),
        wanted: impl Fn(&str, &Value) -> bool,
    ) -> Value {
        let start = Instant::now();
        loop {
            if let Some(found) = self.find(&wanted) {
                return found;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "waited in vain: {what}; what came: {:#?}",
                self.0.lock().unwrap()
            );
            meanwhile();
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for a message in a Slack channel with this title.
    fn slack(&self, channel: &str, title: &str, meanwhile: impl FnMut()) -> String {
        let message = self.wait(title, meanwhile, |path, body| {
            path == "/slack"
                && body["channel"] == channel
                && body["attachments"][0]["title"] == title
        });
        let text = message["attachments"][0]["text"].as_str();
        text.unwrap_or_else(|| panic!("{message}")).to_owned()
    }
}

/// Three alerts as they are declared, only quicker: the library's users render what they like.
fn quick() -> Vec<&'static Signal> {
    let wanted = ["HttpServerErrors", "WorkflowFailureRateHigh", "ServiceDown"];
    let quick = |signal: &'static Signal| {
        let alerts: Vec<Alert> = signal
            .alerts
            .iter()
            .filter(|alert| wanted.contains(&alert.name))
            .map(|alert| Alert {
                for_seconds: 2,
                window_seconds: 10,
                ..*alert
            })
            .collect();
        let alerts: &'static [Alert] = Box::leak(alerts.into());
        let signal: &'static Signal = Box::leak(Box::new(Signal { alerts, ..*signal }));
        signal
    };
    generate::signals(CATALOG).into_iter().map(quick).collect()
}

/// Starts an Alertmanager on the rendered settings: other addresses, secrets elsewhere, and no
/// patience.
fn alertmanager(folder: &Path, inbox: &str) -> Option<(Process, String)> {
    let secrets = folder.join("secrets");
    fs::create_dir(&secrets).unwrap();
    for (name, secret) in [
        ("slack_url", format!("{inbox}/slack")),
        ("pagerduty_routing_key", "the-key".to_owned()),
        ("smtp_password", "unused".to_owned()),
    ] {
        fs::write(secrets.join(name), secret).unwrap();
    }
    let file = folder.join("alerts/alertmanager.yml");
    let mut text = fs::read_to_string(&file).unwrap();
    for (from, to) in [
        ("/etc/alertmanager/secrets", secrets.to_str().unwrap()),
        ("smtp.example.com:587", "127.0.0.1:1"),
        (
            "global:\n",
            &format!("global:\n  pagerduty_url: {inbox}/pagerduty\n"),
        ),
        ("group_wait: \"30s\"", "group_wait: 1s"),
        ("group_wait: \"10s\"", "group_wait: 1s"),
        ("group_interval: \"5m\"", "group_interval: 1s"),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    fs::write(&file, text).unwrap();
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = port.local_addr().unwrap().to_string();
    drop(port);
    let spawned = Command::new("prometheus-alertmanager")
        .arg(format!("--config.file={}", file.display()))
        .arg(format!(
            "--storage.path={}",
            folder.join("alertmanager").display()
        ))
        .arg(format!("--web.listen-address={address}"))
        .args(["--cluster.listen-address=", "--log.level=error"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let process = match spawned {
        Ok(child) => Process(child),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            missing("Alertmanager", "apt-get install prometheus-alertmanager");
            return None;
        }
        Err(error) => panic!("prometheus-alertmanager: {error}"),
    };
    let client = Client::new();
    until("Alertmanager answers", || {
        let ready = client.get(format!("http://{address}/-/ready")).send();
        ready.is_ok_and(|answer| answer.status().is_success())
    });
    Some((process, address))
}

#[test]
fn a_fault_is_told_and_its_end_too() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let links = Links {
        runbooks: "https://example.com/runbooks".to_owned(),
        grafana: "https://grafana.example.com".to_owned(),
    };
    let files = generate::files(&quick(), &links);
    generate::write(folder.path(), &files).unwrap();
    let (inbox, address) = Inbox::open();
    let Some((_alertmanager, alertmanager)) = alertmanager(folder.path(), &address) else {
        return;
    };
    let (mut process, target) = backend(&[]);
    let more = format!(
        "rule_files: ['{}/alerts/*.yaml']\n\
         alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{alertmanager}']}}]}}]}}\n",
        folder.path().display()
    );
    let prometheus = Prometheus::start_with(folder.path(), "backend", &target, &more);
    let Some(_prometheus) = prometheus else {
        return;
    };

    let client = Client::new();
    let get = |path: &str| client.get(format!("http://{target}{path}")).send().unwrap();
    let post = |path: &str| {
        client
            .post(format!("http://{target}{path}"))
            .send()
            .unwrap()
    };
    let faults = || {
        assert_eq!(get("/broken").status(), 500);
        assert_eq!(post("/workflows/doomed").status(), 422);
    };
    let text = inbox.slack("#pages", "[FIRING 1] HttpServerErrors of backend", faults);
    for part in [
        "FIRING critical: More than 5 % of a route's requests end in a server error (job backend, http_route /broken)\n",
        "100% failed over 10s, more than 5 %.",
        "\nSince 20",
        "\nRunbook: https://example.com/runbooks/HttpServerErrors.md\n",
        "\nDashboard: https://grafana.example.com/d/tachograph-api?var-job=backend",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let paged = inbox.wait("a page", faults, |path, body| {
        path == "/pagerduty" && body["event_action"] == "trigger"
    });
    assert_eq!(paged["routing_key"], "the-key");
    assert_eq!(paged["payload"]["severity"], "critical");
    // The answers of this route have the status 422: a fault of the workflow, not of HTTP.
    let title = "[FIRING 1] WorkflowFailureRateHigh of backend";
    let text = inbox.slack("#alerts", title, faults);
    assert!(text.contains("workflow_type doomed"), "{text}");
    let told = inbox.find(|_, body| body.to_string().contains("/workflows/"));
    assert!(told.is_none(), "{told:?}");

    let fine = || drop(get("/users/7"));
    let title = "[RESOLVED] HttpServerErrors of backend";
    let text = inbox.slack("#pages", title, fine);
    assert!(
        text.starts_with("RESOLVED critical: More than 5 %"),
        "{text}"
    );
    assert!(text.contains("\nFrom 20"), "{text}");
    inbox.wait("the end of the page", fine, |path, body| {
        path == "/pagerduty" && body["event_action"] == "resolve"
    });
    inbox.slack(
        "#alerts",
        "[RESOLVED] WorkflowFailureRateHigh of backend",
        fine,
    );

    process.stop();
    let text = inbox.slack("#pages", "[FIRING 1] ServiceDown of backend", || ());
    assert!(text.contains("No process of backend publishes"), "{text}");
}
