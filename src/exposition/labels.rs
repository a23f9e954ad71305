//! The label texts of a family's series, rendered once.
//!
//! A point is found by its position in the last collection and verified by its attributes,
//! by address first; a point that moved is found by hash.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;
use opentelemetry::{KeyValue, Value};

use super::names::{label_pairs, label_text};
use crate::recording::HistogramSeries;

const NONE: u32 = u32::MAX;

/// One series of a family.
pub(super) struct Series {
    pub(super) attributes: Box<[KeyValue]>,
    /// Labels without braces.
    pub(super) text: Box<str>,
    /// Where its exemplars are, once found.
    pub(super) exemplars: Option<Arc<HistogramSeries>>,
    /// Next series with the same hash.
    next: u32,
    rank: u32,
    /// Whether the series before it in order has the same text.
    pub(super) twin: bool,
}

/// The series of a family and the order they are written in.
#[derive(Default)]
pub(super) struct Labels {
    pub(super) series: Vec<Series>,
    /// The series at each position of the last collection.
    positions: Vec<u32>,
    index: HashMap<u64, u32, RandomState>,
    /// Series in order of their texts.
    sorted: Vec<u32>,
    /// Positions in that order.
    order: Vec<u32>,
    state: RandomState,
    moved: bool,
}

impl Labels {
    /// Takes note of the points of a collection.
    pub(super) fn update<'a, I>(&mut self, points: usize, attributes: impl Fn(usize) -> I)
    where
        I: Iterator<Item = &'a KeyValue>,
    {
        // Series that went away are kept until they are the larger part.
        if self.series.len() > 2 * points + 64 {
            *self = Self::default();
        }
        self.moved = self.positions.len() != points;
        self.positions.resize(points, NONE);
        for position in 0..points {
            let known = self.positions[position];
            if let Some(series) = self.series.get(known as usize)
                && same(&series.attributes, attributes(position))
            {
                continue;
            }
            self.positions[position] = self.find(|| attributes(position));
            self.moved = true;
        }
        if self.moved {
            self.arrange();
        }
    }

    /// Positions in the order of the label texts.
    pub(super) fn order(&self) -> &[u32] {
        &self.order
    }

    /// The series at a position.
    pub(super) fn at(&self, position: u32) -> u32 {
        self.positions[position as usize]
    }

    #[cold]
    fn find<'a, I>(&mut self, attributes: impl Fn() -> I) -> u32
    where
        I: Iterator<Item = &'a KeyValue>,
    {
        let mut hasher = self.state.build_hasher();
        for attribute in attributes() {
            attribute.hash(&mut hasher);
        }
        let hash = hasher.finish();
        let first = self.index.get(&hash).copied().unwrap_or(NONE);
        let mut at = first;
        while let Some(series) = self.series.get(at as usize) {
            if same(&series.attributes, attributes()) {
                return at;
            }
            at = series.next;
        }
        let kept: Box<[KeyValue]> = attributes().cloned().collect();
        let pairs = label_pairs(kept.iter().map(|kv| (&kv.key, &kv.value)));
        let text = label_text(pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        let new = self.series.len() as u32;
        self.series.push(Series {
            attributes: kept,
            text: text.into_boxed_str(),
            exemplars: None,
            next: first,
            rank: 0,
            twin: false,
        });
        self.index.insert(hash, new);
        new
    }

    fn arrange(&mut self) {
        if self.sorted.len() != self.series.len() {
            self.sorted
                .extend(self.sorted.len() as u32..self.series.len() as u32);
            let series = &self.series;
            // Stable and quick on what is sorted already. Equal texts: the order of the keys
            // decides, so that the same one wins in every process.
            self.sorted.sort_by(|a, b| {
                let (a, b) = (&series[*a as usize], &series[*b as usize]);
                a.text.cmp(&b.text).then_with(|| {
                    let keys = |s: &Series| -> Vec<String> {
                        s.attributes
                            .iter()
                            .map(|kv| format!("{}={}", kv.key, kv.value))
                            .collect()
                    };
                    keys(a).cmp(&keys(b))
                })
            });
            for (rank, at) in self.sorted.iter().enumerate() {
                let twin = rank > 0 && {
                    let before = self.sorted[rank - 1] as usize;
                    self.series[before].text == self.series[*at as usize].text
                };
                let series = &mut self.series[*at as usize];
                series.rank = rank as u32;
                series.twin = twin;
            }
        }
        let mut slots = vec![NONE; self.series.len()];
        for (position, series) in self.positions.iter().enumerate() {
            slots[self.series[*series as usize].rank as usize] = position as u32;
        }
        slots.retain(|position| *position != NONE);
        self.order = slots;
    }
}

#[inline]
fn same<'a>(known: &[KeyValue], mut given: impl Iterator<Item = &'a KeyValue>) -> bool {
    for known in known {
        match given.next() {
            Some(given) if equal(known, given) => {}
            _ => return false,
        }
    }
    given.next().is_none()
}

#[inline]
fn equal(a: &KeyValue, b: &KeyValue) -> bool {
    same_text(a.key.as_str(), b.key.as_str())
        && match (&a.value, &b.value) {
            (Value::String(a), Value::String(b)) => same_text(a.as_str(), b.as_str()),
            (Value::F64(a), Value::F64(b)) => a.to_bits() == b.to_bits(),
            (a, b) => a == b,
        }
}

#[inline]
fn same_text(a: &str, b: &str) -> bool {
    std::ptr::eq(a, b) || a == b
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(labels: &Labels) -> Vec<&str> {
        labels
            .order()
            .iter()
            .map(|p| &*labels.series[labels.at(*p) as usize].text)
            .collect()
    }

    fn update(labels: &mut Labels, points: &[Vec<KeyValue>]) {
        labels.update(points.len(), |i| points[i].iter());
    }

    fn point(value: impl Into<Value>) -> Vec<KeyValue> {
        vec![KeyValue::new("a", value)]
    }

    #[test]
    fn order_is_that_of_the_texts_whatever_the_collection_does() {
        let mut labels = Labels::default();
        update(&mut labels, &[point("c"), point("a"), point("b")]);
        let expected = ["a=\"a\"", "a=\"b\"", "a=\"c\""];
        assert_eq!(texts(&labels), expected);
        update(&mut labels, &[point("b"), point("c"), point("a")]);
        assert_eq!(texts(&labels), expected);
        assert_eq!(labels.series.len(), 3);
        update(&mut labels, &[point("a"), point("0")]);
        assert_eq!(texts(&labels), ["a=\"0\"", "a=\"a\""]);
        update(&mut labels, &[]);
        assert!(texts(&labels).is_empty());
    }

    #[test]
    fn equal_texts_of_different_attributes_are_told() {
        let mut labels = Labels::default();
        let dotted = vec![KeyValue::new("a.b", "1")];
        let plain = vec![KeyValue::new("a_b", "1")];
        for points in [[dotted.clone(), plain.clone()], [plain, dotted]] {
            update(&mut labels, &points);
            let twins: Vec<(bool, &str)> = labels
                .order()
                .iter()
                .map(|p| &labels.series[labels.at(*p) as usize])
                .map(|s| (s.twin, s.attributes[0].key.as_str()))
                .collect();
            assert_eq!(twins, [(false, "a.b"), (true, "a_b")]);
        }
    }

    #[test]
    fn series_that_went_away_do_not_pile_up() {
        let mut labels = Labels::default();
        for i in 0..10_000 {
            update(&mut labels, &[point(format!("v{i}")), point(f64::NAN)]);
        }
        assert!(labels.series.len() < 200, "{}", labels.series.len());
    }
}
