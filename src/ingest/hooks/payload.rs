//! What Claude Code writes to a hook's standard input (its documentation, "Hooks reference",
//! "Hook input").
//!
//! Only what is needed to tell what happened must be there and be right: the session, the name
//! of the event and, where a tool is concerned, the tool. Everything else is taken where it is
//! understood and passed over where not.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::content::HookContent;
use crate::catalog::ClosedLabel as _;
use crate::signals::pipeline::HookEvent;

/// Events by the names that Claude Code gives them.
const KNOWN: [HookEvent; 15] = [
    HookEvent::SessionStart,
    HookEvent::UserPromptSubmit,
    HookEvent::PreToolUse,
    HookEvent::PermissionRequest,
    HookEvent::PermissionDenied,
    HookEvent::PostToolUse,
    HookEvent::PostToolUseFailure,
    HookEvent::SubagentStart,
    HookEvent::SubagentStop,
    HookEvent::Stop,
    HookEvent::StopFailure,
    HookEvent::PreCompact,
    HookEvent::PostCompact,
    HookEvent::Notification,
    HookEvent::SessionEnd,
];
/// Longest id, in bytes.
const MAX_ID: usize = 256;
/// Longest name that becomes a label, in bytes.
const MAX_NAME: usize = 128;

/// Why an event cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Unusable {
    /// Which field, as the event names it; `body` for the event as a whole.
    pub field: &'static str,
    /// What is wrong with it and what is accepted.
    pub reason: String,
}

/// An event that was read.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) session: String,
    pub(super) event: HookEvent,
    /// Sub-agent in which it happened; none: the main agent.
    pub(super) agent_id: Option<String>,
    pub(super) agent_type: Option<String>,
    pub(super) prompt_id: Option<String>,
    /// How a session started.
    pub(super) source: Option<String>,
    /// Why a session ended.
    pub(super) reason: Option<String>,
    /// Kind of error that ended a turn.
    pub(super) error: Option<String>,
    pub(super) tool: Option<Tool>,
    /// Digest of the prompt.
    pub(super) prompt: [u8; 32],
    /// The prompt, as far as it is kept.
    pub(super) input: Option<String>,
}

/// A tool's part of an event.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) use_id: Option<String>,
    /// Digest of the tool and its input.
    pub(super) digest: [u8; 32],
    /// Kind of sub-agent that the call starts.
    pub(super) subagent: Option<String>,
    pub(super) ended: Ended,
    /// How long it ran, where the client says so.
    pub(super) ran: Option<Duration>,
    /// Id of the sub-agent that the call started.
    pub(super) started: Option<String>,
    /// The sub-agent goes on in the background.
    pub(super) background: bool,
    /// Its input, as far as it is kept.
    pub(super) arguments: Option<String>,
    /// Its result or its error, as far as it is kept.
    pub(super) result: Option<String>,
}

/// How a tool ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Success,
    Failed,
    Timeout,
    Cancelled,
}

impl Tool {
    /// The MCP server and its tool, where it is one.
    pub(super) fn mcp(&self) -> Option<(&str, &str)> {
        let (server, tool) = self.name.strip_prefix("mcp__")?.split_once("__")?;
        (!server.is_empty() && !tool.is_empty()).then_some((server, tool))
    }
}

type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// Reads an event, with so much of its contents.
pub(super) fn read(body: &[u8], content: HookContent) -> Result<Payload, Unusable> {
    let refuse = |field, reason: String| Unusable { field, reason };
    let fields: Fields<'_> = serde_json::from_slice(body).map_err(|error| {
        let reason = format!("accepted is a JSON object, the event as the hook got it: {error}");
        refuse("body", reason)
    })?;
    let accepted = "accepted is text of 1 to 256 bytes without control characters";
    let session = match fields.get("session_id").map(|raw| text(raw)) {
        None => return Err(refuse("session_id", format!("missing; {accepted}"))),
        Some(Some(id)) if fit(&id) => id,
        Some(_) => return Err(refuse("session_id", accepted.to_owned())),
    };
    let event = match fields.get("hook_event_name").map(|raw| text(raw)) {
        None => return Err(refuse("hook_event_name", format!("missing; {accepted}"))),
        Some(Some(name)) if fit(&name) => event(&name),
        Some(_) => return Err(refuse("hook_event_name", accepted.to_owned())),
    };
    let id = |key: &str| {
        fields
            .get(key)
            .and_then(|raw| text(raw))
            .filter(|id| fit(id))
    };
    let named = |key: &str| {
        fields
            .get(key)
            .and_then(|raw| text(raw))
            .and_then(|t| name(&t))
    };
    let tool = match event {
        HookEvent::PreToolUse
        | HookEvent::PostToolUse
        | HookEvent::PostToolUseFailure
        | HookEvent::PermissionRequest
        | HookEvent::PermissionDenied => {
            let Some(name) = named("tool_name") else {
                let reason = "missing or not text; accepted is the name of the tool";
                return Err(refuse("tool_name", reason.to_owned()));
            };
            let mut tool = tool(name, id("tool_use_id"), event, &fields);
            tool.arguments = content.value(fields.get("tool_input").copied());
            let result = fields.get("tool_response").or(fields.get("error"));
            tool.result = content.value(result.copied());
            Some(tool)
        }
        _ => None,
    };
    let prompt = fields.get("prompt").copied();
    Ok(Payload {
        session,
        event,
        agent_id: id("agent_id"),
        agent_type: named("agent_type"),
        prompt_id: id("prompt_id"),
        source: named("source"),
        reason: named("reason"),
        error: named("error"),
        tool,
        prompt: digest(&[prompt.map_or("null", RawValue::get).as_bytes()]),
        input: content.prompt(prompt.filter(|_| event == HookEvent::UserPromptSubmit)),
    })
}

/// The event of a name; those that are not known are all alike.
fn event(name: &str) -> HookEvent {
    let known = KNOWN.iter().find(|event| event.as_str() == name);
    known.copied().unwrap_or(HookEvent::Other)
}

fn tool(name: String, use_id: Option<String>, event: HookEvent, fields: &Fields<'_>) -> Tool {
    let input = raw(fields, "tool_input");
    let started: Started<'_> = part(input);
    let answer: Answer<'_> = part(raw(fields, "tool_response"));
    let failed = [answer.is_error, answer.is_error_of_mcp]
        .into_iter()
        .any(yes);
    let text_of = |key| {
        fields
            .get(key)
            .and_then(|raw| text(raw))
            .unwrap_or_default()
    };
    let ended = if yes(answer.interrupted) || yes(fields.get("is_interrupt").copied()) {
        Ended::Cancelled
    } else if event != HookEvent::PostToolUseFailure && !failed {
        Ended::Success
    } else if text_of("error").to_ascii_lowercase().contains("timed out") {
        Ended::Timeout
    } else {
        Ended::Failed
    };
    let milliseconds = fields.get("duration_ms");
    let ran = milliseconds
        .and_then(|raw| serde_json::from_str::<f64>(raw.get()).ok())
        .filter(|ms| (0.0..=86_400_000.0).contains(ms))
        .map(|ms| Duration::from_secs_f64(ms / 1e3));
    let subagent = matches!(&*name, "Task" | "Agent").then(|| {
        let kind = started.subagent_type.and_then(text);
        let kind = kind.and_then(|kind| self::name(&kind));
        kind.unwrap_or_else(|| "general-purpose".to_owned())
    });
    Tool {
        digest: digest(&[name.as_bytes(), input.as_bytes()]),
        use_id,
        ended,
        ran,
        background: subagent.is_some()
            && (yes(started.run_in_background)
                || answer.status.and_then(text).as_deref() == Some("async_launched")),
        started: answer.agent_id.and_then(text).filter(|id| fit(id)),
        subagent,
        name,
        arguments: None,
        result: None,
    }
}

/// What a call says that starts a sub-agent.
#[derive(Default, Deserialize)]
struct Started<'a> {
    #[serde(borrow, default)]
    subagent_type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    run_in_background: Option<&'a RawValue>,
}

/// What is understood of a tool's answer.
#[derive(Default, Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    is_error: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "isError")]
    is_error_of_mcp: Option<&'a RawValue>,
    #[serde(borrow, default)]
    interrupted: Option<&'a RawValue>,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "agentId")]
    agent_id: Option<&'a RawValue>,
}

/// An object of which some keys matter; nothing of it where it is something else.
fn part<'a, T: Deserialize<'a> + Default>(raw: &'a str) -> T {
    match raw.starts_with('{') {
        true => serde_json::from_str(raw).unwrap_or_default(),
        false => T::default(),
    }
}

fn raw<'a>(fields: &Fields<'a>, key: &str) -> &'a str {
    fields.get(key).map_or("null", |raw| raw.get())
}

fn parsed<T: DeserializeOwned>(raw: &RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

fn text(raw: &RawValue) -> Option<String> {
    // Looked at first: what is no text need not be read.
    raw.get().starts_with('"').then(|| parsed(raw)).flatten()
}

fn yes(raw: Option<&RawValue>) -> bool {
    raw.is_some_and(|raw| raw.get() == "true")
}

fn fit(id: &str) -> bool {
    (1..=MAX_ID).contains(&id.len()) && !id.chars().any(char::is_control)
}

/// A name as a label takes it.
fn name(text: &str) -> Option<String> {
    let mut name = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        if name.len() + c.len_utf8() > MAX_NAME {
            break;
        }
        name.push(c);
    }
    (!name.is_empty()).then_some(name)
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, Value, json};

    fn tool_of(payload: Value) -> Tool {
        let mut all = json!({"session_id": "s", "hook_event_name": "PostToolUse"});
        for (key, value) in payload.as_object().unwrap() {
            all[key] = value.clone();
        }
        let payload = read(all.to_string().as_bytes(), HookContent::Off).unwrap();
        payload.tool.unwrap()
    }

    #[test]
    fn what_is_needed_is_named_when_it_is_missing_or_wrong() {
        for (body, field) in [
            ("", "body"),
            ("[]", "body"),
            ("{\"session_id\": \"a", "body"),
            ("{}", "session_id"),
            (
                r#"{"session_id": 5, "hook_event_name": "Stop"}"#,
                "session_id",
            ),
            (
                r#"{"session_id": "", "hook_event_name": "Stop"}"#,
                "session_id",
            ),
            (
                r#"{"session_id": "a\u0000", "hook_event_name": "Stop"}"#,
                "session_id",
            ),
            (r#"{"session_id": "a"}"#, "hook_event_name"),
            (
                r#"{"session_id": "a", "hook_event_name": []}"#,
                "hook_event_name",
            ),
            (
                r#"{"session_id": "a", "hook_event_name": "PreToolUse"}"#,
                "tool_name",
            ),
            (
                r#"{"session_id": "a", "hook_event_name": "PreToolUse", "tool_name": {}}"#,
                "tool_name",
            ),
        ] {
            let refused = read(body.as_bytes(), HookContent::Off).unwrap_err();
            assert_eq!(refused.field, field, "{body}");
        }
    }

    fn corpus() -> String {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/hooks.ndjson");
        std::fs::read_to_string(file).unwrap()
    }

    #[test]
    fn what_breaks_off_anywhere_is_no_event() {
        for event in corpus().lines() {
            assert!(read(event.as_bytes(), HookContent::Redacted).is_ok());
            for end in 0..event.len() {
                let refused = read(&event.as_bytes()[..end], HookContent::Redacted).unwrap_err();
                assert_eq!(refused.field, "body", "{event} {end}");
            }
        }
    }

    #[test]
    fn any_field_of_any_type_is_refused_by_name_or_passed_over() {
        let needed = ["session_id", "hook_event_name", "tool_name"];
        let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
        let odd = [
            "null",
            "true",
            "-1e999",
            "7",
            "\"\"",
            "[]",
            "{}",
            "\"\\ud800\"",
            &deep,
        ];
        for event in corpus().lines() {
            let all: Map<String, Value> = serde_json::from_str(event).unwrap();
            for key in all.keys() {
                for odd in odd {
                    let mut all = all.clone();
                    all.remove(key);
                    let rest = serde_json::to_string(&all).unwrap();
                    let body = format!("{},\"{key}\":{odd}}}", &rest[..rest.len() - 1]);
                    match read(body.as_bytes(), HookContent::Full) {
                        Ok(_) => {}
                        Err(refused) => assert!(needed.contains(&refused.field), "{refused}"),
                    }
                }
            }
        }
    }

    #[test]
    fn unknown_events_and_fields_of_other_types_are_taken() {
        let body = r#"{"session_id": "a", "hook_event_name": "Later", "agent_id": 7, "cwd": {}}"#;
        let payload = read(body.as_bytes(), HookContent::Off).unwrap();
        assert_eq!(payload.event, HookEvent::Other);
        assert_eq!(payload.agent_id, None);
    }

    #[test]
    fn an_mcp_tool_names_its_server() {
        let of = |name: &str| tool_of(json!({"tool_name": name}));
        let tool = of("mcp__github__create__issue");
        assert_eq!(tool.mcp(), Some(("github", "create__issue")));
        assert_eq!(of("mcp__github").mcp(), None);
        assert_eq!(of("Bash").mcp(), None);
    }

    #[test]
    fn how_a_tool_ended_is_read_from_its_answer() {
        let bash =
            |response: Value| tool_of(json!({"tool_name": "Bash", "tool_response": response}));
        assert_eq!(bash(json!({"stdout": "x"})).ended, Ended::Success);
        assert_eq!(bash(json!("text")).ended, Ended::Success);
        assert_eq!(bash(json!({"is_error": true})).ended, Ended::Failed);
        assert_eq!(bash(json!({"isError": true})).ended, Ended::Failed);
        assert_eq!(bash(json!({"interrupted": true})).ended, Ended::Cancelled);
        let failure = |error: &str| {
            let name = "PostToolUseFailure";
            tool_of(json!({"tool_name": "Bash", "hook_event_name": name, "error": error})).ended
        };
        assert_eq!(failure("exit code 1"), Ended::Failed);
        assert_eq!(failure("Command timed out after 2m"), Ended::Timeout);
    }

    #[test]
    fn durations_out_of_range_are_unknown() {
        for (given, expected) in [
            (json!(1500), Some(1.5)),
            (json!(-1), None),
            (json!(1e300), None),
            (json!("1"), None),
        ] {
            let tool = tool_of(json!({"tool_name": "Bash", "duration_ms": given}));
            assert_eq!(tool.ran.map(|d| d.as_secs_f64()), expected);
        }
    }

    #[test]
    fn a_call_that_starts_a_sub_agent_says_which_and_whether_it_waits() {
        let input = json!({"subagent_type": "Explore", "prompt": "p", "run_in_background": true});
        let tool = tool_of(json!({"tool_name": "Task", "tool_input": input}));
        assert_eq!(tool.subagent.as_deref(), Some("Explore"));
        assert!(tool.background);
        let answer = json!({"status": "completed", "agentId": "a1"});
        let tool = tool_of(json!({"tool_name": "Agent", "tool_response": answer}));
        assert_eq!(tool.subagent.as_deref(), Some("general-purpose"));
        assert_eq!(
            (tool.started.as_deref(), tool.background),
            (Some("a1"), false)
        );
    }
}
