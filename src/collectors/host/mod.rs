//! The machine, the control group and the process that this runs in.
//!
//! Counters are those of this process: they begin at zero with it and grow by what the system
//! counted since.

pub mod cgroup;

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::ops::Sub;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sysinfo::{
    Disks, Networks, Pid, ProcessRefreshKind, ProcessesToUpdate, System, get_current_pid,
};
use tokio::time::Instant;

use self::cgroup::Usage;
use super::{CollectError, Collector, Progress, Schedule};
use crate::pipeline::config::duration;
use crate::recording::Rounds;
use crate::signals::container::*;
use crate::signals::host::*;
use crate::signals::process::*;

/// Reading `/proc` and the control groups takes milliseconds.
const DEADLINE: Duration = Duration::from_secs(10);

/// What the machine, the container and the process use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct HostConfig {
    /// Whether it is read.
    pub enabled: bool,
    /// Time between two readings, 1s to 1h.
    #[serde(with = "duration")]
    #[cfg_attr(
        feature = "service",
        schemars(with = "String", extend("format" = "duration"))
    )]
    pub interval: Duration,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: Duration::from_secs(15),
        }
    }
}

impl HostConfig {
    /// What is not accepted: the field, and what would be.
    #[must_use]
    pub fn check(&self) -> Vec<(&'static str, String)> {
        super::check_interval(self.interval).into_iter().collect()
    }
}

/// The collector.
#[derive(Debug)]
pub struct Host {
    config: HostConfig,
    root: PathBuf,
    system: System,
    disks: Disks,
    networks: Networks,
    process: Option<Pid>,
    disk_io: Counts<(String, u8)>,
    network_io: Counts<(String, u8)>,
    network_errors: Counts<(String, u8)>,
    cpu_milliseconds: u64,
    cpu_read: bool,
    container: Option<Usage>,
    spaces: Rounds,
    space_shares: Rounds,
}

impl Host {
    /// The collector of a configuration; `None`: it is switched off, or the operating system is
    /// not one that can be read.
    ///
    /// # Errors
    /// As [`HostConfig::check`]: the field, and what is accepted.
    pub fn new(config: &HostConfig) -> Result<Option<Self>, String> {
        if let Some((field, problem)) = config.check().into_iter().next() {
            return Err(format!("{field}: {problem}"));
        }
        if !config.enabled {
            return Ok(None);
        }
        let (Ok(system), Ok(disks), Ok(networks)) = (System::new(), Disks::new(), Networks::new())
        else {
            tracing::warn!("this operating system is not known: the host is not read");
            return Ok(None);
        };
        Ok(Some(Self {
            config: config.clone(),
            root: PathBuf::from("/"),
            system,
            disks,
            networks,
            process: get_current_pid().ok(),
            disk_io: Counts::default(),
            network_io: Counts::default(),
            network_errors: Counts::default(),
            cpu_milliseconds: 0,
            cpu_read: false,
            container: None,
            spaces: Rounds::default(),
            space_shares: Rounds::default(),
        }))
    }

    /// With another place of the files of control groups, and of the list of processes.
    #[must_use]
    pub fn root(mut self, root: &Path) -> Self {
        root.clone_into(&mut self.root);
        self
    }

    fn cpu(&mut self) {
        self.system.refresh_cpu_usage();
        CpuCount {}.set(self.system.cpus().len() as f64);
        // A share of the time between two readings: after the first there is none.
        if std::mem::replace(&mut self.cpu_read, true) {
            CpuUtilization {}.set(f64::from(self.system.global_cpu_usage()) / 100.0);
        }
        if let Ok(load) = System::load_average() {
            for (period, value) in [
                (LoadPeriod::One, load.one),
                (LoadPeriod::Five, load.five),
                (LoadPeriod::Fifteen, load.fifteen),
            ] {
                LoadAverage { period }.set(value);
            }
        }
        if let Ok(seconds) = System::uptime() {
            Uptime {}.set(seconds as f64);
        }
        if let Some(processes) = numbered(&self.root.join("proc")) {
            ProcessCount {}.set(processes as f64);
        }
    }

    fn memory(&mut self) -> Result<(), CollectError> {
        self.system.refresh_memory();
        let total = self.system.total_memory();
        if total == 0 {
            return Err(CollectError(
                "the system does not say how much memory it has".to_owned(),
            ));
        }
        let free = self.system.free_memory().min(total);
        let available = self.system.available_memory().clamp(free, total);
        MemoryLimit {}.set(total as f64);
        for (state, bytes) in [
            (MemoryState::Used, total - available),
            (MemoryState::Cached, available - free),
            (MemoryState::Free, free),
        ] {
            MemoryUsage { state }.set(bytes as f64);
            MemoryUtilization { state }.set(bytes as f64 / total as f64);
        }
        let swap = self.system.total_swap();
        let used = self.system.used_swap().min(swap);
        for (state, bytes) in [(SpaceState::Used, used), (SpaceState::Free, swap - used)] {
            match swap {
                0 => PagingUsage { state }.remove(),
                _ => PagingUsage { state }.set(bytes as f64),
            }
        }
        Ok(())
    }

    fn disks(&mut self) {
        self.disks.refresh(true);
        let mut disks: Vec<_> = self.disks.iter().collect();
        disks.sort_by_key(|disk| disk.mount_point().as_os_str().len());
        let mut devices = HashSet::new();
        let (mut spaces, mut shares) = (Vec::new(), Vec::new());
        for disk in disks {
            let total = disk.total_space();
            // Containers have files that are mounted on their own.
            if total == 0 || !disk.mount_point().is_dir() {
                continue;
            }
            let device = &*disk.name().to_string_lossy();
            // What is mounted in several places is told once, at the shortest path.
            if device.starts_with("/dev/") && !devices.insert(device.to_owned()) {
                continue;
            }
            let usage = disk.usage();
            for (direction, bytes) in [
                (DiskDirection::Read, usage.total_read_bytes),
                (DiskDirection::Write, usage.total_written_bytes),
            ] {
                let grown = self
                    .disk_io
                    .grown((device.to_owned(), direction as u8), bytes);
                DiskIo { device, direction }.add(grown);
            }
            let mountpoint = &*disk.mount_point().to_string_lossy();
            let free = disk.available_space().min(total);
            for (state, bytes) in [(SpaceState::Used, total - free), (SpaceState::Free, free)] {
                spaces.push((FilesystemUsage { mountpoint, state }.handle(), bytes as f64));
            }
            let share = (total - free) as f64 / total as f64;
            shares.push((FilesystemUtilization { mountpoint }.handle(), share));
        }
        self.disk_io.end_round();
        self.spaces.set(spaces);
        // Of file systems that share a series the fullest is what matters.
        self.space_shares.set_by(shares, f64::max);
    }

    fn networks(&mut self) {
        self.networks.refresh(true);
        for (interface, data) in &self.networks {
            let interface = &*interface.to_string_lossy();
            for (direction, bytes, errors) in [
                (
                    NetworkDirection::Receive,
                    data.total_received(),
                    data.total_errors_on_received(),
                ),
                (
                    NetworkDirection::Transmit,
                    data.total_transmitted(),
                    data.total_errors_on_transmitted(),
                ),
            ] {
                let key = (interface.to_owned(), direction as u8);
                let bytes = self.network_io.grown(key.clone(), bytes);
                let errors = self.network_errors.grown(key, errors);
                NetworkIo {
                    interface,
                    direction,
                }
                .add(bytes);
                NetworkErrors {
                    interface,
                    direction,
                }
                .add(errors);
            }
        }
        self.network_io.end_round();
        self.network_errors.end_round();
    }

    fn process(&mut self) {
        let Some(pid) = self.process else {
            return;
        };
        let wanted = ProcessRefreshKind::nothing().with_cpu().with_memory();
        self.system
            .refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, wanted);
        let Some(process) = self.system.process(pid) else {
            return;
        };
        let milliseconds = process.accumulated_cpu_time();
        // It began at zero with this process.
        let grown = milliseconds.saturating_sub(self.cpu_milliseconds);
        self.cpu_milliseconds = self.cpu_milliseconds.max(milliseconds);
        ProcessCpuTime {}.add(grown as f64 / 1e3);
        ProcessMemory {}.set(process.memory() as f64);
        ProcessVirtualMemory {}.set(process.virtual_memory() as f64);
        if let Some(threads) = numbered(Path::new("/proc/self/task")) {
            ProcessThreads {}.set(threads as f64);
        }
        if let Some(files) = process.open_files() {
            ProcessFiles {}.set(files as f64);
            if let Some(limit) = process.open_files_limit().filter(|limit| *limit > 0) {
                ProcessFilesShare {}.set(files as f64 / limit as f64);
            }
        }
    }

    fn container(&mut self) {
        let usage = cgroup::read(&self.root);
        let before = self.container.replace(usage).unwrap_or(usage);
        if let Some(all) = grown(before.periods, usage.periods) {
            // The two are read at one moment; what was held back is among all.
            let held = grown(before.throttled_periods, usage.throttled_periods).unwrap_or(0);
            for (throttling, periods) in [
                (Throttling::Throttled, held.min(all)),
                (Throttling::Unthrottled, all.saturating_sub(held)),
            ] {
                ContainerCpuPeriods { throttling }.add(periods);
            }
        }
        if let Some(kills) = grown(before.oom_kills, usage.oom_kills) {
            ContainerOomKills {}.add(kills);
        }
        if let Some(seconds) = grown(before.cpu_seconds, usage.cpu_seconds) {
            ContainerCpuTime {}.add(seconds);
        }
        if let Some(seconds) = grown(before.throttled_seconds, usage.throttled_seconds) {
            ContainerThrottledTime {}.add(seconds);
        }
        match usage.cpu_limit {
            Some(cpus) => ContainerCpuLimit {}.set(cpus),
            None => ContainerCpuLimit {}.remove(),
        }
        let bytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64);
        match bytes(usage.memory) {
            Some(memory) => ContainerMemory {}.set(memory),
            None => ContainerMemory {}.remove(),
        }
        let (working, limit) = (bytes(usage.working_set()), bytes(usage.memory_limit));
        match working {
            Some(working) => ContainerWorkingSet {}.set(working),
            None => ContainerWorkingSet {}.remove(),
        }
        match limit {
            Some(limit) => ContainerMemoryLimit {}.set(limit),
            None => ContainerMemoryLimit {}.remove(),
        }
        match working.zip(limit.filter(|limit| *limit > 0.0)) {
            Some((working, limit)) => ContainerMemoryUtilization {}.set(working / limit),
            None => ContainerMemoryUtilization {}.remove(),
        }
    }
}

impl Collector for Host {
    fn name(&self) -> &'static str {
        "host"
    }

    fn schedule(&self) -> Schedule {
        Schedule::every(self.config.interval, DEADLINE)
    }

    async fn collect(&mut self, _: Instant) -> Result<Progress, CollectError> {
        self.process();
        self.container();
        self.cpu();
        self.memory()?;
        self.networks();
        // The last: a file system on a network may hang.
        self.disks();
        Ok(Progress::Done)
    }

    fn unknown(&mut self) {
        CpuUtilization {}.remove();
        CpuCount {}.remove();
        for period in [LoadPeriod::One, LoadPeriod::Five, LoadPeriod::Fifteen] {
            LoadAverage { period }.remove();
        }
        for state in [MemoryState::Used, MemoryState::Cached, MemoryState::Free] {
            MemoryUsage { state }.remove();
            MemoryUtilization { state }.remove();
        }
        for state in [SpaceState::Used, SpaceState::Free] {
            PagingUsage { state }.remove();
        }
        MemoryLimit {}.remove();
        self.spaces.clear();
        self.space_shares.clear();
        ProcessCount {}.remove();
        Uptime {}.remove();
        ProcessMemory {}.remove();
        ProcessVirtualMemory {}.remove();
        ProcessThreads {}.remove();
        ProcessFiles {}.remove();
        ProcessFilesShare {}.remove();
        ContainerCpuLimit {}.remove();
        ContainerMemory {}.remove();
        ContainerWorkingSet {}.remove();
        ContainerMemoryLimit {}.remove();
        ContainerMemoryUtilization {}.remove();
    }
}

/// By how much something grew that the system counts; what is less than before began anew.
fn grown<T: Copy + PartialOrd + Sub<Output = T>>(before: Option<T>, now: Option<T>) -> Option<T> {
    let now = now?;
    Some(match before.unwrap_or(now) {
        before if before <= now => now - before,
        _ => now,
    })
}

/// What the system has counted since it started, by what it counted.
#[derive(Debug)]
struct Counts<K> {
    before: HashMap<K, u64>,
    now: HashMap<K, u64>,
}

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self {
            before: HashMap::new(),
            now: HashMap::new(),
        }
    }
}

impl<K: Eq + Hash> Counts<K> {
    /// By how much it grew since the round before; nothing when it is new.
    fn grown(&mut self, key: K, count: u64) -> u64 {
        let grown = grown(self.before.get(&key).copied(), Some(count));
        self.now.insert(key, count);
        grown.unwrap_or(0)
    }

    /// What was not seen in this round is forgotten.
    fn end_round(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }
}

/// Entries of a folder whose names are numbers: processes, or threads of one.
fn numbered(folder: &Path) -> Option<usize> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let number = |name: &std::ffi::OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    Some(entries.filter(|entry| number(&entry.file_name())).count())
}
