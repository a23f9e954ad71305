//! Length-delimited `io.prometheus.client.MetricFamily`: classic histograms with exemplars,
//! native ones beside them where they are kept, created timestamps.

use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use super::derived::Member;
use super::families::{self, Family};
use super::foreign::{ForeignFamily, ForeignValue};
use super::messages::{
    Bucket, Counter, Exemplar, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
    Quantile, Span, Summary, Timestamp,
};
use super::names::{Kind, Names};
use super::number::Chunks;
use super::text::{Content, Turn, turns};
use crate::recording::{Exponential, ExponentialBuckets, Reading, Series};
use crate::vocabulary::Value;

/// Zeros between two buckets that are written out rather than told as a gap, as a gap is dearer.
const FILLED: usize = 2;

/// Writes the page.
pub(super) fn write(out: &mut Chunks, content: Content<'_>, names: &Names) {
    for turn in turns(content, names) {
        let message = match turn {
            Turn::Ours(family) => ours(family),
            Turn::Derived(member) => match derived(member) {
                Some(message) => message,
                None => continue,
            },
            Turn::Target(target) => MetricFamily {
                name: "target_info".to_owned(),
                help: "Target metadata".to_owned(),
                kind: MetricType::Gauge as i32,
                metrics: vec![Metric {
                    labels: pairs(&target.labels),
                    gauge: Some(Gauge { value: 1.0 }),
                    ..Metric::default()
                }],
                unit: String::new(),
            },
            Turn::Foreign(family) => foreign_family(family),
        };
        // A Vec grows; encoding into it cannot fail.
        out.push(&message.encode_length_delimited_to_vec());
    }
}

fn metric_type(kind: Kind) -> i32 {
    (match kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge | Kind::Info => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
        Kind::Summary => MetricType::Summary,
        Kind::Unknown => MetricType::Untyped,
    }) as i32
}

fn pairs<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Vec<LabelPair> {
    labels
        .into_iter()
        .map(|(name, value)| LabelPair {
            name: name.clone(),
            value: value.clone(),
        })
        .collect()
}

fn ours(family: &Family) -> MetricFamily {
    let heads = &family.heads;
    let mut metrics = Vec::with_capacity(family.present);
    for series in &family.series {
        let created = Some(timestamp(series.start()));
        let mut metric = Metric {
            labels: pairs(&families::pairs(series)),
            ..Metric::default()
        };
        match series.read() {
            Reading::Unsigned(value) => scalar(&mut metric, heads.kind, value as f64, created),
            Reading::Signed(value) => scalar(&mut metric, heads.kind, value as f64, created),
            Reading::Float(value) => scalar(&mut metric, heads.kind, value, created),
            Reading::Histogram { counts, sum, count } => {
                let message = Histogram {
                    count,
                    sum,
                    created,
                    ..Histogram::default()
                };
                metric.histogram = Some(histogram(message, family.bounds, Some(series), &counts));
            }
            Reading::Absent => continue,
        }
        metrics.push(metric);
    }
    MetricFamily {
        name: heads.published.clone(),
        help: heads.help.clone(),
        kind: metric_type(heads.kind),
        metrics,
        unit: heads.unit.to_owned(),
    }
}

/// None: it has no series.
fn derived(member: &Member) -> Option<MetricFamily> {
    let (heads, family) = (&member.head.heads, member.computed());
    let mut metrics = Vec::new();
    for target in family.series() {
        let created = Some(timestamp(target.start()));
        let labels = target.labels().map(|(name, value)| LabelPair {
            name: name.to_owned(),
            value: value.to_owned(),
        });
        let mut metric = Metric {
            labels: labels.collect(),
            ..Metric::default()
        };
        match target.value() {
            Value::Unsigned(value) => scalar(&mut metric, heads.kind, *value as f64, created),
            Value::Signed(value) => scalar(&mut metric, heads.kind, *value as f64, created),
            Value::Float(value) => scalar(&mut metric, heads.kind, *value, created),
            Value::Histogram { counts, sum } => {
                let message = Histogram {
                    count: counts.iter().sum(),
                    sum: *sum,
                    created,
                    ..Histogram::default()
                };
                let bounds = &family.family().bounds;
                metric.histogram = Some(histogram(message, bounds, None, counts));
            }
            Value::Absent => continue,
        }
        metrics.push(metric);
    }
    (!metrics.is_empty()).then(|| MetricFamily {
        name: heads.published.clone(),
        help: heads.help.clone(),
        kind: metric_type(heads.kind),
        metrics,
        unit: heads.unit.to_owned(),
    })
}

fn scalar(metric: &mut Metric, kind: Kind, value: f64, created: Option<Timestamp>) {
    if kind == Kind::Counter {
        metric.counter = Some(Counter { value, created });
    } else {
        metric.gauge = Some(Gauge { value });
    }
}

/// `series`: where exemplars and native buckets are from, if from anywhere.
fn histogram(
    mut message: Histogram,
    bounds: &[f64],
    series: Option<&Series>,
    counts: &[u64],
) -> Histogram {
    if let Some(native) = series.and_then(Series::exponential) {
        add_native(&mut message, &native);
    }
    let exemplars = series.filter(|series| series.has_exemplars());
    let mut cumulative = 0_u64;
    let bounds = bounds.iter().copied().chain([f64::INFINITY]);
    for (i, (upper_bound, count)) in bounds.zip(counts).enumerate() {
        cumulative += count;
        message.buckets.push(Bucket {
            // The exponential histogram was read at another moment; its count rules.
            cumulative_count: if upper_bound.is_infinite() {
                message.count
            } else {
                cumulative.min(message.count)
            },
            upper_bound,
            exemplar: exemplars
                .and_then(|series| series.exemplar(i))
                .map(|exemplar| Exemplar {
                    labels: vec![
                        LabelPair {
                            name: "trace_id".to_owned(),
                            value: format!("{:032x}", exemplar.span.trace_id),
                        },
                        LabelPair {
                            name: "span_id".to_owned(),
                            value: format!("{:016x}", exemplar.span.span_id),
                        },
                    ],
                    value: exemplar.value,
                    time: Some(timestamp(exemplar.time)),
                }),
        });
    }
    message
}

/// Adds native buckets, with count and sum from where they are from.
fn add_native(message: &mut Histogram, native: &Exponential) {
    message.count = native.count();
    message.sum = native.sum;
    message.schema = Some(native.scale);
    message.zero_threshold = Some(0.0);
    message.zero_count = Some(native.zero);
    (message.positive_spans, message.positive_deltas) = spans(&native.positive);
    (message.negative_spans, message.negative_deltas) = spans(&native.negative);
    if message.positive_spans.is_empty() && message.negative_spans.is_empty() {
        // Marks an empty histogram as native.
        message.positive_spans.push(Span {
            offset: 0,
            length: 0,
        });
    }
}

/// Buckets as spans and differences. OpenTelemetry numbers a bucket by its lower bound,
/// Prometheus by its upper.
fn spans(buckets: &ExponentialBuckets) -> (Vec<Span>, Vec<i64>) {
    of(buckets.offset, &buckets.counts)
}

fn of(offset: i32, counts: &[u64]) -> (Vec<Span>, Vec<i64>) {
    let (mut spans, mut deltas): (Vec<Span>, Vec<i64>) = (Vec::new(), Vec::new());
    let mut end: Option<usize> = None;
    let mut before = 0_i64;
    for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let count = i64::try_from(*count).unwrap_or(i64::MAX);
        let gap = end.map(|end| at - end);
        match (gap, spans.last_mut()) {
            (Some(gap), Some(span)) if gap <= FILLED => {
                for _ in 0..gap {
                    deltas.push(-before);
                    before = 0;
                }
                span.length += gap as u32 + 1;
            }
            (gap, _) => spans.push(Span {
                offset: gap.map_or(offset.saturating_add(at as i32 + 1), |gap| gap as i32),
                length: 1,
            }),
        }
        deltas.push(count - before);
        before = count;
        end = Some(at + 1);
    }
    (spans, deltas)
}

fn foreign_family(family: &ForeignFamily) -> MetricFamily {
    let metrics = family
        .series
        .iter()
        .map(|series| {
            let mut metric = Metric {
                labels: pairs(series.labels.iter().map(|(k, v)| (k, v))),
                ..Metric::default()
            };
            match &series.value {
                ForeignValue::Number(value) if family.kind == Kind::Unknown => {
                    metric.untyped = Some(Gauge { value: *value });
                }
                ForeignValue::Number(value) => scalar(&mut metric, family.kind, *value, None),
                ForeignValue::Histogram {
                    count,
                    sum,
                    buckets,
                } => {
                    let all = buckets.iter().copied().chain([(f64::INFINITY, *count)]);
                    metric.histogram = Some(Histogram {
                        count: *count,
                        sum: *sum,
                        buckets: all
                            .map(|(upper_bound, cumulative_count)| Bucket {
                                cumulative_count,
                                upper_bound,
                                exemplar: None,
                            })
                            .collect(),
                        ..Histogram::default()
                    });
                }
                ForeignValue::Summary {
                    count,
                    sum,
                    quantiles,
                } => {
                    metric.summary = Some(Summary {
                        count: *count,
                        sum: *sum,
                        quantiles: quantiles
                            .iter()
                            .map(|(quantile, value)| Quantile {
                                quantile: *quantile,
                                value: *value,
                            })
                            .collect(),
                    });
                }
            }
            metric
        })
        .collect();
    MetricFamily {
        name: family.heads.published.clone(),
        help: family.heads.help.clone(),
        kind: metric_type(family.kind),
        metrics,
        unit: String::new(),
    }
}

fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: since.subsec_nanos() as i32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counts that spans and differences tell, by bucket position.
    fn read(spans: &[Span], deltas: &[i64]) -> Vec<(i32, i64)> {
        let mut out = Vec::new();
        let (mut at, mut count) = (0, 0);
        let mut deltas = deltas.iter();
        for span in spans {
            at += span.offset;
            for _ in 0..span.length {
                count += deltas.next().unwrap();
                out.push((at, count));
                at += 1;
            }
        }
        assert!(deltas.next().is_none());
        out.retain(|(_, count)| *count > 0);
        out
    }

    #[test]
    fn spans_tell_every_count_at_its_place() {
        let cases: [(i32, &[u64]); 6] = [
            (0, &[]),
            (-3, &[0, 0, 0]),
            (-3, &[1]),
            (5, &[0, 2, 0, 0, 3, 0, 0, 0, 4, 4, 0]),
            (-2, &[7, 0, 1, 0, 0, 0, 0, 9]),
            (0, &[u64::from(u32::MAX), 1]),
        ];
        for (offset, counts) in cases {
            let (spans, deltas) = of(offset, counts);
            let expected: Vec<(i32, i64)> = counts
                .iter()
                .enumerate()
                .filter(|(_, count)| **count > 0)
                .map(|(i, count)| (offset + i as i32 + 1, *count as i64))
                .collect();
            assert_eq!(read(&spans, &deltas), expected, "{offset} {counts:?}");
        }
        assert_eq!(of(5, &[0, 2, 0, 0, 3, 0, 0, 0, 4]).0.len(), 2);
    }
}
