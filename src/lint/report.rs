//! Reports for people and for machines.

use std::fmt::Write as _;

use serde_json::json;

use super::{Report, Severity};

/// A report for people: a paragraph for each finding, and a line of totals.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    // Writing into a string does not fail.
    for unreadable in &report.unreadable {
        let _ = writeln!(
            out,
            "{}: unreadable: {}\n",
            unreadable.file, unreadable.message
        );
    }
    for finding in &report.findings {
        let _ = write!(out, "{}", finding.file);
        if let Some(line) = finding.line {
            let _ = write!(out, ":{line}");
        }
        let _ = write!(
            out,
            ": {}[{}]",
            finding.severity().as_str(),
            finding.code.as_str()
        );
        if !finding.place.is_empty() {
            let _ = write!(out, " {}", finding.place);
        }
        let _ = writeln!(out, "\n  {}", finding.message);
        if let Some(position) = finding.position
            && let Some(line) = finding.expression.lines().nth(position.line - 1)
        {
            // A window of long lines.
            let start = position.column.saturating_sub(60).max(1);
            let shown: String = line
                .chars()
                .skip(start - 1)
                .take(100)
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect();
            let _ = writeln!(
                out,
                "  | {shown}\n  | {}^ {}:{}",
                " ".repeat(position.column - start),
                position.line,
                position.column
            );
        }
        if let Some(nearest) = &finding.nearest {
            let _ = writeln!(out, "  = did you mean {nearest}?");
        }
        out.push('\n');
    }
    let _ = writeln!(
        out,
        "{} files, {} expressions: {} errors, {} warnings, {} hints{}",
        report.files,
        report.expressions,
        report.count(Severity::Error),
        report.count(Severity::Warning),
        report.count(Severity::Hint),
        if report.unreadable.is_empty() {
            String::new()
        } else {
            format!(", {} unreadable", report.unreadable.len())
        }
    );
    out
}

/// A report for machines, as `docs/lint.md` describes it.
#[must_use]
pub fn json(report: &Report) -> String {
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|finding| {
            json!({
                "file": finding.file,
                "line": finding.line,
                "place": finding.place,
                "severity": finding.severity().as_str(),
                "code": finding.code.as_str(),
                "message": finding.message,
                "nearest": finding.nearest,
                "expression": (!finding.expression.is_empty()).then_some(&finding.expression),
                "position": finding.position.map(|position| json!({
                    "offset": position.offset,
                    "line": position.line,
                    "column": position.column,
                })),
            })
        })
        .collect();
    let unreadable: Vec<_> = report
        .unreadable
        .iter()
        .map(|unreadable| json!({"file": unreadable.file, "message": unreadable.message}))
        .collect();
    let value = json!({
        "findings": findings,
        "unreadable": unreadable,
        "files": report.files,
        "expressions": report.expressions,
        "errors": report.count(Severity::Error),
        "warnings": report.count(Severity::Warning),
        "hints": report.count(Severity::Hint),
    });
    format!("{value:#}\n")
}
