//! What a test program keeps of spans that ended and of log records, by scope.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::logs::AnyValue;
use opentelemetry::trace::SpanId;
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord};
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use parking_lot::Mutex;

use crate::recording::observe;

/// Spans and log records that a scope keeps at most; those after are counted.
const KEPT: usize = 10_000;

/// A log record.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) level: &'static str,
    pub(crate) target: String,
    pub(crate) message: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) span: Option<SpanId>,
}

/// What one scope kept.
#[derive(Clone, Default)]
pub(crate) struct Kept {
    pub(crate) spans: Vec<SpanData>,
    pub(crate) records: Vec<Record>,
    /// Spans and records that there was no room for.
    pub(crate) left_out: usize,
}

/// Keeps what ended and was logged in each open scope.
#[derive(Clone, Default, Debug)]
pub(crate) struct Observed(Arc<Mutex<HashMap<u64, Kept>>>);

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept")
    }
}

impl Observed {
    /// Begins to keep.
    pub(crate) fn open(&self, scope: u64) {
        self.0.lock().insert(scope, Kept::default());
    }

    /// What was kept so far.
    pub(crate) fn kept(&self, scope: u64) -> Kept {
        self.0.lock().get(&scope).cloned().unwrap_or_default()
    }

    /// Ends keeping.
    pub(crate) fn close(&self, scope: u64) {
        self.0.lock().remove(&scope);
    }

    fn keep(&self, trace_id: opentelemetry::TraceId, keep: impl FnOnce(&mut Kept)) {
        let scope = observe::of_trace(u128::from_be_bytes(trace_id.to_bytes()));
        if let Some(kept) = self.0.lock().get_mut(&scope) {
            if kept.spans.len() + kept.records.len() < KEPT {
                keep(kept);
            } else {
                kept.left_out += 1;
            }
        }
    }
}

impl SpanProcessor for Observed {
    fn on_start(&self, span: &mut Span, _context: &Context) {
        let trace_id = opentelemetry::trace::Span::span_context(span).trace_id();
        observe::join(u128::from_be_bytes(trace_id.to_bytes()));
    }

    fn on_end(&self, span: SpanData) {
        self.keep(span.span_context.trace_id(), |kept| kept.spans.push(span));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl LogProcessor for Observed {
    fn emit(&self, data: &mut SdkLogRecord, _scope: &InstrumentationScope) {
        let Some(trace) = data.trace_context() else {
            return;
        };
        let record = Record {
            level: data.severity_text().unwrap_or_default(),
            target: data.target().map(ToString::to_string).unwrap_or_default(),
            message: data.body().map(text).unwrap_or_default(),
            fields: data
                .attributes_iter()
                .map(|(key, value)| (key.to_string(), text(value)))
                .collect(),
            span: Some(trace.span_id),
        };
        self.keep(trace.trace_id, |kept| kept.records.push(record));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
}

fn text(value: &AnyValue) -> String {
    match value {
        AnyValue::String(text) => text.to_string(),
        AnyValue::Int(number) => number.to_string(),
        AnyValue::Double(number) => number.to_string(),
        AnyValue::Boolean(truth) => truth.to_string(),
        other => format!("{other:?}"),
    }
}
