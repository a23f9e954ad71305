//! Whether other things are well: targets that are asked at an interval.

use crate::catalog::{Alert, Condition, HTTP, Panel, Runbook, Severity, View};
use crate::{closed_label, signal};

closed_label! {
    /// How a target is asked.
    pub enum TargetKind {
        /// By a request of HTTP or HTTPS.
        Http = "http",
        /// By opening a connection.
        Tcp = "tcp",
        /// By `PING`.
        Redis = "redis",
        /// By a query that any database answers.
        Sql = "sql",
    }
}

closed_label! {
    /// How a check ended.
    pub enum CheckResult {
        /// The target answered as expected.
        Ok = "ok",
        /// It answered as expected, and took longer than it should.
        Degraded = "degraded",
        /// It did not answer as expected.
        Failed = "failed" error,
        /// The check was given up, as the service stopped.
        Abandoned = "abandoned" abandoned,
    }
}

signal! {
    /// One check of a target.
    pub operation HealthCheck => HealthCheckEnd = "health.check" span client reportable false {
        labels {
            /// The target, by the name it was configured with.
            target as "health.target": open(64),
            /// How it is asked.
            kind as "health.target.kind": closed(TargetKind),
        }
        outcome {
            /// How it ended.
            result as "health.check.result": closed(CheckResult),
            /// What went wrong: `timeout`, `refused`, `dns`, `tls`, `status`, `body`, `answer` (it said itself that it cannot) or `connection`; absent if nothing.
            error as "error.type": optional(16),
        }
        context {
            /// Host that was asked.
            SERVER = "server.address",
            /// Its port.
            PORT = "server.port",
        }
        metrics {
            /// Checks of targets that ended.
            "health.checks" = counter "{check}" count by [target, result, error];
            /// Time until a target had answered, or had not.
            "health.check.duration" = histogram "s" duration by [target, kind] buckets (HTTP)
                no_alert "each target has its own limit, and one that is above it is watched as degraded";
        }
        panels [
            Panel::new("Failing checks", View::ErrorRatio("health.checks"), "Share of the checks of each target that failed.")
                .by(&["health.target"])
                .section("Checks")
                .headline(),
            Panel::new("Response time", View::Quantiles("health.check.duration"), "The 95th percentile of the time that each target took to answer, or not to.")
                .by(&["health.target"])
                .section("Checks"),
            Panel::new("Checks", View::Rate("health.checks"), "Checks that ended, a second, by target and by how they ended.")
                .by(&["health.target", "health.check.result"])
                .section("Checks"),
            Panel::new("Failures by kind", View::Errors("health.checks"), "Checks that failed, a second, by target and by what went wrong.")
                .by(&["health.target", "error.type"])
                .section("Checks"),
        ]
        alerts [
            Alert::new(
                "HealthCheckUnstable",
                Severity::Warning,
                Condition::ErrorRatioAbove { metric: "health.checks", ratio: 0.2, floor: 10 },
                "More than a fifth of a target's checks fail",
                Runbook {
                    meaning: "The target answers, but not always. It need not be failing at this moment.",
                    causes: &["One of several replicas behind the address is ill", "It restarts again and again", "The network between is lossy, or the timeout too short"],
                    actions: &["Split the failures by `error_type`", "Look whether they follow a pattern: every other check is one replica of two", "Read the target's own log around the failures"],
                },
            )
            .over_minutes(30)
            .by(&["health.target"]),
        ]
    }
}

signal! {
    /// Whether a target answers as expected: 1 or 0; absent before its first check.
    pub gauge HealthTargetUp = "health.target.up" => "health.target.up" "{state}" reportable false {
        labels {
            /// The target, by the name it was configured with.
            target as "health.target": open(64),
            /// What it belongs to.
            group: optional(64),
            /// The machine that it runs on.
            machine: optional(64),
        }
        panels [
            Panel::new("Targets by machine", View::Value("health.target.up"), "Whether each target answers as expected.")
                .by(&["machine", "health.target"])
                .section("Targets")
                .headline(),
            Panel::new("Targets by group", View::Value("health.target.up"), "Whether all targets of a group answer as expected.")
                .by(&["group"])
                .section("Targets"),
        ]
        alerts [
            Alert::new(
                "HealthCheckFailing",
                Severity::Critical,
                Condition::ValueBelow { metric: "health.target.up", threshold: 1.0 },
                "A target does not answer as expected",
                Runbook {
                    meaning: "The last checks of this target failed. Whatever needs it fails, or does without it.",
                    causes: &[
                        "It does not run, or does not listen there (`error_type` is `refused`)",
                        "It hangs, or the network between drops packets (`timeout`)",
                        "Its name is not known any more (`dns`), or its certificate is not trusted (`tls`)",
                        "It runs and is ill itself (`status`, `body`, `answer`)",
                    ],
                    actions: &[
                        "Ask for `/api/monitoring/health/metrics`: it has the reason in words, below `collectors.health.targets`",
                        "Reach it by hand from the host of the service that checks it",
                        "See whether other targets of the same machine fail too",
                    ],
                },
            )
            .by(&["health.target", "group", "machine"])
            .for_minutes(2)
            .silence("While the target is stopped on purpose."),
        ]
    }
}

signal! {
    /// Whether a target answers as expected but takes longer than it should: 1 or 0; absent
    /// before its first check.
    pub gauge HealthTargetDegraded = "health.target.degraded" => "health.target.degraded" "{target}" reportable false {
        labels {
            /// The target, by the name it was configured with.
            target as "health.target": open(64),
            /// What it belongs to.
            group: optional(64),
            /// The machine that it runs on.
            machine: optional(64),
        }
        range (0.0, 1.0)
        panels [
            Panel::new("Slow targets", View::Value("health.target.degraded"), "1 for each target that answers, and takes longer than it should.")
                .by(&["machine", "health.target"])
                .section("Targets"),
        ]
        alerts [
            Alert::new(
                "HealthCheckSlow",
                Severity::Warning,
                Condition::ValueAbove { metric: "health.target.degraded", threshold: 0.5 },
                "A target takes longer to answer than it should",
                Runbook {
                    meaning: "The target answers as expected, and has taken longer than its `degraded_above` for minutes.",
                    causes: &["It is overloaded, or waits for something that is", "The network between is slow", "The limit is lower than what is usual for it"],
                    actions: &["Compare with its response time of the days before", "Look at what the target itself waits for", "Raise `degraded_above`, if this is how it is"],
                },
            )
            .by(&["health.target", "group", "machine"]),
        ]
    }
}

signal! {
    /// How well a target was of late, 0 to 1: the mean of its last twenty checks, of which one
    /// that is degraded counts half; absent before its first.
    pub gauge HealthTargetScore = "health.target.score" => "health.target.score" "1" reportable false {
        labels {
            /// The target, by the name it was configured with.
            target as "health.target": open(64),
            /// What it belongs to.
            group: optional(64),
            /// The machine that it runs on.
            machine: optional(64),
        }
        range (0.0, 1.0)
        panels [
            Panel::new("Score of targets", View::Value("health.target.score"), "How well each target was in its last twenty checks: 1 is well, a check that was slow counts half.")
                .by(&["machine", "health.target"])
                .section("Targets"),
        ]
        no_alert "it sums up what is watched: whether a target fails, is slow, or is unstable"
    }
}

signal! {
    /// How well all targets were of late, 0 to 1: the mean of their scores; absent before the
    /// first check.
    pub gauge HealthScore = "health.score" => "health.score" "1" reportable false {
        labels {}
        range (0.0, 1.0)
        panels [
            Panel::new("Health score", View::Value("health.score"), "How well all targets were in their last twenty checks: 1 is well. Of several services that check, the best.")
                .section("Targets")
                .headline(),
        ]
        no_alert "each target is watched by itself"
    }
}

signal! {
    /// When a target last answered as expected, seconds since the Unix epoch; absent before.
    pub gauge HealthLastSuccess = "health.target.last_success" => "health.target.last_success.timestamp" "s" reportable false {
        labels {
            /// The target, by the name it was configured with.
            target as "health.target": open(64),
        }
        panels [
            Panel::new("Time since last success", View::Age("health.target.last_success.timestamp"), "How long ago each target last answered as expected.")
                .by(&["health.target"])
                .section("Targets"),
        ]
        no_alert "a target that fails is watched as such"
    }
}

signal! {
    /// Time until the certificate that an HTTPS target showed last expires; below 0 it has.
    pub gauge HealthCertificate = "health.target.certificate" => "health.target.certificate.remaining" "s" reportable false {
        labels {
            /// The target, by the name it was configured with.
            target as "health.target": open(64),
        }
        range (f64::NEG_INFINITY, f64::INFINITY)
        panels [
            Panel::new("Certificates", View::Value("health.target.certificate.remaining"), "Time until the certificate of each HTTPS target expires.")
                .by(&["health.target"])
                .section("Certificates"),
        ]
        alerts [
            Alert::new(
                "CertificateExpires",
                Severity::Warning,
                Condition::ValueBelow { metric: "health.target.certificate.remaining", threshold: 1_209_600.0 },
                "A target's certificate expires within two weeks",
                Runbook {
                    meaning: "The certificate that the target shows is valid for less than two weeks. When it has expired, no client that verifies it connects.",
                    causes: &["It is not renewed automatically, or the renewal fails", "It was renewed, and the server has not read it"],
                    actions: &["Look at the log of whatever renews it", "Reload the server, if the file is newer than what it shows", "Renew it by hand"],
                },
            )
            .by(&["health.target"])
            .for_minutes(60),
        ]
    }
}
