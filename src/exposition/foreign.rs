//! Metrics of the host and its libraries: whatever they record through the global
//! OpenTelemetry meter or register with the `prometheus` crate.
//!
//! Names that clash are resolved the same way in every process: declared metrics win, then the
//! order of name and type decides; what loses is left off and reported.

use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use prometheus::Registry;
use prometheus::proto::{Metric, MetricFamily, MetricType};

use super::families::{Heads, claims};
use super::names::{Kind, label_name, label_text};
use super::number::{Chunks, bound, float, unsigned};
use crate::catalog::prometheus_metric;

/// A family that is not declared.
pub(super) struct ForeignFamily {
    pub(super) heads: Heads,
    /// Its type; `heads` has `Unknown` for a counter without `_total`, which OpenMetrics does
    /// not know.
    pub(super) kind: Kind,
    pub(super) series: Vec<ForeignSeries>,
}

/// A series of it.
pub(super) struct ForeignSeries {
    pub(super) labels: Vec<(String, String)>,
    text: String,
    pub(super) value: ForeignValue,
}

/// Its value.
pub(super) enum ForeignValue {
    Number(f64),
    /// Upper bounds with cumulative counts, without `+Inf`.
    Histogram {
        count: u64,
        sum: f64,
        buckets: Vec<(f64, u64)>,
    },
    /// Quantiles with values.
    Summary {
        count: u64,
        sum: f64,
        quantiles: Vec<(f64, f64)>,
    },
}

impl ForeignValue {
    /// Decides between two series with the same labels: the one that counted more.
    fn key(&self) -> (u64, f64) {
        match self {
            Self::Number(value) => (0, *value),
            Self::Histogram { count, sum, .. } | Self::Summary { count, sum, .. } => (*count, *sum),
        }
    }
}

/// What registries hold, and what went wrong.
#[derive(Default)]
pub(super) struct Gathered {
    families: Vec<MetricFamily>,
    pub(super) errors: Vec<String>,
}

/// Gathers on a thread of its own, so that a collector that hangs holds up nothing but itself.
pub(super) struct Gatherer {
    ask: SyncSender<()>,
    answers: Receiver<Gathered>,
    busy: bool,
}

impl Gatherer {
    pub(super) fn start(registries: Vec<Registry>) -> std::io::Result<Self> {
        let (ask, asked) = sync_channel::<()>(1);
        let (answer, answers) = sync_channel(1);
        std::thread::Builder::new()
            .name("tachograph-foreign".to_owned())
            .spawn(move || {
                while asked.recv().is_ok() {
                    if answer.send(gather(&registries)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            ask,
            answers,
            busy: false,
        })
    }

    /// Asks for a round, unless the last one is still under way.
    pub(super) fn ask(&mut self) {
        if self.busy && !matches!(self.answers.try_recv(), Err(TryRecvError::Empty)) {
            self.busy = false;
        }
        if !self.busy {
            self.busy = self.ask.try_send(()).is_ok();
        }
    }

    /// Waits for the round.
    pub(super) fn wait(&mut self, patience: Duration) -> Gathered {
        match self.answers.recv_timeout(patience) {
            Ok(gathered) => {
                self.busy = false;
                gathered
            }
            Err(RecvTimeoutError::Timeout) => Gathered {
                families: Vec::new(),
                errors: vec![format!(
                    "foreign metrics were not gathered within {} ms",
                    patience.as_millis()
                )],
            },
            Err(RecvTimeoutError::Disconnected) => Gathered {
                families: Vec::new(),
                errors: vec!["the thread that gathers foreign metrics ended".to_owned()],
            },
        }
    }
}

fn gather(registries: &[Registry]) -> Gathered {
    let mut out = Gathered::default();
    for registry in registries {
        match catch_unwind(AssertUnwindSafe(|| registry.gather())) {
            Ok(families) => out.families.extend(families),
            Err(panic) => out
                .errors
                .push(format!("a collector panicked: {}", message(&*panic))),
        }
    }
    out
}

/// The text of a panic.
pub(super) fn message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

/// Orders what was gathered and leaves off what clashes; each clash is one sentence.
pub(super) fn resolve(
    gathered: Gathered,
    taken: &HashSet<String>,
) -> (Vec<ForeignFamily>, Vec<String>) {
    let mut clashes = Vec::new();
    let mut list: Vec<(String, String, Kind, MetricFamily)> = gathered
        .families
        .into_iter()
        .filter(|family| !family.get_metric().is_empty())
        .map(|family| {
            let kind = match family.get_field_type() {
                MetricType::COUNTER => Kind::Counter,
                MetricType::GAUGE => Kind::Gauge,
                MetricType::HISTOGRAM => Kind::Histogram,
                MetricType::SUMMARY => Kind::Summary,
                MetricType::UNTYPED => Kind::Unknown,
            };
            (
                prometheus_metric(family.name()),
                family.name().to_owned(),
                kind,
                family,
            )
        })
        .collect();
    list.sort_by(|a, b| (&a.0, &a.1, a.2).cmp(&(&b.0, &b.1, b.2)));
    let mut own: HashSet<String> = HashSet::new();
    let mut out: Vec<ForeignFamily> = Vec::new();
    for (published, original, kind, family) in list {
        let merged = match out.last_mut() {
            Some(last) if last.heads.published == published => {
                if last.kind != kind {
                    clashes.push(format!(
                        "{original}: a {} of this name is published, the {} is left off",
                        last.kind.text(),
                        kind.text()
                    ));
                    continue;
                }
                last
            }
            _ => {
                // A counter that OpenMetrics cannot name goes there as `unknown`, under the name
                // it has everywhere.
                let forms = match (published.strip_suffix("_total"), kind) {
                    (Some(base), Kind::Counter) => {
                        vec![(base.to_owned(), kind), (published.clone(), Kind::Unknown)]
                    }
                    (None, Kind::Counter) => vec![(published.clone(), Kind::Unknown)],
                    _ => vec![(published.clone(), kind)],
                };
                let free = forms.into_iter().find_map(|(base, kind)| {
                    let names: Vec<String> = claims(&base, kind).collect();
                    let free = names
                        .iter()
                        .all(|name| !taken.contains(name) && !own.contains(name));
                    free.then_some((base, kind, names))
                });
                let Some((base, head_kind, names)) = free else {
                    let by = if taken.contains(&published)
                        || claims(&published, kind).any(|name| taken.contains(&name))
                    {
                        "a declared"
                    } else {
                        "another foreign"
                    };
                    clashes.push(format!("{original}: {by} metric has this name"));
                    continue;
                };
                own.extend(names);
                let mut heads = Heads::new(base, published, head_kind, family.help(), "");
                if head_kind != kind {
                    heads.text = heads.text.replace(" untyped\n", " counter\n");
                }
                out.push(ForeignFamily {
                    heads,
                    kind,
                    series: Vec::new(),
                });
                let Some(last) = out.last_mut() else { continue };
                last
            }
        };
        for metric in family.get_metric() {
            let (labels, renamed) = labels(metric);
            for (from, to) in renamed {
                clashes.push(format!("{original}: label `{from}` is published as `{to}`"));
            }
            merged.series.push(ForeignSeries {
                text: label_text(labels.iter().map(|(k, v)| (k.as_str(), v.as_str()))),
                labels,
                value: value(kind, metric),
            });
        }
    }
    for family in &mut out {
        family.series.sort_by(|a, b| {
            a.text.cmp(&b.text).then_with(|| {
                let (a, b) = (a.value.key(), b.value.key());
                b.0.cmp(&a.0).then(b.1.total_cmp(&a.1))
            })
        });
        let before = family.series.len();
        family.series.dedup_by(|b, a| a.text == b.text);
        if family.series.len() < before {
            clashes.push(format!(
                "{}: series with equal labels, the larger is published",
                family.heads.published
            ));
        }
    }
    clashes.sort();
    clashes.dedup();
    (out, clashes)
}

type Renamed = Vec<(String, String)>;

fn labels(metric: &Metric) -> (Vec<(String, String)>, Renamed) {
    let mut pairs: Vec<(&str, &str)> = metric
        .get_label()
        .iter()
        .map(|label| (label.name(), label.value()))
        .collect();
    pairs.sort_unstable();
    let mut renamed = Vec::new();
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    for (key, value) in pairs {
        let name = label_name(key);
        if name != key {
            renamed.push((key.to_owned(), name.clone()));
        }
        let value = value.replace('\0', "\u{fffd}");
        labels
            .entry(name)
            .and_modify(|known| {
                known.push(';');
                known.push_str(&value);
            })
            .or_insert(value);
    }
    labels.retain(|_, value| !value.is_empty());
    (labels.into_iter().collect(), renamed)
}

fn value(kind: Kind, metric: &Metric) -> ForeignValue {
    match kind {
        Kind::Histogram => {
            let histogram = metric.get_histogram();
            let mut buckets: Vec<(f64, u64)> = histogram
                .get_bucket()
                .iter()
                .map(|b| (b.upper_bound(), b.cumulative_count()))
                .filter(|(bound, _)| !bound.is_nan() && *bound != f64::INFINITY)
                .collect();
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            buckets.dedup_by(|b, a| a.0 == b.0);
            ForeignValue::Histogram {
                count: histogram.get_sample_count(),
                sum: histogram.get_sample_sum(),
                buckets,
            }
        }
        Kind::Summary => {
            let summary = metric.get_summary();
            ForeignValue::Summary {
                count: summary.sample_count(),
                sum: summary.sample_sum(),
                quantiles: summary
                    .get_quantile()
                    .iter()
                    .map(|q| (q.quantile(), q.value()))
                    .collect(),
            }
        }
        Kind::Counter => ForeignValue::Number(metric.get_counter().value()),
        Kind::Unknown => ForeignValue::Number(metric.untyped.value()),
        Kind::Gauge | Kind::Info => ForeignValue::Number(metric.get_gauge().value()),
    }
}

impl ForeignFamily {
    pub(super) fn write_text(&self, out: &mut Chunks, open_metrics: bool) {
        let head = if open_metrics {
            &self.heads.open_metrics
        } else {
            &self.heads.text
        };
        out.push(head.as_bytes());
        let name = &self.heads.published;
        for series in &self.series {
            let labels = &series.text;
            match &series.value {
                ForeignValue::Number(value) => {
                    line(out, name, "", labels, "", |b| float(b, *value))
                }
                ForeignValue::Histogram {
                    count,
                    sum,
                    buckets,
                } => {
                    for (at, cumulative) in buckets.iter().copied().chain([(f64::INFINITY, *count)])
                    {
                        let le = format!("le=\"{}\"", bound(at, open_metrics));
                        line(out, name, "_bucket", labels, &le, |b| {
                            unsigned(b, cumulative)
                        });
                    }
                    // OpenMetrics 1.0, "Histogram": no sum, hence no count, with negative bounds.
                    if open_metrics && buckets.first().is_some_and(|(bound, _)| *bound < 0.0) {
                        continue;
                    }
                    line(out, name, "_sum", labels, "", |b| float(b, *sum));
                    line(out, name, "_count", labels, "", |b| unsigned(b, *count));
                }
                ForeignValue::Summary {
                    count,
                    sum,
                    quantiles,
                } => {
                    for (at, value) in quantiles {
                        let quantile = format!("quantile=\"{}\"", bound(*at, open_metrics));
                        line(out, name, "", labels, &quantile, |b| float(b, *value));
                    }
                    line(out, name, "_sum", labels, "", |b| float(b, *sum));
                    line(out, name, "_count", labels, "", |b| unsigned(b, *count));
                }
            }
        }
    }
}

fn line(
    out: &mut Chunks,
    name: &str,
    suffix: &str,
    labels: &str,
    extra: &str,
    value: impl FnOnce(&mut Vec<u8>),
) {
    out.push(name.as_bytes());
    out.push(suffix.as_bytes());
    if !labels.is_empty() || !extra.is_empty() {
        out.push(b"{");
        out.push(labels.as_bytes());
        if !labels.is_empty() && !extra.is_empty() {
            out.push(b",");
        }
        out.push(extra.as_bytes());
        out.push(b"}");
    }
    out.push(b" ");
    out.room(64);
    value(&mut out.buffer);
    out.push(b"\n");
}
