//! Signals made at run time, of any name and with any label, apart from those of the process.
//! They live until the process ends, as declared ones do.

use std::collections::BTreeSet;

use opentelemetry_sdk::Resource;
use tachograph::catalog::{
    Feed, Instrument, Label, LabelKind, Metric, Signal, SignalKind, SpanKind, ValueField, check,
};
use tachograph::pipeline::metrics::Collector;
use tachograph::recording::{Cell, Key, Recorder};

type Point = (Vec<(String, String)>, f64);

/// A metric with what is recorded.
pub struct Made {
    name: &'static str,
    brief: &'static str,
    unit: &'static str,
    instrument: Instrument,
    bounds: &'static [f64],
    points: Vec<Point>,
}

impl Made {
    pub fn brief(&mut self, brief: &str) -> &mut Self {
        self.brief = leak(brief);
        self
    }

    pub fn unit(&mut self, unit: &'static str) -> &mut Self {
        self.unit = unit;
        self
    }

    /// Adds to a counter, sets a gauge, observes in a histogram, or starts so many operations.
    pub fn put(
        &mut self,
        value: f64,
        labels: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
    ) -> &mut Self {
        let labels = labels.into_iter().map(|(k, v)| (k.into(), v.into()));
        self.points.push((labels.collect(), value));
        self
    }

    /// As [`put`](Self::put), without labels.
    pub fn bare(&mut self, value: f64) -> &mut Self {
        self.put(value, [("", ""); 0])
    }

    fn install(&self) -> &'static dyn Recorder {
        let all = self.points.iter().flat_map(|(labels, _)| labels);
        let keys: BTreeSet<&str> = all.map(|(key, _)| key.as_str()).collect();
        let kinds = keys.iter().map(|key| {
            let found = self.points.iter().map(|(labels, _)| value(labels, key));
            let values: BTreeSet<&str> = found.collect();
            // Closed ones have all their series from the start; a single value makes no more.
            if values.len() > 1 {
                LabelKind::Open {
                    budget: values.len() as u32,
                    optional: true,
                }
            } else {
                LabelKind::Closed {
                    values: values.into_iter().map(leak).collect::<Vec<_>>().leak(),
                    errors: &[],
                    abandoned: None,
                }
            }
        });
        let labels = keys.iter().zip(kinds).map(|(key, kind)| Label {
            key: leak(key),
            brief: "",
            kind,
            outcome: false,
        });
        let signal = self.signal(labels.collect::<Vec<_>>().leak());
        match signal.labels.iter().filter(|l| !l.is_closed()).count() {
            0 => self.record::<0>(signal),
            1 => self.record::<1>(signal),
            2 => self.record::<2>(signal),
            3 => self.record::<3>(signal),
            _ => self.record::<4>(signal),
        }
    }

    fn signal(&self, labels: &'static [Label]) -> &'static Signal {
        let operation = self.instrument == Instrument::InFlight;
        let metric = Metric {
            name: self.name,
            brief: self.brief,
            unit: self.unit,
            instrument: self.instrument,
            feed: match self.instrument {
                Instrument::InFlight => Feed::Active,
                Instrument::Counter => Feed::Count,
                _ => Feed::Value(0),
            },
            labels: (0..labels.len() as u8).collect::<Vec<_>>().leak(),
            constant: None,
            bounds: self.bounds,
            declared_range: None,
            no_alert: None,
        };
        Box::leak(Box::new(Signal {
            name: self.name,
            domain: "test",
            brief: "",
            kind: if operation {
                SignalKind::Operation
            } else {
                SignalKind::Measure
            },
            labels,
            values: &[ValueField {
                key: "value",
                brief: "",
            }],
            context: &[],
            metrics: vec![metric].leak(),
            panels: &[],
            alerts: &[],
            reportable: false,
            timed_by_write: false,
            span_kind: SpanKind::Internal,
            series: 100_000,
            source: (file!(), line!()),
        }))
    }

    fn record<const N: usize>(&self, signal: &'static Signal) -> &'static dyn Recorder {
        let cell: &'static Cell<N> = Box::leak(Box::new(Cell::new(signal)));
        assert!(cell.install(false));
        for (labels, number) in &self.points {
            let mut key = Key {
                closed: 0,
                open: [""; N],
            };
            for (i, label) in signal.labels.iter().enumerate() {
                let value = value(labels, label.key);
                match label.kind {
                    LabelKind::Closed { values, .. } => {
                        let at = values.iter().position(|v| *v == value).unwrap() as u64;
                        key.closed |= at << check::shift(signal.labels, i);
                    }
                    LabelKind::Open { .. } => {
                        key.open[check::rank(signal.labels, i, false)] = value;
                    }
                }
            }
            match self.instrument {
                Instrument::Counter => cell.count(key, *number as u64),
                Instrument::InFlight => {
                    let handle = cell.start_handle(key).unwrap();
                    (0..*number as u64).for_each(|_| std::mem::forget(handle.begin()));
                }
                _ => cell.measure(key, *number),
            }
        }
        cell
    }
}

fn value<'l>(labels: &'l [(String, String)], key: &str) -> &'l str {
    let found = labels.iter().find(|(k, _)| k == key);
    found.map_or("", |(_, value)| value)
}

fn leak(text: &str) -> &'static str {
    text.to_owned().leak()
}

/// Metrics to be made.
#[derive(Default)]
pub struct Declared(Vec<Made>);

impl Declared {
    fn add(&mut self, name: &str, instrument: Instrument, bounds: &[f64]) -> &mut Made {
        self.0.push(Made {
            name: leak(name),
            brief: "",
            unit: "",
            instrument,
            bounds: bounds.to_vec().leak(),
            points: Vec::new(),
        });
        self.0.last_mut().unwrap()
    }

    pub fn counter(&mut self, name: &str) -> &mut Made {
        self.add(name, Instrument::Counter, &[])
    }

    pub fn float_counter(&mut self, name: &str) -> &mut Made {
        self.add(name, Instrument::FloatCounter, &[])
    }

    pub fn in_flight(&mut self, name: &str) -> &mut Made {
        self.add(name, Instrument::InFlight, &[])
    }

    pub fn gauge(&mut self, name: &str) -> &mut Made {
        self.add(name, Instrument::Gauge, &[])
    }

    pub fn histogram(&mut self, name: &str, bounds: &[f64]) -> &mut Made {
        self.add(name, Instrument::Histogram, bounds)
    }

    /// Makes and records everything.
    pub fn collector(&self, resource: Resource) -> Collector {
        let signals: Vec<_> = self.0.iter().map(Made::install).collect();
        Collector::new(resource, &signals)
    }
}

/// A collector of what `record` asks for, without a resource.
pub fn declare(record: impl FnOnce(&mut Declared)) -> Collector {
    let mut declared = Declared::default();
    record(&mut declared);
    declared.collector(Resource::builder_empty().build())
}

/// A counter with one label, `of`, and no series yet.
pub fn counter(name: &str) -> &'static Cell<1> {
    let made = Made {
        name: leak(name),
        brief: "",
        unit: "",
        instrument: Instrument::Counter,
        bounds: &[],
        points: Vec::new(),
    };
    let label = Label {
        key: "of",
        brief: "",
        kind: LabelKind::Open {
            budget: 100,
            optional: true,
        },
        outcome: false,
    };
    let cell: &'static Cell<1> = Box::leak(Box::new(Cell::new(made.signal(vec![label].leak()))));
    assert!(cell.install(false));
    cell
}
