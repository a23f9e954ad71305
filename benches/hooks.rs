//! Hooks: payloads a second through the intake, durable in SQLite, and how long `tachograph hook
//! claude-code` holds an agent up with the service up, away and hanging.
//!
//! `cargo bench --bench hooks -- [sessions] [at once] [runs of the command]`

use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use actix_web::{App, HttpServer};
use futures_util::future::join_all;
use jiff::Timestamp;
use opentelemetry_sdk::Resource;
use serde_json::{Value, json};
use tachograph::ingest::hooks::{HookContent, HooksApi, HooksConfig, configure};
use tachograph::ingest::records::{RecordsApi, RecordsConfig};
use tachograph::ledger::{Ledger, LedgerConfig};
use tachograph::pipeline::metrics::install;
use tachograph::signals::CATALOG;
use tempfile::TempDir;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const BODY: usize = 8 * 1024 * 1024;
/// Calls of tools in a session.
const CALLS: usize = 20;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with("--"))
        .collect();
    let number = |index: usize, default: usize| {
        args.get(index)
            .map_or(default, |arg| arg.parse().unwrap_or(default))
    };
    let (sessions, at_once, runs) = (number(0, 500), number(1, 16), number(2, 100));
    install(Resource::builder().build(), CATALOG, true)?;
    actix_web::rt::System::new().block_on(async {
        for content in [HookContent::Off, HookContent::Redacted, HookContent::Full] {
            intake(content, sessions, at_once).await?;
        }
        command(runs).await
    })
}

async fn api(dir: &TempDir, content: HookContent) -> Result<HooksApi> {
    let path = dir.path().join("ledger.db").display().to_string();
    let ledger = Ledger::open(LedgerConfig::new(path)).await?;
    let records = RecordsApi::new(ledger.clone(), RecordsConfig::default());
    Ok(HooksApi::new(
        records,
        ledger,
        BODY,
        HooksConfig { content },
    ))
}

/// What a session sends: a prompt, calls whose inputs and results have some text, an end.
fn session(number: usize) -> Vec<Vec<u8>> {
    let event = |name: &str, more: Value| {
        let mut event = json!({
            "session_id": format!("bench-{number}"),
            "transcript_path": "/home/someone/.claude/projects/p/t.jsonl",
            "cwd": "/home/someone/project",
            "hook_event_name": name,
        });
        if let (Some(event), Some(more)) = (event.as_object_mut(), more.as_object()) {
            event.extend(more.clone());
        }
        event.to_string().into_bytes()
    };
    let line = "cargo test --workspace # see /home/someone/project/README.md\n";
    let mut all = vec![
        event("SessionStart", json!({"source": "startup"})),
        event("UserPromptSubmit", json!({"prompt": line.repeat(4)})),
    ];
    for call in 0..CALLS {
        let id = format!("toolu_{number}_{call}");
        let input = json!({"command": line, "description": "Run it"});
        let more = json!({"tool_name": "Bash", "tool_use_id": id, "tool_input": input});
        all.push(event("PreToolUse", more.clone()));
        let mut after = more;
        after["tool_response"] = json!({"stdout": line.repeat(30), "stderr": ""});
        after["duration_ms"] = 12.into();
        all.push(event("PostToolUse", after));
    }
    all.push(event("Stop", json!({"stop_hook_active": false})));
    all.push(event("SessionEnd", json!({"reason": "other"})));
    all
}

async fn intake(content: HookContent, sessions: usize, at_once: usize) -> Result<()> {
    let dir = TempDir::new()?;
    let api = api(&dir, content).await?;
    let all: Vec<Vec<Vec<u8>>> = (0..sessions).map(session).collect();
    let payloads: usize = all.iter().map(Vec::len).sum();
    let start = Instant::now();
    let each = all.chunks(all.len().div_ceil(at_once.max(1)).max(1));
    let taken = join_all(each.map(|some| async {
        for body in some.iter().flatten() {
            api.take(body, Timestamp::now()).await?;
        }
        Ok::<_, tachograph::ingest::hooks::Refused>(())
    }));
    taken
        .await
        .into_iter()
        .collect::<std::result::Result<Vec<_>, _>>()?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "intake, contents {}: {payloads} payloads in {seconds:.2} s: {:.0} payloads/s ({at_once} sessions at once)",
        content.as_str(),
        payloads as f64 / seconds
    );
    Ok(())
}

async fn command(runs: usize) -> Result<()> {
    let dir = TempDir::new()?;
    let api = api(&dir, HookContent::Off).await?;
    let server = HttpServer::new(move || {
        let api = api.clone();
        App::new().configure(move |service| configure(service, api))
    })
    .workers(1)
    .bind(("127.0.0.1", 0))?;
    let up = server.addrs()[0];
    actix_web::rt::spawn(server.run());
    // Takes connections and never answers.
    let hanging = TcpListener::bind("127.0.0.1:0")?;
    let away = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    for (what, address) in [
        ("up", up),
        ("away", away),
        ("hanging", hanging.local_addr()?),
    ] {
        let url = format!("http://{address}");
        let timing = move || -> std::io::Result<Vec<Duration>> {
            let bodies = (0..runs).map(|number| session(number).swap_remove(1));
            bodies.map(|body| hook(&url, &body)).collect()
        };
        let mut took = actix_web::rt::task::spawn_blocking(timing).await??;
        took.sort();
        let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
        println!(
            "tachograph hook, service {what}: median {:.1?}, 95th percentile {:.1?}, longest {:.1?}",
            at(0.5),
            at(0.95),
            at(1.0)
        );
    }
    Ok(())
}

/// Runs the command once, as a client does: how long it took.
fn hook(url: &str, body: &[u8]) -> std::io::Result<Duration> {
    let start = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tachograph"))
        .args(["hook", "claude-code", "--url", url])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // The command may have given up before.
        let _ = input.write_all(body);
    }
    child.wait()?;
    Ok(start.elapsed())
}
