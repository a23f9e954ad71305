//! Providers on top of our exporters, as `Telemetry::init` wires them, and the log lines
//! they write.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _};
use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{SdkLogger, SdkLoggerProvider};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use parking_lot::Mutex;
use tachograph::catalog::ClosedLabel as _;
use tachograph::pipeline::config::{OtlpProtocol, TelemetryConfig};
use tachograph::pipeline::export::{ExportConfigError, ExporterStatus, Exporters, LOG_TARGET};
use tachograph::pipeline::metrics::Collector;
use tachograph::recording::{Cell, Key};
use tachograph::signals::pipeline::{DropReason, ExportSignal};
use tachograph::vocabulary::Rendering;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::SubscriberExt as _;

use super::otlp::{OtlpReceiver, Transport};

/// Both transports, for tests that must hold over either.
pub const TRANSPORTS: [Transport; 2] = [Transport::Grpc, Transport::Http];

/// A configuration with delays fit for tests.
pub fn config(receiver: &OtlpReceiver, transport: Transport) -> TelemetryConfig {
    let mut config = TelemetryConfig::default();
    config.otlp.endpoint = Some(receiver.endpoint(transport));
    config.otlp.protocol = match transport {
        Transport::Grpc => OtlpProtocol::Grpc,
        Transport::Http => OtlpProtocol::HttpProtobuf,
    };
    config.otlp.timeout = Duration::from_secs(5);
    config.otlp.max_retries = 2;
    config.traces.queue.schedule_delay = Duration::from_millis(10);
    config.logs.queue.schedule_delay = Duration::from_millis(10);
    config.metrics.export_interval = Duration::from_secs(3600);
    config
}

/// Exporters with one provider for each signal.
pub struct Rig {
    pub exporters: Exporters,
    pub tracer: SdkTracer,
    pub logger: SdkLogger,
    pub collector: Collector,
    counter: &'static Cell<1>,
    pub loggers: SdkLoggerProvider,
    pub tracers: SdkTracerProvider,
}

impl Rig {
    pub fn start(config: &TelemetryConfig) -> Self {
        Self::try_start(config).unwrap()
    }

    pub fn try_start(config: &TelemetryConfig) -> Result<Self, ExportConfigError> {
        let resource = Resource::builder_empty().with_service_name("rig").build();
        let counter = super::declared::counter("c");
        let collector = Collector::new(resource.clone(), &[counter]);
        let exporters = Exporters::start(
            config,
            &resource,
            Some(collector.clone()),
            Rendering::default(),
        )?;
        let mut tracers = SdkTracerProvider::builder().with_resource(resource.clone());
        if let Some(processor) = exporters.span_processor() {
            tracers = tracers.with_span_processor(processor);
        }
        let mut loggers = SdkLoggerProvider::builder().with_resource(resource);
        if let Some(processor) = exporters.log_processor() {
            loggers = loggers.with_log_processor(processor);
        }
        let (tracers, loggers) = (tracers.build(), loggers.build());
        Ok(Self {
            exporters,
            tracer: tracers.tracer("rig.tracer"),
            logger: loggers.logger("rig.logger"),
            collector,
            counter,
            loggers,
            tracers,
        })
    }

    /// Adds one to the counter `c`, label `of`.
    pub fn count(&self, of: &str) {
        let open = [of];
        self.counter.count(Key { closed: 0, open }, 1);
    }

    pub fn span(&self, name: &str) {
        self.tracer.start(name.to_owned()).end();
    }

    pub fn spans(&self, count: usize) {
        (0..count).for_each(|n| self.span(&format!("span {n}")));
    }

    pub fn log(&self, body: impl Into<AnyValue>) {
        let mut record = self.logger.create_log_record();
        record.set_body(body.into());
        self.logger.emit(record);
    }

    pub fn status(&self, signal: ExportSignal) -> ExporterStatus {
        let all = self.exporters.status();
        all.into_iter().find(|s| s.signal == signal).unwrap()
    }

    pub fn lost(&self, signal: ExportSignal) -> BTreeMap<&'static str, u64> {
        self.status(signal).lost
    }

    /// Waits until a condition on the exporters holds.
    pub fn wait_for(&self, condition: impl Fn(&Self) -> bool) {
        let deadline = std::time::Instant::now() + super::otlp::PATIENCE;
        while !condition(self) {
            let late = std::time::Instant::now() >= deadline;
            assert!(!late, "still {:#?}", self.exporters.status());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Expected losses.
pub fn lost<const N: usize>(expected: [(DropReason, u64); N]) -> BTreeMap<&'static str, u64> {
    BTreeMap::from(expected.map(|(reason, n)| (reason.as_str(), n)))
}

/// A log line about export.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    pub level: String,
    pub fields: BTreeMap<String, String>,
}

impl Line {
    pub fn get(&self, field: &str) -> &str {
        self.fields.get(field).map_or("", String::as_str)
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields
            .insert(field.name().to_owned(), value.to_owned());
    }
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.fields
            .insert(field.name().to_owned(), format!("{value:?}"));
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<Line>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if event.metadata().target() == LOG_TARGET {
            let mut line = Line {
                level: event.metadata().level().to_string(),
                ..Line::default()
            };
            event.record(&mut line);
            self.0.lock().push(line);
        }
    }
}

/// The log lines about export so far whose field holds `part`. The first call starts the
/// keeping, in the whole process.
pub fn lines(field: &str, part: &str) -> Vec<Line> {
    static LINES: OnceLock<Lines> = OnceLock::new();
    let lines = LINES.get_or_init(|| {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::registry().with(lines.clone());
        tracing::subscriber::set_global_default(subscriber).unwrap();
        lines
    });
    let mut found = lines.0.lock().clone();
    found.retain(|line| line.get(field).contains(part));
    found
}
