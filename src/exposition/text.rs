//! Prometheus text 0.0.4 and 1.0.0 and OpenMetrics text 1.0.0.

use std::time::{SystemTime, UNIX_EPOCH};

use super::derived::{self, Derived, Member};
use super::families::{self, Families, Family, Heads, Target};
use super::foreign::ForeignFamily;
use super::names::{Kind, Names};
use super::negotiate::Format;
use super::number::{Chunks, float, signed, unsigned};
use crate::recording::exemplar::Exemplar;
use crate::recording::{Reading, Series};
use crate::vocabulary::Value;

/// Bytes of a number at most, with what stands around it.
const NUMBER: usize = 40;
/// Bytes of an exemplar at most.
const EXEMPLAR: usize = 160;

/// What a page is written from.
#[derive(Clone, Copy)]
pub(super) struct Content<'f> {
    /// Our own names and the resource; none on a page of other names alone.
    pub(super) families: Option<&'f Families>,
    pub(super) derived: &'f Derived,
    pub(super) foreign: &'f [ForeignFamily],
}

/// A place in the order of families: of ours, under other names, of the resource, or foreign.
pub(super) enum Turn<'f> {
    Ours(&'f Family),
    Derived(&'f Member),
    Target(&'f Target),
    Foreign(&'f ForeignFamily),
}

/// The families asked for, in order of their published names.
pub(super) fn turns<'f>(content: Content<'f>, names: &Names) -> Vec<Turn<'f>> {
    let mut turns: Vec<(&str, Turn<'f>)> = Vec::new();
    if let Some(families) = content.families {
        for family in &families.list {
            let heads = &family.heads;
            if family.present > 0 && names.admit(&heads.base, heads.kind) {
                turns.push((&heads.published, Turn::Ours(family)));
            }
        }
        let target = &families.target;
        if !target.text.is_empty() && names.admit("target", Kind::Info) {
            turns.push(("target_info", Turn::Target(target)));
        }
    }
    for member in content.derived.families() {
        let heads = &member.head.heads;
        if names.admit(&heads.base, heads.kind) {
            turns.push((&heads.published, Turn::Derived(member)));
        }
    }
    for family in content.foreign {
        if names.admit(&family.heads.base, family.heads.kind) {
            turns.push((&family.heads.published, Turn::Foreign(family)));
        }
    }
    turns.sort_by(|a, b| a.0.cmp(b.0));
    turns.into_iter().map(|(_, turn)| turn).collect()
}

/// Writes the page.
pub(super) fn write(out: &mut Chunks, content: Content<'_>, format: Format, names: &Names) {
    let open_metrics = format == Format::OpenMetrics;
    for turn in turns(content, names) {
        match turn {
            Turn::Ours(family) => write_family(out, family, open_metrics),
            Turn::Derived(member) => write_derived(out, member, open_metrics),
            Turn::Target(target) => {
                out.push(if open_metrics {
                    b"# TYPE target info\n# HELP target Target metadata\ntarget_info{"
                } else {
                    b"# HELP target_info Target metadata\n# TYPE target_info gauge\ntarget_info{"
                });
                out.push(target.text.as_bytes());
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
        let mut lines = Lines::new(heads, &family.le, family.bounds, open_metrics);
        let mut counts = Vec::new();
        for series in &family.series {
            if let Some(sum) = series.read_histogram(&mut counts) {
                let exemplars = (open_metrics && series.has_exemplars()).then_some(&**series);
                lines.histogram(out, families::text(series), &counts, sum, exemplars);
            }
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

fn write_derived(out: &mut Chunks, member: &Member, open_metrics: bool) {
    let family = member.computed();
    if family.series().next().is_none() {
        return;
    }
    let heads = &member.head.heads;
    out.push(
        if open_metrics {
            &heads.open_metrics
        } else {
            &heads.text
        }
        .as_bytes(),
    );
    let name = heads.published.as_bytes();
    let mut lines = Lines::new(
        heads,
        &member.head.le,
        &family.family().bounds,
        open_metrics,
    );
    for target in family.series() {
        let labels = derived::text(target);
        if let Value::Histogram { counts, sum } = target.value() {
            lines.histogram(out, labels, counts, *sum, None);
            continue;
        }
        out.room(name.len() + labels.len() + NUMBER);
        let buffer = &mut out.buffer;
        scalar(buffer, name, labels.as_bytes());
        match target.value() {
            Value::Unsigned(value) => unsigned(buffer, *value),
            Value::Signed(value) => signed(buffer, *value),
            Value::Float(value) => float(buffer, *value),
            Value::Histogram { .. } | Value::Absent => {}
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
}

impl<'f> Lines<'f> {
    fn new(heads: &Heads, le: &'f [Vec<String>; 2], bounds: &[f64], open_metrics: bool) -> Self {
        Self {
            bucket: format!("{}_bucket{{", heads.base).into_bytes(),
            sum: format!("{}_sum", heads.base).into_bytes(),
            count: format!("{}_count", heads.base).into_bytes(),
            head: Vec::new(),
            le: &le[usize::from(open_metrics)],
            // OpenMetrics 1.0, "Histogram": no sum, hence no count, with negative bounds.
            sums: !open_metrics || bounds.first().is_none_or(|bound| *bound >= 0.0),
        }
    }

    /// `exemplars`: the series they are from, where some are written.
    fn histogram(
        &mut self,
        out: &mut Chunks,
        labels: &str,
        counts: &[u64],
        total: f64,
        exemplars: Option<&Series>,
    ) {
        let labels = labels.as_bytes();
        self.head.clear();
        self.head.extend_from_slice(&self.bucket);
        if !labels.is_empty() {
            self.head.extend_from_slice(labels);
            self.head.push(b',');
        }
        let line = self.head.len() + NUMBER + if exemplars.is_some() { EXEMPLAR } else { 0 };
        let les: usize = self.le.iter().map(String::len).sum();
        out.room((self.le.len() + 2) * line + les);
        let buffer = &mut out.buffer;
        let mut cumulative = 0_u64;
        // The text of a count is written anew only when the count changes.
        let mut digits = itoa::Buffer::new();
        let mut storage = [0_u8; 20];
        let mut len = copy(&mut storage, digits.format(0_u64));
        for (i, (le, count)) in self.le.iter().zip(counts).enumerate() {
            if *count > 0 {
                cumulative = cumulative.wrapping_add(*count);
                len = copy(&mut storage, digits.format(cumulative));
            }
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
