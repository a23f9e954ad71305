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
#[cfg(feature = "redis")]
pub mod celery;
#[cfg(feature = "service")]
pub mod database;
#[cfg(feature = "host")]
pub mod gpu;
#[cfg(feature = "service")]
pub mod health;
#[cfg(feature = "host")]
pub mod host;
mod missing;
#[cfg(all(feature = "service", feature = "kafka"))]
pub mod outbox;
#[cfg(feature = "redis")]
pub mod redis;
mod runner;
#[cfg(feature = "host")]
pub mod runtime;
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

/// Seconds since the Unix epoch.
fn unix_seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// What is wrong with the time between two readings: the field, and what is accepted.
#[cfg(any(feature = "host", feature = "redis"))]
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
