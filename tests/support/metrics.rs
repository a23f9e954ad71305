//! Reads what has been recorded.

use opentelemetry::Value;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};
use tachograph::Telemetry;

/// Labels, value, and for histograms the sum, whose value is their count.
type Point = (Vec<(String, String)>, f64, f64);

/// Every point of one metric with its labels, sorted.
pub struct Points(Vec<Point>);

/// Collects and picks one metric by its OpenTelemetry name.
pub fn points(telemetry: &Telemetry, metric: &str) -> Points {
    let mut all = ResourceMetrics::default();
    telemetry.collector().unwrap().collect(&mut all).unwrap();
    let mut points = Vec::new();
    for scope in all.scope_metrics() {
        for found in scope.metrics().filter(|m| m.name() == metric) {
            match found.data() {
                AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                    for p in sum.data_points() {
                        points.push((labels(p.attributes()), p.value() as f64, 0.0));
                    }
                }
                AggregatedMetrics::I64(MetricData::Sum(sum)) => {
                    for p in sum.data_points() {
                        points.push((labels(p.attributes()), p.value() as f64, 0.0));
                    }
                }
                AggregatedMetrics::F64(MetricData::Sum(sum)) => {
                    for p in sum.data_points() {
                        points.push((labels(p.attributes()), p.value(), 0.0));
                    }
                }
                AggregatedMetrics::F64(MetricData::Gauge(gauge)) => {
                    for p in gauge.data_points() {
                        points.push((labels(p.attributes()), p.value(), 0.0));
                    }
                }
                AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                    for p in histogram.data_points() {
                        points.push((labels(p.attributes()), p.count() as f64, p.sum()));
                    }
                }
                other => panic!("unexpected data: {other:?}"),
            }
        }
    }
    Points(points)
}

fn labels<'a>(
    attributes: impl Iterator<Item = &'a opentelemetry::KeyValue>,
) -> Vec<(String, String)> {
    let mut labels: Vec<_> = attributes
        .map(|kv| {
            let value = match &kv.value {
                Value::String(text) => text.as_str().to_owned(),
                other => other.to_string(),
            };
            (kv.key.to_string(), value)
        })
        .collect();
    labels.sort();
    labels
}

impl Points {
    fn matching(&self, wanted: &[(&str, &str)]) -> impl Iterator<Item = &Point> {
        self.0.iter().filter(move |(labels, _, _)| {
            wanted
                .iter()
                .all(|(key, value)| labels.iter().any(|(k, v)| k == key && v == value))
        })
    }

    /// The sum of all values whose labels contain these; `None` if there is no such series.
    pub fn value(&self, wanted: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.matching(wanted).map(|(_, value, _)| *value).peekable();
        found.peek()?;
        Some(found.sum())
    }

    /// The sum of the histograms' sums.
    pub fn sum(&self, wanted: &[(&str, &str)]) -> f64 {
        self.matching(wanted).map(|(_, _, sum)| *sum).sum()
    }

    /// Number of series.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}
