//! Refusing an address for a while after too many attempts that failed.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Addresses that are remembered at most.
const ADDRESSES: usize = 4_096;

/// After so many failed attempts from an address within a window, the address is refused for a
/// period, also with credentials that are right. Of IPv6 addresses the first 64 bits count: one
/// host may have all of the rest (RFC 4291, section 2.5.4).
///
/// At most 4,096 addresses are remembered; beyond that the one with the fewest failures is
/// forgotten.
#[derive(Debug)]
pub struct Lockout {
    failures: u32,
    window: Duration,
    period: Duration,
    seen: Mutex<HashMap<IpAddr, Seen>>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    failures: u32,
    since: Instant,
    until: Option<Instant>,
}

impl Seen {
    fn over(&self, window: Duration, now: Instant) -> bool {
        match self.until {
            Some(until) => until <= now,
            None => now.saturating_duration_since(self.since) >= window,
        }
    }
}

impl Lockout {
    /// Locks out for `period` after `failures` attempts (1 at least) within `window`.
    #[must_use]
    pub fn new(failures: u32, window: Duration, period: Duration) -> Self {
        Self {
            failures: failures.max(1),
            window,
            period,
            seen: Mutex::default(),
        }
    }

    /// For how long the address is still refused.
    pub(super) fn left(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let until = self.seen.lock().get(&network(address))?.until?;
        Some(until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// An attempt failed; whether the address is refused from now on.
    pub(super) fn failed(&self, address: IpAddr, now: Instant) -> bool {
        let address = network(address);
        let mut seen = self.seen.lock();
        if !seen.contains_key(&address) && seen.len() >= ADDRESSES {
            seen.retain(|_, seen| !seen.over(self.window, now));
            let fewest = seen.iter().min_by_key(|(_, seen)| seen.failures);
            if seen.len() >= ADDRESSES
                && let Some((&address, _)) = fewest
            {
                seen.remove(&address);
            }
        }
        let new = Seen {
            failures: 0,
            since: now,
            until: None,
        };
        let entry = seen.entry(address).or_insert(new);
        if entry.over(self.window, now) {
            *entry = new;
        }
        entry.failures = entry.failures.saturating_add(1);
        if entry.failures < self.failures || entry.until.is_some() {
            return false;
        }
        entry.until = Some(now + self.period);
        true
    }
}

/// What an address counts as: an IPv6 client has a /64 to choose addresses from.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn lockout() -> Lockout {
        Lockout::new(3, MINUTE, 5 * MINUTE)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_locked_out_for_the_period_and_free_afterwards() {
        let (lockout, start) = (lockout(), Instant::now());
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        assert!(!lockout.failed(one, start));
        assert!(!lockout.failed(one, start + MINUTE / 2));
        assert_eq!(lockout.left(one, start + MINUTE / 2), None);
        let third = start + MINUTE - Duration::from_millis(1);
        assert!(lockout.failed(one, third));
        assert_eq!(lockout.left(one, third), Some(5 * MINUTE));
        assert_eq!(lockout.left(other, third), None);
        assert!(!lockout.failed(one, third + MINUTE), "told once");
        let last = third + 5 * MINUTE;
        assert_eq!(
            lockout.left(one, last - Duration::from_millis(1)),
            Some(Duration::from_millis(1))
        );
        assert_eq!(lockout.left(one, last), None);
        assert!(!lockout.failed(one, last), "counts anew");
    }

    #[test]
    fn failures_of_another_window_do_not_count() {
        let (lockout, start) = (lockout(), Instant::now());
        let one = address("192.0.2.1");
        assert!((0..20).all(|i| !lockout.failed(one, start + MINUTE / 2 * i)));
    }

    #[test]
    fn a_network_of_64_bits_is_one_and_a_mapped_address_is_the_one_it_maps() {
        let (lockout, now) = (lockout(), Instant::now());
        assert!(!lockout.failed(address("2001:db8::1"), now));
        assert!(!lockout.failed(address("2001:db8::2"), now));
        assert!(lockout.failed(address("2001:db8::ffff:3"), now));
        assert_eq!(lockout.left(address("2001:db8:0:1::1"), now), None);
        assert!(!lockout.failed(address("::ffff:192.0.2.1"), now));
        assert!(!lockout.failed(address("192.0.2.1"), now));
        assert!(lockout.failed(address("::ffff:192.0.2.1"), now));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_who_fails_most_stays() {
        let (lockout, now) = (lockout(), Instant::now());
        let worst = address("192.0.2.1");
        for _ in 0..3 {
            lockout.failed(worst, now);
        }
        for i in 0..3 * u32::try_from(ADDRESSES).unwrap() {
            lockout.failed(IpAddr::V4((0x0a00_0000 + i).into()), now);
        }
        assert!(lockout.seen.lock().len() <= ADDRESSES);
        assert!(lockout.left(worst, now).is_some());
    }
}
