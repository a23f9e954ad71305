//! Signals and their metrics.

use super::{Alert, Label, Panel};

/// Something that is recorded, declared once.
#[derive(Clone, Copy, Debug)]
pub struct Signal {
    /// Name of the span or event that records it.
    pub name: &'static str,
    /// Domain: what the declaring module is called, or the one below `signals` that it is in.
    pub domain: &'static str,
    /// Meaning, one sentence.
    pub brief: &'static str,
    /// Operation or measure.
    pub kind: SignalKind,
    /// Labels, those known at the start first.
    pub labels: &'static [Label],
    /// Quantities that an operation's end or a measure carries.
    pub values: &'static [ValueField],
    /// Fields for spans, logs and the ledger, never for metrics.
    pub context: &'static [ContextField],
    /// What is published.
    pub metrics: &'static [Metric],
    /// Panels.
    pub panels: &'static [Panel],
    /// Alerts.
    pub alerts: &'static [Alert],
    /// Whether agents may report it through the records API.
    pub reportable: bool,
    /// Whether it is the writing of a record: one without a duration took as long as the
    /// ledger needed to write it.
    pub timed_by_write: bool,
    /// Kind of the span.
    pub span_kind: SpanKind,
    /// Label sets kept at most; past it every open label folds.
    pub series: u32,
    /// Where it is declared: file and line.
    pub source: (&'static str, u32),
}

/// Operation or measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalKind {
    /// Has a beginning and an end.
    Operation,
    /// A point: one event, one value.
    Measure,
}

/// OpenTelemetry span kind of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Work inside the process.
    Internal,
    /// Handling of a remote request.
    Server,
    /// A request to something remote.
    Client,
    /// Handling of a message.
    Consumer,
    /// Sending of a message.
    Producer,
}

impl SpanKind {
    /// The text `tracing-opentelemetry` takes in `otel.kind`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Consumer => "consumer",
            Self::Producer => "producer",
        }
    }
}

/// OpenTelemetry stability of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stability {
    /// May still change.
    Development,
    /// Will not change.
    Stable,
}

/// A quantity that an operation's end or a measure carries.
#[derive(Clone, Copy, Debug)]
pub struct ValueField {
    /// Field name.
    pub key: &'static str,
    /// Meaning.
    pub brief: &'static str,
}

/// A field for spans, logs and the ledger, never for metrics.
#[derive(Clone, Copy, Debug)]
pub struct ContextField {
    /// Field name.
    pub key: &'static str,
    /// Meaning.
    pub brief: &'static str,
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// OpenTelemetry name.
    pub name: &'static str,
    /// Meaning, one sentence; the help text.
    pub brief: &'static str,
    /// UCUM unit.
    pub unit: &'static str,
    /// Instrument.
    pub instrument: Instrument,
    /// What feeds it.
    pub feed: Feed,
    /// Positions in the signal's labels.
    pub labels: &'static [u8],
    /// A label with one fixed value, which lets several metrics of one signal share a name.
    pub constant: Option<(&'static str, &'static str)>,
    /// Upper bounds of a histogram's buckets, in the metric's unit.
    pub bounds: &'static [f64],
    /// Least and largest value, in the metric's unit; none: what [`Metric::range`] says.
    pub declared_range: Option<(f64, f64)>,
    /// Why no alert watches it, where none does.
    pub no_alert: Option<&'static str>,
}

/// OpenTelemetry instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instrument {
    /// Monotonic sum of whole numbers.
    Counter,
    /// Monotonic sum of fractions.
    FloatCounter,
    /// Distribution.
    Histogram,
    /// Operations under way: an up-down counter.
    InFlight,
    /// Last value.
    Gauge,
}

/// What feeds a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// One for each end of an operation, or the amount of a counting measure.
    Count,
    /// How long the operation took, seconds.
    Duration,
    /// Operations under way.
    Active,
    /// The time an operation ended, seconds since the Unix epoch.
    Ended,
    /// The value field at this position.
    Value(u8),
    /// The value field at the first position without those at the others, as far as they are
    /// known: a whole without its parts.
    Rest(u8, &'static [u8]),
}

impl Signal {
    /// Labels known when an operation starts.
    pub fn start_labels(&self) -> impl Iterator<Item = &'static Label> {
        self.labels.iter().filter(|l| !l.outcome)
    }

    /// Number of labels known when an operation starts.
    #[must_use]
    pub const fn start_count(&self) -> usize {
        let mut n = 0;
        while n < self.labels.len() && !self.labels[n].outcome {
            n += 1;
        }
        n
    }

    /// The labels of one of its metrics.
    pub fn labels_of(&self, metric: &Metric) -> impl Iterator<Item = &'static Label> {
        metric.labels.iter().map(|i| &self.labels[*i as usize])
    }

    /// A metric by its OpenTelemetry name.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<&'static Metric> {
        self.metrics.iter().find(|m| m.name == name)
    }
}

impl Metric {
    /// Least and largest value: as declared; otherwise 0 and 1 of a gauge or a histogram of unit
    /// `1`, any number of another gauge, and any that is not negative of the others.
    #[must_use]
    pub const fn range(&self) -> (f64, f64) {
        let ratio = matches!(self.unit.as_bytes(), b"1");
        match (self.declared_range, self.instrument) {
            (Some(range), _) => range,
            (None, Instrument::Gauge | Instrument::Histogram) if ratio => (0.0, 1.0),
            (None, Instrument::Gauge) => (f64::NEG_INFINITY, f64::INFINITY),
            (None, _) => (0.0, f64::INFINITY),
        }
    }

    /// Label sets the metric can have at most.
    #[must_use]
    pub const fn series_limit(&self, signal: &Signal) -> usize {
        let (mut product, mut closed): (usize, usize) = (1, 1);
        let mut i = 0;
        while i < self.labels.len() {
            let label = &signal.labels[self.labels[i] as usize];
            // An optional label can also be absent.
            let n = label.cardinality() + !label.is_closed() as usize;
            product = product.saturating_mul(n);
            if label.is_closed() {
                closed = closed.saturating_mul(n);
            }
            i += 1;
        }
        // Past `series` tuples every open label folds: one more tuple for each closed one.
        let bound = (signal.series as usize).saturating_add(closed);
        if product < bound { product } else { bound }
    }
}
