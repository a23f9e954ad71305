//! Exponential histograms: what Prometheus calls native ones.
//!
//! OpenTelemetry metrics data model, "ExponentialHistogram": at scale `s` the bucket with index
//! `i` holds `(base^i, base^(i+1)]` with `base = 2^(2^-s)`. Buckets are merged in pairs, and
//! the scale falls by one, when more than [`MAX_BUCKETS`] would be needed.

use parking_lot::Mutex;

/// Buckets of either sign at most.
const MAX_BUCKETS: usize = 160;
/// The finest and the coarsest scale that Prometheus knows; at the coarsest one every number
/// has a bucket within [`MAX_BUCKETS`].
const SCALES: std::ops::RangeInclusive<i32> = -4..=8;

/// Counts of neighbouring buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExponentialBuckets {
    /// Index of the first.
    pub offset: i32,
    /// Their counts.
    pub counts: Vec<u64>,
}

/// What an exponential histogram holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Exponential {
    /// Scale, -4 to 8.
    pub scale: i32,
    /// Sum of the values.
    pub sum: f64,
    /// Values that were zero.
    pub zero: u64,
    /// Of values above zero.
    pub positive: ExponentialBuckets,
    /// Of values below zero, by magnitude.
    pub negative: ExponentialBuckets,
}

impl Exponential {
    fn new() -> Self {
        Self {
            scale: *SCALES.end(),
            sum: 0.0,
            zero: 0,
            positive: ExponentialBuckets::default(),
            negative: ExponentialBuckets::default(),
        }
    }

    /// Number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        let buckets = |side: &ExponentialBuckets| side.counts.iter().sum::<u64>();
        self.zero + buckets(&self.positive) + buckets(&self.negative)
    }

    fn record(&mut self, value: f64) {
        self.sum += value;
        if value == 0.0 {
            self.zero += 1;
            return;
        }
        let magnitude = value.abs();
        loop {
            let index = index(magnitude, self.scale);
            let side = if value > 0.0 {
                &mut self.positive
            } else {
                &mut self.negative
            };
            if side.add(index) || self.scale <= *SCALES.start() {
                return;
            }
            self.scale -= 1;
            self.positive.halve();
            self.negative.halve();
        }
    }
}

/// The bucket of a positive number.
fn index(value: f64, scale: i32) -> i32 {
    let (mantissa, exponent) = split(value);
    let exact = mantissa == 0;
    if scale <= 0 {
        // A power of two is the upper bound of its bucket.
        return (exponent - i32::from(exact)) >> -scale;
    }
    if exact {
        return (exponent << scale) - 1;
    }
    let fraction = f64::from_bits(1023 << 52 | mantissa).log2();
    let steps = f64::from(1 << scale);
    let within = (fraction * steps).ceil() as i32 - 1;
    (exponent << scale) + within.clamp(0, (1 << scale) - 1)
}

/// The fraction's bits and the exponent of `1.fraction * 2^exponent`.
fn split(value: f64) -> (u64, i32) {
    const FRACTION: u64 = (1 << 52) - 1;
    let bits = value.to_bits();
    if bits >> 52 > 0 {
        return (bits & FRACTION, (bits >> 52) as i32 - 1023);
    }
    // Below the normal numbers: the highest bit that is set is the leading one.
    let shift = bits.leading_zeros() - 11;
    (bits << shift & FRACTION, -1022 - shift as i32)
}

impl ExponentialBuckets {
    /// Counts a value, unless that takes too many buckets.
    fn add(&mut self, index: i32) -> bool {
        if self.counts.is_empty() {
            self.offset = index;
        }
        let first = self.offset.min(index);
        let last = (self.offset + self.counts.len() as i32 - 1).max(index);
        let needed = (last - first) as usize + 1;
        if needed > MAX_BUCKETS {
            return false;
        }
        let missing = (self.offset - first) as usize;
        if missing > 0 {
            self.counts.splice(0..0, std::iter::repeat_n(0, missing));
            self.offset = first;
        }
        if self.counts.len() < needed {
            self.counts.resize(needed, 0);
        }
        if let Some(count) = self.counts.get_mut((index - self.offset) as usize) {
            *count += 1;
        }
        true
    }

    /// Merges buckets in pairs.
    fn halve(&mut self) {
        if self.counts.is_empty() {
            return;
        }
        let offset = self.offset >> 1;
        let last = (self.offset + self.counts.len() as i32 - 1) >> 1;
        let mut merged = vec![0; (last - offset) as usize + 1];
        for (i, count) in self.counts.iter().enumerate() {
            if let Some(sum) = merged.get_mut((((self.offset + i as i32) >> 1) - offset) as usize) {
                *sum += count;
            }
        }
        (self.offset, self.counts) = (offset, merged);
    }
}

/// An exponential histogram that several threads record to.
pub(super) struct Shared(Mutex<Exponential>);

impl Shared {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Exponential::new()))
    }

    pub(super) fn record(&self, value: f64) {
        if value.is_finite() {
            self.0.lock().record(value);
        }
    }

    pub(super) fn read(&self) -> Exponential {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn upper(index: i32, scale: i32) -> f64 {
        2.0_f64.powf(f64::from(index + 1) * 2.0_f64.powi(-scale))
    }

    #[test]
    fn powers_of_two_are_upper_bounds_at_every_scale() {
        for scale in SCALES {
            for exponent in [-1074, -1030, -1022, -3, -1, 0, 1, 16, 32, 1023] {
                let value = match exponent {
                    -1022.. => f64::from_bits(((exponent + 1023) as u64) << 52),
                    _ => f64::from_bits(1 << (exponent + 1074)),
                };
                let at = index(value, scale);
                if scale >= 0 {
                    assert_eq!(at, (exponent << scale) - 1, "{scale} {exponent}");
                    assert!(index(value.next_up(), scale) > at, "{scale} {exponent}");
                } else {
                    assert_eq!(at, (exponent - 1) >> -scale, "{scale} {exponent}");
                }
            }
        }
    }

    #[test]
    fn the_range_of_all_numbers_fits_the_coarsest_scale() {
        let mut histogram = Exponential::new();
        for value in [5e-324, 1.0, f64::MAX, -f64::MAX, -5e-324, 0.0] {
            histogram.record(value);
        }
        assert_eq!(histogram.count(), 6);
        assert_eq!(histogram.scale, -4);
        assert!(histogram.positive.counts.len() <= MAX_BUCKETS);
    }

    proptest! {
        #[test]
        fn every_value_is_in_the_bucket_that_spans_it(
            values in proptest::collection::vec(1e-9..1e9_f64, 1..300),
        ) {
            let mut histogram = Exponential::new();
            values.iter().for_each(|value| histogram.record(*value));
            let Exponential { scale, ref positive, .. } = histogram;
            prop_assert_eq!(histogram.count(), values.len() as u64);
            prop_assert!(positive.counts.len() <= MAX_BUCKETS);
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let mut below = 0;
            for (i, count) in positive.counts.iter().enumerate() {
                below += *count as usize;
                let bound = upper(positive.offset + i as i32, scale) * (1.0 + 1e-12);
                prop_assert!(sorted.partition_point(|v| *v <= bound) >= below);
                if let Some(next) = sorted.get(below) {
                    prop_assert!(*next >= bound * (1.0 - 2e-12));
                }
            }
        }
    }
}
