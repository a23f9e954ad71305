//! Background readers of what others keep, each supervised on a thread of its own: rounds at
//! an interval with jitter, a deadline for each, isolation of panics, and a growing pause while
//! they fail. What several processes share is read by one of them at a time ([`Turns`]). How a
//! collector is doing is declared in [`signals::pipeline`](crate::signals::pipeline) and shown
//! on the health endpoint.

use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

#[cfg(feature = "service")]
pub mod business;
#[cfg(feature = "service")]
pub mod database;
#[cfg(feature = "host")]
pub mod host;
mod missing;
#[cfg(feature = "redis")]
pub mod redis;
mod runner;
mod turns;
#[cfg(feature = "service")]
pub mod workflow_db;

pub use self::missing::Missing;
pub use self::runner::Supervised;
#[cfg(feature = "service")]
pub use self::turns::PostgresTurns;
pub use self::turns::{Always, Turns};

/// When rounds happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// From the beginning of one round to that of the next; up to a tenth shorter, so that
    /// many processes do not read at once.
    pub interval: Duration,
    /// A round that takes longer is cancelled.
    pub deadline: Duration,
    /// While rounds fail the pause doubles, up to this.
    pub longest_pause: Duration,
}

impl Schedule {
    /// Rounds at an interval, each with so long at most, and pauses up to ten intervals while
    /// they fail.
    #[must_use]
    pub const fn every(interval: Duration, deadline: Duration) -> Self {
        Self {
            interval,
            deadline,
            longest_pause: interval.saturating_mul(10),
        }
    }

    /// The pause after a failure that so many came before.
    fn pause(&self, failures: u32) -> Duration {
        let doubled = self.interval.saturating_mul(1 << failures.min(16));
        doubled.min(self.longest_pause.max(self.interval))
    }
}

/// What a round came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Everything there was has been read.
    Done,
    /// There is more to be read; the next round follows at once.
    Behind,
    /// There is nothing here to be read, and that is no fault; why, in words.
    Absent(String),
}

/// Why a round failed, in words for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CollectError(pub String);

/// A reader of something that others keep.
pub trait Collector: Send + 'static {
    /// Its name on metrics and in the log.
    fn name(&self) -> &'static str;

    /// When its rounds happen.
    fn schedule(&self) -> Schedule;

    /// One round, to be ended by itself soon after `until`. It may be cancelled or panic at any
    /// point and is called again afterwards.
    ///
    /// # Errors
    /// When the source cannot be read.
    fn collect(
        &mut self,
        until: Instant,
    ) -> impl Future<Output = Result<Progress, CollectError>> + Send;

    /// The round failed, or it is another process's turn: takes gauges off the page whose
    /// values are not known now.
    fn unknown(&mut self);
}

/// A collector at work; it stops when this is dropped.
#[derive(Clone, Debug)]
pub struct Supervised {
    trigger: Arc<Notify>,
    stop: Arc<watch::Sender<bool>>,
    done: watch::Receiver<bool>,
}

impl Supervised {
    /// Starts a collector with a first round at once.
    ///
    /// # Errors
    /// When the system grants no thread.
    pub fn start<C: Collector>(collector: C) -> std::io::Result<Self> {
        let trigger = Arc::new(Notify::new());
        let (stop, stopped) = watch::channel(false);
        let (finished, done) = watch::channel(false);
        let asked = Arc::clone(&trigger);
        let name = format!("tachograph-{}", collector.name());
        thread::Builder::new().name(name).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(run(collector, &asked, stopped)),
                Err(error) => tracing::error!(%error, "a collector did not start"),
            }
            finished.send_replace(true);
        })?;
        Ok(Self {
            trigger,
            stop: Arc::new(stop),
            done,
        })
    }

    /// Asks for a round now; while one is under way, for another after it.
    pub fn collect_now(&self) {
        self.trigger.notify_one();
    }

    /// Stops it, and says whether it had ended by the deadline. May be called again.
    pub async fn shutdown(&self, deadline: Duration) -> bool {
        self.stop.send_replace(true);
        let mut done = self.done.clone();
        matches!(
            timeout(deadline, done.wait_for(|done| *done)).await,
            Ok(Ok(_))
        )
    }
}

async fn run<C: Collector>(mut collector: C, asked: &Notify, mut stopped: watch::Receiver<bool>) {
    let name = collector.name();
    let schedule = collector.schedule();
    let mut failures = 0_u32;
    let mut said = None;
    loop {
        let start = Instant::now();
        let result = tokio::select! {
            result = round(&mut collector, &schedule) => result,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        report(name, &result, start.elapsed());
        let pause = match result {
            Ok(progress) => {
                failures = 0;
                if said.take().is_some() {
                    tracing::info!(collector = name, "the collector reads again");
                }
                match progress {
                    Progress::Done => jittered(schedule.interval),
                    Progress::Behind => Duration::ZERO,
                }
            }
            Err((_, reason)) => {
                collector.unknown();
                // One line for each reason, not for each round.
                if said.as_ref() != Some(&reason) {
                    tracing::warn!(collector = name, reason, "the collector cannot read");
                    said = Some(reason);
                }
                let pause = jittered(schedule.pause(failures));
                failures = failures.saturating_add(1);
                pause
            }
        };
        tokio::select! {
            () = sleep_until(start + pause) => {}
            () = asked.notified() => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}

/// Up to a tenth shorter.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.9 + 0.1 * fastrand::f64())
}

async fn round<C: Collector>(
    collector: &mut C,
    schedule: &Schedule,
) -> Result<Progress, (Outcome, String)> {
    let until = Instant::now() + schedule.interval.min(schedule.deadline / 2);
    let mut collecting = pin!(collector.collect(until));
    let guarded = poll_fn(|context| {
        catch_unwind(AssertUnwindSafe(|| collecting.as_mut().poll(context)))
            .unwrap_or_else(|_| Poll::Ready(Err(CollectError("it panicked".to_owned()))))
    });
    match timeout(schedule.deadline, guarded).await {
        Ok(Ok(progress)) => Ok(progress),
        Ok(Err(error)) => Err((Outcome::Failed, error.0)),
        Err(_) => Err((
            Outcome::Timeout,
            format!("it took more than {:?}", schedule.deadline),
        )),
    }
}

fn report(name: &'static str, result: &Result<Progress, (Outcome, String)>, took: Duration) {
    let outcome = match result {
        Ok(_) => Outcome::Success,
        Err((outcome, _)) => *outcome,
    };
    Collection { collector: name }.record(CollectionEnd { outcome }, took);
    CollectorUp { collector: name }.set(f64::from(u8::from(result.is_ok())));
    CollectorLastDuration { collector: name }.set(took.as_secs_f64());
    if result.is_ok() {
        CollectorLastSuccess { collector: name }.set(unix_seconds(SystemTime::now()));
    }
}

/// Seconds since the Unix epoch.
fn unix_seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// What is wrong with the time between two readings: the field, and what is accepted.
#[cfg(feature = "host")]
fn check_interval(interval: Duration) -> Option<(&'static str, String)> {
    let accepted = Duration::from_secs(1)..=Duration::from_secs(3600);
    (!accepted.contains(&interval)).then(|| {
        let shown = crate::pipeline::config::duration::format(interval);
        (
            "interval",
            format!("`{shown}` is not accepted; accepted: 1s to 1h"),
        )
    })
}
