//! Supervision: rounds, their pauses, and whose turn it is.

use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::turns::{Always, Turns};
use super::{CollectError, Collector, Progress, Schedule, unix_seconds};
use crate::pipeline::collectors::{CollectorState, report};
use crate::signals::pipeline::{
    Collection, CollectionEnd, CollectorLastDuration, CollectorLastSuccess, CollectorTurn,
    CollectorUp, Outcome,
};

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
        Self::start_in_turn(collector, Always)
    }

    /// Starts a collector of something that several processes share: it reads and publishes
    /// while it is this process's turn.
    ///
    /// # Errors
    /// When the system grants no thread.
    pub fn start_in_turn<C: Collector, T: Turns>(collector: C, turns: T) -> std::io::Result<Self> {
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
                Ok(runtime) => runtime.block_on(run(collector, turns, &asked, stopped)),
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

async fn run<C: Collector, T: Turns>(
    mut collector: C,
    mut turns: T,
    asked: &Notify,
    mut stopped: watch::Receiver<bool>,
) {
    {
        let working = work(&mut collector, &mut turns, asked);
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => {}
            never = working => match never {},
        }
    }
    if T::SHARED {
        // Before the turn is given up: another may publish from then on.
        withdraw(&mut collector);
    }
}

/// Reads while it is this process's turn.
async fn work<C: Collector, T: Turns>(
    collector: &mut C,
    turns: &mut T,
    asked: &Notify,
) -> Infallible {
    let name = collector.name();
    loop {
        if T::SHARED {
            turn(name, false);
        }
        turns.take().await;
        if T::SHARED {
            turn(name, true);
        }
        tokio::select! {
            // First: what is not held any more is not read, whatever else is due.
            biased;
            () = turns.lost() => {}
            never = rounds(collector, asked) => match never {},
        }
        withdraw(collector);
    }
}

/// Says whether it is this process's turn.
fn turn(collector: &'static str, ours: bool) {
    CollectorTurn { collector }.set(f64::from(u8::from(ours)));
    tracing::info!(collector, ours, "whose turn it is to read what is shared");
    report(collector, |report| {
        report.state = match ours {
            true => CollectorState::Reading,
            false => CollectorState::Standby,
        };
        report.reason = (!ours).then(|| "another process reads it".to_owned());
    });
}

/// Takes off the page what another process will publish. When it was read last stays: the
/// latest of all processes counts.
fn withdraw<C: Collector>(collector: &mut C) {
    forget(collector);
    let collector = collector.name();
    CollectorUp { collector }.remove();
    CollectorLastDuration { collector }.remove();
}

/// Takes gauges off the page whose values are not known.
fn forget<C: Collector>(collector: &mut C) {
    if catch_unwind(AssertUnwindSafe(|| collector.unknown())).is_err() {
        tracing::error!(
            collector = collector.name(),
            "it panicked while it took its gauges off the page"
        );
    }
}

async fn rounds<C: Collector>(collector: &mut C, asked: &Notify) -> Infallible {
    let name = collector.name();
    let schedule = collector.schedule();
    let mut failures = 0_u32;
    let mut said = None;
    loop {
        let start = Instant::now();
        let result = round(collector, &schedule).await;
        tell(name, &result, start.elapsed());
        let pause = match result {
            Ok(progress) => {
                failures = 0;
                if said.take().is_some() {
                    tracing::info!(collector = name, "the collector reads again");
                }
                match progress {
                    Progress::Done | Progress::Absent(_) => jittered(schedule.interval),
                    Progress::Behind => Duration::ZERO,
                }
            }
            Err((_, reason)) => {
                forget(collector);
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

/// Publishes how a round went.
fn tell(name: &'static str, result: &Result<Progress, (Outcome, String)>, took: Duration) {
    let outcome = match result {
        Ok(_) => Outcome::Success,
        Err((outcome, _)) => *outcome,
    };
    Collection { collector: name }.record(CollectionEnd { outcome }, took);
    CollectorLastDuration { collector: name }.set(took.as_secs_f64());
    let (state, reason) = match result {
        Ok(Progress::Absent(reason)) => (CollectorState::Absent, Some(reason.clone())),
        Ok(_) => (CollectorState::Reading, None),
        Err((_, reason)) => (CollectorState::Reading, Some(reason.clone())),
    };
    let before = report(name, |report| {
        report.reason = reason;
        std::mem::replace(&mut report.state, state)
    });
    if state == CollectorState::Absent {
        CollectorUp { collector: name }.remove();
        CollectorLastSuccess { collector: name }.remove();
        if before != state {
            tracing::info!(collector = name, "there is nothing here to be read");
        }
        return;
    }
    CollectorUp { collector: name }.set(f64::from(u8::from(result.is_ok())));
    if result.is_ok() {
        CollectorLastSuccess { collector: name }.set(unix_seconds(SystemTime::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it does in its rounds, one after the other.
    struct Script(u32);

    const SCHEDULE: Schedule = Schedule {
        interval: Duration::from_secs(10),
        deadline: Duration::from_millis(50),
        longest_pause: Duration::from_secs(60),
    };

    impl Collector for Script {
        fn name(&self) -> &'static str {
            "script"
        }

        fn schedule(&self) -> Schedule {
            SCHEDULE
        }

        async fn collect(&mut self, until: Instant) -> Result<Progress, CollectError> {
            assert!(until <= Instant::now() + SCHEDULE.deadline / 2);
            self.0 += 1;
            match self.0 {
                1 => panic!("on purpose"),
                2 => std::future::pending().await,
                3 => Err(CollectError("away".to_owned())),
                _ => Ok(Progress::Done),
            }
        }

        fn unknown(&mut self) {}
    }

    #[tokio::test]
    async fn a_collector_is_asked_again_after_panics_hangs_and_failures() {
        let mut script = Script(0);
        let failed = |reason: &str| Err((Outcome::Failed, reason.to_owned()));
        assert_eq!(round(&mut script, &SCHEDULE).await, failed("it panicked"));
        let hung = round(&mut script, &SCHEDULE).await;
        assert!(matches!(hung, Err((Outcome::Timeout, _))), "{hung:?}");
        assert_eq!(round(&mut script, &SCHEDULE).await, failed("away"));
        assert_eq!(round(&mut script, &SCHEDULE).await, Ok(Progress::Done));
    }

    #[test]
    fn pauses_double_while_rounds_fail_and_no_two_are_alike() {
        let pauses: Vec<u64> = (0..6).map(|n| SCHEDULE.pause(n).as_secs()).collect();
        assert_eq!(pauses, [10, 20, 40, 60, 60, 60]);
        let steady = Schedule {
            longest_pause: Duration::ZERO,
            ..SCHEDULE
        };
        assert_eq!(steady.pause(u32::MAX), steady.interval);
        for _ in 0..100 {
            let pause = jittered(SCHEDULE.interval);
            assert!((Duration::from_secs(9)..=SCHEDULE.interval).contains(&pause));
        }
    }

    /// Turns that a test gives and takes.
    struct Given(watch::Receiver<bool>);

    impl Turns for Given {
        async fn take(&mut self) {
            let _ = self.0.wait_for(|ours| *ours).await;
        }

        async fn lost(&mut self) {
            let _ = self.0.wait_for(|ours| !*ours).await;
        }
    }

    /// Tells what is asked of it; its rounds last for ever.
    struct Told(watch::Sender<Vec<&'static str>>);

    impl Collector for Told {
        fn name(&self) -> &'static str {
            "told"
        }

        fn schedule(&self) -> Schedule {
            Schedule::every(Duration::from_secs(60), Duration::from_secs(60))
        }

        async fn collect(&mut self, _: Instant) -> Result<Progress, CollectError> {
            self.0.send_modify(|told| told.push("collect"));
            std::future::pending().await
        }

        fn unknown(&mut self) {
            self.0.send_modify(|told| told.push("unknown"));
            panic!("on purpose");
        }
    }

    #[tokio::test]
    async fn what_is_another_s_turn_is_taken_off_the_page_in_the_middle_of_a_round() {
        let (give, ours) = watch::channel(false);
        let (tell, mut told) = watch::channel(Vec::new());
        let one = Supervised::start_in_turn(Told(tell), Given(ours)).unwrap();
        let state = || crate::pipeline::collectors::reports()["told"].state;
        for turn in 1..=2 {
            assert_eq!(told.borrow().len(), (turn - 1) * 2, "read out of turn");
            give.send_replace(true);
            told.wait_for(|told| told.len() == turn * 2 - 1)
                .await
                .unwrap();
            assert_eq!(state(), CollectorState::Reading);
            give.send_replace(false);
            told.wait_for(|told| told.len() == turn * 2).await.unwrap();
        }
        assert_eq!(*told.borrow(), ["collect", "unknown", "collect", "unknown"]);
        give.send_replace(true);
        told.wait_for(|told| told.len() == 5).await.unwrap();
        assert!(one.shutdown(Duration::from_secs(30)).await);
        assert_eq!(
            told.borrow().last(),
            Some(&"unknown"),
            "who stops gives up its turn"
        );
    }

    /// Finds nothing to read.
    struct Nothing;

    impl Collector for Nothing {
        fn name(&self) -> &'static str {
            "nothing"
        }

        fn schedule(&self) -> Schedule {
            Schedule::every(Duration::from_secs(60), Duration::from_secs(60))
        }

        async fn collect(&mut self, _: Instant) -> Result<Progress, CollectError> {
            Ok(Progress::Absent("no device".to_owned()))
        }

        fn unknown(&mut self) {}
    }

    #[tokio::test]
    async fn what_is_absent_says_so_and_fails_nowhere() {
        let result = round(&mut Nothing, &SCHEDULE).await;
        assert_eq!(result, Ok(Progress::Absent("no device".to_owned())));
        tell("nothing", &result, Duration::ZERO);
        let report = crate::pipeline::collectors::reports()
            .remove("nothing")
            .unwrap();
        assert_eq!(report.state, CollectorState::Absent);
        assert_eq!(report.reason.as_deref(), Some("no device"));
    }
}
