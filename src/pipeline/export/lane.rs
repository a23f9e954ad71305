//! One signal's way to its backend: the bounded queue, what flush and shutdown wait on, and
//! how the exporter is doing.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord};
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use parking_lot::{Condvar, Mutex};
use serde::{Serialize, Serializer};
use tokio::sync::{Notify, mpsc, watch};

use super::losses::Losses;
use super::settings::{LONGEST, Target};
use crate::catalog::ClosedLabel;
use crate::pipeline::config::OtlpProtocol;
use crate::signals::pipeline::{DropReason, ExportLastSuccess, ExportSignal};

/// Flush or shutdown that did not do all it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlushError {
    /// The deadline passed. After a shutdown what was left is counted as dropped.
    #[error("not everything was exported within {0:?}")]
    Deadline(Duration),
    /// Everything was tried, but so many items were lost meanwhile.
    #[error("{0} items were lost during the export")]
    Lost(u64),
}

impl From<FlushError> for OTelSdkError {
    fn from(error: FlushError) -> Self {
        match error {
            FlushError::Deadline(timeout) => Self::Timeout(timeout),
            FlushError::Lost(_) => Self::InternalFailure(error.to_string()),
        }
    }
}

/// How the exporter of one signal is doing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExporterStatus {
    /// What it exports.
    #[serde(serialize_with = "label")]
    pub signal: ExportSignal,
    /// Where to, without credentials.
    pub endpoint: String,
    /// How.
    pub protocol: OtlpProtocol,
    /// Items waiting; metrics have no queue.
    pub queue_length: Option<usize>,
    /// Items that may wait at most.
    pub queue_capacity: Option<usize>,
    /// When an export last succeeded; nothing if none ever did.
    pub last_success: Option<jiff::Timestamp>,
    /// When an export last failed.
    pub last_failure: Option<jiff::Timestamp>,
    /// What the last failure was.
    pub last_error: Option<String>,
    /// Exports that failed since the last success, each with its retries.
    pub consecutive_failures: u64,
    /// Items that arrived.
    pub exported: u64,
    /// Items that did not, by reason, as in `tachograph.dropped`.
    pub lost: BTreeMap<&'static str, u64>,
}

fn label<L: ClosedLabel, S: Serializer>(label: &L, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(label.as_str())
}

#[derive(Debug, Default)]
struct Health {
    last_success: Option<jiff::Timestamp>,
    last_failure: Option<jiff::Timestamp>,
    last_error: Option<String>,
    consecutive_failures: u64,
    exported: u64,
}

#[derive(Debug, Default)]
struct Progress {
    /// The flush that is done.
    flushed: u64,
    /// The worker has ended; nothing more will be exported.
    ended: bool,
}

/// What the host's threads and the export thread share about one signal.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) signal: ExportSignal,
    pub(crate) losses: Losses,
    pub(crate) endpoint: String,
    protocol: OtlpProtocol,
    /// How long flush and shutdown wait when the caller names no time.
    timeout: Duration,
    /// Wakes the worker before its time.
    pub(crate) wake: Notify,
    /// A full batch has woken the worker already.
    woken: AtomicBool,
    /// The latest flush that was asked for.
    wanted: AtomicU64,
    /// When the worker must have ended; nothing before shutdown.
    stop: watch::Sender<Option<Instant>>,
    progress: Mutex<Progress>,
    changed: Condvar,
    health: Mutex<Health>,
}

impl Lane {
    pub(crate) fn new(target: &Target, report: Arc<Notify>) -> Self {
        Self {
            signal: target.signal,
            losses: Losses::new(target.signal, report),
            endpoint: target.shown(),
            protocol: target.protocol,
            timeout: target.timeout,
            wake: Notify::new(),
            woken: AtomicBool::new(false),
            wanted: AtomicU64::new(0),
            stop: watch::Sender::new(None),
            progress: Mutex::default(),
            changed: Condvar::new(),
            health: Mutex::default(),
        }
    }

    // The export thread's side.

    pub(crate) fn stop(&self) -> watch::Receiver<Option<Instant>> {
        self.stop.subscribe()
    }

    /// The flush to be done now; asked before the queue is looked at, so that what was
    /// pushed before the flush is part of it.
    pub(crate) fn wanted(&self) -> u64 {
        self.woken.store(false, Ordering::Release);
        self.wanted.load(Ordering::Acquire)
    }

    pub(crate) fn flushed(&self, wanted: u64) {
        let mut progress = self.progress.lock();
        if progress.flushed != wanted {
            progress.flushed = wanted;
            self.changed.notify_all();
        }
    }

    pub(crate) fn is_flushed(&self, wanted: u64) -> bool {
        self.progress.lock().flushed == wanted
    }

    /// Nobody needs to wait for this lane any more.
    pub(crate) fn end(&self) {
        self.progress.lock().ended = true;
        self.changed.notify_all();
    }

    pub(crate) fn succeeded(&self, items: u64) {
        let now = jiff::Timestamp::now();
        let signal = self.signal;
        ExportLastSuccess { signal }.set(now.as_millisecond() as f64 / 1000.0);
        let mut health = self.health.lock();
        health.last_success = Some(now);
        health.consecutive_failures = 0;
        health.exported += items;
    }

    pub(crate) fn failed(&self, text: String) {
        let mut health = self.health.lock();
        health.last_failure = Some(jiff::Timestamp::now());
        health.last_error = Some(text);
        health.consecutive_failures += 1;
    }

    /// Keeps what a backend said, though it took the request.
    pub(crate) fn warned(&self, text: String) {
        self.health.lock().last_error = Some(text);
    }

    pub(crate) fn last_error(&self) -> Option<String> {
        self.health.lock().last_error.clone()
    }

    // The host's side. None of it needs a runtime; waiting is on a condition variable.

    /// Asks for everything pushed so far to be exported, and waits.
    pub(crate) fn flush(&self, timeout: Duration) -> Result<(), FlushError> {
        self.start_flush().wait(timeout, deadline(timeout))
    }

    pub(crate) fn start_flush(&self) -> Flush<'_> {
        let lost = self.losses.total();
        let wanted = self.wanted.fetch_add(1, Ordering::AcqRel) + 1;
        self.wake.notify_one();
        Flush {
            lane: self,
            wanted,
            lost,
        }
    }

    /// Asks the worker to export what there is and to end; the first caller sets the time.
    pub(crate) fn start_shutdown(&self, timeout: Duration) {
        // The worker ends a little earlier, so that what is left is counted by the time
        // the caller goes on.
        let margin = (timeout / 10).min(Duration::from_millis(100));
        let at = deadline(timeout.saturating_sub(margin));
        self.stop.send_if_modified(|stop| {
            let first = stop.is_none();
            if first {
                *stop = Some(at);
            }
            first
        });
    }

    /// Waits for the worker to end.
    pub(crate) fn wait_for_end(
        &self,
        timeout: Duration,
        deadline: Instant,
    ) -> Result<(), FlushError> {
        let mut progress = self.progress.lock();
        while !progress.ended {
            if self.changed.wait_until(&mut progress, deadline).timed_out() {
                return Err(FlushError::Deadline(timeout));
            }
        }
        Ok(())
    }

    fn shutdown(&self, timeout: Duration) -> Result<(), FlushError> {
        let lost = self.losses.total();
        let deadline = deadline(timeout);
        self.start_shutdown(timeout);
        self.wait_for_end(timeout, deadline)?;
        match self.losses.total() - lost {
            0 => Ok(()),
            lost => Err(FlushError::Lost(lost)),
        }
    }

    pub(crate) fn status(&self, queue: Option<(usize, usize)>) -> ExporterStatus {
        let health = self.health.lock();
        ExporterStatus {
            signal: self.signal,
            endpoint: self.endpoint.clone(),
            protocol: self.protocol,
            queue_length: queue.map(|(length, _)| length),
            queue_capacity: queue.map(|(_, capacity)| capacity),
            last_success: health.last_success,
            last_failure: health.last_failure,
            last_error: health.last_error.clone(),
            consecutive_failures: health.consecutive_failures,
            exported: health.exported,
            lost: self.losses.by_reason(),
        }
    }
}

/// A flush under way.
pub(crate) struct Flush<'a> {
    lane: &'a Lane,
    wanted: u64,
    lost: u64,
}

impl Flush<'_> {
    pub(crate) fn wait(self, timeout: Duration, deadline: Instant) -> Result<(), FlushError> {
        let mut progress = self.lane.progress.lock();
        while progress.flushed < self.wanted && !progress.ended {
            let waited = self.lane.changed.wait_until(&mut progress, deadline);
            if waited.timed_out() {
                return Err(FlushError::Deadline(timeout));
            }
        }
        drop(progress);
        match self.lane.losses.total() - self.lost {
            0 => Ok(()),
            lost => Err(FlushError::Lost(lost)),
        }
    }
}

/// A moment so far from now, however far.
pub(crate) fn deadline(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(LONGEST)
}

thread_local! {
    /// Whether this thread belongs to export.
    static EXPORTING: Cell<bool> = const { Cell::new(false) };
}

/// Makes what happens on this thread never reach a queue. Suppression by OpenTelemetry's
/// context does not suffice: entering a span without a parent, as HTTP/2 libraries do, leaves
/// the suppressed context.
pub(crate) fn mark_export_thread() {
    EXPORTING.set(true);
}

/// The host's end of a bounded queue.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    pub(crate) lane: Arc<Lane>,
    sender: mpsc::Sender<T>,
    /// Items that make it worth waking the worker before its time.
    batch: usize,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self {
            lane: Arc::clone(&self.lane),
            sender: self.sender.clone(),
            batch: self.batch,
        }
    }
}

impl<T> Queue<T> {
    pub(crate) fn new(lane: Arc<Lane>, sender: mpsc::Sender<T>, batch: usize) -> Self {
        Self {
            lane,
            sender,
            batch,
        }
    }

    /// Adds an item that is only made if there is room. Never waits.
    fn push(&self, make: impl FnOnce() -> T) {
        use mpsc::error::TrySendError;
        if EXPORTING.get() {
            return;
        }
        match self.sender.try_reserve() {
            Ok(permit) => {
                permit.send(make());
                let woken = &self.lane.woken;
                if self.len() >= self.batch
                    && !woken.load(Ordering::Relaxed)
                    && !woken.swap(true, Ordering::AcqRel)
                {
                    self.lane.wake.notify_one();
                }
            }
            Err(TrySendError::Full(())) => self.lane.losses.lose(DropReason::QueueFull, 1),
            Err(TrySendError::Closed(())) => self.lane.losses.lose(DropReason::Shutdown, 1),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.sender.max_capacity() - self.sender.capacity()
    }

    pub(crate) fn usage(&self) -> (usize, usize) {
        (self.len(), self.sender.max_capacity())
    }
}

/// A span that has ended.
#[derive(Debug)]
pub(crate) enum QueuedSpan {
    /// As the SDK has it.
    Data(Box<SpanData>),
    /// As the bytes that go out, of our own scope.
    Written(Vec<u8>),
}

impl QueuedSpan {
    /// Its scope; none: our own.
    pub(super) fn scope(&self) -> Option<&InstrumentationScope> {
        match self {
            Self::Data(span) => Some(&span.instrumentation_scope),
            Self::Written(_) => None,
        }
    }
}

/// Takes ended spans into the bounded queue; an OpenTelemetry [`SpanProcessor`].
#[derive(Clone, Debug)]
pub struct SpanQueue(pub(crate) Queue<QueuedSpan>);

impl SpanQueue {
    pub(super) fn push(&self, make: impl FnOnce() -> QueuedSpan) {
        self.0.push(make);
    }

    /// Whether it still takes spans.
    pub(super) fn is_open(&self) -> bool {
        !self.0.sender.is_closed()
    }
}

impl SpanProcessor for SpanQueue {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.push(|| QueuedSpan::Data(Box::new(span)));
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(self.0.lane.flush(self.0.lane.timeout)?)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        Ok(self.0.lane.shutdown(timeout)?)
    }
}

/// Takes log records into the bounded queue; an OpenTelemetry [`LogProcessor`].
#[derive(Clone, Debug)]
pub struct LogQueue(pub(crate) Queue<(SdkLogRecord, InstrumentationScope)>);

impl LogProcessor for LogQueue {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        // Another processor may follow, so the record is copied, once there is room for it.
        self.0.push(|| (record.clone(), scope.clone()));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(self.0.lane.flush(self.0.lane.timeout)?)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        Ok(self.0.lane.shutdown(timeout)?)
    }
}
