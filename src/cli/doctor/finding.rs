//! What a check found.

use std::fmt::Write as _;

use serde::Serialize;

use crate::pipeline::config::show::MASK;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Severity {
    Ok,
    /// It could not be found out.
    Skipped,
    /// It works, and may not for long, or not as meant.
    Warning,
    /// It does not work.
    Error,
}

impl Severity {
    pub(super) const ALL: [Self; 4] = [Self::Ok, Self::Skipped, Self::Warning, Self::Error];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    /// Which check: the setting or the thing that was looked at.
    pub(super) check: String,
    pub(super) severity: Severity,
    /// What was seen.
    pub(super) found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

impl Finding {
    fn new(check: impl Into<String>, severity: Severity, found: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            severity,
            found: found.into(),
            advice: None,
        }
    }

    pub(super) fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(check, Severity::Ok, found)
    }

    pub(super) fn skipped(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(check, Severity::Skipped, found)
    }

    pub(super) fn warning(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(check, Severity::Warning, found)
    }

    pub(super) fn error(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(check, Severity::Error, found)
    }

    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// Takes secrets out of what other programs said.
    pub(super) fn mask(&mut self, secrets: &[String]) {
        for text in std::iter::once(&mut self.found).chain(self.advice.as_mut()) {
            for secret in secrets
                .iter()
                .filter(|secret| text.contains(&***secret))
                .collect::<Vec<_>>()
            {
                *text = text.replace(&**secret, MASK);
            }
        }
    }
}

/// Lines for a reader, and a count.
pub(super) fn text(findings: &[Finding]) -> String {
    let wide = |text: &str| text.chars().count();
    let width = findings.iter().map(|f| wide(&f.check)).max().unwrap_or(0);
    let mut out = String::new();
    for finding in findings {
        let Finding { check, found, .. } = finding;
        let severity = finding.severity.as_str();
        // Writing to a `String` cannot fail.
        let _ = writeln!(out, "{severity:<8} {check:<width$}  {}", lined(found));
        if let Some(advice) = &finding.advice {
            let _ = writeln!(out, "{:9}{:width$}  -> {}", "", "", lined(advice));
        }
    }
    let counts: Vec<String> = Severity::ALL
        .iter()
        .map(|severity| {
            let count = findings.iter().filter(|f| f.severity == *severity).count();
            format!("{count} {}", severity.as_str())
        })
        .collect();
    let _ = writeln!(out, "\n{}", counts.join(", "));
    out
}

/// What others said may hold line ends and control characters.
fn lined(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_said_is_masked_and_kept_on_its_line() {
        let mut finding =
            Finding::error("otlp.logs", "said: no\nhush-hush\x1b[2J").advise("hush-hush");
        finding.mask(&["hush-hush".to_owned()]);
        let text = text(&[finding]);
        assert!(!text.contains("hush"), "{text}");
        assert_eq!(
            text,
            "error    otlp.logs  said: no *** [2J\n                    -> ***\n\n\
             0 ok, 0 skipped, 0 warning, 1 error\n"
        );
    }
}
