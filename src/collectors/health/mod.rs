//! Health of what the service does not run itself: targets that are asked at an interval, each
//! with its own time, many at once but not all.
//!
//! Each check opens a connection of its own, so that it tells whether that can be done. Every
//! service checks for itself: what one of them cannot reach, others may.

mod config;
mod http;
mod observed;
mod probe;
mod score;
mod stores;
mod target;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

pub use self::config::{HealthConfig, Method, TargetConfig};
use self::target::Target;
use super::{CollectError, Collector, Progress, Schedule};
use crate::signals::health::HealthScore;

const NAME: &str = "health";
/// Checks under way at once.
const AT_ONCE: usize = 16;
/// Time between two looks at which targets are due.
const LOOKS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(500)..=Duration::from_secs(5);

/// Checks targets.
pub struct HealthChecks {
    targets: Arc<[Arc<Target>]>,
    /// Between two looks at which targets are due.
    look: Duration,
    looked: Option<Instant>,
    permits: Arc<Semaphore>,
    under_way: JoinSet<()>,
}

impl std::fmt::Debug for HealthChecks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HealthChecks")
            .field("targets", &self.targets.len())
            .finish_non_exhaustive()
    }
}

impl HealthChecks {
    /// The collector of a configuration; `None`: it names no target.
    ///
    /// # Errors
    /// As [`HealthConfig::check`]: the field, and what is accepted; files that cannot be used.
    pub fn new(config: &HealthConfig) -> Result<Option<Self>, String> {
        if let Some((field, problem)) = config.check().into_iter().next() {
            return Err(format!("{field}: {problem}"));
        }
        let Some(shortest) = config.targets.iter().map(|target| target.interval).min() else {
            return Ok(None);
        };
        let targets = config.targets.iter().map(|target| {
            let made = Target::new(target.clone()).map(Arc::new);
            made.map_err(|problem| format!("targets: {}: {problem}", target.name))
        });
        Ok(Some(Self {
            targets: targets.collect::<Result<_, _>>()?,
            look: (shortest / 2).clamp(*LOOKS.start(), *LOOKS.end()),
            looked: None,
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            under_way: JoinSet::new(),
        }))
    }

    /// Whether a look was asked for, as it comes before its time.
    fn asked_for(&mut self, now: Instant) -> bool {
        let before = self.looked.replace(now);
        before.is_some_and(|before| now - before < self.look.mul_f64(0.8))
    }
}

/// Puts the mean of all targets' scores on the page.
fn show_score(targets: &[Arc<Target>]) {
    let scores = targets.iter().filter_map(|target| target.score());
    if let Some(score) = score::mean(scores) {
        HealthScore {}.set(score);
    }
}

impl Collector for HealthChecks {
    fn name(&self) -> &'static str {
        NAME
    }

    fn schedule(&self) -> Schedule {
        Schedule::every(self.look, Duration::from_secs(30))
    }

    /// Begins the checks that are due, all of them when it is called before its time, and waits
    /// for their end, not beyond `until`: a check that takes longer goes on beside the next rounds.
    async fn collect(&mut self, until: Instant) -> Result<Progress, CollectError> {
        let now = Instant::now();
        let all = self.asked_for(now);
        for target in &*self.targets {
            if !target.begin(now + self.look / 2, all) {
                continue;
            }
            let (target, permits) = (Arc::clone(target), Arc::clone(&self.permits));
            let targets = Arc::clone(&self.targets);
            self.under_way.spawn(async move {
                let begun = target.begun();
                // The semaphore is never closed.
                let _permit = permits.acquire().await;
                target.check().await;
                drop(begun);
                show_score(&targets);
            });
        }
        while let Ok(Some(ended)) = timeout_at(until, self.under_way.join_next()).await {
            if ended.is_err_and(|error| error.is_panic()) {
                tracing::error!(collector = NAME, "a check panicked");
            }
        }
        Ok(Progress::Done)
    }

    fn unknown(&mut self) {
        self.under_way.abort_all();
        self.targets.iter().for_each(|target| target.forget());
        HealthScore {}.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks(targets: &[TargetConfig]) -> HealthChecks {
        let config = HealthConfig {
            targets: targets.to_vec(),
        };
        HealthChecks::new(&config).unwrap().unwrap()
    }

    #[test]
    fn without_targets_there_is_nothing_to_do() {
        assert!(
            HealthChecks::new(&HealthConfig::default())
                .unwrap()
                .is_none()
        );
        let config = HealthConfig {
            targets: vec![TargetConfig::new("one", "rediss://localhost/#insecure")],
        };
        let refused = HealthChecks::new(&config).unwrap_err();
        assert!(refused.starts_with("targets: one: "), "{refused}");
    }

    #[test]
    fn looks_come_twice_in_the_shortest_interval() {
        let every = |seconds| TargetConfig {
            interval: Duration::from_secs(seconds),
            ..TargetConfig::new(&seconds.to_string(), "tcp://localhost:1")
        };
        for (intervals, expected) in [(&[1][..], 500), (&[60, 4], 2_000), (&[3600], 5_000)] {
            let targets: Vec<_> = intervals.iter().map(|seconds| every(*seconds)).collect();
            let schedule = checks(&targets).schedule();
            assert_eq!(schedule.interval, Duration::from_millis(expected));
        }
    }

    #[test]
    fn a_look_before_its_time_was_asked_for() {
        let mut checks = checks(&[TargetConfig::new("one", "tcp://localhost:1")]);
        let start = Instant::now();
        assert!(!checks.asked_for(start));
        // Rounds come up to a tenth early by themselves.
        let usual = start + checks.look.mul_f64(0.9);
        assert!(!checks.asked_for(usual));
        assert!(checks.asked_for(usual + checks.look / 4));
    }
}
