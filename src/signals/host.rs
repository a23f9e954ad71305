//! The machine: CPU, memory, disks and network, by the OpenTelemetry semantic conventions for
//! system metrics (v1.41.0).

use crate::catalog::{Alert, Condition, Panel, Runbook, Severity, View};
use crate::{closed_label, signal};

closed_label! {
    /// Over which time a load was averaged.
    pub enum LoadPeriod {
        /// A minute.
        One = "1m",
        /// Five minutes.
        Five = "5m",
        /// Fifteen minutes.
        Fifteen = "15m",
    }
}

closed_label! {
    /// What memory is used for (`system.memory.state`); the states add up to what there is.
    pub enum MemoryState {
        /// By processes and the kernel, and not to be had back without swapping.
        Used = "used",
        /// By nobody.
        Free = "free",
        /// For caches that give way when it is needed.
        Cached = "cached",
    }
}

closed_label! {
    /// Whether space is used: of swap (`system.paging.state`) or of a file system
    /// (`system.filesystem.state`).
    pub enum SpaceState {
        /// It is.
        Used = "used",
        /// It may be had.
        Free = "free",
    }
}

closed_label! {
    /// Direction of disk operations (`disk.io.direction`).
    pub enum DiskDirection {
        /// From the disk.
        Read = "read",
        /// To the disk.
        Write = "write",
    }
}

closed_label! {
    /// Direction of network traffic (`network.io.direction`).
    pub enum NetworkDirection {
        /// Towards the machine.
        Receive = "receive",
        /// From the machine.
        Transmit = "transmit",
    }
}

signal! {
    /// Share of all CPUs' time that was not idle since the round before.
    pub gauge CpuUtilization = "host.cpu" => "system.cpu.utilization" "1" reportable false {
        labels {}
        panels [
            Panel::new("CPU", View::Value("system.cpu.utilization"), "Share of the machine's CPU time that is not idle.")
                .section("CPU")
                .headline(),
        ]
        alerts [
            Alert::new(
                "HostCpuSaturated",
                Severity::Warning,
                Condition::ValueAbove { metric: "system.cpu.utilization", threshold: 0.9 },
                "More than 90 % of a machine's CPU time has been used for 15 minutes",
                Runbook {
                    meaning: "Nearly no CPU time of the machine is idle: whatever runs on it waits for its turn.",
                    causes: &["More load than the machine was made for", "A process that runs in a loop", "Neighbours on the same physical machine"],
                    actions: &["See which process it is: `top`, or the panel of process CPU for this one", "See whether requests or tasks rose at the same time", "Move load away, or give the machine more CPUs"],
                },
            )
            .for_minutes(15),
        ]
    }
}

signal! {
    /// CPUs that the machine has, as the scheduler sees them.
    pub gauge CpuCount = "host.cpu.count" => "system.cpu.logical.count" "{cpu}" reportable false {
        labels {}
        panels [
            Panel::new("CPUs", View::Value("system.cpu.logical.count"), "Logical CPUs of the machine.")
                .section("CPU"),
        ]
        no_alert "it is what it is; CPU time is watched"
    }
}

signal! {
    /// Tasks that ran or waited to, on average over a time.
    pub gauge LoadAverage = "host.load" => "system.cpu.load_average" "{task}" reportable false {
        labels {
            /// The time.
            period: closed(LoadPeriod),
        }
        panels [
            Panel::new("Load", View::Value("system.cpu.load_average"), "Tasks that run or wait for a CPU or a disk, averaged. Above the number of CPUs some wait.")
                .by(&["period"])
                .section("CPU"),
        ]
        no_alert "a load means little without the number of CPUs; CPU time is watched"
    }
}

signal! {
    /// Memory of the machine by what it is used for.
    pub gauge MemoryUsage = "host.memory" => "system.memory.usage" "By" reportable false {
        labels {
            /// What it is used for.
            state as "system.memory.state": closed(MemoryState),
        }
        panels [
            Panel::new("Memory", View::Value("system.memory.usage"), "Memory of the machine by what it is used for. The states add up to what there is.")
                .by(&["system.memory.state"])
                .section("Memory"),
        ]
        no_alert "its share is watched"
    }
}

signal! {
    /// Share of the machine's memory by what it is used for.
    pub gauge MemoryUtilization = "host.memory.share" => "system.memory.utilization" "1" reportable false {
        labels {
            /// What it is used for.
            state as "system.memory.state": closed(MemoryState),
        }
        panels [
            Panel::new("Memory used", View::Value("system.memory.utilization"), "Share of the machine's memory that is used and cannot be had back without swapping.")
                .only(&[("system.memory.state", "used")])
                .section("Memory")
                .headline(),
        ]
        alerts [
            Alert::new(
                "HostMemoryLow",
                Severity::Warning,
                Condition::ValueAbove { metric: "system.memory.utilization", threshold: 0.9 },
                "More than 90 % of a machine's memory is used",
                Runbook {
                    meaning: "Caches have given way already. When the rest is used, the machine swaps or the kernel kills a process.",
                    causes: &["A process that grows: a leak, or a larger working set", "More processes than the machine was made for"],
                    actions: &["See which process it is: `ps aux --sort=-rss | head`", "Restart what leaks; limit what grows", "Give the machine more memory"],
                },
            )
            .only(&[("system.memory.state", "used")])
            .for_minutes(10),
        ]
    }
}

signal! {
    /// Memory that the machine has.
    pub gauge MemoryLimit = "host.memory.limit" => "system.memory.limit" "By" reportable false {
        labels {}
        panels [
            Panel::new("Memory installed", View::Value("system.memory.limit"), "Memory that the machine has.")
                .section("Memory"),
        ]
        no_alert "it is what it is; the share used is watched"
    }
}

signal! {
    /// Swap space by whether it is used.
    pub gauge PagingUsage = "host.paging" => "system.paging.usage" "By" reportable false {
        labels {
            /// Whether it is used.
            state as "system.paging.state": closed(SpaceState),
        }
        panels [
            Panel::new("Swap", View::Value("system.paging.usage"), "Swap space of the machine. Nothing where there is none.")
                .by(&["system.paging.state"])
                .section("Memory"),
        ]
        no_alert "what was swapped out once does no harm; memory is watched"
    }
}

signal! {
    /// Space of a file system by whether it is used.
    pub gauge FilesystemUsage = "host.filesystem" => "system.filesystem.usage" "By" reportable false {
        labels {
            /// Where it is mounted.
            mountpoint as "system.filesystem.mountpoint": open(50),
            /// Whether it is used; what is kept for the administrator counts as used.
            state as "system.filesystem.state": closed(SpaceState),
        }
        panels [
            Panel::new("Free disk space", View::Value("system.filesystem.usage"), "Space that is left on each file system.")
                .by(&["system.filesystem.mountpoint"])
                .only(&[("system.filesystem.state", "free")])
                .section("Disks"),
        ]
        no_alert "its share is watched"
    }
}

signal! {
    /// Share of a file system's space that is used.
    pub gauge FilesystemUtilization = "host.filesystem.share" => "system.filesystem.utilization" "1" reportable false {
        labels {
            /// Where it is mounted.
            mountpoint as "system.filesystem.mountpoint": open(50),
        }
        panels [
            Panel::new("Disk space used", View::Value("system.filesystem.utilization"), "Share of each file system's space that is used.")
                .by(&["system.filesystem.mountpoint"])
                .section("Disks")
                .headline(),
        ]
        alerts [
            Alert::new(
                "HostDiskFull",
                Severity::Critical,
                Condition::ValueAbove { metric: "system.filesystem.utilization", threshold: 0.95 },
                "A file system is nearly full",
                Runbook {
                    meaning: "Less than 5 % of the file system is left. When it is full, databases stop and logs are lost.",
                    causes: &["Logs, backups or temporary files that nobody removes", "A database that grows", "A file that was deleted and is still open"],
                    actions: &["See what takes the space: `du -xh --max-depth=2 <mountpoint> | sort -h | tail`", "Look for deleted files that are open: `lsof +L1`", "Remove what is not needed, or enlarge the file system; keep records for a shorter time with `ledger.max_age`"],
                },
            )
            .by(&["system.filesystem.mountpoint"]),
            Alert::new(
                "HostDiskFilling",
                Severity::Warning,
                Condition::Growing { metric: "system.filesystem.utilization", threshold: 0.99, ahead_seconds: 86_400 },
                "A file system will be full within a day",
                Runbook {
                    meaning: "As it grew over the last six hours, the file system is full within 24 hours.",
                    causes: &["Something began to write more: logs at debug level, a backup, an import", "A retention that was switched off"],
                    actions: &["See what grew: `find <mountpoint> -xdev -mmin -360 -size +50M`", "Stop it or make room before it is full"],
                },
            )
            .by(&["system.filesystem.mountpoint"])
            .over_minutes(360)
            .for_minutes(30),
        ]
    }
}

signal! {
    /// Bytes read from and written to a disk.
    pub counter DiskIo = "host.disk.io" => "system.disk.io" "By" reportable false {
        labels {
            /// The disk.
            device as "system.device": open(50),
            /// Direction.
            direction as "disk.io.direction": closed(DiskDirection),
        }
        panels [
            Panel::new("Disk traffic", View::Rate("system.disk.io"), "Bytes a second that are read from and written to each disk.")
                .by(&["system.device", "disk.io.direction"])
                .section("Disks"),
        ]
        no_alert "how much is normal depends on the disk; what is slow shows in latencies"
    }
}

signal! {
    /// Bytes received and sent by a network interface.
    pub counter NetworkIo = "host.network.io" => "system.network.io" "By" reportable false {
        labels {
            /// The interface.
            interface as "network.interface.name": open(50),
            /// Direction.
            direction as "network.io.direction": closed(NetworkDirection),
        }
        panels [
            Panel::new("Network traffic", View::Rate("system.network.io"), "Bytes a second that each network interface receives and sends.")
                .by(&["network.interface.name", "network.io.direction"])
                .section("Network"),
        ]
        no_alert "how much is normal depends on the machine"
    }
}

signal! {
    /// Packets that a network interface could not receive or send.
    pub counter NetworkErrors = "host.network.errors" => "system.network.errors" "{error}" reportable false {
        labels {
            /// The interface.
            interface as "network.interface.name": open(50),
            /// Direction.
            direction as "network.io.direction": closed(NetworkDirection),
        }
        panels [
            Panel::new("Network errors", View::Rate("system.network.errors"), "Packets a second that each network interface could not receive or send.")
                .by(&["network.interface.name", "network.io.direction"])
                .section("Network"),
        ]
        alerts [
            Alert::new(
                "HostNetworkErrors",
                Severity::Warning,
                Condition::RateAbove { metric: "system.network.errors", per_second: 1.0 },
                "A network interface loses packets",
                Runbook {
                    meaning: "The interface counts more than one error a second. Connections through it stall and are retried.",
                    causes: &["A cable, a port or a card that is about to fail", "Sides that disagree on speed or duplex", "A driver's ring that is too small for the traffic"],
                    actions: &["Look at the counters: `ip -s link show <interface>`, `ethtool -S <interface>`", "Change the cable or the port", "Enlarge the ring: `ethtool -G`"],
                },
            )
            .by(&["network.interface.name"])
            .for_minutes(10),
        ]
    }
}

signal! {
    /// Processes that the machine runs.
    pub gauge ProcessCount = "host.processes" => "system.process.count" "{process}" reportable false {
        labels {}
        panels [
            Panel::new("Processes", View::Value("system.process.count"), "Processes of the machine; in a container, those of the container.")
                .section("CPU"),
        ]
        no_alert "how many are normal depends on the machine"
    }
}

signal! {
    /// How long the machine has been running.
    pub gauge Uptime = "host.uptime" => "system.uptime" "s" reportable false {
        labels {}
        panels [
            Panel::new("Machine up", View::Value("system.uptime"), "How long the machine has been running. It falls to zero at a restart.")
                .section("CPU"),
        ]
        no_alert "a restart is no fault; what does not come back shows as down"
    }
}
