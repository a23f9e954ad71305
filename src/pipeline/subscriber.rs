//! The one subscriber: signals, spans, log records and log lines, each with its own filter.
//!
//! [`Stack`] is a single layer that knows what each of its parts wants. A stack of filtered
//! layers looks every span up once per layer and event of its life, and a plain layer among
//! them keeps callsites alive that nobody wants; here a callsite that no part wants is
//! switched off, and the others cost what their parts cost.
//!
//! The filter of traces says which spans there are, declared ones apart; the filter of logs
//! says which events are logged, and nothing about spans.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use arc_swap::ArcSwap;
use opentelemetry::Context as OtelContext;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::SdkTracer;
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Metadata, Subscriber};
use tracing_core::Interest;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::{Layer, layer::Layered};

use super::filter::{DirectiveError, Directives};
use super::format::{FormatLayer, LineFormat};
use super::logs::{LogBridge, is_sdk, with_metadata};
use super::sampling::{SamplingLayer, SpanExtLayer, TraceSampler, thread_is_live};
use super::signal_layer::{SignalFilter, SignalLayer};
use super::sink::Sink;
use crate::recording::Recorder;

/// Which events become log lines and records; shared, and changed at run time through
/// [`LogFilterHandle`]. As a filter of `tracing-subscriber` it lets all spans through: what
/// is logged does not decide what is traced.
#[derive(Clone)]
pub struct LogFilter(Arc<LogFilterState>);

struct LogFilterState {
    directives: ArcSwap<Directives>,
    /// The level as an ordinal where no target is named, else [`BY_TARGET`].
    uniform: AtomicU8,
}

const BY_TARGET: u8 = u8::MAX;

impl LogFilter {
    /// A filter that begins with these directives.
    #[must_use]
    pub fn new(directives: Directives) -> Self {
        let uniform = AtomicU8::new(uniform(&directives));
        Self(Arc::new(LogFilterState {
            directives: ArcSwap::from_pointee(directives),
            uniform,
        }))
    }

    /// Whether an event is logged.
    #[must_use]
    pub fn enabled(&self, meta: &Metadata<'_>) -> bool {
        match self.0.uniform.load(Ordering::Relaxed) {
            BY_TARGET => self.0.directives.load().enabled(meta),
            level => ordinal(&(*meta.level()).into()) <= level,
        }
    }

    /// The most verbose level that is logged anywhere.
    #[must_use]
    pub fn max_level(&self) -> LevelFilter {
        self.0.directives.load().max_level()
    }
}

fn uniform(directives: &Directives) -> u8 {
    directives
        .uniform()
        .map_or(BY_TARGET, |level| ordinal(&level))
}

fn ordinal(level: &LevelFilter) -> u8 {
    match *level {
        LevelFilter::OFF => 0,
        LevelFilter::ERROR => 1,
        LevelFilter::WARN => 2,
        LevelFilter::INFO => 3,
        LevelFilter::DEBUG => 4,
        LevelFilter::TRACE => 5,
    }
}

impl<S> Filter<S> for LogFilter {
    fn enabled(&self, meta: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        meta.is_span() || LogFilter::enabled(self, meta)
    }

    fn callsite_enabled(&self, meta: &'static Metadata<'static>) -> Interest {
        if meta.is_span() || LogFilter::enabled(self, meta) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.max_level())
    }
}

/// Changes the log filter of a running process.
#[derive(Clone)]
pub struct LogFilterHandle {
    filter: LogFilter,
    /// Whether the `log` crate's records come here.
    takes_log: bool,
}

impl LogFilterHandle {
    /// Puts new directives in force at once, in the whole process.
    ///
    /// # Errors
    /// The directives cannot be read; those before stay in force.
    pub fn set(&self, directives: &str) -> Result<(), DirectiveError> {
        let directives: Directives = directives.parse()?;
        let state = &self.filter.0;
        state.uniform.store(BY_TARGET, Ordering::Relaxed);
        let level = uniform(&directives);
        state.directives.store(Arc::new(directives));
        state.uniform.store(level, Ordering::Relaxed);
        tracing_core::callsite::rebuild_interest_cache();
        if self.takes_log {
            log::set_max_level(self.log_level());
        }
        Ok(())
    }

    /// The directives in force.
    #[must_use]
    pub fn get(&self) -> String {
        self.filter.0.directives.load().to_string()
    }

    /// The filter, for layers that are composed by hand.
    #[must_use]
    pub fn filter(&self) -> LogFilter {
        self.filter.clone()
    }

    fn log_level(&self) -> log::LevelFilter {
        match self.filter.max_level() {
            LevelFilter::OFF => log::LevelFilter::Off,
            LevelFilter::ERROR => log::LevelFilter::Error,
            LevelFilter::WARN => log::LevelFilter::Warn,
            LevelFilter::INFO => log::LevelFilter::Info,
            LevelFilter::DEBUG => log::LevelFilter::Debug,
            LevelFilter::TRACE => log::LevelFilter::Trace,
        }
    }
}

/// Why the subscriber was not installed.
#[derive(Debug, thiserror::Error)]
pub enum SubscriberError {
    /// A process has one global subscriber.
    #[error(
        "a global tracing subscriber is set already; remove the other `init`, or add \
         Tachograph's layers to it (`SignalLayer`, `SamplingLayer`, `LogBridge`, `FormatLayer`)"
    )]
    AlreadySet,
}

/// Reads events that a library makes, whatever the log filter says of them.
pub trait EventReader: Send + Sync + 'static {
    /// Whether it reads the events of a callsite, or has to see its spans around them. Asked
    /// often, and always answered alike.
    fn wants(&self, meta: &Metadata<'_>) -> bool;

    /// Reads an event that it wants, made in a span of this callsite. It must not block, and
    /// makes no events.
    fn read(&self, event: &Event<'_>, span: Option<&'static Metadata<'static>>);
}

/// The parts of a subscriber.
#[derive(Default)]
pub struct SubscriberBuilder {
    readers: Vec<Arc<dyn EventReader>>,
    signals: Vec<&'static dyn Recorder>,
    traces: Option<(SdkTracer, TraceSampler, Directives)>,
    context_only: bool,
    span_ext: bool,
    logs: Option<LogBridge>,
    format: Option<FormatLayer>,
}

impl SubscriberBuilder {
    /// No parts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Records spans and events that are named as one of these signals.
    #[must_use]
    pub fn with_signals(mut self, signals: &[&'static dyn Recorder]) -> Self {
        self.signals = signals.to_vec();
        self
    }

    /// Hands events of libraries to their readers.
    #[must_use]
    pub fn with_readers(mut self, readers: Vec<Arc<dyn EventReader>>) -> Self {
        self.readers = readers;
        self
    }

    /// Makes spans that pass `filter` into OpenTelemetry spans; see [`SamplingLayer::new`].
    #[must_use]
    pub fn with_traces(
        mut self,
        tracer: SdkTracer,
        sampler: TraceSampler,
        filter: Directives,
    ) -> Self {
        self.traces = Some((tracer, sampler, filter));
        self
    }

    /// Keeps contexts, and records no span; see [`SamplingLayer::with_context_only`].
    #[must_use]
    pub fn with_context_only(mut self, on: bool) -> Self {
        self.context_only = on;
        self
    }

    /// Lets `tracing_opentelemetry::OpenTelemetrySpanExt` find sampled spans. Every span and
    /// event pays for it, so that it is off unless asked for.
    #[must_use]
    pub fn with_span_ext(mut self, on: bool) -> Self {
        self.span_ext = on;
        self
    }

    /// Makes events that pass the log filter into records of this provider.
    #[must_use]
    pub fn with_logs(mut self, provider: &SdkLoggerProvider) -> Self {
        self.logs = Some(LogBridge::new(provider));
        self
    }

    /// Writes events that pass the log filter as lines.
    #[must_use]
    pub fn with_format(mut self, format: LineFormat, sink: Sink) -> Self {
        self.format = Some(FormatLayer::new(format, sink));
        self
    }

    /// The subscriber, and the handle of its log filter.
    #[must_use]
    pub fn build(self, log_filter: Directives) -> (Dispatch, LogFilterHandle) {
        let log_filter = LogFilter::new(log_filter);
        let handle = LogFilterHandle {
            filter: log_filter.clone(),
            takes_log: false,
        };
        let dispatch = if self.span_ext
            && let Some((tracer, sampler, filter)) = self.traces.clone()
        {
            let ext: SpanExtLayer<Registry> =
                SamplingLayer::<Registry>::new(tracer, sampler, filter).span_ext();
            type Base = Layered<SpanExtLayer<Registry>, Registry>;
            let stack: Stack<Base> = self.stack(log_filter);
            Dispatch::new(Registry::default().with(ext).with(stack))
        } else {
            let stack: Stack<Registry> = self.stack(log_filter);
            Dispatch::new(Registry::default().with(stack))
        };
        (dispatch, handle)
    }

    /// Makes the subscriber the process's, and lets records of the `log` crate in.
    ///
    /// # Errors
    /// The process has a global subscriber; nothing is changed.
    pub fn try_init(self, log_filter: Directives) -> Result<LogFilterHandle, SubscriberError> {
        let (dispatch, mut handle) = self.build(log_filter);
        tracing::dispatcher::set_global_default(dispatch)
            .map_err(|_| SubscriberError::AlreadySet)?;
        // A logger that the application set before keeps its records.
        handle.takes_log = tracing_log::LogTracer::init_with_filter(handle.log_level()).is_ok();
        Ok(handle)
    }

    fn stack<S>(self, log_filter: LogFilter) -> Stack<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        Stack {
            readers: self.readers,
            signals: (!self.signals.is_empty()).then(|| {
                (
                    SignalLayer::new(&self.signals),
                    SignalLayer::filter(&self.signals),
                )
            }),
            spans: self.traces.map(|(tracer, sampler, filter)| {
                SamplingLayer::new(tracer, sampler, filter).with_context_only(self.context_only)
            }),
            logs: self.logs,
            format: self.format,
            log_filter,
        }
    }
}

/// Everything that is done with a span or an event, as one layer.
pub struct Stack<S> {
    readers: Vec<Arc<dyn EventReader>>,
    signals: Option<(SignalLayer, SignalFilter)>,
    spans: Option<SamplingLayer<S>>,
    logs: Option<LogBridge>,
    format: Option<FormatLayer>,
    log_filter: LogFilter,
}

impl<S> Stack<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn declared(&self, meta: &Metadata<'_>, ctx: &Context<'_, S>) -> bool {
        (self.signals.as_ref())
            .is_some_and(|(_, filter)| <SignalFilter as Filter<S>>::enabled(filter, meta, ctx))
    }

    /// Whether the spans' or the logs' part, or a reader, wants it. What is neither a span nor
    /// an event asks for one.
    fn wanted(&self, meta: &Metadata<'_>) -> bool {
        let traced = (self.spans.as_ref()).is_some_and(|spans| spans.filter().enabled(meta));
        traced || (!meta.is_span() && self.logged(meta)) || self.is_read(meta)
    }

    fn is_read(&self, meta: &Metadata<'_>) -> bool {
        self.readers.iter().any(|reader| reader.wants(meta))
    }

    fn logged(&self, meta: &Metadata<'_>) -> bool {
        (self.logs.is_some() || self.format.is_some()) && self.log_filter.enabled(meta)
    }

    /// The context of an event that names its span, or none, itself.
    fn named_context(&self, event: &Event<'_>) -> Option<OtelContext> {
        if event.is_contextual() {
            return None;
        }
        let context = match (event.parent(), &self.spans) {
            (Some(parent), Some(spans)) => spans.context_of(parent).unwrap_or_default(),
            _ => OtelContext::new(),
        };
        Some(if OtelContext::is_current_telemetry_suppressed() {
            context.with_telemetry_suppressed()
        } else {
            context
        })
    }

    fn log(&self, event: &Event<'_>, ctx: &Context<'_, S>, from_sdk: bool) {
        // The SDK logs from inside its context's borrow: no context may be attached there.
        let _named = if from_sdk || !thread_is_live() {
            None
        } else {
            self.named_context(event).map(OtelContext::attach)
        };
        if let Some(format) = &self.format {
            format.on_event(event, ctx.clone());
        }
        if let Some(logs) = &self.logs {
            logs.on_event(event, ctx.clone());
        }
    }
}

impl<S> Layer<S> for Stack<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        if let Some((signals, _)) = &self.signals {
            Layer::<S>::on_register_dispatch(signals, dispatch);
        }
    }

    fn register_callsite(&self, meta: &'static Metadata<'static>) -> Interest {
        let declared = self.signals.as_ref().is_some_and(|(signals, filter)| {
            Layer::<S>::register_callsite(signals, meta);
            !Filter::<S>::callsite_enabled(filter, meta).is_never()
        });
        if declared || self.wanted(meta) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, meta: &Metadata<'_>, ctx: Context<'_, S>) -> bool {
        self.wanted(meta) || self.declared(meta, &ctx)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // A declared callsite counts at whatever level it is. The others are switched off
        // one by one, so that the level costs them nothing more.
        if self.signals.is_some() {
            return Some(LevelFilter::TRACE);
        }
        let spans = self.spans.as_ref().map(|spans| spans.filter().max_level());
        let logs =
            (self.logs.is_some() || self.format.is_some()).then(|| self.log_filter.max_level());
        let read = (!self.readers.is_empty()).then_some(LevelFilter::TRACE);
        Some(spans.max(logs).max(read).unwrap_or(LevelFilter::OFF))
    }

    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        if let Some(spans) = &self.spans {
            spans.on_new_span(attrs, id, ctx.clone());
        }
        if let Some((signals, _)) = &self.signals {
            signals.on_new_span(attrs, id, ctx);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: Context<'_, S>) {
        if let Some(spans) = &self.spans {
            spans.on_record(id, values, ctx.clone());
        }
        if let Some((signals, _)) = &self.signals {
            signals.on_record(id, values, ctx);
        }
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, ctx: Context<'_, S>) {
        if let Some(spans) = &self.spans {
            spans.on_follows_from(id, follows, ctx);
        }
    }

    fn on_enter(&self, id: &Id, ctx: Context<'_, S>) {
        // First the context, which the signals read for their exemplars.
        if let Some(spans) = &self.spans {
            spans.on_enter(id, ctx.clone());
        }
        if let Some((signals, _)) = &self.signals {
            signals.on_enter(id, ctx);
        }
    }

    fn on_exit(&self, id: &Id, ctx: Context<'_, S>) {
        if let Some((signals, _)) = &self.signals {
            signals.on_exit(id, ctx.clone());
        }
        if let Some(spans) = &self.spans {
            spans.on_exit(id, ctx);
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        for reader in &self.readers {
            if reader.wants(event.metadata()) {
                reader.read(event, ctx.event_span(event).map(|span| span.metadata()));
            }
        }
        if let Some((signals, _)) = &self.signals {
            signals.on_event(event, ctx.clone());
        }
        if let Some(spans) = &self.spans {
            spans.on_event(event, ctx.clone());
        }
        let (logged, from_sdk) =
            with_metadata(event, |meta| (self.logged(meta), is_sdk(meta.target())));
        if logged {
            self.log(event, &ctx, from_sdk);
        }
    }

    fn on_close(&self, id: Id, ctx: Context<'_, S>) {
        if let Some((signals, _)) = &self.signals {
            signals.on_close(id.clone(), ctx.clone());
        }
        if let Some(spans) = &self.spans {
            spans.on_close(id, ctx);
        }
    }
}
