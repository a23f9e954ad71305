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
    /// Whether it belongs in the dashboard's first row.
    pub headline: bool,
}

/// What a panel shows of a metric, named by its OpenTelemetry name.
#[derive(Clone, Copy, Debug)]
pub enum View {
    /// Events a second of a counter, or observations a second of a histogram.
    Rate(&'static str),
    /// The 50th, 95th and 99th percentile of a histogram.
    Quantiles(&'static str),
    /// The buckets of a histogram over time.
    Heatmap(&'static str),
    /// The current value of a gauge or of an in-flight count.
    Value(&'static str),
    /// The share of a counter's events whose closed label has an error value.
    ErrorRatio(&'static str),
    /// How much a counter, or a histogram's sum, grew over the range shown.
    Total(&'static str),
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
            headline: false,
        }
    }

    /// Split by these labels.
    #[must_use]
    pub const fn by(mut self, labels: &'static [&'static str]) -> Self {
        self.by = labels;
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
    /// The metric shown.
    #[must_use]
    pub const fn metric(&self) -> &'static str {
        match self {
            Self::Rate(m)
            | Self::Quantiles(m)
            | Self::Heatmap(m)
            | Self::Value(m)
            | Self::ErrorRatio(m)
            | Self::Total(m)
            | Self::Table(m) => m,
        }
    }
}
