//! What the running service says: of itself, and of who reads its metrics.

use base64::Engine as _;
use jiff::Timestamp;
use serde_json::Value;

use super::finding::Finding;
use super::ports::{Service, json};
use crate::service::config::ServiceConfig;

/// Scrapes are rarely further apart than this, in seconds.
const LATE: i64 = 300;

pub(super) async fn check(
    http: &reqwest::Client,
    config: &ServiceConfig,
    service: Option<&Service>,
) -> Vec<Finding> {
    let Some(service) = service else {
        let none = "no service of ours runs at the configured addresses";
        return vec![
            Finding::skipped("service", none),
            Finding::skipped("scrape", none).advise("start it with `tachograph serve`"),
        ];
    };
    let credentials = config.auth.for_monitoring();
    let authorization = match (
        credentials.tokens.first(),
        credentials.users.first_key_value(),
    ) {
        (Some(token), _) => Some(format!("Bearer {}", token.expose())),
        (None, Some((user, password))) => {
            let text = format!("{user}:{}", password.expose());
            let encoded = base64::engine::general_purpose::STANDARD.encode(text);
            Some(format!("Basic {encoded}"))
        }
        (None, None) => None,
    };
    let ready = format!("http://{}/health/ready", service.main);
    let health = format!(
        "http://{}/api/monitoring/health/metrics",
        service.monitoring
    );
    let (ready, health) = tokio::join!(
        json(http, &ready, authorization.as_deref()),
        json(http, &health, authorization.as_deref()),
    );
    let mut findings = vec![readiness(ready)];
    match health {
        Ok((401 | 403, _)) => {
            let found = "the running service wants other credentials than these";
            findings.push(Finding::error("service.credentials", found).advise(
                "it was started with another configuration: give doctor the same, or restart it",
            ));
            findings.push(Finding::skipped("scrape", found));
        }
        Ok((200 | 503, health)) if health["status"] == "disabled" => {
            findings.push(Finding::skipped(
                "scrape",
                "telemetry is switched off there",
            ));
        }
        Ok((200 | 503, health)) => {
            losses(&health, &mut findings);
            let push = pushes(config);
            findings.push(scraped(&health, push, Timestamp::now()));
        }
        Ok((status, _)) => {
            let found = format!("the monitoring routes answered {status}");
            findings.push(Finding::error("scrape", found));
        }
        Err(found) => findings.push(Finding::error("scrape", found)),
    }
    findings
}

fn pushes(config: &ServiceConfig) -> bool {
    let otlp = &config.telemetry.otlp;
    otlp.metrics.enabled && (otlp.metrics.endpoint.is_some() || otlp.endpoint.is_some())
}

fn readiness(answer: Result<(u16, Value), String>) -> Finding {
    match answer {
        Ok((200, _)) => Finding::ok("service", "it is ready for records"),
        Ok((status, body)) => {
            let ledger = &body["components"]["ledger"];
            let reason = ledger["reason"]
                .as_str()
                .or_else(|| ledger["status"].as_str());
            let reason = reason.unwrap_or("it does not say why");
            Finding::error(
                "service",
                format!("it takes no records ({status}): {reason}"),
            )
            .advise("see the database's findings; the service goes on by itself once it can")
        }
        Err(found) => Finding::error("service", found),
    }
}

/// What the service lost, and why it fails to export.
fn losses(health: &Value, findings: &mut Vec<Finding>) {
    let dropped: Vec<String> = health["dropped"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| {
            format!(
                "{} {} ({})",
                one["items"],
                text(&one["signal"]),
                text(&one["reason"])
            )
        })
        .collect();
    if !dropped.is_empty() {
        let found = format!("lost since its start: {}", dropped.join(", "));
        findings.push(
            Finding::warning("service.losses", found)
                .advise("docs/runbooks has a page for each reason; see the findings on OTLP"),
        );
    }
    for exporter in health["exporters"].as_array().into_iter().flatten() {
        if exporter["consecutive_failures"].as_u64() > Some(0) {
            let check = format!("service.export.{}", text(&exporter["signal"]));
            let found = format!("its last export failed: {}", text(&exporter["last_error"]));
            findings.push(Finding::error(check, found).advise("see the findings on OTLP"));
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("unknown")
}

fn scraped(health: &Value, push: bool, now: Timestamp) -> Finding {
    let reader = |field: &str| {
        let time: Timestamp = health[field]["time"].as_str()?.parse().ok()?;
        let age = now.as_second() - time.as_second();
        let agent = health[field]["user_agent"]
            .as_str()
            .unwrap_or("no user agent");
        Some((age.max(0), agent.to_owned()))
    };
    let check = "scrape";
    match (reader("last_scrape"), push) {
        (Some((age, agent)), true) if age <= LATE => Finding::warning(
            check,
            format!("{agent} scraped {age} s ago, and metrics are pushed over OTLP too"),
        )
        .advise(
            "one path for each metric: where both end in one database, series are there twice; \
             set OTEL_METRICS_EXPORTER=none, or take the scrape away",
        ),
        (Some((age, agent)), false) if age <= LATE => {
            Finding::ok(check, format!("{agent} scraped {age} s ago"))
        }
        (Some((age, agent)), false) => {
            Finding::warning(check, format!("{agent} scraped last {age} s ago"))
                .advise("look at the targets page of that Prometheus: the scrape fails or is gone")
        }
        (_, true) => Finding::ok(check, "nothing scrapes; metrics are pushed over OTLP"),
        (None, false) => {
            let read = match reader("last_read") {
                Some((age, agent)) => format!(
                    "no Prometheus has scraped since the service started; {agent} read the page \
                     {age} s ago"
                ),
                None => "nothing has read the metrics since the service started".to_owned(),
            };
            Finding::warning(check, read).advise(
                "give Prometheus a scrape_config for /api/monitoring/metrics (deploy/ has one), \
                 with `authorization` where tokens are set, or push over OTLP",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::finding::Severity;
    use super::*;

    #[test]
    fn who_scrapes_is_judged_with_what_is_pushed() {
        let now: Timestamp = "2026-11-01T12:00:00Z".parse().unwrap();
        let at = |time: &str| json!({"time": time, "user_agent": "Prometheus/3.0"});
        let recent = json!({"last_scrape": at("2026-11-01T11:59:50Z")});
        let old = json!({"last_scrape": at("2026-11-01T10:00:00Z")});
        let read = json!({"last_read": {"time": "2026-11-01T11:59:00Z", "user_agent": "curl"}});
        for (health, push, severity, part) in [
            (
                &recent,
                false,
                Severity::Ok,
                "Prometheus/3.0 scraped 10 s ago",
            ),
            (&recent, true, Severity::Warning, "pushed over OTLP too"),
            (&old, false, Severity::Warning, "last 7200 s ago"),
            (&old, true, Severity::Ok, "nothing scrapes"),
            (
                &read,
                false,
                Severity::Warning,
                "curl read the page 60 s ago",
            ),
            (&json!({}), false, Severity::Warning, "nothing has read"),
        ] {
            let finding = scraped(health, push, now);
            assert_eq!(finding.severity, severity, "{health} {push}");
            assert!(finding.found.contains(part), "{}", finding.found);
        }
    }

    #[test]
    fn losses_and_failing_exports_are_named() {
        let mut findings = Vec::new();
        let health = json!({
            "dropped": [{"signal": "traces", "reason": "queue_full", "items": 7}],
            "exporters": [
                {"signal": "logs", "consecutive_failures": 2, "last_error": "HTTP 401"},
                {"signal": "metrics", "consecutive_failures": 0, "last_error": null},
            ],
        });
        losses(&health, &mut findings);
        let [lost, failing] = &findings[..] else {
            panic!("{findings:?}");
        };
        assert_eq!(lost.found, "lost since its start: 7 traces (queue_full)");
        assert_eq!(failing.check, "service.export.logs");
        assert!(failing.found.contains("HTTP 401"));
    }
}
