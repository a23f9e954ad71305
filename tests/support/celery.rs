//! A real Celery, installed from its package below `target/tmp`: workers, and somebody who sends
//! them tasks.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::oracle::missing;

/// Versions whose messages the tests were made for.
const PACKAGES: &[&str] = &["celery[redis]==5.7.0", "kombu==5.7.0"];

fn install() -> Result<PathBuf, String> {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("celery");
    let python = venv.join("bin/python");
    let run = |command: &mut Command| -> Result<(), String> {
        let output = command.output().map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    };
    let works = |python: &Path| {
        let check = "import celery, redis; assert celery.__version__ == '5.7.0'";
        run(Command::new(python).args(["-c", check]))
    };
    if works(&python).is_err() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        let mut install = Command::new(&python);
        run(install.args(["-m", "pip", "install", "-q"]).args(PACKAGES))?;
        works(&python)?;
    }
    Ok(python)
}

/// Python with Celery; `None`: it cannot be had.
fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let python = PYTHON.get_or_init(|| {
        install()
            .map_err(|error| {
                missing("Celery", "python3 with venv, and a package index");
                eprintln!("{error}");
            })
            .ok()
    });
    python.as_deref()
}

fn command(python: &Path, broker: &str, transport: &Value) -> Command {
    let mut command = Command::new(python);
    let support = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support");
    command
        .current_dir(support)
        .env("BROKER", broker)
        .env("TRANSPORT", transport.to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Somebody who sends tasks; gone when this is dropped.
pub struct Client {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    python: &'static Path,
    broker: String,
    transport: Value,
}

impl Client {
    /// Of the broker at a URL, with these `broker_transport_options`; `None`: Celery cannot be
    /// had.
    pub fn start(broker: &str, transport: Value) -> Option<Self> {
        let python = python()?;
        let mut child = command(python, broker, &transport)
            .arg("celery_app.py")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Some(Self {
            child,
            to,
            from: BufReader::new(from),
            python,
            broker: broker.to_owned(),
            transport,
        })
    }

    fn ask(&mut self, command: &Value) -> Value {
        writeln!(self.to, "{command}").unwrap();
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{command}: {error}: {line}"))
    }

    /// Sends a task, with options of `apply_async`; its id.
    pub fn send(&mut self, task: &str, args: Value, options: Value) -> String {
        let command = json!({"do": "send", "task": task, "args": args, "options": options});
        self.ask(&command).as_str().unwrap().to_owned()
    }

    /// What Celery says has become of tasks.
    pub fn states(&mut self, ids: &[String]) -> Vec<String> {
        let states = self.ask(&json!({"do": "states", "ids": ids}));
        serde_json::from_value(states).unwrap()
    }

    pub fn revoke(&mut self, id: &str) {
        self.ask(&json!({"do": "revoke", "id": id}));
    }

    /// A remote control command to all workers, whose answers are not waited for.
    pub fn control(&mut self, name: &str) {
        self.ask(&json!({"do": "control", "command": name}));
    }

    /// `celery inspect stats`, by worker.
    pub fn stats(&mut self) -> Value {
        self.ask(&json!({"do": "stats"}))
    }

    /// Starts a worker, with further flags.
    pub fn worker(&self, name: &str, flags: &[&str]) -> Worker {
        let child = command(self.python, &self.broker, &self.transport)
            .args(["-m", "celery", "-A", "celery_app", "worker"])
            // One process, so that nothing of it outlives it.
            .args([
                "--pool",
                "threads",
                "--concurrency",
                "2",
                "--hostname",
                name,
            ])
            .args([
                "--loglevel",
                "ERROR",
                "--without-mingle",
                "--without-gossip",
            ])
            .args(flags)
            .env("C_FORCE_ROOT", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Worker(child)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A worker; it is killed when this is dropped.
pub struct Worker(Child);

impl Worker {
    /// SIGKILL: it says nothing any more.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// SIGTERM: it ends what it does, and says so.
    pub fn stop(&mut self) {
        let id = self.0.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}
