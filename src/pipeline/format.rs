//! The local log output: one line per event, as JSON or text.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::io::Write as _;

use opentelemetry::Context as OtelContext;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::logs::{is_log_record, is_sdk, with_metadata};
use super::sampling::thread_is_live;
use super::sink::Sink;

/// Form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFormat {
    /// A JSON object: `timestamp` (RFC 3339, microseconds, UTC), `level`, `target`, `event`
    /// (the name, where one was given), `message`, `fields` (an object), `spans` (names from
    /// the root on), `trace_id` and `span_id` (lower-case hexadecimal, while a span is in
    /// force, sampled or not). What is not known is left out.
    Json,
    /// Text for a terminal; control characters are escaped.
    Text {
        /// Colours the level.
        color: bool,
    },
}

/// Longest text of one field or message, bytes; the rest is cut off and marked by `…`.
const TEXT_BYTES: usize = 32 * 1024;
/// Room that a thread keeps for its next line, bytes.
const KEPT_BYTES: usize = 64 * 1024;

/// Writes each event as a line to a [`Sink`].
///
/// A line is built in a buffer of the thread and written at once; nothing is allocated in
/// the steady state. What the sink cannot take is counted there.
pub struct FormatLayer {
    format: LineFormat,
    sink: Sink,
}

impl FormatLayer {
    /// Lines of this form to this sink.
    #[must_use]
    pub fn new(format: LineFormat, sink: Sink) -> Self {
        Self { format, sink }
    }
}

#[derive(Default)]
struct Buffers {
    line: Vec<u8>,
    fields: Vec<u8>,
    message: String,
    scratch: String,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

impl<S> Layer<S> for FormatLayer
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        // Taken out, so that a value whose `Debug` logs finds empty buffers instead of
        // borrowed ones. `Err`: the thread is ending.
        let mut buffers = BUFFERS.try_with(RefCell::take).unwrap_or_default();
        with_metadata(event, |meta| match self.format {
            LineFormat::Json => buffers.json(meta, event, &ctx),
            LineFormat::Text { color } => buffers.text(meta, event, &ctx, color),
        });
        self.sink.write(&buffers.line);
        buffers.clear();
        let _ = BUFFERS.try_with(|kept| kept.replace(buffers));
    }
}

impl Buffers {
    fn clear(&mut self) {
        for bytes in [&mut self.line, &mut self.fields] {
            bytes.clear();
            bytes.shrink_to(KEPT_BYTES);
        }
        for text in [&mut self.message, &mut self.scratch] {
            text.clear();
            text.shrink_to(KEPT_BYTES);
        }
    }

    fn record(&mut self, event: &Event<'_>, style: Style) {
        event.record(&mut FieldVisitor {
            style,
            fields: &mut self.fields,
            message: &mut self.message,
            scratch: &mut self.scratch,
            from_log: is_log_record(event),
        });
    }

    fn json<S>(&mut self, meta: &Metadata<'_>, event: &Event<'_>, ctx: &Context<'_, S>)
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        self.record(event, Style::Json);
        let line = &mut self.line;
        let _ = write!(line, "{{\"timestamp\":\"{:.6}\"", jiff::Timestamp::now());
        let _ = write!(line, ",\"level\":\"{}\",\"target\":", meta.level());
        json_text(line, meta.target());
        if let Some(name) = given_name(event) {
            line.extend_from_slice(b",\"event\":");
            json_text(line, name);
        }
        if !self.message.is_empty() {
            line.extend_from_slice(b",\"message\":");
            json_text(line, &self.message);
        }
        if !self.fields.is_empty() {
            line.extend_from_slice(b",\"fields\":{");
            line.extend_from_slice(&self.fields);
            line.push(b'}');
        }
        if let Some(scope) = ctx.event_scope(event) {
            line.extend_from_slice(b",\"spans\":[");
            for (at, span) in scope.from_root().enumerate() {
                if at > 0 {
                    line.push(b',');
                }
                json_text(line, span.name());
            }
            line.push(b']');
        }
        with_ids(meta, |ids| {
            let (trace_id, span_id) = (ids.trace_id(), ids.span_id());
            let _ = write!(
                line,
                ",\"trace_id\":\"{trace_id}\",\"span_id\":\"{span_id}\""
            );
        });
        line.extend_from_slice(b"}\n");
    }

    fn text<S>(&mut self, meta: &Metadata<'_>, event: &Event<'_>, ctx: &Context<'_, S>, color: bool)
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        self.record(event, Style::Text);
        let line = &mut self.line;
        let _ = write!(line, "{:.6} ", jiff::Timestamp::now());
        let (on, off) = match *meta.level() {
            _ if !color => ("", ""),
            Level::ERROR => ("\x1b[31m", "\x1b[0m"),
            Level::WARN => ("\x1b[33m", "\x1b[0m"),
            Level::INFO => ("\x1b[32m", "\x1b[0m"),
            _ => ("\x1b[2m", "\x1b[0m"),
        };
        let _ = write!(line, "{on}{:>5}{off} ", meta.level().as_str());
        visible(line, meta.target());
        line.push(b':');
        if let Some(name) = given_name(event) {
            line.push(b' ');
            visible(line, name);
        }
        if !self.message.is_empty() {
            line.push(b' ');
            visible(line, &self.message);
        }
        line.extend_from_slice(&self.fields);
        if let Some(scope) = ctx.event_scope(event) {
            for (at, span) in scope.from_root().enumerate() {
                line.extend_from_slice(if at == 0 { b" in " } else { b":" });
                visible(line, span.name());
            }
        }
        with_ids(meta, |ids| {
            let _ = write!(line, " trace_id={}", ids.trace_id());
        });
        line.push(b'\n');
    }
}

/// The name of an event, unless the macro made it of file and line.
fn given_name(event: &Event<'_>) -> Option<&'static str> {
    let name = event.metadata().name();
    (!name.starts_with("event ") && !is_log_record(event)).then_some(name)
}

/// Calls `f` with the ids in force, if any.
fn with_ids(meta: &Metadata<'_>, f: impl FnOnce(&SpanContext)) {
    // The SDK logs from inside its context's borrow.
    if is_sdk(meta.target()) || !thread_is_live() {
        return;
    }
    OtelContext::map_current(|context| {
        let span = context.span();
        if span.span_context().is_valid() {
            f(span.span_context());
        }
    });
}

fn json_text(line: &mut Vec<u8>, text: &str) {
    // A vector takes every write.
    let _ = serde_json::to_writer(line, text);
}

/// Text with its control characters escaped, so that a value can neither begin a line of its
/// own nor steer the terminal.
fn visible(line: &mut Vec<u8>, text: &str) {
    for char in text.chars() {
        if char.is_control() || matches!(char, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}') {
            let _ = write!(line, "{}", char.escape_debug());
        } else {
            let mut bytes = [0; 4];
            line.extend_from_slice(char.encode_utf8(&mut bytes).as_bytes());
        }
    }
}

#[derive(Clone, Copy)]
enum Style {
    Json,
    Text,
}

struct FieldVisitor<'a> {
    style: Style,
    fields: &'a mut Vec<u8>,
    message: &'a mut String,
    scratch: &'a mut String,
    from_log: bool,
}

impl FieldVisitor<'_> {
    /// Writes the key, unless the field is not one to write.
    fn key(&mut self, field: &Field) -> bool {
        if self.from_log && field.name().starts_with("log.") {
            return false;
        }
        match self.style {
            Style::Json => {
                if !self.fields.is_empty() {
                    self.fields.push(b',');
                }
                json_text(self.fields, field.name());
                self.fields.push(b':');
            }
            Style::Text => {
                self.fields.push(b' ');
                visible(self.fields, field.name());
                self.fields.push(b'=');
            }
        }
        true
    }

    fn text(&mut self, field: &Field, text: &str) {
        if self.key(field) {
            match self.style {
                Style::Json => json_text(self.fields, text),
                Style::Text if text.is_empty() || text.contains([' ', '"', '=']) => {
                    let _ = write!(self.fields, "{text:?}");
                }
                Style::Text => visible(self.fields, text),
            }
        }
    }

    fn plain(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if self.key(field) {
            let _ = self.fields.write_fmt(value);
        }
    }

    fn formatted(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if field.name() == "message" {
            self.message.clear();
            Limited::write(self.message, value);
            return;
        }
        let mut scratch = std::mem::take(self.scratch);
        scratch.clear();
        Limited::write(&mut scratch, value);
        self.text(field, &scratch);
        *self.scratch = scratch;
    }
}

impl Visit for FieldVisitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.formatted(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" || value.len() > TEXT_BYTES {
            self.formatted(field, format_args!("{value}"));
        } else {
            self.text(field, value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.formatted(field, format_args!("{}", Chain(value)));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, format_args!("{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        match self.style {
            // JSON has no NaN and no infinities.
            Style::Json if !value.is_finite() => self.formatted(field, format_args!("{value}")),
            _ => self.plain(field, format_args!("{value:?}")),
        }
    }
}

/// An error with its causes.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Takes text up to its limit, then refuses.
struct Limited<'a>(&'a mut String);

impl Limited<'_> {
    fn write(text: &mut String, value: fmt::Arguments<'_>) {
        // Cut off, or an implementation that failed: what there is of it is written.
        let _ = Limited(text).write_fmt(value);
    }
}

impl fmt::Write for Limited<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = TEXT_BYTES.saturating_sub(self.0.len());
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        let mut end = room;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.0.push_str(&text[..end]);
        self.0.push('…');
        Err(fmt::Error)
    }
}
