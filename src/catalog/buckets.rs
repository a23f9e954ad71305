//! Classes of histogram bounds.
//!
//! A class is chosen by what is measured, and is as fine as the finest reader needs: other
//! systems' bounds are subsets, so that their histograms can be had by summing buckets.

/// Server and client requests, seconds. Contains the bounds that the HTTP semantic
/// conventions (v1.41.0) advise.
pub const HTTP: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    30.0, 60.0,
];

/// Operations of an API on the Internet, seconds.
pub const API: &[f64] = &[
    0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0,
];

/// Tool calls, seconds: from a lookup in memory to a build of an hour.
pub const TOOL: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0,
    120.0, 300.0, 600.0, 1800.0, 3600.0,
];

/// Workflows, tasks, agent runs and other jobs, seconds.
pub const JOB: &[f64] = &[
    0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 1200.0, 1800.0,
    3600.0, 7200.0,
];

/// LLM requests, seconds: the bounds of `gen_ai.client.operation.duration` in the GenAI
/// semantic conventions (v1.41.0), and those that other systems alert on.
pub const LLM: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.1, 0.16, 0.25, 0.32, 0.5, 0.64, 1.0, 1.28, 2.0, 2.5, 2.56, 5.0, 5.12,
    10.0, 10.24, 20.0, 20.48, 30.0, 40.96, 60.0, 81.92, 120.0, 300.0, 600.0,
];

/// Tokens of one request: the bounds of `gen_ai.client.token.usage` in the GenAI semantic
/// conventions (v1.41.0).
pub const TOKENS: &[f64] = &[
    1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0,
    16777216.0, 67108864.0,
];

/// Sizes of bodies and pages, bytes.
pub const BYTES: &[f64] = &[
    100.0,
    500.0,
    1_000.0,
    5_000.0,
    10_000.0,
    50_000.0,
    100_000.0,
    500_000.0,
    1_000_000.0,
    10_000_000.0,
    100_000_000.0,
];

/// Collecting and encoding a metrics page, seconds.
pub const SCRAPE: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Requests to an OTLP backend and rounds of collectors, seconds.
pub const EXPORT: &[f64] = &[
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Commits of a database, seconds.
pub const COMMIT: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// Commands of key-value stores and look-ups in caches, seconds. Contains the bounds of
/// `db.client.operation.duration` in the semantic conventions (v1.41.0).
pub const KEY_VALUE: &[f64] = &[
    0.00001, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
    5.0, 10.0,
];

/// Statements of a database and waits for its connections, seconds. Contains the bounds that the
/// database semantic conventions (v1.41.0) advise.
pub const DB: &[f64] = &[
    0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0,
];

/// Rows of one answer: the bounds of `db.client.response.returned_rows` in the database semantic
/// conventions (v1.41.0), and none.
pub const ROWS: &[f64] = &[
    0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0,
];

/// Items in a batch.
pub const BATCH: &[f64] = &[
    1.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1_000.0, 5_000.0, 10_000.0,
];

/// Shares and confidences, 0 to 1.
pub const CONFIDENCE: &[f64] = &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0];

/// Time to the first chunk of a streamed answer, seconds: the bounds of
/// `gen_ai.client.operation.time_to_first_chunk` in the GenAI semantic conventions (v1.41.0).
pub const FIRST_CHUNK: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];

/// Tokens of output a second of one answer.
pub const SPEED: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0, 200.0, 300.0,
    500.0, 1_000.0, 2_000.0,
];

/// Cost of one request, US dollars: most requests cost less than a cent, those to small models
/// less than a hundredth of one.
pub const COST: &[f64] = &[
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0,
];

/// Small numbers of steps, such as the tool calls of one agent run.
pub const STEPS: &[f64] = &[
    0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0,
];

/// Sessions, and waits for people, seconds: to a day.
pub const SESSION: &[f64] = &[
    1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14400.0,
    28800.0, 86400.0,
];

/// Waits in a queue, seconds.
pub const WAIT: &[f64] = &[
    0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0,
    3600.0, 7200.0,
];

/// MCP requests and sessions, seconds: the bounds of the MCP metrics in the semantic conventions
/// (v1.41.0).
pub const MCP: &[f64] = &[
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];

/// Results of one search.
pub const RESULTS: &[f64] = &[0.0, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0];

/// What people wait for in a browser, seconds. Contains the thresholds of the Web Vitals.
pub const PAGE_LOAD: &[f64] = &[
    0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.2, 1.8, 2.5, 3.0, 4.0, 6.0, 8.0, 10.0, 15.0, 30.0, 60.0,
];

/// Cumulative Layout Shift. Contains its thresholds.
pub const LAYOUT_SHIFT: &[f64] = &[
    0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.4, 0.6, 1.0, 2.0, 5.0,
];
