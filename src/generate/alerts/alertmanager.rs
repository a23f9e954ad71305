//! Settings of an Alertmanager: who is told what, and what mutes what.

use super::{identity, rules};
use crate::catalog::{Alert, Condition, Severity, Signal};
use crate::generate::output::File;
use crate::generate::severity;
use crate::generate::yaml::Yaml;

/// Folder that holds one file for each secret.
const SECRETS: &str = "/etc/alertmanager/secrets";

/// What notifications say. A group can hold alerts of several label values, which have no
/// annotation in common: every alert of it is told, never what they share.
const TEMPLATES: &str = r#"{{ define "tachograph.title" -}}
[{{ .Status | toUpper }}{{ if eq .Status "firing" }} {{ .Alerts.Firing | len }}{{ end }}] {{ .GroupLabels.alertname }}{{ with .GroupLabels.job }} of {{ . }}{{ end }}
{{- end }}

{{ define "tachograph.text" -}}
{{ range $i, $alert := .Alerts }}{{ if $i }}

{{ end }}{{ $alert.Status | toUpper }} {{ $alert.Labels.severity }}: {{ $alert.Annotations.summary }}
{{ $alert.Annotations.description }}
{{ if eq $alert.Status "firing" }}Since {{ $alert.StartsAt.UTC.Format "2006-01-02 15:04:05" }} UTC{{ else }}From {{ $alert.StartsAt.UTC.Format "2006-01-02 15:04:05" }} to {{ $alert.EndsAt.UTC.Format "2006-01-02 15:04:05" }} UTC{{ end }}
Runbook: {{ $alert.Annotations.runbook_url }}
Dashboard: {{ $alert.Annotations.dashboard }}{{ end }}
{{- end }}
"#;

/// One alert that keeps others from being notified.
#[derive(Clone, Debug)]
struct Inhibition {
    source: &'static str,
    severity: Severity,
    targets: Targets,
    /// Labels that both must share.
    equal: Vec<String>,
}

#[derive(Clone, Debug)]
enum Targets {
    /// Every other alert.
    Others,
    /// These, where they are less severe.
    Lesser(Vec<&'static str>),
}

/// Everything that is rendered for an Alertmanager.
pub(in crate::generate) fn files(signals: &[&'static Signal]) -> Vec<File> {
    if signals.iter().all(|signal| signal.alerts.is_empty()) {
        return Vec::new();
    }
    vec![
        File {
            path: "alerts/alertmanager.yml".to_owned(),
            text: config(signals).document(),
        },
        File {
            path: "alerts/templates/tachograph.tmpl".to_owned(),
            text: TEMPLATES.to_owned(),
        },
    ]
}

/// What mutes what: a critical alert the lesser ones of its signal that are about the same thing
/// or a part of it, and a service that is down everything else about it.
fn inhibitions(signals: &[&'static Signal]) -> Vec<Inhibition> {
    let mut found = Vec::new();
    for signal in signals {
        for source in signal.alerts {
            if let Condition::JobDown { .. } = source.condition {
                found.push(Inhibition {
                    source: source.name,
                    severity: source.severity,
                    targets: Targets::Others,
                    equal: identity(source),
                });
                continue;
            }
            if source.severity != Severity::Critical {
                continue;
            }
            let about = identity(source);
            let targets: Vec<&'static str> = signal
                .alerts
                .iter()
                .filter(|target| {
                    let part = identity(target);
                    about.iter().all(|label| part.contains(label))
                        && rules(signal, target)
                            .iter()
                            .any(|rule| rule.severity != Severity::Critical)
                })
                .map(|target| target.name)
                .collect();
            if !targets.is_empty() {
                found.push(Inhibition {
                    source: source.name,
                    severity: source.severity,
                    targets: Targets::Lesser(targets),
                    equal: about,
                });
            }
        }
    }
    found
}

/// The alerts that keep an alert from being notified while they fire.
pub(in crate::generate) fn mutes(signals: &[&'static Signal], alert: &Alert) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for inhibition in inhibitions(signals) {
        let muted = match &inhibition.targets {
            Targets::Others => true,
            Targets::Lesser(targets) => targets.contains(&alert.name),
        };
        if muted && inhibition.source != alert.name && !names.contains(&inhibition.source) {
            names.push(inhibition.source);
        }
    }
    names
}

fn inhibit_rule(inhibition: &Inhibition) -> Yaml {
    let source = [
        format!("alertname=\"{}\"", inhibition.source),
        format!("severity=\"{}\"", severity(inhibition.severity)),
    ];
    let target = match &inhibition.targets {
        Targets::Others => vec![format!("alertname!=\"{}\"", inhibition.source)],
        Targets::Lesser(names) => vec![
            format!("alertname=~\"{}\"", names.join("|")),
            "severity=~\"warning|info\"".to_owned(),
        ],
    };
    Yaml::map([
        ("source_matchers", Yaml::list(source)),
        ("target_matchers", Yaml::list(target)),
        ("equal", Yaml::list(inhibition.equal.clone())),
    ])
}

fn config(signals: &[&'static Signal]) -> Yaml {
    let secret = |name: &str| Yaml::Text(format!("{SECRETS}/{name}"));
    let yes = || Yaml::Bool(true);
    let title = || Yaml::Text("{{ template \"tachograph.title\" . }}".to_owned());
    let text = || Yaml::Text("{{ template \"tachograph.text\" . }}".to_owned());
    let slack = |channel: &str| {
        Yaml::map([
            ("api_url_file", secret("slack_url")),
            ("channel", channel.into()),
            ("send_resolved", yes()),
            ("title", title()),
            ("title_link", "{{ (index .Alerts 0).GeneratorURL }}".into()),
            ("text", text()),
        ])
    };
    let pagerduty = Yaml::map([
        ("routing_key_file", secret("pagerduty_routing_key")),
        ("send_resolved", yes()),
        ("severity", "{{ .CommonLabels.severity }}".into()),
        ("description", title()),
        ("details", Yaml::map([("alerts", text())])),
    ]);
    let email = Yaml::map([
        ("to", "on-call@example.com".into()),
        ("send_resolved", yes()),
        ("headers", Yaml::map([("Subject", title())])),
        ("html", "".into()),
        ("text", text()),
    ]);
    let route = |severity: &str, receiver: &str| {
        Yaml::map([
            ("matchers", Yaml::list([format!("severity=\"{severity}\"")])),
            ("receiver", receiver.into()),
        ])
    };
    Yaml::map([
        (
            "global",
            Yaml::map([
                ("smtp_smarthost", "smtp.example.com:587".into()),
                ("smtp_from", "alertmanager@example.com".into()),
                ("smtp_auth_username", "alertmanager".into()),
                ("smtp_auth_password_file", secret("smtp_password")),
            ]),
        ),
        ("templates", Yaml::list(["templates/*.tmpl"])),
        (
            "route",
            Yaml::map([
                ("receiver", "ticket".into()),
                ("group_by", Yaml::list(["alertname", "job"])),
                ("group_wait", "30s".into()),
                ("group_interval", "5m".into()),
                ("repeat_interval", "1d".into()),
                (
                    "routes",
                    Yaml::list([
                        route("critical", "page")
                            .with("group_wait", "10s")
                            .with("repeat_interval", "4h"),
                        route("warning", "ticket"),
                        route("info", "nobody"),
                    ]),
                ),
            ]),
        ),
        (
            "inhibit_rules",
            Yaml::list(inhibitions(signals).iter().map(inhibit_rule)),
        ),
        (
            "receivers",
            Yaml::list([
                Yaml::map([
                    ("name", "page".into()),
                    ("pagerduty_configs", Yaml::list([pagerduty])),
                    ("slack_configs", Yaml::list([slack("#pages")])),
                ]),
                Yaml::map([
                    ("name", "ticket".into()),
                    ("slack_configs", Yaml::list([slack("#alerts")])),
                    ("email_configs", Yaml::list([email])),
                ]),
                Yaml::map([("name", "nobody".into())]),
            ]),
        ),
    ])
}
