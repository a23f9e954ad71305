//! One row of the ledger.

use uuid::Uuid;

/// A record on its way into the ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Names the record once and for all; sending it again changes nothing.
    pub id: Uuid,
    /// Name of the declared signal, dotted, as in the catalog.
    pub signal: &'static str,
    /// When it ended, in microseconds since 1970-01-01T00:00:00Z.
    pub time_us: i64,
    /// How long it took, in seconds; `None` for a measure.
    pub duration: Option<f64>,
    /// The declared fields, a JSON object.
    pub fields: String,
    /// The context fields, a JSON object.
    pub context: String,
}

impl Record {
    /// Bytes of memory that the record holds, roughly; what the queue's bound counts.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.fields.capacity() + self.context.capacity()
    }
}

/// What became of one record, known after the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// New; now durable.
    Accepted,
    /// A record with this id was there before, or came earlier in the same batch.
    Duplicate,
}
