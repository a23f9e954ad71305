//! Runtimes of Tokio, from what they count themselves.
//!
//! Workers tell how long they were busy when they go to sleep: one that is blocked for minutes
//! shows as busy only once it is free again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_metrics::{RuntimeIntervals, RuntimeMetrics, RuntimeMonitor};

use super::{CollectError, Collector, Progress, Schedule};
use crate::pipeline::config::duration;
use crate::signals::runtime::*;

/// Reading counters takes microseconds.
const DEADLINE: Duration = Duration::from_secs(10);

/// Runtimes that are watched at most, of all names together.
const MOST: usize = 1024;

/// How the process's runtimes are doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct RuntimeConfig {
    /// Whether they are read.
    pub enabled: bool,
    /// Time between two readings, 1s to 1h.
    #[serde(with = "duration")]
    #[cfg_attr(
        feature = "service",
        schemars(with = "String", extend("format" = "duration"))
    )]
    pub interval: Duration,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: Duration::from_secs(15),
        }
    }
}

impl RuntimeConfig {
    /// What is not accepted: the field, and what would be.
    #[must_use]
    pub fn check(&self) -> Vec<(&'static str, String)> {
        super::check_interval(self.interval).into_iter().collect()
    }
}

/// Runtimes to be watched; cheap to clone, so that each part of a program can add its own.
#[derive(Clone, Debug, Default)]
pub struct Runtimes(Arc<Mutex<Vec<Watched>>>);

#[derive(Debug)]
struct Watched {
    name: String,
    intervals: RuntimeIntervals,
}

impl Runtimes {
    /// Watches a runtime under a name. Several under one name, such as the workers of an actix
    /// server, which have a runtime each, are added up. More than 1,024 are not watched, which
    /// is logged.
    pub fn watch(&self, name: &str, handle: &Handle) {
        let mut watched = self.0.lock();
        if watched.len() >= MOST {
            tracing::warn!(runtime = name, most = MOST, "a runtime is not watched");
            return;
        }
        watched.push(Watched {
            name: name.to_owned(),
            intervals: RuntimeMonitor::new(handle).intervals(),
        });
    }

    /// What each name's runtimes did since they were read last.
    fn read(&self) -> BTreeMap<String, Read> {
        let mut read: BTreeMap<String, Read> = BTreeMap::new();
        for Watched { name, intervals } in self.0.lock().iter_mut() {
            if let Some(metrics) = intervals.next() {
                read.entry(name.clone()).or_default().add(&metrics);
            }
        }
        read
    }
}

/// What the runtimes of a name did, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Read {
    workers: usize,
    tasks: usize,
    queue: usize,
    parks: u64,
    busy: Duration,
    /// Time of all workers.
    time: Duration,
    /// Share of the time in which the busiest worker ran tasks.
    busiest: f64,
}

impl Read {
    fn add(&mut self, of: &RuntimeMetrics) {
        self.workers += of.workers_count;
        self.tasks += of.live_tasks_count;
        self.queue += of.global_queue_depth;
        self.parks += of.total_park_count;
        self.busy += of.total_busy_duration;
        let workers = u32::try_from(of.workers_count).unwrap_or(u32::MAX);
        self.time += of.elapsed.saturating_mul(workers);
        let busiest = share(of.max_busy_duration, of.elapsed).unwrap_or(0.0);
        self.busiest = self.busiest.max(busiest);
    }

    fn publish(&self, runtime: &str) {
        RuntimeWorkers { runtime }.set(self.workers as f64);
        RuntimeTasks { runtime }.set(self.tasks as f64);
        RuntimeQueue { runtime }.set(self.queue as f64);
        RuntimeParks { runtime }.add(self.parks);
        RuntimeBusy { runtime }.add(self.busy.as_secs_f64());
        if let Some(utilization) = share(self.busy, self.time) {
            RuntimeUtilization { runtime }.set(utilization);
            RuntimeBusiest { runtime }.set(self.busiest);
        }
    }
}

/// Time that was told late belongs to earlier rounds, so that a share may come out above 1.
fn share(part: Duration, whole: Duration) -> Option<f64> {
    (!whole.is_zero()).then(|| part.div_duration_f64(whole).min(1.0))
}

/// The collector.
#[derive(Debug)]
pub struct Runtime {
    config: RuntimeConfig,
    runtimes: Runtimes,
    shown: Vec<String>,
}

impl Runtime {
    /// The collector of one runtime, under the name `main`, with the configuration's defaults.
    ///
    /// ```
    /// use tachograph::collectors::Supervised;
    /// use tachograph::collectors::runtime::Runtime;
    /// use tokio::runtime::Handle;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// // Keep it: dropped, the collector stops.
    /// let _collector = Supervised::start(Runtime::of(&Handle::current()))?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn of(handle: &Handle) -> Self {
        let runtimes = Runtimes::default();
        runtimes.watch("main", handle);
        Self {
            config: RuntimeConfig::default(),
            runtimes,
            shown: Vec::new(),
        }
    }

    /// The collector of these runtimes; `None`: it is switched off.
    ///
    /// # Errors
    /// As [`RuntimeConfig::check`]: the field, and what is accepted.
    pub fn new(config: &RuntimeConfig, runtimes: &Runtimes) -> Result<Option<Self>, String> {
        if let Some((field, problem)) = config.check().into_iter().next() {
            return Err(format!("{field}: {problem}"));
        }
        Ok(config.enabled.then(|| Self {
            config: config.clone(),
            runtimes: runtimes.clone(),
            shown: Vec::new(),
        }))
    }
}

impl Collector for Runtime {
    fn name(&self) -> &'static str {
        "runtime"
    }

    fn schedule(&self) -> Schedule {
        Schedule::every(self.config.interval, DEADLINE)
    }

    async fn collect(&mut self, _: Instant) -> Result<Progress, CollectError> {
        let read = self.runtimes.read();
        for (name, read) in &read {
            read.publish(name);
        }
        self.shown = read.into_keys().collect();
        if self.shown.is_empty() {
            return Ok(Progress::Absent("no runtime is watched".to_owned()));
        }
        Ok(Progress::Done)
    }

    fn unknown(&mut self) {
        for runtime in self.shown.drain(..) {
            let runtime = &*runtime;
            RuntimeWorkers { runtime }.remove();
            RuntimeTasks { runtime }.remove();
            RuntimeQueue { runtime }.remove();
            RuntimeUtilization { runtime }.remove();
            RuntimeBusiest { runtime }.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn runtimes_of_one_name_are_added_up_and_shares_stay_below_one() {
        let mut one = RuntimeMetrics::default();
        one.workers_count = 2;
        one.live_tasks_count = 5;
        one.global_queue_depth = 1;
        one.total_park_count = 7;
        one.elapsed = SECOND * 10;
        one.total_busy_duration = SECOND * 6;
        one.max_busy_duration = SECOND * 5;
        let mut late = one.clone();
        late.workers_count = 1;
        late.total_busy_duration = SECOND * 30;
        late.max_busy_duration = SECOND * 30;
        let mut read = Read::default();
        read.add(&one);
        assert_eq!(read.busiest, 0.5);
        assert_eq!(share(read.busy, read.time), Some(0.3));
        read.add(&late);
        let all = (read.workers, read.tasks, read.queue, read.parks);
        assert_eq!(all, (3, 10, 2, 14));
        assert_eq!(read.busiest, 1.0);
        assert_eq!(share(read.busy, read.time), Some(1.0));
        assert_eq!(share(SECOND, Duration::ZERO), None);
    }

    #[test]
    fn what_a_runtime_did_is_read_once() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let runtimes = Runtimes::default();
        runtimes.watch("test", runtime.handle());
        let open = runtime.spawn(std::future::pending::<()>());
        // Busy on purpose, and then asleep.
        runtime.block_on(async {
            for _ in 0..20 {
                let work = tokio::spawn(async { std::thread::sleep(Duration::from_millis(2)) });
                work.await.unwrap();
            }
        });
        let mut busy = Duration::ZERO;
        let start = std::time::Instant::now();
        loop {
            assert!(start.elapsed() < SECOND * 20, "{busy:?}");
            let read = runtimes.read()["test"];
            assert_eq!(read.workers, 2);
            busy += read.busy;
            // A task that has ended is there until its worker has put it away.
            if busy >= Duration::from_millis(40) && read.tasks == 1 {
                break;
            }
        }
        assert!(runtimes.read()["test"].busy < Duration::from_millis(40));
        open.abort();
    }

    #[test]
    fn an_interval_that_is_not_accepted_is_refused_and_one_that_is_off_is_none() {
        let runtimes = Runtimes::default();
        let mut config = RuntimeConfig {
            interval: Duration::ZERO,
            ..RuntimeConfig::default()
        };
        assert!(
            Runtime::new(&config, &runtimes)
                .unwrap_err()
                .contains("interval")
        );
        config.interval = SECOND;
        assert!(Runtime::new(&config, &runtimes).unwrap().is_some());
        config.enabled = false;
        assert!(Runtime::new(&config, &runtimes).unwrap().is_none());
    }
}
