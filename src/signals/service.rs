//! Services: what runs, since when, and whether it is well.

use crate::catalog::{Alert, Condition, Panel, Runbook, Severity, View};
use crate::signal;

signal! {
    /// What runs: always 1; its labels tell. Free attributes may stand beside them.
    pub gauge ServiceInfo = "service.info" => "service.info" "{info}" reportable false {
        labels {
            /// Name of the service.
            name as "service.name": open(16),
            /// Version of the service.
            version as "service.version": optional(32),
            /// Where it is deployed, such as `production`.
            environment as "deployment.environment.name": optional(16),
        }
        panels [
            Panel::new("Services", View::Table("service.info"), "What runs: name, version, environment and what else was configured.")
                .section("Services"),
        ]
        alerts [
            Alert::new(
                "ServiceDown",
                Severity::Critical,
                Condition::JobDown { metric: "service.info" },
                "No process of the service publishes metrics",
                Runbook {
                    meaning: "The service is not running, cannot be scraped, or has lost its telemetry.",
                    causes: &["The process has ended or does not start", "The scrape's address, token or certificate is wrong", "The network between the scraper and the service"],
                    actions: &["Look at the process and the end of its log", "Look at the target's error in the scraper", "Ask for `/health/live` from the scraper's host"],
                },
            )
            .for_minutes(2),
            Alert::new(
                "ServiceInstanceDown",
                Severity::Warning,
                Condition::InstanceDown { metric: "service.info" },
                "A process of the service cannot be scraped",
                Runbook {
                    meaning: "One of the targets that published this service's metrics cannot be scraped. Others of the same service may still run.",
                    causes: &["The process has ended, hangs, or restarts again and again", "The scrape takes longer than its timeout", "The address, token or certificate of the scrape is wrong"],
                    actions: &["Look at the target's error in the scraper", "Look at the process and the end of its log", "Ask for `/health/live` from the scraper's host"],
                },
            ),
        ]
    }
}

signal! {
    /// Whether a service is well, by its own word: 1 or 0.
    pub gauge ServiceHealth = "service.health" => "service.health" "{state}" {
        labels {
            /// Name of the service.
            name as "service.name": open(64),
        }
        panels [
            Panel::new("Health", View::Value("service.health"), "Whether a service says that it is well. A service that is down says nothing.")
                .by(&["service.name"])
                .section("Services")
                .headline(),
        ]
        alerts [
            Alert::new(
                "ServiceUnhealthy",
                Severity::Critical,
                Condition::ValueBelow { metric: "service.health", threshold: 1.0 },
                "A service says that it is not well",
                Runbook {
                    meaning: "The service runs, and at least one component it cannot do without is not well.",
                    causes: &["A component is away: database, Redis, model provider", "The service is starting or stopping"],
                    actions: &["Ask for `/health/ready`: it names the component and the reason", "Look at the health of components"],
                },
            )
            .by(&["service.name"])
            .for_minutes(1),
        ]
    }
}

signal! {
    /// Whether a component of a service is well: 1 or 0.
    pub gauge ComponentHealth = "service.component" => "service.component.health" "{state}" {
        labels {
            /// Name of the component, such as `database`.
            component: open(64),
        }
        panels [
            Panel::new("Components", View::Value("service.component.health"), "Whether each component of a service is well.")
                .by(&["component"])
                .section("Services"),
        ]
        alerts [
            Alert::new(
                "ComponentUnhealthy",
                Severity::Warning,
                Condition::ValueBelow { metric: "service.component.health", threshold: 1.0 },
                "A component is not well",
                Runbook {
                    meaning: "The service cannot use this component now. It goes on without it where it can.",
                    causes: &["The component is away or overloaded", "Credentials or addresses are wrong"],
                    actions: &["Ask for `/health/ready` for the reason", "Reach the component by hand from the same host", "Read the component's own log"],
                },
            )
            .by(&["component"]),
        ]
    }
}

signal! {
    /// When a service started, seconds since the Unix epoch.
    pub gauge ServiceStart = "service.start" => "service.start.timestamp" "s" {
        labels {
            /// Name of the service.
            name as "service.name": open(64),
        }
        panels [
            Panel::new("Time since start", View::Age("service.start.timestamp"), "How long each service has been running. It falls to zero at a restart.")
                .by(&["service.name"])
                .section("Services"),
        ]
        no_alert "a start is no fault; what keeps failing shows as down or unhealthy"
    }
}
