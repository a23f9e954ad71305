//! Times as text, mostly without a zone.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

/// 2000-01-01T00:00:00Z.
const EARLIEST: i64 = 946_684_800;
/// How far a time may be ahead of ours, in seconds: clocks and zones that are wrong.
const MAX_AHEAD: i64 = 86_400;
/// Longest duration that is believed, in seconds: 366 days.
pub(super) const MAX_SECONDS: f64 = 366.0 * 86_400.0;

/// A point in time; two where a local time happened twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) first: Timestamp,
    pub(super) second: Timestamp,
}

/// Reads a time. One without a zone is local; an hour that a change of the clock left out is
/// taken as if the clock had not been changed (RFC 5545, section 3.3.5).
pub(super) fn parse(text: &str, zone: &TimeZone, now: Timestamp) -> Option<Moment> {
    let text = text.trim();
    let moment = match text.parse::<Timestamp>() {
        Ok(time) => Moment {
            first: time,
            second: time,
        },
        Err(_) => {
            let local: DateTime = text.parse().ok()?;
            let ambiguous = zone.to_ambiguous_timestamp(local);
            match ambiguous.offset() {
                AmbiguousOffset::Fold { .. } => Moment {
                    first: ambiguous.earlier().ok()?,
                    second: ambiguous.later().ok()?,
                },
                _ => {
                    let time = ambiguous.compatible().ok()?;
                    Moment {
                        first: time,
                        second: time,
                    }
                }
            }
        }
    };
    let believed = EARLIEST..=now.as_second().saturating_add(MAX_AHEAD);
    believed
        .contains(&moment.first.as_second())
        .then_some(moment)
}

/// Seconds from one to the other. Where a local time happened twice, the reading is taken by
/// which the end does not come before the beginning.
pub(super) fn between(begin: Moment, end: Moment) -> Option<f64> {
    [end.first, end.second].into_iter().find_map(|end| {
        let seconds = end.duration_since(begin.first).as_secs_f64();
        (seconds >= 0.0).then_some(seconds)
    })
}

/// Seconds since the Unix epoch.
pub(super) fn unix(time: Timestamp) -> f64 {
    time.as_microsecond() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-06-01T00:00:00Z".parse().unwrap()
    }

    fn berlin(text: &str) -> Option<Moment> {
        parse(text, &TimeZone::get("Europe/Berlin").unwrap(), now())
    }

    fn seconds(from: &str, to: &str) -> Option<f64> {
        between(berlin(from).unwrap(), berlin(to).unwrap())
    }

    #[test]
    fn a_time_without_a_zone_is_local_and_one_with_a_zone_is_not() {
        for text in [
            "2025-07-01T12:00:00",
            "2025-07-01 12:00:00.000",
            " 2025-07-01T10:00:00Z",
            "2025-07-01T13:00:00+03:00",
        ] {
            assert_eq!(
                berlin(text).unwrap().first.to_string(),
                "2025-07-01T10:00:00Z"
            );
        }
    }

    #[test]
    fn what_is_no_time_or_absurd_is_not_believed() {
        for text in [
            "",
            "soon",
            "2025-13-01T00:00:00",
            "0001-01-01T00:00:00",
            "9999-12-31T23:59:59",
            "2026-06-03T00:00:00",
            "1750000000",
        ] {
            assert_eq!(berlin(text), None, "{text}");
        }
    }

    #[test]
    fn the_clock_put_back_does_not_make_a_duration_negative() {
        // 02:50 and 02:10 both happened twice that night.
        assert_eq!(
            seconds("2025-10-26T02:50:00", "2025-10-26T02:10:00"),
            Some(1200.0)
        );
        assert_eq!(
            seconds("2025-10-26T01:00:00", "2025-10-26T04:00:00"),
            Some(4.0 * 3600.0)
        );
        assert_eq!(seconds("2025-10-26T04:00:00", "2025-10-26T01:00:00"), None);
    }

    #[test]
    fn the_hour_that_was_left_out_is_read_on() {
        // At 02:00 the clock went to 03:00.
        assert_eq!(
            seconds("2025-03-30T01:30:00", "2025-03-30T03:30:00"),
            Some(3600.0)
        );
        assert_eq!(
            seconds("2025-03-30T01:30:00", "2025-03-30T02:30:00"),
            Some(3600.0)
        );
    }
}
