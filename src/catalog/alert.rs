//! Alerts, as described beside the metrics they watch.

/// An alert on a metric.
#[derive(Clone, Copy, Debug)]
pub struct Alert {
    /// Name, in CamelCase.
    pub name: &'static str,
    /// Who is woken.
    pub severity: Severity,
    /// When it fires.
    pub condition: Condition,
    /// How long the condition must hold, seconds.
    pub for_seconds: u32,
    /// Labels that tell one alert from another, by key.
    pub by: &'static [&'static str],
    /// One line for the notification.
    pub summary: &'static str,
    /// What to do about it.
    pub runbook: Runbook,
}

/// Who is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Somebody, now.
    Critical,
    /// Somebody, in working hours.
    Warning,
    /// Nobody; it is shown.
    Info,
}

/// When an alert fires. Metrics are named by their OpenTelemetry name.
#[derive(Clone, Copy, Debug)]
pub enum Condition {
    /// A quantile of a histogram is above a threshold.
    QuantileAbove {
        /// The histogram.
        metric: &'static str,
        /// 0 to 1.
        quantile: f64,
        /// In the metric's unit; it must lie inside the bounds.
        threshold: f64,
    },
    /// The share of error values of a counter's closed label is above a ratio.
    ErrorRatioAbove {
        /// The counter, or a histogram whose count is taken.
        metric: &'static str,
        /// 0 to 1.
        ratio: f64,
        /// Events in the window below which it stays silent.
        floor: u32,
    },
    /// A counter grows faster than this many a second.
    RateAbove {
        /// The counter.
        metric: &'static str,
        /// Events a second.
        per_second: f64,
    },
    /// A gauge or an in-flight count is above a threshold.
    ValueAbove {
        /// The gauge.
        metric: &'static str,
        /// In the metric's unit.
        threshold: f64,
    },
    /// A gauge is below a threshold.
    ValueBelow {
        /// The gauge.
        metric: &'static str,
        /// In the metric's unit.
        threshold: f64,
    },
    /// A gauge of Unix seconds lies further back than this.
    OlderThan {
        /// The gauge, in seconds since the Unix epoch.
        metric: &'static str,
        /// Age in seconds.
        seconds: u32,
    },
    /// Operations are in flight and none ends.
    Stuck {
        /// The in-flight count.
        in_flight: &'static str,
        /// The counter or histogram of ends.
        ended: &'static str,
    },
    /// An error budget burns too fast, in several windows at once.
    BurnRate {
        /// The counter, or a histogram whose count is taken.
        metric: &'static str,
        /// The objective, 0 to 1.
        objective: f64,
    },
    /// No process publishes the metric.
    Absent {
        /// The metric.
        metric: &'static str,
    },
}

/// What a runbook page says.
#[derive(Clone, Copy, Debug)]
pub struct Runbook {
    /// What the alert means.
    pub meaning: &'static str,
    /// Likely causes.
    pub causes: &'static [&'static str],
    /// What to do, in order.
    pub actions: &'static [&'static str],
}

impl Alert {
    /// An alert with its condition and the line shown in the notification.
    #[must_use]
    pub const fn new(
        name: &'static str,
        severity: Severity,
        condition: Condition,
        summary: &'static str,
        runbook: Runbook,
    ) -> Self {
        Self {
            name,
            severity,
            condition,
            for_seconds: 300,
            by: &[],
            summary,
            runbook,
        }
    }

    /// How long the condition must hold, minutes.
    #[must_use]
    pub const fn for_minutes(mut self, minutes: u32) -> Self {
        self.for_seconds = minutes * 60;
        self
    }

    /// One alert for each value of these labels.
    #[must_use]
    pub const fn by(mut self, labels: &'static [&'static str]) -> Self {
        self.by = labels;
        self
    }
}

impl Condition {
    /// The metrics it reads.
    #[must_use]
    pub const fn metrics(&self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::QuantileAbove { metric, .. }
            | Self::ErrorRatioAbove { metric, .. }
            | Self::RateAbove { metric, .. }
            | Self::ValueAbove { metric, .. }
            | Self::ValueBelow { metric, .. }
            | Self::OlderThan { metric, .. }
            | Self::BurnRate { metric, .. }
            | Self::Absent { metric } => (metric, None),
            Self::Stuck { in_flight, ended } => (in_flight, Some(ended)),
        }
    }
}
