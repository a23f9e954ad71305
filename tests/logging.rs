//! Log lines and log records: form, correlation, filters, what is not exported, slow readers.
#![allow(clippy::unwrap_used)]

#[path = "support/spans.rs"]
#[allow(dead_code)]
mod spans;

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry::logs::AnyValue;
use opentelemetry::trace::{SpanContext, TraceContextExt, TracerProvider};
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord, SdkLoggerProvider};
use proptest::prelude::*;
use serde_json::Value;
use spans::Ended;
use tachograph::pipeline::config::SamplerKind::*;
use tachograph::pipeline::format::LineFormat;
use tachograph::pipeline::propagation::{RemoteContext, current_context};
use tachograph::pipeline::sampling::provider_builder;
use tachograph::pipeline::sink::Sink;
use tachograph::pipeline::subscriber::{LogFilterHandle, SubscriberBuilder, SubscriberError};
use tracing::{Dispatch, debug, error, info, info_span, warn};

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Clone, Debug, Default)]
struct Records(Arc<Mutex<Vec<SdkLogRecord>>>);

impl LogProcessor for Records {
    fn emit(&self, record: &mut SdkLogRecord, _: &InstrumentationScope) {
        self.0.lock().unwrap().push(record.clone());
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
}

struct Run {
    dispatch: Dispatch,
    filter: LogFilterHandle,
    sink: Sink,
    written: Written,
    records: Records,
    ended: Ended,
}

fn builder(format: LineFormat, sink: Sink, records: Records, ended: Ended) -> SubscriberBuilder {
    let logs = SdkLoggerProvider::builder()
        .with_log_processor(records)
        .build();
    let sampler = spans::sampler(ParentBasedAlwaysOn, 1.0);
    let provider = provider_builder(sampler).with_span_processor(ended).build();
    SubscriberBuilder::new()
        .with_traces(provider.tracer("test"), sampler, "info".parse().unwrap())
        .with_logs(&logs)
        .with_format(format, sink)
}

fn run(format: LineFormat, filter: &str) -> Run {
    let (written, records, ended) = Default::default();
    let sink = Sink::new(Written::clone(&written)).unwrap();
    let (dispatch, handle) = builder(
        format,
        sink.clone(),
        Records::clone(&records),
        Ended::clone(&ended),
    )
    .build(filter.parse().unwrap());
    Run {
        dispatch,
        filter: handle,
        sink,
        written,
        records,
        ended,
    }
}

impl Run {
    fn within<T>(&self, f: impl FnOnce() -> T) -> T {
        tracing::dispatcher::with_default(&self.dispatch, f)
    }

    fn text(&self) -> String {
        assert!(self.sink.flush(Duration::from_secs(10)));
        String::from_utf8(std::mem::take(&mut self.written.0.lock().unwrap())).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn line(&self) -> Value {
        let lines = self.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines[0].clone()
    }

    fn records(&self) -> Vec<SdkLogRecord> {
        std::mem::take(&mut self.records.0.lock().unwrap())
    }
}

fn remote(sampled: bool) -> Context {
    let parent = format!(
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0{}",
        u8::from(sampled)
    );
    RemoteContext::from_headers(|name| (name == "traceparent").then_some(parent.as_bytes()))
        .into_context(&Context::new())
}

fn here() -> SpanContext {
    current_context().span().span_context().clone()
}

/// Asserts that line and record carry these ids.
fn correlated(run: &Run, ids: &SpanContext) {
    let line = run.line();
    assert_eq!(line["trace_id"], ids.trace_id().to_string());
    assert_eq!(line["span_id"], ids.span_id().to_string());
    let records = run.records();
    assert_eq!(records.len(), 1);
    let context = records[0].trace_context().unwrap();
    assert_eq!(context.trace_id, ids.trace_id());
    assert_eq!(context.span_id, ids.span_id());
    assert_eq!(context.trace_flags, Some(ids.trace_flags()));
}

#[test]
fn a_json_line() {
    let run = run(LineFormat::Json, "info");
    run.within(|| {
        info_span!("outer").in_scope(|| {
            info_span!("inner").in_scope(|| {
                let cause = io::Error::other("disk \"full\"");
                warn!(
                    name: "order.lost",
                    target: "shop::orders",
                    number = 7,
                    big = u64::MAX,
                    huge = u128::MAX,
                    ratio = 0.5,
                    nan = f64::NAN,
                    on = true,
                    text = "a\n\"b\"\u{0}",
                    list = ?["x"],
                    error = &cause as &dyn std::error::Error,
                    "lost {}", 3
                );
            });
        });
    });
    let line = run.line();
    let time = line["timestamp"].as_str().unwrap();
    assert_eq!(time.len(), "2026-01-01T00:00:00.000000Z".len());
    assert!(time.ends_with('Z') && &time[10..11] == "T" && &time[19..20] == ".");
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["target"], "shop::orders");
    assert_eq!(line["event"], "order.lost");
    assert_eq!(line["message"], "lost 3");
    assert_eq!(line["spans"], serde_json::json!(["outer", "inner"]));
    let fields = &line["fields"];
    assert_eq!(fields["number"], 7);
    assert_eq!(fields["big"], u64::MAX);
    assert_eq!(fields["huge"], u128::MAX.to_string());
    assert_eq!(fields["ratio"], 0.5);
    assert_eq!(fields["nan"], "NaN");
    assert_eq!(fields["on"], true);
    assert_eq!(fields["text"], "a\n\"b\"\u{0}");
    assert_eq!(fields["list"], "[\"x\"]");
    assert_eq!(fields["error"], "disk \"full\"");
    assert_eq!(line["trace_id"].as_str().unwrap().len(), 32);
    assert_eq!(line["span_id"].as_str().unwrap().len(), 16);
}

#[test]
fn what_is_not_known_is_left_out() {
    let run = run(LineFormat::Json, "info");
    run.within(|| info!(only = 1));
    let line = run.line();
    let mut keys: Vec<_> = line.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["fields", "level", "target", "timestamp"]);
    let record = &run.records()[0];
    assert!(record.trace_context().is_none());
}

#[test]
fn ids_are_those_of_the_span_whether_sampled_or_not() {
    let run = run(LineFormat::Json, "info");
    run.within(|| {
        for caller in [Context::new(), remote(true), remote(false)] {
            let sampled = caller.span().span_context().is_sampled() || !caller.has_active_span();
            let span = {
                let _caller = caller.attach();
                info_span!("span")
            };
            let ids = span.in_scope(|| {
                info!("inside");
                here()
            });
            assert_eq!(ids.is_sampled(), sampled);
            correlated(&run, &ids);
            info_span!("other").in_scope(|| info!(parent: &span, "named"));
            correlated(&run, &ids);
            info_span!("other").in_scope(|| info!(parent: None, "none"));
            assert_eq!(run.line().get("trace_id"), None);
            assert!(
                run.records()[0]
                    .trace_context()
                    .is_none_or(|context| context.trace_id.to_bytes() == [0; 16])
            );
        }
    });
}

#[test]
fn records_carry_level_body_and_fields() {
    let run = run(LineFormat::Json, "info");
    run.within(|| error!(target: "shop", answer = 42, "broken"));
    let record = &run.records()[0];
    assert_eq!(record.severity_text(), Some("ERROR"));
    assert_eq!(record.target().unwrap(), "shop");
    assert_eq!(record.body(), Some(&AnyValue::from("broken")));
    let answer = (record.attributes_iter()).find(|(key, _)| key.as_str() == "answer");
    assert_eq!(answer.unwrap().1, AnyValue::from(42));
}

#[test]
fn the_filter_changes_while_running_and_touches_logs_alone() {
    let run = run(LineFormat::Json, "warn");
    run.within(|| {
        let say = || {
            info_span!("span").in_scope(|| {
                debug!(target: "shop", "debug");
                info!(target: "shop", "info");
                debug!(target: "shop::deep", "debug below");
                error!(target: "bank", "error");
            });
            run.lines().len()
        };
        assert_eq!(say(), 1);
        run.filter.set("warn,shop=debug,shop::deep=off").unwrap();
        assert_eq!(say(), 3);
        assert_eq!(run.filter.get(), "warn,shop=debug,shop::deep=off");
        let error = run.filter.set("shop=loud").unwrap_err().to_string();
        assert!(
            error.contains("`shop=loud`") && error.contains("debug"),
            "{error}"
        );
        assert!(run.filter.set("[span{field=1}]=info").is_err());
        assert_eq!(say(), 3);
        run.filter.set("off").unwrap();
        assert_eq!(say(), 0);
        run.filter.set("trace").unwrap();
        assert_eq!(say(), 4);
    });
    assert_eq!(run.records().len(), 1 + 3 + 3 + 4);
    let spans = run.ended.take();
    assert_eq!(spans.len(), 5);
    // Span events follow the spans' own filter.
    assert!(spans.iter().all(|span| span.events.len() == 2));
}

#[test]
fn what_exporting_causes_is_not_exported() {
    let run = run(LineFormat::Json, "info");
    run.within(|| {
        info!(target: "h2::codec", "one");
        info!(target: "opentelemetry_sdk", "two");
        info!(target: "tonic", "three");
        let _exporting = Context::enter_telemetry_suppressed_scope();
        info!(target: "shop", "four");
        info!(target: "shop", parent: None, "five");
        info_span!("exporting").in_scope(|| info!(target: "shop", "six"));
    });
    assert_eq!(run.records().len(), 0);
    assert_eq!(run.lines().len(), 6);
    assert_eq!(run.ended.names(), [""; 0]);
}

#[test]
fn the_sdk_may_log_from_inside_its_context() {
    let run = run(LineFormat::Json, "info");
    run.within(|| {
        let guards: Vec<_> = (0..70_000).map(|_| Context::new().attach()).collect();
        // Detached last first, as they nest.
        guards.into_iter().rev().for_each(drop);
    });
    let lines = run.lines();
    assert!(lines.iter().any(|line| line["target"] == "opentelemetry"));
    run.within(|| info_span!("after").in_scope(|| assert!(here().is_sampled())));
}

#[test]
fn a_value_may_log_while_it_is_written() {
    struct Talks;
    impl std::fmt::Debug for Talks {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            info!("from inside");
            f.write_str("talked")
        }
    }
    let run = run(LineFormat::Json, "info");
    run.within(|| info_span!("span").in_scope(|| info!(value = ?Talks, "outside")));
    let lines = run.lines();
    let outside = lines
        .iter()
        .find(|line| line["message"] == "outside")
        .unwrap();
    assert_eq!(outside["fields"], serde_json::json!({"value": "talked"}));
}

#[test]
fn long_texts_are_cut() {
    let run = run(LineFormat::Json, "info");
    let long = "é".repeat(1 << 20);
    run.within(|| info!(long, list = ?vec![0; 1 << 20], "{long}"));
    let line = run.line();
    for text in [
        &line["message"],
        &line["fields"]["long"],
        &line["fields"]["list"],
    ] {
        let text = text.as_str().unwrap();
        assert!(text.ends_with('…') && text.len() < 40_000, "{}", text.len());
    }
}

#[test]
fn a_text_line() {
    let run = run(LineFormat::Text { color: false }, "info");
    run.within(|| {
        info_span!("outer").in_scope(|| info!(target: "shop", a = "x", b = "y z", n = 1, "done"));
    });
    let text = run.text();
    assert!(
        text.contains("  INFO shop: done a=x b=\"y z\" n=1 in outer trace_id="),
        "{text}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_text_is_one_line(message: String, field: String, raw in prop::collection::vec(any::<u8>(), 0..40)) {
        let run = run(LineFormat::Json, "info");
        run.within(|| info!(field, raw = ?raw.escape_ascii().to_string(), "{message}"));
        let line = run.line();
        prop_assert_eq!(line["fields"]["field"].as_str().unwrap(), &field);
        if !message.is_empty() {
            prop_assert_eq!(line["message"].as_str().unwrap(), &message);
        }
        let run = self::run(LineFormat::Text { color: false }, "info");
        run.within(|| info!(field, "{message}"));
        let text = run.text();
        prop_assert_eq!(text.chars().filter(|char| char.is_control()).count(), 1, "{}", text);
    }
}

/// A reader that reads when told to.
struct Stuck(Receiver<()>, Sender<()>, Written);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.1.send(());
        let _ = self.0.recv();
        self.2.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_stops_does_not_stop_the_host() {
    let written = Written::default();
    let (go, told) = channel();
    let (tell, started) = channel();
    let sink = Sink::new(Stuck(told, tell, written.clone())).unwrap();
    let line = vec![b'x'; 1000];
    sink.write(&line);
    started.recv().unwrap();
    for _ in 0..3_000 {
        sink.write(&line);
    }
    // One line is with the writer, a megabyte waits.
    assert_eq!(sink.lost(), 3_000 - (1 << 20) / 1000);
    let before = Instant::now();
    assert!(!sink.flush(Duration::from_millis(20)));
    assert!(before.elapsed() < Duration::from_secs(5));
    drop(go);
    assert!(sink.flush(Duration::from_secs(10)));
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    let gap = text
        .rsplit_once('{')
        .map(|(before, _)| before.len())
        .unwrap();
    let gap: Value = serde_json::from_str(&text[text[..gap].rfind('{').unwrap()..]).unwrap();
    assert_eq!(gap["fields"]["lines"], sink.lost());
}

#[test]
fn a_closed_reader_costs_lines_and_nothing_else() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let sink = Sink::new(Closed).unwrap();
    for _ in 0..3 {
        sink.write(b"line\n");
        assert!(sink.flush(Duration::from_secs(10)));
    }
    assert_eq!(sink.lost(), 3);
}

#[test]
fn one_global_subscriber_that_takes_the_log_crate_in() {
    let (written, records, ended): (Written, Records, Ended) = Default::default();
    let sink = Sink::new(written.clone()).unwrap();
    let build = || {
        builder(
            LineFormat::Json,
            sink.clone(),
            records.clone(),
            ended.clone(),
        )
    };
    let handle = build()
        .try_init("info,quiet=off,opentelemetry=off".parse().unwrap())
        .unwrap();
    let again = build().try_init("info".parse().unwrap());
    assert!(matches!(again, Err(SubscriberError::AlreadySet)));

    let say = || {
        info_span!("span").in_scope(|| {
            log::info!(target: "shop::lib", "from {}", "log");
            log::debug!(target: "shop::lib", "debug");
            log::info!(target: "quiet", "quiet");
        });
        assert!(sink.flush(Duration::from_secs(10)));
        let text = String::from_utf8(std::mem::take(&mut written.0.lock().unwrap())).unwrap();
        (text.lines().map(|line| serde_json::from_str(line).unwrap())).collect::<Vec<Value>>()
    };
    let lines = say();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["target"], "shop::lib");
    assert_eq!(lines[0]["message"], "from log");
    assert_eq!(lines[0].get("fields"), None);
    assert!(lines[0]["trace_id"].is_string());
    handle.set("debug,quiet=off,opentelemetry=off").unwrap();
    let lines = say();
    assert_eq!(lines.len(), 2, "{lines:?}");

    // A thread-local that outlives the thread's context.
    struct Late;
    impl Drop for Late {
        fn drop(&mut self) {
            // No spans: the registry of tracing-subscriber panics on one.
            info!(target: "shop", parent: None, "late");
            info!(target: "shop", "late");
        }
    }
    thread_local!(static LATE: Late = const { Late });
    std::thread::spawn(|| {
        LATE.with(|_| ());
        info_span!("span").in_scope(|| info!(target: "shop", "in time"));
    })
    .join()
    .unwrap();
    let lines = say();
    assert!(lines.iter().any(|line| line["message"] == "in time"));
}

#[test]
fn declared_callsites_live_whatever_is_logged_or_traced() {
    use tachograph::recording::Recorder;
    use tachograph::signals::CATALOG;
    let signals: &[&'static dyn Recorder] = CATALOG;
    let (dispatch, handle) = SubscriberBuilder::new()
        .with_signals(signals)
        .build("off".parse().unwrap());
    tracing::dispatcher::with_default(&dispatch, || {
        for filter in ["off", "debug", "off"] {
            handle.set(filter).unwrap();
            assert!(!tracing::debug_span!("workflow.run").is_disabled());
            assert!(info_span!("something.else").is_disabled());
            assert!(!tracing::enabled!(tracing::Level::INFO));
        }
    });
}
