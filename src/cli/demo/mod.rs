//! `tachograph demo`.

mod pool;
mod traffic;
mod usage;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use self::traffic::Traffic;
use super::client::{Client, Outcome, Sent, Target};
use super::{Failure, print};
use crate::pipeline::config::duration;
use crate::signals::CATALOG;

/// Time between two requests.
const TICK: Duration = Duration::from_millis(200);
/// Records of one request at most.
const BATCH: usize = 1_000;
/// How long a service that is away is waited for.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// How long, such as 30s or 5m.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration::parse)]
    duration: Duration,
    /// Records a second, on average.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Makes the same traffic again.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    target: Target,
}

/// What was sent and what became of it.
#[derive(Default)]
struct Tally {
    sent: BTreeMap<String, u64>,
    accepted: u64,
    duplicates: u64,
    rejected: u64,
    reasons: BTreeMap<String, u64>,
    waits: u64,
    latencies: Vec<Duration>,
}

impl Tally {
    fn add(&mut self, batch: &[Value], outcome: &Outcome, latency: Duration) {
        let name = |record: &Value| match record.get("signal").and_then(Value::as_str) {
            Some(name) => name.to_owned(),
            None => String::new(),
        };
        for record in batch {
            *self.sent.entry(name(record)).or_default() += 1;
        }
        self.accepted += outcome.accepted;
        self.duplicates += outcome.duplicates;
        self.rejected += outcome.rejected.len() as u64;
        for rejected in &outcome.rejected {
            let record = usize::try_from(rejected.index)
                .ok()
                .and_then(|i| batch.get(i));
            let signal = record.map_or_else(String::new, name);
            let field = rejected.field.as_deref().unwrap_or("-");
            let reason = format!("{signal} {field}: {}", rejected.reason);
            if self.reasons.len() < 20 || self.reasons.contains_key(&reason) {
                *self.reasons.entry(reason).or_default() += 1;
            }
        }
        self.latencies.push(latency);
    }

    fn summary(&mut self, took: Duration) -> String {
        self.latencies.sort_unstable();
        let quantile = |per_cent: usize| {
            let last = self.latencies.len().saturating_sub(1);
            let at = self.latencies.get(last * per_cent / 100);
            at.copied().unwrap_or_default()
        };
        let sent: u64 = self.sent.values().sum();
        let seconds = took.as_secs_f64();
        let mut text = String::new();
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "{sent} records in {seconds:.1} s ({:.0}/s), {} requests, median {:.1?}, 99 % {:.1?}",
            sent as f64 / seconds.max(0.001),
            self.latencies.len(),
            quantile(50),
            quantile(99),
        );
        let _ = writeln!(
            text,
            "accepted {}, duplicates {}, rejected {}, waits {}",
            self.accepted, self.duplicates, self.rejected, self.waits
        );
        for (signal, count) in &self.sent {
            let _ = writeln!(text, "  {signal:<28} {count:>8}");
        }
        for (reason, count) in &self.reasons {
            let _ = writeln!(text, "  rejected {count} x {reason}");
        }
        text
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let client = Client::new(&arguments.target)?;
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    let signals = CATALOG.iter().map(|recorder| recorder.signal());
    let traffic = Traffic::new(signals, seed, arguments.duration, f64::from(arguments.rate));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("runtime: {error}")))?;
    runtime.block_on(drive(arguments, &client, traffic))
}

async fn drive(
    arguments: &Arguments,
    client: &Client,
    mut traffic: Traffic,
) -> Result<(), Failure> {
    let bar = progress(arguments.duration);
    let start = Instant::now();
    let mut tally = Tally::default();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let mut before = Duration::ZERO;
    let result = loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = &mut interrupted => break Ok(()),
        }
        let elapsed = start.elapsed().min(arguments.duration);
        let records = traffic.between(before, elapsed);
        before = elapsed;
        let sending = send(client, &records, &mut tally);
        let sent = tokio::select! {
            sent = sending => sent,
            _ = &mut interrupted => break Ok(()),
        };
        if let Err(failure) = sent {
            break Err(failure);
        }
        bar.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        bar.set_message(format!("{} records", tally.accepted));
        if elapsed >= arguments.duration {
            break Ok(());
        }
    };
    bar.finish_and_clear();
    if !tally.latencies.is_empty() {
        print(&tally.summary(start.elapsed()))?;
    }
    result?;
    if tally.rejected > 0 {
        return Err(Failure::Failed(format!(
            "{} records were rejected",
            tally.rejected
        )));
    }
    Ok(())
}

/// Sends records in batches; a service that is busy or away for a moment gets the same ones
/// again, which their ids make harmless.
async fn send(client: &Client, records: &[Value], tally: &mut Tally) -> Result<(), Failure> {
    for batch in records.chunks(BATCH) {
        let body = Value::from(batch.to_vec());
        let begun = Instant::now();
        loop {
            let asked = Instant::now();
            let (wait, failure) = match client.send(&body).await {
                Ok(Sent::Done(outcome)) => {
                    tally.add(batch, &outcome, asked.elapsed());
                    break;
                }
                Ok(Sent::Later { wait, reason }) => (wait, Failure::Failed(reason)),
                // A service that was never there is not waited for.
                Err(failure) if tally.latencies.is_empty() => return Err(failure),
                Err(failure) => (Duration::from_secs(1), failure),
            };
            if begun.elapsed() + wait > PATIENCE {
                return Err(failure);
            }
            tally.waits += 1;
            tokio::time::sleep(wait).await;
        }
    }
    Ok(())
}

fn progress(total: Duration) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::new(u64::try_from(total.as_millis()).unwrap_or(u64::MAX));
    // A template that does not parse would leave the default bar.
    if let Ok(style) = ProgressStyle::with_template("  {elapsed} [{bar:40}] {percent}%  {msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}
