//! Pings of a client, their answers, and when it is given up.

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

/// Times pings. Time in which nobody reads from the connection does not count: the answer may
/// lie there unread.
pub(super) struct Heartbeat {
    interval: Option<Duration>,
    limit: u32,
    timer: Option<Pin<Box<Sleep>>>,
    asked: Option<(Payload, Instant)>,
    number: u64,
    missed: u32,
    /// Since when nobody reads.
    left: Option<Instant>,
    unread: Duration,
}

impl Heartbeat {
    pub(super) fn new(interval: Option<Duration>, limit: u32) -> Self {
        Self {
            interval,
            limit,
            timer: None,
            asked: None,
            number: 0,
            missed: 0,
            left: None,
            unread: Duration::ZERO,
        }
    }

    /// Nobody reads from now on.
    pub(super) fn leave(&mut self, now: Instant) {
        self.left = Some(now);
    }

    /// Somebody reads again.
    pub(super) fn resume(&mut self) {
        if self.interval.is_some()
            && let Some(left) = self.left.take()
        {
            self.unread += left.elapsed();
        }
    }

    /// What is due, when nothing is there to be read; wakes the task when the next is.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Beat {
        let Some(interval) = self.interval else {
            return Beat::Quiet;
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + interval)));
        loop {
            if timer.as_mut().poll(cx) == Poll::Pending {
                return Beat::Quiet;
            }
            let now = Instant::now();
            let unread = std::mem::take(&mut self.unread);
            if self.asked.is_some() && !unread.is_zero() {
                timer.as_mut().reset(now + unread.min(interval));
                continue;
            }
            timer.as_mut().reset(now + interval);
            let missed = self.asked.take().map(|(_, asked)| now - asked);
            if let Some(since) = missed {
                self.missed += 1;
                if self.missed >= self.limit {
                    return Beat::Dead(since);
                }
            }
            self.number += 1;
            let payload = self.number.to_be_bytes();
            self.asked = Some((payload, now));
            // Once more, for the timer to know whom to wake.
            let _ = timer.as_mut().poll(cx);
            return Beat::Ping(payload, missed);
        }
    }

    /// An answer came: how long it took, if it is to the last ping.
    pub(super) fn answered(&mut self, payload: &[u8]) -> Option<Duration> {
        // A late one shows too that somebody is there.
        self.missed = 0;
        self.asked
            .take_if(|(asked, _)| asked == payload)
            .map(|(_, asked)| asked.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::task::noop_waker;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn beat(heartbeat: &mut Heartbeat) -> Beat {
        heartbeat.poll(&mut Context::from_waker(&noop_waker()))
    }

    fn pinged(heartbeat: &mut Heartbeat) -> (Payload, Option<Duration>) {
        match beat(heartbeat) {
            Beat::Ping(payload, missed) => (payload, missed),
            other => panic!("{other:?}"),
        }
    }

    async fn pass(time: Duration) {
        tokio::time::advance(time).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_time_is_timed_and_two_that_do_not_come_are_the_end() {
        let mut heartbeat = Heartbeat::new(Some(SECOND), 2);
        assert_eq!(beat(&mut heartbeat), Beat::Quiet);
        pass(SECOND * 2).await;
        let (first, missed) = pinged(&mut heartbeat);
        assert_eq!(missed, None);
        assert_eq!(heartbeat.answered(b"other"), None);
        pass(SECOND / 4).await;
        assert_eq!(heartbeat.answered(&first), Some(SECOND / 4));
        assert_eq!(heartbeat.answered(&first), None);
        pass(SECOND).await;
        let (second, missed) = pinged(&mut heartbeat);
        assert_eq!(missed, None);
        assert_ne!(first, second);
        pass(SECOND).await;
        let (_, missed) = pinged(&mut heartbeat);
        assert_eq!(missed, Some(SECOND));
        // One that is late counts as life, and is not timed.
        assert_eq!(heartbeat.answered(&second), None);
        pass(SECOND).await;
        pinged(&mut heartbeat);
        pass(SECOND).await;
        assert_eq!(beat(&mut heartbeat), Beat::Dead(SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_reads_is_not_the_client_s_fault() {
        let mut heartbeat = Heartbeat::new(Some(SECOND), 1);
        beat(&mut heartbeat);
        pass(SECOND).await;
        let (payload, _) = pinged(&mut heartbeat);
        heartbeat.leave(Instant::now());
        pass(SECOND * 10).await;
        heartbeat.resume();
        assert_eq!(beat(&mut heartbeat), Beat::Quiet);
        assert_eq!(heartbeat.answered(&payload), Some(SECOND * 10));
        pass(SECOND).await;
        pinged(&mut heartbeat);
        pass(SECOND).await;
        assert_eq!(beat(&mut heartbeat), Beat::Dead(SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_interval_there_are_no_pings() {
        let mut heartbeat = Heartbeat::new(None, 1);
        pass(SECOND * 100).await;
        assert_eq!(beat(&mut heartbeat), Beat::Quiet);
    }
}
