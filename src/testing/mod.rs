//! For tests of code that records: asserts what it recorded.
//!
//! ```
//! use tachograph::testing;
//!
//! #[tracing::instrument(name = "workflow.run", skip_all, fields(workflow_type = kind, status))]
//! fn run(kind: &str) {
//!     tracing::info!(stage = "review", "under way");
//!     tracing::Span::current().record("status", "success");
//! }
//!
//! let recorded = testing::capture();
//! run("code_review");
//! recorded.signal("workflow.run").label("status", "success").assert_count(1);
//! recorded.span("workflow.run").field("workflow_type", "code_review").assert_count(1);
//! recorded.log("under way").field("stage", "review").assert_count(1);
//! recorded.metric("workflow.active").label("workflow_type", "code_review").assert_value(0.0);
//! ```
//!
//! A process has one pipeline. The first capture starts it, in place of
//! [`Telemetry::init`](crate::Telemetry::init), with the signals of Tachograph; a program with
//! signals of its own gives them to [`capture_with`], from one function that all its tests
//! call. An application that is tested with its middleware takes the pipeline from
//! [`Capture::telemetry`]. Log lines are not written.
//!
//! **Tests run in parallel**, and each sees what it caused. A capture is told apart by its
//! trace: it is a span, entered on the thread that made it, and takes what is recorded while
//! that span, or one below it, is in force, on whatever thread. Tasks on the same thread are
//! in it, so that `#[tokio::test]` and `#[actix_web::test]` need nothing more; so are requests
//! that carry its `traceparent`. Threads, and tasks on the threads of others, are in it if they
//! are given the span: `tokio::spawn(work.in_current_span())`, or [`Capture::span_in_force`]. What is
//! recorded in no capture is named when an assertion fails. Typed recorders that
//! [`record`](crate::signals::workflow::WorkflowRun::record) after the fact make no span and no
//! log line.
//!
//! Everything is sampled, and spans and log records pass the filters of the configuration, as
//! those that are exported do.
//!
//! Not for production: a process that observes keeps the series of each capture for ever.

mod query;
mod show;
mod trace;

use std::fmt;
use std::sync::OnceLock;

use parking_lot::Mutex;
use tracing::Span;
use tracing::span::EnteredSpan;

use crate::TelemetryConfig;
use crate::catalog::{Instrument, Metric, Signal};
use crate::pipeline::observed::{Kept, Observed};
use crate::pipeline::{Builder, Telemetry};
use crate::recording::exemplar::{self, SampledSpan};
use crate::recording::{self, MetricSeries, Reading, Recorder, observe};

pub use query::{MetricQuery, SignalQuery};
pub use trace::{LogQuery, SpanQuery};

struct Pipeline {
    telemetry: Telemetry,
    observed: Observed,
}

static PIPELINE: OnceLock<Pipeline> = OnceLock::new();
static STARTING: Mutex<()> = Mutex::new(());

/// Begins to observe what this test records, with the signals of Tachograph. What the test
/// program's first capture was started with stays in force.
///
/// # Panics
/// The pipeline cannot be started: the program called
/// [`Telemetry::init`](crate::Telemetry::init) or set a `tracing` subscriber before.
#[track_caller]
pub fn capture() -> Capture {
    capture_with(|| Telemetry::builder(TelemetryConfig::default()))
}

/// As [`capture`], with the pipeline that `builder` gives, if none was started.
///
/// ```
/// tachograph::signal! {
///     /// Coupons that were redeemed.
///     pub counter Redeemed = "shop.coupon" => "shop.coupons" "{coupon}" {
///         labels {
///             /// Campaign of the coupon.
///             campaign: open(50),
///         }
///         no_alert "an example"
///     }
/// }
/// tachograph::catalog! {
///     /// What the shop records.
///     pub SHOP = [Redeemed];
/// }
/// use tachograph::testing::{self, Capture};
/// use tachograph::{Telemetry, TelemetryConfig};
///
/// fn capture() -> Capture {
///     testing::capture_with(|| Telemetry::builder(TelemetryConfig::default()).signals(SHOP))
/// }
///
/// let recorded = capture();
/// Redeemed { campaign: "spring" }.add(2);
/// recorded.signal("shop.coupon").label("campaign", "spring").assert_count(2);
/// ```
///
/// # Panics
/// As [`capture`].
#[track_caller]
pub fn capture_with(builder: impl FnOnce() -> Builder) -> Capture {
    let pipeline = pipeline(builder);
    let entered = tracing::info_span!(target: TARGET, parent: None, "capture").entered();
    let Some(here) = exemplar::current() else {
        panic!("a capture's span is not recorded: `traces.filter` must not exclude `{TARGET}`");
    };
    let scope = observe::open(here.trace_id);
    pipeline.observed.open(scope);
    Capture {
        scope,
        here,
        entered,
        pipeline,
    }
}

/// Target of a capture's span.
const TARGET: &str = "tachograph::testing";

#[track_caller]
fn pipeline(builder: impl FnOnce() -> Builder) -> &'static Pipeline {
    let _one = STARTING.lock();
    if let Some(running) = PIPELINE.get() {
        return running;
    }
    observe::start();
    let observed = Observed::default();
    match builder().observed(observed.clone()).init() {
        Ok(telemetry) => PIPELINE.get_or_init(|| Pipeline {
            telemetry,
            observed,
        }),
        Err(error) => panic!(
            "the test program's pipeline did not start: {error}. Where something else starts \
             one, take that from `Capture::telemetry` instead"
        ),
    }
}

/// What has been recorded since it was made, by this test; see the [module](self).
///
/// Its `Display` shows everything.
#[must_use = "it observes until it is dropped"]
pub struct Capture {
    scope: u64,
    here: SampledSpan,
    entered: EnteredSpan,
    pipeline: &'static Pipeline,
}

/// A series as it stands.
#[derive(Clone, Debug)]
struct Point {
    signal: &'static Signal,
    metric: &'static Metric,
    labels: Vec<(String, String)>,
    reading: Reading,
}

impl Capture {
    /// The process's pipeline, for the routes and the middleware of an application.
    #[must_use]
    pub fn telemetry(&self) -> Telemetry {
        self.pipeline.telemetry.clone()
    }

    /// The capture's span, for threads and for tasks that run on others.
    #[must_use]
    pub fn span_in_force(&self) -> Span {
        (*self.entered).clone()
    }

    /// What was recorded as a signal: `recorded.signal("workflow.run")`.
    ///
    /// # Panics
    /// There is no signal of this name; the nearest is named.
    #[track_caller]
    pub fn signal(&self, name: &str) -> SignalQuery<'_> {
        SignalQuery::new(self, name)
    }

    /// What a metric, by its OpenTelemetry name, has come to:
    /// `recorded.metric("workflow.run.duration")`.
    ///
    /// # Panics
    /// There is no metric of this name; the nearest is named.
    #[track_caller]
    pub fn metric(&self, name: &str) -> MetricQuery<'_> {
        MetricQuery::new(self, name)
    }

    /// The spans of this name that ended.
    pub fn span(&self, name: &str) -> SpanQuery<'_> {
        SpanQuery::new(self, name)
    }

    /// The log records whose message is this.
    pub fn log(&self, message: &str) -> LogQuery<'_> {
        LogQuery::new(self, message)
    }

    fn points(&self) -> Vec<Point> {
        points(|recorder| recorder.observed(self.scope))
    }

    fn kept(&self) -> Kept {
        let mut kept = self.pipeline.observed.kept(self.scope);
        let own = self.here.span_id.to_be_bytes();
        kept.spans
            .retain(|span| span.span_context.span_id().to_bytes() != own);
        kept
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        observe::close(self.scope);
        self.pipeline.observed.close(self.scope);
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// Every series that holds something.
fn points(of: impl Fn(&'static dyn Recorder) -> &'static [MetricSeries]) -> Vec<Point> {
    let mut points = Vec::new();
    for recorder in recording::all() {
        for metric in of(*recorder) {
            for series in metric.series().iter() {
                let reading = series.read();
                if is_empty(metric.metric(), &reading) {
                    continue;
                }
                let labels = series.labels().map(|(k, v)| (k.to_owned(), v.to_owned()));
                points.push(Point {
                    signal: recorder.signal(),
                    metric: metric.metric(),
                    labels: labels.collect(),
                    reading,
                });
            }
        }
    }
    points
}

/// Whether nothing was recorded in a series: each label tuple makes all of its signal's.
fn is_empty(metric: &Metric, reading: &Reading) -> bool {
    match reading {
        Reading::Absent | Reading::Unsigned(0) | Reading::Histogram { count: 0, .. } => true,
        Reading::Float(sum) => metric.instrument == Instrument::FloatCounter && *sum == 0.0,
        _ => false,
    }
}

/// The name that was probably meant.
fn nearest<'n>(given: &str, names: impl IntoIterator<Item = &'n str>) -> String {
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(given, name), name))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(String::new, |(_, name)| {
            format!("; the nearest is `{name}`")
        })
}

/// Whether all wanted pairs are among those given.
fn carries(given: &[(String, String)], wanted: &[(String, String)]) -> bool {
    wanted.iter().all(|pair| given.contains(pair))
}
