//! What a collection holds, in the order it is published: families by name, series by labels.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::SystemTime;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::data::{
    AggregatedMetrics, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, MetricData,
    ResourceMetrics,
};

use super::labels::Labels;
use super::names::{Kind, escape_help, label_pairs, label_text};
use super::number::bound;
use crate::catalog::{Instrument, prometheus_metric, prometheus_unit};
use crate::recording::{self, MetricSeries, NATIVE_SCOPE};

/// What is written once per family.
pub(super) struct Heads {
    /// Family name: without `_total`.
    pub(super) base: String,
    /// Name of the family in text 0.0.4 and protobuf, and of its samples: counters with `_total`.
    pub(super) published: String,
    pub(super) kind: Kind,
    pub(super) help: String,
    pub(super) unit: &'static str,
    /// `HELP` and `TYPE` in text.
    pub(super) text: String,
    /// `TYPE`, `UNIT` and `HELP` in OpenMetrics.
    pub(super) open_metrics: String,
}

impl Heads {
    pub(super) fn new(
        base: String,
        published: String,
        kind: Kind,
        help: &str,
        unit: &'static str,
    ) -> Self {
        let unit = if base.ends_with(&format!("_{unit}")) {
            unit
        } else {
            ""
        };
        let mut text = String::new();
        let mut open = format!("# TYPE {base} {}\n", kind.open_metrics());
        if !unit.is_empty() {
            open.push_str(&format!("# UNIT {base} {unit}\n"));
        }
        if !help.is_empty() {
            text.push_str(&format!("# HELP {published} "));
            escape_help(&mut text, help, false);
            text.push('\n');
            open.push_str(&format!("# HELP {base} "));
            escape_help(&mut open, help, true);
            open.push('\n');
        }
        text.push_str(&format!("# TYPE {published} {}\n", kind.text()));
        Self {
            base,
            published,
            kind,
            help: help.to_owned(),
            unit,
            text,
            open_metrics: open,
        }
    }
}

/// A family and what is kept of it between scrapes.
pub(super) struct Family {
    scope: String,
    name: String,
    native: bool,
    pub(super) heads: Heads,
    pub(super) labels: Labels,
    pub(super) bounds: Vec<f64>,
    /// `le="…"} ` of each bucket, in text and in OpenMetrics.
    pub(super) le: [Vec<String>; 2],
    pub(super) declared: Option<&'static MetricSeries>,
    pub(super) domain: &'static str,
    /// Another family has its name.
    lost: bool,
}

/// A value of a series.
pub(super) enum Sample<'a> {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Histogram(&'a HistogramDataPoint<f64>),
    HistogramU64(&'a HistogramDataPoint<u64>),
    HistogramI64(&'a HistogramDataPoint<i64>),
    Exponential(&'a ExponentialHistogramDataPoint<f64>),
    /// Of a type that is not published.
    Absent,
}

/// A family with its samples: (series, sample) in order.
pub(super) struct Entry<'a> {
    pub(super) family: usize,
    pub(super) samples: Vec<(u32, Sample<'a>)>,
    pub(super) start: Option<SystemTime>,
    /// Position of the family's exponential twin in [`Collected::natives`].
    pub(super) native: Option<usize>,
}

/// A collection, in order.
pub(super) struct Collected<'a> {
    pub(super) entries: Vec<Entry<'a>>,
    pub(super) natives: Vec<Entry<'a>>,
    /// Samples left out because another one has the same labels.
    pub(super) twins: usize,
}

/// The resource as `target_info`.
#[derive(Default)]
pub(super) struct Target {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) text: String,
}

/// The families of all collections so far.
#[derive(Default)]
pub(super) struct Families {
    pub(super) list: Vec<Family>,
    order: Vec<usize>,
    /// Names no foreign family may take.
    pub(super) taken: HashSet<String>,
    /// Published names of families left out for a clash.
    pub(super) clashes: Vec<String>,
    pub(super) target: Target,
    resource: Option<Resource>,
}

impl Families {
    /// Takes note of a collection. Exponential twins are looked at only if asked for.
    pub(super) fn update<'a>(
        &mut self,
        collected: &'a ResourceMetrics,
        natives: bool,
    ) -> Collected<'a> {
        self.update_target(collected.resource());
        let metrics: Vec<(&str, &'a Metric)> = collected
            .scope_metrics()
            .flat_map(|scope| scope.metrics().map(move |m| (scope.scope().name(), m)))
            .filter(|(_, metric)| kind(metric).is_some())
            .collect();
        let known = metrics.len() == self.list.len()
            && metrics
                .iter()
                .zip(&self.list)
                .all(|((scope, metric), family)| {
                    family.name == metric.name()
                        && family.scope == *scope
                        && Some(family.heads.kind) == kind(metric)
                });
        if !known {
            self.rebuild(&metrics);
        }
        let mut out = Collected {
            entries: Vec::with_capacity(self.order.len()),
            natives: Vec::new(),
            twins: 0,
        };
        let mut by_name: HashMap<&str, usize> = HashMap::new();
        if natives {
            for (at, (_, metric)) in metrics.iter().enumerate() {
                if self.list[at].native {
                    by_name.insert(metric.name(), out.natives.len());
                    let entry = self.entry(at, metric, &mut out.twins);
                    out.natives.push(entry);
                }
            }
        }
        for at in self.order.clone() {
            let (_, metric) = metrics[at];
            let mut entry = self.entry(at, metric, &mut out.twins);
            entry.native = by_name.get(metric.name()).copied();
            out.entries.push(entry);
        }
        out
    }

    fn entry<'a>(&mut self, at: usize, metric: &'a Metric, twins: &mut usize) -> Entry<'a> {
        let family = &mut self.list[at];
        let (samples, start) = match metric.data() {
            AggregatedMetrics::F64(data) => samples(family, data, twins),
            AggregatedMetrics::U64(data) => samples(family, data, twins),
            AggregatedMetrics::I64(data) => samples(family, data, twins),
        };
        Entry {
            family: at,
            samples,
            start,
            native: None,
        }
    }

    fn update_target(&mut self, resource: &Resource) {
        if self.resource.as_ref() == Some(resource) {
            return;
        }
        let labels = label_pairs(resource.iter());
        self.target = Target {
            text: label_text(labels.iter().map(|(k, v)| (k.as_str(), v.as_str()))),
            labels,
        };
        self.resource = Some(resource.clone());
    }

    fn rebuild(&mut self, metrics: &[(&str, &Metric)]) {
        let mut old: HashMap<(String, String, Kind), Family> = self
            .list
            .drain(..)
            .map(|f| ((f.scope.clone(), f.name.clone(), f.heads.kind), f))
            .collect();
        for (scope, metric) in metrics {
            let Some(kind) = kind(metric) else { continue };
            let key = ((*scope).to_owned(), metric.name().to_owned(), kind);
            let family = old
                .remove(&key)
                .unwrap_or_else(|| Family::new(scope, metric, kind));
            self.list.push(family);
        }
        let list = &mut self.list;
        let mut order: Vec<usize> = (0..list.len()).filter(|i| !list[*i].native).collect();
        order.sort_by(|a, b| {
            let key = |f: &Family| {
                (
                    f.heads.published.clone(),
                    f.scope.clone(),
                    f.name.clone(),
                    f.heads.kind,
                )
            };
            key(&list[*a]).cmp(&key(&list[*b]))
        });
        self.taken = claims("target", Kind::Info).collect();
        self.clashes.clear();
        for at in &order {
            let family = &mut list[*at];
            let names: Vec<String> = claims(&family.heads.base, family.heads.kind).collect();
            family.lost = names.iter().any(|name| self.taken.contains(name));
            if family.lost {
                self.clashes.push(family.heads.published.clone());
            } else {
                self.taken.extend(names);
            }
        }
        order.retain(|at| !list[*at].lost);
        self.order = order;
    }
}

/// Every name that a family keeps from others.
pub(super) fn claims(base: &str, kind: Kind) -> impl Iterator<Item = String> {
    kind.claims()
        .iter()
        .map(move |suffix| format!("{base}{suffix}"))
}

impl Family {
    fn new(scope: &str, metric: &Metric, kind: Kind) -> Self {
        let native = scope == NATIVE_SCOPE;
        let found = if scope == recording::SCOPE {
            recording::find_metric(metric.name())
        } else {
            None
        };
        let instrument = match (kind, found) {
            (_, Some((_, series))) => series.metric().instrument,
            (Kind::Counter, None) => Instrument::Counter,
            (Kind::Histogram, None) => Instrument::Histogram,
            (_, None) => Instrument::Gauge,
        };
        let unit = prometheus_unit(metric.unit(), instrument).unwrap_or_default();
        let base = match found {
            Some((_, series)) => series.metric().prometheus_base(),
            None => {
                let mut base = prometheus_metric(metric.name());
                if kind == Kind::Counter && base.ends_with("_total") {
                    base.truncate(base.len() - "_total".len());
                }
                if !unit.is_empty() && !base.ends_with(&format!("_{unit}")) {
                    base.push('_');
                    base.push_str(unit);
                }
                base
            }
        };
        let published = match kind {
            Kind::Counter => format!("{base}_total"),
            _ => base.clone(),
        };
        Self {
            scope: scope.to_owned(),
            name: metric.name().to_owned(),
            native,
            heads: Heads::new(base, published, kind, metric.description(), unit),
            labels: Labels::default(),
            bounds: Vec::new(),
            le: Default::default(),
            declared: found.map(|(_, series)| series),
            domain: found.map_or("undeclared", |(signal, _)| signal.domain),
            lost: false,
        }
    }
}

/// The type of a metric; none: it cannot be published.
fn kind(metric: &Metric) -> Option<Kind> {
    fn of<T>(data: &MetricData<T>) -> Kind {
        match data {
            MetricData::Gauge(_) => Kind::Gauge,
            MetricData::Sum(sum) if sum.is_monotonic() => Kind::Counter,
            MetricData::Sum(_) => Kind::Gauge,
            MetricData::Histogram(_) | MetricData::ExponentialHistogram(_) => Kind::Histogram,
        }
    }
    match metric.data() {
        AggregatedMetrics::F64(data) => Some(of(data)),
        AggregatedMetrics::U64(MetricData::ExponentialHistogram(_))
        | AggregatedMetrics::I64(MetricData::ExponentialHistogram(_)) => None,
        AggregatedMetrics::U64(data) => Some(of(data)),
        AggregatedMetrics::I64(data) => Some(of(data)),
    }
}

trait Number: Copy {
    fn sample<'a>(self) -> Sample<'a>;
    fn histogram(point: &HistogramDataPoint<Self>) -> Sample<'_>;
    fn exponential(point: &ExponentialHistogramDataPoint<Self>) -> Sample<'_>;
}

impl Number for f64 {
    fn sample<'a>(self) -> Sample<'a> {
        Sample::Float(self)
    }
    fn histogram(point: &HistogramDataPoint<Self>) -> Sample<'_> {
        Sample::Histogram(point)
    }
    fn exponential(point: &ExponentialHistogramDataPoint<Self>) -> Sample<'_> {
        Sample::Exponential(point)
    }
}

impl Number for u64 {
    fn sample<'a>(self) -> Sample<'a> {
        Sample::Unsigned(self)
    }
    fn histogram(point: &HistogramDataPoint<Self>) -> Sample<'_> {
        Sample::HistogramU64(point)
    }
    fn exponential(_: &ExponentialHistogramDataPoint<Self>) -> Sample<'_> {
        Sample::Absent
    }
}

impl Number for i64 {
    fn sample<'a>(self) -> Sample<'a> {
        Sample::Signed(self)
    }
    fn histogram(point: &HistogramDataPoint<Self>) -> Sample<'_> {
        Sample::HistogramI64(point)
    }
    fn exponential(_: &ExponentialHistogramDataPoint<Self>) -> Sample<'_> {
        Sample::Absent
    }
}

type Samples<'a> = Vec<(u32, Sample<'a>)>;

fn samples<'a, T: Number>(
    family: &mut Family,
    data: &'a MetricData<T>,
    twins: &mut usize,
) -> (Samples<'a>, Option<SystemTime>) {
    match data {
        MetricData::Gauge(data) => {
            let points = data.data_points().collect();
            let samples = ordered(
                family,
                points,
                |p| p.attributes(),
                |p| p.value().sample(),
                twins,
            );
            (samples, None)
        }
        MetricData::Sum(data) => {
            let points = data.data_points().collect();
            let samples = ordered(
                family,
                points,
                |p| p.attributes(),
                |p| p.value().sample(),
                twins,
            );
            (samples, Some(data.start_time()))
        }
        MetricData::Histogram(data) => {
            if let Some(first) = data.data_points().next()
                && (family.le[0].is_empty() || !first.bounds().eq(family.bounds.iter().copied()))
            {
                family.bounds = first.bounds().collect();
                family.le = [false, true].map(|open_metrics| {
                    let all = first.bounds().chain([f64::INFINITY]);
                    all.map(|b| format!("le=\"{}\"}} ", bound(b, open_metrics)))
                        .collect()
                });
            }
            let points = data.data_points().collect();
            let samples = ordered(family, points, |p| p.attributes(), T::histogram, twins);
            (samples, Some(data.start_time()))
        }
        MetricData::ExponentialHistogram(data) => {
            let points = data.data_points().collect();
            let samples = ordered(family, points, |p| p.attributes(), T::exponential, twins);
            (samples, Some(data.start_time()))
        }
    }
}

fn ordered<'a, D, I>(
    family: &mut Family,
    points: Vec<&'a D>,
    attributes: impl Fn(&'a D) -> I,
    sample: impl Fn(&'a D) -> Sample<'a>,
    twins: &mut usize,
) -> Samples<'a>
where
    I: Iterator<Item = &'a KeyValue>,
{
    let labels = &mut family.labels;
    labels.update(points.len(), |position| attributes(points[position]));
    let mut out = Vec::with_capacity(points.len());
    let mut last = usize::MAX;
    for position in labels.order() {
        let series = labels.at(*position);
        let known = &labels.series[series as usize];
        if known.twin
            && labels
                .series
                .get(last)
                .is_some_and(|l| l.text == known.text)
        {
            *twins += 1;
            continue;
        }
        last = series as usize;
        out.push((series, sample(points[*position as usize])));
    }
    out
}
