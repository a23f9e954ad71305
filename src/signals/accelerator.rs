//! Workers that compute on NPUs, GPUs or other accelerators, mostly in other languages, which
//! report to the records API. What this machine's GPUs do is in [`gpu`](super::gpu).

use crate::catalog::{Alert, BATCH, Condition, LLM, Panel, Runbook, Severity, View};
use crate::{closed_label, signal};

closed_label! {
    /// What a worker computes on.
    pub enum Device {
        /// A neural processing unit.
        Npu = "npu",
        /// A GPU.
        Gpu = "gpu",
        /// A tensor processing unit.
        Tpu = "tpu",
        /// No accelerator, as when there is none or it is busy.
        Cpu = "cpu",
        /// Something else.
        Other = "other",
    }
}

closed_label! {
    /// How an inference ended.
    pub enum InferenceStatus {
        /// It has a result.
        Success = "success",
        /// It has none.
        Failed = "failed" error,
        /// It took too long.
        Timeout = "timeout" error,
        /// The worker had no room for it.
        Rejected = "rejected" error,
        /// Nobody reported its end.
        Abandoned = "abandoned" abandoned,
    }
}

signal! {
    /// One run of a model on an accelerator.
    pub operation AcceleratorInference => AcceleratorInferenceEnd = "accelerator.inference" {
        labels {
            /// Name of the worker.
            worker as "accelerator.worker": open(32),
            /// What it computes on.
            device as "accelerator.device": closed(Device),
            /// The model.
            model as "accelerator.model": open(64),
        }
        outcome {
            /// How it ended.
            status: closed(InferenceStatus),
            /// What went wrong, such as `out_of_memory`; absent if nothing.
            error as "error.type": optional(40),
        }
        values {
            /// Inputs that were computed together.
            batch as "accelerator.batch.size",
        }
        metrics {
            /// Inferences that ended.
            "accelerator.inferences" = counter "{inference}" count by [worker, device, model, status, error];
            /// How long an inference took.
            "accelerator.inference.duration" = histogram "s" duration by [device, model, status] buckets (LLM);
            /// Inputs that were computed together.
            "accelerator.inference.batch.size" = histogram "{input}" of(batch) by [device, model] buckets (BATCH)
                no_alert "how much is computed together is the worker's choice";
            /// Inferences under way.
            "accelerator.inferences.active" = in_flight "{inference}" active by [worker, device]
                no_alert "what waits for a worker is watched";
        }
        panels [
            Panel::new("Inferences", View::Rate("accelerator.inferences"), "Inferences that ended, a second, by what they were computed on.")
                .by(&["accelerator.device"])
                .section("Inference")
                .headline(),
            Panel::new("Failing inferences", View::ErrorRatio("accelerator.inferences"), "Share of inferences without a result, by worker.")
                .by(&["accelerator.worker"])
                .section("Inference")
                .headline(),
            Panel::new("Inference time", View::Quantiles("accelerator.inference.duration"), "How long an inference takes that has a result.")
                .only(&[("status", "success")])
                .section("Inference")
                .headline(),
            Panel::new("Inference time by device", View::Quantiles("accelerator.inference.duration"), "The 95th percentile of the time that an inference with a result takes, by what it is computed on.")
                .by(&["accelerator.device"])
                .only(&[("status", "success")])
                .section("Inference"),
            Panel::new("Inference time by model", View::Quantiles("accelerator.inference.duration"), "The 95th percentile of the time that an inference with a result takes, by model.")
                .by(&["accelerator.model"])
                .only(&[("status", "success")])
                .section("Inference"),
            Panel::new("Inferences by model", View::Rate("accelerator.inferences"), "Inferences that ended, a second, by model and by what they were computed on.")
                .by(&["accelerator.model", "accelerator.device"])
                .section("Inference"),
            Panel::new("Inferences on no accelerator", View::Rate("accelerator.inferences"), "Inferences that were computed on the CPU, a second, by worker: there was no accelerator, or it was busy.")
                .by(&["accelerator.worker"])
                .only(&[("accelerator.device", "cpu")])
                .section("Inference"),
            Panel::new("Inference failures by kind", View::Errors("accelerator.inferences"), "Inferences without a result, a second, by worker and by what went wrong.")
                .by(&["accelerator.worker", "error.type"])
                .section("Inference"),
            Panel::new("Inferences under way", View::Value("accelerator.inferences.active"), "Inferences under way, by worker.")
                .by(&["accelerator.worker"])
                .section("Inference"),
            Panel::new("Inputs at once", View::Quantiles("accelerator.inference.batch.size"), "Inputs that are computed together.")
                .by(&["accelerator.device"])
                .section("Inference"),
        ]
        alerts [
            Alert::new(
                "InferencesFail",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "accelerator.inferences", ratio: 0.05, floor: 20 },
                "More than 5 % of a worker's inferences have no result",
                Runbook {
                    meaning: "The worker fails, takes too long, or has no room. Whoever asked gets nothing or computes elsewhere.",
                    causes: &["The device's driver has failed, or the device is gone", "A model that does not fit into the device's memory", "More requests than the worker was made for"],
                    actions: &["Split by `status` and `error_type`", "Look at the worker's memory and temperature", "Restart the worker; on another device if it fails again"],
                },
            )
            .by(&["accelerator.worker"]),
            Alert::new(
                "InferencesSlow",
                Severity::Warning,
                Condition::QuantileAbove { metric: "accelerator.inference.duration", quantile: 0.95, threshold: 10.0, floor: 20 },
                "The 95th percentile of inferences on a device is above 10 s",
                Runbook {
                    meaning: "One inference in twenty takes longer than ten seconds.",
                    causes: &["A model that is too large for the device", "Work that has fallen back to the CPU", "A device that is slowed down by heat"],
                    actions: &["Split the time by model and device", "See whether inferences on `cpu` rose", "Look at temperature and use of the device"],
                },
            )
            .only(&[("status", "success")])
            .by(&["accelerator.device"]),
        ]
    }
}

signal! {
    /// Whether a worker can compute: 1, or 0 if it says that it cannot.
    pub gauge AcceleratorWorkerUp = "accelerator.worker.up" => "accelerator.worker.up" "{state}" {
        labels {
            /// Name of the worker.
            worker as "accelerator.worker": open(32),
            /// What it computes on.
            device as "accelerator.device": closed(Device),
        }
        panels [
            Panel::new("Workers", View::Value("accelerator.worker.up"), "1 where a worker says that it can compute.")
                .by(&["accelerator.worker", "accelerator.device"])
                .section("Workers")
                .headline(),
        ]
        alerts [
            Alert::new(
                "AcceleratorWorkerDown",
                Severity::Warning,
                Condition::ValueBelow { metric: "accelerator.worker.up", threshold: 1.0 },
                "A worker says that it cannot compute",
                Runbook {
                    meaning: "The worker runs and reports, and its device does not work for it.",
                    causes: &["The device's driver is missing or has failed", "Another process has the device", "Its model could not be loaded"],
                    actions: &["Read the worker's log", "See whether the system knows the device", "Restart the worker"],
                },
            )
            .for_minutes(2)
            .by(&["accelerator.worker"]),
        ]
    }
}

signal! {
    /// When a worker last said that it is there, in seconds since the Unix epoch.
    pub gauge AcceleratorHeartbeat = "accelerator.worker.heartbeat" => "accelerator.worker.heartbeat.timestamp" "s" {
        labels {
            /// Name of the worker.
            worker as "accelerator.worker": open(32),
        }
        panels [
            Panel::new("Since the last heartbeat", View::Age("accelerator.worker.heartbeat.timestamp"), "How long ago each worker last said that it is there. The other figures of a worker are as old as that.")
                .by(&["accelerator.worker"])
                .section("Workers"),
        ]
        alerts [
            Alert::new(
                "AcceleratorWorkerSilent",
                Severity::Warning,
                Condition::OlderThan { metric: "accelerator.worker.heartbeat.timestamp", seconds: 120 },
                "A worker has not said for two minutes that it is there",
                Runbook {
                    meaning: "The worker has ended, hangs, or does not reach this service. Its other figures stand still.",
                    causes: &["It was killed, as for lack of memory", "It computes and does not report meanwhile", "The network or its key to the records API"],
                    actions: &["See whether its process runs", "Read its log for what its reports were answered with", "Restart it"],
                },
            )
            .by(&["accelerator.worker"]),
        ]
    }
}

signal! {
    /// Share of the time in which a worker's device works.
    pub gauge AcceleratorUtilization = "accelerator.utilization" => "accelerator.utilization" "1" {
        labels {
            /// Name of the worker.
            worker as "accelerator.worker": open(32),
            /// What it computes on.
            device as "accelerator.device": closed(Device),
        }
        panels [
            Panel::new("Use of devices", View::Value("accelerator.utilization"), "Share of the time in which each worker's device works.")
                .by(&["accelerator.worker", "accelerator.device"])
                .section("Workers")
                .headline(),
        ]
        no_alert "a device that is used to the full is no fault; what waits for it is watched"
    }
}

signal! {
    /// Memory that a worker uses on its device.
    pub gauge AcceleratorMemory = "accelerator.memory" => "accelerator.memory.usage" "By" {
        labels {
            /// Name of the worker.
            worker as "accelerator.worker": open(32),
            /// What it computes on.
            device as "accelerator.device": closed(Device),
        }
        panels [
            Panel::new("Memory of workers", View::Value("accelerator.memory.usage"), "Memory that each worker uses on its device.")
                .by(&["accelerator.worker", "accelerator.device"])
                .section("Workers"),
        ]
        no_alert "how much there is differs from device to device; what does not fit fails, which is watched"
    }
}

signal! {
    /// Requests that wait for a worker.
    pub gauge AcceleratorQueue = "accelerator.queue" => "accelerator.queue.size" "{request}" {
        labels {
            /// Name of the worker.
            worker as "accelerator.worker": open(32),
        }
        panels [
            Panel::new("Waiting for workers", View::Value("accelerator.queue.size"), "Requests that wait for each worker.")
                .by(&["accelerator.worker"])
                .section("Workers")
                .headline(),
        ]
        alerts [
            Alert::new(
                "AcceleratorQueueLong",
                Severity::Warning,
                Condition::ValueAbove { metric: "accelerator.queue.size", threshold: 100.0 },
                "More than 100 requests have waited for a worker for five minutes",
                Runbook {
                    meaning: "More is asked of the worker than it computes. Whoever asks waits longer and longer.",
                    causes: &["More requests than the device was made for", "Inferences that have become slower", "A worker that has stopped computing and still takes requests"],
                    actions: &["Compare the rate of inferences with before", "Add a worker, or compute more inputs together", "Restart a worker whose rate is zero"],
                },
            )
            .for_minutes(5)
            .by(&["accelerator.worker"]),
        ]
    }
}

signal! {
    /// Temperature of a worker's device.
    pub gauge AcceleratorTemperature = "accelerator.temperature" => "accelerator.temperature" "Cel" {
        labels {
            /// Name of the worker.
            worker as "accelerator.worker": open(32),
            /// What it computes on.
            device as "accelerator.device": closed(Device),
        }
        panels [
            Panel::new("Temperature of devices", View::Value("accelerator.temperature"), "Temperature of each worker's device.")
                .by(&["accelerator.worker", "accelerator.device"])
                .section("Workers"),
        ]
        no_alert "what is too hot differs from device to device; a slow one shows in the time of inferences"
    }
}
