//! Where a page ends. Opaque to whoever asks: base64 of a JSON array.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::QueryError;

/// Longest cursor that is read.
const MAX: usize = 16 * 1024;

#[derive(Clone, Debug)]
pub(super) struct Cursor {
    kind: &'static str,
    values: Vec<Value>,
}

impl Cursor {
    pub(super) fn new(kind: &'static str) -> Self {
        Self {
            kind,
            values: Vec::new(),
        }
    }

    pub(super) fn with_int(mut self, value: i64) -> Self {
        self.values.push(value.into());
        self
    }

    /// The bits, so that it is compared with what it is.
    pub(super) fn with_real(mut self, value: f64) -> Self {
        self.values.push(value.to_bits().into());
        self
    }

    pub(super) fn with_text(mut self, value: &str) -> Self {
        self.values.push(value.into());
        self
    }

    pub(super) fn encode(&self) -> String {
        let whole = serde_json::json!([self.kind, self.values]);
        URL_SAFE_NO_PAD.encode(whole.to_string())
    }

    pub(super) fn decode(text: &str, kind: &'static str) -> Result<Self, QueryError> {
        let bytes = (text.len() <= MAX).then(|| URL_SAFE_NO_PAD.decode(text));
        let (found, values): (String, Vec<Value>) = bytes
            .and_then(Result::ok)
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .ok_or_else(refused)?;
        match found == kind {
            true => Ok(Self { kind, values }),
            false => Err(refused()),
        }
    }

    pub(super) fn int(&self, at: usize) -> Result<i64, QueryError> {
        let value = self.values.get(at).and_then(Value::as_i64);
        value.ok_or_else(refused)
    }

    pub(super) fn real(&self, at: usize) -> Result<f64, QueryError> {
        let bits = self.values.get(at).and_then(Value::as_u64);
        bits.map(f64::from_bits)
            .filter(|value| value.is_finite())
            .ok_or_else(refused)
    }

    pub(super) fn text(&self, at: usize) -> Result<String, QueryError> {
        let value = self.values.get(at).and_then(Value::as_str);
        let value = value.filter(|text| !text.contains('\0'));
        value.map(str::to_owned).ok_or_else(refused)
    }
}

fn refused() -> QueryError {
    QueryError::Parameter {
        parameter: "cursor",
        reason: "accepted is `next` of this query's page before".to_owned(),
    }
}
