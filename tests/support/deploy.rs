//! What the tests of deploy/ share: the programs that read it, and the service started as a
//! deployment says.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use reqwest::blocking::Client;
use serde_json::{Value, json};

use super::oracle::missing;
use super::prometheus::Process;

pub type Environment = BTreeMap<String, String>;

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn deploy() -> PathBuf {
    root().join("deploy")
}

pub fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn yaml(path: impl AsRef<Path>) -> Value {
    serde_norway::from_str(&read(path)).unwrap()
}

/// What a command says, or how it fails.
pub fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr) + &text(&output.stdout)),
    }
}

/// The checks that are written in Go, since what they check with is; none: Go is missing.
fn checks() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        let binary = Path::new(env!("CARGO_TARGET_TMPDIR")).join("deployment");
        let built = run(Command::new("go")
            .current_dir(root().join("tests/support/deployment"))
            .args(["build", "-o"])
            .arg(&binary)
            .arg("."));
        match built {
            Ok(_) => Some(binary),
            Err(error) => {
                missing(
                    "the readers of deployments",
                    "Go 1.26, and its module proxy",
                );
                eprintln!("{error}");
                None
            }
        }
    };
    BUILT.get_or_init(build).as_deref()
}

/// What such a check reads, or why it refuses; none: Go is missing.
pub fn check(arguments: &[&str]) -> Option<Result<Value, String>> {
    let said = run(Command::new(checks()?).args(arguments));
    Some(said.map(|text| serde_json::from_str(&text).unwrap()))
}

/// Secrets as `make-secrets` makes them.
pub fn secrets(folder: &Path) {
    run(Command::new(deploy().join("make-secrets")).arg(folder)).unwrap();
}

/// Whether a process can be given a file system that it can only read.
fn confinable() -> bool {
    let works = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "true"])
        .stderr(Stdio::null())
        .status();
    works.is_ok_and(|status| status.success())
}

/// The service as a deployment starts it, and where it listens: these arguments, this environment
/// and no other, and, where user namespaces can be had, one folder that it can write to.
pub struct Service {
    pub process: Process,
    pub url: String,
}

impl Service {
    pub fn start(arguments: &[String], environment: &Environment, state: &Path) -> Self {
        let mut command = match confinable() {
            true => {
                let mut command = Command::new("unshare");
                let confine = "mount --bind \"$0\" \"$0\"; mount -o remount,bind,ro /; \
                               cd \"$0\"; exec \"$@\"";
                command
                    .args(["--user", "--map-root-user", "--mount", "sh", "-ec", confine])
                    .arg(state)
                    .arg(env!("CARGO_BIN_EXE_tachograph"));
                command
            }
            false => {
                eprintln!("SKIPPED: no user namespaces; the file system stays writable");
                Command::new(env!("CARGO_BIN_EXE_tachograph"))
            }
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut child = command
            .args(arguments)
            .env_clear()
            .env("PATH", path)
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let process = Process(child);
        let mut said = Vec::new();
        let listening = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let parsed: Option<Value> = serde_json::from_str(&line).ok();
            said.push(line);
            parsed?["fields"]["listen"].as_str().map(str::to_owned)
        });
        let listening = listening.unwrap_or_else(|| panic!("{arguments:?}: {said:#?}"));
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let port = listening.rsplit(':').next().unwrap();
        Self {
            process,
            url: format!("http://127.0.0.1:{port}"),
        }
    }
}

pub fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// The service runs as it was started: whoever has the tokens is let in, nobody else, and it ends
/// when it is told to.
pub fn works(mut service: Service, secrets: &Path) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::new();
    let url = service.url.clone();
    let get = |path: &str, token: Option<&str>| {
        let request = client.get(format!("{url}{path}"));
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        request.send().unwrap().status().as_u16()
    };
    assert_eq!(get("/health/live", None), 200);
    assert_eq!(get("/health/ready", None), 200);
    let mut health = Command::new(env!("CARGO_BIN_EXE_tachograph"));
    health.args(["health", "--url", &url]);
    run(&mut health).unwrap();
    let page = "/api/monitoring/metrics";
    let token = |name: &str| read(secrets.join(name));
    assert_eq!(get(page, None), 401);
    assert_eq!(get(page, Some(&token("records_token"))), 401);
    assert_eq!(get(page, Some(&token("monitoring_token"))), 200);
    let record = json!({
        "signal": "workflow.step",
        "fields": { "workflow_type": "a", "step_type": "b", "status": "completed" },
    });
    let sent = client
        .post(format!("{url}/api/v1/records"))
        .bearer_auth(token("records_token"))
        .json(&record)
        .send()
        .unwrap();
    assert_eq!(sent.status(), 200, "{}", sent.text().unwrap());
    assert!(service.process.stop().success());
    let said = run(&mut health).unwrap_err();
    assert!(said.contains("no service answers there"), "{said}");
}

/// Puts a folder of the test in the place of one that the deployment has.
pub fn moved(text: &str, folders: &[(&str, &Path)]) -> String {
    let mut text = text.to_owned();
    for (from, to) in folders {
        text = text.replace(from, to.to_str().unwrap());
    }
    text
}

/// Any free port, on the address that is asked for.
pub fn any_port(environment: &mut Environment) {
    let listen = environment.get_mut("TACHOGRAPH_LISTEN").unwrap();
    assert!(listen.ends_with(":8001"), "{listen}");
    *listen = listen.replace(":8001", ":0");
}
