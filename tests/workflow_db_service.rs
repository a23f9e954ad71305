//! The agent workflow database, read by the service beside everything else.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::workflow_db::{Exporter, NEWER, OLD, RUNS, create, python, value, write};

const UP: &str = r#"tachograph_collector_up{collector="workflow_db"}"#;
const PATIENCE: Duration = Duration::from_secs(20);

struct Service {
    process: Child,
    url: String,
}

impl Service {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        // Another test may have done so.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut process = Command::new(env!("CARGO_BIN_EXE_tachograph"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .env("TACHOGRAPH_WORKFLOW_DB__INTERVAL", "1h")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let listening = lines
            .by_ref()
            .map_while(Result::ok)
            .find(|line| line.contains("listening"));
        let line: Value = serde_json::from_str(&listening.expect("it listens")).unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        let url = format!("http://{}", line["fields"]["listen"].as_str().unwrap());
        Self { process, url }
    }

    fn get(&self, path: &str) -> String {
        let answer = reqwest::blocking::get(format!("{}{path}", self.url)).unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().unwrap()
    }

    fn value(&self, series: &str) -> Option<f64> {
        value(&self.get("/metrics"), series)
    }

    fn wait(&self, series: &str, expected: f64) {
        let start = Instant::now();
        while self.value(series) != Some(expected) {
            let page = self.get("/metrics");
            assert!(start.elapsed() < PATIENCE, "{series}\n{page}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    fn stop(mut self) {
        self.signal("TERM");
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_service_reads_it_beside_records_and_again_on_a_hangup() {
    if !python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let db = folder.path().join("agent_workflow.db");
    let arguments = [
        "--workflow-db",
        "agent_workflow.db",
        "--vocabulary",
        "agent-workflow",
    ];
    let service = Service::start(folder.path(), &arguments);
    service.wait(UP, 0.0);
    create(&db, &format!("{OLD}{NEWER}"), "wal");
    write(&db, "run(); run(status='started', seconds=None)");
    service.signal("HUP");
    service.wait(RUNS, 1.0);
    service.wait("parallel_executions_current", 1.0);
    assert_eq!(service.value(UP), Some(1.0));
    assert_eq!(service.value("workflow_db_unread_rows"), Some(0.0));
    let health = service.get("/api/monitoring/health/metrics");
    assert!(health.contains("workflow_db"), "{health}");

    // What others report of the same agent is in the same series.
    let fields = json!({"gen_ai.agent.name": "reviewer", "phase": "plan",
                        "gen_ai.request.model": "m", "status": "success"});
    let record = json!({"signal": "agent.run", "duration": 1.0, "fields": fields});
    let sent = reqwest::blocking::Client::new()
        .post(format!("{}/api/v1/records", service.url))
        .body(record.to_string())
        .send()
        .unwrap();
    assert_eq!(sent.json::<Value>().unwrap()["accepted"], 1);
    service.wait(RUNS, 2.0);

    // Its state is its own: another one that is to use it counts nothing.
    let exporter = Exporter::start(&db, &["--interval", "0.2"]);
    exporter.wait(UP, 0.0);
    assert_eq!(exporter.value(RUNS), None);

    write(
        &db,
        "c.execute(\"UPDATE agent_invocations SET status = 'completed' WHERE status = 'started'\")",
    );
    service.signal("HUP");
    service.wait(RUNS, 3.0);
    service.stop();
    // Now it is free.
    exporter.wait(UP, 1.0);
    assert_eq!(exporter.value(RUNS), None);
    exporter.stop();

    // Two of the runs are in the file, and are counted for good.
    write(&db, "run()");
    let service = Service::start(folder.path(), &arguments);
    service.wait(RUNS, 1.0);
    service.stop();
}

#[test]
fn without_a_database_a_hangup_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut service = Service::start(folder.path(), &[]);
    for _ in 0..3 {
        service.signal("HUP");
        service.get("/health/ready");
    }
    std::thread::sleep(Duration::from_millis(300));
    assert!(service.process.try_wait().unwrap().is_none());
    service.get("/health/ready");
    assert_eq!(service.value(UP), None);
    service.stop();
}
