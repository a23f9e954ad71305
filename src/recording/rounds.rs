//! Gauges that a reader sets in rounds, each of which says all there is.

use std::collections::HashMap;
use std::fmt;

use super::bundle::{Bundle, Handle};

/// The series of gauges that one reader sets, round by round. A series that a round leaves out
/// goes off the page, and values whose labels fold into one series are put together instead of
/// the last one standing for all.
///
/// ```
/// use tachograph::recording::Rounds;
/// use tachograph::signals::celery::CeleryQueueLength;
///
/// let mut lengths = Rounds::default();
/// for round in [vec![("mail", 3.0), ("slow", 1.0)], vec![("mail", 2.0)]] {
///     let read = round.into_iter();
///     lengths.set(read.map(|(queue, length)| (CeleryQueueLength { queue }.handle(), length)));
/// }
/// lengths.clear();
/// ```
#[derive(Default)]
pub struct Rounds {
    shown: Vec<&'static Bundle>,
}

impl Rounds {
    /// Sets the gauges of a round; values of one series add up. A gauge without a handle is of no
    /// pipeline and is passed over.
    pub fn set(&mut self, round: impl IntoIterator<Item = (Option<Handle>, f64)>) {
        self.set_by(round, |sum, value| sum + value);
    }

    /// The same, with another way to put together what falls into one series.
    pub fn set_by(
        &mut self,
        round: impl IntoIterator<Item = (Option<Handle>, f64)>,
        together: impl Fn(f64, f64) -> f64,
    ) {
        let mut places = HashMap::new();
        let mut shown: Vec<&'static Bundle> = Vec::new();
        let mut values: Vec<f64> = Vec::new();
        for (handle, value) in round {
            let Some(Handle(bundle)) = handle else {
                continue;
            };
            let place = *places.entry(address(bundle)).or_insert(shown.len());
            match values.get_mut(place) {
                Some(before) => *before = together(*before, value),
                None => {
                    shown.push(bundle);
                    values.push(value);
                }
            }
        }
        for (bundle, value) in shown.iter().zip(values) {
            bundle.measure(value);
        }
        for gone in std::mem::replace(&mut self.shown, shown) {
            if !places.contains_key(&address(gone)) {
                gone.remove();
            }
        }
    }

    /// Takes all of them off the page.
    pub fn clear(&mut self) {
        for gone in self.shown.drain(..) {
            gone.remove();
        }
    }
}

impl fmt::Debug for Rounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.shown.len();
        f.debug_struct("Rounds").field("shown", &shown).finish()
    }
}

/// Bundles are never freed, so that their addresses tell them apart.
fn address(bundle: &'static Bundle) -> usize {
    std::ptr::from_ref(bundle).addr()
}
