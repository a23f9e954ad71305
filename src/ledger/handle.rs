//! The handle, by which records come to the writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, TryAcquireError, mpsc, oneshot, watch};
use tokio::time::timeout;
use uuid::Uuid;

use super::read::{Pool, Reader};
use super::store::Database;
use super::writer::{Answer, Message, Removal, RemovalMessage, Shared, Submission, Writer};
use super::{Disposition, LedgerConfig, OpenError, Record, SubmitError};
use crate::signals::pipeline::{Queue, QueueLength, QueueSaturation};

/// The queue's bound is counted in units of this many bytes, so that it fits a semaphore.
const UNIT: usize = 1024;

/// Whether the ledger takes records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerState {
    /// The last commit or probe succeeded.
    Ready,
    /// The last commit or probe failed; it is being tried again.
    Away {
        /// What the database said.
        reason: Arc<str>,
    },
    /// Shut down.
    Closed,
}

/// What a readiness check needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerHealth {
    /// Whether records are taken.
    pub state: LedgerState,
    /// When records were last committed; `None` before the first time in this process.
    pub last_commit: Option<SystemTime>,
    /// Records that wait for the writer or are being written.
    pub queued_records: usize,
    /// Memory they hold, in bytes.
    pub queued_bytes: usize,
    /// Memory they may hold, in bytes.
    pub queue_capacity_bytes: usize,
}

/// A handle on the ledger; clones share the writer. The writer ends, after everything that
/// was submitted, when the last handle is gone or at [`shutdown`](Self::shutdown).
#[derive(Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
    pub(super) reader: Reader,
    queue: mpsc::UnboundedSender<Message>,
    done: watch::Receiver<bool>,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger")
            .field("health", &self.health())
            .finish_non_exhaustive()
    }
}

/// The writer did not finish in time; what was not answered may or may not be committed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ledger did not finish within {deadline:?}; {waiting} records were waiting")]
pub struct ShutdownTimeout {
    /// How long was waited.
    pub deadline: Duration,
    /// Records without an answer.
    pub waiting: usize,
}

/// The answer to come for one submission. Dropping it changes nothing about the records.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<Answer>);

impl Receipt {
    /// Waits for the commit; one disposition per record, in the order submitted.
    ///
    /// # Errors
    /// [`SubmitError::Away`] or [`SubmitError::Closed`]: none of the records was committed.
    pub async fn committed(self) -> Result<Vec<Disposition>, SubmitError> {
        self.0.await.unwrap_or(Err(SubmitError::Closed))
    }
}

impl Ledger {
    /// Opens the database, creating or migrating it, and starts the writer.
    ///
    /// A database that is locked or full now does not fail the start: the ledger comes up
    /// [`LedgerState::Away`] and is tried again.
    ///
    /// # Errors
    /// When waiting would not help: a bad URL, a file that cannot be opened or written, that
    /// is not a ledger, or that a newer version has written.
    pub async fn open(config: LedgerConfig) -> Result<Self, OpenError> {
        let database = Database::prepare(&config)?;
        let reader = Reader::start(&database, config.query_timeout).map_err(OpenError::Thread)?;
        let units = (config.queue_bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS);
        let units = units.min(u32::MAX as usize);
        let shared = Arc::new(Shared {
            state: Mutex::new(LedgerState::Ready),
            last_commit: Mutex::new(None),
            queued_records: AtomicUsize::new(0),
            room: Arc::new(Semaphore::new(units)),
            units,
            database,
        });
        let (queue, waiting) = mpsc::unbounded_channel();
        let (finished, done) = watch::channel(false);
        let (opened, first) = oneshot::channel();
        let writer = Writer::new(Arc::clone(&shared), &config);
        // A thread and a runtime of its own: it must outlive the runtimes of its callers, and
        // a busy one must not hold commits up.
        thread::Builder::new()
            .name("tachograph-ledger".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                match runtime {
                    Ok(runtime) => runtime.block_on(writer.run(waiting, opened)),
                    Err(error) => drop(opened.send(Err(OpenError::Thread(error)))),
                }
                finished.send_replace(true);
            })
            .map_err(OpenError::Thread)?;
        match first.await {
            Ok(Ok(())) => Ok(Self {
                shared,
                reader,
                queue,
                done,
            }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(OpenError::Thread(std::io::Error::other(
                "the thread ended while opening",
            ))),
        }
    }

    /// Queues records for the next commit. `counted` is called once, by the writer, after
    /// they are committed and before the receipt says so; never when they are not.
    ///
    /// # Errors
    /// At once and without effect: [`SubmitError::Full`], [`SubmitError::Away`],
    /// [`SubmitError::Closed`].
    pub fn submit(
        &self,
        records: Vec<Record>,
        counted: impl FnOnce(&[Disposition]) + Send + 'static,
    ) -> Result<Receipt, SubmitError> {
        if let LedgerState::Away { reason } = &*self.shared.state.lock() {
            return Err(SubmitError::Away(Arc::clone(reason)));
        }
        let size: usize = records.iter().map(Record::size).sum();
        // One submission larger than the whole queue goes in when the queue is empty.
        let units = size.div_ceil(UNIT).clamp(1, self.shared.units);
        let permit = Arc::clone(&self.shared.room)
            .try_acquire_many_owned(u32::try_from(units).unwrap_or(u32::MAX))
            .map_err(|error| match error {
                TryAcquireError::NoPermits => SubmitError::Full,
                TryAcquireError::Closed => SubmitError::Closed,
            })?;
        let count = records.len();
        let (answer, receipt) = oneshot::channel();
        self.shared
            .queued_records
            .fetch_add(count, Ordering::Relaxed);
        let submission = Message::Submission(Submission {
            count,
            records,
            counted: Box::new(counted),
            answer,
            _permit: permit,
        });
        if self.queue.send(submission).is_err() {
            self.shared
                .queued_records
                .fetch_sub(count, Ordering::Relaxed);
            return Err(SubmitError::Closed);
        }
        Ok(Receipt(receipt))
    }

    /// Removes open operations of which there will be no record; how many there were.
    ///
    /// # Errors
    /// [`SubmitError`]: none was removed.
    pub async fn dismiss(&self, ids: Vec<Uuid>) -> Result<u64, SubmitError> {
        self.remove(Removal::Operations(ids)).await
    }

    /// Has the writer remove something; how many rows there were.
    pub(super) async fn remove(&self, what: Removal) -> Result<u64, SubmitError> {
        let (answer, removed) = oneshot::channel();
        let message = Message::Removal(RemovalMessage { what, answer });
        self.queue.send(message).map_err(|_| SubmitError::Closed)?;
        removed.await.unwrap_or(Err(SubmitError::Closed))
    }

    /// The state as the writer last saw it; costs two locks and no I/O. The writer probes an
    /// idle database, so the answer is never older than a few seconds.
    #[must_use]
    pub fn health(&self) -> LedgerHealth {
        let shared = &self.shared;
        let used = shared.units.saturating_sub(shared.room.available_permits());
        LedgerHealth {
            state: shared.state.lock().clone(),
            last_commit: *shared.last_commit.lock(),
            queued_records: shared.queued_records.load(Ordering::Relaxed),
            queued_bytes: used * UNIT,
            queue_capacity_bytes: shared.units * UNIT,
        }
    }

    /// Sets the queue's gauges; to be called before each collection.
    pub fn report(&self) {
        let health = self.health();
        let queue = Queue::Records;
        QueueLength { queue }.set(health.queued_records as f64);
        QueueSaturation { queue }
            .set(health.queued_bytes as f64 / health.queue_capacity_bytes as f64);
    }

    /// The connections that queries have.
    pub(crate) fn pool(&self) -> &Pool {
        self.reader.pool()
    }

    /// Whose the open operations are that this process counts in flight.
    pub(super) fn owner(&self) -> &str {
        self.shared.database.owner()
    }

    /// Takes no more records, commits those that wait, closes the database. May be called
    /// again, from any handle.
    ///
    /// # Errors
    /// [`ShutdownTimeout`] when the writer is not done by the deadline.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), ShutdownTimeout> {
        let end = Instant::now() + deadline;
        self.shared.room.close();
        // Only the last connection to a SQLite file takes its log away, and readers may not.
        let _ = timeout(deadline / 2, self.reader.close()).await;
        // Fails only if the writer has ended already.
        let _ = self.queue.send(Message::Stop);
        let mut done = self.done.clone();
        let left = end.saturating_duration_since(Instant::now());
        match timeout(left, done.wait_for(|done| *done)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(ShutdownTimeout {
                deadline,
                waiting: self.shared.queued_records.load(Ordering::Relaxed),
            }),
        }
    }
}
