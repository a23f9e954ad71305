//! Series that burn an error budget.

use super::super::expression::{Burn, PAGE, TICKET};
use super::super::rules;
use super::bench::{Bench, Check, Firing, Scenario, flat, restarting, rising};
use crate::catalog::Severity;

/// Requests between two samples.
const ALL: f64 = 1000.0;
/// Samples before the outage: the longest window that pages.
const CALM: u32 = 360;
/// What both outcomes' counters start from: a rate is drawn out to the edges of its window, but
/// never below zero, which would treat the two unlike.
const START: f64 = 1_000_000.0;
/// Seconds from a sample to a check. No sample then lies on an edge of a window, so that it makes
/// no difference whether a window holds its left edge (Prometheus 2) or not (3).
const OFF: u32 = 30;

/// A page for an outage, a ticket for a slow burn, and quiet for the rest.
pub(super) fn burning(mut bench: Bench<'_>, objective: f64) -> Scenario {
    let budget = 1.0 - objective;
    let rules = rules(bench.signal, bench.alert);
    // Minutes, since the windows are those of the workbook.
    let holds = |burns: [Burn; 2], failing: &dyn Fn(u32) -> f64, at: u32| {
        burns.iter().find_map(|burn| {
            let limit = burn.factor * budget;
            let share = |window| share(failing, window, at);
            let short = share(burn.short);
            (at > 0 && short > limit && share(burn.long) > limit).then_some(short)
        })
    };
    let outage = |minute: u32| if minute > CALM { 1.0 } else { 0.0 };
    let leak = |_: u32| 2.0 * budget;
    let state = |job, failing: &dyn Fn(u32) -> f64, at: u32| {
        let mut firing = Vec::new();
        for (rule, burns) in rules.iter().zip([PAGE, TICKET]) {
            let since = at.saturating_sub(rule.for_seconds.div_ceil(60));
            if at >= rule.for_seconds.div_ceil(60)
                && (since..=at).all(|minute| holds(burns, failing, minute).is_some())
                && let Some(value) = holds(burns, failing, at)
            {
                firing.push(Firing {
                    job,
                    severity: Some(rule.severity),
                    value,
                });
            }
        }
        firing
    };
    let all = |at: u32| {
        let mut firing = state("fires", &outage, at);
        firing.extend(state("fires-slowly", &leak, at));
        firing
    };
    let paged = |at: &u32| {
        let severity = rules
            .first()
            .map_or(Severity::Critical, |rule| rule.severity);
        all(*at)
            .iter()
            .any(|firing| firing.severity == Some(severity))
    };
    let page = (0..3 * CALM).find(paged).unwrap_or(CALM);
    let ticket = (0..CALM).find(|at| !all(*at).is_empty()).unwrap_or(0);
    let samples = page + 60;
    let calm = START + f64::from(CALM) * ALL;
    bench.outcomes(
        "fires",
        "a",
        Some(format!(
            "{} {}",
            rising(START, ALL, CALM),
            flat(calm, samples - CALM)
        )),
        Some(format!(
            "{} {}",
            flat(START, CALM),
            rising(START + ALL, ALL, samples - CALM)
        )),
    );
    let steady = |share: f64| {
        (
            Some(rising(0.0, ALL * (1.0 - share), samples)),
            Some(rising(0.0, ALL * share, samples)),
        )
    };
    let (good, bad) = steady(2.0 * budget);
    bench.outcomes("fires-slowly", "a", good, bad);
    let (good, bad) = steady(0.9 * budget);
    bench.outcomes("within-budget", "a", good, bad);
    bench.outcomes(
        "one-bad-replica",
        "a",
        None,
        Some(rising(0.0, ALL * 0.9 * budget, samples)),
    );
    bench.outcomes(
        "one-bad-replica",
        "b",
        Some(rising(0.0, ALL * (1.0 - 0.9 * budget), samples)),
        None,
    );
    bench.outcomes(
        "restarts",
        "a",
        Some(restarting(ALL * (1.0 - 0.5 * budget), samples)),
        Some(restarting(ALL * 0.5 * budget, samples)),
    );
    bench.outcomes(
        "no-traffic",
        "a",
        Some(flat(5000.0, samples)),
        Some(flat(5000.0, samples)),
    );
    bench.outcomes(
        "one-error-at-night",
        "a",
        Some(flat(5000.0, samples)),
        Some(format!("{} {}", flat(7.0, page - 5), flat(8.0, samples))),
    );
    bench.outcomes("never-failed", "a", Some(rising(0.0, ALL, samples)), None);
    let mut times = vec![
        ticket.saturating_sub(1),
        ticket,
        CALM,
        page - 1,
        page,
        page + 15,
    ];
    times.sort_unstable();
    times.dedup();
    let checks = times
        .into_iter()
        .map(|at| Check {
            at: at * 60 + OFF,
            firing: all(at),
        })
        .collect();
    bench.into_scenario(checks)
}

/// The share of failures over a window that ends soon after a minute: from its first sample to its
/// last. Before the series' first sample there is nothing, and nothing is made up.
fn share(failing: &dyn Fn(u32) -> f64, window: &str, at: u32) -> f64 {
    let (count, unit) = window.split_at(window.len() - 1);
    let count: u32 = count.parse().unwrap_or(0);
    let minutes = match unit {
        "m" => count,
        "h" => count * 60,
        _ => count * 60 * 24,
    };
    let start = at.saturating_sub(minutes.saturating_sub(1));
    let failed: f64 = (start + 1..=at).map(failing).sum();
    failed / f64::from((at - start).max(1))
}
