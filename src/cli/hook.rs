//! `tachograph hook claude-code`: what a hook of an agent runs. It passes the event on, gives up
//! quickly, says nothing and never fails, as the agent waits for it and heeds its status and
//! its output.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::time::Duration;

use clap::Parser as _;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};

use super::client::http;

/// How long it takes at most, from the first instruction to the last.
const DEADLINE: Duration = Duration::from_millis(300);
/// How long connecting takes at most.
const CONNECT: Duration = Duration::from_millis(100);
/// Longest event that is passed on, in bytes; longer ones are not.
const LONGEST: u64 = 8 * 1024 * 1024;

/// Passes an event of an agent's hook on to the service.
#[derive(clap::Parser)]
#[command(name = "tachograph hook claude-code")]
struct Arguments {
    /// Address of the service.
    #[arg(long, env = "TACHOGRAPH_URL", default_value = super::hooks::URL)]
    url: String,
    /// Bearer token, where the service wants one.
    #[arg(long, env = "TACHOGRAPH_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// File with the bearer token.
    #[arg(long)]
    token_file: Option<PathBuf>,
}

/// Runs the command if the process was started with it.
pub(super) fn requested() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != "hook" {
        return None;
    }
    // One thread does it and the other one looks at the clock, so that nothing that blocks,
    // such as the look-up of a name or standard input, can hold the agent up.
    let (done, finished) = channel();
    let arguments: Vec<_> = arguments.collect();
    let thread = std::thread::Builder::new().spawn(move || {
        pass_on(arguments);
        // The receiver is gone only when the time is up.
        let _ = done.send(());
    });
    if thread.is_ok() {
        // Done, or not: it is all the same to the agent.
        let _ = finished.recv_timeout(DEADLINE);
    }
    std::process::exit(0)
}

/// Reads the event and sends it once. Whatever is wrong, there is nobody to tell.
fn pass_on(arguments: Vec<std::ffi::OsString>) -> Option<()> {
    let arguments = Arguments::try_parse_from(arguments).ok()?;
    let mut event = Vec::new();
    let mut input = std::io::stdin().lock();
    let read = input.by_ref().take(LONGEST + 1).read_to_end(&mut event);
    if read.ok()? as u64 > LONGEST {
        // To the end, so that the agent can write it all.
        std::io::copy(&mut input, &mut std::io::sink()).ok()?;
        return None;
    }
    let token = match &arguments.token_file {
        Some(file) => Some(std::fs::read_to_string(file).ok()?),
        None => arguments.token,
    };
    let url = format!(
        "{}{}",
        arguments.url.trim_end_matches('/'),
        super::hooks::PATH
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    runtime.block_on(async {
        let client = http(CONNECT, DEADLINE).ok()?;
        let mut request = client.post(url).header(CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            let value = format!("Bearer {}", token.trim());
            request = request.header(AUTHORIZATION, HeaderValue::from_str(&value).ok()?);
        }
        request.body(event).send().await.ok()?;
        Some(())
    })
}
