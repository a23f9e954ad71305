//! Which bucket of a histogram a value falls into.

/// The upper bounds of a histogram's buckets, laid out for a search without branches: a table
/// tells by a value's exponent where to begin, and the few bounds of that octave are counted.
pub(super) struct Bounds {
    /// The lowest bound's octave.
    floor: u64,
    /// By octave above the lowest: number of bounds in the octaves below.
    first: Box<[u16]>,
    /// The bounds as [`key`]s, with padding that no value exceeds.
    keys: Box<[u64]>,
    /// Bounds that the fullest octave has.
    width: usize,
    len: usize,
}

/// A number whose order is that of the values.
#[inline(always)]
fn key(value: f64) -> u64 {
    let bits = value.to_bits();
    // Of negative numbers all bits are turned over, of others the sign.
    bits ^ (((bits as i64) >> 63) as u64 | 1 << 63)
}

#[inline(always)]
fn octave(key: u64) -> u64 {
    key >> 52
}

impl Bounds {
    /// Bounds in ascending order.
    pub(super) fn new(bounds: impl Iterator<Item = f64>) -> Self {
        // Zero has one sign here.
        let mut keys: Vec<u64> = bounds.map(|bound| key(bound + 0.0)).collect();
        let len = keys.len();
        let floor = keys.first().map_or(0, |key| octave(*key));
        let top = keys.last().map_or(0, |key| octave(*key));
        let below = |octaves: u64| keys.partition_point(|key| octave(*key) < floor + octaves);
        let first: Box<[u16]> = (0..=top - floor + 1).map(|o| below(o) as u16).collect();
        let width = first
            .windows(2)
            .map(|pair| usize::from(pair[1] - pair[0]))
            .max()
            .unwrap_or(0);
        keys.extend(std::iter::repeat_n(u64::MAX, width));
        Self {
            floor,
            first,
            keys: keys.into(),
            width,
            len,
        }
    }

    /// Number of bounds.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The bucket of a value: the number of bounds below it.
    #[inline(always)]
    pub(super) fn bucket(&self, value: f64) -> usize {
        let key = key(value);
        let at = (octave(key).saturating_sub(self.floor) as usize).min(self.first.len() - 1);
        let first = usize::from(self.first[at]);
        let among = self.keys.get(first..first + self.width).unwrap_or_default();
        first + among.iter().map(|k| usize::from(*k < key)).sum::<usize>()
    }
}

/// Nanoseconds as a number that orders them; exact below 2^53, which is 104 days.
#[inline(always)]
pub(super) fn of_nanos(nanos: u64) -> f64 {
    (nanos.min(i64::MAX as u64) as i64) as f64
}

/// The largest whole number of nanoseconds that is no more than so many seconds, so that
/// whole nanoseconds fall into the bucket that their seconds would.
pub(super) fn nanos_of_bound(seconds: f64) -> f64 {
    let nanos = (seconds * 1e9).round();
    if nanos / 1e9 > seconds {
        nanos - 1.0
    } else {
        nanos
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::catalog::{
        BATCH, BYTES, COMMIT, CONFIDENCE, COST, EXPORT, FIRST_CHUNK, HTTP, JOB, LLM, SCRAPE, STEPS,
        TOKENS, TOOL,
    };

    const CLASSES: [&[f64]; 16] = [
        HTTP,
        TOOL,
        JOB,
        LLM,
        TOKENS,
        BYTES,
        SCRAPE,
        EXPORT,
        COMMIT,
        BATCH,
        CONFIDENCE,
        FIRST_CHUNK,
        COST,
        STEPS,
        &[],
        &[-1e9, -2.5, -0.0, 1e-300, 3.0],
    ];

    fn check(bounds: &[f64], value: f64) {
        let found = Bounds::new(bounds.iter().copied()).bucket(value);
        let expected = bounds.iter().filter(|bound| **bound < value).count();
        assert_eq!(found, expected, "{value} in {bounds:?}");
    }

    #[test]
    fn every_bound_is_the_last_value_of_its_bucket() {
        for bounds in CLASSES {
            for bound in bounds {
                for value in [*bound, bound.next_up(), bound.next_down()] {
                    check(bounds, value);
                }
            }
            for value in [0.0, -0.0, -1.0, 1e-320, 1e18, f64::MAX, f64::MIN] {
                check(bounds, value);
            }
        }
    }

    #[test]
    fn whole_nanoseconds_fall_where_their_seconds_do() {
        for bounds in CLASSES {
            let nanos = Bounds::new(bounds.iter().map(|bound| nanos_of_bound(*bound)));
            for bound in bounds
                .iter()
                .filter(|bound| **bound >= 0.0 && **bound < 1e6)
            {
                let around = (bound * 1e9) as u64;
                for value in around.saturating_sub(2)..around + 3 {
                    let seconds = value as f64 / 1e9;
                    let expected = bounds.iter().filter(|bound| **bound < seconds).count();
                    assert_eq!(nanos.bucket(of_nanos(value)), expected, "{value}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_value_falls_behind_the_bounds_below_it(
            mut bounds in proptest::collection::vec(any::<f64>().prop_filter("finite", |b| b.is_finite()), 0..40),
            value in any::<f64>().prop_filter("number", |v| !v.is_nan()),
        ) {
            bounds.sort_by(f64::total_cmp);
            bounds.dedup();
            check(&bounds, value);
        }
    }
}
