//! Series under many threads: nothing is lost, and no reading contradicts itself or an earlier one.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use tachograph::exposition::{Encoding, Format, Names, Page, Request};
use tachograph::pipeline::metrics::{Collector, install};
use tachograph::recording::{MetricSeries, Reading};
use tachograph::{catalog, closed_label, signal};

closed_label! {
    /// How a turn ended.
    pub enum End {
        /// Well.
        Good = "good",
        /// Badly.
        Bad = "bad" error,
        /// Nobody knows.
        Abandoned = "abandoned" abandoned,
    }
}

signal! {
    /// A turn.
    pub operation Turn => TurnEnd = "test.turn" {
        labels {
            /// Who takes it.
            player: open(10),
        }
        outcome {
            /// How it ended.
            status: closed(End),
        }
        values {
            /// Points made.
            points,
        }
        metrics {
            /// Turns that ended.
            "test.turns" = counter "{turn}" count by [player, status] no_alert "a test";
            /// How long they took.
            "test.turn.duration" = histogram "s" duration by [player, status]
                buckets (tachograph::catalog::HTTP) no_alert "a test";
            /// Turns that ended, whoever took them.
            "test.turns.all" = counter "{turn}" count by [status] no_alert "a test";
            /// Points made.
            "test.turn.points" = histogram "{point}" of (points) by [player]
                buckets (tachograph::catalog::BATCH) no_alert "a test";
            /// Turns under way.
            "test.turn.active" = in_flight "{turn}" active by [player] no_alert "a test";
        }
    }
}

signal! {
    /// A throw, of which all labels are closed.
    pub operation Throw => ThrowEnd = "test.throw" {
        labels {
            /// Before it.
            before: closed(End),
        }
        outcome {
            /// How it ended.
            status: closed(End),
        }
        metrics {
            /// Throws that ended.
            "test.throws" = counter "{throw}" count by [before, status] no_alert "a test";
            /// How long they took.
            "test.throw.duration" = histogram "s" duration by [status]
                buckets (tachograph::catalog::HTTP) no_alert "a test";
        }
    }
}

catalog! {
    /// The test's signals.
    pub SIGNALS = [Turn, Throw];
}

const THREADS: u32 = 8;
const EACH: u32 = 30_000;

fn metric(collector: &Collector, name: &str) -> &'static MetricSeries {
    let metrics = collector.signals().iter().flat_map(|one| one.metrics());
    let mut found = metrics.filter(|metric| metric.metric().name == name);
    found.next().unwrap()
}

fn total(collector: &Collector, name: &str) -> u64 {
    let series = metric(collector, name).series();
    series
        .iter()
        .map(|series| match series.read() {
            Reading::Unsigned(value) => value,
            Reading::Histogram { counts, count, .. } => {
                assert_eq!(counts.iter().sum::<u64>(), count);
                count
            }
            other => panic!("{other:?}"),
        })
        .sum()
}

fn sum(collector: &Collector, name: &str) -> f64 {
    let mut counts = Vec::new();
    let series = metric(collector, name).series();
    let sums = series
        .iter()
        .filter_map(|one| one.read_histogram(&mut counts));
    sums.sum()
}

/// Number and sample lines of a page, with what must hold within it.
fn samples(page: &Page) -> HashMap<String, f64> {
    let request = Request {
        format: Format::Text0,
        encoding: Encoding::Identity,
        names: Names::default(),
        vocabulary: Vec::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let rendered = runtime
        .unwrap()
        .block_on(page.render(request, Duration::from_secs(60)));
    let text = String::from_utf8(rendered.unwrap().chunks.concat()).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let samples: HashMap<String, f64> = lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect();
    for (name, count) in &samples {
        let Some((family, labels)) = name.split_once("_count{") else {
            continue;
        };
        let bucket = |le: &str| {
            let labels = labels.trim_end_matches('}');
            samples[&format!("{family}_bucket{{{labels},le=\"{le}\"}}")]
        };
        assert_eq!(bucket("+Inf"), *count, "{name}");
        assert!(bucket("1") <= *count, "{name}");
        // Every value is a millisecond or more.
        let least = if family.ends_with("seconds") {
            1e-3
        } else {
            1.0
        };
        let sum = samples[&format!("{family}_sum{{{labels}")];
        assert!(
            sum >= *count * least * (1.0 - 1e-9),
            "{name}: {sum} {count}"
        );
    }
    samples
}

#[test]
fn nothing_is_lost_and_nothing_goes_backwards() {
    let collector = install(Resource::builder_empty().build(), SIGNALS, false).unwrap();
    let page = Page::builder(collector.clone()).start().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut before: HashMap<String, f64> = HashMap::new();
            let mut readings = 0;
            while !done.load(Ordering::SeqCst) {
                let now = samples(&page);
                for (name, value) in &before {
                    if name.starts_with("test_turn_active") {
                        assert!((0.0..=f64::from(THREADS)).contains(value), "{value}");
                    } else {
                        assert!(now[name] >= *value, "{name}: {value} {}", now[name]);
                    }
                }
                before = now;
                readings += 1;
            }
            readings
        });
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    for i in 0..EACH {
                        let player = ["anna", "bert", "cleo"][i as usize % 3];
                        let status = [End::Good, End::Bad][i as usize % 2];
                        let points = Some(f64::from(i % 100 + 1));
                        let duration = Duration::from_millis(u64::from(1 + (i + thread) % 2_000));
                        Turn { player }
                            .start()
                            .finish_after(duration, TurnEnd { status, points });
                        Throw { before: status }.record(ThrowEnd { status }, duration);
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::SeqCst);
        assert!(reader.join().unwrap() > 3);
    });

    let all = u64::from(THREADS * EACH);
    for name in [
        "test.turns",
        "test.turn.duration",
        "test.turns.all",
        "test.turn.points",
        "test.throws",
        "test.throw.duration",
    ] {
        assert_eq!(total(&collector, name), all, "{name}");
    }
    let millis: u64 = (0..THREADS)
        .flat_map(|thread| (0..EACH).map(move |i| u64::from(1 + (i + thread) % 2_000)))
        .sum();
    let durations = sum(&collector, "test.throw.duration");
    assert!(
        (durations - millis as f64 / 1e3).abs() < 1e-6,
        "{durations}"
    );
    let points: u64 = (0..EACH).map(|i| u64::from(i % 100 + 1)).sum();
    let recorded = sum(&collector, "test.turn.points");
    assert_eq!(recorded, (points * u64::from(THREADS)) as f64);
    for series in metric(&collector, "test.turn.active").series().iter() {
        assert_eq!(series.read(), Reading::Signed(0));
    }
}

#[test]
fn sums_of_durations_are_exact_past_what_a_word_holds() {
    let cell: &'static tachograph::recording::Cell<0> =
        Box::leak(Box::new(tachograph::recording::Cell::new(Throw::SIGNAL)));
    use tachograph::recording::Recorder as _;
    assert!(cell.install(false));
    let key = tachograph::recording::Key {
        closed: 0,
        open: [],
    };
    // A word of nanoseconds holds 584 years.
    let long = Duration::from_secs(300 * 365 * 24 * 3_600);
    for _ in 0..5 {
        cell.end(key, long, &[]);
    }
    let collector = Collector::new(Resource::builder_empty().build(), &[cell]);
    let seconds = sum(&collector, "test.throw.duration");
    assert_eq!(seconds, 5.0 * long.as_secs_f64());
}
