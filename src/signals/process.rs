//! This process, by the OpenTelemetry semantic conventions for processes (v1.41.0).

use crate::catalog::{Alert, Condition, Panel, Runbook, Severity, View};
use crate::signal;

signal! {
    /// CPU time that the process has used.
    pub sum ProcessCpuTime = "process.cpu" => "process.cpu.time" "s" reportable false {
        labels {}
        panels [
            Panel::new("Process CPU", View::Rate("process.cpu.time"), "Seconds of CPU time that the process uses a second: 1 is one CPU.")
                .section("Process")
                .headline(),
        ]
        no_alert "the machine's CPU time and the limits of the container are watched"
    }
}

signal! {
    /// Physical memory that the process occupies.
    pub gauge ProcessMemory = "process.memory" => "process.memory.usage" "By" reportable false {
        labels {}
        panels [
            Panel::new("Process memory", View::Value("process.memory.usage"), "Physical memory that the process occupies.")
                .section("Process")
                .headline(),
        ]
        no_alert "the machine's memory and the limits of the container are watched"
    }
}

signal! {
    /// Address space that the process has reserved.
    pub gauge ProcessVirtualMemory = "process.memory.reserved" => "process.memory.virtual" "By" reportable false {
        labels {}
        panels [
            Panel::new("Process address space", View::Value("process.memory.virtual"), "Address space that the process has reserved; most of it may never be used.")
                .section("Process"),
        ]
        no_alert "it costs nothing"
    }
}

signal! {
    /// Threads of the process.
    pub gauge ProcessThreads = "process.threads" => "process.thread.count" "{thread}" reportable false {
        labels {}
        panels [
            Panel::new("Threads", View::Value("process.thread.count"), "Threads of the process.")
                .section("Process"),
        ]
        no_alert "how many are normal depends on the application"
    }
}

signal! {
    /// Files, sockets and pipes that the process has open.
    pub gauge ProcessFiles = "process.files" => "process.unix.file_descriptor.count" "{file_descriptor}" reportable false {
        labels {}
        panels [
            Panel::new("Open files", View::Value("process.unix.file_descriptor.count"), "Files, sockets and pipes that the process has open.")
                .section("Process"),
        ]
        no_alert "its share of the limit is watched"
    }
}

signal! {
    /// Share of the file descriptors the process may have that are open.
    pub gauge ProcessFilesShare = "process.files.share" => "process.unix.file_descriptor.utilization" "1" reportable false {
        labels {}
        panels [
            Panel::new("File descriptors used", View::Value("process.unix.file_descriptor.utilization"), "Share of the file descriptors that the process may have that are open.")
                .section("Process"),
        ]
        alerts [
            Alert::new(
                "ProcessFilesLow",
                Severity::Warning,
                Condition::ValueAbove { metric: "process.unix.file_descriptor.utilization", threshold: 0.8 },
                "A process has used up most of its file descriptors",
                Runbook {
                    meaning: "When none are left, the process takes no connections and opens no files.",
                    causes: &["Connections that are not closed", "More clients than the limit was made for", "A limit that is low: 1024 is the default of many systems"],
                    actions: &["See what is open: `ls -l /proc/<pid>/fd | awk '{print $NF}' | sort | uniq -c | sort -n | tail`", "Raise the limit: `LimitNOFILE=` of the unit, `ulimit -n`", "Close what leaks"],
                },
            ),
        ]
    }
}
