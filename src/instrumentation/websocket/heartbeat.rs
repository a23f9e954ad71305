//! Pings of a client, their answers, and when it is given up.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// Nothing.
    Quiet,
    /// A ping with this payload. The one before had no answer for so long, if there was one.
    Ping(Payload, Option<Duration>),
    /// Nothing any more: the last of too many pings had no answer for so long.
    Dead(Duration),
}

/// What a ping carries, and its answer must.
pub(super) type Payload = [u8; 8];

/// Pings at an interval, timed by the runtime.
pub(super) struct Heartbeat {
    pings: Option<Pings>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Heartbeat {
    pub(super) fn new(interval: Option<Duration>, limit: u32) -> Self {
        Self {
            pings: interval.map(|interval| Pings::new(interval, limit)),
            timer: None,
        }
    }

    /// Nobody reads from now on.
    pub(super) fn leave(&mut self, now: Instant) {
        if let Some(pings) = &mut self.pings {
            pings.left = Some(now);
        }
    }

    /// Somebody reads again.
    pub(super) fn resume(&mut self) {
        if let Some(pings) = &mut self.pings
            && pings.left.is_some()
        {
            pings.resume(Instant::now());
        }
    }

    /// What is due, when nothing is there to be read; wakes the task when the next is.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Beat {
        let Some(pings) = &mut self.pings else {
            return Beat::Quiet;
        };
        let first = || Box::pin(sleep_until(Instant::now() + pings.interval));
        let timer = self.timer.get_or_insert_with(first);
        let mut beat = Beat::Quiet;
        // Once more after each beat, for the timer to know whom to wake.
        while timer.as_mut().poll(cx) == Poll::Ready(()) && beat == Beat::Quiet {
            let next;
            (beat, next) = pings.due(Instant::now());
            timer.as_mut().reset(next);
        }
        beat
    }

    /// An answer came: how long it took, if it is to the last ping.
    pub(super) fn answered(&mut self, payload: &[u8]) -> Option<Duration> {
        self.pings.as_mut()?.answered(payload, Instant::now())
    }
}

/// What was asked and answered. Time in which nobody reads from the connection does not count:
/// the answer may lie there unread.
struct Pings {
    interval: Duration,
    limit: u32,
    asked: Option<(Payload, Instant)>,
    number: u64,
    missed: u32,
    /// Since when nobody reads.
    left: Option<Instant>,
    unread: Duration,
}

impl Pings {
    fn new(interval: Duration, limit: u32) -> Self {
        Self {
            interval,
            limit,
            asked: None,
            number: 0,
            missed: 0,
            left: None,
            unread: Duration::ZERO,
        }
    }

    fn resume(&mut self, now: Instant) {
        if let Some(left) = self.left.take() {
            self.unread += now - left;
        }
    }

    /// What is due at the end of an interval, and when to ask again.
    fn due(&mut self, now: Instant) -> (Beat, Instant) {
        let unread = std::mem::take(&mut self.unread);
        if self.asked.is_some() && !unread.is_zero() {
            return (Beat::Quiet, now + unread.min(self.interval));
        }
        let next = now + self.interval;
        let missed = self.asked.take().map(|(_, asked)| now - asked);
        if let Some(since) = missed {
            self.missed += 1;
            if self.missed >= self.limit {
                return (Beat::Dead(since), next);
            }
        }
        self.number += 1;
        let payload = self.number.to_be_bytes();
        self.asked = Some((payload, now));
        (Beat::Ping(payload, missed), next)
    }

    fn answered(&mut self, payload: &[u8], now: Instant) -> Option<Duration> {
        // A late one shows too that somebody is there.
        self.missed = 0;
        self.asked
            .take_if(|(asked, _)| asked == payload)
            .map(|(_, asked)| now - asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pinged(pings: &mut Pings, now: Instant) -> (Payload, Option<Duration>) {
        match pings.due(now) {
            (Beat::Ping(payload, missed), next) => {
                assert_eq!(next, now + SECOND);
                (payload, missed)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_in_time_is_timed_and_two_that_do_not_come_are_the_end() {
        let mut pings = Pings::new(SECOND, 2);
        let mut now = Instant::now();
        let (first, missed) = pinged(&mut pings, now);
        assert_eq!(missed, None);
        assert_eq!(pings.answered(b"other", now), None);
        now += SECOND / 4;
        assert_eq!(pings.answered(&first, now), Some(SECOND / 4));
        assert_eq!(pings.answered(&first, now), None);
        now += SECOND;
        let (second, missed) = pinged(&mut pings, now);
        assert_eq!(missed, None);
        assert_ne!(first, second);
        now += SECOND;
        let (_, missed) = pinged(&mut pings, now);
        assert_eq!(missed, Some(SECOND));
        // One that is late counts as life, and is not timed.
        assert_eq!(pings.answered(&second, now), None);
        now += SECOND;
        pinged(&mut pings, now);
        now += SECOND;
        assert_eq!(pings.due(now).0, Beat::Dead(SECOND));
    }

    #[test]
    fn time_in_which_nobody_reads_is_not_the_client_s_fault() {
        let mut pings = Pings::new(SECOND, 1);
        let mut now = Instant::now();
        let (payload, _) = pinged(&mut pings, now);
        pings.left = Some(now);
        now += SECOND * 10;
        pings.resume(now);
        // One more interval, in which what lies there is read.
        assert_eq!(pings.due(now), (Beat::Quiet, now + SECOND));
        assert_eq!(pings.answered(&payload, now), Some(SECOND * 10));
        now += SECOND;
        pinged(&mut pings, now);
        now += SECOND;
        assert_eq!(pings.due(now).0, Beat::Dead(SECOND));
    }
}
