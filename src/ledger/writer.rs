//! What comes through the queue, and the one thread that writes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use uuid::Uuid;

use super::store::{CommitError, Committed, ConnectError, Database, Doubt, Store, now_us};
use super::{Disposition, LedgerConfig, LedgerState, OpenError, Record, Retention, SubmitError};
use crate::signals::event::outbox::{OutboxEvents, OutboxOutcome};
use crate::signals::pipeline::{LedgerCommit, LedgerCommitEnd, Outcome};

pub(super) type Counted = Box<dyn FnOnce(&[Disposition]) + Send>;
pub(super) type Answer = Result<Vec<Disposition>, SubmitError>;

pub(super) struct Submission {
    pub(super) count: usize,
    /// Taken by the transaction.
    pub(super) records: Vec<Record>,
    pub(super) counted: Counted,
    pub(super) answer: oneshot::Sender<Answer>,
    /// Its room in the queue, given back when it is answered.
    pub(super) _permit: OwnedSemaphorePermit,
}

/// What is to be removed.
pub(super) enum Removal {
    /// Open operations of which there will be no record.
    Operations(Vec<Uuid>),
    /// What was published, by its place in the outbox.
    Published(Vec<i64>),
}

/// A removal, and who waits for it.
pub(super) struct RemovalMessage {
    pub(super) what: Removal,
    pub(super) answer: oneshot::Sender<Result<u64, SubmitError>>,
}

pub(super) enum Message {
    Submission(Submission),
    Removal(RemovalMessage),
    Stop,
}

pub(super) struct Shared {
    pub(super) state: Mutex<LedgerState>,
    pub(super) last_commit: Mutex<Option<SystemTime>>,
    pub(super) queued_records: AtomicUsize,
    pub(super) room: Arc<Semaphore>,
    pub(super) units: usize,
    pub(super) database: Database,
}

/// How often the writer looks after what is open and what is too old.
const UPKEEP: Duration = Duration::from_secs(10);

pub(super) struct Writer {
    shared: Arc<Shared>,
    store: Option<Store>,
    group_records: usize,
    retry_interval: Duration,
    retention: Retention,
    /// What was answered as away and may have happened all the same: it is counted if so.
    doubtful: Vec<Doubtful>,
    /// When upkeep was last done.
    kept_up: Option<Instant>,
    /// Whether the log has a line on the outbox dropping records.
    dropping: bool,
}

/// What is to be counted if a transaction turns out to have happened.
struct Doubtful {
    doubt: Doubt,
    counted: Vec<(Counted, usize)>,
}

/// Why a group is not known to be committed.
struct Fault {
    reason: String,
    doubt: Option<Doubt>,
}

impl Fault {
    fn of(reason: String) -> Self {
        Self {
            reason,
            doubt: None,
        }
    }
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, config: &LedgerConfig) -> Self {
        Self {
            shared,
            store: None,
            group_records: config.group_records.max(1),
            retry_interval: config.retry_interval.max(Duration::from_millis(1)),
            retention: config.retention,
            doubtful: Vec::new(),
            kept_up: None,
            dropping: false,
        }
    }

    pub(super) async fn run(
        mut self,
        mut queue: mpsc::UnboundedReceiver<Message>,
        opened: oneshot::Sender<Result<(), OpenError>>,
    ) {
        match self.shared.database.connect().await {
            Ok(store) => self.store = Some(store),
            Err(ConnectError::Away(error)) => self.away(&error.0),
            Err(ConnectError::Refused(error)) => {
                let _ = opened.send(Err(error));
                return;
            }
        }
        if opened.send(Ok(())).is_ok() {
            self.serve(&mut queue).await;
        }
        // Nothing is taken from here on; whoever slipped in is answered by the closed channel.
        *self.shared.state.lock() = LedgerState::Closed;
        self.shared.room.close();
        queue.close();
        if let Some(store) = self.store.take() {
            store.close().await;
        }
    }

    async fn serve(&mut self, queue: &mut mpsc::UnboundedReceiver<Message>) {
        let mut group = Vec::new();
        loop {
            let idle = if self.is_away() {
                self.retry_interval
            } else {
                self.retry_interval * 10
            };
            let mut stop = false;
            match timeout(idle, queue.recv()).await {
                Err(_) => {
                    self.probe().await;
                    self.upkeep().await;
                    continue;
                }
                Ok(None | Some(Message::Stop)) => stop = true,
                Ok(Some(Message::Submission(submission))) => group.push(submission),
                Ok(Some(Message::Removal(removal))) => {
                    self.remove(removal).await;
                    continue;
                }
            }
            let mut waiting: usize = group.iter().map(|s| s.count).sum();
            while stop || waiting < self.group_records {
                match queue.try_recv() {
                    Ok(Message::Submission(submission)) => {
                        waiting += submission.count;
                        group.push(submission);
                    }
                    Ok(Message::Removal(removal)) => self.remove(removal).await,
                    Ok(Message::Stop) => stop = true,
                    Err(_) => break,
                }
            }
            if !group.is_empty() {
                self.commit(&mut group, queue).await;
                self.upkeep().await;
            }
            if stop {
                return;
            }
        }
    }

    /// One transaction for the group; on failure everything that waits is refused with it.
    async fn commit(
        &mut self,
        group: &mut Vec<Submission>,
        queue: &mut mpsc::UnboundedReceiver<Message>,
    ) {
        let start = Instant::now();
        let count: usize = group.iter().map(|submission| submission.count).sum();
        let mut result = self.transaction(group).await;
        if let Err(Fault {
            reason,
            doubt: Some(doubt),
        }) = result
        {
            result = self.settle(doubt, reason, group).await;
        }
        let end = LedgerCommitEnd {
            outcome: match result {
                Ok(_) => Outcome::Success,
                Err(_) => Outcome::Failed,
            },
            records: Some(count as f64),
        };
        LedgerCommit {}.record(end, start.elapsed());
        match result {
            Ok(committed) => {
                self.outbox(committed.dropped);
                let dispositions = committed.dispositions;
                *self.shared.last_commit.lock() = Some(SystemTime::now());
                self.ready();
                let mut rest = dispositions.as_slice();
                for submission in group.drain(..) {
                    let (own, tail) = rest.split_at(submission.count);
                    rest = tail;
                    self.answer(submission, own);
                }
            }
            Err(Fault { reason, .. }) => {
                if let Some(store) = self.store.take() {
                    store.close().await;
                }
                self.away(&reason);
                let reason = Arc::<str>::from(reason);
                for submission in group.drain(..) {
                    self.refuse(submission, &reason);
                }
                // They would each wait for the same lock or disk.
                let mut stop = false;
                while let Ok(message) = queue.try_recv() {
                    match message {
                        Message::Submission(submission) => self.refuse(submission, &reason),
                        Message::Removal(removal) => {
                            let away = SubmitError::Away(Arc::clone(&reason));
                            let _ = removal.answer.send(Err(away));
                        }
                        Message::Stop => stop = true,
                    }
                }
                if stop {
                    queue.close();
                }
            }
        }
    }

    async fn transaction(&mut self, group: &mut [Submission]) -> Result<Committed, Fault> {
        let shared = Arc::clone(&self.shared);
        // First: what it does not take is still with the submissions.
        let store = self.store().await.map_err(Fault::of)?;
        let mut records: Vec<Record> = group
            .iter_mut()
            .flat_map(|submission| std::mem::take(&mut submission.records))
            .collect();
        let committed = store.commit(&shared.database, &mut records).await;
        committed.map_err(|error| match error {
            CommitError::Failed(error) => Fault::of(error.0),
            CommitError::Doubt(doubt, error) => Fault {
                reason: error.0,
                doubt: Some(doubt),
            },
        })
    }

    /// The connection was lost during a commit: asks on another one what became of it. When
    /// there is none now, the submitters are told that the ledger is away, and what is to be
    /// counted waits for the answer.
    async fn settle(
        &mut self,
        doubt: Doubt,
        reason: String,
        group: &mut Vec<Submission>,
    ) -> Result<Committed, Fault> {
        if let Some(store) = self.store.take() {
            store.close().await;
        }
        let shared = Arc::clone(&self.shared);
        let happened = match self.store().await {
            Ok(store) => store.happened(&shared.database, &doubt).await,
            Err(reason) => Err(super::store::StoreError(reason)),
        };
        match happened {
            Ok(true) => return Ok(doubt.committed),
            Ok(false) => return Err(Fault::of(reason)),
            Err(_) => {}
        }
        let told = Arc::<str>::from(reason.as_str());
        let mut counted = Vec::new();
        for submission in group.drain(..) {
            self.shared
                .queued_records
                .fetch_sub(submission.count, Ordering::Relaxed);
            counted.push((submission.counted, submission.count));
            let answer = Err(SubmitError::Away(Arc::clone(&told)));
            let _ = submission.answer.send(answer);
        }
        self.doubtful.push(Doubtful { doubt, counted });
        Err(Fault::of(reason))
    }

    async fn store(&mut self) -> Result<&mut Store, String> {
        let store = match self.store.take() {
            Some(store) => store,
            None => match self.shared.database.connect().await {
                Ok(store) => self.decide(store).await?,
                Err(ConnectError::Away(error)) => return Err(error.0),
                Err(ConnectError::Refused(error)) => return Err(error.to_string()),
            },
        };
        Ok(self.store.insert(store))
    }

    /// Counts what was in doubt and has happened.
    async fn decide(&mut self, mut store: Store) -> Result<Store, String> {
        while let Some(doubtful) = self.doubtful.last() {
            match store.happened(&self.shared.database, &doubtful.doubt).await {
                Ok(happened) => {
                    let Some(doubtful) = self.doubtful.pop() else {
                        break;
                    };
                    if !happened {
                        continue;
                    }
                    self.outbox(doubtful.doubt.committed.dropped);
                    let mut rest = doubtful.doubt.committed.dispositions.as_slice();
                    for (counted, count) in doubtful.counted {
                        let (own, tail) = rest.split_at(count.min(rest.len()));
                        rest = tail;
                        count_all(counted, own);
                    }
                }
                Err(error) => {
                    store.close().await;
                    return Err(error.0);
                }
            }
        }
        Ok(store)
    }

    /// Looks after what is open and what is too old, a little at a time.
    async fn upkeep(&mut self) {
        if self.kept_up.is_some_and(|last| last.elapsed() < UPKEEP) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let Some(store) = &mut self.store else { return };
        match store
            .upkeep(&shared.database, self.retention, now_us())
            .await
        {
            // There is more to do: after what waits.
            Ok(true) => {}
            Ok(false) => self.kept_up = Some(Instant::now()),
            Err(error) => {
                tracing::warn!(reason = error.0, "upkeep of the ledger failed");
                self.kept_up = Some(Instant::now());
                // What state the connection is in depends on what failed.
                if let Some(store) = self.store.take() {
                    store.close().await;
                }
            }
        }
    }

    async fn remove(&mut self, RemovalMessage { what, answer }: RemovalMessage) {
        let shared = Arc::clone(&self.shared);
        let removed = match (self.store().await, &what) {
            (Ok(store), Removal::Operations(ids)) => store.dismiss(ids).await,
            (Ok(store), Removal::Published(seqs)) => store.published(&shared.database, seqs).await,
            (Err(reason), _) => Err(super::store::StoreError(reason)),
        };
        let removed = removed.map_err(|error| error.0);
        if removed.is_err()
            && let Some(store) = self.store.take()
        {
            store.close().await;
        }
        let _ = answer.send(removed.map_err(|reason| SubmitError::Away(reason.into())));
    }

    async fn probe(&mut self) {
        let shared = Arc::clone(&self.shared);
        let result = match self.store().await {
            Ok(store) => store.probe(&shared.database).await.map_err(|error| error.0),
            Err(reason) => Err(reason),
        };
        match result {
            Ok(()) => self.ready(),
            Err(reason) => {
                if let Some(store) = self.store.take() {
                    store.close().await;
                }
                self.away(&reason);
            }
        }
    }

    /// Counts what the outbox has dropped; one line when it begins, one when it ends.
    fn outbox(&mut self, dropped: u64) {
        if dropped > 0 {
            let outcome = OutboxOutcome::Dropped;
            OutboxEvents { outcome }.add(dropped);
        }
        match (self.dropping, dropped > 0) {
            (false, true) => {
                tracing::error!(
                    dropped,
                    "the outbox is full: its oldest records are dropped"
                );
            }
            (true, false) => tracing::info!("the outbox has room again"),
            _ => {}
        }
        self.dropping = dropped > 0;
    }

    fn answer(&self, submission: Submission, dispositions: &[Disposition]) {
        let count = submission.count;
        count_all(submission.counted, dispositions);
        self.shared
            .queued_records
            .fetch_sub(count, Ordering::Relaxed);
        // The submitter may have gone away; the records are durable all the same.
        let _ = submission.answer.send(Ok(dispositions.to_vec()));
    }

    fn refuse(&self, submission: Submission, reason: &Arc<str>) {
        self.shared
            .queued_records
            .fetch_sub(submission.count, Ordering::Relaxed);
        let _ = submission
            .answer
            .send(Err(SubmitError::Away(Arc::clone(reason))));
    }

    fn is_away(&self) -> bool {
        matches!(*self.shared.state.lock(), LedgerState::Away { .. })
    }

    /// One line when it goes, one when it is back.
    fn away(&self, reason: &str) {
        let state = LedgerState::Away {
            reason: Arc::from(reason),
        };
        let before = std::mem::replace(&mut *self.shared.state.lock(), state);
        if !matches!(before, LedgerState::Away { .. }) {
            tracing::error!(reason, "the ledger is away, records are refused");
        }
    }

    fn ready(&self) {
        let before = std::mem::replace(&mut *self.shared.state.lock(), LedgerState::Ready);
        if matches!(before, LedgerState::Away { .. }) {
            tracing::info!("the ledger is back");
        }
    }
}

/// The records are committed whatever happens here; the writer has to go on.
fn count_all(counted: Counted, dispositions: &[Disposition]) {
    if catch_unwind(AssertUnwindSafe(|| counted(dispositions))).is_err() {
        tracing::error!(
            records = dispositions.len(),
            "counting committed records panicked"
        );
    }
}
