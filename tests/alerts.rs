//! The rendered rules, their tests and the Alertmanager's settings, judged by the tools of
//! Prometheus and of Cloudflare.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use support::oracle::missing;
use tachograph::catalog::{Alert, Condition, Signal};
use tachograph::generate::{self, Links};
use tachograph::signals::CATALOG;

/// Runs a tool in a folder; `None` if it is not installed.
fn run(tool: &str, package: &str, folder: &Path, arguments: &[&str]) -> Option<Output> {
    match Command::new(tool)
        .current_dir(folder)
        .args(arguments)
        .output()
    {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            missing(tool, &format!("apt-get install {package}"));
            None
        }
        Err(error) => panic!("{tool}: {error}"),
    }
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn signals() -> Vec<&'static Signal> {
    generate::signals(CATALOG)
}

/// Every alert with its signal.
fn alerts() -> impl Iterator<Item = (&'static Signal, &'static Alert)> {
    let each = |signal: &'static Signal| signal.alerts.iter().map(move |alert| (signal, alert));
    signals().into_iter().flat_map(each)
}

/// Renders signals into a new folder.
fn rendered(signals: &[&'static Signal]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let files = generate::files(signals, &Links::default());
    generate::write(folder.path(), &files).unwrap();
    folder
}

/// The rule files of a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| PathBuf::from(entry.unwrap().file_name()))
        .filter(|name| name.extension().is_some_and(|found| found == "yaml"))
        .map(|name| name.display().to_string())
        .collect();
    names.sort();
    assert!(!names.is_empty(), "no rules in {}", folder.display());
    names
}

fn promtool(folder: &Path, command: &[&str]) -> Option<Output> {
    let names = names(folder);
    let mut arguments = command.to_vec();
    arguments.extend(names.iter().map(String::as_str));
    run("promtool", "prometheus", folder, &arguments)
}

fn yaml(path: &Path) -> Value {
    serde_norway::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn rules_are_valid_and_fire_when_they_should_and_only_then() {
    let folder = rendered(&signals());
    let rules = folder.path().join("alerts");
    let Some(output) = promtool(&rules, &["check", "rules"]) else {
        return;
    };
    assert!(output.status.success(), "{}", said(&output));
    let output = promtool(&rules.join("tests"), &["test", "rules"]).unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn every_alert_is_tested_and_every_rule_says_what_a_reader_needs() {
    let folder = rendered(&signals());
    let rules = folder.path().join("alerts");
    let mut ruled = 0;
    for name in names(&rules) {
        let tests = fs::read_to_string(rules.join("tests").join(&name)).unwrap();
        for group in yaml(&rules.join(&name))["groups"].as_array().unwrap() {
            for rule in group["rules"].as_array().unwrap() {
                let Some(alert) = rule["alert"].as_str() else {
                    assert!(rule["record"].as_str().unwrap().split(':').count() == 3);
                    continue;
                };
                ruled += 1;
                let page = format!("docs/runbooks/{alert}.md");
                assert_eq!(rule["annotations"]["runbook_url"], page.as_str());
                let page = fs::read_to_string(folder.path().join(page)).unwrap();
                let sections = ["## What it means", "## Queries", "## When to silence"];
                assert!(sections.iter().all(|section| page.contains(section)));
                assert!(page.contains(rule["expr"].as_str().unwrap()), "{alert}");
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                assert!(text(&rule["annotations"]["summary"]).len() > 10, "{alert}");
                assert!(
                    text(&rule["annotations"]["description"]).len() > 30,
                    "{alert}"
                );
                let severity = text(&rule["labels"]["severity"]);
                assert!(["critical", "warning", "info"].contains(&severity.as_str()));
                let link = text(&rule["annotations"]["dashboard"]);
                let uid = link.trim_start_matches("/d/").split('?').next().unwrap();
                let dashboard = uid.strip_prefix("tachograph-").unwrap();
                let dashboard = format!("dashboards/{dashboard}.json");
                assert!(folder.path().join(&dashboard).exists(), "{dashboard}");
                assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert}");
            }
        }
    }
    assert!(ruled >= alerts().count());
}

/// What is changed about an alert, and the alert with it.
type Mutation = (&'static str, Alert);

/// The ways to get an alert a little wrong.
fn mutations(alert: &Alert) -> Vec<Mutation> {
    let with = |condition| Alert {
        condition,
        ..*alert
    };
    let mut all = vec![(
        "held for longer",
        Alert {
            for_seconds: alert.for_seconds + 120,
            ..*alert
        },
    )];
    if alert.for_seconds > 0 {
        let for_seconds = 0;
        all.push((
            "not held",
            Alert {
                for_seconds,
                ..*alert
            },
        ));
    }
    let scaled = |limit: f64, by: f64| if limit == 0.0 { by - 1.0 } else { limit * by };
    for (name, by) in [("looser", 0.9), ("stricter", 1.5)] {
        let condition = match alert.condition {
            // Of a value that is too low, the looser threshold is the higher one.
            Condition::ValueBelow { metric, threshold } => Condition::ValueBelow {
                metric,
                threshold: threshold + if by > 1.0 { -1.0 } else { 0.1 },
            },
            Condition::ValueAbove { metric, threshold } => Condition::ValueAbove {
                metric,
                threshold: scaled(threshold, if by > 1.0 { 3.0 } else { by }),
            },
            Condition::MeanBelow {
                metric,
                threshold,
                floor,
            } => Condition::MeanBelow {
                metric,
                threshold: threshold * if by > 1.0 { 0.7 } else { 1.1 },
                floor,
            },
            Condition::ShareBelow {
                metric,
                whole,
                ratio,
                floor,
            } => Condition::ShareBelow {
                metric,
                whole,
                ratio: ratio * if by > 1.0 { 0.7 } else { 1.1 },
                floor,
            },
            Condition::QuantileAbove {
                metric,
                quantile,
                threshold,
                floor,
            } => Condition::QuantileAbove {
                metric,
                quantile,
                threshold: threshold * by,
                floor,
            },
            Condition::ErrorRatioAbove {
                metric,
                ratio,
                floor,
            } => Condition::ErrorRatioAbove {
                metric,
                ratio: ratio * if by > 1.0 { by } else { 0.7 },
                floor,
            },
            Condition::RateAbove { metric, per_second } => Condition::RateAbove {
                metric,
                per_second: per_second * if by > 1.0 { by } else { 0.8 },
            },
            Condition::IncreaseAbove { metric, amount } => Condition::IncreaseAbove {
                metric,
                amount: amount * if by > 1.0 { by } else { 0.8 },
            },
            Condition::Growing {
                metric,
                threshold,
                ahead_seconds,
            } => Condition::Growing {
                metric,
                threshold: threshold * if by > 1.0 { by } else { 0.5 },
                ahead_seconds,
            },
            Condition::OlderThan { metric, seconds } => Condition::OlderThan {
                metric,
                seconds: (f64::from(seconds) * by) as u32,
            },
            Condition::BurnRate { metric, objective } => Condition::BurnRate {
                metric,
                objective: 1.0 - (1.0 - objective) * by.max(0.8),
            },
            _ => continue,
        };
        all.push((name, with(condition)));
    }
    match alert.condition {
        Condition::QuantileAbove {
            metric,
            quantile,
            threshold,
            ..
        } => all.push((
            "without a floor",
            with(Condition::QuantileAbove {
                metric,
                quantile,
                threshold,
                floor: 0,
            }),
        )),
        Condition::ErrorRatioAbove { metric, ratio, .. } => all.push((
            "without a floor",
            with(Condition::ErrorRatioAbove {
                metric,
                ratio,
                floor: 0,
            }),
        )),
        Condition::MeanBelow {
            metric, threshold, ..
        } => all.push((
            "without a floor",
            with(Condition::MeanBelow {
                metric,
                threshold,
                floor: 0,
            }),
        )),
        Condition::ShareBelow {
            metric,
            whole,
            ratio,
            ..
        } => all.push((
            "without a floor",
            with(Condition::ShareBelow {
                metric,
                whole,
                ratio,
                floor: 0,
            }),
        )),
        Condition::Occurs { .. } => all.push((
            "over half the window",
            Alert {
                window_seconds: alert.window_seconds / 2,
                ..*alert
            },
        )),
        _ => {}
    }
    all
}

/// A signal with one alert only.
fn alone(signal: &Signal, alert: Alert) -> &'static Signal {
    let alerts: &'static [Alert] = Box::leak(Box::new([alert]));
    Box::leak(Box::new(Signal { alerts, ..*signal }))
}

/// The tests of one alert of each kind fail when its rule is a little wrong: other expressions
/// under the same annotations, whose texts would give the change away.
#[test]
fn a_rule_that_is_a_little_wrong_fails_its_test() {
    let mut kinds = Vec::new();
    for (signal, alert) in alerts() {
        let kind = std::mem::discriminant(&alert.condition);
        if kinds.contains(&kind) {
            continue;
        }
        kinds.push(kind);
        let folder = rendered(&[alone(signal, *alert)]);
        let file = folder.path().join(format!("alerts/{}.yaml", signal.domain));
        let tests = folder.path().join("alerts/tests");
        let right = yaml(&file);
        let Some(output) = promtool(&tests, &["test", "rules"]) else {
            return;
        };
        assert!(output.status.success(), "{}", said(&output));
        for (what, wrong) in mutations(alert) {
            let other = rendered(&[alone(signal, wrong)]);
            let other = yaml(&other.path().join(format!("alerts/{}.yaml", signal.domain)));
            let mut mixed = right.clone();
            let groups = mixed["groups"].as_array_mut().unwrap();
            for (group, other) in groups.iter_mut().zip(other["groups"].as_array().unwrap()) {
                let rules = group["rules"].as_array_mut().unwrap();
                for (rule, other) in rules.iter_mut().zip(other["rules"].as_array().unwrap()) {
                    rule["expr"] = other["expr"].clone();
                    let rule = rule.as_object_mut().unwrap();
                    match other.get("for") {
                        Some(held) => rule.insert("for".to_owned(), held.clone()),
                        None => rule.remove("for"),
                    };
                }
            }
            assert_ne!(mixed, right, "{}: {what}", alert.name);
            // JSON is YAML.
            fs::write(&file, mixed.to_string()).unwrap();
            let output = promtool(&tests, &["test", "rules"]).unwrap();
            assert!(
                !output.status.success() && said(&output).contains("exp:"),
                "{} passes its test when it is {what}: {}",
                alert.name,
                said(&output)
            );
        }
    }
    assert_eq!(kinds.len(), 16, "each kind of condition is in use");
}

/// System, its alert, and the alert that stands for it.
const GUIDES: &[(&str, &str, &str)] = &[
    ("agent-service", "HighErrorRate", "HttpServerErrors"),
    (
        "agent-service",
        "DatabasePoolExhaustion",
        "DatabasePoolNearlyExhausted",
    ),
    ("agent-service", "AgentExecutionSlow", "AgentTakesMinutes"),
    ("agent-workflow", "AgentExecutionSlow", "AgentSlow"),
    ("agent-workflow", "HighErrorRate", "AgentFailureRateHigh"),
    ("agent-workflow", "LowSuccessRate", "AgentSuccessRateLow"),
    (
        "autobot",
        "HighWorkflowFailureRate",
        "WorkflowFailureRateHigh",
    ),
    ("autobot", "GitHubRateLimitLow", "GitHubRateLimitLow"),
    (
        "autobot",
        "HighPriorityTaskQueueBacklog",
        "TaskQueueBacklogHighPriority",
    ),
    ("autobot", "RedisPoolSaturationHigh", "RedisPoolSaturated"),
    ("data20", "HighHTTPErrorRate", "HttpServerErrors"),
    ("data20", "slow requests", "HttpServerSlow"),
    ("data20", "tool failure rate", "ToolFailureRateHigh"),
    ("data20", "SlowToolExecution", "ToolSlow"),
    ("data20", "slow database queries", "DatabaseStatementsSlow"),
    ("data20", "Celery failures", "CeleryTaskFailureRateHigh"),
    ("data20", "high CPU", "HostCpuSaturated"),
    ("data20", "high memory", "HostMemoryLow"),
    ("data20", "high disk", "HostDiskFull"),
    ("data20", "service down", "ServiceDown"),
    ("omniclaude", "HighActionLogLatency", "ActionLogSlow"),
    (
        "omniclaude",
        "HighEventPublishFailureRate",
        "EventPublishFailureRateHigh",
    ),
    ("omniclaude", "LowCacheHitRate", "CacheHitRateLow"),
    (
        "omniclaude",
        "DatabaseConnectionPoolExhaustion",
        "DatabasePoolNearlyExhausted",
    ),
    ("omniclaude", "ServiceUnhealthy", "ServiceUnhealthy"),
    ("omniclaude", "HighHTTPErrorRate", "HttpServerErrors"),
];

#[test]
fn every_alert_of_the_guides_is_here() {
    for (guide, theirs, ours) in GUIDES {
        assert!(
            alerts().any(|(_, alert)| alert.name == *ours),
            "{guide}: {theirs} became {ours}, which is not declared"
        );
    }
}

/// What became of an alert, and what was corrected, stands in the guide of migration.
#[test]
fn the_guides_of_migration_tell_of_every_alert() {
    for (guide, theirs, ours) in GUIDES {
        let path = format!("{}/docs/migrate/{guide}.md", env!("CARGO_MANIFEST_DIR"));
        let page = fs::read_to_string(path).unwrap();
        let section = page.split("\n## ").find(|s| s.starts_with("Alerts\n"));
        let mut rows = section.unwrap().lines().filter(|l| l.starts_with("| "));
        let row = rows.find(|row| row.split('|').nth(1).unwrap().contains(theirs));
        let row = row.unwrap_or_else(|| panic!("docs/migrate/{guide}.md has no row for {theirs}"));
        let mut cells = row.split('|').skip(2).map(str::trim);
        let (named, corrected) = (cells.next().unwrap(), cells.next().unwrap());
        assert!(named.contains(&format!("`{ours}`")), "{guide}: {row}");
        assert!(corrected.len() > 20, "{guide}: {row}");
    }
}

fn amtool(folder: &Path, arguments: &[&str]) -> Option<Output> {
    run("amtool", "prometheus-alertmanager", folder, arguments)
}

#[test]
fn the_alertmanager_s_settings_are_valid_and_send_each_severity_where_it_belongs() {
    let folder = rendered(&signals());
    let alerts = folder.path().join("alerts");
    let Some(output) = amtool(&alerts, &["check-config", "alertmanager.yml"]) else {
        return;
    };
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("1 templates"), "{}", said(&output));
    for (severity, receiver) in [
        ("critical", "page"),
        ("warning", "ticket"),
        ("info", "nobody"),
        ("", "ticket"),
    ] {
        for (signal, alert) in [("http", "HttpServerErrors"), ("llm", "LlmSpendPerDayHigh")] {
            let labels = [
                format!("severity={severity}"),
                format!("domain={signal}"),
                format!("alertname={alert}"),
                "job=backend".to_owned(),
            ];
            let verify = format!("--verify.receivers={receiver}");
            let mut arguments = vec!["config", "routes", "test"];
            arguments.extend(["--config.file=alertmanager.yml", &verify]);
            arguments.extend(labels.iter().map(String::as_str));
            let output = amtool(&alerts, &arguments).unwrap();
            assert!(output.status.success(), "{severity}: {}", said(&output));
        }
    }
}

#[test]
fn what_mutes_what_follows_from_the_declarations() {
    let folder = rendered(&signals());
    let config = yaml(&folder.path().join("alerts/alertmanager.yml"));
    let rules = config["inhibit_rules"].as_array().unwrap();
    let of = |source: &str| {
        let source = format!("alertname=\"{source}\"");
        rules
            .iter()
            .find(|rule| rule["source_matchers"][0] == source.as_str())
            .unwrap_or_else(|| panic!("{source} mutes nothing"))
    };
    let down = of("ServiceDown");
    assert_eq!(down["equal"], serde_json::json!(["job"]));
    assert_eq!(down["target_matchers"][0], "alertname!=\"ServiceDown\"");
    let errors = of("HttpServerErrors");
    assert_eq!(errors["equal"], serde_json::json!(["job", "http_route"]));
    assert_eq!(
        errors["target_matchers"][0],
        "alertname=~\"HttpServerSlow\""
    );
    // The page of an objective mutes its ticket.
    let burns = of("LlmErrorBudgetBurns");
    let targets = burns["target_matchers"][0].as_str().unwrap();
    assert!(targets.contains("LlmErrorBudgetBurns"), "{targets}");
    assert_eq!(
        burns["equal"],
        serde_json::json!(["job", "gen_ai_provider_name"])
    );
    for rule in rules {
        assert!(rule["equal"][0] == "job", "{rule}");
    }
}

#[test]
fn no_secret_is_in_the_settings() {
    let folder = rendered(&signals());
    let text = fs::read_to_string(folder.path().join("alerts/alertmanager.yml")).unwrap();
    for line in text.lines() {
        let key = line.trim().split(':').next().unwrap();
        for secret in ["api_url", "routing_key", "service_key", "password", "token"] {
            assert!(!key.contains(secret) || key.ends_with("_file"), "{line}");
        }
    }
    for receiver in yaml(&folder.path().join("alerts/alertmanager.yml"))["receivers"]
        .as_array()
        .unwrap()
    {
        for (key, configs) in receiver.as_object().unwrap() {
            if key != "name" {
                for config in configs.as_array().unwrap() {
                    assert_eq!(config["send_resolved"], true, "{key}");
                }
            }
        }
    }
}

/// A group holds alerts of several routes, which share neither summary nor description.
#[test]
fn notifications_tell_every_alert_of_a_group() {
    let folder = rendered(&signals());
    let alert = |route: &str, status: &str| {
        serde_json::json!({
            "status": status,
            "labels": { "alertname": "HttpServerErrors", "severity": "critical", "job": "backend", "http_route": route },
            "annotations": {
                "summary": format!("Errors on {route}"),
                "description": format!("7% failed on {route}."),
                "runbook_url": "docs/runbooks/HttpServerErrors.md",
                "dashboard": "/d/tachograph-api",
            },
            "startsAt": "2026-01-02T03:04:05Z",
            "endsAt": "2026-01-02T04:05:06Z",
        })
    };
    let data = serde_json::json!({
        "status": "firing",
        "groupLabels": { "alertname": "HttpServerErrors", "job": "backend" },
        "commonLabels": {}, "commonAnnotations": {},
        "alerts": [alert("/a", "firing"), alert("/b", "firing"), alert("/c", "resolved")],
    });
    fs::write(folder.path().join("data.json"), data.to_string()).unwrap();
    let render = |template: &str| {
        let text = format!("--template.text={{{{ template \"{template}\" . }}}}");
        let arguments = [
            "template",
            "render",
            "--template.glob=alerts/templates/*.tmpl",
            "--template.data=data.json",
            &text,
        ];
        let output = amtool(folder.path(), &arguments)?;
        assert!(output.status.success(), "{}", said(&output));
        Some(String::from_utf8(output.stdout).unwrap())
    };
    let Some(title) = render("tachograph.title") else {
        return;
    };
    assert_eq!(title.trim(), "[FIRING 2] HttpServerErrors of backend");
    let text = render("tachograph.text").unwrap();
    for part in [
        "FIRING critical: Errors on /a\n7% failed on /a.\nSince 2026-01-02 03:04:05 UTC\n",
        "FIRING critical: Errors on /b\n",
        "RESOLVED critical: Errors on /c\n",
        "From 2026-01-02 03:04:05 to 2026-01-02 04:05:06 UTC\n",
        "Runbook: docs/runbooks/HttpServerErrors.md\nDashboard: /d/tachograph-api",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

/// Cloudflare's pint, of one version, built by the Go toolchain below the target folder.
fn pint() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pint");
    let binary = folder.join("pint-0.60.0");
    if binary.exists() {
        return Ok(binary);
    }
    fs::create_dir_all(&folder).unwrap();
    let module = "module rules\n\ngo 1.22\n\nrequire github.com/cloudflare/pint v0.60.0\n";
    fs::write(folder.join("go.mod"), module).unwrap();
    let part = folder.join("part");
    let built = Command::new("go")
        .current_dir(&folder)
        .args(["build", "-mod=mod", "-o"])
        .arg(&part)
        .arg("github.com/cloudflare/pint/cmd/pint")
        .output()
        .map_err(|error| error.to_string())?;
    if !built.status.success() {
        return Err(said(&built));
    }
    fs::rename(&part, &binary).unwrap();
    Ok(binary)
}

#[test]
fn pint_finds_nothing() {
    let pint = match pint() {
        Ok(pint) => pint,
        Err(error) => {
            missing("cloudflare/pint", "Go, and its module proxy");
            eprintln!("{error}");
            return;
        }
    };
    let folder = rendered(&signals());
    let rules = folder.path().join("alerts");
    let lint = || {
        let mut lint = Command::new(&pint);
        lint.current_dir(&rules)
            .args(["--no-color", "--offline", "lint"])
            .args(["--min-severity=info", "--fail-on=info"])
            .args(names(&rules));
        lint.output().unwrap()
    };
    let output = lint();
    assert!(output.status.success(), "{}", said(&output));
    // It must be able to find something: a label that the expression does not keep.
    let file = rules.join("tool.yaml");
    let spoilt = fs::read_to_string(&file)
        .unwrap()
        .replace("by (job, gen_ai_tool_name)", "by (job)");
    fs::write(&file, spoilt).unwrap();
    assert!(!lint().status.success());
}
