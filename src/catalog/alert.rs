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
    /// What the condition looks back over, seconds.
    pub window_seconds: u32,
    /// Labels that tell one alert from another, by key.
    pub by: &'static [&'static str],
    /// The label values it is about, by key; none: all.
    pub only: &'static [(&'static str, &'static str)],
    /// One line for the notification.
    pub summary: &'static str,
    /// What to do about it.
    pub runbook: Runbook,
    /// When to silence it; none: what holds for every alert of its kind.
    pub silence: Option<&'static str>,
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

/// When an alert fires. Metrics are named by their OpenTelemetry name; "the window" is the
/// alert's.
#[derive(Clone, Copy, Debug)]
pub enum Condition {
    /// A quantile of a histogram over the window is above a threshold.
    QuantileAbove {
        /// The histogram.
        metric: &'static str,
        /// 0 to 1.
        quantile: f64,
        /// In the metric's unit; it must lie inside the bounds.
        threshold: f64,
        /// Observations in the window below which it stays silent.
        floor: u32,
    },
    /// The share of error values of a counter's label over the window is above a ratio.
    ErrorRatioAbove {
        /// The counter, or a histogram whose count is taken.
        metric: &'static str,
        /// 0 to 1.
        ratio: f64,
        /// Events in the window below which it stays silent; so many that one error alone
        /// is not above the ratio.
        floor: u32,
    },
    /// A counter grows faster than this many a second, on average over the window.
    RateAbove {
        /// The counter.
        metric: &'static str,
        /// Events a second, above 0.
        per_second: f64,
    },
    /// A counter, or the sum of a histogram, grows by more than this in the window.
    IncreaseAbove {
        /// The counter.
        metric: &'static str,
        /// In the metric's unit, above 0.
        amount: f64,
    },
    /// A counter grows at all in the window, or is there for the first time.
    Occurs {
        /// The counter.
        metric: &'static str,
    },
    /// A gauge of any replica, or the sum of replicas' in-flight counts, is above a threshold.
    ValueAbove {
        /// The gauge.
        metric: &'static str,
        /// In the metric's unit.
        threshold: f64,
    },
    /// A gauge of any replica is below a threshold.
    ValueBelow {
        /// The gauge.
        metric: &'static str,
        /// In the metric's unit.
        threshold: f64,
    },
    /// The mean of a histogram's observations over the window is below a threshold.
    MeanBelow {
        /// The histogram.
        metric: &'static str,
        /// In the metric's unit.
        threshold: f64,
        /// Observations in the window below which it stays silent.
        floor: u32,
    },
    /// What a counter grew over the window is a smaller share of what another grew than this.
    /// `only` holds for those of the two that have the label.
    ShareBelow {
        /// The part; no series of it is none.
        metric: &'static str,
        /// The whole.
        whole: &'static str,
        /// 0 to 1.
        ratio: f64,
        /// Events of the whole in the window below which it stays silent; so many that the share
        /// cannot hang on one.
        floor: u32,
    },
    /// A gauge grows, and as it grew over the window it passes a threshold before long.
    Growing {
        /// The gauge.
        metric: &'static str,
        /// In the metric's unit.
        threshold: f64,
        /// How far to look ahead, seconds.
        ahead_seconds: u32,
    },
    /// A gauge of Unix seconds lies further back than this, on every replica.
    OlderThan {
        /// The gauge, in seconds since the Unix epoch.
        metric: &'static str,
        /// Age in seconds.
        seconds: u32,
    },
    /// Operations are in flight and none has ended in the window.
    Stuck {
        /// The in-flight count.
        in_flight: &'static str,
        /// The counter or histogram of ends.
        ended: &'static str,
    },
    /// An error budget burns too fast, in two windows at once: 14.4 times over 5 minutes and
    /// 1 hour or 6 times over 30 minutes and 6 hours with the alert's severity, 3 times over
    /// 2 hours and 1 day or as fast as it may over 6 hours and 3 days as a warning (Site
    /// Reliability Workbook, chapter 5).
    BurnRate {
        /// The counter, or a histogram whose count is taken.
        metric: &'static str,
        /// The objective, 0 to 1; above 1 - 1/14.4, or it could not burn that fast.
        objective: f64,
    },
    /// A job published the metric within a day, and no longer does.
    Absent {
        /// The metric.
        metric: &'static str,
    },
    /// No process of a job that published the metric within three days does, or none does at
    /// all.
    JobDown {
        /// The metric: one that every process publishes.
        metric: &'static str,
    },
    /// A target that published the metric within three days cannot be scraped.
    InstanceDown {
        /// The metric: one that every process publishes.
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
            window_seconds: 300,
            by: &[],
            only: &[],
            summary,
            runbook,
            silence: None,
        }
    }

    /// How long the condition must hold, minutes.
    #[must_use]
    pub const fn for_minutes(mut self, minutes: u32) -> Self {
        self.for_seconds = minutes * 60;
        self
    }

    /// What the condition looks back over, minutes.
    #[must_use]
    pub const fn over_minutes(mut self, minutes: u32) -> Self {
        self.window_seconds = minutes * 60;
        self
    }

    /// Only series with these label values, by key.
    #[must_use]
    pub const fn only(mut self, values: &'static [(&'static str, &'static str)]) -> Self {
        self.only = values;
        self
    }

    /// When to silence it.
    #[must_use]
    pub const fn silence(mut self, when: &'static str) -> Self {
        self.silence = Some(when);
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
            | Self::IncreaseAbove { metric, .. }
            | Self::Occurs { metric }
            | Self::ValueAbove { metric, .. }
            | Self::ValueBelow { metric, .. }
            | Self::MeanBelow { metric, .. }
            | Self::Growing { metric, .. }
            | Self::OlderThan { metric, .. }
            | Self::BurnRate { metric, .. }
            | Self::Absent { metric }
            | Self::JobDown { metric }
            | Self::InstanceDown { metric } => (metric, None),
            Self::Stuck { in_flight, ended } => (in_flight, Some(ended)),
            Self::ShareBelow { metric, whole, .. } => (metric, Some(whole)),
        }
    }
}
