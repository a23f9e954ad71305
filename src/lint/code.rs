//! What can be found, and how grave it is.

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth a thought; never changes the exit status.
    Hint,
    /// Probably not what was meant; fails under `--strict`.
    Warning,
    /// Cannot work as written.
    Error,
}

impl Severity {
    /// The word in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hint => "hint",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

macro_rules! codes {
    ($( $(#[doc = $doc:literal])+ $name:ident = $code:literal $severity:ident; )+) => {
        /// What a finding is about; `docs/lint.md` has an example of each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $( $(#[doc = $doc])+ $name ),+ }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The word in reports and on the command line.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code),+ }
            }

            /// How grave it is.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity),+ }
            }

            /// What it means, one sentence.
            #[must_use]
            pub fn brief(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_start()),+ }
            }
        }
    };
}

codes! {
    /// The expression is not PromQL.
    Syntax = "syntax" Error;
    /// Nothing publishes a metric of this name.
    UnknownMetric = "unknown-metric" Error;
    /// The metric has no such label, or it was aggregated away.
    UnknownLabel = "unknown-label" Error;
    /// The label never has this value.
    UnknownValue = "unknown-value" Error;
    /// A label is asked to differ from a value that it never has.
    IdleMatcher = "idle-matcher" Warning;
    /// A vocabulary has the name, and nothing feeds it yet.
    Waiting = "waiting" Warning;
    /// The histogram is named without `_bucket`, `_sum` or `_count`: native histograms only.
    NativeOnly = "native-only" Warning;
    /// A rate of something that goes up and down.
    RateOfGauge = "rate-of-gauge" Error;
    /// A difference or a slope of a counter, which restarts at zero.
    DeltaOfCounter = "delta-of-counter" Error;
    /// A counter's raw value, which says how long the process has been running.
    RawCounter = "raw-counter" Warning;
    /// A rate of a sum: one restart looks like a burst.
    RateOfSum = "rate-of-sum" Error;
    /// A quantile of something that has no buckets.
    QuantileWithoutBuckets = "quantile-without-buckets" Error;
    /// A quantile of buckets from which `le` was aggregated away.
    QuantileWithoutLe = "quantile-without-le" Error;
    /// A quantile for each instance and label set, because nothing is summed.
    QuantileUnaggregated = "quantile-unaggregated" Warning;
    /// An average or a sum of quantiles, which is no quantile.
    QuantileAveraged = "quantile-averaged" Warning;
    /// Cumulative buckets added up without `le`.
    BucketsSummed = "buckets-summed" Error;
    /// Two sides whose labels can never be equal.
    NeverMatches = "never-matches" Error;
    /// Several series on one side for each on the other, without `group_left` or `group_right`.
    ManyToOne = "many-to-one" Error;
    /// A ratio of a series to itself.
    AlwaysOne = "always-one" Error;
    /// A comparison that no value satisfies.
    NeverFires = "never-fires" Error;
    /// A comparison that every value satisfies.
    AlwaysTrue = "always-true" Warning;
    /// A threshold inside a histogram's first bucket, where quantiles are guessed.
    BelowFirstBound = "below-first-bound" Warning;
    /// A percentage where the value is a ratio, or the other way round.
    PercentOfRatio = "percent-of-ratio" Error;
    /// A numerator without series makes the ratio empty where it should be zero.
    EmptyNumerator = "empty-numerator" Warning;
    /// Answers that blame the client are counted as errors.
    ClientErrors = "client-errors" Warning;
    /// An annotation or a legend names a label that the result does not have.
    AbsentLabel = "absent-label" Warning;
    /// A ratio alert that one event at night can fire.
    NoTrafficFloor = "no-traffic-floor" Hint;
    /// An alert on a value that a dead process no longer publishes.
    NoAbsent = "no-absent" Hint;
    /// A limit's remainder compared with a number, whatever the limit is.
    AbsoluteRemainder = "absolute-remainder" Hint;
    /// What is in use divided by what is open, where the maximum is meant.
    ShareOfOpen = "share-of-open" Hint;
    /// A gauge summed over replicas that each publish the same.
    GaugeSummed = "gauge-summed" Hint;
    /// A fixed window in a graph, where `$__rate_interval` follows the zoom.
    FixedWindow = "fixed-window" Hint;
    /// `topk` in a graph chooses anew at every step.
    TopkInGraph = "topk-in-graph" Hint;
    /// Part of a file that was not checked.
    NotChecked = "not-checked" Hint;
}
