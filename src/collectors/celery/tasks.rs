//! Tasks, as their events are put together: most of them tell the task's id and not its name.
//!
//! Events of one worker come in order; those of a client and of several workers do not. A task
//! that is tried again keeps its id, so that one id has several attempts.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::envelope::Event;
use crate::signals::celery::{
    CeleryEventProblem as Problem, CeleryEventType as EventType, CeleryForgotten as Reason,
    CeleryTask, CeleryTaskDuration, CeleryTaskEnd, CeleryTaskFailure, CeleryTaskForgotten,
    CeleryTaskRetry, CeleryTaskState as State, CeleryTaskStatus as Status, CeleryTaskWait,
    CeleryWaitSince as Since,
};

/// How long the event that a task was sent may come after the one that it started.
const SENT_LATE: Duration = Duration::from_secs(2);
/// How long a task is kept after its end, to tell events that are heard twice.
const AFTERWARDS: Duration = Duration::from_secs(600);
/// Clocks of several machines may differ by this much without a wait being wrong, seconds.
const SKEW: f64 = 1.0;
/// Label of a failure whose event shows no class.
const OTHER: &str = "_OTHER";

/// What is known of a task.
#[derive(Debug)]
struct Task {
    name: Option<Box<str>>,
    queue: Option<Box<str>>,
    sent: Option<Mark>,
    received: Option<Mark>,
    /// Attempts that are known of, and those that ended.
    begun: u32,
    ended: u32,
    /// Times that a worker received it.
    receptions: u32,
    running: Option<Running>,
    /// When an attempt ended last, by its worker's clock.
    last_end: f64,
    /// When it started, while its wait is to be observed.
    waiting: Option<f64>,
    /// Fingerprints of its last events.
    heard: [u64; 8],
    next_heard: usize,
    /// Times that listening had broken off when it was last heard of.
    gaps: u64,
    /// Place in the order of its list, and when it was last heard of.
    place: u64,
    touched: Instant,
}

/// A step of one attempt.
#[derive(Clone, Copy, Debug)]
struct Mark {
    retries: Option<u32>,
    at: f64,
    due: Option<f64>,
}

#[derive(Clone, Debug)]
struct Running {
    worker: Arc<str>,
    at: f64,
    gaps: u64,
}

impl Task {
    fn new(now: Instant, gaps: u64) -> Self {
        Self {
            name: None,
            queue: None,
            sent: None,
            received: None,
            begun: 1,
            ended: 0,
            receptions: 0,
            running: None,
            last_end: f64::NEG_INFINITY,
            waiting: None,
            heard: [0; 8],
            next_heard: 0,
            gaps,
            place: 0,
            touched: now,
        }
    }

    /// Whether all attempts that are known of have ended.
    const fn over(&self) -> bool {
        self.ended >= self.begun
    }

    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// Notes an event; false if it was heard before.
    fn is_new(&mut self, fingerprint: u64) -> bool {
        if self.heard.contains(&fingerprint) {
            return false;
        }
        self.heard[self.next_heard] = fingerprint;
        self.next_heard = (self.next_heard + 1) % self.heard.len();
        true
    }

    /// Since when the attempt that started waited; `None`: it is not known.
    fn waited_since(&self) -> Option<(Since, f64)> {
        let from = |mark: &Mark| mark.due.map_or(mark.at, |due| due.max(mark.at));
        let retries = self.received.and_then(|received| received.retries);
        let same = |sent: &&Mark| retries.is_none() || sent.retries == retries;
        match (self.sent.as_ref().filter(same), &self.received) {
            (Some(sent), _) => Some((Since::Sent, from(sent))),
            (None, Some(received)) => Some((Since::Received, from(received))),
            (None, None) => None,
        }
    }

    /// Observes how long it waited.
    fn observe_wait(&self, since: Since, waited: f64) {
        if waited < -SKEW {
            super::unused(Problem::ClockSkew);
            return;
        }
        CeleryTaskWait {
            name: self.name(),
            // Only who sent it said where to.
            queue: self.queue.as_deref().unwrap_or_default(),
            since,
        }
        .record(waited.max(0.0));
    }
}

/// The tasks that are followed.
#[derive(Debug)]
pub struct Tasks {
    known: HashMap<u128, Task, foldhash::fast::RandomState>,
    /// Those with an attempt that has not ended, and those without, by when they were heard of.
    open: BTreeMap<u64, u128>,
    over: BTreeMap<u64, u128>,
    next_place: u64,
    capacity: usize,
    forget: Duration,
    /// Waits to be observed, when nobody says any more that the task was sent.
    waits: VecDeque<(Instant, u128)>,
    /// Times that listening broke off.
    gaps: u64,
    /// Tasks that ran when it did, by worker.
    unsure: HashMap<Arc<str>, Vec<u128>>,
}

impl Tasks {
    /// Follows so many tasks at most, each for so long after it was last heard of.
    pub fn new(capacity: usize, forget: Duration) -> Self {
        Self {
            known: HashMap::default(),
            open: BTreeMap::new(),
            over: BTreeMap::new(),
            next_place: 0,
            capacity,
            forget,
            waits: VecDeque::new(),
            gaps: 0,
            unsure: HashMap::new(),
        }
    }

    /// Hears an event of a task.
    ///
    /// # Errors
    /// Why it was not used.
    pub fn hear(&mut self, now: Instant, event: &Event) -> Result<(), Problem> {
        let id = event.task;
        let mut task = self.take(now, id);
        let heard = self.apply(now, &mut task, event);
        self.put(now, id, task);
        heard
    }

    fn apply(&mut self, now: Instant, task: &mut Task, event: &Event) -> Result<(), Problem> {
        if !task.is_new(event.fingerprint) {
            return Err(Problem::Duplicate);
        }
        if task.gaps != self.gaps {
            // An attempt may have begun unheard.
            task.gaps = self.gaps;
            task.begun = task.begun.max(task.ended.saturating_add(1));
        }
        if let Some(name) = &event.name {
            task.name = Some(name.as_str().into());
        }
        if let Some(retries) = event.retries {
            task.begun = task.begun.max(retries.saturating_add(1));
        }
        let mark = Mark {
            retries: event.retries,
            at: event.at,
            due: event.due,
        };
        match event.kind {
            EventType::TaskSent => {
                task.sent = Some(mark);
                task.queue = event.queue.as_deref().map(Into::into);
                count(task, State::Sent);
            }
            EventType::TaskReceived => {
                task.receptions = task.receptions.saturating_add(1);
                task.begun = task.begun.max(task.receptions);
                task.received = Some(mark);
                count(task, State::Received);
            }
            EventType::TaskStarted => {
                count(task, State::Started);
                self.start(now, task, event);
            }
            EventType::TaskSucceeded => return end(task, event, Status::Succeeded),
            EventType::TaskFailed => return end(task, event, Status::Failed),
            EventType::TaskRetried => return end(task, event, Status::Retried),
            EventType::TaskRevoked => return end(task, event, Status::Revoked),
            EventType::TaskRejected => return end(task, event, Status::Rejected),
            EventType::TaskCancelled => return end(task, event, Status::Cancelled),
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, now: Instant, task: &mut Task, event: &Event) {
        if event.at <= task.last_end {
            // Its end was heard first.
            return;
        }
        if task.over() {
            task.begun = task.ended.saturating_add(1);
        }
        task.running = Some(Running {
            worker: event.host.as_str().into(),
            at: event.at,
            gaps: self.gaps,
        });
        match task.waited_since() {
            Some((Since::Sent, from)) => task.observe_wait(Since::Sent, event.at - from),
            _ => {
                task.waiting = Some(event.at);
                self.waits.push_back((now, event.task));
            }
        }
    }

    /// The task of an id, out of its list.
    fn take(&mut self, now: Instant, id: u128) -> Task {
        match self.known.remove(&id) {
            Some(task) => {
                let list = if task.over() {
                    &mut self.over
                } else {
                    &mut self.open
                };
                list.remove(&task.place);
                task
            }
            None => {
                if self.known.len() >= self.capacity {
                    self.drop_oldest();
                }
                Task::new(now, self.gaps)
            }
        }
    }

    fn put(&mut self, now: Instant, id: u128, mut task: Task) {
        task.place = self.next_place;
        task.touched = now;
        self.next_place += 1;
        let list = if task.over() {
            &mut self.over
        } else {
            &mut self.open
        };
        list.insert(task.place, id);
        self.known.insert(id, task);
        while self.waits.len() > self.capacity {
            self.settle_first_wait();
        }
    }

    /// Makes room: what is over goes first.
    fn drop_oldest(&mut self) {
        if let Some((_, id)) = self.over.pop_first() {
            self.known.remove(&id);
        } else if let Some((_, id)) = self.open.pop_first() {
            self.known.remove(&id);
            forgotten(Reason::Full, 1);
        }
    }

    /// Time passes: waits are observed that nobody will explain better, and tasks are let go of.
    pub fn tick(&mut self, now: Instant) {
        let due = |heard: &Instant| now.saturating_duration_since(*heard) >= SENT_LATE;
        while self.waits.front().is_some_and(|(heard, _)| due(heard)) {
            self.settle_first_wait();
        }
        expire(&mut self.over, &mut self.known, now, AFTERWARDS);
        let expired = expire(&mut self.open, &mut self.known, now, self.forget);
        forgotten(Reason::Expired, expired);
    }

    fn settle_first_wait(&mut self) {
        let Some((_, id)) = self.waits.pop_front() else {
            return;
        };
        if let Some(task) = self.known.get_mut(&id)
            && let Some(started) = task.waiting.take()
            && let Some((since, from)) = task.waited_since()
        {
            task.observe_wait(since, started - from);
        }
    }

    /// Listening broke off: what ran may have ended unheard.
    pub fn gap(&mut self) {
        self.gaps += 1;
        self.unsure.clear();
        for id in self.open.values() {
            if let Some(running) = self.known.get(id).and_then(|task| task.running.as_ref()) {
                let worker = Arc::clone(&running.worker);
                self.unsure.entry(worker).or_default().push(*id);
            }
        }
    }

    /// A worker says how many tasks it runs: if that is less than were heard to start, those
    /// whose end may have been missed ended, the oldest first.
    pub fn heartbeat(&mut self, worker: &str, active: u64) {
        let Some(unsure) = self.unsure.get_mut(worker) else {
            return;
        };
        let (known, gaps) = (&mut self.known, self.gaps);
        let runs = |task: &Task| {
            let running = task.running.as_ref();
            running.is_some_and(|running| &*running.worker == worker && running.gaps != gaps)
        };
        unsure.retain(|id| known.get(id).is_some_and(runs));
        let sure = known.values().filter(|task| {
            let running = task.running.as_ref();
            running.is_some_and(|running| &*running.worker == worker && running.gaps == gaps)
        });
        let runs = sure.count() as u64 + unsure.len() as u64;
        let missed = usize::try_from(runs.saturating_sub(active)).unwrap_or(usize::MAX);
        let missed = missed.min(unsure.len());
        for id in unsure.drain(..missed) {
            if let Some(task) = known.get_mut(&id) {
                task.running = None;
            }
        }
        if unsure.is_empty() {
            self.unsure.remove(worker);
        }
        forgotten(Reason::Missed, missed as u64);
    }

    /// A worker is gone: nothing runs there any more.
    pub fn worker_gone(&mut self, worker: &str) {
        let mut gone = 0;
        for task in self.known.values_mut() {
            if task
                .running
                .as_ref()
                .is_some_and(|running| &*running.worker == worker)
            {
                task.running = None;
                gone += 1;
            }
        }
        self.unsure.remove(worker);
        forgotten(Reason::WorkerGone, gone);
    }

    /// How many run, by name.
    pub fn active(&self) -> BTreeMap<&str, u64> {
        let mut active = BTreeMap::new();
        for id in self.open.values() {
            if let Some(task) = self.known.get(id).filter(|task| task.running.is_some()) {
                *active.entry(task.name()).or_default() += 1;
            }
        }
        active
    }

    /// How many are followed.
    #[cfg(test)]
    fn len(&self) -> usize {
        assert_eq!(self.known.len(), self.open.len() + self.over.len());
        self.known.len()
    }
}

/// Lets go of tasks of a list that were heard of too long ago; how many.
fn expire(
    list: &mut BTreeMap<u64, u128>,
    known: &mut HashMap<u128, Task, foldhash::fast::RandomState>,
    now: Instant,
    keep: Duration,
) -> u64 {
    let mut expired = 0;
    while let Some(first) = list.first_entry() {
        let task = known.get(first.get());
        if task.is_some_and(|task| now.saturating_duration_since(task.touched) < keep) {
            break;
        }
        known.remove(&first.remove());
        expired += 1;
    }
    expired
}

fn count(task: &Task, state: State) {
    let name = task.name();
    CeleryTask { name, state }.add(1);
}

fn forgotten(reason: Reason, tasks: u64) {
    if tasks > 0 {
        CeleryTaskForgotten { reason }.add(tasks);
    }
}

/// An attempt ended, each counted once.
fn end(task: &mut Task, event: &Event, status: Status) -> Result<(), Problem> {
    if task.over() {
        return Err(Problem::Duplicate);
    }
    task.ended = task.ended.saturating_add(1);
    task.last_end = task.last_end.max(event.at);
    let running = task.running.take();
    let again = status == Status::Retried || status == Status::Cancelled;
    if again {
        // It comes again, whether or not somebody says so.
        task.begun = task.begun.max(task.ended.saturating_add(1));
    }
    let name = task.name();
    CeleryTaskEnd { name, status }.add(1);
    let ran = running.filter(|running| *running.worker == event.host);
    let ran = ran.map(|running| event.at - running.at);
    if let Some(seconds) = event.runtime.or(ran).filter(|seconds| *seconds >= 0.0) {
        CeleryTaskDuration { name }.record(seconds);
    }
    let error = event.exception.as_deref().unwrap_or(OTHER);
    match status {
        Status::Failed => CeleryTaskFailure { name, error }.add(1),
        Status::Retried => CeleryTaskRetry { name, error }.add(1),
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests;
