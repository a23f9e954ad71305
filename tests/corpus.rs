//! Bad input at the records API: nothing panics, nothing is half written, every refusal names
//! the field. What is refused is in `tests/corpus`.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry_sdk::Resource;
use proptest::prelude::*;
use reqwest::blocking::Client;
use serde_json::{Map, Value, json};
use support::prometheus::Process;
use tachograph::catalog::{Feed, LabelKind, Signal, SignalKind};
use tachograph::ingest::records::{Clock, Rejected, Rules, read};
use tachograph::ledger::{Ledger, LedgerConfig};
use tachograph::pipeline::metrics::install;
use tachograph::signals::CATALOG;
use tempfile::TempDir;

const RECORDS: &str = include_str!("corpus/records.tsv");

/// `tachograph serve` on a ledger of its own.
struct Service {
    process: Process,
    address: String,
    client: Client,
    directory: TempDir,
}

impl Service {
    fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = TempDir::new().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_tachograph"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .arg("--database")
            .arg(format!(
                "sqlite:{}",
                directory.path().join("a.db").display()
            ))
            .env_clear()
            .current_dir(directory.path())
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
        let line: Value = serde_json::from_str(&line).unwrap();
        Self {
            process: Process(child),
            address: line["fields"]["listen"].as_str().unwrap().to_owned(),
            client: Client::new(),
            directory,
        }
    }

    fn send(&self, body: impl Into<reqwest::blocking::Body>) -> (u16, Value) {
        let url = format!("http://{}/api/v1/records", self.address);
        let response = self.client.post(url).body(body).send().unwrap();
        (response.status().as_u16(), response.json().unwrap())
    }

    /// What the page shows of agents, without what the service says of itself.
    fn page(&self) -> Vec<String> {
        let url = format!("http://{}/metrics", self.address);
        let page = self.client.get(url).send().unwrap().text().unwrap();
        // What the service tells of itself goes on meanwhile.
        let ours = [
            "#",
            "tachograph_",
            "db_client_",
            "http_",
            "service_",
            "target_info",
            "tokio_runtime_",
        ];
        page.lines()
            .filter(|line| !ours.iter().any(|name| line.starts_with(name)))
            .map(str::to_owned)
            .collect()
    }

    /// Rows in the ledger, once the service has stopped.
    fn rows(mut self) -> u64 {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
        let path = self.directory.path().join("a.db");
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        runtime.block_on(async {
            let config = LedgerConfig::new(format!("sqlite:{}", path.display()));
            let ledger = Ledger::open(config).await.unwrap();
            ledger.totals().await.unwrap().iter().map(|t| t.1).sum()
        })
    }
}

/// A field that is expected; with a star the parts of it too.
fn names(expected: &str, found: &str) -> bool {
    match expected.strip_suffix('*') {
        Some(whole) => found == whole || found.starts_with(&format!("{whole}.")),
        None => found == expected,
    }
}

#[test]
fn what_is_refused_is_named_and_changes_nothing() {
    let service = Service::start();
    let before = service.page();
    let mut wrong = Vec::new();
    let cases = RECORDS.lines().filter(|line| !line.starts_with('#'));
    for case in cases {
        let mut parts = case.splitn(3, '\t');
        let mut part = || parts.next().unwrap();
        let (field, says, record) = (part(), part(), part());
        let (status, answer) = service.send(record);
        let rejected = &answer["rejected"][0];
        let found = rejected["field"].as_str().unwrap_or_default();
        let reason = rejected["reason"].as_str().unwrap_or_default();
        let refused = status == 200 && answer["accepted"] == 0 && !reason.is_empty();
        if !refused || !names(field, found) || !reason.contains(says) || reason.len() > 400 {
            wrong.push(format!("{field}, {says}: {record}\n    {status} {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(service.page(), before);
    assert_eq!(service.rows(), 0);
}

#[test]
fn bodies_that_are_none_change_nothing() {
    let service = Service::start();
    let before = service.page();
    let good = r#"{"signal":"workflow.run","duration":1,"fields":{"workflow_type":"w","status":"success"}}"#;
    let truncated = |text: &str, bytes: &[u8]| [text.as_bytes(), bytes].concat();
    let deep = |open: &str, close: &str, n: usize| format!("{}{}", open.repeat(n), close.repeat(n));
    let within = |value: &str| good.replace(r#""w""#, value);
    for (body, accepted) in [
        (truncated(r#"{"signal":""#, b"\xe2\x82"), [400, 400]),
        (truncated("[", &good.as_bytes()[..50]), [400, 400]),
        (b"\xff\xfe{\0}\0".to_vec(), [400, 400]),
        (b"\0".to_vec(), [400, 400]),
        (truncated(good, b"\0"), [400, 200]),
        (deep("[", "]", 100_000).into_bytes(), [400, 200]),
        (deep("[", "", 100_000).into_bytes(), [400, 400]),
        (deep(r#"{"signal":"#, "}", 50_000).into_bytes(), [400, 200]),
        (within(&deep("[", "]", 10_000)).into_bytes(), [200, 400]),
        (
            within(&deep(r#"{"a":"#, "}", 10_000)).into_bytes(),
            [200, 400],
        ),
        (good.replace(":1,", ":NaN,").into_bytes(), [200, 400]),
        (good.replace(":1,", ":-Infinity,").into_bytes(), [200, 400]),
        (good.replace(":1,", ":01,").into_bytes(), [200, 400]),
        (good.replace('"', "'").into_bytes(), [200, 400]),
        (
            good.replace(":1,", &format!(":{},", "9".repeat(5_000)))
                .into_bytes(),
            [200, 400],
        ),
        (
            within(&format!("\"{}\"", "x".repeat(1 << 20))).into_bytes(),
            [200, 400],
        ),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let (status, answer) = service.send(body);
        assert!(accepted.contains(&status), "{shown}: {status} {answer}");
        assert!(
            answer["accepted"].as_u64().unwrap_or(0) == 0,
            "{shown}: {answer}"
        );
        let said = answer.to_string().len();
        assert!(said < 3_000, "{shown}: {said} bytes of answer");
    }
    assert_eq!(service.page(), before);
    // It still works.
    assert_eq!(service.send(good).1["accepted"], 1);
    assert_eq!(service.rows(), 1);
}

#[test]
fn a_hundred_megabytes_are_turned_away_in_little_memory() {
    let service = Service::start();
    let piece = vec![b' '; 1 << 20];
    for head in ["content-length: 104857600", "transfer-encoding: chunked"] {
        let chunked = head.starts_with('t');
        let mut stream = TcpStream::connect(&service.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
            .set_write_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        write!(
            stream,
            "POST /api/v1/records HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\n"
        )
        .unwrap();
        for _ in 0..100 {
            let frame = if chunked {
                format!("{:x}\r\n", piece.len())
            } else {
                String::new()
            };
            let end: &[u8] = if chunked { b"\r\n" } else { b"" };
            let sent = stream.write_all(frame.as_bytes());
            // The service has answered and hung up.
            if sent
                .and_then(|()| stream.write_all(&piece))
                .and_then(|()| stream.write_all(end))
                .is_err()
            {
                break;
            }
        }
        let mut answer = [0; 12];
        // The answer is lost where the reset that follows overtakes it.
        if stream.read_exact(&mut answer).is_ok() {
            assert_eq!(&answer, b"HTTP/1.1 413", "{head}");
        }
    }
    #[cfg(target_os = "linux")]
    {
        let status = format!("/proc/{}/status", service.process.0.id());
        let status = std::fs::read_to_string(status).unwrap();
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        let kib: u64 = peak.trim().trim_end_matches(" kB").trim().parse().unwrap();
        assert!(kib < 150 * 1024, "{kib} KiB at most resident");
    }
    let (status, answer) = service.send("[]");
    assert_eq!((status, answer["accepted"].as_u64()), (200, Some(0)));
    assert_eq!(service.rows(), 0);
}

fn parse(record: &Value) -> (usize, Vec<Rejected>) {
    static INSTALLED: std::sync::Once = std::sync::Once::new();
    INSTALLED.call_once(|| {
        install(Resource::builder_empty().build(), CATALOG, false).unwrap();
    });
    let now = SystemTime::now();
    let rules = Rules {
        records: 10,
        starts: 10,
        expires_in: Duration::from_secs(3600),
        clock: Clock::at(now, now),
        prices: Arc::new(tachograph::prices::Prices::shipped()),
    };
    let mut reading = read(record.to_string().as_bytes(), &rules, |_| false).unwrap();
    reading.resolve(Vec::new(), &[], &rules);
    (reading.batch.len(), reading.rejected)
}

fn reportable() -> Vec<&'static Signal> {
    let signals = CATALOG.iter().map(|recorder| recorder.signal());
    signals.filter(|signal| signal.reportable).collect()
}

/// A record of a signal with all its fields.
fn whole(signal: &Signal) -> Value {
    let mut fields = Map::new();
    for label in signal.labels {
        let value = match label.kind {
            LabelKind::Closed { values, .. } => values[0],
            LabelKind::Open { .. } => "x",
        };
        fields.insert(label.key.to_owned(), value.into());
    }
    for value in signal.values {
        // Parts of a whole, which may be none of it.
        fields.insert(value.key.to_owned(), 0.into());
    }
    let mut record = json!({"signal": signal.name, "fields": fields});
    if signal.kind == SignalKind::Operation {
        record["duration"] = 1.into();
    } else if signal.metrics.iter().any(|m| m.feed != Feed::Count) {
        record["fields"]["value"] = 1.into();
    }
    record
}

#[test]
fn every_signal_takes_a_record_with_all_its_fields() {
    for signal in reportable() {
        let record = whole(signal);
        assert_eq!(parse(&record), (1, vec![]), "{record}");
    }
}

fn wrong_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!([])),
        Just(json!({})),
        Just(json!([1, "x"])),
        Just(json!({"a": {"b": []}})),
        any::<bool>().prop_map(Value::from),
        Just(json!("\0")),
        Just(json!("x".repeat(10_000))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// One field of a good record is made wrong: it is refused, and that field is named.
    #[test]
    fn a_wrong_field_is_named(
        signal in prop::sample::select(reportable()),
        at in any::<prop::sample::Index>(),
        value in wrong_value(),
    ) {
        let mut record = whole(signal);
        let fields = record["fields"].as_object_mut().unwrap();
        prop_assume!(!fields.is_empty());
        let key = fields.keys().nth(at.index(fields.len())).unwrap().clone();
        fields.insert(key.clone(), value);
        let (taken, rejected) = parse(&record);
        prop_assert_eq!(taken, 0, "{}", record);
        let field = rejected[0].field.as_ref();
        prop_assert_eq!(field, format!("fields.{key}"), "{}", &rejected[0].reason);
    }

    /// A required label that is left out is named; nothing else may be left out unnoticed.
    #[test]
    fn a_missing_label_is_named(
        signal in prop::sample::select(reportable()),
        at in any::<prop::sample::Index>(),
    ) {
        prop_assume!(!signal.labels.is_empty());
        let label = &signal.labels[at.index(signal.labels.len())];
        let mut record = whole(signal);
        record["fields"].as_object_mut().unwrap().remove(label.key);
        let (taken, rejected) = parse(&record);
        let optional = match label.kind {
            LabelKind::Open { optional, .. } => optional,
            LabelKind::Closed { values, .. } => values.contains(&""),
        };
        prop_assert_eq!(taken, usize::from(optional), "{} {:?}", record, rejected);
        if let Some(rejected) = rejected.first() {
            prop_assert_eq!(rejected.field.as_ref(), format!("fields.{}", label.key));
            if let LabelKind::Closed { values, .. } = label.kind {
                let accepted = format!("missing; accepted are {}", values.join(", "));
                prop_assert_eq!(rejected.reason.as_ref(), accepted);
            }
        }
    }

    /// A key that the signal does not have is named.
    #[test]
    fn an_unknown_field_is_named(
        signal in prop::sample::select(reportable()),
        key in "[a-z]{1,8}_[a-z]{1,8}q",
    ) {
        let mut record = whole(signal);
        record["fields"][&key] = "x".into();
        let (taken, rejected) = parse(&record);
        prop_assert_eq!(taken, 0);
        prop_assert_eq!(rejected[0].field.as_ref(), format!("fields.{key}"));
    }

    /// One slip of the keyboard in a signal's name: the refusal knows what was meant.
    #[test]
    fn a_misspelt_signal_is_told_a_near_name(
        signal in prop::sample::select(reportable()),
        at in any::<prop::sample::Index>(),
    ) {
        let name: Vec<char> = signal.name.chars().collect();
        let mut slip = name.clone();
        slip.remove(at.index(name.len()));
        let slip: String = slip.into_iter().collect();
        prop_assume!(CATALOG.iter().all(|one| one.signal().name != slip));
        let mut record = whole(signal);
        record["signal"] = slip.clone().into();
        let (taken, rejected) = parse(&record);
        prop_assert_eq!(taken, 0);
        prop_assert_eq!(rejected[0].field.as_ref(), "signal");
        prop_assert!(rejected[0].reason.contains('`'), "{}: {}", slip, &rejected[0].reason);
    }

    /// Durations and times of every size: taken or refused by name.
    #[test]
    fn durations_of_every_size(duration in any::<f64>()) {
        let mut record = whole(tachograph::signals::workflow::WorkflowRun::SIGNAL);
        record["duration"] = json!(duration);
        let (taken, rejected) = parse(&record);
        let sane = (0.0..=366.0 * 86_400.0).contains(&duration);
        prop_assert_eq!(taken, usize::from(sane), "{} {:?}", duration, rejected);
        if let Some(rejected) = rejected.first() {
            prop_assert_eq!(rejected.field.as_ref(), "duration");
        }
    }
}
