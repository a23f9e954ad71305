//! What runs on the export thread: one task a signal that takes batches, encodes, sends and
//! retries, and one that writes the log lines about losses.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::lane::Lane;
use super::losses::LOG_TARGET;
use super::metrics;
use super::payload::{MAX_REQUEST_BYTES, MetricsRequest, OtlpRequest};
use super::settings::Target;
use super::transport::{Retry, SendError, Transport};
use super::vocabulary;
use crate::pipeline::metrics::Collector;
use crate::signals::pipeline::{DropReason, Export, ExportEnd, ExportOutcome, ExportRetried};
use crate::vocabulary::Rendering;

const SHORTEST_BACKOFF: Duration = Duration::from_millis(20);
const LONGEST_FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// A backend's wish to be left alone is followed this far; meanwhile the queue holds.
const LONGEST_HOLD: Duration = Duration::from_secs(60);

/// Sends the requests of one signal.
pub(crate) struct Exporter {
    lane: Arc<Lane>,
    transport: Transport,
    timeout: Duration,
    max_retries: u32,
    stop: watch::Receiver<Option<std::time::Instant>>,
    /// The backend asked not to be called before.
    hold: Option<Instant>,
}

impl Exporter {
    pub(crate) fn new(lane: Arc<Lane>, transport: Transport, target: &Target) -> Self {
        Self {
            stop: lane.stop(),
            lane,
            transport,
            timeout: target.timeout,
            max_retries: target.max_retries,
            hold: None,
        }
    }

    fn stopping(&self) -> Option<Instant> {
        self.stop.borrow().map(Instant::from_std)
    }

    /// Waits for `until`, a wake-up or shutdown; says whether it was `until`.
    async fn pause(&mut self, until: Instant) -> bool {
        if self.stopping().is_some() {
            return false;
        }
        tokio::select! {
            () = sleep_until(until) => true,
            () = self.lane.wake.notified() => false,
            _ = self.stop.changed() => false,
        }
    }

    /// Sleeps, but not longer than until shutdown begins.
    async fn rest(&mut self, until: Instant) {
        if self.stopping().is_none() {
            tokio::select! {
                () = sleep_until(until) => {}
                _ = self.stop.changed() => {}
            }
        }
    }

    /// Exports a request in as many parts as its size asks for, and accounts for all of it.
    async fn export<R: OtlpRequest>(&mut self, request: R) {
        let mut parts = vec![request];
        while let Some(part) = parts.pop() {
            let items = part.items();
            if items == 0 {
                continue;
            }
            let body = part.encode();
            let bytes = body.len();
            if bytes <= MAX_REQUEST_BYTES {
                self.export_part::<R>(body.into(), items as u64).await;
                continue;
            }
            match part.split() {
                Ok((first, second)) => parts.extend([second, first]),
                Err(_) => {
                    let text = format!("one item of {bytes} bytes is too large to be sent");
                    self.lose(DropReason::TooLarge, items as u64, text);
                }
            }
        }
    }

    async fn export_part<R: OtlpRequest>(&mut self, body: bytes::Bytes, items: u64) {
        let lost = self.lane.losses.total();
        if let Some(hold) = self.hold.take() {
            self.rest(hold).await;
        }
        let begun = Instant::now();
        let delivered = self.deliver(body).await.map(|reply| R::partial(&reply));
        let outcome = match &delivered {
            Ok(None) => ExportOutcome::Success,
            Ok(Some(partial)) if partial.rejected == 0 => ExportOutcome::Success,
            Ok(Some(_)) => ExportOutcome::Partial,
            Err(error) => outcome(error.reason),
        };
        let signal = self.lane.signal;
        Export { signal }.record(ExportEnd { outcome }, begun.elapsed());
        let partial = match delivered {
            Ok(partial) => partial,
            Err(error) => return self.lose(error.reason, items, error.text),
        };
        match partial {
            None => {
                self.lane.succeeded(items);
                self.lane.losses.recovered(lost, &self.lane.endpoint);
            }
            Some(partial) => {
                let rejected = partial.rejected.min(items);
                self.lane.succeeded(items - rejected);
                self.lane
                    .warned(format!("partial success: {}", partial.message));
                self.lane.losses.lose(DropReason::Partial, rejected);
            }
        }
    }

    fn lose(&self, reason: DropReason, items: u64, text: String) {
        self.lane.failed(text);
        self.lane.losses.lose(reason, items);
        let error = self.lane.last_error();
        self.lane
            .losses
            .announce(&self.lane.endpoint, error.as_deref());
    }

    /// Sends one encoded request, again and again while that makes sense and time is left.
    async fn deliver(&mut self, body: bytes::Bytes) -> Result<bytes::Bytes, SendError> {
        let deadline = Instant::now() + self.timeout;
        let mut attempt = 0;
        loop {
            // Retries end with shutdown, but for one that has all the time that is left.
            let last = attempt >= self.max_retries || self.stopping().is_some();
            let error = match self.attempt(deadline, body.clone()).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let wait = match error.retry {
                Retry::No => return Err(error),
                Retry::Yes => self.backoff(attempt),
                Retry::After(delay) => {
                    let delay = delay.min(LONGEST_HOLD).max(self.backoff(attempt));
                    self.hold = Some(Instant::now() + delay);
                    delay
                }
            };
            let again = Instant::now() + wait;
            if last || again >= deadline {
                return Err(error);
            }
            self.hold = None;
            self.rest(again).await;
            attempt += 1;
            let signal = self.lane.signal;
            ExportRetried { signal }.add(1);
        }
    }

    /// Exponential, starting so that the default of three retries fits the time of an export;
    /// half of it is left to chance so that processes do not move in step.
    fn backoff(&self, attempt: u32) -> Duration {
        use std::hash::{BuildHasher as _, Hasher as _};
        let first = (self.timeout / 16).clamp(SHORTEST_BACKOFF, LONGEST_FIRST_BACKOFF);
        let half = first
            .saturating_mul(1 << attempt.min(10))
            .min(LONGEST_BACKOFF)
            / 2;
        let random = std::hash::RandomState::new().build_hasher().finish() >> 32;
        half + half.mul_f64(random as f64 / f64::from(u32::MAX))
    }

    async fn attempt(
        &mut self,
        deadline: Instant,
        body: bytes::Bytes,
    ) -> Result<bytes::Bytes, SendError> {
        let done = within(&mut self.stop, deadline, self.transport.send(body)).await;
        match done {
            Ok(result) => result,
            Err(reason) => {
                self.transport.reconnect();
                let text = match reason {
                    DropReason::Shutdown => "shut down before the backend answered".to_owned(),
                    _ => format!("no answer within {:?}", self.timeout),
                };
                Err(SendError::new(reason, Retry::No, text))
            }
        }
    }
}

fn outcome(reason: DropReason) -> ExportOutcome {
    match reason {
        DropReason::Timeout => ExportOutcome::Timeout,
        DropReason::Refused => ExportOutcome::Refused,
        DropReason::Unavailable => ExportOutcome::Unavailable,
        DropReason::Encoding => ExportOutcome::Encoding,
        DropReason::Shutdown => ExportOutcome::Abandoned,
        _ => ExportOutcome::Rejected,
    }
}

/// Runs `work` until it is done, `deadline` passes or shutdown's deadline does; on the
/// latter two says which.
async fn within<T>(
    stop: &mut watch::Receiver<Option<std::time::Instant>>,
    deadline: Instant,
    work: impl Future<Output = T>,
) -> Result<T, DropReason> {
    let mut work = std::pin::pin!(work);
    loop {
        let stopping = stop.borrow().map(Instant::from_std);
        let until = stopping.map_or(deadline, |stopping| stopping.min(deadline));
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            () = sleep_until(until) => {
                let stopped = stopping.is_some_and(|stopping| stopping < deadline);
                return Err(if stopped { DropReason::Shutdown } else { DropReason::Timeout });
            }
            _ = stop.changed(), if stopping.is_none() => {}
        }
    }
}

/// Tells everyone who waits when a worker ends, whichever way.
struct Ending(Arc<Lane>);

impl Drop for Ending {
    fn drop(&mut self) {
        // The reporter may not have had its turn for what was lost last, and the process may
        // end as soon as the lane has.
        let lane = &self.0;
        lane.losses
            .announce(&lane.endpoint, lane.last_error().as_deref());
        lane.end();
    }
}

/// Exports what comes out of a queue, in batches of `batch` items, each after `delay` at
/// the latest, until shutdown.
pub(crate) async fn export_queue<T, R: OtlpRequest>(
    mut exporter: Exporter,
    mut queue: mpsc::Receiver<T>,
    batch: usize,
    delay: Duration,
    encode: impl Fn(Vec<T>) -> R,
) {
    let lane = Arc::clone(&exporter.lane);
    let _ending = Ending(Arc::clone(&lane));
    let delay = delay.max(Duration::from_millis(1));
    let mut tick = Instant::now() + delay;
    loop {
        let ticked = exporter.pause(tick).await;
        if exporter.stopping().is_some() {
            break;
        }
        let wanted = lane.wanted();
        // What a tick or a flush owes is what waits now; what comes later waits its turn.
        let mut owed = 0;
        if ticked || !lane.is_flushed(wanted) {
            owed = queue.len();
        }
        while (owed > 0 || queue.len() >= batch) && exporter.stopping().is_none() {
            let mut items = Vec::with_capacity(batch.min(queue.len()));
            if queue.recv_many(&mut items, batch).await == 0 {
                break;
            }
            owed = owed.saturating_sub(items.len());
            export_batch(&mut exporter, items, &encode).await;
        }
        if exporter.stopping().is_none() {
            lane.flushed(wanted);
        }
        if ticked {
            tick = Instant::now() + delay;
        }
    }
    // From here on pushes are turned away and counted there.
    queue.close();
    loop {
        let mut items = Vec::new();
        if queue.recv_many(&mut items, batch).await == 0 {
            break;
        }
        if exporter
            .stopping()
            .is_some_and(|stop| stop <= Instant::now())
        {
            let text = "shut down before everything was exported".to_owned();
            exporter.lose(DropReason::Shutdown, items.len() as u64, text);
        } else {
            export_batch(&mut exporter, items, &encode).await;
        }
    }
}

async fn export_batch<T, R: OtlpRequest>(
    exporter: &mut Exporter,
    items: Vec<T>,
    encode: &impl Fn(Vec<T>) -> R,
) {
    let count = items.len() as u64;
    // The conversion is a library's; a value it does not know must not end the export.
    match std::panic::catch_unwind(AssertUnwindSafe(|| encode(items))) {
        Ok(request) => exporter.export(request).await,
        Err(_) => {
            let text = "a batch could not be encoded".to_owned();
            exporter.lose(DropReason::Encoding, count, text);
        }
    }
}

/// What is pushed as metrics; cheap to clone.
#[derive(Clone)]
pub(crate) struct MetricsSource {
    collector: Collector,
    /// What goes out under other names beside our own.
    derived: Option<Arc<Mutex<Rendering>>>,
}

impl MetricsSource {
    pub(crate) fn new(collector: Collector, derived: Option<Rendering>) -> Self {
        Self {
            collector,
            derived: derived.map(|derived| Arc::new(Mutex::new(derived))),
        }
    }

    fn request(&self) -> MetricsRequest {
        let collector = &self.collector;
        let mut request = metrics::request(collector.collect(), collector.resource());
        let derived = self.derived.as_ref();
        let scope = derived.and_then(|derived| vocabulary::scope(&mut derived.lock()));
        if let Some(resource) = request.resource_metrics.first_mut() {
            resource.scope_metrics.extend(scope);
        }
        request
    }
}

/// Collects and pushes metrics every `interval`, and once more at shutdown.
pub(crate) async fn push_metrics(
    mut exporter: Exporter,
    interval: Duration,
    source: MetricsSource,
) {
    let lane = Arc::clone(&exporter.lane);
    let _ending = Ending(Arc::clone(&lane));
    let mut tick = Instant::now() + interval;
    let mut collection = None;
    loop {
        let ticked = exporter.pause(tick).await;
        let stopping = exporter.stopping().is_some();
        let wanted = lane.wanted();
        if stopping || ticked || !lane.is_flushed(wanted) {
            push(&mut exporter, &mut collection, &source).await;
        }
        if stopping {
            break;
        }
        // A push that shutdown interrupted is not what the flush asked for.
        if exporter.stopping().is_none() {
            lane.flushed(wanted);
        }
        if ticked {
            tick = Instant::now() + interval;
        }
    }
}

/// A collection under way.
type Collection = JoinHandle<MetricsRequest>;

async fn push(exporter: &mut Exporter, slot: &mut Option<Collection>, source: &MetricsSource) {
    // Collection calls into the host (hooks) and may block, so it runs beside the runtime. One that hangs is waited for, never joined by a second.
    let mut running = slot.take().unwrap_or_else(|| {
        let source = source.clone();
        tokio::task::spawn_blocking(move || {
            let _suppressed = Context::enter_telemetry_suppressed_scope();
            source.request()
        })
    });
    let deadline = Instant::now() + exporter.timeout;
    let problem = match within(&mut exporter.stop, deadline, &mut running).await {
        Ok(Ok(request)) => return exporter.export(request).await,
        Ok(Err(panicked)) => panicked.to_string(),
        Err(_) => {
            *slot = Some(running);
            format!("not done within {:?}", exporter.timeout)
        }
    };
    let text = format!("metrics could not be collected: {problem}");
    exporter.lose(DropReason::Collect, 1, text);
}

/// Writes the line that says that losing has started, for losses on the host's threads.
pub(crate) async fn report_losses(lanes: Vec<Arc<Lane>>, report: Arc<Notify>) {
    loop {
        report.notified().await;
        for lane in &lanes {
            lane.losses
                .announce(&lane.endpoint, lane.last_error().as_deref());
        }
    }
}

/// Tries each backend's port once and says it once if one is away.
pub(crate) async fn probe(backends: Vec<(String, u16)>) {
    const PATIENCE: Duration = Duration::from_secs(3);
    for (host, port) in backends {
        let connect = tokio::net::TcpStream::connect((host.as_str(), port));
        let problem = match tokio::time::timeout(PATIENCE, connect).await {
            Ok(Ok(_)) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no connection within {PATIENCE:?}"),
        };
        tracing::warn!(
            target: LOG_TARGET,
            host,
            port,
            error = problem,
            "the OTLP backend is away; telemetry is queued and will be dropped when that is full",
        );
    }
}
