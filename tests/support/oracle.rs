//! Prometheus' own parsers as judges of pages.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use serde::Deserialize;

/// A family as the parser understood it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Family {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub help: String,
    pub unit: String,
    pub samples: Vec<Sample>,
}

/// Name, labels, value, and exemplar: labels, value, time.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Sample(
    pub String,
    pub BTreeMap<String, String>,
    pub String,
    pub Option<(BTreeMap<String, String>, String, String)>,
);

impl Sample {
    pub fn value(&self) -> f64 {
        match self.2.as_str() {
            "inf" => f64::INFINITY,
            "-inf" => f64::NEG_INFINITY,
            "nan" => f64::NAN,
            text => text.parse().unwrap(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Families(Vec<Family>),
    Error(String),
}

/// Format of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Text,
    OpenMetrics,
}

struct Parser {
    _child: Child,
    to: ChildStdin,
    from: ChildStdout,
}

/// Says that a tool is missing: fails where everything must run, otherwise skips.
pub fn missing(what: &str, how: &str) {
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{what} is missing; install it: {how}"
    );
    eprintln!("SKIPPED: {what} is missing; install it: {how}");
}

fn python() -> Result<PathBuf, String> {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("prometheus-client");
    let python = venv.join("bin/python");
    let run = |command: &mut Command| -> Result<(), String> {
        let output = command.output().map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    };
    let works = |python: &Path| {
        run(Command::new(python).args(["-c", "import prometheus_client.openmetrics.parser"]))
    };
    if works(&python).is_err() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        run(Command::new(&python).args(["-m", "pip", "install", "-q", "prometheus-client"]))?;
        works(&python)?;
    }
    Ok(python)
}

fn parser() -> Option<&'static Mutex<Parser>> {
    static PARSER: OnceLock<Option<Mutex<Parser>>> = OnceLock::new();
    PARSER
        .get_or_init(|| {
            let python = python()
                .map_err(|error| {
                    missing(
                        "Python with prometheus-client",
                        "python3 with venv, and a package index",
                    );
                    eprintln!("{error}");
                })
                .ok()?;
            let mut child = Command::new(python)
                .args(["-c", include_str!("parse_pages.py")])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            Some(Mutex::new(Parser {
                _child: child,
                to,
                from,
            }))
        })
        .as_ref()
}

/// What Prometheus' Python parser makes of a page; none: it cannot be had.
pub fn parse(kind: Kind, page: &str) -> Option<Result<Vec<Family>, String>> {
    let mut parser = match parser()?.lock() {
        Ok(parser) => parser,
        Err(poisoned) => poisoned.into_inner(),
    };
    let letter = if kind == Kind::Text { b"t" } else { b"o" };
    parser.to.write_all(letter).unwrap();
    parser
        .to
        .write_all(&(page.len() as u64).to_be_bytes())
        .unwrap();
    parser.to.write_all(page.as_bytes()).unwrap();
    parser.to.flush().unwrap();
    let mut len = [0; 8];
    parser.from.read_exact(&mut len).unwrap();
    let mut body = vec![0; u64::from_be_bytes(len) as usize];
    parser.from.read_exact(&mut body).unwrap();
    match serde_json::from_slice(&body).unwrap() {
        Answer::Families(families) => Some(Ok(families)),
        Answer::Error(error) => Some(Err(error)),
    }
}

/// What `promtool check metrics` says: whether the page can be read, and its remarks. None: it
/// cannot be had.
pub fn promtool(page: &str) -> Option<(bool, String)> {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        missing("promtool", "apt-get install prometheus");
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    let page = page.to_owned();
    let writer = std::thread::spawn(move || {
        // It may stop reading at the first fault.
        let _ = stdin.write_all(page.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let remarks = String::from_utf8_lossy(&output.stderr).into_owned();
    // 3: it was read, and its names could be better.
    let read = matches!(output.status.code(), Some(0 | 3));
    Some((read, remarks))
}
