//! Reading through NVML, NVIDIA's management library, which is loaded when it is there.

use std::collections::HashSet;

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{
    Clock, EccCounter, MemoryError as EccError, TemperatureSensor,
};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use super::{CollectError, Found, GpuReading, GpuSource};
use crate::signals::gpu::{GpuClockKind, ThrottleReason};

/// NVIDIA's GPUs.
#[derive(Debug, Default)]
pub struct Nvidia {
    library: Option<Nvml>,
}

impl GpuSource for Nvidia {
    fn read(&mut self) -> Result<Found, CollectError> {
        let library = match self.library.take() {
            Some(library) => library,
            None => match Nvml::init() {
                Ok(library) => library,
                Err(error) => return absent(error),
            },
        };
        let count = library
            .device_count()
            .map_err(|error| CollectError(format!("NVML: {error}")))?;
        // Kept only while it works: after a fault it is loaded anew.
        let library = self.library.insert(library);
        if count == 0 {
            return Ok(Found::Nothing("there is no GPU of NVIDIA".to_owned()));
        }
        let gpus = (0..count).map(|index| {
            let gpu = library.device_by_index(index);
            let gpu = gpu.and_then(|device| read(index, &device));
            (index, gpu.map_err(|error| error.to_string()))
        });
        Ok(Found::Gpus(gpus.collect()))
    }
}

/// What it means that the library does not start.
fn absent(error: NvmlError) -> Result<Found, CollectError> {
    match error {
        NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound => Ok(Found::Nothing(
            "NVML, NVIDIA's management library, cannot be loaded: it comes with their driver"
                .to_owned(),
        )),
        NvmlError::DriverNotLoaded => {
            Ok(Found::Nothing("NVIDIA's driver is not loaded".to_owned()))
        }
        error => Err(CollectError(format!("NVML does not start: {error}"))),
    }
}

/// One GPU. What it cannot tell is left out; without its name it cannot be read at all.
fn read(index: u32, device: &Device<'_>) -> Result<GpuReading, NvmlError> {
    let clock = |kind, of| Some((kind, device.clock_info(of).ok()?));
    let clocks = [
        clock(GpuClockKind::Graphics, Clock::Graphics),
        clock(GpuClockKind::Sm, Clock::SM),
        clock(GpuClockKind::Memory, Clock::Memory),
    ];
    let compute = device.running_compute_processes().ok();
    let graphics = device.running_graphics_processes().ok();
    let errors = |kind| device.total_ecc_errors(kind, EccCounter::Aggregate).ok();
    Ok(GpuReading {
        index,
        name: device.name()?,
        utilization: device.utilization_rates().ok().map(|rates| rates.gpu),
        encoder: device.encoder_utilization().ok().map(|of| of.utilization),
        decoder: device.decoder_utilization().ok().map(|of| of.utilization),
        memory: device.memory_info().ok().map(|of| (of.used, of.total)),
        temperature: device.temperature(TemperatureSensor::Gpu).ok(),
        power: device.power_usage().ok(),
        energy: device.total_energy_consumption().ok(),
        clocks: clocks.into_iter().flatten().collect(),
        throttled: device.current_throttle_reasons().ok().map(reasons),
        processes: compute.zip(graphics).map(|(compute, graphics)| {
            // One that does both is in both.
            let ids: HashSet<u32> = compute.iter().chain(&graphics).map(|p| p.pid).collect();
            u32::try_from(ids.len()).unwrap_or(u32::MAX)
        }),
        corrected_errors: errors(EccError::Corrected),
        uncorrected_errors: errors(EccError::Uncorrected),
    })
}

/// What holds clocks down; that nothing is asked of it, or somebody has set them, does not.
fn reasons(found: ThrottleReasons) -> Vec<ThrottleReason> {
    let thermal = ThrottleReasons::SW_THERMAL_SLOWDOWN.union(ThrottleReasons::HW_THERMAL_SLOWDOWN);
    [
        (ThrottleReasons::SW_POWER_CAP, ThrottleReason::Power),
        (thermal, ThrottleReason::Thermal),
        (ThrottleReasons::HW_SLOWDOWN, ThrottleReason::Hardware),
        (
            ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN,
            ThrottleReason::PowerBrake,
        ),
    ]
    .into_iter()
    .filter(|(bits, _)| found.intersects(*bits))
    .map(|(_, reason)| reason)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_told_apart_and_idling_is_none() {
        assert_eq!(reasons(ThrottleReasons::GPU_IDLE), []);
        let both = ThrottleReasons::HW_THERMAL_SLOWDOWN | ThrottleReasons::HW_SLOWDOWN;
        let both = reasons(both | ThrottleReasons::APPLICATIONS_CLOCKS_SETTING);
        assert_eq!(both, [ThrottleReason::Thermal, ThrottleReason::Hardware]);
        let power = reasons(ThrottleReasons::SW_POWER_CAP);
        assert_eq!(power, [ThrottleReason::Power]);
        let thermal = reasons(ThrottleReasons::SW_THERMAL_SLOWDOWN);
        assert_eq!(thermal, [ThrottleReason::Thermal]);
    }

    #[test]
    fn a_library_that_is_not_there_is_no_fault() {
        for error in [NvmlError::LibraryNotFound, NvmlError::DriverNotLoaded] {
            assert!(matches!(absent(error), Ok(Found::Nothing(_))));
        }
        let fault = absent(NvmlError::GpuLost).unwrap_err();
        assert!(fault.to_string().contains("NVML"), "{fault}");
    }
}
