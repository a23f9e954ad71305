//! Reads what has been recorded.

use tachograph::Telemetry;
use tachograph::recording::{Reading, Recorder};

/// Labels, value, and for histograms the sum, whose value is their count.
type Point = (Vec<(String, String)>, f64, f64);

/// Every point of one metric with its labels, sorted.
pub struct Points(Vec<Point>);

/// Collects and picks one metric by its OpenTelemetry name.
pub fn points(telemetry: &Telemetry, metric: &str) -> Points {
    points_of(telemetry.collector().unwrap().collect(), metric)
}

/// The points of one metric of these signals.
pub fn points_of(signals: &[&'static dyn Recorder], metric: &str) -> Points {
    let metrics = signals.iter().flat_map(|signal| signal.metrics());
    let mut points = Vec::new();
    for found in metrics.filter(|found| found.metric().name == metric) {
        for series in found.series().iter() {
            let labels = series.labels().map(|(k, v)| (k.to_owned(), v.to_owned()));
            let (value, sum) = match series.read() {
                Reading::Unsigned(value) => (value as f64, 0.0),
                Reading::Signed(value) => (value as f64, 0.0),
                Reading::Float(value) => (value, 0.0),
                Reading::Histogram { sum, count, .. } => (count as f64, sum),
                Reading::Absent => continue,
            };
            points.push((labels.collect(), value, sum));
        }
    }
    Points(points)
}

impl Points {
    /// Every point: labels, value, and sum.
    pub fn all(&self) -> &[Point] {
        &self.0
    }

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
