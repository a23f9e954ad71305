//! GPUs of the machine, by the OpenTelemetry semantic conventions for hardware (v1.41.0, "GPU
//! metrics" and "Common hardware metrics"). What has no name there is named in their style.

use crate::catalog::{Alert, Condition, Panel, Runbook, Severity, View};
use crate::{closed_label, signal};

closed_label! {
    /// What a GPU works at (`hw.gpu.task`).
    pub enum GpuTask {
        /// Computing and drawing.
        General = "general",
        /// Encoding video.
        Encoder = "encoder",
        /// Decoding video.
        Decoder = "decoder",
    }
}

closed_label! {
    /// Type of the component (`hw.type`).
    pub enum HwType {
        /// A GPU.
        Gpu = "gpu",
    }
}

closed_label! {
    /// A clock of a GPU.
    pub enum GpuClockKind {
        /// Of what draws.
        Graphics = "graphics",
        /// Of what computes.
        Sm = "sm",
        /// Of its memory.
        Memory = "memory",
    }
}

closed_label! {
    /// What holds a GPU's clocks down.
    pub enum ThrottleReason {
        /// It would draw more power than it may.
        Power = "power",
        /// It, or its memory, is too hot.
        Thermal = "thermal",
        /// The hardware slowed it down by half or more, as for too much heat or power.
        Hardware = "hardware",
        /// Something outside of it asks for less power, such as the power supply.
        PowerBrake = "power_brake",
    }
}

closed_label! {
    /// What became of an error in a GPU's memory (`error.type`).
    pub enum MemoryError {
        /// It was corrected.
        Corrected = "corrected",
        /// It was not.
        Uncorrected = "uncorrected" error,
    }
}

signal! {
    /// Share of the time in which a GPU worked.
    pub gauge GpuUtilization = "gpu.utilization" => "hw.gpu.utilization" "1" reportable false {
        labels {
            /// Index of the GPU in the machine.
            id as "hw.id": open(32),
            /// Its name.
            name as "hw.name": open(16),
            /// What it works at.
            task as "hw.gpu.task": closed(GpuTask),
        }
        panels [
            Panel::new("GPU use", View::Value("hw.gpu.utilization"), "Share of the time in which each GPU computes or draws.")
                .by(&["hw.id"])
                .only(&[("hw.gpu.task", "general")])
                .section("GPUs")
                .headline(),
            Panel::new("GPU use by task", View::Value("hw.gpu.utilization"), "Share of the time in which the parts of each GPU work.")
                .by(&["hw.id", "hw.gpu.task"])
                .section("GPUs"),
        ]
        no_alert "a GPU that is used to the full is no fault; what waits for it is watched"
    }
}

signal! {
    /// Memory of a GPU that is used.
    pub gauge GpuMemoryUsage = "gpu.memory" => "hw.gpu.memory.usage" "By" reportable false {
        labels {
            /// Index of the GPU in the machine.
            id as "hw.id": open(32),
            /// Its name.
            name as "hw.name": open(16),
        }
        panels [
            Panel::new("GPU memory", View::Value("hw.gpu.memory.usage"), "Memory of each GPU that is used.")
                .by(&["hw.id"])
                .section("GPUs"),
        ]
        no_alert "its share is watched"
    }
}

signal! {
    /// Memory that a GPU has.
    pub gauge GpuMemoryLimit = "gpu.memory.limit" => "hw.gpu.memory.limit" "By" reportable false {
        labels {
            /// Index of the GPU in the machine.
            id as "hw.id": open(32),
            /// Its name.
            name as "hw.name": open(16),
        }
        panels [
            Panel::new("GPU memory installed", View::Value("hw.gpu.memory.limit"), "Memory that each GPU has.")
                .by(&["hw.id", "hw.name"])
                .section("GPUs"),
        ]
        no_alert "it is what it is; the share used is watched"
    }
}

signal! {
    /// Share of a GPU's memory that is used.
    pub gauge GpuMemoryUtilization = "gpu.memory.share" => "hw.gpu.memory.utilization" "1" reportable false {
        labels {
            /// Index of the GPU in the machine.
            id as "hw.id": open(32),
            /// Its name.
            name as "hw.name": open(16),
        }
        panels [
            Panel::new("GPU memory used", View::Value("hw.gpu.memory.utilization"), "Share of each GPU's memory that is used.")
                .by(&["hw.id"])
                .section("GPUs")
                .headline(),
        ]
        alerts [
            Alert::new(
                "GpuMemoryFull",
                Severity::Warning,
                Condition::ValueAbove { metric: "hw.gpu.memory.utilization", threshold: 0.95 },
                "More than 95 % of a GPU's memory is used",
                Runbook {
                    meaning: "The next model, or a larger batch, does not fit: what asks for more memory fails.",
                    causes: &["More models are loaded than fit together", "Batches or contexts that have grown", "A process that has ended badly and still holds memory"],
                    actions: &["See which processes hold it: `nvidia-smi`", "Unload what is not asked for, or make batches smaller", "A server that takes all memory at its start is no fault: silence it for that GPU"],
                },
            )
            .for_minutes(10)
            .by(&["hw.id"]),
        ]
    }
}

signal! {
    /// Temperature of a GPU.
    pub gauge GpuTemperature = "gpu.temperature" => "hw.temperature" "Cel" reportable false {
        labels {
            /// Index of the GPU in the machine.
            id as "hw.id": open(32),
            /// Its name.
            name as "hw.name": open(16),
        }
        panels [
            Panel::new("GPU temperature", View::Value("hw.temperature"), "Temperature of each GPU.")
                .by(&["hw.id"])
                .section("GPUs")
                .headline(),
        ]
        alerts [
            Alert::new(
                "GpuHot",
                Severity::Warning,
                Condition::ValueAbove { metric: "hw.temperature", threshold: 85.0 },
                "A GPU has been hotter than 85 °C for five minutes",
                Runbook {
                    meaning: "Soon it slows itself down, and at its limit it turns itself off.",
                    causes: &["Fans that stand still, or dust", "Air that is too warm where it comes in", "Several GPUs beside each other at full load"],
                    actions: &["See fans and limits: `nvidia-smi -q -d TEMPERATURE,FAN`", "Lower its power limit: `nvidia-smi -pl <watt>`", "Move load away until it is cooler"],
                },
            )
            .for_minutes(5)
            .by(&["hw.id"]),
        ]
    }
}

signal! {
    /// Power that a component draws.
    pub gauge GpuPower = "gpu.power" => "hw.power" "W" reportable false {
        labels {
            /// Index of the GPU in the machine.
            id as "hw.id": open(32),
            /// Its name.
            name as "hw.name": open(16),
            /// Type of the component.
            kind as "hw.type": closed(HwType),
        }
        panels [
            Panel::new("GPU power", View::Value("hw.power"), "Power that each GPU draws.")
                .by(&["hw.id"])
                .section("GPUs"),
        ]
        no_alert "it is limited by the GPU, which is then slower; that is watched"
    }
}

signal! {
    /// Energy that a component has used.
    pub sum GpuEnergy = "gpu.energy" => "hw.energy" "J" reportable false {
        labels {
            /// Index of the GPU in the machine.
            id as "hw.id": open(32),
            /// Its name.
            name as "hw.name": open(16),
            /// Type of the component.
            kind as "hw.type": closed(HwType),
        }
        panels [
            Panel::new("GPU energy", View::Total("hw.energy"), "Energy that each GPU used over the range shown; 3.6 million joules are a kilowatt-hour.")
                .by(&["hw.id"])
                .section("GPUs"),
        ]
        no_alert "it follows from the work"
    }
}

signal! {
    /// How fast a GPU's parts are clocked.
    pub gauge GpuClock = "gpu.clock" => "hw.gpu.clock" "Hz" reportable false {
        labels {
            /// Index of the GPU in the machine.
            id as "hw.id": open(32),
            /// Its name.
            name as "hw.name": open(16),
            /// The clock.
            clock as "hw.gpu.clock.kind": closed(GpuClockKind),
        }
        panels [
            Panel::new("GPU clocks", View::Value("hw.gpu.clock"), "How fast the parts of each GPU are clocked.")
                .by(&["hw.id", "hw.gpu.clock.kind"])
                .section("GPUs"),
        ]
        no_alert "what holds clocks down is watched"
    }
}

signal! {
    /// Whether something holds a GPU's clocks down: 1 if so.
    pub gauge GpuThrottled = "gpu.throttled" => "hw.gpu.throttled" "{limit}" reportable false {
        labels {
            /// Index of the GPU in the machine.
            id as "hw.id": open(32),
            /// Its name.
            name as "hw.name": open(16),
            /// What.
            reason as "hw.gpu.throttle.reason": closed(ThrottleReason),
        }
        panels [
            Panel::new("GPUs held back", View::Value("hw.gpu.throttled"), "1 where something holds a GPU's clocks down, by what. A GPU at its power limit under full load is as it should be.")
                .by(&["hw.id", "hw.gpu.throttle.reason"])
                .section("GPUs"),
        ]
        alerts [
            Alert::new(
                "GpuThrottledByHeat",
                Severity::Warning,
                Condition::ValueAbove { metric: "hw.gpu.throttled", threshold: 0.0 },
                "A GPU has been slowed down by heat for five minutes",
                Runbook {
                    meaning: "The GPU runs below its clocks, as it or its memory would be too hot otherwise. What it computes takes longer.",
                    causes: &["Fans that stand still, or dust", "Air that is too warm where it comes in", "A power limit that is too high for the cooling"],
                    actions: &["See temperatures and fans: `nvidia-smi -q -d TEMPERATURE,FAN,PERFORMANCE`", "Lower its power limit: `nvidia-smi -pl <watt>`", "Move load away until it is cooler"],
                },
            )
            .only(&[("hw.gpu.throttle.reason", "thermal")])
            .for_minutes(5)
            .by(&["hw.id"]),
        ]
    }
}

signal! {
    /// Processes that use a GPU.
    pub gauge GpuProcesses = "gpu.processes" => "hw.gpu.processes" "{process}" reportable false {
        labels {
            /// Index of the GPU in the machine.
            id as "hw.id": open(32),
            /// Its name.
            name as "hw.name": open(16),
        }
        panels [
            Panel::new("GPU processes", View::Value("hw.gpu.processes"), "Processes that compute or draw on each GPU.")
                .by(&["hw.id"])
                .section("GPUs"),
        ]
        no_alert "how many there are is the machine's use"
    }
}

signal! {
    /// Errors of a component; of a GPU, in its memory (ECC).
    pub counter GpuErrors = "gpu.errors" => "hw.errors" "{error}" reportable false {
        labels {
            /// Index of the GPU in the machine.
            id as "hw.id": open(32),
            /// Its name.
            name as "hw.name": open(16),
            /// Type of the component.
            kind as "hw.type": closed(HwType),
            /// What became of it.
            error as "error.type": closed(MemoryError),
        }
        panels [
            Panel::new("GPU memory errors", View::Total("hw.errors"), "Errors in each GPU's memory over the range shown, by whether they were corrected.")
                .by(&["hw.id", "error.type"])
                .section("GPUs"),
        ]
        alerts [
            Alert::new(
                "GpuMemoryErrors",
                Severity::Critical,
                Condition::Occurs { metric: "hw.errors" },
                "A GPU's memory has had an error that was not corrected",
                Runbook {
                    meaning: "What was computed with that memory is lost or wrong; the process that used it is mostly ended by the driver.",
                    causes: &["Memory of the GPU that fails", "Heat, or a power supply that is too weak"],
                    actions: &["See what is known: `nvidia-smi -q -d ECC,PAGE_RETIREMENT,ROW_REMAPPER`", "Move work away and reset the GPU: `nvidia-smi --gpu-reset -i <index>`", "Have it replaced if it happens again"],
                },
            )
            .only(&[("error.type", "uncorrected")])
            .by(&["hw.id"]),
        ]
    }
}
