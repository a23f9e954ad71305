//! The declared metrics in the order they are published: families by name, series by labels.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use opentelemetry_sdk::Resource;

use super::names::{Kind, escape_help, label_pairs, label_text};
use super::number::bound;
use crate::catalog::{Instrument, Metric, prometheus_unit};
use crate::recording::{MetricSeries, Recorder, Series};

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
    pub(super) heads: Heads,
    /// The bounds of a histogram.
    pub(super) bounds: &'static [f64],
    /// `le="…"} ` of each bucket, in text and in OpenMetrics.
    pub(super) le: [Vec<String>; 2],
    pub(super) domain: &'static str,
    /// Its series in order of their labels' text, each text once.
    pub(super) series: Vec<Arc<Series>>,
    /// Those of them that have a value, as of the last update.
    pub(super) present: usize,
    /// Series left out because another one has the same text.
    twins: usize,
    /// The metrics of its name, with the series that are in `series`.
    metrics: Vec<(&'static MetricSeries, Arc<[Arc<Series>]>)>,
}

/// The resource as `target_info`.
#[derive(Default)]
pub(super) struct Target {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) text: String,
}

/// The declared families, in order.
pub(super) struct Families {
    pub(super) list: Vec<Family>,
    /// Names no foreign family may take.
    pub(super) taken: HashSet<String>,
    /// Published names of families left out for a clash.
    pub(super) clashes: Vec<String>,
    pub(super) target: Target,
}

impl Families {
    /// The families of these signals.
    pub(super) fn new(signals: &[&'static dyn Recorder], resource: &Resource) -> Self {
        let mut by_name: BTreeMap<(String, Kind), Family> = BTreeMap::new();
        for recorder in signals {
            let signal = recorder.signal();
            for series in recorder.metrics() {
                let metric = series.metric();
                by_name
                    .entry((metric.prometheus_name(), kind(metric)))
                    .or_insert_with(|| Family::new(metric, signal.domain))
                    .metrics
                    .push((series, Arc::default()));
            }
        }
        let mut families = Self {
            list: Vec::new(),
            taken: claims("target", Kind::Info).collect(),
            clashes: Vec::new(),
            target: target(resource),
        };
        for family in by_name.into_values() {
            let names: Vec<String> = claims(&family.heads.base, family.heads.kind).collect();
            if names.iter().any(|name| families.taken.contains(name)) {
                families.clashes.push(family.heads.published);
            } else {
                families.taken.extend(names);
                families.list.push(family);
            }
        }
        families
    }

    /// Takes note of series that were added, and of gauges that came and went.
    pub(super) fn update(&mut self) {
        self.list.iter_mut().for_each(Family::update);
    }

    /// Series left out because another one has the same labels.
    pub(super) fn twins(&self) -> usize {
        self.list.iter().map(|family| family.twins).sum()
    }
}

fn target(resource: &Resource) -> Target {
    let attributes = resource.iter();
    let labels = label_pairs(attributes.map(|(key, value)| (key.as_str(), value.as_str())));
    Target {
        text: label_text(labels.iter().map(|(k, v)| (k.as_str(), v.as_str()))),
        labels,
    }
}

/// The labels of a series by the names they are published under.
pub(super) fn pairs(series: &Series) -> BTreeMap<String, String> {
    label_pairs(
        series
            .labels()
            .map(|(key, value)| (key, Cow::Borrowed(value))),
    )
}

/// The labels of a series without braces, rendered once.
pub(super) fn text(series: &Series) -> &str {
    series.rendered(|series| {
        let labels = pairs(series);
        label_text(labels.iter().map(|(k, v)| (k.as_str(), v.as_str())))
    })
}

/// Every name that a family keeps from others.
pub(super) fn claims(base: &str, kind: Kind) -> impl Iterator<Item = String> {
    kind.claims()
        .iter()
        .map(move |suffix| format!("{base}{suffix}"))
}

impl Family {
    fn new(metric: &'static Metric, domain: &'static str) -> Self {
        let unit = prometheus_unit(metric.unit, metric.instrument).unwrap_or_default();
        Self {
            heads: Heads::new(
                metric.prometheus_base(),
                metric.prometheus_name(),
                kind(metric),
                metric.brief,
                unit,
            ),
            bounds: metric.bounds,
            le: [false, true].map(|open_metrics| {
                let all = metric.bounds.iter().copied().chain([f64::INFINITY]);
                all.map(|b| format!("le=\"{}\"}} ", bound(b, open_metrics)))
                    .collect()
            }),
            domain,
            series: Vec::new(),
            present: 0,
            twins: 0,
            metrics: Vec::new(),
        }
    }

    fn update(&mut self) {
        let mut moved = false;
        for (metric, known) in &mut self.metrics {
            let now = metric.series();
            if !Arc::ptr_eq(&now, known) {
                *known = now;
                moved = true;
            }
        }
        if moved {
            let all = self.metrics.iter().flat_map(|(_, series)| series.iter());
            self.series = all.cloned().collect();
            // Sorted by labels already, which is nearly this order. It is stable, so that of
            // equal texts the same one stays in every process.
            self.series.sort_by(|a, b| text(a).cmp(text(b)));
            let before = self.series.len();
            self.series.dedup_by(|b, a| text(a) == text(b));
            self.twins = before - self.series.len();
        }
        self.present = match self.heads.kind {
            Kind::Gauge => self.series.iter().filter(|one| one.is_present()).count(),
            _ => self.series.len(),
        };
    }
}

fn kind(metric: &Metric) -> Kind {
    match metric.instrument {
        Instrument::Counter | Instrument::FloatCounter => Kind::Counter,
        Instrument::Histogram => Kind::Histogram,
        Instrument::InFlight | Instrument::Gauge => Kind::Gauge,
    }
}
