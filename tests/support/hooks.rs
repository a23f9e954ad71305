//! A real service that takes events of hooks, its page and its ledger.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Row};
use uuid::Uuid;

/// `tachograph serve` on a database; killed when dropped.
pub struct Service {
    process: Child,
    pub url: String,
    client: reqwest::blocking::Client,
    database: String,
    listening: String,
    log: std::sync::mpsc::Receiver<String>,
}

/// What became of an event: its status and `x-tachograph-outcome`, else the message.
pub type Answer = (u16, String);

impl Service {
    pub fn start(database: &Path) -> Self {
        Self::with(database, &[])
    }

    pub fn with(database: &Path, variables: &[(&str, &str)]) -> Self {
        let url = format!("sqlite://{}", database.display());
        Self::on(&url, database.parent().unwrap(), variables)
    }

    /// On the database of this URL, which several may share; starts in `dir`.
    pub fn on(url: &str, dir: &Path, variables: &[(&str, &str)]) -> Self {
        // Fails when another test was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut process = Command::new(env!("CARGO_BIN_EXE_tachograph"))
            .args(["serve", "--listen", "127.0.0.1:0", "--database", url])
            .current_dir(dir)
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (line, log) = std::sync::mpsc::channel();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        // Read to the end, so that the service is never held up by its log.
        std::thread::spawn(move || {
            for text in stderr.lines().map_while(Result::ok) {
                let _ = line.send(text);
            }
        });
        let listening = std::iter::from_fn(|| log.recv().ok())
            .find(|text| text.contains("listening"))
            .expect("the service starts");
        let rest = listening.split("127.0.0.1:").nth(1).unwrap();
        let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Self {
            process,
            url: format!("http://127.0.0.1:{port}"),
            client: reqwest::blocking::Client::new(),
            database: url.to_owned(),
            listening,
            log,
        }
    }

    /// SIGKILL: no handler runs, nothing is flushed.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it logged when it began to listen.
    pub fn listening(&self) -> &str {
        &self.listening
    }

    /// What the service has logged since the last time.
    pub fn log(&self) -> Vec<String> {
        self.log.try_iter().collect()
    }

    pub fn post(&self, body: impl Into<reqwest::blocking::Body>) -> Answer {
        let url = format!("{}/api/v1/hooks/claude-code", self.url);
        let answer = self.client.post(url).body(body).send().unwrap();
        let status = answer.status().as_u16();
        let outcome = answer.headers().get("x-tachograph-outcome");
        let outcome = outcome.map(|value| value.to_str().unwrap().to_owned());
        (status, outcome.unwrap_or_else(|| answer.text().unwrap()))
    }

    /// Sends an event that is taken, and tells what became of it.
    pub fn send(&self, event: &Value) -> String {
        let (status, outcome) = self.post(event.to_string());
        assert_eq!(status, 204, "{event}: {outcome}");
        outcome
    }

    pub fn page(&self) -> Page {
        let page = self.client.get(format!("{}/metrics", self.url));
        let page = page.header("Accept", "text/plain").send().unwrap();
        Page(page.text().unwrap())
    }

    /// The records of a ledger on SQLite, in order of their commit.
    pub fn records(&self) -> Vec<Row_> {
        read(self.database.strip_prefix("sqlite://").unwrap())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A page of metrics.
pub struct Page(pub String);

impl Page {
    /// The sum of the samples of a name that have these labels; none if there is no such sample.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
        let samples = self.0.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, labels) = series.split_once('{').unwrap_or((series, ""));
            (found == name && wanted.iter().all(|label| labels.contains(label)))
                .then(|| value.parse::<f64>().unwrap())
        });
        samples.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }

    /// The same, where none means nothing was counted.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.get(name, labels).unwrap_or(0.0)
    }

    /// What is in flight: sessions, agents, tools, MCP requests, approvals.
    pub fn in_flight(&self) -> [f64; 5] {
        [
            "session_active",
            "agent_active",
            "tool_active",
            "mcp_client_operation_active",
            "workflow_approval_pending",
        ]
        .map(|name| self.sum(name, &[]))
    }
}

/// A record of the ledger.
#[derive(Clone, Debug)]
pub struct Row_ {
    pub id: Uuid,
    pub parent: Option<Uuid>,
    pub signal: String,
    pub duration: Option<f64>,
    pub fields: Value,
    pub context: Value,
    pub session: Option<String>,
}

impl Row_ {
    /// A field or a context field.
    pub fn said(&self, key: &str) -> Option<&str> {
        let field = self.fields.get(key).or_else(|| self.context.get(key));
        field.and_then(Value::as_str)
    }
}

fn read(database: &str) -> Vec<Row_> {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(database);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let sql = "SELECT id, parent, signal, duration, fields, context, session \
                   FROM records ORDER BY seq";
        let rows = sqlx::query(sql).fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let json = |text: String| serde_json::from_str(&text).unwrap();
        rows.into_iter()
            .map(|row| Row_ {
                id: row.get(0),
                parent: row.get(1),
                signal: row.get(2),
                duration: row.get(3),
                fields: json(row.get(4)),
                context: json(row.get(5)),
                session: row.get(6),
            })
            .collect()
    })
}

/// A client's session, which writes events as Claude Code does.
pub struct Session(pub &'static str);

impl Session {
    pub fn event(&self, name: &str, more: Value) -> Value {
        let mut event = json!({
            "session_id": self.0,
            "transcript_path": "/home/someone/.claude/projects/p/t.jsonl",
            "cwd": "/home/someone/project",
            "permission_mode": "default",
            "hook_event_name": name,
        });
        for (key, value) in more.as_object().unwrap() {
            event[key] = value.clone();
        }
        event
    }

    pub fn start(&self, source: &str) -> Value {
        self.event(
            "SessionStart",
            json!({"source": source, "model": "claude-sonnet-4-5"}),
        )
    }

    pub fn prompt(&self, text: &str) -> Value {
        self.event("UserPromptSubmit", json!({"prompt": text}))
    }

    pub fn stop(&self) -> Value {
        let more = json!({"stop_hook_active": false, "last_assistant_message": "Done."});
        self.event("Stop", more)
    }

    pub fn end(&self) -> Value {
        self.event("SessionEnd", json!({"reason": "prompt_input_exit"}))
    }

    /// Before a tool; `agent` is the id and the kind of the sub-agent that calls it.
    pub fn pre(&self, agent: Option<(&str, &str)>, tool: &str, id: &str, input: Value) -> Value {
        let more = json!({"tool_name": tool, "tool_use_id": id, "tool_input": input});
        within(self.event("PreToolUse", more), agent)
    }

    /// After a tool.
    pub fn post(&self, agent: Option<(&str, &str)>, tool: &str, id: &str, input: Value) -> Value {
        let more = json!({
            "tool_name": tool, "tool_use_id": id, "tool_input": input,
            "tool_response": {"stdout": "", "stderr": "", "interrupted": false},
        });
        within(self.event("PostToolUse", more), agent)
    }

    pub fn subagent(&self, event: &str, agent: (&str, &str)) -> Value {
        within(self.event(event, json!({})), Some(agent))
    }
}

fn within(mut event: Value, agent: Option<(&str, &str)>) -> Value {
    if let Some((id, kind)) = agent {
        event["agent_id"] = id.into();
        event["agent_type"] = kind.into();
    }
    event
}

/// A session with two sub-agents at once, whose tools interleave.
pub fn parallel(session: &Session) -> Vec<Value> {
    let task = |kind: &str, what: &str| json!({"subagent_type": kind, "description": what, "prompt": what});
    let (a, b) = (Some(("a1", "Explore")), Some(("b2", "Plan")));
    let after = |mut event: Value, response: Value| {
        event["tool_response"] = response;
        event
    };
    vec![
        session.start("startup"),
        session.prompt("look at it from both sides"),
        session.pre(None, "Task", "toolu_A", task("Explore", "left")),
        session.pre(None, "Task", "toolu_B", task("Plan", "right")),
        session.subagent("SubagentStart", ("b2", "Plan")),
        session.subagent("SubagentStart", ("a1", "Explore")),
        session.pre(a, "Read", "toolu_1", json!({"file_path": "/x"})),
        session.pre(b, "Bash", "toolu_2", json!({"command": "ls"})),
        session.pre(b, "mcp__github__search", "toolu_3", json!({"q": "x"})),
        session.post(a, "Read", "toolu_1", json!({"file_path": "/x"})),
        session.post(b, "mcp__github__search", "toolu_3", json!({"q": "x"})),
        session.subagent("SubagentStop", ("a1", "Explore")),
        after(
            session.post(None, "Task", "toolu_A", task("Explore", "left")),
            json!({"status": "completed", "agentId": "a1"}),
        ),
        session.post(b, "Bash", "toolu_2", json!({"command": "ls"})),
        session.subagent("SubagentStop", ("b2", "Plan")),
        after(
            session.post(None, "Task", "toolu_B", task("Plan", "right")),
            json!({"status": "completed", "agentId": "b2"}),
        ),
        session.stop(),
        session.end(),
    ]
}
