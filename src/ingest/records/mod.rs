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
//! Without an `id` the record gets a UUID of version 7 and cannot be recognised when it is
//! sent again. Ids of version 7, which grow with time, are written several times faster than
//! random ones once the ledger is large. Without a `time` it ended when it was received. Every record is judged alone:
//! those that are refused do not hold the others up.
//!
//! The records go to the [`ledger`](crate::ledger) and are counted once they are committed;
//! what that promises is written there.

mod batch;
mod frame;
mod handler;
mod validate;

pub use batch::{Batch, Outcome, Rejected};
pub use frame::Malformed;
pub use handler::{RecordsApi, RecordsConfig, Refused, configure};
pub use validate::{Clock, read};
