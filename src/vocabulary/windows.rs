//! Shares of events over windows of time, from cumulative counts that are kept for as long as
//! the window lasts.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

/// Samples kept of a window: one for each of these parts of it.
const PARTS: u32 = 60;

/// Cumulative counts of one label set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Events that are the part.
    pub(super) part: u64,
    /// All of them.
    pub(super) whole: u64,
}

/// What is remembered of one window.
#[derive(Debug)]
pub(super) struct Window {
    length: Duration,
    /// When, and the counts of each label set; those added later were 0.
    samples: VecDeque<(SystemTime, Box<[Counts]>)>,
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        Self {
            length,
            samples: VecDeque::new(),
        }
    }

    /// How often a sample is taken, at most: a sixtieth of the window, and not more often than
    /// each second.
    pub(super) fn spacing(&self) -> Duration {
        (self.length / PARTS).max(Duration::from_secs(1))
    }

    /// The share of the part in the events of the window that ends now. None: there were no
    /// events, or it is not known from when on they were counted.
    ///
    /// `start` is when the label set began to count.
    pub(super) fn share(
        &self,
        now: SystemTime,
        position: usize,
        counts: Counts,
        start: SystemTime,
    ) -> Option<f64> {
        let begin = now.checked_sub(self.length)?;
        let counted = |sample: &(SystemTime, Box<[Counts]>)| {
            sample.1.get(position).copied().unwrap_or_default()
        };
        // The last sample before the window. Without one: nothing was counted before, or as
        // much of the window as was seen.
        let before = self.samples.iter().rev().find(|(at, _)| *at <= begin);
        let from = match (before, self.samples.front()) {
            (Some(sample), _) => counted(sample),
            (None, _) if start >= begin => Counts::default(),
            (None, Some(sample)) => counted(sample),
            (None, None) => return None,
        };
        let whole = counts.whole.checked_sub(from.whole)?;
        let part = counts.part.checked_sub(from.part)?;
        (whole > 0).then(|| part as f64 / whole as f64)
    }

    /// Remembers the counts of this moment, if the last sample is old enough.
    pub(super) fn remember(&mut self, now: SystemTime, counts: impl Iterator<Item = Counts>) {
        // The clock was set back.
        self.samples.retain(|(at, _)| *at <= now);
        if let Some((last, _)) = self.samples.back()
            && now
                .duration_since(*last)
                .is_ok_and(|age| age < self.spacing())
        {
            return;
        }
        self.samples.push_back((now, counts.collect()));
        let Some(begin) = now.checked_sub(self.length) else {
            return;
        };
        // One before the window is needed.
        while self.samples.get(1).is_some_and(|(at, _)| *at <= begin) {
            self.samples.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn counts(part: u64, whole: u64) -> Counts {
        Counts { part, whole }
    }

    #[test]
    fn a_share_is_that_of_the_window() {
        let mut window = Window::new(Duration::from_secs(60));
        let share = |window: &Window, now, c| window.share(at(now), 0, c, at(0));
        assert_eq!(share(&window, 0, counts(0, 0)), None);
        window.remember(at(0), [counts(0, 0)].into_iter());
        // Younger than the window: everything since the start.
        assert_eq!(share(&window, 30, counts(3, 4)), Some(0.75));
        window.remember(at(30), [counts(3, 4)].into_iter());
        window.remember(at(60), [counts(3, 6)].into_iter());
        // From 30 to 90.
        assert_eq!(share(&window, 90, counts(3, 8)), Some(0.0));
        // From 60 on nothing happened.
        window.remember(at(90), [counts(3, 8)].into_iter());
        window.remember(at(120), [counts(3, 8)].into_iter());
        window.remember(at(150), [counts(3, 8)].into_iter());
        assert_eq!(share(&window, 150, counts(3, 8)), None);
    }

    #[test]
    fn what_was_counted_before_anybody_looked_is_not_in_it() {
        let mut window = Window::new(Duration::from_secs(60));
        assert_eq!(window.share(at(500), 0, counts(9, 10), at(0)), None);
        window.remember(at(500), [counts(9, 10)].into_iter());
        assert_eq!(window.share(at(510), 0, counts(9, 12), at(0)), Some(0.0));
        // A label set that came after the sample was at 0 then.
        assert_eq!(window.share(at(600), 1, counts(1, 2), at(550)), Some(0.5));
    }

    #[test]
    fn samples_are_bounded_and_a_clock_may_be_set_back() {
        let mut window = Window::new(Duration::from_secs(60));
        for second in 0..10_000 {
            window.remember(at(second), [counts(second, second)].into_iter());
            assert!(window.samples.len() <= 62, "{}", window.samples.len());
        }
        window.remember(at(5_000), [counts(10_000, 10_000)].into_iter());
        assert_eq!(window.samples.len(), 1);
        let mut long = Window::new(Duration::from_secs(7 * 86_400));
        for minute in 0..100_000 {
            long.remember(at(60 * minute), std::iter::empty());
        }
        assert!(long.samples.len() <= 62, "{}", long.samples.len());
    }
}
