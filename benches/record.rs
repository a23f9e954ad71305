//! Recording: one counter and one histogram with the same three labels, 50 label sets in turn.
//! Labels of text are held against labels of text, enums against enums.
//!
//! `cargo bench --bench record`

mod common;

use std::hint::black_box;
use std::time::Duration;

use common::{Contender, measure};
use measured::label::StaticLabelSet;
use measured::metric::histogram::Thresholds;
use measured::{FixedCardinalityLabel, LabelGroup};
use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{ManualReader, SdkMeterProvider};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use tachograph::catalog::ClosedLabel as _;
use tachograph::{catalog, closed_label, pipeline, signal};

const BOUNDS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

closed_label! {
    /// How a job ended.
    pub enum Status {
        /// Well.
        Success = "success",
        /// Badly.
        Failed = "failed" error,
        /// Nobody knows.
        Abandoned = "abandoned" abandoned,
    }
}

signal! {
    /// A job.
    pub operation Job => JobEnd = "bench.job" {
        labels {
            /// Kind.
            job_type: open(20),
            /// Who does it.
            agent_type: open(10),
        }
        outcome {
            /// How it ended.
            status: closed(Status),
        }
        metrics {
            /// Jobs that ended.
            "bench.jobs" = counter "{job}" count by [job_type, agent_type, status] no_alert "a benchmark";
            /// How long they took.
            "bench.job.duration" = histogram "s" duration by [job_type, agent_type, status]
                buckets (&BOUNDS) no_alert "a benchmark";
        }
    }
}

closed_label! {
    /// Kind of a job.
    pub enum Kind {
        /// One.
        CodeReview = "code_review",
        /// One.
        CodeGeneration = "code_generation",
        /// One.
        Documentation = "documentation",
        /// One.
        Refactoring = "refactoring",
        /// One.
        Testing = "testing",
        /// One.
        Deployment = "deployment",
        /// One.
        Research = "research",
        /// One.
        Planning = "planning",
        /// One.
        Summarising = "summarising",
        /// One.
        Translation = "translation",
    }
}

closed_label! {
    /// Who does a job.
    pub enum Agent {
        /// One.
        Orchestrator = "orchestrator",
        /// One.
        Researcher = "researcher",
        /// One.
        Developer = "developer",
        /// One.
        Reviewer = "reviewer",
        /// One.
        Writer = "writer",
    }
}

signal! {
    /// A job whose labels are all closed.
    pub operation Closed => ClosedEnd = "bench.closed" {
        labels {
            /// Kind.
            job_type: closed(Kind),
            /// Who does it.
            agent_type: closed(Agent),
        }
        outcome {
            /// How it ended.
            status: closed(Status),
        }
        metrics {
            /// Jobs that ended.
            "bench.closed.jobs" = counter "{job}" count by [job_type, agent_type, status] no_alert "a benchmark";
            /// How long they took.
            "bench.closed.duration" = histogram "s" duration by [job_type, agent_type, status]
                buckets (&BOUNDS) no_alert "a benchmark";
        }
    }
}

signal! {
    /// A job of one of many kinds.
    pub operation Wide => WideEnd = "bench.wide" series 3000 {
        labels {
            /// Kind.
            job_type: open(3000),
            /// Who does it.
            agent_type: open(10),
        }
        outcome {
            /// How it ended.
            status: closed(Status),
        }
        metrics {
            /// How long they took.
            "bench.wide.duration" = histogram "s" duration by [job_type, agent_type, status]
                buckets (&BOUNDS) no_alert "a benchmark";
        }
    }
}

catalog! {
    /// The benchmark's signals.
    pub SIGNALS = [Job, Closed, Wide];
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue, FixedCardinalityLabel)]
#[label(rename_all = "snake_case")]
enum JobType {
    CodeReview,
    CodeGeneration,
    Documentation,
    Refactoring,
    Testing,
    Deployment,
    Research,
    Planning,
    Summarising,
    Translation,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue, FixedCardinalityLabel)]
#[label(rename_all = "snake_case")]
enum AgentType {
    Orchestrator,
    Researcher,
    Developer,
    Reviewer,
    Writer,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue, FixedCardinalityLabel)]
#[label(rename_all = "snake_case")]
enum PeerStatus {
    Success,
    Failed,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet, LabelGroup)]
#[label(set = PeerLabelSet)]
struct PeerLabels {
    job_type: JobType,
    agent_type: AgentType,
    status: PeerStatus,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TextLabels {
    job_type: String,
    agent_type: String,
    status: String,
}

const JOBS: [(Kind, JobType); 10] = [
    (Kind::CodeReview, JobType::CodeReview),
    (Kind::CodeGeneration, JobType::CodeGeneration),
    (Kind::Documentation, JobType::Documentation),
    (Kind::Refactoring, JobType::Refactoring),
    (Kind::Testing, JobType::Testing),
    (Kind::Deployment, JobType::Deployment),
    (Kind::Research, JobType::Research),
    (Kind::Planning, JobType::Planning),
    (Kind::Summarising, JobType::Summarising),
    (Kind::Translation, JobType::Translation),
];
const AGENTS: [(Agent, AgentType); 5] = [
    (Agent::Orchestrator, AgentType::Orchestrator),
    (Agent::Researcher, AgentType::Researcher),
    (Agent::Developer, AgentType::Developer),
    (Agent::Reviewer, AgentType::Reviewer),
    (Agent::Writer, AgentType::Writer),
];

struct Set {
    job: String,
    agent: String,
    kind: Kind,
    role: Agent,
    status: Status,
    peer: PeerLabels,
    text: TextLabels,
    attributes: [KeyValue; 3],
}

fn sets() -> Vec<Set> {
    let mut sets = Vec::new();
    for (i, (kind, job_type)) in JOBS.iter().enumerate() {
        for (j, (role, agent_type)) in AGENTS.iter().enumerate() {
            let (job, agent) = (kind.as_str(), role.as_str());
            let failed = (i + j) % 2 == 1;
            let status = if failed { "failed" } else { "success" };
            sets.push(Set {
                job: job.to_owned(),
                agent: agent.to_owned(),
                kind: *kind,
                role: *role,
                status: if failed {
                    Status::Failed
                } else {
                    Status::Success
                },
                peer: PeerLabels {
                    job_type: *job_type,
                    agent_type: *agent_type,
                    status: if failed {
                        PeerStatus::Failed
                    } else {
                        PeerStatus::Success
                    },
                },
                text: TextLabels {
                    job_type: job.to_owned(),
                    agent_type: agent.to_owned(),
                    status: status.to_owned(),
                },
                attributes: [
                    KeyValue::new("agent_type", agent),
                    KeyValue::new("job_type", job),
                    KeyValue::new("status", status),
                ],
            });
        }
    }
    sets
}

/// What a timer gives; every contender makes of it what it takes.
fn durations() -> Vec<Duration> {
    (0..1024_u64)
        .map(|i| Duration::from_micros((i * 7919) % 10_000_000))
        .collect()
}

/// Runs `work` on this many threads at once, each with the whole number of iterations.
fn threads(count: usize, iterations: usize, work: impl Fn(usize) + Sync) {
    if count == 1 {
        for i in 0..iterations {
            work(i);
        }
        return;
    }
    std::thread::scope(|scope| {
        for offset in 0..count {
            let work = &work;
            scope.spawn(move || {
                for i in 0..iterations {
                    work(i + offset * 25);
                }
            });
        }
    });
}

fn main() {
    pipeline::metrics::install(Resource::builder_empty().build(), SIGNALS, false)
        .unwrap_or_else(|error| panic!("{error}"));

    let sdk = SdkMeterProvider::builder()
        .with_reader(ManualReader::builder().build())
        .build();
    let meter = sdk.meter("peer");
    let sdk_counter = meter.u64_counter("jobs").build();
    let sdk_histogram = meter
        .f64_histogram("job.duration")
        .with_boundaries(BOUNDS.to_vec())
        .build();

    let family_counter = Family::<PeerLabels, Counter>::default();
    let family_histogram =
        Family::<PeerLabels, Histogram>::new_with_constructor(|| Histogram::new(BOUNDS));
    let text_counter = Family::<TextLabels, Counter>::default();
    let text_histogram =
        Family::<TextLabels, Histogram>::new_with_constructor(|| Histogram::new(BOUNDS));

    let dense_labels = || PeerLabelSet {
        job_type: StaticLabelSet::new(),
        agent_type: StaticLabelSet::new(),
        status: StaticLabelSet::new(),
    };
    let dense_counter = measured::CounterVec::with_label_set(dense_labels());
    let dense_histogram = measured::HistogramVec::with_label_set_and_metadata(
        dense_labels(),
        Thresholds::<11>::with_buckets(BOUNDS),
    );

    let sets = sets();
    let durations = durations();
    let duration = |i: usize| black_box(durations[i % 1024]);
    let value = |i: usize| duration(i).as_secs_f64();
    let bound: Vec<_> = sets
        .iter()
        .map(|s| {
            (
                sdk_counter.bind(&s.attributes),
                sdk_histogram.bind(&s.attributes),
            )
        })
        .collect();
    let handles: Vec<_> = sets
        .iter()
        .filter_map(|s| {
            Job {
                job_type: &s.job,
                agent_type: &s.agent,
            }
            .handle(&JobEnd { status: s.status })
        })
        .collect();
    assert_eq!(handles.len(), 50);

    let typed = |i: usize| {
        let set = &sets[i % 50];
        Job {
            job_type: black_box(&set.job),
            agent_type: black_box(&set.agent),
        }
        .record(
            JobEnd {
                status: black_box(set.status),
            },
            duration(i),
        );
    };
    let closed = |i: usize| {
        let set = &sets[i % 50];
        Closed {
            job_type: black_box(set.kind),
            agent_type: black_box(set.role),
        }
        .record(
            ClosedEnd {
                status: black_box(set.status),
            },
            duration(i),
        );
    };
    let kept = |i: usize| handles[i % 50].record(duration(i));
    let sdk_bound = |i: usize| {
        let (counter, histogram) = &bound[i % 50];
        counter.add(1);
        histogram.record(value(i));
    };
    let sdk_unbound = |i: usize| {
        let attributes = black_box(&sets[i % 50].attributes);
        sdk_counter.add(1, attributes);
        sdk_histogram.record(value(i), attributes);
    };
    let family = |i: usize| {
        let labels = black_box(&sets[i % 50].peer);
        family_counter.get_or_create(labels).inc();
        family_histogram.get_or_create(labels).observe(value(i));
    };
    let family_text = |i: usize| {
        let labels = black_box(&sets[i % 50].text);
        text_counter.get_or_create(labels).inc();
        text_histogram.get_or_create(labels).observe(value(i));
    };
    let dense = |i: usize| {
        let labels = black_box(sets[i % 50].peer);
        dense_counter.inc(labels);
        dense_histogram.observe(labels, value(i));
    };

    for i in 0..100 {
        typed(i);
        closed(i);
    }
    let allocations = allocation_counter::measure(|| {
        for i in 0..1_000 {
            typed(i);
            closed(i);
            kept(i);
        }
    });
    println!("allocations in 3,000 records: {}", allocations.count_total);

    let names: Vec<String> = (0..2_000).map(|i| format!("kind_of_job_{i}")).collect();
    let grown = allocation_counter::measure(|| {
        for name in &names {
            let wide = Wide {
                job_type: name,
                agent_type: "writer",
            };
            let status = Status::Success;
            wide.record(WideEnd { status }, Duration::from_millis(1));
        }
    });
    println!(
        "a histogram series of 11 bounds and 3 labels: {} bytes (bar 2048)",
        grown.bytes_current / 2_000
    );

    for count in [1, 2] {
        let results = measure(
            &mut [
                Contender::new("tachograph, text", |n| threads(count, n, typed)),
                Contender::new("tachograph, enums", |n| threads(count, n, closed)),
                Contender::new("tachograph, handle kept", |n| threads(count, n, kept)),
                Contender::new("SDK, bound", |n| threads(count, n, sdk_bound)),
                Contender::new("SDK, unbound", |n| threads(count, n, sdk_unbound)),
                Contender::new("prometheus-client Family, enums", |n| {
                    threads(count, n, family)
                }),
                Contender::new("prometheus-client Family, text", |n| {
                    threads(count, n, family_text)
                }),
                Contender::new("measured, dense", |n| threads(count, n, dense)),
            ],
            15,
            200_000,
        );
        results.print(&format!("{count} thread(s)"), "ns", 1.0);
        let (family_bar, dense_bar) = if count == 1 { (0.35, 0.6) } else { (0.4, 1.0) };
        for (ours, peer, bar) in [
            ("text", "prometheus-client Family, text", family_bar),
            ("enums", "prometheus-client Family, enums", family_bar),
            ("enums", "measured, dense", dense_bar),
        ] {
            results.bar(&format!("tachograph, {ours}"), peer, bar);
        }
        if count == 1 {
            results.bar("tachograph, handle kept", "SDK, bound", 1.1);
        }
    }
}
