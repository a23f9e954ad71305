//! Computing families from the series of declared metrics.
//!
//! Which series goes where is found out once a series; after that an update reads each series
//! and adds it up.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use foldhash::fast::RandomState;

use super::model::{Family, LabelFrom, Mapping, ValueRule};
use super::set::Set;
use super::windows::{Counts, Window};
use crate::recording::{self, MetricSeries, Reading, Recorder, Series};

/// A series that does not count.
const NOWHERE: u32 = u32::MAX;

/// The families of a set with their series.
#[derive(Default)]
pub struct Rendering {
    families: Vec<Computed>,
}

/// A family with its series.
pub struct Computed {
    family: Arc<Family>,
    sources: Vec<Source>,
    /// Gauges whose values are values of labels.
    readings: Vec<&'static MetricSeries>,
    targets: Vec<Target>,
    index: HashMap<Box<[Box<str>]>, u32, RandomState>,
    /// Positions in `targets`, in order of their labels.
    order: Vec<u32>,
    /// The bucket that each bucket of the source goes to.
    buckets: Box<[u16]>,
    /// First bucket that counts, where those above a bound do.
    above: usize,
    windows: Vec<Window>,
    counts: Vec<u64>,
}

/// A metric that a family is computed from.
struct Source {
    metric: &'static MetricSeries,
    known: Arc<[Arc<Series>]>,
    /// Where each of them goes.
    places: Vec<Place>,
}

#[derive(Clone, Copy)]
struct Place {
    target: u32,
    /// Whether it is in the part of a share.
    part: bool,
}

/// A series of a family.
pub struct Target {
    labels: Box<[(Arc<str>, Box<str>)]>,
    rendered: OnceLock<Box<str>>,
    start: SystemTime,
    value: Value,
    /// Values of the label that is counted.
    distinct: HashSet<Box<str>, RandomState>,
    counts: Counts,
    /// For a share: the label set it is of, and the window.
    share: Option<(u32, usize)>,
    /// Whether it is never shown: the counts of a share.
    hidden: bool,
}

/// The value of a series.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Not known.
    Absent,
    /// A counter's total.
    Unsigned(u64),
    /// Operations under way.
    Signed(i64),
    /// A counter of fractions, or a gauge.
    Float(f64),
    /// A distribution.
    Histogram {
        /// Values in each bucket, not cumulative; the last is that without an upper bound.
        counts: Vec<u64>,
        /// Sum of the values.
        sum: f64,
    },
}

impl Target {
    /// Names and values of its labels, sorted by name; none is empty.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.labels.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Its labels as a page shows them: what `render` made of them the first time.
    pub fn rendered(&self, render: impl FnOnce(&Self) -> String) -> &str {
        self.rendered.get_or_init(|| render(self).into())
    }

    /// Since when the first of the series in it counts.
    #[must_use]
    pub fn start(&self) -> SystemTime {
        self.start
    }

    /// Its value as of the last update.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }
}

impl Rendering {
    /// The families of a set, computed from the metrics of these recorders.
    #[must_use]
    pub fn new(set: &Set, recorders: &[&'static dyn Recorder]) -> Self {
        let families = set.families.iter().filter_map(|family| {
            let mapping = family.mapping()?;
            Some(Computed::new(Arc::clone(family), mapping, recorders))
        });
        Self {
            families: families.collect(),
        }
    }

    /// The same from the installed recorders.
    #[must_use]
    pub fn installed(set: &Set) -> Self {
        Self::new(set, recording::all())
    }

    /// Reads every series anew.
    pub fn update(&mut self, now: SystemTime) {
        for family in &mut self.families {
            family.update(now);
        }
    }

    /// Takes note of what windows need, if anything does.
    pub fn sample(&mut self, now: SystemTime) {
        for family in &mut self.families {
            family.sample(now);
        }
    }

    /// How often [`sample`](Self::sample) or [`update`](Self::update) must be called for windows
    /// to be right; none: there are none.
    #[must_use]
    pub fn interval(&self) -> Option<Duration> {
        self.families.iter().filter_map(Computed::interval).min()
    }

    /// The families, sorted by name, also those without series.
    #[must_use]
    pub fn families(&self) -> &[Computed] {
        &self.families
    }

    /// The families, to be updated one by one.
    #[must_use]
    pub fn into_families(self) -> Vec<Computed> {
        self.families
    }
}

impl Computed {
    fn new(family: Arc<Family>, mapping: &Mapping, recorders: &[&'static dyn Recorder]) -> Self {
        let sources: Vec<Source> = recorders
            .iter()
            .flat_map(|recorder| recorder.metrics())
            .filter(|metric| mapping.sources.iter().any(|s| s == metric.metric().name))
            .map(|metric| Source {
                metric,
                known: Arc::default(),
                places: Vec::new(),
            })
            .collect();
        let readings = recorders
            .iter()
            .flat_map(|recorder| recorder.metrics())
            .filter(|metric| {
                let name = metric.metric().name;
                let reads = |from: &LabelFrom| matches!(from, LabelFrom::Reading(n) if n == name);
                mapping.labels.iter().any(|rule| reads(&rule.from))
            });
        let readings = readings.collect();
        let finer = sources
            .first()
            .map_or(&[][..], |s| s.metric.metric().bounds);
        let buckets = (0..=finer.len()).map(|at| match finer.get(at) {
            Some(bound) => family.bounds.partition_point(|b| b < bound) as u16,
            None => family.bounds.len() as u16,
        });
        let above = match mapping.value {
            ValueRule::Observations { above: Some(above) } => {
                finer.partition_point(|bound| *bound <= above)
            }
            _ => 0,
        };
        let windows = match &mapping.value {
            ValueRule::Share { windows, .. } => windows
                .iter()
                .map(|(_, length)| Window::new(*length))
                .collect(),
            _ => Vec::new(),
        };
        Self {
            buckets: buckets.collect(),
            above,
            windows,
            family,
            sources,
            readings,
            targets: Vec::new(),
            index: HashMap::default(),
            order: Vec::new(),
            counts: Vec::new(),
        }
    }

    /// The family.
    #[must_use]
    pub fn family(&self) -> &Arc<Family> {
        &self.family
    }

    /// Its series of known value, in order of their labels.
    pub fn series(&self) -> impl Iterator<Item = &Target> {
        self.order
            .iter()
            .map(|at| &self.targets[*at as usize])
            .filter(|target| target.value != Value::Absent)
    }

    /// How often its windows want to be sampled; none: it has none.
    #[must_use]
    pub fn interval(&self) -> Option<Duration> {
        self.windows.iter().map(Window::spacing).min()
    }

    /// Takes note of what its windows need, if it has some.
    pub fn sample(&mut self, now: SystemTime) {
        if !self.windows.is_empty() {
            self.update(now);
        }
    }

    /// Reads its series anew.
    pub fn update(&mut self, now: SystemTime) {
        let family = Arc::clone(&self.family);
        let Some(mapping) = family.mapping() else {
            return;
        };
        if !self.readings.is_empty() {
            self.forget();
        }
        self.place(mapping);
        for target in &mut self.targets {
            target.clear();
        }
        for source in &self.sources {
            for (series, place) in source.known.iter().zip(&source.places) {
                let Some(target) = self.targets.get_mut(place.target as usize) else {
                    continue;
                };
                match &mapping.value {
                    ValueRule::Distinct(_) => {
                        target.value = Value::Unsigned(target.distinct.len() as u64);
                    }
                    ValueRule::One => {
                        if series.is_present() {
                            target.value = Value::Unsigned(1);
                        }
                    }
                    ValueRule::Share { .. } => {
                        let count = count(series, &mut self.counts, 0);
                        target.counts.whole += count;
                        target.counts.part += if place.part { count } else { 0 };
                    }
                    ValueRule::Observations { .. } => {
                        let count = count(series, &mut self.counts, self.above);
                        target.add(Reading::Unsigned(count));
                    }
                    ValueRule::Total => {
                        let count = count(series, &mut self.counts, 0);
                        target.add(Reading::Unsigned(count));
                    }
                    ValueRule::Max => target.extreme(series.read(), f64::max),
                    ValueRule::Min => target.extreme(series.read(), f64::min),
                    // A gauge has no bounds, so that all observations are in one bucket.
                    ValueRule::Sum | ValueRule::Mean | ValueRule::Percent => match series
                        .read_histogram(&mut self.counts)
                    {
                        Some(sum) => {
                            target.merge(&self.counts, sum, &self.buckets, family.bounds.len() + 1)
                        }
                        None => target.add(series.read()),
                    },
                }
            }
        }
        match mapping.value {
            ValueRule::Share { scale, .. } => self.shares(now, scale),
            ValueRule::Mean => self.targets.iter_mut().for_each(Target::mean),
            ValueRule::Percent => self.targets.iter_mut().for_each(Target::percent),
            _ => {}
        }
    }

    /// Labels that are readings change, so that every series is placed anew.
    fn forget(&mut self) {
        self.targets.clear();
        self.index.clear();
        self.order.clear();
        for source in &mut self.sources {
            source.known = Arc::default();
            source.places.clear();
        }
    }

    /// What a gauge reads in the series with the same labels, as text; empty: it is not known.
    fn reading(&self, metric: &str, series: &Series) -> Box<str> {
        let found = self.readings.iter().find(|m| m.metric().name == metric);
        let all = found.map(|metric| metric.series());
        let same = |one: &&Arc<Series>| one.labels().eq(series.labels());
        match all.as_deref().unwrap_or_default().iter().find(same) {
            Some(one) => match one.read() {
                Reading::Float(value) => value.to_string().into(),
                _ => "".into(),
            },
            None => "".into(),
        }
    }

    fn shares(&mut self, now: SystemTime, scale: f64) {
        for at in 0..self.targets.len() {
            let Some((base, window)) = self.targets[at].share else {
                continue;
            };
            let of = &self.targets[base as usize];
            let (counts, start) = (of.counts, of.start);
            let share = self.windows[window].share(now, base as usize, counts, start);
            self.targets[at].value = share.map_or(Value::Absent, |s| Value::Float(s * scale));
        }
        for window in &mut self.windows {
            window.remember(now, self.targets.iter().map(|target| target.counts));
        }
    }

    /// Finds out where series that are new go.
    fn place(&mut self, mapping: &Mapping) {
        let before = self.targets.len();
        for at in 0..self.sources.len() {
            let series = self.sources[at].metric.series();
            let source = &mut self.sources[at];
            if Arc::ptr_eq(&series, &source.known) {
                continue;
            }
            // Both are in the same order, so known ones are met in passing.
            let known = std::mem::replace(&mut source.known, Arc::clone(&series));
            let places = std::mem::take(&mut source.places);
            let mut known = known.iter().zip(places).peekable();
            let mut found = Vec::with_capacity(series.len());
            for one in series.iter() {
                let place = known.next_if(|(k, _)| Arc::ptr_eq(k, one));
                found.push(match place {
                    Some((_, place)) => place,
                    None => self.find(mapping, one),
                });
            }
            self.sources[at].places = found;
        }
        if self.targets.len() != before {
            self.order = (0..self.targets.len() as u32)
                .filter(|at| !self.targets[*at as usize].hidden)
                .collect();
            let targets = &self.targets;
            self.order.sort_by(|a, b| {
                let labels = |at: &u32| targets[*at as usize].labels();
                labels(a).cmp(labels(b))
            });
        }
    }

    fn find(&mut self, mapping: &Mapping, series: &Series) -> Place {
        let label = |key: &str| series.label(key).unwrap_or_default();
        if !mapping.filters.iter().all(|f| f.passes(label(&f.key))) {
            return Place {
                target: NOWHERE,
                part: false,
            };
        }
        let values: Box<[Box<str>]> = mapping
            .labels
            .iter()
            .map(|rule| match &rule.from {
                LabelFrom::Constant(text) => text.as_str().into(),
                LabelFrom::Reading(metric) => self.reading(metric, series),
                LabelFrom::Window => "".into(),
                LabelFrom::Keys { keys, words } => {
                    let value = keys.iter().map(|key| label(key)).find(|v| !v.is_empty());
                    let value = value.unwrap_or_default();
                    let word = words.iter().find(|(ours, _)| ours == value);
                    word.map_or(value, |(_, theirs)| theirs).into()
                }
            })
            .collect();
        let target = match self.index.get(&values) {
            Some(target) => *target,
            None => self.add(mapping, values, series.start()),
        };
        let entry = &mut self.targets[target as usize];
        entry.start = entry.start.min(series.start());
        if let ValueRule::Distinct(key) = &mapping.value
            && let Some(value) = series.label(key)
            && !entry.distinct.contains(value)
        {
            entry.distinct.insert(value.into());
        }
        let part = match &mapping.value {
            ValueRule::Share { part, .. } => part.iter().all(|f| f.passes(label(&f.key))),
            _ => false,
        };
        Place { target, part }
    }

    fn add(&mut self, mapping: &Mapping, values: Box<[Box<str>]>, start: SystemTime) -> u32 {
        let at = self.targets.len() as u32;
        let windows: &[(String, Duration)] = match &mapping.value {
            ValueRule::Share { windows, .. } => windows,
            _ => &[],
        };
        let labels = |window: &str| -> Box<[(Arc<str>, Box<str>)]> {
            let rules = mapping.labels.iter().zip(&values);
            let labels = rules.map(|(rule, value)| {
                let name: Arc<str> = rule.name.as_str().into();
                match rule.from {
                    LabelFrom::Window => (name, window.into()),
                    _ => (name, value.clone()),
                }
            });
            // An empty label is an absent one.
            labels.filter(|(_, value)| !value.is_empty()).collect()
        };
        let target = Target {
            labels: labels(""),
            rendered: OnceLock::new(),
            start,
            value: Value::Absent,
            distinct: HashSet::default(),
            counts: Counts::default(),
            share: None,
            hidden: !windows.is_empty(),
        };
        self.targets.push(target);
        for (position, (text, _)) in windows.iter().enumerate() {
            self.targets.push(Target {
                labels: labels(text),
                rendered: OnceLock::new(),
                start,
                value: Value::Absent,
                distinct: HashSet::default(),
                counts: Counts::default(),
                share: Some((at, position)),
                hidden: false,
            });
        }
        self.index.insert(values, at);
        at
    }
}

/// How many events a series has counted: of a histogram those from a bucket on.
fn count(series: &Series, counts: &mut Vec<u64>, from: usize) -> u64 {
    match series.read_histogram(counts) {
        Some(_) => counts.iter().skip(from).sum(),
        None => match series.read() {
            Reading::Unsigned(count) => count,
            Reading::Float(count) => count as u64,
            _ => 0,
        },
    }
}

impl Target {
    fn clear(&mut self) {
        self.counts = Counts::default();
        match &mut self.value {
            // Its buckets are used again.
            Value::Histogram { counts, sum } => {
                counts.fill(0);
                *sum = 0.0;
            }
            value => *value = Value::Absent,
        }
    }

    fn add(&mut self, reading: Reading) {
        let before = std::mem::replace(&mut self.value, Value::Absent);
        self.value = match (before, reading) {
            (before, Reading::Absent | Reading::Histogram { .. }) => before,
            (Value::Unsigned(a), Reading::Unsigned(b)) => Value::Unsigned(a.saturating_add(b)),
            (Value::Signed(a), Reading::Signed(b)) => Value::Signed(a.saturating_add(b)),
            (Value::Float(a), Reading::Float(b)) => Value::Float(a + b),
            (Value::Float(a), Reading::Unsigned(b)) => Value::Float(a + b as f64),
            (Value::Unsigned(a), Reading::Float(b)) => Value::Float(a as f64 + b),
            (_, Reading::Unsigned(b)) => Value::Unsigned(b),
            (_, Reading::Signed(b)) => Value::Signed(b),
            (_, Reading::Float(b)) => Value::Float(b),
        };
    }

    fn extreme(&mut self, reading: Reading, choose: impl Fn(f64, f64) -> f64) {
        let number = match reading {
            Reading::Float(value) => value,
            Reading::Signed(value) => value as f64,
            Reading::Unsigned(value) => value as f64,
            Reading::Absent | Reading::Histogram { .. } => return,
        };
        self.value = Value::Float(match self.value {
            Value::Float(known) => choose(known, number),
            _ => number,
        });
    }

    /// The mean of a distribution in its place; of no observations there is none.
    fn mean(&mut self) {
        if let Value::Histogram { counts, sum } = &self.value {
            let count: u64 = counts.iter().sum();
            self.value = match count {
                0 => Value::Absent,
                count => Value::Float(sum / count as f64),
            };
        }
    }

    /// Of 100 what is of 1.
    fn percent(&mut self) {
        if let Value::Float(share) = &mut self.value {
            *share *= 100.0;
        }
    }

    fn merge(&mut self, finer: &[u64], sum: f64, buckets: &[u16], len: usize) {
        if !matches!(self.value, Value::Histogram { .. }) {
            self.value = Value::Histogram {
                counts: vec![0; len],
                sum: 0.0,
            };
        }
        if let Value::Histogram {
            counts,
            sum: summed,
        } = &mut self.value
        {
            for (count, bucket) in finer.iter().zip(buckets) {
                if let Some(into) = counts.get_mut(*bucket as usize) {
                    *into += count;
                }
            }
            *summed += sum;
        }
    }
}
