//! Times of records, held against the clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::value::RawValue;
use uuid::Uuid;

use super::wire::{Refusal, excerpt, text};

/// How far a record's time may be ahead of ours: a day, for clocks that are wrong.
const MAX_AHEAD: Duration = Duration::from_secs(86_400);
/// 2000-01-01T00:00:00Z, in microseconds.
const EARLIEST_US: i64 = 946_684_800_000_000;

/// What time it is, also after the system's clock was set back.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall_us: i64,
    /// The latest of the system's clock and what it would be had nobody set it.
    horizon_us: i64,
}

impl Clock {
    /// The present; `started` was read from both clocks at the same moment.
    #[must_use]
    pub fn now(started: (SystemTime, Instant)) -> Self {
        let ran = started.0 + started.1.elapsed();
        Self::at(SystemTime::now(), ran)
    }

    /// The system's clock, in microseconds since 1970-01-01T00:00:00Z.
    pub(super) fn now_us(self) -> i64 {
        self.wall_us
    }

    /// When the system's clock says `wall`, and `ran` is what it would say had it run freely
    /// since the start. A record's time is held against the later of the two: a clock that
    /// is set back must not turn away what was fit to be accepted a moment before.
    #[must_use]
    pub fn at(wall: SystemTime, ran: SystemTime) -> Self {
        Self {
            wall_us: micros(wall),
            horizon_us: micros(wall.max(ran) + MAX_AHEAD),
        }
    }
}

fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// When an id of version 7 was made, unless that cannot be.
pub(super) fn made_us(id: &Uuid, clock: Clock) -> Option<i64> {
    if id.get_version_num() != 7 {
        return None;
    }
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    let seconds = i64::try_from(seconds).ok()?;
    let made_us = seconds.checked_mul(1_000_000)? + i64::from(nanos / 1_000);
    (EARLIEST_US..=clock.horizon_us)
        .contains(&made_us)
        .then_some(made_us)
}

/// When it was by its sender's word.
pub(super) fn time(raw: Option<&RawValue>, clock: Clock) -> Result<Option<i64>, Refusal> {
    let Some(text) = text(raw, "time", "RFC 3339")? else {
        return Ok(None);
    };
    let refuse = |what: &str| {
        Refusal::of(
            "time",
            format!(
                "`{}` {what}; accepted is RFC 3339 from 2000 to a day ahead of the server's clock",
                excerpt(&text)
            ),
        )
    };
    let time: jiff::Timestamp = text.parse().map_err(|_| refuse("is not a time"))?;
    match time.as_microsecond() {
        early if early < EARLIEST_US => Err(refuse("is too early")),
        late if late > clock.horizon_us => Err(refuse("is in the future")),
        time_us => Ok(Some(time_us)),
    }
}
