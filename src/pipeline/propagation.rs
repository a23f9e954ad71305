//! W3C Trace Context and Baggage, read strictly and written back as they were read.
//!
//! Sources: W3C Trace Context Level 1 (`traceparent` section 3.2, `tracestate` section 3.3)
//! and W3C Baggage (section 3.3). The SDK's propagators accept signs and any length in the
//! fields of `traceparent`, cut baggage values at `=` and lose `%` on the way out; the one
//! here does not, and costs nothing where the headers are absent.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use opentelemetry::Context;
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};

use opentelemetry::baggage::{Baggage, BaggageExt};

use super::config::Propagator;
use super::w3c_lists;

/// Name of the header that carries the parent's ids and flags.
pub const TRACEPARENT: &str = "traceparent";
/// Name of the header that carries vendor data of the trace.
pub const TRACESTATE: &str = "tracestate";
/// Name of the header that carries baggage.
pub const BAGGAGE: &str = "baggage";

/// Length of a version 00 `traceparent`, bytes.
const TRACEPARENT_LEN: usize = 55;

const TRACE_CONTEXT_BIT: u8 = 1;
const BAGGAGE_BIT: u8 = 2;
/// What is read and written; both unless [`use_only`] says otherwise.
static IN_USE: AtomicU8 = AtomicU8::new(TRACE_CONTEXT_BIT | BAGGAGE_BIT);

/// Reads and writes the headers of these propagators alone, in the whole process
/// (`OTEL_PROPAGATORS`).
pub fn use_only(propagators: &[Propagator]) {
    let bits = propagators.iter().map(|propagator| match propagator {
        Propagator::TraceContext => TRACE_CONTEXT_BIT,
        Propagator::Baggage => BAGGAGE_BIT,
    });
    IN_USE.store(bits.fold(0, |all, bit| all | bit), Ordering::Relaxed);
}

fn in_use(bit: u8) -> bool {
    IN_USE.load(Ordering::Relaxed) & bit != 0
}

/// The fields of a `traceparent` header (W3C Trace Context, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// Id of the trace, not zero.
    pub trace_id: TraceId,
    /// Id of the calling span, not zero.
    pub span_id: SpanId,
    /// Whether the caller records its part of the trace. Other flags are not defined by
    /// Level 1 and are not passed on.
    pub sampled: bool,
}

/// Why a `traceparent` was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceParentError {
    /// Not four fields of 2, 32, 16 and 2 characters divided by hyphens.
    #[error("traceparent is not `version-trace_id-parent_id-flags`")]
    Format,
    /// A field holds something else than lower-case hexadecimal digits.
    #[error("traceparent holds characters other than lower-case hexadecimal digits")]
    Digits,
    /// Version `ff`.
    #[error("traceparent version ff is not allowed")]
    Version,
    /// A trace id of zeros.
    #[error("traceparent has an all-zero trace id")]
    TraceId,
    /// A parent id of zeros.
    #[error("traceparent has an all-zero parent id")]
    ParentId,
}

impl TraceParent {
    /// Reads the value of a `traceparent` header.
    ///
    /// A version above 00 is read by the rules of version 00; what follows its first 55
    /// characters, after a hyphen, is not looked at (section 3.2.4). Blanks and tabs around
    /// the value are allowed, as in any header.
    ///
    /// # Errors
    /// The first rule that the value breaks.
    pub fn parse(value: &[u8]) -> Result<Self, TraceParentError> {
        let value = w3c_lists::trim_blanks(value);
        let Some((fixed, rest)) = value.split_first_chunk::<TRACEPARENT_LEN>() else {
            return Err(TraceParentError::Format);
        };
        if fixed[2] != b'-' || fixed[35] != b'-' || fixed[52] != b'-' {
            return Err(TraceParentError::Format);
        }
        let version = hex(&fixed[..2])?;
        match version {
            0xff => return Err(TraceParentError::Version),
            0 if !rest.is_empty() => return Err(TraceParentError::Format),
            _ if rest.first().is_some_and(|next| *next != b'-') => {
                return Err(TraceParentError::Format);
            }
            _ => {}
        }
        let trace_id = (u128::from(hex(&fixed[3..19])?) << 64) | u128::from(hex(&fixed[19..35])?);
        let span_id = hex(&fixed[36..52])?;
        let flags = hex(&fixed[53..])?;
        if trace_id == 0 {
            return Err(TraceParentError::TraceId);
        }
        if span_id == 0 {
            return Err(TraceParentError::ParentId);
        }
        Ok(Self {
            trace_id: TraceId::from(trace_id),
            span_id: SpanId::from(span_id),
            sampled: flags & 1 == 1,
        })
    }

    /// The fields of a span context; `None` when its ids are zero.
    #[must_use]
    pub fn of(context: &SpanContext) -> Option<Self> {
        context.is_valid().then(|| Self {
            trace_id: context.trace_id(),
            span_id: context.span_id(),
            sampled: context.is_sampled(),
        })
    }

    /// The header value, version 00.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(TRACEPARENT_LEN);
        text.push_str("00-");
        push_hex(&mut text, &self.trace_id.to_bytes());
        text.push('-');
        push_hex(&mut text, &self.span_id.to_bytes());
        text.push_str(if self.sampled { "-01" } else { "-00" });
        text
    }
}

/// Up to 16 lower-case hexadecimal digits.
fn hex(digits: &[u8]) -> Result<u64, TraceParentError> {
    let mut value = 0;
    for digit in digits {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return Err(TraceParentError::Digits),
        };
        value = (value << 4) | u64::from(nibble);
    }
    Ok(value)
}

/// Appends bytes as lower-case hexadecimal digits.
pub(crate) fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
}

/// What a caller sent along: the parent of the work about to start, and baggage.
#[derive(Debug, Default)]
pub struct RemoteContext {
    parent: Option<TraceParent>,
    refused: Option<TraceParentError>,
    state: TraceState,
    baggage: Option<Baggage>,
}

impl RemoteContext {
    /// Reads the headers that `get` yields by lower-case name, each occurrence in order.
    ///
    /// A `traceparent` that is malformed or occurs twice is refused, and `tracestate` with
    /// it. A malformed `tracestate` is dropped as a whole and leaves `traceparent` in force
    /// (Trace Context, sections 3.2 and 3.3). Malformed members of `baggage` are skipped.
    /// Allocates only for `tracestate` and `baggage`.
    pub fn from_headers<'h, I>(get: impl Fn(&'static str) -> I) -> Self
    where
        I: IntoIterator<Item = &'h [u8]>,
    {
        let mut remote = Self::default();
        if in_use(TRACE_CONTEXT_BIT) {
            remote.read_parent(&get);
        }
        if in_use(BAGGAGE_BIT) {
            remote.baggage = w3c_lists::parse_baggage(get(BAGGAGE));
        }
        remote
    }

    fn read_parent<'h, I>(&mut self, get: &impl Fn(&'static str) -> I)
    where
        I: IntoIterator<Item = &'h [u8]>,
    {
        let mut parents = get(TRACEPARENT).into_iter();
        if let Some(first) = parents.next() {
            let parsed = match parents.next() {
                None => TraceParent::parse(first),
                Some(_) => Err(TraceParentError::Format),
            };
            match parsed {
                Ok(parent) => {
                    self.parent = Some(parent);
                    self.state = w3c_lists::parse_tracestate(get(TRACESTATE));
                }
                Err(error) => self.refused = Some(error),
            }
        }
    }

    /// The caller's span.
    #[must_use]
    pub fn parent(&self) -> Option<TraceParent> {
        self.parent
    }

    /// Why the `traceparent` that was sent is not in force.
    #[must_use]
    pub fn refused(&self) -> Option<TraceParentError> {
        self.refused
    }

    /// Whether the caller sent nothing that can be used.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parent.is_none() && self.baggage.is_none()
    }

    /// Adds what was sent to `base`. Attach the result **before** the span of the work is
    /// created: the sampling decision is made at creation.
    #[must_use]
    pub fn into_context(self, base: &Context) -> Context {
        let mut context = match self.baggage {
            Some(baggage) => base.with_baggage(baggage),
            None => base.clone(),
        };
        if let Some(parent) = self.parent {
            let flags = TraceFlags::default().with_sampled(parent.sampled);
            context = context.with_remote_span_context(SpanContext::new(
                parent.trace_id,
                parent.span_id,
                flags,
                true,
                self.state,
            ));
        }
        context
    }
}

/// Writes the headers for a call made under `context`: `traceparent` and `tracestate` where
/// a span is in force, sampled or not, `baggage` where there is any.
pub fn inject(context: &Context, injector: &mut dyn Injector) {
    let span = context.span();
    if in_use(TRACE_CONTEXT_BIT)
        && let Some(parent) = TraceParent::of(span.span_context())
    {
        injector.set(TRACEPARENT, parent.encode());
        let state = span.span_context().trace_state();
        if *state != TraceState::NONE {
            let header = state.header();
            if !header.is_empty() {
                injector.set(TRACESTATE, header);
            }
        }
    }
    if in_use(BAGGAGE_BIT)
        && let Some(header) = w3c_lists::encode_baggage(context.baggage())
    {
        injector.set(BAGGAGE, header);
    }
}

/// The context in force on this thread: ids and flags of the current span, sampled or not,
/// and baggage. `tracing::Span::current().context()` of tracing-opentelemetry knows only
/// sampled spans.
#[must_use]
pub fn current_context() -> Context {
    Context::current()
}

/// Writes the headers for a call made from the current span; see [`inject`].
pub fn inject_current(injector: &mut dyn Injector) {
    Context::map_current(|context| inject(context, injector));
}

/// Trace Context and Baggage as an OpenTelemetry propagator, for
/// `opentelemetry::global::set_text_map_propagator` and libraries that ask for one.
#[derive(Clone, Copy, Debug, Default)]
pub struct W3cPropagator;

impl TextMapPropagator for W3cPropagator {
    fn inject_context(&self, context: &Context, injector: &mut dyn Injector) {
        inject(context, injector);
    }

    fn extract_with_context(&self, context: &Context, extractor: &dyn Extractor) -> Context {
        let remote = RemoteContext::from_headers(|name| {
            let values: Vec<&[u8]> = match extractor.get_all(name) {
                Some(values) => values.into_iter().map(str::as_bytes).collect(),
                None => extractor.get(name).map(str::as_bytes).into_iter().collect(),
            };
            values
        });
        remote.into_context(context)
    }

    fn fields(&self) -> FieldIter<'_> {
        static FIELDS: OnceLock<[String; 3]> = OnceLock::new();
        FieldIter::new(FIELDS.get_or_init(|| [TRACEPARENT, TRACESTATE, BAGGAGE].map(str::to_owned)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parse(text: &str) -> Result<TraceParent, TraceParentError> {
        TraceParent::parse(text.as_bytes())
    }

    #[test]
    fn reads_and_writes_version_00() {
        let parent = parse(VALID).unwrap();
        assert_eq!(
            parent.trace_id.to_string(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        assert_eq!(parent.span_id.to_string(), "00f067aa0ba902b7");
        assert!(parent.sampled);
        assert_eq!(parent.encode(), VALID);
        assert_eq!(parse(&format!(" \t{VALID} ")), Ok(parent));
    }

    #[test]
    fn unknown_flags_are_not_passed_on() {
        let parent = parse(&VALID.replace("-01", "-fe")).unwrap();
        assert!(!parent.sampled);
        assert!(parent.encode().ends_with("-00"));
        assert!(parse(&VALID.replace("-01", "-ff")).unwrap().sampled);
    }

    #[test]
    fn later_versions_are_read_by_their_first_fields() {
        let later = VALID.replacen("00", "cc", 1);
        assert_eq!(parse(&later), parse(VALID));
        assert_eq!(parse(&format!("{later}-what-comes")), parse(VALID));
        assert_eq!(parse(&format!("{later}-")), parse(VALID));
        assert_eq!(
            parse(&format!("{later}.what")),
            Err(TraceParentError::Format)
        );
        assert_eq!(parse(&format!("{VALID}-x")), Err(TraceParentError::Format));
    }

    #[test]
    fn refuses_what_the_specification_refuses() {
        use TraceParentError::{Digits, Format, ParentId, TraceId, Version};
        for (text, error) in [
            ("", Format),
            ("00", Format),
            (&VALID[..54], Format),
            (&VALID.replacen("00", "ff", 1), Version),
            (&VALID.replacen("00", "+0", 1), Digits),
            (&VALID.replacen("00", "0G", 1), Digits),
            (&VALID.to_uppercase(), Digits),
            (&VALID.replace("-01", "-0A"), Digits),
            (&VALID.replace('-', "_"), Format),
            (
                "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                TraceId,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
                ParentId,
            ),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7a-01",
                Format,
            ),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn two_traceparents_are_none() {
        let twice = RemoteContext::from_headers(|name| match name {
            TRACEPARENT => vec![VALID.as_bytes(); 2],
            _ => vec![],
        });
        assert_eq!(twice.parent(), None);
        assert_eq!(twice.refused(), Some(TraceParentError::Format));
        assert!(twice.is_empty());
    }
}
