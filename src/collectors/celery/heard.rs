//! What was heard of Celery: tasks and workers, whether events can be heard at all, and which
//! kinds of them come.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::CeleryConfig;
use super::envelope::events;
use super::tasks::Tasks;
use super::unused;
use super::workers::Workers;
use crate::recording::Rounds;
use crate::signals::celery::{
    CeleryEvent, CeleryEventGroup as Group, CeleryEventProblem as Problem,
    CeleryEventType as EventType, CeleryEventsEnabled, CeleryGap, CeleryGapTime, CeleryListening,
    CeleryTasksActive,
};

/// How long it is listened before silence says anything: five of Celery's heartbeats.
const QUIET: Duration = Duration::from_secs(10);
/// Rounds in which work went on and no worker was heard, until that is said.
const SILENT_ROUNDS: u32 = 2;
/// Names of tasks that none runs of, and that are on the page all the same; more than a label has.
const NAMES: usize = 1000;
/// Tasks that are received and that nobody said were sent, until that is said.
const UNSENT: u64 = 20;

/// Whether events can be heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Listening {
    /// Not yet.
    Starting,
    /// Since then.
    Connected(Instant),
    /// Not since then, and why.
    Lost(Instant, String),
    /// They could never be, and why.
    Refused(String),
}

/// What was heard.
#[derive(Debug)]
pub struct Heard {
    tasks: Tasks,
    workers: Workers,
    listening: Listening,
    worker_events: bool,
    task_events: bool,
    sent_events: bool,
    /// Tasks that were received for the first time.
    received: u64,
    silent_rounds: u32,
    /// Kinds of problems that the log tells of.
    told: Vec<Problem>,
    /// Names of tasks that ran.
    ran: BTreeSet<String>,
    active: Rounds,
}

impl Heard {
    /// Nothing yet.
    pub fn new(config: &CeleryConfig) -> Self {
        Self {
            tasks: Tasks::new(config.max_tracked_tasks, config.forget_tasks),
            workers: Workers::new(config.missed_heartbeats, config.forget_workers),
            listening: Listening::Starting,
            worker_events: false,
            task_events: false,
            sent_events: false,
            received: 0,
            silent_rounds: 0,
            told: Vec::new(),
            ran: BTreeSet::new(),
            active: Rounds::default(),
        }
    }

    /// Hears a message of a channel.
    pub fn message(&mut self, now: Instant, message: &[u8]) {
        for event in events(message) {
            let heard = event.and_then(|event| {
                let event_type = event.kind;
                CeleryEvent { event_type }.add(1);
                match event_type {
                    EventType::Custom => Ok(()),
                    EventType::WorkerOnline
                    | EventType::WorkerHeartbeat
                    | EventType::WorkerOffline => self.worker(now, &event),
                    _ => self.task(now, &event),
                }
            });
            if let Err(problem) = heard {
                self.refused(problem);
            }
        }
    }

    fn worker(&mut self, now: Instant, event: &super::Event) -> Result<(), Problem> {
        self.worker_events = true;
        self.silent_rounds = 0;
        self.workers.hear(now, event)?;
        match (event.kind, event.active) {
            (EventType::WorkerOffline, _) => self.tasks.worker_gone(&event.host),
            (_, Some(active)) => self.tasks.heartbeat(&event.host, active),
            _ => {}
        }
        Ok(())
    }

    fn task(&mut self, now: Instant, event: &super::Event) -> Result<(), Problem> {
        match event.kind {
            EventType::TaskSent => self.sent_events = true,
            kind => {
                self.task_events = true;
                self.workers.spoke(&event.host);
                let first = event.retries.is_none_or(|retries| retries == 0);
                self.received += u64::from(kind == EventType::TaskReceived && first);
            }
        }
        self.tasks.hear(now, event)
    }

    fn refused(&mut self, problem: Problem) {
        unused(problem);
        if !self.told.contains(&problem) {
            self.told.push(problem);
            let problem = crate::catalog::ClosedLabel::as_str(problem);
            tracing::warn!(problem, "an event of Celery is not used");
        }
    }

    /// Whether events can be heard.
    pub(super) fn listening(&self) -> &Listening {
        &self.listening
    }

    /// Events can be heard from now on.
    pub fn connected(&mut self, now: Instant) {
        match &self.listening {
            Listening::Connected(_) => return,
            Listening::Lost(since, _) => {
                let gap = now.saturating_duration_since(*since).as_secs_f64();
                CeleryGapTime {}.add(gap);
                tracing::info!(seconds = gap, "events of Celery are heard again");
            }
            Listening::Starting => tracing::info!("events of Celery are listened to"),
            Listening::Refused(_) => tracing::info!("events of Celery are heard"),
        }
        self.workers.resumed(now);
        self.listening = Listening::Connected(now);
        CeleryListening {}.set(1.0);
    }

    /// Events cannot be heard any more, or still not.
    pub fn lost(&mut self, now: Instant, reason: String) {
        CeleryListening {}.set(0.0);
        match &mut self.listening {
            Listening::Connected(_) => {
                CeleryGap {}.add(1);
                self.tasks.gap();
                self.silent_rounds = 0;
                tracing::warn!(
                    reason,
                    "events of Celery cannot be heard: what is sent meanwhile is lost"
                );
                self.listening = Listening::Lost(now, reason);
            }
            Listening::Lost(_, before) | Listening::Refused(before) => *before = reason,
            Listening::Starting => {
                tracing::warn!(reason, "events of Celery cannot be heard");
                self.listening = Listening::Refused(reason);
            }
        }
    }

    /// A round: time passes, and it is known whether tasks left their queues or were
    /// acknowledged since the last one.
    pub fn round(&mut self, now: Instant, worked: bool) {
        let Listening::Connected(since) = self.listening else {
            return;
        };
        for worker in self.workers.tick(now) {
            self.tasks.worker_gone(&worker);
            tracing::warn!(
                worker,
                "a worker of Celery is lost: its heartbeats stay away"
            );
        }
        self.tasks.tick(now);
        let quiet = now.saturating_duration_since(since) >= QUIET;
        if worked && quiet && self.workers.up().next().is_none() {
            self.silent_rounds = self.silent_rounds.saturating_add(1);
        }
    }

    /// Why it is thought that workers send no heartbeats.
    pub fn silent_workers(&self) -> Option<String> {
        (self.silent_rounds >= SILENT_ROUNDS).then(|| {
            "tasks leave their queues, and no worker sends a heartbeat: workers run with \
             `--without-heartbeat`, or `event_exchange`, `fanout_prefix` or `key_prefix` is not \
             theirs"
                .to_owned()
        })
    }

    /// Why it is thought that workers send no events of tasks.
    pub fn mute_workers(&self) -> Option<String> {
        let mute = self.workers.mute();
        let first = mute.first()?;
        let more = match mute.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some(format!(
            "{first}{more} runs tasks and sends no events of them; turn them on: now with `celery \
             -A <app> control enable_events`, for good with `-E` or `worker_send_task_events = \
             True`, and `task_send_sent_event = True` where tasks are sent"
        ))
    }

    /// Puts what is known on the page.
    pub fn publish(&mut self, now: Instant) {
        let Listening::Connected(since) = self.listening else {
            self.unknown();
            return;
        };
        CeleryListening {}.set(1.0);
        let quiet = now.saturating_duration_since(since) >= QUIET;
        let silent = self.silent_rounds >= SILENT_ROUNDS;
        self.workers.publish(quiet && !silent);
        let active = self.tasks.active();
        let room = NAMES.saturating_sub(self.ran.len());
        let new = active.keys().filter(|name| !self.ran.contains(**name));
        let new: Vec<String> = new.take(room).map(|name| (*name).to_owned()).collect();
        self.ran.extend(new);
        let mut names: BTreeSet<&str> = self.ran.iter().map(String::as_str).collect();
        names.extend(active.keys());
        self.active.set(names.into_iter().map(|name| {
            // That none runs is known of a task that ran.
            let count = active.get(name).copied().unwrap_or(0);
            (CeleryTasksActive { name }.handle(), count as f64)
        }));
        let mute = !self.workers.mute().is_empty();
        for (group, off, on) in [
            (Group::Worker, silent, self.worker_events),
            (Group::Task, mute, self.task_events),
            (Group::Sent, self.received >= UNSENT, self.sent_events),
        ] {
            let off = off && (group != Group::Sent || !on);
            match (off, on) {
                (true, _) => CeleryEventsEnabled { group }.set(0.0),
                (false, true) => CeleryEventsEnabled { group }.set(1.0),
                (false, false) => CeleryEventsEnabled { group }.remove(),
            }
        }
    }

    /// What workers answered of how many tasks they can run at once.
    pub fn sizes(&mut self, sizes: &std::collections::BTreeMap<String, u64>) {
        self.workers.sizes(sizes);
    }

    /// Takes off the page what is not known while nothing can be heard.
    pub fn unknown(&mut self) {
        self.workers.unknown();
        self.ran.clear();
        self.active.clear();
        for group in [Group::Worker, Group::Task, Group::Sent] {
            CeleryEventsEnabled { group }.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn message(json: &str) -> Vec<u8> {
        let quoted = serde_json::to_string(json).unwrap();
        format!("{{\"body\": {quoted}}}").into_bytes()
    }

    fn beat(active: u64, processed: u64) -> Vec<u8> {
        message(&format!(
            "{{\"type\": \"worker-heartbeat\", \"hostname\": \"a\", \"timestamp\": 1, \"freq\": 2, \
             \"active\": {active}, \"processed\": {processed}}}"
        ))
    }

    fn task(kind: &str, uuid: &str, at: f64) -> Vec<u8> {
        message(&format!(
            "{{\"type\": \"task-{kind}\", \"hostname\": \"a\", \"timestamp\": {at}, \"uuid\": \
             \"{uuid}\", \"name\": \"app.add\"}}"
        ))
    }

    fn enabled(recorded: &testing::Capture, group: &str) -> Option<f64> {
        let enabled = recorded.metric("celery.events.enabled");
        enabled.label("celery.event.group", group).value()
    }

    #[test]
    fn a_gap_is_counted_told_and_what_ran_in_it_is_not_known() {
        let recorded = testing::capture();
        let mut heard = Heard::new(&CeleryConfig::default());
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        heard.connected(start);
        heard.message(start, &beat(1, 0));
        heard.message(start, &task("started", "x", 1.0));
        heard.round(later(1), false);
        heard.publish(later(1));
        recorded.metric("celery.task.active").assert_value(1.0);
        heard.lost(later(2), "cut".to_owned());
        heard.lost(later(3), "still cut".to_owned());
        heard.publish(later(3));
        for gone in ["celery.task.active", "celery.worker.up", "celery.workers"] {
            assert_eq!(recorded.metric(gone).value(), None, "{gone}");
        }
        recorded.metric("celery.events.connected").assert_value(0.0);
        heard.connected(later(60));
        heard.round(later(61), false);
        heard.message(later(62), &beat(0, 1));
        heard.publish(later(62));
        recorded.metric("celery.worker.up").assert_value(1.0);
        assert_eq!(recorded.metric("celery.task.active").value(), None);
        recorded.signal("celery.gap").assert_count(1);
        recorded.metric("celery.events.gap.time").assert_value(58.0);
        let lost = "events of Celery cannot be heard: what is sent meanwhile is lost";
        recorded.log(lost).field("reason", "cut").assert_count(1);
        recorded
            .log("events of Celery are heard again")
            .assert_count(1);
    }

    #[test]
    fn that_events_are_off_is_found_out() {
        let recorded = testing::capture();
        let mut heard = Heard::new(&CeleryConfig::default());
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        heard.connected(start);
        heard.round(later(1), true);
        heard.publish(later(1));
        for group in ["worker", "task", "sent"] {
            assert_eq!(enabled(&recorded, group), None, "{group}");
        }
        assert_eq!(
            recorded.metric("celery.workers").value(),
            None,
            "it is early"
        );
        heard.round(later(11), false);
        heard.publish(later(11));
        recorded.metric("celery.workers").assert_value(0.0);
        for seconds in [12, 13] {
            heard.round(later(seconds), true);
        }
        heard.publish(later(13));
        assert_eq!(enabled(&recorded, "worker"), Some(0.0));
        assert!(
            heard
                .silent_workers()
                .unwrap()
                .contains("--without-heartbeat")
        );
        assert_eq!(
            recorded.metric("celery.workers").value(),
            None,
            "somebody works"
        );

        for processed in [0, 1, 1, 1] {
            heard.message(later(14), &beat(0, processed));
        }
        heard.publish(later(14));
        assert_eq!(enabled(&recorded, "worker"), Some(1.0));
        assert_eq!(enabled(&recorded, "task"), Some(0.0));
        assert!(
            heard
                .mute_workers()
                .unwrap()
                .contains("control enable_events")
        );
        assert_eq!(heard.silent_workers(), None);
        for uuid in 0..UNSENT {
            heard.message(later(15), &task("received", &uuid.to_string(), 1.0));
        }
        heard.publish(later(15));
        assert_eq!(enabled(&recorded, "task"), Some(1.0));
        assert_eq!(enabled(&recorded, "sent"), Some(0.0));
        heard.message(later(15), &task("sent", "y", 1.0));
        heard.publish(later(15));
        assert_eq!(enabled(&recorded, "sent"), Some(1.0));
    }

    #[test]
    fn what_cannot_be_used_is_counted_and_told_once() {
        let recorded = testing::capture();
        let mut heard = Heard::new(&CeleryConfig::default());
        let now = Instant::now();
        for _ in 0..3 {
            heard.message(now, b"{");
        }
        heard.message(now, &task("sent", "x", 1.0));
        heard.message(now, &task("sent", "x", 1.0));
        let unused = recorded.signal("celery.event.unused");
        unused.assert_count(4);
        recorded
            .log("an event of Celery is not used")
            .assert_count(2);
        recorded.signal("celery.task").assert_count(1);
    }
}
