//! Templates: the annotations of alerts and the legends of panels.

use super::Code;
use super::finding::Fault;
use super::infer::Info;
use super::labels::Presence;
use super::names::nearest;

/// The parts of a template between `{{` and `}}`, and what follows each.
fn actions(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find("{{") {
        let inside = &rest[open + 2..];
        let Some(close) = inside.find("}}") else {
            break;
        };
        rest = &inside[close + 2..];
        found.push((&inside[..close], rest));
    }
    found
}

fn absent(label: &str, info: &Info) -> Option<Fault> {
    // What the name of a metric, and a rule, add by themselves.
    let own = matches!(label, "__name__" | "alertname");
    if own || info.labels.presence(label) != Presence::Never {
        return None;
    }
    Some(
        Fault::new(
            Code::AbsentLabel,
            0,
            format!(
                "`{label}` is not among the labels of the result ({}), so the text has a gap",
                info.labels.listed()
            ),
        )
        .nearest(nearest(label, info.labels.known.keys())),
    )
}

/// Faults of an alert's annotation or label.
pub(super) fn check(text: &str, info: &Info) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (action, after) in actions(text) {
        for prefix in ["$labels.", ".Labels."] {
            for (at, _) in action.match_indices(prefix) {
                let rest = &action[at + prefix.len()..];
                let end = rest
                    .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .unwrap_or(rest.len());
                if end > 0 {
                    faults.extend(absent(&rest[..end], info));
                }
            }
        }
        let value = action.contains("$value") || action.contains(".Value");
        if !value {
            continue;
        }
        let percent = after.trim_start().starts_with('%');
        let humanized = action.contains("humanizePercentage");
        let message = match info.share {
            _ if humanized && percent => "`humanizePercentage` writes the percent sign itself",
            Some(1.0) if percent => {
                "the value is a ratio between 0 and 1, so this writes 0.1% for 10 %: {{ $value | humanizePercentage }}"
            }
            Some(100.0) if humanized => {
                "the value is a percentage already, and `humanizePercentage` multiplies it by 100 again"
            }
            _ => continue,
        };
        faults.push(Fault::new(Code::PercentOfRatio, 0, message));
    }
    faults
}

/// Faults of a panel's legend.
pub(super) fn check_legend(text: &str, info: &Info) -> Vec<Fault> {
    actions(text)
        .into_iter()
        .map(|(action, _)| action.trim())
        .filter(|label| {
            !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        })
        .filter_map(|label| absent(label, info))
        .collect()
}
