//! OTLP export of traces, metrics and logs over gRPC and HTTP.
//!
//! ```text
//! host's threads                 the export thread
//! span ends ──► SpanQueue ──┐    ┌─► batch ─► encode ─► send, retry ─► traces backend
//! log line ──► LogQueue ────┼───►├─► batch ─► encode ─► send, retry ─► logs backend
//!               (bounded)   │    └─► every interval: collect ─► … ───► metrics backend
//! flush, shutdown ──────────┘
//! ```
//!
//! One thread with a current-thread runtime of its own serves all three, so a host needs no
//! runtime, and one that has several is not disturbed. The host's threads only ever push into
//! a bounded queue, which does not block; what finds it full is dropped and counted. Spans of
//! our own instrumentation come in as bytes already (`direct`).
//!
//! The SDK's batch processors are not used: they drop without counting until shutdown, and
//! their shutdown can wait for ever on the runtime it was called from.

mod check;
pub(crate) mod direct;
mod lane;
mod losses;
mod metrics;
mod payload;
mod settings;
mod spans;
mod transport;
mod vocabulary;
mod worker;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::Resource;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};

pub use check::{Checked, Failed, check};
pub use lane::{ExporterStatus, FlushError, LogQueue, SpanQueue};
pub use losses::LOG_TARGET;
pub use settings::ExportConfigError;
pub use transport::Fault;

use lane::{Lane, Queue, deadline};
use settings::{LONGEST, Target};
use spans::{ResourceBytes, SpansRequest};
use transport::Transport;
use worker::{Exporter, MetricsSource};

use crate::pipeline::config::{QueueConfig, TelemetryConfig};
use crate::pipeline::metrics::Collector;
use crate::vocabulary::Rendering;

use crate::signals::pipeline::{self, ExportSignal, QueueCapacity, QueueLength, QueueSaturation};

/// The exporters of this process, or none of them where no endpoint is configured.
///
/// Clones share the same exporters. When the last one is dropped without [`shutdown`], what
/// is queued is still sent for as long as the configured timeout.
///
/// [`shutdown`]: Self::shutdown
#[derive(Clone, Debug)]
pub struct Exporters(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    spans: Option<SpanQueue>,
    logs: Option<LogQueue>,
    metrics: Option<Arc<Lane>>,
    timeout: Duration,
    backends: Mutex<Vec<(String, u16)>>,
    /// Tells the export thread to look for the backends.
    probe: Notifier,
}

type Notifier = Mutex<Option<oneshot::Sender<Vec<(String, u16)>>>>;

type Task = Pin<Box<dyn Future<Output = ()>>>;

impl Exporters {
    /// Checks the configuration and starts the export thread. Backends that are away do not
    /// matter here.
    ///
    /// `resource` goes out with every request for traces and logs; without `collector`
    /// metrics are not pushed. The families of `derived` go out with them.
    ///
    /// # Errors
    /// Names the setting that cannot be used and what it accepts.
    pub fn start(
        config: &TelemetryConfig,
        resource: &Resource,
        collector: Option<Collector>,
        derived: Rendering,
    ) -> Result<Self, ExportConfigError> {
        let targets = settings::targets(&config.otlp)?;
        let mut inner = Inner {
            spans: None,
            logs: None,
            metrics: None,
            timeout: config.otlp.timeout,
            backends: Mutex::default(),
            probe: Mutex::default(),
        };
        if targets.is_empty() {
            return Ok(Self(Arc::new(inner)));
        }
        check_queue("traces.queue", &config.traces.queue)?;
        check_queue("logs.queue", &config.logs.queue)?;
        if config.metrics.export_interval.is_zero() {
            let problem = "must be longer than zero, such as `60s`";
            return Err(ExportConfigError::new("metrics.export_interval", problem));
        }

        let report = Arc::new(Notify::new());
        let mut lanes = Vec::new();
        let mut starts: Vec<Box<dyn FnOnce() -> Result<Task, ExportConfigError> + Send>> =
            Vec::new();
        let mut backends = BTreeSet::new();
        let mut derived = Some(derived).filter(|derived| !derived.families().is_empty());
        for mut target in targets {
            if target.signal == ExportSignal::Metrics && collector.is_none() {
                continue;
            }
            // What the queue or the push allows an export, where that is less.
            let export_timeout = match target.signal {
                ExportSignal::Traces => config.traces.queue.export_timeout,
                ExportSignal::Metrics => Some(config.metrics.export_timeout),
                ExportSignal::Logs => config.logs.queue.export_timeout,
            };
            if let Some(timeout) = export_timeout.filter(|timeout| !timeout.is_zero()) {
                target.timeout = target.timeout.min(timeout);
            }
            let host = target.url.host_str().unwrap_or_default();
            // An IPv6 address stands in brackets in a URL only.
            let host = host.trim_start_matches('[').trim_end_matches(']');
            backends.insert((
                host.to_owned(),
                target.url.port_or_known_default().unwrap_or_default(),
            ));
            let lane = Arc::new(Lane::new(&target, Arc::clone(&report)));
            let started = Arc::clone(&lane);
            match target.signal {
                ExportSignal::Traces => {
                    let (queue, receiver, batch, delay) = queue(&lane, &config.traces.queue);
                    inner.spans = Some(SpanQueue(queue));
                    let resource = ResourceBytes::new(resource);
                    starts.push(Box::new(move || {
                        let exporter = exporter(started, &target)?;
                        let encode = move |batch| SpansRequest::new(batch, &resource);
                        Ok(Box::pin(worker::export_queue(
                            exporter, receiver, batch, delay, encode,
                        )))
                    }));
                }
                ExportSignal::Logs => {
                    let (queue, receiver, batch, delay) = queue(&lane, &config.logs.queue);
                    inner.logs = Some(LogQueue(queue));
                    let resource = ResourceAttributesWithSchema::from(resource);
                    starts.push(Box::new(move || {
                        let exporter = exporter(started, &target)?;
                        let encode = move |batch| payload::logs(batch, &resource);
                        Ok(Box::pin(worker::export_queue(
                            exporter, receiver, batch, delay, encode,
                        )))
                    }));
                }
                ExportSignal::Metrics => {
                    let Some(collector) = collector.clone() else {
                        continue;
                    };
                    inner.metrics = Some(Arc::clone(&lane));
                    let interval = config.metrics.export_interval.min(LONGEST);
                    let source = MetricsSource::new(collector, derived.take());
                    starts.push(Box::new(move || {
                        let exporter = exporter(started, &target)?;
                        Ok(Box::pin(worker::push_metrics(exporter, interval, source)))
                    }));
                }
            }
            lanes.push(lane);
        }

        let (probe, probed) = oneshot::channel();
        inner.probe = Mutex::new(Some(probe));
        inner.backends = Mutex::new(backends.into_iter().collect());
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name("tachograph-export".to_owned())
            .spawn(move || {
                // Whatever happens on this thread must not become telemetry again.
                let _suppressed = Context::enter_telemetry_suppressed_scope();
                lane::mark_export_thread();
                run(starts, lanes, report, probed, &ready);
            })
            .map_err(|error| thread_error(&error))?;
        match started.recv() {
            Ok(result) => result?,
            Err(_) => return Err(ExportConfigError::new("otlp", "the export thread ended")),
        }
        Ok(Self(Arc::new(inner)))
    }

    /// Takes ended spans; give it to the tracer provider. Nothing if traces are not exported.
    #[must_use]
    pub fn span_processor(&self) -> Option<SpanQueue> {
        self.0.spans.clone()
    }

    /// Takes log records; give it to the logger provider. Nothing if logs are not exported.
    #[must_use]
    pub fn log_processor(&self) -> Option<LogQueue> {
        self.0.logs.clone()
    }

    /// Looks for the backends in the background and logs it once for each that is away.
    /// To be called when the subscriber is in place.
    pub fn probe(&self) {
        if let Some(probe) = self.0.probe.lock().take() {
            // The export thread may have ended already.
            let _ = probe.send(std::mem::take(&mut *self.0.backends.lock()));
        }
    }

    /// Exports all that was recorded so far, of every signal, and waits for it; from any
    /// thread, blocking it, and without need of a runtime.
    ///
    /// # Errors
    /// The deadline passed, or something was lost. A flush loses nothing itself: what could
    /// not be sent in time stays queued.
    pub fn force_flush(&self, timeout: Duration) -> Result<(), FlushError> {
        let deadline = deadline(timeout);
        let lanes = self.0.lanes();
        let flushes: Vec<_> = lanes.iter().map(|lane| lane.start_flush()).collect();
        let results = flushes
            .into_iter()
            .map(|flush| flush.wait(timeout, deadline));
        worst(results.collect())
    }

    /// Exports what is left, pushes metrics a last time and ends the export thread; as
    /// [`force_flush`](Self::force_flush) from any thread. What the backend does not take
    /// within the deadline is counted as dropped (`shutdown`). A second call waits for the
    /// first and succeeds.
    ///
    /// # Errors
    /// The deadline passed, or something was lost.
    pub fn shutdown(&self, timeout: Duration) -> Result<(), FlushError> {
        let deadline = deadline(timeout);
        let lanes = self.0.lanes();
        let lost = || -> u64 { lanes.iter().map(|lane| lane.losses.total()).sum() };
        let before = lost();
        for lane in &lanes {
            lane.start_shutdown(timeout);
        }
        let results = lanes
            .iter()
            .map(|lane| lane.wait_for_end(timeout, deadline));
        worst(results.collect())?;
        match lost() - before {
            0 => Ok(()),
            lost => Err(FlushError::Lost(lost)),
        }
    }

    /// What sets the gauges of the queues' lengths, to be called before metrics are
    /// collected. It keeps the exporters from nothing.
    pub fn queue_gauges(&self) -> impl Fn() + Send + Sync + 'static {
        let spans = self.0.spans.clone();
        let logs = self.0.logs.clone();
        move || {
            let usage = [
                spans
                    .as_ref()
                    .map(|q| (q.0.usage(), pipeline::Queue::Traces)),
                logs.as_ref().map(|q| (q.0.usage(), pipeline::Queue::Logs)),
            ];
            for ((length, capacity), queue) in usage.into_iter().flatten() {
                let (length, capacity) = (length as f64, capacity as f64);
                QueueLength { queue }.set(length);
                QueueCapacity { queue }.set(capacity);
                QueueSaturation { queue }.set(length / capacity);
            }
        }
    }

    /// How each exporter is doing; one entry for each signal that is exported.
    #[must_use]
    pub fn status(&self) -> Vec<ExporterStatus> {
        let inner = &self.0;
        let spans = inner
            .spans
            .as_ref()
            .map(|q| q.0.lane.status(Some(q.0.usage())));
        let metrics = inner.metrics.as_ref().map(|lane| lane.status(None));
        let logs = inner
            .logs
            .as_ref()
            .map(|q| q.0.lane.status(Some(q.0.usage())));
        [spans, metrics, logs].into_iter().flatten().collect()
    }
}

impl Inner {
    fn lanes(&self) -> Vec<&Lane> {
        let spans = self.spans.as_ref().map(|queue| &*queue.0.lane);
        let logs = self.logs.as_ref().map(|queue| &*queue.0.lane);
        [spans, self.metrics.as_deref(), logs]
            .into_iter()
            .flatten()
            .collect()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for lane in self.lanes() {
            lane.start_shutdown(self.timeout);
        }
    }
}

/// The deadline weighs more than a loss, and losses add up.
fn worst(results: Vec<Result<(), FlushError>>) -> Result<(), FlushError> {
    let mut lost = 0;
    for result in results {
        match result {
            Err(error @ FlushError::Deadline(_)) => return Err(error),
            Err(FlushError::Lost(n)) => lost += n,
            Ok(()) => {}
        }
    }
    if lost > 0 {
        Err(FlushError::Lost(lost))
    } else {
        Ok(())
    }
}

fn check_queue(field: &str, queue: &QueueConfig) -> Result<(), ExportConfigError> {
    // The channel holds no more than its semaphore counts.
    let longest = tokio::sync::Semaphore::MAX_PERMITS;
    let check = |name: &str, value: usize| {
        if (1..=longest).contains(&value) {
            return Ok(());
        }
        let problem = format!("must be from 1 to {longest}, not {value}");
        Err(ExportConfigError::new(format!("{field}.{name}"), problem))
    };
    check("max_queue_size", queue.max_queue_size)?;
    check("max_export_batch_size", queue.max_export_batch_size)
}

fn queue<T>(
    lane: &Arc<Lane>,
    config: &QueueConfig,
) -> (Queue<T>, mpsc::Receiver<T>, usize, Duration) {
    let (sender, receiver) = mpsc::channel(config.max_queue_size);
    let batch = config.max_export_batch_size.min(config.max_queue_size);
    let queue = Queue::new(Arc::clone(lane), sender, batch);
    (queue, receiver, batch, config.schedule_delay.min(LONGEST))
}

fn exporter(lane: Arc<Lane>, target: &Target) -> Result<Exporter, ExportConfigError> {
    let transport = Transport::new(target)?;
    Ok(Exporter::new(lane, transport, target))
}

fn thread_error(error: &std::io::Error) -> ExportConfigError {
    ExportConfigError::new("otlp", format!("the export thread cannot start: {error}"))
}

/// The export thread. Ends when every worker has.
fn run(
    starts: Vec<Box<dyn FnOnce() -> Result<Task, ExportConfigError> + Send>>,
    lanes: Vec<Arc<Lane>>,
    report: Arc<Notify>,
    probed: oneshot::Receiver<Vec<(String, u16)>>,
    ready: &std::sync::mpsc::SyncSender<Result<(), ExportConfigError>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .on_thread_start(lane::mark_export_thread)
        .thread_name("tachograph-export-blocking")
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = ready.send(Err(thread_error(&error)));
            return;
        }
    };
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let tasks: Result<Vec<Task>, _> = starts.into_iter().map(|start| start()).collect();
        let tasks = match tasks {
            Ok(tasks) => tasks,
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        let _ = ready.send(Ok(()));
        tokio::task::spawn_local(worker::report_losses(lanes, report));
        tokio::task::spawn_local(async {
            if let Ok(backends) = probed.await {
                worker::probe(backends).await;
            }
        });
        let tasks: Vec<_> = tasks.into_iter().map(tokio::task::spawn_local).collect();
        for task in tasks {
            // A worker that panicked has told its waiters already.
            let _ = task.await;
        }
    });
    drop(local);
    // A collection that hangs must not keep this thread.
    runtime.shutdown_background();
}
