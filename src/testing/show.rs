//! What was recorded, as text.

use std::fmt;

use opentelemetry::trace::Status;
use opentelemetry_sdk::trace::SpanData;

use super::{Capture, Point, points};
use crate::pipeline::observed::Record;
use crate::recording::{Reading, observe};
use crate::signals::pipeline::FieldRefused;
use crate::signals::service::ServiceStart;

/// Labels or fields: `{key=value, …}`.
pub(super) struct Pairs<'p>(pub(super) &'p [(String, String)]);

impl fmt::Display for Pairs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, (key, value)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{key}={value}")?;
        }
        f.write_str("}")
    }
}

/// The fields of a span.
pub(super) fn pairs(span: &SpanData) -> Vec<(String, String)> {
    let fields = span.attributes.iter();
    fields
        .map(|pair| (pair.key.to_string(), pair.value.to_string()))
        .collect()
}

pub(super) fn series(point: &Point) -> String {
    let value = match &point.reading {
        Reading::Unsigned(value) => value.to_string(),
        Reading::Signed(value) => value.to_string(),
        Reading::Float(value) => value.to_string(),
        Reading::Histogram { count, sum, .. } => format!("{count} values, {sum} in all"),
        Reading::Absent => "absent".to_owned(),
    };
    format!(
        "  {}: {} {} {value}\n",
        point.signal.name,
        point.metric.name,
        Pairs(&point.labels)
    )
}

pub(super) fn span(span: &SpanData) -> String {
    let failed = match &span.status {
        Status::Error { .. } => " failed",
        _ => "",
    };
    format!("  {} {}{failed}\n", span.name, Pairs(&pairs(span)))
}

pub(super) fn record(record: &Record) -> String {
    format!(
        "  {} {}: {} {}\n",
        record.level,
        record.target,
        record.message,
        Pairs(&record.fields)
    )
}

impl Capture {
    /// What is missing from the capture, if anything is: refused fields, recordings outside of
    /// every capture, what there was no room for.
    pub(super) fn gaps(&self) -> String {
        let mut text = String::new();
        let refused: Vec<Point> = self
            .points()
            .into_iter()
            .filter(|point| point.signal.name == FieldRefused::SIGNAL.name)
            .collect();
        if !refused.is_empty() {
            text.push_str("Refused, because a field was missing or not as declared:\n");
            text.extend(refused.iter().map(series));
        }
        let mut outside = points(|recorder| recorder.observed(observe::NONE));
        outside.retain(|point| {
            // The pipeline itself says when it started.
            point.signal.reportable && point.signal.name != ServiceStart::SIGNAL.name
        });
        if !outside.is_empty() {
            text.push_str(
                "Recorded outside of every capture (give threads and tasks the span in force):\n",
            );
            text.extend(outside.iter().map(series));
        }
        let left_out = self.kept().left_out;
        if left_out > 0 {
            text.push_str(&format!(
                "{left_out} spans and log records were not kept: there are too many\n"
            ));
        }
        text
    }
}

impl fmt::Display for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.kept();
        let sections: [(&str, Vec<String>); 3] = [
            ("Metrics", self.points().iter().map(series).collect()),
            ("Spans", kept.spans.iter().map(span).collect()),
            ("Log", kept.records.iter().map(record).collect()),
        ];
        for (name, lines) in sections {
            match lines.is_empty() {
                true => writeln!(f, "{name}: none")?,
                false => write!(f, "{name}:\n{}", lines.concat())?,
            }
        }
        f.write_str(&self.gaps())
    }
}
