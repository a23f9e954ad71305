//! Accelerators: workers that report to the records API, the collector of GPUs with figures as
//! they are in life and with none, and the collector of runtimes.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::OnceLock;
use std::time::{Duration, Instant as Time};

use serde_json::{Value, json};
use tachograph::collectors::gpu::{Found, Gpu, GpuConfig, GpuReading, GpuSource};
use tachograph::collectors::runtime::Runtime;
use tachograph::collectors::{CollectError, Collector as _, Progress, Supervised};
use tachograph::exposition::{Format, Page, Request};
use tachograph::ingest::records::{RecordsApi, RecordsConfig};
use tachograph::ledger::{Ledger, LedgerConfig};
use tachograph::signals::gpu::{GpuClockKind, ThrottleReason};
use tachograph::{Telemetry, TelemetryConfig};
use tokio::runtime::Handle;
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(20);

fn page() -> &'static Page {
    static PAGE: OnceLock<(Telemetry, Page)> = OnceLock::new();
    let (_, page) = PAGE.get_or_init(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = TelemetryConfig::default();
        config.logs.filter = "off".to_owned();
        let telemetry = Telemetry::init(config).unwrap();
        let collector = telemetry.collector().unwrap().clone();
        (telemetry, Page::builder(collector).start().unwrap())
    });
    page
}

/// The series of the page whose names begin so.
async fn series(begin: &str) -> BTreeMap<String, f64> {
    let mut request = Request::negotiate(None, None, "").unwrap();
    request.format = Format::Text0;
    let rendered = page().render(request, PATIENCE).await.unwrap();
    let text = String::from_utf8(rendered.chunks.concat()).unwrap();
    let lines = text.lines().filter(|line| line.starts_with(begin));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        })
        .collect()
}

#[track_caller]
fn assert_series(found: &BTreeMap<String, f64>, expected: &[(&str, f64)]) {
    for (name, value) in expected {
        assert_eq!(found.get(*name), Some(value), "{name} in {found:#?}");
    }
}

fn measure(signal: &str, more: Value, value: f64) -> Value {
    let mut fields = json!({"accelerator.worker": "npu-1"});
    let of = fields.as_object_mut().unwrap();
    of.extend(more.as_object().unwrap().clone());
    of.insert("value".to_owned(), value.into());
    json!({"signal": signal, "fields": fields})
}

fn inference(device: &str, status: &str, error: &str, took: f64) -> Value {
    let mut fields = json!({
        "accelerator.worker": "npu-1", "accelerator.device": device,
        "accelerator.model": "whisper-base", "status": status, "accelerator.batch.size": 4,
    });
    if !error.is_empty() {
        fields["error.type"] = error.into();
    }
    json!({"signal": "accelerator.inference", "duration": took, "fields": fields})
}

#[tokio::test]
async fn a_worker_in_another_language_reports_what_it_does() {
    page();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("a.db").display());
    let ledger = Ledger::open(LedgerConfig::new(url)).await.unwrap();
    let api = RecordsApi::new(ledger, RecordsConfig::default());
    let npu = json!({"accelerator.device": "npu"});
    let records = [
        inference("npu", "success", "", 0.03),
        inference("npu", "success", "", 0.05),
        inference("cpu", "success", "", 1.5),
        inference("npu", "failed", "out_of_memory", 0.2),
        measure("accelerator.worker.up", npu.clone(), 1.0),
        measure("accelerator.worker.heartbeat", json!({}), 1_700_000_000.0),
        measure("accelerator.utilization", npu.clone(), 0.85),
        measure("accelerator.memory", npu.clone(), 2e9),
        measure("accelerator.queue", json!({}), 7.0),
        measure("accelerator.temperature", npu.clone(), 61.5),
    ];
    let batch = serde_json::to_vec(&records).unwrap();
    let outcome = api.take(batch.into()).await.unwrap();
    assert_eq!(outcome.accepted, records.len(), "{outcome:?}");

    let found = series("accelerator_").await;
    let of = |rest: &str| format!("accelerator_{rest}");
    let npu = r#"{accelerator_device="npu",accelerator_worker="npu-1"}"#;
    for (name, value) in [
        (
            of(
                r#"inferences_total{accelerator_device="npu",accelerator_model="whisper-base",accelerator_worker="npu-1",status="success"}"#,
            ),
            2.0,
        ),
        (
            of(
                r#"inferences_total{accelerator_device="npu",accelerator_model="whisper-base",accelerator_worker="npu-1",error_type="out_of_memory",status="failed"}"#,
            ),
            1.0,
        ),
        (
            of(
                r#"inference_duration_seconds_bucket{accelerator_device="cpu",accelerator_model="whisper-base",status="success",le="2"}"#,
            ),
            1.0,
        ),
        (
            of(
                r#"inference_batch_size_sum{accelerator_device="npu",accelerator_model="whisper-base"}"#,
            ),
            12.0,
        ),
        (of(&format!("worker_up{npu}")), 1.0),
        (
            of(r#"worker_heartbeat_timestamp_seconds{accelerator_worker="npu-1"}"#),
            1_700_000_000.0,
        ),
        (of(&format!("utilization_ratio{npu}")), 0.85),
        (of(&format!("memory_usage_bytes{npu}")), 2e9),
        (of(r#"queue_size{accelerator_worker="npu-1"}"#), 7.0),
        (of(&format!("temperature_celsius{npu}")), 61.5),
    ] {
        assert_series(&found, &[(&name, value)]);
    }

    // A device that is not known, and a share that is none, are refused with the reason.
    for (record, field) in [
        (inference("fpga", "success", "", 1.0), "accelerator.device"),
        (
            measure(
                "accelerator.utilization",
                json!({"accelerator.device": "npu"}),
                1.7,
            ),
            "value",
        ),
    ] {
        let refused = api.take(record.to_string().into()).await;
        let said = format!("{refused:?}");
        assert!(said.contains(field), "{said}");
    }
}

/// Says in each round what a test gives it.
struct Script(VecDeque<Result<Found, CollectError>>);

impl GpuSource for Script {
    fn read(&mut self) -> Result<Found, CollectError> {
        self.0.pop_front().unwrap()
    }
}

/// A card of a data centre, at work.
fn large() -> GpuReading {
    GpuReading {
        index: 0,
        name: "NVIDIA A100-SXM4-40GB".to_owned(),
        utilization: Some(97),
        encoder: Some(0),
        decoder: Some(12),
        memory: Some((30 << 30, 40 << 30)),
        temperature: Some(71),
        power: Some(398_512),
        energy: Some(9_000_000_000),
        clocks: vec![(GpuClockKind::Sm, 1410), (GpuClockKind::Memory, 1215)],
        throttled: Some(vec![ThrottleReason::Power]),
        processes: Some(3),
        corrected_errors: Some(17),
        uncorrected_errors: Some(0),
    }
}

/// A card of a desktop, which tells less.
fn small() -> GpuReading {
    GpuReading {
        index: 1,
        name: "NVIDIA GeForce RTX 3060".to_owned(),
        utilization: Some(0),
        memory: Some((0, 12 << 30)),
        temperature: Some(35),
        ..GpuReading::default()
    }
}

#[tokio::test]
async fn gpus_are_told_as_they_are_and_leave_the_page_when_they_are_not_known() {
    page();
    let both = || Found::Gpus(vec![(0, Ok(large())), (1, Ok(small()))]);
    let mut later = large();
    later.energy = later.energy.map(|before| before + 12_500);
    later.uncorrected_errors = Some(2);
    later.throttled = Some(vec![ThrottleReason::Thermal, ThrottleReason::Hardware]);
    let mut anew = large();
    anew.energy = Some(1_000);
    let script = Script(VecDeque::from([
        Ok(both()),
        Ok(Found::Gpus(vec![
            (0, Ok(later)),
            (1, Err("the GPU is lost".to_owned())),
        ])),
        Ok(Found::Gpus(vec![(0, Ok(anew))])),
        Ok(both()),
        Ok(Found::Nothing("the driver is not loaded".to_owned())),
        Err(CollectError("NVML: a fault".to_owned())),
    ]));
    let mut gpus = Gpu::reading(GpuConfig::default(), script);
    let now = Instant::now();
    assert_eq!(gpus.collect(now).await, Ok(Progress::Done));
    let found = series("hw_").await;
    let (id, one) = (r#"hw_id="0""#, r#"hw_name="NVIDIA A100-SXM4-40GB""#);
    let with = |name: &str, more: &str| match more {
        "" => format!("{name}{{{id},{one}}}"),
        more if more < "hw_id" => format!("{name}{{{more},{id},{one}}}"),
        more => format!("{name}{{{id},{one},{more}}}"),
    };
    for (name, more, value) in [
        ("hw_gpu_utilization_ratio", r#"hw_gpu_task="general""#, 0.97),
        ("hw_gpu_utilization_ratio", r#"hw_gpu_task="decoder""#, 0.12),
        ("hw_gpu_memory_usage_bytes", "", (30_u64 << 30) as f64),
        ("hw_gpu_memory_limit_bytes", "", (40_u64 << 30) as f64),
        ("hw_gpu_memory_utilization_ratio", "", 0.75),
        ("hw_temperature_celsius", "", 71.0),
        ("hw_power_watts", r#"hw_type="gpu""#, 398.512),
        ("hw_energy_joules_total", r#"hw_type="gpu""#, 0.0),
        ("hw_gpu_clock_hertz", r#"hw_gpu_clock_kind="sm""#, 1.41e9),
        ("hw_gpu_throttled", r#"hw_gpu_throttle_reason="power""#, 1.0),
        (
            "hw_gpu_throttled",
            r#"hw_gpu_throttle_reason="thermal""#,
            0.0,
        ),
        ("hw_gpu_processes", "", 3.0),
    ] {
        assert_series(&found, &[(&with(name, more), value)]);
    }
    // The graphics clock is not told, and the desktop's card tells little.
    assert!(!found.keys().any(|name| name.contains(r#"kind="graphics""#)));
    let of_small: Vec<_> = found.keys().filter(|n| n.contains("RTX 3060")).collect();
    assert_eq!(of_small.len(), 5, "{of_small:?}");

    assert_eq!(gpus.collect(now).await, Ok(Progress::Done));
    let found = series("hw_").await;
    assert!(!found.keys().any(|name| name.contains("RTX 3060")));
    let thermal = with("hw_gpu_throttled", r#"hw_gpu_throttle_reason="thermal""#);
    let errors =
        |kind: &str| format!(r#"hw_errors_total{{error_type="{kind}",{id},{one},hw_type="gpu"}}"#);
    let energy = with("hw_energy_joules_total", r#"hw_type="gpu""#);
    assert_series(
        &found,
        &[
            (&thermal, 1.0),
            (&errors("uncorrected"), 2.0),
            (&errors("corrected"), 0.0),
            (&energy, 12.5),
        ],
    );

    // The driver was loaded anew: what it counts began again.
    assert_eq!(gpus.collect(now).await, Ok(Progress::Done));
    assert_series(&series("hw_").await, &[(&energy, 13.5)]);

    assert_eq!(gpus.collect(now).await, Ok(Progress::Done));
    let absent = gpus.collect(now).await.unwrap();
    assert_eq!(
        absent,
        Progress::Absent("the driver is not loaded".to_owned())
    );
    let gauges = series("hw_").await.into_keys();
    let left: Vec<_> = gauges.filter(|name| !name.contains("_total{")).collect();
    assert!(left.is_empty(), "{left:?}");
    gpus.collect(now).await.unwrap_err();
}

#[tokio::test]
async fn without_the_driver_there_is_nothing_to_be_read_and_no_fault() {
    page();
    let mut gpus = Gpu::new(&GpuConfig::default()).unwrap().unwrap();
    match gpus.collect(Instant::now()).await.unwrap() {
        Progress::Absent(reason) => assert!(reason.contains("NVIDIA"), "{reason}"),
        // On a machine that has one.
        progress => assert_eq!(progress, Progress::Done),
    }
    let config = GpuConfig {
        enabled: false,
        ..GpuConfig::default()
    };
    assert!(Gpu::new(&config).unwrap().is_none());
}

#[tokio::test]
async fn a_runtime_is_watched_from_its_start() {
    page();
    let waiting = [(); 3].map(|()| tokio::spawn(std::future::pending::<()>()));
    let _collector = Supervised::start(Runtime::of(&Handle::current())).unwrap();
    let start = Time::now();
    let workers = r#"tokio_runtime_workers{tokio_runtime_name="main"}"#;
    let alive = r#"tokio_runtime_tasks_alive{tokio_runtime_name="main"}"#;
    loop {
        let found = series("tokio_runtime_").await;
        if found.contains_key(workers) {
            assert_series(&found, &[(workers, 1.0), (alive, waiting.len() as f64)]);
            break;
        }
        assert!(start.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let up = series("tachograph_collector_up{").await;
    assert_series(
        &up,
        &[(r#"tachograph_collector_up{collector="runtime"}"#, 1.0)],
    );
}
