//! Spans that ended and log records.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanId, Status};
use opentelemetry_sdk::trace::SpanData;

use super::show::{Pairs, pairs, record, span};
use super::{Capture, carries, nearest};
use crate::pipeline::observed::Record;

/// The spans of one name that ended, with the fields named so far.
#[must_use = "nothing is asserted until it is read"]
#[derive(Debug)]
pub struct SpanQuery<'c> {
    capture: &'c Capture,
    name: String,
    fields: Vec<(String, String)>,
    parent: Option<String>,
    failed: Option<bool>,
}

impl<'c> SpanQuery<'c> {
    pub(super) fn new(capture: &'c Capture, name: &str) -> Self {
        Self {
            capture,
            name: name.to_owned(),
            fields: Vec::new(),
            parent: None,
            failed: None,
        }
    }

    /// Takes only spans with this field, labels and context fields among them; a number or a
    /// truth value as it is written.
    pub fn field(mut self, key: &str, value: &str) -> Self {
        self.fields.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Takes only spans directly below one of this name.
    pub fn child_of(mut self, parent: &str) -> Self {
        self.parent = Some(parent.to_owned());
        self
    }

    /// Takes only spans whose status is an error, or is none.
    pub fn failed(mut self, failed: bool) -> Self {
        self.failed = Some(failed);
        self
    }

    fn found(&self) -> Vec<SpanData> {
        let spans = self.capture.kept().spans;
        let name = |id: SpanId| {
            let found = spans.iter().find(|span| span.span_context.span_id() == id);
            found.map(|span| span.name.clone())
        };
        let matches = |span: &&SpanData| {
            span.name == self.name
                && carries(&pairs(span), &self.fields)
                && (self.parent.as_deref())
                    .is_none_or(|parent| name(span.parent_span_id).is_some_and(|n| n == parent))
                && self
                    .failed
                    .is_none_or(|failed| matches!(span.status, Status::Error { .. }) == failed)
        };
        spans.iter().filter(matches).cloned().collect()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.found().len()
    }

    /// How long each was open.
    #[must_use]
    pub fn durations(&self) -> Vec<Duration> {
        let since = |from: SystemTime, to: SystemTime| to.duration_since(from).unwrap_or_default();
        (self.found().iter())
            .map(|span| since(span.start_time, span.end_time))
            .collect()
    }

    /// Asserts how many there are.
    ///
    /// # Panics
    /// There are more or fewer; says which spans there are.
    #[track_caller]
    pub fn assert_count(&self, expected: usize) {
        let count = self.count();
        if count == expected {
            return;
        }
        let spans = self.capture.kept().spans;
        let names: Vec<&str> = spans.iter().map(|span| span.name.as_ref()).collect();
        let hint = if names.contains(&self.name.as_str()) {
            String::new()
        } else {
            nearest(&self.name, names)
        };
        let status = match self.failed {
            Some(true) => ", failed",
            Some(false) => ", not failed",
            None => "",
        };
        let parent = self.parent.as_ref();
        panic!(
            "span `{}` {}{}{status}: {count} ended, {expected} expected{hint}\nSpans:\n{}{}",
            self.name,
            Pairs(&self.fields),
            parent.map_or_else(String::new, |parent| format!(" below `{parent}`")),
            spans.iter().map(span).collect::<String>(),
            self.capture.gaps()
        );
    }
}

/// The log records of one message, with the fields named so far.
#[must_use = "nothing is asserted until it is read"]
#[derive(Debug)]
pub struct LogQuery<'c> {
    capture: &'c Capture,
    message: String,
    fields: Vec<(String, String)>,
    level: Option<tracing::Level>,
    span: Option<String>,
}

impl<'c> LogQuery<'c> {
    pub(super) fn new(capture: &'c Capture, message: &str) -> Self {
        Self {
            capture,
            message: message.to_owned(),
            fields: Vec::new(),
            level: None,
            span: None,
        }
    }

    /// Takes only records with this field; a number or a truth value as it is written.
    pub fn field(mut self, key: &str, value: &str) -> Self {
        self.fields.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Takes only records of this level.
    pub fn level(mut self, level: tracing::Level) -> Self {
        self.level = Some(level);
        self
    }

    /// Takes only records written directly inside a span of this name, which has ended.
    pub fn in_span(mut self, name: &str) -> Self {
        self.span = Some(name.to_owned());
        self
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        let kept = self.capture.kept();
        let inside = |record: &Record| {
            self.span.as_ref().is_none_or(|name| {
                let mut spans = kept.spans.iter();
                spans.any(|span| {
                    Some(span.span_context.span_id()) == record.span && span.name == *name
                })
            })
        };
        let matches = |record: &&Record| {
            record.message == self.message
                && carries(&record.fields, &self.fields)
                && self
                    .level
                    .is_none_or(|level| level.as_str() == record.level)
                && inside(record)
        };
        kept.records.iter().filter(matches).count()
    }

    /// Asserts how many there are.
    ///
    /// # Panics
    /// There are more or fewer; says which records there are.
    #[track_caller]
    pub fn assert_count(&self, expected: usize) {
        let count = self.count();
        if count == expected {
            return;
        }
        let records = self.capture.kept().records;
        let known: Vec<&str> = records.iter().map(|one| one.message.as_str()).collect();
        let hint = if known.contains(&self.message.as_str()) {
            String::new()
        } else {
            nearest(&self.message, known)
        };
        panic!(
            "log `{}` {}{}{}: {count} written, {expected} expected{hint}\nLog:\n{}{}",
            self.message,
            Pairs(&self.fields),
            (self.level).map_or_else(String::new, |level| format!(" at {level}")),
            (self.span.as_ref()).map_or_else(String::new, |name| format!(" in `{name}`")),
            records.iter().map(record).collect::<String>(),
            self.capture.gaps()
        );
    }
}
