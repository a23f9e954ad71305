//! Celery on Redis, as its events and its broker tell: tasks, workers, queues, and whether the
//! events are heard. Celery 5 documentation, "Monitoring and Management Guide", "Event Reference";
//! kombu's Redis transport.
//!
//! Tasks of Celery run in other processes and have no spans here.

mod listening;
mod queue;
mod task;
mod worker;

pub use listening::{
    CeleryEvent, CeleryEventGroup, CeleryEventProblem, CeleryEventType, CeleryEventUnused,
    CeleryEventsEnabled, CeleryGap, CeleryGapTime, CeleryListening,
};
pub use queue::{
    CeleryQueueLength, CeleryQueuePriorityLength, CeleryUnacknowledged, CeleryUnacknowledgedOldest,
};
pub use task::{
    CeleryForgotten, CeleryTask, CeleryTaskDuration, CeleryTaskEnd, CeleryTaskFailure,
    CeleryTaskForgotten, CeleryTaskRetry, CeleryTaskState, CeleryTaskStatus, CeleryTaskWait,
    CeleryTasksActive, CeleryWaitSince,
};
pub use worker::{
    CeleryWorkerActive, CeleryWorkerConcurrency, CeleryWorkerProcessed, CeleryWorkerState,
    CeleryWorkerUp, CeleryWorkers,
};
