//! Recording by typed recorders, and by plain spans and events of declared names.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::OnceLock;
use std::time::Duration;

use support::metrics::points;
use tachograph::pipeline::config::LogFormat;
use tachograph::pipeline::sink::Sink;
use tachograph::recording::Rounds;
use tachograph::{Telemetry, TelemetryConfig, catalog, closed_label, signal};

closed_label! {
    /// How a probe ended.
    pub enum End {
        /// Well.
        Good = "good",
        /// Badly.
        Bad = "bad" error,
        /// Nobody knows.
        Abandoned = "abandoned" abandoned,
    }
}

signal! {
    /// A probe.
    pub operation Probe => ProbeEnd = "test.probe" {
        labels {
            /// What is probed.
            subject: open(40),
        }
        outcome {
            /// How it ended.
            status: closed(End),
        }
        values {
            /// Bytes seen.
            bytes,
        }
        context {
            /// Id.
            ID = "probe_id",
        }
        metrics {
            /// Probes that ended.
            "test.probes" = counter "{probe}" count by [subject, status] no_alert "a test";
            /// How long they took.
            "test.probe.duration" = histogram "s" duration by [subject] buckets (tachograph::catalog::HTTP) no_alert "a test";
            /// What they saw.
            "test.probe.bytes" = histogram "By" of (bytes) by [subject] buckets (tachograph::catalog::BYTES) no_alert "a test";
            /// Probes under way.
            "test.probe.active" = in_flight "{probe}" active by [subject] no_alert "a test";
        }
    }
}

signal! {
    /// Floods.
    pub operation Flood => FloodEnd = "test.flood" series 200 {
        labels {
            /// First.
            first: open(50),
            /// Second.
            second: open(50),
        }
        outcome {
            /// How it ended.
            status: closed(End),
        }
        metrics {
            /// Floods that ended.
            "test.floods" = counter "{flood}" count by [first, second, status] no_alert "a test";
        }
    }
}

signal! {
    /// Things that were closed.
    pub counter Closed = "test.close" => "test.closed" "{thing}" {
        labels {
            /// How.
            status: closed(End),
        }
        no_alert "a test"
    }
}

signal! {
    /// A level.
    pub gauge Level = "test.level" => "test.level" "1" {
        labels {
            /// Of what.
            of: open(10),
        }
        no_alert "a test"
    }
}

signal! {
    /// Levels that are read in rounds.
    pub gauge Depth = "test.depth" => "test.depth" "1" {
        labels {
            /// Of what.
            of: open(3),
        }
        no_alert "a test"
    }
}

catalog! {
    /// The test's signals.
    pub SIGNALS = [Probe, Flood, Closed, Level, Depth];
}

fn telemetry() -> &'static Telemetry {
    static TELEMETRY: OnceLock<Telemetry> = OnceLock::new();
    TELEMETRY.get_or_init(|| {
        let mut config = TelemetryConfig::default();
        config.logs.format = LogFormat::Json;
        Telemetry::builder(config)
            .signals(SIGNALS)
            .log_sink(Sink::new(Log).unwrap())
            .init()
            .unwrap()
    })
}

static LOG: parking_lot::Mutex<Vec<u8>> = parking_lot::Mutex::new(Vec::new());

struct Log;

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn logged(text: &str) -> usize {
    String::from_utf8_lossy(&LOG.lock()).matches(text).count()
}

/// Waits for what another thread is about to do.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "{what} did not come");
        std::thread::yield_now();
    }
}

#[test]
fn closed_series_exist_at_zero_from_the_start() {
    let closed = points(telemetry(), "test.closed");
    assert_eq!(closed.value(&[("status", "bad")]), Some(0.0));
    assert_eq!(closed.len(), 3);
}

#[test]
fn an_operation_counts_its_end_and_its_flight() {
    let t = telemetry();
    let probe = Probe { subject: "typed" }.start();
    probe.context(Probe::ID, "p-1");
    let active = || points(t, "test.probe.active").value(&[("subject", "typed")]);
    assert_eq!(active(), Some(1.0));
    probe.finish_after(
        Duration::from_millis(1500),
        ProbeEnd {
            status: End::Bad,
            bytes: Some(300.0),
        },
    );
    assert_eq!(active(), Some(0.0));
    let probes = points(t, "test.probes");
    assert_eq!(
        probes.value(&[("subject", "typed"), ("status", "bad")]),
        Some(1.0)
    );
    assert_eq!(
        points(t, "test.probe.duration").sum(&[("subject", "typed")]),
        1.5
    );
    assert_eq!(
        points(t, "test.probe.bytes").sum(&[("subject", "typed")]),
        300.0
    );
}

#[test]
fn unknown_values_are_not_zero() {
    let t = telemetry();
    Probe { subject: "silent" }.record(
        ProbeEnd {
            status: End::Good,
            bytes: None,
        },
        Duration::ZERO,
    );
    assert_eq!(
        points(t, "test.probe.bytes").value(&[("subject", "silent")]),
        Some(0.0)
    );
    assert_eq!(
        points(t, "test.probe.duration").value(&[("subject", "silent")]),
        Some(1.0)
    );
}

#[test]
fn a_panic_and_a_dropped_guard_end_as_abandoned() {
    let t = telemetry();
    let result = std::panic::catch_unwind(|| {
        let _probe = Probe { subject: "panic" }.start();
        panic!("on purpose");
    });
    assert!(result.is_err());
    drop(Probe { subject: "panic" }.start());
    let labels = [("subject", "panic"), ("status", "abandoned")];
    assert_eq!(points(t, "test.probes").value(&labels), Some(2.0));
    assert_eq!(
        points(t, "test.probe.active").value(&[("subject", "panic")]),
        Some(0.0)
    );
}

#[tokio::test]
async fn aborted_tasks_leak_no_flight() {
    let t = telemetry();
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            tokio::spawn(Probe { subject: "aborted" }.start().instrument(
                std::future::pending::<()>(),
                |()| ProbeEnd {
                    status: End::Good,
                    bytes: None,
                },
            ))
        })
        .collect();
    let active = || points(t, "test.probe.active").value(&[("subject", "aborted")]);
    assert_eq!(active(), Some(50.0));
    for task in &tasks {
        task.abort();
    }
    for task in tasks {
        assert!(task.await.unwrap_err().is_cancelled());
    }
    assert_eq!(active(), Some(0.0));
    let labels = [("subject", "aborted"), ("status", "abandoned")];
    assert_eq!(points(t, "test.probes").value(&labels), Some(50.0));
}

#[tokio::test]
async fn an_instrumented_future_ends_with_its_output() {
    let t = telemetry();
    let output = Probe { subject: "future" }
        .start()
        .instrument(async { 42 }, |n| ProbeEnd {
            status: End::Good,
            bytes: Some(f64::from(*n)),
        })
        .await;
    assert_eq!(output, 42);
    assert_eq!(
        points(t, "test.probe.bytes").sum(&[("subject", "future")]),
        42.0
    );
}

#[tracing::instrument(name = "test.probe", skip_all, fields(subject = subject, status, bytes))]
fn probed(subject: &str, status: Option<&str>) {
    tracing::Span::current().record("bytes", 7_u64);
    if let Some(status) = status {
        tracing::Span::current().record("status", status);
    }
    assert_eq!(
        points(telemetry(), "test.probe.active").value(&[("subject", subject)]),
        Some(1.0)
    );
}

#[test]
fn a_plain_span_of_a_declared_name_records_the_signal() {
    let t = telemetry();
    probed("span", Some("good"));
    probed("span", None);
    let probes = points(t, "test.probes");
    assert_eq!(
        probes.value(&[("subject", "span"), ("status", "good")]),
        Some(1.0)
    );
    assert_eq!(
        probes.value(&[("subject", "span"), ("status", "abandoned")]),
        Some(1.0)
    );
    assert_eq!(
        points(t, "test.probe.bytes").sum(&[("subject", "span")]),
        14.0
    );
    assert_eq!(
        points(t, "test.probe.active").value(&[("subject", "span")]),
        Some(0.0)
    );
}

#[test]
fn a_plain_event_of_a_declared_name_records_the_signal() {
    let t = telemetry();
    tracing::info!(name: "test.close", status = "good");
    tracing::trace!(name: "test.close", status = %"good", value = 4);
    assert_eq!(
        points(t, "test.closed").value(&[("status", "good")]),
        Some(5.0)
    );
    tracing::debug!(name: "test.probe", subject = "event", status = ?"x", duration = 2.5);
    tracing::debug!(name: "test.probe", subject = "event", status = "bad", duration = 2.5);
    assert_eq!(
        points(t, "test.probe.duration").sum(&[("subject", "event")]),
        2.5
    );
}

#[test]
fn faulty_fields_are_counted_and_named_once() {
    let t = telemetry();
    for _ in 0..3 {
        tracing::info!(name: "test.probe", subject = 1.5, status = "good", duration = 1.0);
        tracing::info!(name: "test.probe", status = "good", duration = 1.0);
        tracing::info!(name: "test.probe", subject = "faulty", status = "no such", duration = 1.0);
        tracing::info!(name: "test.probe", subject = "faulty", status = "good");
        tracing::info!(name: "test.close", status = "bad", value = -1);
    }
    let refused = points(t, "tachograph.field.refusals");
    let count = |field, reason| {
        refused.value(&[
            ("signal", "test.probe"),
            ("field", field),
            ("reason", reason),
        ])
    };
    assert_eq!(count("subject", "mistyped"), Some(3.0));
    assert_eq!(count("subject", "missing"), Some(3.0));
    assert!(count("status", "unknown_value") >= Some(3.0));
    assert_eq!(count("duration", "missing"), Some(3.0));
    assert_eq!(
        points(t, "test.closed").value(&[("status", "bad")]),
        Some(0.0)
    );
    assert_eq!(
        points(t, "test.probes").value(&[("subject", "faulty")]),
        None
    );
    eventually("the log line", || {
        logged("\"field\":\"subject\",\"reason\":\"mistyped\"") > 0
    });
    assert_eq!(logged("\"field\":\"subject\",\"reason\":\"mistyped\""), 1);
}

#[test]
fn a_log_filter_does_not_switch_signals_off() {
    let t = telemetry();
    t.log_filter().unwrap().set("off").unwrap();
    tracing::info!(name: "test.level", of = "filter", value = 0.5);
    assert_eq!(
        points(t, "test.level").value(&[("of", "filter")]),
        Some(0.5)
    );
    t.log_filter().unwrap().set("info").unwrap();
}

#[test]
fn removed_gauges_go_away() {
    let t = telemetry();
    Level { of: "leaving" }.set(3.0);
    assert_eq!(
        points(t, "test.level").value(&[("of", "leaving")]),
        Some(3.0)
    );
    Level { of: "leaving" }.remove();
    assert_eq!(points(t, "test.level").value(&[("of", "leaving")]), None);
    Level { of: "leaving" }.set(f64::NAN);
    assert_eq!(points(t, "test.level").value(&[("of", "leaving")]), None);
}

#[test]
fn gauges_of_a_round_that_fold_into_one_series_are_put_together() {
    let t = telemetry();
    let depth = |of: &str| points(t, "test.depth").value(&[("of", of)]);
    let handle = |of: &&str| Depth { of }.handle();
    let mut depths = Rounds::default();
    let all = ["a", "b", "c", "d", "e"];
    // Twice: sums begin anew with each round.
    for _ in 0..2 {
        depths.set(all.iter().map(|of| (handle(of), 2.0)));
        assert_eq!((depth("a"), depth("c")), (Some(2.0), Some(2.0)));
        assert_eq!(depth("other"), Some(4.0));
    }
    // What a round leaves out goes, and what is folded stays while one of it is there.
    depths.set(["b", "e"].iter().map(|of| (handle(of), 3.0)));
    assert_eq!((depth("a"), depth("b")), (None, Some(3.0)));
    assert_eq!(depth("other"), Some(3.0));
    let least = ["d", "e"].iter().zip([1.0, 0.0]);
    depths.set_by(least.map(|(of, up)| (handle(of), up)), f64::min);
    assert_eq!((depth("b"), depth("other")), (None, Some(0.0)));
    depths.clear();
    assert_eq!(depth("other"), None);
}

#[test]
fn a_flood_folds_counts_its_folds_and_leaves_memory_flat() {
    let t = telemetry();
    let flood = |first: &str, second: &str| {
        Flood { first, second }.record(FloodEnd { status: End::Good }, Duration::ZERO);
    };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for i in 0..2_000 {
                    flood(&format!("{}", (i * 4 + thread) % 90), "one");
                }
            });
        }
    });
    for i in 0..100 {
        for j in 0..100 {
            flood(&format!("{i}"), &format!("{j}"));
        }
    }
    let mut text = String::with_capacity(32);
    let before = points(t, "test.floods");
    let grown = allocation_counter::measure(|| {
        for i in 0..1_000_000_u64 {
            use std::fmt::Write as _;
            text.clear();
            let _ = write!(text, "value-{i}");
            flood(&text, &text);
        }
    });
    assert!(grown.bytes_current < 4_096, "{grown:?}");
    let after = points(t, "test.floods");
    assert_eq!(before.len(), after.len());
    // 200 tuples, and one for each status once they are used up.
    assert!(after.len() <= 203, "{}", after.len());
    assert_eq!(after.value(&[]), Some(8_000.0 + 10_000.0 + 1_000_000.0));
    let folds = points(t, "tachograph.label.folds");
    assert!(folds.value(&[("signal", "test.flood"), ("label", "first")]) >= Some(1_000_000.0));
}

#[test]
fn labels_carry_any_text() {
    let t = telemetry();
    let nasty = "quote\" newline\n nul\0 back\\slash ünï";
    Probe { subject: nasty }.record(
        ProbeEnd {
            status: End::Good,
            bytes: None,
        },
        Duration::ZERO,
    );
    assert_eq!(
        points(t, "test.probes").value(&[("subject", nasty)]),
        Some(1.0)
    );
    let long = "x".repeat(1 << 20);
    Probe { subject: &long }.record(
        ProbeEnd {
            status: End::Good,
            bytes: None,
        },
        Duration::ZERO,
    );
    assert_eq!(
        points(t, "test.probes").value(&[("subject", "other")]),
        Some(1.0)
    );
}

struct Panics;

impl std::fmt::Debug for Panics {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("on purpose");
    }
}

#[test]
fn a_field_that_panics_leaves_no_lock_behind() {
    let t = telemetry();
    for _ in 0..20 {
        let event = std::panic::catch_unwind(|| {
            tracing::info!(name: "test.level", of = ?Panics, value = 1.0);
        });
        assert!(event.is_err());
    }
    for _ in 0..20 {
        let span = std::panic::catch_unwind(
            || tracing::info_span!("test.probe", subject = ?Panics, status = "good"),
        );
        assert!(span.is_err());
    }
    std::thread::spawn(|| {
        let _held = Probe { subject: "poison" }.start();
        panic!("on purpose, holding an operation");
    })
    .join()
    .unwrap_err();
    tracing::info!(name: "test.level", of = "after", value = 1.0);
    probed("after", Some("good"));
    assert_eq!(points(t, "test.level").value(&[("of", "after")]), Some(1.0));
    let labels = [("subject", "after"), ("status", "good")];
    assert_eq!(points(t, "test.probes").value(&labels), Some(1.0));
}

#[test]
fn a_second_pipeline_is_refused() {
    telemetry();
    let error = Telemetry::init(TelemetryConfig::default()).unwrap_err();
    assert!(error.to_string().contains("once per process"), "{error}");
}

#[test]
fn a_last_end_is_a_time() {
    use tachograph::signals::agent::AgentRun;
    let t = telemetry();
    let agent = AgentRun::SIGNAL;
    let labels: Vec<&str> = agent
        .labels
        .iter()
        .map(|label| match label.kind {
            tachograph::catalog::LabelKind::Closed { values, .. } => values[0],
            tachograph::catalog::LabelKind::Open { .. } => "timed",
        })
        .collect();
    AgentRun::recorder()
        .record(&labels, &[], Some(1.0), None)
        .unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    let last = points(t, "agent.last_run.timestamp").value(&[]).unwrap();
    assert!((now - 60.0..=now).contains(&last), "{last} {now}");
}
