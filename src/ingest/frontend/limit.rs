//! How many requests are taken, of one address and of all.

use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::time::Instant;

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::instrumentation::actix::auth::network;

/// Addresses share this many buckets, which bounds memory; those that fall together share a limit.
const BUCKETS: usize = 4096;

/// Token buckets: what is not used is kept, up to a minute's worth for an address and a second's
/// for all.
#[derive(Debug)]
pub(super) struct Limiter {
    hasher: RandomState,
    of_one: Rate,
    of_all: Rate,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    each: Box<[Bucket]>,
    all: Bucket,
}

#[derive(Clone, Copy, Debug)]
struct Rate {
    most: f64,
    per_second: f64,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    /// When it was last filled; never: it is full.
    at: Option<Instant>,
}

impl Bucket {
    const FULL: Self = Self {
        left: 0.0,
        at: None,
    };

    fn fill(&mut self, now: Instant, rate: Rate) {
        self.left = match self.at {
            None => rate.most,
            Some(at) => {
                let since = now.saturating_duration_since(at).as_secs_f64();
                (self.left + since * rate.per_second).min(rate.most)
            }
        };
        self.at = Some(now);
    }
}

impl Limiter {
    pub(super) fn new(per_minute: u32, per_second: u32) -> Self {
        let rate = |most: u32, seconds: f64| Rate {
            most: f64::from(most),
            per_second: f64::from(most) / seconds,
        };
        Self {
            hasher: RandomState::default(),
            of_one: rate(per_minute, 60.0),
            of_all: rate(per_second, 1.0),
            state: Mutex::new(State {
                each: vec![Bucket::FULL; BUCKETS].into(),
                all: Bucket::FULL,
            }),
        }
    }

    /// Whether a request of this address is taken now, which it then counts.
    pub(super) fn allows(&self, now: Instant, peer: Option<IpAddr>) -> bool {
        let at = self.hasher.hash_one(peer.map(network)) as usize % BUCKETS;
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(one) = state.each.get_mut(at) else {
            return false;
        };
        one.fill(now, self.of_one);
        state.all.fill(now, self.of_all);
        // What one address is refused is not taken from the others.
        if one.left < 1.0 || state.all.left < 1.0 {
            return false;
        }
        one.left -= 1.0;
        state.all.left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn peer(text: &str) -> Option<IpAddr> {
        text.parse().ok()
    }

    #[test]
    fn one_address_is_held_back_and_refilled() {
        let limiter = Limiter::new(60, 1_000);
        let now = Instant::now();
        let taken = (0..100).filter(|_| limiter.allows(now, peer("10.0.0.1")));
        assert_eq!(taken.count(), 60);
        // Others are not held back with it, unless they are of the same network.
        assert!(limiter.allows(now, peer("10.0.0.2")));
        let later = now + Duration::from_secs(5);
        let taken = (0..100).filter(|_| limiter.allows(later, peer("10.0.0.1")));
        assert_eq!(taken.count(), 5);
        let taken = (0..100_u32).filter(|n| limiter.allows(now, peer(&format!("2001:db8::{n}"))));
        assert_eq!(taken.count(), 60);
    }

    #[test]
    fn all_together_are_held_back_too() {
        let limiter = Limiter::new(10, 50);
        let now = Instant::now();
        let flood = |now| {
            (0..200_u32)
                .filter(|n| limiter.allows(now, peer(&format!("10.1.0.{n}"))))
                .count()
        };
        assert_eq!(flood(now), 50);
        assert_eq!(flood(now), 0);
        assert_eq!(flood(now + Duration::from_secs(1)), 50);
    }
}
