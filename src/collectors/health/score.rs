//! How well a target was of late.

use std::collections::VecDeque;

/// Checks that count.
const RECENT: usize = 20;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// As it should.
    Ok,
    /// As it should, but late.
    Degraded,
    /// As it should not.
    Failed,
}

impl Mark {
    const fn weight(self) -> f64 {
        match self {
            Self::Ok => 1.0,
            Self::Degraded => 0.5,
            Self::Failed => 0.0,
        }
    }
}

/// The marks of the last checks.
#[derive(Clone, Debug, Default)]
pub(super) struct History(VecDeque<Mark>);

impl History {
    /// Adds the latest.
    pub(super) fn push(&mut self, mark: Mark) {
        if self.0.len() == RECENT {
            self.0.pop_front();
        }
        self.0.push_back(mark);
    }

    /// The latest.
    pub(super) fn last(&self) -> Option<Mark> {
        self.0.back().copied()
    }

    /// Their mean, 0 to 1; `None` before the first.
    pub(super) fn score(&self) -> Option<f64> {
        mean(self.0.iter().map(|mark| mark.weight()))
    }
}

/// The mean of some numbers; `None` of none.
pub(super) fn mean(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = numbers.fold((0.0, 0_u32), |(sum, count), number| {
        (sum + number, count + 1)
    });
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(marks: &[Mark]) -> History {
        let mut history = History::default();
        marks.iter().for_each(|mark| history.push(*mark));
        history
    }

    #[test]
    fn before_the_first_check_nothing_is_known() {
        assert_eq!(of(&[]).score(), None);
        assert_eq!(of(&[]).last(), None);
        assert_eq!(mean(std::iter::empty()), None);
    }

    #[test]
    fn one_that_is_degraded_counts_half() {
        assert_eq!(of(&[Mark::Ok]).score(), Some(1.0));
        assert_eq!(of(&[Mark::Degraded]).score(), Some(0.5));
        assert_eq!(of(&[Mark::Failed]).score(), Some(0.0));
        let mixed = [Mark::Ok, Mark::Degraded, Mark::Failed, Mark::Failed];
        assert_eq!(of(&mixed).score(), Some(0.375));
        assert_eq!(of(&mixed).last(), Some(Mark::Failed));
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let mut history = of(&[Mark::Failed; 100]);
        for ok in 1..=RECENT {
            history.push(Mark::Ok);
            assert_eq!(history.score(), Some(ok as f64 / RECENT as f64));
        }
    }

    proptest! {
        #[test]
        fn a_score_is_a_share(
            marks in proptest::collection::vec(
                prop_oneof![Just(Mark::Ok), Just(Mark::Degraded), Just(Mark::Failed)],
                1..60,
            )
        ) {
            let score = of(&marks).score();
            prop_assert!(score.is_some_and(|score| (0.0..=1.0).contains(&score)));
        }
    }
}
