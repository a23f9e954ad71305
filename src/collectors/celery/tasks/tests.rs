use proptest::prelude::*;

use super::*;
use crate::testing::{self, Capture};

const TASK: u128 = 7;

/// An event of a task, told apart from all others.
fn event(kind: EventType, host: &str, at: f64) -> Event {
    Event {
        task: TASK,
        fingerprint: fastrand::u64(1..),
        ..Event::of(kind, host.to_owned(), at)
    }
}

fn sent(at: f64, retries: u32) -> Event {
    Event {
        name: Some("app.add".to_owned()),
        queue: Some("mail".to_owned()),
        retries: Some(retries),
        ..event(EventType::TaskSent, "client", at)
    }
}

fn received(at: f64, retries: u32) -> Event {
    Event {
        name: Some("app.add".to_owned()),
        retries: Some(retries),
        ..event(EventType::TaskReceived, "a", at)
    }
}

fn on(worker: &str, kind: EventType, at: f64) -> Event {
    event(kind, worker, at)
}

fn tasks() -> (Tasks, Instant) {
    (Tasks::new(100, Duration::from_secs(3600)), Instant::now())
}

fn hear(tasks: &mut Tasks, now: Instant, events: &[Event]) {
    for event in events {
        assert_eq!(tasks.hear(now, event), Ok(()), "{event:?}");
    }
}

fn ends(recorded: &Capture, status: &str) -> u64 {
    let ends = recorded.signal("celery.task.end");
    let ends = ends.label("celery.task.name", "app.add");
    ends.label("celery.task.state", status).count()
}

fn forgotten_of(recorded: &Capture, reason: &str) -> u64 {
    let forgotten = recorded.signal("celery.task.forgotten");
    forgotten.label("celery.forgotten.reason", reason).count()
}

#[test]
fn events_without_a_name_are_of_the_task_that_was_named_before() {
    let recorded = testing::capture();
    let (mut tasks, now) = tasks();
    hear(
        &mut tasks,
        now,
        &[
            sent(10.0, 0),
            received(12.0, 0),
            on("a", EventType::TaskStarted, 13.0),
        ],
    );
    assert_eq!(tasks.active(), BTreeMap::from([("app.add", 1)]));
    let succeeded = Event {
        runtime: Some(4.5),
        ..on("a", EventType::TaskSucceeded, 18.0)
    };
    hear(&mut tasks, now, &[succeeded]);
    assert_eq!(tasks.active(), BTreeMap::new());
    assert_eq!(ends(&recorded, "succeeded"), 1);
    let wait = recorded.metric("celery.task.wait");
    let wait = wait.label("celery.queue.name", "mail");
    wait.label("celery.wait.since", "sent").assert_value(3.0);
    recorded
        .metric("celery.task.run.duration")
        .assert_value(4.5);
    for state in ["sent", "received", "started"] {
        let counted = recorded.signal("celery.task");
        let counted = counted.label("celery.task.name", "app.add");
        counted.label("celery.task.state", state).assert_count(1);
    }
}

#[test]
fn an_end_is_counted_once_for_each_attempt_in_whatever_order_they_come() {
    let recorded = testing::capture();
    let (mut tasks, now) = tasks();
    let failed = Event {
        exception: Some("ValueError".to_owned()),
        ..on("a", EventType::TaskRetried, 20.0)
    };
    // The worker takes the second attempt before it tells that the first is to be tried again.
    hear(
        &mut tasks,
        now,
        &[
            received(10.0, 0),
            on("a", EventType::TaskStarted, 11.0),
            sent(19.0, 1),
            received(19.5, 1),
            failed.clone(),
            on("b", EventType::TaskStarted, 21.0),
            on("b", EventType::TaskSucceeded, 22.0),
        ],
    );
    assert_eq!(
        (ends(&recorded, "retried"), ends(&recorded, "succeeded")),
        (1, 1)
    );
    let retries = recorded.signal("celery.task.retry");
    retries.label("error.type", "ValueError").assert_count(1);
    // 9 s of the first, by the worker's clock, and 1 s of the second.
    recorded
        .metric("celery.task.run.duration")
        .assert_value(10.0);
    assert_eq!(tasks.hear(now, &failed), Err(Problem::Duplicate));
    let again = on("b", EventType::TaskSucceeded, 22.5);
    assert_eq!(tasks.hear(now, &again), Err(Problem::Duplicate));
    assert_eq!(ends(&recorded, "succeeded"), 1);
}

#[test]
fn a_task_that_is_delivered_again_ends_again() {
    let recorded = testing::capture();
    let (mut tasks, now) = tasks();
    for (worker, at) in [("a", 10.0), ("b", 20.0)] {
        hear(
            &mut tasks,
            now,
            &[
                received(at, 0),
                on(worker, EventType::TaskStarted, at + 1.0),
                on(worker, EventType::TaskSucceeded, at + 2.0),
            ],
        );
    }
    assert_eq!(ends(&recorded, "succeeded"), 2);
    // Revoked before a worker received it: nothing but that it was sent is known.
    let other = |event| Event { task: 8, ..event };
    hear(
        &mut tasks,
        now,
        &[
            other(sent(1.0, 0)),
            other(on("a", EventType::TaskRevoked, 2.0)),
        ],
    );
    assert_eq!(ends(&recorded, "revoked"), 1);
    let failed = other(on("a", EventType::TaskFailed, 2.1));
    assert_eq!(tasks.hear(now, &failed), Err(Problem::Duplicate));
}

#[test]
fn a_start_that_comes_after_its_end_does_not_run_for_ever() {
    let (mut tasks, now) = tasks();
    hear(
        &mut tasks,
        now,
        &[
            on("a", EventType::TaskFailed, 12.0),
            on("a", EventType::TaskStarted, 11.0),
        ],
    );
    assert_eq!(tasks.active(), BTreeMap::new());
}

#[test]
fn a_wait_is_explained_by_who_sent_the_task_even_if_that_comes_late() {
    let recorded = testing::capture();
    let (mut tasks, now) = tasks();
    let started = on("a", EventType::TaskStarted, 13.0);
    hear(
        &mut tasks,
        now,
        &[received(12.0, 0), started, sent(10.0, 0)],
    );
    let waits = |since: &str| {
        let waits = recorded.metric("celery.task.wait");
        waits.label("celery.wait.since", since).value()
    };
    assert_eq!((waits("sent"), waits("received")), (None, None));
    tasks.tick(now + SENT_LATE / 2);
    assert_eq!(waits("sent"), None, "somebody may still say it");
    tasks.tick(now + SENT_LATE);
    assert_eq!((waits("sent"), waits("received")), (Some(3.0), None));

    // Nobody says when this one was sent; it was asked to wait until 20.
    let other = |event| Event { task: 8, ..event };
    let received = Event {
        due: Some(20.0),
        ..other(received(12.0, 0))
    };
    let started = other(on("a", EventType::TaskStarted, 20.5));
    hear(&mut tasks, now, &[received, started]);
    tasks.tick(now + SENT_LATE);
    assert_eq!((waits("sent"), waits("received")), (Some(3.0), Some(0.5)));

    // One whose sender's clock is ahead by a minute, and one that is by half a second.
    for (task, at, problems) in [(9, 60.0, 1), (10, 0.5, 1)] {
        let other = |event| Event { task, ..event };
        let started = other(on("a", EventType::TaskStarted, 0.0));
        hear(&mut tasks, now, &[other(sent(at, 0)), started]);
        let unused = recorded.signal("celery.event.unused");
        let unused = unused.label("celery.event.problem", "clock_skew");
        unused.assert_count(problems);
    }
    assert_eq!(
        waits("sent"),
        Some(3.0),
        "half a second is none, not less than none"
    );
}

#[test]
fn what_ran_when_listening_broke_off_runs_as_long_as_its_worker_says() {
    let recorded = testing::capture();
    let (mut tasks, now) = tasks();
    for task in 1..=3 {
        let started = on("a", EventType::TaskStarted, 10.0 + task as f64);
        hear(&mut tasks, now, &[Event { task, ..started }]);
    }
    let running = |tasks: &Tasks| tasks.active().values().sum::<u64>();
    tasks.heartbeat("a", 0);
    assert_eq!(running(&tasks), 3, "its events tell");
    tasks.gap();
    tasks.heartbeat("b", 0);
    assert_eq!(running(&tasks), 3, "another worker");
    let started = on("a", EventType::TaskStarted, 20.0);
    hear(&mut tasks, now, &[Event { task: 4, ..started }]);
    tasks.heartbeat("a", 2);
    assert_eq!(running(&tasks), 2);
    assert_eq!(forgotten_of(&recorded, "missed"), 2);
    // The one that started last is one of those that are left.
    let ended = on("a", EventType::TaskFailed, 30.0);
    hear(&mut tasks, now, &[Event { task: 3, ..ended }]);
    assert_eq!(running(&tasks), 1);
    tasks.worker_gone("a");
    assert_eq!(
        (running(&tasks), forgotten_of(&recorded, "worker_gone")),
        (0, 1)
    );
}

#[test]
fn an_end_after_a_gap_is_counted_although_its_beginning_was_missed() {
    let recorded = testing::capture();
    let (mut tasks, now) = tasks();
    let end = |at| on("a", EventType::TaskSucceeded, at);
    hear(&mut tasks, now, &[received(10.0, 0), end(11.0)]);
    tasks.gap();
    hear(&mut tasks, now, &[end(30.0)]);
    assert_eq!(tasks.hear(now, &end(31.0)), Err(Problem::Duplicate));
    assert_eq!(ends(&recorded, "succeeded"), 2);
}

#[test]
fn no_more_are_followed_than_may_be_and_none_for_ever() {
    let recorded = testing::capture();
    let (mut tasks, now) = tasks();
    for task in 0..50 {
        hear(
            &mut tasks,
            now,
            &[Event {
                task,
                ..received(1.0, 0)
            }],
        );
    }
    for task in 1000..1120 {
        let (started, ended) = (EventType::TaskStarted, EventType::TaskSucceeded);
        for kind in [started, ended] {
            let event = on("a", kind, if kind == ended { 2.0 } else { 1.0 });
            hear(&mut tasks, now, &[Event { task, ..event }]);
        }
    }
    assert_eq!(tasks.len(), 100);
    assert_eq!(
        forgotten_of(&recorded, "full"),
        0,
        "those that ended make room"
    );
    for task in 2000..2080 {
        hear(
            &mut tasks,
            now,
            &[Event {
                task,
                ..received(1.0, 0)
            }],
        );
    }
    assert_eq!((tasks.len(), forgotten_of(&recorded, "full")), (100, 30));
    tasks.tick(now + Duration::from_secs(3599));
    assert_eq!(tasks.len(), 100);
    tasks.tick(now + Duration::from_secs(3600));
    assert_eq!((tasks.len(), forgotten_of(&recorded, "expired")), (0, 100));
}

const KINDS: [EventType; 9] = [
    EventType::TaskSent,
    EventType::TaskReceived,
    EventType::TaskStarted,
    EventType::TaskSucceeded,
    EventType::TaskFailed,
    EventType::TaskRejected,
    EventType::TaskRevoked,
    EventType::TaskRetried,
    EventType::TaskCancelled,
];

proptest! {
    /// Whatever comes, in whatever order: the lists stay whole and bounded, and nothing runs that
    /// ended.
    #[test]
    fn any_order_leaves_it_whole(
        steps in proptest::collection::vec((0_u128..150, 0_usize..12, 0_u8..3, 0.0..1e3), 0..400),
    ) {
        let (mut tasks, start) = tasks();
        let mut now = start;
        for (task, step, worker, at) in steps {
            let worker = ["a", "b", "c"][usize::from(worker)];
            match KINDS.get(step) {
                Some(kind) => {
                    let _ = tasks.hear(now, &Event { task, ..on(worker, *kind, at) });
                }
                None if step == 9 => tasks.gap(),
                None if step == 10 => tasks.heartbeat(worker, task as u64),
                None => {
                    now += Duration::from_secs(task as u64);
                    tasks.tick(now);
                }
            }
            prop_assert!(tasks.len() <= 100);
            prop_assert!(tasks.waits.len() <= 100);
        }
        for worker in ["a", "b", "c"] {
            tasks.worker_gone(worker);
        }
        prop_assert_eq!(tasks.active(), BTreeMap::new());
        tasks.tick(now + Duration::from_secs(4000));
        prop_assert_eq!(tasks.len(), 0);
    }
}
