//! `tachograph hooks`: has an agent's client report to the service.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::hooks_settings::{Place, Settings};
use super::{Failure, print};

/// Where the service is unless it is said.
pub(super) const URL: &str = "http://127.0.0.1:8001";
/// Where the service takes events.
pub(super) const PATH: &str = "/api/v1/hooks/claude-code";
/// What tells our hooks from others: a comment at the end of the command.
pub(super) const MARK: &str = "# tachograph hooks";
/// Seconds after which the client stops waiting for the command, should the machine stand still.
const TIMEOUT: u64 = 5;

/// The events that are reported, and whether they are of a tool.
const EVENTS: [(&str, bool); 12] = [
    ("SessionStart", false),
    ("UserPromptSubmit", false),
    ("PreToolUse", true),
    ("PermissionRequest", true),
    ("PostToolUse", true),
    ("PostToolUseFailure", true),
    ("SubagentStart", false),
    ("SubagentStop", false),
    ("Stop", false),
    ("PreCompact", false),
    ("Notification", false),
    ("SessionEnd", false),
];

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Add the hooks to a client's settings; to do so again changes nothing.
    Install(Install),
    /// Take them out again, and restore the settings where nothing else has changed.
    Uninstall(Which),
    /// Show where the hooks are installed.
    Status(Which),
}

#[derive(clap::Args)]
struct Which {
    /// Claude Code.
    #[arg(long, required = true)]
    claude_code: bool,
    /// Settings of a project: `.claude/settings.json` in this directory.
    #[arg(long, value_name = "DIR", conflicts_with = "user")]
    project: Option<PathBuf>,
    /// Settings of the user, `~/.claude/settings.json`, which is the default.
    #[arg(long)]
    user: bool,
}

#[derive(clap::Args)]
struct Install {
    #[command(flatten)]
    which: Which,
    /// Address of the service.
    #[arg(long, default_value = URL)]
    url: String,
    /// File with the bearer token, where the service wants one. The hooks read it each time.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Which {
    fn place(&self) -> Result<Place, Failure> {
        let folder = match &self.project {
            Some(project) => std::path::absolute(project)
                .ok()
                .filter(|project| project.is_dir())
                .ok_or_else(|| {
                    let shown = project.display();
                    Failure::Usage(format!("--project: `{shown}` is not a directory"))
                })?,
            None => std::env::home_dir()
                .filter(|home| home.is_dir())
                .ok_or_else(|| Failure::Usage("HOME is not set to a directory".to_owned()))?,
        };
        Ok(Place::new(&folder.join(".claude").join("settings.json")))
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Install(install) => self::install(install),
        Command::Uninstall(which) => uninstall(&which.place()?),
        Command::Status(which) => status(&which.place()?),
    }
}

fn install(install: &Install) -> Result<(), Failure> {
    let place = install.which.place()?;
    let command = command(install)?;
    let before = place.read()?;
    let mut settings = Settings::parse(&place.path, before.as_deref().unwrap_or("{}"))?;
    let was_installed = settings.remove()? > 0;
    for (event, of_tool) in EVENTS {
        let hook = json!({"type": "command", "command": command, "timeout": TIMEOUT});
        let group = match of_tool {
            true => json!({"matcher": "*", "hooks": [hook]}),
            false => json!({"hooks": [hook]}),
        };
        settings.add(event, &group)?;
    }
    let after = settings.text();
    let shown = place.path.display();
    if before.as_deref() == Some(&*after) {
        return print(&format!("{shown}: the hooks are installed already\n"));
    }
    if let (Some(before), false) = (&before, was_installed) {
        place.back_up(before)?;
    }
    place.write(&after)?;
    print(&format!(
        "{shown}: {} hooks installed, which report to {}; sessions that begin from now on use them\n",
        EVENTS.len(),
        install.url
    ))
}

/// What the hooks run: quiet, and never a status that the client would heed, also when the
/// program is gone.
fn command(install: &Install) -> Result<String, Failure> {
    let accepted = url::Url::parse(&install.url)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !accepted {
        return Err(Failure::Usage(format!(
            "--url: `{}` is not accepted; accepted: such as `{URL}`",
            install.url
        )));
    }
    let program = std::env::current_exe()
        .map_err(|error| Failure::Failed(format!("where this program is: {error}")))?;
    let mut words = vec![
        quoted(program.as_os_str(), "this program's path")?,
        "hook claude-code --url".to_owned(),
        quoted(OsStr::new(&install.url), "--url")?,
    ];
    if let Some(file) = &install.token_file {
        let file = std::path::absolute(file)
            .ok()
            .filter(|file| file.is_file())
            .ok_or_else(|| {
                let shown = file.display();
                Failure::Usage(format!("--token-file: `{shown}` is not a file"))
            })?;
        words.push("--token-file".to_owned());
        words.push(quoted(file.as_os_str(), "--token-file")?);
    }
    Ok(format!(
        "{} >/dev/null 2>&1 || true {MARK}",
        words.join(" ")
    ))
}

/// A word for the shell.
fn quoted(word: &OsStr, what: &str) -> Result<String, Failure> {
    let text = word.to_str().filter(|text| !text.contains(['\n', '\0']));
    let text = text.ok_or_else(|| Failure::Usage(format!("{what}: not text on one line")))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=+,@".contains(c);
    Ok(match text.chars().all(plain) && !text.is_empty() {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    })
}

fn uninstall(place: &Place) -> Result<(), Failure> {
    let shown = place.path.display();
    let absent = || print(&format!("{shown}: no hooks of Tachograph are installed\n"));
    let Some(before) = place.read()? else {
        return absent();
    };
    let mut settings = Settings::parse(&place.path, &before)?;
    if settings.remove()? == 0 {
        return absent();
    }
    settings.prune();
    let restored = place.restore(&settings)?;
    print(&format!("{shown}: {restored}\n"))
}

fn status(place: &Place) -> Result<(), Failure> {
    let shown = place.path.display();
    let Some(text) = place.read()? else {
        return print(&format!("{shown}: not installed, there is no such file\n"));
    };
    let mut settings = Settings::parse(&place.path, &text)?;
    let commands = settings.commands()?;
    let Some((_, command)) = commands.first() else {
        return print(&format!("{shown}: not installed\n"));
    };
    let missing: Vec<&str> = EVENTS
        .iter()
        .map(|(event, _)| *event)
        .filter(|event| !commands.iter().any(|(found, _)| found == event))
        .collect();
    let missing = match missing.is_empty() {
        true => String::new(),
        false => format!("missing: {}; install them again\n", missing.join(", ")),
    };
    let program = command
        .split(" hook claude-code")
        .next()
        .unwrap_or_default();
    let gone = match Path::new(program.trim_matches('\'')).exists() {
        true => String::new(),
        false => format!("{program} does not exist; install the hooks again\n"),
    };
    print(&format!(
        "{shown}: {} of {} events are reported\n{command}\n{missing}{gone}",
        EVENTS.len() - missing.matches(',').count() - usize::from(!missing.is_empty()),
        EVENTS.len()
    ))
}
