//! The examples, each run once: those of the domains, and those in other languages against the
//! real service.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use futures_util::{SinkExt as _, StreamExt as _};
use support::prometheus::Process;
use tokio_tungstenite::tungstenite::Message;

fn plain(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars() {
        if name.starts_with("OTEL_") || name.starts_with("TACHOGRAPH_") {
            command.env_remove(name);
        }
    }
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// What a program writes when it ends well.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Asserts that the text has, for each of these, a line that begins and ends so.
#[track_caller]
fn assert_lines(text: &str, expected: &[(&str, &str)]) {
    for (begin, end) in expected {
        let found = |line: &str| line.starts_with(begin) && line.ends_with(end);
        assert!(text.lines().any(found), "{begin} … {end} in:\n{text}");
    }
}

#[test]
fn every_domain() {
    let example = support::backend::example("domains");
    let run = |domain: &str| output(plain(&example).arg(domain));
    let page = run("workflow");
    assert_lines(
        &page,
        &[
            (
                r#"workflow_executions_total{status="success",workflow_type="code_review"}"#,
                " 1",
            ),
            (
                r#"workflow_executions_total{status="failed",workflow_type="release"}"#,
                " 1",
            ),
            (
                r#"workflow_executions_total{status="abandoned",workflow_type="release"}"#,
                " 1",
            ),
            (
                r#"workflow_steps_total{status="completed",step_type="lint",workflow_type="code_review"}"#,
                " 1",
            ),
            (
                r#"workflow_steps_total{status="failed",step_type="tests""#,
                " 1",
            ),
            (
                r#"workflow_approvals_total{decision="approved",workflow_type="release"}"#,
                " 1",
            ),
        ],
    );
    assert_lines(
        &run("task"),
        &[
            (
                r#"task_retries_total{reason="timeout",task_type="index"}"#,
                " 1",
            ),
            (
                r#"task_retries_total{reason="rate_limited",task_type="summarize"}"#,
                " 2",
            ),
            (
                r#"task_queue_size{priority="high",queue="documents"}"#,
                " 2",
            ),
            (r#"task_queue_wait_seconds_sum{"#, " 0.75"),
        ],
    );
    assert_lines(
        &run("agent"),
        &[
            (r#"agent_runs_total{gen_ai_agent_name="planner""#, " 1"),
            (
                r#"agent_runs_total{error_type="context_overflow",gen_ai_agent_name="coder""#,
                " 1",
            ),
            (
                r#"agent_run_tool_calls_sum{gen_ai_agent_name="coder"}"#,
                " 41",
            ),
        ],
    );
    assert_lines(
        &run("tool"),
        &[
            (r#"tool_calls_total{error_type="not_found","#, " 1"),
            (
                r#"tool_calls_total{gen_ai_agent_name="coder",gen_ai_tool_name="bash",status="denied"}"#,
                " 1",
            ),
        ],
    );
    assert_lines(
        &run("mcp"),
        &[
            (
                "mcp_client_operation_duration_seconds_count{gen_ai_tool_name=\"read_file\"",
                " 1",
            ),
            (
                "mcp_client_operation_duration_seconds_count{error_type=\"-32002\"",
                " 1",
            ),
            ("mcp_server_operation_duration_seconds_sum{", " 0.012"),
            ("mcp_server_session_duration_seconds_sum{", " 300"),
        ],
    );
    assert_lines(
        &run("session"),
        &[
            (
                r#"session_runs_total{session_client="claude_code",status="success"}"#,
                " 1",
            ),
            (
                r#"session_runs_total{session_client="codex",status="cancelled"}"#,
                " 1",
            ),
        ],
    );
    assert_lines(
        &run("action"),
        &[
            (r#"action_log_entries_total{action_type="tool_call""#, " 1"),
            (
                r#"action_log_entries_total{action_type="decision",error_type="database_locked""#,
                " 1",
            ),
            ("action_duration_seconds_sum{", " 0.25"),
        ],
    );
    assert_lines(
        &run("routing"),
        &[
            (
                r#"routing_decisions_total{gen_ai_agent_name="tester",routing_method="keywords",status="success"}"#,
                " 1",
            ),
            (
                r#"routing_decisions_total{gen_ai_agent_name="generalist",routing_method="model",status="fallback"}"#,
                " 1",
            ),
        ],
    );
    assert_lines(
        &run("llm"),
        &[
            ("gen_ai_client_operation_duration_seconds_count{", " 1"),
            (r#"llm_retries_total{error_type="overloaded""#, " 1"),
            (r#"llm_rate_limit_remaining{"#, " 3999"),
        ],
    );
    assert_lines(
        &run("knowledge"),
        &[
            (
                r#"knowledge_searches_total{collection="handbook",search_type="semantic",status="success"}"#,
                " 1",
            ),
            (r#"knowledge_search_results_sum{"#, " 7"),
            (
                r#"knowledge_documents{collection="handbook",document_type="markdown"}"#,
                " 120",
            ),
            (
                r#"knowledge_cache_results_total{cache_type="embedding",result="hit"}"#,
                " 1",
            ),
        ],
    );
    assert_lines(
        &run("error"),
        &[
            (
                r#"error_reports_total{component="scheduler",error_type="deadlock"}"#,
                " 1",
            ),
            (
                r#"error_reports_total{component="ingest",error_type="parse"}"#,
                " 1",
            ),
        ],
    );
    assert_lines(
        &run("frontend"),
        &[
            (
                r#"frontend_page_load_duration_seconds_sum{navigation_type="navigate""#,
                " 1.25",
            ),
            (r#"frontend_web_vital_duration_seconds_sum{"#, " 1.9"),
            (
                r#"frontend_errors_total{error_type="TypeError",frontend_error_kind="exception""#,
                " 1",
            ),
        ],
    );
}

/// `tachograph serve`, and where it listens.
fn service(directory: &Path) -> (Process, String) {
    let mut child = plain(env!("CARGO_BIN_EXE_tachograph"))
        .args(["serve", "--listen", "127.0.0.1:0"])
        .current_dir(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = lines
        .by_ref()
        .map_while(Result::ok)
        .find(|line| line.contains("listening"))
        .unwrap();
    std::thread::spawn(move || lines.count());
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = line["fields"]["listen"].as_str().unwrap();
    (Process(child), format!("http://{address}"))
}

/// Whether a program is here; its absence fails the test where it must not be absent.
fn installed(program: &str, version: &str, package: &str) -> bool {
    let found = Command::new(program)
        .arg(version)
        .output()
        .is_ok_and(|output| output.status.success());
    if !found {
        let ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!ci, "{program} is missing: install the package `{package}`");
        println!("skipped: {program} is missing; `apt-get install {package}`");
    }
    found
}

/// Runs an agent against a service of its own; the service's answers and its page are right.
fn agent(name: &str, command: &mut Command) {
    let directory = tempfile::tempdir().unwrap();
    let (_service, url) = service(directory.path());
    let answers = output(command.env("TACHOGRAPH_URL", &url));
    let answers: Vec<serde_json::Value> = answers
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let counts = |answer: &serde_json::Value| {
        assert_eq!(answer["rejected"], serde_json::json!([]), "{name}");
        (answer["accepted"].as_u64(), answer["duplicates"].as_u64())
    };
    let counts: Vec<_> = answers.iter().map(counts).collect();
    assert_eq!(counts, [(Some(3), Some(0)), (Some(0), Some(3))], "{name}");
    let page = reqwest::blocking::get(format!("{url}/metrics")).unwrap();
    let page = page.text().unwrap();
    let of = |family: &str| format!(r#"{family}{{gen_ai_agent_name="{name}""#);
    assert_lines(
        &page,
        &[
            (&of("agent_runs_total"), " 1"),
            (&of("agent_active"), " 0"),
            (&of("agent_run_tool_calls_sum"), " 1"),
            (&of("tool_calls_total"), " 1"),
        ],
    );
    let tokens = page
        .lines()
        .filter(|line| line.starts_with("gen_ai_client_token_usage") && line.contains("_sum{"));
    assert!(tokens.count() >= 2, "{name}: tokens in and out\n{page}");
    let cost = |line: &str| line.starts_with("llm_cost") && !line.ends_with(" 0");
    assert!(page.lines().any(cost), "{name}: what it cost\n{page}");
}

/// Runs an example of an adapter, and asserts that it shows these lines.
fn adapter(name: &str, arguments: &[&str], expected: &[(&str, &str)]) {
    let mut example = plain(support::backend::example(name));
    assert_lines(&output(example.args(arguments)), expected);
}

#[test]
fn adapters() {
    adapter(
        "http_client",
        &[],
        &[(
            "http_client_request_duration_seconds_count{",
            "url_template=\"/pages/{id}\"} 3",
        )],
    );
    adapter(
        "llm_client",
        &[],
        &[
            ("An instrument that records", ""),
            ("gen_ai_client_operation_duration_seconds_count{", " 1"),
            (
                "gen_ai_client_operation_time_to_first_chunk_seconds_count{",
                " 1",
            ),
            ("llm_cost_USD_total{", " 0.000186"),
        ],
    );
    adapter(
        "sqlx",
        &[],
        &[(
            "db_client_operations_total{db_collection_name=\"users\",db_operation_name=\"INSERT\"",
            "status=\"failed\"} 1",
        )],
    );
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let target = format!("here=tcp://{}", listener.local_addr().unwrap());
    adapter(
        "health",
        &[&target],
        &[
            ("here: Ok", ""),
            ("health_target_up{health_target=\"here\"}", " 1"),
        ],
    );
    if let Some(server) = support::redis::Server::start(&[]) {
        adapter(
            "redis",
            &[&server.url()],
            &[
                ("visit 1", ""),
                (
                    "cache_requests_total{cache_name=\"profiles\",cache_result=\"hit\"",
                    " 1",
                ),
                ("redis_client_operations_total{", "status=\"success\"} 1"),
            ],
        );
        adapter(
            "celery",
            &[&server.url(), "3"],
            &[("celery_events_connected", " 1")],
        );
    }
    // Redis and Kafka away.
    adapter("redis", &["redis://127.0.0.1:1"], &[("not counted: ", "")]);
    #[cfg(feature = "kafka")]
    adapter(
        "kafka",
        &["127.0.0.1:1"],
        &[
            ("order 9: it was not published", "(message_timed_out)"),
            ("billed 0", ""),
        ],
    );
}

#[test]
fn a_chat_room() {
    let mut example = plain(support::backend::example("websocket"));
    let mut child = example
        .arg("127.0.0.1:0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let _process = Process(child);
    said.read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("listening on ").unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let heard = runtime.block_on(async {
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        socket.send(Message::text("hello")).await.unwrap();
        socket.next().await.unwrap().unwrap()
    });
    assert_eq!(heard, Message::text("hello"));
    let _ = rustls::crypto::ring::default_provider().install_default();
    let page = url.replace("ws://", "http://").replace("/chat", "/metrics");
    let page = reqwest::blocking::get(page).unwrap().text().unwrap();
    let sent =
        "websocket_messages_sent_total{status=\"success\",websocket_event_type=\"chat_message\"";
    assert_lines(&page, &[(sent, " 1")]);
}

#[test]
fn agents_in_other_languages() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    if installed("python3", "--version", "python3") {
        agent(
            "py-reviewer",
            plain("python3").arg("examples/python/agent.py"),
        );
    }
    if installed("node", "--version", "nodejs") {
        agent("js-reviewer", plain("node").arg("examples/node/agent.mjs"));
    }
    if installed("curl", "--version", "curl") {
        agent("sh-reviewer", plain("sh").arg("examples/shell/agent.sh"));
    }
    if installed("go", "version", "golang-go") {
        let go = &mut plain("go");
        agent(
            "go-reviewer",
            go.args(["run", "examples/go/agent.go"])
                .env("GOFLAGS", "-p=2"),
        );
    }
}
