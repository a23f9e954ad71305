//! The control group that this process is in: a container, a pod, a unit of systemd. Names by
//! the OpenTelemetry semantic conventions for containers (v1.41.0) where there are some.

use crate::catalog::{Alert, Condition, Panel, Runbook, Severity, View};
use crate::{closed_label, signal};

closed_label! {
    /// Whether the group was held back in a period.
    pub enum Throttling {
        /// It had what it asked for.
        Unthrottled = "unthrottled",
        /// It had used up its share and waited for the next one.
        Throttled = "throttled" error,
    }
}

signal! {
    /// CPU time that the group has used.
    pub sum ContainerCpuTime = "container.cpu" => "container.cpu.time" "s" reportable false {
        labels {}
        panels [
            Panel::new("Container CPU", View::Rate("container.cpu.time"), "Seconds of CPU time that the control group uses a second: 1 is one CPU.")
                .section("Container"),
        ]
        no_alert "being held back is watched"
    }
}

signal! {
    /// CPUs that the group may use; none where it is not limited.
    pub gauge ContainerCpuLimit = "container.cpu.limit" => "container.cpu.limit" "{cpu}" reportable false {
        labels {}
        panels [
            Panel::new("Container CPU limit", View::Value("container.cpu.limit"), "CPUs that the control group may use. Nothing where it is not limited.")
                .section("Container"),
        ]
        no_alert "it is what it is; being held back is watched"
    }
}

signal! {
    /// Periods in which the group ran, by whether it was held back.
    pub counter ContainerCpuPeriods = "container.cpu.periods" => "container.cpu.periods" "{period}" reportable false {
        labels {
            /// Whether it was held back.
            throttling: closed(Throttling),
        }
        panels [
            Panel::new("CPU throttling", View::ErrorRatio("container.cpu.periods"), "Share of the periods in which the control group had used up its CPU time and was held back.")
                .section("Container")
                .headline(),
        ]
        alerts [
            Alert::new(
                "ContainerCpuThrottled",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "container.cpu.periods", ratio: 0.25, floor: 100 },
                "A container is held back in more than a quarter of its CPU periods",
                Runbook {
                    meaning: "The container wants more CPU time than its limit grants. It is stopped for up to a tenth of a second at a time, which shows as latency.",
                    causes: &["A limit below what the load needs", "More threads than CPUs in the limit, which use up the share at once"],
                    actions: &["Compare CPU used with the limit over a day", "Raise the limit, or take it away and keep the request", "Let the service run as many workers as the limit has CPUs"],
                },
            )
            .for_minutes(15),
        ]
    }
}

signal! {
    /// Time that the group was held back.
    pub sum ContainerThrottledTime = "container.cpu.throttled" => "container.cpu.throttled.time" "s" reportable false {
        labels {}
        panels [
            Panel::new("Time throttled", View::Rate("container.cpu.throttled.time"), "Seconds a second, added up over its threads, that the control group was held back.")
                .section("Container"),
        ]
        no_alert "the share of periods is watched"
    }
}

signal! {
    /// Memory that the group occupies, with its caches.
    pub gauge ContainerMemory = "container.memory" => "container.memory.usage" "By" reportable false {
        labels {}
        panels [
            Panel::new("Container memory", View::Value("container.memory.usage"), "Memory that the control group occupies, with its caches of files.")
                .section("Container"),
        ]
        no_alert "the share of the limit that cannot be had back is watched"
    }
}

signal! {
    /// Memory of the group without caches that give way at once.
    pub gauge ContainerWorkingSet = "container.memory.working" => "container.memory.working_set" "By" reportable false {
        labels {}
        panels [
            Panel::new("Container working set", View::Value("container.memory.working_set"), "Memory of the control group without the caches of files that were not used lately.")
                .section("Container"),
        ]
        no_alert "its share of the limit is watched"
    }
}

signal! {
    /// Memory that the group may occupy; none where it is not limited.
    pub gauge ContainerMemoryLimit = "container.memory.limit" => "container.memory.limit" "By" reportable false {
        labels {}
        panels [
            Panel::new("Container memory limit", View::Value("container.memory.limit"), "Memory that the control group may occupy. Nothing where it is not limited.")
                .section("Container"),
        ]
        no_alert "it is what it is; the share used is watched"
    }
}

signal! {
    /// Working set of the group as a share of what it may occupy; none where it is not limited.
    pub gauge ContainerMemoryUtilization = "container.memory.share" => "container.memory.utilization" "1" reportable false {
        labels {}
        panels [
            Panel::new("Container memory used", View::Value("container.memory.utilization"), "Share of its memory limit that the control group uses and cannot give back at once.")
                .section("Container")
                .headline(),
        ]
        alerts [
            Alert::new(
                "ContainerMemoryNearLimit",
                Severity::Warning,
                Condition::ValueAbove { metric: "container.memory.utilization", threshold: 0.9 },
                "A container has used more than 90 % of its memory limit",
                Runbook {
                    meaning: "At the limit the kernel kills a process of the container.",
                    causes: &["A process that grows: a leak, or a larger working set", "A limit below what the load needs"],
                    actions: &["See whether it grows or stands: the panel of the working set", "Raise the limit, or bound what grows: queues, caches, connections"],
                },
            )
            .for_minutes(10),
        ]
    }
}

signal! {
    /// Processes of the group that the kernel killed because memory ran out.
    pub counter ContainerOomKills = "container.memory.oom" => "container.memory.oom_kills" "{process}" reportable false {
        labels {}
        panels [
            Panel::new("Killed for memory", View::Total("container.memory.oom_kills"), "Processes of the control group that the kernel killed over the range shown, because its memory was used up.")
                .section("Container"),
        ]
        alerts [
            Alert::new(
                "ContainerOutOfMemory",
                Severity::Critical,
                Condition::Occurs { metric: "container.memory.oom_kills" },
                "The kernel killed a process of a container for lack of memory",
                Runbook {
                    meaning: "The container was at its memory limit, and the kernel killed one of its processes: what that one did is lost.",
                    causes: &["A process that grew", "A limit below what the load needs"],
                    actions: &["See which process it was: `dmesg | grep -i oom`", "Raise the limit, or bound what grows"],
                },
            )
            .for_minutes(1)
            .over_minutes(15),
        ]
    }
}
