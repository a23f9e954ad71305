//! A circuit breaker: closed, open, half-open.
//!
//! Time is given by the caller, so that it can be driven.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::signals::resilience::{
    BreakerEvent, BreakerReason, CircuitBreakerEvent, CircuitBreakerFailures, CircuitBreakerState,
};

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Failures in a row that open it; at least 1.
    pub failures: u32,
    /// How long it lets nothing through; then one call may try.
    pub cool_down: Duration,
}

impl Default for BreakerConfig {
    /// Five failures, five seconds.
    fn default() -> Self {
        Self {
            failures: 5,
            cool_down: Duration::from_secs(5),
        }
    }
}

/// What a breaker does with calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// It lets them through.
    Closed,
    /// It lets none through.
    Open,
    /// It lets one through at a time, to see whether what it guards is back.
    HalfOpen,
}

#[derive(Clone, Copy)]
enum State {
    Closed { failures: u32 },
    Open { since: Instant, failures: u32 },
    HalfOpen { probing: bool, failures: u32 },
}

struct Inner {
    state: State,
    /// Counts changes: what was let through before one says nothing about after it.
    era: u64,
}

/// Keeps callers from waiting for something that fails.
///
/// ```
/// # #[cfg(feature = "redis")] {
/// use std::time::{Duration, Instant};
/// use tachograph::instrumentation::redis::{Breaker, BreakerConfig, BreakerState};
///
/// let config = BreakerConfig { failures: 1, cool_down: Duration::from_secs(5) };
/// let breaker = Breaker::new("main", config);
/// let start = Instant::now();
/// breaker.admit(start).unwrap().failed(start);
/// assert!(breaker.admit(start).is_none());
/// breaker.admit(start + config.cool_down).unwrap().succeeded();
/// assert_eq!(breaker.state(), BreakerState::Closed);
/// # }
/// ```
#[derive(Clone)]
pub struct Breaker {
    name: Arc<str>,
    config: BreakerConfig,
    inner: Arc<Mutex<Inner>>,
}

impl std::fmt::Debug for Breaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Breaker")
            .field("name", &self.name)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl Breaker {
    /// A closed breaker; its name stands on its metrics.
    #[must_use]
    pub fn new(name: &str, config: BreakerConfig) -> Self {
        let breaker = Self {
            name: name.into(),
            config: BreakerConfig {
                failures: config.failures.max(1),
                ..config
            },
            inner: Arc::new(Mutex::new(Inner {
                state: State::Closed { failures: 0 },
                era: 0,
            })),
        };
        breaker.report();
        breaker
    }

    /// What it does now. One that has been open long enough becomes half-open when it is asked
    /// to [`admit`](Self::admit).
    #[must_use]
    pub fn state(&self) -> BreakerState {
        match self.inner.lock().state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Asks to make a call now; `None`: it is refused.
    #[must_use]
    pub fn admit(&self, now: Instant) -> Option<Permit<'_>> {
        let mut inner = self.inner.lock();
        let probe = match inner.state {
            State::Closed { .. } => false,
            State::Open { since, failures } => {
                if now.saturating_duration_since(since) < self.config.cool_down {
                    return None;
                }
                inner.state = State::HalfOpen {
                    probing: true,
                    failures,
                };
                inner.era += 1;
                self.tell(
                    &inner,
                    BreakerEvent::HalfOpened,
                    BreakerReason::CoolDownOver,
                );
                true
            }
            State::HalfOpen { probing: true, .. } => return None,
            State::HalfOpen { failures, .. } => {
                inner.state = State::HalfOpen {
                    probing: true,
                    failures,
                };
                true
            }
        };
        Some(Permit {
            breaker: self,
            era: inner.era,
            probe,
            settled: false,
        })
    }

    /// Puts state and failures on the page.
    pub fn report(&self) {
        self.show(&self.inner.lock());
    }

    /// Takes state and failures off the page.
    pub(super) fn forget(&self) {
        let breaker = &*self.name;
        CircuitBreakerState { breaker }.remove();
        CircuitBreakerFailures { breaker }.remove();
    }

    fn show(&self, inner: &Inner) {
        let breaker = &*self.name;
        let (state, failures) = match inner.state {
            State::Closed { failures } => (0.0, failures),
            State::Open { failures, .. } => (1.0, failures),
            State::HalfOpen { failures, .. } => (2.0, failures),
        };
        CircuitBreakerState { breaker }.set(state);
        CircuitBreakerFailures { breaker }.set(f64::from(failures));
    }

    fn tell(&self, inner: &Inner, event: BreakerEvent, reason: BreakerReason) {
        let breaker = &*self.name;
        CircuitBreakerEvent {
            breaker,
            event,
            reason,
        }
        .add(1);
        self.show(inner);
        match event {
            BreakerEvent::Opened => {
                tracing::warn!(breaker, "the circuit breaker opened: calls are refused");
            }
            BreakerEvent::HalfOpened => {}
            BreakerEvent::Closed => tracing::info!(breaker, "the circuit breaker closed"),
        }
    }

    fn succeeded(&self, era: u64) {
        let mut inner = self.inner.lock();
        if inner.era != era {
            return;
        }
        match inner.state {
            State::Closed { failures: 0 } | State::Open { .. } => {}
            State::Closed { .. } => {
                inner.state = State::Closed { failures: 0 };
                self.show(&inner);
            }
            State::HalfOpen { .. } => {
                inner.state = State::Closed { failures: 0 };
                inner.era += 1;
                self.tell(&inner, BreakerEvent::Closed, BreakerReason::ProbeSucceeded);
            }
        }
    }

    fn failed(&self, era: u64, now: Instant) {
        let mut inner = self.inner.lock();
        if inner.era != era {
            return;
        }
        let (failures, reason) = match inner.state {
            State::Open { .. } => return,
            State::Closed { failures } => {
                let failures = failures.saturating_add(1);
                if failures < self.config.failures {
                    inner.state = State::Closed { failures };
                    self.show(&inner);
                    return;
                }
                (failures, BreakerReason::TooManyFailures)
            }
            State::HalfOpen { failures, .. } => {
                (failures.saturating_add(1), BreakerReason::ProbeFailed)
            }
        };
        inner.state = State::Open {
            since: now,
            failures,
        };
        inner.era += 1;
        self.tell(&inner, BreakerEvent::Opened, reason);
    }

    /// A call ended that says nothing: another may try.
    fn gave_up(&self, era: u64) {
        let mut inner = self.inner.lock();
        if inner.era != era {
            return;
        }
        if let State::HalfOpen { probing, .. } = &mut inner.state {
            *probing = false;
        }
    }
}

/// Leave to make one call. Dropped without a word, as when its caller goes away, it says nothing
/// about what the breaker guards.
#[must_use = "say how the call ended"]
#[derive(Debug)]
pub struct Permit<'b> {
    breaker: &'b Breaker,
    era: u64,
    probe: bool,
    settled: bool,
}

impl Permit<'_> {
    /// What is guarded answered.
    pub fn succeeded(mut self) {
        self.settled = true;
        self.breaker.succeeded(self.era);
    }

    /// What is guarded did not answer, or said that it cannot.
    pub fn failed(mut self, now: Instant) {
        self.settled = true;
        self.breaker.failed(self.era, now);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.probe && !self.settled {
            self.breaker.gave_up(self.era);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: BreakerConfig = BreakerConfig {
        failures: 3,
        cool_down: Duration::from_secs(5),
    };

    fn opened(now: Instant) -> Breaker {
        let breaker = Breaker::new("test", CONFIG);
        for _ in 0..CONFIG.failures {
            breaker.admit(now).unwrap().failed(now);
        }
        assert_eq!(breaker.state(), BreakerState::Open);
        breaker
    }

    #[test]
    fn only_failures_in_a_row_open_it() {
        let now = Instant::now();
        let breaker = Breaker::new("test", CONFIG);
        for _ in 0..10 {
            for _ in 1..CONFIG.failures {
                breaker.admit(now).unwrap().failed(now);
            }
            breaker.admit(now).unwrap().succeeded();
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn open_it_refuses_until_the_time_is_over_and_then_lets_one_try() {
        let start = Instant::now();
        let breaker = opened(start);
        let just_before = start + CONFIG.cool_down - Duration::from_nanos(1);
        assert!(breaker.admit(just_before).is_none());
        let now = start + CONFIG.cool_down;
        let probe = breaker.admit(now).unwrap();
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(breaker.admit(now).is_none(), "one at a time");
        probe.succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
        // It starts to count anew.
        breaker.admit(now).unwrap().failed(now);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_probe_that_fails_opens_it_for_as_long_again() {
        let start = Instant::now();
        let breaker = opened(start);
        let later = start + CONFIG.cool_down * 2;
        breaker.admit(later).unwrap().failed(later);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(breaker.admit(later + CONFIG.cool_down / 2).is_none());
        assert!(breaker.admit(later + CONFIG.cool_down).is_some());
    }

    #[test]
    fn a_probe_whose_caller_goes_away_leaves_the_next_one_its_turn() {
        let start = Instant::now();
        let breaker = opened(start);
        let now = start + CONFIG.cool_down;
        drop(breaker.admit(now).unwrap());
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        breaker.admit(now).unwrap().succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn what_was_let_through_before_a_change_says_nothing_after_it() {
        let start = Instant::now();
        let breaker = Breaker::new("test", CONFIG);
        let (late_success, late_failure) = (breaker.admit(start), breaker.admit(start));
        for _ in 0..CONFIG.failures {
            breaker.admit(start).unwrap().failed(start);
        }
        late_success.unwrap().succeeded();
        assert_eq!(breaker.state(), BreakerState::Open);
        let now = start + CONFIG.cool_down;
        breaker.admit(now).unwrap().succeeded();
        late_failure.unwrap().failed(now);
        let inner = breaker.inner.lock();
        assert!(matches!(inner.state, State::Closed { failures: 0 }));
    }
}
