//! Prometheus text 0.0.4 and 1.0.0 and OpenMetrics text 1.0.0.

use std::time::{SystemTime, UNIX_EPOCH};

use super::families::{self, Families, Family};
use super::foreign::ForeignFamily;
use super::names::{Kind, Names};
use super::negotiate::Format;
use super::number::{Chunks, float, signed, unsigned};
use crate::recording::exemplar::Exemplar;
use crate::recording::{Reading, Series};

/// Bytes of a number at most, with what stands around it.
const NUMBER: usize = 40;
/// Bytes of an exemplar at most.
const EXEMPLAR: usize = 160;

/// A place in the order of families: of ours, of the resource, or foreign.
pub(super) enum Turn<'f> {
    Ours(&'f Family),
    Target,
    Foreign(&'f ForeignFamily),
}

/// The families asked for, in order of their published names.
pub(super) fn turns<'f>(
    families: &'f Families,
    foreign: &'f [ForeignFamily],
    names: &Names,
) -> Vec<Turn<'f>> {
    let mut turns: Vec<(&str, Turn<'f>)> = Vec::new();
    for family in &families.list {
        let heads = &family.heads;
        if family.present > 0 && names.admit(&heads.base, heads.kind) {
            turns.push((&heads.published, Turn::Ours(family)));
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
    families: &Families,
    foreign: &[ForeignFamily],
    format: Format,
    names: &Names,
) {
    let open_metrics = format == Format::OpenMetrics;
    for turn in turns(families, foreign, names) {
        match turn {
            Turn::Ours(family) => write_family(out, family, open_metrics),
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
    }
    if open_metrics {
        out.push(b"# EOF\n");
    }
}

fn write_family(out: &mut Chunks, family: &Family, open_metrics: bool) {
    let heads = &family.heads;
    out.push(
        if open_metrics {
            &heads.open_metrics
        } else {
            &heads.text
        }
        .as_bytes(),
    );
    if heads.kind == Kind::Histogram {
        let mut lines = Lines {
            bucket: format!("{}_bucket{{", heads.base).into_bytes(),
            sum: format!("{}_sum", heads.base).into_bytes(),
            count: format!("{}_count", heads.base).into_bytes(),
            head: Vec::new(),
            le: &family.le[usize::from(open_metrics)],
            // OpenMetrics 1.0, "Histogram": no sum, hence no count, with negative bounds.
            sums: !open_metrics || family.bounds.first().is_none_or(|bound| *bound >= 0.0),
            exemplars: open_metrics,
            counts: Vec::new(),
        };
        for series in &family.series {
            lines.histogram(out, series);
        }
        return;
    }
    let name = heads.published.as_bytes();
    for series in &family.series {
        let value = series.read();
        if matches!(value, Reading::Absent | Reading::Histogram { .. }) {
            continue;
        }
        let labels = families::text(series).as_bytes();
        out.room(name.len() + labels.len() + NUMBER);
        let buffer = &mut out.buffer;
        scalar(buffer, name, labels);
        match value {
            Reading::Unsigned(value) => unsigned(buffer, value),
            Reading::Signed(value) => signed(buffer, value),
            Reading::Float(value) => float(buffer, value),
            Reading::Histogram { .. } | Reading::Absent => {}
        }
        buffer.push(b'\n');
    }
}

#[inline]
fn scalar(buffer: &mut Vec<u8>, name: &[u8], labels: &[u8]) {
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
    /// Whether exemplars are written.
    exemplars: bool,
    counts: Vec<u64>,
}

impl Lines<'_> {
    fn histogram(&mut self, out: &mut Chunks, series: &Series) {
        let Some(total) = series.read_histogram(&mut self.counts) else {
            return;
        };
        let labels = families::text(series).as_bytes();
        self.head.clear();
        self.head.extend_from_slice(&self.bucket);
        if !labels.is_empty() {
            self.head.extend_from_slice(labels);
            self.head.push(b',');
        }
        let exemplars = self.exemplars && series.has_exemplars();
        let line = self.head.len() + NUMBER + if exemplars { EXEMPLAR } else { 0 };
        let les: usize = self.le.iter().map(String::len).sum();
        out.room((self.le.len() + 2) * line + les);
        let buffer = &mut out.buffer;
        let mut cumulative = 0_u64;
        // The text of a count is written anew only when the count changes.
        let mut digits = itoa::Buffer::new();
        let mut storage = [0_u8; 20];
        let mut len = copy(&mut storage, digits.format(0_u64));
        for (i, (le, count)) in self.le.iter().zip(&self.counts).enumerate() {
            if *count > 0 {
                cumulative = cumulative.wrapping_add(*count);
                len = copy(&mut storage, digits.format(cumulative));
            }
            buffer.extend_from_slice(&self.head);
            buffer.extend_from_slice(le.as_bytes());
            buffer.extend_from_slice(&storage[..len]);
            if exemplars && let Some(exemplar) = series.exemplar(i) {
                write_exemplar(buffer, &exemplar);
            }
            buffer.push(b'\n');
        }
        if !self.sums {
            return;
        }
        scalar(buffer, &self.sum, labels);
        float(buffer, total);
        buffer.push(b'\n');
        scalar(buffer, &self.count, labels);
        buffer.extend_from_slice(&storage[..len]);
        buffer.push(b'\n');
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
