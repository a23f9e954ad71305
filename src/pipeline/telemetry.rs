//! The pipeline as a host sees it: started once, held as a guard, flushed at the end.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use parking_lot::Mutex;

use super::config::{LogFormat, ResourceConfig, SamplerKind, TelemetryConfig, TracesConfig};
#[cfg(feature = "otlp")]
use super::export::{ExportConfigError, Exporters, FlushError};
use super::filter::{DirectiveError, Directives};
use super::foreign::Foreign;
use super::format::LineFormat;
use super::metrics::{self, Collector};
use super::observed::Observed;
use super::propagation::{self, W3cPropagator};
use super::resource::resource;
use super::sampling::{RatioError, TraceSampler, provider_builder};
use super::sink::Sink;
use super::subscriber::{EventReader, LogFilterHandle, SubscriberBuilder, SubscriberError};
use crate::recording::{self, InstallError, Recorder, SCOPE};
use crate::signals;
use crate::signals::pipeline::LabelFolded;
use crate::signals::service::{ServiceInfo, ServiceStart};
#[cfg(feature = "otlp")]
use crate::vocabulary::Rendering;
use crate::vocabulary::{Library, Refused};

/// Deadline of the shutdown that dropping the last guard does.
const DROP_DEADLINE: Duration = Duration::from_secs(5);

/// Why telemetry did not start. Nothing was started then.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// A filter cannot be read.
    #[error("{field}: {source}")]
    Filter {
        /// The setting.
        field: &'static str,
        /// What is wrong.
        source: DirectiveError,
    },
    /// The sampling ratio is out of range.
    #[error(transparent)]
    Ratio(#[from] RatioError),
    /// Signals clash, or telemetry was started before.
    #[error(transparent)]
    Signals(#[from] InstallError),
    /// The process has a `tracing` subscriber already.
    #[error(transparent)]
    Subscriber(#[from] SubscriberError),
    /// An OTLP setting cannot be used.
    #[cfg(feature = "otlp")]
    #[error(transparent)]
    Export(#[from] ExportConfigError),
    /// OTLP is configured but not built in.
    #[error("telemetry.otlp is set, but this program was built without the feature `otlp`")]
    NoOtlp,
    /// A vocabulary is not known, does not fit, or clashes with another one.
    #[error("{}", .0.iter().map(|r| format!("telemetry.{r}")).collect::<Vec<_>>().join("; "))]
    Vocabulary(Vec<Refused>),
    /// The log writer could not be started.
    #[error("the log writer did not start: {0}")]
    Log(#[from] std::io::Error),
}

/// What was not done at a flush or shutdown.
#[derive(Debug, thiserror::Error)]
pub enum ShutdownError {
    /// Something was lost, or the deadline passed.
    #[cfg(feature = "otlp")]
    #[error(transparent)]
    Export(#[from] FlushError),
}

/// The running pipeline. Clones share it; dropping the last one flushes with a deadline of
/// five seconds.
///
/// One pipeline per process: the `tracing` subscriber and the signals are global.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    config: TelemetryConfig,
    started: SystemTime,
    running: Option<Running>,
}

struct Running {
    resource: Resource,
    collector: Collector,
    foreign: Foreign,
    vocabularies: Arc<Library>,
    traces: SdkTracerProvider,
    tracer: SdkTracer,
    sampler: TraceSampler,
    logs: Option<SdkLoggerProvider>,
    #[cfg(feature = "otlp")]
    exporters: Exporters,
    log_filter: LogFilterHandle,
    sink: Option<Sink>,
    observed: bool,
    shut: Mutex<bool>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("enabled", &self.is_enabled())
            .finish_non_exhaustive()
    }
}

/// Starts a pipeline with more than the defaults.
pub struct Builder {
    config: TelemetryConfig,
    signals: Vec<&'static dyn Recorder>,
    readers: Vec<Arc<dyn EventReader>>,
    log_sink: Option<Sink>,
    observed: Option<Observed>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .field("signals", &self.signals.len())
            .finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Starts the pipeline with Tachograph's own signals.
    ///
    /// A backend that is away does not matter here: it is said once in the log, and what
    /// cannot be exported is counted.
    ///
    /// # Errors
    /// [`InitError`] for a configuration that cannot work, or a second start.
    pub fn init(config: TelemetryConfig) -> Result<Self, InitError> {
        Self::builder(config).init()
    }

    /// For more than [`init`](Self::init) does.
    #[must_use]
    pub fn builder(config: TelemetryConfig) -> Builder {
        Builder {
            config,
            signals: signals::CATALOG.to_vec(),
            readers: Vec::new(),
            log_sink: None,
            observed: None,
        }
    }

    /// Whether anything is recorded; false under `OTEL_SDK_DISABLED`.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.0.running.is_some()
    }

    /// Whether a test program observes what is recorded.
    pub(crate) fn is_observed(&self) -> bool {
        (self.0.running.as_ref()).is_some_and(|running| running.observed)
    }

    /// The configuration it runs with.
    #[must_use]
    pub fn config(&self) -> &TelemetryConfig {
        &self.0.config
    }

    /// When it was started.
    #[must_use]
    pub fn started(&self) -> SystemTime {
        self.0.started
    }

    /// Who reports; `None` when disabled.
    #[must_use]
    pub fn resource(&self) -> Option<&Resource> {
        self.0.running.as_ref().map(|r| &r.resource)
    }

    /// The one reader of the declared metrics; `None` when disabled.
    #[must_use]
    pub fn collector(&self) -> Option<&Collector> {
        self.0.running.as_ref().map(|r| &r.collector)
    }

    /// The metrics that others record: the registry for those of the `prometheus` crate, and
    /// the global meter provider's; `None` when disabled.
    #[must_use]
    pub fn foreign(&self) -> Option<&Foreign> {
        self.0.running.as_ref().map(|r| &r.foreign)
    }

    /// The vocabularies that the page can be asked for; `None` when disabled.
    #[must_use]
    pub fn vocabularies(&self) -> Option<&Arc<Library>> {
        self.0.running.as_ref().map(|r| &r.vocabularies)
    }

    /// The tracer of spans that are built without `tracing`; `None` when disabled.
    #[must_use]
    pub fn tracer(&self) -> Option<&SdkTracer> {
        self.0.running.as_ref().map(|r| &r.tracer)
    }

    /// Where spans go that are written without the SDK; `None` where none are exported.
    #[cfg(feature = "otlp")]
    pub(crate) fn direct_spans(&self) -> Option<super::export::direct::DirectSpans> {
        let running = self.0.running.as_ref()?;
        let queue = running.exporters.span_processor()?;
        let tracer = running.tracer.clone();
        Some(super::export::direct::DirectSpans::new(queue, tracer))
    }

    /// The sampler in force; `None` when disabled.
    #[must_use]
    pub fn sampler(&self) -> Option<TraceSampler> {
        self.0.running.as_ref().map(|r| r.sampler)
    }

    /// Changes the log filter of the running process; `None` when disabled.
    #[must_use]
    pub fn log_filter(&self) -> Option<&LogFilterHandle> {
        self.0.running.as_ref().map(|r| &r.log_filter)
    }

    /// How the OTLP exporters are doing; empty where nothing is exported.
    #[cfg(feature = "otlp")]
    #[must_use]
    pub fn exporters(&self) -> Vec<super::export::ExporterStatus> {
        self.0
            .running
            .as_ref()
            .map(|r| r.exporters.status())
            .unwrap_or_default()
    }

    /// Exports what was recorded so far and waits for it, from any thread and without a
    /// runtime.
    ///
    /// # Errors
    /// The deadline passed; what could not be sent stays queued.
    pub fn force_flush(&self, deadline: Duration) -> Result<(), ShutdownError> {
        let Some(running) = &self.0.running else {
            return Ok(());
        };
        if let Some(sink) = &running.sink {
            sink.flush(deadline);
        }
        #[cfg(feature = "otlp")]
        running.exporters.force_flush(deadline)?;
        Ok(())
    }

    /// Exports what is left, for as long as `deadline`, and ends export; from any thread,
    /// blocking it, and without a runtime. The page still answers. A second call does
    /// nothing.
    ///
    /// # Errors
    /// The deadline passed, or something was lost; it is counted.
    pub fn shutdown(&self, deadline: Duration) -> Result<(), ShutdownError> {
        match &self.0.running {
            Some(running) => running.shutdown(deadline),
            None => Ok(()),
        }
    }
}

impl Running {
    fn shutdown(&self, deadline: Duration) -> Result<(), ShutdownError> {
        let start = Instant::now();
        let mut shut = self.shut.lock();
        if *shut {
            return Ok(());
        }
        *shut = true;
        #[cfg(feature = "otlp")]
        let exported = self.exporters.shutdown(deadline);
        let left = || deadline.saturating_sub(start.elapsed());
        // The queues have ended already; a second end of them is not an error.
        let _ = self.traces.shutdown_with_timeout(left());
        if let Some(logs) = &self.logs {
            let _ = logs.shutdown_with_timeout(left());
        }
        if let Some(sink) = &self.sink {
            sink.flush(left());
        }
        #[cfg(feature = "otlp")]
        exported?;
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            // What was lost has been counted and logged.
            let _ = running.shutdown(DROP_DEADLINE);
        }
    }
}

impl Builder {
    /// Adds an application's own signals, declared with [`catalog!`](crate::catalog!).
    #[must_use]
    pub fn signals(mut self, signals: &'static [&'static dyn Recorder]) -> Self {
        self.signals.extend(signals);
        self
    }

    /// Reads events of a library, such as sqlx's statements, whether they are logged or not.
    #[must_use]
    pub fn reader(mut self, reader: impl EventReader) -> Self {
        self.readers.push(Arc::new(reader));
        self
    }

    /// Writes log lines there instead of to standard error.
    #[must_use]
    pub fn log_sink(mut self, sink: Sink) -> Self {
        self.log_sink = Some(sink);
        self
    }

    /// Lets a test program observe what is recorded: everything is sampled, and kept.
    #[must_use]
    pub(crate) fn observed(mut self, observed: Observed) -> Self {
        self.config.disabled = false;
        self.config.traces.sampler = SamplerKind::AlwaysOn;
        self.config.logs.format = LogFormat::Off;
        let filter = &mut self.config.traces.filter;
        let comma = if filter.is_empty() { "" } else { "," };
        filter.push_str(comma);
        filter.push_str("tachograph::testing=info");
        self.observed = Some(observed);
        self
    }

    /// Starts the pipeline.
    ///
    /// # Errors
    /// As [`Telemetry::init`].
    pub fn init(self) -> Result<Telemetry, InitError> {
        let Self {
            config,
            signals,
            readers,
            log_sink,
            observed,
        } = self;
        let started = SystemTime::now();
        let running = if config.disabled {
            None
        } else {
            Some(start(&config, &signals, readers, log_sink, observed)?)
        };
        let telemetry = Telemetry(Arc::new(Inner {
            config,
            started,
            running,
        }));
        #[cfg(feature = "otlp")]
        if let Some(running) = &telemetry.0.running {
            running.exporters.probe();
        }
        Ok(telemetry)
    }
}

fn start(
    config: &TelemetryConfig,
    signals: &[&'static dyn Recorder],
    readers: Vec<Arc<dyn EventReader>>,
    log_sink: Option<Sink>,
    observed: Option<Observed>,
) -> Result<Running, InitError> {
    let directives = |field, text: &str| {
        text.parse::<Directives>()
            .map_err(|source| InitError::Filter { field, source })
    };
    let trace_filter = directives("traces.filter", &config.traces.filter)?;
    let log_filter = directives("logs.filter", &config.logs.filter)?;
    let declared: Vec<_> = signals.iter().map(|recorder| recorder.signal()).collect();
    let vocabularies = Library::load(&config.vocabulary.wanted(), &declared);
    let vocabularies = Arc::new(vocabularies.map_err(InitError::Vocabulary)?);
    let mut exported = Exported::of(config)?;
    exported.traces |= observed.is_some();
    // Without an exporter nothing is recorded that nobody could read; a caller's flag is
    // still handed on.
    let sampler = TraceSampler::new(&TracesConfig {
        sampler: if exported.traces {
            config.traces.sampler
        } else {
            SamplerKind::ParentBasedAlwaysOff
        },
        ..config.traces.clone()
    })?;
    let sink = match (config.logs.format, log_sink) {
        (LogFormat::Off, _) => None,
        (_, Some(sink)) => Some(sink),
        (_, None) => Some(Sink::stderr()?),
    };
    let resource = resource(&config.resource);
    let collector = metrics::install(resource.clone(), signals, config.metrics.native_histograms)?;
    collector.before_collect(folds());
    let foreign = Foreign::default();
    if let Ok(provider) = foreign.provider(resource.clone()) {
        opentelemetry::global::set_meter_provider(provider);
    }
    present(&config.resource);

    #[cfg(feature = "otlp")]
    let exporters = Exporters::start(
        config,
        &resource,
        Some(collector.clone()),
        Rendering::new(vocabularies.exported(), signals),
    )?;
    #[cfg(feature = "otlp")]
    collector.before_collect(exporters.queue_gauges());

    let traces = provider_builder(sampler).with_resource(resource.clone());
    #[cfg(feature = "otlp")]
    let traces = match exporters.span_processor() {
        Some(queue) => traces.with_span_processor(queue),
        None => traces,
    };
    let traces = match &observed {
        Some(observed) => traces.with_span_processor(observed.clone()),
        None => traces,
    };
    let traces = traces.build();
    let tracer = traces.tracer(SCOPE);

    #[allow(unused_mut)]
    let mut logs: Option<SdkLoggerProvider> = None;
    #[cfg(feature = "otlp")]
    if let Some(queue) = exporters.log_processor() {
        logs = Some(
            SdkLoggerProvider::builder()
                .with_resource(resource.clone())
                .with_log_processor(queue)
                .build(),
        );
    }

    if let Some(observed) = &observed {
        logs = Some(
            SdkLoggerProvider::builder()
                .with_resource(resource.clone())
                .with_log_processor(observed.clone())
                .build(),
        );
    }

    let mut subscriber = SubscriberBuilder::new()
        .with_signals(signals)
        .with_readers(readers)
        .with_traces(tracer.clone(), sampler, trace_filter)
        .with_context_only(!exported.traces);
    if let Some(logs) = &logs {
        subscriber = subscriber.with_logs(logs);
    }
    if let Some(sink) = &sink {
        subscriber = subscriber.with_format(line_format(config.logs.format), sink.clone());
    }
    let log_filter = subscriber.try_init(log_filter)?;

    propagation::use_only(&config.traces.propagators);
    opentelemetry::global::set_text_map_propagator(W3cPropagator);
    opentelemetry::global::set_tracer_provider(traces.clone());

    Ok(Running {
        resource,
        collector,
        foreign,
        vocabularies,
        traces,
        tracer,
        sampler,
        logs,
        #[cfg(feature = "otlp")]
        exporters,
        log_filter,
        sink,
        observed: observed.is_some(),
        shut: Mutex::new(false),
    })
}

fn line_format(format: LogFormat) -> LineFormat {
    use std::io::IsTerminal as _;
    let terminal = std::io::stderr().is_terminal();
    match format {
        LogFormat::Text => LineFormat::Text { color: terminal },
        LogFormat::Auto if terminal => LineFormat::Text { color: true },
        LogFormat::Auto | LogFormat::Json | LogFormat::Off => LineFormat::Json,
    }
}

/// Publishes what runs and since when.
fn present(config: &ResourceConfig) {
    let name = config.service_name.as_str();
    let attributes: Vec<(String, String)> = config
        .attributes
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    ServiceInfo {
        name,
        version: config.service_version.as_deref().unwrap_or_default(),
        environment: config.environment.as_deref().unwrap_or_default(),
    }
    .set_with(&attributes, 1.0);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    ServiceStart { name }.set(since.map_or(0.0, |since| since.as_secs_f64()));
}

/// Counts, before each collection, the folds since the last.
fn folds() -> impl Fn() + Send + Sync {
    let counted: Mutex<HashMap<(&'static str, &'static str), u64>> = Mutex::default();
    move || {
        let mut counted = counted.lock();
        for (signal, label, folds) in recording::fold_counts() {
            let before = counted.entry((signal, label)).or_default();
            if folds > *before {
                LabelFolded { signal, label }.add(folds - *before);
                *before = folds;
            }
        }
    }
}

struct Exported {
    traces: bool,
}

impl Exported {
    fn of(config: &TelemetryConfig) -> Result<Self, InitError> {
        let otlp = &config.otlp;
        let on = |signal: &super::config::OtlpSignalConfig| {
            signal.enabled && (signal.endpoint.is_some() || otlp.endpoint.is_some())
        };
        if cfg!(not(feature = "otlp")) && (on(&otlp.traces) || on(&otlp.metrics) || on(&otlp.logs))
        {
            return Err(InitError::NoOtlp);
        }
        Ok(Self {
            traces: on(&otlp.traces),
        })
    }
}
