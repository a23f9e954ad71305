//! Interleaved measurement: every contender runs in each round, so that a drift of the
//! machine meets all of them, and ratios are taken round by round.

#![allow(dead_code, clippy::unwrap_used)]

pub mod server;

use std::time::Instant;

/// A contender: does `iterations` of its work.
pub struct Contender<'a> {
    /// Name in the table.
    pub name: &'static str,
    /// The work.
    pub run: Box<dyn FnMut(usize) + 'a>,
}

impl<'a> Contender<'a> {
    /// A contender whose work is `run`.
    pub fn new(name: &'static str, run: impl FnMut(usize) + 'a) -> Self {
        Self {
            name,
            run: Box::new(run),
        }
    }
}

/// Nanoseconds an iteration, by contender and round.
pub struct Results {
    names: Vec<&'static str>,
    nanos: Vec<Vec<f64>>,
}

/// Runs every contender `rounds` times, `iterations` each, after one round that is not counted.
pub fn measure(contenders: &mut [Contender<'_>], rounds: usize, iterations: usize) -> Results {
    let mut nanos = vec![Vec::with_capacity(rounds); contenders.len()];
    for round in 0..=rounds {
        for (contender, nanos) in contenders.iter_mut().zip(&mut nanos) {
            let start = Instant::now();
            (contender.run)(iterations);
            let elapsed = start.elapsed().as_nanos() as f64 / iterations as f64;
            if round > 0 {
                nanos.push(elapsed);
            }
        }
    }
    Results {
        names: contenders.iter().map(|c| c.name).collect(),
        nanos,
    }
}

/// The median.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Results {
    fn of(&self, name: &str) -> &[f64] {
        let position = self.names.iter().position(|n| *n == name);
        position.map_or(&[], |i| &self.nanos[i])
    }

    /// The median of the ratios of two contenders, round by round.
    pub fn ratio(&self, ours: &str, theirs: &str) -> f64 {
        let ratios: Vec<f64> = self
            .of(ours)
            .iter()
            .zip(self.of(theirs))
            .map(|(a, b)| a / b)
            .collect();
        median(&ratios)
    }

    /// Prints medians.
    pub fn print(&self, title: &str, unit: &str, per: f64) {
        println!("\n{title}");
        for (name, nanos) in self.names.iter().zip(&self.nanos) {
            println!("  {name:<44} {:>10.2} {unit}", median(nanos) / per);
        }
    }

    /// Prints a ratio beside its bar.
    pub fn bar(&self, ours: &str, theirs: &str, bar: f64) {
        let ratio = self.ratio(ours, theirs);
        let verdict = if ratio <= bar { "met" } else { "MISSED" };
        println!("  {ours} / {theirs}: {ratio:.3} (bar {bar}) {verdict}");
    }
}
