//! `POST /api/v1/records`: what agents report, in any language.
//!
//! A body is one record, an array of records, or one record a line (NDJSON):
//!
//! ```json
//! {"signal": "workflow.run", "id": "<UUID>", "time": "<RFC 3339>", "duration": 1.5,
//!  "fields": {"workflow_type": "code_review", "status": "success"}, "context": {}}
//! ```
//!
//! `signal` names a declared signal that is reportable; `fields` are its labels (text) and
//! values (numbers); `context` its context fields; `duration` seconds, of an operation.
//! How an operation ended has to be said: without its `status` it is refused, not taken for one
//! that was given up.
//! Without an `id` the record gets a UUID of version 7 and cannot be recognised when it is
//! sent again. Ids of version 7, which grow with time, are written several times faster than
//! random ones once the ledger is large. Without a `time` it ended when it was received, and is recognised after its
//! row was removed only if its id is of version 7, whose time then counts. Every record is judged alone:
//! those that are refused do not hold the others up.
//!
//! `parent` is the id of the operation that it belongs to.
//!
//! # Beginnings
//!
//! ```json
//! {"signal": "agent.run", "id": "<UUID>", "event": "start",
//!  "fields": {"gen_ai.agent.name": "planner"}, "expires_in": 3600}
//! {"signal": "agent.run", "id": "<UUID>", "event": "end", "fields": {"status": "success"}}
//! ```
//!
//! An operation that began is in flight until its end is recorded: an ordinary record with its
//! id, `"event": "end"` or none. What the end does not say is taken from the start, and the
//! duration from both times. A start that comes twice, or after the end, changes nothing; an
//! end without a start has to be complete. A start says labels and values that are known then, and no
//! outcome. After `expires_in` seconds, a day unless given, the operation is given up:
//! it ends as `abandoned`, counted, and without a duration, which nobody knows. Where several
//! services share a ledger, `"event": "end"` has each of them look there for the start that
//! another one was told of; without it they do so for an end that lacks something, and one that
//! lacks nothing stands for itself.
//!
//! # The action log
//!
//! `action.log` is the writing of an entry. Without a `duration` it took from when the request
//! was there until its commit, measured here; how long the action itself took is the field
//! `action.duration`, and the row's duration.
//!
//! # Usage and cost
//!
//! ```json
//! {"signal": "llm.request", "duration": 2.1,
//!  "fields": {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic",
//!             "gen_ai.request.model": "claude-sonnet-4-5", "status": "success"},
//!  "usage": {"format": "anthropic", "body": {"input_tokens": 12, "output_tokens": 300,
//!            "cache_read_input_tokens": 90000, "cache_creation_input_tokens": 0}}}
//! ```
//!
//! `usage` of an `llm.request` is what its provider sent: the usage object, the answer that it
//! is in, or an array of the events of a stream, of which counts, ids and reasons are taken and
//! no contents. `format` is one of [`Format`](crate::usage::Format); without it, and without
//! `body` around, it is told by its shape where that can be in one format only. It fills in the
//! token fields. Unless `llm.cost_usd` is given, the cost is that of the
//! [`prices`](crate::prices) in force at the record's time. Answers without usage count in
//! `llm.usage.unknown`, usage without a price in `llm.price.unknown`.
//!
//! From within the process it is [`RecordsApi::report`] that takes all of this.
//!
//! The records go to the [`ledger`](crate::ledger) and are counted once they are committed;
//! what that promises is written there.

mod batch;
mod clock;
mod fields;
mod frame;
mod handler;
mod open;
mod report;
mod spend;
mod validate;
mod wire;

pub use batch::{Batch, Outcome, Rejected};
pub use clock::Clock;
pub use frame::Malformed;
pub use handler::{RecordsApi, RecordsConfig, Refused, configure};
pub(in crate::ingest) use handler::{answer, body, problem};
pub use open::{OpenOperations, SweepError};
pub use report::Report;
pub use validate::{Reading, Rules, read};
