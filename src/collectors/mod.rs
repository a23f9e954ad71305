//! Background readers of what others keep, each supervised on a thread of its own: rounds at
//! an interval with jitter, a deadline for each, isolation of panics, and a growing pause while
//! they fail. How a collector is doing is declared in [`signals::pipeline`](crate::signals::pipeline)
//! and shown on the health endpoint.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::signals::pipeline::{
    Collection, CollectionEnd, CollectorLastDuration, CollectorLastSuccess, CollectorUp, Outcome,
};

pub mod workflow_db;

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

/// What a round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Everything there was has been read.
    Done,
    /// There is more to be read; the next round follows at once.
    Behind,
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

    /// The round failed: takes gauges off the page whose values are not known now.
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
                .enable_time()
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
                let doubled = schedule.interval.saturating_mul(1 << failures.min(16));
                failures = failures.saturating_add(1);
                jittered(doubled.min(schedule.longest_pause.max(schedule.interval)))
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[derive(Default)]
    struct Script {
        rounds: Arc<AtomicU32>,
        unknown: Arc<AtomicU32>,
    }

    impl Collector for Script {
        fn name(&self) -> &'static str {
            "script"
        }

        fn schedule(&self) -> Schedule {
            Schedule {
                interval: Duration::from_secs(10),
                deadline: Duration::from_secs(20),
                longest_pause: Duration::from_secs(40),
            }
        }

        async fn collect(&mut self, _: Instant) -> Result<Progress, CollectError> {
            match self.rounds.fetch_add(1, Ordering::SeqCst) {
                0 => Ok(Progress::Behind),
                1 => panic!("on purpose"),
                2 => std::future::pending().await,
                3 => Err(CollectError("away".to_owned())),
                _ => Ok(Progress::Done),
            }
        }

        fn unknown(&mut self) {
            self.unknown.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rounds_go_on_after_panics_hangs_and_failures() {
        let script = Script::default();
        let (rounds, unknown) = (Arc::clone(&script.rounds), Arc::clone(&script.unknown));
        let trigger = Arc::new(Notify::new());
        let asked = Arc::clone(&trigger);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move { run(script, &asked, stopped).await });
        let after = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
        let count = || rounds.load(Ordering::SeqCst);
        // More to read: the second follows at once, and panics.
        after(1).await;
        assert_eq!((count(), unknown.load(Ordering::SeqCst)), (2, 1));
        // The pause after one failure is the interval; the third hangs.
        after(10).await;
        assert_eq!(count(), 3);
        // It is cancelled after 20 s, as long as the pause after the second failure.
        after(21).await;
        assert_eq!((count(), unknown.load(Ordering::SeqCst)), (4, 3));
        // After the third failure the pause is 36 s to 40 s, unless one is asked for.
        after(30).await;
        assert_eq!(count(), 4);
        trigger.notify_one();
        after(1).await;
        assert_eq!(count(), 5);
        after(10).await;
        assert_eq!(count(), 6);
        stop.send_replace(true);
        task.await.unwrap();
    }
}
