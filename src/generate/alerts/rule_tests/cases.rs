//! Series that make an alert fire, and series that must not.

use super::super::number;
use super::bench::{Bench, Check, Firing, Scenario, flat, restarting, rising};
use super::burn;
use crate::catalog::{Alert, Condition, Instrument, Metric, Signal};
use crate::generate::promql;

/// The tests of an alert: mostly one.
pub(super) fn scenarios(signal: &Signal, alert: &Alert, step: u32) -> Vec<Scenario> {
    let Some(metric) = signal.metric(alert.condition.metrics().0) else {
        return Vec::new();
    };
    let bench = Bench::new(signal, alert, metric, step);
    match alert.condition {
        Condition::QuantileAbove {
            quantile,
            threshold,
            floor,
            ..
        } => vec![slow(bench, quantile, threshold, floor)],
        Condition::ErrorRatioAbove { ratio, floor, .. } => vec![failing(bench, ratio, floor)],
        Condition::RateAbove { per_second, .. } => {
            let window = f64::from(alert.window_seconds);
            let name = promql::counting(metric);
            vec![fast(bench, &name, per_second * window, 1.0 / window)]
        }
        Condition::IncreaseAbove { amount, .. } => {
            let name = promql::summing(metric);
            vec![fast(bench, &name, amount, 1.0)]
        }
        Condition::Occurs { .. } => vec![occurring(bench)],
        Condition::ValueAbove { threshold, .. } => vec![high(bench, threshold)],
        Condition::ValueBelow { threshold, .. } => vec![low(bench, threshold)],
        Condition::MeanBelow {
            threshold, floor, ..
        } => vec![low_mean(bench, threshold, floor)],
        Condition::ShareBelow {
            whole,
            ratio,
            floor,
            ..
        } => signal
            .metric(whole)
            .map(|whole| low_share(bench, whole, ratio, floor))
            .into_iter()
            .collect(),
        Condition::Growing {
            threshold,
            ahead_seconds,
            ..
        } => vec![growing(bench, threshold, ahead_seconds)],
        Condition::OlderThan { seconds, .. } => vec![old(bench, seconds)],
        Condition::Stuck { ended, .. } => signal
            .metric(ended)
            .map(|ended| stuck(bench, ended))
            .into_iter()
            .collect(),
        Condition::BurnRate { objective, .. } => vec![burn::burning(bench, objective)],
        Condition::Absent { .. } => vec![absent(bench)],
        Condition::JobDown { .. } => {
            let nothing = Scenario {
                suffix: "WithoutAnyService",
                series: vec![("up{job=\"another\"}".to_owned(), flat(1.0, 100))],
                checks: bench.around(bench.fires(0), "", 1.0),
            };
            vec![absent(bench), nothing]
        }
        Condition::InstanceDown { .. } => vec![unreachable_target(bench)],
    }
}

fn failing(mut bench: Bench<'_>, ratio: f64, floor: u32) -> Scenario {
    let all = f64::from(floor.max(1000));
    let point = all / 100.0;
    let limit = (all * ratio).floor();
    let fires = bench.fires(bench.step);
    let samples = fires / bench.step + 15;
    let rise = |by: f64| Some(rising(0.0, by, samples));
    let bad = limit + point;
    // Two replicas: one alone fails, both make one alert.
    bench.outcomes("fires", "a", rise((all - bad) / 2.0), rise(bad));
    bench.outcomes("fires", "b", rise((all - bad) / 2.0), None);
    let few = limit - point.min(limit / 2.0);
    bench.outcomes("below", "a", rise(all - few), rise(few));
    bench.outcomes("one-bad-replica", "a", None, rise(few));
    bench.outcomes("one-bad-replica", "b", rise(all - few), None);
    let share = f64::from(bench.step) / f64::from(bench.alert.window_seconds);
    let too_few = (f64::from(floor) - 0.5) * share;
    bench.outcomes("below-floor", "a", None, rise(too_few));
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
        Some(format!("{} {}", flat(7.0, 4), flat(8.0, samples))),
    );
    bench.outcomes(
        "restarts",
        "a",
        Some(restarting(all - few, samples)),
        Some(restarting(few, samples)),
    );
    bench.outcomes("never-failed", "a", rise(all), None);
    let checks = bench.around(fires, "fires", bad / all);
    bench.into_scenario(checks)
}

fn slow(mut bench: Bench<'_>, quantile: f64, threshold: f64, floor: u32) -> Scenario {
    let bounds = bench.metric.bounds;
    // The bucket that begins at the threshold, or the next; the last one if there is none.
    let above = bounds.iter().position(|bound| *bound > threshold);
    let mut high = above.unwrap_or(bounds.len() - 1).max(1);
    if bounds[high - 1] < threshold && high + 1 < bounds.len() {
        high += 1;
    }
    let (low_bound, high_bound) = (bounds[high - 1], bounds[high]);
    let all = f64::from(floor.max(1000));
    let fires = bench.fires(bench.step);
    let samples = fires / bench.step + 15;
    let name = bench.metric.prometheus_name();
    let mut put =
        |job: &str, instance: &str, fast: f64, slow: f64, values: &dyn Fn(f64) -> String| {
            let buckets = [
                (number(low_bound), fast),
                (number(high_bound), fast + slow),
                ("+Inf".to_owned(), fast + slow),
            ];
            for (bound, count) in buckets {
                bench.put(
                    &format!("{name}_bucket"),
                    job,
                    instance,
                    &[("le", &bound)],
                    values(count),
                );
            }
            bench.put(
                &format!("{name}_count"),
                job,
                instance,
                &[],
                values(fast + slow),
            );
        };
    let rise = |by: f64| rising(0.0, by, samples);
    let (slow, few) = (1.0 - quantile + 0.023, 1.0 - quantile - 0.01);
    // Two replicas: one alone is slow, both make one alert.
    put("fires", "a", 0.0, slow * all, &rise);
    put("fires", "b", (1.0 - slow) * all, 0.0, &rise);
    put("below", "a", (1.0 - few) * all, few * all, &rise);
    put("one-slow-replica", "a", 0.0, few * all, &rise);
    put("one-slow-replica", "b", (1.0 - few) * all, 0.0, &rise);
    put("restarts", "a", (1.0 - few) * all, few * all, &|by| {
        restarting(by, samples)
    });
    put("no-traffic", "a", 0.0, 500.0, &|value| flat(value, samples));
    put("one-at-night", "a", 0.0, 1.0, &|value| {
        format!("{} {}", flat(0.0, 4), flat(value, samples))
    });
    let share = f64::from(bench.step) / f64::from(bench.alert.window_seconds);
    let too_few = (f64::from(floor) - 0.5) * share;
    let mut put = |job: &str, slow: f64| {
        for bound in [number(high_bound), "+Inf".to_owned()] {
            bench.put(
                &format!("{name}_bucket"),
                job,
                "a",
                &[("le", &bound)],
                rise(slow),
            );
        }
        bench.put(&format!("{name}_count"), job, "a", &[], rise(slow));
    };
    put("below-floor", too_few);
    let value = low_bound + (high_bound - low_bound) * (quantile - (1.0 - slow)) / slow;
    let checks = bench.around(fires, "fires", value);
    bench.into_scenario(checks)
}

/// A counter that grows by more than an amount in the window.
fn fast(mut bench: Bench<'_>, name: &str, amount: f64, scale: f64) -> Scenario {
    let window = f64::from(bench.alert.window_seconds);
    let step = f64::from(bench.step);
    let by = |share: f64| amount * share * step / window;
    // Nothing is made up from before the first sample, which is zero.
    let holds = ((window / 1.1 / step).floor() + 1.0) as u32 * bench.step;
    let fires = bench.fires(holds);
    let samples = fires / bench.step + 15;
    for instance in ["a", "b"] {
        bench.put(name, "fires", instance, &[], rising(0.0, by(0.55), samples));
    }
    bench.put(name, "below", "a", &[], rising(0.0, by(0.9), samples));
    bench.put(name, "restarts", "a", &[], restarting(by(0.9), samples));
    bench.put(name, "no-traffic", "a", &[], flat(amount * 3.0, samples));
    bench.put(name, "shrinks", "a", &[], {
        // Back to zero: the process was started anew and has done nothing since.
        format!("{} {}", flat(amount * 3.0, 5), flat(0.0, samples))
    });
    let mut checks = bench.around(fires, "fires", 0.0);
    for check in &mut checks {
        for firing in &mut check.firing {
            firing.value = amount * 1.1 * scale * (f64::from(check.at) / window).min(1.0);
        }
    }
    bench.into_scenario(checks)
}

fn occurring(mut bench: Bench<'_>) -> Scenario {
    let window = bench.sample(f64::from(bench.alert.window_seconds));
    let born = window + 5 * bench.step;
    let fires = bench.fires(born);
    let samples = (born + window) / bench.step + 20;
    bench.own("fires", "a", rising(100.0, 1.0, samples));
    bench.own(
        "fires-at-first-sight",
        "a",
        format!("_x{} {}", born / bench.step, flat(1.0, samples)),
    );
    bench.own("nothing-new", "a", flat(7.0, samples));
    bench.own(
        "restarts",
        "a",
        format!("{} {}", flat(7.0, 4), flat(0.0, samples)),
    );
    bench.own(
        "restarts-and-stays-away",
        "a",
        format!("{} stale _x{samples}", flat(7.0, 4)),
    );
    let steady = Firing {
        job: "fires",
        severity: None,
        value: f64::from(window / bench.step),
    };
    let first = Firing {
        job: "fires-at-first-sight",
        severity: None,
        value: 1.0,
    };
    let mut checks = vec![
        Check {
            at: fires - bench.step,
            firing: vec![steady.clone()],
        },
        Check {
            at: fires,
            firing: vec![steady.clone(), first],
        },
        Check {
            at: born + window,
            firing: vec![steady],
        },
    ];
    // Held longer than the window, one event alone cannot fire.
    if fires >= born + window {
        checks.drain(1..);
    }
    bench.into_scenario(checks)
}

fn high(mut bench: Bench<'_>, threshold: f64) -> Scenario {
    let margin = if threshold == 0.0 {
        1.0
    } else {
        threshold.abs() / 10.0
    };
    let (above, below) = (threshold + margin, threshold - margin);
    let fires = bench.fires(0);
    let samples = fires / bench.step + 15;
    let adds_up = bench.metric.instrument == Instrument::InFlight;
    if adds_up {
        bench.own("fires", "a", flat(above / 2.0, samples));
        bench.own("fires", "b", flat(above / 2.0, samples));
    } else {
        // One replica is enough; the other does not dilute it.
        bench.own("fires", "a", flat(above, samples));
        bench.own("fires", "b", flat(below.max(0.0), samples));
        bench.own("replicas-below", "a", flat(below.max(0.0), samples));
        bench.own("replicas-below", "b", flat(below.max(0.0), samples));
    }
    bench.own("at-the-threshold", "a", flat(threshold, samples));
    passing(&mut bench, fires, above, threshold, samples);
    let checks = bench.around(fires, "fires", above);
    bench.into_scenario(checks)
}

/// Jobs that are beyond the threshold for a sample less than it takes, then back or gone.
fn passing(bench: &mut Bench<'_>, fires: u32, beyond: f64, threshold: f64, samples: u32) {
    let held = (fires / bench.step).saturating_sub(1);
    if held > 0 {
        let short = flat(beyond, held - 1);
        let back = format!("{short} {}", flat(threshold, samples));
        bench.own("not-for-long", "a", back);
        bench.own("goes-away", "a", format!("{short} stale _x{samples}"));
    }
}

fn low(mut bench: Bench<'_>, threshold: f64) -> Scenario {
    let margin = if threshold.abs() <= 1.0 {
        1.0
    } else {
        threshold.abs() / 10.0
    };
    let below = threshold - margin;
    let fires = bench.fires(0);
    let samples = fires / bench.step + 15;
    // One replica is enough.
    bench.own("fires", "a", flat(below, samples));
    bench.own("fires", "b", flat(threshold + margin, samples));
    bench.own("at-the-threshold", "a", flat(threshold, samples));
    passing(&mut bench, fires, below, threshold, samples);
    let checks = bench.around(fires, "fires", below);
    bench.into_scenario(checks)
}

fn low_mean(mut bench: Bench<'_>, threshold: f64, floor: u32) -> Scenario {
    let all = f64::from(floor.max(1000));
    let fires = bench.fires(bench.step);
    let samples = fires / bench.step + 15;
    let (sum, count) = (
        promql::summing(bench.metric),
        promql::counting(bench.metric),
    );
    let mut put =
        |job: &str, instance: &str, many: f64, mean: f64, values: &dyn Fn(f64) -> String| {
            bench.put(&sum, job, instance, &[], values(many * mean));
            bench.put(&count, job, instance, &[], values(many));
        };
    let rise = |by: f64| rising(0.0, by, samples);
    let (well, low) = (threshold * 1.02, threshold * 0.6);
    // Two replicas: one alone is low, both make one alert.
    put("fires", "a", all / 2.0, well, &rise);
    put("fires", "b", all / 2.0, low, &rise);
    put("above", "a", all, well, &rise);
    put("one-low-replica", "a", all / 1000.0, low, &rise);
    put("one-low-replica", "b", all, well, &rise);
    put("restarts", "a", all, well, &|by| restarting(by, samples));
    put("no-traffic", "a", 5000.0, low, &|value| {
        flat(value, samples)
    });
    let share = f64::from(bench.step) / f64::from(bench.alert.window_seconds);
    let too_few = (f64::from(floor) - 0.5) * share;
    bench.put(&sum, "below-floor", "a", &[], rise(too_few * low));
    bench.put(&count, "below-floor", "a", &[], rise(too_few));
    let checks = bench.around(fires, "fires", f64::midpoint(well, low));
    bench.into_scenario(checks)
}

fn low_share(mut bench: Bench<'_>, whole: &Metric, ratio: f64, floor: u32) -> Scenario {
    let all = f64::from(floor.max(1000));
    let point = all / 100.0;
    let limit = (all * ratio).floor();
    let fires = bench.fires(bench.step);
    let samples = fires / bench.step + 15;
    let (few, enough) = (limit - point.min(limit / 2.0), limit + point);
    let whole = promql::counting(whole);
    let mut put = |job: &str, instance: &str, part: Option<String>, all: String| {
        bench.put(&whole, job, instance, &[], all);
        if let Some(part) = part {
            bench.own(job, instance, part);
        }
    };
    let rise = |by: f64| rising(0.0, by, samples);
    // Two replicas: one alone is well, both make one alert.
    put("fires", "a", Some(rise(few)), rise(few));
    put("fires", "b", None, rise(all - few));
    put("fires-without-any", "a", None, rise(all));
    put("enough", "a", Some(rise(enough)), rise(all));
    put("one-low-replica", "a", None, rise(point / 10.0));
    put("one-low-replica", "b", Some(rise(enough)), rise(all));
    put(
        "restarts",
        "a",
        Some(restarting(enough, samples)),
        restarting(all, samples),
    );
    put("no-traffic", "a", None, flat(5000.0, samples));
    let share = f64::from(bench.step) / f64::from(bench.alert.window_seconds);
    let too_few = (f64::from(floor) - 0.5) * share;
    bench.put(&whole, "below-floor", "a", &[], rise(too_few));
    let mut checks = bench.around(fires, "fires", few / all);
    for check in &mut checks {
        if let Some(first) = check.firing.first().cloned() {
            check.firing.push(Firing {
                job: "fires-without-any",
                value: 0.0,
                ..first
            });
        }
    }
    bench.into_scenario(checks)
}

fn growing(mut bench: Bench<'_>, threshold: f64, ahead: u32) -> Scenario {
    let (step, ahead) = (f64::from(bench.step), f64::from(ahead));
    let by = (threshold * 1.05 * step / ahead).ceil();
    let fires = bench.fires(bench.step);
    let samples = fires / bench.step + 15;
    bench.own("fires", "a", rising(0.0, by, samples));
    bench.own("fires", "b", flat(0.0, samples));
    // Twice what is too much, and no growth: another alert's matter.
    bench.own("large-and-steady", "a", flat(threshold * 2.0, samples));
    bench.own(
        "large-and-shrinking",
        "a",
        format!("{}-1x{samples}", number(threshold * 10.0)),
    );
    let late = f64::from(fires + 12 * bench.step);
    bench.own(
        "slow",
        "a",
        rising(0.0, threshold * 0.95 * step / (late + ahead), samples),
    );
    let mut checks = bench.around(fires, "fires", 0.0);
    for check in &mut checks {
        for firing in &mut check.firing {
            firing.value = by * (f64::from(check.at) + ahead) / step;
        }
    }
    bench.into_scenario(checks)
}

fn old(mut bench: Bench<'_>, seconds: u32) -> Scenario {
    // The tests begin at second 0 of the Unix epoch.
    let holds = seconds / bench.step * bench.step + bench.step;
    let fires = bench.fires(holds);
    let samples = fires / bench.step + 15;
    let now = rising(0.0, f64::from(bench.step), samples);
    bench.own("fires", "a", flat(0.0, samples));
    bench.own("fires", "b", flat(0.0, samples));
    bench.own("fresh", "a", now.clone());
    bench.own("one-replica-is-fresh", "a", flat(0.0, samples));
    bench.own("one-replica-is-fresh", "b", now);
    bench.own(
        "goes-away",
        "a",
        format!("{} stale _x{samples}", flat(0.0, 4)),
    );
    let mut checks = bench.around(fires, "fires", 0.0);
    for check in &mut checks {
        for firing in &mut check.firing {
            firing.value = f64::from(check.at);
        }
    }
    bench.into_scenario(checks)
}

fn stuck(mut bench: Bench<'_>, ended: &Metric) -> Scenario {
    let window = bench.sample(f64::from(bench.alert.window_seconds));
    let never = bench.fires(0);
    let fires = bench.fires(window);
    let samples = fires / bench.step + 15;
    let count = promql::counting(ended);
    let held = (never / bench.step).saturating_sub(1);
    let mut put = |job: &str, under_way: f64, ends: Option<String>| {
        bench.own(job, "a", flat(under_way, samples));
        if let Some(ends) = ends {
            bench.put(&count, job, "a", &[], ends);
        }
    };
    put("fires", 3.0, Some(flat(5.0, samples)));
    put("fires-at-first", 3.0, None);
    put("busy", 3.0, Some(rising(0.0, 1.0, samples)));
    put("idle", 0.0, Some(flat(5.0, samples)));
    put("one-replica-is-busy", 3.0, Some(flat(5.0, samples)));
    if held > 0 {
        let rare = format!("{} {}", flat(5.0, held - 1), flat(6.0, samples));
        put("ends-just-in-time", 3.0, Some(rare));
    }
    bench.own("one-replica-is-busy", "b", flat(1.0, samples));
    bench.put(
        &count,
        "one-replica-is-busy",
        "b",
        &[],
        restarting(1.0, samples),
    );
    let firing = |job| Firing {
        job,
        severity: None,
        value: 3.0,
    };
    let mut checks = Vec::new();
    if never > 0 {
        checks.push(Check {
            at: never - bench.step,
            firing: Vec::new(),
        });
    }
    let first = vec![firing("fires-at-first")];
    checks.push(Check {
        at: never,
        firing: first.clone(),
    });
    checks.push(Check {
        at: fires - bench.step,
        firing: first,
    });
    checks.push(Check {
        at: fires,
        firing: vec![firing("fires"), firing("fires-at-first")],
    });
    bench.into_scenario(checks)
}

fn absent(mut bench: Bench<'_>) -> Scenario {
    let fires = bench.fires(6 * bench.step);
    let samples = fires / bench.step + 15;
    bench.own("fires", "a", format!("{} stale _x{samples}", flat(5.0, 5)));
    bench.own("there", "a", flat(5.0, samples));
    bench.own(
        "one-replica-goes",
        "a",
        format!("{} stale _x{samples}", flat(5.0, 5)),
    );
    bench.own("one-replica-goes", "b", flat(5.0, samples));
    if bench.alert.for_seconds > 2 * bench.step {
        bench.own(
            "restarts",
            "a",
            format!("{} stale {}", flat(5.0, 5), flat(0.0, samples)),
        );
    }
    let checks = bench.around(fires, "fires", 1.0);
    bench.into_scenario(checks)
}

fn unreachable_target(mut bench: Bench<'_>) -> Scenario {
    let fires = bench.fires(6 * bench.step);
    let samples = fires / bench.step + 15;
    let gone = |value: f64| format!("{} stale _x{samples}", flat(value, 5));
    let down = format!("{} {}", flat(1.0, 5), flat(0.0, samples));
    bench.own("fires", "a", gone(1.0));
    bench.put("up", "fires", "a", &[], down.clone());
    bench.own("fires", "b", flat(1.0, samples));
    bench.put("up", "fires", "b", &[], flat(1.0, samples));
    bench.put("up", "not-a-service-of-ours", "a", &[], down);
    bench.own("pushes-only", "a", flat(1.0, samples));
    if bench.alert.for_seconds > 2 * bench.step {
        bench.own(
            "restarts",
            "a",
            format!("{} stale {}", flat(1.0, 5), flat(1.0, samples)),
        );
        bench.put(
            "up",
            "restarts",
            "a",
            &[],
            format!("{} 0 {}", flat(1.0, 5), flat(1.0, samples)),
        );
    }
    let checks = bench.around(fires, "fires", 0.0);
    bench.into_scenario(checks)
}
