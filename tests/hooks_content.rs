//! What is kept of prompts, tool inputs and tool results in each mode, with events of every kind
//! in `tests/corpus/hooks.ndjson`. What is secret there is named here.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value;
use support::hooks::{Row_, Service};
use tempfile::TempDir;

const EVENTS: &str = include_str!("corpus/hooks.ndjson");

/// In the contents only: everything that is kept of them has it.
const WORD: &str = "zebra";

const SECRETS: [&str; 19] = [
    "Qm9ndXNLZXlGb3JUZXN0c09ubHk",
    "Zm9yVGVzdHNPbmx5MDEyMzQ1Njc4OTAxMjM0",
    "tigers4all",
    "Rm9yVGVzdHNPbmx5OTk",
    "Zm9yL1Rlc3RzL09ubHkvMTIzNA",
    "AKIAZ7TESTSONLY01234",
    "b3BlbnNzaC1mb3ItdGVzdHMtb25seQ",
    "leopards",
    "panthers",
    "jaguars",
    "ocelots",
    "caracals",
    "c2VydmFscw",
    "margays",
    "lynxes",
    "zoe.quux@",
    "Zoe Quux",
    "/home/zoe",
    "-home-zoe",
];

/// Of events that nothing is kept of.
const NEVER: [&str; 3] = ["cheetahs", "sid=", "compact_summary"];

const CONTENTS: [&str; 3] = [
    "gen_ai.input.messages",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
];

/// What a service with this mode has after all events: records, page, log.
fn after(mode: Option<&str>) -> (Vec<Row_>, String, Vec<String>) {
    let dir = TempDir::new().unwrap();
    let mut variables = vec![("TACHOGRAPH_TELEMETRY__LOGS__FILTER", "debug,h2=info")];
    variables.extend(mode.map(|mode| ("TACHOGRAPH_HOOKS__CONTENT", mode)));
    let service = Service::with(&dir.path().join("ledger.db"), &variables);
    for event in EVENTS.lines() {
        let (status, outcome) = service.post(event);
        assert_eq!(status, 204, "{event}: {outcome}");
    }
    let page = service.page();
    assert_eq!(page.in_flight(), [0.0; 5]);
    assert_eq!(
        page.sum("tachograph_hook_events_total", &[("outcome", "lost")]),
        0.0
    );
    let mut log = vec![service.listening().to_owned()];
    log.extend(service.log());
    (service.records(), page.0, log)
}

fn contents(records: &[Row_]) -> Vec<&str> {
    let all = records
        .iter()
        .flat_map(|row| CONTENTS.map(|key| row.context.get(key)));
    all.flatten().map(|value| value.as_str().unwrap()).collect()
}

/// Neither the page nor the log has any of it, whatever the mode, and both say the mode.
fn check_elsewhere(page: &str, log: &[String], mode: &str) {
    let text = log.join("\n");
    for word in SECRETS.iter().chain(&NEVER).chain(&[WORD]) {
        assert!(!page.contains(word), "{word} on the page");
        assert!(!text.contains(word), "{word} in the log");
    }
    let said = format!("tachograph_hooks_content=\"{mode}\"");
    assert!(
        page.lines()
            .any(|line| line.starts_with("target_info{") && line.contains(&said))
    );
    assert!(
        text.contains(&format!("\"hooks_content\":\"{mode}\"")),
        "{text}"
    );
}

#[test]
fn off_is_the_default_and_keeps_nothing() {
    let (records, page, log) = after(None);
    check_elsewhere(&page, &log, "off");
    let all = format!("{records:?}");
    for word in SECRETS.iter().chain(&NEVER).chain(&[WORD]).chain(&CONTENTS) {
        assert!(!all.contains(word), "{word}: {all}");
    }
}

#[test]
fn redacted_keeps_what_is_no_secret() {
    let (records, page, log) = after(Some("redacted"));
    check_elsewhere(&page, &log, "redacted");
    let all = format!("{records:?}");
    for word in SECRETS.iter().chain(&NEVER) {
        assert!(!all.contains(word), "{word}: {all}");
    }
    let contents = contents(&records);
    // A prompt; eleven calls with an input, all but the one denied with a result or an error.
    assert_eq!(contents.len(), 1 + 11 + 10, "{contents:#?}");
    let told = contents.iter().filter(|text| text.contains(WORD)).count();
    assert!(told > 17, "{contents:#?}");
    let call = |id: &str| {
        let found = records
            .iter()
            .find(|row| row.said("gen_ai.tool.call.id") == Some(id));
        found.unwrap().clone()
    };
    let read = call("toolu_02B");
    let result: Value = serde_json::from_str(read.said(CONTENTS[2]).unwrap()).unwrap();
    assert_eq!(result["file"]["filePath"], "~/shop/.env");
    let lines = "ZEBRA_MODE=on\nAWS_SECRET_ACCESS_KEY=[redacted]\nAWS_ACCESS_KEY_ID=[redacted]\n";
    assert_eq!(result["file"]["content"], lines);
    let failed = call("toolu_10J");
    let said = "Exit code 22\nzebra refused zoe: curl -u zoe:[redacted]";
    assert_eq!(failed.said(CONTENTS[2]), Some(said));
    let vault = call("toolu_05E");
    let given = r#"{"path":"zebra/db","password":"[redacted]","headers":{"Cookie":"[redacted]"}}"#;
    assert_eq!(vault.said(CONTENTS[1]), Some(given));
}

#[test]
fn full_keeps_it_as_it_came() {
    let (records, page, log) = after(Some("full"));
    check_elsewhere(&page, &log, "full");
    let contents = contents(&records).concat();
    for word in SECRETS.iter().filter(|word| **word != "-home-zoe") {
        assert!(contents.contains(word), "{word}: {contents}");
    }
    assert!(!contents.contains("cheetahs"));
}

#[test]
fn what_is_too_long_is_cut_and_the_call_is_recorded() {
    let dir = TempDir::new().unwrap();
    let variables = [("TACHOGRAPH_HOOKS__CONTENT", "redacted")];
    let service = Service::with(&dir.path().join("ledger.db"), &variables);
    let session = support::hooks::Session("5c1d3d52-0d7e-4a7e-9f0e-cccccccccccc");
    let long = serde_json::json!({"content": "\u{1} \"\\ é".repeat(300_000), "z": 1});
    for event in [
        session.prompt(&"long ".repeat(100_000)),
        session.pre(None, "Write", "toolu_1", long.clone()),
        session.post(None, "Write", "toolu_1", long),
    ] {
        assert_eq!(service.send(&event), "recorded");
    }
    service.send(&session.stop());
    let records = service.records();
    let contents = contents(&records);
    assert_eq!(contents.len(), 3);
    let cut = || contents.iter().filter(|text| text.contains("…[cut]"));
    // The tool's answer is short.
    assert_eq!(cut().count(), 2, "{contents:#?}");
    for text in cut() {
        assert!(text.len() <= 4096, "{}", text.len());
        assert!(serde_json::from_str::<Value>(text).is_ok(), "{text}");
    }
}

#[test]
fn a_mode_that_is_none_is_refused_by_its_name() {
    let dir = TempDir::new().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tachograph"))
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--database",
            "sqlite://x.db",
        ])
        .current_dir(dir.path())
        .env_clear()
        .env("TACHOGRAPH_HOOKS__CONTENT", "some")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    for part in [
        "TACHOGRAPH_HOOKS__CONTENT",
        "some",
        "off",
        "redacted",
        "full",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!dir.path().join("x.db").exists());
}
