//! What a vocabulary is once it was read and found right.

use std::fmt;
use std::time::Duration;

/// Other names for what is recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocabulary {
    /// What it is asked for by: lower-case letters, digits and `-`.
    pub name: String,
    /// Whose names these are, one line.
    pub title: String,
    /// Families, in order of the file.
    pub families: Vec<Family>,
}

/// A family of a vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Name in Prometheus text: counters with `_total`, infos with `_info`.
    pub name: String,
    /// Type.
    pub kind: Kind,
    /// Help text.
    pub help: String,
    /// Names of the labels, sorted.
    pub labels: Vec<String>,
    /// Upper bounds of a histogram's buckets; empty while it waits and no system asks for
    /// particular ones.
    pub bounds: Vec<f64>,
    /// Line of the file it begins at, from 1.
    pub line: usize,
    /// Where its values come from.
    pub origin: Origin,
}

/// Where the values of a family come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// From nowhere yet; says which signals it needs.
    Waits(String),
    /// From declared metrics.
    Mapped(Mapping),
}

/// Type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Monotonic sum.
    Counter,
    /// Value that goes up and down.
    Gauge,
    /// Distribution.
    Histogram,
    /// Always 1; its labels tell.
    Info,
}

impl Kind {
    /// The types, as a file names them.
    pub const NAMES: [&'static str; 4] = ["counter", "gauge", "histogram", "info"];

    /// The type of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "info" => Self::Info,
            _ => return None,
        })
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }

    /// The suffix that belongs to the name in text and not to the family (OpenMetrics 1.0,
    /// "Suffixes").
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::Histogram => "",
        }
    }

    /// Suffixes that no other family may end in after this one's base (OpenMetrics 1.0,
    /// "MetricFamily").
    #[must_use]
    pub const fn claims(self) -> &'static [&'static str] {
        match self {
            Self::Counter => &["", "_total", "_created"],
            Self::Histogram => &["", "_bucket", "_sum", "_count", "_created"],
            Self::Info => &["", "_info"],
            Self::Gauge => &[""],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Family {
    /// Its name without the suffix of its type.
    #[must_use]
    pub fn base(&self) -> &str {
        self.name
            .strip_suffix(self.kind.suffix())
            .unwrap_or(&self.name)
    }

    /// How it is computed; none while it waits.
    #[must_use]
    pub fn mapping(&self) -> Option<&Mapping> {
        match &self.origin {
            Origin::Mapped(mapping) => Some(mapping),
            Origin::Waits(_) => None,
        }
    }
}

/// How a family is computed from declared metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    /// OpenTelemetry names of the metrics, whose series are added up.
    pub sources: Vec<String>,
    /// Labels, sorted by name.
    pub labels: Vec<LabelRule>,
    /// Which series count: all that pass every one.
    pub filters: Vec<Filter>,
    /// What is made of them.
    pub value: ValueRule,
}

/// Where a label's value comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelRule {
    /// Name of the label.
    pub name: String,
    /// Its value.
    pub from: LabelFrom,
}

/// The value of a label.
#[derive(Clone, Debug, PartialEq)]
pub enum LabelFrom {
    /// The first of these labels of the source that is not absent, in other words where it
    /// has some.
    Keys {
        /// OpenTelemetry names of the source's labels.
        keys: Vec<String>,
        /// Other words for values: ours, theirs.
        words: Vec<(String, String)>,
    },
    /// What another gauge reads, in the series that has the same labels as the source's.
    Reading(String),
    /// Always the same.
    Constant(String),
    /// The window of a share.
    Window,
}

/// Which values of a label of the source count.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    /// OpenTelemetry name of the label.
    pub key: String,
    /// Values; a `*` at the end stands for any text, the empty text for an absent label.
    pub values: Vec<String>,
    /// Whether these values are kept, or all others.
    pub keep: bool,
}

impl Filter {
    /// Whether a value passes; the empty text: the label is absent.
    #[must_use]
    pub fn passes(&self, value: &str) -> bool {
        let named = self.values.iter().any(|pattern| matches(pattern, value));
        named == self.keep
    }
}

/// Whether a pattern stands for a value.
pub(super) fn matches(pattern: &str, value: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => value.starts_with(prefix),
        None => pattern == value,
    }
}

/// What is made of the series that map to one label set.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueRule {
    /// Their sum; of histograms the sum bucket by bucket.
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// Observations of histograms, all or those above a bound.
    Observations {
        /// The bound, one of the source's.
        above: Option<f64>,
    },
    /// The share of events that pass further filters, over windows of time.
    Share {
        /// Which of the events that the mapping keeps are the part.
        part: Vec<Filter>,
        /// Windows, with the text that stands for each in the label.
        windows: Vec<(String, Duration)>,
        /// 1 for a ratio, 100 for percent.
        scale: f64,
    },
    /// Events counted since the process started.
    Total,
    /// Mean of what histograms observed since the process started.
    Mean,
    /// How many values a label of the source has, absent ones not counted.
    Distinct(String),
    /// A share, of 100.
    Percent,
    /// Always 1.
    One,
}

/// Something in a file that is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong, and what is accepted.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.message)
    }
}
