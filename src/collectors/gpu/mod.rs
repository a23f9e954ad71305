//! The machine's GPUs: NVIDIA's, through their management library (NVML). Where that is not
//! installed there is nothing to be read, and no fault.

mod nvml;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

pub use self::nvml::Nvidia;
use super::{CollectError, Collector, Missing, Progress, Schedule};
use crate::pipeline::config::duration;
use crate::signals::gpu::*;

/// A driver that hangs is given up after this.
const DEADLINE: Duration = Duration::from_secs(10);

/// What the machine's GPUs do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "service", derive(schemars::JsonSchema))]
pub struct GpuConfig {
    /// Whether they are read, where there are any.
    pub enabled: bool,
    /// Time between two readings, 1s to 1h.
    #[serde(with = "duration")]
    #[cfg_attr(
        feature = "service",
        schemars(with = "String", extend("format" = "duration"))
    )]
    pub interval: Duration,
}

impl Default for GpuConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: Duration::from_secs(15),
        }
    }
}

impl GpuConfig {
    /// What is not accepted: the field, and what would be.
    #[must_use]
    pub fn check(&self) -> Vec<(&'static str, String)> {
        super::check_interval(self.interval).into_iter().collect()
    }
}

/// What one GPU says of itself; what it does not say is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GpuReading {
    /// Index in the machine, from 0.
    pub index: u32,
    /// Name of the product.
    pub name: String,
    /// Percent of the time in which it computed or drew.
    pub utilization: Option<u32>,
    /// Percent of the time in which it encoded.
    pub encoder: Option<u32>,
    /// Percent of the time in which it decoded.
    pub decoder: Option<u32>,
    /// Bytes of its memory that are used, and that there are.
    pub memory: Option<(u64, u64)>,
    /// Degrees Celsius.
    pub temperature: Option<u32>,
    /// Milliwatts that it draws.
    pub power: Option<u32>,
    /// Millijoules that it used since its driver was loaded.
    pub energy: Option<u64>,
    /// Its clocks, megahertz.
    pub clocks: Vec<(GpuClockKind, u32)>,
    /// What holds its clocks down; empty if nothing.
    pub throttled: Option<Vec<ThrottleReason>>,
    /// Processes that use it.
    pub processes: Option<u32>,
    /// Errors of its memory since it was made, those that were corrected.
    pub corrected_errors: Option<u64>,
    /// Errors of its memory since it was made, those that were not.
    pub uncorrected_errors: Option<u64>,
}

/// What there is to be read.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// Each GPU by its index, or why it cannot be read.
    Gpus(Vec<(u32, Result<GpuReading, String>)>),
    /// There are none; why, in words.
    Nothing(String),
}

/// What reads GPUs.
pub trait GpuSource: Send + 'static {
    /// Reads all of them.
    ///
    /// # Errors
    /// What they are read through is there and does not work.
    fn read(&mut self) -> Result<Found, CollectError>;
}

/// The collector.
#[derive(Debug)]
pub struct Gpu<S = Nvidia> {
    config: GpuConfig,
    source: S,
    missing: Missing,
    /// Index and name of each GPU that is on the page.
    shown: HashSet<(u32, String)>,
    before: HashMap<(u32, Counted), u64>,
}

/// What a GPU counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Counted {
    Energy,
    Errors(MemoryError),
}

impl Gpu {
    /// The collector of a configuration; `None`: it is switched off.
    ///
    /// # Errors
    /// As [`GpuConfig::check`]: the field, and what is accepted.
    pub fn new(config: &GpuConfig) -> Result<Option<Self>, String> {
        if let Some((field, problem)) = config.check().into_iter().next() {
            return Err(format!("{field}: {problem}"));
        }
        let gpu = || Self::reading(config.clone(), Nvidia::default());
        Ok(config.enabled.then(gpu))
    }
}

impl<S: GpuSource> Gpu<S> {
    /// The collector of GPUs that are read in another way than through NVML.
    #[must_use]
    pub fn reading(config: GpuConfig, source: S) -> Self {
        Self {
            config,
            source,
            missing: Missing::of("gpu"),
            shown: HashSet::new(),
            before: HashMap::new(),
        }
    }

    /// By how much something grew since the round before; nothing in the first.
    fn grown(&mut self, key: (u32, Counted), now: u64) -> u64 {
        // Less than before: the driver was loaded anew.
        match self.before.insert(key, now) {
            Some(before) if before <= now => now - before,
            Some(_) => now,
            None => 0,
        }
    }

    fn count(&mut self, id: &str, gpu: &GpuReading) {
        let (name, kind) = (&*gpu.name, HwType::Gpu);
        if let Some(energy) = gpu.energy {
            let grown = self.grown((gpu.index, Counted::Energy), energy);
            GpuEnergy { id, name, kind }.add(grown as f64 / 1e3);
        }
        for (error, count) in [
            (MemoryError::Corrected, gpu.corrected_errors),
            (MemoryError::Uncorrected, gpu.uncorrected_errors),
        ] {
            if let Some(count) = count {
                let grown = self.grown((gpu.index, Counted::Errors(error)), count);
                let errors = GpuErrors {
                    id,
                    name,
                    kind,
                    error,
                };
                errors.add(grown);
            }
        }
    }
}

/// Puts a gauge on the page, or takes it off where its value is not known.
macro_rules! show {
    ($gauge:expr, $value:expr) => {
        match $value {
            Some(value) => $gauge.set(value),
            None => $gauge.remove(),
        }
    };
}

/// Puts a GPU's gauges on the page.
fn publish(id: &str, gpu: &GpuReading) {
    let (name, kind) = (&*gpu.name, HwType::Gpu);
    for (task, percent) in [
        (GpuTask::General, gpu.utilization),
        (GpuTask::Encoder, gpu.encoder),
        (GpuTask::Decoder, gpu.decoder),
    ] {
        let share = percent.map(|percent| f64::from(percent.min(100)) / 100.0);
        show!(GpuUtilization { id, name, task }, share);
    }
    let (used, total) = (gpu.memory.map(|m| m.0), gpu.memory.map(|m| m.1));
    let bytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64);
    show!(GpuMemoryUsage { id, name }, bytes(used));
    show!(GpuMemoryLimit { id, name }, bytes(total));
    let share = gpu.memory.filter(|(_, total)| *total > 0);
    let share = share.map(|(used, total)| (used as f64 / total as f64).min(1.0));
    show!(GpuMemoryUtilization { id, name }, share);
    show!(GpuTemperature { id, name }, gpu.temperature.map(f64::from));
    let watts = gpu.power.map(|milliwatts| f64::from(milliwatts) / 1e3);
    show!(GpuPower { id, name, kind }, watts);
    for clock in CLOCKS {
        let megahertz = gpu.clocks.iter().find(|(of, _)| *of == clock);
        let hertz = megahertz.map(|(_, megahertz)| f64::from(*megahertz) * 1e6);
        show!(GpuClock { id, name, clock }, hertz);
    }
    for reason in REASONS {
        let throttled = gpu.throttled.as_ref();
        let throttled = throttled.map(|reasons| f64::from(u8::from(reasons.contains(&reason))));
        show!(GpuThrottled { id, name, reason }, throttled);
    }
    show!(GpuProcesses { id, name }, gpu.processes.map(f64::from));
}

const CLOCKS: [GpuClockKind; 3] = [
    GpuClockKind::Graphics,
    GpuClockKind::Sm,
    GpuClockKind::Memory,
];

const REASONS: [ThrottleReason; 4] = [
    ThrottleReason::Power,
    ThrottleReason::Thermal,
    ThrottleReason::Hardware,
    ThrottleReason::PowerBrake,
];

/// Takes a GPU's gauges off the page.
fn withdraw(index: u32, name: &str) {
    let nothing = GpuReading {
        index,
        name: name.to_owned(),
        ..GpuReading::default()
    };
    publish(&index.to_string(), &nothing);
}

impl<S: GpuSource> Collector for Gpu<S> {
    fn name(&self) -> &'static str {
        "gpu"
    }

    fn schedule(&self) -> Schedule {
        Schedule::every(self.config.interval, DEADLINE)
    }

    async fn collect(&mut self, _: Instant) -> Result<Progress, CollectError> {
        let gpus = match self.source.read()? {
            Found::Gpus(gpus) => gpus,
            Found::Nothing(reason) => {
                self.unknown();
                return Ok(Progress::Absent(reason));
            }
        };
        let mut shown = HashSet::new();
        for (index, gpu) in gpus {
            let id = index.to_string();
            match gpu {
                Ok(gpu) => {
                    self.missing.remove(&id);
                    publish(&id, &gpu);
                    self.count(&id, &gpu);
                    shown.insert((index, gpu.name));
                }
                Err(reason) => {
                    self.missing.add(&id, reason);
                }
            }
        }
        for (index, name) in self.shown.difference(&shown) {
            withdraw(*index, name);
        }
        self.shown = shown;
        Ok(Progress::Done)
    }

    fn unknown(&mut self) {
        for (index, name) in self.shown.drain() {
            withdraw(index, &name);
        }
    }
}
