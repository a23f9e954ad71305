//! Prometheus text 0.0.4 and 1.0.0 and OpenMetrics text 1.0.0.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_sdk::metrics::data::HistogramDataPoint;

use super::families::{Collected, Entry, Families, Family, Sample};
use super::foreign::ForeignFamily;
use super::names::{Kind, Names};
use super::negotiate::Format;
use super::number::{Chunks, float, signed, unsigned};
use crate::recording::HistogramSeries;
use crate::recording::exemplar::Exemplar;

/// A place in the order of families: of ours, of the resource, or foreign.
pub(super) enum Turn<'e, 'a> {
    Ours(&'e Entry<'a>),
    Target,
    Foreign(&'e ForeignFamily),
}

/// The families asked for, in order of their published names.
pub(super) fn turns<'e, 'a>(
    families: &Families,
    collected: &'e Collected<'a>,
    foreign: &'e [ForeignFamily],
    names: &Names,
) -> Vec<Turn<'e, 'a>> {
    let mut turns: Vec<(&str, Turn<'e, 'a>)> = Vec::new();
    for entry in &collected.entries {
        let heads = &families.list[entry.family].heads;
        if !entry.samples.is_empty() && names.admit(&heads.base, heads.kind) {
            turns.push((&heads.published, Turn::Ours(entry)));
        }
    }
    if !families.target.text.is_empty() && names.admit("target", Kind::Info) {
        turns.push(("target_info", Turn::Target));
    }
    for family in foreign {
        if names.admit(&family.heads.base, family.heads.kind) {
            turns.push((&family.heads.published, Turn::Foreign(family)));
        }
    }
    turns.sort_by(|a, b| a.0.cmp(b.0));
    turns.into_iter().map(|(_, turn)| turn).collect()
}

/// Writes the page.
pub(super) fn write(
    out: &mut Chunks,
    families: &mut Families,
    collected: &Collected<'_>,
    foreign: &[ForeignFamily],
    format: Format,
    names: &Names,
) {
    let open_metrics = format == Format::OpenMetrics;
    for turn in turns(families, collected, foreign, names) {
        match turn {
            Turn::Ours(entry) => {
                write_family(out, &mut families.list[entry.family], entry, open_metrics)
            }
            Turn::Target => {
                out.push(if open_metrics {
                    b"# TYPE target info\n# HELP target Target metadata\ntarget_info{"
                } else {
                    b"# HELP target_info Target metadata\n# TYPE target_info gauge\ntarget_info{"
                });
                out.push(families.target.text.as_bytes());
                out.push(b"} 1\n");
            }
            Turn::Foreign(family) => family.write_text(out, open_metrics),
        }
        out.turn();
    }
    if open_metrics {
        out.push(b"# EOF\n");
    }
}

fn write_family(out: &mut Chunks, family: &mut Family, entry: &Entry<'_>, open_metrics: bool) {
    let heads = &family.heads;
    out.push(
        if open_metrics {
            &heads.open_metrics
        } else {
            &heads.text
        }
        .as_bytes(),
    );
    let name = heads.published.as_bytes();
    let mut lines = Lines {
        bucket: format!("{}_bucket{{", heads.base).into_bytes(),
        sum: format!("{}_sum", heads.base).into_bytes(),
        count: format!("{}_count", heads.base).into_bytes(),
        head: Vec::new(),
        le: &family.le[usize::from(open_metrics)],
        // OpenMetrics 1.0, "Histogram": no sum, hence no count, with negative bounds.
        sums: !open_metrics || family.bounds.first().is_none_or(|bound| *bound >= 0.0),
    };
    for (series, sample) in &entry.samples {
        let series = &mut family.labels.series[*series as usize];
        let labels = series.text.as_bytes();
        match sample {
            Sample::Unsigned(value) => {
                scalar(out, name, labels);
                unsigned(&mut out.buffer, *value);
                out.push(b"\n");
            }
            Sample::Signed(value) => {
                scalar(out, name, labels);
                signed(&mut out.buffer, *value);
                out.push(b"\n");
            }
            Sample::Float(value) => {
                scalar(out, name, labels);
                float(&mut out.buffer, *value);
                out.push(b"\n");
            }
            Sample::Histogram(point) => {
                if open_metrics && series.exemplars.is_none() {
                    series.exemplars = family
                        .declared
                        .and_then(|d| d.histogram(&series.attributes));
                }
                let exemplars = if open_metrics {
                    series
                        .exemplars
                        .as_deref()
                        .filter(|e| !e.has_no_exemplars())
                } else {
                    None
                };
                lines.histogram(out, series.text.as_bytes(), point, exemplars);
            }
            Sample::HistogramU64(point) => lines.histogram(out, labels, point, None),
            Sample::HistogramI64(point) => lines.histogram(out, labels, point, None),
            Sample::Exponential(_) | Sample::Absent => {}
        }
        out.turn();
    }
}

#[inline]
fn scalar(out: &mut Chunks, name: &[u8], labels: &[u8]) {
    let buffer = &mut out.buffer;
    buffer.reserve(name.len() + labels.len() + 32);
    buffer.extend_from_slice(name);
    if labels.is_empty() {
        buffer.push(b' ');
    } else {
        buffer.push(b'{');
        buffer.extend_from_slice(labels);
        buffer.extend_from_slice(b"} ");
    }
}

/// What the lines of a histogram share.
struct Lines<'f> {
    bucket: Vec<u8>,
    sum: Vec<u8>,
    count: Vec<u8>,
    head: Vec<u8>,
    le: &'f [String],
    /// Whether the sum is written.
    sums: bool,
}

/// A sum of observations.
trait Sum: Copy {
    fn write(self, out: &mut Vec<u8>);
}

impl Sum for f64 {
    fn write(self, out: &mut Vec<u8>) {
        float(out, self);
    }
}

impl Sum for u64 {
    fn write(self, out: &mut Vec<u8>) {
        unsigned(out, self);
    }
}

impl Sum for i64 {
    fn write(self, out: &mut Vec<u8>) {
        signed(out, self);
    }
}

impl Lines<'_> {
    fn histogram<T: Sum>(
        &mut self,
        out: &mut Chunks,
        labels: &[u8],
        point: &HistogramDataPoint<T>,
        exemplars: Option<&HistogramSeries>,
    ) {
        self.head.clear();
        self.head.extend_from_slice(&self.bucket);
        if !labels.is_empty() {
            self.head.extend_from_slice(labels);
            self.head.push(b',');
        }
        let buffer = &mut out.buffer;
        let mut cumulative = 0_u64;
        // The text of a count is written anew only when the count changes.
        let mut digits = itoa::Buffer::new();
        let mut text = digits.format(0_u64);
        let mut storage = [0_u8; 20];
        let mut len = copy(&mut storage, text);
        for (i, (le, count)) in self.le.iter().zip(point.bucket_counts()).enumerate() {
            if count > 0 {
                cumulative += count;
                text = digits.format(cumulative);
                len = copy(&mut storage, text);
            }
            buffer.reserve(self.head.len() + le.len() + 24);
            buffer.extend_from_slice(&self.head);
            buffer.extend_from_slice(le.as_bytes());
            buffer.extend_from_slice(&storage[..len]);
            if let Some(exemplar) = exemplars.and_then(|series| series.exemplar(i)) {
                write_exemplar(buffer, &exemplar);
            }
            buffer.push(b'\n');
        }
        if !self.sums {
            return;
        }
        scalar(out, &self.sum, labels);
        point.sum().write(&mut out.buffer);
        out.push(b"\n");
        scalar(out, &self.count, labels);
        unsigned(&mut out.buffer, cumulative);
        out.push(b"\n");
    }
}

#[inline]
fn copy(storage: &mut [u8; 20], text: &str) -> usize {
    storage[..text.len()].copy_from_slice(text.as_bytes());
    text.len()
}

fn write_exemplar(out: &mut Vec<u8>, exemplar: &Exemplar) {
    let text = format!(
        " # {{trace_id=\"{:032x}\",span_id=\"{:016x}\"}} ",
        exemplar.span.trace_id, exemplar.span.span_id
    );
    out.extend_from_slice(text.as_bytes());
    float(out, exemplar.value);
    out.extend_from_slice(format!(" {:.3}", seconds(exemplar.time)).as_bytes());
}

/// Seconds since the epoch; before it: 0.
pub(super) fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0.0, |d| d.as_secs_f64())
}
