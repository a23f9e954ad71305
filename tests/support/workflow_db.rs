//! The agent workflow database as its writer makes it, and the exporter as a process.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const OLD: &str = "
CREATE TABLE sessions(session_id TEXT PRIMARY KEY, start_time TEXT, end_time TEXT, status TEXT);
CREATE TABLE agent_invocations(id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TEXT,
  session_id TEXT, event_type TEXT, phase TEXT, agent_name TEXT, agent_type TEXT, model TEXT,
  prompt TEXT, parent_agent TEXT, ticket_id TEXT, start_time TEXT, end_time TEXT,
  duration_seconds REAL, status TEXT, error TEXT, result_summary TEXT, raw_input JSON,
  raw_output JSON);
CREATE TABLE tool_uses(id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TEXT, session_id TEXT,
  tool_name TEXT, tool_input JSON, tool_output JSON, duration_seconds REAL);
";
pub const NEWER: &str = "
ALTER TABLE sessions ADD COLUMN cwd TEXT;
ALTER TABLE sessions ADD COLUMN metadata JSON;
CREATE TABLE agent_tool_uses(id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TEXT,
  session_id TEXT, agent_name TEXT, agent_invocation_id INTEGER, tool_name TEXT,
  tool_input JSON, tool_output JSON, duration_seconds REAL, status TEXT, error TEXT,
  sequence_number INTEGER, start_time TEXT, end_time TEXT);
";

pub const RUNS: &str =
    r#"agent_invocation_total{agent_name="reviewer",model="m",phase="plan",status="success"}"#;

/// Whether there is a Python to write with; without one a test says so, and fails in CI.
pub fn python() -> bool {
    let found = Command::new("python3")
        .args(["-c", "import sqlite3"])
        .status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(
            !ci,
            "python3 with sqlite3 is missing: apt-get install python3"
        );
        eprintln!("skipped: python3 with sqlite3 is missing: apt-get install python3");
    }
    found
}

pub const PRELUDE: &str = "
import sqlite3, sys, time, datetime
def now(seconds=0):
    return (datetime.datetime.now() + datetime.timedelta(seconds=seconds)).isoformat()
c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
def run(agent='reviewer', phase='plan', model='m', status='completed', seconds=2.5, session='s1', begun=-60):
    return c.execute('INSERT INTO agent_invocations(timestamp, session_id, phase, agent_name, model, start_time, end_time, duration_seconds, status) VALUES (?,?,?,?,?,?,?,?,?)',
        (now(begun), session, phase, agent, model, now(begun), None if status == 'started' else now(begun + 3), seconds, status)).lastrowid
";

pub fn script(path: &Path, body: &str) -> Command {
    let mut command = Command::new("python3");
    command
        .arg("-c")
        .arg(format!("{PRELUDE}\n{body}"))
        .arg(path);
    command
}

pub fn write(path: &Path, body: &str) {
    assert!(script(path, body).status().unwrap().success(), "{body}");
}

pub fn create(path: &Path, schema: &str, mode: &str) {
    let body = format!("c.execute('PRAGMA journal_mode={mode}')\nc.executescript('''{schema}''')");
    write(path, &body);
}

pub struct Exporter {
    pub child: Child,
    pub url: String,
}

impl Exporter {
    pub fn start(db: &Path, arguments: &[&str]) -> Self {
        // Another test may have done so.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut child = Command::new(env!("CARGO_BIN_EXE_tachograph"))
            .args(["export", "workflow-db", "--port", "0", "--db"])
            .arg(db)
            .args(arguments)
            .env_remove("TACHOGRAPH_TOKEN")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = loop {
            let line = lines.next().expect("it ended").unwrap();
            if let Some((_, rest)) = line.split_once("\"metrics\":\"") {
                break rest.split('"').next().unwrap().to_owned();
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }

    pub fn page(&self) -> String {
        let answer = reqwest::blocking::get(&self.url).unwrap();
        assert_eq!(answer.status(), 200);
        answer.text().unwrap()
    }

    /// The value of a series; none: it is not on the page.
    pub fn value(&self, series: &str) -> Option<f64> {
        value(&self.page(), series)
    }

    /// Waits until a series has a value, 20 s at most, and says how long that took.
    pub fn wait(&self, series: &str, expected: f64) -> Duration {
        let start = Instant::now();
        loop {
            let found = self.value(series);
            if found == Some(expected) {
                return start.elapsed();
            }
            let late = start.elapsed() > Duration::from_secs(20);
            assert!(
                !late,
                "{series} is {found:?}, not {expected}\n{}",
                self.page()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(status.unwrap().success());
    }

    pub fn stop(mut self) {
        self.signal("TERM");
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn value(page: &str, series: &str) -> Option<f64> {
    let line = page.lines().find(|line| {
        let rest = line.strip_prefix(series);
        rest.is_some_and(|rest| rest.starts_with(' '))
    })?;
    line.rsplit(' ').next().unwrap().parse().ok()
}
