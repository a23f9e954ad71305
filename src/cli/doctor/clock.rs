//! The clocks: metrics and spans that come with a wrong time are refused, or lost to a query.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

use super::finding::Finding;

/// Nothing that runs this program has an earlier date: 2026-01-01.
const EARLIEST: i64 = 1_767_225_600;
/// Differences in whole seconds are said from here on.
const SLIGHT: i64 = 5;
/// Backends refuse what is further ahead.
const GRAVE: i64 = 300;

/// Whether the wall clock tells a possible time and went as far as the steady one did.
pub(super) fn steady(steady: Instant, wall: SystemTime) -> Finding {
    let now = Timestamp::now();
    if now.as_second() < EARLIEST {
        return Finding::error("clock", format!("it is {now}, says the system"))
            .advise("set the clock; what is recorded now gets the wrong time");
    }
    let passed = steady.elapsed();
    let walked = wall.elapsed().unwrap_or(Duration::ZERO);
    let difference = passed.abs_diff(walked);
    if difference > Duration::from_millis(500) {
        return Finding::warning(
            "clock",
            format!("the clock was set by {difference:?} in the last {passed:?}"),
        )
        .advise("let a time service slew the clock instead of stepping it");
    }
    Finding::ok("clock", format!("{now:.0}"))
}

/// Whether the clock follows a reference, where the system tells.
pub(super) fn synchronised() -> Finding {
    judge(
        Path::new("/run/systemd/timesync").exists(),
        Path::new("/run/systemd/timesync/synchronized").exists(),
    )
}

fn judge(service: bool, synchronised: bool) -> Finding {
    let check = "clock.synchronised";
    match (service, synchronised) {
        (_, true) => Finding::ok(check, "systemd-timesyncd has synchronised the clock"),
        (true, false) => {
            Finding::warning(check, "systemd-timesyncd has not synchronised the clock").advise(
                "`timedatectl timesync-status` says why; check that UDP port 123 is let through",
            )
        }
        (false, false) => Finding::skipped(check, "the system does not tell without privileges")
            .advise("ask the time service that runs here: `timedatectl`, or `chronyc tracking`"),
    }
}

/// How far the clock is from those of the backends: where, theirs, ours.
pub(super) fn skew(dates: &[(String, Timestamp, Timestamp)]) -> Finding {
    let check = "clock.skew";
    let seconds = |theirs: &Timestamp, ours: &Timestamp| theirs.as_second() - ours.as_second();
    let worst = dates
        .iter()
        .max_by_key(|(_, theirs, ours)| seconds(theirs, ours).abs());
    let Some((name, theirs, ours)) = worst else {
        return Finding::skipped(check, "no OTLP endpoint told its time; over gRPC none does");
    };
    let difference = seconds(theirs, ours);
    let way = if difference > 0 { "behind" } else { "ahead of" };
    let apart = difference.abs();
    let found = format!("the clock is {apart} s {way} that of {name}");
    let advice = "synchronise both machines' clocks; spans of one trace do not fit together \
                  otherwise, and backends refuse what lies in the future";
    match apart {
        0..SLIGHT => Finding::ok(check, format!("within {SLIGHT} s of {name}")),
        SLIGHT..GRAVE => Finding::warning(check, found).advise(advice),
        _ => Finding::error(check, found).advise(advice),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    #[test]
    fn skew_is_judged_by_the_worst() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let of = |theirs| ("http://c:4318/".to_owned(), at(theirs), at(2_000_000_000));
        for (theirs, severity, part) in [
            (2_000_000_002, Severity::Ok, "within 5 s"),
            (2_000_000_060, Severity::Warning, "60 s behind"),
            (1_999_999_000, Severity::Error, "1000 s ahead of"),
        ] {
            let finding = skew(&[of(2_000_000_000), of(theirs)]);
            assert_eq!(finding.severity, severity);
            assert!(finding.found.contains(part), "{}", finding.found);
        }
        assert_eq!(skew(&[]).severity, Severity::Skipped);
    }

    #[test]
    fn a_clock_that_steps_is_said() {
        let (instant, wall) = (Instant::now(), SystemTime::now());
        assert_eq!(steady(instant, wall).severity, Severity::Ok);
        let stepped = wall - Duration::from_secs(60);
        assert_eq!(steady(instant, stepped).severity, Severity::Warning);
    }

    #[test]
    fn synchronisation_is_unknown_where_nothing_tells() {
        assert_eq!(judge(true, true).severity, Severity::Ok);
        assert_eq!(judge(true, false).severity, Severity::Warning);
        assert_eq!(judge(false, false).severity, Severity::Skipped);
    }
}
