//! `tachograph hooks` on settings of every kind, and `tachograph hook`, which never holds an
//! agent up.
#![cfg(all(unix, feature = "service"))]
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::hooks::{Service, Session};
use tempfile::TempDir;

const S: Session = Session("6f1c3d52-0d7e-4a7e-9f0e-bbbbbbbbbbbb");

/// A home of somebody, and what the command says there.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn with(settings: &str) -> Self {
        let home = Self::new();
        std::fs::create_dir(home.0.path().join(".claude")).unwrap();
        std::fs::write(home.settings(), settings).unwrap();
        home
    }

    fn settings(&self) -> PathBuf {
        self.0.path().join(".claude/settings.json")
    }

    fn backup(&self) -> PathBuf {
        self.0
            .path()
            .join(".claude/settings.json.before-tachograph")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.settings()).unwrap()
    }

    fn hooks(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tachograph"))
            .arg("hooks")
            .args(arguments)
            .env_clear()
            .env("HOME", self.0.path())
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs a command that succeeds: what it says.
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.hooks(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }
}

const INSTALL: &[&str] = &["install", "--claude-code"];
const UNINSTALL: &[&str] = &["uninstall", "--claude-code"];
const STATUS: &[&str] = &["status", "--claude-code"];

/// Settings with hooks of others, in an order of their own.
const SETTINGS: &str = r#"{
    "zeta": {"nested": [1, 2.50, 1e3]},
    "model": "opus",
    "hooks": {
        "Stop": [
            {"hooks": [{"type": "command", "command": "say done"}]}
        ],
        "PreToolUse": [
            {
                "matcher": "Bash",
                "hooks": [
                    {"type": "command", "command": "check.sh", "timeout": 10}
                ]
            }
        ]
    },
    "alpha": "\u00e9"
}
"#;

#[test]
fn installed_twice_is_installed_once_and_uninstalled_is_as_before() {
    for settings in [
        SETTINGS,
        "{}",
        "{}\n",
        "{\"hooks\": {}}",
        "{\"a\":1,\n \"hooks\":{\"Stop\":[]}}",
    ] {
        let home = Home::with(settings);
        home.done(INSTALL);
        let once = home.text();
        assert!(home.done(INSTALL).contains("already"), "{settings}");
        assert_eq!(home.text(), once);
        assert_eq!(std::fs::read_to_string(home.backup()).unwrap(), settings);
        let read: Value = serde_json::from_str(&once).unwrap();
        assert_eq!(read["hooks"].as_object().unwrap().len(), 12, "{once}");
        assert!(home.done(STATUS).contains("12 of 12"), "{settings}");
        home.done(UNINSTALL);
        assert_eq!(home.text(), settings);
        assert!(!home.backup().exists());
        assert!(home.done(UNINSTALL).contains("no hooks"));
        assert_eq!(home.text(), settings);
    }
}

#[test]
fn what_others_wrote_keeps_its_order_and_its_text() {
    let home = Home::with(SETTINGS);
    home.done(INSTALL);
    let text = home.text();
    let order = [
        "zeta", "1e3", "opus", "say done", "check.sh", "alpha", "\\u00e9",
    ];
    let places: Vec<usize> = order.iter().map(|part| text.find(part).unwrap()).collect();
    assert!(places.is_sorted(), "{text}");
    let read: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(read["hooks"]["PreToolUse"].as_array().unwrap().len(), 2);
    assert_eq!(read["hooks"]["PreToolUse"][1]["matcher"], "*");
    assert_eq!(read["hooks"]["Stop"][1].get("matcher"), None);
}

#[test]
fn uninstalling_keeps_what_has_changed_since() {
    let home = Home::with(SETTINGS);
    home.done(INSTALL);
    let changed = home.text().replace("\"opus\"", "\"haiku\"");
    // Somebody put a hook of their own beside one of ours.
    let last = "\"type\": \"command\"\n";
    let with = "\"type\": \"command\"\n}, {\"command\": \"mine\"\n";
    let changed = changed.replacen(last, with, 1);
    std::fs::write(home.settings(), &changed).unwrap();
    home.done(UNINSTALL);
    let text = home.text();
    assert!(!text.contains("tachograph"), "{text}");
    assert!(text.contains("haiku") && text.contains("mine"), "{text}");
    assert!(
        text.contains("say done") && text.contains("check.sh"),
        "{text}"
    );
}

#[test]
fn where_there_were_no_settings_there_are_none_afterwards() {
    let home = Home::new();
    assert!(home.done(STATUS).contains("not installed"));
    home.done(INSTALL);
    assert!(home.settings().exists() && !home.backup().exists());
    home.done(UNINSTALL);
    assert!(!home.settings().exists());
    assert!(!home.0.path().join(".claude").exists());
}

#[test]
fn a_project_has_settings_of_its_own() {
    let home = Home::new();
    let project = home.0.path().join("it's a project");
    std::fs::create_dir(&project).unwrap();
    let token = project.join("token");
    std::fs::write(&token, "0123456789abcdef\n").unwrap();
    let (project, token) = (project.to_str().unwrap(), token.to_str().unwrap());
    home.done(
        &[
            INSTALL,
            &[
                "--project",
                project,
                "--url",
                "http://127.0.0.1:9",
                "--token-file",
                token,
            ],
        ]
        .concat(),
    );
    assert!(!home.settings().exists());
    let text = std::fs::read_to_string(Path::new(project).join(".claude/settings.json")).unwrap();
    assert!(
        text.contains("http://127.0.0.1:9") && text.contains("--token-file"),
        "{text}"
    );
    // Installed anew with another address, the former is gone.
    home.done(&[INSTALL, &["--project", project]].concat());
    let text = std::fs::read_to_string(Path::new(project).join(".claude/settings.json")).unwrap();
    assert!(!text.contains("127.0.0.1:9 "), "{text}");
}

#[test]
fn settings_that_are_not_understood_are_refused_and_stay() {
    for (settings, named) in [
        ("{\n  \"a\": 1,\n}", "line 3 column 1"),
        ("", "line 1 column 0"),
        ("[]", "line 1 column"),
        ("{\"hooks\": []}", "hooks"),
        ("{\"hooks\": {\"Stop\": {}}}", "hooks.Stop"),
        ("{\"a\": 1, \"a\": 2}", "`a` is given twice"),
        ("// comment\n{}", "line 1 column 1"),
    ] {
        let home = Home::with(settings);
        let output = home.hooks(INSTALL);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{settings}");
        assert!(error.contains(named), "{settings}: {error}");
        assert_eq!(home.text(), settings);
        assert_eq!(
            std::fs::read_dir(home.0.path().join(".claude"))
                .unwrap()
                .count(),
            1
        );
    }
    let home = Home::new();
    for arguments in [
        &["install"][..],
        &["install", "--claude-code", "--url", "ftp://x"],
        &["install", "--claude-code", "--project", "missing"],
        &["install", "--claude-code", "--token-file", "missing"],
    ] {
        assert_eq!(
            home.hooks(arguments).status.code(),
            Some(2),
            "{arguments:?}"
        );
    }
    assert!(!home.settings().exists());
}

#[test]
fn a_link_to_settings_stays_one_and_permissions_stay() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::with("{}");
    let real = home.0.path().join("dotfiles.json");
    std::fs::rename(home.settings(), &real).unwrap();
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink(&real, home.settings()).unwrap();
    home.done(INSTALL);
    assert!(
        std::fs::symlink_metadata(home.settings())
            .unwrap()
            .is_symlink()
    );
    let mode = std::fs::metadata(&real).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// Runs a command of the shell with an event on its input, as the client does.
fn run(command: &str, event: &[u8]) -> (Output, Duration) {
    let start = Instant::now();
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The command may have given up before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(event);
    let output = child.wait_with_output().unwrap();
    (output, start.elapsed())
}

fn hook(arguments: &str) -> String {
    format!(
        "{} hook claude-code {arguments}",
        env!("CARGO_BIN_EXE_tachograph")
    )
}

/// How long a hook may take where the machine is busy: its own deadline, and to start and end.
const AT_MOST: Duration = Duration::from_secs(3);

#[test]
fn a_hook_never_fails_says_nothing_and_gives_up() {
    // Takes connections and never answers.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = hanging.local_addr().unwrap();
    let event = S.prompt("hello").to_string();
    for (arguments, event) in [
        ("--url http://127.0.0.1:1".to_owned(), event.as_bytes()),
        (format!("--url http://{address}"), event.as_bytes()),
        ("--url http://nowhere.invalid".to_owned(), event.as_bytes()),
        ("--url nonsense".to_owned(), event.as_bytes()),
        ("--unknown".to_owned(), event.as_bytes()),
        ("--token-file /nowhere".to_owned(), event.as_bytes()),
        ("--url http://127.0.0.1:1".to_owned(), b"".as_slice()),
        ("--url http://127.0.0.1:1".to_owned(), &vec![b'x'; 20 << 20]),
    ] {
        let (output, took) = run(&hook(&arguments), event);
        assert_eq!(output.status.code(), Some(0), "{arguments}");
        assert!(
            output.stdout.is_empty() && output.stderr.is_empty(),
            "{arguments}"
        );
        assert!(took < AT_MOST, "{arguments}: {took:?}");
    }
    // Nobody closes its input.
    let start = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tachograph"))
        .args(["hook", "claude-code"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let input = child.stdin.take();
    assert!(child.wait().unwrap().success());
    assert!(start.elapsed() < AT_MOST);
    drop(input);
}

#[test]
fn what_is_installed_reports_to_the_service() {
    let dir = TempDir::new().unwrap();
    let variables = [("TACHOGRAPH_AUTH__TOKENS", "0123456789abcdef")];
    let service = Service::with(&dir.path().join("ledger.db"), &variables);
    let home = Home::new();
    std::fs::write(home.0.path().join("token"), "0123456789abcdef\n").unwrap();
    let more = ["--url", &service.url, "--token-file", "token"];
    home.done(&[INSTALL, &more].concat());
    let read: Value = serde_json::from_str(&home.text()).unwrap();
    let (call, input) = ("toolu_1", serde_json::json!({"command": "ls"}));
    for event in [
        S.start("startup"),
        S.prompt("go"),
        S.pre(None, "Bash", call, input.clone()),
        S.post(None, "Bash", call, input),
        S.stop(),
        S.end(),
    ] {
        let name = event["hook_event_name"].as_str().unwrap();
        let command = read["hooks"][name][0]["hooks"][0]["command"]
            .as_str()
            .unwrap();
        let (output, took) = run(command, event.to_string().as_bytes());
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stdout.is_empty() && output.stderr.is_empty());
        assert!(took < AT_MOST, "{took:?}");
    }
    let signals: Vec<String> = service
        .records()
        .into_iter()
        .map(|row| row.signal)
        .collect();
    assert_eq!(signals, ["tool.call", "agent.run", "session.run"]);
    // The program is gone: the agent does not notice.
    let gone = read["hooks"]["Stop"][0]["hooks"][0]["command"]
        .as_str()
        .unwrap();
    let gone = gone.replace(env!("CARGO_BIN_EXE_tachograph"), "/nowhere/tachograph");
    let (output, _) = run(&gone, b"{}");
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.is_empty() && output.stderr.is_empty());
}
