//! What becomes of series under other names: sums, extremes, bounds, shares over windows of
//! time, series that come later.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use proptest::collection::vec;
use proptest::prelude::*;
use support::declared::{self, Declared, declare};
use tachograph::catalog::Signal;
use tachograph::pipeline::metrics::Collector;
use tachograph::recording::{Cell, Key, Recorder};
use tachograph::vocabulary::{Rendering, Set, Value, Vocabulary};

/// Labels without those that are absent.
type Labels = BTreeMap<String, String>;

fn rendering(recorders: &[&'static dyn Recorder], families: &str) -> Rendering {
    let signals: Vec<&'static Signal> = recorders.iter().map(|r| r.signal()).collect();
    let text = format!("name = \"x\"\ntitle = \"x\"\n{families}");
    let vocabulary = Vocabulary::parse(&text, &signals).unwrap_or_else(|faults| {
        panic!("{faults:#?}\n{text}");
    });
    Rendering::new(&Set::new(&[&vocabulary], &[]).unwrap(), recorders)
}

fn of(collector: &Collector, families: &str) -> Rendering {
    let mut rendering = rendering(collector.signals(), families);
    rendering.update(SystemTime::now());
    rendering
}

fn values(rendering: &Rendering, family: &str) -> BTreeMap<Labels, Value> {
    let found = rendering.families().iter();
    let mut found = found.filter(|f| f.family().name == family);
    let series = found.next().unwrap().series();
    let values = series.map(|target| {
        let labels = target.labels().map(|(k, v)| (k.to_owned(), v.to_owned()));
        (labels.collect(), target.value().clone())
    });
    values.collect()
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let pairs = pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    pairs.collect()
}

fn family(name: &str, kind: &str, rest: &str) -> String {
    format!("[[family]]\nname = \"{name}\"\ntype = \"{kind}\"\nhelp = \"x\"\n{rest}\n")
}

/// What a series has of a, b and c, and its value.
type Point = (u8, u8, u8, u16);

fn points(declared: &mut Declared, points: &[Point]) {
    let counter = declared.counter("source.events");
    for (a, b, c, value) in points {
        let labels = [("a", a), ("b", b), ("c", c)];
        let labels = labels.map(|(key, value)| (key, format!("{key}{value}")));
        counter.put(f64::from(*value), labels);
    }
    let histogram = declared.histogram("source.sizes", &[1.0, 10.0, 100.0, 1000.0, 10000.0]);
    for (a, b, c, value) in points {
        let labels = [("a", a), ("b", b), ("c", c)];
        let labels = labels.map(|(key, value)| (key, format!("{key}{value}")));
        histogram.put(f64::from(*value), labels);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_family_holds_what_its_sources_do(
        given in vec((0..4_u8, 0..4_u8, 0..4_u8, 0..20_000_u16), 1..60),
        keep in any::<[bool; 2]>(),
        merge in any::<bool>(),
        only in any::<bool>(),
        inside in any::<bool>(),
    ) {
        let collector = declare(|declared| points(declared, &given));
        let chosen = given[0].2;
        let first = given[0].0;
        let mut map = Vec::new();
        if keep[0] { map.push("x = \"a\""); }
        if keep[1] { map.push("y = \"b\""); }
        let mut rest = format!("labels = {{ {} }}\n", map.join(", "));
        if keep[0] && merge {
            rest += &format!("values = {{ x = {{ a{first} = \"merged\" }} }}\n");
        }
        if only {
            let field = if inside { "where" } else { "unless" };
            rest += &format!("{field} = {{ c = \"c{chosen}\" }}\n");
        }
        let text = family("events_total", "counter", &format!("source = \"source.events\"\n{rest}"))
            + &family("sizes", "histogram", &format!("source = \"source.sizes\"\nbounds = [10, 1000]\n{rest}"))
            + &family("large_total", "counter", &format!("source = \"source.sizes\"\nabove = 100\n{rest}"));
        let rendering = of(&collector, &text);

        let mut events: BTreeMap<Labels, u64> = BTreeMap::new();
        let mut sizes: BTreeMap<Labels, (Vec<u64>, f64)> = BTreeMap::new();
        let mut large: BTreeMap<Labels, u64> = BTreeMap::new();
        for (a, b, c, value) in &given {
            if only && (*c == chosen) != inside {
                continue;
            }
            let mut key = Labels::new();
            if keep[0] {
                let word = if merge && *a == first { "merged".to_owned() } else { format!("a{a}") };
                key.insert("x".to_owned(), word);
            }
            if keep[1] { key.insert("y".to_owned(), format!("b{b}")); }
            *events.entry(key.clone()).or_default() += u64::from(*value);
            *large.entry(key.clone()).or_default() += u64::from(*value > 100);
            let (counts, sum) = sizes.entry(key).or_insert_with(|| (vec![0; 3], 0.0));
            counts[if *value <= 10 { 0 } else if *value <= 1000 { 1 } else { 2 }] += 1;
            *sum += f64::from(*value);
        }
        let unsigned = |all: BTreeMap<Labels, u64>| -> BTreeMap<Labels, Value> {
            all.into_iter().map(|(k, v)| (k, Value::Unsigned(v))).collect()
        };
        prop_assert_eq!(values(&rendering, "events_total"), unsigned(events));
        prop_assert_eq!(values(&rendering, "large_total"), unsigned(large));
        let sizes: BTreeMap<Labels, Value> = sizes
            .into_iter()
            .map(|(k, (counts, sum))| (k, Value::Histogram { counts, sum }))
            .collect();
        prop_assert_eq!(values(&rendering, "sizes"), sizes);
    }
}

fn add(cell: &'static Cell<1>, of: &str, amount: u64) {
    let key = Key {
        closed: 0,
        open: [of],
    };
    cell.count(key, amount);
}

fn at(start: SystemTime, seconds: u64) -> SystemTime {
    start + Duration::from_secs(seconds)
}

#[test]
fn series_that_come_later_are_added_where_they_belong() {
    let cell = declared::counter("late.events");
    let all = family("late_total", "counter", "source = \"late.events\"")
        + &family(
            "late_by_total",
            "counter",
            "source = \"late.events\"\nlabels = { kind = \"of\" }\nvalues = { kind = { b = \"x\", c = \"x\" } }",
        );
    let mut rendering = rendering(&[cell], &all);
    let now = SystemTime::now();
    rendering.update(now);
    assert_eq!(values(&rendering, "late_total"), BTreeMap::new());
    let mut last = 0;
    for (of, amount) in [("m", 5), ("b", 7), ("z", 1), ("a", 2), ("b", 1), ("c", 4)] {
        add(cell, of, amount);
        rendering.update(now);
        let found = values(&rendering, "late_total");
        let Value::Unsigned(total) = found[&Labels::new()] else {
            panic!("{found:?}");
        };
        assert_eq!(total, last + amount);
        last = total;
    }
    let found = values(&rendering, "late_by_total");
    assert_eq!(found[&labels(&[("kind", "x")])], Value::Unsigned(12));
    assert_eq!(found[&labels(&[("kind", "m")])], Value::Unsigned(5));
    assert_eq!(found.len(), 4);
}

#[test]
fn a_family_began_when_its_first_series_did() {
    let cell = declared::counter("begun.events");
    let text = family("begun_total", "counter", "source = \"begun.events\"");
    let mut rendering = rendering(&[cell], &text);
    let before = SystemTime::now();
    add(cell, "z", 1);
    let between = SystemTime::now();
    rendering.update(between);
    add(cell, "a", 1);
    rendering.update(SystemTime::now());
    let start = rendering.families()[0].series().next().unwrap().start();
    assert!((before..=between).contains(&start));
}

#[test]
fn gauges_are_summed_or_the_largest_or_the_smallest() {
    let collector = declare(|declared| {
        let gauge = declared.gauge("source.level");
        gauge.put(3.5, [("a", "1"), ("b", "1")]);
        gauge.put(-1.0, [("a", "1"), ("b", "2")]);
        gauge.put(8.0, [("a", "2"), ("b", "1")]);
        let active = declared.in_flight("source.active");
        active.put(2.0, [("a", "1")]).put(3.0, [("a", "2")]);
    });
    let level = |name: &str, combine: &str| {
        let rest =
            format!("source = \"source.level\"\nlabels = {{ x = \"a\" }}\ncombine = \"{combine}\"");
        family(name, "gauge", &rest)
    };
    let text = level("total", "sum")
        + &level("top", "max")
        + &level("low", "min")
        + &family("running", "gauge", "source = \"source.active\"")
        + &family("level_info", "info", "source = \"source.level\"");
    let rendering = of(&collector, &text);
    let expect = |family: &str, one: f64, two: f64| {
        let found = values(&rendering, family);
        assert_eq!(found[&labels(&[("x", "1")])], Value::Float(one), "{family}");
        assert_eq!(found[&labels(&[("x", "2")])], Value::Float(two), "{family}");
    };
    expect("total", 2.5, 8.0);
    expect("top", 3.5, 8.0);
    expect("low", -1.0, 8.0);
    let running = values(&rendering, "running");
    assert_eq!(running[&Labels::new()], Value::Signed(5));
    let info = values(&rendering, "level_info");
    assert_eq!(info[&Labels::new()], Value::Unsigned(1));
}

#[test]
fn shares_are_those_of_their_windows() {
    let cell = declared::counter("shared.events");
    let text = family(
        "success_rate",
        "gauge",
        "source = \"shared.events\"\n\
         share = { where = { of = \"ok\" }, windows = [\"1m\", \"5m\"], label = \"time_window\", percent = true }",
    );
    let mut rendering = rendering(&[cell], &text);
    assert_eq!(rendering.interval(), Some(Duration::from_secs(1)));
    let start = SystemTime::now();
    let shares = |rendering: &Rendering| {
        let found = values(rendering, "success_rate");
        ["1m", "5m"].map(
            |window| match found.get(&labels(&[("time_window", window)])) {
                Some(Value::Float(share)) => Some(*share),
                None => None,
                other => panic!("{other:?}"),
            },
        )
    };
    rendering.update(start);
    assert_eq!(shares(&rendering), [None, None]);
    add(cell, "ok", 3);
    add(cell, "bad", 1);
    rendering.update(at(start, 10));
    assert_eq!(shares(&rendering), [Some(75.0), Some(75.0)]);
    add(cell, "bad", 4);
    rendering.update(at(start, 65));
    assert_eq!(shares(&rendering), [Some(37.5), Some(37.5)]);
    // The first ones leave the short window; the timer's samples are enough for it.
    rendering.sample(at(start, 75));
    rendering.update(at(start, 100));
    assert_eq!(shares(&rendering), [Some(0.0), Some(37.5)]);
    rendering.update(at(start, 200));
    // Nothing happened in the last minute: not known, which is not zero.
    assert_eq!(shares(&rendering), [None, Some(37.5)]);
    rendering.update(at(start, 1_000));
    assert_eq!(shares(&rendering), [None, None]);
    add(cell, "ok", 1);
    rendering.update(at(start, 1_001));
    assert_eq!(shares(&rendering), [Some(100.0), Some(100.0)]);
}

#[test]
fn different_values_of_a_label_are_counted() {
    let cell = declared::counter("many.events");
    let text = family(
        "kinds",
        "gauge",
        "source = \"many.events\"\ndistinct = \"of\"",
    );
    let mut rendering = rendering(&[cell], &text);
    for of in ["a", "b", "a", ""] {
        add(cell, of, 1);
    }
    rendering.update(SystemTime::now());
    let found = values(&rendering, "kinds");
    assert_eq!(found[&Labels::new()], Value::Unsigned(2));
    assert_eq!(rendering.interval(), None);
}

#[test]
fn totals_and_means_are_those_since_the_start() {
    let collector = declare(|declared| {
        let events = declared.counter("counted.events");
        events.put(3.0, [("a", "1")]).put(4.0, [("a", "2")]);
        let sizes = declared.histogram("observed.sizes", &[1.0, 10.0]);
        sizes.put(2.0, [("a", "1")]).put(20.0, [("a", "2")]);
        sizes.put(5.0, [("a", "2")]);
        declared.histogram("observed.nothing", &[1.0]);
    });
    let since = |name: &str, source: &str, rule: &str| {
        let rest = format!("source = \"{source}\"\nsince_start = \"{rule}\"");
        family(name, "gauge", &rest)
    };
    let text = since("events", "counted.events", "total")
        + &since("observations", "observed.sizes", "total")
        + &since("size", "observed.sizes", "mean")
        + &since("nothing", "observed.nothing", "mean");
    let mut rendering = of(&collector, &text);
    // Reading once more adds nothing.
    rendering.update(SystemTime::now());
    let value = |family: &str| values(&rendering, family).remove(&Labels::new());
    assert_eq!(value("events"), Some(Value::Unsigned(7)));
    assert_eq!(value("observations"), Some(Value::Unsigned(3)));
    assert_eq!(value("size"), Some(Value::Float(9.0)));
    assert_eq!(value("nothing"), None);
}
