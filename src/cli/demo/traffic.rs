//! Lifelike records of every signal that agents may report, from the catalog alone.
//!
//! Times are log-normal around the middle of the metric's buckets, labels follow a power law,
//! a few per cent of the operations fail, half of those are tried again, and the rate goes
//! through one day and night with bursts in it. The same seed makes the same traffic, except
//! for the ids: records sent twice would count once.

use std::f64::consts::TAU;
use std::time::Duration;

use serde_json::{Map, Number, Value, json};
use uuid::Uuid;

use super::pool::{self, PERSONAS, Persona, Pool, Scale};
use super::usage;
use crate::catalog::{Feed, Label, LabelKind, Metric, Signal, SignalKind};
use crate::signals::llm::LlmRequest;

/// Share of operations that fail.
const FAILURES: f64 = 0.04;
/// Share of failed operations that are tried again.
const RETRIES: f64 = 0.5;
/// Records that share a correlation id, at most.
const CONVERSATION: u32 = 12;
/// Records between two looks at the clock, at most: a limit on memory.
const MOST: f64 = 200_000.0;

pub(super) struct Traffic {
    random: fastrand::Rng,
    signals: Vec<(f64, &'static Signal)>,
    total: Duration,
    rate: f64,
    burst_until: Duration,
    conversation: Conversation,
    /// Every signal once well and once with each of its failures, spread over the whole time:
    /// what is rare shows in a short demo too.
    tour: Vec<(&'static Signal, Failure)>,
    toured: usize,
    /// Unix time at which the services of the demo claim to have started.
    started: f64,
}

/// Whether an operation fails.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Failure {
    No,
    /// In one of its ways.
    Any,
    /// With this value of a closed label.
    As(&'static str),
}

/// One agent at work on one thing.
struct Conversation {
    persona: &'static Persona,
    id: Uuid,
    left: u32,
}

impl Traffic {
    pub(super) fn new(
        signals: impl Iterator<Item = &'static Signal>,
        seed: u64,
        total: Duration,
        rate: f64,
    ) -> Self {
        let signals: Vec<(f64, &'static Signal)> = signals
            .filter(|signal| signal.reportable)
            .map(|signal| (weight(signal), signal))
            .collect();
        let tour = signals.iter().flat_map(|(_, signal)| {
            let ways = signal.labels.iter().flat_map(|label| match label.kind {
                LabelKind::Closed { errors, .. } => errors,
                LabelKind::Open { .. } => &[],
            });
            let failing = ways.map(|way| (*signal, Failure::As(way)));
            std::iter::once((*signal, Failure::No)).chain(failing)
        });
        Self {
            random: fastrand::Rng::with_seed(seed),
            tour: tour.collect(),
            toured: 0,
            signals,
            total,
            rate,
            burst_until: Duration::ZERO,
            conversation: Conversation {
                persona: &PERSONAS[0],
                id: Uuid::nil(),
                left: 0,
            },
            started: jiff::Timestamp::now().as_second() as f64,
        }
    }

    /// The records of a stretch of time since the start.
    pub(super) fn between(&mut self, from: Duration, to: Duration) -> Vec<Value> {
        let stretch = to.saturating_sub(from).as_secs_f64();
        let expected = (self.rate * self.intensity(to) * stretch).min(MOST);
        let count = self.poisson(expected);
        let mut records = Vec::new();
        if self.signals.is_empty() {
            return records;
        }
        while records.len() < count {
            let (signal, failure) = match self.next_of_tour(to) {
                Some(next) => next,
                None if self.random.f64() < FAILURES => (self.signal(), Failure::Any),
                None => (self.signal(), Failure::No),
            };
            let record = self.record(signal, failure);
            let failed = failure != Failure::No;
            if failed && signal.kind == SignalKind::Operation && self.random.f64() < RETRIES {
                let again = self.again(signal, &record);
                records.extend(self.retry(signal, &record));
                records.push(record);
                records.push(again);
            } else {
                records.push(record);
            }
        }
        records
    }

    /// The next signal of the tour, if it is due.
    fn next_of_tour(&mut self, now: Duration) -> Option<(&'static Signal, Failure)> {
        let done = now.as_secs_f64() / self.total.as_secs_f64().max(0.001);
        let next = self.tour.get(self.toured).copied();
        if self.toured as f64 > done * self.tour.len() as f64 {
            return None;
        }
        self.toured += 1;
        next
    }

    /// One day over the whole time, its average 1, with bursts of a second.
    fn intensity(&mut self, now: Duration) -> f64 {
        let day = now.as_secs_f64() / self.total.as_secs_f64().max(0.001);
        let tide = 1.0 - 0.6 * (TAU * day).cos();
        if now >= self.burst_until && self.random.f64() < 0.02 {
            self.burst_until = now + Duration::from_secs(1);
        }
        let burst = if now < self.burst_until { 2.5 } else { 1.0 };
        tide * burst
    }

    fn signal(&mut self) -> &'static Signal {
        let total: f64 = self.signals.iter().map(|(weight, _)| weight).sum();
        let mut at = self.random.f64() * total;
        for (weight, signal) in &self.signals {
            at -= weight;
            if at < 0.0 {
                return signal;
            }
        }
        // Only rounding leads here.
        self.signals[self.signals.len() - 1].1
    }

    fn record(&mut self, signal: &'static Signal, failure: Failure) -> Value {
        if self.conversation.left == 0 {
            self.conversation = Conversation {
                persona: self.persona(),
                id: self.uuid(),
                left: self.random.u32(1..=CONVERSATION),
            };
        }
        self.conversation.left -= 1;
        let persona = self.conversation.persona;
        let mut fields = Map::new();
        let mut error = None;
        for label in signal.labels {
            if let Some(value) = self.label(label, persona, failure, error.is_some()) {
                if is_error(label, &value) {
                    error = Some(value.clone());
                }
                fields.insert(label.key.to_owned(), Value::from(value));
            }
        }
        // Only calls of tools have one, only requests for prompts the other.
        if let Some(method) = fields.get("mcp.method.name").cloned() {
            for (key, of) in [
                ("gen_ai.tool.name", "tools/call"),
                ("gen_ai.prompt.name", "prompts/get"),
            ] {
                if method != of {
                    fields.remove(key);
                }
            }
        }
        let mut quantities = Vec::new();
        for (position, field) in signal.values.iter().enumerate() {
            let feeds =
                |m: &&Metric| matches!(m.feed, Feed::Value(at) if usize::from(at) == position);
            let metric = signal.metrics.iter().find(feeds);
            let value = self.quantity(field.key, metric, persona, &quantities);
            quantities.push(value);
            fields.insert(field.key.to_owned(), number(value));
        }
        let mut record = json!({
            "signal": signal.name,
            "id": Uuid::now_v7(),
            "fields": fields,
        });
        let context = self.context(signal);
        if let Some(record) = record.as_object_mut() {
            if signal.kind == SignalKind::Operation {
                let slow = if error.as_deref() == Some("timeout") {
                    8.0
                } else {
                    1.0
                };
                let seconds = self.seconds(signal, persona) * slow;
                record.insert("duration".to_owned(), number(round(seconds, 6)));
            }
            if !context.is_empty() {
                record.insert("context".to_owned(), Value::Object(context));
            }
        }
        if signal.name == LlmRequest::SIGNAL.name {
            usage::as_sent(&mut record);
        }
        record
    }

    /// The same once more, this time with success.
    fn again(&mut self, signal: &'static Signal, record: &Value) -> Value {
        self.conversation.left += 1;
        let mut again = self.record(signal, Failure::No);
        for label in signal.start_labels() {
            if let Some(value) = record["fields"].get(label.key) {
                again["fields"][label.key] = value.clone();
            }
        }
        again
    }

    /// What the domain declares for operations that are tried again, if it does.
    fn retry(&mut self, signal: &'static Signal, record: &Value) -> Option<Value> {
        let named = |name: &str| name == format!("{}.retry", signal.domain);
        let retry = self
            .signals
            .iter()
            .find(|(_, signal)| named(signal.name))?
            .1;
        self.conversation.left += 1;
        let mut measure = self.record(retry, Failure::Any);
        for label in retry.labels {
            if let Some(value) = record["fields"].get(label.key) {
                measure["fields"][label.key] = value.clone();
            }
        }
        Some(measure)
    }

    fn persona(&mut self) -> &'static Persona {
        let total: u32 = PERSONAS.iter().map(|persona| persona.weight).sum();
        let mut at = self.random.u32(0..total);
        for persona in PERSONAS {
            match at.checked_sub(persona.weight) {
                Some(rest) => at = rest,
                None => return persona,
            }
        }
        &PERSONAS[0]
    }

    fn uuid(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(self.random.u128(..).to_be_bytes()).into_uuid()
    }

    fn label(
        &mut self,
        label: &Label,
        persona: &Persona,
        failure: Failure,
        named: bool,
    ) -> Option<String> {
        let failed = failure != Failure::No;
        match label.kind {
            LabelKind::Closed { errors, .. }
                if let Failure::As(way) = failure
                    && errors.contains(&way) =>
            {
                Some(way.to_owned())
            }
            LabelKind::Closed {
                values,
                errors,
                abandoned,
            } => {
                let abandoned = abandoned.and_then(|at| values.get(usize::from(at)));
                let wanted = |value: &&&'static str| {
                    let is_error = errors.contains(*value);
                    is_error == (failed && !errors.is_empty()) && Some(*value) != abandoned
                };
                let candidates: Vec<&'static str> = values.iter().filter(wanted).copied().collect();
                // Nearly all that does not fail ends the usual way.
                if !failed && !errors.is_empty() && self.random.f64() < 0.97 {
                    return candidates.first().map(|value| (*value).to_owned());
                }
                let all = if candidates.is_empty() {
                    values
                } else {
                    &candidates
                };
                self.ranked(all).map(str::to_owned)
            }
            LabelKind::Open { optional, .. } => {
                if label.key == "http.response.status_code" && !failed {
                    return Some("200".to_owned());
                }
                let is_error = label.key.contains("error") || label.key.contains("status_code");
                // What went wrong is said where something did.
                if optional
                    && (is_error && !(failed || named) || !is_error && self.random.f64() < 0.2)
                {
                    return None;
                }
                match pool::of(label.key, persona) {
                    Pool::Fixed(value) => Some(value.to_owned()),
                    Pool::Ranked(values) => self.ranked(values).map(str::to_owned),
                    Pool::Numbered => {
                        let name = label.key.rsplit(['.', '_']).next().unwrap_or(label.key);
                        let rank = self.ranked(&["1", "2", "3", "4", "5"])?;
                        Some(format!("{name}-{rank}"))
                    }
                }
            }
        }
    }

    fn context(&mut self, signal: &Signal) -> Map<String, Value> {
        let mut context = Map::new();
        for field in signal.context {
            if field.key.ends_with("correlation_id")
                || field.key.ends_with("conversation.id")
                || field.key.ends_with("session.id")
            {
                context.insert(
                    field.key.to_owned(),
                    self.conversation.id.to_string().into(),
                );
            }
        }
        context
    }

    /// One of several, the first most often: weights 1, 1/2, 1/3, …
    fn ranked<'a>(&mut self, values: &[&'a str]) -> Option<&'a str> {
        let total: f64 = (1..=values.len()).map(|rank| 1.0 / rank as f64).sum();
        let mut at = self.random.f64() * total;
        for (index, value) in values.iter().enumerate() {
            at -= 1.0 / (index + 1) as f64;
            if at < 0.0 {
                return Some(value);
            }
        }
        values.last().copied()
    }

    fn seconds(&mut self, signal: &Signal, persona: &Persona) -> f64 {
        let metric = signal
            .metrics
            .iter()
            .find(|metric| metric.feed == Feed::Duration);
        let bounds = metric.map_or(&[][..], |metric| metric.bounds);
        let middle = bounds.get(bounds.len() / 2).copied().unwrap_or(1.0);
        self.log_normal(middle * 0.5 * persona.pace, 0.8)
    }

    /// A value; `before` are those of the same record that come earlier.
    fn quantity(
        &mut self,
        key: &str,
        metric: Option<&Metric>,
        persona: &Persona,
        before: &[f64],
    ) -> f64 {
        let Some(metric) = metric else {
            // The amount of a counting measure.
            return 1.0;
        };
        let name = if key == "value" { metric.name } else { key };
        let earlier = |at: usize| before.get(at).copied().unwrap_or(1_000.0);
        match pool::scale(name) {
            Scale::State => f64::from(u8::from(self.random.f64() < 0.98)),
            Scale::Start => self.started,
            Scale::Share => round(self.log_normal(0.2, 0.6).min(1.0), 4),
            Scale::Confidence => round(1.0 - self.log_normal(0.12, 0.7).min(1.0), 4),
            Scale::Fixed(value) => value,
            Scale::OfFirst(share) => (earlier(0) * share * self.random.f64()).round(),
            Scale::OfSecond(share) => (earlier(1) * share * self.random.f64()).round(),
            Scale::Whole(median) => self.log_normal(median * persona.pace, 0.8).round(),
            Scale::Median(median) => round(self.log_normal(median * persona.pace, 0.8), 6),
            Scale::Unknown => {
                let middle = metric.bounds.get(metric.bounds.len() / 2).copied();
                let most = metric.bounds.last().copied().unwrap_or(f64::MAX);
                let value = self.log_normal(middle.unwrap_or(3.0), 0.7).min(most);
                let fraction = matches!(metric.unit, "s" | "1" | "USD");
                if fraction {
                    round(value, 6)
                } else {
                    value.round()
                }
            }
        }
    }

    /// Log-normal with this median (Box and Muller).
    fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.random.f64()).ln()).sqrt();
        let normal = radius * (TAU * self.random.f64()).cos();
        median * (sigma * normal).exp()
    }

    /// How many arrivals, when `expected` are (Knuth for few, the normal limit for many).
    fn poisson(&mut self, expected: f64) -> usize {
        if expected > 30.0 {
            let radius = (-2.0 * (1.0 - self.random.f64()).ln()).sqrt();
            let normal = radius * (TAU * self.random.f64()).cos();
            return (expected + expected.sqrt() * normal).round().max(0.0) as usize;
        }
        let limit = (-expected).exp();
        let (mut count, mut product) = (0, self.random.f64());
        while product > limit {
            count += 1;
            product *= self.random.f64();
        }
        count
    }
}

fn is_error(label: &Label, value: &str) -> bool {
    match label.kind {
        LabelKind::Closed { errors, .. } => errors.contains(&value),
        LabelKind::Open { .. } => false,
    }
}

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

fn number(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// How often a signal is reported beside the others: many small steps, few whole runs.
fn weight(signal: &Signal) -> f64 {
    let of_domain = match signal.domain {
        "tool" | "mcp" => 10.0,
        "llm" => 6.0,
        "action" | "cache" | "knowledge" => 4.0,
        "agent" | "task" | "event" => 2.0,
        "workflow" | "session" => 1.0,
        _ => 1.5,
    };
    match signal.kind {
        SignalKind::Operation => of_domain,
        // Retries come with the failures they follow; what is unknown is rare.
        SignalKind::Measure if signal.name.ends_with(".retry") => 0.05,
        SignalKind::Measure if signal.name.ends_with("unknown") => 0.05,
        SignalKind::Measure => 0.7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::CATALOG;

    fn traffic(seed: u64) -> Traffic {
        let signals = CATALOG.iter().map(|recorder| recorder.signal());
        let mut traffic = Traffic::new(signals, seed, Duration::from_secs(60), 200.0);
        // The clock may move on between two of them.
        traffic.started = 0.0;
        traffic
    }

    fn without_ids(mut records: Vec<Value>) -> Vec<Value> {
        for record in &mut records {
            record["id"] = Value::Null;
        }
        records
    }

    #[test]
    fn the_same_seed_makes_the_same_traffic() {
        let day =
            |seed| without_ids(traffic(seed).between(Duration::ZERO, Duration::from_secs(30)));
        assert_eq!(day(7), day(7));
        assert_ne!(day(7), day(8));
    }

    #[test]
    fn a_short_demo_shows_every_failure_of_every_signal() {
        let signals = CATALOG.iter().map(|recorder| recorder.signal());
        let total = Duration::from_secs(30);
        let mut traffic = Traffic::new(signals, 3, total, 50.0);
        let mut seen = std::collections::BTreeSet::new();
        for second in 0..30 {
            let (from, to) = (Duration::from_secs(second), Duration::from_secs(second + 1));
            for record in traffic.between(from, to) {
                for value in record["fields"].as_object().unwrap().values() {
                    let name = record["signal"].as_str().unwrap();
                    if let Some(value) = value.as_str() {
                        seen.insert((name.to_owned(), value.to_owned()));
                    }
                }
            }
        }
        for (signal, failure) in &traffic.tour {
            if let Failure::As(way) = failure {
                let both = (signal.name.to_owned(), (*way).to_owned());
                assert!(seen.contains(&both), "{both:?}");
            }
        }
        assert!(traffic.tour.len() > 20);
    }

    #[test]
    fn every_reportable_signal_is_sent_and_every_record_fits_its_declaration() {
        let mut traffic = traffic(1);
        let mut seen = std::collections::BTreeSet::new();
        let (mut failed, mut all) = (0, 0);
        for second in 0..60 {
            let (from, to) = (Duration::from_secs(second), Duration::from_secs(second + 1));
            for record in traffic.between(from, to) {
                let name = record["signal"].as_str().unwrap();
                let recorder = CATALOG.iter().find(|r| r.signal().name == name).unwrap();
                let signal = recorder.signal();
                seen.insert(signal.name);
                let fields = record["fields"].as_object().unwrap();
                let labels: Vec<&str> = signal
                    .labels
                    .iter()
                    .map(|label| fields.get(label.key).map_or("", |v| v.as_str().unwrap()))
                    .collect();
                let values: Vec<Option<f64>> = signal
                    .values
                    .iter()
                    .map(|field| fields.get(field.key).map(|v| v.as_f64().unwrap()))
                    .collect();
                let seconds = record.get("duration").map(|v| v.as_f64().unwrap());
                recorder.check(&labels, &values, seconds).unwrap();
                all += 1;
                failed += usize::from(
                    signal
                        .labels
                        .iter()
                        .zip(&labels)
                        .any(|(l, v)| is_error(l, v)),
                );
            }
        }
        let reportable: std::collections::BTreeSet<&str> = CATALOG
            .iter()
            .map(|recorder| recorder.signal())
            .filter(|signal| signal.reportable)
            .map(|signal| signal.name)
            .collect();
        assert_eq!(seen, reportable);
        assert!((8_000..20_000).contains(&all), "{all}");
        let share = failed as f64 / all as f64;
        assert!((0.005..0.08).contains(&share), "{share}");
    }
}
