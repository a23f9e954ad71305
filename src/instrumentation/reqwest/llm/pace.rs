//! How fast a streamed answer comes.

use std::time::{Duration, Instant};

/// Shortest time over which a speed means something: below it answers come in a few pieces of
/// the network, however fast the model was.
const SHORTEST: Duration = Duration::from_millis(50);

/// When pieces of an answer came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    start: Instant,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Pace {
    pub(super) fn new(start: Instant) -> Self {
        Self {
            start,
            first: None,
            last: None,
        }
    }

    /// A piece came; the time since the one before, if there was one.
    pub(super) fn chunk(&mut self, now: Instant) -> Option<Duration> {
        self.first.get_or_insert(now);
        let before = self.last.replace(now)?;
        Some(now.saturating_duration_since(before))
    }

    /// Seconds from the start to the first piece.
    pub(super) fn first_chunk(&self) -> Option<f64> {
        let first = self.first?.saturating_duration_since(self.start);
        Some(first.as_secs_f64())
    }

    /// Tokens a second between the first and the last piece; `None` if that is no time.
    pub(super) fn speed(&self, tokens: u64) -> Option<f64> {
        let took = self.last?.saturating_duration_since(self.first?);
        (took >= SHORTEST).then(|| tokens as f64 / took.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_chunk_gaps_and_speed_follow_from_when_pieces_came() {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let mut pace = Pace::new(start);
        assert_eq!((pace.first_chunk(), pace.speed(10)), (None, None));
        assert_eq!(pace.chunk(at(400)), None);
        assert_eq!((pace.first_chunk(), pace.speed(10)), (Some(0.4), None));
        assert_eq!(pace.chunk(at(430)), Some(Duration::from_millis(30)));
        assert_eq!(pace.speed(10), None);
        assert_eq!(pace.chunk(at(2_400)), Some(Duration::from_millis(1_970)));
        assert_eq!(pace.chunk(at(2_300)), Some(Duration::ZERO));
        assert_eq!(pace.chunk(at(2_400)), Some(Duration::from_millis(100)));
        assert_eq!(
            (pace.first_chunk(), pace.speed(80)),
            (Some(0.4), Some(40.0))
        );
    }
}
