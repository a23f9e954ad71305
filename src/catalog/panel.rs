//! Dashboard panels, as described beside the metrics they show.

/// A panel of a dashboard.
#[derive(Clone, Copy, Debug)]
pub struct Panel {
    /// Title.
    pub title: &'static str,
    /// What a reader learns from it.
    pub description: &'static str,
    /// What it shows.
    pub view: View,
    /// Labels that split it, by key; none: one line.
    pub by: &'static [&'static str],
    /// Label values it is restricted to, each a key and a value. Of two metrics, a pair holds for
    /// those that have the label.
    pub only: &'static [(&'static str, &'static str)],
    /// Row of the dashboard it stands in; none: a row named after the signal.
    pub section: Option<&'static str>,
    /// Whether it belongs in the dashboard's first row.
    pub headline: bool,
    /// Quantile shown of a histogram, 0 to 1, instead of those that `View::Quantiles` says.
    pub quantile: Option<f64>,
    /// Up to where a value is good, and above what it is poor, where that is published; drawn
    /// instead of the thresholds of alerts.
    pub grades: Option<(f64, f64)>,
}

/// What a panel shows of a metric, named by its OpenTelemetry name.
#[derive(Clone, Copy, Debug)]
pub enum View {
    /// Events a second of a counter, or observations a second of a histogram; of a metric in
    /// `USD`, dollars an hour.
    Rate(&'static str),
    /// The 50th, 95th and 99th percentile of a histogram; split by labels, the 95th of each.
    Quantiles(&'static str),
    /// The buckets of a histogram over time.
    Heatmap(&'static str),
    /// The mean of a histogram's observations.
    Mean(&'static str),
    /// The current value of a gauge or of an in-flight count.
    Value(&'static str),
    /// How long ago the time lies that a gauge of Unix seconds tells.
    Age(&'static str),
    /// The share of a counter's events whose closed label has an error value.
    ErrorRatio(&'static str),
    /// Events a second of a counter whose closed label has an error value.
    Errors(&'static str),
    /// What is left of the error budget that a burn-rate alert on the metric sets, over the
    /// range shown.
    Budget(&'static str),
    /// How much a counter, or a histogram's sum, grew over the range shown; split by labels, the
    /// ten largest.
    Total(&'static str),
    /// Growth of one counter as a share of another's.
    Share {
        /// The part.
        part: &'static str,
        /// The whole; 0 of it shows nothing.
        whole: &'static str,
    },
    /// One line for each label set of an information gauge.
    Table(&'static str),
}

impl Panel {
    /// A panel with a title and a view.
    #[must_use]
    pub const fn new(title: &'static str, view: View, description: &'static str) -> Self {
        Self {
            title,
            description,
            view,
            by: &[],
            only: &[],
            section: None,
            headline: false,
            quantile: None,
            grades: None,
        }
    }

    /// Split by these labels.
    #[must_use]
    pub const fn by(mut self, labels: &'static [&'static str]) -> Self {
        self.by = labels;
        self
    }

    /// Restricted to these label values.
    #[must_use]
    pub const fn only(mut self, pairs: &'static [(&'static str, &'static str)]) -> Self {
        self.only = pairs;
        self
    }

    /// Shows one quantile of a histogram, 0 to 1.
    #[must_use]
    pub const fn quantile(mut self, quantile: f64) -> Self {
        self.quantile = Some(quantile);
        self
    }

    /// Values up to `good` are good, those above `poor` are poor.
    #[must_use]
    pub const fn grades(mut self, good: f64, poor: f64) -> Self {
        self.grades = Some((good, poor));
        self
    }

    /// In the row of this title.
    #[must_use]
    pub const fn section(mut self, title: &'static str) -> Self {
        self.section = Some(title);
        self
    }

    /// In the dashboard's first row.
    #[must_use]
    pub const fn headline(mut self) -> Self {
        self.headline = true;
        self
    }
}

impl View {
    /// The metric shown; of a share, its part.
    #[must_use]
    pub const fn metric(&self) -> &'static str {
        match self {
            Self::Rate(m)
            | Self::Quantiles(m)
            | Self::Heatmap(m)
            | Self::Mean(m)
            | Self::Value(m)
            | Self::Age(m)
            | Self::ErrorRatio(m)
            | Self::Errors(m)
            | Self::Budget(m)
            | Self::Total(m)
            | Self::Share { part: m, .. }
            | Self::Table(m) => m,
        }
    }

    /// The other metric it reads, if it reads two.
    #[must_use]
    pub const fn second(&self) -> Option<&'static str> {
        match self {
            Self::Share { whole, .. } => Some(whole),
            _ => None,
        }
    }

    /// Its name, as `tachograph catalog` prints it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Rate(_) => "rate",
            Self::Quantiles(_) => "quantiles",
            Self::Heatmap(_) => "heatmap",
            Self::Mean(_) => "mean",
            Self::Value(_) => "value",
            Self::Age(_) => "age",
            Self::ErrorRatio(_) => "error_ratio",
            Self::Errors(_) => "errors",
            Self::Budget(_) => "budget",
            Self::Total(_) => "total",
            Self::Share { .. } => "share",
            Self::Table(_) => "table",
        }
    }
}
