//! Workers, as their heartbeats tell: which are there, which are lost, and which run tasks without
//! sending events of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::envelope::Event;
use crate::recording::Rounds;
use crate::signals::celery::{
    CeleryEventProblem as Problem, CeleryEventType as EventType, CeleryWorkerActive,
    CeleryWorkerConcurrency, CeleryWorkerProcessed, CeleryWorkerState as State, CeleryWorkerUp,
    CeleryWorkers,
};

/// Workers that are followed at most.
const WORKERS: usize = 1000;
/// Time between two heartbeats of a worker that does not say it: Celery's default.
const FREQUENCY: Duration = Duration::from_secs(2);
/// What a heartbeat may be late without having been missed.
const LATE: Duration = Duration::from_secs(1);
/// Heartbeats after which events of tasks that were run are missing for good: they are sent at
/// once, or when the heartbeat is.
const OWED: u32 = 2;

#[derive(Debug)]
struct Worker {
    heard: Instant,
    /// When it was found to be lost.
    lost: Option<Instant>,
    frequency: Duration,
    active: Option<u64>,
    processed: Option<u64>,
    /// Heartbeats since it ran something that no event was heard of; none: nothing is owed.
    owed: Option<u32>,
    /// Whether its next heartbeat is the first by which that can be judged.
    judged_from_next: bool,
    /// Whether a task's event was heard of it since its last heartbeat.
    spoke: bool,
    concurrency: Option<u64>,
}

/// The workers that are followed.
#[derive(Debug)]
pub struct Workers {
    known: BTreeMap<String, Worker>,
    missed: u32,
    forget: Duration,
    ups: Rounds,
    actives: Rounds,
    concurrencies: Rounds,
    counts_shown: bool,
}

impl Workers {
    /// A worker counts as lost after so many heartbeats, and is forgotten after so long.
    pub fn new(missed: u32, forget: Duration) -> Self {
        Self {
            known: BTreeMap::new(),
            missed,
            forget,
            ups: Rounds::default(),
            actives: Rounds::default(),
            concurrencies: Rounds::default(),
            counts_shown: false,
        }
    }

    /// Hears an event of a worker.
    ///
    /// # Errors
    /// Why it was not used.
    pub fn hear(&mut self, now: Instant, event: &Event) -> Result<(), Problem> {
        if event.kind == EventType::WorkerOffline {
            self.known.remove(&event.host);
            return Ok(());
        }
        if !self.known.contains_key(&event.host) && self.known.len() >= WORKERS {
            return Err(Problem::TooManyWorkers);
        }
        let worker = self.known.entry(event.host.clone());
        let worker = worker.or_insert_with(|| Worker {
            heard: now,
            lost: None,
            frequency: FREQUENCY,
            active: None,
            processed: None,
            owed: None,
            judged_from_next: true,
            spoke: false,
            concurrency: None,
        });
        worker.heard = now;
        if worker.lost.take().is_some() {
            tracing::info!(worker = event.host, "a lost worker of Celery is back");
        }
        if let Some(seconds) = event.frequency {
            // From ten times a second to every ten minutes.
            worker.frequency = Duration::from_secs_f64(seconds.clamp(0.1, 600.0));
        }
        worker.active = event.active.or(worker.active);
        if let Some(processed) = event.processed {
            worker.processed(&event.host, processed);
        }
        Ok(())
    }

    /// An event of a task was heard of a worker.
    pub fn spoke(&mut self, worker: &str) {
        if let Some(worker) = self.known.get_mut(worker) {
            worker.spoke = true;
            worker.owed = None;
        }
    }

    /// Time passes: those whose heartbeats stay away are lost, and returned once.
    pub fn tick(&mut self, now: Instant) -> Vec<String> {
        let (missed, forget) = (self.missed, self.forget);
        let mut lost = Vec::new();
        self.known.retain(|name, worker| {
            let silent = now.saturating_duration_since(worker.heard);
            match worker.lost {
                None if silent > worker.frequency * missed + LATE => {
                    worker.lost = Some(now);
                    worker.active = None;
                    worker.owed = None;
                    lost.push(name.clone());
                    true
                }
                None => true,
                Some(since) => now.saturating_duration_since(since) < forget,
            }
        });
        lost
    }

    /// Listening begins anew: what was not heard meanwhile says nothing of a worker.
    pub fn resumed(&mut self, now: Instant) {
        for worker in self
            .known
            .values_mut()
            .filter(|worker| worker.lost.is_none())
        {
            worker.heard = now;
            worker.owed = None;
            worker.judged_from_next = true;
        }
    }

    /// Those that run tasks and send no events of them.
    pub fn mute(&self) -> Vec<&str> {
        let owes = |worker: &Worker| worker.owed.is_some_and(|beats| beats >= OWED);
        let mute = self.known.iter().filter(|(_, worker)| owes(worker));
        mute.map(|(name, _)| &**name).collect()
    }

    /// Those whose heartbeats come.
    pub fn up(&self) -> impl Iterator<Item = &str> {
        let up = self
            .known
            .iter()
            .filter(|(_, worker)| worker.lost.is_none());
        up.map(|(name, _)| &**name)
    }

    /// What workers answered of how many tasks they can run at once; the others' is not known.
    pub fn sizes(&mut self, sizes: &BTreeMap<String, u64>) {
        for (name, worker) in &mut self.known {
            worker.concurrency = sizes.get(name).copied();
        }
    }

    /// Puts them on the page; their number only where `none` of them is known to be none.
    pub fn publish(&mut self, none_is_known: bool) {
        let state = |(worker, of): (&String, &Worker)| {
            let up = f64::from(u8::from(of.lost.is_none()));
            (CeleryWorkerUp { worker }.handle(), up)
        };
        // Of workers that share a series one that is lost is what matters.
        self.ups.set_by(self.known.iter().map(state), f64::min);
        let up = || self.known.iter().filter(|(_, of)| of.lost.is_none());
        self.actives.set(up().filter_map(|(worker, of)| {
            let active = of.active? as f64;
            Some((CeleryWorkerActive { worker }.handle(), active))
        }));
        self.concurrencies.set(up().filter_map(|(worker, of)| {
            let size = of.concurrency? as f64;
            Some((CeleryWorkerConcurrency { worker }.handle(), size))
        }));
        if self.known.is_empty() && !none_is_known {
            self.remove_counts();
            return;
        }
        let up = self.up().count();
        for (state, count) in [(State::Up, up), (State::Lost, self.known.len() - up)] {
            CeleryWorkers { state }.set(count as f64);
        }
        self.counts_shown = true;
    }

    /// Takes them off the page.
    pub fn unknown(&mut self) {
        for shown in [&mut self.ups, &mut self.actives, &mut self.concurrencies] {
            shown.clear();
        }
        self.remove_counts();
    }

    fn remove_counts(&mut self) {
        if std::mem::take(&mut self.counts_shown) {
            for state in [State::Up, State::Lost] {
                CeleryWorkers { state }.remove();
            }
        }
    }
}

impl Worker {
    /// It says how many tasks it began to run since it started.
    fn processed(&mut self, worker: &str, processed: u64) {
        let spoke = std::mem::take(&mut self.spoke);
        let ran = match self.processed.replace(processed) {
            // Since when it counts is not known.
            None => 0,
            // It started anew.
            Some(before) if processed < before => processed,
            Some(before) => processed - before,
        };
        if ran > 0 {
            CeleryWorkerProcessed { worker }.add(ran);
        }
        if std::mem::take(&mut self.judged_from_next) || spoke {
            return;
        }
        match &mut self.owed {
            Some(beats) => *beats = beats.saturating_add(1),
            None if ran > 0 => self.owed = Some(0),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn beat(worker: &str, processed: u64) -> Event {
        Event {
            frequency: Some(2.0),
            active: Some(1),
            processed: Some(processed),
            ..Event::of(EventType::WorkerHeartbeat, worker.to_owned(), 1.0)
        }
    }

    fn workers() -> (Workers, Instant) {
        (Workers::new(3, Duration::from_secs(60)), Instant::now())
    }

    #[test]
    fn a_worker_whose_heartbeats_stay_away_is_lost_then_forgotten() {
        let recorded = testing::capture();
        let (mut workers, start) = workers();
        workers.hear(start, &beat("a", 5)).unwrap();
        workers.hear(start, &beat("b", 0)).unwrap();
        let up = |worker: &str| {
            let up = recorded.metric("celery.worker.up");
            up.label("celery.worker.name", worker).value()
        };
        let count = |state: &str| {
            let count = recorded.metric("celery.workers");
            count.label("celery.worker.state", state).value()
        };
        let later = |seconds| start + Duration::from_secs(seconds);
        assert!(
            workers.tick(later(7)).is_empty(),
            "three missed, the last one late"
        );
        workers.hear(later(7), &beat("b", 3)).unwrap();
        assert_eq!(workers.tick(later(8)), ["a"]);
        assert!(workers.tick(later(9)).is_empty(), "it is told once");
        workers.publish(true);
        assert_eq!((up("a"), up("b")), (Some(0.0), Some(1.0)));
        assert_eq!((count("up"), count("lost")), (Some(1.0), Some(1.0)));
        let active = recorded.metric("celery.worker.active");
        active.assert_value(1.0);
        let processed = recorded.signal("celery.worker.processed");
        processed.label("celery.worker.name", "b").assert_count(3);

        workers.hear(later(20), &beat("a", 1)).unwrap();
        workers.publish(true);
        assert_eq!(up("a"), Some(1.0));
        let processed = recorded.signal("celery.worker.processed");
        processed.label("celery.worker.name", "a").assert_count(1);

        let offline = Event::of(EventType::WorkerOffline, "a".to_owned(), 1.0);
        workers.hear(later(21), &offline).unwrap();
        workers.tick(later(21));
        workers.tick(later(82));
        workers.publish(true);
        assert_eq!((up("a"), up("b")), (None, None));
        assert_eq!((count("up"), count("lost")), (Some(0.0), Some(0.0)));
        workers.publish(false);
        assert_eq!(count("up"), None);
    }

    #[test]
    fn a_worker_that_runs_tasks_and_tells_of_none_is_found_out() {
        let (mut workers, now) = workers();
        for processed in [5, 6, 6] {
            workers.hear(now, &beat("a", processed)).unwrap();
        }
        assert!(workers.mute().is_empty(), "events may be on their way");
        workers.hear(now, &beat("a", 6)).unwrap();
        assert_eq!(workers.mute(), ["a"]);
        workers.spoke("a");
        assert!(workers.mute().is_empty());
        for processed in [8, 8, 8, 8] {
            workers.hear(now, &beat("a", processed)).unwrap();
        }
        assert!(workers.mute().is_empty(), "it told of what it ran");
    }

    #[test]
    fn what_was_not_heard_in_a_gap_is_not_held_against_a_worker() {
        let (mut workers, start) = workers();
        workers.hear(start, &beat("a", 5)).unwrap();
        let later = start + Duration::from_secs(100);
        workers.resumed(later);
        assert!(workers.tick(later).is_empty());
        for _ in 0..5 {
            workers.hear(later, &beat("a", 50)).unwrap();
        }
        assert!(workers.mute().is_empty());
    }

    #[test]
    fn workers_that_come_and_go_are_told_apart_for_long() {
        let recorded = testing::capture();
        let (mut workers, now) = workers();
        for number in 0..WORKERS {
            let name = number.to_string();
            workers.hear(now, &beat(&name, 0)).unwrap();
            workers.publish(true);
            let up = recorded.metric("celery.worker.up");
            up.label("celery.worker.name", &name).assert_value(1.0);
            let offline = Event::of(EventType::WorkerOffline, name, 1.0);
            workers.hear(now, &offline).unwrap();
        }
    }

    #[test]
    fn no_more_are_followed_than_may_be() {
        let (mut workers, now) = workers();
        for worker in 0..WORKERS {
            workers.hear(now, &beat(&worker.to_string(), 0)).unwrap();
        }
        let more = workers.hear(now, &beat("more", 0));
        assert_eq!(more, Err(Problem::TooManyWorkers));
        assert_eq!(workers.hear(now, &beat("7", 1)), Ok(()));
    }
}
